/* Which batches are open, and when they are cut; the invariants stand at the head of worker.c. */
#include "pipeline/datasets.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "pipeline/dataset_pins.h"

#include <stdio.h>

/* The first time, for a look at the lake takes milliseconds; then twice as long, up to 64 times. */
#define DATASETS_POSTPONE_NS (NS_PER_S / 8)
/* Of cuts that are due, in one go: what is in the queue cannot be read in /api/data before. */
#define DATASETS_CUT_SLICE_NS (10 * NS_PER_MS)
#define DATASETS_RETRIES      256 /* of postponed cuts in one go */
/* A dataset costs this beside its batch: here, and as what others know of it. */
#define DATASET_BYTES       (sizeof(struct dataset) + LIMIT_DATASET_ID_BYTES + 512)
#define SIZE_NONE           UINT8_MAX
#define DATASETS_LEAN_SHARE 4
#define DATASETS_KEPT_MAX   64 /* idle ones that have not landed, before a sweep gives up */

static int64_t now_ns(const struct datasets *datasets)
{
    return clock_monotonic_ns(datasets->options->clock);
}

void datasets_init(struct datasets *datasets, const struct worker_options *options)
{
    *datasets = (struct datasets){.options = options};
    map_init(&datasets->by_id);
}

void datasets_beat(struct datasets *datasets)
{
    atomic_store_explicit(&datasets->alive_ns, now_ns(datasets), memory_order_relaxed);
}

/* Long before batches are cut for their memory. */
static void lean_settle(struct datasets *datasets)
{
    datasets->lean = datasets->memory_bytes > datasets_memory_max(datasets) / DATASETS_LEAN_SHARE;
}

/* --- lists --- */

static void list_add(struct datasets *datasets, struct dataset *dataset, enum dataset_place place)
{
    struct dataset_list *list = &datasets->lists[place];
    dataset->next = NULL;
    dataset->previous = list->last;
    *(list->last ? &list->last->next : &list->first) = dataset;
    list->last = dataset;
    dataset->place = place;
    datasets->open_count += place != DATASET_IDLE;
}

static void list_remove(struct datasets *datasets, struct dataset *dataset)
{
    if (dataset->place == DATASET_NOWHERE)
        return;
    struct dataset_list *list = &datasets->lists[dataset->place];
    *(dataset->previous ? &dataset->previous->next : &list->first) = dataset->next;
    *(dataset->next ? &dataset->next->previous : &list->last) = dataset->previous;
    datasets->open_count -= dataset_is_open(dataset);
    dataset->place = DATASET_NOWHERE;
}

static void size_remove(struct datasets *datasets, struct dataset *dataset)
{
    if (dataset->size_class == SIZE_NONE)
        return;
    struct dataset **first = &datasets->sizes[dataset->size_class];
    *(dataset->size_previous ? &dataset->size_previous->size_next : first) = dataset->size_next;
    if (dataset->size_next)
        dataset->size_next->size_previous = dataset->size_previous;
    if (!*first)
        datasets->sizes_used &= ~(UINT64_C(1) << dataset->size_class);
    dataset->size_class = SIZE_NONE;
}

/* Where it belongs by now: nowhere unless it may be cut. */
static void size_settle(struct datasets *datasets, struct dataset *dataset)
{
    uint8_t class = SIZE_NONE;
    if (dataset->place == DATASET_OPEN && datasets_may_cut(datasets, dataset))
        class = (uint8_t)(63 - __builtin_clzll((unsigned long long)dataset->memory_bytes | 1));
    if (class == dataset->size_class)
        return;
    size_remove(datasets, dataset);
    if (class == SIZE_NONE)
        return;
    struct dataset **first = &datasets->sizes[class];
    dataset->size_previous = NULL;
    dataset->size_next = *first;
    if (*first)
        (*first)->size_previous = dataset;
    *first = dataset;
    dataset->size_class = class;
    datasets->sizes_used |= UINT64_C(1) << class;
}

/* --- datasets --- */

static void dataset_free(struct dataset *dataset)
{
    if (!dataset)
        return;
    batch_free(dataset->batch);
    mem_free(dataset->shares);
    mem_free(dataset->id);
    mem_free(dataset);
}

static enum err dataset_new(struct datasets *datasets, const struct route_view *route,
                            uint64_t hash, struct dataset **ret_dataset)
{
    struct dataset *dataset = mem_zalloc(1, sizeof(*dataset));
    if (!dataset)
        return ERR_NO_MEMORY;
    dataset->place = DATASET_NOWHERE;
    dataset->size_class = SIZE_NONE;
    dataset->used_ns = now_ns(datasets);
    dataset->id = mem_dup(route->dataset_id.data, route->dataset_id.size);
    dataset->id_size = route->dataset_id.size;
    dataset->hash = hash;
    enum err err = dataset->id ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = batch_new(&datasets->options->batch, route->dataset_id, &dataset->batch);
    if (err == ERR_OK)
        err = account_get(datasets->options->book, route->source_id, &dataset->account);
    if (err == ERR_OK && datasets->options->metrics)
        err = service_metrics_dataset(datasets->options->metrics, route->source_type,
                                      route->dataset_id, &dataset->metrics);
    if (err == ERR_OK)
        err = map_put(&datasets->by_id, route->dataset_id, dataset);
    if (err != ERR_OK) {
        dataset_free(dataset);
        return err;
    }
    dataset->cut_through =
        datasets->options->landed_through(datasets->options->ctx, route->dataset_id);
    dataset->filed_through =
        datasets->options->filed_through(datasets->options->ctx, route->dataset_id);
    list_add(datasets, dataset, DATASET_IDLE);
    *ret_dataset = dataset;
    return ERR_OK;
}

enum err datasets_get(struct datasets *datasets, const struct block *block, uint32_t route_index,
                      struct dataset **ret_dataset)
{
    struct bytes source_id;
    struct bytes id;
    struct route_view route;
    block_route_ids(block, route_index, &source_id, &id);
    *ret_dataset = map_get(&datasets->by_id, id);
    if (*ret_dataset)
        return ERR_OK;
    block_route_get(block, route_index, &route);
    lean_settle(datasets);
    return dataset_new(datasets, &route, block->routes[route_index].dataset_hash, ret_dataset);
}

static bool is_postponed(const struct dataset *dataset)
{
    return dataset->place >= DATASET_POSTPONED && dataset->place < DATASET_PLACES;
}

static void sum_move(size_t *sum, size_t *part, size_t now)
{
    *sum += now - *part;
    *part = now;
}

static void waiting_add(struct account *account, uint64_t bytes)
{
    if (bytes == 0)
        return; /* as a rule, and each write would take the line from the other workers */
    atomic_fetch_add_explicit(&account->waiting_bytes, bytes, memory_order_relaxed);
}

enum err datasets_share(struct datasets *datasets, struct dataset *dataset, struct bytes source_id,
                        struct account **ret_account, struct dataset_share **ret_share)
{
    *ret_account = dataset->account;
    *ret_share = NULL;
    if (bytes_equal_text(source_id, dataset->account->source_id))
        return ERR_OK;
    enum err err = account_get(datasets->options->book, source_id, ret_account);
    if (err != ERR_OK)
        return err;
    for (uint32_t i = 0; i < dataset->share_count; i++)
        if (dataset->shares[i].account == *ret_account)
            *ret_share = &dataset->shares[i];
    if (*ret_share || dataset->share_count == DATASETS_SHARES_MAX)
        return ERR_OK;
    struct dataset_share *shares =
        mem_realloc(dataset->shares, (dataset->share_count + 1) * sizeof(*shares));
    if (!shares)
        return ERR_NO_MEMORY;
    dataset->shares = shares;
    *ret_share = &shares[dataset->share_count++];
    **ret_share = (struct dataset_share){.account = *ret_account};
    waiting_add(*ret_account, dataset->waiting_bytes);
    return ERR_OK;
}

/* What of the dataset's memory is counted where. */
static void memory_settle(struct datasets *datasets, struct dataset *dataset)
{
    size_t waiting = is_postponed(dataset) ? dataset->memory_bytes : 0;
    size_t redo = dataset->redo_cut != 0 ? dataset->memory_bytes : 0;
    uint64_t grown = (uint64_t)waiting - dataset->waiting_bytes;
    waiting_add(dataset->account, grown);
    for (uint32_t i = 0; i < dataset->share_count; i++)
        waiting_add(dataset->shares[i].account, grown); /* each of them would bring more */
    sum_move(&datasets->waiting_bytes, &dataset->waiting_bytes, waiting);
    sum_move(&datasets->redo_bytes, &dataset->redo_bytes, redo);
    size_settle(datasets, dataset);
}

static void place_move(struct datasets *datasets, struct dataset *dataset, enum dataset_place place)
{
    datasets->postponed -= is_postponed(dataset);
    list_remove(datasets, dataset);
    list_add(datasets, dataset, place);
    datasets->postponed += is_postponed(dataset);
    memory_settle(datasets, dataset);
}

void datasets_open(struct datasets *datasets, struct dataset *dataset)
{
    place_move(datasets, dataset, DATASET_OPEN);
}

void datasets_measure(struct datasets *datasets, struct dataset *dataset,
                      struct batch_stats *ret_stats)
{
    batch_stats_get(dataset->batch, ret_stats);
    sum_move(&datasets->memory_bytes, &dataset->memory_bytes,
             ret_stats->memory_bytes + DATASET_BYTES);
    datasets->open_messages += ret_stats->messages - dataset->messages;
    dataset->messages = ret_stats->messages;
    memory_settle(datasets, dataset);
}

void datasets_count(struct datasets *datasets, const struct dataset *dataset)
{
    if (datasets->options->metrics)
        service_metrics_tally(datasets->options->metrics, &dataset->metrics, &datasets->tally);
    batch_tally_clear(&datasets->tally);
}

/* --- cuts --- */

void land_job_free(struct land_job *job)
{
    if (!job)
        return;
    cut_fini(&job->cut);
    mem_free(job->dataset_id);
    mem_free(job);
}

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

static void cut_postpone(struct datasets *datasets, struct dataset *dataset, enum err err,
                         const struct diag *diag)
{
    if (err != ERR_BUSY || dataset->wait > 0) /* a new dataset's first look at the lake is short */
        snprintf(datasets->postponed_reason, sizeof(datasets->postponed_reason), "%.511s",
                 diag->text[0] ? diag->text : err_text(err));
    dataset->foreseen = false;
    dataset->retry_ns = now_ns(datasets) + (DATASETS_POSTPONE_NS << dataset->wait);
    place_move(datasets, dataset, DATASET_POSTPONED + dataset->wait);
    if (dataset->wait + 1 < DATASETS_WAITS)
        dataset->wait++;
}

bool datasets_may_cut(const struct datasets *datasets, const struct dataset *dataset)
{
    return dataset->redo_cut == 0 || datasets->recovery_over;
}

static struct bytes dataset_id(const struct dataset *dataset)
{
    return bytes_from(dataset->id, dataset->id_size);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* A range made again counts for one source, as it was counted received. */
static enum err shares_tell(struct datasets *datasets, const struct dataset *dataset)
{
    struct batch_stats stats;
    struct account_part parts[DATASETS_SHARES_MAX + 1];
    if (dataset->share_count == 0 || dataset->redo_cut != 0)
        return ERR_OK;
    batch_stats_get(dataset->batch, &stats);
    parts[0] = (struct account_part){bytes_from_text(dataset->account->source_id), stats.messages,
                                     stats.rejected};
    for (uint32_t i = 0; i < dataset->share_count; i++) {
        const struct dataset_share *share = &dataset->shares[i];
        struct account_part *part = &parts[i + 1];
        /* less where a block was taken out and left to the journal, at the end of the service */
        *part = (struct account_part){
            .source_id = bytes_from_text(share->account->source_id),
            .messages = least(share->messages, parts[0].messages),
            .rejected = least(share->rejected, parts[0].rejected),
        };
        parts[0].messages -= part->messages;
        parts[0].rejected -= part->rejected;
    }
    return account_cut_tell(datasets->options->book, dataset_id(dataset), stats.block_last, parts,
                            dataset->share_count + 1);
}

static void shares_forget(struct datasets *datasets, const struct dataset *dataset)
{
    struct batch_stats stats;
    batch_stats_get(dataset->batch, &stats);
    if (dataset->share_count > 0)
        account_cut_forget(datasets->options->book, dataset_id(dataset), stats.block_last);
}

enum err datasets_cut(struct datasets *datasets, struct dataset *dataset)
{
    struct cut cut;
    struct diag diag = {0};
    struct batch_stats stats;
    /* Room for the job first: once batch_cut has succeeded there is no way back. */
    struct land_job *job = NULL;
    if (datasets->halted)
        return ERR_STOPPED;
    lean_settle(datasets);
    dataset_pins_ahead(datasets, dataset);
    enum err err = job_new(dataset, &(struct cut){0}, &job);
    if (err == ERR_OK)
        err = shares_tell(datasets, dataset);
    batch_follow(dataset->batch, dataset->redo_cut == 0 ? dataset->filed_through : 0);
    if (err == ERR_OK)
        err = batch_cut(dataset->batch, &cut, &diag);
    datasets_measure(datasets, dataset, &stats);
    if (err != ERR_OK) {
        land_job_free(job);
        shares_forget(datasets, dataset);
        cut_postpone(datasets, dataset, err, &diag);
        return err;
    }
    job->cut = cut;
    job->through = cut.stats.block_last;
    flush_pace_charge(datasets->options->pace, cut.file_count > 0 ? cut.file_count - 1 : 0,
                      now_ns(datasets));
    datasets_count(datasets, dataset);
    if (cut.file_count > 0 && job->through > dataset->filed_through)
        dataset->filed_through = job->through;
    if (job->through > dataset->cut_through)
        dataset->cut_through = job->through; /* a range made again lies below it */
    dataset->redo_cut = 0;
    dataset->foreseen = false;
    dataset->recovered_us = 0;
    dataset->retry_ns = 0;
    dataset->wait = 0;
    place_move(datasets, dataset, DATASET_IDLE);
    dataset->share_count = 0;
    if (datasets->postponed == 0)
        datasets->postponed_reason[0] = '\0';
    atomic_store_explicit(&datasets->alive_ns, 0, memory_order_relaxed);
    err = datasets->options->land(datasets->options->ctx, job);
    datasets_beat(datasets);
    if (err != ERR_OK) {
        datasets->left_something = true; /* the journal has it */
        land_job_free(job);
    }
    return err;
}

/* Those of the open list that are old enough. ERR_STOPPED, or ERR_OK. */
static enum err open_cut_due(struct datasets *datasets, int64_t now, int64_t *wait_ns)
{
    for (struct dataset *dataset = datasets->lists[DATASET_OPEN].first, *next; dataset;
         dataset = next) {
        int64_t left_ns = 0;
        next = dataset->next;
        if (!datasets_may_cut(datasets, dataset))
            continue;
        if (!flush_pace_take(datasets->options->pace, dataset->opened_ns, now, &left_ns)) {
            if (left_ns < *wait_ns)
                *wait_ns = left_ns;
            return ERR_OK; /* those behind it are younger */
        }
        enum err err = datasets_cut(datasets, dataset);
        if (err == ERR_STOPPED)
            return err;
        if (err != ERR_OK) {
            flush_pace_give_back(datasets->options->pace);
            if (*wait_ns > DATASETS_POSTPONE_NS)
                *wait_ns = DATASETS_POSTPONE_NS;
        } else if (next && now_ns(datasets) - now >= DATASETS_CUT_SLICE_NS) {
            *wait_ns = 0; /* the rest after a look at the queue */
            return ERR_OK;
        }
    }
    return ERR_OK;
}

/* Whether a postponed cut is to be tried now; if not, *ret_left_ns says when to ask again. When
 * memory is short its age does not matter. */
static bool is_retry_due(struct datasets *datasets, const struct dataset *dataset, int64_t now,
                         int64_t *ret_left_ns)
{
    struct flush_pace *pace = datasets->options->pace;
    *ret_left_ns = dataset->retry_ns - now;
    if (*ret_left_ns > 0)
        return false;
    *ret_left_ns = DATASETS_POSTPONE_NS;
    if (!datasets_may_cut(datasets, dataset))
        return false;
    if (datasets->memory_bytes > datasets_memory_max(datasets) / 2)
        return flush_pace_take_early(pace, now, ret_left_ns);
    return flush_pace_take(pace, dataset->opened_ns, now, ret_left_ns);
}

/* Those whose wait is over. */
static enum err postponed_cut_due(struct datasets *datasets, enum dataset_place place, int64_t now,
                                  int64_t *wait_ns)
{
    const struct dataset_list *list = &datasets->lists[place];
    for (int i = 0; list->first; i++) {
        struct dataset *dataset = list->first;
        int64_t left_ns = 0; /* the rest after a look at the queue */
        if (i == DATASETS_RETRIES || now_ns(datasets) - now >= DATASETS_CUT_SLICE_NS ||
            !is_retry_due(datasets, dataset, now, &left_ns)) {
            if (left_ns < *wait_ns)
                *wait_ns = left_ns;
            return ERR_OK;
        }
        /* It stands elsewhere afterwards, or with a later time at the end. */
        enum err err = datasets_cut(datasets, dataset);
        if (err == ERR_STOPPED)
            return err;
        if (err != ERR_OK)
            flush_pace_give_back(datasets->options->pace);
    }
    return ERR_OK;
}

void datasets_cut_due(struct datasets *datasets, int64_t *ret_wait_ns)
{
    int64_t now = now_ns(datasets);
    *ret_wait_ns = 60 * NS_PER_S;
    enum err err = ERR_OK;
    for (int place = DATASET_POSTPONED; place < DATASET_PLACES && err == ERR_OK; place++)
        err = postponed_cut_due(datasets, (enum dataset_place)place, now, ret_wait_ns);
    if (err == ERR_OK)
        err = open_cut_due(datasets, now, ret_wait_ns);
    (void)!err; /* the worker is to stop, and sees that itself */
}

int64_t datasets_oldest_ns(const struct datasets *datasets)
{
    int64_t oldest_ns = 0;
    for (int place = DATASET_OPEN; place < DATASET_PLACES; place++) {
        const struct dataset *first = datasets->lists[place].first;
        if (first && (oldest_ns == 0 || first->opened_ns < oldest_ns))
            oldest_ns = first->opened_ns;
    }
    return oldest_ns;
}

void datasets_cut_forced(struct datasets *datasets, const uint64_t *hashes, uint32_t count)
{
    for (struct dataset *dataset = datasets->lists[DATASET_OPEN].first, *next; dataset && count > 0;
         dataset = next) {
        next = dataset->next;
        for (uint32_t i = 0; i < count; i++) {
            if (hashes[i] == dataset->hash && datasets_may_cut(datasets, dataset)) {
                (void)!datasets_cut(datasets, dataset);
                break;
            }
        }
    }
}

static void cut_redone(struct datasets *datasets)
{
    for (struct dataset *dataset = datasets->lists[DATASET_OPEN].first, *next; dataset;
         dataset = next) {
        next = dataset->next;
        size_settle(datasets, dataset); /* it may be cut from now on */
        if (dataset->redo_cut != 0)
            (void)!datasets_cut(datasets, dataset);
    }
}

/* The list stays in the order of age: clocks may have jumped between its messages. */
static void age_recovered(struct datasets *datasets)
{
    const int64_t interval_us = datasets->options->pace->interval_ns / NS_PER_US;
    const int64_t now = now_ns(datasets);
    const int64_t now_us = clock_realtime_us(datasets->options->clock);
    int64_t before_ns = INT64_MIN;
    for (struct dataset *dataset = datasets->lists[DATASET_OPEN].first; dataset;
         dataset = dataset->next) {
        int64_t age_us = dataset->recovered_us != 0 ? now_us - dataset->recovered_us : 0;
        if (age_us > interval_us)
            age_us = interval_us;
        if (age_us > 0 && now - age_us * NS_PER_US < dataset->opened_ns)
            dataset->opened_ns = now - age_us * NS_PER_US;
        if (dataset->opened_ns < before_ns)
            dataset->opened_ns = before_ns;
        before_ns = dataset->opened_ns;
    }
}

void datasets_recovery_end(struct datasets *datasets)
{
    datasets->recovery_over = true;
    cut_redone(datasets);
    age_recovered(datasets);
}

/* What a dataset's next range begins after the journal knows only when the last one has landed.
 * (What it has forgotten since is as good as not landed: that one goes when it is idle for long.)
 */
static bool is_landed(const struct datasets *datasets, const struct dataset *dataset)
{
    const struct worker_options *options = datasets->options;
    return dataset->cut_through <= options->landed_through(options->ctx, dataset_id(dataset));
}

void datasets_sweep(struct datasets *datasets, int64_t idle_ns, size_t memory_bytes)
{
    int64_t now = now_ns(datasets);
    int kept = 0;
    for (struct dataset *dataset = datasets->lists[DATASET_IDLE].first, *next;
         dataset && kept < DATASETS_KEPT_MAX; dataset = next) {
        next = dataset->next;
        if (now - dataset->used_ns < idle_ns || datasets->memory_bytes <= memory_bytes)
            return;
        if (idle_ns == 0 && !is_landed(datasets, dataset)) {
            kept++;
            continue;
        }
        list_remove(datasets, dataset);
        map_remove(&datasets->by_id, dataset_id(dataset));
        datasets->memory_bytes -= dataset->memory_bytes;
        dataset_free(dataset);
    }
}

void datasets_fini(struct datasets *datasets)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&datasets->by_id, &cursor));)
        dataset_free(entry->value);
    map_fini(&datasets->by_id);
}
