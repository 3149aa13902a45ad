#pragma once
/*
 * The data sources of this process: those of the registry (the data-source database), and those
 * that the configuration declares. The manager wants each of them to run or not, and a thread of
 * its own brings what is to what is wanted: it starts and ends instances, registers what is
 * declared, sees what other replicas changed, writes statuses and metrics. So nothing that people
 * do (registry_api.h) waits for a connector, unless it asks to.
 *
 * Any thread. With the database away, declared sources run all the same, and are registered when it
 * is back; sources that only the database knows start then.
 */
#include "database/database.h"
#include "pipeline/account.h"
#include "sources/source.h"

struct manager_options {
    struct loop *const *loops; /* the I/O loops; sources are spread over them */
    struct ingest_loop *const *ingests;
    uint32_t loop_count;
    const char *replica_id;
    const char *database_url;   /* borrowed; NULL: there is none, only declared sources run */
    struct account_book *book;  /* for the metrics */
    uint32_t metrics_period_ms; /* 0: 60,000 */
};

struct manager;

enum err manager_new(const struct manager_options *options,
                     struct manager **ret_manager) ERR_MUST_USE;
/* After manager_stop. NULL is fine. */
void manager_free(struct manager *manager);

/* What the configuration declares: an array of bodies as POST /api/data-sources takes them. Called
 * before manager_start, and again with another list (SIGHUP): what changed is changed, what was
 * declared in an earlier list or life (created_by "config") and is no more, is deleted.
 * ERR_INVALID, ERR_CONFLICT (the same name and type twice): diag names source and property, nothing
 * has changed.
 */
enum err manager_declare(struct manager *manager, const json_t *sources,
                         struct diag *diag) ERR_MUST_USE;
/* A source that is registered once in a database's life; who deletes it is not asked again. Before
 * manager_start. Nothing happens when a declared source has its name and type. */
enum err manager_declare_default(struct manager *manager, const json_t *source,
                                 struct diag *diag) ERR_MUST_USE;

/* Starts the thread: the registry is read and can be changed. No source runs yet. */
enum err manager_start(struct manager *manager) ERR_MUST_USE;
/* From now on the sources run. */
void manager_run_sources(struct manager *manager);
/* Stops all sources, writes what is known of them (safe without manager_start); false when one did
 * not end before the deadline.
 */
bool manager_stop(struct manager *manager, int64_t deadline_ns);

struct manager_source {
    const char *name;
    const char *ingestion_id;
    const struct connector *connector;
    struct source_status status;
};
/* Those that should run, or do. Under the manager's lock: on_source must be quick. */
void manager_each(struct manager *manager,
                  void (*on_source)(void *ctx, const struct manager_source *source), void *ctx);
/* Whether the registry was read since the start. */
bool manager_loaded(struct manager *manager);
/* False: the data-source database cannot be reached; why is a sentence. */
bool manager_database_good(struct manager *manager, char why[512]);
