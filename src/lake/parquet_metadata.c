#include "lake/parquet_metadata.h"

#include "base/crc32c.h"
#include "codec/thrift_compact.h"

#include <assert.h>
#include <string.h>

struct parser {
    struct thrift_reader thrift;
    struct parquet_metadata *metadata;
    struct arena *arena;
    bool is_out_of_memory;
};

enum err parquet_damage(struct diag *diag, uint64_t offset, const char *what)
{
    return diag_set(diag, ERR_CORRUPT, "the Parquet file is damaged at byte %llu: %s",
                    (unsigned long long)offset, what);
}

enum err parquet_codec_compression(int32_t codec, enum compression *ret_compression)
{
    switch (codec) {
    case PARQUET_CODEC_UNCOMPRESSED:
        *ret_compression = COMPRESSION_NONE;
        return ERR_OK;
    case PARQUET_CODEC_SNAPPY:
        *ret_compression = COMPRESSION_SNAPPY;
        return ERR_OK;
    case PARQUET_CODEC_ZSTD:
        *ret_compression = COMPRESSION_ZSTD;
        return ERR_OK;
    case PARQUET_CODEC_LZ4_RAW:
        *ret_compression = COMPRESSION_LZ4_RAW;
        return ERR_OK;
    default:
        return ERR_UNSUPPORTED;
    }
}

static void *allocate(struct parser *parser, size_t count, size_t size)
{
    size_t bytes;
    void *memory = NULL;
    if (!__builtin_mul_overflow(count + 1, size, &bytes))
        memory = arena_zalloc(parser->arena, bytes);
    if (!memory) {
        parser->is_out_of_memory = true;
        thrift_fail(&parser->thrift, ERR_NO_MEMORY);
    }
    return memory;
}

/* A count, size or offset: never negative. */
static uint64_t get_natural(struct parser *parser, enum thrift_type type)
{
    int64_t value = thrift_get_int(&parser->thrift, type);
    if (value < 0)
        thrift_fail(&parser->thrift, ERR_CORRUPT);
    return value < 0 ? 0 : (uint64_t)value;
}

static int32_t get_i32(struct parser *parser, enum thrift_type type)
{
    int64_t value = thrift_get_int(&parser->thrift, type);
    if (value < INT32_MIN || value > INT32_MAX)
        thrift_fail(&parser->thrift, ERR_CORRUPT);
    return (int32_t)value;
}

/* A union: which field it holds, and no more. */
static int32_t read_logical_type(struct parser *parser)
{
    int id;
    int32_t found = 0;
    enum thrift_type type;
    thrift_enter(&parser->thrift);
    while (thrift_next_field(&parser->thrift, &id, &type)) {
        found = id;
        thrift_skip(&parser->thrift, type);
    }
    return found;
}

static void read_element(struct parser *parser, struct parquet_metadata_element *element)
{
    int id;
    enum thrift_type type;
    *element = (struct parquet_metadata_element){.type = -1, .converted_type = -1, .field_id = -1};
    thrift_enter(&parser->thrift);
    while (thrift_next_field(&parser->thrift, &id, &type)) {
        if (id == 1)
            element->type = get_i32(parser, type);
        else if (id == 3)
            element->repetition = (enum parquet_repetition)get_i32(parser, type);
        else if (id == 4)
            element->name = thrift_get_binary(&parser->thrift, type);
        else if (id == 5)
            element->child_count = (uint32_t)get_natural(parser, type);
        else if (id == 6)
            element->converted_type = get_i32(parser, type);
        else if (id == 9)
            element->field_id = get_i32(parser, type);
        else if (id == 10 && type == THRIFT_STRUCT)
            element->logical_type = read_logical_type(parser);
        else
            thrift_skip(&parser->thrift, type);
    }
    element->is_leaf = element->type >= 0;
    if ((unsigned)element->repetition > PARQUET_REPEATED ||
        element->is_leaf != (element->child_count == 0))
        element->child_count = UINT32_MAX; /* found when the tree is walked */
}

static void read_schema(struct parser *parser, enum thrift_type type)
{
    size_t count = thrift_get_list(&parser->thrift, type, THRIFT_STRUCT);
    struct parquet_metadata *metadata = parser->metadata;
    if (count > 2 * PARQUET_SCHEMA_NODES_MAX)
        thrift_fail(&parser->thrift, ERR_TOO_MANY);
    metadata->elements = allocate(parser, count, sizeof(*metadata->elements));
    for (size_t i = 0; i < count && !parser->thrift.err; i++)
        read_element(parser, &metadata->elements[metadata->element_count++]);
}

static void read_statistics(struct parser *parser, struct parquet_metadata_chunk *chunk)
{
    int id;
    enum thrift_type type;
    thrift_enter(&parser->thrift);
    while (thrift_next_field(&parser->thrift, &id, &type)) {
        struct parquet_metadata_bound *bound = id == 5 || id == 7 ? &chunk->max : &chunk->min;
        if (id == 3) {
            chunk->null_count = get_natural(parser, type);
            chunk->has_null_count = true;
        } else if (id == 5 || id == 6) {
            bound->bytes = thrift_get_binary(&parser->thrift, type);
            bound->is_set = true;
        } else if (id == 7 || id == 8) {
            bound->is_exact = thrift_get_bool(&parser->thrift, type);
        } else {
            thrift_skip(&parser->thrift, type);
        }
    }
}

uint32_t parquet_path_add(uint32_t path, struct bytes name)
{
    uint64_t size = name.size;
    return crc32c(crc32c(path, &size, sizeof(size)), name.data, name.size);
}

static uint32_t read_path(struct parser *parser, enum thrift_type type)
{
    uint32_t path = 0;
    size_t count = thrift_get_list(&parser->thrift, type, THRIFT_BINARY);
    for (size_t i = 0; i < count && !parser->thrift.err; i++)
        path = parquet_path_add(path, thrift_get_binary(&parser->thrift, THRIFT_BINARY));
    return path;
}

static void read_column_metadata(struct parser *parser, struct parquet_metadata_chunk *chunk)
{
    int id;
    enum thrift_type type;
    uint64_t data_page_offset = 0;
    uint64_t dictionary_page_offset = 0;
    thrift_enter(&parser->thrift);
    while (thrift_next_field(&parser->thrift, &id, &type)) {
        if (id == 1)
            chunk->type = get_i32(parser, type);
        else if (id == 3)
            chunk->path = read_path(parser, type);
        else if (id == 4)
            chunk->codec = get_i32(parser, type);
        else if (id == 5)
            chunk->level_count = get_natural(parser, type);
        else if (id == 6)
            chunk->uncompressed_bytes = get_natural(parser, type);
        else if (id == 7)
            chunk->compressed_bytes = get_natural(parser, type);
        else if (id == 9)
            data_page_offset = get_natural(parser, type);
        else if (id == 11)
            dictionary_page_offset = get_natural(parser, type);
        else if (id == 12 && type == THRIFT_STRUCT)
            read_statistics(parser, chunk);
        else
            thrift_skip(&parser->thrift, type);
    }
    chunk->has_dictionary = dictionary_page_offset > 0;
    chunk->begin = chunk->has_dictionary && dictionary_page_offset < data_page_offset
                       ? dictionary_page_offset
                       : data_page_offset;
    if (__builtin_add_overflow(chunk->begin, chunk->compressed_bytes, &chunk->end))
        chunk->end = UINT64_MAX;
}

static void read_chunk(struct parser *parser, struct parquet_metadata_chunk *chunk)
{
    int id;
    enum thrift_type type;
    thrift_enter(&parser->thrift);
    while (thrift_next_field(&parser->thrift, &id, &type)) {
        if (id == 3 && type == THRIFT_STRUCT)
            read_column_metadata(parser, chunk);
        else if (id == 4)
            chunk->offset_index_offset = get_natural(parser, type);
        else if (id == 5)
            chunk->offset_index_bytes = (uint32_t)get_i32(parser, type);
        else if (id == 6)
            chunk->column_index_offset = get_natural(parser, type);
        else if (id == 7)
            chunk->column_index_bytes = (uint32_t)get_i32(parser, type);
        else
            thrift_skip(&parser->thrift, type);
    }
}

/* The chunk count is checked against the schema afterwards, when that is known for sure. */
static void read_row_group(struct parser *parser, struct parquet_metadata_row_group *row_group,
                           size_t *ret_chunk_count)
{
    int id;
    enum thrift_type type;
    *ret_chunk_count = 0;
    thrift_enter(&parser->thrift);
    while (thrift_next_field(&parser->thrift, &id, &type)) {
        if (id == 1 && !row_group->chunks) {
            size_t count = thrift_get_list(&parser->thrift, type, THRIFT_STRUCT);
            row_group->chunks = allocate(parser, count, sizeof(*row_group->chunks));
            for (size_t i = 0; i < count && !parser->thrift.err; i++)
                read_chunk(parser, &row_group->chunks[i]);
            *ret_chunk_count = count;
        } else if (id == 3) {
            row_group->row_count = get_natural(parser, type);
        } else {
            thrift_skip(&parser->thrift, type);
        }
    }
}

static size_t count_leaves(const struct parquet_metadata *metadata)
{
    size_t leaves = 0;
    for (size_t i = 0; i < metadata->element_count; i++)
        leaves += metadata->elements[i].is_leaf;
    return leaves;
}

static void read_row_groups(struct parser *parser, enum thrift_type type)
{
    struct parquet_metadata *metadata = parser->metadata;
    size_t count = thrift_get_list(&parser->thrift, type, THRIFT_STRUCT);
    size_t leaf_count = count_leaves(metadata); /* the schema comes first */
    metadata->row_groups = allocate(parser, count, sizeof(*metadata->row_groups));
    for (size_t i = 0; i < count && !parser->thrift.err; i++) {
        size_t chunk_count;
        read_row_group(parser, &metadata->row_groups[metadata->row_group_count++], &chunk_count);
        if (chunk_count != leaf_count)
            thrift_fail(&parser->thrift, ERR_CORRUPT);
    }
}

static void read_pairs(struct parser *parser, enum thrift_type list_type)
{
    struct parquet_metadata *metadata = parser->metadata;
    size_t count = thrift_get_list(&parser->thrift, list_type, THRIFT_STRUCT);
    metadata->pairs = allocate(parser, count, sizeof(*metadata->pairs));
    for (size_t i = 0; i < count && !parser->thrift.err; i++) {
        struct parquet_metadata_pair *pair = &metadata->pairs[metadata->pair_count++];
        int id;
        enum thrift_type type;
        thrift_enter(&parser->thrift);
        while (thrift_next_field(&parser->thrift, &id, &type)) {
            if (id == 1)
                pair->key = thrift_get_binary(&parser->thrift, type);
            else if (id == 2)
                pair->value = thrift_get_binary(&parser->thrift, type);
            else
                thrift_skip(&parser->thrift, type);
        }
    }
}

/* column_orders, encryption_algorithm, footer_signing_key_metadata, and no more. */
static bool is_odd(int id, enum thrift_type type)
{
    return (id == 7 && type != THRIFT_LIST) || (id == 8 && type != THRIFT_STRUCT) ||
           (id == 9 && type != THRIFT_BINARY) || id > 9;
}

static void read_footer(struct parser *parser)
{
    struct parquet_metadata *metadata = parser->metadata;
    int id;
    int last_id = 0;
    enum thrift_type type;
    thrift_enter(&parser->thrift);
    while (thrift_next_field(&parser->thrift, &id, &type)) {
        if (id <= last_id) { /* a second list would leak the first's count */
            thrift_fail(&parser->thrift, ERR_CORRUPT);
            break;
        }
        last_id = id;
        if (id == 1)
            metadata->version = get_i32(parser, type);
        else if (id == 2)
            read_schema(parser, type);
        else if (id == 3)
            metadata->row_count = get_natural(parser, type);
        else if (id == 4)
            read_row_groups(parser, type);
        else if (id == 5)
            read_pairs(parser, type);
        else if (id == 6)
            metadata->created_by = thrift_get_binary(&parser->thrift, type);
        else
            thrift_skip(&parser->thrift, type);
        metadata->has_odd_field |= is_odd(id, type);
    }
}

/* A whole number that fits int64_t: no date or decimal in disguise, and no UINT_64. */
static bool is_integer(const struct parquet_metadata_element *element)
{
    int32_t converted = element->converted_type;
    bool is_plain = converted == -1 && (element->logical_type == 0 ||
                                        element->logical_type == PARQUET_LOGICAL_UNKNOWN);
    bool is_sized =
        (converted >= PARQUET_CONVERTED_UINT_8 && converted <= PARQUET_CONVERTED_UINT_32) ||
        (converted >= PARQUET_CONVERTED_INT_8 && converted <= PARQUET_CONVERTED_INT_64);
    return (element->type == PARQUET_TYPE_INT32 || element->type == PARQUET_TYPE_INT64) &&
           (is_plain || is_sized);
}

static void kind_set(struct parquet_metadata_element *element)
{
    int32_t converted = element->converted_type;
    element->is_known = true;
    if (!element->is_leaf)
        element->kind = converted == PARQUET_CONVERTED_LIST ? PARQUET_LIST : PARQUET_STRUCT;
    else if (element->type == PARQUET_TYPE_BOOLEAN)
        element->kind = PARQUET_BOOLEAN;
    else if (element->type == PARQUET_TYPE_DOUBLE || element->type == PARQUET_TYPE_FLOAT)
        element->kind = PARQUET_DOUBLE;
    else if (is_integer(element))
        element->kind = PARQUET_INTEGER;
    else if (element->type == PARQUET_TYPE_INT64 && converted == PARQUET_CONVERTED_TIMESTAMP_MICROS)
        element->kind = PARQUET_TIMESTAMP_US;
    else if (element->type == PARQUET_TYPE_BYTE_ARRAY && converted == PARQUET_CONVERTED_UTF8)
        element->kind = PARQUET_STRING;
    else if (element->type == PARQUET_TYPE_BYTE_ARRAY && converted == -1)
        element->kind = PARQUET_BINARY;
    else
        element->is_known = false;
}

/* Walks the depth-first list: each element's parent is the innermost group that still lacks
 * children. */
static bool build_tree(struct parquet_metadata *metadata)
{
    struct {
        uint32_t element;
        uint32_t children_left;
    } stack[2 * PARQUET_SCHEMA_DEPTH_MAX + 1];
    size_t depth = 0;
    for (size_t i = 0; i < metadata->element_count; i++) {
        struct parquet_metadata_element *element = &metadata->elements[i];
        if (element->child_count == UINT32_MAX || (i == 0) != (depth == 0))
            return false;
        if (i > 0) {
            element->parent = stack[depth - 1].element;
            const struct parquet_metadata_element *parent = &metadata->elements[element->parent];
            stack[depth - 1].children_left--;
            element->definition_level_max =
                (uint8_t)(parent->definition_level_max + (element->repetition != PARQUET_REQUIRED));
            element->repetition_level_max =
                (uint8_t)(parent->repetition_level_max + (element->repetition == PARQUET_REPEATED));
        }
        kind_set(element);
        if (element->is_leaf)
            metadata->leaves[metadata->column_count++] = (uint32_t)i;
        else if (depth == sizeof(stack) / sizeof(stack[0]))
            return false;
        else
            stack[depth].element = (uint32_t)i, stack[depth++].children_left = element->child_count;
        while (depth > 0 && stack[depth - 1].children_left == 0)
            depth--;
    }
    return depth == 0 && metadata->column_count > 0;
}

static bool chunk_fits(const struct parquet_metadata *metadata,
                       const struct parquet_metadata_chunk *chunk)
{
    uint64_t limit = metadata->footer_offset;
    /* Of a chunk without values others say no place, or that of a dictionary without entries. */
    return (chunk->begin >= PARQUET_MAGIC_BYTES || chunk->level_count == 0) &&
           chunk->end <= limit && chunk->column_index_bytes <= INT32_MAX &&
           chunk->offset_index_bytes <= INT32_MAX && chunk->column_index_offset <= limit &&
           chunk->offset_index_offset <= limit &&
           chunk->column_index_offset + chunk->column_index_bytes <= limit &&
           chunk->offset_index_offset + chunk->offset_index_bytes <= limit;
}

static enum err check_row_groups(const struct parquet_metadata *metadata, struct diag *diag)
{
    uint64_t rows = 0;
    for (size_t i = 0; i < metadata->row_group_count; i++) {
        const struct parquet_metadata_row_group *row_group = &metadata->row_groups[i];
        if (__builtin_add_overflow(rows, row_group->row_count, &rows) ||
            (metadata->column_count > 0 && !row_group->chunks))
            return parquet_damage(diag, metadata->footer_offset, "its row groups do not add up");
        for (size_t k = 0; k < metadata->column_count; k++) {
            if (!chunk_fits(metadata, &row_group->chunks[k]))
                return parquet_damage(diag, metadata->footer_offset,
                                      "a column chunk or index lies outside of the file");
        }
    }
    if (rows != metadata->row_count)
        return parquet_damage(diag, metadata->footer_offset, "its row groups do not add up");
    return ERR_OK;
}

/* The footer's place, from the file's last bytes. */
static enum err find_footer(struct parser *parser, struct bytes tail, uint64_t file_size,
                            uint64_t *ret_needed_bytes, struct diag *diag)
{
    if (file_size < 12 || tail.size < 12)
        return parquet_damage(diag, file_size, "it is too short");
    if (memcmp(tail.data + tail.size - 4, PARQUET_MAGIC, PARQUET_MAGIC_BYTES) != 0)
        return parquet_damage(diag, file_size - 4, "it does not end with PAR1");
    uint32_t size = load_u32(tail.data + tail.size - 8);
    if (size > file_size - 12)
        return parquet_damage(diag, file_size - 8, "its footer is longer than the file");
    *ret_needed_bytes = (uint64_t)size + 8;
    if (*ret_needed_bytes > tail.size)
        return ERR_TRUNCATED;
    parser->metadata->footer_offset = file_size - 8 - size;
    thrift_reader_init(&parser->thrift, bytes_from(tail.data + tail.size - 8 - size, size));
    return ERR_OK;
}

enum err parquet_metadata_read_tail(struct parquet_metadata *metadata, struct arena *arena,
                                    struct bytes tail, uint64_t file_size_bytes,
                                    uint64_t *ret_needed_bytes, struct diag *diag)
{
    struct parser parser = {.metadata = metadata, .arena = arena};
    *metadata = (struct parquet_metadata){0};
    enum err err = find_footer(&parser, tail, file_size_bytes, ret_needed_bytes, diag);
    if (err)
        return err;
    read_footer(&parser);
    metadata->footer_left = (size_t)(parser.thrift.end - parser.thrift.at);
    if (parser.is_out_of_memory)
        return ERR_NO_MEMORY;
    if (parser.thrift.err || !metadata->elements)
        return parquet_damage(diag, metadata->footer_offset, "its footer is malformed");
    metadata->leaves = allocate(&parser, metadata->element_count, sizeof(*metadata->leaves));
    if (!metadata->leaves)
        return ERR_NO_MEMORY;
    if (!build_tree(metadata))
        return parquet_damage(diag, metadata->footer_offset, "its schema is no tree");
    return check_row_groups(metadata, diag);
}

enum err parquet_metadata_read(struct parquet_metadata *metadata, struct arena *arena,
                               struct bytes file, struct diag *diag)
{
    uint64_t needed_bytes;
    if (file.size >= 12 && memcmp(file.data, PARQUET_MAGIC, PARQUET_MAGIC_BYTES) != 0)
        return parquet_damage(diag, 0, "it does not begin with PAR1");
    enum err err =
        parquet_metadata_read_tail(metadata, arena, file, file.size, &needed_bytes, diag);
    assert(err != ERR_TRUNCATED);
    return err;
}
