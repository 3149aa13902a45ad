#include "connectors/mqtt/mqtt_stall.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RECEIVE_MAXIMUM 65535

/* Rounds of a window that fills message by message and is acknowledged in two parts; the next data
 * comes wait_ms later. The round in which it is told, or 0. */
static int told_in(uint32_t window, int rounds, uint64_t wait_ms, uint32_t more_every)
{
    struct mqtt_stall stall = {0};
    uint64_t now_ms = 1000;
    for (int round = 1; round <= rounds; round++) {
        uint32_t size = window + (more_every ? (uint32_t)round / more_every : 0);
        if (mqtt_stall_data(&stall, now_ms))
            return round;
        for (uint32_t i = 1; i <= size; i++)
            mqtt_stall_received(&stall, i, RECEIVE_MAXIMUM);
        mqtt_stall_acknowledged(&stall, now_ms);
        mqtt_stall_acknowledged(&stall, now_ms + 1);
        now_ms += 1 + wait_ms;
    }
    return 0;
}

static void a_window_in_two_blocks_is_found(void **state)
{
    (void)state;
    assert_int_equal(told_in(20, 1000, 3, 0), MQTT_STALL_HITS + 1);
}

static void bursts_with_pauses_are_none(void **state)
{
    (void)state;
    assert_int_equal(told_in(20, 1000, 1000, 0), 0);
}

static void a_number_that_grows_is_none(void **state)
{
    (void)state;
    assert_int_equal(told_in(20, 1000, 3, 10), 0);
}

static void small_bursts_are_none(void **state)
{
    (void)state;
    assert_int_equal(told_in(MQTT_STALL_MIN - 1, 1000, 3, 0), 0);
}

static void our_own_limit_is_none(void **state)
{
    (void)state;
    struct mqtt_stall stall = {0};
    for (uint64_t now_ms = 0; now_ms < 1000; now_ms++) {
        assert_false(mqtt_stall_data(&stall, now_ms));
        mqtt_stall_received(&stall, 20, 20);
        mqtt_stall_acknowledged(&stall, now_ms);
    }
}

static void it_is_told_once(void **state)
{
    (void)state;
    struct mqtt_stall stall = {0};
    int told = 0;
    for (uint64_t now_ms = 0; now_ms < 1000; now_ms++) {
        told += mqtt_stall_data(&stall, now_ms);
        mqtt_stall_received(&stall, now_ms < 500 ? 20 : 40, RECEIVE_MAXIMUM);
        mqtt_stall_acknowledged(&stall, now_ms);
    }
    assert_int_equal(told, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_in_two_blocks_is_found),
        cmocka_unit_test(bursts_with_pauses_are_none),
        cmocka_unit_test(a_number_that_grows_is_none),
        cmocka_unit_test(small_bursts_are_none),
        cmocka_unit_test(our_own_limit_is_none),
        cmocka_unit_test(it_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
