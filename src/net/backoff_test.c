#include "net/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void waits_double_within_bounds(void **state)
{
    (void)state;
    struct backoff backoff;
    backoff_init(&backoff, 1000, 60000, 7);
    uint32_t whole_ms = 1000;
    for (int i = 0; i < 100; i++) {
        uint32_t wait_ms = backoff_next_ms(&backoff);
        assert_in_range(wait_ms, whole_ms / 2, whole_ms);
        whole_ms = whole_ms * 2 > 60000 ? 60000 : whole_ms * 2;
    }
    backoff_reset(&backoff);
    assert_in_range(backoff_next_ms(&backoff), 500, 1000);
}

static void clients_do_not_wait_alike(void **state)
{
    (void)state;
    uint32_t first_ms = 0;
    int different = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct backoff backoff;
        backoff_init(&backoff, 60000, 60000, seed);
        uint32_t wait_ms = backoff_next_ms(&backoff);
        different += seed > 0 && wait_ms != first_ms;
        first_ms = wait_ms;
    }
    assert_true(different > 40);
}

static void odd_bounds_are_mended(void **state)
{
    (void)state;
    struct backoff backoff;
    backoff_init(&backoff, 0, 0, 1);
    for (int i = 0; i < 100; i++)
        assert_in_range(backoff_next_ms(&backoff), 0, 1);
    backoff_init(&backoff, UINT32_MAX, UINT32_MAX, 1);
    for (int i = 0; i < 100; i++)
        assert_in_range(backoff_next_ms(&backoff), UINT32_MAX / 2, UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_double_within_bounds),
        cmocka_unit_test(clients_do_not_wait_alike),
        cmocka_unit_test(odd_bounds_are_mended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
