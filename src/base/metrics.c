#include "base/metrics.h"

#include "base/alloc.h"
#include "base/map.h"
#include "base/metrics_number.h"
#include "base/utf8.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * registry -> families (in order of creation) -> series (in order of creation). A series keeps its
 * label text ready-made, which is its key as well, so a render copies bytes and formats one number
 * per line. The lock guards the lists; values are atomics that a render reads without stopping
 * anybody.
 */

#define METRICS_COLLECTORS_MAX  32
#define METRICS_BOUNDS_MAX      64
#define METRICS_LABEL_BYTES_MAX (size_t)1024
#define METRICS_KEY_BYTES_MAX   (size_t)(16 * 1024)

enum metric_type { METRIC_COUNTER, METRIC_COUNTER_CELL, METRIC_GAUGE, METRIC_HISTOGRAM };

static const char *const type_names[] = {"counter", "counter", "gauge", "histogram"};

struct family;

struct histogram {
    const struct family *family;
    _Atomic double sum;
    _Atomic uint64_t counts[]; /* one per bound, not cumulated, and one for +Inf */
};

struct series {
    char *labels; /* a="b",c="d" without braces; NUL-terminated */
    size_t labels_size;
    union {
        struct counter counter;
        struct gauge gauge;
        struct histogram *histogram;
    } as;
};

struct family {
    char *name;
    size_t name_size;
    char *help;
    enum metric_type type;
    const char *const *bound_texts;
    double bounds[METRICS_BOUNDS_MAX];
    size_t bound_count;
    struct map index; /* labels -> series */
    struct series **series;
    size_t series_count;
    size_t series_capacity;
};

struct collector {
    void (*on_collect)(void *ctx);
    void *ctx;
};

struct metrics {
    pthread_mutex_t lock;
    struct map index; /* name -> family */
    struct family **families;
    size_t family_count;
    size_t family_capacity;
    size_t series_count;
    struct collector collectors[METRICS_COLLECTORS_MAX];
    size_t collector_count;
};

enum err metrics_new(struct metrics **ret_metrics)
{
    struct metrics *metrics = mem_zalloc(1, sizeof(*metrics));
    if (!metrics)
        return ERR_NO_MEMORY;
    pthread_mutex_init(&metrics->lock, NULL);
    *ret_metrics = metrics;
    return ERR_OK;
}

static void series_free(const struct family *family, struct series *series)
{
    if (!series)
        return;
    if (family->type == METRIC_HISTOGRAM)
        mem_free(series->as.histogram);
    mem_free(series->labels);
    mem_free(series);
}

static void family_free(struct family *family)
{
    for (size_t i = 0; i < family->series_count; i++)
        series_free(family, family->series[i]);
    map_fini(&family->index);
    mem_free(family->series);
    mem_free(family->name);
    mem_free(family->help);
    mem_free(family);
}

void metrics_free(struct metrics *metrics)
{
    if (!metrics)
        return;
    for (size_t i = 0; i < metrics->family_count; i++)
        family_free(metrics->families[i]);
    map_fini(&metrics->index);
    mem_free(metrics->families);
    pthread_mutex_destroy(&metrics->lock);
    mem_free(metrics);
}

static bool name_char(char c, bool first, bool colon)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    return letter || (colon && c == ':') || (!first && c >= '0' && c <= '9');
}

static bool name_valid(const char *name, bool colon)
{
    if (!name || !name_char(name[0], true, colon))
        return false;
    for (const char *c = name + 1; *c; c++)
        if (!name_char(*c, false, colon))
            return false;
    return true;
}

/* Label values escape \ " and newline, help texts \ and newline. One byte that is no UTF-8 would
 * make a scraper refuse the whole page. */
static void append_escaped(struct buf *out, const char *text, bool quote)
{
    size_t left = strlen(text);
    size_t size;
    for (const char *c = text; *c; c += size, left -= size) {
        size = utf8_sequence((const uint8_t *)c, left);
        if (*c == '\n')
            buf_text(out, "\\n");
        else if (*c == '\\' || (quote && *c == '"'))
            buf_append(out, (const char[]){'\\', *c}, 2);
        else if (size > 0)
            buf_append(out, c, size);
        else
            buf_text(out, "\xef\xbf\xbd");
        size += size == 0;
    }
}

static enum err labels_key(const struct metric_label *labels, size_t label_count, struct buf *key)
{
    if (label_count > METRICS_LABELS_MAX)
        return ERR_TOO_MANY;
    for (size_t i = 0; i < label_count; i++) {
        if (!name_valid(labels[i].name, false) || !labels[i].value)
            return ERR_INVALID;
        if (strlen(labels[i].value) > METRICS_LABEL_BYTES_MAX)
            return ERR_TOO_LARGE;
        if (i > 0)
            buf_byte(key, ',');
        buf_text(key, labels[i].name);
        buf_text(key, "=\"");
        append_escaped(key, labels[i].value, true);
        buf_byte(key, '"');
    }
    return buf_cstr(key) ? ERR_OK : key->err;
}

/* Makes room for one more pointer in *items. */
static enum err pointers_reserve(void ***items, size_t count, size_t *capacity)
{
    if (count < *capacity)
        return ERR_OK;
    size_t bigger = *capacity ? *capacity * 2 : 8;
    void **grown = mem_realloc(*items, bigger * sizeof(*grown));
    if (!grown)
        return ERR_NO_MEMORY;
    *items = grown;
    *capacity = bigger;
    return ERR_OK;
}

struct request {
    const char *name;
    const char *help;
    enum metric_type type;
    const char *const *bounds;
    size_t bound_count;
};

static enum err family_bounds(struct family *family, const struct request *request)
{
    if (request->bound_count > METRICS_BOUNDS_MAX)
        return ERR_TOO_MANY;
    family->bound_texts = request->bounds;
    family->bound_count = request->bound_count;
    for (size_t i = 0; i < request->bound_count; i++) {
        char *end;
        family->bounds[i] = strtod(request->bounds[i], &end);
        if (end == request->bounds[i] || *end != '\0' || !isfinite(family->bounds[i]) ||
            (i > 0 && family->bounds[i] <= family->bounds[i - 1]))
            return ERR_INVALID;
    }
    return ERR_OK;
}

static enum err family_new(struct metrics *metrics, const struct request *request,
                           struct family **ret_family)
{
    if (!name_valid(request->name, true))
        return ERR_INVALID;
    enum err err = pointers_reserve((void ***)&metrics->families, metrics->family_count,
                                    &metrics->family_capacity);
    struct family *family = err == ERR_OK ? mem_zalloc(1, sizeof(*family)) : NULL;
    if (!family)
        return ERR_NO_MEMORY;
    family->type = request->type;
    family->name = mem_strdup(request->name);
    family->name_size = strlen(request->name);
    family->help = mem_strdup(request->help);
    err = family->name && family->help ? family_bounds(family, request) : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = map_put(&metrics->index, bytes_from_text(request->name), family);
    if (err != ERR_OK) {
        family_free(family);
        return err;
    }
    metrics->families[metrics->family_count++] = family;
    *ret_family = family;
    return ERR_OK;
}

static bool family_agrees(const struct family *family, const struct request *request)
{
    if (family->type != request->type || strcmp(family->help, request->help) != 0 ||
        family->bound_count != request->bound_count)
        return false;
    for (size_t i = 0; i < family->bound_count; i++)
        if (strcmp(family->bound_texts[i], request->bounds[i]) != 0)
            return false;
    return true;
}

static enum err series_new(const struct family *family, struct bytes labels,
                           struct series **ret_series)
{
    struct series *series = mem_zalloc(1, sizeof(*series));
    if (!series)
        return ERR_NO_MEMORY;
    series->labels = mem_dup(labels.data, labels.size + 1);
    series->labels_size = labels.size;
    if (series->labels && family->type == METRIC_HISTOGRAM) {
        size_t cells = family->bound_count + 1;
        struct histogram *histogram =
            mem_zalloc(1, sizeof(*histogram) + cells * sizeof(histogram->counts[0]));
        series->as.histogram = histogram;
        if (histogram)
            histogram->family = family;
    }
    if (!series->labels || (family->type == METRIC_HISTOGRAM && !series->as.histogram)) {
        series_free(family, series);
        return ERR_NO_MEMORY;
    }
    *ret_series = series;
    return ERR_OK;
}

static enum err series_add(struct metrics *metrics, struct family *family, struct bytes labels,
                           struct series **ret_series)
{
    if (metrics->series_count >= METRICS_SERIES_MAX)
        return ERR_TOO_MANY;
    enum err err =
        pointers_reserve((void ***)&family->series, family->series_count, &family->series_capacity);
    struct series *series = NULL;
    if (err == ERR_OK)
        err = series_new(family, labels, &series);
    if (err == ERR_OK)
        err = map_put(&family->index, labels, series);
    if (err != ERR_OK) {
        series_free(family, series);
        return err;
    }
    family->series[family->series_count++] = series;
    metrics->series_count++;
    *ret_series = series;
    return ERR_OK;
}

static enum err get_or_create(struct metrics *metrics, const struct request *request,
                              struct bytes labels, struct series **ret_series)
{
    struct family *family = map_get(&metrics->index, bytes_from_text(request->name));
    if (!family) {
        enum err err = family_new(metrics, request, &family);
        if (err != ERR_OK)
            return err;
    }
    if (!family_agrees(family, request))
        return ERR_CONFLICT;
    if (!ret_series)
        return ERR_OK;
    *ret_series = map_get(&family->index, labels);
    return *ret_series ? ERR_OK : series_add(metrics, family, labels, ret_series);
}

static enum err series_get(struct metrics *metrics, const struct request *request,
                           const struct metric_label *labels, size_t label_count,
                           struct series **ret_series)
{
    struct buf key;
    buf_init(&key, METRICS_KEY_BYTES_MAX);
    enum err err = labels_key(labels, label_count, &key);
    if (err == ERR_OK) {
        pthread_mutex_lock(&metrics->lock);
        err = get_or_create(metrics, request, buf_bytes(&key), ret_series);
        pthread_mutex_unlock(&metrics->lock);
    }
    buf_fini(&key);
    return err;
}

enum err metrics_counter(struct metrics *metrics, const char *name, const char *help,
                         const struct metric_label *labels, size_t label_count,
                         struct counter **ret_counter)
{
    struct series *series;
    const struct request request = {name, help, METRIC_COUNTER, NULL, 0};
    enum err err = series_get(metrics, &request, labels, label_count, ret_counter ? &series : NULL);
    if (err == ERR_OK && ret_counter)
        *ret_counter = &series->as.counter;
    return err;
}

enum err metrics_counter_cell(struct metrics *metrics, const char *name, const char *help,
                              const struct metric_label *labels, size_t label_count,
                              struct gauge **ret_cell)
{
    struct series *series;
    const struct request request = {name, help, METRIC_COUNTER_CELL, NULL, 0};
    enum err err = series_get(metrics, &request, labels, label_count, ret_cell ? &series : NULL);
    if (err == ERR_OK && ret_cell)
        *ret_cell = &series->as.gauge;
    return err;
}

enum err metrics_gauge(struct metrics *metrics, const char *name, const char *help,
                       const struct metric_label *labels, size_t label_count,
                       struct gauge **ret_gauge)
{
    struct series *series;
    const struct request request = {name, help, METRIC_GAUGE, NULL, 0};
    enum err err = series_get(metrics, &request, labels, label_count, ret_gauge ? &series : NULL);
    if (err == ERR_OK && ret_gauge)
        *ret_gauge = &series->as.gauge;
    return err;
}

enum err metrics_histogram(struct metrics *metrics, const char *name, const char *help,
                           const char *const *bounds, size_t bound_count,
                           const struct metric_label *labels, size_t label_count,
                           struct histogram **ret_histogram)
{
    struct series *series;
    const struct request request = {name, help, METRIC_HISTOGRAM, bounds, bound_count};
    enum err err =
        series_get(metrics, &request, labels, label_count, ret_histogram ? &series : NULL);
    if (err == ERR_OK && ret_histogram)
        *ret_histogram = series->as.histogram;
    return err;
}

enum err metrics_on_collect(struct metrics *metrics, void (*on_collect)(void *ctx), void *ctx)
{
    enum err err = ERR_OK;
    pthread_mutex_lock(&metrics->lock);
    if (metrics->collector_count == METRICS_COLLECTORS_MAX)
        err = ERR_TOO_MANY;
    else
        metrics->collectors[metrics->collector_count++] = (struct collector){on_collect, ctx};
    pthread_mutex_unlock(&metrics->lock);
    return err;
}

static void series_remove(struct metrics *metrics, struct family *family, struct bytes labels)
{
    struct series *series = map_remove(&family->index, labels);
    if (!series)
        return;
    size_t at = 0;
    while (family->series[at] != series)
        at++;
    memmove(family->series + at, family->series + at + 1,
            (family->series_count - at - 1) * sizeof(struct series *));
    family->series_count--;
    metrics->series_count--;
    series_free(family, series);
}

void metrics_remove(struct metrics *metrics, const char *name, const struct metric_label *labels,
                    size_t label_count)
{
    struct buf key;
    buf_init(&key, METRICS_KEY_BYTES_MAX);
    if (labels_key(labels, label_count, &key) == ERR_OK) {
        pthread_mutex_lock(&metrics->lock);
        struct family *family = map_get(&metrics->index, bytes_from_text(name));
        if (family)
            series_remove(metrics, family, buf_bytes(&key));
        pthread_mutex_unlock(&metrics->lock);
    }
    buf_fini(&key);
}

static void sum_add(struct histogram *histogram, double by)
{
    double sum = atomic_load_explicit(&histogram->sum, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&histogram->sum, &sum, sum + by,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

void histogram_observe_many(struct histogram *histogram, double value, uint64_t count)
{
    const struct family *family = histogram->family;
    if (isnan(value) || count == 0)
        return;
    size_t cell = 0;
    while (cell < family->bound_count && value > family->bounds[cell])
        cell++;
    atomic_fetch_add_explicit(&histogram->counts[cell], count, memory_order_relaxed);
    sum_add(histogram, value * (double)count);
}

void histogram_merge(struct histogram *histogram, const uint64_t *counts, size_t cell_count,
                     double sum)
{
    assert(cell_count == histogram->family->bound_count + 1);
    for (size_t i = 0; i < cell_count; i++)
        if (counts[i] > 0)
            atomic_fetch_add_explicit(&histogram->counts[i], counts[i], memory_order_relaxed);
    sum_add(histogram, sum);
}

void histogram_observe(struct histogram *histogram, double value)
{
    histogram_observe_many(histogram, value, 1);
}

static char *put(char *at, const char *text, size_t size)
{
    memcpy(at, text, size);
    return at + size;
}

static void render_sample(const struct family *family, const char *suffix,
                          const struct series *series, const char *bound, double value,
                          struct buf *out)
{
    size_t suffix_size = strlen(suffix);
    size_t bound_size = bound ? strlen(bound) : 0;
    if (buf_reserve(out, family->name_size + suffix_size + series->labels_size + bound_size +
                             METRICS_NUMBER_BYTES + sizeof("{,le=\"\"} \n")) != ERR_OK)
        return;
    char *line = (char *)out->data + out->size;
    char *at = put(line, family->name, family->name_size);
    at = put(at, suffix, suffix_size);
    if (series->labels_size > 0 || bound) {
        *at++ = '{';
        at = put(at, series->labels, series->labels_size);
        if (bound) {
            at = series->labels_size > 0 ? put(at, ",le=\"", 5) : put(at, "le=\"", 4);
            at = put(at, bound, bound_size);
            *at++ = '"';
        }
        *at++ = '}';
    }
    *at++ = ' ';
    at += metrics_number(at, value);
    *at++ = '\n';
    out->size += (size_t)(at - line);
}

static void render_histogram(const struct family *family, const struct series *series,
                             struct buf *out)
{
    struct histogram *histogram = series->as.histogram;
    uint64_t total = 0;
    for (size_t i = 0; i <= family->bound_count; i++) {
        total += atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
        render_sample(family, "_bucket", series,
                      i < family->bound_count ? family->bound_texts[i] : "+Inf", (double)total,
                      out);
    }
    render_sample(family, "_count", series, NULL, (double)total, out);
    render_sample(family, "_sum", series, NULL,
                  atomic_load_explicit(&histogram->sum, memory_order_relaxed), out);
}

static void render_family(const struct family *family, struct buf *out)
{
    buf_printf(out, "# HELP %s ", family->name);
    append_escaped(out, family->help, false);
    buf_printf(out, "\n# TYPE %s %s\n", family->name, type_names[family->type]);
    for (size_t i = 0; i < family->series_count; i++) {
        struct series *series = family->series[i];
        if (family->type == METRIC_HISTOGRAM)
            render_histogram(family, series, out);
        else if (family->type == METRIC_COUNTER)
            render_sample(family, "", series, NULL, (double)counter_get(&series->as.counter), out);
        else
            render_sample(family, "", series, NULL,
                          atomic_load_explicit(&series->as.gauge.value, memory_order_relaxed), out);
    }
}

enum err metrics_render(struct metrics *metrics, struct buf *out)
{
    struct collector collectors[METRICS_COLLECTORS_MAX];
    pthread_mutex_lock(&metrics->lock);
    size_t count = metrics->collector_count;
    memcpy(collectors, metrics->collectors, count * sizeof(collectors[0]));
    pthread_mutex_unlock(&metrics->lock);
    /* Without the lock: a collector may make series. */
    for (size_t i = 0; i < count; i++)
        collectors[i].on_collect(collectors[i].ctx);

    /* One family at a time, so that a worker that makes a dataset's series waits for a part of the
     * page, not for all of it. Families stay. */
    bool more = true;
    for (size_t i = 0; more && out->err == ERR_OK; i++) {
        pthread_mutex_lock(&metrics->lock);
        more = i < metrics->family_count;
        if (more)
            render_family(metrics->families[i], out);
        pthread_mutex_unlock(&metrics->lock);
    }
    return out->err;
}
