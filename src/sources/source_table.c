/*
 * How a change is seen (source_table_version): each transaction that inserts, updates or deletes a
 * source adds one to a counter, a row of ingestor_migrations, before anything else. That also puts
 * the writers of several replicas in a row, so that the counter says all. What others do with the
 * table (the Python service, a person with a shell) shows in the number of rows, the highest id and
 * the latest updated_at, which go into the version too.
 */
#include "sources/source_table.h"

#include "base/hash.h"
#include "base/limits.h"
#include "codec/python_json.h"
#include "database/migrations.h"
#include "os/clock.h"
#include "sources/source_table_sql.h"

#include <assert.h>
#include <stdio.h>

#define CHANGES_NAME "data_sources.changes"

static enum err not_found(int64_t id, struct diag *diag)
{
    return diag_set(diag, ERR_NOT_FOUND, "Data source %lld not found", (long long)id);
}

static enum err create_counter(struct database_transaction *transaction, void *ctx,
                               struct diag *diag)
{
    (void)ctx;
    return database_transaction_exec(transaction,
                                     "INSERT INTO ingestor_migrations (name, version) "
                                     "SELECT '" CHANGES_NAME "', 0 WHERE NOT EXISTS (SELECT 1 "
                                     "FROM ingestor_migrations WHERE name = '" CHANGES_NAME "')",
                                     diag);
}

enum err source_table_prepare(struct database *database, struct diag *diag)
{
    enum err err = migrations_apply(database, &migrations_sources, diag);
    if (!err)
        err = database_transact(database, create_counter, NULL, diag);
    return err ? err : source_table_prepare_types(database, diag);
}

static enum err count_change(struct database_transaction *transaction, struct diag *diag)
{
    /* The remainder keeps it inside PostgreSQL's INTEGER. */
    return database_transaction_exec(transaction,
                                     "UPDATE ingestor_migrations "
                                     "SET version = (version + 1) % 2000000000 "
                                     "WHERE name = '" CHANGES_NAME "'",
                                     diag);
}

static enum err on_version_row(void *ctx, const struct database_value *columns, size_t count)
{
    struct source_version *version = ctx;
    if (count != 4)
        return ERR_BUG;
    for (size_t i = 0; i < count; i++) {
        version->hash =
            hash_bytes_seeded(bytes_from(&columns[i].integer, sizeof(int64_t)), version->hash);
        version->hash = hash_bytes_seeded(columns[i].bytes, version->hash);
    }
    version->changes = columns[0].integer;
    version->row_count = columns[1].integer;
    version->last_id = columns[2].integer;
    if (!database_date_parse(&columns[3], &version->updated_at_us))
        version->updated_at_us = 0;
    return ERR_OK;
}

bool source_version_is_next(const struct source_version *before, const struct source_version *after,
                            const struct source_row *row)
{
    return after->changes == before->changes + 1 && after->row_count == before->row_count + 1 &&
           after->last_id == row->id && after->updated_at_us == row->updated_at_us;
}

enum err source_table_version(struct database *database, struct source_version *ret_version,
                              struct diag *diag)
{
    *ret_version = (struct source_version){0};
    return database_query(database,
                          "SELECT (SELECT version FROM ingestor_migrations "
                          "WHERE name = '" CHANGES_NAME "'), "
                          "count(*), max(id), max(updated_at) FROM data_sources",
                          NULL, 0, on_version_row, ret_version, NULL, diag);
}

/* A change of one row, with its config as text. */
struct change {
    struct source_row *row;
    struct buf config_text;
    char now[DATABASE_DATE_BYTES];
};

static enum err change_init(struct change *change, struct source_row *row)
{
    *change = (struct change){.row = row};
    buf_init(&change->config_text, SOURCE_TABLE_JSON_BYTES_MAX);
    return python_json_write(row->config, &change->config_text);
}

static enum err find_type(struct database_transaction *transaction, const char *name,
                          int64_t *ret_id, struct diag *diag)
{
    struct database_value value = source_table_text(name);
    *ret_id = 0;
    enum err err =
        database_transaction_query(transaction, "SELECT id FROM data_source_types WHERE name = $1",
                                   &value, 1, source_table_on_integer, ret_id, NULL, diag);
    if (err || *ret_id)
        return err;
    return diag_set(diag, ERR_INVALID, "the database has no data source type \"%.100s\"", name);
}

static enum err insert_change(struct database_transaction *transaction, struct change *change,
                              struct diag *diag)
{
    struct source_row *row = change->row;
    char last_connection[DATABASE_DATE_BYTES];
    int64_t type_id;
    enum err err = find_type(transaction, row->type_name, &type_id, diag);
    if (err)
        return err;
    row->created_at_us = row->updated_at_us = clock_realtime_us(&clock_system);
    struct database_value now = source_table_date(row->created_at_us, change->now);
    struct database_value values[11] = {
        source_table_text(row->name),
        database_integer(type_id),
        database_text(buf_bytes(&change->config_text)),
        source_table_text(row->ingestion_id),
        database_integer(row->enabled),
        source_table_text(row->status[0] ? row->status : "inactive"),
        source_table_date(row->last_connection_us, last_connection),
        source_table_text(row->last_error),
        source_table_text(row->created_by),
        now,
        now,
    };
    return database_transaction_query(
        transaction,
        "INSERT INTO data_sources (name, type_id, config, ingestion_id, enabled, status, "
        "last_connection, last_error, created_by, created_at, updated_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id",
        values, 11, source_table_on_integer, &row->id, NULL, diag);
}

struct insertion {
    struct source_row *rows;
    size_t count;
    size_t at;
};

static enum err insert_rows(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    struct insertion *insertion = ctx;
    enum err err = count_change(transaction, diag);
    for (insertion->at = 0; !err && insertion->at < insertion->count; insertion->at++) {
        struct change change;
        err = change_init(&change, &insertion->rows[insertion->at]);
        if (!err)
            err = insert_change(transaction, &change, diag);
        buf_fini(&change.config_text);
        if (err)
            break;
    }
    return err;
}

enum err source_table_insert_all(struct database *database, struct source_row *rows, size_t count,
                                 struct diag *diag)
{
    struct insertion insertion = {.rows = rows, .count = count};
    struct diag reason = {0}; /* the database's words, which people should not see for a conflict */
    enum err err = database_transact(database, insert_rows, &insertion, &reason);
    if (err == ERR_CONFLICT && insertion.at < count)
        return diag_set(diag, err, "the ingestion id %.200s is taken",
                        rows[insertion.at].ingestion_id);
    return err ? diag_set(diag, err, "%s", reason.text[0] ? reason.text : err_text(err)) : ERR_OK;
}

enum err source_table_insert(struct database *database, struct source_row *row, struct diag *diag)
{
    return source_table_insert_all(database, row, 1, diag);
}

static enum err on_updated_at(void *ctx, const struct database_value *columns, size_t count)
{
    if (count == 1 && !database_date_parse(&columns[0], ctx))
        *(int64_t *)ctx = 0;
    return ERR_OK;
}

/* Later than it was, whatever the clock says. */
static enum err next_updated_at(struct database_transaction *transaction, int64_t id,
                                int64_t *ret_us, struct diag *diag)
{
    int64_t before_us = 0;
    struct database_value value = database_integer(id);
    enum err err =
        database_transaction_query(transaction, "SELECT updated_at FROM data_sources WHERE id = $1",
                                   &value, 1, on_updated_at, &before_us, NULL, diag);
    int64_t now_us = clock_realtime_us(&clock_system);
    *ret_us = now_us > before_us ? now_us : before_us + 1;
    return err;
}

static enum err update_row(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    struct change *change = ctx;
    struct source_row *row = change->row;
    int64_t changes = 0;
    enum err err = count_change(transaction, diag);
    if (!err)
        err = next_updated_at(transaction, row->id, &row->updated_at_us, diag);
    if (err)
        return err;
    struct database_value values[5] = {
        database_integer(row->id),
        source_table_text(row->name),
        database_text(buf_bytes(&change->config_text)),
        database_integer(row->enabled),
        source_table_date(row->updated_at_us, change->now),
    };
    err = database_transaction_query(transaction,
                                     "UPDATE data_sources SET name = $2, config = $3, "
                                     "enabled = $4, updated_at = $5 WHERE id = $1",
                                     values, 5, NULL, NULL, &changes, diag);
    return err || changes ? err : not_found(row->id, diag);
}

enum err source_table_update(struct database *database, struct source_row *row, struct diag *diag)
{
    struct change change;
    enum err err = change_init(&change, row);
    if (!err)
        err = database_transact(database, update_row, &change, diag);
    buf_fini(&change.config_text);
    return err;
}

/* guard: what more must hold of the row. */
static enum err status_write(struct database_transaction *transaction,
                             const struct source_report *report, const char *guard,
                             int64_t *ret_changes, struct diag *diag)
{
    char date[DATABASE_DATE_BYTES];
    char sql[192];
    struct database_value values[4] = {
        database_integer(report->id),
        source_table_text(report->status),
        source_table_text(report->last_error),
        source_table_date(report->last_connection_us, date),
    };
    bool has_date = report->last_connection_us != 0;
    snprintf(sql, sizeof(sql),
             "UPDATE data_sources SET status = $2, last_error = $3%s WHERE id = $1%s",
             has_date ? ", last_connection = $4" : "", guard);
    return database_transaction_query(transaction, sql, values, has_date ? 4 : 3, NULL, NULL,
                                      ret_changes, diag);
}

static enum err set_status(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    const struct source_report *report = ctx;
    int64_t changes = 0;
    enum err err = status_write(transaction, report, "", &changes, diag);
    return err || changes ? err : not_found(report->id, diag);
}

enum err source_table_set_status(struct database *database, int64_t id, const char *status,
                                 int64_t last_connection_us, const char *last_error,
                                 struct diag *diag)
{
    struct source_report report = {id, status, last_connection_us, last_error};
    return database_transact(database, set_status, &report, diag);
}

struct reports {
    const struct source_report *list;
    size_t count;
};

static enum err report_all(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    const struct reports *reports = ctx;
    int64_t changes;
    enum err err = ERR_OK;
    for (size_t i = 0; i < reports->count && !err; i++)
        err = status_write(transaction, &reports->list[i], " AND status <> 'stopped'", &changes,
                           diag);
    return err;
}

enum err source_table_report(struct database *database, const struct source_report *reports,
                             size_t count, struct diag *diag)
{
    struct reports all = {reports, count};
    return count > 0 ? database_transact(database, report_all, &all, diag) : ERR_OK;
}

/* Metrics first: an old database has no cascade. */
static enum err delete_row(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    const int64_t *id = ctx;
    int64_t changes = 0;
    struct database_value value = database_integer(*id);
    enum err err = count_change(transaction, diag);
    if (!err)
        err = database_transaction_query(
            transaction, "DELETE FROM data_source_metrics WHERE data_source_id = $1", &value, 1,
            NULL, NULL, NULL, diag);
    if (!err)
        err = database_transaction_query(transaction, "DELETE FROM data_sources WHERE id = $1",
                                         &value, 1, NULL, NULL, &changes, diag);
    return err || changes ? err : not_found(*id, diag);
}

enum err source_table_delete(struct database *database, int64_t id, struct diag *diag)
{
    return database_transact(database, delete_row, &id, diag);
}

struct once {
    const char *name;
    bool is_first;
};

static enum err once_run(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    struct once *once = ctx;
    int64_t found = 0;
    struct database_value value = source_table_text(once->name);
    enum err err = database_transaction_query(
        transaction, "SELECT count(*) FROM ingestor_migrations WHERE name = $1", &value, 1,
        source_table_on_integer, &found, NULL, diag);
    once->is_first = !err && found == 0;
    if (err || found)
        return err;
    return database_transaction_query(transaction,
                                      "INSERT INTO ingestor_migrations (name, version) "
                                      "VALUES ($1, 1)",
                                      &value, 1, NULL, NULL, NULL, diag);
}

enum err source_table_once(struct database *database, const char *name, bool *ret_first,
                           struct diag *diag)
{
    struct once once = {.name = name};
    assert(strcmp(name, migrations_sources.name) != 0 && strcmp(name, CHANGES_NAME) != 0);
    enum err err = database_transact(database, once_run, &once, diag);
    *ret_first = !err && once.is_first;
    return err;
}

enum err source_table_lock(struct database *database, int64_t id, struct diag *diag)
{
    return database_lock(database, (int32_t)id, diag);
}

void source_table_unlock(struct database *database, int64_t id)
{
    database_unlock(database, (int32_t)id);
}
