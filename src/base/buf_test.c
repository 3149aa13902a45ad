#include "base/buf.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those four first */
#include <cmocka.h>

static void test_append_and_limits(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    assert_int_equal(buf_append(&buf, "12345678", 8), ERR_OK);
    assert_int_equal(buf_append(&buf, "abc", 3), ERR_TOO_LARGE);
    assert_int_equal(buf.size, 8);
    /* the failure sticks, so that a run of appends may be checked once */
    assert_int_equal(buf_append(&buf, "a", 1), ERR_TOO_LARGE);
    buf_clear(&buf);
    assert_int_equal(buf_append(&buf, "0123456789", 10), ERR_OK);
    buf_fini(&buf);
}

static void test_no_memory_leaves_it_as_it_was(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    assert_int_equal(buf_text(&buf, "kept"), ERR_OK);
    mem_fail_at(1);
    assert_int_equal(buf_reserve(&buf, 500), ERR_NO_MEMORY);
    assert_true(mem_failed());
    mem_fail_at(0);
    assert_memory_equal(buf.data, "kept", 4);
    assert_int_equal(buf.size, 4);
    buf_fini(&buf);
}

static void test_json_strings(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *json;
    } cases[] = {
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"a\"b\\c\n\t\r\x01", "\"a\\\"b\\\\c\\n\\t\\r\\u0001\""},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\xff\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf buf;
        buf_init(&buf, 1000);
        assert_int_equal(buf_json_string(&buf, bytes_from_text(cases[i].text)), ERR_OK);
        assert_string_equal(buf_cstr(&buf), cases[i].json);
        buf_fini(&buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_and_limits),
        cmocka_unit_test(test_no_memory_leaves_it_as_it_was),
        cmocka_unit_test(test_json_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
