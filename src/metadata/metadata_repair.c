/*
 * The changes are merged twice: into nothing, which is what the row would be if all of the dataset
 * were counted anew, and into the row as it was salvaged. The one has each field's nullability and
 * the order in which fields came; it stands for what was lost if the lake has as many records as
 * the row. Where it has fewer (partitions were deleted), the other one is the most that is known.
 */
#include "metadata/metadata_repair.h"

#include "codec/python_json.h"
#include "journal/record.h"
#include "metadata/metadata_table.h"

struct repair {
    struct database_transaction *transaction;
    struct bytes id;
    int64_t lacks;
    struct diag *diag;
    struct metadata_row fresh; /* of the lake alone */
    struct metadata_row row;   /* as it is, and with what the lake says */
    int64_t at_us;             /* of the change at hand */
    json_t *evolution;         /* array of [field, type, date, samples] */
};

/* --- what lacks ---------------------------------------------------------------------------- */

static enum err on_integer(void *ctx, const struct database_value *columns, size_t count)
{
    if (count > 0 && columns[0].kind == DATABASE_INTEGER)
        *(int64_t *)ctx = columns[0].integer;
    return ERR_OK;
}

enum err metadata_repair_lacks(struct database *database, struct bytes dataset_id,
                               int64_t *ret_lacks, struct diag *diag)
{
    const struct database_value key = database_text(dataset_id);
    *ret_lacks = 0;
    return database_query(database, "SELECT lacks FROM metadata_repairs WHERE ingestion_id = $1",
                          &key, 1, on_integer, ret_lacks, NULL, diag);
}

enum err metadata_repair_count(struct database *database, int64_t *ret_count, struct diag *diag)
{
    *ret_count = 0;
    return database_query(database, "SELECT count(*) FROM metadata_repairs", NULL, 0, on_integer,
                          ret_count, NULL, diag);
}

enum err metadata_repair_end(struct database *database, struct diag *diag)
{
    return database_exec(database, "DELETE FROM metadata_repairs", diag);
}

/* --- what the lake says -------------------------------------------------------------------- */

static enum err on_evolution(void *ctx, const struct metadata_evolution *evolution)
{
    struct repair *repair = ctx;
    char at[METADATA_MOMENT_BYTES];
    metadata_second(repair->at_us, at);
    json_t *row = json_pack("[ooso]", metadata_json_text(evolution->name),
                            json_string(dataset_type_name(evolution->type)), at,
                            json_deep_copy(evolution->samples));
    return row && json_array_append_new(repair->evolution, row) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

static enum err on_known(void *ctx, const struct metadata_evolution *evolution)
{
    (void)ctx;
    (void)evolution;
    return ERR_OK;
}

static enum err changes_merge(struct repair *repair, struct bytes changes)
{
    struct record_reader reader = record_reader_of(changes);
    enum err err = ERR_OK;
    while (reader.left > 0 && err == ERR_OK) {
        struct change change;
        change_init(&change);
        err = change_decode(&change, record_text32(&reader));
        repair->at_us = change.first_us;
        if (err == ERR_OK)
            err = metadata_row_merge(&repair->fresh, &change, on_evolution, repair);
        if (err == ERR_OK)
            err = metadata_row_merge(&repair->row, &change, on_known, NULL);
        else if (err == ERR_CORRUPT) /* our own text: it says nothing of the database */
            err = ERR_BUG;
        change_fini(&change);
    }
    return err;
}

/* --- the row ------------------------------------------------------------------------------- */

/* The counts as they were before the changes were merged into them, or what the lake proves. */
static void counts_settle(struct repair *repair, const struct metadata_row *before)
{
    struct metadata_row *row = &repair->row;
    const struct metadata_row *fresh = &repair->fresh;
    bool more = fresh->record_count > before->record_count;
    row->record_count = more ? fresh->record_count : before->record_count;
    row->payload_bytes = before->payload_bytes;
    if (more || repair->lacks & METADATA_LACKS_BYTES)
        row->payload_bytes = fresh->payload_bytes;
}

static enum err row_repair(struct repair *repair, struct bytes changes)
{
    bool fields = repair->lacks & METADATA_LACKS_FIELDS;
    struct metadata_row *row = &repair->row;
    enum err err =
        metadata_row_load(repair->transaction, repair->id, true, true, row, repair->diag);
    if (err != ERR_OK || !row->exists)
        return err;
    const struct metadata_row before = {.record_count = row->record_count,
                                        .payload_bytes = row->payload_bytes};
    err = changes_merge(repair, changes);
    if (err != ERR_OK)
        return err;
    counts_settle(repair, &before);
    if (fields && repair->fresh.record_count >= before.record_count) {
        json_decref(row->fields);
        row->fields = json_incref(repair->fresh.fields);
    }
    struct bytes topic = bytes_from_text(row->topic ? row->topic : "unknown");
    return metadata_row_write(repair->transaction, repair->id, row, topic,
                              repair->lacks & METADATA_LACKS_SENSORS, fields, repair->diag);
}

/* --- the schema's evolution ---------------------------------------------------------------- */

static struct bytes text_at(const json_t *row, size_t index)
{
    const json_t *text = json_array_get(row, index);
    return bytes_from(json_string_value(text), json_string_length(text));
}

/* Whether the dataset has this row, of a number up to last. */
static enum err evolution_has(const struct repair *repair, const json_t *row, int64_t last,
                              bool *ret_has)
{
    const struct database_value values[] = {
        database_text(repair->id),
        database_text(text_at(row, 0)),
        database_text(text_at(row, 1)),
        database_integer(last),
    };
    int64_t found = 0;
    enum err err = database_transaction_query(
        repair->transaction,
        "SELECT 1 FROM schema_evolution WHERE ingestion_id = $1 AND field_name = $2 AND "
        "field_type = $3 AND id <= $4 LIMIT 1",
        values, 4, on_integer, &found, NULL, repair->diag);
    *ret_has = found != 0;
    return err;
}

static enum err evolution_insert(const struct repair *repair, const json_t *row, struct buf *text)
{
    buf_clear(text);
    enum err err = python_json_write(json_array_get(row, 3), text);
    const struct database_value values[] = {
        database_text(repair->id),      database_text(text_at(row, 0)),
        database_text(text_at(row, 1)), database_text(text_at(row, 2)),
        database_text(buf_bytes(text)),
    };
    if (err != ERR_OK)
        return err;
    return database_transaction_query(
        repair->transaction,
        "INSERT INTO schema_evolution (ingestion_id, field_name, field_type, first_seen, "
        "sample_values) VALUES ($1, $2, $3, $4, $5)",
        values, 5, NULL, NULL, NULL, repair->diag);
}

/* All rows that the lake tells come behind those that are there, which then give them what they
 * have, and go; what is left of these is older than what the lake has. So the order is right
 * again. */
static enum err evolution_replace(const struct repair *repair, int64_t last)
{
    static const char *const steps[] = {
        "UPDATE schema_evolution SET (first_seen, sample_values) = (SELECT o.first_seen, "
        "CASE WHEN o.sample_values IN ('', '[]') THEN schema_evolution.sample_values "
        "ELSE o.sample_values END FROM schema_evolution o WHERE o.ingestion_id = $1 AND "
        "o.id <= $2 AND o.field_name = schema_evolution.field_name AND "
        "o.field_type = schema_evolution.field_type LIMIT 1) "
        "WHERE ingestion_id = $1 AND id > $2 AND EXISTS (SELECT 1 FROM schema_evolution o WHERE "
        "o.ingestion_id = $1 AND o.id <= $2 AND o.field_name = schema_evolution.field_name AND "
        "o.field_type = schema_evolution.field_type)",
        "DELETE FROM schema_evolution WHERE ingestion_id = $1 AND id <= $2 AND EXISTS (SELECT 1 "
        "FROM schema_evolution n WHERE n.ingestion_id = $1 AND n.id > $2 AND "
        "n.field_name = schema_evolution.field_name AND "
        "n.field_type = schema_evolution.field_type)",
    };
    const struct database_value values[] = {database_text(repair->id), database_integer(last)};
    struct buf text;
    enum err err = ERR_OK;
    buf_init(&text, METADATA_JSON_BYTES_MAX);
    for (size_t i = 0; i < json_array_size(repair->evolution) && err == ERR_OK; i++)
        err = evolution_insert(repair, json_array_get(repair->evolution, i), &text);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && err == ERR_OK; i++)
        err = database_transaction_query(repair->transaction, steps[i], values, 2, NULL, NULL, NULL,
                                         repair->diag);
    buf_fini(&text);
    return err;
}

static enum err evolution_repair(const struct repair *repair)
{
    int64_t last = 0;
    bool has = true;
    enum err err =
        database_transaction_query(repair->transaction, "SELECT max(id) FROM schema_evolution",
                                   NULL, 0, on_integer, &last, NULL, repair->diag);
    for (size_t i = 0; i < json_array_size(repair->evolution) && has && err == ERR_OK; i++)
        err = evolution_has(repair, json_array_get(repair->evolution, i), last, &has);
    return err == ERR_OK && !has ? evolution_replace(repair, last) : err;
}

/* ------------------------------------------------------------------------------------------- */

enum err metadata_repair_write(struct database_transaction *transaction, struct bytes dataset_id,
                               struct bytes changes, int64_t lacks, struct diag *diag)
{
    const struct database_value key = database_text(dataset_id);
    struct repair repair = {.transaction = transaction,
                            .id = dataset_id,
                            .lacks = lacks,
                            .diag = diag,
                            .fresh = {.sensors = json_array(), .fields = json_array()},
                            .evolution = json_array()};
    enum err err =
        repair.fresh.sensors && repair.fresh.fields && repair.evolution ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = row_repair(&repair, changes);
    if (err == ERR_OK && lacks & METADATA_LACKS_EVOLUTION)
        err = evolution_repair(&repair);
    if (err == ERR_OK)
        err = database_transaction_query(transaction,
                                         "DELETE FROM metadata_repairs WHERE ingestion_id = $1",
                                         &key, 1, NULL, NULL, NULL, diag);
    metadata_row_fini(&repair.fresh);
    metadata_row_fini(&repair.row);
    json_decref(repair.evolution);
    return err;
}
