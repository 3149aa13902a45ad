#include "metadata/metadata_table.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "codec/json.h"
#include "codec/python_json.h"
#include "codec/timestamp.h"
#include "database/database_rows.h"
#include "database/migrations.h"
#include "os/clock.h"

/* --- schema -------------------------------------------------------------------------------- */

static const char *const steps[] = {
    "CREATE TABLE IF NOT EXISTS dataset_metadata ("
    " ingestion_id TEXT PRIMARY KEY,"
    " topic TEXT,"
    " record_count INTEGER DEFAULT 0,"
    " first_seen TEXT,"
    " last_seen TEXT,"
    " unique_sensor_count INTEGER DEFAULT 0,"
    " unique_sensor_ids TEXT,"
    " data_size_bytes INTEGER DEFAULT 0,"
    " schema_fields TEXT,"
    " created_at TEXT DEFAULT CURRENT_TIMESTAMP,"
    " updated_at TEXT DEFAULT CURRENT_TIMESTAMP);"
    "CREATE TABLE IF NOT EXISTS schema_evolution ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " ingestion_id TEXT,"
    " field_name TEXT,"
    " field_type TEXT,"
    " first_seen TEXT DEFAULT CURRENT_TIMESTAMP,"
    " sample_values TEXT);"
    "CREATE TABLE IF NOT EXISTS data_quality ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " ingestion_id TEXT,"
    " metric_name TEXT,"
    " metric_value REAL,"
    " measurement_time TEXT DEFAULT CURRENT_TIMESTAMP);"
    "CREATE INDEX IF NOT EXISTS idx_dataset_metadata_topic ON dataset_metadata (topic);"
    "CREATE INDEX IF NOT EXISTS idx_schema_evolution_ingestion_field"
    " ON schema_evolution (ingestion_id, field_name);"
    "CREATE INDEX IF NOT EXISTS idx_data_quality_ingestion_metric"
    " ON data_quality (ingestion_id, metric_name);"
    "CREATE TABLE IF NOT EXISTS metadata_progress ("
    " journal TEXT NOT NULL,"
    " ingestion_id TEXT NOT NULL,"
    " position INTEGER NOT NULL,"
    " PRIMARY KEY (journal, ingestion_id)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS dataset_sensors ("
    " ingestion_id TEXT PRIMARY KEY,"
    " sketch BLOB NOT NULL);"
    /* What has been counted for data quality since the last measurement. */
    "CREATE TABLE IF NOT EXISTS dataset_quality ("
    " ingestion_id TEXT PRIMARY KEY,"
    " measured_us INTEGER NOT NULL,"
    " records INTEGER NOT NULL,"
    " cells INTEGER NOT NULL,"
    " filled_cells INTEGER NOT NULL,"
    " missing_timestamp INTEGER NOT NULL,"
    " late INTEGER NOT NULL,"
    " rescued INTEGER NOT NULL,"
    " compared INTEGER NOT NULL,"
    " duplicates INTEGER NOT NULL,"
    " schema_changes INTEGER NOT NULL,"
    " last_us INTEGER NOT NULL);"
    "CREATE INDEX IF NOT EXISTS idx_dataset_quality_measured ON dataset_quality (measured_us);"
    "CREATE INDEX IF NOT EXISTS idx_data_quality_time ON data_quality (measurement_time)",
    /* Journals of which nothing that lies in the lake is missing here; in a database that is new
     * there is none. */
    ("CREATE TABLE IF NOT EXISTS metadata_recounts (journal TEXT PRIMARY KEY);"
     "INSERT INTO metadata_recounts (journal) SELECT DISTINCT journal FROM metadata_progress"),
    /* Damaged databases of which all that could be read is here (metadata_salvage.c). */
    "CREATE TABLE metadata_salvages (name TEXT PRIMARY KEY)",
    /* What could not be read of datasets whose counts could (metadata_repair.c). */
    "CREATE TABLE metadata_repairs (ingestion_id TEXT PRIMARY KEY, lacks INTEGER NOT NULL)",
    /* Rises with each commit: which tells an older copy that was put back. */
    "CREATE TABLE metadata_marks (journal TEXT PRIMARY KEY, mark INTEGER NOT NULL)",
};

static const struct migrations migrations_metadata = {
    .name = "metadata", .steps = steps, .step_count = sizeof(steps) / sizeof(steps[0])};

enum err metadata_table_prepare(struct database *database, struct diag *diag)
{
    return migrations_apply(database, &migrations_metadata, diag);
}

enum err metadata_table_check(struct database *database, struct diag *diag)
{
    return database_query(database,
                          "SELECT 1 FROM dataset_metadata, schema_evolution, data_quality, "
                          "metadata_progress, dataset_sensors LIMIT 0",
                          NULL, 0, NULL, NULL, NULL, diag);
}

/* --- progress ------------------------------------------------------------------------------ */

static enum err on_integer(void *ctx, const struct database_value *columns, size_t count)
{
    if (count > 0 && columns[0].kind == DATABASE_INTEGER)
        *(int64_t *)ctx = columns[0].integer;
    return ERR_OK;
}

enum err metadata_table_progress(struct database_transaction *transaction, const char *journal,
                                 struct bytes dataset_id, uint64_t *ret_through, struct diag *diag)
{
    int64_t position = 0;
    struct database_value key[] = {database_text(bytes_from_text(journal)),
                                   database_text(dataset_id)};
    enum err err = database_transaction_query(
        transaction,
        "SELECT position FROM metadata_progress WHERE journal = $1 AND ingestion_id = $2", key, 2,
        on_integer, &position, NULL, diag);
    *ret_through = (uint64_t)position;
    return err;
}

static enum err progress_set(struct database_transaction *transaction, const char *journal,
                             struct bytes dataset_id, uint64_t through, struct diag *diag)
{
    struct database_value values[] = {database_text(bytes_from_text(journal)),
                                      database_text(dataset_id),
                                      database_integer((int64_t)through)};
    return database_transaction_query(
        transaction,
        "INSERT INTO metadata_progress (journal, ingestion_id, position) VALUES ($1, $2, $3) "
        "ON CONFLICT (journal, ingestion_id) DO UPDATE SET position = excluded.position",
        values, 3, NULL, NULL, NULL, diag);
}

enum err metadata_table_is_recounted(struct database *database, const char *journal, bool *ret_is,
                                     struct diag *diag)
{
    struct database_value key = database_text(bytes_from_text(journal));
    int64_t found = 0;
    enum err err = database_query(database, "SELECT 1 FROM metadata_recounts WHERE journal = $1",
                                  &key, 1, on_integer, &found, NULL, diag);
    *ret_is = found != 0;
    return err;
}

struct recounted_note {
    const char *journal;
    uint64_t mark;
};

static enum err on_recounted(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    const struct recounted_note *note = ctx;
    struct database_value key = database_text(bytes_from_text(note->journal));
    enum err err = database_transaction_query(transaction,
                                              "INSERT INTO metadata_recounts (journal) VALUES ($1) "
                                              "ON CONFLICT (journal) DO NOTHING",
                                              &key, 1, NULL, NULL, NULL, diag);
    return err == ERR_OK ? metadata_table_set_mark(transaction, note->journal, note->mark, diag)
                         : err;
}

enum err metadata_table_set_recounted(struct database *database, const char *journal, uint64_t mark,
                                      struct diag *diag)
{
    struct recounted_note note = {journal, mark};
    return database_transact(database, on_recounted, &note, diag);
}

enum err metadata_table_unset_recounted(struct database *database, const char *journal,
                                        struct diag *diag)
{
    struct database_value key = database_text(bytes_from_text(journal));
    return database_query(database, "DELETE FROM metadata_recounts WHERE journal = $1", &key, 1,
                          NULL, NULL, NULL, diag);
}

enum err metadata_table_mark(struct database *database, const char *journal, uint64_t *ret_mark,
                             struct diag *diag)
{
    struct database_value key = database_text(bytes_from_text(journal));
    int64_t mark = 0;
    enum err err = database_query(database, "SELECT mark FROM metadata_marks WHERE journal = $1",
                                  &key, 1, on_integer, &mark, NULL, diag);
    *ret_mark = mark > 0 ? (uint64_t)mark : 0;
    return err;
}

enum err metadata_table_set_mark(struct database_transaction *transaction, const char *journal,
                                 uint64_t mark, struct diag *diag)
{
    struct database_value values[] = {database_text(bytes_from_text(journal)),
                                      database_integer((int64_t)mark)};
    return database_transaction_query(
        transaction,
        "INSERT INTO metadata_marks (journal, mark) VALUES ($1, $2) "
        "ON CONFLICT (journal) DO UPDATE SET mark = max(mark, excluded.mark)",
        values, 2, NULL, NULL, NULL, diag);
}

/* --- the row ------------------------------------------------------------------------------- */

/* What Python's json.dumps writes and jansson refuses: escaped lone surrogates, NaN, and integers
 * beyond 64 bits. */
static json_t *mended_read(struct bytes text)
{
    struct buf mended;
    json_t *json = NULL;
    if (json_validate(text, false) != ERR_OK)
        return NULL;
    buf_init(&mended, METADATA_JSON_BYTES_MAX);
    if (json_compact(&mended, text, JSON_NAN_TEXT) == ERR_OK)
        json = json_loadb((const char *)mended.data, mended.size,
                          JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    buf_fini(&mended);
    return json;
}

json_t *metadata_list_read(const struct database_value *value)
{
    if (value->kind != DATABASE_TEXT)
        return NULL;
    json_t *list =
        json_loadb((const char *)value->bytes.data, value->bytes.size, JSON_ALLOW_NUL, NULL);
    if (!list)
        list = mended_read(value->bytes);
    if (json_is_array(list))
        return list;
    json_decref(list);
    return NULL;
}

json_t *metadata_array_read(const struct database_value *value)
{
    json_t *list = metadata_list_read(value);
    return list ? list : json_array();
}

static int64_t integer_read(const struct database_value *value)
{
    if (value->kind == DATABASE_NUMBER)
        return value->number >= 0 && value->number < 9e18 ? (int64_t)value->number : 0;
    return value->kind == DATABASE_INTEGER ? value->integer : 0;
}

static int64_t moment_read(const struct database_value *value)
{
    int64_t us = 0;
    if (value->kind != DATABASE_TEXT || !timestamp_parse(value->bytes, &us))
        return 0;
    return us;
}

enum err metadata_row_counts(struct metadata_row *row, const struct database_value *columns)
{
    row->exists = true;
    row->record_count = integer_read(&columns[0]);
    row->payload_bytes = integer_read(&columns[1]);
    row->sensor_count = integer_read(&columns[2]);
    row->first_us = moment_read(&columns[3]);
    row->last_us = moment_read(&columns[4]);
    if (columns[5].kind == DATABASE_TEXT && columns[5].bytes.size > 0) {
        row->topic = mem_strdup((const char *)columns[5].bytes.data);
        if (!row->topic)
            return ERR_NO_MEMORY;
    }
    return ERR_OK;
}

enum err metadata_row_trees(struct metadata_row *row, const struct database_value *columns)
{
    row->sensors = metadata_array_read(&columns[METADATA_ROW_SENSORS]);
    row->fields = metadata_array_read(&columns[METADATA_ROW_FIELDS]);
    return row->sensors && row->fields ? ERR_OK : ERR_NO_MEMORY;
}

enum err metadata_row_read(struct metadata_row *row, const struct database_value *columns)
{
    enum err err = metadata_row_counts(row, columns);
    return err == ERR_OK ? metadata_row_trees(row, columns) : err;
}

static enum err on_row(void *ctx, const struct database_value *columns, size_t count)
{
    return count == METADATA_ROW_COLUMNS ? metadata_row_read(ctx, columns) : ERR_BUG;
}

static enum err on_sketch(void *ctx, const struct database_value *columns, size_t count)
{
    struct metadata_row *row = ctx;
    if (count != 1 || columns[0].kind != DATABASE_BLOB)
        return ERR_OK;
    enum err err = distinct_decode(&row->sketch, columns[0].bytes);
    row->has_sketch = err == ERR_OK;
    if (err == ERR_CORRUPT) /* it begins anew with what is listed; the count does not go back */
        distinct_clear(&row->sketch);
    return err == ERR_NO_MEMORY ? err : ERR_OK;
}

static bool has_sensors(const struct change *change)
{
    return change->sensor_count > 0 || !distinct_is_empty(&change->beyond);
}

enum err metadata_row_load(struct database_transaction *transaction, struct bytes dataset_id,
                           bool sensors, bool fields, struct metadata_row *row, struct diag *diag)
{
    struct database_value values[] = {database_text(dataset_id), database_integer(sensors),
                                      database_integer(fields)};
    enum err err = database_transaction_query(
        transaction,
        "SELECT " METADATA_COUNTS_SQL ", CASE WHEN $2 THEN unique_sensor_ids END, "
        "CASE WHEN $3 THEN schema_fields END FROM dataset_metadata WHERE ingestion_id = $1",
        values, 3, on_row, row, NULL, diag);
    if (err != ERR_OK)
        return err;
    if (!row->exists) {
        row->sensors = json_array();
        row->fields = json_array();
    }
    if (!row->sensors || !row->fields)
        return ERR_NO_MEMORY;
    if (!sensors)
        return ERR_OK;
    return database_transaction_query(transaction,
                                      "SELECT sketch FROM dataset_sensors WHERE ingestion_id = $1",
                                      values, 1, on_sketch, row, NULL, diag);
}

static enum err sketch_write(struct database_transaction *transaction, struct bytes dataset_id,
                             const struct distinct *sketch, struct diag *diag)
{
    struct buf encoded;
    buf_init(&encoded, 2 * (size_t)DISTINCT_REGISTERS);
    distinct_encode(sketch, &encoded);
    struct database_value values[] = {database_text(dataset_id),
                                      database_blob(buf_bytes(&encoded))};
    enum err err = encoded.err;
    if (err == ERR_OK)
        err = database_transaction_query(
            transaction,
            "INSERT INTO dataset_sensors (ingestion_id, sketch) VALUES ($1, $2) "
            "ON CONFLICT (ingestion_id) DO UPDATE SET sketch = excluded.sketch",
            values, 2, NULL, NULL, NULL, diag);
    buf_fini(&encoded);
    return err;
}

/* The first topic stays, and "unknown" for what has none. */
static struct bytes row_topic(const struct metadata_row *row, const struct change *change)
{
    if (row->topic && strcmp(row->topic, "unknown") != 0)
        return bytes_from_text(row->topic);
    return change->topic.size > 0 ? change->topic : BYTES_LITERAL("unknown");
}

/* As a whole: each statement on a row writes all of it again. What is NULL stays as it is. */
static enum err columns_write(struct database_transaction *transaction, struct bytes dataset_id,
                              const struct metadata_row *row, struct bytes topic,
                              struct database_value sensors, struct database_value fields,
                              struct diag *diag)
{
    char first[METADATA_MOMENT_BYTES], last[METADATA_MOMENT_BYTES], now[METADATA_MOMENT_BYTES];
    metadata_moment(row->first_us, first);
    metadata_moment(row->last_us, last);
    metadata_moment(0, now);
    struct database_value values[] = {
        database_text(dataset_id),
        database_text(topic),
        database_integer(row->record_count),
        database_text(bytes_from_text(first)),
        database_text(bytes_from_text(last)),
        database_integer(row->sensor_count),
        database_integer(row->payload_bytes),
        database_text(bytes_from_text(now)),
        sensors,
        fields,
        database_null(),
    };
    if (row->exists)
        return database_transaction_query(
            transaction,
            "UPDATE dataset_metadata SET topic = $2, record_count = $3, first_seen = $4, "
            "last_seen = $5, unique_sensor_count = $6, data_size_bytes = $7, updated_at = $8, "
            "unique_sensor_ids = coalesce($9, unique_sensor_ids), "
            "schema_fields = coalesce($10, schema_fields) WHERE ingestion_id = $1",
            values, 10, NULL, NULL, NULL, diag);
    char created[METADATA_MOMENT_BYTES];
    metadata_second(0, created);
    values[10] = database_text(bytes_from_text(created));
    return database_transaction_query(
        transaction,
        "INSERT INTO dataset_metadata (ingestion_id, topic, record_count, first_seen, last_seen, "
        "unique_sensor_count, unique_sensor_ids, data_size_bytes, schema_fields, created_at, "
        "updated_at) VALUES ($1, $2, $3, $4, $5, $6, coalesce($9, '[]'), $7, "
        "coalesce($10, '[]'), $11, $8)",
        values, 11, NULL, NULL, NULL, diag);
}

static enum err json_value(const json_t *json, struct buf *text, struct database_value *ret_value)
{
    enum err err = python_json_write(json, text);
    *ret_value = database_text(buf_bytes(text));
    return err;
}

enum err metadata_row_write(struct database_transaction *transaction, struct bytes dataset_id,
                            const struct metadata_row *row, struct bytes topic, bool with_sensors,
                            bool with_fields, struct diag *diag)
{
    struct database_value sensors = database_null(), fields = database_null();
    struct buf sensors_text, fields_text;
    enum err err = ERR_OK;
    buf_init(&sensors_text, METADATA_JSON_BYTES_MAX);
    buf_init(&fields_text, METADATA_JSON_BYTES_MAX);
    if (with_sensors)
        err = json_value(row->sensors, &sensors_text, &sensors);
    if (err == ERR_OK && with_fields)
        err = json_value(row->fields, &fields_text, &fields);
    if (err == ERR_OK)
        err = columns_write(transaction, dataset_id, row, topic, sensors, fields, diag);
    buf_fini(&sensors_text);
    buf_fini(&fields_text);
    if (err == ERR_OK && with_sensors && row->has_sketch)
        err = sketch_write(transaction, dataset_id, &row->sketch, diag);
    return err;
}

/* --- schema evolution ---------------------------------------------------------------------- */

struct evolving {
    struct database_transaction *transaction;
    struct bytes dataset_id;
    int64_t at_us;
    int64_t count;
    bool begun;
    char at[METADATA_MOMENT_BYTES]; /* once begun */
    bool has_rows;                  /* the dataset had some before this change */
    struct database_rows rows;
    struct arena samples; /* of the rows that wait */
    struct buf text;
    struct diag *diag;
};

static void evolving_init(struct evolving *evolving, struct database_transaction *transaction,
                          struct bytes dataset_id, int64_t at_us, struct diag *diag)
{
    evolving->transaction = transaction;
    evolving->dataset_id = dataset_id;
    evolving->at_us = at_us;
    evolving->count = 0;
    evolving->begun = evolving->has_rows = false;
    database_rows_init(&evolving->rows, transaction,
                       "INSERT INTO schema_evolution (ingestion_id, field_name, field_type, "
                       "first_seen, sample_values) VALUES ",
                       5);
    arena_init(&evolving->samples, METADATA_JSON_BYTES_MAX);
    buf_init(&evolving->text, METADATA_JSON_BYTES_MAX);
    evolving->diag = diag;
}

static void evolving_fini(struct evolving *evolving)
{
    arena_fini(&evolving->samples);
    buf_fini(&evolving->text);
}

static enum err on_found(void *ctx, const struct database_value *columns, size_t count)
{
    (void)columns;
    (void)count;
    *(bool *)ctx = true;
    return ERR_OK;
}

/* Most rows are those of a dataset that is new: one look for all of them. A change names a field
 * and a type once. */
static enum err evolution_find(struct evolving *evolving,
                               const struct metadata_evolution *evolution, bool *ret_found)
{
    const char *type = dataset_type_name(evolution->type);
    struct database_value key[] = {database_text(evolving->dataset_id),
                                   database_text(evolution->name),
                                   database_text(bytes_from_text(type))};
    enum err err = ERR_OK;
    *ret_found = false;
    if (!evolving->begun) {
        metadata_second(evolving->at_us, evolving->at);
        err = database_transaction_query(
            evolving->transaction, "SELECT 1 FROM schema_evolution WHERE ingestion_id = $1 LIMIT 1",
            key, 1, on_found, &evolving->has_rows, NULL, evolving->diag);
    }
    evolving->begun = true;
    if (err != ERR_OK || !evolving->has_rows)
        return err;
    return database_transaction_query(evolving->transaction,
                                      "SELECT 1 FROM schema_evolution WHERE ingestion_id = $1 AND "
                                      "field_name = $2 AND field_type = $3 LIMIT 1",
                                      key, 3, on_found, ret_found, NULL, evolving->diag);
}

static enum err evolution_flush(struct evolving *evolving)
{
    enum err err = database_rows_flush(&evolving->rows, evolving->diag);
    arena_reset(&evolving->samples);
    return err;
}

/* The name is the change's, which is there longer. */
static enum err evolution_add(struct evolving *evolving, const struct metadata_evolution *evolution)
{
    struct buf *text = &evolving->text;
    buf_clear(text);
    enum err err = python_json_write(evolution->samples, text);
    if (err != ERR_OK)
        return err;
    char *samples = arena_dup(&evolving->samples, text->data, text->size);
    if (!samples)
        return ERR_NO_MEMORY;
    struct database_value values[] = {
        database_text(evolving->dataset_id),
        database_text(evolution->name),
        database_text(bytes_from_text(dataset_type_name(evolution->type))),
        database_text(bytes_from_text(evolving->at)),
        database_text(bytes_from(samples, text->size)),
    };
    database_rows_add(&evolving->rows, values);
    return database_rows_full(&evolving->rows) ? evolution_flush(evolving) : ERR_OK;
}

static enum err on_evolution(void *ctx, const struct metadata_evolution *evolution)
{
    struct evolving *evolving = ctx;
    bool found;
    enum err err = evolution_find(evolving, evolution, &found);
    if (err != ERR_OK || found)
        return err;
    evolving->count++;
    return evolution_add(evolving, evolution);
}

/* --- data quality -------------------------------------------------------------------------- */

static enum err quality_add(struct database_transaction *transaction, struct bytes dataset_id,
                            const struct change *change, int64_t schema_changes, struct diag *diag)
{
    const struct change_quality *quality = &change->quality;
    struct database_value values[] = {
        database_text(dataset_id),
        database_integer((int64_t)change->records),
        database_integer((int64_t)quality->cells),
        database_integer((int64_t)quality->filled_cells),
        database_integer((int64_t)quality->missing_timestamp),
        database_integer((int64_t)quality->late),
        database_integer((int64_t)quality->rescued),
        database_integer((int64_t)quality->compared),
        database_integer((int64_t)quality->duplicates),
        database_integer(schema_changes),
        database_integer(change->last_us),
    };
    return database_transaction_query(
        transaction,
        "INSERT INTO dataset_quality (ingestion_id, measured_us, records, cells, filled_cells, "
        "missing_timestamp, late, rescued, compared, duplicates, schema_changes, last_us) "
        "VALUES ($1, 0, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) "
        "ON CONFLICT (ingestion_id) DO UPDATE SET records = records + excluded.records, "
        "cells = cells + excluded.cells, filled_cells = filled_cells + excluded.filled_cells, "
        "missing_timestamp = missing_timestamp + excluded.missing_timestamp, "
        "late = late + excluded.late, rescued = rescued + excluded.rescued, "
        "compared = compared + excluded.compared, duplicates = duplicates + excluded.duplicates, "
        "schema_changes = schema_changes + excluded.schema_changes, "
        "last_us = max(last_us, excluded.last_us)",
        values, 11, NULL, NULL, NULL, diag);
}

enum err metadata_table_apply(struct database_transaction *transaction, const char *journal,
                              struct bytes dataset_id, const struct change *change,
                              uint64_t through, struct diag *diag)
{
    struct metadata_row row = {0};
    struct evolving evolving;
    bool sensors = has_sensors(change);
    bool fields = change->field_count > 0;
    evolving_init(&evolving, transaction, dataset_id, change->first_us, diag);
    enum err err = metadata_row_load(transaction, dataset_id, sensors, fields, &row, diag);
    if (err == ERR_OK)
        err = metadata_row_merge(&row, change, on_evolution, &evolving);
    if (err == ERR_OK)
        err = evolution_flush(&evolving);
    if (err == ERR_OK)
        err = metadata_row_write(transaction, dataset_id, &row, row_topic(&row, change), sensors,
                                 fields, diag);
    if (err == ERR_OK)
        err = quality_add(transaction, dataset_id, change, evolving.count, diag);
    if (err == ERR_OK)
        err = progress_set(transaction, journal, dataset_id, through, diag);
    evolving_fini(&evolving);
    metadata_row_fini(&row);
    return err;
}
