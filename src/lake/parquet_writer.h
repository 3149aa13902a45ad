#pragma once
/*
 * Writes one Parquet file from finished columns, in the profile of contract/data.md "Bronze layer"
 * (format version 1, data page V1, PLAIN and RLE_DICTIONARY, page index, …). One thread at a time;
 * nothing is kept between files. The bytes go to a sink in order, so that a file can be written and
 * hashed in one pass.
 *
 * Columns come as Dremel levels and dense values (Parquet spec "Nested Encoding"): a leaf has one
 * level entry per (possibly null) occurrence, and one value for each entry whose definition level
 * is the leaf's maximum. NULL level arrays mean: all entries at the maximum (definition), all zero
 * (repetition).
 *
 * Fails with ERR_NO_MEMORY, ERR_INVALID (a schema or levels that do not fit together: our caller's
 * mistake) and whatever the sink returns; after a failure only parquet_writer_free may be called.
 */
#include "base/bytes.h"
#include "base/err.h"

#include <stdint.h>

enum parquet_codec { PARQUET_NONE, PARQUET_SNAPPY, PARQUET_ZSTD, PARQUET_LZ4_RAW };

enum parquet_kind {
    PARQUET_BOOLEAN,      /* values: uint8_t 0 or 1, one a value */
    PARQUET_DOUBLE,       /* values: double */
    PARQUET_TIMESTAMP_US, /* values: int64_t, microseconds, isAdjustedToUTC */
    PARQUET_STRING,       /* BYTE_ARRAY, UTF8 */
    PARQUET_BINARY,       /* BYTE_ARRAY */
    PARQUET_STRUCT,       /* optional group; children follow */
    PARQUET_LIST,         /* optional LIST, standard 3-level form; one child, the element */
    PARQUET_INTEGER,      /* values: int64_t; read from other writers' files, never written */
};

/* A node of the schema, in depth-first order as in the footer: a struct or list is followed by its
 * children. Every node is optional (list elements too). The names stay the caller's. */
struct parquet_node {
    const char *name; /* of a list's element: ignored, written as "element" */
    enum parquet_kind kind;
    int32_t field_id;     /* < 0: none */
    uint32_t child_count; /* struct: >= 1; list: 1; leaf: 0 */
};

/* One leaf's data in a row group. */
struct parquet_leaf {
    const uint8_t *definition_levels; /* level_count entries or NULL */
    const uint8_t *repetition_levels; /* level_count entries or NULL */
    size_t level_count;
    size_t value_count;
    /* Values of fixed size, in the type that the kind names above (NULL when indices is set). */
    const void *values;
    /* STRING and BINARY: value i is data[offsets[i] .. offsets[i + 1]). */
    const uint32_t *offsets;
    const uint8_t *data;
    /* A dictionary that the caller already has: indices[i] of value_count values into
     * dictionary_count entries of values / offsets+data. NULL: the values are plain, and the writer
     * builds a dictionary where it makes the column smaller. Entries need not be distinct or used.
     */
    const uint32_t *indices;
    size_t dictionary_count;
};

struct parquet_key_value {
    const char *key;
    const char *value;
};

struct parquet_options {
    enum parquet_codec codec;
    int zstd_level;         /* 3 */
    size_t page_bytes;      /* 1 MiB */
    uint32_t page_rows;     /* 20,000 */
    const char *created_by; /* "ingestor version X.Y.Z (build HASH)" */
    bool has_checksums;     /* a CRC-32 in each page's header */
};

struct parquet_writer;

/* nodes: the top-level columns and all below them, node_count entries (the root is added here). */
enum err parquet_writer_new(const struct parquet_options *options, const struct parquet_node *nodes,
                            size_t node_count, enum err (*on_bytes)(void *ctx, struct bytes bytes),
                            void *ctx, struct parquet_writer **ret_writer) ERR_MUST_USE;
/* leaves: one for each leaf of the schema, in its order. Everything is borrowed for the call. */
enum err parquet_writer_row_group(struct parquet_writer *writer, uint64_t row_count,
                                  const struct parquet_leaf *leaves) ERR_MUST_USE;
/* Page indexes and footer. */
enum err parquet_writer_finish(struct parquet_writer *writer,
                               const struct parquet_key_value *metadata,
                               size_t metadata_count) ERR_MUST_USE;
void parquet_writer_free(struct parquet_writer *writer);
