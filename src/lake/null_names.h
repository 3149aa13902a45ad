#pragma once
/*
 * The names of top-level fields that a dataset's records have, but never with a value: no column
 * tells of them, and metadata shall. One thread; lives with its batch. Nothing here fails: a name
 * that finds no room or no memory is not noted, now.
 */
#include "base/bytes.h"

#include <stddef.h>
#include <stdint.h>

#define NULL_NAMES_MAX       256
#define NULL_NAMES_BYTES_MAX 1024 /* of a name; longer ones are not noted */

struct null_name {
    uint64_t hash;
    struct bytes text; /* heap */
};

struct null_names {
    struct null_name *names;
    size_t count;
    size_t capacity;
    size_t place; /* where the next one stands, likely */
    size_t text_bytes;
};

void null_names_fini(struct null_names *names);
void null_names_note(struct null_names *names, struct bytes name);
/* Takes out those from count on. */
void null_names_truncate(struct null_names *names, size_t count);
static inline size_t null_names_memory_bytes(const struct null_names *names)
{
    return names->capacity * sizeof(*names->names) + names->text_bytes;
}
