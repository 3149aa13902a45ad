#include "pipeline/service_metrics_state.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define ERROR_TYPES_MAX 64

static const char *const delay_bounds[] = {"0.1",  "0.5",  "1.0",  "2.0",  "5.0",
                                           "10.0", "30.0", "60.0", "300.0"};
static const char *const latency_bounds[] = {"0.005", "0.01", "0.025", "0.05", "0.075",
                                             "0.1",   "0.25", "0.5",   "0.75", "1.0",
                                             "2.5",   "5.0",  "7.5",   "10.0"};
#define BOUNDS(bounds) bounds, sizeof(bounds) / sizeof((bounds)[0])

/* Name and help, and bounds, of the families whose series come and go; the page names them all
 * from the start, as prometheus_client does. */
#define RECEIVED  "ingestor_messages_received_total", "Total number of messages received"
#define PROCESSED "ingestor_messages_processed_total", "Total number of messages processed"
#define FAILED    "ingestor_messages_failed_total", "Total number of messages that failed"
#define RESCUED                                                                                    \
    "ingestor_values_rescued_total",                                                               \
        "Values that did not fit their column and went to _rescued_data"
#define BYTES_RECEIVED "ingestor_bytes_received_total", "Total bytes received"
#define DELAY                                                                                      \
    "ingestor_timestamp_delay_seconds", "Delay between a message's timestamp and its arrival",     \
        BOUNDS(delay_bounds)
#define ACTIVE "ingestor_active_data_sources", "Number of active data sources"

/* ---- making and freeing ---- */

static enum err families_make(struct metrics *metrics)
{
    enum err err = metrics_counter(metrics, RECEIVED, METRIC_NO_LABELS, NULL);
    if (err == ERR_OK)
        err = metrics_counter(metrics, PROCESSED, METRIC_NO_LABELS, NULL);
    if (err == ERR_OK)
        err = metrics_counter(metrics, FAILED, METRIC_NO_LABELS, NULL);
    if (err == ERR_OK)
        err = metrics_counter(metrics, BYTES_RECEIVED, METRIC_NO_LABELS, NULL);
    if (err == ERR_OK)
        err = metrics_histogram(metrics, DELAY, METRIC_NO_LABELS, NULL);
    if (err == ERR_OK)
        err = metrics_gauge(metrics, ACTIVE, METRIC_NO_LABELS, NULL);
    if (err == ERR_OK)
        err = metrics_gauge(metrics, SERVICE_BUFFER_MESSAGES, METRIC_NO_LABELS, NULL);
    if (err == ERR_OK)
        err = metrics_gauge(metrics, SERVICE_BUFFER_BYTES, METRIC_NO_LABELS, NULL);
    return err;
}

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
        err = metrics_cap_new(ERROR_TYPES_MAX, &service->error_types);
    if (err == ERR_OK)
        err = families_make(service->metrics);
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
    service->book = options->book;
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

static void values_free(struct map *map)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(map, &cursor));)
        mem_free(entry->value);
    map_fini(map);
}

void service_metrics_free(struct service_metrics *service)
{
    if (!service)
        return;
    values_free(&service->buffers);
    values_free(&service->sources);
    metrics_cap_free(service->partitions);
    metrics_cap_free(service->source_ids);
    metrics_cap_free(service->type_names);
    metrics_cap_free(service->error_types);
    mutex_fini(&service->lock);
    mutex_fini(&service->collect_lock);
    mem_free(service->pod);
    mem_free(service);
}

/* ---- source types ---- */

static enum err type_series_make(struct service_metrics *service, struct source_type *type)
{
    const struct metric_label labels[] = {{"pod", service->pod}, {"source_type", type->name}};
    enum err err =
        metrics_counter(service->metrics, BYTES_RECEIVED, labels, 2, &type->bytes_received);
    if (err == ERR_OK)
        err = metrics_histogram(service->metrics, DELAY, labels, 2, &type->delay);
    if (err == ERR_OK)
        err = metrics_gauge(service->metrics, ACTIVE, labels, 2, &type->active);
    return err;
}

enum err service_metrics_type(struct service_metrics *service, struct bytes name,
                              struct source_type **ret_type)
{
    struct source_type type = {.name = metrics_cap_value(service->type_names, name)};
    enum err err = ERR_OK;
    mutex_lock(&service->lock);
    size_t i = 0;
    while (i < service->type_count && service->types[i].name != type.name)
        i++;
    if (i == service->type_count)
        err = i < SOURCE_TYPES_MAX ? type_series_make(service, &type) : ERR_TOO_MANY;
    if (i == service->type_count && err == ERR_OK)
        service->types[service->type_count++] = type;
    mutex_unlock(&service->lock);
    *ret_type = &service->types[i];
    return err;
}

/* ---- datasets ---- */

enum err service_metrics_dataset(struct service_metrics *service, struct bytes source_type,
                                 struct bytes ingestion_id, struct service_dataset *ret_dataset)
{
    struct source_type *type;
    struct service_dataset dataset = {.ingestion_id =
                                          metrics_cap_value(service->partitions, ingestion_id)};
    enum err err = service_metrics_type(service, source_type, &type);
    if (err != ERR_OK)
        return err;
    const struct metric_label labels[] = {
        {"pod", service->pod}, {"source_type", type->name}, {"ingestion_id", dataset.ingestion_id}};
    err = metrics_counter(service->metrics, RECEIVED, labels, 3, &dataset.received);
    if (err == ERR_OK)
        err = metrics_counter(service->metrics, PROCESSED, labels, 3, &dataset.processed);
    if (err == ERR_OK)
        err = metrics_counter(
            service->metrics, RESCUED,
            METRIC_LABELS({"pod", service->pod}, {"ingestion_id", dataset.ingestion_id}),
            &dataset.rescued);
    if (err != ERR_OK)
        return err;
    dataset.bytes_received = type->bytes_received;
    dataset.delay = type->delay;
    dataset.source_type = type->name;
    if (strcmp(type->name, "mqtt") == 0) {
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

void service_metrics_latency(const struct service_dataset *dataset, double seconds,
                             uint64_t messages)
{
    if (dataset->mqtt_latency)
        histogram_observe_many(dataset->mqtt_latency, seconds > 0 ? seconds : 0, messages);
}

static void failed_add(struct service_metrics *service, const struct service_dataset *dataset,
                       const struct batch_tally_reason *reason)
{
    const char *error_type = metrics_cap_value(service->error_types, bytes_from_text(reason->text));
    struct counter *failed;
    enum err err = metrics_counter(
        service->metrics, FAILED,
        METRIC_LABELS({"pod", service->pod}, {"source_type", dataset->source_type},
                      {"ingestion_id", dataset->ingestion_id}, {"error_type", error_type}),
        &failed);
    if (err == ERR_OK)
        counter_add(failed, reason->messages);
}

void service_metrics_tally_init(struct batch_tally *tally)
{
    static_assert(sizeof(delay_bounds) / sizeof(delay_bounds[0]) <= BATCH_TALLY_BOUNDS_MAX,
                  "the tally must hold all bounds");
    tally->delay_bound_count = sizeof(delay_bounds) / sizeof(delay_bounds[0]);
    for (uint32_t i = 0; i < tally->delay_bound_count; i++)
        tally->delay_bounds_us[i] = llround(strtod(delay_bounds[i], NULL) * (double)US_PER_S);
}

void service_metrics_tally(struct service_metrics *service, const struct service_dataset *dataset,
                           const struct batch_tally *tally)
{
    if (tally->messages + tally->repeated > 0) {
        uint64_t processed = tally->messages - tally->rejected;
        service_metrics_received(dataset, tally->messages + tally->repeated, tally->payload_bytes);
        counter_add(dataset->processed, processed);
        if (dataset->mqtt_processed)
            counter_add(dataset->mqtt_processed, processed);
    }
    if (tally->rescued > 0)
        counter_add(dataset->rescued, tally->rescued);
    if (tally->delay_count > 0)
        histogram_merge(dataset->delay, tally->delays, tally->delay_bound_count + 1,
                        tally->delay_seconds);
    for (uint32_t i = 0; i < tally->reason_count; i++)
        failed_add(service, dataset, &tally->reasons[i]);
}

/* ---- the rest ---- */

void service_metrics_file_written(struct service_metrics *service, uint64_t bytes)
{
    counter_add(service->files_written, 1);
    counter_add(service->bytes_written, bytes);
}

void service_metrics_on_collect(struct service_metrics *service,
                                void (*on_collect)(void *ctx, struct service_gauges *gauges),
                                void *ctx)
{
    service->on_collect = on_collect;
    service->ctx = ctx;
}
