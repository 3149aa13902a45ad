/*
 * What can still be read of a damaged database goes into the new one, each table from its front
 * until a page that cannot be read, and then from its back. A dataset's counts and its progress
 * come together or not at all: one without the other would count records twice, or never.
 */
#include "metadata/metadata_parts.h"

#include <stdio.h>

#define SQL_BYTES 1024

struct salvaged_table {
    const char *name;
    const char *columns;
    const char *parameters;
    const char *order;
    const char *order_back;
};

static const struct salvaged_table progress_table = {
    "metadata_progress", "journal, ingestion_id, position", "$1, $2, $3", "journal, ingestion_id",
    "journal DESC, ingestion_id DESC"};

static const struct salvaged_table tables[] = {
    {"dataset_metadata",
     "ingestion_id, topic, record_count, first_seen, last_seen, unique_sensor_count, "
     "unique_sensor_ids, data_size_bytes, schema_fields, created_at, updated_at",
     "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11", "rowid", "rowid DESC"},
    {"dataset_sensors", "ingestion_id, sketch", "$1, $2", "rowid", "rowid DESC"},
    {"dataset_quality",
     "ingestion_id, measured_us, records, cells, filled_cells, missing_timestamp, late, rescued, "
     "compared, duplicates, schema_changes, last_us",
     "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12", "rowid", "rowid DESC"},
    {"schema_evolution", "id, ingestion_id, field_name, field_type, first_seen, sample_values",
     "$1, $2, $3, $4, $5, $6", "id", "id DESC"},
    {"data_quality", "id, ingestion_id, metric_name, metric_value, measurement_time",
     "$1, $2, $3, $4, $5", "id", "id DESC"},
};

struct salvage {
    struct database *from;
    struct database_transaction *into;
    const char *insert;
    struct diag *diag;
    enum err err; /* of the new database; what the old one says only ends a reading */
};

static enum err on_row(void *ctx, const struct database_value *columns, size_t count)
{
    struct salvage *salvage = ctx;
    salvage->err = database_transaction_query(salvage->into, salvage->insert, columns, count, NULL,
                                              NULL, NULL, salvage->diag);
    return salvage->err;
}

static enum err rows_copy(struct salvage *salvage, const struct salvaged_table *table,
                          const char *order)
{
    char select[SQL_BYTES], insert[SQL_BYTES];
    struct diag unread = {0};
    snprintf(select, sizeof(select), "SELECT %s FROM %s NOT INDEXED ORDER BY %s", table->columns,
             table->name, order);
    snprintf(insert, sizeof(insert), "INSERT OR IGNORE INTO %s (%s) VALUES (%s)", table->name,
             table->columns, table->parameters);
    salvage->insert = insert;
    return database_query(salvage->from, select, NULL, 0, on_row, salvage, NULL, &unread);
}

/* *ret_whole: all of the table's rows, or there is no such table. */
static enum err table_copy(struct salvage *salvage, const struct salvaged_table *table,
                           bool *ret_whole)
{
    enum err read = rows_copy(salvage, table, table->order);
    *ret_whole = read == ERR_OK || read == ERR_INVALID;
    if (!*ret_whole && salvage->err == ERR_OK)
        (void)!rows_copy(salvage, table, table->order_back);
    return salvage->err;
}

static enum err salvage_run(struct database_transaction *into, void *ctx, struct diag *diag)
{
    struct salvage *salvage = ctx;
    bool whole_progress, whole;
    salvage->into = into;
    salvage->diag = diag;
    enum err err = table_copy(salvage, &progress_table, &whole_progress);
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && err == ERR_OK; i++)
        err = table_copy(salvage, &tables[i], &whole);
    if (err == ERR_OK && !whole_progress)
        err = database_transaction_exec(into,
                                        "DELETE FROM dataset_metadata WHERE ingestion_id NOT IN "
                                        "(SELECT ingestion_id FROM metadata_progress)",
                                        diag);
    if (err == ERR_OK)
        err = database_transaction_exec(into,
                                        "DELETE FROM metadata_progress WHERE ingestion_id NOT IN "
                                        "(SELECT ingestion_id FROM dataset_metadata);"
                                        "DELETE FROM dataset_sensors WHERE ingestion_id NOT IN "
                                        "(SELECT ingestion_id FROM dataset_metadata);"
                                        "DELETE FROM dataset_quality WHERE ingestion_id NOT IN "
                                        "(SELECT ingestion_id FROM dataset_metadata)",
                                        diag);
    return err;
}

static enum err on_count(void *ctx, const struct database_value *columns, size_t count)
{
    if (count == 1 && columns[0].kind == DATABASE_INTEGER)
        *(int64_t *)ctx = columns[0].integer;
    return ERR_OK;
}

enum err metadata_salvage(const char *url, struct database *into, int64_t *ret_datasets,
                          struct diag *diag)
{
    struct salvage salvage = {0};
    struct diag unread = {0};
    *ret_datasets = 0;
    enum err err = database_open(url, &salvage.from, &unread);
    if (err != ERR_OK) /* nothing of it can be read */
        return err == ERR_NO_MEMORY ? err : ERR_OK;
    err = database_transact(into, salvage_run, &salvage, diag);
    database_close(salvage.from);
    if (err == ERR_OK)
        err = database_query(into, "SELECT count(*) FROM dataset_metadata", NULL, 0, on_count,
                             ret_datasets, NULL, diag);
    return err;
}
