#include "base/alloc.h"
#include "base/limits.h"
#include "pipeline/service_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* after the above, as cmocka wants */
#include <cmocka.h>

struct fixture {
    struct metrics *metrics;
    struct account_book *book;
    struct service_metrics *service;
};

static enum err make(struct fixture *fixture)
{
    *fixture = (struct fixture){0};
    enum err err = metrics_new(&fixture->metrics);
    if (err == ERR_OK)
        err = account_book_new(&fixture->book);
    if (err == ERR_OK)
        err = service_metrics_new(fixture->metrics,
                                  &(struct service_metrics_options){.pod = "p1",
                                                                    .pod_namespace = "default",
                                                                    .version = "1.2.3",
                                                                    .partitions_max = 2,
                                                                    .book = fixture->book},
                                  &fixture->service);
    return err;
}

static void unmake(struct fixture *fixture)
{
    metrics_free(fixture->metrics);
    service_metrics_free(fixture->service);
    account_book_free(fixture->book);
}

static void account_add(struct account_book *book, const char *id, uint64_t received,
                        uint64_t stored, uint64_t rejected, uint64_t repeated)
{
    struct account *account;
    assert_int_equal(account_get(book, bytes_from_text(id), &account), ERR_OK);
    account->received += received;
    account->stored += stored;
    account->rejected += rejected;
    account->repeated += repeated;
}

static void expect_lines(struct metrics *metrics, const char *const *lines)
{
    struct buf out;
    buf_init(&out, 16 * MIB);
    buf_byte(&out, '\n');
    assert_int_equal(metrics_render(metrics, &out), ERR_OK);
    const char *text = buf_cstr(&out);
    for (; *lines; lines++) {
        char line[256];
        snprintf(line, sizeof(line), "\n%s\n", *lines);
        if (!strstr(text, line))
            fail_msg("'%s' is not in:%s", *lines, text);
    }
    buf_fini(&out);
}

/* Before anything has come, the page names all families, in the contract's order. */
static void test_names_from_the_start(void **state)
{
    (void)state;
    static const char *const families[] = {
        "ingestor_messages_received_total counter",
        "ingestor_messages_processed_total counter",
        "ingestor_messages_failed_total counter",
        "ingestor_bytes_received_total counter",
        "ingestor_timestamp_delay_seconds histogram",
        "ingestor_active_data_sources gauge",
        "ingestor_buffer_size_messages gauge",
        "ingestor_buffer_size_bytes gauge",
        "ingestor_bytes_written_total counter",
        "ingestor_files_written_total counter",
        "ingestor_info gauge",
        "mqtt_messages_received_total counter",
        "mqtt_messages_processed_total counter",
        "mqtt_message_processing_latency_seconds histogram",
    };
    struct fixture fixture;
    struct buf out;
    buf_init(&out, MIB);
    assert_int_equal(make(&fixture), ERR_OK);
    assert_int_equal(metrics_render(fixture.metrics, &out), ERR_OK);
    const char *at = buf_cstr(&out);
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        char line[128];
        snprintf(line, sizeof(line), "\n# TYPE %s\n", families[i]);
        at = strstr(at, line);
        if (!at)
            fail_msg("'%s' is not in its place in:%s", families[i], buf_cstr(&out));
    }
    buf_fini(&out);
    unmake(&fixture);
}

static void fill_active(void *ctx, struct service_gauges *gauges)
{
    struct fixture *fixture = ctx;
    (void)gauges;
    service_metrics_source(fixture->service, BYTES_LITERAL("s1"), "mqtt", true, 2);
    service_metrics_source(fixture->service, BYTES_LITERAL("s2"), "mqtt", false, 0);
    service_metrics_source(fixture->service, BYTES_LITERAL("s3"), "coap", false, 5);
    service_metrics_source(fixture->service, BYTES_LITERAL("s4"), "mqtt", true, 7);
}

/* 10 messages of 2000 bytes: 9 became records, of which 5 were 200 ms late and one an hour. */
static void tally_fill(struct batch_tally *tally)
{
    int64_t event_us[7] = {0, 0, 0, 0, 0, 0, US_PER_S};
    int64_t arrival_us[7] = {200000, 200000, 200000, 200000, 200000, 3600 * US_PER_S, 0};
    service_metrics_tally_init(tally);
    tally->messages = 10;
    tally->payload_bytes = 2000;
    tally->rescued = 3;
    batch_tally_delays(tally, event_us, arrival_us, 7);
    batch_tally_rejected(tally, BYTES_LITERAL("oversize"));
}

static void test_fourteen(void **state)
{
    (void)state;
    struct fixture fixture;
    struct batch_tally tally = {0};
    struct service_dataset dataset;
    struct service_dataset other;
    assert_int_equal(make(&fixture), ERR_OK);
    struct service_metrics *service = fixture.service;
    service_metrics_on_collect(service, fill_active, &fixture);
    assert_int_equal(
        service_metrics_dataset(service, BYTES_LITERAL("mqtt"), BYTES_LITERAL("d1"), &dataset),
        ERR_OK);
    assert_int_equal(
        service_metrics_dataset(service, BYTES_LITERAL("coap"), BYTES_LITERAL("d2"), &other),
        ERR_OK);
    tally_fill(&tally);
    service_metrics_tally(service, &dataset, &tally);
    batch_tally_clear(&tally);
    service_metrics_tally(service, &dataset, &tally); /* nothing */
    service_metrics_received(&other, 1, 7);
    service_metrics_latency(&dataset, 0.02, 2);
    service_metrics_latency(&other, 0.02, 2);
    service_metrics_file_written(service, 512);
    const char *const lines[] = {
        "ingestor_messages_received_total{pod=\"p1\",source_type=\"mqtt\",ingestion_id=\"d1\"} "
        "10.0",
        "ingestor_messages_received_total{pod=\"p1\",source_type=\"coap\",ingestion_id=\"d2\"} 1.0",
        "ingestor_messages_processed_total{pod=\"p1\",source_type=\"mqtt\",ingestion_id=\"d1\"} "
        "9.0",
        "ingestor_messages_failed_total{pod=\"p1\",source_type=\"mqtt\",ingestion_id=\"d1\","
        "error_type=\"oversize\"} 1.0",
        "ingestor_bytes_received_total{pod=\"p1\",source_type=\"mqtt\"} 2000.0",
        "ingestor_bytes_written_total{pod=\"p1\",layer=\"bronze\"} 512.0",
        "ingestor_timestamp_delay_seconds_bucket{pod=\"p1\",source_type=\"mqtt\",le=\"0.1\"} 0.0",
        "ingestor_timestamp_delay_seconds_bucket{pod=\"p1\",source_type=\"mqtt\",le=\"0.5\"} 5.0",
        "ingestor_timestamp_delay_seconds_bucket{pod=\"p1\",source_type=\"mqtt\",le=\"300.0\"} 5.0",
        "ingestor_timestamp_delay_seconds_bucket{pod=\"p1\",source_type=\"mqtt\",le=\"+Inf\"} 6.0",
        "ingestor_timestamp_delay_seconds_count{pod=\"p1\",source_type=\"mqtt\"} 6.0",
        "ingestor_timestamp_delay_seconds_sum{pod=\"p1\",source_type=\"mqtt\"} 3601.0",
        "ingestor_active_data_sources{pod=\"p1\",source_type=\"mqtt\"} 2.0",
        "ingestor_active_data_sources{pod=\"p1\",source_type=\"coap\"} 0.0",
        "ingestor_source_reconnects_total{pod=\"p1\",source_id=\"s1\"} 2.0",
        "ingestor_source_reconnects_total{pod=\"p1\",source_id=\"_other\"} 12.0",
        "ingestor_files_written_total{pod=\"p1\",layer=\"bronze\"} 1.0",
        "ingestor_info{pod_name=\"p1\",namespace=\"default\",version=\"1.2.3\"} 1.0",
        "mqtt_messages_received_total 10.0",
        "mqtt_messages_processed_total 9.0",
        "mqtt_message_processing_latency_seconds_bucket{le=\"0.025\"} 2.0",
        "mqtt_message_processing_latency_seconds_bucket{le=\"10.0\"} 2.0",
        "mqtt_message_processing_latency_seconds_count 2.0",
        "ingestor_values_rescued_total{pod=\"p1\",ingestion_id=\"d1\"} 3.0",
        NULL};
    expect_lines(fixture.metrics, lines);
    expect_lines(fixture.metrics, lines); /* what is summed up is summed up once */
    unmake(&fixture);
    service_metrics_free(NULL);
}

static void test_cap(void **state)
{
    (void)state;
    struct fixture fixture;
    struct service_dataset dataset;
    assert_int_equal(make(&fixture), ERR_OK);
    for (int i = 0; i < 4; i++) {
        char id[16];
        snprintf(id, sizeof(id), "d%d", i);
        assert_int_equal(service_metrics_dataset(fixture.service, BYTES_LITERAL("mqtt"),
                                                 bytes_from_text(id), &dataset),
                         ERR_OK);
        service_metrics_received(&dataset, 1, 1);
        account_add(fixture.book, id, 2, i == 3, 0, 0);
    }
    const char *const lines[] = {
        "ingestor_messages_received_total{pod=\"p1\",source_type=\"mqtt\",ingestion_id=\"d1\"} 1.0",
        "ingestor_messages_received_total{pod=\"p1\",source_type=\"mqtt\","
        "ingestion_id=\"_other\"} 2.0",
        "ingestor_source_messages_received_total{pod=\"p1\",source_id=\"d0\"} 2.0",
        "ingestor_source_messages_received_total{pod=\"p1\",source_id=\"_other\"} 4.0",
        "ingestor_source_messages_stored_total{pod=\"p1\",source_id=\"_other\"} 1.0",
        "ingestor_source_messages_pending{pod=\"p1\",source_id=\"_other\"} 3.0",
        NULL};
    expect_lines(fixture.metrics, lines);
    expect_lines(fixture.metrics, lines);
    unmake(&fixture);
}

static void test_accounts(void **state)
{
    (void)state;
    struct fixture fixture;
    assert_int_equal(make(&fixture), ERR_OK);
    account_add(fixture.book, "b", 10, 4, 1, 2);
    const char *const before[] = {
        "# TYPE ingestor_source_messages_received_total counter",
        "# TYPE ingestor_source_messages_pending gauge",
        "ingestor_source_messages_received_total{pod=\"p1\",source_id=\"b\"} 10.0",
        "ingestor_source_messages_stored_total{pod=\"p1\",source_id=\"b\"} 4.0",
        "ingestor_source_messages_rejected_total{pod=\"p1\",source_id=\"b\"} 1.0",
        "ingestor_source_messages_repeated_total{pod=\"p1\",source_id=\"b\"} 2.0",
        "ingestor_source_messages_pending{pod=\"p1\",source_id=\"b\"} 3.0",
        NULL};
    expect_lines(fixture.metrics, before);
    account_add(fixture.book, "b", 0, 3, 0, 0);
    const char *const after[] = {
        "ingestor_source_messages_received_total{pod=\"p1\",source_id=\"b\"} 10.0",
        "ingestor_source_messages_stored_total{pod=\"p1\",source_id=\"b\"} 7.0",
        "ingestor_source_messages_pending{pod=\"p1\",source_id=\"b\"} 0.0", NULL};
    expect_lines(fixture.metrics, after);
    unmake(&fixture);
}

static void fill_gauges(void *ctx, struct service_gauges *gauges)
{
    (void)ctx;
    gauges->journal_bytes = 1000;
    gauges->journal_sync_seconds = 1.5;
    gauges->oldest_unlanded_seconds = 2.5;
    gauges->intake_paused = true;
    gauges->upload_cuts = 4;
    gauges->upload_latency_seconds = 0.5;
    gauges->upload_put_seconds = 0.25;
    gauges->upload_lag_seconds = 0.125;
    gauges->upload_failures = 3;
    gauges->queues[gauges->queue_count++] = (struct service_queue){"journal", 7};
}

static void test_collect(void **state)
{
    (void)state;
    struct fixture fixture;
    assert_int_equal(make(&fixture), ERR_OK);
    service_metrics_on_collect(fixture.service, fill_gauges, NULL);
    const char *const lines[] = {"ingestor_journal_bytes{pod=\"p1\"} 1000.0",
                                 "# TYPE ingestor_journal_sync_seconds_total counter",
                                 "ingestor_journal_sync_seconds_total{pod=\"p1\"} 1.5",
                                 "ingestor_oldest_unlanded_seconds{pod=\"p1\"} 2.5",
                                 "ingestor_intake_paused{pod=\"p1\"} 1.0",
                                 "ingestor_upload_cuts_total{pod=\"p1\"} 4.0",
                                 "ingestor_upload_latency_seconds_total{pod=\"p1\"} 0.5",
                                 "ingestor_upload_put_seconds_total{pod=\"p1\"} 0.25",
                                 "ingestor_upload_lag_seconds{pod=\"p1\"} 0.125",
                                 "ingestor_upload_failures_total{pod=\"p1\"} 3.0",
                                 "ingestor_queue_depth{pod=\"p1\",queue=\"journal\"} 7.0",
                                 NULL};
    expect_lines(fixture.metrics, lines);
    expect_lines(fixture.metrics, lines);
    unmake(&fixture);
}

/* A dataset past the cap of reasons still counts every message. */
static void test_reasons_are_bounded(void **state)
{
    (void)state;
    struct fixture fixture;
    struct service_dataset dataset;
    struct batch_tally tally = {0};
    assert_int_equal(make(&fixture), ERR_OK);
    assert_int_equal(service_metrics_dataset(fixture.service, BYTES_LITERAL("mqtt"),
                                             BYTES_LITERAL("d1"), &dataset),
                     ERR_OK);
    for (int i = 0; i < 100; i++) {
        char reason[40];
        snprintf(reason, sizeof(reason), i % 2 ? "reason_%d" : "no word: %d", i);
        batch_tally_rejected(&tally, bytes_from_text(reason));
    }
    tally.messages = 100;
    service_metrics_tally(fixture.service, &dataset, &tally);
#define FAILED_OF_D1                                                                               \
    "ingestor_messages_failed_total{pod=\"p1\",source_type=\"mqtt\",ingestion_id=\"d1\","
    const char *const lines[] = {
        FAILED_OF_D1 "error_type=\"other\"} 85.0", FAILED_OF_D1 "error_type=\"reason_29\"} 1.0",
        "ingestor_messages_processed_total{pod=\"p1\",source_type=\"mqtt\",ingestion_id=\"d1\"} "
        "0.0",
        NULL};
    expect_lines(fixture.metrics, lines);
    unmake(&fixture);
}

static enum err use(struct fixture *fixture, bool *ret_made)
{
    struct service_dataset dataset;
    struct account *account;
    struct batch_tally tally = {0};
    enum err err = make(fixture);
    *ret_made = err == ERR_OK;
    for (int i = 0; i < 4 && err == ERR_OK; i++) {
        char id[16];
        snprintf(id, sizeof(id), "d%d", i);
        err = service_metrics_dataset(fixture->service, BYTES_LITERAL("mqtt"), bytes_from_text(id),
                                      &dataset);
        if (err == ERR_OK)
            err = account_get(fixture->book, bytes_from_text(id), &account);
    }
    if (err != ERR_OK)
        return err;
    tally_fill(&tally);
    service_metrics_tally(fixture->service, &dataset, &tally);
    service_metrics_on_collect(fixture->service, fill_active, fixture);
    struct buf out;
    buf_init(&out, 16 * MIB);
    err = metrics_render(fixture->metrics, &out);
    buf_fini(&out);
    return err;
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct fixture fixture;
        bool made;
        mem_fail_at(k);
        enum err err = use(&fixture, &made);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_true(err == ERR_OK || (failed && err == ERR_NO_MEMORY));
        if (made) { /* a failure before leaves no mark on the page */
            const char *const lines[] = {"# TYPE ingestor_messages_received_total counter", NULL};
            expect_lines(fixture.metrics, lines);
        }
        unmake(&fixture);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_from_the_start),
        cmocka_unit_test(test_fourteen),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_accounts),
        cmocka_unit_test(test_collect),
        cmocka_unit_test(test_reasons_are_bounded),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
