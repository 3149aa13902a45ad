/* Emission and acknowledgement against a sink that plays the journal: it keeps what was submitted
 * and calls it durable when the test says so. */
#include "pipeline/ingest.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "pipeline/ingest_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* cmocka wants those four first */
#include <cmocka.h>

#define SHIPMENTS_MAX 4096

struct fixture {
    struct loop loop;
    struct account_book *book;
    struct ingest_loop *ingest;
    struct ingest_source *source;
    struct ingest_route *route;
    _Atomic uint64_t in_flight;

    struct shipment *submitted[SHIPMENTS_MAX];
    uint16_t flags[SHIPMENTS_MAX];
    uint64_t groups[SHIPMENTS_MAX];
    int submitted_count;
    int durable_count;
    bool busy;
    bool refuse;
    bool pause;

    uint64_t acknowledged;
    uint64_t acknowledged_block;
    int acknowledgements;
    int pauses;
    int asked; /* for one source */
    int resumes;
};

static enum err sink_submit(void *ctx, struct shipment *take_shipment, uint16_t flags,
                            uint64_t group)
{
    struct fixture *fixture = ctx;
    if (fixture->refuse)
        return ERR_NO_MEMORY;
    assert_true(fixture->submitted_count < SHIPMENTS_MAX);
    fixture->flags[fixture->submitted_count] = flags;
    fixture->groups[fixture->submitted_count] = group;
    take_shipment->block->number = (uint64_t)fixture->submitted_count + 1;
    fixture->submitted[fixture->submitted_count++] = take_shipment;
    return ERR_OK;
}

static bool sink_idle(void *ctx)
{
    const struct fixture *fixture = ctx;
    return !fixture->busy;
}

static bool sink_must_pause(void *ctx, const struct account *account)
{
    struct fixture *fixture = ctx;
    (void)account;
    fixture->asked++;
    return fixture->pause;
}

static bool sink_any_must_pause(void *ctx)
{
    const struct fixture *fixture = ctx;
    return fixture->pause;
}

static enum err sink_state_get(void *ctx, struct bytes source_id, struct bytes key,
                               struct buf *ret_value)
{
    (void)ctx;
    (void)source_id;
    return bytes_equal_text(key, "old") ? buf_text(ret_value, "recovered") : ERR_NOT_FOUND;
}

static void sink_identities(void *ctx, struct bytes source_id,
                            void (*on_identity)(void *ctx, uint16_t packet_identifier,
                                                uint64_t hash, uint64_t block, bool qos_2),
                            void *identity_ctx)
{
    (void)ctx;
    (void)source_id;
    on_identity(identity_ctx, 7, 77, 3, false);
}

static void on_durable(void *ctx, uint64_t sequence, uint64_t block_number)
{
    struct fixture *fixture = ctx;
    assert_true(sequence > fixture->acknowledged);
    fixture->acknowledged = sequence;
    fixture->acknowledged_block = block_number;
    fixture->acknowledgements++;
}

static void on_pause(void *ctx)
{
    ((struct fixture *)ctx)->pauses++;
}

static void on_resume(void *ctx)
{
    ((struct fixture *)ctx)->resumes++;
}

static const struct ingest_source_ops source_ops = {on_durable, on_pause, on_resume};

static void open_on_loop(void *ctx)
{
    struct fixture *fixture = ctx;
    struct route_view view = {
        .dataset_id = BYTES_LITERAL("source_topic"),
        .topic = BYTES_LITERAL("topic"),
        .field_count = 1,
        .fields = {{.name = BYTES_LITERAL("qos"), .type = FIELD_DOUBLE, .per_message = true}},
    };
    assert_int_equal(ingest_source_open(fixture->ingest, BYTES_LITERAL("source"),
                                        BYTES_LITERAL("mqtt"), &source_ops, fixture,
                                        &fixture->source),
                     ERR_OK);
    assert_int_equal(ingest_route_new(fixture->source, &view, &fixture->route), ERR_OK);
}

static void close_on_loop(void *ctx)
{
    struct fixture *fixture = ctx;
    ingest_route_free(fixture->route);
    if (fixture->source)
        ingest_source_close(fixture->source);
}

static void durable_on_loop(void *ctx)
{
    struct fixture *fixture = ctx;
    while (fixture->durable_count < fixture->submitted_count) {
        struct shipment *shipment = fixture->submitted[fixture->durable_count++];
        shipment->letter.run(&shipment->letter);
    }
}

static int set_up(void **state)
{
    struct fixture *fixture = mem_zalloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    const struct ingest_sink sink = {
        sink_submit,    sink_idle,       sink_must_pause, sink_any_must_pause,
        sink_state_get, sink_identities, fixture};
    assert_int_equal(loop_start(&fixture->loop, "test"), ERR_OK);
    assert_int_equal(account_book_new(&fixture->book), ERR_OK);
    const struct ingest_rule rule = {PARTITION_BY_ARRIVAL, 7};
    assert_int_equal(ingest_loop_new(&fixture->loop, &sink, &rule, fixture->book,
                                     &fixture->in_flight, &fixture->ingest),
                     ERR_OK);
    loop_call(&fixture->loop, open_on_loop, fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    loop_call(&fixture->loop, close_on_loop, fixture);
    ingest_loop_close(fixture->ingest);
    loop_call(&fixture->loop, durable_on_loop, fixture);
    loop_stop(&fixture->loop);
    ingest_loop_free(fixture->ingest);
    assert_int_equal(fixture->in_flight, 0);
    account_book_free(fixture->book);
    mem_free(fixture);
    return 0;
}

struct emission {
    struct fixture *fixture;
    int count;
    bool wants_acknowledgement;
    size_t payload_bytes;
    enum err err;
};

static void emit_on_loop(void *ctx)
{
    struct emission *emission = ctx;
    static uint8_t payload[64 * 1024];
    for (int i = 0; i < emission->count && emission->err == ERR_OK; i++) {
        uint64_t sequence;
        emission->err = ingest_emit(emission->fixture->route,
                                    &(struct ingest_message){
                                        .payload = bytes_from(payload, emission->payload_bytes),
                                        .arrival_us = 1000 + i,
                                        .wants_acknowledgement = emission->wants_acknowledgement,
                                    },
                                    &sequence);
    }
    ingest_end_of_read(emission->fixture->source);
}

static enum err emit(struct fixture *fixture, int count, bool wants_acknowledgement)
{
    struct emission emission = {fixture, count, wants_acknowledgement, 200, ERR_OK};
    loop_call(&fixture->loop, emit_on_loop, &emission);
    return emission.err;
}

static void test_idle_disk_gets_the_block_at_once(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(emit(fixture, 10, true), ERR_OK);
    struct route_view route;
    assert_int_equal(fixture->submitted_count, 1);
    assert_int_equal(fixture->submitted[0]->block->message_count, 10);
    block_route_get(fixture->submitted[0]->block, 0, &route);
    assert_int_equal(route.partition_by, PARTITION_BY_ARRIVAL);
    assert_int_equal(route.partition_window_hours, 7);
    assert_int_equal(fixture->acknowledged, 0); /* not before it is durable */
    loop_call(&fixture->loop, durable_on_loop, fixture);
    assert_int_equal(fixture->acknowledged, 10);
    assert_int_equal(fixture->acknowledgements, 1);
}

static void release_on_loop(void *ctx)
{
    struct emission *emission = ctx;
    uint64_t sequence = 0;
    emission->err = ingest_identity_release(emission->fixture->source, 7, &sequence);
    assert_int_equal(sequence, 3);
    ingest_end_of_read(emission->fixture->source);
}

/* A release is durable like a message, though it is none. */
static void test_release_is_acknowledged(void **state)
{
    struct fixture *fixture = *state;
    struct emission release = {.fixture = fixture};
    assert_int_equal(emit(fixture, 2, true), ERR_OK);
    loop_call(&fixture->loop, durable_on_loop, fixture);
    loop_call(&fixture->loop, release_on_loop, &release);
    assert_int_equal(release.err, ERR_OK);
    assert_int_equal(fixture->submitted_count, 2);
    assert_int_equal(fixture->submitted[1]->block->message_count, 0);
    assert_int_equal(fixture->acknowledged, 2);
    loop_call(&fixture->loop, durable_on_loop, fixture);
    assert_int_equal(fixture->acknowledged, 3);
}

static void test_busy_disk_collects(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(emit(fixture, 1, true), ERR_OK);
    fixture->busy = true;
    for (int i = 0; i < 100; i++)
        assert_int_equal(emit(fixture, 1, true), ERR_OK);
    assert_int_equal(fixture->submitted_count, 1);
    fixture->busy = false;
    loop_call(&fixture->loop, durable_on_loop, fixture);
    /* the first came back, and took what had gathered with it */
    assert_int_equal(fixture->submitted_count, 2);
    assert_int_equal(fixture->acknowledged, 101);
}

/* Intake has paused, and what sources still read does not open a block for each message. */
static void test_piled_up_blocks_collect(void **state)
{
    struct fixture *fixture = *state;
    atomic_fetch_add(&fixture->in_flight, LIMIT_BLOCKS_IN_FLIGHT_BYTES);
    for (int i = 0; i < 50; i++)
        assert_int_equal(emit(fixture, 1, true), ERR_OK);
    assert_true(fixture->submitted_count < 10); /* each would have found the disk idle */
    while (fixture->acknowledged < 50)
        loop_call(&fixture->loop, durable_on_loop, fixture);
    atomic_fetch_sub(&fixture->in_flight, LIMIT_BLOCKS_IN_FLIGHT_BYTES);
}

static void test_full_blocks_go_in_order(void **state)
{
    struct fixture *fixture = *state;
    struct account *account;
    struct account_totals totals;
    uint64_t last = 0;
    assert_int_equal(emit(fixture, 10000, true), ERR_OK);
    assert_true(fixture->submitted_count > 5);
    for (int i = 0; i < fixture->submitted_count; i++) {
        assert_true(fixture->submitted[i]->acks[0].sequence > last);
        last = fixture->submitted[i]->acks[0].sequence;
    }
    loop_call(&fixture->loop, durable_on_loop, fixture);
    assert_int_equal(fixture->acknowledged, 10000);
    assert_int_equal(account_get(fixture->book, BYTES_LITERAL("source"), &account), ERR_OK);
    account_totals_get(account, &totals);
    assert_int_equal(totals.received, 10000);
    assert_int_equal(totals.pending, 10000);
}

static void repeat_on_loop(void *ctx)
{
    struct fixture *fixture = ctx;
    ingest_count_repeated(fixture->route, 30);
    ingest_count_repeated(fixture->route, 12);
}

/* A repetition is received, under its dataset, and never stored. */
static void test_repetitions(void **state)
{
    struct fixture *fixture = *state;
    struct metrics *metrics;
    struct service_metrics *service;
    struct service_dataset dataset;
    struct account *account;
    struct account_totals totals;
    loop_call(&fixture->loop, repeat_on_loop, fixture); /* without metrics, too */
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    assert_int_equal(service_metrics_new(metrics,
                                         &(struct service_metrics_options){.pod = "p",
                                                                           .pod_namespace = "n",
                                                                           .version = "v",
                                                                           .partitions_max = 10,
                                                                           .book = fixture->book},
                                         &service),
                     ERR_OK);
    ingest_loop_metrics(fixture->ingest, service);
    loop_call(&fixture->loop, repeat_on_loop, fixture);
    assert_int_equal(service_metrics_dataset(service, BYTES_LITERAL("mqtt"),
                                             BYTES_LITERAL("source_topic"), &dataset),
                     ERR_OK);
    assert_int_equal(counter_get(dataset.received), 2);
    assert_int_equal(counter_get(dataset.mqtt_received), 2);
    assert_int_equal(counter_get(dataset.bytes_received), 42);
    assert_int_equal(counter_get(dataset.processed), 0);
    assert_int_equal(account_get(fixture->book, BYTES_LITERAL("source"), &account), ERR_OK);
    account_totals_get(account, &totals);
    assert_int_equal(totals.received, 4);
    assert_int_equal(totals.repeated, 4);
    assert_int_equal(totals.pending, 0);
    assert_int_equal(fixture->submitted_count, 0);
    metrics_free(metrics);
    service_metrics_free(service);
}

static void test_failed_block_is_not_acknowledged(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(emit(fixture, 5, true), ERR_OK);
    fixture->submitted[0]->failed = true;
    loop_call(&fixture->loop, durable_on_loop, fixture);
    assert_int_equal(fixture->acknowledgements, 0);
}

static void test_refused_block_stays_and_goes_later(void **state)
{
    struct fixture *fixture = *state;
    fixture->refuse = true;
    assert_int_equal(emit(fixture, 5, true), ERR_OK);
    assert_int_equal(fixture->submitted_count, 0);
    fixture->refuse = false;
    assert_int_equal(emit(fixture, 5, true), ERR_OK);
    assert_int_equal(fixture->submitted_count, 1);
    assert_int_equal(fixture->submitted[0]->block->message_count, 10);
}

struct group {
    struct fixture *fixture;
    int count;
};

static void group_on_loop(void *ctx)
{
    struct group *group = ctx;
    struct fixture *fixture = group->fixture;
    struct emission emission = {
        .fixture = fixture, .count = group->count, .payload_bytes = 60 * 1024};
    ingest_group_begin(fixture->source);
    emit_on_loop(&emission);
    assert_int_equal(emission.err, ERR_OK);
    assert_int_equal(ingest_state_put(fixture->source, BYTES_LITERAL("cursor"), BYTES_LITERAL("1")),
                     ERR_OK);
    ingest_group_end(fixture->source);
}

/* More than one block: all but the last say that more follows, and nothing goes before the end. */
static void test_group_of_blocks_is_one(void **state)
{
    struct fixture *fixture = *state;
    loop_call(&fixture->loop, group_on_loop, &(struct group){fixture, 20});
    int count = fixture->submitted_count;
    assert_true(count >= 4);
    assert_int_not_equal(fixture->groups[0], 0);
    for (int i = 0; i < count; i++) {
        assert_int_equal(fixture->groups[i], fixture->groups[0]);
        assert_int_equal(fixture->flags[i], i < count - 1 ? BLOCK_MORE : 0);
    }
    loop_call(&fixture->loop, durable_on_loop, fixture);
    assert_int_equal(fixture->acknowledged, 20);

    loop_call(&fixture->loop, group_on_loop, &(struct group){fixture, 6});
    assert_true(fixture->submitted_count > count);
    assert_int_not_equal(fixture->groups[count], fixture->groups[0]);
    loop_call(&fixture->loop, durable_on_loop, fixture);
}

/* One that fits needs no mark, and shares its block. */
static void test_small_group_needs_no_mark(void **state)
{
    struct fixture *fixture = *state;
    loop_call(&fixture->loop, group_on_loop, &(struct group){fixture, 1});
    loop_call(&fixture->loop, group_on_loop, &(struct group){fixture, 1});
    assert_int_equal(fixture->submitted_count, 0);
    assert_int_equal(emit(fixture, 1, true), ERR_OK);
    assert_int_equal(fixture->submitted_count, 1);
    assert_int_equal(fixture->flags[0], 0);
    assert_int_equal(fixture->groups[0], 0);
    loop_call(&fixture->loop, durable_on_loop, fixture);
}

/* The last block of a group cannot go at first: it goes later, as the group's last. */
static void refused_group_on_loop(void *ctx)
{
    struct fixture *fixture = ctx;
    struct emission emission = {.fixture = fixture, .count = 6, .payload_bytes = 60 * 1024};
    ingest_group_begin(fixture->source);
    emit_on_loop(&emission);
    assert_int_equal(fixture->submitted_count, 1);
    fixture->refuse = true;
    ingest_group_end(fixture->source);
    assert_int_equal(fixture->submitted_count, 1);
    fixture->refuse = false;
}

struct submitted_look {
    const struct fixture *fixture;
    int count;
};

static void submitted_on_loop(void *ctx)
{
    struct submitted_look *look = ctx;
    look->count = (int)look->fixture->submitted_count;
}

static void test_refused_end_of_group_goes_later(void **state)
{
    struct fixture *fixture = *state;
    loop_call(&fixture->loop, refused_group_on_loop, fixture);
    /* The loop's own timer brings the second one: only the loop may look at the count. */
    struct submitted_look look = {.fixture = fixture};
    while (look.count < 2)
        loop_call(&fixture->loop, submitted_on_loop, &look);
    assert_int_equal(fixture->flags[0], BLOCK_MORE);
    assert_int_equal(fixture->flags[1], 0);
    assert_int_equal(fixture->groups[1], fixture->groups[0]);
    loop_call(&fixture->loop, durable_on_loop, fixture);
    assert_int_equal(fixture->acknowledged, 6);
}

static void close_source_on_loop(void *ctx)
{
    struct fixture *fixture = ctx;
    ingest_source_close(fixture->source);
    fixture->source = NULL;
}

static void test_closed_source_hears_nothing(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(emit(fixture, 5, true), ERR_OK);
    loop_call(&fixture->loop, close_source_on_loop, fixture);
    loop_call(&fixture->loop, durable_on_loop, fixture);
    assert_int_equal(fixture->acknowledgements, 0);
}

static void test_pressure_pauses_once_and_resumes(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(emit(fixture, 1, true), ERR_OK);
    fixture->asked = 0;
    loop_call(&fixture->loop, durable_on_loop, fixture);
    assert_int_equal(emit(fixture, 1, true), ERR_OK);
    assert_int_equal(fixture->asked, 0); /* nothing presses */
    fixture->pause = true;
    assert_int_equal(emit(fixture, 1, true), ERR_OK);
    assert_int_equal(emit(fixture, 1, true), ERR_OK); /* what was read is still taken */
    assert_int_equal(fixture->pauses, 1);
    fixture->pause = false;
    loop_call(&fixture->loop, durable_on_loop, fixture);
    assert_int_equal(fixture->resumes, 1);
}

static void state_on_loop(void *ctx)
{
    struct fixture *fixture = ctx;
    struct buf value;
    buf_init(&value, 100);
    assert_int_equal(ingest_state_get(fixture->source, BYTES_LITERAL("old"), &value), ERR_OK);
    assert_string_equal(buf_cstr(&value), "recovered");
    buf_clear(&value);
    assert_int_equal(
        ingest_state_put(fixture->source, BYTES_LITERAL("old"), BYTES_LITERAL("newer")), ERR_OK);
    assert_int_equal(ingest_state_get(fixture->source, BYTES_LITERAL("old"), &value), ERR_OK);
    assert_string_equal(buf_cstr(&value), "newer");
    buf_clear(&value);
    assert_int_equal(ingest_state_get(fixture->source, BYTES_LITERAL("other"), &value),
                     ERR_NOT_FOUND);
    buf_fini(&value);
}

static void test_state(void **state)
{
    struct fixture *fixture = *state;
    loop_call(&fixture->loop, state_on_loop, fixture);
}

static void test_no_memory_takes_all_or_nothing(void **state)
{
    struct fixture *fixture = *state;
    uint64_t taken = 0;
    for (uint64_t k = 1; k < 12; k++) {
        mem_fail_at(k);
        enum err err = emit(fixture, 1, true);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_true(err == ERR_OK || (failed && err == ERR_NO_MEMORY));
        taken += err == ERR_OK;
    }
    loop_call(&fixture->loop, durable_on_loop, fixture);
    assert_int_equal(emit(fixture, 1, true), ERR_OK);
    loop_call(&fixture->loop, durable_on_loop, fixture);
    assert_int_equal(fixture->acknowledged, taken + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_idle_disk_gets_the_block_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_release_is_acknowledged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_busy_disk_collects, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_piled_up_blocks_collect, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_blocks_go_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_repetitions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failed_block_is_not_acknowledged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused_block_stays_and_goes_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_closed_source_hears_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pressure_pauses_once_and_resumes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_group_of_blocks_is_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_small_group_needs_no_mark, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused_end_of_group_goes_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_state, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory_takes_all_or_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
