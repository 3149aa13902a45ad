#pragma once
/*
 * A clump: the newest messages that one block brought to one dataset, in a single allocation with
 * their records as they stood in the block. Shared by reference count, from any thread, and
 * unchanging but for its place in its dataset's list, which recent.c's lock guards.
 */
#include "journal/block.h"

#include <stdatomic.h>

struct route_copy {
    _Atomic uint32_t references;
    uint64_t serial; /* block_route's */
    size_t size;
    struct route_view view; /* into record */
    uint8_t record[];
};

struct clump {
    _Atomic uint32_t references;
    struct clump *younger;
    struct clump *gathered; /* the next of its gathering (recent.h) */
    struct route_copy *route;
    const struct block *block; /* until it has its route and its place */
    uint32_t route_index;
    uint32_t count;
    uint64_t skipped; /* older messages of the block that are not in it */
    size_t size_bytes;
    uint8_t records[]; /* count of them, message_record_get reads one */
};

/* The newest rows_max messages of the route's chain, without its route; dead letters are no rows.
 * NULL: there are none, or no memory. */
struct clump *clump_new(const struct block *block, uint32_t route_index, uint32_t rows_max);
/* NULL without memory. */
struct route_copy *route_copy_new(const struct block *block, uint32_t route_index);

void clump_ref(struct clump *clump);
void clump_unref(struct clump *clump); /* NULL is fine */

/* Records stand one behind the other, oldest first; the last has none after it. */
static inline const uint8_t *clump_record_after(const uint8_t *record)
{
    return record + load_u32(record);
}

/* Its rows, oldest first. */
enum err clump_rows(const struct clump *clump, enum err (*on_row)(void *ctx, struct bytes json),
                    void *ctx) ERR_MUST_USE;
/* The newest row_limit rows of all, oldest first; the clumps stand oldest first. What would make
 * the answer longer than LIMIT_RECENT_ANSWER_BYTES is left away, the oldest first. */
enum err clumps_render(struct clump **clumps, size_t count, size_t row_limit,
                       enum err (*on_row)(void *ctx, struct bytes json), void *ctx) ERR_MUST_USE;
