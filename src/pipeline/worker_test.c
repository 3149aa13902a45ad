/* A worker against a catalog that can be away and a lander that keeps what it is given. */
#include "pipeline/worker.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"
#include "os/thread.h"
#include "support/fake_catalog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* cmocka wants those four first */
#include <cmocka.h>

#define JOBS_MAX 1000

struct fixture {
    struct fake_catalog catalog;
    struct account_book *book;
    struct service_metrics *metrics; /* NULL but in the test of it */
    struct flush_pace pace;
    struct memory_gauge memory;
    struct worker *worker;
    _Atomic uint64_t in_flight;
    struct mutex lock;
    struct condition landed;
    struct land_job *jobs[JOBS_MAX];
    int job_count;
    bool land_stopped;
    _Atomic bool hold;
    _Atomic bool held;
    uint64_t wanted_above; /* recovered blocks: wanted above this number */
    uint64_t redo_from, redo_through, redo_cut;
    uint64_t next_block;
    int64_t arrival_us; /* 0: some time or other */
};

static bool on_wanted(void *ctx, struct bytes dataset_id, uint64_t block, uint64_t *ret_redo_cut)
{
    struct fixture *fixture = ctx;
    (void)dataset_id;
    mutex_lock(&fixture->lock);
    while (fixture->hold) { /* the worker is stuck */
        fixture->held = true;
        condition_wait_for(&fixture->landed, &fixture->lock, NS_PER_MS);
    }
    mutex_unlock(&fixture->lock);
    *ret_redo_cut = 0;
    if (fixture->redo_cut != 0 && block >= fixture->redo_from && block <= fixture->redo_through) {
        *ret_redo_cut = fixture->redo_cut;
        return true;
    }
    return block > fixture->wanted_above;
}

static uint64_t on_landed_through(void *ctx, struct bytes dataset_id)
{
    const struct fixture *fixture = ctx;
    (void)dataset_id;
    return fixture->wanted_above;
}

static enum err on_land(void *ctx, struct land_job *take_job)
{
    struct fixture *fixture = ctx;
    mutex_lock(&fixture->lock);
    bool stopped = fixture->land_stopped;
    if (!stopped) {
        assert_true(fixture->job_count < JOBS_MAX);
        fixture->jobs[fixture->job_count++] = take_job;
        condition_signal(&fixture->landed);
    }
    mutex_unlock(&fixture->lock);
    return stopped ? ERR_STOPPED : ERR_OK;
}

static void make(struct fixture *fixture, uint32_t interval_seconds, uint64_t flush_max_bytes,
                 size_t memory_max_bytes)
{
    flush_pace_init(&fixture->pace, interval_seconds, 50);
    assert_int_equal(worker_new(
                         &(struct worker_options){
                             .count = 1,
                             .clock = &clock_system,
                             .batch = {.catalog = &fixture->catalog.catalog,
                                       .parquet = {.codec = PARQUET_NONE,
                                                   .page_bytes = MIB,
                                                   .page_rows = 20000,
                                                   .created_by = "test"},
                                       .journal_uuid = "00000000-0000-0000-0000-000000000000",
                                       .row_group_rows = 1000000,
                                       .row_group_bytes = 128 * MIB},
                             .pace = &fixture->pace,
                             .book = fixture->book,
                             .metrics = fixture->metrics,
                             .flush_max_bytes = flush_max_bytes,
                             .memory_max_bytes = memory_max_bytes,
                             .memory = &fixture->memory,
                             .wanted = on_wanted,
                             .landed_through = on_landed_through,
                             .filed_through = on_landed_through,
                             .land = on_land,
                             .ctx = fixture,
                         },
                         &fixture->worker),
                     ERR_OK);
}

static void start(struct fixture *fixture, uint32_t interval_seconds, uint64_t flush_max_bytes,
                  size_t memory_max_bytes)
{
    make(fixture, interval_seconds, flush_max_bytes, memory_max_bytes);
    assert_int_equal(worker_start(fixture->worker), ERR_OK);
}

static int set_up(void **state)
{
    struct fixture *fixture = mem_zalloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fake_catalog_init(&fixture->catalog);
    fixture->memory.batches_max_bytes = 64 * MIB;
    assert_int_equal(account_book_new(&fixture->book), ERR_OK);
    mutex_init(&fixture->lock);
    condition_init(&fixture->landed);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    worker_free(fixture->worker);
    for (int i = 0; i < fixture->job_count; i++)
        land_job_free(fixture->jobs[i]);
    assert_int_equal(fixture->in_flight, 0);
    account_book_free(fixture->book);
    fake_catalog_fini(&fixture->catalog);
    condition_fini(&fixture->landed);
    mutex_fini(&fixture->lock);
    mem_free(fixture);
    return 0;
}

static void source_route_add(struct block *block, const char *source, const char *dataset,
                             uint32_t *ret_index)
{
    struct buf encoded;
    const struct route_view view = {.source_id = bytes_from_text(source),
                                    .dataset_id = bytes_from_text(dataset),
                                    .source_type = BYTES_LITERAL("mqtt"),
                                    .topic = BYTES_LITERAL("t"),
                                    .partition_window_hours = 24};
    buf_init(&encoded, 64 * 1024);
    assert_int_equal(route_encode(&view, &encoded), ERR_OK);
    const uint64_t hash = hash_bytes(view.dataset_id);
    assert_int_equal(block_add_route(block, buf_bytes(&encoded), hash, ret_index), ERR_OK);
    block->routes[*ret_index].serial = hash_bytes(buf_bytes(&encoded)) | 1;
    buf_fini(&encoded);
}

static void route_add(struct block *block, const char *dataset, uint32_t *ret_index)
{
    source_route_add(block, "source", dataset, ret_index);
}

/* A durable block with count messages for each of the datasets named. */
static void deliver(struct fixture *fixture, const char *const *datasets, int dataset_count,
                    int count, bool recovered)
{
    struct block *block;
    struct shipment *shipment;
    assert_int_equal(block_new(64 * 1024, &block), ERR_OK);
    block->number = ++fixture->next_block;
    for (int d = 0; d < dataset_count; d++) {
        uint32_t route;
        route_add(block, datasets[d], &route);
        for (int i = 0; i < count; i++) {
            char payload[64];
            int size = snprintf(payload, sizeof(payload), "{\"block\":%d,\"i\":%d}",
                                (int)block->number, i);
            assert_int_equal(
                block_add_message(
                    block,
                    &(struct message_view){.payload = bytes_from(payload, (size_t)size),
                                           .arrival_us = fixture->arrival_us ? fixture->arrival_us
                                                                             : 1795521600000000,
                                           .route_index = route}),
                ERR_OK);
        }
    }
    assert_int_equal(shipment_new(block, &fixture->in_flight, &shipment), ERR_OK);
    shipment->recovered = recovered;
    worker_deliver(fixture->worker, shipment);
    shipment_unref(shipment);
}

static void wait_for_jobs(struct fixture *fixture, int count)
{
    mutex_lock(&fixture->lock);
    while (fixture->job_count < count)
        condition_wait(&fixture->landed, &fixture->lock);
    mutex_unlock(&fixture->lock);
}

static void a_moment(struct fixture *fixture)
{
    mutex_lock(&fixture->lock);
    condition_wait_for(&fixture->landed, &fixture->lock, NS_PER_MS);
    mutex_unlock(&fixture->lock);
}

static bool stop(struct fixture *fixture)
{
    return worker_stop(fixture->worker, clock_monotonic_ns(&clock_system) + 60 * NS_PER_S);
}

static uint64_t messages_of(const struct fixture *fixture, const char *dataset)
{
    uint64_t messages = 0;
    uint64_t through = 0;
    for (int i = 0; i < fixture->job_count; i++) {
        const struct land_job *job = fixture->jobs[i];
        if (!bytes_equal_text(bytes_from(job->dataset_id, job->dataset_id_size), dataset))
            continue;
        assert_int_equal(job->after, through); /* no gap, no overlap */
        assert_true(job->through > job->after);
        through = job->through;
        messages += job->cut.stats.messages;
    }
    return messages;
}

static const char *const two[] = {"source_a", "source_b"};

static void test_stop_cuts_everything(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, 3600, 64 * MIB, 64 * MIB);
    for (int i = 0; i < 20; i++)
        deliver(fixture, two, 2, 10, false);
    assert_true(stop(fixture));
    assert_int_equal(fixture->job_count, 2);
    assert_int_equal(messages_of(fixture, two[0]), 200);
    assert_int_equal(messages_of(fixture, two[1]), 200);
}

static void test_size_closes_a_batch(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, 3600, 1000, 64 * MIB);
    for (int i = 0; i < 20; i++)
        deliver(fixture, two, 2, 30, false);
    wait_for_jobs(fixture, 4);
    assert_true(stop(fixture));
    assert_int_equal(messages_of(fixture, two[0]), 600);
    assert_int_equal(messages_of(fixture, two[1]), 600);
}

static void test_age_closes_a_batch(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, 0, 64 * MIB, 64 * MIB);
    deliver(fixture, two, 2, 1, false);
    wait_for_jobs(fixture, 2);
    assert_true(stop(fixture));
}

static void test_force_closes_a_batch(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, 3600, 64 * MIB, 64 * MIB);
    deliver(fixture, two, 2, 1, false);
    do { /* the order may come before the block is worked on */
        worker_force(fixture->worker, hash_bytes(bytes_from_text(two[1])));
        mutex_lock(&fixture->lock);
        condition_wait_for(&fixture->landed, &fixture->lock, 10 * NS_PER_MS);
        mutex_unlock(&fixture->lock);
    } while (fixture->job_count == 0);
    assert_int_equal(fixture->job_count, 1);
    assert_int_equal(messages_of(fixture, two[1]), 1);
    assert_true(stop(fixture));
}

static void test_memory_closes_the_largest(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, 3600, 64 * MIB, 1);
    deliver(fixture, two, 2, 10, false);
    wait_for_jobs(fixture, 2);
    assert_true(stop(fixture));
    assert_int_equal(messages_of(fixture, two[0]), 10);
}

static void test_database_away_loses_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct worker_stats stats;
    fixture->catalog.away = true;
    start(fixture, 0, 64 * MIB, 64 * MIB);
    deliver(fixture, two, 2, 10, false);
    do {
        worker_stats_get(fixture->worker, &stats);
    } while (stats.postponed_reason[0] == '\0');
    assert_int_equal(fixture->job_count, 0);
    fixture->catalog.away = false;
    wait_for_jobs(fixture, 2);
    deliver(fixture, two, 2, 10, false);
    assert_true(stop(fixture));
    assert_int_equal(messages_of(fixture, two[0]), 20);
    assert_int_equal(messages_of(fixture, two[1]), 20);
}

/* Each message opens a batch that waits: what is still in the queue stays there. */
static void test_what_waits_keeps_more_from_coming_in(void **state)
{
    struct fixture *fixture = *state;
    fixture->catalog.away = true;
    fixture->memory.batches_max_bytes = 64 * KIB;
    start(fixture, 3600, 64 * MIB, 64 * KIB);
    for (int i = 0; i < 200; i++) {
        char name[32];
        snprintf(name, sizeof(name), "source_%d", i);
        deliver(fixture, (const char *[]){name}, 1, 1, false);
    }
    for (int i = 0; i < 100 || !memory_gauge_stuck(&fixture->memory); i++)
        a_moment(fixture); /* it would be through in the first of them */
    assert_true(atomic_load(&fixture->memory.batches_bytes) < 256 * KIB);
    fixture->catalog.away = false;
    assert_true(stop(fixture));
    assert_int_equal(fixture->job_count, 200);
}

static uint64_t account_waiting(struct fixture *fixture)
{
    struct account *account;
    assert_int_equal(account_get(fixture->book, BYTES_LITERAL("source"), &account), ERR_OK);
    return atomic_load(&account->waiting_bytes);
}

/* What pauses a source: the memory of its datasets that cannot be cut now. */
static void test_what_waits_is_told(void **state)
{
    struct fixture *fixture = *state;
    fixture->catalog.away = true;
    start(fixture, 0, 64 * MIB, 64 * MIB);
    deliver(fixture, two, 2, 10, false);
    while (atomic_load(&fixture->memory.waiting_bytes) == 0 ||
           atomic_load(&fixture->memory.waiting_bytes) !=
               atomic_load(&fixture->memory.batches_bytes) ||
           account_waiting(fixture) != atomic_load(&fixture->memory.waiting_bytes))
        a_moment(fixture);
    fixture->catalog.away = false;
    wait_for_jobs(fixture, 2);
    assert_true(stop(fixture));
    assert_int_equal(atomic_load(&fixture->memory.waiting_bytes), 0);
    assert_int_equal(account_waiting(fixture), 0);
    assert_int_equal(messages_of(fixture, two[0]), 10);
}

/* The largest may not be cut, and does not keep the others in memory. */
static void test_memory_closes_others_than_what_waits(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, 3600, 64 * MIB, 256 * KIB);
    deliver(fixture, &two[1], 1, 1, false);
    do {
        worker_force(fixture->worker, hash_bytes(bytes_from_text(two[1])));
        a_moment(fixture);
    } while (fixture->job_count == 0); /* its columns are known now */
    deliver(fixture, &two[1], 1, 1, false);
    fixture->catalog.away = true;
    for (int i = 0; i < 40; i++)
        deliver(fixture, &two[0], 1, 200, false);
    while (atomic_load(&fixture->memory.waiting_bytes) < 256 * KIB)
        a_moment(fixture);
    for (int i = 0; i < 40; i++)
        deliver(fixture, &two[1], 1, 200, false);
    wait_for_jobs(fixture, 3);
    fixture->catalog.away = false;
    assert_true(stop(fixture));
    assert_int_equal(messages_of(fixture, two[0]), 8000);
    assert_int_equal(messages_of(fixture, two[1]), 8002);
}

/* Alive while it has nothing to do and while it waits for the catalog; not while it is stuck. */
static void test_tells_that_it_is_alive(void **state)
{
    struct fixture *fixture = *state;
    fixture->catalog.away = true;
    start(fixture, 0, 64 * MIB, 64 * MIB);
    for (int i = 0; i < 3; i++) {
        int64_t alive_ns = worker_alive_ns(fixture->worker);
        while (worker_alive_ns(fixture->worker) <= alive_ns)
            a_moment(fixture);
        if (i == 0)
            deliver(fixture, two, 2, 10, false);
    }
    fixture->hold = true;
    deliver(fixture, two, 2, 10, true);
    while (!fixture->held)
        a_moment(fixture);
    int64_t alive_ns = worker_alive_ns(fixture->worker);
    a_moment(fixture);
    assert_int_equal(worker_alive_ns(fixture->worker), alive_ns);
    assert_true(alive_ns > 0);
    fixture->hold = false;
    while (worker_alive_ns(fixture->worker) == alive_ns)
        a_moment(fixture);
    fixture->catalog.away = false;
    assert_true(stop(fixture));
    assert_int_equal(worker_alive_ns(fixture->worker), 0);
}

/* Two sources with one dataset: each gets what it brought, rejected ones too. */
static void test_each_source_is_accounted(void **state)
{
    struct fixture *fixture = *state;
    static const char *const sources[] = {"source", "other"};
    struct block *block;
    struct shipment *shipment;
    start(fixture, 3600, 64 * MIB, 64 * MIB);
    assert_int_equal(block_new(64 * 1024, &block), ERR_OK);
    block->number = ++fixture->next_block;
    for (int i = 0; i < 2; i++) {
        uint32_t route;
        source_route_add(block, sources[i], two[0], &route);
        for (int k = 0; k < 3 + 4 * i; k++)
            assert_int_equal(
                block_add_message(block,
                                  &(struct message_view){.payload = BYTES_LITERAL("{\"a\":1}"),
                                                         .arrival_us = fixture->arrival_us
                                                                           ? fixture->arrival_us
                                                                           : 1795521600000000,
                                                         .flags = k < i ? MESSAGE_DEAD_LETTER : 0,
                                                         .route_index = route}),
                ERR_OK);
    }
    assert_int_equal(shipment_new(block, &fixture->in_flight, &shipment), ERR_OK);
    worker_deliver(fixture->worker, shipment);
    shipment_unref(shipment);
    assert_true(stop(fixture));
    assert_int_equal(fixture->job_count, 1);
    const struct land_job *job = fixture->jobs[0];
    account_uploaded(fixture->book, bytes_from_text(two[0]), job->through,
                     &(struct account_part){BYTES_LITERAL("source"), job->cut.stats.messages,
                                            job->cut.stats.rejected});
    for (int i = 0; i < 2; i++) {
        struct account *account;
        assert_int_equal(account_get(fixture->book, bytes_from_text(sources[i]), &account), ERR_OK);
        assert_int_equal(account->stored, i ? 6 : 3);
        assert_int_equal(account->rejected, i);
    }
}

static void test_what_cannot_be_cut_at_stop_is_left(void **state)
{
    struct fixture *fixture = *state;
    fixture->catalog.away = true;
    start(fixture, 3600, 64 * MIB, 64 * MIB);
    deliver(fixture, two, 2, 10, false);
    assert_false(worker_stop(fixture->worker, clock_monotonic_ns(&clock_system) + 100 * NS_PER_MS));
    assert_int_equal(fixture->job_count, 0);
}

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
    make(fixture, 3600, 64 * MIB, 64 * MIB);
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
    make(fixture, 60, 64 * MIB, 64 * MIB);
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

static void pause_a_moment(struct fixture *fixture)
{
    mutex_lock(&fixture->lock);
    condition_wait_for(&fixture->landed, &fixture->lock, 2 * NS_PER_MS);
    mutex_unlock(&fixture->lock);
}

static double metric(struct metrics *metrics, const char *series)
{
    char wanted[256];
    struct buf out;
    buf_init(&out, 1 * MIB);
    snprintf(wanted, sizeof(wanted), "\n%s ", series);
    assert_int_equal(metrics_render(metrics, &out), ERR_OK);
    const char *at = strstr(buf_cstr(&out), wanted);
    if (!at)
        fail_msg("no %s in:\n%s", series, buf_cstr(&out));
    double value = strtod(at + strlen(wanted), NULL);
    buf_fini(&out);
    return value;
}

/* Each message is counted once, when it is decoded; what recovery brings has no latency. */
static void test_metrics(void **state)
{
    struct fixture *fixture = *state;
    struct metrics *metrics;
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    assert_int_equal(service_metrics_new(metrics,
                                         &(struct service_metrics_options){.pod = "p",
                                                                           .pod_namespace = "n",
                                                                           .version = "v",
                                                                           .partitions_max = 10,
                                                                           .book = fixture->book},
                                         &fixture->metrics),
                     ERR_OK);
    start(fixture, 3600, 64 * MIB, 64 * MIB);
    deliver(fixture, two, 1, 5, true);
    deliver(fixture, two, 2, 10, false);
    deliver(fixture, two, 2, 10, false);
    assert_true(stop(fixture));
    char series[200];
    const uint64_t wanted[] = {25, 20};
    for (int i = 0; i < 2; i++) {
        snprintf(series, sizeof(series),
                 "ingestor_messages_received_total{pod=\"p\",source_type=\"mqtt\","
                 "ingestion_id=\"%s\"}",
                 two[i]);
        assert_int_equal((uint64_t)metric(metrics, series), wanted[i]);
    }
    assert_int_equal((uint64_t)metric(metrics, "mqtt_messages_processed_total"), 45);
    assert_int_equal((uint64_t)metric(metrics, "mqtt_message_processing_latency_seconds_count"),
                     40);
    assert_int_equal((uint64_t)metric(metrics, "ingestor_timestamp_delay_seconds_bucket{pod=\"p\","
                                               "source_type=\"mqtt\",le=\"0.1\"}"),
                     45);
    metrics_free(metrics);
    service_metrics_free(fixture->metrics);
}

/* Whatever allocation fails, every message is in exactly one cut. */
static void test_no_memory_loses_nothing(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, 3600, 4000, 64 * MIB);
    for (int i = 0; i < 60; i++) {
        deliver(fixture, two, 2, 10, false);
        mem_fail_at((uint64_t)(i * 7 % 50) + 1); /* for the worker, before the next one is made */
        pause_a_moment(fixture);
        mem_fail_at(0);
    }
    assert_true(stop(fixture));
    assert_int_equal(messages_of(fixture, two[0]), 600);
    assert_int_equal(messages_of(fixture, two[1]), 600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stop_cuts_everything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_size_closes_a_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_age_closes_a_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_force_closes_a_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory_closes_the_largest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_database_away_loses_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_waits_keeps_more_from_coming_in, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_waits_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory_closes_others_than_what_waits, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_tells_that_it_is_alive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_each_source_is_accounted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_cut_at_stop_is_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_recovery_skips_what_has_landed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_recovered_batches_keep_their_age, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_recovered_batches_keep_the_pace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_range_made_again_is_cut_apart_and_whole, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory_loses_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_metrics, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
