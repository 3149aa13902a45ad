#include "pipeline/memory_gauge.h"

#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those four first */
#include <cmocka.h>

static void test_shares_leave_room_for_the_process(void **state)
{
    (void)state;
    for (uint64_t limit = 64 * MIB; limit <= 64 * GIB; limit *= 2) {
        struct memory_gauge gauge;
        memory_gauge_init(&gauge, limit);
        uint64_t shares = gauge.in_flight_max_bytes + gauge.batches_max_bytes +
                          gauge.landers_max_bytes + gauge.recent_max_bytes;
        assert_true(shares <= gauge.pause_bytes);
        assert_true(gauge.pause_bytes + MEMORY_GAUGE_BASE_BYTES + limit / 8 <= limit);
        /* what stays when nothing comes in lies below where sources go on */
        assert_true(gauge.waiting_pause_bytes + gauge.in_flight_max_bytes + gauge.recent_max_bytes <
                    gauge.resume_bytes);
    }
}

static void test_pause_and_resume_lie_apart(void **state)
{
    struct memory_gauge gauge;
    (void)state;
    memory_gauge_init(&gauge, 256 * MIB + MEMORY_GAUGE_BASE_BYTES);
    assert_false(memory_gauge_paused(&gauge));
    atomic_store(&gauge.batches_bytes, 180 * MIB);
    assert_false(memory_gauge_paused(&gauge));
    atomic_store(&gauge.recent_bytes, 13 * MIB);
    assert_true(memory_gauge_paused(&gauge));
    atomic_store(&gauge.batches_bytes, 150 * MIB);
    assert_true(memory_gauge_paused(&gauge));
    atomic_store(&gauge.batches_bytes, 140 * MIB);
    assert_false(memory_gauge_paused(&gauge));
    atomic_store(&gauge.batches_bytes, 150 * MIB);
    assert_false(memory_gauge_paused(&gauge));
}

static void test_what_waits_pauses_its_sources_first(void **state)
{
    struct memory_gauge gauge;
    (void)state;
    memory_gauge_init(&gauge, 256 * MIB + MEMORY_GAUGE_BASE_BYTES);
    atomic_store(&gauge.batches_bytes, 65 * MIB);
    atomic_store(&gauge.waiting_bytes, 65 * MIB);
    assert_true(memory_gauge_waiting(&gauge));
    assert_false(memory_gauge_paused(&gauge));
    assert_false(memory_gauge_replay_room(&gauge));
    atomic_store(&gauge.waiting_bytes, 50 * MIB);
    assert_true(memory_gauge_waiting(&gauge));
    atomic_store(&gauge.waiting_bytes, 40 * MIB);
    assert_false(memory_gauge_waiting(&gauge));
    assert_true(memory_gauge_replay_room(&gauge));
}

static void test_ranges_made_again_do_not_stop_the_replay(void **state)
{
    struct memory_gauge gauge;
    (void)state;
    memory_gauge_init(&gauge, 256 * MIB + MEMORY_GAUGE_BASE_BYTES);
    atomic_store(&gauge.batches_bytes, 300 * MIB);
    assert_false(memory_gauge_replay_room(&gauge));
    atomic_store(&gauge.redo_bytes, 200 * MIB);
    assert_true(memory_gauge_replay_room(&gauge));
    atomic_store(&gauge.in_flight_bytes, 33 * MIB);
    assert_false(memory_gauge_replay_room(&gauge));
}

static void test_what_the_process_takes_squeezes_the_batches(void **state)
{
    struct memory_gauge gauge;
    (void)state;
    memory_gauge_init(&gauge, 64 * MIB);
    memory_gauge_resident(&gauge, 56 * MIB);
    assert_int_equal(atomic_load(&gauge.squeeze_bytes), 0);
    memory_gauge_resident(&gauge, 58 * MIB);
    memory_gauge_resident(&gauge, 57 * MIB);
    assert_int_equal(atomic_load(&gauge.squeeze_bytes), 3 * MIB);
    memory_gauge_resident(&gauge, 640 * MIB);
    assert_int_equal(memory_gauge_recent_max(&gauge), gauge.recent_max_bytes / 4);
    assert_int_equal(memory_gauge_batches_less(&gauge), gauge.batches_max_bytes / 4 * 3);
    for (int i = 0; i < 1000; i++)
        memory_gauge_resident(&gauge, 56 * MIB);
    assert_true(atomic_load(&gauge.squeeze_bytes) < KIB);
    assert_int_equal(memory_gauge_batches_less(&gauge), 0);
    atomic_store(&gauge.fixed_bytes, gauge.recent_max_bytes); /* of very many datasets */
    assert_int_equal(memory_gauge_recent_max(&gauge), gauge.recent_max_bytes / 4);
    assert_in_range(memory_gauge_batches_less(&gauge), gauge.recent_max_bytes / 4,
                    gauge.recent_max_bytes / 4 + KIB);
}

static void test_stuck_lies_above_the_pause(void **state)
{
    struct memory_gauge gauge;
    struct memory_told told = {0};
    (void)state;
    memory_gauge_init(&gauge, 64 * MIB);
    assert_true(gauge.waiting_pause_bytes < gauge.batches_max_bytes);
    memory_gauge_tell(&gauge, &told, &(struct memory_told){16 * MIB, gauge.batches_max_bytes, 0});
    assert_false(memory_gauge_stuck(&gauge));
    memory_gauge_tell(&gauge, &told,
                      &(struct memory_told){16 * MIB, gauge.batches_max_bytes + 1, 0});
    assert_true(memory_gauge_stuck(&gauge));
    memory_gauge_tell(&gauge, &told, &(struct memory_told){0});
    assert_false(memory_gauge_stuck(&gauge));
    assert_int_equal(memory_gauge_bytes(&gauge), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_process_takes_squeezes_the_batches),
        cmocka_unit_test(test_stuck_lies_above_the_pause),
        cmocka_unit_test(test_shares_leave_room_for_the_process),
        cmocka_unit_test(test_pause_and_resume_lie_apart),
        cmocka_unit_test(test_what_waits_pauses_its_sources_first),
        cmocka_unit_test(test_ranges_made_again_do_not_stop_the_replay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
