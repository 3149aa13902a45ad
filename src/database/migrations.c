#include "database/migrations.h"

#include "base/limits.h"

#define STEP_BYTES_MAX (64 * KIB)

static const char *const sources_steps[] = {
    "CREATE TABLE IF NOT EXISTS dataset_columns ("
    " ingestion_id TEXT NOT NULL,"
    " field_path TEXT NOT NULL,"
    " column_name TEXT NOT NULL,"
    " column_type TEXT NOT NULL,"
    " field_id INTEGER NOT NULL,"
    " pinned_at TEXT NOT NULL,"
    " UNIQUE (ingestion_id, field_path),"
    " UNIQUE (ingestion_id, column_name),"
    " UNIQUE (ingestion_id, field_id))",

    /* What the Python service made stays as it is: it has these tables under these names, without
     * the cascade. */
    "CREATE TABLE IF NOT EXISTS data_source_types ("
    " id {ID},"
    " name VARCHAR NOT NULL,"
    " display_name VARCHAR NOT NULL,"
    " description TEXT,"
    " connector_class VARCHAR NOT NULL,"
    " config_schema {JSON} NOT NULL,"
    " enabled {BOOLEAN} NOT NULL,"
    " created_at {DATE});"
    "CREATE INDEX IF NOT EXISTS ix_data_source_types_id ON data_source_types (id);"
    "CREATE UNIQUE INDEX IF NOT EXISTS ix_data_source_types_name ON data_source_types (name);"
    "CREATE TABLE IF NOT EXISTS data_sources ("
    " id {ID},"
    " name VARCHAR NOT NULL,"
    " type_id INTEGER NOT NULL REFERENCES data_source_types (id),"
    " config {JSON} NOT NULL,"
    " ingestion_id VARCHAR NOT NULL,"
    " enabled {BOOLEAN} NOT NULL,"
    " status VARCHAR NOT NULL,"
    " last_connection {DATE},"
    " last_error TEXT,"
    " created_by VARCHAR,"
    " created_at {DATE},"
    " updated_at {DATE});"
    "CREATE INDEX IF NOT EXISTS ix_data_sources_id ON data_sources (id);"
    "CREATE UNIQUE INDEX IF NOT EXISTS ix_data_sources_ingestion_id"
    " ON data_sources (ingestion_id);"
    "CREATE TABLE IF NOT EXISTS data_source_metrics ("
    " id {ID},"
    " data_source_id INTEGER NOT NULL REFERENCES data_sources (id) ON DELETE CASCADE,"
    " messages_received {COUNT} NOT NULL,"
    " messages_processed {COUNT} NOT NULL,"
    " last_processed {DATE},"
    " processing_latency_ms {NUMBER},"
    " error_count {COUNT} NOT NULL,"
    " recorded_at {DATE});"
    "CREATE INDEX IF NOT EXISTS ix_data_source_metrics_id ON data_source_metrics (id);"
    /* These two are ours: to show a source's rows and to drop old ones. */
    "CREATE INDEX IF NOT EXISTS ix_data_source_metrics_source"
    " ON data_source_metrics (data_source_id, recorded_at);"
    "CREATE INDEX IF NOT EXISTS ix_data_source_metrics_recorded_at"
    " ON data_source_metrics (recorded_at)",
};

const struct migrations migrations_sources = {
    .name = "sources",
    .steps = sources_steps,
    .step_count = sizeof(sources_steps) / sizeof(sources_steps[0]),
};

static enum err on_version(void *ctx, const struct database_value *columns, size_t count)
{
    if (count == 1 && columns[0].kind == DATABASE_INTEGER)
        *(int64_t *)ctx = columns[0].integer;
    return ERR_OK;
}

static enum err read_version(struct database_transaction *transaction,
                             const struct migrations *migrations, int64_t *ret_version,
                             struct diag *diag)
{
    struct database_value name = database_text(bytes_from_text(migrations->name));
    *ret_version = 0;
    return database_transaction_query(transaction,
                                      "SELECT version FROM ingestor_migrations WHERE name = $1",
                                      &name, 1, on_version, ret_version, NULL, diag);
}

static enum err write_version(struct database_transaction *transaction,
                              const struct migrations *migrations, int64_t version,
                              struct diag *diag)
{
    struct database_value values[2] = {database_text(bytes_from_text(migrations->name)),
                                       database_integer(version)};
    enum err err =
        database_transaction_query(transaction, "DELETE FROM ingestor_migrations WHERE name = $1",
                                   values, 1, NULL, NULL, NULL, diag);
    if (err)
        return err;
    return database_transaction_query(transaction,
                                      "INSERT INTO ingestor_migrations (name, version) "
                                      "VALUES ($1, $2)",
                                      values, 2, NULL, NULL, NULL, diag);
}

struct step {
    struct database *database;
    const struct migrations *migrations;
    bool is_done; /* nothing was left to do */
};

static enum err run_step(struct database_transaction *transaction, const struct step *step,
                         const char *sql, struct diag *diag)
{
    struct buf text;
    buf_init(&text, STEP_BYTES_MAX);
    enum err err = dialect_expand(step->database->ops->dialect, sql, &text);
    const char *expanded = err ? NULL : buf_cstr(&text);
    if (!err)
        err = expanded ? database_transaction_exec(transaction, expanded, diag) : ERR_NO_MEMORY;
    buf_fini(&text);
    return err;
}

/* Reads the version again under the write lock: another replica may have been faster. */
static enum err apply_next(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    struct step *step = ctx;
    const struct migrations *migrations = step->migrations;
    int64_t version;
    enum err err = read_version(transaction, migrations, &version, diag);
    if (err)
        return err;
    if (version < 0 || version > (int64_t)migrations->step_count)
        return diag_set(diag, ERR_VERSION,
                        "the database's \"%s\" tables are at version %lld, this program knows %zu: "
                        "a newer one has been here",
                        migrations->name, (long long)version, migrations->step_count);
    step->is_done = version == (int64_t)migrations->step_count;
    if (step->is_done)
        return ERR_OK;
    err = run_step(transaction, step, migrations->steps[version], diag);
    return err ? err : write_version(transaction, migrations, version + 1, diag);
}

/* In a transaction for its lock: PostgreSQL does not bear two that create a table at once. */
static enum err create_versions(struct database_transaction *transaction, void *ctx,
                                struct diag *diag)
{
    (void)ctx;
    return database_transaction_exec(transaction,
                                     "CREATE TABLE IF NOT EXISTS ingestor_migrations ("
                                     "name TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL)",
                                     diag);
}

enum err migrations_apply(struct database *database, const struct migrations *migrations,
                          struct diag *diag)
{
    struct step step = {.database = database, .migrations = migrations};
    enum err err = database_transact(database, create_versions, NULL, diag);
    while (!err && !step.is_done)
        err = database_transact(database, apply_next, &step, diag);
    return err;
}
