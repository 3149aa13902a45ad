#include "lake/null_names.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void note(struct null_names *names, const char *name)
{
    null_names_note(names, bytes_from_text(name));
}

static void test_each_once_in_order(void **state)
{
    (void)state;
    struct null_names names = {0};
    for (int i = 0; i < 3; i++) {
        note(&names, "a");
        note(&names, "");
        note(&names, "c");
    }
    assert_int_equal(names.count, 3);
    assert_true(bytes_equal_text(names.names[0].text, "a"));
    assert_true(bytes_equal_text(names.names[1].text, ""));
    assert_true(bytes_equal_text(names.names[2].text, "c"));
    null_names_truncate(&names, 1);
    note(&names, "c");
    note(&names, "a");
    assert_int_equal(names.count, 2);
    assert_true(bytes_equal_text(names.names[1].text, "c"));
    null_names_fini(&names);
    assert_int_equal(null_names_memory_bytes(&names), 0);
}

static void test_bounds(void **state)
{
    (void)state;
    struct null_names names = {0};
    char text[NULL_NAMES_BYTES_MAX + 1];
    memset(text, 'x', sizeof(text));
    null_names_note(&names, bytes_from(text, sizeof(text)));
    assert_int_equal(names.count, 0);
    null_names_note(&names, bytes_from(text, sizeof(text) - 1));
    for (int i = 0; i < 2 * NULL_NAMES_MAX; i++) {
        snprintf(text, sizeof(text), "%d", i);
        note(&names, text);
    }
    assert_int_equal(names.count, NULL_NAMES_MAX);
    assert_true(null_names_memory_bytes(&names) > NULL_NAMES_BYTES_MAX);
    null_names_fini(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_once_in_order),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
