#include "metadata/row_fields.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
/* wants cmocka before */
#include "support/field_check.h"

static void check_field(const struct row_fields *fields, const char *name, unsigned types,
                        bool nullable, const char *samples)
{
    field_check(change_field_find(&fields->change, bytes_from_text(name)), name, types, nullable,
                samples);
}

static void test_fields_and_sensors(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "{\"n\":1,\"s\":\"x\",\"b\":true,\"x\":null,\"o\":{\"k\":1,\"l\":[null]},"
        "\"u\":\"123e4567-e89b-12d3-a456-426614174000\",\"sensor_id\":\"s1\",\"_rescued_data\":\"{}"
        "\"}",
        "{\"n\":1.5,\"s\":\"x\",\"b\":\"no\",\"x\":null,\"sensor_id\":\"s1\",\"sensorId\":7}",
        "[1]", "no JSON"};
    struct row_fields fields;
    row_fields_init(&fields);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(row_fields_add(&fields, bytes_from_text(rows[i])), ERR_OK);
    row_fields_end(&fields);
    check_field(&fields, "n", BIT(DOUBLE), false, "1|1.5");
    check_field(&fields, "s", BIT(STRING), false, "x");
    check_field(&fields, "b", BIT(BOOLEAN) | BIT(STRING), false, "true|no");
    check_field(&fields, "x", BIT(NULL), true, "");
    check_field(&fields, "o", BIT(OBJECT), true, "{\"k\": 1, \"l\": [null]}");
    check_field(&fields, "u", BIT(UUID), true, "123e4567-e89b-12d3-a456-426614174000");
    assert_null(change_field_find(&fields.change, BYTES_LITERAL("_rescued_data")));
    assert_int_equal(fields.change.sensor_count, 1); /* sensor_id has the word */
    for (size_t i = 2; i < 4; i++)
        assert_int_equal(row_fields_add(&fields, bytes_from_text(rows[i])), ERR_OK);
    row_fields_end(&fields);
    check_field(&fields, "s", BIT(STRING), true, "x");
    assert_int_equal(fields.change.records, 0);
    row_fields_fini(&fields);
}

/* A sensor has one name, here and in its cut. */
static void test_sensors(void **state)
{
    (void)state;
    static const char *const rows[] = {"{\"sensor_id\":5}",
                                       "{\"sensor_id\":5.0,\"sensorId\":\"no\"}",
                                       "{\"sensorId\":\"5\",\"sensor_id\":true}",
                                       "{\"sensorId\":-0.0,\"sensor_id\":[1]}",
                                       "{\"sensor_id\":9007199254740993}",
                                       "{\"sensor_id\":{\"a\":1}}",
                                       "{\"sensor_id\":null,\"sensorId\":false}"};
    static const char *const expected[] = {"5", "0", "9007199254740993"};
    char longer[600];
    struct row_fields fields;
    row_fields_init(&fields);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(row_fields_add(&fields, bytes_from_text(rows[i])), ERR_OK);
    assert_int_equal(fields.change.sensor_count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_true(bytes_equal_text(fields.change.sensors[i], expected[i]));
    for (int i = 0; i < 2; i++) { /* they begin alike */
        snprintf(longer, sizeof(longer), "{\"sensor_id\":\"%0500d\"}", i);
        assert_int_equal(row_fields_add(&fields, bytes_from_text(longer)), ERR_OK);
    }
    assert_int_equal(fields.change.sensor_count, 5);
    assert_int_equal(fields.change.sensors[4].size, LIMIT_SAMPLE_BYTES);
    row_fields_fini(&fields);
}

static void test_a_text_with_nul(void **state)
{
    struct row_fields fields;
    (void)state;
    row_fields_init(&fields);
    assert_int_equal(row_fields_add(&fields, BYTES_LITERAL("{\"a\":\"x\\u0000y\",\"n\":1}")),
                     ERR_OK);
    row_fields_end(&fields);
    check_field(&fields, "n", BIT(DOUBLE), false, "1");
    const struct change_field *field = change_field_find(&fields.change, BYTES_LITERAL("a"));
    assert_true(field && field->sample_count == 1);
    assert_true(bytes_equal(field->samples[0], BYTES_LITERAL("x\0y")));
    row_fields_fini(&fields);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_and_sensors),
        cmocka_unit_test(test_sensors),
        cmocka_unit_test(test_a_text_with_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
