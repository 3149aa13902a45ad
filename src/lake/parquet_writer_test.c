/* The writer and the reader against each other, and both against hostile and failing worlds. What
 * other readers make of the files is tests/integration/test_parquet_readers.py. */
#include "lake/parquet_writer.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "lake/parquet_reader.h"
#include "support/parquet_groups.h"
#include "support/parquet_rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void check_levels(const uint8_t *expected, const struct buf *found, uint8_t level_max,
                         size_t count, uint8_t if_none)
{
    if (level_max == 0) {
        assert_int_equal(found->size, 0);
        return;
    }
    assert_int_equal(found->size, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(found->data[i], expected ? expected[i] : if_none);
}

static void check_values(enum parquet_kind kind, const struct parquet_leaf *leaf,
                         const struct parquet_column_data *data)
{
    size_t width = kind == PARQUET_BOOLEAN ? 1 : 8;
    assert_int_equal(data->value_count, leaf->value_count);
    for (size_t i = 0; i < leaf->value_count; i++) {
        size_t id = leaf->indices ? leaf->indices[i] : i;
        if (kind != PARQUET_STRING && kind != PARQUET_BINARY) {
            assert_memory_equal(data->values.data + i * width,
                                (const uint8_t *)leaf->values + id * width, width);
            continue;
        }
        const uint32_t *offsets = (const uint32_t *)(void *)data->offsets.data;
        size_t size = leaf->offsets[id + 1] - leaf->offsets[id];
        assert_int_equal(offsets[i + 1] - offsets[i], size);
        if (size > 0)
            assert_memory_equal(data->data.data + offsets[i], leaf->data + leaf->offsets[id], size);
    }
}

static int compare(enum parquet_kind kind, struct bytes a, struct bytes b)
{
    if (kind == PARQUET_DOUBLE) {
        double x, y;
        memcpy(&x, a.data, 8);
        memcpy(&y, b.data, 8);
        return (x > y) - (x < y);
    }
    if (kind == PARQUET_TIMESTAMP_US) {
        int64_t x = (int64_t)load_u64(a.data), y = (int64_t)load_u64(b.data);
        return (x > y) - (x < y);
    }
    size_t size = a.size < b.size ? a.size : b.size;
    int order = memcmp(a.data, b.data, size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static struct bytes value_at(enum parquet_kind kind, const struct parquet_column_data *data,
                             size_t i)
{
    if (kind == PARQUET_STRING || kind == PARQUET_BINARY) {
        uint32_t begin = load_u32(data->offsets.data + i * 4);
        uint32_t end = load_u32(data->offsets.data + i * 4 + 4);
        return bytes_from(end > begin ? (const char *)data->data.data + begin : "", end - begin);
    }
    size_t width = kind == PARQUET_BOOLEAN ? 1 : 8;
    return bytes_from(data->values.data + i * width, width);
}

/* Values begin .. end lie between the bounds, and no NaN is among those. */
static void check_bounds(enum parquet_kind kind, const struct parquet_column_data *data,
                         size_t begin, size_t end, struct bytes min, struct bytes max)
{
    bool min_met = false, max_met = false;
    for (size_t i = begin; i < end; i++) {
        struct bytes value = value_at(kind, data, i);
        double number = 0;
        if (kind == PARQUET_DOUBLE)
            memcpy(&number, value.data, 8);
        if (isnan(number))
            continue;
        assert_true(compare(kind, min, value) <= 0 && compare(kind, max, value) >= 0);
        min_met = min_met || compare(kind, min, value) == 0;
        max_met = max_met || compare(kind, max, value) == 0;
    }
    assert_true(min.size <= 64 && max.size <= 64);
    assert_true(min.size > 60 || min_met);
    assert_true(max_met || (kind == PARQUET_STRING || kind == PARQUET_BINARY));
}

static void check_page_index(struct parquet_reader *reader, size_t group, size_t column,
                             enum parquet_kind kind, const struct parquet_column_data *data)
{
    const struct parquet_metadata *metadata = parquet_reader_metadata(reader);
    const struct parquet_metadata_row_group *row_group = &metadata->row_groups[group];
    const struct parquet_metadata_element *element = &metadata->elements[metadata->leaves[column]];
    struct parquet_page_index index;
    size_t level = 0, value = 0;
    assert_int_equal(parquet_reader_page_index(reader, group, column, &index, NULL), ERR_OK);
    assert_int_equal(index.page_count, data->page_count);
    uint64_t at = index.pages[0].offset;
    for (size_t i = 0; i < index.page_count; i++) {
        const struct parquet_reader_page *page = &index.pages[i];
        uint64_t next_row =
            i + 1 < index.page_count ? index.pages[i + 1].first_row : row_group->row_count;
        size_t value_begin = value;
        uint64_t nulls = 0;
        assert_true(page->offset == at);
        at += page->size_bytes;
        for (uint64_t row = page->first_row; level < data->level_count; level++) {
            if (element->repetition_level_max == 0 || data->repetition_levels.data[level] == 0) {
                if (row == next_row)
                    break;
                row++;
            }
            bool present = data->definition_levels.data[level] == element->definition_level_max;
            value += present;
            nulls += !present;
        }
        if (!index.has_column_index)
            continue;
        assert_true(page->has_bounds);
        assert_int_equal(page->null_count, nulls);
        assert_int_equal(page->is_all_null, value == value_begin);
        if (!page->is_all_null)
            check_bounds(kind, data, value_begin, value, page->min, page->max);
        if (i > 0 && index.boundary_order == PARQUET_ASCENDING && !page->is_all_null &&
            !page[-1].is_all_null)
            assert_true(compare(kind, page[-1].min, page->min) <= 0 &&
                        compare(kind, page[-1].max, page->max) <= 0);
    }
    assert_true(at == row_group->chunks[column].end);
    assert_int_equal(level, data->level_count);
}

static void check_group(struct parquet_reader *reader, size_t group,
                        const struct parquet_rows *rows)
{
    const struct parquet_metadata *metadata = parquet_reader_metadata(reader);
    struct parquet_column_data data;
    parquet_column_data_init(&data, 256 * MIB);
    for (size_t i = 0; i < metadata->column_count; i++) {
        const struct parquet_metadata_element *element = &metadata->elements[metadata->leaves[i]];
        const struct parquet_metadata_chunk *chunk = &metadata->row_groups[group].chunks[i];
        const struct parquet_leaf *leaf = &rows->views[i];
        struct diag diag = {0};
        if (parquet_reader_read(reader, group, i, &data, &diag))
            fail_msg("%s: %s", parquet_reader_path(reader, i), diag.text);
        assert_int_equal(data.level_count, leaf->level_count);
        check_levels(leaf->definition_levels, &data.definition_levels,
                     element->definition_level_max, leaf->level_count,
                     element->definition_level_max);
        check_levels(leaf->repetition_levels, &data.repetition_levels,
                     element->repetition_level_max, leaf->level_count, 0);
        check_values(element->kind, leaf, &data);
        check_page_index(reader, group, i, element->kind, &data);
        assert_true(chunk->has_null_count);
        assert_int_equal(chunk->null_count, leaf->level_count - leaf->value_count);
        if (chunk->min.is_set && chunk->max.is_set)
            check_bounds(element->kind, &data, 0, data.value_count, chunk->min.bytes,
                         chunk->max.bytes);
    }
    parquet_column_data_fini(&data);
}

static void check_round_trip(enum parquet_rows_scenario scenario,
                             const struct parquet_options *options, size_t group_rows,
                             size_t groups)
{
    struct parquet_rows rows, again;
    struct parquet_reader *reader;
    struct buf file;
    struct diag diag = {0};
    buf_init(&file, GIB);
    parquet_rows_init(&rows, scenario, 42, NULL);
    parquet_rows_init(&again, scenario, 42, NULL);
    if (groups == 1)
        parquet_rows_fill(&rows, group_rows);
    assert_int_equal(write_groups(&rows, options, group_rows, groups, &file), ERR_OK);
    if (parquet_reader_new(buf_bytes(&file), 256 * MIB, &reader, &diag))
        fail_msg("%s", diag.text);
    const struct parquet_metadata *metadata = parquet_reader_metadata(reader);
    assert_int_equal(metadata->version, 1);
    assert_int_equal(metadata->row_count, group_rows * groups);
    assert_int_equal(metadata->row_group_count, groups);
    assert_int_equal(metadata->column_count, rows.leaf_count);
    assert_true(bytes_equal_text(metadata->created_by, options->created_by));
    assert_int_equal(metadata->pair_count, 3); /* and the checksum */
    assert_true(bytes_equal_text(metadata->pairs[2].key, "range"));
    assert_true(bytes_equal_text(metadata->pairs[2].value, "1-2"));
    for (size_t i = 0; i < groups; i++) {
        parquet_rows_fill(&again, group_rows);
        check_group(reader, i, &again);
    }
    parquet_reader_free(reader);
    parquet_rows_fini(&rows);
    parquet_rows_fini(&again);
    buf_fini(&file);
}

static void test_round_trips(void **state)
{
    (void)state;
    struct parquet_options options = options_default;
    for (int scenario = PARQUET_ROWS_MIXED; scenario <= PARQUET_ROWS_SORTED; scenario++) {
        for (int codec = PARQUET_NONE; codec <= PARQUET_LZ4_RAW; codec++) {
            options.codec = (enum parquet_codec)codec;
            check_round_trip((enum parquet_rows_scenario)scenario, &options, 1000, 3);
        }
        check_round_trip((enum parquet_rows_scenario)scenario, &options_default, 1, 1);
        check_round_trip((enum parquet_rows_scenario)scenario, &options_default, 9, 2);
    }
}

/* Pages ended by bytes, by a row, and not at all. */
static void test_page_sizes(void **state)
{
    (void)state;
    struct parquet_options options = options_default;
    options.page_bytes = 1;
    check_round_trip(PARQUET_ROWS_MIXED, &options, 50, 2);
    options.page_bytes = 3000;
    options.page_rows = 20000;
    check_round_trip(PARQUET_ROWS_EDGES, &options, 2000, 1);
    check_round_trip(PARQUET_ROWS_SENSORS, &options, 30000, 1);
    options.page_bytes = 1 << 20;
    check_round_trip(PARQUET_ROWS_SENSORS, &options, 45000, 1);
    options.page_rows = 1;
    check_round_trip(PARQUET_ROWS_MIXED, &options, 30, 1);
}

static void test_path_and_tree(void **state)
{
    (void)state;
    struct parquet_rows rows;
    struct parquet_reader *reader;
    struct buf file;
    buf_init(&file, MIB);
    parquet_rows_init(&rows, PARQUET_ROWS_MIXED, 1, NULL);
    parquet_rows_fill(&rows, 10);
    assert_int_equal(write_groups(&rows, &options_default, 10, 1, &file), ERR_OK);
    assert_int_equal(parquet_reader_new(buf_bytes(&file), MIB, &reader, NULL), ERR_OK);
    static const char *const paths[] = {"number",
                                        "flag",
                                        "text",
                                        "when",
                                        "blob",
                                        "place.lat",
                                        "place.name",
                                        "place.inner.on",
                                        "readings.list.element",
                                        "events.list.element.code",
                                        "events.list.element.tags.list.element",
                                        "grid.list.element.list.element",
                                        "topic"};
    const struct parquet_metadata *metadata = parquet_reader_metadata(reader);
    assert_int_equal(metadata->column_count, 13);
    for (size_t i = 0; i < 13; i++)
        assert_string_equal(parquet_reader_path(reader, i), paths[i]);
    assert_int_equal(metadata->elements[metadata->leaves[10]].definition_level_max, 6);
    assert_int_equal(metadata->elements[metadata->leaves[10]].repetition_level_max, 2);
    assert_int_equal(metadata->elements[metadata->leaves[10]].field_id, 17);
    parquet_reader_free(reader);
    parquet_rows_fini(&rows);
    buf_fini(&file);
}

static size_t column_file_size(enum parquet_kind kind, const struct parquet_leaf *leaf,
                               enum parquet_codec codec, bool *ret_has_dictionary)
{
    struct parquet_node node = {"column", kind, 1, 0};
    struct parquet_options options = options_default;
    struct parquet_writer *writer;
    struct parquet_reader *reader;
    struct buf file;
    options.codec = codec;
    options.page_rows = 20000;
    buf_init(&file, GIB);
    assert_int_equal(parquet_writer_new(&options, &node, 1, to_buf, &file, &writer), ERR_OK);
    assert_int_equal(parquet_writer_row_group(writer, leaf->level_count, leaf), ERR_OK);
    assert_int_equal(parquet_writer_finish(writer, NULL, 0), ERR_OK);
    parquet_writer_free(writer);
    assert_int_equal(parquet_reader_new(buf_bytes(&file), GIB, &reader, NULL), ERR_OK);
    *ret_has_dictionary = parquet_reader_metadata(reader)->row_groups[0].chunks[0].has_dictionary;
    parquet_reader_free(reader);
    size_t size = file.size;
    buf_fini(&file);
    return size;
}

/* The dictionary only where it makes the column smaller. */
static void test_dictionary_choice(void **state)
{
    (void)state;
    enum { COUNT = 30000 };
    static double values[COUNT];
    bool has_dictionary;
    struct parquet_leaf leaf = {.level_count = COUNT, .value_count = COUNT, .values = values};
    uint64_t random = 1;
    for (size_t i = 0; i < COUNT; i++) { /* all distinct, without any pattern */
        random = random * 6364136223846793005ULL + 1442695040888963407ULL;
        values[i] = (double)(random >> 11) * 0x1p-53;
    }
    for (int codec = PARQUET_NONE; codec <= PARQUET_LZ4_RAW; codec++) {
        (void)column_file_size(PARQUET_DOUBLE, &leaf, (enum parquet_codec)codec, &has_dictionary);
        assert_false(has_dictionary);
    }
    for (size_t i = 1000; i < COUNT; i++) /* a thousand, again and again in no order */
        values[i] = values[(i * 7919 + i / 1000 * 13) % 1000];
    for (int codec = PARQUET_NONE; codec <= PARQUET_LZ4_RAW; codec++) {
        size_t size =
            column_file_size(PARQUET_DOUBLE, &leaf, (enum parquet_codec)codec, &has_dictionary);
        assert_true(has_dictionary);
        assert_true(size < COUNT * 10 / 8 + 1000 * 8 + 2000);
    }
    for (size_t i = 0; i < COUNT; i++)
        values[i] = 21.5;
    assert_true(column_file_size(PARQUET_DOUBLE, &leaf, PARQUET_NONE, &has_dictionary) < 1000);
    assert_true(has_dictionary);
}

/* A dictionary of the caller's with entries that nobody uses and that stand twice. */
static void test_callers_dictionary(void **state)
{
    (void)state;
    static const uint32_t offsets[] = {0, 3, 6, 6, 9, 12};
    static const uint32_t indices[] = {3, 1, 1, 3, 2, 1, 4, 4};
    static const char data[] = "zzzabcxyzabc"; /* zzz: unused; abc: twice */
    struct parquet_leaf leaf = {.level_count = 8,
                                .value_count = 8,
                                .offsets = offsets,
                                .indices = indices,
                                .data = (const uint8_t *)data,
                                .dictionary_count = 5};
    static const char *const expected[] = {"xyz", "abc", "abc", "xyz", "", "abc", "abc", "abc"};
    struct parquet_node node = {"column", PARQUET_STRING, 1, 0};
    for (int codec = PARQUET_NONE; codec <= PARQUET_ZSTD; codec++) {
        struct parquet_options options = options_default;
        struct parquet_writer *writer;
        struct parquet_reader *reader;
        struct parquet_column_data column;
        struct buf file;
        options.codec = (enum parquet_codec)codec;
        buf_init(&file, MIB);
        parquet_column_data_init(&column, MIB);
        assert_int_equal(parquet_writer_new(&options, &node, 1, to_buf, &file, &writer), ERR_OK);
        assert_int_equal(parquet_writer_row_group(writer, 8, &leaf), ERR_OK);
        assert_int_equal(parquet_writer_finish(writer, NULL, 0), ERR_OK);
        parquet_writer_free(writer);
        assert_int_equal(parquet_reader_new(buf_bytes(&file), MIB, &reader, NULL), ERR_OK);
        assert_int_equal(parquet_reader_read(reader, 0, 0, &column, NULL), ERR_OK);
        for (size_t i = 0; i < 8; i++)
            assert_true(bytes_equal_text(value_at(PARQUET_STRING, &column, i), expected[i]));
        const struct parquet_metadata_chunk *chunk =
            &parquet_reader_metadata(reader)->row_groups[0].chunks[0];
        assert_true(bytes_equal_text(chunk->max.bytes, "xyz"));
        assert_true(bytes_equal_text(chunk->min.bytes, ""));
        parquet_reader_free(reader);
        parquet_column_data_fini(&column);
        buf_fini(&file);
    }
}

static enum err one_group(const struct parquet_node *nodes, size_t node_count,
                          const struct parquet_leaf *leaves, uint64_t row_count)
{
    struct parquet_writer *writer = NULL;
    struct buf file;
    buf_init(&file, MIB);
    enum err err = parquet_writer_new(&options_default, nodes, node_count, to_buf, &file, &writer);
    if (!err)
        err = parquet_writer_row_group(writer, row_count, leaves);
    parquet_writer_free(writer);
    buf_fini(&file);
    return err;
}

static void test_what_does_not_fit(void **state)
{
    (void)state;
    static const double values[2] = {1, 2};
    static const uint8_t definition[2] = {1, 0}, high[2] = {2, 1}, repetition[2] = {1, 0};
    const struct parquet_node leaf_node = {"a", PARQUET_DOUBLE, 1, 0};
    const struct parquet_leaf good = {.level_count = 2, .value_count = 2, .values = values};
    struct parquet_leaf leaf = good;
    assert_int_equal(one_group(&leaf_node, 1, &leaf, 2), ERR_OK);
    assert_int_equal(one_group(&leaf_node, 1, &leaf, 3), ERR_INVALID);
    assert_int_equal(one_group(&leaf_node, 1, &leaf, 0), ERR_INVALID);
    leaf.definition_levels = definition;
    assert_int_equal(one_group(&leaf_node, 1, &leaf, 2), ERR_INVALID);
    leaf.value_count = 1;
    assert_int_equal(one_group(&leaf_node, 1, &leaf, 2), ERR_OK);
    leaf.definition_levels = high;
    assert_int_equal(one_group(&leaf_node, 1, &leaf, 2), ERR_INVALID);
    leaf = good;
    leaf.repetition_levels = repetition;
    assert_int_equal(one_group(&leaf_node, 1, &leaf, 2), ERR_INVALID);
    leaf = good;
    leaf.values = NULL;
    assert_int_equal(one_group(&leaf_node, 1, &leaf, 2), ERR_INVALID);
    static const uint32_t wild[2] = {0, 2};
    leaf = good;
    leaf.indices = wild;
    leaf.dictionary_count = 2;
    assert_int_equal(one_group(&leaf_node, 1, &leaf, 2), ERR_INVALID);
    const struct parquet_node bad[] = {{"a", PARQUET_STRUCT, 1, 0},
                                       {"b", PARQUET_LIST, 1, 2},
                                       {"c", PARQUET_LIST, 1, 1},
                                       {"d", PARQUET_DOUBLE, 1, 1},
                                       {NULL, PARQUET_DOUBLE, 1, 0}};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(one_group(&bad[i], 1, &good, 2), ERR_INVALID);
    assert_int_equal(one_group(NULL, 0, &good, 2), ERR_INVALID);
}

static void test_empty_file(void **state)
{
    (void)state;
    const struct parquet_node node = {"a", PARQUET_DOUBLE, 1, 0};
    struct parquet_writer *writer;
    struct parquet_reader *reader;
    struct buf file;
    buf_init(&file, MIB);
    assert_int_equal(parquet_writer_new(&options_default, &node, 1, to_buf, &file, &writer),
                     ERR_OK);
    assert_int_equal(parquet_writer_finish(writer, NULL, 0), ERR_OK);
    parquet_writer_free(writer);
    assert_int_equal(parquet_reader_new(buf_bytes(&file), MIB, &reader, NULL), ERR_OK);
    assert_int_equal(parquet_reader_metadata(reader)->row_count, 0);
    parquet_reader_free(reader);
    buf_fini(&file);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct parquet_options options = options_default;
    struct parquet_rows rows;
    parquet_rows_init(&rows, PARQUET_ROWS_MIXED, 5, NULL);
    parquet_rows_fill(&rows, 2000);
    for (uint64_t k = 1;; k++) {
        struct buf file;
        buf_init(&file, 64 * MIB);
        mem_fail_at(k);
        enum err err = write_groups(&rows, &options, 2000, 1, &file);
        int failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        buf_fini(&file);
        if (!failed)
            break;
    }
    parquet_rows_fini(&rows);
}

struct limited {
    size_t left;
};

static enum err to_limited(void *ctx, struct bytes bytes)
{
    struct limited *limited = ctx;
    if (bytes.size > limited->left)
        return ERR_NO_SPACE;
    limited->left -= bytes.size;
    return ERR_OK;
}

static void test_full_sink(void **state)
{
    (void)state;
    struct parquet_rows rows;
    parquet_rows_init(&rows, PARQUET_ROWS_NULLS, 5, NULL);
    parquet_rows_fill(&rows, 200);
    for (size_t room = 0;; room += 37) {
        struct limited limited = {room};
        struct parquet_writer *writer;
        assert_int_equal(parquet_writer_new(&options_default, rows.nodes, rows.node_count,
                                            to_limited, &limited, &writer),
                         ERR_OK);
        enum err err = parquet_writer_row_group(writer, 200, rows.views);
        if (!err)
            err = parquet_writer_finish(writer, NULL, 0);
        parquet_writer_free(writer);
        if (!err)
            break;
        assert_int_equal(err, ERR_NO_SPACE);
    }
    parquet_rows_fini(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),        cmocka_unit_test(test_page_sizes),
        cmocka_unit_test(test_path_and_tree),      cmocka_unit_test(test_dictionary_choice),
        cmocka_unit_test(test_callers_dictionary), cmocka_unit_test(test_what_does_not_fit),
        cmocka_unit_test(test_empty_file),         cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_full_sink),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
