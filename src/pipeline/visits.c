#include "pipeline/visits.h"

#include "base/alloc.h"

#define BUCKET_SHIFT 54 /* the low bits chose the worker */

void visits_init(struct visits *visits)
{
    *visits = (struct visits){0};
}

void visits_fini(struct visits *visits)
{
    mem_free(visits->gathered);
    mem_free(visits->ordered);
    visits_init(visits);
}

void visits_clear(struct visits *visits)
{
    visits->count = 0;
}

static enum err visits_reserve(struct visits *visits, size_t count)
{
    if (count <= visits->capacity - visits->count)
        return ERR_OK;
    size_t capacity = visits->capacity ? visits->capacity * 2 : 256;
    while (capacity < visits->count + count)
        capacity *= 2;
    struct visit *gathered = mem_realloc(visits->gathered, capacity * sizeof(*gathered));
    if (!gathered)
        return ERR_NO_MEMORY;
    visits->gathered = gathered;
    struct visit *ordered = mem_realloc(visits->ordered, capacity * sizeof(*ordered));
    if (!ordered)
        return ERR_NO_MEMORY;
    visits->ordered = ordered;
    visits->capacity = capacity;
    return ERR_OK;
}

enum err visits_add(struct visits *visits, const struct block *block, uint16_t place,
                    uint32_t worker_index, uint32_t worker_count)
{
    enum err err = visits_reserve(visits, block->route_count);
    if (err != ERR_OK)
        return err;
    for (uint32_t i = 0; i < block->route_count; i++) {
        const struct block_route *route = &block->routes[i];
        if (route->message_count == 0 || route->dataset_hash % worker_count != worker_index)
            continue;
        uint16_t bucket = (uint16_t)(route->dataset_hash >> BUCKET_SHIFT);
        visits->gathered[visits->count++] = (struct visit){place, bucket, i};
    }
    return ERR_OK;
}

void visits_order(struct visits *visits)
{
    size_t *ends = visits->ends;
    memset(ends, 0, sizeof(visits->ends));
    for (size_t i = 0; i < visits->count; i++)
        ends[visits->gathered[i].bucket]++;
    for (size_t bucket = 0, begin = 0; bucket < VISITS_BUCKETS; bucket++) {
        size_t count = ends[bucket];
        ends[bucket] = begin; /* moves to the end as it fills */
        begin += count;
    }
    for (size_t i = 0; i < visits->count; i++)
        visits->ordered[ends[visits->gathered[i].bucket]++] = visits->gathered[i];
}
