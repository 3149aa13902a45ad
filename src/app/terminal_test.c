#include "app/terminal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_cell(const char *text, size_t width, const char *expected)
{
    char *shown = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&shown, &size);
    assert_non_null(out);
    terminal_cell(out, text, width);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(shown, expected);
    free(shown);
}

static void cells_have_their_width(void **state)
{
    (void)state;
    check_cell("ab", 4, "ab  ");
    check_cell("abcdef", 4, "abcd");
    check_cell("größer", 4, "größ");
    check_cell("ß", 2, "ß ");
}

static void what_moves_a_cursor_is_not_shown(void **state)
{
    (void)state;
    check_cell("a\x1b[2Jb", 6, "a?[2Jb");
    check_cell("\r\n\t\x7f", 4, "????");
    check_cell("\xc2\x9b"
               "1m",
               3, "?1m");
    check_cell("\xff\xc3", 2, "??");
}

static void json_stays_what_it_is(void **state)
{
    static const char json[] = "{\"a\":\"\xc2\x9b"
                               "31m\x7f \xc3\x9f \xc2\xa0\"}\n";
    char *shown = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&shown, &size);
    (void)state;
    assert_non_null(out);
    terminal_json(out, json, sizeof(json) - 1);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(shown, "{\"a\":\"\\u009b"
                               "31m\\u007f \xc3\x9f \xc2\xa0\"}\n");
    free(shown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_have_their_width),
        cmocka_unit_test(what_moves_a_cursor_is_not_shown),
        cmocka_unit_test(json_stays_what_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
