/*
 * The batches that are open. Each is watched from its first block until it goes; its counts are
 * read where it keeps them, so a block costs ingestion some stores and no lock.
 *
 * A count moves from a batch into a segment and from there into the database, and is read in that
 * order: it may be seen twice, never not at all. What was seen twice is told by its place: a batch
 * whose last block is at or below a segment's end or the dataset's progress has been cut since, or
 * makes a range again that was counted before.
 */
#include "base/alloc.h"
#include "metadata/metadata_parts.h"

#define SLICE 512 /* batches in one hold of the lock */

static void observed_unwatch(struct observed *observed)
{
    struct metadata *metadata = observed->metadata;
    mutex_lock(&metadata->open_lock);
    struct observed *last = metadata->open_batches[--metadata->open_count];
    metadata->open_batches[observed->place] = last;
    last->place = observed->place;
    mutex_unlock(&metadata->open_lock);
    mem_free(observed->id);
    mem_free(observed->topic);
}

void observer_forget(void *state)
{
    struct observed *observed = state;
    if (!observed)
        return;
    if (observed->open)
        observed_unwatch(observed);
    told_free(observed->told);
    buf_fini(&observed->change);
    mem_free(observed);
}

size_t observer_memory_bytes(const void *state)
{
    const struct observed *observed = state;
    if (!observed)
        return 0;
    return sizeof(*observed) + told_memory_bytes(observed->told) + observed->id_size +
           observed->topic_size + sizeof(void *);
}

enum err observed_get(struct metadata *metadata, void **state)
{
    struct observed *observed = *state ? *state : mem_zalloc(1, sizeof(*observed));
    uint64_t generation = atomic_load(&metadata->generation);
    if (!observed)
        return ERR_NO_MEMORY;
    *state = observed;
    observed->metadata = metadata;
    if (observed->generation != generation) {
        told_free(observed->told);
        observed->told = NULL;
        observed->generation = generation;
    }
    return ERR_OK;
}

static bool open_room(struct metadata *metadata)
{
    if (metadata->open_count < metadata->open_capacity)
        return true;
    size_t capacity = metadata->open_capacity ? metadata->open_capacity * 2 : 64;
    void *grown = mem_realloc(metadata->open_batches, capacity * sizeof(struct observed *));
    if (!grown)
        return false;
    metadata->open_batches = grown;
    metadata->open_capacity = capacity;
    return true;
}

enum err observer_watch(void *ctx, struct bytes id, struct bytes topic,
                        const struct batch_open *open, void **state)
{
    struct metadata *metadata = ctx;
    enum err err = observed_get(metadata, state);
    if (err != ERR_OK)
        return err;
    struct observed *observed = *state;
    uint8_t *own_id = mem_dup(id.data, id.size);
    uint8_t *own_topic = mem_dup(topic.data ? topic.data : (const uint8_t *)"", topic.size);
    mutex_lock(&metadata->open_lock);
    bool done = own_id && own_topic && open_room(metadata);
    if (done) {
        observed->open = open;
        observed->place = metadata->open_count;
        observed->id = own_id;
        observed->id_size = id.size;
        observed->topic = own_topic;
        observed->topic_size = topic.size;
        metadata->open_batches[metadata->open_count++] = observed;
    }
    mutex_unlock(&metadata->open_lock);
    if (done)
        return ERR_OK;
    mem_free(own_id);
    mem_free(own_topic);
    return ERR_NO_MEMORY;
}

/* False: there is nothing in it. */
static bool open_read(const struct observed *observed, struct open_counts *ret_counts)
{
    const struct batch_open *open = observed->open;
    ret_counts->through = atomic_load_explicit(&open->block_last, memory_order_acquire);
    ret_counts->records = atomic_load_explicit(&open->records, memory_order_relaxed);
    ret_counts->payload_bytes = atomic_load_explicit(&open->payload_bytes, memory_order_relaxed);
    ret_counts->first_us = atomic_load_explicit(&open->first_us, memory_order_relaxed);
    ret_counts->last_us = atomic_load_explicit(&open->last_us, memory_order_relaxed);
    return ret_counts->through > 0 && (ret_counts->records > 0 || ret_counts->payload_bytes > 0);
}

/* From the end: one that goes is replaced by the last, which has been seen. One may be seen twice.
 */
enum err open_each(struct metadata *metadata,
                   enum err (*on_open)(void *ctx, struct bytes id, struct bytes topic,
                                       const struct open_counts *counts),
                   void *ctx)
{
    size_t left = SIZE_MAX;
    enum err err = ERR_OK;
    while (left > 0 && err == ERR_OK) {
        mutex_lock(&metadata->open_lock);
        left = left < metadata->open_count ? left : metadata->open_count;
        size_t end = left > SLICE ? left - SLICE : 0;
        for (; left > end && err == ERR_OK; left--) {
            const struct observed *observed = metadata->open_batches[left - 1];
            struct open_counts counts;
            if (open_read(observed, &counts))
                err = on_open(ctx, bytes_from(observed->id, observed->id_size),
                              bytes_from(observed->topic, observed->topic_size), &counts);
        }
        mutex_unlock(&metadata->open_lock);
    }
    return err;
}
