/*
 * Start, and why in this order:
 *
 *   1. journal     its lock says that we are alone; what it recovered decides all the rest
 *   2. store, catalog, pipeline: made, not running
 *   3. API         so that a long recovery can be watched
 *   4. landing     what LANDED promised is checked against spool and store; then the threads of
 *                  journal, uploader, landers and workers
 *   5. replay      what is in the journal and not in the lake, on a thread of its own
 *   6. sources     only after the replay, so that a dataset's rows stay in the journal's order
 *
 * Stop is the same backwards, from the sockets to the lake, each stage drained before the next:
 * sources (received messages are made durable and acknowledged), open blocks, workers (cut), lander
 * (LANDED), uploader (PUT), journal (last block called durable), API last, so that the stop can be
 * watched too. What a stage has not done at the deadline stays in the journal or the spool.
 */
#include "app/service.h"

#include "app/config_store.h"
#include "app/service_parts.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "connectors/registry.h"
#include "lake/catalog.h"
#include "version.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Shares of the time a stop may take, each counted from its begin. */
#define STOP_SOURCES_PERCENT  25
#define STOP_PIPELINE_PERCENT 70
#define STOP_UPLOADS_PERCENT  90
#define STOP_METADATA_PERCENT 95

static uint32_t processor_count(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : (uint32_t)count;
}

/* --- start --- */

static enum err books_begin(struct service *service)
{
    const struct config *config = service->config;
    enum err err = metrics_new(&service->metrics);
    if (err == ERR_OK)
        err = account_book_new(&service->book);
    if (err == ERR_OK)
        err = recent_new((uint32_t)config->buffer_max_rows, (uint32_t)config->buffer_ttl_seconds,
                         &clock_system, &service->recent);
    if (err == ERR_OK)
        err = process_metrics_new(service->metrics, &service->process_metrics);
    if (err == ERR_OK)
        err = service_metrics_new(service->metrics,
                                  &(struct service_metrics_options){
                                      .pod = config->pod,
                                      .pod_namespace = config->pod_namespace,
                                      .version = INGESTOR_VERSION,
                                      .partitions_max = config->metrics_partitions_max,
                                      .recent = service->recent,
                                      .book = service->book,
                                  },
                                  &service->service_metrics);
    return err;
}

static enum err on_damage(void *ctx, const char *sentence)
{
    (void)ctx;
    log_error("journal", "%s", sentence);
    return ERR_OK;
}

static enum err dedupe_begin(struct service *service, struct diag *diag)
{
    int length = snprintf(service->dedupe_folder, sizeof(service->dedupe_folder), "%s/%s",
                          service->config->journal_dir, DEDUPE_FOLDER);
    if (length >= (int)sizeof(service->dedupe_folder))
        return diag_set(diag, ERR_TOO_LARGE, "JOURNAL_DIR is too long a path");
    return dedupe_folder_open(&fs_posix, service->dedupe_folder, clock_realtime_us(&clock_system),
                              diag);
}

static enum err journal_begin(struct service *service, struct diag *diag)
{
    const struct config *config = service->config;
    enum err err = spool_new(&fs_posix, config->journal_dir, &service->spool);
    if (err == ERR_OK)
        err = journal_open(
            &(struct journal_options){
                .fs = &fs_posix,
                .clock = &clock_system,
                .folder = config->journal_dir,
                .size_max_bytes = config->journal_max_bytes,
                .sync = config->journal_sync,
                .sync_interval_ms = config->journal_sync_interval_ms,
                .spool_bytes = spool_bytes_of,
                .ctx = &service->spool,
            },
            &service->journal, diag);
    if (err == ERR_OK)
        err = journal_damage(service->journal, on_damage, NULL);
    if (err == ERR_OK)
        err = spool_open(service->spool, diag);
    if (err == ERR_OK)
        err = dedupe_begin(service, diag);
    return err;
}

static enum err metadata_begin(struct service *service)
{
    const struct config *config = service->config;
    return metadata_new(
        &(struct metadata_options){
            .path = config->metadata_db_path,
            .journal = service->journal,
            .clock = &clock_system,
            .metrics = service->metrics,
            .series_max = config->metrics_partitions_max,
            .quality_seconds = (uint32_t)config->metadata_quality_seconds,
            .quality_days = (uint32_t)config->metadata_quality_days,
            .memory_limit_bytes = config->memory_limit_bytes,
        },
        &service->metadata);
}

/* Cuts that recovery found LANDED were received before this start: they count as received now. */
static void landed_count_received(struct service *service, const struct landed *landed)
{
    struct account *account;
    if (account_get(service->book, landed->source_id, &account) == ERR_OK)
        atomic_fetch_add(&account->received, landed->messages);
}

static enum err on_pending(void *ctx, const struct landed *landed)
{
    landed_count_received(ctx, landed);
    return ERR_OK;
}

static void on_uploaded(void *ctx, const struct landed *landed)
{
    struct service *service = ctx;
    for (uint32_t i = 0; i < landed->file_count; i++)
        service_metrics_file_written(service->service_metrics, landed->files[i].size_bytes);
    account_uploaded(service->book, landed->dataset_id, landed->through,
                     &(struct account_part){landed->source_id, landed->messages, landed->rejected});
}

static void on_report(void *ctx, const char *sentence)
{
    (void)ctx;
    log_error("landing", "%s", sentence);
}

static bool is_pending(void *ctx, struct bytes dataset_id)
{
    struct service *service = ctx;
    return upload_is_pending(uploader_upload(service->uploader), dataset_id);
}

static enum err lake_begin(struct service *service, struct diag *diag)
{
    const struct config *config = service->config;
    enum err err = config_store_open(config, &service->store, diag);
    if (err == ERR_OK)
        err = catalog_open(config->database_url, &service->catalog, diag);
    if (err == ERR_OK)
        err = uploader_new(
            &(struct uploader_options){
                .upload =
                    {
                        .clock = &clock_system,
                        .spool = service->spool,
                        .store = service->store,
                        .journal = landing_journal_of(service->journal),
                        .seed = (uint64_t)clock_monotonic_ns(&clock_system),
                        .on_uploaded = on_uploaded,
                        .ctx = service,
                    },
            },
            &service->uploader);
    if (err == ERR_OK)
        err = inherit_new(&(struct inherit_options){.catalog = service->catalog,
                                                    .store = service->store,
                                                    .clock = &clock_system,
                                                    .pending = is_pending,
                                                    .ctx = service},
                          &service->inherit);
    if (err == ERR_OK)
        err = landing_new(
            &(struct landing_options){
                .spool = service->spool,
                .store = service->store,
                .journal = landing_journal_of(service->journal),
                .upload = uploader_upload(service->uploader),
                .metadata = &metadata_landing,
                .metadata_ctx = service->metadata,
                .on_report = on_report,
                .ctx = service,
            },
            &service->landing);
    return err;
}

static enum err lake_recover(struct service *service, struct diag *diag)
{
    struct landing_recovery recovery = {0};
    enum err err = journal_pending_uploads(service->journal, on_pending, service);
    if (err == ERR_OK)
        err = landing_recover(service->landing, &recovery, diag);
    if (err == ERR_OK && (recovery.pending_cuts > 0 || recovery.redo_cuts > 0))
        log_info("landing",
                 "recovered: %llu cuts to upload, %llu to make again, %llu stray files removed",
                 (unsigned long long)recovery.pending_cuts, (unsigned long long)recovery.redo_cuts,
                 (unsigned long long)recovery.stray_files);
    return err;
}

static enum err pipeline_begin(struct service *service)
{
    const struct config *config = service->config;
    uint32_t processors = processor_count();
    return pipeline_new(
        &(struct pipeline_options){
            .clock = &clock_system,
            .journal = service->journal,
            .landing = service->landing,
            .book = service->book,
            .recent = service->recent,
            .metrics = service->service_metrics,
            .batch =
                {
                    .catalog = inherit_catalog(service->inherit),
                    .parquet =
                        {
                            .codec = config->parquet_codec,
                            .zstd_level = 3,
                            .page_bytes = 1 * MIB,
                            .page_rows = 20000,
                            .created_by =
                                "ingestor version " INGESTOR_VERSION " (build " INGESTOR_BUILD ")",
                            .has_checksums = true,
                        },
                    .journal_uuid = journal_uuid(service->journal),
                    .row_group_rows = 1000000,
                    .row_group_bytes = 128 * MIB,
                    .dedupe = {&fs_posix, service->dedupe_folder, journal_uuid(service->journal)},
                    .observer = &metadata_observer,
                    .observer_ctx = service->metadata,
                },
            .rule = {config->partition_by, (uint16_t)config->partition_window_hours},
            .worker_count = processors < WORKERS_MAX ? processors : WORKERS_MAX,
            .flush_interval_seconds = (uint32_t)config->flush_interval_seconds,
            .flush_max_bytes = config->flush_max_bytes,
            .flush_files_per_second_max = (uint32_t)config->flush_files_per_second_max,
            .memory_limit_bytes = config->memory_limit_bytes,
        },
        &service->pipeline);
}

/* The API runs already. */
static enum err catalog_watch_begin(struct service *service, struct diag *diag)
{
    struct catalog_watch *watch;
    enum err err = catalog_watch_start(service->catalog, 0, &watch, diag);
    if (err != ERR_OK)
        return err;
    mutex_lock(&service->lock);
    service->catalog_watch = watch;
    mutex_unlock(&service->lock);
    return ERR_OK;
}

static enum err threads_begin(struct service *service, struct diag *diag)
{
    enum err err = journal_start(service->journal, diag);
    if (err == ERR_OK)
        err = uploader_start(service->uploader, diag);
    if (err == ERR_OK)
        err = inherit_start(service->inherit, diag);
    if (err == ERR_OK)
        err = catalog_watch_begin(service, diag);
    if (err == ERR_OK)
        err = metadata_start(service->metadata, service->store);
    if (err == ERR_OK)
        err = pipeline_start(service->pipeline);
    return err;
}

static enum err loops_begin(struct service *service)
{
    uint32_t wanted = processor_count() / 2;
    wanted = wanted < 1 ? 1 : wanted > SERVICE_LOOPS_MAX ? SERVICE_LOOPS_MAX : wanted;
    for (uint32_t i = 0; i < wanted; i++) {
        char name[16];
        snprintf(name, sizeof(name), "io-%u", i);
        enum err err = loop_start(&service->loops[i], name);
        if (err != ERR_OK)
            return err;
        service->loop_count++;
        service->loop_list[i] = &service->loops[i];
        err = pipeline_ingest_loop(service->pipeline, &service->loops[i], wanted,
                                   &service->ingests[i]);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

/* "Local Simulators MQTT", registered at the first start of all. */
static enum err default_source_declare(struct service *service, struct diag *diag)
{
    const struct config *config = service->config;
    json_t *topics = json_array();
    for (size_t i = 0; topics && i < config->mqtt_topics.count; i++)
        json_array_append_new(topics, json_string(config->mqtt_topics.items[i]));
    json_t *source = json_pack("{s:s, s:s, s:{s:s, s:I, s:o}, s:b, s:s}", "name",
                               SERVICE_DEFAULT_SOURCE, "type_name", "mqtt", "config", "broker",
                               config->mqtt_broker, "port", (json_int_t)config->mqtt_port, "topics",
                               topics, "enabled", 1, "created_by", "system_auto_register");
    enum err err = source ? manager_declare_default(service->manager, source, diag) : ERR_NO_MEMORY;
    json_decref(source);
    return err;
}

static enum err letters_desk_begin(struct service *service)
{
    return letters_new(&(struct letters_options){.store = service->store,
                                                 .manager = service->manager,
                                                 .loop = service->loop_list[0],
                                                 .ingest = service->ingests[0],
                                                 .journal_uuid = journal_uuid(service->journal),
                                                 .clock = &clock_system},
                       &service->letters);
}

static enum err sources_begin(struct service *service, struct diag *diag)
{
    const struct config *config = service->config;
    /* The default of every MQTT source that names no group of its own; read by the connector. */
    if (setenv("MQTT_SHARED_GROUP", config->mqtt_shared_group, 1) != 0)
        return ERR_NO_MEMORY;
    enum err err = registry_init(diag);
    if (err == ERR_OK)
        err = manager_new(
            &(struct manager_options){
                .loops = service->loop_list,
                .ingests = service->ingests,
                .loop_count = service->loop_count,
                .replica_id = journal_uuid(service->journal),
                .database_url = config->database_url,
                .book = service->book,
            },
            &service->manager);
    if (err == ERR_OK)
        err = letters_desk_begin(service);
    if (err == ERR_OK)
        err = manager_declare(service->manager, config->sources, diag);
    if (err == ERR_OK && config->auto_register)
        err = default_source_declare(service, diag);
    return err;
}

static enum err api_begin(struct service *service, struct diag *diag)
{
    const struct config *config = service->config;
    struct buf origins;
    buf_init(&origins, 64 * KIB);
    for (size_t i = 0; i < config->cors_origins.count; i++)
        buf_printf(&origins, "%s%s", i > 0 ? "," : "", config->cors_origins.items[i]);
    const char *text = buf_cstr(&origins);
    enum err err = text ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = api_start(&(struct api_options){.host = config->host,
                                              .port = (uint16_t)config->port,
                                              .cors_origins = text,
                                              .clock = &clock_system},
                        &(struct api_services){.version = INGESTOR_VERSION,
                                               .recent = service->recent,
                                               .metrics = service->metrics,
                                               .manager = service->manager,
                                               .metadata = service->metadata,
                                               .letters = service->letters,
                                               .health = health_fill,
                                               .ready = health_ready,
                                               .live = health_live,
                                               .ctx = service},
                        &service->api, diag);
    buf_fini(&origins);
    return err;
}

/* On a thread of its own: a long replay is watched over the API, and can be stopped. */
static void recovery_run(void *ctx)
{
    struct service *service = ctx;
    struct diag diag = {0};
    enum err err = pipeline_recover(service->pipeline, &diag);
    mutex_lock(&service->lock);
    bool stopping = service->stopping;
    service->recovery_err = err;
    service->recovery_diag = diag;
    service->sources_started = err == ERR_OK && !stopping;
    bool start = service->sources_started;
    mutex_unlock(&service->lock);
    if (err != ERR_OK && !stopping)
        log_error("journal", "the replay of the journal stopped: %s; no source is started",
                  diag.text[0] ? diag.text : err_text(err));
    if (start) {
        letters_open(service->letters);
        manager_run_sources(service->manager);
    }
}

static int journal_exit_code(enum err err)
{
    bool journal = err == ERR_BUSY || err == ERR_VERSION || err_class(err) == ERR_CLASS_CORRUPT;
    return journal ? EXIT_SERVICE_JOURNAL : EXIT_SERVICE_FAILED;
}

static enum err service_begin(struct service *service, int *ret_exit_code, struct diag *diag)
{
    enum err err = books_begin(service);
    if (err == ERR_OK) {
        struct diag ours = {0};
        err = journal_begin(service, &ours);
        *ret_exit_code = journal_exit_code(err);
        if (err != ERR_OK)
            (void)diag_set(diag, err,
                           *ret_exit_code == EXIT_SERVICE_JOURNAL
                               ? "%s"
                               : "%s; put this right, or choose another JOURNAL_DIR",
                           ours.text[0] ? ours.text : err_text(err));
    }
    if (err == ERR_OK) {
        *ret_exit_code = EXIT_SERVICE_FAILED;
        err = metadata_begin(service);
    }
    if (err == ERR_OK)
        err = lake_begin(service, diag);
    if (err == ERR_OK)
        err = pipeline_begin(service);
    if (err == ERR_OK)
        err = loops_begin(service);
    if (err == ERR_OK) {
        *ret_exit_code = EXIT_SERVICE_USAGE;
        err = sources_begin(service, diag);
    }
    if (err == ERR_OK) {
        *ret_exit_code = EXIT_SERVICE_FAILED;
        service_metrics_on_collect(service->service_metrics, health_collect, service);
        err = api_begin(service, diag);
    }
    if (err == ERR_OK)
        err = lake_recover(service, diag);
    if (err == ERR_OK)
        err = threads_begin(service, diag);
    if (err == ERR_OK)
        err = manager_start(service->manager);
    if (err == ERR_OK)
        err = thread_start(&service->recovery_thread, "recovery", recovery_run, service);
    return err;
}

enum err service_start(const struct config *config, struct service **ret_service,
                       int *ret_exit_code, struct diag *diag)
{
    struct service *service = mem_zalloc(1, sizeof(*service));
    *ret_exit_code = EXIT_SERVICE_FAILED;
    if (!service)
        return diag_set(diag, ERR_NO_MEMORY, "no memory to start");
    service->config = config;
    mem_tune_limit(config->memory_limit_bytes);
    mutex_init(&service->lock);
    enum err err = service_begin(service, ret_exit_code, diag);
    if (err != ERR_OK) {
        (void)diag_set(diag, err, "the service cannot start: %s", err_text(err));
        service_stop(service, 0);
        return err;
    }
    log_info("serve", "lake: %s; journal: %s", service->store->description, config->journal_dir);
    *ret_service = service;
    return ERR_OK;
}

enum err service_reload(struct service *service, const struct config *config, struct diag *diag)
{
    return manager_declare(service->manager, config->sources, diag);
}

/* Nothing in here waits by the clock that jumped; what arrives from now on bears its time. */
static void clock_jump_log(struct service *service)
{
    int64_t by_us = clock_jump_next(&service->clock_jump, &clock_system);
    if (by_us != 0)
        log_warning("serve",
                    "the system clock jumped %s by %.3f s: arrival times follow it; if nobody set "
                    "it on purpose, look at NTP on this machine",
                    by_us > 0 ? "forward" : "back", fabs((double)by_us) / (double)US_PER_S);
}

void service_tick(struct service *service)
{
    struct upload_stats uploads;
    upload_stats_get(uploader_upload(service->uploader), &uploads);
    pipeline_tick(service->pipeline, uploads.lag_ns);
    health_log_changes(service);
    clock_jump_log(service);
}

/* --- stop --- */

static void intake_end(struct service *service, int64_t deadline_ns)
{
    mutex_lock(&service->lock);
    service->stopping = true;
    mutex_unlock(&service->lock);
    if (service->pipeline)
        pipeline_cancel_recovery(service->pipeline);
    thread_join(&service->recovery_thread);
    if (service->manager && !manager_stop(service->manager, deadline_ns))
        log_warning("serve", "not every source ended in time");
    if (service->letters)
        letters_stop(service->letters);
    for (uint32_t i = 0; i < service->loop_count; i++)
        if (service->ingests[i])
            ingest_loop_close(service->ingests[i]);
}

static void loops_end(struct service *service)
{
    for (uint32_t i = 0; i < service->loop_count; i++)
        loop_stop(&service->loops[i]);
    for (uint32_t i = 0; i < service->loop_count; i++)
        ingest_loop_free(service->ingests[i]);
}

void service_stop(struct service *service, uint32_t timeout_ms)
{
    int64_t begin_ns = clock_monotonic_ns(&clock_system);
    int64_t percent_ns = timeout_ms * NS_PER_MS / 100;
    bool all = true;
    if (service->inherit)
        inherit_cancel(service->inherit);
    intake_end(service, begin_ns + STOP_SOURCES_PERCENT * percent_ns);
    if (service->pipeline)
        all = pipeline_stop(service->pipeline, begin_ns + STOP_PIPELINE_PERCENT * percent_ns);
    if (service->uploader) {
        int64_t left_ns =
            begin_ns + STOP_UPLOADS_PERCENT * percent_ns - clock_monotonic_ns(&clock_system);
        uploader_stop(service->uploader, left_ns > 0 ? left_ns : 0);
    }
    if (service->metadata)
        metadata_stop(service->metadata, begin_ns + STOP_METADATA_PERCENT * percent_ns);
    if (service->journal)
        journal_stop(service->journal);
    api_stop(service->api);
    loops_end(service);
    if (!all && timeout_ms > 0)
        log_info("serve", "what is not in the lake yet is in the journal, for the next start");

    letters_free(service->letters);
    manager_free(service->manager);
    registry_fini();
    pipeline_free(service->pipeline);
    landing_free(service->landing);
    uploader_free(service->uploader);
    inherit_free(service->inherit);
    catalog_watch_stop(service->catalog_watch);
    catalog_close(service->catalog);
    if (service->store)
        service->store->ops->close(service->store);
    metadata_free(service->metadata);
    journal_close(service->journal);
    spool_free(service->spool);
    metrics_free(service->metrics);
    service_metrics_free(service->service_metrics);
    process_metrics_free(service->process_metrics);
    recent_free(service->recent);
    account_book_free(service->book);
    mutex_fini(&service->lock);
    mem_free(service);
}
