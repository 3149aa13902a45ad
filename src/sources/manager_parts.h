#pragma once
/*
 * The manager's inside, shared by manager.c (what runs), manager_table.c (what the database knows)
 * and registry_api.c (what people ask for).
 *
 * Two locks. `writing` is held by who changes the registry, over the database call and the change
 * in memory, so that both stay in step; `lock` guards all that is in memory, for a few lines, never
 * over a call that blocks. Order: writing, then lock.
 */
#include "base/limits.h"
#include "base/map.h"
#include "os/clock.h"
#include "sources/manager.h"
#include "sources/source_table.h"

#define MANAGER_SOURCES_MAX 20000

struct managed {
    struct source_row row; /* id 0: not in the database (yet) */
    const struct connector *connector;
    uint32_t loop;
    bool wanted;    /* it should run */
    bool declared;  /* by the configuration of this process */
    bool deleted;   /* goes as soon as its instance has gone */
    bool single;    /* runs on one replica at a time */
    bool turn;      /* … and this is the one */
    bool elsewhere; /* … and another is: seen by the last try */
    bool has_elder; /* another with its ingestion id was there, deleted */
    int64_t turn_ns;
    uint32_t references; /* of calls that wait for it */

    struct source *source;       /* the instance */
    bool ending;                 /* it was told to stop */
    bool renew;                  /* it is to end, and a new one to begin */
    bool forgotten;              /* deleted: the other side was told, or could not be */
    struct source_status status; /* of the instance, as last seen */
    uint64_t seen_changes;       /* source_status_changes then */

    /* what the database was told */
    char told_status[16];
    char told_error[512];
    int64_t told_connection_us;
    /* what the metrics were told */
    uint64_t told_received;
    uint64_t told_stored;
    uint64_t told_errors;
};

struct manager {
    struct manager_options options;
    struct thread thread;

    struct mutex writing;
    struct database *database; /* NULL: not open; opened by the thread, under both locks */

    struct mutex lock;
    struct condition wake;
    struct managed **list;      /* by id as far as they have one, in the order they came */
    struct map by_ingestion_id; /* the youngest of each */
    uint32_t count;
    uint32_t capacity;
    uint32_t next_loop;
    json_t *declared;       /* bodies; NULL: none */
    json_t *default_source; /* body; NULL: none */
    bool declared_changed;  /* the database is to be told */
    bool started;
    bool stopping;
    bool restless;         /* an instance ends, or could not begin: look again soon */
    uint32_t ending_count; /* of instances */
    bool database_good;
    char database_why[512];
    bool tried;  /* to load the registry, at least once */
    bool loaded; /* the registry, at least once; only the thread sets it */

    /* the thread's own */
    int64_t database_retry_ns;
    int64_t polled_ns;
    int64_t statuses_ns;
    int64_t metrics_ns;
    int64_t reconciled_ns;
    struct source_version table_version; /* guarded by writing, as database is */
};

/* All of these with the lock. */
/* Who asks for the registry while the service starts waits a moment until it was tried to load. */
void manager_first_try_wait(struct manager *manager);
struct managed *manager_find(struct manager *manager, struct bytes ingestion_id);
struct managed *manager_find_id(struct manager *manager, int64_t id);
/* Takes the row over, also on failure. */
enum err manager_add(struct manager *manager, const struct connector *connector,
                     struct source_row *take_row, struct managed **ret_managed) ERR_MUST_USE;
/* Brings the instance to what is wanted as far as that goes without waiting. May free managed when
 * it is deleted and nobody waits for it. */
void manager_reconcile(struct manager *manager, struct managed *managed);
/* "active", "connecting", …: of the instance, or what it was when it ended. */
const char *manager_status_text(const struct managed *managed);
void manager_status_refresh(struct managed *managed);

/* What declarations are compared by, NUL between the two. */
struct buf;
enum err manager_name_key(const char *type_name, const char *name, struct buf *out) ERR_MUST_USE;
/* Whether sources take turns with other replicas. */
bool manager_many_replicas(const struct manager *manager);

/* manager_table.c; of the thread. */
void manager_table_round(struct manager *manager);
void manager_table_last_words(struct manager *manager);
/* Those below with `writing`, on an open database. Reads all rows into memory. */
enum err manager_load(struct manager *manager, struct diag *diag) ERR_MUST_USE;
/* The same, if another replica has changed something. */
enum err manager_poll(struct manager *manager, struct diag *diag) ERR_MUST_USE;
enum err manager_declared_apply(struct manager *manager, const json_t *declared,
                                struct diag *diag) ERR_MUST_USE;
enum err manager_statuses_write(struct manager *manager, struct diag *diag) ERR_MUST_USE;
enum err manager_metrics_write(struct manager *manager, double period_s,
                               struct diag *diag) ERR_MUST_USE;
/* Without a database. */
void manager_declared_run(struct manager *manager, const json_t *declared);

/* manager_row.c */
bool manager_row_wanted(const struct source_row *row);
/* What the database says of a source takes the place of what was known. With the lock. */
void manager_row_replace(struct managed *managed, struct source_row *take_row);
/* The name a source is known by and its place: a row to be. diag names what is missing. */
enum err manager_row_make(const char *name, const struct connector *connector, const json_t *config,
                          bool enabled, const char *created_by,
                          struct source_row *ret_row) ERR_MUST_USE;
/* Checks a source's name, type and config against the type's schema and its own check.
 * *ret_connector is set as soon as the type is known. */
enum err manager_check(const char *name, const char *type_name, const json_t *config,
                       const struct connector **ret_connector, struct diag *diag) ERR_MUST_USE;
enum err manager_check_name(const char *name, struct diag *diag) ERR_MUST_USE;
/* Inserts the row and runs it; takes it over. With `writing`. ERR_CONFLICT: the id is taken. */
enum err manager_register(struct manager *manager, struct source_row *row,
                          struct diag *diag) ERR_MUST_USE;
/* The same for many at a time. ERR_CONFLICT: an id is taken; the others are
 * registered. */
enum err manager_register_all(struct manager *manager, struct source_row *rows, size_t count,
                              struct diag *diag) ERR_MUST_USE;
