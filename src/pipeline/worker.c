/*
 * The worker's loop.
 *
 * Invariants
 *   - A dataset's batch holds exactly its messages of the blocks (dataset->cut_through, last block
 *     worked off]; a block's messages of a dataset are in the batch as a whole or not at all (but
 *     where the worker leaves in the middle of a block: then that batch is not cut any more). Of
 *     blocks that are worked off together the datasets of one bucket get all of their messages,
 *     block after block, before those of the next bucket get any.
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
#include "os/thread.h"
#include "pipeline/dataset_route.h"
#include "pipeline/datasets.h"
#include "pipeline/visits.h"

#include <stdio.h>

#define WORKER_RETRY_NS    (250 * NS_PER_MS)
#define WORKER_IDLE_NS     (600 * NS_PER_S)
#define WORKER_SWEEP_NS    (30 * NS_PER_S)
#define WORKER_STATS_NS    (200 * NS_PER_MS)
#define WORKER_WAIT_MAX_NS (2 * NS_PER_S) /* so that it is seen to be alive */
#define WORKER_FORCED_MAX  256
#define WORKER_GROUP_MAX   8     /* blocks worked off together; their memory stays until the last */
#define WORKER_PINS_MAX    1     /* of columns before their cut, between two groups */
#define WORKER_VISITS_MAX  16384 /* no further block joins a group that has so many */

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
    struct datasets datasets;
    struct visits visits;
    struct recent_gathering gathering;
    struct known_route known;
    int64_t swept_ns;
    int64_t published_ns;
    struct memory_told told; /* as the memory gauge knows it */
};

static int64_t now_ns(const struct worker *worker)
{
    return clock_monotonic_ns(worker->options.clock);
}

/* --- blocks --- */

static bool must_leave(struct worker *worker)
{
    mutex_lock(&worker->lock);
    bool leave = worker->stopping && now_ns(worker) >= worker->deadline_ns;
    mutex_unlock(&worker->lock);
    return leave;
}

static void pause_for(struct worker *worker, int64_t wait_ns)
{
    datasets_beat(&worker->datasets);
    mutex_lock(&worker->lock);
    condition_wait_for(&worker->wake, &worker->lock, wait_ns);
    mutex_unlock(&worker->lock);
}

static void pause_a_moment(struct worker *worker)
{
    pause_for(worker, WORKER_RETRY_NS);
}

/* Before a range to be made again begins or ends, what the batch holds is cut apart. */
static enum err redo_boundary(struct worker *worker, struct dataset *dataset, uint64_t redo_cut)
{
    while (dataset_is_open(dataset) && dataset->redo_cut != redo_cut) {
        enum err err = datasets_cut(&worker->datasets, dataset);
        if (err == ERR_STOPPED || must_leave(worker))
            return ERR_STOPPED;
        if (err != ERR_OK)
            pause_a_moment(worker);
    }
    dataset->redo_cut = redo_cut;
    return ERR_OK;
}

/* For what needs memory: the largest dataset is cut. Otherwise the reason may pass. */
static void make_room(struct worker *worker, enum err err)
{
    snprintf(worker->datasets.postponed_reason, sizeof(worker->datasets.postponed_reason),
             "a block waits to be decoded: %s", err_text(err));
    struct dataset *largest = err == ERR_NO_MEMORY ? datasets_largest(&worker->datasets) : NULL;
    if (!largest || datasets_cut(&worker->datasets, largest) != ERR_OK)
        pause_a_moment(worker);
}

static int64_t first_arrival_us(const struct block *block, const struct block_route *route)
{
    struct message_view message;
    block_message_get(block, route->message_first, &message);
    return message.arrival_us;
}

/* Whether the messages are wanted at all, and of which range that is made again they are. */
static bool route_wanted(const struct worker *worker, const struct shipment *shipment,
                         uint32_t route_index, uint64_t *ret_redo_cut)
{
    struct bytes source_id;
    struct bytes id;
    *ret_redo_cut = 0;
    if (!shipment->recovered)
        return true;
    block_route_ids(shipment->block, route_index, &source_id, &id);
    return worker->options.wanted(worker->options.ctx, id, shipment->block->number, ret_redo_cut);
}

static void dataset_touch(struct dataset *dataset, struct dataset **touched)
{
    if (dataset->touched)
        return;
    dataset->touched = true;
    dataset->touched_next = *touched;
    *touched = dataset;
}

static enum err route_append(struct worker *worker, const struct shipment *shipment,
                             uint32_t route_index, struct dataset **touched)
{
    const struct block *block = shipment->block;
    const struct block_route *entry = &block->routes[route_index];
    struct dataset *dataset;
    struct account *account;
    struct dataset_share *share;
    uint64_t redo_cut;
    if (!route_wanted(worker, shipment, route_index, &redo_cut))
        return ERR_OK;
    enum err err = dataset_route_find(&worker->datasets, &worker->known, block, route_index,
                                      &dataset, &account, &share);
    if (err == ERR_OK && (shipment->recovered || dataset->redo_cut != 0) && !dataset->touched)
        err = redo_boundary(worker, dataset, redo_cut);
    if (err != ERR_OK)
        return err;
    dataset_touch(dataset, touched);
    struct dataset_appended appended = {0};
    err = dataset_route_append(dataset, block, route_index, &appended);
    if (err != ERR_OK)
        return err;
    dataset_route_tell(dataset, account, share, block, route_index, &appended);
    if (shipment->recovered && redo_cut == 0) {
        /* what recovery finds pending counts as received (a landed cut was counted as a whole) */
        atomic_fetch_add(&account->received, entry->message_count);
        atomic_fetch_add(&account->received_bytes, entry->payload_bytes);
    }
    if (redo_cut == 0 && appended.repeated > 0) /* they are in no cut, so they are settled now */
        atomic_fetch_add(&account->repeated, appended.repeated);
    if (shipment->recovered && dataset->recovered_us == 0 && !dataset_is_open(dataset))
        dataset->recovered_us = first_arrival_us(block, entry);
    if (!shipment->recovered && dataset->arrival_us == 0)
        dataset->arrival_us = first_arrival_us(block, entry);
    if (worker->options.recent)
        recent_gather(worker->options.recent, &worker->gathering, block, route_index);
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
    dataset_latency(worker, dataset, worker->datasets.tally.messages);
    datasets_count(&worker->datasets, dataset);
    datasets_measure(&worker->datasets, dataset, &stats);
    dataset->used_ns = now;
    if (!dataset_is_open(dataset)) {
        dataset->opened_ns = now;
        datasets_open(&worker->datasets, dataset);
    }
    if (stats.payload_bytes >= worker->options.flush_max_bytes && dataset->retry_ns <= now &&
        datasets_may_cut(&worker->datasets, dataset))
        (void)!datasets_cut(&worker->datasets, dataset);
}

/* One route at a time is made good: a dataset that fails is cut to make room and tried again.
 * False: it was left to the journal. */
static bool visit_work(struct worker *worker, const struct shipment *shipment, uint32_t route,
                       struct dataset **touched)
{
    enum err err;
    while ((err = route_append(worker, shipment, route, touched)) != ERR_OK) {
        if (err == ERR_STOPPED || must_leave(worker))
            return false;
        make_room(worker, err);
    }
    return true;
}

/* The visits [begin, end) of one bucket: block after block. What is left must be the last of its
 * datasets, and is not cut any more, or a range would have a hole. */
static void bucket_work(struct worker *worker, struct shipment *const *group, size_t begin,
                        size_t end)
{
    const struct visit *visits = worker->visits.ordered;
    bool all = true;
    worker->known = (struct known_route){0};
    for (size_t i = begin; i < end && all;) {
        uint16_t place = visits[i].block;
        const struct block *block = group[place]->block;
        struct dataset *touched = NULL;
        for (; i < end && visits[i].block == place && all; i++) {
            if (i + 1 < worker->visits.count) {
                const struct block *next = group[visits[i + 1].block]->block;
                block_message_prefetch(next, next->routes[visits[i + 1].route].message_first);
            }
            all = visit_work(worker, group[place], visits[i].route, &touched);
        }
        worker->datasets.halted |= !all; /* more of the block may belong to what it touched */
        int64_t now = now_ns(worker);
        for (struct dataset *dataset = touched, *next; dataset; dataset = next) {
            next = dataset->touched_next;
            dataset->touched = false;
            dataset_block_ended(worker, dataset, block, now);
        }
    }
    if (worker->options.recent)
        recent_place(worker->options.recent, &worker->gathering);
    if (!all)
        worker->datasets.left_something = true;
}

static void memory_tell(struct worker *worker)
{
    const struct datasets *datasets = &worker->datasets;
    if (worker->options.memory)
        memory_gauge_tell(worker->options.memory, &worker->told,
                          &(struct memory_told){datasets->memory_bytes, datasets->waiting_bytes,
                                                datasets->redo_bytes});
}

static void stats_publish(struct worker *worker, int64_t now)
{
    if (now - worker->published_ns < WORKER_STATS_NS)
        return;
    worker->published_ns = now;
    mutex_lock(&worker->lock);
    worker->stats.open_datasets = worker->datasets.open_count;
    worker->stats.open_messages = worker->datasets.open_messages;
    worker->stats.memory_bytes = worker->datasets.memory_bytes;
    worker->stats.oldest_opened_ns = datasets_oldest_ns(&worker->datasets);
    worker->stats.postponed = worker->datasets.postponed;
    memcpy(worker->stats.postponed_reason, worker->datasets.postponed_reason,
           sizeof(worker->datasets.postponed_reason));
    mutex_unlock(&worker->lock);
}

static bool is_stopping(struct worker *worker)
{
    mutex_lock(&worker->lock);
    bool stopping = worker->stopping;
    mutex_unlock(&worker->lock);
    return stopping;
}

static void publish(struct worker *worker)
{
    if (worker->options.recent)
        recent_publish(worker->options.recent, &worker->gathering);
}

/* Sources were told to stop long before, at what all batches of all workers may hold. */
static bool is_stuck(struct worker *worker)
{
    const struct memory_gauge *gauge = worker->options.memory;
    if (!gauge || worker->datasets.waiting_bytes <= worker->options.memory_max_bytes / 2)
        return false;
    memory_tell(worker);
    return memory_gauge_stuck(gauge);
}

/* While batches hold all that they may, and none can be cut now (it waits for the lake or the
 * database, or is so small that it keeps to the pace of files), nothing more is taken in: blocks of
 * new topics come to many times their size. So blocks pile up, and sources are paused. */
static void wait_for_room(struct worker *worker)
{
    for (;;) {
        int64_t pace_ns, due_ns;
        bool full = datasets_cut_for_memory(&worker->datasets, &pace_ns) && pace_ns > 0;
        if (!worker->thread.started || (!full && !is_stuck(worker)))
            return;
        worker->datasets.closing = is_stopping(worker);
        if (worker->datasets.closing)
            return;
        datasets_cut_due(&worker->datasets, &due_ns);
        stats_publish(worker, now_ns(worker));
        publish(worker); /* it may last */
        int64_t wait_ns = full && pace_ns < due_ns ? pace_ns : due_ns;
        if (wait_ns > 0)
            pause_for(worker, wait_ns < WORKER_RETRY_NS ? wait_ns : WORKER_RETRY_NS);
    }
}

static void group_work(struct worker *worker, struct shipment *const *group)
{
    visits_order(&worker->visits);
    datasets_beat(&worker->datasets);
    for (size_t bucket = 0, begin = 0; bucket < VISITS_BUCKETS; bucket++) {
        size_t end = worker->visits.ends[bucket];
        if (begin < end && must_leave(worker)) {
            worker->datasets.left_something = true;
            break; /* between datasets: of none a block is missing before one that it has */
        }
        if (begin < end) {
            bucket_work(worker, group, begin, end);
            wait_for_room(worker); /* a group may touch thousands */
        }
        begin = end;
    }
    publish(worker);
    memory_tell(worker);
    if (worker->datasets.postponed == 0)
        worker->datasets.postponed_reason[0] = '\0';
}

/* --- the thread --- */

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

/* The next shipments that are worked off together; 0: they are left to the journal. */
static uint16_t group_gather(struct worker *worker, struct shipment *shipment,
                             struct shipment **group)
{
    uint16_t count = 0;
    visits_clear(&worker->visits);
    while (shipment && count < WORKER_GROUP_MAX && worker->visits.count < WORKER_VISITS_MAX) {
        enum err err = ERR_STOPPED;
        if (!must_leave(worker))
            err = visits_add(&worker->visits, shipment->block, count, worker->options.index,
                             worker->options.count);
        if (err == ERR_STOPPED || (err != ERR_OK && count > 0))
            break;
        if (err != ERR_OK) {
            make_room(worker, err);
            continue;
        }
        group[count++] = shipment;
        shipment = shipment->next[worker->options.index];
    }
    return count;
}

static void shipment_done(struct worker *worker, struct shipment *shipment)
{
    shipment_unref(shipment);
    mutex_lock(&worker->lock);
    worker->queue_blocks--;
    mutex_unlock(&worker->lock);
}

/* Under a flood the queue has no end in sight: what is due does not wait for it. */
static void cut_meanwhile(struct worker *worker)
{
    int64_t due_ns;
    worker->datasets.pins_left = WORKER_PINS_MAX;
    datasets_cut_due(&worker->datasets, &due_ns);
}

static void shipments_work(struct worker *worker, struct shipment *shipment)
{
    uint32_t index = worker->options.index;
    while (shipment) {
        struct shipment *group[WORKER_GROUP_MAX];
        uint16_t count = group_gather(worker, shipment, group);
        worker->datasets.left_something |= count == 0;
        if (count > 0)
            group_work(worker, group);
        for (uint16_t i = 0; i < count || i == 0; i++) {
            struct shipment *next = shipment->next[index];
            shipment_done(worker, shipment);
            shipment = next;
        }
        if (shipment && count > 0)
            cut_meanwhile(worker);
    }
}

static void list_cut(struct worker *worker, const struct dataset_list *list)
{
    const struct dataset *last = list->last; /* what fails goes behind it, and has had its turn */
    for (struct dataset *dataset = list->first, *next; dataset; dataset = next) {
        enum err err = ERR_AGAIN;
        next = dataset == last ? NULL : dataset->next;
        while (datasets_may_cut(&worker->datasets, dataset) && !must_leave(worker) &&
               (err = datasets_cut(&worker->datasets, dataset)) != ERR_OK && err != ERR_STOPPED)
            pause_a_moment(worker);
        if (err != ERR_OK)
            worker->datasets.left_something = true;
    }
}

static void cut_all(struct worker *worker)
{
    worker->datasets.closing = true;
    for (int place = DATASET_OPEN; place < DATASET_PLACES; place++)
        list_cut(worker, &worker->datasets.lists[place]);
    memory_tell(worker);
}

/* What there is to do now. False: the worker is to stop, and nothing is left in its queue. */
static bool round_work(struct worker *worker, int64_t *wait_ns)
{
    struct errand errand;
    datasets_beat(&worker->datasets);
    errand_wait(worker, *wait_ns < WORKER_WAIT_MAX_NS ? *wait_ns : WORKER_WAIT_MAX_NS, &errand);
    datasets_beat(&worker->datasets);
    worker->datasets.pins_left = WORKER_PINS_MAX;
    worker->datasets.closing = errand.stopping;
    shipments_work(worker, errand.shipments);
    if (errand.end_of_recovery)
        datasets_recovery_end(&worker->datasets);
    datasets_cut_forced(&worker->datasets, errand.forced, errand.forced_count);
    datasets_cut_due(&worker->datasets, wait_ns);
    int64_t now = now_ns(worker);
    if (now - worker->swept_ns >= WORKER_SWEEP_NS) {
        worker->swept_ns = now;
        datasets_sweep(&worker->datasets, WORKER_IDLE_NS, 0);
    }
    int64_t pace_ns;
    if (datasets_cut_for_memory(&worker->datasets, &pace_ns) && pace_ns < *wait_ns)
        *wait_ns = pace_ns;
    memory_tell(worker);
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
    atomic_store(&worker->datasets.alive_ns, 0);
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
    datasets_init(&worker->datasets, &worker->options);
    visits_init(&worker->visits);
    worker->options.batch.tally = &worker->datasets.tally;
    worker->options.batch.pins_left = &worker->datasets.pins_left;
    worker->options.batch.lean = &worker->datasets.lean;
    if (options->metrics)
        service_metrics_tally_init(&worker->datasets.tally);
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
    return !worker->datasets.left_something;
}

void worker_free(struct worker *worker)
{
    if (!worker)
        return;
    for (struct shipment *shipment = worker->first, *next; shipment; shipment = next) {
        next = shipment->next[worker->options.index];
        shipment_unref(shipment);
    }
    datasets_fini(&worker->datasets);
    visits_fini(&worker->visits);
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

int64_t worker_alive_ns(const struct worker *worker)
{
    return atomic_load_explicit(&worker->datasets.alive_ns, memory_order_relaxed);
}

void worker_stats_get(struct worker *worker, struct worker_stats *ret_stats)
{
    mutex_lock(&worker->lock);
    *ret_stats = worker->stats;
    ret_stats->queue_blocks = worker->queue_blocks;
    mutex_unlock(&worker->lock);
}
