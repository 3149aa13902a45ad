/*
 * The worker's loop.
 *
 * Invariants
 *   - A dataset's batch holds exactly its messages of the blocks (dataset->cut_through, last block
 *     delivered]; a block's messages of a dataset are in the batch as a whole or not at all.
 *   - A cut's range ends with the last block in the batch; so the ranges of a dataset's cuts are
 *     disjoint, in order, and together hold every message.
 *   - A batch that recovery fills with a range to make again holds nothing else: the range is cut
 *     before a message outside of it is appended, so that the new files stand for exactly the range
 *     that the old ones stood for.
 *   - Nothing is dropped: what cannot be appended or cut now (memory, database) is tried again; at
 *     stop it is left to the journal.
 */
#include "pipeline/worker.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/map.h"
#include "os/thread.h"

#include <stdio.h>

#define WORKER_RETRY_NS        (250 * NS_PER_MS)
#define WORKER_POSTPONE_NS     NS_PER_S
#define WORKER_IDLE_NS         (600 * NS_PER_S)
#define WORKER_SWEEP_NS        (30 * NS_PER_S)
#define WORKER_STATS_NS        (200 * NS_PER_MS)
#define WORKER_FORCED_MAX      256
#define WORKER_TOUCHED_INITIAL 64

struct dataset {
    struct dataset *open_previous; /* among the open ones, oldest first */
    struct dataset *open_next;
    struct dataset *touched_next; /* while a block is worked on */
    struct batch *batch;
    struct account *account;
    struct service_dataset metrics;
    uint8_t *id;
    size_t id_size;
    uint64_t hash;
    uint64_t cut_through; /* all below is cut and handed over */
    uint64_t redo_cut;    /* whose range the batch holds */
    int64_t opened_ns;    /* when the first message of the batch came in */
    int64_t retry_ns;     /* a postponed cut is not tried before */
    int64_t used_ns;
    int64_t arrival_us; /* of the first message of the block in work; 0: it is not looked at */
    size_t memory_bytes;
    uint64_t messages;
    bool open;
    bool touched;
    bool undone; /* the block in work was taken out again */
};

struct worker {
    struct worker_options options;
    struct thread thread;
    struct mutex lock;
    struct condition wake;
    struct shipment *first; /* the queue, guarded by lock */
    struct shipment *last;
    uint64_t queue_blocks;
    uint64_t forced[WORKER_FORCED_MAX];
    uint32_t forced_count;
    bool stopping;
    bool end_of_recovery;
    int64_t deadline_ns;
    struct worker_stats stats;

    /* the worker thread's own */
    struct map datasets;
    struct batch_tally tally; /* all batches add to it */
    struct dataset *open_first;
    struct dataset *open_last;
    uint64_t open_count;
    uint64_t open_messages;
    size_t memory_bytes;
    uint64_t postponed;
    char postponed_reason[256];
    int64_t swept_ns;
    int64_t published_ns;
    bool left_something;
    bool recovery_over; /* every recovered block has been worked on */
};

void land_job_free(struct land_job *job)
{
    if (!job)
        return;
    cut_fini(&job->cut);
    mem_free(job->dataset_id);
    mem_free(job);
}

static int64_t now_ns(const struct worker *worker)
{
    return clock_monotonic_ns(worker->options.clock);
}

static struct bytes dataset_id(const struct dataset *dataset)
{
    return bytes_from(dataset->id, dataset->id_size);
}

/* --- datasets ----------------------------------------------------------------------------------
 */

static void dataset_free(struct dataset *dataset)
{
    if (!dataset)
        return;
    batch_free(dataset->batch);
    mem_free(dataset->id);
    mem_free(dataset);
}

static enum err dataset_new(struct worker *worker, const struct route_view *route, uint64_t hash,
                            struct dataset **ret_dataset)
{
    struct dataset *dataset = mem_zalloc(1, sizeof(*dataset));
    if (!dataset)
        return ERR_NO_MEMORY;
    dataset->id = mem_dup(route->dataset_id.data, route->dataset_id.size);
    dataset->id_size = route->dataset_id.size;
    dataset->hash = hash;
    enum err err = dataset->id ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = batch_new(&worker->options.batch, route->dataset_id, &dataset->batch);
    if (err == ERR_OK)
        err = account_get(worker->options.book, route->source_id, route->source_type,
                          &dataset->account);
    if (err == ERR_OK && worker->options.metrics)
        err = service_metrics_dataset(worker->options.metrics, route->source_type,
                                      route->dataset_id, &dataset->metrics);
    if (err == ERR_OK)
        err = map_put(&worker->datasets, route->dataset_id, dataset);
    if (err != ERR_OK) {
        dataset_free(dataset);
        return err;
    }
    dataset->cut_through = worker->options.landed_through(worker->options.ctx, route->dataset_id);
    *ret_dataset = dataset;
    return ERR_OK;
}

static enum err dataset_get(struct worker *worker, const struct route_view *route, uint64_t hash,
                            struct dataset **ret_dataset)
{
    struct dataset *dataset = map_get(&worker->datasets, route->dataset_id);
    if (dataset) {
        *ret_dataset = dataset;
        return ERR_OK;
    }
    return dataset_new(worker, route, hash, ret_dataset);
}

static void open_remove(struct worker *worker, struct dataset *dataset)
{
    if (!dataset->open)
        return;
    *(dataset->open_previous ? &dataset->open_previous->open_next : &worker->open_first) =
        dataset->open_next;
    *(dataset->open_next ? &dataset->open_next->open_previous : &worker->open_last) =
        dataset->open_previous;
    dataset->open = false;
    worker->open_count--;
}

static void open_append(struct worker *worker, struct dataset *dataset)
{
    dataset->open_next = NULL;
    dataset->open_previous = worker->open_last;
    *(worker->open_last ? &worker->open_last->open_next : &worker->open_first) = dataset;
    worker->open_last = dataset;
    dataset->open = true;
    worker->open_count++;
}

/* Brings the sums up to date after the batch changed. */
static void dataset_measure(struct worker *worker, struct dataset *dataset,
                            struct batch_stats *ret_stats)
{
    batch_stats_get(dataset->batch, ret_stats);
    worker->memory_bytes += ret_stats->memory_bytes - dataset->memory_bytes;
    worker->open_messages += ret_stats->messages - dataset->messages;
    dataset->memory_bytes = ret_stats->memory_bytes;
    dataset->messages = ret_stats->messages;
}

/* Merges what the dataset's batch has just told into the metrics. */
static void dataset_count(struct worker *worker, const struct dataset *dataset)
{
    if (worker->options.metrics)
        service_metrics_tally(worker->options.metrics, &dataset->metrics, &worker->tally);
    batch_tally_clear(&worker->tally);
}

/* --- cuts --------------------------------------------------------------------------------------
 */

static enum err job_new(struct dataset *dataset, struct cut *take_cut, struct land_job **ret_job)
{
    struct land_job *job = mem_zalloc(1, sizeof(*job));
    if (!job)
        return ERR_NO_MEMORY;
    job->dataset_id = mem_dup(dataset->id, dataset->id_size);
    if (!job->dataset_id) {
        mem_free(job);
        return ERR_NO_MEMORY;
    }
    job->dataset_id_size = dataset->id_size;
    job->cut = *take_cut;
    job->account = dataset->account;
    job->redo_cut = dataset->redo_cut;
    job->after = dataset->cut_through;
    job->through = take_cut->stats.block_last;
    *ret_job = job;
    return ERR_OK;
}

static void cut_postpone(struct worker *worker, struct dataset *dataset, enum err err,
                         const struct diag *diag)
{
    worker->postponed++;
    snprintf(worker->postponed_reason, sizeof(worker->postponed_reason), "%.255s",
             diag->text[0] ? diag->text : err_text(err));
    dataset->retry_ns = now_ns(worker) + WORKER_POSTPONE_NS;
    open_remove(worker, dataset);
    open_append(worker, dataset);
}

/* A range that is made again must be cut as a whole: its LANDED stands for all of the old one. */
static bool may_cut(const struct worker *worker, const struct dataset *dataset)
{
    return dataset->redo_cut == 0 || worker->recovery_over;
}

/* Cuts the dataset's batch and hands it over. ERR_OK, ERR_STOPPED, or the reason why it is
 * postponed. */
static enum err dataset_cut(struct worker *worker, struct dataset *dataset)
{
    struct cut cut;
    struct diag diag = {0};
    struct batch_stats stats;
    /* Room for the job first: once batch_cut has succeeded there is no way back. */
    struct land_job *job = NULL;
    enum err err = job_new(dataset, &(struct cut){0}, &job);
    if (err == ERR_OK)
        err = batch_cut(dataset->batch, &cut, &diag);
    dataset_measure(worker, dataset, &stats);
    if (err != ERR_OK) {
        land_job_free(job);
        cut_postpone(worker, dataset, err, &diag);
        return err;
    }
    job->cut = cut;
    job->through = cut.stats.block_last;
    flush_pace_charge(worker->options.pace, cut.file_count > 0 ? cut.file_count - 1 : 0,
                      now_ns(worker));
    dataset_count(worker, dataset);
    if (job->through > dataset->cut_through)
        dataset->cut_through = job->through; /* a range made again lies below it */
    dataset->redo_cut = 0;
    dataset->retry_ns = 0;
    if (worker->postponed > 0 && --worker->postponed == 0)
        worker->postponed_reason[0] = '\0';
    open_remove(worker, dataset);
    if (dataset->messages > 0) { /* cannot be: a cut empties the batch */
        dataset->opened_ns = now_ns(worker);
        open_append(worker, dataset);
    }
    err = worker->options.land(worker->options.ctx, job);
    if (err != ERR_OK) {
        worker->left_something = true; /* the journal has it */
        land_job_free(job);
    }
    return err;
}

static void cut_due(struct worker *worker, int64_t *ret_wait_ns)
{
    int64_t now = now_ns(worker);
    *ret_wait_ns = 60 * NS_PER_S;
    for (struct dataset *dataset = worker->open_first, *next; dataset; dataset = next) {
        next = dataset->open_next;
        int64_t wait_ns = dataset->retry_ns - now;
        if (!may_cut(worker, dataset))
            continue;
        if (wait_ns <= 0 &&
            flush_pace_take(worker->options.pace, dataset->opened_ns, now, &wait_ns)) {
            if (dataset_cut(worker, dataset) == ERR_STOPPED)
                return;
            continue;
        }
        if (wait_ns < *ret_wait_ns)
            *ret_wait_ns = wait_ns;
        if (dataset->retry_ns == 0)
            return; /* those behind it are younger */
    }
}

static struct dataset *dataset_largest(struct worker *worker)
{
    struct dataset *largest = NULL;
    for (struct dataset *dataset = worker->open_first; dataset; dataset = dataset->open_next)
        if (may_cut(worker, dataset) && (!largest || dataset->memory_bytes > largest->memory_bytes))
            largest = dataset;
    return largest;
}

static void cut_for_memory(struct worker *worker)
{
    while (worker->memory_bytes > worker->options.memory_max_bytes) {
        struct dataset *largest = dataset_largest(worker);
        if (!largest || dataset_cut(worker, largest) != ERR_OK)
            return;
    }
}

static void cut_forced(struct worker *worker, const uint64_t *hashes, uint32_t count)
{
    for (struct dataset *dataset = worker->open_first, *next; dataset && count > 0;
         dataset = next) {
        next = dataset->open_next;
        for (uint32_t i = 0; i < count; i++) {
            if (hashes[i] == dataset->hash && may_cut(worker, dataset)) {
                (void)!dataset_cut(worker, dataset);
                break;
            }
        }
    }
}

static void cut_redone(struct worker *worker)
{
    for (struct dataset *dataset = worker->open_first, *next; dataset; dataset = next) {
        next = dataset->open_next;
        if (dataset->redo_cut != 0)
            (void)!dataset_cut(worker, dataset);
    }
}

/* --- blocks ------------------------------------------------------------------------------------
 */

static bool must_leave(struct worker *worker)
{
    mutex_lock(&worker->lock);
    bool leave = worker->stopping && now_ns(worker) >= worker->deadline_ns;
    mutex_unlock(&worker->lock);
    return leave;
}

static void pause_a_moment(struct worker *worker)
{
    mutex_lock(&worker->lock);
    condition_wait_for(&worker->wake, &worker->lock, WORKER_RETRY_NS);
    mutex_unlock(&worker->lock);
}

/* Before a range to be made again begins or ends, what the batch holds is cut apart. */
static enum err redo_boundary(struct worker *worker, struct dataset *dataset, uint64_t redo_cut)
{
    while (dataset->open && dataset->redo_cut != redo_cut) {
        enum err err = dataset_cut(worker, dataset);
        if (err == ERR_STOPPED || must_leave(worker))
            return ERR_STOPPED;
        if (err != ERR_OK)
            pause_a_moment(worker);
    }
    dataset->redo_cut = redo_cut;
    return ERR_OK;
}

/* Appends a route. When it fails the batch takes out all that this block brought; so on the next
 * try the dataset's routes before this one are put in again. */
static enum err dataset_append(struct dataset *dataset, const struct block *block,
                               uint32_t route_index)
{
    uint32_t first = dataset->undone ? 0 : route_index;
    for (uint32_t i = first; i <= route_index; i++) {
        struct route_view route;
        if (block->routes[i].dataset_hash != dataset->hash || block->routes[i].message_count == 0)
            continue;
        block_route_get(block, i, &route);
        if (!bytes_equal(route.dataset_id, dataset_id(dataset)))
            continue;
        enum err err = batch_append(dataset->batch, block, i);
        if (err != ERR_OK) {
            batch_undo_block(dataset->batch);
            dataset->undone = true;
            return err;
        }
    }
    dataset->undone = false;
    return ERR_OK;
}

static int64_t first_arrival_us(const struct block *block, const struct block_route *route)
{
    struct message_view message;
    block_message_get(block, route->message_first, &message);
    return message.arrival_us;
}

static enum err route_append(struct worker *worker, const struct shipment *shipment,
                             uint32_t route_index, struct dataset **touched)
{
    const struct block *block = shipment->block;
    const struct block_route *entry = &block->routes[route_index];
    struct route_view route;
    struct dataset *dataset;
    uint64_t redo_cut = 0;
    block_route_get(block, route_index, &route);
    if (shipment->recovered &&
        !worker->options.wanted(worker->options.ctx, route.dataset_id, block->number, &redo_cut))
        return ERR_OK;
    enum err err = dataset_get(worker, &route, entry->dataset_hash, &dataset);
    if (err != ERR_OK)
        return err;
    if ((shipment->recovered || dataset->redo_cut != 0) && !dataset->touched) {
        err = redo_boundary(worker, dataset, redo_cut);
        if (err != ERR_OK)
            return err;
    }
    if (!dataset->touched) {
        dataset->touched = true;
        dataset->touched_next = *touched;
        *touched = dataset;
    }
    err = dataset_append(dataset, block, route_index);
    if (err != ERR_OK)
        return err;
    if (shipment->recovered && redo_cut == 0) {
        /* what recovery finds pending counts as received (a landed cut was counted as a whole) */
        atomic_fetch_add(&dataset->account->received, entry->message_count);
        atomic_fetch_add(&dataset->account->received_bytes, entry->payload_bytes);
    }
    if (!shipment->recovered && dataset->arrival_us == 0)
        dataset->arrival_us = first_arrival_us(block, entry);
    if (worker->options.recent)
        recent_add(worker->options.recent, block, route_index);
    return ERR_OK;
}

/* All of the block's messages are taken to have waited as long as the first: one look at the clock
 * and one observation for each dataset, and none looks better than it was. */
static void dataset_latency(struct worker *worker, struct dataset *dataset, uint64_t messages)
{
    if (dataset->arrival_us != 0 && worker->options.metrics) {
        int64_t waited_us = clock_realtime_us(worker->options.clock) - dataset->arrival_us;
        service_metrics_latency(&dataset->metrics, (double)waited_us / (double)US_PER_S, messages);
    }
    dataset->arrival_us = 0;
}

static void dataset_block_ended(struct worker *worker, struct dataset *dataset,
                                const struct block *block, int64_t now)
{
    struct batch_stats stats;
    batch_end_block(dataset->batch, block);
    dataset_latency(worker, dataset, worker->tally.messages);
    dataset_count(worker, dataset);
    dataset_measure(worker, dataset, &stats);
    dataset->used_ns = now;
    if (!dataset->open) {
        dataset->opened_ns = now;
        open_append(worker, dataset);
    }
    if (stats.payload_bytes >= worker->options.flush_max_bytes && dataset->retry_ns <= now &&
        may_cut(worker, dataset))
        (void)!dataset_cut(worker, dataset);
}

/* One route at a time is made good: a dataset that fails is cut to make room and tried again. */
static void block_work(struct worker *worker, struct shipment *shipment)
{
    const struct block *block = shipment->block;
    struct dataset *touched = NULL;
    for (uint32_t i = 0; i < block->route_count; i++) {
        if (block->routes[i].dataset_hash % worker->options.count != worker->options.index ||
            block->routes[i].message_count == 0)
            continue;
        enum err err;
        while ((err = route_append(worker, shipment, i, &touched)) != ERR_OK) {
            if (err == ERR_STOPPED || must_leave(worker)) {
                worker->left_something = true;
                break;
            }
            snprintf(worker->postponed_reason, sizeof(worker->postponed_reason),
                     "a block waits to be decoded: %s", err_text(err));
            struct dataset *largest = err == ERR_NO_MEMORY ? dataset_largest(worker) : NULL;
            if (!largest || largest->touched || dataset_cut(worker, largest) != ERR_OK)
                pause_a_moment(worker);
        }
    }
    int64_t now = now_ns(worker);
    for (struct dataset *dataset = touched, *next; dataset; dataset = next) {
        next = dataset->touched_next;
        dataset->touched = false;
        dataset_block_ended(worker, dataset, block, now);
    }
    cut_for_memory(worker);
}

/* Datasets that got nothing for a while give their schema's memory back. */
static void sweep(struct worker *worker, int64_t now)
{
    if (now - worker->swept_ns < WORKER_SWEEP_NS)
        return;
    worker->swept_ns = now;
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&worker->datasets, &cursor));) {
        struct dataset *dataset = entry->value;
        if (dataset->open || now - dataset->used_ns < WORKER_IDLE_NS)
            continue;
        map_remove(&worker->datasets, dataset_id(dataset));
        worker->memory_bytes -= dataset->memory_bytes;
        dataset_free(dataset);
    }
}

static void stats_publish(struct worker *worker, int64_t now)
{
    if (now - worker->published_ns < WORKER_STATS_NS)
        return;
    worker->published_ns = now;
    mutex_lock(&worker->lock);
    worker->stats.open_datasets = worker->open_count;
    worker->stats.open_messages = worker->open_messages;
    worker->stats.memory_bytes = worker->memory_bytes;
    worker->stats.oldest_opened_ns = worker->open_first ? worker->open_first->opened_ns : 0;
    worker->stats.postponed = worker->postponed;
    memcpy(worker->stats.postponed_reason, worker->postponed_reason,
           sizeof(worker->postponed_reason));
    mutex_unlock(&worker->lock);
}

/* --- the thread --------------------------------------------------------------------------------
 */

struct errand {
    struct shipment *shipments;
    uint64_t forced[WORKER_FORCED_MAX];
    uint32_t forced_count;
    bool stopping;
    bool end_of_recovery;
};

static void errand_wait(struct worker *worker, int64_t wait_ns, struct errand *ret_errand)
{
    mutex_lock(&worker->lock);
    if (!worker->first && !worker->stopping && worker->forced_count == 0 &&
        !worker->end_of_recovery && wait_ns > 0)
        condition_wait_for(&worker->wake, &worker->lock, wait_ns);
    ret_errand->shipments = worker->first;
    worker->first = worker->last = NULL;
    ret_errand->forced_count = worker->forced_count;
    memcpy(ret_errand->forced, worker->forced, worker->forced_count * sizeof(worker->forced[0]));
    worker->forced_count = 0;
    ret_errand->stopping = worker->stopping;
    ret_errand->end_of_recovery = worker->end_of_recovery;
    worker->end_of_recovery = false;
    mutex_unlock(&worker->lock);
}

static void shipments_work(struct worker *worker, struct shipment *shipment)
{
    uint32_t index = worker->options.index;
    while (shipment) {
        struct shipment *next = shipment->next[index];
        if (must_leave(worker))
            worker->left_something = true;
        else
            block_work(worker, shipment);
        shipment_unref(shipment);
        mutex_lock(&worker->lock);
        worker->queue_blocks--;
        mutex_unlock(&worker->lock);
        shipment = next;
    }
}

static void cut_all(struct worker *worker)
{
    for (struct dataset *dataset = worker->open_first, *next; dataset; dataset = next) {
        enum err err = ERR_AGAIN;
        next = dataset->open_next;
        while (may_cut(worker, dataset) && !must_leave(worker) &&
               (err = dataset_cut(worker, dataset)) != ERR_OK && err != ERR_STOPPED)
            pause_a_moment(worker);
        if (err != ERR_OK)
            worker->left_something = true;
    }
}

/* What there is to do now. False: the worker is to stop, and nothing is left in its queue. */
static bool round_work(struct worker *worker, int64_t *wait_ns)
{
    struct errand errand;
    errand_wait(worker, *wait_ns, &errand);
    shipments_work(worker, errand.shipments);
    if (errand.end_of_recovery) {
        worker->recovery_over = true;
        cut_redone(worker);
    }
    cut_forced(worker, errand.forced, errand.forced_count);
    cut_due(worker, wait_ns);
    int64_t now = now_ns(worker);
    sweep(worker, now);
    stats_publish(worker, now);
    if (worker->published_ns != now && *wait_ns > WORKER_STATS_NS)
        *wait_ns = WORKER_STATS_NS;
    return !errand.stopping || errand.shipments;
}

static void worker_run(void *ctx)
{
    struct worker *worker = ctx;
    int64_t wait_ns = 0;
    while (round_work(worker, &wait_ns))
        continue;
    cut_all(worker);
}

void worker_step(struct worker *worker)
{
    int64_t wait_ns = 0;
    (void)round_work(worker, &wait_ns);
}

enum err worker_new(const struct worker_options *options, struct worker **ret_worker)
{
    struct worker *worker = mem_zalloc(1, sizeof(*worker));
    if (!worker)
        return ERR_NO_MEMORY;
    worker->options = *options;
    mutex_init(&worker->lock);
    condition_init(&worker->wake);
    map_init(&worker->datasets);
    worker->options.batch.tally = &worker->tally;
    if (options->metrics)
        service_metrics_tally_init(&worker->tally);
    *ret_worker = worker;
    return ERR_OK;
}

enum err worker_start(struct worker *worker)
{
    char name[16];
    snprintf(name, sizeof(name), "worker-%u", worker->options.index % 100);
    return thread_start(&worker->thread, name, worker_run, worker);
}

bool worker_stop(struct worker *worker, int64_t deadline_ns)
{
    mutex_lock(&worker->lock);
    worker->stopping = true;
    worker->deadline_ns = deadline_ns;
    condition_signal(&worker->wake);
    mutex_unlock(&worker->lock);
    thread_join(&worker->thread);
    return !worker->left_something;
}

void worker_free(struct worker *worker)
{
    if (!worker)
        return;
    for (struct shipment *shipment = worker->first, *next; shipment; shipment = next) {
        next = shipment->next[worker->options.index];
        shipment_unref(shipment);
    }
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&worker->datasets, &cursor));)
        dataset_free(entry->value);
    map_fini(&worker->datasets);
    condition_fini(&worker->wake);
    mutex_fini(&worker->lock);
    mem_free(worker);
}

void worker_deliver(struct worker *worker, struct shipment *shipment)
{
    uint32_t index = worker->options.index;
    shipment_ref(shipment);
    shipment->next[index] = NULL;
    mutex_lock(&worker->lock);
    bool wake = worker->first == NULL;
    *(worker->last ? &worker->last->next[index] : &worker->first) = shipment;
    worker->last = shipment;
    worker->queue_blocks++;
    if (wake)
        condition_signal(&worker->wake);
    mutex_unlock(&worker->lock);
}

void worker_force(struct worker *worker, uint64_t dataset_hash)
{
    mutex_lock(&worker->lock);
    if (worker->forced_count < WORKER_FORCED_MAX)
        worker->forced[worker->forced_count++] = dataset_hash;
    condition_signal(&worker->wake);
    mutex_unlock(&worker->lock);
}

void worker_end_of_recovery(struct worker *worker)
{
    mutex_lock(&worker->lock);
    worker->end_of_recovery = true;
    condition_signal(&worker->wake);
    mutex_unlock(&worker->lock);
}

void worker_stats_get(struct worker *worker, struct worker_stats *ret_stats)
{
    mutex_lock(&worker->lock);
    *ret_stats = worker->stats;
    ret_stats->queue_blocks = worker->queue_blocks;
    mutex_unlock(&worker->lock);
}
