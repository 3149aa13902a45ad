#pragma once
/*
 * The bodies of data pages: where pages end, and the encoding of levels and values. One thread; the
 * leaf is borrowed for the call.
 */
#include "base/buf.h"
#include "lake/parquet_schema.h"

/* A part of a leaf, whole rows. */
struct parquet_span {
    size_t level_begin, level_end;
    size_t value_begin, value_end;
    uint64_t rows;
};

/* Checks that levels, counts and rows fit together; ERR_INVALID otherwise. */
enum err parquet_leaf_check(const struct parquet_column *column, const struct parquet_leaf *leaf,
                            uint64_t row_count) ERR_MUST_USE;

/* The span that follows previous_end's ends: at most rows_max rows, and fewer when the values'
 * plain bytes would be more than bytes_max (but at least one row). */
void parquet_span_next(const struct parquet_column *column, const struct parquet_leaf *leaf,
                       const struct parquet_span *previous, uint32_t rows_max, size_t bytes_max,
                       struct parquet_span *ret_span);

/* Appends repetition and definition levels as data page V1 has them. */
enum err parquet_put_levels(struct buf *out, const struct parquet_column *column,
                            const struct parquet_leaf *leaf,
                            const struct parquet_span *span) ERR_MUST_USE;

/* Appends values in PLAIN encoding: ids name them, or, when NULL, begin .. end do. */
enum err parquet_put_plain(struct buf *out, enum parquet_kind kind, const struct parquet_leaf *leaf,
                           const uint32_t *ids, size_t begin, size_t end) ERR_MUST_USE;

/* The checksum of a page: CRC-32 as gzip has it, of its bytes as they stand in the file. */
uint32_t parquet_page_crc(struct bytes body);

/* Appends the width byte and the indices. */
enum err parquet_put_indices(struct buf *out, const uint32_t *indices, size_t count,
                             unsigned width) ERR_MUST_USE;
