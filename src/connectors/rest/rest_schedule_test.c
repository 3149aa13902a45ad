/* The clock is a number in these tests. */
#include "connectors/rest/rest_schedule.h"

#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define S NS_PER_S

static void slots_do_not_drift(void **state)
{
    (void)state;
    struct rest_schedule schedule;
    rest_schedule_begin(&schedule, 10, 1000 * S, true, 77);
    assert_int_equal(schedule.next_ns, 1000 * S);
    for (int i = 1; i <= 100; i++) {
        rest_schedule_next(&schedule, schedule.next_ns + 3 * S); /* each poll takes 3 s */
        assert_int_equal(schedule.next_ns, (1000 + i * 10) * S);
    }
    assert_int_equal(schedule.skipped, 0);
}

static void slots_that_pass_are_left_out(void **state)
{
    (void)state;
    struct rest_schedule schedule;
    rest_schedule_begin(&schedule, 10, 0, true, 0);
    rest_schedule_next(&schedule, 35 * S);
    assert_int_equal(schedule.next_ns, 40 * S);
    assert_int_equal(schedule.skipped, 3);
    rest_schedule_next(&schedule, 50 * S); /* ends just as the next slot comes */
    assert_int_equal(schedule.next_ns, 50 * S);
    assert_int_equal(schedule.skipped, 3);
}

static void a_server_can_hold_polls_back(void **state)
{
    (void)state;
    struct rest_schedule schedule;
    rest_schedule_begin(&schedule, 10, 0, true, 0);
    rest_schedule_hold(&schedule, 1 * S, 33);
    rest_schedule_next(&schedule, 1 * S);
    assert_int_equal(schedule.next_ns, 40 * S); /* in cadence, not before 34 */
    rest_schedule_next(&schedule, 41 * S);
    assert_int_equal(schedule.next_ns, 50 * S);
}

static void many_starts_are_spread(void **state)
{
    (void)state;
    struct rest_schedule schedule;
    int halves[2] = {0};
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t hash = i * 0x9e3779b97f4a7c15ULL;
        rest_schedule_begin(&schedule, 60, 5 * S, false, hash);
        assert_true(schedule.next_ns >= 5 * S && schedule.next_ns < 65 * S);
        halves[schedule.next_ns >= 35 * S]++;
    }
    assert_true(halves[0] > 400 && halves[1] > 400);
}

static void a_few_may_start_at_once(void **state)
{
    (void)state;
    struct rest_starts starts = {0};
    int at_once = 0;
    for (int i = 0; i < 1000; i++)
        at_once += rest_starts_take(&starts, 5 * S + i); /* all in a microsecond */
    assert_int_equal(at_once, REST_STARTS_AT_ONCE);
    assert_true(rest_starts_take(&starts, 6 * S)); /* one by hand, later */
    for (int i = 0; i < 1000; i++)                 /* one each 100 ms for ever */
        assert_true(rest_starts_take(&starts, 7 * S + i * 100 * NS_PER_MS));
}

static void tries_end(void **state)
{
    (void)state;
    struct rest_retry retry;
    uint32_t wait_ms;
    rest_retry_begin(&retry, 0, 1);
    assert_true(rest_retry_again(&retry, 1 * S, -1, &wait_ms));
    assert_true(wait_ms >= 500 && wait_ms <= 1000);
    assert_true(rest_retry_again(&retry, 3 * S, -1, &wait_ms));
    assert_true(wait_ms >= 1000 && wait_ms <= 2000);
    assert_false(rest_retry_again(&retry, 6 * S, -1, &wait_ms));

    rest_retry_begin(&retry, 0, 1); /* what the server asks for is the least */
    assert_true(rest_retry_again(&retry, 1 * S, 7, &wait_ms));
    assert_int_equal(wait_ms, 7000);
    assert_true(rest_retry_again(&retry, 9 * S, 0, &wait_ms));
    assert_true(wait_ms >= 1000);

    rest_retry_begin(&retry, 0, 1); /* 60 s in all */
    assert_false(rest_retry_again(&retry, 30 * S, 31, &wait_ms));
    assert_false(rest_retry_again(&retry, 0, 61, &wait_ms));
    assert_false(rest_retry_again(&retry, 60 * S, -1, &wait_ms));
    assert_false(rest_retry_again(&retry, 0, INT64_MAX, &wait_ms));
}

static void retry_after_is_seconds_or_a_date(void **state)
{
    (void)state;
    int64_t now = 1445412480; /* Wed, 21 Oct 2015 07:28:00 GMT */
    assert_int_equal(rest_retry_after("120", now), 120);
    assert_int_equal(rest_retry_after("0", now), 0);
    assert_int_equal(rest_retry_after("Wed, 21 Oct 2015 07:28:30 GMT", now), 30);
    assert_int_equal(rest_retry_after("Wed, 21 Oct 2015 07:00:00 GMT", now), 0);
    assert_int_equal(rest_retry_after("99999999999999999999999", now), REST_RETRY_AFTER_MAX_S);
    assert_int_equal(rest_retry_after("Wed, 21 Oct 2099 07:28:30 GMT", now),
                     REST_RETRY_AFTER_MAX_S);
    assert_int_equal(rest_retry_after("soon", now), -1);
    assert_int_equal(rest_retry_after("-5", now), -1);
    assert_int_equal(rest_retry_after("5x", now), -1);
    assert_int_equal(rest_retry_after("", now), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_do_not_drift),
        cmocka_unit_test(slots_that_pass_are_left_out),
        cmocka_unit_test(a_server_can_hold_polls_back),
        cmocka_unit_test(many_starts_are_spread),
        cmocka_unit_test(a_few_may_start_at_once),
        cmocka_unit_test(tries_end),
        cmocka_unit_test(retry_after_is_seconds_or_a_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
