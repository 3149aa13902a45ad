#include "codec/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* RFC 4648 §10 */
static const char *const pairs[][2] = {{"", ""},
                                       {"f", "Zg=="},
                                       {"fo", "Zm8="},
                                       {"foo", "Zm9v"},
                                       {"foob", "Zm9vYg=="},
                                       {"fooba", "Zm9vYmE="},
                                       {"foobar", "Zm9vYmFy"},
                                       {"\xff\xfe\xfb", "//77"}};

static void test_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct buf text, data;
        buf_init(&text, 64);
        buf_init(&data, 64);
        assert_int_equal(base64_append(&text, bytes_from_text(pairs[i][0])), ERR_OK);
        assert_true(bytes_equal_text(buf_bytes(&text), pairs[i][1]));
        assert_int_equal(base64_decode(&data, buf_bytes(&text)), ERR_OK);
        assert_true(bytes_equal_text(buf_bytes(&data), pairs[i][0]));
        buf_fini(&text);
        buf_fini(&data);
    }
}

static void test_what_is_none(void **state)
{
    static const char *const bad[] = {"Zg",   "Zg=",    "Zh==", "Zm9=", "Zg==Zg==", "====",
                                      "Z===", "Zm9v\n", "Zm 9", "Zm9-", "=Zg=",     "Zm8=Zm9v"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf data;
        buf_init(&data, 64);
        assert_int_equal(base64_decode(&data, bytes_from_text(bad[i])), ERR_CORRUPT);
        assert_int_equal(data.size, 0);
        buf_fini(&data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_ways),
                                       cmocka_unit_test(test_what_is_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
