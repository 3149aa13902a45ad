#pragma once
/*
 * Random rows for tests of the Parquet writer and reader: a schema of every kind, nested, filled
 * from a seed, shredded into Dremel levels by a plain recursive walk (independent of the product's
 * builders), and told as JSON lines too. One thread.
 */
#include "base/buf.h"
#include "lake/parquet_writer.h"

#include <stdbool.h>
#include <stdint.h>

enum parquet_rows_scenario {
    PARQUET_ROWS_MIXED,   /* every kind, nested, nulls, empty lists */
    PARQUET_ROWS_EDGES,   /* the same schema with NaN, infinities, both zeros, long and odd texts */
    PARQUET_ROWS_SENSORS, /* realistic flat readings, none null */
    PARQUET_ROWS_NULLS,   /* hardly any value */
    PARQUET_ROWS_SORTED,  /* rising values, so that pages have an order */
};

#define PARQUET_ROWS_LEAVES_MAX 32

struct parquet_rows_leaf {
    struct buf definition_levels;
    struct buf repetition_levels;
    struct buf values;
    struct buf offsets;
    struct buf data;
    struct buf indices;
    size_t value_count;
};

struct parquet_rows {
    enum parquet_rows_scenario scenario;
    const struct parquet_node *nodes;
    size_t node_count;
    size_t leaf_count;
    size_t row; /* next */
    uint64_t random;
    struct parquet_rows_leaf leaves[PARQUET_ROWS_LEAVES_MAX];
    struct parquet_leaf views[PARQUET_ROWS_LEAVES_MAX];
    struct buf *json; /* one line a row; NULL: none */
};

/* False for an unknown name: mixed, edges, sensors, nulls, sorted. */
bool parquet_rows_scenario(const char *name, enum parquet_rows_scenario *ret_scenario);
void parquet_rows_init(struct parquet_rows *rows, enum parquet_rows_scenario scenario,
                       uint64_t seed, struct buf *json);
void parquet_rows_fini(struct parquet_rows *rows);
/* Replaces the leaves with count new rows and sets views. Aborts without memory. */
void parquet_rows_fill(struct parquet_rows *rows, size_t count);
