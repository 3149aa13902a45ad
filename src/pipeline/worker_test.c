/* When a worker cuts, what it waits for, and what it tells. */
#include "pipeline/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those four first */
#include <cmocka.h>

#include "support/worker_rig.h"

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

/* Under a flood the queue has no end; what is due is cut before. */
static void test_age_closes_a_batch_before_the_queue_ends(void **state)
{
    struct fixture *fixture = *state;
    worker_rig_make(fixture, 0, 64 * MIB, 64 * MIB);
    for (int i = 0; i < 100; i++)
        deliver(fixture, &two[0], 1, 1, false);
    worker_step(fixture->worker);
    assert_true(fixture->job_count > 2);
    assert_true(messages_of(fixture, two[0]) == 100);
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

static void wait_for_open_messages(struct fixture *fixture, uint64_t count)
{
    struct worker_stats stats;
    do {
        a_moment(fixture);
        worker_stats_get(fixture->worker, &stats);
    } while (stats.open_messages != count);
}

/* The largest may not be cut, and does not keep the others in memory. */
static void test_memory_closes_others_than_what_waits(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, 3600, 64 * MIB, 256 * KIB);
    deliver(fixture, &two[1], 1, 1, false);
    wait_for_open_messages(fixture, 1);
    worker_force(fixture->worker, hash_bytes(bytes_from_text(two[1])));
    wait_for_jobs(fixture, 1); /* its columns are known now, and not forgotten while it has a row */
    deliver(fixture, &two[1], 1, 1, false);
    fixture->catalog.away = true;
    for (int i = 0; i < 40; i++)
        deliver(fixture, &two[0], 1, 200, false);
    while (atomic_load(&fixture->memory.waiting_bytes) < 256 * KIB)
        a_moment(fixture);
    for (int i = 0; i < 40; i++)
        deliver(fixture, &two[1], 1, 200, false);
    wait_for_messages(fixture, two[1], 3); /* in how many cuts is the moment's affair */
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
        cmocka_unit_test_setup_teardown(test_age_closes_a_batch_before_the_queue_ends, set_up,
                                        tear_down),
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
        cmocka_unit_test_setup_teardown(test_no_memory_loses_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_metrics, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
