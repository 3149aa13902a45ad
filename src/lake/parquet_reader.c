#include "lake/parquet_reader.h"

#include "base/alloc.h"
#include "codec/compression.h"
#include "codec/rle.h"
#include "codec/thrift_compact.h"
#include "lake/parquet_page.h"

#include <assert.h>

struct parquet_reader {
    struct bytes file;
    struct arena arena;
    struct parquet_metadata metadata;
    struct buf page; /* decompressed */
    struct buf dictionary_values;
    struct buf dictionary_offsets;
    struct buf dictionary_data;
    size_t dictionary_count;
    struct buf indices;
};

enum err parquet_reader_new(struct bytes file, size_t memory_max,
                            struct parquet_reader **ret_reader, struct diag *diag)
{
    struct parquet_reader *reader = mem_zalloc(1, sizeof(*reader));
    if (!reader)
        return ERR_NO_MEMORY;
    reader->file = file;
    arena_init(&reader->arena, memory_max);
    buf_init(&reader->page, memory_max);
    buf_init(&reader->dictionary_values, memory_max);
    buf_init(&reader->dictionary_offsets, memory_max);
    buf_init(&reader->dictionary_data, memory_max);
    buf_init(&reader->indices, memory_max);
    enum err err = parquet_metadata_read(&reader->metadata, &reader->arena, file, diag);
    if (err) {
        parquet_reader_free(reader);
        return err;
    }
    *ret_reader = reader;
    return ERR_OK;
}

void parquet_reader_free(struct parquet_reader *reader)
{
    if (!reader)
        return;
    arena_fini(&reader->arena);
    buf_fini(&reader->page);
    buf_fini(&reader->dictionary_values);
    buf_fini(&reader->dictionary_offsets);
    buf_fini(&reader->dictionary_data);
    buf_fini(&reader->indices);
    mem_free(reader);
}

const struct parquet_metadata *parquet_reader_metadata(const struct parquet_reader *reader)
{
    return &reader->metadata;
}

const char *parquet_reader_path(struct parquet_reader *reader, size_t column)
{
    const struct parquet_metadata_element *elements = reader->metadata.elements;
    size_t size = 0;
    assert(column < reader->metadata.column_count);
    for (uint32_t i = reader->metadata.leaves[column]; i > 0; i = elements[i].parent)
        size += elements[i].name.size + 1;
    char *path = arena_alloc(&reader->arena, size);
    if (!path)
        return NULL;
    char *at = path + size;
    char separator = 0; /* after the last name */
    for (uint32_t i = reader->metadata.leaves[column]; i > 0; i = elements[i].parent) {
        *--at = separator;
        separator = '.';
        at -= elements[i].name.size;
        if (elements[i].name.size > 0)
            memcpy(at, elements[i].name.data, elements[i].name.size);
    }
    assert(at == path);
    return path;
}

void parquet_column_data_init(struct parquet_column_data *data, size_t memory_max)
{
    *data = (struct parquet_column_data){0};
    buf_init(&data->definition_levels, memory_max);
    buf_init(&data->repetition_levels, memory_max);
    buf_init(&data->values, memory_max);
    buf_init(&data->offsets, memory_max);
    buf_init(&data->data, memory_max);
}

void parquet_column_data_fini(struct parquet_column_data *data)
{
    buf_fini(&data->definition_levels);
    buf_fini(&data->repetition_levels);
    buf_fini(&data->values);
    buf_fini(&data->offsets);
    buf_fini(&data->data);
}

/* The chunk being read. */
struct cursor {
    struct parquet_reader *reader;
    const struct parquet_metadata_element *element;
    const struct parquet_metadata_chunk *chunk;
    struct parquet_column_data *data;
    uint64_t at; /* in the file */
    uint64_t row_count;
    struct diag *diag;
};

struct page_header {
    int32_t type;
    int64_t uncompressed_bytes;
    int64_t compressed_bytes;
    int64_t count;
    int32_t encoding;
    int32_t definition_encoding;
    int32_t repetition_encoding;
    bool has_crc;
    uint32_t crc;
};

static void read_inner_header(struct thrift_reader *thrift, struct page_header *header)
{
    int id;
    enum thrift_type type;
    thrift_enter(thrift);
    while (thrift_next_field(thrift, &id, &type)) {
        if (id == 1)
            header->count = thrift_get_int(thrift, type);
        else if (id == 2)
            header->encoding = (int32_t)thrift_get_int(thrift, type);
        else if (id == 3 && type == THRIFT_I32)
            header->definition_encoding = (int32_t)thrift_get_int(thrift, type);
        else if (id == 4 && type == THRIFT_I32)
            header->repetition_encoding = (int32_t)thrift_get_int(thrift, type);
        else
            thrift_skip(thrift, type);
    }
}

static void read_crc(struct thrift_reader *thrift, struct page_header *header)
{
    header->crc = (uint32_t)thrift_get_int(thrift, THRIFT_I32);
    header->has_crc = true;
}

/* Leaves the cursor behind the header. */
static enum err read_page_header(struct cursor *cursor, struct page_header *header)
{
    struct thrift_reader thrift;
    int id;
    enum thrift_type type;
    const uint8_t *begin = cursor->reader->file.data + cursor->at;
    *header = (struct page_header){.type = -1, .count = -1, .encoding = -1};
    thrift_reader_init(&thrift, bytes_from(begin, (size_t)(cursor->chunk->end - cursor->at)));
    thrift_enter(&thrift);
    while (thrift_next_field(&thrift, &id, &type)) {
        if (id == 1)
            header->type = (int32_t)thrift_get_int(&thrift, type);
        else if (id == 2)
            header->uncompressed_bytes = thrift_get_int(&thrift, type);
        else if (id == 3)
            header->compressed_bytes = thrift_get_int(&thrift, type);
        else if (id == 4 && type == THRIFT_I32)
            read_crc(&thrift, header);
        else if ((id == 5 || id == 7) && type == THRIFT_STRUCT)
            read_inner_header(&thrift, header);
        else
            thrift_skip(&thrift, type);
    }
    if (thrift.err)
        return parquet_damage(cursor->diag, cursor->at, "a page header is malformed");
    uint64_t size = (uint64_t)(thrift.at - begin);
    if (header->count < 0 || header->count > INT32_MAX || header->uncompressed_bytes < 0 ||
        header->uncompressed_bytes > INT32_MAX || header->compressed_bytes < 0 ||
        (uint64_t)header->compressed_bytes > cursor->chunk->end - cursor->at - size)
        return parquet_damage(cursor->diag, cursor->at, "a page is larger than its chunk");
    cursor->at += size;
    return ERR_OK;
}

static enum err unsupported(const struct cursor *cursor, const char *what, int32_t number)
{
    return diag_set(cursor->diag, ERR_UNSUPPORTED, "%s %d at byte %llu is not supported", what,
                    number, (unsigned long long)cursor->at);
}

/* Decompresses the page at the cursor into the page buffer. */
static enum err read_page_body(struct cursor *cursor, const struct page_header *header)
{
    struct parquet_reader *reader = cursor->reader;
    enum compression compression = COMPRESSION_NONE;
    struct bytes body = {reader->file.data + cursor->at, (size_t)header->compressed_bytes};
    if (header->has_crc && parquet_page_crc(body) != header->crc)
        return parquet_damage(cursor->diag, cursor->at, "a page's checksum is wrong");
    enum err err = parquet_codec_compression(cursor->chunk->codec, &compression);
    if (err)
        return unsupported(cursor, "the compression codec", cursor->chunk->codec);
    buf_clear(&reader->page);
    err = buf_reserve(&reader->page, (size_t)header->uncompressed_bytes + 1);
    if (err)
        return err;
    err = decompress(compression, body, reader->page.data, (size_t)header->uncompressed_bytes);
    if (err == ERR_CORRUPT)
        return parquet_damage(cursor->diag, cursor->at, "a page cannot be decompressed");
    reader->page.size = (size_t)header->uncompressed_bytes;
    return err;
}

static enum err page_damage(const struct cursor *cursor, const char *what)
{
    return parquet_damage(cursor->diag, cursor->at, what);
}

static bool is_text(enum parquet_kind kind)
{
    return kind == PARQUET_STRING || kind == PARQUET_BINARY;
}

/* Length-prefixed texts; offsets already holds the first 0. */
static enum err read_texts(const struct cursor *cursor, struct bytes input, size_t count,
                           struct buf *offsets, struct buf *data)
{
    size_t at = 0;
    enum err err = ERR_OK;
    if (count > input.size / 4)
        return page_damage(cursor, "a page holds fewer values than it says");
    for (size_t i = 0; i < count && !err; i++) {
        if (input.size - at < 4 || load_u32(input.data + at) > input.size - at - 4)
            return page_damage(cursor, "a text runs over its page's end");
        uint32_t size = load_u32(input.data + at);
        err = buf_append(data, input.data + at + 4, size);
        at += 4 + size;
        if (!err && data->size > UINT32_MAX)
            err = ERR_TOO_LARGE;
        if (!err)
            err = buf_u32(offsets, (uint32_t)data->size);
    }
    return err;
}

static enum err read_booleans(const struct cursor *cursor, struct bytes input, size_t count,
                              struct buf *values)
{
    if ((count + 7) / 8 > input.size)
        return page_damage(cursor, "a page holds fewer values than it says");
    enum err err = buf_reserve(values, count);
    if (err)
        return err;
    for (size_t i = 0; i < count; i++)
        values->data[values->size++] = input.data[i / 8] >> i % 8 & 1;
    return ERR_OK;
}

/* INT32 and FLOAT of other writers, as int64_t and double. */
static enum err read_narrow(const struct cursor *cursor, struct bytes input, size_t count,
                            struct buf *values)
{
    bool is_unsigned = cursor->element->converted_type == PARQUET_CONVERTED_UINT_32;
    enum err err = buf_reserve(values, count * 8);
    for (size_t i = 0; i < count && !err; i++) {
        uint32_t bits = load_u32(input.data + i * 4);
        int64_t integer = is_unsigned ? (int64_t)bits : (int64_t)(int32_t)bits;
        float number;
        memcpy(&number, &bits, sizeof(number));
        double wide = (double)number;
        err = cursor->element->kind == PARQUET_DOUBLE ? buf_append(values, &wide, 8)
                                                      : buf_append(values, &integer, 8);
    }
    return err;
}

static enum err read_plain(const struct cursor *cursor, struct bytes input, size_t count,
                           struct buf *values, struct buf *offsets, struct buf *data)
{
    enum parquet_kind kind = cursor->element->kind;
    bool is_narrow =
        cursor->element->type == PARQUET_TYPE_INT32 || cursor->element->type == PARQUET_TYPE_FLOAT;
    if (is_text(kind))
        return read_texts(cursor, input, count, offsets, data);
    if (kind == PARQUET_BOOLEAN)
        return read_booleans(cursor, input, count, values);
    if (count > input.size / (is_narrow ? 4 : 8))
        return page_damage(cursor, "a page holds fewer values than it says");
    return is_narrow ? read_narrow(cursor, input, count, values)
                     : buf_append(values, input.data, count * 8);
}

static enum err read_dictionary(struct cursor *cursor, const struct page_header *header)
{
    struct parquet_reader *reader = cursor->reader;
    if (header->encoding != PARQUET_ENCODING_PLAIN &&
        header->encoding != PARQUET_ENCODING_PLAIN_DICTIONARY)
        return unsupported(cursor, "the dictionary's encoding", header->encoding);
    buf_clear(&reader->dictionary_values);
    buf_clear(&reader->dictionary_offsets);
    buf_clear(&reader->dictionary_data);
    reader->dictionary_count = (size_t)header->count;
    enum err err = buf_u32(&reader->dictionary_offsets, 0);
    if (err)
        return err;
    return read_plain(cursor, buf_bytes(&reader->page), (size_t)header->count,
                      &reader->dictionary_values, &reader->dictionary_offsets,
                      &reader->dictionary_data);
}

static enum err put_entry(const struct cursor *cursor, uint32_t entry)
{
    const struct parquet_reader *reader = cursor->reader;
    struct parquet_column_data *data = cursor->data;
    if (!is_text(cursor->element->kind)) {
        size_t size = cursor->element->kind == PARQUET_BOOLEAN ? 1 : 8;
        return buf_append(&data->values, reader->dictionary_values.data + entry * size, size);
    }
    uint32_t begin = load_u32(reader->dictionary_offsets.data + (size_t)entry * 4);
    uint32_t end = load_u32(reader->dictionary_offsets.data + (size_t)entry * 4 + 4);
    if (begin < end)
        (void)buf_append(&data->data, reader->dictionary_data.data + begin, end - begin);
    if (data->data.size > UINT32_MAX)
        return ERR_TOO_LARGE;
    (void)buf_u32(&data->offsets, (uint32_t)data->data.size);
    return data->data.err ? data->data.err : data->offsets.err;
}

static enum err read_indexed(struct cursor *cursor, struct bytes input, size_t count)
{
    struct parquet_reader *reader = cursor->reader;
    size_t bad_offset;
    if (count == 0)
        return ERR_OK;
    if (reader->dictionary_count == 0 || input.size == 0 || input.data[0] > 32)
        return page_damage(cursor, "a page's values need a dictionary that is not there");
    buf_clear(&reader->indices);
    enum err err = buf_reserve(&reader->indices, count * sizeof(uint32_t));
    if (err)
        return err;
    uint32_t *indices = (uint32_t *)(void *)reader->indices.data;
    if (!rle_decode_indices(bytes_from(input.data + 1, input.size - 1), input.data[0],
                            (uint32_t)reader->dictionary_count - 1, indices, count, &bad_offset))
        return page_damage(cursor, "a page's dictionary indices are malformed");
    for (size_t i = 0; i < count && !err; i++)
        err = put_entry(cursor, indices[i]);
    return err;
}

/* Takes one kind of levels off the page's front. */
static enum err read_levels(struct cursor *cursor, struct bytes *input, uint8_t level_max,
                            size_t count, struct buf *levels)
{
    size_t bad_offset;
    if (level_max == 0)
        return ERR_OK;
    if (input->size < 4 || load_u32(input->data) > input->size - 4)
        return page_damage(cursor, "a page's levels run over its end");
    struct bytes encoded = bytes_from(input->data + 4, load_u32(input->data));
    enum err err = buf_reserve(levels, count);
    if (err)
        return err;
    if (!rle_decode_levels(encoded, rle_width(level_max), level_max, levels->data + levels->size,
                           count, &bad_offset))
        return page_damage(cursor, "a page's levels are malformed");
    levels->size += count;
    *input = bytes_from(encoded.data + encoded.size, input->size - 4 - encoded.size);
    return ERR_OK;
}

static size_t count_equal(const uint8_t *levels, size_t count, uint8_t level)
{
    size_t equal = 0;
    for (size_t i = 0; i < count; i++)
        equal += levels[i] == level;
    return equal;
}

static enum err read_values(struct cursor *cursor, const struct page_header *header,
                            struct bytes input, size_t count)
{
    cursor->data->value_count += count;
    if (header->encoding == PARQUET_ENCODING_PLAIN)
        return read_plain(cursor, input, count, &cursor->data->values, &cursor->data->offsets,
                          &cursor->data->data);
    if (header->encoding == PARQUET_ENCODING_RLE_DICTIONARY ||
        header->encoding == PARQUET_ENCODING_PLAIN_DICTIONARY)
        return read_indexed(cursor, input, count);
    return unsupported(cursor, "the page's encoding", header->encoding);
}

static enum err read_data_page(struct cursor *cursor, const struct page_header *header)
{
    struct parquet_column_data *data = cursor->data;
    const struct parquet_metadata_element *element = cursor->element;
    struct bytes input = buf_bytes(&cursor->reader->page);
    size_t count = (size_t)header->count;
    size_t values = count;
    size_t definition_begin = data->definition_levels.size;
    size_t repetition_begin = data->repetition_levels.size;
    if (count > cursor->chunk->level_count - data->level_count)
        return page_damage(cursor, "a chunk's pages hold more values than it says");
    if (count == 0) /* there are not even levels to decode */
        return page_damage(cursor, "a page holds no values");
    enum err err =
        read_levels(cursor, &input, element->repetition_level_max, count, &data->repetition_levels);
    if (!err)
        err = read_levels(cursor, &input, element->definition_level_max, count,
                          &data->definition_levels);
    if (err)
        return err;
    if (element->definition_level_max > 0)
        values = count_equal(data->definition_levels.data + definition_begin, count,
                             element->definition_level_max);
    if (element->repetition_level_max > 0 && count > 0 &&
        data->repetition_levels.data[repetition_begin] != 0)
        return page_damage(cursor, "a page begins in the middle of a row");
    data->level_count += count;
    data->page_count++;
    return read_values(cursor, header, input, values);
}

static enum err read_page(struct cursor *cursor)
{
    struct page_header header;
    enum err err = read_page_header(cursor, &header);
    if (!err && header.type != PARQUET_PAGE_DATA && header.type != PARQUET_PAGE_DICTIONARY)
        err = unsupported(cursor, "the page's type", header.type);
    if (!err)
        err = read_page_body(cursor, &header);
    if (err)
        return err;
    if (header.type == PARQUET_PAGE_DATA)
        err = read_data_page(cursor, &header);
    else if (cursor->data->page_count > 0)
        err = page_damage(cursor, "a dictionary page stands after data pages");
    else
        err = read_dictionary(cursor, &header);
    cursor->at += (uint64_t)header.compressed_bytes;
    return err;
}

static void clear(struct parquet_column_data *data)
{
    buf_clear(&data->definition_levels);
    buf_clear(&data->repetition_levels);
    buf_clear(&data->values);
    buf_clear(&data->offsets);
    buf_clear(&data->data);
    data->level_count = data->value_count = data->page_count = 0;
}

static enum err check_chunk(const struct cursor *cursor)
{
    const struct parquet_column_data *data = cursor->data;
    uint64_t rows = data->level_count;
    if (cursor->element->repetition_level_max > 0)
        rows = count_equal(data->repetition_levels.data, data->repetition_levels.size, 0);
    bool is_read = cursor->at == cursor->chunk->end || cursor->chunk->level_count == 0;
    if (!is_read || rows != cursor->row_count)
        return page_damage(cursor, "a chunk's pages do not add up to its row group");
    if (cursor->chunk->has_null_count &&
        cursor->chunk->null_count != data->level_count - data->value_count)
        return page_damage(cursor, "a chunk's count of nulls is wrong");
    return ERR_OK;
}

enum err parquet_reader_read(struct parquet_reader *reader, size_t row_group, size_t column,
                             struct parquet_column_data *data, struct diag *diag)
{
    const struct parquet_metadata *metadata = &reader->metadata;
    assert(row_group < metadata->row_group_count && column < metadata->column_count);
    struct cursor cursor = {
        .reader = reader,
        .element = &metadata->elements[metadata->leaves[column]],
        .chunk = &metadata->row_groups[row_group].chunks[column],
        .data = data,
        .row_count = metadata->row_groups[row_group].row_count,
        .diag = diag,
    };
    clear(data);
    reader->dictionary_count = 0;
    cursor.at = cursor.chunk->begin;
    if (!cursor.element->is_known)
        return unsupported(&cursor, "the type of the column", cursor.element->type);
    enum err err = is_text(cursor.element->kind) ? buf_u32(&data->offsets, 0) : ERR_OK;
    while (!err && data->level_count < cursor.chunk->level_count)
        err = read_page(&cursor);
    if (err == ERR_TOO_LARGE)
        diag_set(diag, err, "it is too large at byte %llu", (unsigned long long)cursor.at);
    return err ? err : check_chunk(&cursor);
}

static void read_location(struct thrift_reader *thrift, struct parquet_reader_page *page)
{
    int id;
    enum thrift_type type;
    thrift_enter(thrift);
    while (thrift_next_field(thrift, &id, &type)) {
        if (id == 1)
            page->offset = (uint64_t)thrift_get_int(thrift, type);
        else if (id == 2)
            page->size_bytes = (uint32_t)thrift_get_int(thrift, type);
        else if (id == 3)
            page->first_row = (uint64_t)thrift_get_int(thrift, type);
        else
            thrift_skip(thrift, type);
    }
}

static enum err read_offset_index(struct parquet_reader *reader, struct bytes input,
                                  struct parquet_page_index *index)
{
    struct thrift_reader thrift;
    int id;
    enum thrift_type type;
    thrift_reader_init(&thrift, input);
    thrift_enter(&thrift);
    while (thrift_next_field(&thrift, &id, &type)) {
        if (id != 1 || index->pages) {
            thrift_skip(&thrift, type);
            continue;
        }
        size_t count = thrift_get_list(&thrift, type, THRIFT_STRUCT);
        index->pages = arena_zalloc(&reader->arena, (count + 1) * sizeof(*index->pages));
        if (!index->pages)
            return ERR_NO_MEMORY;
        for (index->page_count = 0; index->page_count < count && !thrift.err; index->page_count++)
            read_location(&thrift, &index->pages[index->page_count]);
    }
    return thrift.err ? ERR_CORRUPT : ERR_OK;
}

/* Every list has one element a page. */
static void read_page_list(struct thrift_reader *thrift, int id, enum thrift_type type,
                           struct parquet_page_index *index)
{
    enum thrift_type element = id == 1 ? THRIFT_TRUE : id == 5 ? THRIFT_I64 : THRIFT_BINARY;
    size_t count = thrift_get_list(thrift, type, element);
    if (count != index->page_count)
        thrift_fail(thrift, ERR_CORRUPT);
    for (size_t i = 0; i < count && !thrift->err; i++) {
        struct parquet_reader_page *page = &index->pages[i];
        page->has_bounds = true;
        if (id == 1)
            page->is_all_null = thrift_element_get_bool(thrift);
        else if (id == 2)
            page->min = thrift_get_binary(thrift, THRIFT_BINARY);
        else if (id == 3)
            page->max = thrift_get_binary(thrift, THRIFT_BINARY);
        else
            page->null_count = (uint64_t)thrift_get_int(thrift, THRIFT_I64);
    }
}

static enum err read_column_index(struct bytes input, struct parquet_page_index *index)
{
    struct thrift_reader thrift;
    int id;
    enum thrift_type type;
    thrift_reader_init(&thrift, input);
    thrift_enter(&thrift);
    while (thrift_next_field(&thrift, &id, &type)) {
        if (id == 4)
            index->boundary_order = (int32_t)thrift_get_int(&thrift, type);
        else if (id >= 1 && id <= 5)
            read_page_list(&thrift, id, type, index);
        else
            thrift_skip(&thrift, type);
    }
    return thrift.err ? ERR_CORRUPT : ERR_OK;
}

enum err parquet_reader_page_index(struct parquet_reader *reader, size_t row_group, size_t column,
                                   struct parquet_page_index *ret_index, struct diag *diag)
{
    const struct parquet_metadata *metadata = &reader->metadata;
    assert(row_group < metadata->row_group_count && column < metadata->column_count);
    const struct parquet_metadata_chunk *chunk = &metadata->row_groups[row_group].chunks[column];
    *ret_index = (struct parquet_page_index){0};
    if (chunk->offset_index_bytes == 0)
        return ERR_OK;
    enum err err = read_offset_index(
        reader,
        bytes_from(reader->file.data + chunk->offset_index_offset, chunk->offset_index_bytes),
        ret_index);
    if (err == ERR_CORRUPT)
        return parquet_damage(diag, chunk->offset_index_offset, "an offset index is malformed");
    if (err || chunk->column_index_bytes == 0)
        return err;
    ret_index->has_column_index = true;
    err = read_column_index(
        bytes_from(reader->file.data + chunk->column_index_offset, chunk->column_index_bytes),
        ret_index);
    return err ? parquet_damage(diag, chunk->column_index_offset, "a column index is malformed")
               : ERR_OK;
}
