#include "base/alloc.h"
#include "base/limits.h"
#include "base/metrics.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* after the above, as cmocka wants */
#include <cmocka.h>

static const char *const bounds[] = {"0.1", "0.5", "1.0"};

static char *render(struct metrics *metrics)
{
    struct buf out;
    buf_init(&out, 64 * MIB);
    assert_int_equal(metrics_render(metrics, &out), ERR_OK);
    char *text = mem_strdup(buf_cstr(&out));
    buf_fini(&out);
    return text;
}

static void expect_render(struct metrics *metrics, const char *expected)
{
    char *text = render(metrics);
    assert_string_equal(text, expected);
    mem_free(text);
}

static void test_families(void **state)
{
    (void)state;
    struct metrics *metrics;
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    struct counter *counter;
    struct counter *other;
    assert_int_equal(metrics_counter(metrics, "z_total", "All.\nAnd \\ more \"here\"",
                                     METRIC_LABELS({"b", "x\"y\\z\n"}, {"a", "2"}), &counter),
                     ERR_OK);
    counter_add(counter, 5);
    assert_int_equal(metrics_counter(metrics, "z_total", "All.\nAnd \\ more \"here\"",
                                     METRIC_LABELS({"b", "x\"y\\z\n"}, {"a", "2"}), &other),
                     ERR_OK);
    assert_ptr_equal(counter, other);
    struct histogram *histogram;
    assert_int_equal(metrics_histogram(metrics, "delay_seconds", "Delay", bounds, 3,
                                       METRIC_LABELS({"pod", "p"}), &histogram),
                     ERR_OK);
    histogram_observe(histogram, 0.1); /* a bound belongs to its bucket */
    histogram_observe_many(histogram, 0.75, 2);
    histogram_observe(histogram, 7);
    histogram_observe(histogram, (double)NAN);
    struct gauge *gauge;
    assert_int_equal(metrics_gauge(metrics, "a", "A", METRIC_NO_LABELS, &gauge), ERR_OK);
    gauge_set(gauge, 1.5);
    expect_render(metrics, "# HELP z_total All.\\nAnd \\\\ more \"here\"\n"
                           "# TYPE z_total counter\n"
                           "z_total{b=\"x\\\"y\\\\z\\n\",a=\"2\"} 5.0\n"
                           "# HELP delay_seconds Delay\n"
                           "# TYPE delay_seconds histogram\n"
                           "delay_seconds_bucket{pod=\"p\",le=\"0.1\"} 1.0\n"
                           "delay_seconds_bucket{pod=\"p\",le=\"0.5\"} 1.0\n"
                           "delay_seconds_bucket{pod=\"p\",le=\"1.0\"} 3.0\n"
                           "delay_seconds_bucket{pod=\"p\",le=\"+Inf\"} 4.0\n"
                           "delay_seconds_count{pod=\"p\"} 4.0\n"
                           "delay_seconds_sum{pod=\"p\"} 8.6\n"
                           "# HELP a A\n"
                           "# TYPE a gauge\n"
                           "a 1.5\n");
    metrics_free(metrics);
}

static void test_the_page_is_utf_8(void **state)
{
    (void)state;
    struct metrics *metrics;
    struct gauge *gauge;
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    assert_int_equal(metrics_gauge(metrics, "a", "A",
                                   METRIC_LABELS({"b", "\xc3\xa4\xc3_\xf0\x9f\x90\x8d\x80"}),
                                   &gauge),
                     ERR_OK);
    gauge_set(gauge, 1);
    expect_render(metrics, "# HELP a A\n# TYPE a gauge\n"
                           "a{b=\"\xc3\xa4\xef\xbf\xbd_\xf0\x9f\x90\x8d\xef\xbf\xbd\"} 1.0\n");
    metrics_free(metrics);
}

static void test_refuses(void **state)
{
    (void)state;
    struct metrics *metrics;
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    struct counter *counter;
    struct gauge *gauge;
    struct histogram *histogram;
    assert_int_equal(metrics_counter(metrics, "a", "A", METRIC_NO_LABELS, &counter), ERR_OK);
    assert_int_equal(metrics_counter(metrics, "a", "B", METRIC_NO_LABELS, &counter), ERR_CONFLICT);
    assert_int_equal(metrics_gauge(metrics, "a", "A", METRIC_NO_LABELS, &gauge), ERR_CONFLICT);
    assert_int_equal(metrics_gauge(metrics, "1a", "A", METRIC_NO_LABELS, &gauge), ERR_INVALID);
    assert_int_equal(metrics_gauge(metrics, "b c", "A", METRIC_NO_LABELS, &gauge), ERR_INVALID);
    assert_int_equal(metrics_gauge(metrics, "b", "A", METRIC_LABELS({"c:d", "x"}), &gauge),
                     ERR_INVALID);
    static const char *const falling[] = {"1.0", "0.5"};
    static const char *const words[] = {"1.0x"};
    assert_int_equal(metrics_histogram(metrics, "h", "H", falling, 2, METRIC_NO_LABELS, &histogram),
                     ERR_INVALID);
    assert_int_equal(metrics_histogram(metrics, "h", "H", words, 1, METRIC_NO_LABELS, &histogram),
                     ERR_INVALID);
    expect_render(metrics, "# HELP a A\n# TYPE a counter\na 0.0\n");
    metrics_free(metrics);
}

/* What prometheus_client writes for these. */
static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0.0, "0.0"},
        {5.0, "5.0"},
        {-5.0, "-5.0"},
        {1.5, "1.5"},
        {999999.0, "999999.0"},
        {1000000.0, "1e+06"},
        {1000001.0, "1.000001e+06"},
        {10000000.0, "1e+07"},
        {1234567.0, "1.234567e+06"},
        {1234567.25, "1.23456725e+06"},
        {123456.75, "123456.75"},
        {123456789012345.6, "1.234567890123456e+14"},
        {1e15, "1e+15"},
        {9007199254740992.0, "9.007199254740992e+15"},
        {1e16, "1e+16"},
        {1.2345678901234568e16, "1.2345678901234568e+16"},
        {1.5e22, "1.5e+22"},
        {-1e6, "-1000000.0"},
        {-1234567.5, "-1234567.5"},
        {-1e16, "-1e+16"},
        {0.1, "0.1"},
        {0.30000000000000004, "0.30000000000000004"},
        {1e-4, "0.0001"},
        {1e-5, "1e-05"},
        {1.25e-7, "1.25e-07"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {(double)INFINITY, "+Inf"},
        {-(double)INFINITY, "-Inf"},
        {(double)NAN, "NaN"},
    };
    struct metrics *metrics;
    struct gauge *gauge;
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    assert_int_equal(metrics_gauge(metrics, "g", "G", METRIC_NO_LABELS, &gauge), ERR_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char expected[128];
        snprintf(expected, sizeof(expected), "# HELP g G\n# TYPE g gauge\ng %s\n", cases[i].text);
        gauge_set(gauge, cases[i].value);
        expect_render(metrics, expected);
    }
    metrics_free(metrics);
}

static void test_remove(void **state)
{
    (void)state;
    struct metrics *metrics;
    struct counter *counter;
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    static const char *const values[] = {"1", "2", "3"};
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(
            metrics_counter(metrics, "c", "C", METRIC_LABELS({"n", values[i]}), &counter), ERR_OK);
        counter_add(counter, i + 1);
    }
    metrics_remove(metrics, "c", METRIC_LABELS({"n", "2"}));
    metrics_remove(metrics, "c", METRIC_LABELS({"n", "2"}));
    metrics_remove(metrics, "unknown", METRIC_LABELS({"n", "2"}));
    expect_render(metrics, "# HELP c C\n# TYPE c counter\nc{n=\"1\"} 1.0\nc{n=\"3\"} 3.0\n");
    assert_int_equal(metrics_counter(metrics, "c", "C", METRIC_LABELS({"n", "2"}), &counter),
                     ERR_OK);
    expect_render(metrics,
                  "# HELP c C\n# TYPE c counter\nc{n=\"1\"} 1.0\nc{n=\"3\"} 3.0\nc{n=\"2\"} 0.0\n");
    metrics_free(metrics);
}

static void collect(void *ctx)
{
    struct metrics *metrics = ctx;
    struct gauge *cell;
    assert_int_equal(metrics_counter_cell(metrics, "cpu_total", "Cpu", METRIC_NO_LABELS, &cell),
                     ERR_OK);
    gauge_set(cell, 2.5);
}

static void test_collect(void **state)
{
    (void)state;
    struct metrics *metrics;
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    assert_int_equal(metrics_on_collect(metrics, collect, metrics), ERR_OK);
    expect_render(metrics, "# HELP cpu_total Cpu\n# TYPE cpu_total counter\ncpu_total 2.5\n");
    metrics_free(metrics);
}

/* A family without series is named; what was counted elsewhere is added. */
static void test_merge(void **state)
{
    (void)state;
    struct metrics *metrics;
    struct histogram *histogram;
    struct counter *counter;
    const uint64_t counts[] = {2, 0, 1, 4};
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    assert_int_equal(metrics_counter(metrics, "c_total", "C", METRIC_NO_LABELS, NULL), ERR_OK);
    assert_int_equal(metrics_counter(metrics, "c_total", "D", METRIC_NO_LABELS, NULL),
                     ERR_CONFLICT);
    assert_int_equal(metrics_histogram(metrics, "h", "H", bounds, 3, METRIC_NO_LABELS, NULL),
                     ERR_OK);
    expect_render(metrics, "# HELP c_total C\n# TYPE c_total counter\n"
                           "# HELP h H\n# TYPE h histogram\n");
    assert_int_equal(metrics_histogram(metrics, "h", "H", bounds, 3, METRIC_NO_LABELS, &histogram),
                     ERR_OK);
    assert_int_equal(metrics_counter(metrics, "c_total", "C", METRIC_LABELS({"a", "1"}), &counter),
                     ERR_OK);
    histogram_observe(histogram, 0.25);
    histogram_merge(histogram, counts, 4, 11.5);
    histogram_merge(histogram, counts, 4, 0.25);
    expect_render(metrics, "# HELP c_total C\n# TYPE c_total counter\nc_total{a=\"1\"} 0.0\n"
                           "# HELP h H\n# TYPE h histogram\n"
                           "h_bucket{le=\"0.1\"} 4.0\nh_bucket{le=\"0.5\"} 5.0\n"
                           "h_bucket{le=\"1.0\"} 7.0\nh_bucket{le=\"+Inf\"} 15.0\n"
                           "h_count 15.0\nh_sum 12.0\n");
    metrics_free(metrics);
}

static void test_render_limit(void **state)
{
    (void)state;
    struct metrics *metrics;
    struct gauge *gauge;
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    assert_int_equal(metrics_gauge(metrics, "g", "G", METRIC_NO_LABELS, &gauge), ERR_OK);
    struct buf out;
    buf_init(&out, 8);
    assert_int_equal(metrics_render(metrics, &out), ERR_TOO_LARGE);
    buf_fini(&out);
    metrics_free(metrics);
}

static void test_cap(void **state)
{
    (void)state;
    struct metrics_cap *cap;
    assert_int_equal(metrics_cap_new(2, &cap), ERR_OK);
    const char *a = metrics_cap_value(cap, BYTES_LITERAL("a"));
    assert_string_equal(a, "a");
    assert_string_equal(metrics_cap_value(cap, BYTES_LITERAL("x\0y")), "_other");
    assert_string_equal(metrics_cap_value(cap, BYTES_LITERAL("b")), "b");
    assert_string_equal(metrics_cap_value(cap, BYTES_LITERAL("c")), "_other");
    assert_ptr_equal(metrics_cap_value(cap, BYTES_LITERAL("a")), a);
    metrics_cap_free(cap);
    metrics_cap_free(NULL);
}

static enum err build(struct metrics **ret_metrics, struct metrics_cap **ret_cap)
{
    struct counter *counter;
    struct histogram *histogram;
    enum err err = metrics_new(ret_metrics);
    if (err == ERR_OK)
        err = metrics_cap_new(10, ret_cap);
    for (int i = 0; i < 20 && err == ERR_OK; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%d", i);
        err = metrics_counter(*ret_metrics, "c", "C", METRIC_LABELS({"n", name}), &counter);
        if (err == ERR_OK)
            err =
                metrics_histogram(*ret_metrics, name, "H", bounds, 3, METRIC_NO_LABELS, &histogram);
        if (err == ERR_OK)
            histogram_observe(histogram, 1);
        if (err == ERR_OK)
            assert_non_null(metrics_cap_value(*ret_cap, bytes_from_text(name)));
    }
    struct buf out;
    buf_init(&out, MIB);
    if (err == ERR_OK)
        err = metrics_render(*ret_metrics, &out);
    buf_fini(&out);
    return err;
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct metrics *metrics = NULL;
        struct metrics_cap *cap = NULL;
        mem_fail_at(k);
        enum err err = build(&metrics, &cap);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_true(err == ERR_OK || (failed && err == ERR_NO_MEMORY));
        if (metrics)
            mem_free(render(metrics)); /* what there is stays whole */
        metrics_free(metrics);
        metrics_cap_free(cap);
        if (!failed)
            break;
    }
}

struct adder {
    struct metrics *metrics;
    struct histogram *histogram;
};

static void *add_many(void *ctx)
{
    struct adder *adder = ctx;
    for (int i = 0; i < 2000; i++) {
        struct counter *counter;
        if (metrics_counter(adder->metrics, "c", "C", METRIC_LABELS({"n", i % 2 ? "odd" : "even"}),
                            &counter) == ERR_OK)
            counter_add(counter, 1);
        histogram_observe(adder->histogram, 0.25);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct adder adder;
    pthread_t threads[4];
    assert_int_equal(metrics_new(&adder.metrics), ERR_OK);
    assert_int_equal(
        metrics_histogram(adder.metrics, "h", "H", bounds, 3, METRIC_NO_LABELS, &adder.histogram),
        ERR_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, &adder), 0);
    for (int i = 0; i < 20; i++)
        mem_free(render(adder.metrics));
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    char *text = render(adder.metrics);
    assert_non_null(strstr(text, "h_count 8000.0\nh_sum 2000.0\n"));
    assert_non_null(strstr(text, "c{n=\"odd\"} 4000.0\n"));
    mem_free(text);
    metrics_free(adder.metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),     cmocka_unit_test(test_the_page_is_utf_8),
        cmocka_unit_test(test_refuses),      cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_remove),       cmocka_unit_test(test_collect),
        cmocka_unit_test(test_render_limit), cmocka_unit_test(test_cap),
        cmocka_unit_test(test_no_memory),    cmocka_unit_test(test_threads),
        cmocka_unit_test(test_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
