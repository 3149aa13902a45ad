#pragma once
/*
 * Reads Parquet files: all that our writer writes, and the integers and floats of the Python
 * service's (other encodings, page kinds and types are ERR_UNSUPPORTED). One thread at a time. The
 * file's bytes are the caller's and must outlive the reader; what it hands out lives until
 * parquet_reader_free.
 *
 * Every file is taken for hostile: damage is ERR_CORRUPT with the offset in diag, never a crash,
 * and no more than memory_max bytes are allocated for the footer, and again for one column chunk
 * (ERR_TOO_LARGE or ERR_NO_MEMORY).
 */
#include "base/buf.h"
#include "lake/parquet_metadata.h"

struct parquet_reader;

enum err parquet_reader_new(struct bytes file, size_t memory_max,
                            struct parquet_reader **ret_reader, struct diag *diag) ERR_MUST_USE;
void parquet_reader_free(struct parquet_reader *reader);

const struct parquet_metadata *parquet_reader_metadata(const struct parquet_reader *reader);
/* "events.list.element.code"; NULL when there is no memory. */
const char *parquet_reader_path(struct parquet_reader *reader, size_t column);

/* One column chunk, as the writer takes it: levels and dense values. */
struct parquet_column_data {
    struct buf definition_levels; /* empty when the maximum is 0, likewise repetition */
    struct buf repetition_levels;
    struct buf values;  /* uint8_t, double or int64_t; INT32 and FLOAT are widened */
    struct buf offsets; /* uint32_t, value_count + 1, of STRING and BINARY */
    struct buf data;
    size_t level_count;
    size_t value_count;
    size_t page_count;
};

/* memory_max for each of the five. */
void parquet_column_data_init(struct parquet_column_data *data, size_t memory_max);
void parquet_column_data_fini(struct parquet_column_data *data);
enum err parquet_reader_read(struct parquet_reader *reader, size_t row_group, size_t column,
                             struct parquet_column_data *data, struct diag *diag) ERR_MUST_USE;

/* The page index of a column chunk. */
struct parquet_reader_page {
    uint64_t offset;
    uint32_t size_bytes;
    uint64_t first_row;
    bool has_bounds; /* the following are set */
    bool is_all_null;
    uint64_t null_count;
    struct bytes min, max;
};

struct parquet_page_index {
    struct parquet_reader_page *pages;
    size_t page_count;
    bool has_column_index;
    int32_t boundary_order;
};

/* page_count 0 when the chunk has none. */
enum err parquet_reader_page_index(struct parquet_reader *reader, size_t row_group, size_t column,
                                   struct parquet_page_index *ret_index,
                                   struct diag *diag) ERR_MUST_USE;
