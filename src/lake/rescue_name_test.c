#include "lake/rescue_name.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* Names one below the other; the last is a field without a column, unless all have one. */
static void check(const char *const *names, size_t count, bool column, const char *expected)
{
    struct column columns[4] = {{.depth = 0}};
    char quoted[4][64];
    for (size_t i = 0; i < count; i++) {
        int size = snprintf(quoted[i], sizeof(quoted[i]), "\"%s\"", names[i]);
        columns[i + 1] = (struct column){.depth = (uint8_t)(i + 1),
                                         .parent = &columns[i],
                                         .quoted = bytes_from(quoted[i], (size_t)size)};
    }
    struct buf out;
    buf_init(&out, 1024);
    enum err err =
        column ? rescue_name_column(&out, &columns[count])
               : rescue_name_field(&out, &columns[count - 1], bytes_from_text(names[count - 1]));
    assert_int_equal(err, ERR_OK);
    assert_string_equal(buf_cstr(&out), expected);
    buf_fini(&out);
}

#define CHECK(expected, ...)                                                                       \
    do {                                                                                           \
        const char *const names[] = {__VA_ARGS__};                                                 \
        size_t count = sizeof(names) / sizeof(names[0]);                                           \
        check(names, count, true, expected);                                                       \
        check(names, count, false, expected);                                                      \
    } while (0)

static void test_names(void **state)
{
    (void)state;
    CHECK("a", "a");
    CHECK("", "");
    CHECK("a.b", "a", "b");
    CHECK("a..b", "a", "", "b");
    CHECK("/a.b", "a.b");
    CHECK("/a/b.c", "a", "b.c");
    CHECK("/a.b/c", "a.b", "c");
    CHECK("/~1a", "/a");
    CHECK("a./b", "a", "/b");
    CHECK("/a.b/~1~0", "a.b", "/~");
}

static void test_no_memory(void **state)
{
    (void)state;
    struct column root = {.depth = 0};
    for (uint64_t k = 1;; k++) {
        struct buf out;
        buf_init(&out, 1024);
        mem_fail_at(k);
        enum err err = rescue_name_field(&out, &root, BYTES_LITERAL("a.b"));
        bool failed = mem_failed();
        mem_fail_at(0);
        buf_fini(&out);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
