#pragma once
/*
 * A clump: the newest messages that one block brought to one dataset, in a single allocation with
 * the views of its messages and their bytes. Shared by reference count, from any thread, and
 * unchanging but for its place in its dataset's list, which recent.c's lock guards.
 */
#include "journal/block.h"

#include <stdatomic.h>

struct route_copy {
    _Atomic uint32_t references;
    size_t size;
    struct route_view view; /* into record */
    uint8_t record[];
};

struct clump {
    _Atomic uint32_t references;
    struct clump *younger;
    struct route_copy *route;
    uint32_t count;
    uint64_t skipped; /* older messages of the block that are not in it */
    size_t size_bytes;
    struct message_view messages[]; /* their bytes follow */
};

/* The newest rows_max messages of the route's chain, without its route; dead letters are no rows.
 * NULL: there are none, or no memory. */
struct clump *clump_new(const struct block *block, uint32_t route_index, uint32_t rows_max);
/* NULL without memory. */
struct route_copy *route_copy_new(const struct block *block, uint32_t route_index);

void clump_ref(struct clump *clump);
void clump_unref(struct clump *clump); /* NULL is fine */

/* Its rows, oldest first. */
enum err clump_rows(const struct clump *clump, enum err (*on_row)(void *ctx, struct bytes json),
                    void *ctx) ERR_MUST_USE;
