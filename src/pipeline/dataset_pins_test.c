/* Very many new datasets in one worker: their columns are pinned together, and small batches close
 * at the pace of files also when memory is short. The worker is stepped; nothing waits. */
#include "pipeline/worker.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"
#include "support/fake_catalog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* cmocka wants those four first */
#include <cmocka.h>

#define DATASETS 200

struct fixture {
    struct fake_catalog catalog;
    struct account_book *book;
    struct flush_pace pace;
    struct worker *worker;
    _Atomic uint64_t in_flight;
    struct clock clock;
    int64_t now_ns;
    uint64_t block;
    uint64_t landed; /* messages */
    int cuts;
    uint64_t after; /* the last cut's range */
    uint64_t through;
    uint64_t landed_through;
};

static int64_t fixture_monotonic(void *ctx)
{
    return ((struct fixture *)ctx)->now_ns;
}

static int64_t fixture_realtime(void *ctx)
{
    return 1795521600000000 + ((struct fixture *)ctx)->now_ns / 1000;
}

static const struct clock_ops clock_ops = {.monotonic_ns = fixture_monotonic,
                                           .realtime_us = fixture_realtime};

static bool on_wanted(void *ctx, struct bytes dataset_id, uint64_t block, uint64_t *ret_redo_cut)
{
    (void)ctx, (void)dataset_id, (void)block;
    *ret_redo_cut = 0;
    return true;
}

static uint64_t on_through(void *ctx, struct bytes dataset_id)
{
    (void)dataset_id;
    return ((struct fixture *)ctx)->landed_through;
}

static enum err on_land(void *ctx, struct land_job *take_job)
{
    struct fixture *fixture = ctx;
    fixture->cuts++;
    fixture->landed += take_job->cut.stats.messages;
    fixture->after = take_job->after;
    fixture->through = take_job->through;
    land_job_free(take_job);
    return ERR_OK;
}

static void start(struct fixture *fixture, size_t memory_max_bytes)
{
    fixture->now_ns = 100000 * NS_PER_S;
    fixture->clock = (struct clock){.ops = &clock_ops, .ctx = fixture};
    const struct worker_options options = {
        .count = 1,
        .clock = &fixture->clock,
        .batch = {.catalog = &fixture->catalog.catalog,
                  .parquet = {.page_bytes = MIB, .page_rows = 20000, .created_by = "test"},
                  .journal_uuid = "00000000-0000-0000-0000-000000000000",
                  .row_group_rows = 1000000,
                  .row_group_bytes = 128 * MIB},
        .pace = &fixture->pace,
        .book = fixture->book,
        .flush_max_bytes = 64 * MIB,
        .memory_max_bytes = memory_max_bytes,
        .wanted = on_wanted,
        .landed_through = on_through,
        .filed_through = on_through,
        .land = on_land,
        .ctx = fixture,
    };
    flush_pace_init(&fixture->pace, 10, 50);
    assert_int_equal(worker_new(&options, &fixture->worker), ERR_OK);
}

static int set_up(void **state)
{
    struct fixture *fixture = mem_zalloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fake_catalog_init(&fixture->catalog);
    assert_int_equal(account_book_new(&fixture->book), ERR_OK);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    worker_free(fixture->worker);
    account_book_free(fixture->book);
    fake_catalog_fini(&fixture->catalog);
    mem_free(fixture);
    return 0;
}

static void message_add(struct block *block, int dataset, const char *payload)
{
    char id[32];
    struct buf encoded;
    uint32_t route;
    snprintf(id, sizeof(id), "dataset_%d", dataset);
    const struct route_view view = {.source_id = BYTES_LITERAL("source"),
                                    .dataset_id = bytes_from_text(id),
                                    .source_type = BYTES_LITERAL("mqtt"),
                                    .topic = BYTES_LITERAL("t"),
                                    .partition_window_hours = 24};
    buf_init(&encoded, 64 * KIB);
    assert_int_equal(route_encode(&view, &encoded), ERR_OK);
    assert_int_equal(
        block_add_route(block, buf_bytes(&encoded), hash_bytes(view.dataset_id), &route), ERR_OK);
    buf_fini(&encoded);
    const struct message_view message = {
        .payload = bytes_from_text(payload), .arrival_us = 1795521600000000, .route_index = route};
    assert_int_equal(block_add_message(block, &message), ERR_OK);
}

static void hand_over(struct fixture *fixture, struct block *block)
{
    struct shipment *shipment;
    assert_int_equal(shipment_new(block, &fixture->in_flight, &shipment), ERR_OK);
    worker_deliver(fixture->worker, shipment);
    shipment_unref(shipment);
    worker_step(fixture->worker);
}

/* A message of each. */
static void deliver(struct fixture *fixture, const char *payload)
{
    struct block *block;
    assert_int_equal(block_new(256 * KIB, &block), ERR_OK);
    block->number = ++fixture->block;
    for (int i = 0; i < DATASETS; i++)
        message_add(block, i, payload);
    hand_over(fixture, block);
}

static void steps(struct fixture *fixture, int seconds)
{
    for (int i = 0; i < seconds * 20; i++) {
        fixture->now_ns += NS_PER_S / 20;
        worker_step(fixture->worker);
    }
}

static void test_columns_are_pinned_together(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, 64 * MIB);
    deliver(fixture, "{\"a\":1,\"b\":\"x\"}");
    assert_int_equal(fixture->cuts, 0);
    steps(fixture, 20);
    assert_int_equal(fixture->landed, DATASETS);
    assert_in_range(fixture->catalog.pin_many_calls, 1, DATASETS / 50);
    assert_string_equal(fake_catalog_type(&fixture->catalog, "/a"), "DOUBLE");
    size_t pinned = fixture->catalog.count;
    deliver(fixture, "{\"b\":\"y\",\"c\":{\"d\":true}}"); /* what came along later is pinned too */
    steps(fixture, 20);
    assert_int_equal(fixture->landed, 2 * DATASETS);
    assert_int_equal(fixture->catalog.count, pinned + 2 * (size_t)DATASETS);
    assert_in_range(fixture->catalog.pin_many_calls, 2, 2 * DATASETS / 50);
}

static void test_what_cannot_be_pinned_together_is_pinned_alone(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, 64 * MIB);
    fixture->catalog.pin_many_fails = true;
    deliver(fixture, "{\"a\":1,\"b\":\"x\"}");
    steps(fixture, 20);
    assert_int_equal(fixture->landed, DATASETS);
    assert_int_equal(fixture->catalog.pin_calls, DATASETS);
}

static void test_small_ones_keep_the_pace_when_memory_is_short(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, 1);
    deliver(fixture, "{\"a\":1,\"b\":\"x\"}");
    for (int i = 0; i < 40; i++)
        worker_step(fixture->worker);
    assert_in_range(fixture->cuts, 40, 60); /* a second's worth */
    steps(fixture, 5);
    assert_int_equal(fixture->landed, DATASETS);
}

/* It is not given up while its cut is on the way: what is landed does not say yet where the next
 * range begins. */
static void test_ranges_do_not_overlap(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, 1);
    for (uint64_t number = 1; number <= 4; number++) {
        struct block *block;
        fixture->landed_through = number == 4 ? 3 : 0;
        assert_int_equal(block_new(64 * KIB, &block), ERR_OK);
        block->number = number;
        message_add(block, 0, "{\"a\":1}");
        hand_over(fixture, block);
        assert_int_equal(fixture->cuts, number);
        assert_int_equal(fixture->through, number);
        assert_int_equal(fixture->after, number - 1);
    }
}

static void test_large_ones_do_not(void **state)
{
    struct fixture *fixture = *state;
    static char payload[70000];
    start(fixture, 1);
    int64_t wait_ns;
    while (flush_pace_take_early(&fixture->pace, fixture->now_ns, &wait_ns))
        continue;
    memset(payload, ' ', sizeof(payload) - 1);
    payload[0] = '{';
    payload[sizeof(payload) - 2] = '}';
    struct block *block;
    assert_int_equal(block_new(256 * KIB, &block), ERR_OK);
    block->number = ++fixture->block;
    message_add(block, 0, payload);
    message_add(block, 1, "{\"a\":1}");
    hand_over(fixture, block);
    assert_int_equal(fixture->cuts, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_columns_are_pinned_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_pinned_together_is_pinned_alone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_small_ones_keep_the_pace_when_memory_is_short, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_large_ones_do_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ranges_do_not_overlap, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
