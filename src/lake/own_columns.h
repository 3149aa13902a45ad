#pragma once
/*
 * The service's own columns of some rows, as leaves for the Parquet writer. One thread; lives for
 * one row group.
 */
#include "lake/origin.h"
#include "lake/parquet_writer.h"
#include "lake/schema.h"

/* The rows: an entry a row in each array. */
struct own_rows {
    const int64_t *event_us;
    const int64_t *arrival_us;
    const uint32_t *origin;
    size_t count;
};

struct own_column {
    struct parquet_leaf leaf;
    struct buf values; /* doubles, or text */
    uint8_t *definition_levels;
    uint32_t *offsets;
    uint32_t *indices;
    uint8_t *booleans;
};

/* system_index: place in schema->system; not RESCUED_DATA, which is a builder's. Safe to fini after
 * a failure. */
enum err own_column_init(struct own_column *column, const struct schema *schema,
                         const struct origins *origins, const struct own_rows *rows,
                         size_t system_index) ERR_MUST_USE;
void own_column_fini(struct own_column *column);
