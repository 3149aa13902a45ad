/* What is known only when asked: buffer sizes, the accounts and states of sources, the owner's
 * gauges. Everything here runs under collect_lock. */
#include "base/alloc.h"
#include "pipeline/service_metrics_state.h"

/* What stands in the map under a label of a cap. */
static void *series_known(struct service_metrics *service, const struct map *map, const char *label)
{
    if (label != service->label_last) {
        service->label_last = label;
        service->series_last = map_get(map, bytes_from_text(label));
    }
    return service->series_last;
}

static void walk_begin(struct service_metrics *service)
{
    service->label_last = NULL;
}

static struct buffer_series *buffer_get(struct service_metrics *service, const char *label)
{
    struct buffer_series *series = series_known(service, &service->buffers, label);
    if (series)
        return series;
    walk_begin(service);
    series = mem_zalloc(1, sizeof(*series));
    if (!series)
        return NULL;
    const struct metric_label labels[] = {{"pod", service->pod}, {"ingestion_id", label}};
    series->ingestion_id = label;
    enum err err =
        metrics_gauge(service->metrics, SERVICE_BUFFER_MESSAGES, labels, 2, &series->messages);
    if (err == ERR_OK)
        err = metrics_gauge(service->metrics, SERVICE_BUFFER_BYTES, labels, 2, &series->bytes);
    if (err == ERR_OK)
        err = map_put(&service->buffers, bytes_from_text(label), series);
    if (err != ERR_OK) {
        mem_free(series);
        return NULL;
    }
    return series;
}

static enum err on_buffer(void *ctx, struct bytes id, uint64_t rows, uint64_t bytes)
{
    struct service_metrics *service = ctx;
    struct buffer_series *series = buffer_get(service, metrics_cap_value(service->partitions, id));
    if (!series)
        return ERR_OK;
    series->seen = true;
    series->messages_now += rows;
    series->bytes_now += bytes;
    return ERR_OK;
}

/* Sets the gauges; those of evicted buffers go. */
static void collect_buffers(struct service_metrics *service)
{
    walk_begin(service);
    if (!service->recent || recent_sizes_unsorted(service->recent, on_buffer, service) != ERR_OK)
        return;
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&service->buffers, &cursor));) {
        struct buffer_series *series = entry->value;
        if (series->seen) {
            gauge_set(series->messages, (double)series->messages_now);
            gauge_set(series->bytes, (double)series->bytes_now);
            series->messages_now = series->bytes_now = 0;
            series->seen = false;
            continue;
        }
        const struct metric_label labels[] = {{"pod", service->pod},
                                              {"ingestion_id", series->ingestion_id}};
        metrics_remove(service->metrics, "ingestor_buffer_size_messages", labels, 2);
        metrics_remove(service->metrics, "ingestor_buffer_size_bytes", labels, 2);
        map_remove(&service->buffers, bytes_from_text(series->ingestion_id));
        mem_free(series);
    }
}

/* ---- sources ---- */

static const struct {
    const char *name;
    const char *help;
} source_cells[SOURCE_CELLS] = {
    [SOURCE_RECEIVED] =
        {"ingestor_source_messages_received_total",
         "Messages received from the source since start, with what recovery found pending"},
    [SOURCE_STORED] = {"ingestor_source_messages_stored_total",
                       "Messages of the source that are in the lake"},
    [SOURCE_REJECTED] = {"ingestor_source_messages_rejected_total",
                         "Messages of the source that became dead letters"},
    [SOURCE_REPEATED] = {"ingestor_source_messages_repeated_total",
                         "Repetitions that were recognised and not stored"},
    [SOURCE_PENDING] = {"ingestor_source_messages_pending",
                        "Messages of the source on their way to the lake"},
    [SOURCE_RECONNECTS] = {"ingestor_source_reconnects_total",
                           "Times the source's connection was made again"},
};

static enum err cell_make(struct service_metrics *service, const char *label, size_t cell,
                          struct gauge **ret_cell)
{
    const struct metric_label labels[] = {{"pod", service->pod}, {"source_id", label}};
    return (cell == SOURCE_PENDING ? metrics_gauge : metrics_counter_cell)(
        service->metrics, source_cells[cell].name, source_cells[cell].help, labels, 2, ret_cell);
}

static struct source_series *source_get(struct service_metrics *service, struct bytes source_id)
{
    const char *label = metrics_cap_value(service->source_ids, source_id);
    struct source_series *series = series_known(service, &service->sources, label);
    if (series)
        return series;
    walk_begin(service);
    series = mem_zalloc(1, sizeof(*series));
    enum err err = series ? ERR_OK : ERR_NO_MEMORY;
    for (size_t i = 0; err == ERR_OK && i < SOURCE_CELLS; i++)
        err = cell_make(service, label, i, &series->cells[i]);
    if (err == ERR_OK)
        err = map_put(&service->sources, bytes_from_text(label), series);
    if (err != ERR_OK) {
        mem_free(series);
        return NULL;
    }
    return series;
}

static void on_account(void *ctx, const struct account *account)
{
    struct account_totals totals;
    struct source_series *series = source_get(ctx, bytes_from_text(account->source_id));
    if (!series)
        return;
    account_totals_get(account, &totals);
    series->now[SOURCE_RECEIVED] += totals.received;
    series->now[SOURCE_STORED] += totals.stored;
    series->now[SOURCE_REJECTED] += totals.rejected;
    series->now[SOURCE_REPEATED] += totals.repeated;
    series->now[SOURCE_PENDING] += totals.pending;
}

void service_metrics_source(struct service_metrics *service, struct bytes source_id,
                            const char *source_type, bool active, uint64_t reconnects)
{
    struct source_type *type;
    struct source_series *series = source_get(service, source_id);
    if (series)
        series->now[SOURCE_RECONNECTS] += reconnects;
    if (service_metrics_type(service, bytes_from_text(source_type), &type) == ERR_OK)
        type->active_now += active;
}

/* Sets what accounts and on_collect have summed up. */
static void collect_sources(struct service_metrics *service)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&service->sources, &cursor));) {
        struct source_series *series = entry->value;
        for (size_t i = 0; i < SOURCE_CELLS; i++) {
            gauge_set(series->cells[i], (double)series->now[i]);
            series->now[i] = 0;
        }
    }
    mutex_lock(&service->lock);
    for (size_t i = 0; i < service->type_count; i++) {
        gauge_set(service->types[i].active, (double)service->types[i].active_now);
        service->types[i].active_now = 0;
    }
    mutex_unlock(&service->lock);
}

/* ---- the owner's gauges ---- */

static void set_gauge(struct service_metrics *service, const char *name, const char *help,
                      bool is_counter, double value)
{
    struct gauge *gauge;
    const struct metric_label labels[] = {{"pod", service->pod}};
    enum err err = is_counter
                       ? metrics_counter_cell(service->metrics, name, help, labels, 1, &gauge)
                       : metrics_gauge(service->metrics, name, help, labels, 1, &gauge);
    if (err == ERR_OK)
        gauge_set(gauge, value);
}

static void collect_queues(struct service_metrics *service, const struct service_gauges *gauges)
{
    for (size_t i = 0; i < gauges->queue_count && i < SERVICE_QUEUES_MAX; i++) {
        struct gauge *gauge;
        if (metrics_gauge(service->metrics, "ingestor_queue_depth", "Entries in a queue",
                          METRIC_LABELS({"pod", service->pod}, {"queue", gauges->queues[i].name}),
                          &gauge) == ERR_OK)
            gauge_set(gauge, (double)gauges->queues[i].depth);
    }
}

static void collect_gauges(struct service_metrics *service)
{
    if (!service->on_collect)
        return;
    struct service_gauges gauges = {0};
    service->on_collect(service->ctx, &gauges);
    const struct {
        const char *name;
        const char *help;
        bool is_counter;
        double value;
    } all[] = {
        {"ingestor_journal_bytes", "Bytes of the journal's segments on disk", false,
         (double)gauges.journal_bytes},
        {"ingestor_journal_used_bytes", "Bytes of them that hold what is not in the spool", false,
         (double)gauges.journal_used_bytes},
        {"ingestor_journal_max_bytes", "Limit of journal and spool together", false,
         (double)gauges.journal_max_bytes},
        {"ingestor_journal_syncs_total", "Syncs of the journal", true,
         (double)gauges.journal_syncs},
        {"ingestor_journal_sync_seconds_total", "Time spent in syncs of the journal", true,
         gauges.journal_sync_seconds},
        {"ingestor_journal_failures_total", "Failed writes and syncs of the journal", true,
         (double)gauges.journal_failures},
        {"ingestor_journal_damaged_blocks_total", "Damaged blocks that recovery skipped", true,
         (double)gauges.journal_damaged_blocks},
        {"ingestor_metadata_set_asides_total", "Damaged metadata databases that were set aside",
         true, (double)gauges.metadata_set_asides},
        {"ingestor_spool_bytes", "Bytes of files that wait for their upload", false,
         (double)gauges.spool_bytes},
        {"ingestor_upload_cuts_total", "Cuts that are in the lake", true,
         (double)gauges.upload_cuts},
        {"ingestor_upload_latency_seconds_total",
         "Time from landed in the spool to being in the lake, over all cuts", true,
         gauges.upload_latency_seconds},
        {"ingestor_upload_put_seconds_total", "Time in the object store, over all files written",
         true, gauges.upload_put_seconds},
        {"ingestor_upload_failures_total", "Uploads that failed; each is tried again", true,
         (double)gauges.upload_failures},
        {"ingestor_upload_lag_seconds", "Age of the oldest cut that waits for the object store",
         false, gauges.upload_lag_seconds},
        {"ingestor_oldest_unlanded_seconds", "Age of the oldest record that is not in the lake",
         false, gauges.oldest_unlanded_seconds},
        {"ingestor_unlanded_messages", "Acknowledged messages that are not in the lake", false,
         (double)gauges.unlanded_messages},
        {"ingestor_intake_paused", "1 while sources are paused for want of room", false,
         gauges.intake_paused ? 1 : 0},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        set_gauge(service, all[i].name, all[i].help, all[i].is_counter, all[i].value);
    collect_queues(service, &gauges);
}

void service_metrics_collect(void *ctx)
{
    struct service_metrics *service = ctx;
    mutex_lock(&service->collect_lock);
    collect_buffers(service);
    walk_begin(service); /* of the accounts, and of the sources that collect_gauges asks for */
    account_each(service->book, on_account, service);
    collect_gauges(service);
    collect_sources(service);
    mutex_unlock(&service->collect_lock);
}
