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
    uint64_t block_number;  /* what one block brought by several routes came together */
    struct route_copy *route;
    const struct block *block; /* until it has its route and its place */
    uint32_t route_index;
    uint32_t count;
    uint64_t skipped; /* older messages of the block that are not in it */
    size_t size_bytes;
    uint8_t records[]; /* count of them, each behind its message's index in the block */
};

/* The newest rows_max messages of the route's chain, without its route; dead letters are no rows.
 * NULL: there are none, or no memory. */
struct clump *clump_new(const struct block *block, uint32_t route_index, uint32_t rows_max);
/* NULL without memory. */
struct route_copy *route_copy_new(const struct block *block, uint32_t route_index);

void clump_ref(struct clump *clump);
void clump_unref(struct clump *clump); /* NULL is fine */

/* Records, for message_record_get, stand one behind the other, oldest first; the last has none
 * after it. */
#define CLUMP_INDEX_BYTES 4
static inline const uint8_t *clump_record_first(const struct clump *clump)
{
    return clump->records + CLUMP_INDEX_BYTES;
}
static inline const uint8_t *clump_record_after(const uint8_t *record)
{
    return record + load_u32(record) + CLUMP_INDEX_BYTES;
}
static inline uint32_t clump_record_index(const uint8_t *record)
{
    return load_u32(record - CLUMP_INDEX_BYTES);
}

/* A message of clumps that are to be read together. */
struct clump_place {
    const uint8_t *record;
    const struct clump *clump;
};
struct buf;
/* Appends the clump's messages: struct clump_place each. */
enum err clump_places_add(const struct clump *clump, struct buf *places) ERR_MUST_USE;
/* In the order in which they stood in their block, the same for all. */
void clump_places_order(struct buf *places);
/* The rows of that message. */
enum err clump_place_rows(const struct clump_place *place,
                          enum err (*on_row)(void *ctx, struct bytes json), void *ctx) ERR_MUST_USE;
/* The newest row_limit rows of all, oldest first; the clumps stand oldest first, and the messages
 * of those that came together are put in the order in which they arrived. What would make the
 * answer longer than LIMIT_RECENT_ANSWER_BYTES is left away, the oldest first. */
enum err clumps_render(struct clump **clumps, size_t count, size_t row_limit,
                       enum err (*on_row)(void *ctx, struct bytes json), void *ctx) ERR_MUST_USE;
