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
        if (mqtt_stall_data(&stall, now_ms) == MQTT_STALL_FOUND)
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
        assert_int_equal(mqtt_stall_data(&stall, now_ms), MQTT_STALL_NOTHING);
        mqtt_stall_received(&stall, 20, 20);
        mqtt_stall_acknowledged(&stall, now_ms);
    }
}

/* A publisher's bursts look the same, but for when the next one comes. */
static void bursts_of_a_publisher_are_none(void **state)
{
    (void)state;
    assert_int_equal(told_in(12, 1000, 19, 0), 0);
}

static void it_is_told_once_and_withdrawn(void **state)
{
    (void)state;
    struct mqtt_stall stall = {0};
    int told = 0, over = 0;
    uint64_t now_ms = 0;
    for (; now_ms < 1000; now_ms++) { /* it goes beyond 20: that was no limit; 40 is */
        enum mqtt_stall_news news = mqtt_stall_data(&stall, now_ms);
        told += news == MQTT_STALL_FOUND;
        over += news == MQTT_STALL_OVER;
        assert_true(told - over == 0 || told - over == 1);
        mqtt_stall_received(&stall, now_ms < 500 ? 20 : 40, RECEIVE_MAXIMUM);
        mqtt_stall_acknowledged(&stall, now_ms);
    }
    assert_int_equal(told, 2);
    assert_int_equal(over, 1);
    assert_int_equal(mqtt_stall_data(&stall, now_ms + MQTT_STALL_QUIET_MS), MQTT_STALL_OVER);
    assert_int_equal(mqtt_stall_data(&stall, now_ms + MQTT_STALL_QUIET_MS), MQTT_STALL_NOTHING);
}

static void slow_windows_withdraw_it(void **state)
{
    (void)state;
    struct mqtt_stall stall = {0};
    uint64_t now_ms = 0;
    int rounds = 0;
    while (mqtt_stall_data(&stall, now_ms) != MQTT_STALL_FOUND) {
        mqtt_stall_received(&stall, 20, RECEIVE_MAXIMUM);
        mqtt_stall_acknowledged(&stall, now_ms++);
    }
    do {
        mqtt_stall_received(&stall, 20, RECEIVE_MAXIMUM);
        mqtt_stall_acknowledged(&stall, now_ms);
        now_ms += MQTT_STALL_SOON_MS + 1;
        rounds++;
        assert_true(rounds <= MQTT_STALL_HITS + 1);
    } while (mqtt_stall_data(&stall, now_ms) != MQTT_STALL_OVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_in_two_blocks_is_found),
        cmocka_unit_test(bursts_with_pauses_are_none),
        cmocka_unit_test(a_number_that_grows_is_none),
        cmocka_unit_test(small_bursts_are_none),
        cmocka_unit_test(our_own_limit_is_none),
        cmocka_unit_test(bursts_of_a_publisher_are_none),
        cmocka_unit_test(it_is_told_once_and_withdrawn),
        cmocka_unit_test(slow_windows_withdraw_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
