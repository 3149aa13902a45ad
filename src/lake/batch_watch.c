#include "lake/batch_watch.h"

static void count_store(_Atomic uint64_t *to, uint64_t value)
{
    atomic_store_explicit(to, value, memory_order_relaxed);
}

/* block_last goes last: who sees it sees the block's records too. */
static void open_show(struct batch_open *open, const struct batch_stats *stats,
                      size_t dead_letters_bytes)
{
    count_store(&open->records, stats->rows);
    count_store(&open->payload_bytes, stats->payload_bytes - dead_letters_bytes);
    atomic_store_explicit(&open->first_us, stats->first_us, memory_order_relaxed);
    atomic_store_explicit(&open->last_us, stats->last_us, memory_order_relaxed);
    atomic_store_explicit(&open->block_last, stats->block_last, memory_order_release);
}

void batch_watch_block(struct batch_watch *watch, const struct batch_options *options,
                       struct bytes dataset_id, const struct origins *origins,
                       const struct batch_stats *stats, size_t dead_letters_bytes)
{
    const struct batch_observer_ops *observer = options->observer;
    open_show(&watch->open, stats, dead_letters_bytes);
    if (watch->watched || !observer || !observer->watch || origins->route_count == 0)
        return;
    watch->watched =
        observer->watch(options->observer_ctx, dataset_id, origins->routes[0].view.topic,
                        &watch->open, &watch->state) == ERR_OK;
    watch->state_bytes = observer->memory_bytes(watch->state);
}

void batch_watch_clear(struct batch_watch *watch)
{
    atomic_store_explicit(&watch->open.block_last, 0, memory_order_release);
}

void batch_watch_end(struct batch_watch *watch, const struct batch_options *options)
{
    if (options->observer)
        options->observer->forget(watch->state);
    watch->state = NULL;
    watch->state_bytes = 0;
    watch->watched = false;
}
