#include "pipeline/service_metrics_state.h"

#include "base/alloc.h"

#define LABEL_BYTES_MAX 1024

static const char *const delay_bounds[] = {"0.1",  "0.5",  "1.0",  "2.0",  "5.0",
                                           "10.0", "30.0", "60.0", "300.0"};
static const char *const latency_bounds[] = {"0.005", "0.01", "0.025", "0.05", "0.075",
                                             "0.1",   "0.25", "0.5",   "0.75", "1.0",
                                             "2.5",   "5.0",  "7.5",   "10.0"};
static const char *const upload_bounds[] = {"0.01", "0.05", "0.1",  "0.25", "0.5", "1.0",
                                            "2.5",  "5.0",  "10.0", "30.0", "60.0"};
#define BOUNDS(bounds) bounds, sizeof(bounds) / sizeof((bounds)[0])

/* ---- making and freeing ---- */

static enum err unlabelled_make(struct service_metrics *service)
{
    struct metrics *metrics = service->metrics;
    enum err err = metrics_counter(metrics, "mqtt_messages_received_total",
                                   "Total number of MQTT messages received", METRIC_NO_LABELS,
                                   &service->mqtt_received);
    if (err == ERR_OK)
        err = metrics_counter(metrics, "mqtt_messages_processed_total",
                              "Total number of MQTT messages processed", METRIC_NO_LABELS,
                              &service->mqtt_processed);
    if (err == ERR_OK)
        err = metrics_histogram(metrics, "mqtt_message_processing_latency_seconds",
                                "Time from an MQTT message's arrival to its being processed",
                                BOUNDS(latency_bounds), METRIC_NO_LABELS, &service->mqtt_latency);
    return err;
}

static enum err pod_series_make(struct service_metrics *service,
                                const struct service_metrics_options *options)
{
    struct metrics *metrics = service->metrics;
    struct gauge *info;
    enum err err = metrics_counter(
        metrics, "ingestor_bytes_written_total", "Total bytes written to the lake",
        METRIC_LABELS({"pod", service->pod}, {"layer", "bronze"}), &service->bytes_written);
    if (err == ERR_OK)
        err = metrics_counter(
            metrics, "ingestor_files_written_total", "Total number of files written to the lake",
            METRIC_LABELS({"pod", service->pod}, {"layer", "bronze"}), &service->files_written);
    if (err == ERR_OK)
        err = metrics_histogram(
            metrics, "ingestor_upload_seconds", "Duration of upload attempts to the object store",
            BOUNDS(upload_bounds), METRIC_LABELS({"pod", service->pod}), &service->upload_seconds);
    if (err == ERR_OK)
        err = metrics_counter(metrics, "ingestor_upload_failures_total",
                              "Upload attempts that failed; each is tried again",
                              METRIC_LABELS({"pod", service->pod}), &service->upload_failures);
    if (err == ERR_OK)
        err = metrics_gauge(metrics, "ingestor_info", "Information about this ingestor",
                            METRIC_LABELS({"pod_name", service->pod},
                                          {"namespace", options->pod_namespace},
                                          {"version", options->version}),
                            &info);
    if (err == ERR_OK)
        gauge_set(info, 1);
    return err;
}

static enum err service_make(struct service_metrics *service,
                             const struct service_metrics_options *options)
{
    service->pod = mem_strdup(options->pod);
    enum err err = service->pod ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = metrics_cap_new(options->partitions_max, &service->partitions);
    if (err == ERR_OK)
        err = metrics_cap_new(options->partitions_max, &service->source_ids);
    if (err == ERR_OK)
        err = metrics_cap_new(SOURCE_TYPES_MAX - 1, &service->type_names);
    if (err == ERR_OK)
        err = pod_series_make(service, options);
    if (err == ERR_OK)
        err = unlabelled_make(service);
    if (err == ERR_OK)
        err = metrics_on_collect(service->metrics, service_metrics_collect, service);
    return err;
}

enum err service_metrics_new(struct metrics *metrics, const struct service_metrics_options *options,
                             struct service_metrics **ret_service)
{
    struct service_metrics *service = mem_zalloc(1, sizeof(*service));
    if (!service)
        return ERR_NO_MEMORY;
    service->metrics = metrics;
    service->recent = options->recent;
    mutex_init(&service->lock);
    mutex_init(&service->collect_lock);
    enum err err = service_make(service, options);
    if (err != ERR_OK) {
        service_metrics_free(service);
        return err;
    }
    *ret_service = service;
    return ERR_OK;
}

void service_metrics_free(struct service_metrics *service)
{
    if (!service)
        return;
    for (struct service_source *source = service->first; source;) {
        struct service_source *next = source->next;
        mem_free(source->id);
        mem_free(source);
        source = next;
    }
    for (struct source_series *series = service->series_first; series;) {
        struct source_series *next = series->next;
        mem_free(series);
        series = next;
    }
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&service->buffers, &cursor));)
        mem_free(entry->value);
    map_fini(&service->buffers);
    map_fini(&service->sources);
    map_fini(&service->source_series);
    metrics_cap_free(service->partitions);
    metrics_cap_free(service->source_ids);
    metrics_cap_free(service->type_names);
    mutex_fini(&service->lock);
    mutex_fini(&service->collect_lock);
    mem_free(service->pod);
    mem_free(service);
}

/* ---- datasets ---- */

static enum err type_series_make(struct service_metrics *service, struct source_type *type)
{
    const struct metric_label labels[] = {{"pod", service->pod}, {"source_type", type->name}};
    enum err err = metrics_counter(service->metrics, "ingestor_bytes_received_total",
                                   "Total bytes received", labels, 2, &type->bytes_received);
    if (err == ERR_OK)
        err = metrics_histogram(service->metrics, "ingestor_timestamp_delay_seconds",
                                "Delay between a message's timestamp and its arrival",
                                BOUNDS(delay_bounds), labels, 2, &type->delay);
    if (err == ERR_OK)
        err = metrics_gauge(service->metrics, "ingestor_active_data_sources",
                            "Number of active data sources", labels, 2, &type->active);
    return err;
}

static enum err type_get(struct service_metrics *service, struct bytes name,
                         struct source_type *ret_type)
{
    struct source_type type = {.name = metrics_cap_value(service->type_names, name)};
    enum err err = ERR_OK;
    mutex_lock(&service->lock);
    size_t i = 0;
    while (i < service->type_count && service->types[i].name != type.name)
        i++;
    if (i < service->type_count) {
        type = service->types[i];
    } else {
        err = type_series_make(service, &type);
        if (err == ERR_OK && service->type_count < SOURCE_TYPES_MAX)
            service->types[service->type_count++] = type;
    }
    mutex_unlock(&service->lock);
    *ret_type = type;
    return err;
}

enum err service_metrics_dataset(struct service_metrics *service, struct bytes source_type,
                                 struct bytes ingestion_id, struct service_dataset *ret_dataset)
{
    struct source_type type;
    struct service_dataset dataset = {.ingestion_id =
                                          metrics_cap_value(service->partitions, ingestion_id)};
    enum err err = type_get(service, source_type, &type);
    if (err != ERR_OK)
        return err;
    const struct metric_label labels[] = {
        {"pod", service->pod}, {"source_type", type.name}, {"ingestion_id", dataset.ingestion_id}};
    err = metrics_counter(service->metrics, "ingestor_messages_received_total",
                          "Total number of messages received", labels, 3, &dataset.received);
    if (err == ERR_OK)
        err = metrics_counter(service->metrics, "ingestor_messages_processed_total",
                              "Total number of messages processed", labels, 3, &dataset.processed);
    if (err == ERR_OK)
        err = metrics_counter(
            service->metrics, "ingestor_values_rescued_total",
            "Values that did not fit their column and went to _rescued_data",
            METRIC_LABELS({"pod", service->pod}, {"ingestion_id", dataset.ingestion_id}),
            &dataset.rescued);
    if (err != ERR_OK)
        return err;
    dataset.bytes_received = type.bytes_received;
    dataset.delay = type.delay;
    dataset.source_type = type.name;
    if (strcmp(type.name, "mqtt") == 0) {
        dataset.mqtt_received = service->mqtt_received;
        dataset.mqtt_processed = service->mqtt_processed;
        dataset.mqtt_latency = service->mqtt_latency;
    }
    *ret_dataset = dataset;
    return ERR_OK;
}

void service_metrics_received(const struct service_dataset *dataset, uint64_t messages,
                              uint64_t bytes)
{
    counter_add(dataset->received, messages);
    counter_add(dataset->bytes_received, bytes);
    if (dataset->mqtt_received)
        counter_add(dataset->mqtt_received, messages);
}

void service_metrics_processed(const struct service_dataset *dataset, uint64_t messages)
{
    counter_add(dataset->processed, messages);
    if (dataset->mqtt_processed)
        counter_add(dataset->mqtt_processed, messages);
}

void service_metrics_rescued(const struct service_dataset *dataset, uint64_t values)
{
    counter_add(dataset->rescued, values);
}

void service_metrics_delay(const struct service_dataset *dataset, double seconds, uint64_t messages)
{
    if (seconds >= 0)
        histogram_observe_many(dataset->delay, seconds, messages);
}

void service_metrics_latency(const struct service_dataset *dataset, double seconds,
                             uint64_t messages)
{
    if (dataset->mqtt_latency)
        histogram_observe_many(dataset->mqtt_latency, seconds > 0 ? seconds : 0, messages);
}

void service_metrics_failed(struct service_metrics *service, const struct service_dataset *dataset,
                            const char *error_type, uint64_t messages)
{
    struct counter *failed;
    enum err err = metrics_counter(
        service->metrics, "ingestor_messages_failed_total", "Total number of messages that failed",
        METRIC_LABELS({"pod", service->pod}, {"source_type", dataset->source_type},
                      {"ingestion_id", dataset->ingestion_id}, {"error_type", error_type}),
        &failed);
    if (err == ERR_OK)
        counter_add(failed, messages);
}

/* ---- sources ---- */

static enum err source_series_fill(struct service_metrics *service, const char *label,
                                   struct source_series *series)
{
    const struct {
        const char *name;
        const char *help;
        struct counter **ret_counter;
    } counters[] = {
        {"ingestor_source_messages_received_total",
         "Messages received from the source since start, with what recovery found pending",
         &series->received},
        {"ingestor_source_messages_stored_total", "Messages of the source that are in the lake",
         &series->stored},
        {"ingestor_source_messages_rejected_total",
         "Messages of the source that became dead letters", &series->rejected},
        {"ingestor_source_messages_repeated_total",
         "Repetitions that were recognised and not stored", &series->repeated},
        {"ingestor_source_reconnects_total", "Times the source's connection was made again",
         &series->reconnects},
    };
    const struct metric_label labels[] = {{"pod", service->pod}, {"source_id", label}};
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        enum err err = metrics_counter(service->metrics, counters[i].name, counters[i].help, labels,
                                       2, counters[i].ret_counter);
        if (err != ERR_OK)
            return err;
    }
    return metrics_gauge(service->metrics, "ingestor_source_messages_pending",
                         "Messages of the source on their way to the lake", labels, 2,
                         &series->pending);
}

static enum err source_series_get(struct service_metrics *service, const char *label,
                                  struct source_series **ret_series)
{
    *ret_series = map_get(&service->source_series, bytes_from_text(label));
    if (*ret_series)
        return ERR_OK;
    struct source_series *series = mem_zalloc(1, sizeof(*series));
    if (!series)
        return ERR_NO_MEMORY;
    enum err err = source_series_fill(service, label, series);
    if (err == ERR_OK)
        err = map_put(&service->source_series, bytes_from_text(label), series);
    if (err != ERR_OK) {
        mem_free(series);
        return err;
    }
    series->next = service->series_first;
    service->series_first = series;
    *ret_series = series;
    return ERR_OK;
}

static enum err source_add(struct service_metrics *service, struct bytes id, const char *label,
                           struct service_source **ret_source)
{
    struct service_source *source = mem_zalloc(1, sizeof(*source));
    if (!source)
        return ERR_NO_MEMORY;
    source->id = mem_zalloc(1, id.size + 1);
    enum err err = source->id ? source_series_get(service, label, &source->series) : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = map_put(&service->sources, id, source);
    if (err != ERR_OK) {
        mem_free(source->id);
        mem_free(source);
        return err;
    }
    memcpy(source->id, id.data, id.size);
    *(service->last ? &service->last->next : &service->first) = source;
    service->last = source;
    *ret_source = source;
    return ERR_OK;
}

enum err service_metrics_source(struct service_metrics *service, struct bytes source_id,
                                struct service_source **ret_source)
{
    if (source_id.size == 0 || source_id.size > LABEL_BYTES_MAX)
        return ERR_INVALID;
    enum err err = ERR_OK;
    const char *label = metrics_cap_value(service->source_ids, source_id);
    mutex_lock(&service->lock);
    *ret_source = map_get(&service->sources, source_id);
    if (!*ret_source)
        err = source_add(service, source_id, label, ret_source);
    mutex_unlock(&service->lock);
    return err;
}

void service_source_received(struct service_source *source, uint64_t messages)
{
    atomic_fetch_add(&source->received, messages);
    counter_add(source->series->received, messages);
}

void service_source_stored(struct service_source *source, uint64_t messages)
{
    atomic_fetch_add(&source->stored, messages);
    counter_add(source->series->stored, messages);
}

void service_source_rejected(struct service_source *source, uint64_t messages)
{
    atomic_fetch_add(&source->rejected, messages);
    counter_add(source->series->rejected, messages);
}

void service_source_repeated(struct service_source *source, uint64_t messages)
{
    atomic_fetch_add(&source->repeated, messages);
    counter_add(source->series->repeated, messages);
}

void service_source_reconnected(struct service_source *source)
{
    counter_add(source->series->reconnects, 1);
}

/* What is done is read before what came: nothing is ever less than nothing. */
void service_source_accounting(const struct service_source *source,
                               struct service_accounting *ret_accounting)
{
    ret_accounting->stored = atomic_load(&source->stored);
    ret_accounting->rejected = atomic_load(&source->rejected);
    ret_accounting->repeated = atomic_load(&source->repeated);
    ret_accounting->received = atomic_load(&source->received);
    uint64_t done = ret_accounting->stored + ret_accounting->rejected + ret_accounting->repeated;
    ret_accounting->pending = ret_accounting->received > done ? ret_accounting->received - done : 0;
}

enum err
service_metrics_accounting(struct service_metrics *service,
                           enum err (*on_source)(void *ctx, const char *source_id,
                                                 const struct service_accounting *accounting),
                           void *ctx)
{
    enum err err = ERR_OK;
    mutex_lock(&service->lock);
    struct service_source *source = service->first;
    mutex_unlock(&service->lock);
    while (source && err == ERR_OK) {
        struct service_accounting accounting;
        service_source_accounting(source, &accounting);
        err = on_source(ctx, source->id, &accounting);
        mutex_lock(&service->lock);
        source = source->next; /* sources are only ever added, at the end */
        mutex_unlock(&service->lock);
    }
    return err;
}

/* ---- the rest ---- */

void service_metrics_active(struct service_metrics *service, const char *source_type,
                            uint64_t sources)
{
    struct source_type type;
    if (type_get(service, bytes_from_text(source_type), &type) == ERR_OK)
        gauge_set(type.active, (double)sources);
}

void service_metrics_file_written(struct service_metrics *service, uint64_t bytes)
{
    counter_add(service->files_written, 1);
    counter_add(service->bytes_written, bytes);
}

void service_metrics_upload(struct service_metrics *service, double seconds, bool success)
{
    histogram_observe(service->upload_seconds, seconds);
    if (!success)
        counter_add(service->upload_failures, 1);
}

void service_metrics_on_collect(struct service_metrics *service,
                                void (*on_collect)(void *ctx, struct service_gauges *gauges),
                                void *ctx)
{
    service->on_collect = on_collect;
    service->ctx = ctx;
}
