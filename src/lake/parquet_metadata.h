#pragma once
/*
 * A Parquet file's footer, read from its bytes and believed in nothing: sizes, counts, depths and
 * offsets are checked before use, and what does not fit is ERR_CORRUPT with the offset in diag. One
 * thread; everything lives in the arena and points into the file's bytes.
 *
 * Reads any writer's schema (types we do not write get is_known = false), because a dataset may
 * begin with files of the Python service.
 */
#include "base/arena.h"
#include "codec/compression.h"
#include "lake/parquet_schema.h"

struct parquet_metadata_element {
    struct bytes name;
    uint32_t child_count;
    bool is_leaf;
    bool is_known; /* kind holds; else a leaf of a type that we do not read */
    enum parquet_kind kind;
    int32_t type;           /* parquet.thrift's Type; -1: a group */
    int32_t converted_type; /* ConvertedType; -1: none */
    int32_t logical_type;   /* field of the union LogicalType; 0: none */
    int32_t field_id;       /* -1: none */
    enum parquet_repetition repetition;
    uint32_t parent; /* index; the root is its own */
    uint8_t definition_level_max;
    uint8_t repetition_level_max;
};

struct parquet_metadata_bound {
    bool is_set;
    bool is_exact;
    struct bytes bytes;
};

struct parquet_metadata_chunk {
    int32_t type;  /* again: that of the schema's leaf, unless it contradicts itself */
    uint32_t path; /* parquet_path_add over its names */
    int32_t codec; /* parquet_compression_codec */
    uint64_t level_count;
    uint64_t uncompressed_bytes;
    uint64_t compressed_bytes;
    uint64_t begin; /* first page */
    uint64_t end;
    bool has_dictionary;
    bool has_null_count;
    uint64_t null_count;
    struct parquet_metadata_bound min, max;
    uint64_t column_index_offset, offset_index_offset;
    uint32_t column_index_bytes, offset_index_bytes; /* 0: none */
};

struct parquet_metadata_row_group {
    uint64_t row_count;
    struct parquet_metadata_chunk *chunks; /* column_count */
};

struct parquet_metadata_pair {
    struct bytes key, value;
};

struct parquet_metadata {
    int32_t version;
    uint64_t row_count;
    struct parquet_metadata_element *elements; /* [0] is the root */
    size_t element_count;
    uint32_t *leaves; /* element of each column */
    size_t column_count;
    struct parquet_metadata_row_group *row_groups;
    size_t row_group_count;
    struct parquet_metadata_pair *pairs;
    size_t pair_count;
    struct bytes created_by;
    uint64_t footer_offset;
    size_t footer_left; /* bytes behind the structure: none, unless it is damaged */
    bool has_odd_field; /* one that FileMetaData has not, or of another type */
};

/* A path's names, one after the other; 0 to begin with. */
uint32_t parquet_path_add(uint32_t path, struct bytes name);

enum err parquet_metadata_read(struct parquet_metadata *metadata, struct arena *arena,
                               struct bytes file, struct diag *diag) ERR_MUST_USE;

/* The same from the file's last bytes alone. ERR_TRUNCATED: tail is too short for the footer, of
 * which *ret_needed_bytes are needed. */
enum err parquet_metadata_read_tail(struct parquet_metadata *metadata, struct arena *arena,
                                    struct bytes tail, uint64_t file_size_bytes,
                                    uint64_t *ret_needed_bytes, struct diag *diag) ERR_MUST_USE;

/* The sentence for all damage. Returns ERR_CORRUPT. */
enum err parquet_damage(struct diag *diag, uint64_t offset, const char *what);
/* ERR_UNSUPPORTED for a codec that we do not read. */
enum err parquet_codec_compression(int32_t codec, enum compression *ret_compression) ERR_MUST_USE;
