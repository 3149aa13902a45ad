#pragma once
/*
 * The Thrift structures of a Parquet file as we write them: page headers, column metadata, page
 * index and footer. Each appends to a buffer, whose sticky error the caller checks. One thread.
 */
#include "base/buf.h"
#include "lake/parquet_range.h"
#include "lake/parquet_schema.h"

/* A page of the chunk being written, for its page index. */
struct parquet_page_entry {
    uint64_t offset;
    uint32_t size_bytes; /* header included */
    uint64_t first_row;
    uint64_t null_count;
    bool is_all_null;
    struct parquet_bound min, max;
};

struct parquet_chunk_totals {
    enum parquet_compression_codec codec;
    uint64_t level_count; /* nulls included */
    uint64_t null_count;
    uint64_t uncompressed_bytes;
    uint64_t compressed_bytes;
    uint64_t data_page_offset;
    uint64_t dictionary_page_offset; /* 0: none */
    uint32_t data_page_count;
    bool has_dictionary;
    struct parquet_bound min, max;
};

/* What the footer needs of a finished chunk: places in the buffers of encoded structures. */
struct parquet_chunk_record {
    size_t metadata_begin, metadata_size;
    size_t column_index_begin, column_index_size; /* size 0: none */
    size_t offset_index_begin, offset_index_size;
};

struct parquet_row_group_record {
    uint64_t row_count;
    uint64_t uncompressed_bytes;
    uint64_t compressed_bytes;
    uint64_t file_offset;
};

struct parquet_page_header {
    enum parquet_page_type type;
    enum parquet_encoding encoding; /* of the values */
    uint64_t count;                 /* level entries (data page) or entries (dictionary page) */
    size_t uncompressed_bytes;
    size_t compressed_bytes;
    bool has_crc;
    uint32_t crc; /* CRC-32 of the compressed bytes */
};

void parquet_put_page_header(struct buf *out, const struct parquet_page_header *header);
void parquet_put_column_metadata(struct buf *out, const struct parquet_column *column,
                                 const struct parquet_chunk_totals *totals);
/* Appends nothing when some page has values but no bounds: no index is better than a false one. */
void parquet_put_column_index(struct buf *out, enum parquet_kind kind,
                              const struct parquet_page_entry *pages, size_t page_count);
void parquet_put_offset_index(struct buf *out, const struct parquet_page_entry *pages,
                              size_t page_count);

struct parquet_footer {
    const struct parquet_schema *schema;
    const struct parquet_row_group_record *row_groups;
    size_t row_group_count;
    const struct parquet_chunk_record *chunks; /* column_count for each row group */
    const struct buf *metadata;                /* encoded column metadata */
    uint64_t column_indexes_offset;            /* in the file */
    uint64_t offset_indexes_offset;
    const char *created_by;
    const struct parquet_key_value *key_values;
    size_t key_value_count;
};

/* The pair that has the CRC32C of the whole file as 8 hex digits, computed with zeros in their
 * place. *ret_checksum_at: where in out they are to be written. */
#define PARQUET_CHECKSUM_KEY   "ingestor.crc32c"
#define PARQUET_CHECKSUM_CHARS 8
#define PARQUET_CHECKSUM_NONE  "00000000"

void parquet_put_footer(struct buf *out, const struct parquet_footer *footer,
                        size_t *ret_checksum_at);
