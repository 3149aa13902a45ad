#pragma once
/* What service_metrics.c keeps and service_metrics_collect.c reads at each render. Theirs alone. */
#include "base/map.h"
#include "os/thread.h"
#include "pipeline/service_metrics.h"

#define SOURCE_TYPES_MAX 64

struct source_type {
    const char *name; /* of the types' cap */
    struct counter *bytes_received;
    struct histogram *delay;
    struct gauge *active;
};

/* The series of one source, or of all past the cap. */
struct source_series {
    struct counter *received;
    struct counter *stored;
    struct counter *rejected;
    struct counter *repeated;
    struct counter *reconnects;
    struct gauge *pending;
    struct source_series *next;
};

struct service_source {
    char *id;
    struct source_series *series;
    struct service_source *next;
    _Atomic uint64_t received;
    _Atomic uint64_t stored;
    _Atomic uint64_t rejected;
    _Atomic uint64_t repeated;
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
    struct metrics_cap *partitions;
    struct metrics_cap *source_ids;
    struct metrics_cap *type_names;
    struct counter *bytes_written;
    struct counter *files_written;
    struct counter *mqtt_received;
    struct counter *mqtt_processed;
    struct histogram *mqtt_latency;
    struct histogram *upload_seconds;
    struct counter *upload_failures;

    struct mutex lock; /* all below */
    struct source_type types[SOURCE_TYPES_MAX];
    size_t type_count;
    struct map sources; /* id -> struct service_source */
    struct service_source *first;
    struct service_source *last;
    struct map source_series; /* label -> struct source_series */
    struct source_series *series_first;

    struct mutex collect_lock; /* two renders at once */
    struct map buffers;        /* label -> struct buffer_series */
    void (*on_collect)(void *ctx, struct service_gauges *gauges);
    void *ctx;
};

/* The registry's collector; ctx is a struct service_metrics. */
void service_metrics_collect(void *ctx);
