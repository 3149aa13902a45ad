#pragma once
/*
 * Finds a column chunk's distinct values: one hash table, kept and used again for all columns of a
 * file. Gives up early on columns whose values hardly repeat. One thread at a time.
 */
#include "lake/parquet_writer.h"

#define PARQUET_DICTIONARY_ENTRIES_MAX (128 * 1024)
#define PARQUET_DICTIONARY_BYTES_MAX   (1024 * 1024)

struct parquet_dictionary {
    uint64_t *slots; /* the hash's upper half, then entry + 1; 0 is free */
    size_t slot_count;
    size_t slot_capacity;
    uint32_t *entries; /* where in the leaf's value arrays each distinct value stands first */
    uint64_t *words;   /* copies of the values of 8 bytes */
    size_t entry_count;
    size_t entry_capacity;
    uint32_t *indices; /* value_count entry numbers */
    size_t index_capacity;
    uint32_t *remap; /* from the caller's dictionary to ours, + 1 */
    size_t remap_capacity;
    size_t plain_bytes;   /* of all values, plain */
    size_t entries_bytes; /* of the entries, plain */
};

void parquet_dictionary_fini(struct parquet_dictionary *dictionary); /* of a zeroed one is fine */

/* *ret_found is false when there are too many distinct values (then entries and indices mean
 * nothing). plain_bytes is right in any case. */
enum err parquet_dictionary_build(struct parquet_dictionary *dictionary, enum parquet_kind kind,
                                  const struct parquet_leaf *leaf, bool *ret_found) ERR_MUST_USE;
