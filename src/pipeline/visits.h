#pragma once
/*
 * The routes of a few blocks, put in an order in which those of a dataset stand close together (a
 * bucket may hold several datasets, then their routes are in turns), and those of each dataset in
 * the order of the blocks. A worker that is behind works off several blocks this way: what a
 * dataset needs comes into the processor's caches once for all of them.
 *
 * Owned by the worker's thread.
 */
#include "journal/block.h"

#include <stddef.h>

#define VISITS_BUCKETS 1024 /* datasets share one only when there are many */

struct visit {
    uint16_t block; /* place in the group */
    uint16_t bucket;
    uint32_t route;
};

struct visits {
    struct visit *gathered;
    struct visit *ordered;
    size_t count;
    size_t capacity;
    size_t ends[VISITS_BUCKETS]; /* of each bucket, in ordered */
};

void visits_init(struct visits *visits);
void visits_fini(struct visits *visits);
void visits_clear(struct visits *visits);
/* Adds the block's routes with messages whose dataset is worker_index's share of worker_count. On
 * failure (ERR_NO_MEMORY) the visits are as before. */
enum err visits_add(struct visits *visits, const struct block *block, uint16_t place,
                    uint32_t worker_index, uint32_t worker_count) ERR_MUST_USE;
/* Fills in ordered and ends. */
void visits_order(struct visits *visits);
