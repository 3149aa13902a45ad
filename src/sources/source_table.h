#pragma once
/*
 * The data-source database of contract/data.md "Databases" 1, as rows. Any thread; calls block on
 * the database (never call from an I/O loop). A database of the Python service is taken as it is:
 * its date texts, JSON texts and NOT NULL columns are read and written in its own way, so that the
 * Python service can go back to it; rows whose config or dates cannot be read are skipped with a
 * warning in the log, never deleted (so are those whose type this program has no connector for);
 * source_table_get answers ERR_CORRUPT for them, and a reason.
 *
 * Errors are those of database/database.h; ERR_NOT_FOUND; ERR_CONFLICT (the ingestion id is taken).
 * Each call is one transaction: a kill at any moment leaves a row whole or not there.
 */
#include "connectors/connector.h"
#include "database/database.h"

struct source_row {
    int64_t id;
    char *name;
    char *type_name; /* "mqtt" */
    char *type_display_name;
    json_t *config; /* an object, with references to secrets and secrets */
    char *ingestion_id;
    char *created_by; /* may be NULL */
    char *last_error; /* NULL: none */
    char status[16];  /* "inactive", … */
    bool enabled;
    int64_t last_connection_us; /* Unix time; 0: never */
    int64_t created_at_us;
    int64_t updated_at_us; /* never goes back; changes with every change but those of status */
};
/* Frees what the row holds, not the row. */
void source_row_fini(struct source_row *row);

/* Applies the migrations and brings data_source_types up to date with the connectors the build has
 * (inserts, updates display name, description, config_schema, connector_class of existing rows). */
enum err source_table_prepare(struct database *database, struct diag *diag) ERR_MUST_USE;

/* Types as the API's list shows them: an array of {id, name, display_name, description,
 * connector_class, config_schema (object), enabled, created_at ("YYYY-MM-DD HH:MM:SS")}. */
enum err source_table_types(struct database *database, json_t **ret_types,
                            struct diag *diag) ERR_MUST_USE;

/* By id, ascending. The callback takes the row over (source_row_fini); it is called with the
 * database in use and must not call into it. */
typedef enum err (*source_table_on_row)(void *ctx, struct source_row *take_row);
enum err source_table_each(struct database *database, source_table_on_row on_row, void *ctx,
                           struct diag *diag) ERR_MUST_USE;
enum err source_table_get(struct database *database, int64_t id, struct source_row *ret_row,
                          struct diag *diag) ERR_MUST_USE;
/* Changes when any row was inserted, updated or deleted (not by status): for seeing what another
 * replica did, cheaply. */
struct source_version {
    int64_t changes;
    int64_t row_count;
    int64_t last_id;
    int64_t updated_at_us; /* the latest */
    uint64_t hash;         /* of it all: two versions are the same when this is */
};
enum err source_table_version(struct database *database, struct source_version *ret_version,
                              struct diag *diag) ERR_MUST_USE;
/* Whether nothing happened between the two but the insertion of that row. */
bool source_version_is_next(const struct source_version *before, const struct source_version *after,
                            const struct source_row *row);

/* id, created_at_us and updated_at_us of row are filled in. ERR_CONFLICT: ingestion_id is taken. */
enum err source_table_insert(struct database *database, struct source_row *row,
                             struct diag *diag) ERR_MUST_USE;
/* All of them or none, in one transaction: a sync costs more than the rows do. */
enum err source_table_insert_all(struct database *database, struct source_row *rows, size_t count,
                                 struct diag *diag) ERR_MUST_USE;
/* Writes name, config and enabled; updated_at_us is filled in. */
enum err source_table_update(struct database *database, struct source_row *row,
                             struct diag *diag) ERR_MUST_USE;
/* status, last_connection_us (0: as it was), last_error (NULL: none). */
enum err source_table_set_status(struct database *database, int64_t id, const char *status,
                                 int64_t last_connection_us, const char *last_error,
                                 struct diag *diag) ERR_MUST_USE;
/* The same for many, in one transaction, but not over "stopped": what a source does is told, what
 * people want stays. A row that is gone is passed over. */
struct source_report {
    int64_t id;
    const char *status;
    int64_t last_connection_us;
    const char *last_error;
};
enum err source_table_report(struct database *database, const struct source_report *reports,
                             size_t count, struct diag *diag) ERR_MUST_USE;
/* With its metrics. */
enum err source_table_delete(struct database *database, int64_t id, struct diag *diag) ERR_MUST_USE;

struct source_metrics_row {
    int64_t data_source_id;
    int64_t messages_received; /* since the row before */
    int64_t messages_processed;
    int64_t last_processed_us; /* 0: never */
    double processing_latency_ms;
    int64_t error_count;
    int64_t recorded_at_us;
};
/* Adds rows in one transaction (rows of sources that are gone are left out) and deletes those
 * recorded before keep_from_us. */
enum err source_table_add_metrics(struct database *database, const struct source_metrics_row *rows,
                                  size_t count, int64_t keep_from_us,
                                  struct diag *diag) ERR_MUST_USE;
/* Newest first, at most limit, of recorded_at >= since_us: an array of {id, data_source_id,
 * messages_received, messages_processed, last_processed, processing_latency_ms, error_count,
 * recorded_at}. */
enum err source_table_metrics(struct database *database, int64_t data_source_id, int64_t since_us,
                              uint32_t limit, json_t **ret_rows, struct diag *diag) ERR_MUST_USE;

/* Whether something that is done once in a database's life was done already; done now, if not
 * (the default source). Kept in ingestor_migrations under the name. */
enum err source_table_once(struct database *database, const char *name, bool *ret_first,
                           struct diag *diag) ERR_MUST_USE;

/* PostgreSQL: a lock that one replica holds at a time, for a source that must run once (a session's
 * advisory lock, gone when the connection goes). SQLite: always given. ERR_BUSY: another has it. */
enum err source_table_lock(struct database *database, int64_t id, struct diag *diag) ERR_MUST_USE;
void source_table_unlock(struct database *database, int64_t id);
