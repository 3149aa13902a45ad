#pragma once
/*
 * A worker owns a fixed share of the datasets (hash of the id), so it needs no locks on them: it
 * takes durable blocks in journal order, decodes its datasets' messages into their batches, keeps
 * the recent rows, and decides when a batch is cut. Finished cuts go to the lander.
 *
 * Order: blocks are delivered in the order of their numbers, a dataset's cuts are handed over in
 * the order of their ranges. What a worker holds is also in the journal, so it may be thrown away
 * at any moment (worker_stop with a deadline does).
 */
#include "lake/batch.h"
#include "os/clock.h"
#include "pipeline/account.h"
#include "pipeline/flush_pace.h"
#include "pipeline/memory_gauge.h"
#include "pipeline/recent.h"
#include "pipeline/service_metrics.h"
#include "pipeline/shipment.h"

/* A finished cut on its way to the spool. */
struct land_job {
    struct land_job *next;
    struct cut cut;
    struct account *account;
    uint8_t *dataset_id;
    size_t dataset_id_size;
    uint64_t after; /* the range is (after, through] */
    uint64_t through;
    uint64_t redo_cut; /* 0, or the cut whose files are made again */
};
void land_job_free(struct land_job *job);

struct worker_options {
    uint32_t index;
    uint32_t count; /* of workers */
    const struct clock *clock;
    struct batch_options batch;
    struct flush_pace *pace;
    struct account_book *book;
    struct recent *recent;
    struct service_metrics *metrics; /* may be NULL in tests */
    uint64_t flush_max_bytes;
    size_t memory_max_bytes;     /* of this worker's batches */
    struct memory_gauge *memory; /* may be NULL in tests */
    /* Whether a recovered block's messages of a dataset still need a cut (journal_wanted), and
     * through which block the dataset has landed, and its last cut that has files went. */
    bool (*wanted)(void *ctx, struct bytes dataset_id, uint64_t block, uint64_t *ret_redo_cut);
    uint64_t (*landed_through)(void *ctx, struct bytes dataset_id);
    uint64_t (*filed_through)(void *ctx, struct bytes dataset_id);
    /* Takes the job; may block for a while (the lander is behind). ERR_STOPPED at stop. */
    enum err (*land)(void *ctx, struct land_job *take_job);
    void *ctx;
};

struct worker;

enum err worker_new(const struct worker_options *options, struct worker **ret_worker) ERR_MUST_USE;
enum err worker_start(struct worker *worker) ERR_MUST_USE;
/* Instead of a thread: works off what was delivered and cuts what is due, once. Nothing in it waits
 * but for memory or the database, while a block is being taken in. For the crash simulation. */
void worker_step(struct worker *worker);
/* Cuts everything and ends, at deadline_ns (monotonic) at the latest: what is not cut by then stays
 * in the journal. False when something stayed. */
bool worker_stop(struct worker *worker, int64_t deadline_ns);
void worker_free(struct worker *worker);

/* Any thread, in block order. Takes a reference of its own. */
void worker_deliver(struct worker *worker, struct shipment *shipment);
/* This dataset is to be cut whatever its age (it holds the oldest segment). Any thread. */
void worker_force(struct worker *worker, uint64_t dataset_hash);
/* The last recovered block was delivered: ranges that are made again are cut. */
void worker_end_of_recovery(struct worker *worker);

/* When the worker last said that it goes on (monotonic); 0: it is not running, or waits for what
 * worker_options.land waits for. It says so at least every few seconds unless it is stuck. Any
 * thread, no lock. */
int64_t worker_alive_ns(const struct worker *worker);

struct worker_stats {
    uint64_t queue_blocks;
    uint64_t open_datasets;
    uint64_t open_messages;
    uint64_t memory_bytes;
    int64_t oldest_opened_ns; /* when the oldest open batch was opened; 0: none is open */
    uint64_t postponed;       /* cuts that wait for the database or memory */
    char postponed_reason[512];
};
void worker_stats_get(struct worker *worker, struct worker_stats *ret_stats);
