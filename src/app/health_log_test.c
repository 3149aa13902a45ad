#include "app/health_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int64_t now_ns;
static struct health_log component;

static enum health_log_line after(int64_t ms, const char *text)
{
    now_ns += ms * NS_PER_MS;
    return health_log_next(&component, text, now_ns);
}

static int set_up(void **state)
{
    (void)state;
    now_ns = 5 * NS_PER_S;
    component = (struct health_log){0};
    return 0;
}

static void test_told_once_and_when_well(void **state)
{
    (void)state;
    assert_int_equal(after(0, ""), HEALTH_LOG_NOTHING);
    assert_int_equal(after(100, "away"), HEALTH_LOG_NOTHING);
    assert_int_equal(after(1000, "away"), HEALTH_LOG_BAD);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(after(1000, "away"), HEALTH_LOG_NOTHING);
    assert_int_equal(after(100, ""), HEALTH_LOG_NOTHING);
    assert_int_equal(after(1000, ""), HEALTH_LOG_WELL);
    assert_int_equal(after(1000, ""), HEALTH_LOG_NOTHING);
}

static void test_short_ones_are_not_told(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(after(500, "full"), HEALTH_LOG_NOTHING);
        assert_int_equal(after(500, ""), HEALTH_LOG_NOTHING);
    }
}

static void test_another_sentence_waits_a_minute(void **state)
{
    (void)state;
    assert_int_equal(after(0, "1 file waits"), HEALTH_LOG_NOTHING);
    assert_int_equal(after(1000, "1 file waits"), HEALTH_LOG_BAD);
    assert_int_equal(after(59000, "2 files wait"), HEALTH_LOG_NOTHING);
    assert_int_equal(after(1000, "2 files wait"), HEALTH_LOG_BAD);
    assert_int_equal(after(1000, "3 files wait"), HEALTH_LOG_NOTHING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_told_once_and_when_well, set_up),
        cmocka_unit_test_setup(test_short_ones_are_not_told, set_up),
        cmocka_unit_test_setup(test_another_sentence_waits_a_minute, set_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
