/* Which batches are open, and when they are cut; the invariants stand at the head of worker.c. */
#include "pipeline/datasets.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <stdio.h>

#define DATASETS_POSTPONE_NS NS_PER_S
#define DATASETS_MEMORY_CUTS 32

static int64_t now_ns(const struct datasets *datasets)
{
    return clock_monotonic_ns(datasets->options->clock);
}

void datasets_init(struct datasets *datasets, const struct worker_options *options)
{
    *datasets = (struct datasets){.options = options};
    map_init(&datasets->by_id);
}

static void dataset_free(struct dataset *dataset)
{
    if (!dataset)
        return;
    batch_free(dataset->batch);
    mem_free(dataset->id);
    mem_free(dataset);
}

static enum err dataset_new(struct datasets *datasets, const struct route_view *route,
                            uint64_t hash, struct dataset **ret_dataset)
{
    struct dataset *dataset = mem_zalloc(1, sizeof(*dataset));
    if (!dataset)
        return ERR_NO_MEMORY;
    dataset->id = mem_dup(route->dataset_id.data, route->dataset_id.size);
    dataset->id_size = route->dataset_id.size;
    dataset->hash = hash;
    enum err err = dataset->id ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = batch_new(&datasets->options->batch, route->dataset_id, &dataset->batch);
    if (err == ERR_OK)
        err = account_get(datasets->options->book, route->source_id, route->source_type,
                          &dataset->account);
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
    return dataset_new(datasets, &route, block->routes[route_index].dataset_hash, ret_dataset);
}

static void open_remove(struct datasets *datasets, struct dataset *dataset)
{
    if (!dataset->open)
        return;
    *(dataset->open_previous ? &dataset->open_previous->open_next : &datasets->open_first) =
        dataset->open_next;
    *(dataset->open_next ? &dataset->open_next->open_previous : &datasets->open_last) =
        dataset->open_previous;
    dataset->open = false;
    datasets->open_count--;
}

void datasets_open(struct datasets *datasets, struct dataset *dataset)
{
    dataset->open_next = NULL;
    dataset->open_previous = datasets->open_last;
    *(datasets->open_last ? &datasets->open_last->open_next : &datasets->open_first) = dataset;
    datasets->open_last = dataset;
    dataset->open = true;
    datasets->open_count++;
}

void datasets_measure(struct datasets *datasets, struct dataset *dataset,
                      struct batch_stats *ret_stats)
{
    batch_stats_get(dataset->batch, ret_stats);
    datasets->memory_bytes += ret_stats->memory_bytes - dataset->memory_bytes;
    datasets->open_messages += ret_stats->messages - dataset->messages;
    dataset->memory_bytes = ret_stats->memory_bytes;
    dataset->messages = ret_stats->messages;
}

void datasets_count(struct datasets *datasets, const struct dataset *dataset)
{
    if (datasets->options->metrics)
        service_metrics_tally(datasets->options->metrics, &dataset->metrics, &datasets->tally);
    batch_tally_clear(&datasets->tally);
}

/* --- cuts --- */

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
    datasets->postponed += !dataset->postponed;
    dataset->postponed = true;
    snprintf(datasets->postponed_reason, sizeof(datasets->postponed_reason), "%.255s",
             diag->text[0] ? diag->text : err_text(err));
    dataset->retry_ns = now_ns(datasets) + DATASETS_POSTPONE_NS;
    open_remove(datasets, dataset);
    datasets_open(datasets, dataset);
}

bool datasets_may_cut(const struct datasets *datasets, const struct dataset *dataset)
{
    return dataset->redo_cut == 0 || datasets->recovery_over;
}

enum err datasets_cut(struct datasets *datasets, struct dataset *dataset)
{
    struct cut cut;
    struct diag diag = {0};
    struct batch_stats stats;
    /* Room for the job first: once batch_cut has succeeded there is no way back. */
    struct land_job *job = NULL;
    enum err err = job_new(dataset, &(struct cut){0}, &job);
    if (err == ERR_OK)
        err = batch_cut(dataset->batch, &cut, &diag);
    datasets_measure(datasets, dataset, &stats);
    if (err != ERR_OK) {
        land_job_free(job);
        cut_postpone(datasets, dataset, err, &diag);
        return err;
    }
    job->cut = cut;
    job->through = cut.stats.block_last;
    flush_pace_charge(datasets->options->pace, cut.file_count > 0 ? cut.file_count - 1 : 0,
                      now_ns(datasets));
    datasets_count(datasets, dataset);
    if (job->through > dataset->cut_through)
        dataset->cut_through = job->through; /* a range made again lies below it */
    dataset->redo_cut = 0;
    dataset->retry_ns = 0;
    datasets->postponed -= dataset->postponed;
    dataset->postponed = false;
    if (datasets->postponed == 0)
        datasets->postponed_reason[0] = '\0';
    open_remove(datasets, dataset);
    if (dataset->messages > 0) { /* cannot be: a cut empties the batch */
        dataset->opened_ns = now_ns(datasets);
        datasets_open(datasets, dataset);
    }
    err = datasets->options->land(datasets->options->ctx, job);
    if (err != ERR_OK) {
        datasets->left_something = true; /* the journal has it */
        land_job_free(job);
    }
    return err;
}

void datasets_cut_due(struct datasets *datasets, int64_t *ret_wait_ns)
{
    int64_t now = now_ns(datasets);
    *ret_wait_ns = 60 * NS_PER_S;
    for (struct dataset *dataset = datasets->open_first, *next; dataset; dataset = next) {
        next = dataset->open_next;
        int64_t wait_ns = dataset->retry_ns - now;
        if (!datasets_may_cut(datasets, dataset))
            continue;
        if (wait_ns <= 0 &&
            flush_pace_take(datasets->options->pace, dataset->opened_ns, now, &wait_ns)) {
            enum err err = datasets_cut(datasets, dataset);
            if (err == ERR_STOPPED)
                return;
            /* It stands at the end of the list now, perhaps behind where this walk ends. */
            if (err != ERR_OK && *ret_wait_ns > DATASETS_POSTPONE_NS)
                *ret_wait_ns = DATASETS_POSTPONE_NS;
            continue;
        }
        if (wait_ns < *ret_wait_ns)
            *ret_wait_ns = wait_ns;
        if (dataset->retry_ns == 0 && datasets->postponed == 0)
            return; /* those behind it are younger (but not those that were postponed) */
    }
}

struct dataset *datasets_largest(struct datasets *datasets)
{
    struct dataset *largest = NULL;
    for (struct dataset *dataset = datasets->open_first; dataset; dataset = dataset->open_next)
        if (datasets_may_cut(datasets, dataset) &&
            (!largest || dataset->memory_bytes > largest->memory_bytes))
            largest = dataset;
    return largest;
}

/* What is closed and kept for its schema goes first; then the largest are cut, a few at a time, so
 * that the worker goes on and looks at the clock between them. */
void datasets_cut_for_memory(struct datasets *datasets)
{
    if (datasets->memory_bytes <= datasets->options->memory_max_bytes)
        return;
    datasets_sweep(datasets, 0);
    for (int i = 0;
         i < DATASETS_MEMORY_CUTS && datasets->memory_bytes > datasets->options->memory_max_bytes;
         i++) {
        struct dataset *largest = datasets_largest(datasets);
        if (!largest || datasets_cut(datasets, largest) != ERR_OK)
            return;
    }
}

void datasets_cut_forced(struct datasets *datasets, const uint64_t *hashes, uint32_t count)
{
    for (struct dataset *dataset = datasets->open_first, *next; dataset && count > 0;
         dataset = next) {
        next = dataset->open_next;
        for (uint32_t i = 0; i < count; i++) {
            if (hashes[i] == dataset->hash && datasets_may_cut(datasets, dataset)) {
                (void)!datasets_cut(datasets, dataset);
                break;
            }
        }
    }
}

void datasets_cut_redone(struct datasets *datasets)
{
    for (struct dataset *dataset = datasets->open_first, *next; dataset; dataset = next) {
        next = dataset->open_next;
        if (dataset->redo_cut != 0)
            (void)!datasets_cut(datasets, dataset);
    }
}

void datasets_sweep(struct datasets *datasets, int64_t idle_ns)
{
    int64_t now = now_ns(datasets);
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&datasets->by_id, &cursor));) {
        struct dataset *dataset = entry->value;
        if (dataset->open || now - dataset->used_ns < idle_ns)
            continue;
        map_remove(&datasets->by_id, bytes_from(dataset->id, dataset->id_size));
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
