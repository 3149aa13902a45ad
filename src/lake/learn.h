#pragma once
/*
 * What columns a set of records should pin (contract/data.md "A column's type never changes"):
 * counts the kinds of the values at each path that is not pinned yet, then wishes for the
 * majority's. One thread; lives for one cut.
 *
 * Ties prefer what is no text. An integer beyond 2^53 makes its path a text. Null, {} and [] count
 * for nothing. Memory is bounded: paths beyond LEARN_NODES_MAX are not learned (their values are
 * rescued).
 */
#include "lake/schema.h"

#define LEARN_NODES_MAX (4 * LIMIT_COLUMNS_PER_DATASET)

struct learn {
    const struct schema *schema;
    struct arena arena;
    struct map nodes;  /* parent and key -> node, in the order they were met */
    size_t leaf_count; /* of the record at hand */
    struct buf path;
    struct schema_wish *wishes;
    size_t wish_count;
};

void learn_init(struct learn *learn, const struct schema *schema);
void learn_fini(struct learn *learn);
/* An object's text, checked, without repeated keys. */
enum err learn_record(struct learn *learn, struct bytes record) ERR_MUST_USE;
/* Fills learn->wishes, parents first. */
enum err learn_decide(struct learn *learn) ERR_MUST_USE;
