/*
 * The answers of the API (contract/http-api.md "Metadata"), row by row from the database into the
 * text: a hundred thousand datasets are never in memory as a tree. What the Python service wrote is
 * shown as if we had: its moments and samples in our form.
 */
#include "metadata/metadata_json.h"
#include "metadata/metadata_parts.h"

#define DATASET_SQL                                                                                \
    "SELECT " METADATA_ROW_SQL ", ingestion_id, created_at, updated_at FROM dataset_metadata "
/* Sorts the places and not the rows, which are long; the limit keeps SQLite from leaving the order
 * out. */
#define LIST_SQL                                                                                   \
    "SELECT " METADATA_ROW_SQL ", d.ingestion_id, created_at, updated_at FROM "                    \
    "(SELECT rowid AS place FROM dataset_metadata ORDER BY last_seen DESC, ingestion_id "          \
    "LIMIT -1) CROSS JOIN dataset_metadata d ON d.rowid = place"
#define DATASET_COLUMNS (METADATA_ROW_COLUMNS + 3)
#define ACTIVE_US       (3600 * US_PER_S)

/* --- queries ------------------------------------------------------------------------------- */

struct answer {
    struct buf *out;
    uint64_t count;
};

static enum err query(struct metadata *metadata, enum reader_use use, const char *sql,
                      const struct database_value *values, size_t value_count,
                      database_on_row on_row, struct answer *answer, struct diag *diag)
{
    struct database *database;
    enum err err = reader_get(metadata, use, &database, diag);
    if (err != ERR_OK)
        return err;
    err = database_query(database, sql, values, value_count, on_row, answer, NULL, diag);
    reader_put(metadata, use);
    if (err == ERR_CORRUPT)
        metadata_doubt(metadata);
    return err != ERR_OK ? err : answer->out->err;
}

static enum err on_dataset(void *ctx, const struct database_value *columns, size_t count)
{
    struct answer *answer = ctx;
    struct buf *out = answer->out;
    struct metadata_row row = {0};
    if (count != DATASET_COLUMNS)
        return ERR_BUG;
    const struct database_value *rest = &columns[METADATA_ROW_COLUMNS];
    enum err err = metadata_row_counts(&row, columns);
    buf_text(out, answer->count++ > 0 ? "," : "");
    if (err == ERR_OK)
        err = put_dataset(out, rest[0].bytes, &row, columns);
    if (err == ERR_OK) {
        buf_byte(out, ',');
        put_second(out, "created_at", &rest[1]);
        buf_byte(out, ',');
        put_moment(out, "updated_at", moment_of(&rest[2]));
        buf_byte(out, '}');
    }
    metadata_row_fini(&row);
    return err != ERR_OK ? err : out->err;
}

enum err metadata_datasets(struct metadata *metadata, struct buf *out, uint64_t *ret_count,
                           struct diag *diag)
{
    struct answer answer = {.out = out};
    buf_text(out, "{\"datasets\":[");
    enum err err = query(metadata, READER_LIST, LIST_SQL, NULL, 0, on_dataset, &answer, diag);
    buf_printf(out, "],\"total\":%llu}", (unsigned long long)answer.count);
    *ret_count = answer.count;
    return err;
}

enum err metadata_dataset(struct metadata *metadata, struct bytes id, struct buf *out,
                          struct diag *diag)
{
    struct answer answer = {.out = out};
    struct database_value key = database_text(id);
    buf_text(out, "{\"dataset\":");
    enum err err = query(metadata, READER_ONE, DATASET_SQL "WHERE ingestion_id = $1", &key, 1,
                         on_dataset, &answer, diag);
    buf_byte(out, '}');
    return err == ERR_OK && answer.count == 0 ? ERR_NOT_FOUND : err;
}

static enum err on_schema(void *ctx, const struct database_value *columns, size_t count)
{
    struct answer *answer = ctx;
    size_t fields;
    if (count != 1)
        return ERR_BUG;
    enum err err = put_fields_text(answer->out, &columns[0], &fields);
    if (err == ERR_OK)
        buf_printf(answer->out, ",\"field_count\":%zu", fields);
    answer->count = fields + 1;
    return err;
}

static void begin_with_id(struct buf *out, struct bytes id)
{
    buf_byte(out, '{');
    put_text(out, "ingestion_id", id);
    buf_byte(out, ',');
}

enum err metadata_schema(struct metadata *metadata, struct bytes id, struct buf *out,
                         uint64_t *ret_count, struct diag *diag)
{
    struct answer answer = {.out = out};
    struct database_value key = database_text(id);
    begin_with_id(out, id);
    enum err err = query(metadata, READER_ONE,
                         "SELECT schema_fields FROM dataset_metadata WHERE ingestion_id = $1", &key,
                         1, on_schema, &answer, diag);
    buf_byte(out, '}');
    *ret_count = answer.count > 0 ? answer.count - 1 : 0;
    return err == ERR_OK && answer.count == 0 ? ERR_NOT_FOUND : err;
}

static enum err on_evolution(void *ctx, const struct database_value *columns, size_t count)
{
    static const char *const names[] = {"id", "ingestion_id", "field_name", "field_type"};
    struct answer *answer = ctx;
    struct buf *out = answer->out;
    if (count != 6)
        return ERR_BUG;
    buf_text(out, answer->count++ > 0 ? ",{" : "{");
    for (size_t i = 0; i < 4; i++) {
        put_value(out, names[i], &columns[i]);
        buf_byte(out, ',');
    }
    put_second(out, "first_seen", &columns[4]);
    buf_text(out, ",\"sample_values\":");
    enum err err = put_samples_text(out, &columns[5]);
    buf_byte(out, '}');
    return err != ERR_OK ? err : out->err;
}

enum err metadata_evolution(struct metadata *metadata, struct bytes id, struct buf *out,
                            uint64_t *ret_count, struct diag *diag)
{
    struct answer answer = {.out = out};
    struct database_value key = database_text(id);
    begin_with_id(out, id);
    buf_text(out, "\"evolution\":[");
    enum err err = query(metadata, READER_ONE,
                         "SELECT id, ingestion_id, field_name, field_type, first_seen, "
                         "sample_values FROM schema_evolution WHERE ingestion_id = $1 "
                         "ORDER BY first_seen, id",
                         &key, 1, on_evolution, &answer, diag);
    buf_printf(out, "],\"change_count\":%llu}", (unsigned long long)answer.count);
    *ret_count = answer.count;
    return err;
}

static enum err on_quality(void *ctx, const struct database_value *columns, size_t count)
{
    struct answer *answer = ctx;
    struct buf *out = answer->out;
    if (count != 3)
        return ERR_BUG;
    buf_text(out, answer->count++ > 0 ? ",{" : "{");
    put_value(out, "metric_name", &columns[0]);
    buf_byte(out, ',');
    put_number(out, "metric_value", &columns[1]);
    buf_byte(out, ',');
    put_second(out, "measurement_time", &columns[2]);
    buf_byte(out, '}');
    return out->err;
}

enum err metadata_quality(struct metadata *metadata, struct bytes id, struct buf *out,
                          uint64_t *ret_count, struct diag *diag)
{
    struct answer answer = {.out = out};
    struct database_value key = database_text(id);
    begin_with_id(out, id);
    buf_text(out, "\"metrics\":[");
    enum err err = query(metadata, READER_ONE,
                         "SELECT metric_name, metric_value, measurement_time FROM data_quality "
                         "WHERE ingestion_id = $1 ORDER BY measurement_time DESC, id DESC",
                         &key, 1, on_quality, &answer, diag);
    buf_printf(out, "],\"metric_count\":%llu}", (unsigned long long)answer.count);
    *ret_count = answer.count;
    return err;
}

static enum err on_topic(void *ctx, const struct database_value *columns, size_t count)
{
    static const char *const names[] = {"topic", "dataset_count", "total_records",
                                        "total_size_bytes", "total_unique_sensors"};
    struct answer *answer = ctx;
    struct buf *out = answer->out;
    if (count != 7)
        return ERR_BUG;
    buf_text(out, answer->count++ > 0 ? ",{" : "{");
    for (size_t i = 0; i < 5; i++) {
        put_value(out, names[i], &columns[i]);
        buf_byte(out, ',');
    }
    put_moment(out, "earliest_data", moment_of(&columns[5]));
    buf_byte(out, ',');
    put_moment(out, "latest_data", moment_of(&columns[6]));
    buf_byte(out, '}');
    return out->err;
}

enum err metadata_topics(struct metadata *metadata, struct buf *out, uint64_t *ret_count,
                         struct diag *diag)
{
    struct answer answer = {.out = out};
    buf_text(out, "{\"topics\":[");
    enum err err =
        query(metadata, READER_LIST,
              "SELECT coalesce(nullif(topic, ''), 'unknown') AS name, count(*), "
              "coalesce(sum(record_count), 0) AS records, coalesce(sum(data_size_bytes), 0), "
              "coalesce(sum(unique_sensor_count), 0), min(first_seen), max(last_seen) "
              "FROM dataset_metadata GROUP BY name ORDER BY records DESC, name",
              NULL, 0, on_topic, &answer, diag);
    buf_printf(out, "],\"total\":%llu}", (unsigned long long)answer.count);
    *ret_count = answer.count;
    return err;
}

static enum err on_stats(void *ctx, const struct database_value *columns, size_t count)
{
    static const char *const names[] = {"dataset_count",    "topic_count",
                                        "active_datasets",  "total_records",
                                        "total_size_bytes", "total_unique_sensors"};
    struct answer *answer = ctx;
    if (count != 6)
        return ERR_BUG;
    for (size_t i = 0; i < 6; i++) {
        put_value(answer->out, names[i], &columns[i]);
        buf_byte(answer->out, ',');
    }
    buf_printf(answer->out, "\"size_mb\":%.2f", (double)columns[4].integer / (double)MIB);
    return answer->out->err;
}

enum err metadata_stats(struct metadata *metadata, struct buf *out, struct diag *diag)
{
    struct answer answer = {.out = out};
    char since[METADATA_MOMENT_BYTES];
    metadata_moment(clock_realtime_us(metadata->options.clock) - ACTIVE_US, since);
    struct database_value active = database_text(bytes_from_text(since));
    buf_text(out, "{\"stats\":{");
    enum err err = query(metadata, READER_LIST,
                         "SELECT count(*), count(DISTINCT coalesce(nullif(topic, ''), 'unknown')), "
                         "coalesce(sum(last_seen >= $1), 0), coalesce(sum(record_count), 0), "
                         "coalesce(sum(data_size_bytes), 0), "
                         "coalesce(sum(unique_sensor_count), 0) FROM dataset_metadata",
                         &active, 1, on_stats, &answer, diag);
    buf_text(out, "}}");
    return err;
}
