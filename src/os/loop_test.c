#include "os/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those four first */
#include <cmocka.h>

struct numbered {
    struct letter letter;
    int number;
    int *seen;
    int *seen_count;
};

static void numbered_run(struct letter *letter)
{
    struct numbered *numbered = (struct numbered *)letter;
    numbered->seen[(*numbered->seen_count)++] = numbered->number;
}

static void count_read(void *ctx)
{
    (void)ctx;
}

static void test_letters_arrive_in_order(void **state)
{
    (void)state;
    struct loop loop;
    struct numbered letters[100];
    int seen[100];
    int seen_count = 0;
    assert_int_equal(loop_start(&loop, "test"), ERR_OK);
    for (int i = 0; i < 100; i++) {
        letters[i] = (struct numbered){{.run = numbered_run}, i, seen, &seen_count};
        loop_post(&loop, &letters[i].letter);
    }
    loop_call(&loop, count_read, NULL);
    assert_int_equal(seen_count, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(seen[i], i);
    loop_stop(&loop);
}

static void test_stop_runs_what_was_posted(void **state)
{
    (void)state;
    struct loop loop;
    int seen[1];
    int seen_count = 0;
    struct numbered letter = {{.run = numbered_run}, 7, seen, &seen_count};
    assert_int_equal(loop_start(&loop, "test"), ERR_OK);
    loop_post(&loop, &letter.letter);
    loop_stop(&loop);
    assert_int_equal(seen_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_letters_arrive_in_order),
        cmocka_unit_test(test_stop_runs_what_was_posted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
