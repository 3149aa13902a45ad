#pragma once
/*
 * The data handler: blocks from the I/O loops to the journal, durable blocks to the workers and
 * back as acknowledgements, finished cuts to the lander; and the pressure that goes the other way.
 *
 * Made, started, recovered, stopped and freed by the main thread, in this order:
 *
 *     pipeline_new -> pipeline_start -> pipeline_recover -> (sources run) -> pipeline_stop -> free
 *
 * The journal is the caller's: opened before, and started before pipeline_recover; stopped after
 * pipeline_stop.
 */
#include "journal/journal.h"
#include "lake/batch.h"
#include "pipeline/account.h"
#include "pipeline/ingest_loop.h"
#include "pipeline/lander.h"
#include "pipeline/recent.h"
#include "pipeline/service_metrics.h"
#include "pipeline/worker.h"

struct pipeline_options {
    const struct clock *clock;
    struct journal *journal;
    struct landing *landing;
    struct account_book *book;
    struct recent *recent;
    struct service_metrics *metrics;
    struct batch_options batch;
    struct ingest_rule rule;
    uint32_t worker_count;
    uint32_t flush_interval_seconds;
    uint64_t flush_max_bytes;
    uint32_t flush_files_per_second_max;
    uint64_t memory_limit_bytes;
};

struct pipeline;

enum err pipeline_new(const struct pipeline_options *options,
                      struct pipeline **ret_pipeline) ERR_MUST_USE;
enum err pipeline_start(struct pipeline *pipeline) ERR_MUST_USE;
/* Replays what the journal holds and the lake does not. Waits while the workers are behind. */
enum err pipeline_recover(struct pipeline *pipeline, struct diag *diag) ERR_MUST_USE;
/* Any thread: pipeline_recover returns soon with ERR_STOPPED. */
void pipeline_cancel_recovery(struct pipeline *pipeline);
/* Cuts and lands all, at deadline_ns at the latest. False: something stayed in the journal. */
bool pipeline_stop(struct pipeline *pipeline, int64_t deadline_ns);
void pipeline_free(struct pipeline *pipeline);

/* The entrance of one of loop_count I/O loops. The caller closes and frees it (ingest_loop.h). */
enum err pipeline_ingest_loop(struct pipeline *pipeline, struct loop *loop, uint32_t loop_count,
                              struct ingest_loop **ret_loop) ERR_MUST_USE;

/* Looks at the journal and the uploads and adjusts pressure and pace. Every 100 ms or so, by one
 * thread. upload_lag_ns: age of the oldest cut that waits for the store. */
void pipeline_tick(struct pipeline *pipeline, int64_t upload_lag_ns);

/* The name of a thread that has not gone on for so long ("worker", "lander"), or NULL. Any thread.
 * What waits for another side and tries again goes on. */
const char *pipeline_stuck(const struct pipeline *pipeline, int64_t stuck_ns);

struct pipeline_stats {
    uint64_t in_flight_bytes;
    uint64_t memory_bytes;  /* of all data on their way (memory_gauge.h) */
    uint64_t waiting_bytes; /* of batches whose cut waits for the database or the store */
    bool memory_paused;     /* every source, for memory_bytes */
    bool memory_waiting;    /* sources of the datasets whose cut waits */
    uint64_t queue_blocks;
    uint64_t open_datasets;
    uint64_t open_messages;
    uint64_t batch_memory_bytes;
    int64_t oldest_open_ns; /* age of the oldest batch that is still open */
    uint64_t postponed;
    char postponed_reason[512];
    bool paused; /* sources are asked to stop reading */
    struct lander_stats lander;
};
void pipeline_stats_get(struct pipeline *pipeline, struct pipeline_stats *ret_stats);
