#include "base/alloc.h"
#include "metadata/metadata_parts.h"
#include "os/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct diag diag;
static int64_t now_us;

static int64_t fake_us(void *ctx)
{
    (void)ctx;
    return now_us;
}

static int64_t fake_ns(void *ctx)
{
    (void)ctx;
    return now_us * 1000;
}

static const struct clock_ops fake_ops = {.monotonic_ns = fake_ns, .realtime_us = fake_us};
static const struct clock fake_clock = {&fake_ops, NULL};

/* A metadata database in memory; no thread, no journal. */
static void setup(struct metadata *metadata, struct database **ret_database)
{
    now_us = 1796000000 * US_PER_S; /* 2026-11-30 */
    *metadata =
        (struct metadata){.options = {.clock = &fake_clock, .quality_days = 30, .series_max = 2}};
    mutex_init(&metadata->open_lock);
    assert_int_equal(metrics_new(&metadata->options.metrics), ERR_OK);
    assert_int_equal(metrics_cap_new(2, &metadata->ids), ERR_OK);
    assert_int_equal(metrics_cap_new(10, &metadata->names), ERR_OK);
    assert_int_equal(database_open("sqlite:///:memory:", ret_database, &diag), ERR_OK);
    assert_int_equal(metadata_table_prepare(*ret_database, &diag), ERR_OK);
}

static void teardown(struct metadata *metadata, struct database *database)
{
    database_close(database);
    metrics_cap_free(metadata->ids);
    metrics_cap_free(metadata->names);
    metrics_free(metadata->options.metrics);
    mem_free(metadata->open_batches);
    mutex_fini(&metadata->open_lock);
}

static enum err on_count(void *ctx, const struct database_value *columns, size_t count)
{
    assert_int_equal(count, 1);
    *(int64_t *)ctx = columns[0].integer;
    return ERR_OK;
}

static int64_t count_of(struct database *database, const char *sql)
{
    int64_t count = -1;
    assert_int_equal(database_query(database, sql, NULL, 0, on_count, &count, NULL, &diag), ERR_OK);
    return count;
}

static void measurements_add(struct database *database, const char *name, int count,
                             const char *time)
{
    char sql[512];
    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
             "INSERT INTO data_quality (ingestion_id, metric_name, metric_value, "
             "measurement_time) SELECT 'd', '%s', 1, %s FROM n",
             count, name, time);
    assert_int_equal(database_exec(database, sql, &diag), ERR_OK);
}

static void test_old_measurements_go(void **state)
{
    (void)state;
    struct metadata metadata;
    struct database *database;
    bool more;
    setup(&metadata, &database);
    measurements_add(database, "completeness", 6000, "'2026-10-29 12:00:00'");
    measurements_add(database, "freshness_seconds", 3, "'2026-11-02 12:00:00'");
    measurements_add(database, "posted", 4, "'2025-01-01 00:00:00'");
    assert_int_equal(quality_expire(&metadata, database, &more, &diag), ERR_OK);
    assert_true(more);
    assert_int_equal(quality_expire(&metadata, database, &more, &diag), ERR_OK);
    assert_false(more);
    assert_int_equal(count_of(database, "SELECT count(*) FROM data_quality"), 3 + 4);
    metadata.options.quality_days = 0;
    measurements_add(database, "late_ratio", 2, "'2001-01-01 00:00:00'");
    assert_int_equal(quality_expire(&metadata, database, &more, &diag), ERR_OK);
    assert_false(more);
    assert_int_equal(count_of(database, "SELECT count(*) FROM data_quality"), 3 + 4 + 2);
    teardown(&metadata, database);
}

static void dataset_add(struct database *database, const char *id, int64_t age_s)
{
    char sql[512];
    int64_t last_us = now_us - age_s * US_PER_S;
    snprintf(sql, sizeof(sql),
             "INSERT INTO dataset_quality VALUES ('%s', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, %lld)", id,
             (long long)last_us);
    assert_int_equal(database_exec(database, sql, &diag), ERR_OK);
}

/* The gauge's value, or -1. */
static double fresh_of(const struct metadata *metadata, const char *id)
{
    struct buf text;
    char series[256];
    buf_init(&text, 1 << 20);
    assert_int_equal(metrics_render(metadata->options.metrics, &text), ERR_OK);
    snprintf(series, sizeof(series),
             "ingestor_data_quality{ingestion_id=\"%s\",metric_name=\"freshness_seconds\"} ", id);
    const char *found = strstr(buf_cstr(&text), series);
    double value = found ? strtod(found + strlen(series), NULL) : -1;
    buf_fini(&text);
    return value;
}

static void test_freshness_goes_on(void **state)
{
    (void)state;
    struct metadata metadata;
    struct database *database;
    void *observed = NULL;
    struct batch_open open = {.block_last = 7, .records = 1};
    setup(&metadata, &database);
    dataset_add(database, "old", 8 * 86400L);
    dataset_add(database, "quiet", 100);
    dataset_add(database, "open", 100);
    dataset_add(database, "third", 100);
    atomic_store(&open.last_us, now_us - 2 * US_PER_S);
    assert_int_equal(
        observer_watch(&metadata, bytes_from_text("open"), (struct bytes){0}, &open, &observed),
        ERR_OK);
    assert_int_equal(quality_freshen(&metadata, database, &diag), ERR_OK);
    assert_true(fresh_of(&metadata, "quiet") == 100);
    assert_true(fresh_of(&metadata, "open") == 2);
    assert_true(fresh_of(&metadata, "old") == -1);
    assert_true(fresh_of(&metadata, "third") == -1); /* beyond the series there may be */
    now_us += 50 * US_PER_S;
    assert_int_equal(quality_freshen(&metadata, database, &diag), ERR_OK);
    assert_true(fresh_of(&metadata, "quiet") == 150);
    assert_true(fresh_of(&metadata, "open") == 52);
    observer_forget(observed);
    assert_int_equal(metadata.open_count, 0);
    teardown(&metadata, database);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_old_measurements_go),
        cmocka_unit_test(test_freshness_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
