#pragma once
/*
 * Rows of a Parquet file as JSON text: puts the columns of a row group together again (Dremel
 * assembly), every nesting of structs and lists. One thread; the reader must outlive it.
 *
 *   DOUBLE     shortest text that reads back as it; NaN and the infinities as texts; FLOAT as the
 *              double that it is
 *   INT32, 64  all digits
 *   TIMESTAMP  "2026-01-01T00:00:00.000000+00:00"; outside the years 1 to 9999 its number of µs
 *   BINARY     base64
 *   null       null: each row has every column of its file
 *
 * Hostile input: columns whose levels do not fit together are ERR_CORRUPT with a place in diag;
 * memory_max bounds all columns of one row group together (ERR_TOO_LARGE).
 */
#include "lake/parquet_reader.h"

struct parquet_json;

enum err parquet_json_new(struct parquet_reader *reader, size_t memory_max,
                          struct parquet_json **ret_json, struct diag *diag) ERR_MUST_USE;
void parquet_json_free(struct parquet_json *json); /* NULL is fine */

/* Reads the columns of a row group; parquet_json_row then gives as many rows as it has. */
enum err parquet_json_open(struct parquet_json *json, size_t row_group,
                           struct diag *diag) ERR_MUST_USE;
/* Appends the next row as an object. */
enum err parquet_json_row(struct parquet_json *json, struct buf *out,
                          struct diag *diag) ERR_MUST_USE;
