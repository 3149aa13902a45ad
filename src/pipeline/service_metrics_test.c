#include "base/alloc.h"
#include "base/limits.h"
#include "pipeline/service_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* after the above, as cmocka wants */
#include <cmocka.h>

static const struct service_metrics_options options = {
    .pod = "p1", .pod_namespace = "default", .version = "1.2.3", .partitions_max = 2};

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

static void test_fourteen(void **state)
{
    (void)state;
    struct metrics *metrics;
    struct service_metrics *service;
    struct service_dataset dataset;
    struct service_dataset other;
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    assert_int_equal(service_metrics_new(metrics, &options, &service), ERR_OK);
    assert_int_equal(
        service_metrics_dataset(service, BYTES_LITERAL("mqtt"), BYTES_LITERAL("d1"), &dataset),
        ERR_OK);
    assert_int_equal(
        service_metrics_dataset(service, BYTES_LITERAL("coap"), BYTES_LITERAL("d2"), &other),
        ERR_OK);
    service_metrics_received(&dataset, 10, 2000);
    service_metrics_received(&other, 1, 7);
    service_metrics_processed(&dataset, 9);
    service_metrics_rescued(&dataset, 3);
    service_metrics_failed(service, &dataset, "oversize", 1);
    service_metrics_delay(&dataset, 0.2, 5);
    service_metrics_delay(&dataset, -1, 5);
    service_metrics_latency(&dataset, 0.02, 2);
    service_metrics_latency(&other, 0.02, 2);
    service_metrics_active(service, "mqtt", 1);
    service_metrics_file_written(service, 512);
    service_metrics_upload(service, 0.2, false);
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
        "ingestor_timestamp_delay_seconds_bucket{pod=\"p1\",source_type=\"mqtt\",le=\"+Inf\"} 5.0",
        "ingestor_timestamp_delay_seconds_count{pod=\"p1\",source_type=\"mqtt\"} 5.0",
        "ingestor_timestamp_delay_seconds_sum{pod=\"p1\",source_type=\"mqtt\"} 1.0",
        "ingestor_active_data_sources{pod=\"p1\",source_type=\"mqtt\"} 1.0",
        "ingestor_files_written_total{pod=\"p1\",layer=\"bronze\"} 1.0",
        "ingestor_info{pod_name=\"p1\",namespace=\"default\",version=\"1.2.3\"} 1.0",
        "mqtt_messages_received_total 10.0",
        "mqtt_messages_processed_total 9.0",
        "mqtt_message_processing_latency_seconds_bucket{le=\"0.025\"} 2.0",
        "mqtt_message_processing_latency_seconds_bucket{le=\"10.0\"} 2.0",
        "mqtt_message_processing_latency_seconds_count 2.0",
        "ingestor_values_rescued_total{pod=\"p1\",ingestion_id=\"d1\"} 3.0",
        "ingestor_upload_failures_total{pod=\"p1\"} 1.0",
        NULL};
    expect_lines(metrics, lines);
    metrics_free(metrics);
    service_metrics_free(service);
    service_metrics_free(NULL);
}

static void test_cap(void **state)
{
    (void)state;
    struct metrics *metrics;
    struct service_metrics *service;
    struct service_dataset dataset;
    struct service_source *sources[4];
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    assert_int_equal(service_metrics_new(metrics, &options, &service), ERR_OK);
    for (int i = 0; i < 4; i++) {
        char id[16];
        snprintf(id, sizeof(id), "d%d", i);
        assert_int_equal(
            service_metrics_dataset(service, BYTES_LITERAL("mqtt"), bytes_from_text(id), &dataset),
            ERR_OK);
        service_metrics_received(&dataset, 1, 1);
        assert_int_equal(service_metrics_source(service, bytes_from_text(id), &sources[i]), ERR_OK);
        service_source_received(sources[i], 2);
    }
    service_source_stored(sources[3], 1);
    const char *const lines[] = {
        "ingestor_messages_received_total{pod=\"p1\",source_type=\"mqtt\",ingestion_id=\"d1\"} 1.0",
        "ingestor_messages_received_total{pod=\"p1\",source_type=\"mqtt\","
        "ingestion_id=\"_other\"} 2.0",
        "ingestor_source_messages_received_total{pod=\"p1\",source_id=\"d0\"} 2.0",
        "ingestor_source_messages_received_total{pod=\"p1\",source_id=\"_other\"} 4.0",
        "ingestor_source_messages_pending{pod=\"p1\",source_id=\"_other\"} 3.0",
        NULL};
    expect_lines(metrics, lines);
    struct service_accounting accounting;
    service_source_accounting(sources[3], &accounting); /* its own, though its series is shared */
    assert_int_equal(accounting.received, 2);
    assert_int_equal(accounting.pending, 1);
    metrics_free(metrics);
    service_metrics_free(service);
}

static enum err on_source(void *ctx, const char *source_id,
                          const struct service_accounting *accounting)
{
    struct buf *out = ctx;
    return buf_printf(out, "%s %d=%d+%d+%d+%d;", source_id, (int)accounting->received,
                      (int)accounting->stored, (int)accounting->rejected, (int)accounting->repeated,
                      (int)accounting->pending);
}

static void test_accounting(void **state)
{
    (void)state;
    struct metrics *metrics;
    struct service_metrics *service;
    struct service_source *b;
    struct service_source *a;
    struct service_source *again;
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    assert_int_equal(service_metrics_new(metrics, &options, &service), ERR_OK);
    assert_int_equal(service_metrics_source(service, BYTES_LITERAL("b"), &b), ERR_OK);
    assert_int_equal(service_metrics_source(service, BYTES_LITERAL("a"), &a), ERR_OK);
    assert_int_equal(service_metrics_source(service, BYTES_LITERAL("b"), &again), ERR_OK);
    assert_int_equal(service_metrics_source(service, BYTES_LITERAL(""), &again), ERR_INVALID);
    assert_ptr_equal(b, again);
    service_source_received(b, 10);
    service_source_stored(b, 4);
    service_source_rejected(b, 1);
    service_source_repeated(b, 2);
    service_source_reconnected(b);
    struct buf out;
    buf_init(&out, 1024);
    assert_int_equal(service_metrics_accounting(service, on_source, &out), ERR_OK);
    assert_string_equal(buf_cstr(&out), "b 10=4+1+2+3;a 0=0+0+0+0;");
    buf_fini(&out);
    const char *const lines[] = {"ingestor_source_messages_pending{pod=\"p1\",source_id=\"b\"} 3.0",
                                 "ingestor_source_reconnects_total{pod=\"p1\",source_id=\"b\"} 1.0",
                                 NULL};
    expect_lines(metrics, lines);
    metrics_free(metrics);
    service_metrics_free(service);
}

static void fill_gauges(void *ctx, struct service_gauges *gauges)
{
    (void)ctx;
    gauges->journal_bytes = 1000;
    gauges->journal_sync_seconds = 1.5;
    gauges->oldest_unlanded_seconds = 2.5;
    gauges->intake_paused = true;
    gauges->queues[gauges->queue_count++] = (struct service_queue){"journal", 7};
}

static void test_collect(void **state)
{
    (void)state;
    struct metrics *metrics;
    struct service_metrics *service;
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    assert_int_equal(service_metrics_new(metrics, &options, &service), ERR_OK);
    service_metrics_on_collect(service, fill_gauges, NULL);
    const char *const lines[] = {"ingestor_journal_bytes{pod=\"p1\"} 1000.0",
                                 "# TYPE ingestor_journal_sync_seconds_total counter",
                                 "ingestor_journal_sync_seconds_total{pod=\"p1\"} 1.5",
                                 "ingestor_oldest_unlanded_seconds{pod=\"p1\"} 2.5",
                                 "ingestor_intake_paused{pod=\"p1\"} 1.0",
                                 "ingestor_queue_depth{pod=\"p1\",queue=\"journal\"} 7.0",
                                 NULL};
    expect_lines(metrics, lines);
    expect_lines(metrics, lines);
    metrics_free(metrics);
    service_metrics_free(service);
}

static enum err use(struct metrics *metrics, struct service_metrics **ret_service)
{
    struct service_dataset dataset;
    struct service_source *source;
    enum err err = service_metrics_new(metrics, &options, ret_service);
    for (int i = 0; i < 4 && err == ERR_OK; i++) {
        char id[16];
        snprintf(id, sizeof(id), "d%d", i);
        err = service_metrics_dataset(*ret_service, BYTES_LITERAL("mqtt"), bytes_from_text(id),
                                      &dataset);
        if (err == ERR_OK)
            err = service_metrics_source(*ret_service, bytes_from_text(id), &source);
        if (err == ERR_OK)
            service_source_received(source, 1);
    }
    return err;
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct metrics *metrics;
        struct service_metrics *service = NULL;
        assert_int_equal(metrics_new(&metrics), ERR_OK);
        mem_fail_at(k);
        enum err err = use(metrics, &service);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_true(err == ERR_OK || (failed && err == ERR_NO_MEMORY));
        metrics_free(metrics);
        service_metrics_free(service);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fourteen),   cmocka_unit_test(test_cap),
        cmocka_unit_test(test_accounting), cmocka_unit_test(test_collect),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
