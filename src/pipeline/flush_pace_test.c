#include "pipeline/flush_pace.h"

#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* cmocka wants those four first */
#include <cmocka.h>

static void test_due_at_the_interval(void **state)
{
    (void)state;
    struct flush_pace pace;
    int64_t wait_ns = 0;
    flush_pace_init(&pace, 10, 50);
    assert_false(flush_pace_take(&pace, 0, 4 * NS_PER_S, &wait_ns));
    assert_int_equal(wait_ns, 6 * NS_PER_S);
    assert_true(flush_pace_take(&pace, 0, 10 * NS_PER_S, &wait_ns));
}

static void test_many_datasets_close_at_most_at_the_rate(void **state)
{
    (void)state;
    struct flush_pace pace;
    flush_pace_init(&pace, 10, 50);
    uint64_t closed = 0;
    for (int64_t now_ns = 20 * NS_PER_S; now_ns < 120 * NS_PER_S; now_ns += NS_PER_MS) {
        int64_t wait_ns;
        while (flush_pace_take(&pace, 0, now_ns, &wait_ns))
            closed++;
    }
    assert_in_range(closed, 100 * 50, 100 * 50 + 2 * 50);
}

static void test_an_hour_is_the_most(void **state)
{
    (void)state;
    struct flush_pace pace;
    int64_t wait_ns;
    int64_t now_ns = 3601 * NS_PER_S;
    flush_pace_init(&pace, 10, 1);
    flush_pace_charge(&pace, 100000, now_ns);
    assert_true(flush_pace_take(&pace, 0, now_ns, &wait_ns));
    assert_false(flush_pace_take(&pace, now_ns - 20 * NS_PER_S, now_ns, &wait_ns));
}

static void test_a_lagging_store_stretches_the_age(void **state)
{
    (void)state;
    struct flush_pace pace;
    int64_t wait_ns = 0;
    flush_pace_init(&pace, 10, 50);
    flush_pace_set_upload_lag(&pace, 59 * NS_PER_S);
    assert_true(flush_pace_take(&pace, 0, 10 * NS_PER_S, &wait_ns));
    flush_pace_set_upload_lag(&pace, 120 * NS_PER_S);
    assert_false(flush_pace_take(&pace, 0, 119 * NS_PER_S, &wait_ns));
    assert_true(flush_pace_take(&pace, 0, 120 * NS_PER_S, &wait_ns));
}

/* Batches that are cut in turn; a cut across a full hour makes two files. */
struct round {
    struct flush_pace pace;
    int64_t *opened_ns;
    size_t batches;
    size_t first; /* of the oldest */
    int64_t age_max_ns;
};

static uint64_t second_cut(struct round *round, int64_t now_ns)
{
    uint64_t files = 0;
    int64_t wait_ns;
    int64_t hour_ns = now_ns - now_ns % (3600 * NS_PER_S);
    for (int64_t at_ns = now_ns; at_ns < now_ns + NS_PER_S; at_ns += 5 * NS_PER_MS) {
        int64_t *opened_ns = &round->opened_ns[round->first];
        if (!flush_pace_take(&round->pace, *opened_ns, at_ns, &wait_ns))
            continue;
        bool both = *opened_ns < hour_ns;
        flush_pace_charge(&round->pace, both, at_ns);
        files += both ? 2 : 1;
        if (at_ns - *opened_ns > round->age_max_ns)
            round->age_max_ns = at_ns - *opened_ns;
        *opened_ns = at_ns;
        round->first = (round->first + 1) % round->batches;
    }
    return files;
}

static uint64_t most_in_a_minute(size_t batches, int64_t *ret_age_max_ns)
{
    struct round round = {.batches = batches, .opened_ns = calloc(batches, sizeof(int64_t))};
    uint64_t most = 0;
    int64_t from_ns = 36000 * NS_PER_S + 1000 * NS_PER_S;
    assert_non_null(round.opened_ns);
    flush_pace_init(&round.pace, 10, 50);
    for (size_t i = 0; i < batches; i++)
        round.opened_ns[i] = from_ns + (int64_t)i * NS_PER_MS / 2;
    for (int64_t second = 50; second < 4 * 3600; second += 60) {
        uint64_t files = 0;
        flush_pace_set_open(&round.pace, batches);
        for (int64_t i = 0; i < 60; i++)
            files += second_cut(&round, from_ns + (second + i) * NS_PER_S);
        most = files > most ? files : most;
    }
    *ret_age_max_ns = round.age_max_ns;
    free(round.opened_ns);
    return most;
}

static void test_full_hours_make_no_bursts(void **state)
{
    int64_t age_max_ns;
    (void)state;
    assert_in_range(most_in_a_minute(50000, &age_max_ns), 49 * 60, 52 * 60);
    assert_true(age_max_ns < 3600 * NS_PER_S);
    /* an hour would not do at 50 a second: 100,000 cuts in 3,300 s, two files each */
    assert_in_range(most_in_a_minute(100000, &age_max_ns), 60 * 60, 62 * 60);
    assert_true(age_max_ns < 3600 * NS_PER_S);
}

static void test_early_ones_keep_the_pace(void **state)
{
    (void)state;
    struct flush_pace pace;
    int64_t now_ns = 10000 * NS_PER_S;
    int64_t wait_ns = 0;
    uint64_t closed = 0;
    flush_pace_init(&pace, 10, 50);
    for (; now_ns < 10010 * NS_PER_S; now_ns += NS_PER_MS)
        while (flush_pace_take_early(&pace, now_ns, &wait_ns))
            closed++;
    assert_in_range(closed, 10 * 50, 10 * 50 + 2 * 50);
    assert_in_range(wait_ns, 1, NS_PER_S / 50 + 1);
    flush_pace_charge(&pace, 1000, now_ns);
    assert_false(flush_pace_take_early(&pace, now_ns, &wait_ns));
    /* others' files do not keep many batches waiting for ever */
    flush_pace_set_open(&pace, 33000);
    assert_true(flush_pace_take_early(&pace, now_ns + NS_PER_S / 5, &wait_ns));
    assert_false(flush_pace_take_early(&pace, now_ns + NS_PER_S / 5, &wait_ns) &&
                 flush_pace_take_early(&pace, now_ns + NS_PER_S / 5, &wait_ns));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_due_at_the_interval),
        cmocka_unit_test(test_many_datasets_close_at_most_at_the_rate),
        cmocka_unit_test(test_an_hour_is_the_most),
        cmocka_unit_test(test_a_lagging_store_stretches_the_age),
        cmocka_unit_test(test_full_hours_make_no_bursts),
        cmocka_unit_test(test_early_ones_keep_the_pace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
