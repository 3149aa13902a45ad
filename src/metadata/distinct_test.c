#include "metadata/distinct.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint64_t hash_of(uint64_t i)
{
    return distinct_hash(bytes_from(&i, sizeof(i)));
}

static void add_range(struct distinct *distinct, uint64_t from, uint64_t to)
{
    bool is_new;
    for (uint64_t i = from; i < to; i++)
        assert_int_equal(distinct_add(distinct, hash_of(i), &is_new), ERR_OK);
}

static void test_exact_then_close(void **state)
{
    static const uint64_t counts[] = {0,    1,    2,    100,   1000,   1001,
                                      4096, 4097, 5000, 20000, 100000, 1000000};
    (void)state;
    struct distinct distinct;
    uint64_t at = 0;
    distinct_init(&distinct);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        add_range(&distinct, at, counts[i]);
        add_range(&distinct, at / 2, at); /* again: nothing changes */
        at = counts[i];
        double found = (double)distinct_count(&distinct);
        if (at <= DISTINCT_EXACT_MAX)
            assert_int_equal(distinct_count(&distinct), at);
        else
            assert_true(found > (double)at * 0.98 && found < (double)at * 1.02);
    }
    distinct_fini(&distinct);
}

/* Over many sets of things, none is further off than 2 %. */
static void test_error_of_many(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct distinct distinct;
        uint64_t count = 5000 + seed * 3000;
        distinct_init(&distinct);
        add_range(&distinct, seed << 40, (seed << 40) + count);
        double off = (double)distinct_count(&distinct) / (double)count - 1;
        assert_true(off > -0.02 && off < 0.02);
        distinct_fini(&distinct);
    }
}

static void check_merge(uint64_t a, uint64_t b, uint64_t overlap)
{
    struct distinct left, right, both;
    struct buf encoded;
    distinct_init(&left);
    distinct_init(&right);
    distinct_init(&both);
    buf_init(&encoded, MIB);
    add_range(&left, 0, a);
    add_range(&right, a - overlap, a - overlap + b);
    add_range(&both, 0, a - overlap + b);
    distinct_encode(&right, &encoded);
    assert_int_equal(encoded.err, ERR_OK);
    distinct_clear(&right);
    assert_int_equal(distinct_decode(&right, buf_bytes(&encoded)), ERR_OK);
    assert_int_equal(distinct_merge(&left, &right), ERR_OK);
    assert_int_equal(distinct_merge(&left, &right), ERR_OK);
    assert_int_equal(distinct_count(&left), distinct_count(&both));
    assert_int_equal(distinct_is_empty(&left), a + b == 0);
    buf_fini(&encoded);
    distinct_fini(&left);
    distinct_fini(&right);
    distinct_fini(&both);
}

static void test_merge(void **state)
{
    (void)state;
    check_merge(0, 0, 0);
    check_merge(10, 0, 0);
    check_merge(0, 10, 0);
    check_merge(3000, 1000, 500);
    check_merge(3000, 3000, 0);
    check_merge(10, 9000, 5);
    check_merge(9000, 10, 5);
    check_merge(9000, 9000, 4000);
}

static void check_equal(uint64_t a, uint64_t b, bool expected)
{
    struct distinct left, right;
    distinct_init(&left);
    distinct_init(&right);
    add_range(&left, 0, a);
    add_range(&right, 0, b);
    assert_int_equal(distinct_equal(&left, &right), expected);
    assert_int_equal(distinct_equal(&right, &left), expected);
    distinct_fini(&left);
    distinct_fini(&right);
}

static void test_equal(void **state)
{
    (void)state;
    check_equal(0, 0, true);
    check_equal(0, 1, false);
    check_equal(3000, 3000, true);
    check_equal(3000, 3001, false);
    check_equal(DISTINCT_EXACT_MAX, DISTINCT_EXACT_MAX + 1, false);
    check_equal(9000, 9000, true);
    check_equal(9000, 9100, false);
    struct distinct left, right; /* as many, others */
    distinct_init(&left);
    distinct_init(&right);
    add_range(&left, 0, 100);
    add_range(&right, 1, 101);
    assert_false(distinct_equal(&left, &right));
    distinct_fini(&left);
    distinct_fini(&right);
}

static void test_hostile_text(void **state)
{
    (void)state;
    uint8_t text[DISTINCT_REGISTERS + 2] = {0};
    struct distinct distinct;
    distinct_init(&distinct);
    assert_int_equal(distinct_decode(&distinct, bytes_from(text, 0)), ERR_CORRUPT);
    assert_int_equal(distinct_decode(&distinct, bytes_from(text, 2)), ERR_CORRUPT);
    text[0] = 1;
    store_u32(text + 1, DISTINCT_EXACT_MAX + 1);
    assert_int_equal(distinct_decode(&distinct, bytes_from(text, 5 + 8 * (DISTINCT_EXACT_MAX + 1))),
                     ERR_CORRUPT);
    store_u32(text + 1, 2);
    assert_int_equal(distinct_decode(&distinct, bytes_from(text, 5 + 8)), ERR_CORRUPT);
    text[0] = 2;
    text[9] = 50; /* no rank is so high */
    assert_int_equal(distinct_decode(&distinct, bytes_from(text, 1 + DISTINCT_REGISTERS)),
                     ERR_CORRUPT);
    text[0] = 3;
    assert_int_equal(distinct_decode(&distinct, bytes_from(text, 1)), ERR_CORRUPT);
    assert_true(distinct_is_empty(&distinct));
    distinct_fini(&distinct);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct distinct distinct;
        enum err err = ERR_OK;
        bool is_new;
        distinct_init(&distinct);
        mem_fail_at(k);
        for (uint64_t i = 0; i < 5000; i++) {
            enum err one = distinct_add(&distinct, hash_of(i), &is_new);
            if (one == ERR_NO_MEMORY) /* it is as it was: again */
                one = distinct_add(&distinct, hash_of(i), &is_new);
            err = err == ERR_OK ? one : err;
        }
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, ERR_OK);
        assert_true(distinct_count(&distinct) > 4900 && distinct_count(&distinct) < 5100);
        distinct_fini(&distinct);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_then_close),
        cmocka_unit_test(test_error_of_many),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_hostile_text),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
