#include "base/arena.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those four first */
#include <cmocka.h>

static void test_allocations_live_until_reset(void **state)
{
    (void)state;
    struct arena arena;
    char *texts[2000];
    arena_init(&arena, 1024 * 1024);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 2000; i++) {
            char fill[64];
            memset(fill, (int)('a' + i % 26), sizeof(fill));
            texts[i] = arena_dup(&arena, fill, i % 64);
            assert_non_null(texts[i]);
            assert_int_equal((uintptr_t)texts[i] % 8, 0);
        }
        for (size_t i = 0; i < 2000; i++) {
            assert_int_equal(strlen(texts[i]), i % 64);
            assert_true(i % 64 == 0 || texts[i][0] == (char)('a' + i % 26));
        }
        arena_reset(&arena);
    }
    arena_fini(&arena);
}

static void test_limits(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 100);
    assert_non_null(arena_alloc(&arena, 96));
    assert_null(arena_alloc(&arena, 8));
    assert_null(arena_alloc(&arena, SIZE_MAX));
    arena_reset(&arena);
    mem_fail_at(1);
    assert_non_null(arena_zalloc(&arena, 96)); /* from the chunk that was kept */
    mem_fail_at(0);
    arena_fini(&arena);
    mem_fail_at(1);
    assert_null(arena_alloc(&arena, 1));
    mem_fail_at(0);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations_live_until_reset),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
