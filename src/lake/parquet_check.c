#include "lake/parquet_check.h"

#include "base/crc32c.h"
#include "lake/parquet_footer.h"
#include "lake/parquet_json.h"
#include "lake/parquet_range.h"

#include <stdio.h>

#define OURS "ingestor version "

struct check {
    struct parquet_reader *reader;
    const struct parquet_metadata *metadata;
    struct parquet_column_data data;
    size_t group;
    size_t column;
    struct diag *diag;
};

static const struct parquet_metadata_chunk *chunk_of(const struct check *check)
{
    return &check->metadata->row_groups[check->group].chunks[check->column];
}

static enum err wrong(const struct check *check, uint64_t offset, const char *what)
{
    return parquet_damage(check->diag, offset, what);
}

static struct parquet_leaf leaf_of(const struct parquet_column_data *data)
{
    return (struct parquet_leaf){
        .definition_levels = data->definition_levels.data,
        .repetition_levels = data->repetition_levels.data,
        .level_count = data->level_count,
        .value_count = data->value_count,
        .values = data->values.data,
        .offsets = (const uint32_t *)(const void *)data->offsets.data,
        .data = data->data.data,
    };
}

static bool bound_is(const struct parquet_bound *bound, bool is_set, struct bytes bytes)
{
    if (!bound->is_usable || !is_set)
        return bound->is_usable == is_set;
    return bytes_equal(bytes_from(bound->data, bound->size), bytes);
}

static enum parquet_kind kind_of(const struct check *check)
{
    return check->metadata->elements[check->metadata->leaves[check->column]].kind;
}

/* The range of values begin .. end. */
static struct parquet_range range_of(const struct check *check, size_t begin, size_t end)
{
    struct parquet_leaf leaf = leaf_of(&check->data);
    struct parquet_range range = {0};
    parquet_range_add(&range, kind_of(check), &leaf, begin, end);
    return range;
}

static enum err check_statistics(const struct check *check)
{
    const struct parquet_metadata_chunk *chunk = chunk_of(check);
    struct parquet_bound min;
    struct parquet_bound max;
    struct parquet_range range = range_of(check, 0, check->data.value_count);
    parquet_bounds_of_chunk(&min, &max, kind_of(check), &range);
    if (!chunk->has_null_count)
        return wrong(check, check->metadata->footer_offset, "a chunk has no count of nulls");
    if (range.has_nan && chunk->min.is_set) { /* older versions gave bounds besides NaN too */
        parquet_bound_min(&min, kind_of(check), &range);
        parquet_bound_max(&max, kind_of(check), &range);
    }
    if (!bound_is(&min, chunk->min.is_set, chunk->min.bytes) ||
        !bound_is(&max, chunk->max.is_set, chunk->max.bytes))
        return wrong(check, chunk->begin, "a chunk's bounds are not those of its values");
    return ERR_OK;
}

/* --- the page index ------------------------------------------------------------------------ */

struct place {
    size_t level;
    size_t value;
    uint64_t row; /* rows begun */
};

/* Moves over the levels of whole rows until row row_end begins. */
static void pass_rows(const struct check *check, struct place *place, uint64_t row_end)
{
    const struct parquet_column_data *data = &check->data;
    const struct parquet_metadata_element *element =
        &check->metadata->elements[check->metadata->leaves[check->column]];
    for (; place->level < data->level_count; place->level++) {
        bool begins =
            element->repetition_level_max == 0 || data->repetition_levels.data[place->level] == 0;
        if (begins && place->row == row_end)
            return;
        place->row += begins;
        place->value += element->definition_level_max == 0 ||
                        data->definition_levels.data[place->level] == element->definition_level_max;
    }
}

static enum err check_page(const struct check *check, const struct parquet_reader_page *page,
                           const struct place *begin, const struct place *end)
{
    struct parquet_bound min;
    struct parquet_bound max;
    size_t values = end->value - begin->value;
    if (page->first_row != begin->row)
        return wrong(check, page->offset, "a page index has a page begin at the wrong row");
    if (!page->has_bounds)
        return ERR_OK;
    struct parquet_range range = range_of(check, begin->value, end->value);
    parquet_bound_min(&min, kind_of(check), &range);
    parquet_bound_max(&max, kind_of(check), &range);
    if (page->is_all_null != (values == 0) ||
        page->null_count != end->level - begin->level - values)
        return wrong(check, page->offset, "a page index counts nulls that are not there");
    if (values > 0 && (!bound_is(&min, true, page->min) || !bound_is(&max, true, page->max)))
        return wrong(check, page->offset, "a page's bounds are not those of its values");
    return ERR_OK;
}

static enum err check_page_index(const struct check *check)
{
    struct parquet_page_index index;
    struct place at = {0};
    uint64_t rows = check->metadata->row_groups[check->group].row_count;
    enum err err =
        parquet_reader_page_index(check->reader, check->group, check->column, &index, check->diag);
    if (err == ERR_OK && index.page_count > 0 && index.page_count != check->data.page_count)
        err = wrong(check, chunk_of(check)->offset_index_offset,
                    "a page index has another number of pages than its chunk");
    for (size_t i = 0; i < index.page_count && err == ERR_OK; i++) {
        struct place begin = at;
        pass_rows(check, &at, i + 1 < index.page_count ? index.pages[i + 1].first_row : rows);
        err = check_page(check, &index.pages[i], &begin, &at);
    }
    return err;
}

/* --- the file ------------------------------------------------------------------------------ */

static enum err check_columns(struct check *check)
{
    enum err err = ERR_OK;
    for (check->column = 0; check->column < check->metadata->column_count; check->column++) {
        err = parquet_reader_read(check->reader, check->group, check->column, &check->data,
                                  check->diag);
        if (err == ERR_OK)
            err = check_statistics(check);
        if (err == ERR_OK)
            err = check_page_index(check);
        if (err != ERR_OK)
            return err;
    }
    return err;
}

static enum err check_rows(struct check *check, struct parquet_json *json, size_t memory_max)
{
    struct buf row;
    buf_init(&row, memory_max);
    enum err err = parquet_json_open(json, check->group, check->diag);
    for (uint64_t i = 0; i < check->metadata->row_groups[check->group].row_count && !err; i++) {
        buf_clear(&row);
        err = parquet_json_row(json, &row, check->diag);
    }
    buf_fini(&row);
    return err;
}

static bool is_ours(const struct parquet_metadata *metadata)
{
    const size_t size = sizeof(OURS) - 1;
    return metadata->created_by.size > size && memcmp(metadata->created_by.data, OURS, size) == 0;
}

/* --- the footer against itself and the file ------------------------------------------------ */

static enum err wrong_footer(const struct check *check, const char *what)
{
    return wrong(check, check->metadata->footer_offset, what);
}

static uint32_t path_of(const struct parquet_metadata *metadata, uint32_t element)
{
    uint32_t names[2 * PARQUET_SCHEMA_DEPTH_MAX + 1];
    size_t count = 0;
    uint32_t path = 0;
    for (; element != 0 && count < sizeof(names) / sizeof(names[0]);
         element = metadata->elements[element].parent)
        names[count++] = element;
    while (count > 0)
        path = parquet_path_add(path, metadata->elements[names[--count]].name);
    return path;
}

/* The chunks of a column say again which it is. */
static enum err check_names(const struct check *check)
{
    const struct parquet_metadata *metadata = check->metadata;
    for (size_t i = 0; i < metadata->column_count; i++) {
        uint32_t path = path_of(metadata, metadata->leaves[i]);
        for (size_t group = 0; group < metadata->row_group_count; group++) {
            const struct parquet_metadata_chunk *chunk = &metadata->row_groups[group].chunks[i];
            if (chunk->path != path)
                return wrong_footer(check, "a column has another name in a row group");
            if (chunk->type != metadata->elements[metadata->leaves[i]].type)
                return wrong_footer(check, "a column has another type in a row group");
        }
    }
    return ERR_OK;
}

/* One letter off: it was the checksum's. */
static bool was_checksum_key(struct bytes key)
{
    size_t off = 0;
    for (size_t i = 0; i < key.size && key.size == sizeof(PARQUET_CHECKSUM_KEY) - 1; i++)
        off += key.data[i] != (uint8_t)PARQUET_CHECKSUM_KEY[i];
    return off == 1;
}

static enum err check_checksum(const struct check *check, struct bytes file)
{
    const struct parquet_metadata *metadata = check->metadata;
    if (metadata->footer_left > 0)
        return wrong_footer(check, "its footer ends early");
    if (metadata->has_odd_field)
        return wrong_footer(check, "its footer has a field that no footer has");
    for (size_t i = 0; i < metadata->pair_count; i++) {
        struct bytes value = metadata->pairs[i].value;
        char text[PARQUET_CHECKSUM_CHARS + 1];
        if (metadata->pairs[i].key.size == 0 || was_checksum_key(metadata->pairs[i].key))
            return wrong_footer(check, "a key of its footer is damaged");
        if (!bytes_equal_text(metadata->pairs[i].key, PARQUET_CHECKSUM_KEY))
            continue;
        if (value.size != PARQUET_CHECKSUM_CHARS)
            return wrong_footer(check, "its checksum is damaged");
        size_t at = (size_t)(value.data - file.data), behind = at + value.size;
        uint32_t sum = crc32c(0, file.data, at);
        sum = crc32c(sum, PARQUET_CHECKSUM_NONE, PARQUET_CHECKSUM_CHARS);
        sum = crc32c(sum, file.data + behind, file.size - behind);
        snprintf(text, sizeof(text), "%08x", (unsigned)sum);
        if (!bytes_equal_text(value, text))
            return wrong_footer(check, "it is not what was written: the checksum of the whole file "
                                       "is another than the footer says");
    }
    return ERR_OK;
}

static enum err check_pairs(const struct check *check)
{
    uint64_t rows = 0;
    char text[24];
    for (size_t i = 0; i < check->metadata->row_group_count; i++)
        rows += check->metadata->row_groups[i].row_count;
    if (rows != check->metadata->row_count)
        return wrong(check, check->metadata->footer_offset,
                     "the row groups do not add up to the file's rows");
    snprintf(text, sizeof(text), "%llu", (unsigned long long)rows);
    for (size_t i = 0; i < check->metadata->pair_count; i++) {
        const struct parquet_metadata_pair *pair = &check->metadata->pairs[i];
        if (bytes_equal_text(pair->key, "ingestor.rows") && !bytes_equal_text(pair->value, text))
            return wrong(check, check->metadata->footer_offset,
                         "the file was written with another number of rows");
    }
    return ERR_OK;
}

enum err parquet_check_footer(struct bytes file, const struct parquet_metadata *metadata,
                              struct diag *diag)
{
    struct check check = {.metadata = metadata, .diag = diag};
    enum err err = check_pairs(&check);
    if (err == ERR_OK)
        err = check_names(&check);
    return err == ERR_OK ? check_checksum(&check, file) : err;
}

enum err parquet_check(struct bytes file, size_t memory_max, struct diag *diag)
{
    struct parquet_reader *reader;
    struct parquet_json *json = NULL;
    enum err err = parquet_reader_new(file, memory_max, &reader, diag);
    if (err != ERR_OK)
        return err;
    struct check check = {
        .reader = reader, .metadata = parquet_reader_metadata(reader), .diag = diag};
    parquet_column_data_init(&check.data, memory_max);
    err = check_pairs(&check);
    if (err == ERR_OK)
        err = check_names(&check);
    if (err == ERR_OK)
        err = parquet_json_new(reader, memory_max, &json, diag);
    for (; err == ERR_OK && check.group < check.metadata->row_group_count; check.group++) {
        err = check_rows(&check, json, memory_max);
        if (err == ERR_OK && is_ours(check.metadata))
            err = check_columns(&check);
    }
    if (err == ERR_OK) /* last: all else says better where */
        err = check_checksum(&check, file);
    parquet_json_free(json);
    parquet_column_data_fini(&check.data);
    parquet_reader_free(reader);
    return err;
}
