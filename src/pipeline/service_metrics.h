#pragma once
/*
 * The service's metrics: the fourteen of contract/http-api.md "Metrics" and what an operator must
 * know besides. The pipeline counts per block or cut, never per message: look the handles up once
 * (takes a lock, may allocate), keep them, and add to them from any thread without locks.
 *
 * Handles live as long as struct service_metrics, which is freed after its registry. Label values
 * of ingestion and source ids are capped (METRICS_MAX_PARTITIONS): handles past the cap share the
 * series "_other". Functions without a result cannot fail; where memory is missing a count is
 * missing from the page, nothing else.
 */
#include "base/bytes.h"
#include "base/err.h"
#include "base/metrics.h"
#include "lake/batch_tally.h"
#include "pipeline/account.h"
#include "pipeline/recent.h"

#include <stdbool.h>

struct service_metrics;

struct service_metrics_options {
    const char *pod;           /* POD_NAME, else HOSTNAME, else "unknown" */
    const char *pod_namespace; /* POD_NAMESPACE, else "default" */
    const char *version;
    size_t partitions_max;     /* METRICS_MAX_PARTITIONS */
    struct recent *recent;     /* for the buffer gauges; outlives the registry; may be NULL */
    struct account_book *book; /* for the series of sources; the same */
};

enum err service_metrics_new(struct metrics *metrics, const struct service_metrics_options *options,
                             struct service_metrics **ret_service) ERR_MUST_USE;
void service_metrics_free(struct service_metrics *service); /* NULL is fine */

/* One dataset's series; a value, cached by its worker. */
struct service_dataset {
    struct counter *received;
    struct counter *processed;
    struct counter *rescued;
    struct counter *bytes_received; /* of the source type */
    struct histogram *delay;        /* of the source type */
    struct counter *mqtt_received;  /* NULL unless mqtt */
    struct counter *mqtt_processed;
    struct histogram *mqtt_latency;
    const char *source_type; /* as labels have them */
    const char *ingestion_id;
};
enum err service_metrics_dataset(struct service_metrics *service, struct bytes source_type,
                                 struct bytes ingestion_id,
                                 struct service_dataset *ret_dataset) ERR_MUST_USE;

/* For repetitions, which no worker sees; all others are in a tally. */
void service_metrics_received(const struct service_dataset *dataset, uint64_t messages,
                              uint64_t bytes);
/* What one of the dataset's batches told: received, processed (all but the rejected), failed by
 * reason, rescued values, delays. */
void service_metrics_tally(struct service_metrics *service, const struct service_dataset *dataset,
                           const struct batch_tally *tally);
/* Sets the bounds of delays. */
void service_metrics_tally_init(struct batch_tally *tally);
/* From arrival to decoded, for mqtt; for others nothing. */
void service_metrics_latency(const struct service_dataset *dataset, double seconds,
                             uint64_t messages);
/* A file of that size is in the lake (layer bronze). */
void service_metrics_file_written(struct service_metrics *service, uint64_t bytes);

/* What is known only when asked; filled on the rendering thread, zeroed before. */
#define SERVICE_QUEUES_MAX 16
struct service_gauges {
    uint64_t journal_bytes;
    uint64_t journal_used_bytes;
    uint64_t journal_max_bytes;
    uint64_t journal_syncs;
    double journal_sync_seconds;
    uint64_t journal_failures;
    uint64_t journal_damaged_blocks;
    uint64_t metadata_set_asides;
    uint64_t spool_bytes;
    uint64_t upload_cuts;          /* in the lake */
    double upload_latency_seconds; /* from landed to in the lake, all of these cuts together */
    double upload_put_seconds;     /* in the store, all files written together */
    double upload_lag_seconds;     /* age of the oldest that waits for the store */
    uint64_t upload_failures;
    double oldest_unlanded_seconds;
    uint64_t unlanded_messages; /* acknowledged, not in the lake */
    bool intake_paused;
    struct service_queue {
        const char *name; /* a short word; static */
        uint64_t depth;
    } queues[SERVICE_QUEUES_MAX];
    size_t queue_count;
};
/* Once, before the first render. */
void service_metrics_on_collect(struct service_metrics *service,
                                void (*on_collect)(void *ctx, struct service_gauges *gauges),
                                void *ctx);
/* From on_collect, for each source that there is, running or not. */
void service_metrics_source(struct service_metrics *service, struct bytes source_id,
                            const char *source_type, bool active, uint64_t reconnects);
