#pragma once
/* The parts of the running service, shared by service.c (start, stop) and health.c (what is told
 * about them). */
#include "api/api.h"
#include "app/config.h"
#include "app/health_log.h"
#include "journal/journal.h"
#include "lake/catalog_watch.h"
#include "lake/inherit.h"
#include "lake/landing.h"
#include "lake/spool.h"
#include "lake/store.h"
#include "lake/uploader.h"
#include "metadata/metadata.h"
#include "os/clock_jump.h"
#include "os/loop.h"
#include "os/process_metrics.h"
#include "os/thread.h"
#include "pipeline/pipeline.h"
#include "sources/letters.h"
#include "sources/manager.h"

#define SERVICE_LOOPS_MAX      4
#define SERVICE_DEFAULT_SOURCE "Local Simulators MQTT"

struct service {
    const struct config *config;
    struct metrics *metrics;
    struct service_metrics *service_metrics;
    struct process_metrics *process_metrics;
    struct account_book *book;
    struct recent *recent;
    struct spool *spool;
    char dedupe_folder[SPOOL_PATH_SIZE];
    struct journal *journal;
    struct metadata *metadata; /* from the journal's recovery on */
    struct store *store;
    struct catalog *catalog;
    struct catalog_watch *catalog_watch; /* from threads_begin on */
    struct inherit *inherit;             /* before the catalog */
    struct landing *landing;
    struct uploader *uploader;
    struct pipeline *pipeline;
    struct loop loops[SERVICE_LOOPS_MAX];
    struct loop *loop_list[SERVICE_LOOPS_MAX];
    struct ingest_loop *ingests[SERVICE_LOOPS_MAX];
    uint32_t loop_count;
    struct manager *manager;
    struct letters *letters;
    struct api *api;

    struct thread recovery_thread;
    struct mutex lock;
    bool stopping;
    bool sources_started; /* after the replay is over */
    enum err recovery_err;
    struct diag recovery_diag;

    /* Of the tick's thread. */
    int64_t health_logged_ns;
    struct clock_jump clock_jump;
    struct health_log store_log;
    struct health_log journal_log;
    struct health_log database_log;
    struct health_log buffer_log;
    struct health_log metadata_log;
    uint64_t metadata_asides_told;
};

/* Logs what changed in health, about once a second. Of the tick's thread. */
void health_log_changes(struct service *service);

/* struct api_services callbacks; ctx is the service. */
void health_fill(void *ctx, struct api_health *health);
void health_ready(void *ctx, struct api_ready *ret_ready);
bool health_live(void *ctx);
/* Sets what is known only when asked, at each scrape. */
void health_collect(void *ctx, struct service_gauges *gauges);
