/*
 * What can still be read of a damaged database goes into the new one: every row whose page is
 * whole (database/sqlite_pages.h), told by its columns. Of a dataset whose counts can be read and
 * whose lists cannot, the counts are taken; its fields then are those of the schema's evolution.
 * What lies on another page than the row proves itself, or is not taken: a list is a list, and what
 * stands between two lists is as good as both.
 *
 * Counts and the progress they came with are taken together or not at all: without it they would be
 * counted once more from the lake (metadata_recount.c), or a change that is in them added again.
 */
#include "base/utf8.h"
#include "codec/timestamp.h"
#include "database/sqlite_pages.h"
#include "metadata/metadata_parts.h"
#include "metadata/metadata_repair.h"

#include <stdio.h>
#include <string.h>

#define UUID_CHARACTERS 36

struct salvage {
    struct database_transaction *into;
    struct metadata_salvaged *salvaged;
    struct diag *diag;
};

static enum err insert(struct salvage *salvage, const char *sql,
                       const struct database_value *values, size_t count)
{
    return database_transaction_query(salvage->into, sql, values, count, NULL, NULL, NULL,
                                      salvage->diag);
}

/* --- columns ------------------------------------------------------------------------------- */

static bool is_text(const struct database_value *value)
{
    return value->kind == DATABASE_TEXT && utf8_valid(value->bytes);
}

static bool is_count(const struct database_value *value)
{
    return value->kind == DATABASE_INTEGER && value->integer >= 0;
}

static bool is_moment(const struct database_value *value)
{
    int64_t us;
    return value->kind == DATABASE_NULL ||
           (value->kind == DATABASE_TEXT && timestamp_parse(value->bytes, &us));
}

static bool is_list(const struct database_value *value)
{
    json_t *list = metadata_list_read(value);
    json_decref(list);
    return list != NULL;
}

static bool are_counts(const struct sqlite_row *row, size_t from)
{
    for (size_t i = from; i < row->column_count; i++)
        if (row->columns[i].kind != DATABASE_INTEGER)
            return false;
    return true;
}

/* --- rows ---------------------------------------------------------------------------------- */

/* In the order of the table's columns. */
enum dataset_column {
    COLUMN_ID,
    COLUMN_TOPIC,
    COLUMN_RECORDS,
    COLUMN_FIRST_SEEN,
    COLUMN_LAST_SEEN,
    COLUMN_SENSOR_COUNT,
    COLUMN_SENSORS,
    COLUMN_BYTES,
    COLUMN_FIELDS,
    COLUMN_CREATED,
    COLUMN_UPDATED,
    DATASET_COLUMNS
};

static bool dataset_counts(const struct sqlite_row *row, bool sensors)
{
    const struct database_value *columns = row->columns;
    return (row->own > COLUMN_SENSOR_COUNT || sensors) && is_text(&columns[COLUMN_ID]) &&
           (columns[COLUMN_TOPIC].kind == DATABASE_NULL || is_text(&columns[COLUMN_TOPIC])) &&
           is_count(&columns[COLUMN_RECORDS]) && is_count(&columns[COLUMN_SENSOR_COUNT]) &&
           is_moment(&columns[COLUMN_FIRST_SEEN]) && is_moment(&columns[COLUMN_LAST_SEEN]);
}

static enum err lacks_note(struct salvage *salvage, const struct sqlite_row *row, int64_t lacks)
{
    const struct database_value values[] = {row->columns[COLUMN_ID], database_integer(lacks)};
    return insert(salvage,
                  "INSERT INTO metadata_repairs (ingestion_id, lacks) VALUES ($1, $2) "
                  "ON CONFLICT (ingestion_id) DO UPDATE SET lacks = excluded.lacks",
                  values, 2);
}

/* A row of the same dataset that was seen before is an older one, or this is: counts only rise. */
static enum err dataset_take(struct salvage *salvage, const struct sqlite_row *row)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO dataset_metadata (ingestion_id, topic, record_count, first_seen, "
        "last_seen, unique_sensor_count, unique_sensor_ids, data_size_bytes, schema_fields, "
        "created_at, updated_at) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, "
        "coalesce($10, CURRENT_TIMESTAMP), coalesce($11, $5, CURRENT_TIMESTAMP) WHERE NOT EXISTS "
        "(SELECT 1 FROM dataset_metadata WHERE ingestion_id = $1 AND record_count >= $3)";
    struct database_value values[DATASET_COLUMNS];
    bool sensors = is_list(&row->columns[COLUMN_SENSORS]);
    bool fields = is_list(&row->columns[COLUMN_FIELDS]);
    bool bytes =
        (row->own > COLUMN_BYTES || (sensors && fields)) && is_count(&row->columns[COLUMN_BYTES]);
    if (!dataset_counts(row, sensors))
        return ERR_OK;
    memcpy(values, row->columns, sizeof(values));
    if (!sensors)
        values[COLUMN_SENSORS] = database_text(BYTES_LITERAL("[]"));
    if (!bytes)
        values[COLUMN_BYTES] = database_integer(0);
    if (!fields)
        values[COLUMN_FIELDS] = database_null(); /* fields_make */
    for (size_t i = COLUMN_CREATED; i < DATASET_COLUMNS; i++)
        if (!is_moment(&values[i]))
            values[i] = database_null();
    int64_t lacks = (sensors ? 0 : METADATA_LACKS_SENSORS) | (fields ? 0 : METADATA_LACKS_FIELDS) |
                    (bytes ? 0 : METADATA_LACKS_BYTES);
    int64_t taken = 0;
    enum err err = database_transaction_query(salvage->into, sql, values, DATASET_COLUMNS, NULL,
                                              NULL, &taken, salvage->diag);
    return err == ERR_OK && taken > 0 ? lacks_note(salvage, row, lacks) : err;
}

static enum err progress_take(struct salvage *salvage, const struct sqlite_row *row)
{
    if (row->readable < 3 || !is_text(&row->columns[0]) ||
        row->columns[0].bytes.size != UUID_CHARACTERS || !is_text(&row->columns[1]) ||
        !is_count(&row->columns[2]))
        return ERR_OK;
    return insert(salvage,
                  "INSERT INTO metadata_progress (journal, ingestion_id, position) "
                  "VALUES ($1, $2, $3) ON CONFLICT (journal, ingestion_id) DO UPDATE SET "
                  "position = max(position, excluded.position)",
                  row->columns, 3);
}

static enum err sensors_take(struct salvage *salvage, const struct sqlite_row *row)
{
    struct distinct sketch;
    if (row->readable < 2 || !is_text(&row->columns[0]) || row->columns[1].kind != DATABASE_BLOB)
        return ERR_OK;
    distinct_init(&sketch);
    enum err err = distinct_decode(&sketch, row->columns[1].bytes);
    distinct_fini(&sketch);
    if (err == ERR_OK)
        return insert(salvage,
                      "INSERT OR IGNORE INTO dataset_sensors (ingestion_id, sketch) "
                      "VALUES ($1, $2)",
                      row->columns, 2);
    return err == ERR_CORRUPT ? ERR_OK : err;
}

static enum err counted_take(struct salvage *salvage, const struct sqlite_row *row)
{
    if (row->own < row->column_count || !is_text(&row->columns[0]) || !are_counts(row, 1))
        return ERR_OK;
    return insert(salvage,
                  "INSERT OR IGNORE INTO dataset_quality (ingestion_id, measured_us, records, "
                  "cells, filled_cells, missing_timestamp, late, rescued, compared, duplicates, "
                  "schema_changes, last_us) "
                  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                  row->columns, row->column_count);
}

static enum err evolution_take(struct salvage *salvage, const struct sqlite_row *row)
{
    struct database_value values[6];
    bool samples = is_list(&row->columns[5]);
    memcpy(values, row->columns, sizeof(values));
    if ((row->own < 5 && !samples) || values[0].kind != DATABASE_NULL || !is_text(&values[1]) ||
        !is_text(&values[2]) || !is_text(&values[3]) ||
        dataset_type_of(values[3].bytes) == DATASET_TYPES || !is_moment(&values[4]))
        return ERR_OK;
    values[0] = database_integer(row->rowid);
    if (!samples)
        values[5] = database_text(BYTES_LITERAL("[]"));
    return insert(salvage,
                  "INSERT OR IGNORE INTO schema_evolution (id, ingestion_id, field_name, "
                  "field_type, first_seen, sample_values) VALUES ($1, $2, $3, $4, $5, $6)",
                  values, 6);
}

static enum err quality_take(struct salvage *salvage, const struct sqlite_row *row)
{
    struct database_value values[5];
    memcpy(values, row->columns, sizeof(values));
    bool number = values[3].kind == DATABASE_NUMBER || values[3].kind == DATABASE_INTEGER;
    if (row->readable < 5 || values[0].kind != DATABASE_NULL || !is_text(&values[1]) ||
        !is_text(&values[2]) || !number || !is_moment(&values[4]))
        return ERR_OK;
    values[0] = database_integer(row->rowid);
    return insert(salvage,
                  "INSERT OR IGNORE INTO data_quality (id, ingestion_id, metric_name, "
                  "metric_value, measurement_time) VALUES ($1, $2, $3, $4, $5)",
                  values, 5);
}

/* No two of our tables have as many columns. */
static enum err on_row(void *ctx, const struct sqlite_row *row)
{
    if (row->is_index)
        return row->column_count == 3 ? progress_take(ctx, row) : ERR_OK;
    switch (row->column_count) {
    case 2:
        return sensors_take(ctx, row);
    case 5:
        return quality_take(ctx, row);
    case 6:
        return evolution_take(ctx, row);
    case DATASET_COLUMNS:
        return dataset_take(ctx, row);
    case 12:
        return counted_take(ctx, row);
    default:
        return ERR_OK;
    }
}

/* --- what belongs together ----------------------------------------------------------------- */

/* Whether SQLite itself can read all of a table, or there never was one: then no row of it is
 * lost. */
static bool table_whole(const char *path, const char *sql)
{
    char url[METADATA_PATH_BYTES + 16];
    struct database *database;
    struct diag unread = {0};
    snprintf(url, sizeof(url), "sqlite:///%s", path);
    if (database_open_to_read(url, &database, &unread) != ERR_OK)
        return false;
    enum err err = database_query(database, sql, NULL, 0, NULL, NULL, NULL, &unread);
    database_close(database);
    return err == ERR_OK || err == ERR_INVALID;
}

static bool progress_whole(const char *path)
{
    return table_whole(path, "SELECT max(position), max(ingestion_id) FROM metadata_progress");
}

/* From the table, not from its index: the columns are in none. */
static bool evolution_whole(const char *path)
{
    return table_whole(path, "SELECT max(field_type), max(first_seen), sum(length(sample_values)) "
                             "FROM schema_evolution");
}

/* Of a dataset that only an earlier journal has progress of, this one's may be what is lost. */
static enum err doubtful_drop(struct salvage *salvage, const char *journal)
{
    struct database_value value = database_text(bytes_from_text(journal));
    return insert(salvage,
                  "DELETE FROM dataset_metadata WHERE ingestion_id NOT IN (SELECT ingestion_id "
                  "FROM metadata_progress WHERE journal = $1)",
                  &value, 1);
}

/* What the evolution says last of each field. Whether it was null once, nobody knows: it may be. To
 * SQLite the NaN that Python wrote among samples is no JSON. */
static enum err fields_make(struct salvage *salvage)
{
    return database_transaction_exec(
        salvage->into,
        "UPDATE dataset_metadata SET schema_fields = (SELECT json_group_array(json_object("
        "'name', field_name, 'type', field_type, 'nullable', json('true'), "
        "'sample_values', CASE WHEN json_valid(sample_values) THEN "
        "json(sample_values) ELSE json('[]') END)) FROM (SELECT * FROM schema_evolution e "
        "WHERE e.ingestion_id = dataset_metadata.ingestion_id AND NOT EXISTS (SELECT 1 FROM "
        "schema_evolution l WHERE l.ingestion_id = e.ingestion_id AND "
        "l.field_name = e.field_name AND l.id > e.id) ORDER BY id)) WHERE schema_fields IS NULL",
        salvage->diag);
}

/* What is not seen at the row: whose sketch is lost (the listed ones are not all), and, when rows
 * of the evolution are lost, whose they are. Only what this journal counted can be read again. */
static enum err lacks_settle(struct salvage *salvage, const char *path, const char *journal)
{
    const struct database_value value = database_text(bytes_from_text(journal));
    enum err err = database_transaction_exec(
        salvage->into,
        "UPDATE metadata_repairs SET lacks = lacks | 1 WHERE ingestion_id IN (SELECT "
        "ingestion_id FROM dataset_metadata d WHERE unique_sensor_count > "
        "CASE WHEN json_valid(unique_sensor_ids) THEN json_array_length(unique_sensor_ids) ELSE "
        "unique_sensor_count END AND NOT EXISTS (SELECT 1 FROM dataset_sensors s "
        "WHERE s.ingestion_id = d.ingestion_id))",
        salvage->diag);
    if (err == ERR_OK && !evolution_whole(path))
        err = database_transaction_exec(
            salvage->into, "UPDATE metadata_repairs SET lacks = lacks | 8", salvage->diag);
    if (err != ERR_OK)
        return err;
    return insert(salvage,
                  "DELETE FROM metadata_repairs WHERE lacks = 0 OR ingestion_id NOT IN (SELECT "
                  "p.ingestion_id FROM metadata_progress p JOIN dataset_metadata d ON "
                  "d.ingestion_id = p.ingestion_id WHERE journal = $1)",
                  &value, 1);
}
_Static_assert(METADATA_LACKS_SENSORS == 1 && METADATA_LACKS_EVOLUTION == 8, "as in the SQL");

struct salvage_run {
    struct salvage salvage;
    const char *path;
    const char *journal;
};

static enum err salvage_pages(struct salvage_run *run, struct diag *diag)
{
    struct database_transaction *into = run->salvage.into;
    struct diag unread = {0};
    enum err err = sqlite_pages_each(run->path, on_row, &run->salvage, &unread);
    if (err == ERR_NOT_FOUND || err == ERR_UNSUPPORTED) /* nothing of it can be read */
        return ERR_OK;
    if (err == ERR_OK && !progress_whole(run->path))
        err = doubtful_drop(&run->salvage, run->journal);
    if (err == ERR_OK)
        err = database_transaction_exec(into,
                                        "DELETE FROM metadata_progress WHERE ingestion_id NOT IN "
                                        "(SELECT ingestion_id FROM dataset_metadata);"
                                        "DELETE FROM dataset_sensors WHERE ingestion_id NOT IN "
                                        "(SELECT ingestion_id FROM dataset_metadata);"
                                        "DELETE FROM dataset_quality WHERE ingestion_id NOT IN "
                                        "(SELECT ingestion_id FROM dataset_metadata)",
                                        diag);
    if (err == ERR_OK)
        err = fields_make(&run->salvage);
    if (err == ERR_OK)
        err = lacks_settle(&run->salvage, run->path, run->journal);
    return err != ERR_OK ? diag_set(diag, err, "%s", unread.text) : err;
}

static enum err salvage_run(struct database_transaction *into, void *ctx, struct diag *diag)
{
    struct salvage_run *run = ctx;
    const char *slash = strrchr(run->path, '/');
    struct database_value name = database_text(bytes_from_text(slash ? slash + 1 : run->path));
    int64_t added = 0;
    run->salvage.into = into;
    run->salvage.diag = diag;
    enum err err = database_transaction_query(
        into, "INSERT INTO metadata_salvages (name) VALUES ($1) ON CONFLICT (name) DO NOTHING",
        &name, 1, NULL, NULL, &added, diag);
    run->salvage.salvaged->before = added == 0;
    return err == ERR_OK && added > 0 ? salvage_pages(run, diag) : err;
}

static enum err on_count(void *ctx, const struct database_value *columns, size_t count)
{
    if (count == 1 && columns[0].kind == DATABASE_INTEGER)
        *(int64_t *)ctx = columns[0].integer;
    return ERR_OK;
}

enum err metadata_salvage(const char *path, const char *journal, struct database *into,
                          struct metadata_salvaged *ret_salvaged, struct diag *diag)
{
    struct salvage_run run = {.salvage.salvaged = ret_salvaged, .path = path, .journal = journal};
    *ret_salvaged = (struct metadata_salvaged){0};
    enum err err = database_transact(into, salvage_run, &run, diag);
    if (err == ERR_OK)
        err = database_query(into, "SELECT count(*) FROM dataset_metadata", NULL, 0, on_count,
                             &ret_salvaged->datasets, NULL, diag);
    return err == ERR_OK ? metadata_repair_count(into, &ret_salvaged->partial, diag) : err;
}
