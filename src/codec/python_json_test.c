#include "codec/python_json.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_dumps(const char *json, const char *expected)
{
    struct buf out;
    json_t *value = json_loads(json, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(value);
    buf_init(&out, MIB);
    assert_int_equal(python_json_write(value, &out), ERR_OK);
    assert_string_equal(buf_cstr(&out), expected);
    buf_fini(&out);
    json_decref(value);
}

/* What json.dumps of Python 3.11 answers to these. */
static void test_as_python(void **state)
{
    (void)state;
    assert_dumps("{\"b\":1,\"a\":[1,2,{\"x\":null}],\"c\":{},\"d\":[],\"e\":[true,false]}",
                 "{\"b\": 1, \"a\": [1, 2, {\"x\": null}], \"c\": {}, \"d\": [], "
                 "\"e\": [true, false]}");
    assert_dumps("\"\\u00dc\\ud83d\\ude00\\u0000\\n\\t\\\"\\\\/\\u007f\\u001f\\b\\f\\r\"",
                 "\"\\u00dc\\ud83d\\ude00\\u0000\\n\\t\\\"\\\\/\\u007f\\u001f\\b\\f\\r\"");
    assert_dumps("\"Übung €\"", "\"\\u00dcbung \\u20ac\"");
    assert_dumps("{\"Ük\":-9223372036854775808}", "{\"\\u00dck\": -9223372036854775808}");
}

static void test_floats(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"0.1", "0.1"},
        {"1.0", "1.0"},
        {"-0.0", "-0.0"},
        {"1e15", "1000000000000000.0"},
        {"1e16", "1e+16"},
        {"1e22", "1e+22"},
        {"1e-4", "0.0001"},
        {"1.5e-5", "1.5e-05"},
        {"123456.789", "123456.789"},
        {"-2.5e300", "-2.5e+300"},
        {"1e-300", "1e-300"},
        {"5e-324", "5e-324"},
        {"30.0", "30.0"},
        {"1234567890123456.0", "1234567890123456.0"},
        {"0.30000000000000004", "0.30000000000000004"},
        {"2.5", "2.5"},
        {"-0.00123", "-0.00123"},
        {"1.7976931348623157e308", "1.7976931348623157e+308"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        assert_dumps(pairs[i][0], pairs[i][1]);
}

static void test_limits(void **state)
{
    (void)state;
    struct buf out;
    json_t *deep = json_array();
    for (int i = 1; i < LIMIT_JSON_DEPTH; i++) {
        json_t *outer = json_array();
        assert_int_equal(json_array_append_new(outer, deep), 0);
        deep = outer;
    }
    buf_init(&out, MIB);
    assert_int_equal(python_json_write(deep, &out), ERR_OK);
    assert_int_equal(out.size, 2 * LIMIT_JSON_DEPTH);
    json_t *deeper = json_array();
    assert_int_equal(json_array_append_new(deeper, deep), 0);
    assert_int_equal(python_json_write(deeper, &out), ERR_TOO_DEEP);
    buf_fini(&out);
    json_decref(deeper);

    json_t *text = json_string("0123456789");
    buf_init(&out, 10);
    assert_int_equal(python_json_write(text, &out), ERR_TOO_LARGE);
    buf_fini(&out);
    buf_init(&out, 100);
    mem_fail_at(1);
    assert_int_equal(python_json_write(text, &out), ERR_NO_MEMORY);
    mem_fail_at(0);
    buf_fini(&out);
    json_decref(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_python),
        cmocka_unit_test(test_floats),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
