#include "connectors/coap/coap_fresh.h"

#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define LAST ((1u << 24) - 1)

static void the_first_is_fresh(void **state)
{
    struct coap_fresh fresh = {0};
    (void)state;
    assert_true(coap_fresh_offer(&fresh, LAST, 5));
    assert_int_equal(fresh.number, LAST);
}

/* RFC 7641 §3.4, each branch and its edges. */
static void numbers_go_round(void **state)
{
    static const struct {
        uint32_t before, offered;
        bool is_newer;
    } cases[] = {
        {10, 11, true},       {10, 10, false},           {10, 9, false},
        {LAST, 0, true},      {0, LAST, false},          {0, (1u << 23) - 1, true},
        {0, 1u << 23, false}, {(1u << 23) + 1, 0, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct coap_fresh fresh = {0};
        assert_true(coap_fresh_offer(&fresh, cases[i].before, 0));
        assert_int_equal(coap_fresh_offer(&fresh, cases[i].offered, 1), cases[i].is_newer);
        assert_int_equal(fresh.number, cases[i].is_newer ? cases[i].offered : cases[i].before);
    }
}

static void after_128_seconds_any_is_fresh(void **state)
{
    struct coap_fresh fresh = {0};
    (void)state;
    assert_true(coap_fresh_offer(&fresh, 100, 0));
    assert_false(coap_fresh_offer(&fresh, 50, 128 * NS_PER_S));
    assert_true(coap_fresh_offer(&fresh, 50, 128 * NS_PER_S + 1));
}

static void waits(void **state)
{
    (void)state;
    assert_int_equal(coap_fresh_wait_ms(60, 0, 0), 65000);
    assert_int_equal(coap_fresh_wait_ms(60, 0, 10000), 75000);
    assert_int_equal(coap_fresh_wait_ms(60, 0, 10001), 65000);
    assert_int_equal(coap_fresh_wait_ms(60, 7, 10000), 7000);
    assert_int_equal(coap_fresh_wait_ms(UINT32_MAX, 0, 0),
                     COAP_MAX_AGE_SECONDS_MAX * 1000LL + 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_fresh),
        cmocka_unit_test(numbers_go_round),
        cmocka_unit_test(after_128_seconds_any_is_fresh),
        cmocka_unit_test(waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
