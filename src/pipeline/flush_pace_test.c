#include "pipeline/flush_pace.h"

#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those four first */
#include <cmocka.h>

static void test_due_at_the_interval(void **state)
{
    (void)state;
    struct flush_pace pace;
    int64_t wait_ns = 0;
    flush_pace_init(&pace, 10, 50);
    assert_false(flush_pace_take(&pace, 0, 4 * NS_PER_S, &wait_ns));
    assert_int_equal(wait_ns, 6 * NS_PER_S);
    assert_true(flush_pace_take(&pace, 0, 10 * NS_PER_S, &wait_ns));
}

static void test_many_datasets_close_at_most_at_the_rate(void **state)
{
    (void)state;
    struct flush_pace pace;
    flush_pace_init(&pace, 10, 50);
    uint64_t closed = 0;
    for (int64_t now_ns = 20 * NS_PER_S; now_ns < 120 * NS_PER_S; now_ns += NS_PER_MS) {
        int64_t wait_ns;
        while (flush_pace_take(&pace, 0, now_ns, &wait_ns))
            closed++;
    }
    assert_in_range(closed, 100 * 50, 100 * 50 + 2 * 50);
}

static void test_an_hour_is_the_most(void **state)
{
    (void)state;
    struct flush_pace pace;
    int64_t wait_ns;
    int64_t now_ns = 3601 * NS_PER_S;
    flush_pace_init(&pace, 10, 1);
    flush_pace_charge(&pace, 100000, now_ns);
    assert_true(flush_pace_take(&pace, 0, now_ns, &wait_ns));
    assert_false(flush_pace_take(&pace, now_ns - 20 * NS_PER_S, now_ns, &wait_ns));
}

static void test_a_lagging_store_stretches_the_age(void **state)
{
    (void)state;
    struct flush_pace pace;
    int64_t wait_ns = 0;
    flush_pace_init(&pace, 10, 50);
    flush_pace_set_upload_lag(&pace, 59 * NS_PER_S);
    assert_true(flush_pace_take(&pace, 0, 10 * NS_PER_S, &wait_ns));
    flush_pace_set_upload_lag(&pace, 120 * NS_PER_S);
    assert_false(flush_pace_take(&pace, 0, 119 * NS_PER_S, &wait_ns));
    assert_true(flush_pace_take(&pace, 0, 120 * NS_PER_S, &wait_ns));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_due_at_the_interval),
        cmocka_unit_test(test_many_datasets_close_at_most_at_the_rate),
        cmocka_unit_test(test_an_hour_is_the_most),
        cmocka_unit_test(test_a_lagging_store_stretches_the_age),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
