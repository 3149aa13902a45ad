#include "lake/parquet_range.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void numbers(const double *values, size_t count, struct parquet_bound *min,
                    struct parquet_bound *max)
{
    struct parquet_range range = {0};
    struct parquet_leaf leaf = {.values = values};
    for (size_t i = 0; i < count; i += 3) /* in parts, as pages are */
        parquet_range_add(&range, PARQUET_DOUBLE, &leaf, i, i + 3 < count ? i + 3 : count);
    struct parquet_range merged = {0};
    parquet_range_merge(&merged, PARQUET_DOUBLE, &range);
    parquet_range_merge(&merged, PARQUET_DOUBLE, &range);
    parquet_bound_min(min, PARQUET_DOUBLE, &merged);
    parquet_bound_max(max, PARQUET_DOUBLE, &merged);
}

static void check_number(const struct parquet_bound *bound, double expected)
{
    double found;
    assert_true(bound->is_usable && bound->is_exact && bound->size == 8);
    memcpy(&found, bound->data, 8);
    assert_memory_equal(&found, &expected, 8); /* signs of zeros too */
}

static void test_numbers(void **state)
{
    (void)state;
    struct parquet_bound min, max;
    const double plain[] = {3, -7.5, 2, 9, 1, 0.5, 8, 8.5, 4};
    numbers(plain, 9, &min, &max);
    check_number(&min, -7.5);
    check_number(&max, 9);
    const double with_nan[] = {(double)NAN, 3,           (double)NAN, (double)NAN,
                               (double)NAN, (double)NAN, 5,           (double)NAN};
    numbers(with_nan, 8, &min, &max);
    check_number(&min, 3);
    check_number(&max, 5);
    const double constant_or_nan[] = {5, (double)NAN, 5};
    struct parquet_range range = {0};
    struct parquet_leaf leaf = {.values = constant_or_nan, .value_count = 3};
    parquet_range_add(&range, PARQUET_DOUBLE, &leaf, 0, 3);
    parquet_bounds_of_chunk(&min, &max, PARQUET_DOUBLE, &range);
    assert_false(min.is_usable || max.is_usable);
    struct parquet_range nan_first = {0}; /* page after page, as they are written */
    for (size_t i = 1; i < 3; i++) {
        struct parquet_range page = {0};
        parquet_range_add(&page, PARQUET_DOUBLE, &leaf, i, i + 1);
        parquet_range_merge(&nan_first, PARQUET_DOUBLE, &page);
    }
    parquet_bounds_of_chunk(&min, &max, PARQUET_DOUBLE, &nan_first);
    assert_false(min.is_usable || max.is_usable);
    parquet_bound_min(&min, PARQUET_DOUBLE, &nan_first);
    assert_true(min.is_usable);
    const double wider_than_nan[] = {5, (double)NAN, 6};
    leaf.values = wider_than_nan;
    range = (struct parquet_range){0};
    parquet_range_add(&range, PARQUET_DOUBLE, &leaf, 0, 3);
    parquet_bounds_of_chunk(&min, &max, PARQUET_DOUBLE, &range);
    assert_true(min.is_usable && max.is_usable);
    const double all_nan[] = {(double)NAN, -(double)NAN, (double)NAN, (double)NAN, (double)NAN};
    numbers(all_nan, 5, &min, &max);
    assert_false(min.is_usable || max.is_usable);
    const double zeros[] = {0.0, -0.0};
    for (size_t i = 0; i < 2; i++) {
        numbers(zeros + i, 1, &min, &max);
        check_number(&min, -0.0);
        check_number(&max, 0.0);
    }
    const double from_zero[] = {0.0, 4};
    numbers(from_zero, 2, &min, &max);
    check_number(&min, -0.0);
    check_number(&max, 4);
    const double infinities[][3] = {{HUGE_VAL, HUGE_VAL, (double)NAN},
                                    {-HUGE_VAL, -HUGE_VAL, (double)NAN}};
    for (size_t i = 0; i < 2; i++) {
        numbers(infinities[i], 3, &min, &max);
        check_number(&min, infinities[i][0]);
        check_number(&max, infinities[i][0]);
    }
    numbers(plain, 0, &min, &max);
    assert_false(min.is_usable || max.is_usable);
}

static void text_bounds(enum parquet_kind kind, struct bytes text, struct parquet_bound *min,
                        struct parquet_bound *max)
{
    const uint32_t offsets[] = {0, (uint32_t)text.size};
    struct parquet_range range = {0};
    struct parquet_leaf leaf = {.offsets = offsets, .data = text.data};
    parquet_range_add(&range, kind, &leaf, 0, 1);
    parquet_bound_min(min, kind, &range);
    parquet_bound_max(max, kind, &range);
}

static bool is_bound(const struct parquet_bound *bound, struct bytes expected)
{
    return bytes_equal(bytes_from(bound->data, bound->size), expected);
}

static size_t repeat(char *to, const char *unit, size_t count)
{
    size_t size = strlen(unit);
    for (size_t i = 0; i < size * count; i++)
        to[i] = unit[i % size];
    return size * count;
}

static void test_short_texts_are_exact(void **state)
{
    (void)state;
    struct parquet_bound min, max;
    char text[64];
    for (size_t size = 0; size <= 64; size++) {
        memset(text, 0xff, sizeof(text));
        text_bounds(PARQUET_BINARY, bytes_from(text, size), &min, &max);
        assert_true(min.is_usable && min.is_exact && is_bound(&min, bytes_from(text, size)));
        assert_true(max.is_usable && max.is_exact && is_bound(&max, bytes_from(text, size)));
    }
}

/* Characters of each length over the limit: the lower bound is whole characters of the text, the
 * upper one the same with the last raised. */
static void test_long_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *unit;
        size_t kept; /* characters within 64 bytes */
        const char *raised;
    } cases[] = {
        {"a", 64, "b"},
        {"\xc3\xa9", 32, "\xc3\xaa"},
        {"\xe2\x82\xac", 21, "\xe2\x82\xad"},
        {"\xf0\x9f\x98\x80", 16, "\xf0\x9f\x98\x81"},
        {"\xc3\xbf", 32, "\xc4\x80"},
        {"\xed\x9f\xbf", 21, "\xee\x80\x80"}, /* over the surrogates */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[400], expected[80];
        struct parquet_bound min, max;
        size_t size = repeat(text, cases[i].unit, 90);
        text_bounds(PARQUET_STRING, bytes_from(text, size), &min, &max);
        size_t kept = repeat(expected, cases[i].unit, cases[i].kept);
        assert_true(min.is_usable && !min.is_exact && is_bound(&min, bytes_from(expected, kept)));
        size_t before = repeat(expected, cases[i].unit, cases[i].kept - 1);
        size_t raised = before + repeat(expected + before, cases[i].raised, 1);
        assert_true(max.is_usable && !max.is_exact);
        assert_true(is_bound(&max, bytes_from(expected, raised)));
    }
}

/* The last ones of a length cannot be raised in place: they are dropped, and one before is. */
static void test_raise_drops(void **state)
{
    (void)state;
    static const char *const last[] = {"\x7f", "\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < 4; i++) {
        char text[400] = "xy";
        struct parquet_bound min, max;
        size_t size = 2 + repeat(text + 2, last[i], 90);
        text_bounds(PARQUET_STRING, bytes_from(text, size), &min, &max);
        assert_true(max.is_usable && !max.is_exact && is_bound(&max, BYTES_LITERAL("xz")));
        text_bounds(PARQUET_STRING, bytes_from(text + 2, size - 2), &min, &max);
        assert_false(max.is_usable); /* nothing is above */
        assert_true(min.is_usable);
    }
}

static void test_long_binary(void **state)
{
    (void)state;
    struct parquet_bound min, max;
    uint8_t text[100];
    memset(text, 0xff, sizeof(text));
    text[0] = 7;
    text_bounds(PARQUET_BINARY, bytes_from(text, 100), &min, &max);
    assert_true(is_bound(&min, bytes_from(text, 64)) && !min.is_exact);
    assert_true(is_bound(&max, BYTES_LITERAL("\x08")) && max.is_usable);
    text[0] = 0xff;
    text_bounds(PARQUET_BINARY, bytes_from(text, 100), &min, &max);
    assert_false(max.is_usable);
}

static void test_text_order(void **state)
{
    (void)state;
    static const char data[] = "bbbbbbbbbbbaaaaaaaaabaaaaaaaaazzz\xc3\xa9";
    static const uint32_t offsets[] = {0, 11, 21, 30, 30, 33, 35};
    struct parquet_leaf leaf = {.offsets = offsets, .data = (const uint8_t *)data};
    struct parquet_range range = {0};
    struct parquet_bound min, max;
    parquet_range_add(&range, PARQUET_STRING, &leaf, 0, 3);
    parquet_bound_min(&min, PARQUET_STRING, &range);
    assert_true(is_bound(&min, BYTES_LITERAL("aaaaaaaaa"))); /* shorter than aaaaaaaaab */
    parquet_range_add(&range, PARQUET_STRING, &leaf, 3, 6);
    parquet_bound_min(&min, PARQUET_STRING, &range);
    parquet_bound_max(&max, PARQUET_STRING, &range);
    assert_true(is_bound(&min, BYTES_LITERAL("")) && min.is_usable);
    assert_true(is_bound(&max, BYTES_LITERAL("\xc3\xa9"))); /* unsigned bytes */
}

static void test_instants_and_booleans(void **state)
{
    (void)state;
    const int64_t instants[] = {5, -3, INT64_MAX, INT64_MIN};
    const uint8_t booleans[] = {1, 1, 0};
    struct parquet_leaf leaf = {.values = instants};
    struct parquet_range range = {0};
    struct parquet_bound min, max;
    parquet_range_add(&range, PARQUET_TIMESTAMP_US, &leaf, 0, 2);
    parquet_bound_min(&min, PARQUET_TIMESTAMP_US, &range);
    assert_int_equal((int64_t)load_u64(min.data), -3);
    parquet_range_add(&range, PARQUET_TIMESTAMP_US, &leaf, 2, 4);
    parquet_bound_max(&max, PARQUET_TIMESTAMP_US, &range);
    assert_int_equal((int64_t)load_u64(max.data), INT64_MAX);
    assert_true(parquet_bound_compare(PARQUET_TIMESTAMP_US, &min, &max) < 0);
    range = (struct parquet_range){0};
    leaf.values = booleans;
    parquet_range_add(&range, PARQUET_BOOLEAN, &leaf, 0, 2);
    parquet_bound_min(&min, PARQUET_BOOLEAN, &range);
    assert_true(is_bound(&min, BYTES_LITERAL("\1")));
    parquet_range_add(&range, PARQUET_BOOLEAN, &leaf, 2, 3);
    parquet_bound_min(&min, PARQUET_BOOLEAN, &range);
    parquet_bound_max(&max, PARQUET_BOOLEAN, &range);
    assert_true(is_bound(&min, BYTES_LITERAL("\0")) && is_bound(&max, BYTES_LITERAL("\1")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_short_texts_are_exact),
        cmocka_unit_test(test_long_utf8),
        cmocka_unit_test(test_raise_drops),
        cmocka_unit_test(test_long_binary),
        cmocka_unit_test(test_text_order),
        cmocka_unit_test(test_instants_and_booleans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
