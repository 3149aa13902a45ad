/*
 * What the service says of itself. unhealthy: nothing can be acknowledged; degraded: something is
 * away (a store, a broker, a database) but what was acknowledged is safe and mends itself.
 */
#include "app/service_parts.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/utf8.h"
#include "os/clock.h"

#include <stdarg.h>
#include <stdio.h>

#define HEALTH_LOG_EVERY_NS (NS_PER_S / 2)

/* A store that takes so long to answer is told, before the time-out is over. */
#define STORE_SILENT_NS (3 * NS_PER_S)

/* A loop that has not gone round for so long is stuck; and a thread that writes to the disk or
 * makes files, each step of which may take long on a slow machine. */
#define LIVE_STUCK_NS        (15 * NS_PER_S)
#define LIVE_STUCK_THREAD_NS (60 * NS_PER_S)

static void degrade(struct api_health *health, enum api_status status, char text[API_TEXT_BYTES],
                    const char *format, ...) __attribute__((format(printf, 4, 5)));

static void degrade(struct api_health *health, enum api_status status, char text[API_TEXT_BYTES],
                    const char *format, ...)
{
    if (status > health->status)
        health->status = status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, API_TEXT_BYTES, format, arguments);
    va_end(arguments);
}

#define SOURCES_NAMED_MAX  3
#define SOURCES_TEXT_BYTES 540 /* for all that are named */

/* Those of one kind: the first few by name, of the others how many. */
struct sources_named {
    uint32_t count;
    struct {
        char name[64];
        char why[SOURCES_TEXT_BYTES];
    } first[SOURCES_NAMED_MAX];
};

struct sources_seen {
    struct api_health *health;
    uint32_t count;
    struct sources_named failed;
    struct sources_named warned;
};

static void text_cut(char *text, size_t size, const char *from, size_t size_max)
{
    struct bytes whole = bytes_from_text(from);
    snprintf(text, size, "%.*s", (int)utf8_cut(whole, size_max < size ? size_max : size - 1), from);
}

static void named_add(struct sources_named *named, const char *name, const char *why)
{
    uint32_t i = named->count++;
    if (i >= SOURCES_NAMED_MAX)
        return;
    text_cut(named->first[i].name, sizeof(named->first[i].name), name, 60);
    text_cut(named->first[i].why, sizeof(named->first[i].why), why, SOURCES_TEXT_BYTES);
}

/* One has all the room; of several each has its part. */
static void named_tell(const struct sources_named *named, char text[API_TEXT_BYTES])
{
    uint32_t shown = named->count < SOURCES_NAMED_MAX ? named->count : SOURCES_NAMED_MAX;
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < shown; i++) {
        char why[SOURCES_TEXT_BYTES];
        size_t room = SOURCES_TEXT_BYTES / shown - strlen(named->first[i].name) - 8;
        bool is_cut = strlen(named->first[i].why) > room;
        text_cut(why, sizeof(why), named->first[i].why, room);
        int length = snprintf(text + used, API_TEXT_BYTES - used, "%s%s: %s%s", i > 0 ? "; " : "",
                              named->first[i].name, why, is_cut ? "..." : "");
        used += length > 0 ? (size_t)length : 0;
    }
    if (named->count > shown)
        snprintf(text + used, API_TEXT_BYTES - used, "; and %u more", named->count - shown);
}

static void on_source_seen(void *ctx, const struct manager_source *source)
{
    struct sources_seen *seen = ctx;
    const struct source_status *status = &source->status;
    seen->count++;
    if (status->state == SOURCE_ACTIVE)
        seen->health->active_data_sources++;
    bool bad = status->state == SOURCE_ERROR ||
               (status->state == SOURCE_CONNECTING && status->last_error[0]);
    if (bad)
        named_add(&seen->failed, source->name, status->last_error);
    else if (status->warning[0])
        named_add(&seen->warned, source->name, status->warning);
}

/* Returns how many there are. */
static uint32_t sources_fill(struct service *service, struct api_health *health)
{
    struct sources_seen seen = {.health = health};
    char text[API_TEXT_BYTES];
    char why[512];
    if (!service->manager)
        return 0;
    manager_each(service->manager, on_source_seen, &seen);
    named_tell(seen.failed.count > 0 ? &seen.failed : &seen.warned, text);
    if (seen.failed.count > 0)
        degrade(health, API_DEGRADED, health->data_sources, "degraded: %u of %u failing; %s",
                seen.failed.count, seen.count, text);
    else if (seen.warned.count > 0)
        degrade(health, API_DEGRADED, health->data_sources, "degraded: %s", text);
    if (!manager_database_good(service->manager, why))
        degrade(health, API_DEGRADED, health->database, "degraded: %s", why);
    return seen.count;
}

static void store_fill(struct service *service, struct api_health *health)
{
    struct upload_stats uploads;
    struct uploader_health store;
    struct pipeline_stats pipeline;
    struct inherit_stats inherit;
    upload_stats_get(uploader_upload(service->uploader), &uploads);
    uploader_health_get(service->uploader, &store);
    pipeline_stats_get(service->pipeline, &pipeline);
    if (uploads.stopped_cuts > 0)
        degrade(health, API_DEGRADED, health->object_store, "unhealthy: %.560s",
                uploads.stopped_error);
    else if (uploads.consecutive_failures > 0 || uploads.aside_cuts > 0)
        degrade(health, API_DEGRADED, health->object_store, "unhealthy: %.560s",
                uploads.last_error);
    else if (store.silent_ns > STORE_SILENT_NS)
        degrade(health, API_DEGRADED, health->object_store,
                "unhealthy: %s has not answered for %lld s", store.description,
                (long long)(store.silent_ns / NS_PER_S));
    else if (store.probed && store.err != ERR_OK)
        degrade(health, API_DEGRADED, health->object_store, "unhealthy: %.560s", store.sentence);
    inherit_stats_get(service->inherit, &inherit);
    if (inherit.waiting > 0 && inherit.err != ERR_OK && !health->object_store[0])
        degrade(health, API_DEGRADED, health->object_store,
                "unhealthy: %llu datasets wait for their columns; %.460s",
                (unsigned long long)inherit.waiting, inherit.sentence);
    if (pipeline.lander.last_error[0])
        degrade(health, API_DEGRADED, health->journal, "degraded: spool: %.540s",
                pipeline.lander.last_error);
    if (pipeline.paused)
        degrade(health, API_DEGRADED, health->data_buffer, "full");
}

static void database_fill(struct service *service, struct api_health *health)
{
    struct pipeline_stats pipeline;
    struct catalog_health catalog = {0};
    pipeline_stats_get(service->pipeline, &pipeline);
    mutex_lock(&service->lock);
    struct catalog_watch *watch = service->catalog_watch;
    mutex_unlock(&service->lock);
    if (watch)
        catalog_watch_get(watch, &catalog);
    if (pipeline.memory_waiting)
        degrade(health, API_DEGRADED, health->database,
                "degraded: %llu datasets wait and hold %llu MiB of MEMORY_LIMIT_BYTES, so their "
                "sources are paused; %.400s",
                (unsigned long long)pipeline.postponed,
                (unsigned long long)(pipeline.waiting_bytes / MIB), pipeline.postponed_reason);
    else if (pipeline.postponed_reason[0])
        degrade(health, API_DEGRADED, health->database, "degraded: %.560s",
                pipeline.postponed_reason);
    else if (catalog.probed && catalog.err != ERR_OK)
        degrade(health, API_DEGRADED, health->database, "degraded: %.560s", catalog.sentence);
}

static void journal_fill(struct service *service, struct api_health *health)
{
    struct journal_stats stats;
    journal_stats_get(service->journal, &stats);
    mutex_lock(&service->lock);
    enum err recovery_err = service->recovery_err;
    struct diag diag = service->recovery_diag;
    mutex_unlock(&service->lock);
    if (recovery_err != ERR_OK)
        degrade(health, API_UNHEALTHY, health->journal, "unhealthy: recovery: %.540s", diag.text);
    else if (stats.failing)
        degrade(health, API_UNHEALTHY, health->journal, "unhealthy: %.560s", stats.reason);
    else if (stats.paused)
        degrade(health, API_DEGRADED, health->journal, "degraded: %.560s", stats.reason);
    else if (stats.damaged_blocks > 0)
        degrade(health, API_DEGRADED, health->journal,
                "degraded: %llu damaged blocks were skipped at recovery; see the log",
                (unsigned long long)stats.damaged_blocks);
}

static void metadata_fill(struct service *service, struct api_health *health)
{
    struct metadata_state state;
    if (!service->metadata)
        return;
    metadata_state_get(service->metadata, &state);
    if (!state.good && !state.starting)
        degrade(health, API_DEGRADED, health->metadata, "degraded: %.560s", state.text);
}

/* A database that works again is healthy, and what it lacks is said all the same. */
static void metadata_past_fill(struct service *service, struct api_health *health)
{
    struct metadata_state state;
    if (!service->metadata)
        return;
    metadata_state_get(service->metadata, &state);
    if (state.good && state.past[0])
        degrade(health, API_HEALTHY, health->metadata, "healthy; %.560s", state.past);
}

static void metadata_past_log(struct service *service)
{
    struct metadata_state state;
    if (!service->metadata)
        return;
    metadata_state_get(service->metadata, &state);
    if (state.set_asides != service->metadata_asides_told)
        log_warning("metadata", "%s", state.past);
    service->metadata_asides_told = state.set_asides;
}

struct accounting {
    struct api_health *health;
};

static void on_account(void *ctx, const struct account *account)
{
    struct api_health *health = ((struct accounting *)ctx)->health;
    struct account_totals totals;
    account_totals_get(account, &totals);
    health->messages_received += totals.received;
    health->messages_stored += totals.stored;
    health->messages_rejected += totals.rejected;
    health->messages_repeated += totals.repeated;
    health->messages_pending += totals.pending;
    if (!health->accounting)
        return;
    json_t *entry = json_object();
    json_object_set_new(entry, "received", json_integer((json_int_t)totals.received));
    json_object_set_new(entry, "stored", json_integer((json_int_t)totals.stored));
    json_object_set_new(entry, "rejected", json_integer((json_int_t)totals.rejected));
    json_object_set_new(entry, "repeated", json_integer((json_int_t)totals.repeated));
    json_object_set_new(entry, "pending", json_integer((json_int_t)totals.pending));
    json_object_set_new(health->accounting, account->source_id, entry);
}

void health_fill(void *ctx, struct api_health *health)
{
    struct service *service = ctx;
    struct accounting accounting = {health};
    health->accounting = json_object();
    account_each(service->book, on_account, &accounting);
    health->messages_processed = health->messages_received - health->messages_repeated;
    (void)sources_fill(service, health);
    store_fill(service, health);
    database_fill(service, health);
    journal_fill(service, health);
    metadata_fill(service, health);
    metadata_past_fill(service, health);
}

/* The sources log for themselves. */
static void component_log(struct health_log *log, const char *name, const char *text,
                          int64_t now_ns)
{
    switch (health_log_next(log, text, now_ns)) {
    case HEALTH_LOG_BAD:
        log_warning(name, "%s", text);
        break;
    case HEALTH_LOG_WELL:
        log_info(name, "healthy again");
        break;
    case HEALTH_LOG_NOTHING:
        break;
    }
}

void health_log_changes(struct service *service)
{
    int64_t now_ns = clock_monotonic_ns(&clock_system);
    if (now_ns - service->health_logged_ns < HEALTH_LOG_EVERY_NS)
        return;
    service->health_logged_ns = now_ns;
    struct api_health health = {0};
    store_fill(service, &health);
    database_fill(service, &health);
    journal_fill(service, &health);
    metadata_fill(service, &health);
    component_log(&service->store_log, "store", health.object_store, now_ns);
    component_log(&service->journal_log, "journal", health.journal, now_ns);
    component_log(&service->database_log, "database", health.database, now_ns);
    component_log(&service->metadata_log, "metadata", health.metadata, now_ns);
    metadata_past_log(service);
    const char *full = "";
    if (health.data_buffer[0] && health.journal[0])
        full = "the data buffer is full: sources wait for the journal";
    else if (health.data_buffer[0])
        full = "the data buffer is full: sources wait for the workers, whose open batches "
               "MEMORY_LIMIT_BYTES bounds; raise it, or group many topics (dataset_levels)";
    component_log(&service->buffer_log, "pipeline", full, now_ns);
}

void health_ready(void *ctx, struct api_ready *ret_ready)
{
    struct service *service = ctx;
    struct api_health health = {0};
    struct journal_stats journal;
    journal_stats_get(service->journal, &journal);
    struct uploader_health store_health;
    mutex_lock(&service->lock);
    bool started = service->sources_started && !service->stopping;
    mutex_unlock(&service->lock);
    uploader_health_get(service->uploader, &store_health);
    bool store = store_health.probed && store_health.err == ERR_OK &&
                 store_health.silent_ns <= STORE_SILENT_NS;
    uint32_t sources = sources_fill(service, &health);
    /* A store, a broker or a database away is told, and does not make the service unready: it goes
     * on. But while no source is known, as none could be read yet, nothing can be acknowledged. */
    bool serves = started && (sources > 0 || manager_loaded(service->manager));
    *ret_ready = (struct api_ready){
        .ready = serves && !journal.failing,
        .check_count = 4,
        .checks = {{"minio", store},
                   {"data_sources", started && health.status == API_HEALTHY},
                   {"journal", !journal.failing},
                   {"database", started && health.database[0] == '\0'}},
    };
}

bool health_live(void *ctx)
{
    struct service *service = ctx;
    int64_t now_ns = clock_monotonic_ns(&clock_system);
    for (uint32_t i = 0; i < service->loop_count; i++)
        if (now_ns - atomic_load(&service->loops[i].alive_ns) > LIVE_STUCK_NS)
            return false;
    struct journal_stats journal;
    journal_stats_get(service->journal, &journal);
    if (journal.alive_ns != 0 && now_ns - journal.alive_ns > LIVE_STUCK_THREAD_NS)
        return false;
    return pipeline_stuck(service->pipeline, LIVE_STUCK_THREAD_NS) == NULL;
}

static void on_account_gauges(void *ctx, const struct account *account)
{
    struct service_gauges *gauges = ctx;
    struct account_totals totals;
    account_totals_get(account, &totals);
    gauges->unlanded_messages += totals.pending;
}

static void on_source_metrics(void *ctx, const struct manager_source *source)
{
    struct service *service = ctx;
    service_metrics_source(service->service_metrics, bytes_from_text(source->ingestion_id),
                           source->connector->name, source->status.state == SOURCE_ACTIVE,
                           source->status.restarts);
}

static void sources_collect(struct service *service)
{
    if (service->manager)
        manager_each(service->manager, on_source_metrics, service);
}

static void uploads_collect(const struct upload_stats *uploads, struct service_gauges *gauges)
{
    gauges->upload_cuts = uploads->uploaded_cuts;
    gauges->upload_latency_seconds = (double)uploads->latency_ns_total / (double)NS_PER_S;
    gauges->upload_put_seconds = (double)uploads->put_ns_total / (double)NS_PER_S;
    gauges->upload_lag_seconds = (double)uploads->lag_ns / (double)NS_PER_S;
    gauges->upload_failures = uploads->failures;
}

void health_collect(void *ctx, struct service_gauges *gauges)
{
    struct service *service = ctx;
    struct journal_stats journal;
    struct pipeline_stats pipeline;
    struct upload_stats uploads;
    journal_stats_get(service->journal, &journal);
    pipeline_stats_get(service->pipeline, &pipeline);
    upload_stats_get(uploader_upload(service->uploader), &uploads);
    account_each(service->book, on_account_gauges, gauges);
    uploads_collect(&uploads, gauges);
    sources_collect(service);
    gauges->journal_bytes = journal.size_bytes;
    gauges->journal_used_bytes = journal.used_bytes;
    gauges->journal_max_bytes = journal.size_max_bytes;
    gauges->journal_syncs = journal.syncs;
    gauges->journal_sync_seconds = (double)journal.sync_ns_total / (double)NS_PER_S;
    gauges->journal_failures = journal.failures;
    gauges->journal_damaged_blocks = journal.damaged_blocks;
    struct metadata_state metadata = {0};
    if (service->metadata)
        metadata_state_get(service->metadata, &metadata);
    gauges->metadata_set_asides = metadata.set_asides;
    gauges->spool_bytes = spool_bytes(service->spool);
    int64_t oldest_ns = pipeline.oldest_open_ns > uploads.oldest_age_ns ? pipeline.oldest_open_ns
                                                                        : uploads.oldest_age_ns;
    gauges->oldest_unlanded_seconds = (double)oldest_ns / (double)NS_PER_S;
    gauges->intake_paused = pipeline.paused;
    gauges->queues[0] = (struct service_queue){"worker_blocks", pipeline.queue_blocks};
    gauges->queues[1] = (struct service_queue){"lander_cuts", pipeline.lander.queue_cuts};
    gauges->queues[2] = (struct service_queue){"upload_cuts", uploads.pending_cuts};
    gauges->queue_count = 3;
}
