#pragma once
/* What service_metrics.c keeps and service_metrics_collect.c reads at each render. Theirs alone. */
#include "base/map.h"
#include "os/thread.h"
#include "pipeline/service_metrics.h"

#define SOURCE_TYPES_MAX 64

/* Name and help of the buffer gauges. */
#define SERVICE_BUFFER_MESSAGES "ingestor_buffer_size_messages", "Messages in the partition buffer"
#define SERVICE_BUFFER_BYTES    "ingestor_buffer_size_bytes", "Bytes in the partition buffer"

struct source_type {
    const char *name; /* of the types' cap */
    struct counter *bytes_received;
    struct histogram *delay;
    struct gauge *active;
    uint64_t active_now; /* while collecting */
};

enum source_cell {
    SOURCE_RECEIVED,
    SOURCE_STORED,
    SOURCE_REJECTED,
    SOURCE_REPEATED,
    SOURCE_PENDING,
    SOURCE_RECONNECTS,
    SOURCE_CELLS,
};

/* The series of one source, or of all past the cap; its cells are set at each collect. */
struct source_series {
    struct gauge *cells[SOURCE_CELLS];
    uint64_t now[SOURCE_CELLS];
};

/* The buffer gauges of one ingestion id, or of all past the cap. */
struct buffer_series {
    const char *ingestion_id;
    struct gauge *messages;
    struct gauge *bytes;
    uint64_t messages_now;
    uint64_t bytes_now;
    bool seen;
};

struct service_metrics {
    struct metrics *metrics;
    char *pod;
    struct recent *recent;
    struct account_book *book;
    struct metrics_cap *partitions;
    struct metrics_cap *source_ids;
    struct metrics_cap *type_names;
    struct metrics_cap *error_types;
    struct counter *bytes_written;
    struct counter *files_written;
    struct counter *mqtt_received;
    struct counter *mqtt_processed;
    struct histogram *mqtt_latency;

    struct mutex lock; /* both below; a type's pointers never change */
    struct source_type types[SOURCE_TYPES_MAX];
    size_t type_count;

    struct mutex collect_lock; /* all below, and active_now; two renders at once */
    struct map buffers;        /* label -> struct buffer_series */
    struct map sources;        /* label -> struct source_series */
    const char *label_last;    /* of the walk under way: past the cap it is always the same */
    void *series_last;
    void (*on_collect)(void *ctx, struct service_gauges *gauges);
    void *ctx;
};

/* Gets or makes a type's series. */
enum err service_metrics_type(struct service_metrics *service, struct bytes name,
                              struct source_type **ret_type) ERR_MUST_USE;

/* The registry's collector; ctx is a struct service_metrics. */
void service_metrics_collect(void *ctx);
