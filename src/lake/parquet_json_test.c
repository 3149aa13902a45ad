/* What the writer wrote comes back as JSON, value by value, whatever the nesting; parquet_check
 * finds nothing in it, and what is changed on purpose. */
#include "lake/parquet_json.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "codec/base64.h"
#include "codec/timestamp.h"
#include "lake/parquet_check.h"
#include "support/parquet_groups.h"
#include "support/parquet_rows.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void expect_double(const char *text, const json_t *found)
{
    double number = strtod(text, NULL);
    if (isnan(number)) {
        assert_string_equal(json_string_value(found), "NaN");
    } else if (isinf(number)) {
        assert_string_equal(json_string_value(found), number > 0 ? "Infinity" : "-Infinity");
    } else {
        double value = json_real_value(found);
        assert_true(json_is_real(found));
        assert_memory_equal(&value, &number, sizeof(value));
    }
}

static void expect_binary(const char *hex, const json_t *found)
{
    struct buf bytes;
    struct buf text;
    buf_init(&bytes, MIB);
    buf_init(&text, MIB);
    for (; *hex; hex += 2) {
        const char digits[3] = {hex[0], hex[1], 0};
        assert_int_equal(buf_byte(&bytes, (uint8_t)strtoul(digits, NULL, 16)), ERR_OK);
    }
    assert_int_equal(base64_append(&text, buf_bytes(&bytes)), ERR_OK);
    assert_string_equal(json_string_value(found), buf_cstr(&text));
    buf_fini(&bytes);
    buf_fini(&text);
}

/* Returns the node behind. */
static size_t expect(const struct parquet_rows *rows, size_t index, const json_t *wanted,
                     const json_t *found)
{
    const struct parquet_node *node = &rows->nodes[index++];
    char instant[TIMESTAMP_TEXT_BYTES];
    size_t after = index;
    if (json_is_null(wanted))
        assert_true(json_is_null(found));
    if (node->kind == PARQUET_LIST) {
        assert_int_equal(json_array_size(found), json_array_size(wanted));
        after = expect(rows, index, json_null(), json_null());
        for (size_t i = 0; i < json_array_size(wanted); i++)
            expect(rows, index, json_array_get(wanted, i), json_array_get(found, i));
    } else if (node->kind == PARQUET_STRUCT) {
        assert_int_equal(json_object_size(found), json_object_size(wanted));
        for (uint32_t i = 0; i < node->child_count; i++) {
            const char *name = rows->nodes[after].name;
            const json_t *value = json_object_get(wanted, name);
            after = expect(rows, after, value ? value : json_null(),
                           value ? json_object_get(found, name) : json_null());
        }
    } else if (json_is_null(wanted)) {
        return index;
    } else if (node->kind == PARQUET_DOUBLE) {
        expect_double(json_string_value(wanted), found);
    } else if (node->kind == PARQUET_BINARY) {
        expect_binary(json_string_value(wanted), found);
    } else if (node->kind == PARQUET_TIMESTAMP_US) {
        timestamp_format(json_integer_value(wanted), instant);
        assert_string_equal(json_string_value(found), instant);
    } else {
        assert_true(json_equal(wanted, found));
    }
    return after;
}

static void expect_row(const struct parquet_rows *rows, const json_t *wanted, const json_t *found)
{
    assert_non_null(found);
    assert_int_equal(json_object_size(found), json_object_size(wanted));
    for (size_t node = 0; node < rows->node_count;) {
        const char *name = rows->nodes[node].name;
        node = expect(rows, node, json_object_get(wanted, name), json_object_get(found, name));
    }
}

static json_t *line_next(const char **at)
{
    size_t size = strcspn(*at, "\n");
    json_t *row = json_loadb(*at, size, JSON_ALLOW_NUL, NULL);
    *at += size + 1;
    return row;
}

static void expect_file(const struct parquet_rows *rows, struct bytes file, const char *lines)
{
    struct parquet_reader *reader;
    struct parquet_json *json;
    struct buf line;
    struct diag diag = {0};
    buf_init(&line, MIB);
    assert_int_equal(parquet_reader_new(file, 64 * MIB, &reader, &diag), ERR_OK);
    assert_int_equal(parquet_json_new(reader, 64 * MIB, &json, &diag), ERR_OK);
    const struct parquet_metadata *metadata = parquet_reader_metadata(reader);
    for (size_t group = 0; group < metadata->row_group_count; group++) {
        assert_int_equal(parquet_json_open(json, group, &diag), ERR_OK);
        for (uint64_t i = 0; i < metadata->row_groups[group].row_count; i++) {
            buf_clear(&line);
            assert_int_equal(parquet_json_row(json, &line, &diag), ERR_OK);
            json_t *wanted = line_next(&lines);
            json_t *found = json_loadb((const char *)line.data, line.size, JSON_ALLOW_NUL, NULL);
            expect_row(rows, wanted, found);
            json_decref(wanted);
            json_decref(found);
        }
    }
    parquet_json_free(json);
    parquet_reader_free(reader);
    buf_fini(&line);
}

static void round_trip(enum parquet_rows_scenario scenario, enum parquet_codec codec)
{
    struct parquet_options options = options_default;
    struct parquet_rows rows;
    struct buf file;
    struct buf lines;
    struct diag diag = {0};
    options.codec = codec;
    buf_init(&file, 64 * MIB);
    buf_init(&lines, 64 * MIB);
    parquet_rows_init(&rows, scenario, 11, &lines);
    assert_int_equal(write_groups(&rows, &options, 700, 2, &file), ERR_OK);
    expect_file(&rows, buf_bytes(&file), buf_cstr(&lines));
    assert_int_equal(parquet_check(buf_bytes(&file), 64 * MIB, &diag), ERR_OK);
    parquet_rows_fini(&rows);
    buf_fini(&lines);
    buf_fini(&file);
}

static void test_round_trips(void **state)
{
    (void)state;
    for (int codec = PARQUET_NONE; codec <= PARQUET_LZ4_RAW; codec++) {
        round_trip(PARQUET_ROWS_MIXED, (enum parquet_codec)codec);
        round_trip(PARQUET_ROWS_EDGES, (enum parquet_codec)codec);
        round_trip(PARQUET_ROWS_SENSORS, (enum parquet_codec)codec);
        round_trip(PARQUET_ROWS_NULLS, (enum parquet_codec)codec);
        round_trip(PARQUET_ROWS_SORTED, (enum parquet_codec)codec);
    }
}

static void write_sample(struct buf *file, size_t count)
{
    struct parquet_rows rows;
    struct parquet_options options = options_default;
    options.codec = PARQUET_NONE;
    buf_init(file, 4 * MIB);
    parquet_rows_init(&rows, PARQUET_ROWS_MIXED, 5, NULL);
    parquet_rows_fill(&rows, count);
    assert_int_equal(write_groups(&rows, &options, count, 1, file), ERR_OK);
    parquet_rows_fini(&rows);
}

/* Any byte may be any other: an error with a place, or rows, and never more. */
static void test_damaged_files(void **state)
{
    struct buf file;
    uint32_t random = 3;
    size_t noticed = 0;
    (void)state;
    write_sample(&file, 60);
    for (int i = 0; i < 6000; i++) {
        struct diag diag = {0};
        random = random * 1664525 + 1013904223;
        size_t at = (random >> 8) % file.size;
        uint8_t before = file.data[at];
        file.data[at] = (uint8_t)(random >> 5 | 1) ^ before;
        enum err err = parquet_check(buf_bytes(&file), 16 * MIB, &diag);
        noticed += err != ERR_OK;
        if (err == ERR_CORRUPT)
            assert_non_null(strstr(diag.text, "damaged at byte"));
        file.data[at] = before;
    }
    assert_true(noticed > 1500);
    buf_fini(&file);
}

/* A value changed inside an uncompressed page: only the bounds tell. */
static void test_bounds_are_held_against_values(void **state)
{
    const struct parquet_node node = {"x", PARQUET_DOUBLE, 1, 0};
    const double values[] = {1.5, 7.25, 3.0};
    const uint8_t levels[] = {1, 1, 1};
    const struct parquet_leaf leaf = {
        .definition_levels = levels, .level_count = 3, .value_count = 3, .values = values};
    const double greater = 99.0;
    struct parquet_options options = options_default;
    struct parquet_writer *writer;
    struct diag diag = {0};
    struct buf file;
    (void)state;
    options.codec = PARQUET_NONE;
    buf_init(&file, MIB);
    assert_int_equal(parquet_writer_new(&options, &node, 1, to_buf, &file, &writer), ERR_OK);
    assert_int_equal(parquet_writer_row_group(writer, 3, &leaf), ERR_OK);
    assert_int_equal(parquet_writer_finish(writer, NULL, 0), ERR_OK);
    parquet_writer_free(writer);
    assert_int_equal(parquet_check(buf_bytes(&file), MIB, &diag), ERR_OK);
    uint8_t *at = memmem(file.data, file.size, &values[1], sizeof(double));
    assert_non_null(at);
    memcpy(at, &greater, sizeof(greater));
    assert_int_equal(parquet_check(buf_bytes(&file), MIB, &diag), ERR_CORRUPT);
    assert_non_null(strstr(diag.text, "damaged at byte"));
    buf_fini(&file);
}

/* Where bounds tell nothing: the last byte of each page. */
static void test_checksums(void **state)
{
    struct parquet_rows rows;
    struct parquet_options options = options_default;
    struct parquet_reader *reader;
    struct parquet_page_index index;
    struct diag diag = {0};
    struct buf file;
    (void)state;
    options.codec = PARQUET_NONE;
    options.has_checksums = true;
    buf_init(&file, 4 * MIB);
    parquet_rows_init(&rows, PARQUET_ROWS_MIXED, 5, NULL);
    parquet_rows_fill(&rows, 300);
    assert_int_equal(write_groups(&rows, &options, 300, 1, &file), ERR_OK);
    assert_int_equal(parquet_check(buf_bytes(&file), MIB, &diag), ERR_OK);
    assert_int_equal(parquet_reader_new(buf_bytes(&file), MIB, &reader, &diag), ERR_OK);
    for (size_t i = 0; i < parquet_reader_metadata(reader)->column_count; i++) {
        assert_int_equal(parquet_reader_page_index(reader, 0, i, &index, &diag), ERR_OK);
        assert_int_equal(index.page_count, 3);
        for (size_t page = 0; page < index.page_count; page++) {
            uint8_t *last = file.data + index.pages[page].offset + index.pages[page].size_bytes - 1;
            diag = (struct diag){0};
            *last ^= 1;
            assert_int_equal(parquet_check(buf_bytes(&file), MIB, &diag), ERR_CORRUPT);
            assert_non_null(strstr(diag.text, "a page's checksum is wrong"));
            *last ^= 1;
        }
    }
    parquet_reader_free(reader);
    parquet_rows_fini(&rows);
    buf_fini(&file);
}

static void test_out_of_memory(void **state)
{
    struct buf file;
    (void)state;
    write_sample(&file, 30);
    for (uint64_t k = 1;; k++) {
        struct diag diag = {0};
        mem_fail_at(k);
        enum err err = parquet_check(buf_bytes(&file), 16 * MIB, &diag);
        int failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        if (!failed)
            break;
    }
    buf_fini(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_bounds_are_held_against_values),
        cmocka_unit_test(test_checksums),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
