#include "lake/parquet_footer.h"

#include "codec/thrift_compact.h"

static void put_i32(struct thrift_writer *writer, int id, int64_t value)
{
    thrift_put_int(writer, id, THRIFT_I32, value);
}

static void put_i64(struct thrift_writer *writer, int id, uint64_t value)
{
    thrift_put_int(writer, id, THRIFT_I64, (int64_t)value);
}

static void put_text(struct thrift_writer *writer, int id, const char *text)
{
    thrift_put_binary(writer, id, bytes_from_text(text));
}

static void put_empty_struct(struct thrift_writer *writer, int id)
{
    thrift_begin_field(writer, id);
    thrift_end(writer);
}

void parquet_put_page_header(struct buf *out, const struct parquet_page_header *header)
{
    struct thrift_writer writer;
    thrift_writer_init(&writer, out);
    thrift_begin(&writer);
    put_i32(&writer, 1, header->type);
    put_i32(&writer, 2, (int64_t)header->uncompressed_bytes);
    put_i32(&writer, 3, (int64_t)header->compressed_bytes);
    if (header->has_crc)
        put_i32(&writer, 4, (int32_t)header->crc);
    thrift_begin_field(&writer, header->type == PARQUET_PAGE_DATA ? 5 : 7);
    put_i32(&writer, 1, (int64_t)header->count);
    put_i32(&writer, 2, header->encoding);
    if (header->type == PARQUET_PAGE_DATA) {
        put_i32(&writer, 3, PARQUET_ENCODING_RLE);
        put_i32(&writer, 4, PARQUET_ENCODING_RLE);
    }
    thrift_end(&writer);
    thrift_end(&writer);
}

static struct bytes bound_bytes(const struct parquet_bound *bound)
{
    return bytes_from(bound->data, bound->size);
}

static void put_statistics(struct thrift_writer *writer, const struct parquet_chunk_totals *totals)
{
    thrift_begin_field(writer, 12);
    put_i64(writer, 3, totals->null_count);
    if (totals->max.is_usable)
        thrift_put_binary(writer, 5, bound_bytes(&totals->max));
    if (totals->min.is_usable)
        thrift_put_binary(writer, 6, bound_bytes(&totals->min));
    if (totals->max.is_usable)
        thrift_put_bool(writer, 7, totals->max.is_exact);
    if (totals->min.is_usable)
        thrift_put_bool(writer, 8, totals->min.is_exact);
    thrift_end(writer);
}

static void put_encoding_count(struct thrift_writer *writer, enum parquet_page_type type,
                               enum parquet_encoding encoding, uint32_t page_count)
{
    thrift_begin(writer);
    put_i32(writer, 1, type);
    put_i32(writer, 2, encoding);
    put_i32(writer, 3, page_count);
    thrift_end(writer);
}

static void put_encodings(struct thrift_writer *writer, const struct parquet_chunk_totals *totals)
{
    thrift_put_list(writer, 2, THRIFT_I32, totals->has_dictionary ? 3 : 2);
    thrift_element_int(writer, PARQUET_ENCODING_PLAIN);
    thrift_element_int(writer, PARQUET_ENCODING_RLE);
    if (totals->has_dictionary)
        thrift_element_int(writer, PARQUET_ENCODING_RLE_DICTIONARY);
}

static void put_encoding_stats(struct thrift_writer *writer,
                               const struct parquet_chunk_totals *totals)
{
    thrift_put_list(writer, 13, THRIFT_STRUCT, totals->has_dictionary ? 2 : 1);
    if (totals->has_dictionary)
        put_encoding_count(writer, PARQUET_PAGE_DICTIONARY, PARQUET_ENCODING_PLAIN, 1);
    put_encoding_count(writer, PARQUET_PAGE_DATA,
                       totals->has_dictionary ? PARQUET_ENCODING_RLE_DICTIONARY
                                              : PARQUET_ENCODING_PLAIN,
                       totals->data_page_count);
}

static void put_path(struct thrift_writer *writer, const struct parquet_element *element)
{
    const char *names[2 * PARQUET_SCHEMA_DEPTH_MAX + 1];
    size_t count = 0;
    for (; element->parent; element = element->parent)
        names[count++] = element->name;
    thrift_put_list(writer, 3, THRIFT_BINARY, count);
    while (count > 0)
        thrift_element_binary(writer, bytes_from_text(names[--count]));
}

void parquet_put_column_metadata(struct buf *out, const struct parquet_column *column,
                                 const struct parquet_chunk_totals *totals)
{
    struct thrift_writer writer;
    thrift_writer_init(&writer, out);
    thrift_begin(&writer);
    put_i32(&writer, 1, parquet_kind_type(column->kind));
    put_encodings(&writer, totals);
    put_path(&writer, column->element);
    put_i32(&writer, 4, totals->codec);
    put_i64(&writer, 5, totals->level_count);
    put_i64(&writer, 6, totals->uncompressed_bytes);
    put_i64(&writer, 7, totals->compressed_bytes);
    put_i64(&writer, 9, totals->data_page_offset);
    if (totals->has_dictionary)
        put_i64(&writer, 11, totals->dictionary_page_offset);
    put_statistics(&writer, totals);
    put_encoding_stats(&writer, totals);
    thrift_end(&writer);
}

/* Over the pages that have values, by both bounds. */
static enum parquet_boundary_order
boundary_order(enum parquet_kind kind, const struct parquet_page_entry *pages, size_t page_count)
{
    bool ascending = true;
    bool descending = true;
    const struct parquet_page_entry *last = NULL;
    for (size_t i = 0; i < page_count; i++) {
        if (pages[i].is_all_null)
            continue;
        if (last) {
            int min_order = parquet_bound_compare(kind, &last->min, &pages[i].min);
            int max_order = parquet_bound_compare(kind, &last->max, &pages[i].max);
            ascending = ascending && min_order <= 0 && max_order <= 0;
            descending = descending && min_order >= 0 && max_order >= 0;
        }
        last = &pages[i];
    }
    return ascending ? PARQUET_ASCENDING : descending ? PARQUET_DESCENDING : PARQUET_UNORDERED;
}

static bool all_have_bounds(const struct parquet_page_entry *pages, size_t page_count)
{
    for (size_t i = 0; i < page_count; i++) {
        if (!pages[i].is_all_null && (!pages[i].min.is_usable || !pages[i].max.is_usable))
            return false;
    }
    return true;
}

void parquet_put_column_index(struct buf *out, enum parquet_kind kind,
                              const struct parquet_page_entry *pages, size_t page_count)
{
    struct thrift_writer writer;
    if (!all_have_bounds(pages, page_count))
        return;
    thrift_writer_init(&writer, out);
    thrift_begin(&writer);
    thrift_put_list(&writer, 1, THRIFT_TRUE, page_count);
    for (size_t i = 0; i < page_count; i++)
        thrift_element_bool(&writer, pages[i].is_all_null);
    thrift_put_list(&writer, 2, THRIFT_BINARY, page_count);
    for (size_t i = 0; i < page_count; i++)
        thrift_element_binary(&writer, bound_bytes(&pages[i].min));
    thrift_put_list(&writer, 3, THRIFT_BINARY, page_count);
    for (size_t i = 0; i < page_count; i++)
        thrift_element_binary(&writer, bound_bytes(&pages[i].max));
    put_i32(&writer, 4, boundary_order(kind, pages, page_count));
    thrift_put_list(&writer, 5, THRIFT_I64, page_count);
    for (size_t i = 0; i < page_count; i++)
        thrift_element_int(&writer, (int64_t)pages[i].null_count);
    thrift_end(&writer);
}

void parquet_put_offset_index(struct buf *out, const struct parquet_page_entry *pages,
                              size_t page_count)
{
    struct thrift_writer writer;
    thrift_writer_init(&writer, out);
    thrift_begin(&writer);
    thrift_put_list(&writer, 1, THRIFT_STRUCT, page_count);
    for (size_t i = 0; i < page_count; i++) {
        thrift_begin(&writer);
        put_i64(&writer, 1, pages[i].offset);
        put_i32(&writer, 2, pages[i].size_bytes);
        put_i64(&writer, 3, pages[i].first_row);
        thrift_end(&writer);
    }
    thrift_end(&writer);
}

static void put_timestamp_type(struct thrift_writer *writer)
{
    thrift_begin_field(writer, PARQUET_LOGICAL_TIMESTAMP);
    thrift_put_bool(writer, 1, true); /* isAdjustedToUTC */
    thrift_begin_field(writer, 2);
    put_empty_struct(writer, 2); /* MICROS */
    thrift_end(writer);
    thrift_end(writer);
}

static void put_converted_and_logical(struct thrift_writer *writer,
                                      const struct parquet_element *element)
{
    bool is_string = element->is_leaf && element->kind == PARQUET_STRING;
    bool is_timestamp = element->is_leaf && element->kind == PARQUET_TIMESTAMP_US;
    if (is_string)
        put_i32(writer, 6, PARQUET_CONVERTED_UTF8);
    else if (is_timestamp)
        put_i32(writer, 6, PARQUET_CONVERTED_TIMESTAMP_MICROS);
    else if (element->is_list)
        put_i32(writer, 6, PARQUET_CONVERTED_LIST);
    if (element->field_id >= 0)
        put_i32(writer, 9, element->field_id);
    if (!is_string && !is_timestamp && !element->is_list)
        return;
    thrift_begin_field(writer, 10);
    if (is_timestamp)
        put_timestamp_type(writer);
    else
        put_empty_struct(writer, is_string ? PARQUET_LOGICAL_STRING : PARQUET_LOGICAL_LIST);
    thrift_end(writer);
}

static void put_element(struct thrift_writer *writer, const struct parquet_element *element)
{
    thrift_begin(writer);
    if (element->is_leaf)
        put_i32(writer, 1, parquet_kind_type(element->kind));
    if (element->parent)
        put_i32(writer, 3, element->repetition);
    put_text(writer, 4, element->name);
    if (!element->is_leaf)
        put_i32(writer, 5, element->child_count);
    if (element->parent)
        put_converted_and_logical(writer, element);
    thrift_end(writer);
}

static void put_chunk(struct thrift_writer *writer, const struct parquet_footer *footer,
                      const struct parquet_chunk_record *chunk)
{
    thrift_begin(writer);
    put_i64(writer, 2, 0); /* file_offset: no metadata outside the footer */
    thrift_put_encoded(
        writer, 3,
        bytes_from(footer->metadata->data + chunk->metadata_begin, chunk->metadata_size));
    put_i64(writer, 4, footer->offset_indexes_offset + chunk->offset_index_begin);
    put_i32(writer, 5, (int64_t)chunk->offset_index_size);
    if (chunk->column_index_size > 0) {
        put_i64(writer, 6, footer->column_indexes_offset + chunk->column_index_begin);
        put_i32(writer, 7, (int64_t)chunk->column_index_size);
    }
    thrift_end(writer);
}

static void put_row_group(struct thrift_writer *writer, const struct parquet_footer *footer,
                          size_t ordinal)
{
    const struct parquet_row_group_record *row_group = &footer->row_groups[ordinal];
    size_t column_count = footer->schema->column_count;
    thrift_begin(writer);
    thrift_put_list(writer, 1, THRIFT_STRUCT, column_count);
    for (size_t i = 0; i < column_count; i++)
        put_chunk(writer, footer, &footer->chunks[ordinal * column_count + i]);
    put_i64(writer, 2, row_group->uncompressed_bytes);
    put_i64(writer, 3, row_group->row_count);
    put_i64(writer, 5, row_group->file_offset);
    put_i64(writer, 6, row_group->compressed_bytes);
    thrift_put_int(writer, 7, THRIFT_I16, (int64_t)ordinal);
    thrift_end(writer);
}

static void put_pair(struct thrift_writer *writer, const char *key, const char *value)
{
    thrift_begin(writer);
    put_text(writer, 1, key);
    put_text(writer, 2, value);
    thrift_end(writer);
}

static size_t put_key_values(struct buf *out, struct thrift_writer *writer,
                             const struct parquet_footer *footer)
{
    thrift_put_list(writer, 5, THRIFT_STRUCT, footer->key_value_count + 1);
    put_pair(writer, PARQUET_CHECKSUM_KEY, PARQUET_CHECKSUM_NONE);
    size_t checksum_at = out->size - PARQUET_CHECKSUM_CHARS - 1; /* the pair ends with a byte */
    for (size_t i = 0; i < footer->key_value_count; i++)
        put_pair(writer, footer->key_values[i].key, footer->key_values[i].value);
    return checksum_at;
}

void parquet_put_footer(struct buf *out, const struct parquet_footer *footer,
                        size_t *ret_checksum_at)
{
    struct thrift_writer writer;
    uint64_t rows = 0;
    for (size_t i = 0; i < footer->row_group_count; i++)
        rows += footer->row_groups[i].row_count;
    thrift_writer_init(&writer, out);
    thrift_begin(&writer);
    put_i32(&writer, 1, 1); /* format version */
    thrift_put_list(&writer, 2, THRIFT_STRUCT, footer->schema->element_count);
    for (size_t i = 0; i < footer->schema->element_count; i++)
        put_element(&writer, &footer->schema->elements[i]);
    put_i64(&writer, 3, rows);
    thrift_put_list(&writer, 4, THRIFT_STRUCT, footer->row_group_count);
    for (size_t i = 0; i < footer->row_group_count; i++)
        put_row_group(&writer, footer, i);
    *ret_checksum_at = put_key_values(out, &writer, footer);
    put_text(&writer, 6, footer->created_by);
    thrift_put_list(&writer, 7, THRIFT_STRUCT, footer->schema->column_count);
    for (size_t i = 0; i < footer->schema->column_count; i++) {
        thrift_begin(&writer);
        put_empty_struct(&writer, 1); /* TypeDefinedOrder */
        thrift_end(&writer);
    }
    thrift_end(&writer);
}
