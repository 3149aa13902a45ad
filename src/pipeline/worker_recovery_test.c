/* What a worker makes of the blocks that recovery brings. */
#include "pipeline/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those four first */
#include <cmocka.h>

#include "support/worker_rig.h"

static void test_recovery_skips_what_has_landed(void **state)
{
    struct fixture *fixture = *state;
    struct account *account;
    struct account_totals totals;
    fixture->wanted_above = 5;
    start(fixture, 3600, 64 * MIB, 64 * MIB);
    for (int i = 0; i < 8; i++)
        deliver(fixture, two, 1, 10, true);
    assert_true(stop(fixture));
    assert_int_equal(fixture->job_count, 1);
    assert_int_equal(fixture->jobs[0]->after, 5);
    assert_int_equal(fixture->jobs[0]->through, 8);
    assert_int_equal(fixture->jobs[0]->cut.stats.messages, 30);
    assert_int_equal(account_get(fixture->book, BYTES_LITERAL("source"), &account), ERR_OK);
    account_totals_get(account, &totals);
    assert_int_equal(totals.received, 30);
}

/* Neither size nor memory nor age may cut a range that is made again in the middle. */
static void test_a_range_made_again_is_cut_apart_and_whole(void **state)
{
    struct fixture *fixture = *state;
    fixture->wanted_above = 5;
    fixture->redo_from = 2;
    fixture->redo_through = 3;
    fixture->redo_cut = 42;
    start(fixture, 0, 1, 1);
    for (int i = 0; i < 8; i++)
        deliver(fixture, two, 1, 10, true);
    worker_end_of_recovery(fixture->worker);
    assert_true(stop(fixture));
    assert_int_equal(fixture->job_count, 4);
    assert_int_equal(fixture->jobs[0]->redo_cut, 42);
    assert_int_equal(fixture->jobs[0]->cut.stats.first.block, 2);
    assert_int_equal(fixture->jobs[0]->through, 3);
    assert_int_equal(fixture->jobs[0]->cut.stats.messages, 20);
    assert_int_equal(fixture->jobs[1]->redo_cut, 0);
    assert_int_equal(fixture->jobs[1]->after, 5);
    assert_int_equal(fixture->jobs[3]->through, 8);
}

/* Kills closer together than the interval: what each start finds in the journal is as old as it is,
 * and does not begin to wait anew. */
static void test_recovered_batches_keep_their_age(void **state)
{
    struct fixture *fixture = *state;
    worker_rig_make(fixture, 3600, 64 * MIB, 64 * MIB);
    fixture->arrival_us = clock_realtime_us(&clock_system) - 7200000000;
    deliver(fixture, &two[0], 1, 10, true);
    deliver(fixture, &two[0], 1, 10, true);
    worker_step(fixture->worker);
    assert_int_equal(fixture->job_count, 0); /* more of it may come */
    fixture->arrival_us = clock_realtime_us(&clock_system);
    deliver(fixture, &two[1], 1, 10, true);
    worker_end_of_recovery(fixture->worker);
    worker_step(fixture->worker);
    assert_int_equal(fixture->job_count, 1);
    assert_int_equal(messages_of(fixture, two[0]), 20);
    deliver(fixture, &two[0], 1, 10, false); /* a batch of its own, and young */
    worker_step(fixture->worker);
    assert_int_equal(fixture->job_count, 1);
}

/* After days down all is overdue, and still no more files close at once than may. */
static void test_recovered_batches_keep_the_pace(void **state)
{
    struct fixture *fixture = *state;
    worker_rig_make(fixture, 60, 64 * MIB, 64 * MIB);
    fixture->arrival_us = clock_realtime_us(&clock_system) - 3 * 86400000000;
    deliver(fixture, two, 2, 10, true);
    int64_t wait_ns, now_ns = clock_monotonic_ns(&clock_system);
    flush_pace_charge(&fixture->pace, 100000, now_ns);
    while (flush_pace_take_early(&fixture->pace, now_ns, &wait_ns))
        continue; /* the turns that are left */
    worker_end_of_recovery(fixture->worker);
    worker_step(fixture->worker);
    assert_int_equal(fixture->job_count, 0);
}

/* A dataset's second route is not reached: what it has of the block must not be cut, or its range
 * would end behind messages that are not in it. */
static void test_a_block_left_in_its_middle_is_not_cut(void **state)
{
    static const struct {
        const char *source, *dataset;
    } routes[] = {{"one", "source_a"}, {"one", "source_b"}, {"two", "source_a"}};
    struct fixture *fixture = *state;
    struct block *block;
    struct shipment *shipment;
    worker_rig_make(fixture, 0, 1, 64 * MIB);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    block->number = 1;
    for (uint32_t i = 0, route; i < 3; i++) {
        source_route_add(block, routes[i].source, routes[i].dataset, &route);
        block->routes[route].dataset_hash = 7; /* of one bucket */
        const struct message_view message = {.payload = BYTES_LITERAL("{\"a\":1}"),
                                             .arrival_us = 1795521600000000,
                                             .route_index = route};
        assert_int_equal(block_add_message(block, &message), ERR_OK);
    }
    assert_int_equal(shipment_new(block, &fixture->in_flight, &shipment), ERR_OK);
    shipment->recovered = true;
    worker_deliver(fixture->worker, shipment);
    shipment_unref(shipment);
    fixture->leave_at = "source_b";
    worker_step(fixture->worker);
    assert_true(mem_failed());
    mem_fail_at(0);
    assert_int_equal(fixture->job_count, 0);
    assert_false(stop(fixture));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_recovery_skips_what_has_landed),
        TEST(test_a_range_made_again_is_cut_apart_and_whole),
        TEST(test_recovered_batches_keep_their_age),
        TEST(test_recovered_batches_keep_the_pace),
        TEST(test_a_block_left_in_its_middle_is_not_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
