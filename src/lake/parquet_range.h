#pragma once
/*
 * The least and greatest value of a page or column chunk, and the bounds made of them for
 * statistics and page index: no NaN, zeros signed as the format asks (-0.0 below, +0.0 above),
 * texts cut to PARQUET_BOUND_BYTES with the upper one raised so that it stays a bound. Pure; views
 * into the leaf.
 *
 * A chunk of one number and NaN has no bounds: DataFusion takes "min = max and no nulls" for "all
 * values are this one".
 */
#include "lake/parquet_writer.h"

#define PARQUET_BOUND_BYTES 64

struct parquet_range {
    bool has_values; /* min and max are set (false too when all values are NaN) */
    bool has_nan;    /* sure only while min = max, or none is set */
    union {
        double numbers[2]; /* min, max */
        int64_t instants[2];
        uint8_t booleans[2];
        struct bytes texts[2];
    } u;
};

/* Widens the range by values begin .. end of the leaf's value arrays (not through indices). */
void parquet_range_add(struct parquet_range *range, enum parquet_kind kind,
                       const struct parquet_leaf *leaf, size_t begin, size_t end);
void parquet_range_merge(struct parquet_range *range, enum parquet_kind kind,
                         const struct parquet_range *other);

struct parquet_bound {
    uint8_t data[PARQUET_BOUND_BYTES]; /* plain encoding */
    uint8_t size;
    bool is_exact;
    bool is_usable; /* false: no bound can be given (no values, or all NaN, or cannot be raised) */
};

void parquet_bound_min(struct parquet_bound *bound, enum parquet_kind kind,
                       const struct parquet_range *range);
void parquet_bound_max(struct parquet_bound *bound, enum parquet_kind kind,
                       const struct parquet_range *range);
/* Both, for the statistics of a column chunk. */
void parquet_bounds_of_chunk(struct parquet_bound *min, struct parquet_bound *max,
                             enum parquet_kind kind, const struct parquet_range *range);
/* The order that readers use: < 0, 0, > 0. */
int parquet_bound_compare(enum parquet_kind kind, const struct parquet_bound *a,
                          const struct parquet_bound *b);
