#include "os/clock_jump.h"

#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int64_t monotonic_ns, realtime_us;

static int64_t monotonic(void *ctx)
{
    (void)ctx;
    return monotonic_ns;
}

static int64_t realtime(void *ctx)
{
    (void)ctx;
    return realtime_us;
}

static int64_t next_after(struct clock_jump *jump, int64_t passed_us, int64_t by_us)
{
    static const struct clock_ops ops = {monotonic, realtime};
    const struct clock clock = {.ops = &ops};
    monotonic_ns += passed_us * NS_PER_US;
    realtime_us += passed_us + by_us;
    return clock_jump_next(jump, &clock);
}

static void test_jumps(void **state)
{
    (void)state;
    struct clock_jump jump = {0};
    realtime_us = 1700000000 * US_PER_S;
    assert_int_equal(next_after(&jump, 0, 0), 0); /* the first look */
    assert_int_equal(next_after(&jump, US_PER_S, 0), 0);
    assert_int_equal(next_after(&jump, US_PER_S, 500), 0); /* slewed */
    assert_int_equal(next_after(&jump, US_PER_S, 3600 * US_PER_S), 3600 * US_PER_S);
    assert_int_equal(next_after(&jump, US_PER_S, 0), 0); /* told once */
    assert_int_equal(next_after(&jump, US_PER_S, -7200 * US_PER_S), -7200 * US_PER_S);
    assert_int_equal(next_after(&jump, 86400 * US_PER_S, 0), 0); /* a loop that hung is none */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_jumps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
