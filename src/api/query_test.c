#include "api/query.h"
#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
/* after the above, as cmocka wants */
#include <cmocka.h>

static void expect_unescaped(const char *text, bool plus, const char *expected, size_t size)
{
    struct arena arena;
    struct bytes out;
    arena_init(&arena, MIB);
    assert_int_equal(api_unescape(&arena, bytes_from_text(text), plus, &out), ERR_OK);
    assert_int_equal(out.size, size);
    assert_memory_equal(out.data, expected, size);
    arena_fini(&arena);
}

static void test_unescape(void **state)
{
    (void)state;
    expect_unescaped("a%2Fb%2fc", false, "a/b/c", 5);
    expect_unescaped("a+b", false, "a+b", 3);
    expect_unescaped("a+b", true, "a b", 3);
    expect_unescaped("%", false, "%", 1);
    expect_unescaped("%2", false, "%2", 2);
    expect_unescaped("%zz%41", false, "%zzA", 4);
    expect_unescaped("%00", false, "\0", 1);
    expect_unescaped("%ff%C3%A9", false, "\xef\xbf\xbd\xc3\xa9", 5);
    expect_unescaped("", false, "", 0);
}

/* As pydantic reads them (asked: fastapi 0.12x). */
static void test_integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        int64_t value;
    } cases[] = {
        {"3", true, 3},
        {" 3 ", true, 3},
        {"+5", true, 5},
        {"-2", true, -2},
        {"-0", true, 0},
        {"007", true, 7},
        {"1_0", true, 10},
        {"1.0", true, 1},
        {"1.000", true, 1},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"99999999999999999999999", true, INT64_MAX},
        {"-99999999999999999999999", true, INT64_MIN},
        {"", false, 0},
        {" ", false, 0},
        {"abc", false, 0},
        {"1.5", false, 0},
        {"1.", false, 0},
        {"1e3", false, 0},
        {"true", false, 0},
        {"1__0", false, 0},
        {"_1", false, 0},
        {"1_", false, 0},
        {"0x10", false, 0},
        {"+", false, 0},
        {"--1", false, 0},
        {"1 2", false, 0},
        {"nan", false, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t value = 0;
        if (api_integer_parse(bytes_from_text(cases[i].text), &value) != cases[i].good ||
            value != cases[i].value)
            fail_msg("'%s' became %lld", cases[i].text, (long long)value);
    }
}

static void expect_query(const char *query, const char *expected)
{
    struct api_request request;
    bool present;
    struct bytes value;
    api_request_init(&request, "GET", "/");
    request.query = bytes_from_text(query);
    assert_int_equal(api_query_get(&request, "a", &present, &value), ERR_OK);
    assert_int_equal(present, expected != NULL);
    if (expected)
        assert_true(bytes_equal_text(value, expected));
    api_request_fini(&request);
}

static void test_query(void **state)
{
    (void)state;
    expect_query("a=1", "1");
    expect_query("b=2&a=1", "1");
    expect_query("a=1&a=2", "2");
    expect_query("a", "");
    expect_query("a=", "");
    expect_query("a=b=c", "b=c");
    expect_query("%61=x+y%26", "x y&");
    expect_query("aa=1&b", NULL);
    expect_query("", NULL);
    expect_query("&&&", NULL);
    expect_query("=1", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unescape),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
