#include "connectors/coap/coap_core_links.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static struct buf found;

static bool collect(void *ctx, struct bytes path)
{
    int *left = ctx;
    (void)buf_append(&found, path.data, path.size);
    (void)buf_byte(&found, '|');
    return --*left > 0;
}

static void reads(const char *text, int count, const char *expected, bool whole)
{
    buf_init(&found, 4096);
    assert_int_equal(coap_core_links_each(bytes_from_text(text), collect, &count), whole);
    assert_string_equal(buf_cstr(&found), expected);
    buf_fini(&found);
}

static void reads_links(void **state)
{
    (void)state;
    reads("", 9, "", true);
    reads("</>;title=\"all\",</a>;ct=40;obs, </b/c>", 9, "a|b/c|", true);
    reads("</a> ;if=\"x\" ,\r\n </b>\n", 9, "a|b|", true);
    reads("</a>;title=\"</x>, \\\",</y>\",</b>", 9, "a|b|", true);
    reads("</a>,</b>,</c>", 2, "a|b|", false);
    reads("<coap://other/a>,<//other/a>,<a>,</b>", 9, "b|", true);
    reads("rubbish,<,</a", 9, "", false);
    reads("rubbish,</a>", 9, "a|", false);
    reads("</a>rubbish,</b>", 9, "a|b|", false);
    reads("</a>,</b", 9, "a|", false);
    reads("</a>;title=\"never ends,</b>", 9, "a|", false);
}

static void matches(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool matches;
    } cases[] = {
        {"a", "a", true},         {"a", "b", false},        {"a", "ab", false},
        {"ab", "a", false},       {"*", "", true},          {"*", "a/b", true},
        {"a/*", "a/b/c", true},   {"a/*", "a", false},      {"*/t", "x/y/t", true},
        {"*/t", "x/y/tt", false}, {"a*b*c", "aXbYc", true}, {"a*b*c", "aXcYb", false},
        {"a**", "a", true},       {"*a", "aaab", false},    {"*ab", "aaab", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (coap_core_links_match(cases[i].pattern, bytes_from_text(cases[i].path)) !=
            cases[i].matches)
            fail_msg("%s and %s", cases[i].pattern, cases[i].path);
}

static void tells_what_can_be_asked_for(void **state)
{
    static const struct {
        const char *path;
        bool usable;
    } cases[] = {
        {"a", true},
        {"a/b?c=d&e", true},
        {"a%20b", true},
        {"x%2Fy/%c3%bc?q=%25", true},
        {"gr\xc3\xb6\xc3\x9f"
         "e",
         true},
        {"", false},
        {"a b", false},
        {"a\tb", false},
        {"a#b", false},
        {"\x7f", false},
        {"%", false},
        {"a%2", false},
        {"a%zz", false},
        {"a%00b", false},
        {"a\xff", false},
    };
    char path[1100];
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (coap_core_links_usable(bytes_from_text(cases[i].path)) != cases[i].usable)
            fail_msg("%s", cases[i].path);
    memset(path, 'a', sizeof(path));
    assert_true(coap_core_links_usable(bytes_from(path, 255)));
    assert_false(coap_core_links_usable(bytes_from(path, 256)));
    for (size_t i = 3; i < sizeof(path); i += 4)
        path[i] = '/';
    assert_true(coap_core_links_usable(bytes_from(path, 64 * 4 - 1)));
    assert_false(coap_core_links_usable(bytes_from(path, 64 * 4 + 1)));
    for (size_t i = 3; i < sizeof(path); i += 4)
        path[i] = i % 64 == 63 ? '/' : 'a';
    assert_true(coap_core_links_usable(bytes_from(path, 1000)));
    assert_false(coap_core_links_usable(bytes_from(path, 1001)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_links), cmocka_unit_test(matches),
                                       cmocka_unit_test(tells_what_can_be_asked_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
