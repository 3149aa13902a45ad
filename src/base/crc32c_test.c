#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/crc32c.h"

#include <string.h>

static uint32_t bitwise(uint32_t crc, const uint8_t *at, size_t size)
{
    uint32_t state = ~crc;
    while (size-- > 0) {
        state ^= *at++;
        for (int bit = 0; bit < 8; bit++)
            state = (state >> 1) ^ (0x82f63b78u & (0u - (state & 1)));
    }
    return ~state;
}

static void test_rfc(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa); /* RFC 3720 B.4 */
    memset(bytes, 0xff, 32);
    assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(crc32c(0, bytes, 32), 0x46dd794e);
    assert_int_equal(crc32c(0, NULL, 0), 0);
}

/* All sizes across the borders of the chunks, at odd addresses, in one piece and in two. */
static void test_against_bitwise(void **state)
{
    (void)state;
    static uint8_t bytes[8192];
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)((random = random * 1664525u + 1013904223u) >> 24);
    for (size_t size = 0; size < 4000; size++) {
        size_t from = size % 9;
        uint32_t want = bitwise(7, bytes + from, size);
        assert_int_equal(crc32c(7, bytes + from, size), want);
        size_t half = size / 3;
        uint32_t first = crc32c(7, bytes + from, half);
        assert_int_equal(crc32c(first, bytes + from + half, size - half), want);
    }
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), bitwise(0, bytes, sizeof(bytes)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc),
        cmocka_unit_test(test_against_bitwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
