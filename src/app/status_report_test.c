#include "app/status_report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char health[] =
    "{\"status\":\"degraded\",\"components\":{\"minio\":\"unhealthy: gone\\u001b[2J\","
    "\"journal\":\"healthy\"}}";
static const char sources[] =
    "{\"data\":[{\"id\":1,\"name\":\"plant\",\"type_name\":\"mqtt\",\"ingestion_id\":\"p_1\","
    "\"status\":\"active\",\"last_error\":null},{\"id\":2,\"name\":\"broken\","
    "\"type_name\":\"rest_api\",\"ingestion_id\":\"b_2\",\"status\":\"error\","
    "\"last_error\":\"it is away\"}]}";
static const char first[] = "ingestor_bytes_received_total{source_type=\"mqtt\"} 1000.0\n"
                            "ingestor_source_messages_received_total{source_id=\"p_1\"} 100.0\n"
                            "ingestor_source_messages_received_total{source_id=\"b_2\"} 50.0\n";
static const char last[] = "# HELP ingestor_info 1\n"
                           "ingestor_info{pod_name=\"a\",version=\"1.2.3\"} 1.0\n"
                           "process_start_time_seconds 1000.0\n"
                           "ingestor_bytes_received_total{source_type=\"mqtt\"} 2024.0\n"
                           "ingestor_journal_used_bytes 1024\n"
                           "ingestor_spool_bytes 1024\n"
                           "ingestor_journal_max_bytes 6144\n"
                           "ingestor_source_messages_received_total{source_id=\"p_1\"} 300.0\n"
                           "ingestor_source_messages_received_total{source_id=\"b_2\"} 20.0\n"
                           "ingestor_source_messages_received_total_not{source_id=\"p_1\"} 9.0\n";

static json_t *report(const char *health_text, const char *sources_text, const char *last_text)
{
    json_t *made = NULL;
    const struct status_answers answers = {
        .url = "http://here:1",
        .health = bytes_from_text(health_text),
        .sources = bytes_from_text(sources_text),
        .metrics_first = bytes_from_text(first),
        .metrics_last = bytes_from_text(last_text),
        .seconds = 2,
        .now_us = INT64_C(8200000000),
    };
    struct diag diag = {0};
    enum err err = status_report_make(&answers, &made, &diag);
    assert_true(err == ERR_OK || err == ERR_PROTOCOL);
    assert_true(err == ERR_OK || strstr(diag.text, "http://here:1"));
    return made;
}

static void check_number(const json_t *object, const char *name, double expected)
{
    json_t *value = json_object_get(object, name);
    assert_true(json_is_number(value));
    assert_float_equal(json_number_value(value), expected, 1e-9);
}

static void rates_are_of_what_came_between(void **state)
{
    (void)state;
    json_t *made = report(health, sources, last);
    assert_non_null(made);
    assert_string_equal(status_report_status(made), "degraded");
    assert_string_equal(json_string_value(json_object_get(made, "version")), "1.2.3");
    check_number(made, "uptime_seconds", 7200);
    json_t *messages = json_object_get(made, "messages");
    check_number(messages, "received", 320);
    check_number(messages, "received_per_second", 85);
    json_t *source = json_array_get(json_object_get(made, "sources"), 0);
    check_number(source, "received_per_second", 100);
    source = json_array_get(json_object_get(made, "sources"), 1);
    check_number(source, "received_per_second", 0); /* it has begun anew */
    json_decref(made);
}

static void an_outage_is_bridged_by_what_is_free(void **state)
{
    (void)state;
    json_t *made = report(health, sources, last);
    check_number(json_object_get(made, "journal"), "bytes_per_second", 512);
    check_number(json_object_get(made, "journal"), "bridged_seconds", 8);
    json_decref(made);
    made = report(health, sources, first); /* nothing came */
    assert_true(json_is_null(json_object_get(json_object_get(made, "journal"), "bridged_seconds")));
    json_decref(made);
}

static char *screen_of(const json_t *made)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    status_report_print(made, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void the_screen_says_what_is_wrong_first(void **state)
{
    (void)state;
    json_t *made = report(health, sources, last);
    char *text = screen_of(made);
    assert_non_null(strstr(text, "ingestor 1.2.3 at http://here:1: degraded, up 2 hours"));
    assert_non_null(strstr(text, "minio: unhealthy: gone?[2J\n"));
    assert_null(strstr(text, "journal: healthy"));
    assert_non_null(strstr(text, "they bridge an outage of the store of about 8 s"));
    assert_true(strstr(text, "broken") < strstr(text, "plant"));
    assert_non_null(strstr(text, "it is away"));
    free(text);
    json_decref(made);
}

static void strange_answers_are_borne(void **state)
{
    (void)state;
    assert_null(report("<html>", "", ""));
    assert_null(report("{\"status\":1}", "", ""));
    assert_null(report("", "", ""));
    json_t *made = report("{\"status\":\"healthy\",\"components\":{\"a\":1}}", "{\"data\":[1,[]]}",
                          "ingestor_spool_bytes nan\ningestor_spool_bytes\n\n "
                          "ingestor_info{version=\"\ningestor_info{,version=\"");
    char *text = screen_of(made);
    assert_non_null(strstr(text, "healthy"));
    free(text);
    json_decref(made);
    made = report("{\"status\":\"healthy\",\"components\":{}}", "{\"data\":null}", "");
    text = screen_of(made);
    assert_non_null(strstr(text, "the registry does not answer"));
    free(text);
    json_decref(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_of_what_came_between),
        cmocka_unit_test(an_outage_is_bridged_by_what_is_free),
        cmocka_unit_test(the_screen_says_what_is_wrong_first),
        cmocka_unit_test(strange_answers_are_borne),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
