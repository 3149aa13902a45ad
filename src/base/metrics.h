#pragma once
/*
 * The metrics registry: families of counters, gauges and histograms with labels, rendered in the
 * Prometheus text format 0.0.4. Looking a series up takes a lock and is for set-up; adding to one
 * is a relaxed atomic and is for any thread, at any rate. A series lives as long as its registry.
 *
 * Names are [a-zA-Z_:][a-zA-Z0-9_:]*, label names the same without the colon (ERR_INVALID); label
 * values are any UTF-8 of at most 1 KiB. At most METRICS_SERIES_MAX series (ERR_TOO_MANY).
 */
#include "base/buf.h"
#include "base/err.h"

#include <stdatomic.h>
#include <stdint.h>

#define METRICS_LABELS_MAX 6
#define METRICS_SERIES_MAX 1000000

struct metrics;

struct metric_label {
    const char *name;
    const char *value;
};

struct counter {
    _Atomic uint64_t value; /* whole; rendered as prometheus_client does, 5.0 */
};

struct gauge {
    _Atomic double value;
};

struct histogram; /* bounds fixed by its family */

/* An argument list of labels: METRIC_LABELS({"pod", pod}, {"source_type", "mqtt"}) */
#define METRIC_LABELS(...)                                                                         \
    (const struct metric_label[]){__VA_ARGS__},                                                    \
        sizeof((const struct metric_label[]){__VA_ARGS__}) / sizeof(struct metric_label)
#define METRIC_NO_LABELS NULL, 0

enum err metrics_new(struct metrics **ret_metrics) ERR_MUST_USE;
void metrics_free(struct metrics *metrics);

/* Get or create. The family is made by the first call; help and type must agree afterwards
 * (ERR_CONFLICT). ret NULL: only the family is made, so that the page names it before its first
 * series. */
enum err metrics_counter(struct metrics *metrics, const char *name, const char *help,
                         const struct metric_label *labels, size_t label_count,
                         struct counter **ret_counter) ERR_MUST_USE;
enum err metrics_gauge(struct metrics *metrics, const char *name, const char *help,
                       const struct metric_label *labels, size_t label_count,
                       struct gauge **ret_gauge) ERR_MUST_USE;
/* A counter whose total somebody else keeps (CPU seconds, bytes on disk): set when collecting, in a
 * cell like a gauge's, but of type counter. */
enum err metrics_counter_cell(struct metrics *metrics, const char *name, const char *help,
                              const struct metric_label *labels, size_t label_count,
                              struct gauge **ret_cell) ERR_MUST_USE;
/* bounds: texts exactly as they are to stand in le="…", ascending, without +Inf; static. */
enum err metrics_histogram(struct metrics *metrics, const char *name, const char *help,
                           const char *const *bounds, size_t bound_count,
                           const struct metric_label *labels, size_t label_count,
                           struct histogram **ret_histogram) ERR_MUST_USE;

/* Values known only when asked: on_collect runs at the start of each render, on the rendering
 * thread, and sets gauges and counters. */
enum err metrics_on_collect(struct metrics *metrics, void (*on_collect)(void *ctx),
                            void *ctx) ERR_MUST_USE;

/* Removes one series (a source was deleted). Its pointer is dead afterwards; a family without
 * series keeps its HELP and TYPE lines. */
void metrics_remove(struct metrics *metrics, const char *name, const struct metric_label *labels,
                    size_t label_count);

enum err metrics_render(struct metrics *metrics, struct buf *out) ERR_MUST_USE;

/* A cap on the values of one label (METRICS_MAX_PARTITIONS): the first value_max distinct values
 * are themselves, all others "_other". Any thread; the answer lives as long as the cap. */
struct metrics_cap;
#define METRICS_CAP_OTHER "_other"
enum err metrics_cap_new(size_t value_max, struct metrics_cap **ret_cap) ERR_MUST_USE;
void metrics_cap_free(struct metrics_cap *cap);
/* Never NULL: without memory, or for what is no label value (over 1 KiB), it is "_other" too. */
const char *metrics_cap_value(struct metrics_cap *cap, struct bytes value);

static inline void counter_add(struct counter *counter, uint64_t by)
{
    atomic_fetch_add_explicit(&counter->value, by, memory_order_relaxed);
}

static inline uint64_t counter_get(const struct counter *counter)
{
    return atomic_load_explicit(&counter->value, memory_order_relaxed);
}

static inline void gauge_set(struct gauge *gauge, double value)
{
    atomic_store_explicit(&gauge->value, value, memory_order_relaxed);
}

void histogram_observe(struct histogram *histogram, double value);
/* The same value count times. */
void histogram_observe_many(struct histogram *histogram, double value, uint64_t count);
/* What was counted elsewhere: one plain count for each bound and one for +Inf, not cumulated, and
 * the sum of the values. cell_count must be the family's count of bounds plus one. */
void histogram_merge(struct histogram *histogram, const uint64_t *counts, size_t cell_count,
                     double sum);
