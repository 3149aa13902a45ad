/*
 * Who waits for whom: a full lander makes the workers wait, waiting workers let blocks in flight
 * pile up, and when those pass their limit (or the journal its own) the sources are asked to stop
 * reading. Nothing in between drops anything.
 *
 * The order that must hold: a shipment's letter (the acknowledgement) is posted only from
 * on_durable with ERR_OK, that is after the journal's sync; and workers see blocks in the order of
 * their numbers, because on_durable is called in that order on one thread.
 */
#include "pipeline/pipeline.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/limits.h"
#include "os/process_metrics.h"

#include <stdio.h>

#define PIPELINE_RECOVER_WAIT_NS (2 * NS_PER_MS)
#define PIPELINE_EVICT_NS        NS_PER_S
#define PIPELINE_TRIM_NS         (2 * NS_PER_S)
#define PIPELINE_TRIM_NEAR_NS    (250 * NS_PER_MS)
/* From this share of JOURNAL_MAX_BYTES the source with the most pending bytes is paused first. */
#define PIPELINE_FIRST_PAUSE_PERCENT 80

/* Each lander waits for the disk's syncs most of its time; a few share the file system's. A dataset
 * has always the same one, so that its cuts stay in order. */
#define LANDERS 4

struct pipeline {
    struct pipeline_options options;
    struct flush_pace pace;
    struct worker *workers[WORKERS_MAX];
    struct lander *landers[LANDERS];
    struct memory_gauge memory;
    _Atomic bool journal_paused;
    _Atomic(const struct account *) paused_first;
    _Atomic bool recovery_cancelled;
    int64_t evicted_ns;
    int64_t trimmed_ns;

    /* Shipments that the journal has and that are not durable yet. */
    struct mutex lock;
    struct condition all_durable;
    uint64_t undurable;
};

/* --- the way in --- */

static void deliver(struct pipeline *pipeline, struct shipment *shipment)
{
    uint32_t count = pipeline->options.worker_count;
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < shipment->block->route_count; i++)
        if (shipment->block->routes[i].message_count > 0)
            wanted |= 1u << (shipment->block->routes[i].dataset_hash % count);
    for (uint32_t i = 0; i < count; i++)
        if (wanted & (1u << i))
            worker_deliver(pipeline->workers[i], shipment);
}

static void undurable_add(struct pipeline *pipeline, int by)
{
    mutex_lock(&pipeline->lock);
    pipeline->undurable += (uint64_t)by;
    if (pipeline->undurable == 0)
        condition_signal(&pipeline->all_durable);
    mutex_unlock(&pipeline->lock);
}

static void on_durable(void *ctx, struct block *block, enum err err)
{
    struct shipment *shipment = ctx;
    struct pipeline *pipeline = shipment->pipeline;
    (void)block;
    shipment->failed = err != ERR_OK;
    if (err == ERR_OK)
        deliver(pipeline, shipment);
    undurable_add(pipeline, -1);
    loop_post(shipment->loop_thread, &shipment->letter);
}

static enum err sink_submit(void *ctx, struct shipment *take_shipment, uint16_t flags,
                            uint64_t group)
{
    struct pipeline *pipeline = ctx;
    take_shipment->pipeline = pipeline;
    struct block *block = block_ref(take_shipment->block);
    undurable_add(pipeline, 1);
    enum err err =
        journal_submit(pipeline->options.journal, block, flags, group, on_durable, take_shipment);
    if (err != ERR_OK) {
        undurable_add(pipeline, -1);
        block_unref(block);
    }
    return err;
}

static bool sink_idle(void *ctx)
{
    const struct pipeline *pipeline = ctx;
    return journal_idle(pipeline->options.journal);
}

static bool blocks_pile_up(const struct pipeline *pipeline)
{
    return atomic_load_explicit(&pipeline->memory.in_flight_bytes, memory_order_relaxed) >
           pipeline->memory.in_flight_max_bytes;
}

static bool sink_must_pause(void *ctx, const struct account *account)
{
    struct pipeline *pipeline = ctx;
    return blocks_pile_up(pipeline) || memory_gauge_paused(&pipeline->memory) ||
           atomic_load_explicit(&pipeline->journal_paused, memory_order_relaxed) ||
           atomic_load_explicit(&pipeline->paused_first, memory_order_relaxed) == account ||
           (atomic_load_explicit(&account->waiting_bytes, memory_order_relaxed) > 0 &&
            memory_gauge_waiting(&pipeline->memory));
}

static bool sink_any_must_pause(void *ctx)
{
    struct pipeline *pipeline = ctx;
    return blocks_pile_up(pipeline) || memory_gauge_paused(&pipeline->memory) ||
           atomic_load_explicit(&pipeline->journal_paused, memory_order_relaxed) ||
           atomic_load_explicit(&pipeline->paused_first, memory_order_relaxed) ||
           memory_gauge_waiting(&pipeline->memory);
}

static enum err sink_state_get(void *ctx, struct bytes source_id, struct bytes key,
                               struct buf *ret_value)
{
    const struct pipeline *pipeline = ctx;
    return journal_state_get(pipeline->options.journal, source_id, key, ret_value);
}

static void sink_identities(void *ctx, struct bytes source_id,
                            void (*on_identity)(void *ctx, uint16_t packet_identifier,
                                                uint64_t hash, uint64_t block, bool qos_2),
                            void *identity_ctx)
{
    const struct pipeline *pipeline = ctx;
    journal_identities(pipeline->options.journal, source_id, on_identity, identity_ctx);
}

enum err pipeline_ingest_loop(struct pipeline *pipeline, struct loop *loop, uint32_t loop_count,
                              struct ingest_loop **ret_loop)
{
    const struct ingest_sink sink = {
        .submit = sink_submit,
        .idle = sink_idle,
        .must_pause = sink_must_pause,
        .any_must_pause = sink_any_must_pause,
        .state_get = sink_state_get,
        .identities = sink_identities,
        .ctx = pipeline,
    };
    enum err err = ingest_loop_new(loop, &sink, &pipeline->options.rule, pipeline->options.book,
                                   &pipeline->memory.in_flight_bytes, ret_loop);
    if (err != ERR_OK)
        return err;
    ingest_loop_metrics(*ret_loop, pipeline->options.metrics);
    ingest_loop_limit_routes(*ret_loop, pipeline->memory.routes_max_bytes / loop_count);
    return ERR_OK;
}

/* --- recovery --- */

/* Waits while the workers are behind. False: the replay is to end. */
static bool wait_for_room(struct pipeline *pipeline)
{
    mutex_lock(&pipeline->lock);
    while (!atomic_load(&pipeline->recovery_cancelled) &&
           !memory_gauge_replay_room(&pipeline->memory))
        condition_wait_for(&pipeline->all_durable, &pipeline->lock, PIPELINE_RECOVER_WAIT_NS);
    mutex_unlock(&pipeline->lock);
    return !atomic_load(&pipeline->recovery_cancelled);
}

static enum err on_recovered_block(void *ctx, struct block *block)
{
    struct pipeline *pipeline = ctx;
    struct shipment *shipment;
    if (!wait_for_room(pipeline))
        return ERR_STOPPED;
    block_ref(block);
    enum err err = shipment_new(block, &pipeline->memory.in_flight_bytes, &shipment);
    if (err != ERR_OK) {
        block_unref(block);
        return err;
    }
    shipment->recovered = true;
    shipment->in_flight_bytes = block->capacity_bytes;
    atomic_fetch_add(&pipeline->memory.in_flight_bytes, shipment->in_flight_bytes);
    deliver(pipeline, shipment);
    shipment_unref(shipment);
    return ERR_OK;
}

enum err pipeline_recover(struct pipeline *pipeline, struct diag *diag)
{
    enum err err = journal_replay(pipeline->options.journal, on_recovered_block, pipeline, diag);
    for (uint32_t i = 0; err == ERR_OK && i < pipeline->options.worker_count; i++)
        worker_end_of_recovery(pipeline->workers[i]);
    return err;
}

void pipeline_cancel_recovery(struct pipeline *pipeline)
{
    atomic_store(&pipeline->recovery_cancelled, true);
}

/* --- the workers' side --- */

static bool worker_wanted(void *ctx, struct bytes dataset_id, uint64_t block,
                          uint64_t *ret_redo_cut)
{
    const struct pipeline *pipeline = ctx;
    return journal_wanted(pipeline->options.journal, dataset_id, block, ret_redo_cut);
}

static uint64_t worker_landed_through(void *ctx, struct bytes dataset_id)
{
    const struct pipeline *pipeline = ctx;
    return journal_landed_through(pipeline->options.journal, dataset_id);
}

static uint64_t worker_filed_through(void *ctx, struct bytes dataset_id)
{
    const struct pipeline *pipeline = ctx;
    return journal_filed_through(pipeline->options.journal, dataset_id);
}

static enum err worker_land(void *ctx, struct land_job *take_job)
{
    struct pipeline *pipeline = ctx;
    uint64_t hash = hash_bytes(bytes_from(take_job->dataset_id, take_job->dataset_id_size));
    /* not the bits that chose the worker, or each worker would use a part of the landers only */
    return lander_submit(pipeline->landers[(hash >> 32) % LANDERS], take_job);
}

static enum err worker_make(struct pipeline *pipeline, uint32_t index)
{
    const struct pipeline_options *options = &pipeline->options;
    uint64_t share = pipeline->memory.batches_max_bytes / options->worker_count;
    const struct worker_options worker = {
        .index = index,
        .count = options->worker_count,
        .clock = options->clock,
        .batch = options->batch,
        .pace = &pipeline->pace,
        .book = options->book,
        .recent = options->recent,
        .metrics = options->metrics,
        /* a file and what it is made of are in memory together */
        .flush_max_bytes =
            options->flush_max_bytes < share / 2 ? options->flush_max_bytes : share / 2,
        .memory_max_bytes = share,
        .memory = &pipeline->memory,
        .wanted = worker_wanted,
        .landed_through = worker_landed_through,
        .filed_through = worker_filed_through,
        .land = worker_land,
        .ctx = pipeline,
    };
    return worker_new(&worker, &pipeline->workers[index]);
}

/* --- life --- */

enum err pipeline_new(const struct pipeline_options *options, struct pipeline **ret_pipeline)
{
    if (options->worker_count < 1 || options->worker_count > WORKERS_MAX)
        return ERR_INVALID;
    struct pipeline *pipeline = mem_zalloc(1, sizeof(*pipeline));
    if (!pipeline)
        return ERR_NO_MEMORY;
    pipeline->options = *options;
    mutex_init(&pipeline->lock);
    condition_init(&pipeline->all_durable);
    flush_pace_init(&pipeline->pace, options->flush_interval_seconds,
                    options->flush_files_per_second_max);
    memory_gauge_init(&pipeline->memory, options->memory_limit_bytes);
    if (options->recent)
        recent_limit(options->recent, pipeline->memory.recent_max_bytes);
    const struct lander_options lander = {
        .landing = options->landing,
        .clock = options->clock,
        .queue_bytes_max = pipeline->memory.landers_max_bytes / LANDERS,
        .held_bytes = &pipeline->memory.landers_bytes,
    };
    enum err err = ERR_OK;
    for (uint32_t i = 0; err == ERR_OK && i < LANDERS; i++)
        err = lander_new(&lander, &pipeline->landers[i]);
    for (uint32_t i = 0; err == ERR_OK && i < options->worker_count; i++)
        err = worker_make(pipeline, i);
    if (err != ERR_OK) {
        pipeline_free(pipeline);
        return err;
    }
    *ret_pipeline = pipeline;
    return ERR_OK;
}

enum err pipeline_start(struct pipeline *pipeline)
{
    enum err err = ERR_OK;
    for (uint32_t i = 0; err == ERR_OK && i < LANDERS; i++)
        err = lander_start(pipeline->landers[i]);
    for (uint32_t i = 0; err == ERR_OK && i < pipeline->options.worker_count; i++)
        err = worker_start(pipeline->workers[i]);
    return err;
}

/* What was emitted reaches the workers before they are told to end. */
static bool wait_until_durable(struct pipeline *pipeline, int64_t deadline_ns)
{
    mutex_lock(&pipeline->lock);
    int64_t left_ns;
    while (pipeline->undurable > 0 &&
           (left_ns = deadline_ns - clock_monotonic_ns(pipeline->options.clock)) > 0)
        condition_wait_for(&pipeline->all_durable, &pipeline->lock, left_ns);
    bool all = pipeline->undurable == 0;
    mutex_unlock(&pipeline->lock);
    return all;
}

bool pipeline_stop(struct pipeline *pipeline, int64_t deadline_ns)
{
    bool all = wait_until_durable(pipeline, deadline_ns);
    for (uint32_t i = 0; i < pipeline->options.worker_count; i++)
        all = worker_stop(pipeline->workers[i], deadline_ns) && all;
    for (uint32_t i = 0; i < LANDERS; i++)
        all = lander_stop(pipeline->landers[i], deadline_ns) && all;
    return all;
}

void pipeline_free(struct pipeline *pipeline)
{
    if (!pipeline)
        return;
    for (uint32_t i = 0; i < WORKERS_MAX; i++)
        worker_free(pipeline->workers[i]);
    for (uint32_t i = 0; i < LANDERS; i++)
        lander_free(pipeline->landers[i]);
    condition_fini(&pipeline->all_durable);
    mutex_fini(&pipeline->lock);
    mem_free(pipeline);
}

/* --- pressure --- */

struct most_pending {
    const struct account *account;
    uint64_t bytes;
};

static void on_account(void *ctx, const struct account *account)
{
    struct most_pending *most = ctx;
    uint64_t bytes = account_pending_bytes(account);
    if (bytes <= most->bytes)
        return;
    most->bytes = bytes;
    most->account = account;
}

static enum err on_holder(void *ctx, struct bytes dataset_id)
{
    struct pipeline *pipeline = ctx;
    uint64_t hash = hash_bytes(dataset_id);
    worker_force(pipeline->workers[hash % pipeline->options.worker_count], hash);
    return ERR_OK;
}

/* The allocator keeps what was freed; near the limit that is what is given back first. */
static void memory_trim(struct pipeline *pipeline, int64_t now_ns)
{
    uint64_t resident_bytes = process_resident_bytes();
    bool is_near = memory_gauge_is_near(&pipeline->memory, resident_bytes);
    int64_t pause_ns = is_near ? PIPELINE_TRIM_NEAR_NS : PIPELINE_TRIM_NS;
    if (now_ns - pipeline->trimmed_ns >= pause_ns &&
        resident_bytes > pipeline->options.memory_limit_bytes / 4 * 3) {
        pipeline->trimmed_ns = now_ns;
        mem_trim();
        resident_bytes = process_resident_bytes();
    }
    memory_gauge_resident(&pipeline->memory, resident_bytes);
}

static uint64_t open_batches(struct pipeline *pipeline)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < pipeline->options.worker_count; i++) {
        struct worker_stats stats;
        worker_stats_get(pipeline->workers[i], &stats);
        count += stats.open_datasets;
    }
    return count;
}

void pipeline_tick(struct pipeline *pipeline, int64_t upload_lag_ns)
{
    struct journal_stats journal;
    struct most_pending most = {0};
    journal_stats_get(pipeline->options.journal, &journal);
    atomic_store(&pipeline->journal_paused, journal.paused);
    atomic_store(&pipeline->memory.fixed_bytes, journal.memory_bytes);
    if (journal.used_bytes >= journal.size_max_bytes / 100 * PIPELINE_FIRST_PAUSE_PERCENT)
        account_each(pipeline->options.book, on_account, &most);
    atomic_store(&pipeline->paused_first, most.account);
    if (journal.past_half)
        (void)!journal_holders(pipeline->options.journal, on_holder, pipeline);
    flush_pace_set_upload_lag(&pipeline->pace, upload_lag_ns);
    flush_pace_set_open(&pipeline->pace, open_batches(pipeline));

    if (pipeline->options.recent) {
        struct recent_stats recent;
        recent_stats_get(pipeline->options.recent, &recent);
        atomic_store(&pipeline->memory.recent_bytes, recent.bytes);
        recent_limit(pipeline->options.recent, memory_gauge_recent_max(&pipeline->memory));
    }

    int64_t now_ns = clock_monotonic_ns(pipeline->options.clock);
    memory_trim(pipeline, now_ns);
    if (pipeline->options.recent && now_ns - pipeline->evicted_ns >= PIPELINE_EVICT_NS) {
        pipeline->evicted_ns = now_ns;
        recent_evict(pipeline->options.recent);
    }
}

const char *pipeline_stuck(const struct pipeline *pipeline, int64_t stuck_ns)
{
    int64_t since_ns = clock_monotonic_ns(pipeline->options.clock) - stuck_ns;
    for (uint32_t i = 0; i < pipeline->options.worker_count; i++) {
        int64_t alive_ns = worker_alive_ns(pipeline->workers[i]);
        if (alive_ns != 0 && alive_ns < since_ns)
            return "worker";
    }
    for (uint32_t i = 0; i < LANDERS; i++) {
        int64_t alive_ns = lander_alive_ns(pipeline->landers[i]);
        if (alive_ns != 0 && alive_ns < since_ns)
            return "lander";
    }
    return NULL;
}

static void landers_stats_add(struct pipeline *pipeline, struct lander_stats *stats)
{
    for (uint32_t i = 0; i < LANDERS; i++) {
        struct lander_stats one;
        lander_stats_get(pipeline->landers[i], &one);
        stats->queue_cuts += one.queue_cuts;
        stats->landed_cuts += one.landed_cuts;
        stats->failures += one.failures;
        if (one.last_error[0])
            memcpy(stats->last_error, one.last_error, sizeof(one.last_error));
    }
}

void pipeline_stats_get(struct pipeline *pipeline, struct pipeline_stats *ret_stats)
{
    *ret_stats = (struct pipeline_stats){
        .in_flight_bytes = atomic_load(&pipeline->memory.in_flight_bytes),
        .memory_bytes = memory_gauge_bytes(&pipeline->memory),
        .waiting_bytes = atomic_load(&pipeline->memory.waiting_bytes),
        .memory_paused = memory_gauge_paused(&pipeline->memory),
        .memory_waiting = memory_gauge_waiting(&pipeline->memory),
        .paused = atomic_load(&pipeline->journal_paused) || blocks_pile_up(pipeline) ||
                  memory_gauge_paused(&pipeline->memory) || memory_gauge_waiting(&pipeline->memory),
    };
    int64_t now_ns = clock_monotonic_ns(pipeline->options.clock);
    for (uint32_t i = 0; i < pipeline->options.worker_count; i++) {
        struct worker_stats worker;
        worker_stats_get(pipeline->workers[i], &worker);
        ret_stats->queue_blocks += worker.queue_blocks;
        ret_stats->open_datasets += worker.open_datasets;
        ret_stats->open_messages += worker.open_messages;
        ret_stats->batch_memory_bytes += worker.memory_bytes;
        if (worker.oldest_opened_ns != 0 &&
            now_ns - worker.oldest_opened_ns > ret_stats->oldest_open_ns)
            ret_stats->oldest_open_ns = now_ns - worker.oldest_opened_ns;
        ret_stats->postponed += worker.postponed;
        if (worker.postponed_reason[0])
            snprintf(ret_stats->postponed_reason, sizeof(ret_stats->postponed_reason), "%s",
                     worker.postponed_reason);
    }
    landers_stats_add(pipeline, &ret_stats->lander);
}
