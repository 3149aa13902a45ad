/*
 * Data quality: what the changes counted since a dataset's last measurement (table dataset_quality)
 * becomes rows of data_quality, and gauges. A new dataset is measured at once, then each
 * quality_seconds; one that gets nothing has only its freshness measured, for FORGET_US.
 *
 * Freshness goes by the last arrival that is known here: in the database, or in an open batch,
 * which may stay open for long.
 */
#include "base/alloc.h"
#include "database/database_rows.h"
#include "metadata/metadata_parts.h"

#include <stdio.h>
#include <string.h>

#define MEASURED_MAX 200 /* datasets at once */
#define LOADED_MAX   20000
#define FORGET_US    (7 * 86400 * US_PER_S)
#define GAUGE_NAME   "ingestor_data_quality"
#define FRESHNESS    "freshness_seconds"
#define EXPIRED_MAX  5000 /* rows at once */

/* --- gauges -------------------------------------------------------------------------------- */

static void gauge_show(struct metadata *metadata, struct bytes id, struct bytes name, double value)
{
    struct gauge *gauge;
    if (!metadata->options.metrics)
        return;
    const char *id_label = metrics_cap_value(metadata->ids, id);
    const char *name_label = metrics_cap_value(metadata->names, name);
    if (strcmp(id_label, METRICS_CAP_OTHER) == 0 || strcmp(name_label, METRICS_CAP_OTHER) == 0)
        return; /* ratios of many datasets have no sum */
    if (metrics_gauge(metadata->options.metrics, GAUGE_NAME,
                      "Data quality of a dataset, as measured or posted last.",
                      METRIC_LABELS({"ingestion_id", id_label}, {"metric_name", name_label}),
                      &gauge) == ERR_OK)
        gauge_set(gauge, value);
}

static enum err on_loaded(void *ctx, const struct database_value *columns, size_t count)
{
    if (count == 3 && columns[0].kind == DATABASE_TEXT && columns[1].kind == DATABASE_TEXT)
        gauge_show(ctx, columns[0].bytes, columns[1].bytes,
                   columns[2].kind == DATABASE_INTEGER ? (double)columns[2].integer
                                                       : columns[2].number);
    return ERR_OK;
}

enum err quality_load(struct metadata *metadata, struct database *database, struct diag *diag)
{
    struct database_value limit = database_integer(LOADED_MAX);
    if (!metadata->options.metrics)
        return ERR_OK;
    return database_query(database,
                          "SELECT ingestion_id, metric_name, metric_value FROM data_quality "
                          "WHERE id IN (SELECT max(id) FROM data_quality "
                          "GROUP BY ingestion_id, metric_name LIMIT $1)",
                          &limit, 1, on_loaded, metadata, NULL, diag);
}

/* --- arrivals ------------------------------------------------------------------------------ */

/* Dataset id -> the last arrival in its open batch, as a pointer. */

static enum err on_open_arrival(void *ctx, struct bytes id, struct bytes topic,
                                const struct open_counts *counts)
{
    (void)topic;
    return counts->last_us > 0 ? map_put(ctx, id, (void *)(uintptr_t)counts->last_us) : ERR_OK;
}

static int64_t last_arrival_us(const struct map *open, struct bytes id, int64_t stored_us)
{
    int64_t open_us = (int64_t)(uintptr_t)map_get(open, id);
    return open_us > stored_us ? open_us : stored_us;
}

static double freshness(int64_t now_us, int64_t last_us)
{
    return now_us > last_us ? (double)(now_us - last_us) / (double)US_PER_S : 0;
}

struct freshening {
    struct metadata *metadata;
    struct map open;
    int64_t now_us;
};

static enum err on_arrival(void *ctx, const struct database_value *columns, size_t count)
{
    struct freshening *freshening = ctx;
    if (count != 2 || columns[0].kind != DATABASE_TEXT)
        return ERR_OK;
    int64_t last_us = last_arrival_us(&freshening->open, columns[0].bytes, columns[1].integer);
    gauge_show(freshening->metadata, columns[0].bytes, bytes_from_text(FRESHNESS),
               freshness(freshening->now_us, last_us));
    return ERR_OK;
}

enum err quality_freshen(struct metadata *metadata, struct database *database, struct diag *diag)
{
    struct freshening freshening = {.metadata = metadata,
                                    .now_us = clock_realtime_us(metadata->options.clock)};
    struct database_value values[] = {database_integer(freshening.now_us - FORGET_US),
                                      database_integer((int64_t)metadata->options.series_max)};
    if (!metadata->options.metrics)
        return ERR_OK;
    map_init(&freshening.open);
    enum err err = open_each(metadata, on_open_arrival, &freshening.open);
    if (err == ERR_OK) /* the first ones have the series */
        err = database_query(database,
                             "SELECT ingestion_id, last_us FROM dataset_quality "
                             "WHERE measured_us > 0 AND last_us > $1 ORDER BY rowid LIMIT $2",
                             values, 2, on_arrival, &freshening, NULL, diag);
    map_fini(&freshening.open);
    return err;
}

/* --- measuring ----------------------------------------------------------------------------- */

/* In the order of the SELECT below. */
enum {
    RECORDS,
    CELLS,
    FILLED,
    MISSING_TIMESTAMP,
    LATE,
    RESCUED,
    COMPARED,
    DUPLICATES,
    SCHEMA_CHANGES,
    LAST_US,
    SUMS
};

struct due {
    struct bytes id; /* heap */
    int64_t sums[SUMS];
};

struct measuring {
    struct metadata *metadata;
    int64_t now_us;
    struct due due[MEASURED_MAX];
    size_t count;
};

static enum err on_due(void *ctx, const struct database_value *columns, size_t count)
{
    struct measuring *measuring = ctx;
    if (count != SUMS + 1 || columns[0].kind != DATABASE_TEXT || measuring->count == MEASURED_MAX)
        return ERR_OK;
    struct due *due = &measuring->due[measuring->count];
    uint8_t *id = mem_dup(columns[0].bytes.data, columns[0].bytes.size);
    if (!id)
        return ERR_NO_MEMORY;
    due->id = bytes_from(id, columns[0].bytes.size);
    for (size_t i = 0; i < SUMS; i++)
        due->sums[i] = columns[i + 1].integer;
    measuring->count++;
    return ERR_OK;
}

/* Calls on_value for each metric that can be told from the sums. */
static enum err due_values(const struct due *due, int64_t now_us,
                           enum err (*on_value)(void *ctx, const struct due *due, const char *name,
                                                double value),
                           void *ctx)
{
    static const struct {
        const char *name;
        int of, in;
    } ratios[] = {
        {"completeness", FILLED, CELLS},
        {"missing_timestamp_ratio", MISSING_TIMESTAMP, RECORDS},
        {"late_ratio", LATE, RECORDS},
        {"rescued_ratio", RESCUED, RECORDS},
        {"duplicate_ratio", DUPLICATES, COMPARED},
    };
    const int64_t *sums = due->sums;
    enum err err = ERR_OK;
    for (size_t i = 0; i < sizeof(ratios) / sizeof(ratios[0]) && err == ERR_OK; i++)
        if (sums[ratios[i].in] > 0)
            err = on_value(ctx, due, ratios[i].name,
                           (double)sums[ratios[i].of] / (double)sums[ratios[i].in]);
    if (err == ERR_OK && sums[RECORDS] > 0)
        err = on_value(ctx, due, "schema_changes", (double)sums[SCHEMA_CHANGES]);
    return err == ERR_OK ? on_value(ctx, due, FRESHNESS, freshness(now_us, sums[LAST_US])) : err;
}

struct writing {
    struct database_rows rows;
    char at[METADATA_MOMENT_BYTES];
    struct diag *diag;
};

static enum err on_write(void *ctx, const struct due *due, const char *name, double value)
{
    struct writing *writing = ctx;
    struct database_value values[] = {database_text(due->id), database_text(bytes_from_text(name)),
                                      database_number(value),
                                      database_text(bytes_from_text(writing->at))};
    database_rows_add(&writing->rows, values);
    return database_rows_full(&writing->rows) ? database_rows_flush(&writing->rows, writing->diag)
                                              : ERR_OK;
}

static enum err on_show(void *ctx, const struct due *due, const char *name, double value)
{
    gauge_show(ctx, due->id, bytes_from_text(name), value);
    return ERR_OK;
}

static enum err sums_reset(struct database_transaction *transaction,
                           const struct measuring *measuring, struct bytes id, struct diag *diag)
{
    struct database_value values[] = {database_text(id), database_integer(measuring->now_us)};
    return database_transaction_query(
        transaction,
        "UPDATE dataset_quality SET measured_us = $2, records = 0, cells = 0, filled_cells = 0, "
        "missing_timestamp = 0, late = 0, rescued = 0, compared = 0, duplicates = 0, "
        "schema_changes = 0 WHERE ingestion_id = $1",
        values, 2, NULL, NULL, NULL, diag);
}

static enum err measure_run(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    struct measuring *measuring = ctx;
    struct writing writing = {.diag = diag};
    enum err err = ERR_OK;
    database_rows_init(&writing.rows, transaction,
                       "INSERT INTO data_quality (ingestion_id, metric_name, metric_value, "
                       "measurement_time) VALUES ",
                       4);
    metadata_second(measuring->now_us, writing.at);
    for (size_t i = 0; i < measuring->count && err == ERR_OK; i++) {
        const struct due *due = &measuring->due[i];
        err = due_values(due, measuring->now_us, on_write, &writing);
        if (err == ERR_OK)
            err = sums_reset(transaction, measuring, due->id, diag);
    }
    return err == ERR_OK ? database_rows_flush(&writing.rows, diag) : err;
}

static enum err due_find(struct measuring *measuring, struct database *database, struct diag *diag)
{
    int64_t now_us = measuring->now_us;
    int64_t wait_us = (int64_t)measuring->metadata->options.quality_seconds * US_PER_S;
    struct database_value values[] = {database_integer(now_us - wait_us),
                                      database_integer(now_us - FORGET_US),
                                      database_integer(MEASURED_MAX)};
    return database_query(
        database,
        "SELECT ingestion_id, records, cells, filled_cells, missing_timestamp, late, rescued, "
        "compared, duplicates, schema_changes, last_us FROM dataset_quality "
        "WHERE measured_us <= $1 AND (records > 0 OR last_us > $2) ORDER BY measured_us LIMIT $3",
        values, 3, on_due, measuring, NULL, diag);
}

/* Of the open batches those of a due dataset count. */
static enum err on_due_open(void *ctx, struct bytes id, struct bytes topic,
                            const struct open_counts *counts)
{
    struct due *due = map_get(ctx, id);
    (void)topic;
    if (due && counts->last_us > due->sums[LAST_US])
        due->sums[LAST_US] = counts->last_us;
    return ERR_OK;
}

static enum err due_arrivals(struct measuring *measuring)
{
    struct map due;
    map_init(&due);
    enum err err = ERR_OK;
    for (size_t i = 0; i < measuring->count && err == ERR_OK; i++)
        err = map_put(&due, measuring->due[i].id, &measuring->due[i]);
    if (err == ERR_OK && measuring->count > 0)
        err = open_each(measuring->metadata, on_due_open, &due);
    map_fini(&due);
    return err;
}

/* The sums are read by the only thread that changes them. */
enum err quality_measure(struct metadata *metadata, struct database *database, struct diag *diag)
{
    struct measuring *measuring = mem_zalloc(1, sizeof(*measuring));
    if (!measuring)
        return ERR_NO_MEMORY;
    measuring->metadata = metadata;
    measuring->now_us = clock_realtime_us(metadata->options.clock);
    enum err err = due_find(measuring, database, diag);
    if (err == ERR_OK)
        err = due_arrivals(measuring);
    if (err == ERR_OK && measuring->count > 0)
        err = database_transact(database, measure_run, measuring, diag);
    for (size_t i = 0; i < measuring->count; i++) {
        if (err == ERR_OK)
            (void)due_values(&measuring->due[i], measuring->now_us, on_show, metadata);
        mem_free((void *)(uintptr_t)measuring->due[i].id.data);
    }
    mem_free(measuring);
    return err;
}

/* --- the end of a measurement -------------------------------------------------------------- */

enum err quality_expire(struct metadata *metadata, struct database *database, bool *ret_more,
                        struct diag *diag)
{
    char before[METADATA_MOMENT_BYTES];
    int64_t keep_us = (int64_t)metadata->options.quality_days * 86400 * US_PER_S;
    int64_t deleted = 0;
    *ret_more = false;
    if (keep_us == 0)
        return ERR_OK;
    metadata_second(clock_realtime_us(metadata->options.clock) - keep_us, before);
    struct database_value values[] = {database_text(bytes_from_text(before)),
                                      database_integer(EXPIRED_MAX)};
    enum err err = database_query(
        database,
        "DELETE FROM data_quality WHERE id IN (SELECT id FROM data_quality "
        "WHERE measurement_time < $1 AND metric_name IN ('completeness', "
        "'missing_timestamp_ratio', 'late_ratio', 'rescued_ratio', 'duplicate_ratio', "
        "'schema_changes', '" FRESHNESS "') LIMIT $2)",
        values, 2, NULL, NULL, &deleted, diag);
    *ret_more = deleted == EXPIRED_MAX;
    return err;
}

/* --- by others ----------------------------------------------------------------------------- */

enum err metadata_quality_post(struct metadata *metadata, struct bytes id, struct bytes name,
                               double value, struct diag *diag)
{
    struct database *database;
    char at[METADATA_MOMENT_BYTES];
    metadata_second(clock_realtime_us(metadata->options.clock), at);
    struct database_value values[] = {database_text(id), database_text(name),
                                      database_number(value), database_text(bytes_from_text(at))};
    enum err err = reader_get(metadata, READER_WRITE, &database, diag);
    if (err != ERR_OK)
        return err;
    err = database_query(
        database,
        "INSERT INTO data_quality (ingestion_id, metric_name, metric_value, measurement_time) "
        "VALUES ($1, $2, $3, $4)",
        values, 4, NULL, NULL, NULL, diag);
    reader_put(metadata, READER_WRITE);
    if (err == ERR_OK)
        gauge_show(metadata, id, name, value);
    return err;
}

enum err metadata_cleanup(struct metadata *metadata, int64_t days_to_keep, int64_t *ret_deleted,
                          struct diag *diag)
{
    struct database *database;
    char before[METADATA_MOMENT_BYTES];
    int64_t now_us = clock_realtime_us(metadata->options.clock);
    int64_t keep_us;
    *ret_deleted = 0;
    if (__builtin_mul_overflow(days_to_keep, 86400 * US_PER_S, &keep_us) || keep_us >= now_us)
        return ERR_OK; /* nothing is so old */
    metadata_second(now_us - keep_us, before);
    struct database_value values[] = {database_text(bytes_from_text(before))};
    enum err err = reader_get(metadata, READER_WRITE, &database, diag);
    if (err != ERR_OK)
        return err;
    err = database_query(database, "DELETE FROM data_quality WHERE measurement_time < $1", values,
                         1, NULL, NULL, ret_deleted, diag);
    reader_put(metadata, READER_WRITE);
    return err;
}
