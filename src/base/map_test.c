#include "base/map.h"

#include "base/alloc.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those four first */
#include <cmocka.h>

#define KEYS 5000

static struct bytes key_of(char text[16], int i)
{
    return bytes_from(text, (size_t)snprintf(text, 16, "key-%d", i));
}

/* Puts, removes and puts again, against a plain array as the model. */
static void test_against_a_model(void **state)
{
    (void)state;
    static int values[KEYS];
    static bool present[KEYS];
    struct map map;
    char text[16];
    uint32_t random = 1;
    size_t count = 0;
    map_init(&map);
    for (int step = 0; step < 50000; step++) {
        random = random * 1664525u + 1013904223u;
        int i = (int)(random >> 8) % KEYS;
        if (random >> 31) {
            assert_int_equal(map_put(&map, key_of(text, i), &values[i]), ERR_OK);
            count += !present[i];
            present[i] = true;
        } else {
            void *removed = map_remove(&map, key_of(text, i));
            assert_ptr_equal(removed, present[i] ? &values[i] : NULL);
            count -= present[i];
            present[i] = false;
        }
    }
    assert_int_equal(map.live_count, count);
    for (int i = 0; i < KEYS; i++)
        assert_ptr_equal(map_get(&map, key_of(text, i)), present[i] ? &values[i] : NULL);
    size_t cursor = 0;
    size_t walked = 0;
    while (map_next(&map, &cursor))
        walked++;
    assert_int_equal(walked, count);
    map_fini(&map);
}

static void test_no_memory(void **state)
{
    (void)state;
    int value = 0;
    for (uint64_t k = 1;; k++) {
        struct map map;
        map_init(&map);
        mem_fail_at(k);
        enum err err = map_put(&map, BYTES_LITERAL("a"), &value);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        assert_ptr_equal(map_get(&map, BYTES_LITERAL("a")), failed ? NULL : &value);
        map_fini(&map);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_model),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
