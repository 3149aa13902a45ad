#include "codec/rle.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static uint64_t random_state = 1;

static uint32_t next_random(void)
{
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(random_state >> 33);
}

/* Stretches of equal values of all lengths among random ones. */
static void fill(uint32_t *values, size_t count, unsigned width)
{
    uint32_t mask = width == 32 ? UINT32_MAX : (1U << width) - 1;
    for (size_t i = 0; i < count;) {
        uint32_t value = next_random() & mask;
        size_t length = next_random() % 3 == 0 ? next_random() % 100 : 1;
        while (length-- > 0 && i < count)
            values[i++] = value;
    }
}

static void check_indices(const uint32_t *values, size_t count, unsigned width)
{
    size_t room = rle_bytes_max(count, width);
    uint8_t *encoded = mem_alloc(room);
    uint32_t *decoded = mem_alloc((count + 1) * sizeof(*decoded));
    size_t bad_offset;
    assert_true(encoded && decoded);
    size_t size = (size_t)(rle_encode_indices(encoded, values, count, width) - encoded);
    assert_true(size + 8 <= room || size == 0);
    assert_true(size <= (count / 8 + 1) * width + 16 + count / 4);
    assert_true(rle_decode_indices(bytes_from(encoded, size), width, UINT32_MAX, decoded, count,
                                   &bad_offset));
    if (count > 0)
        assert_memory_equal(decoded, values, count * sizeof(*values));
    for (size_t cut = 0; cut < size && count < 100; cut++)
        assert_false(rle_decode_indices(bytes_from(encoded, cut), width, UINT32_MAX, decoded, count,
                                        &bad_offset));
    mem_free(encoded);
    mem_free(decoded);
}

static void test_indices(void **state)
{
    (void)state;
    static uint32_t values[3000];
    for (unsigned width = 1; width <= 32; width++) {
        for (int round = 0; round < 60; round++) {
            size_t count = round < 40 ? (size_t)round : next_random() % 3000;
            fill(values, count, width);
            check_indices(values, count, width);
        }
        memset(values, 0, sizeof(values));
        check_indices(values, 3000, width);
    }
}

static void test_levels(void **state)
{
    (void)state;
    static uint32_t values[3000];
    static uint8_t levels[3000], decoded[3000];
    static uint8_t encoded[20000];
    for (unsigned width = 1; width <= 8; width++) {
        for (int round = 0; round < 100; round++) {
            size_t count = round < 70 ? (size_t)round : next_random() % 3000;
            size_t bad_offset;
            fill(values, count, width);
            for (size_t i = 0; i < count; i++)
                levels[i] = (uint8_t)values[i];
            assert_true(rle_bytes_max(count, width) <= sizeof(encoded));
            size_t size = (size_t)(rle_encode_levels(encoded, levels, count, width) - encoded);
            assert_true(rle_decode_levels(bytes_from(encoded, size), width, 255, decoded, count,
                                          &bad_offset));
            assert_memory_equal(decoded, levels, count + 1);
        }
    }
}

/* The specification's example and what other writers make of plain runs. */
static void test_known_bytes(void **state)
{
    (void)state;
    uint8_t out[128];
    uint8_t *end;
    const uint8_t levels[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    end = rle_encode_levels(out, levels, 8, 3);
    assert_int_equal(end - out, 4);
    assert_memory_equal(out, "\x03\x88\xc6\xfa", 4);
    end = rle_encode_run(out, 1, 1000, 1);
    assert_int_equal(end - out, 3);
    assert_memory_equal(out, "\xd0\x0f\x01", 3);
    const uint32_t same[9] = {300, 300, 300, 300, 300, 300, 300, 300, 300};
    end = rle_encode_indices(out, same, 9, 9);
    assert_int_equal(end - out, 3);
    assert_memory_equal(out, "\x12\x2c\x01", 3);
    const uint8_t booleans[10] = {1, 0, 1, 1, 0, 0, 0, 1, 0, 1};
    end = rle_pack_booleans(out, booleans, 10);
    assert_int_equal(end - out, 2);
    assert_memory_equal(out, "\x8d\x02", 2);
}

static void test_damage(void **state)
{
    (void)state;
    uint32_t indices[64];
    uint8_t levels[64];
    size_t bad_offset;
    static const char *const inputs[] = {
        "", "\x00", "\x01", "\xff", "\xff\xff\xff\xff\xff\xff\xff", "\x03", "\x10"};
    static const size_t sizes[] = {0, 1, 1, 1, 7, 1, 1};
    for (size_t i = 0; i < 7; i++) {
        struct bytes input = bytes_from(inputs[i], sizes[i]);
        assert_false(rle_decode_indices(input, 3, 7, indices, 8, &bad_offset));
        assert_false(rle_decode_levels(input, 3, 7, levels, 8, &bad_offset));
    }
    /* a value over the largest */
    assert_false(rle_decode_indices(bytes_from("\x10\x05", 2), 3, 4, indices, 8, &bad_offset));
    assert_false(
        rle_decode_levels(bytes_from("\x03\x88\xc6\xfa", 4), 3, 6, levels, 8, &bad_offset));
    assert_true(rle_decode_levels(bytes_from("\x03\x88\xc6\xfa", 4), 3, 7, levels, 8, &bad_offset));
    assert_false(rle_decode_indices(bytes_from("\x10\x05", 2), 33, 4, indices, 8, &bad_offset));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_indices),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_known_bytes),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
