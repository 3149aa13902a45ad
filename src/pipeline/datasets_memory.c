/* What is cut, and given up, because memory is short. */
#include "pipeline/datasets.h"

#include "base/limits.h"

#define DATASETS_MEMORY_CUTS 32
/* A batch of so many bytes of payload is worth a file: when memory is short it does not wait for
 * the pace, which is there to keep small files few. */
#define DATASETS_WORTH_BYTES (64 * KIB)
/* What waits for a database or the store takes no more than this from what can be cut. */
#define DATASETS_CUTTABLE_SHARE 4

size_t datasets_memory_max(const struct datasets *datasets)
{
    const struct worker_options *options = datasets->options;
    uint64_t less_bytes =
        options->memory ? memory_gauge_batches_less(options->memory) / options->count : 0;
    size_t max = options->memory_max_bytes;
    return less_bytes < max / 4 * 3 ? max - less_bytes : max / 4;
}

struct dataset *datasets_largest(struct datasets *datasets)
{
    for (uint64_t left = datasets->sizes_used; left != 0;) {
        int class = 63 - __builtin_clzll(left);
        for (struct dataset *dataset = datasets->sizes[class]; dataset;
             dataset = dataset->size_next)
            if (!dataset->touched)
                return dataset;
        left &= ~(UINT64_C(1) << class);
    }
    return NULL;
}

/* What can be cut has a share of its own, however much waits: it would be cut to pieces else. */
static bool is_too_much(const struct datasets *datasets)
{
    size_t max = datasets_memory_max(datasets);
    size_t cuttable = datasets->memory_bytes - datasets->waiting_bytes;
    return datasets->memory_bytes > max && cuttable > max / DATASETS_CUTTABLE_SHARE;
}

/* What waits for the pace is held in memory, so nothing more comes in meanwhile (worker.c). */
static bool may_cut_largest(struct datasets *datasets, const struct dataset *largest,
                            int64_t *ret_wait_ns)
{
    struct batch_stats stats;
    batch_stats_get(largest->batch, &stats);
    return datasets->closing || stats.payload_bytes >= DATASETS_WORTH_BYTES ||
           flush_pace_take_early(datasets->options->pace,
                                 clock_monotonic_ns(datasets->options->clock), ret_wait_ns);
}

/* A few at a time, so that the worker goes on and looks at the clock between them. */
bool datasets_cut_for_memory(struct datasets *datasets, int64_t *ret_wait_ns)
{
    size_t max = datasets_memory_max(datasets);
    bool more = true;
    *ret_wait_ns = 0;
    if (is_too_much(datasets))
        datasets_sweep(datasets, 0, max);
    datasets->cutting_largest = true;
    for (int i = 0; i < DATASETS_MEMORY_CUTS && is_too_much(datasets) && more; i++) {
        struct dataset *largest = datasets_largest(datasets);
        if (largest && !may_cut_largest(datasets, largest, ret_wait_ns))
            break;
        /* one that cannot be cut waits now, and is not the largest any more */
        more = largest && datasets_cut(datasets, largest) != ERR_STOPPED;
    }
    datasets->cutting_largest = false;
    return more && is_too_much(datasets);
}
