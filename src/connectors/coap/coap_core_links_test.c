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

static void reads(const char *text, int count, const char *expected)
{
    buf_init(&found, 4096);
    coap_core_links_each(bytes_from_text(text), collect, &count);
    assert_string_equal(buf_cstr(&found), expected);
    buf_fini(&found);
}

static void reads_links(void **state)
{
    (void)state;
    reads("", 9, "");
    reads("</>;title=\"all\",</a>;ct=40;obs, </b/c>", 9, "a|b/c|");
    reads("</a>;title=\"</x>, \\\",</y>\",</b>", 9, "a|b|");
    reads("</a>,</b>,</c>", 2, "a|b|");
    reads("<coap://other/a>,<//other/a>,<a>,</b>", 9, "b|");
    reads("rubbish,<,</a", 9, "");
    reads("</a>;title=\"never ends,</b>", 9, "a|");
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_links), cmocka_unit_test(matches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
