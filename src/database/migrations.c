#include "database/migrations.h"

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
    const struct migrations *migrations;
    bool is_done; /* nothing was left to do */
};

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
    err = database_transaction_exec(transaction, migrations->steps[version], diag);
    return err ? err : write_version(transaction, migrations, version + 1, diag);
}

enum err migrations_apply(struct database *database, const struct migrations *migrations,
                          struct diag *diag)
{
    struct step step = {.migrations = migrations};
    enum err err = database_exec(database,
                                 "CREATE TABLE IF NOT EXISTS ingestor_migrations ("
                                 "name TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL)",
                                 diag);
    while (!err && !step.is_done)
        err = database_transact(database, apply_next, &step, diag);
    return err;
}
