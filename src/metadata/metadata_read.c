/*
 * The answers of the API (contract/http-api.md "Metadata"), row by row from the database into the
 * text: a hundred thousand datasets are never in memory as a tree. What the Python service wrote is
 * shown as if we had: its moments and samples in our form.
 */
#include "base/alloc.h"
#include "codec/timestamp.h"
#include "metadata/metadata_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATASET_SQL                                                                                \
    "SELECT " METADATA_ROW_SQL ", ingestion_id, created_at, updated_at FROM dataset_metadata "
#define DATASET_COLUMNS (METADATA_ROW_COLUMNS + 3)
#define ACTIVE_US       (3600 * US_PER_S)

/* --- pieces of JSON ------------------------------------------------------------------------ */

static int on_json(const char *text, size_t size, void *ctx)
{
    return buf_append(ctx, text, size) == ERR_OK ? 0 : -1;
}

static void put_json(struct buf *out, const json_t *json)
{
    if (json_dump_callback(json, on_json, out, JSON_COMPACT | JSON_ENCODE_ANY) != 0 && !out->err)
        out->err = ERR_NO_MEMORY;
}

static void put_text(struct buf *out, const char *name, struct bytes text)
{
    buf_printf(out, "\"%s\":", name);
    buf_json_string(out, text);
}

static void put_integer(struct buf *out, const char *name, int64_t value)
{
    buf_printf(out, "\"%s\":%lld", name, (long long)value);
}

static void put_moment(struct buf *out, const char *name, int64_t us)
{
    char text[METADATA_MOMENT_BYTES];
    metadata_moment(us, text);
    put_text(out, name, bytes_from_text(text));
}

/* "YYYY-MM-DD HH:MM:SS", whatever form it has; NULL: null. */
static void put_second(struct buf *out, const char *name, const struct database_value *value)
{
    char text[METADATA_MOMENT_BYTES];
    int64_t us;
    if (value->kind == DATABASE_TEXT && timestamp_parse(value->bytes, &us)) {
        metadata_second(us, text);
        put_text(out, name, bytes_from_text(text));
    } else {
        buf_printf(out, "\"%s\":null", name);
    }
}

static void put_value(struct buf *out, const char *name, const struct database_value *value)
{
    if (value->kind == DATABASE_TEXT)
        put_text(out, name, value->bytes);
    else if (value->kind == DATABASE_INTEGER)
        put_integer(out, name, value->integer);
    else
        buf_printf(out, "\"%s\":null", name);
}

/* A number as JSON has it: none is infinite. */
static void put_number(struct buf *out, const char *name, const struct database_value *value)
{
    json_t *number =
        value->kind == DATABASE_INTEGER ? json_integer(value->integer) : json_real(value->number);
    buf_printf(out, "\"%s\":", name);
    if (number)
        put_json(out, number);
    else
        buf_text(out, "null");
    json_decref(number);
}

/* Samples are texts; those of the Python service may be anything. */
static void put_samples(struct buf *out, const json_t *samples)
{
    buf_byte(out, '[');
    for (size_t i = 0; i < json_array_size(samples) && i < LIMIT_SAMPLES; i++) {
        const json_t *sample = json_array_get(samples, i);
        buf_text(out, i > 0 ? "," : "");
        if (json_is_string(sample)) {
            put_json(out, sample);
            continue;
        }
        char *text = json_dumps(sample, JSON_COMPACT | JSON_ENCODE_ANY);
        buf_json_string(out, bytes_from_text(text ? text : ""));
        free(text);
    }
    buf_byte(out, ']');
}

static void put_field(struct buf *out, const json_t *field)
{
    const char *type = json_string_value(json_object_get(field, "type"));
    bool known = type && dataset_type_of(bytes_from_text(type)) != DATASET_TYPES;
    const json_t *name = json_object_get(field, "name");
    buf_text(out, "{\"name\":");
    if (json_is_string(name))
        put_json(out, name);
    else
        buf_text(out, "\"\"");
    buf_printf(out, ",\"type\":\"%s\",\"nullable\":%s,\"sample_values\":",
               known ? type : dataset_type_name(DATASET_STRING),
               json_is_true(json_object_get(field, "nullable")) ? "true" : "false");
    put_samples(out, json_object_get(field, "sample_values"));
    buf_byte(out, '}');
}

static void put_fields(struct buf *out, const json_t *fields)
{
    buf_text(out, "\"schema_fields\":[");
    for (size_t i = 0; i < json_array_size(fields); i++) {
        buf_text(out, i > 0 ? "," : "");
        put_field(out, json_array_get(fields, i));
    }
    buf_byte(out, ']');
}

static void put_sensors(struct buf *out, const json_t *sensors)
{
    bool comma = false;
    buf_text(out, "\"unique_sensor_ids\":[");
    for (size_t i = 0; i < json_array_size(sensors); i++) {
        const json_t *sensor = json_array_get(sensors, i);
        if (!json_is_string(sensor))
            continue;
        buf_text(out, comma ? "," : "");
        comma = true;
        put_json(out, sensor);
    }
    buf_byte(out, ']');
}

/* All of a Dataset but its last two moments, left open. */
static void put_row(struct buf *out, struct bytes id, const struct metadata_row *row)
{
    buf_byte(out, '{');
    put_text(out, "ingestion_id", id);
    buf_byte(out, ',');
    put_text(out, "topic", bytes_from_text(row->topic ? row->topic : "unknown"));
    buf_byte(out, ',');
    put_integer(out, "record_count", row->record_count);
    buf_byte(out, ',');
    put_moment(out, "first_seen", row->first_us);
    buf_byte(out, ',');
    put_moment(out, "last_seen", row->last_us);
    buf_byte(out, ',');
    put_integer(out, "unique_sensor_count", row->sensor_count);
    buf_byte(out, ',');
    put_sensors(out, row->sensors);
    buf_byte(out, ',');
    put_integer(out, "data_size_bytes", row->payload_bytes);
    buf_byte(out, ',');
    put_fields(out, row->fields);
}

static int64_t moment_of(const struct database_value *value)
{
    int64_t us = 0;
    return value->kind == DATABASE_TEXT && timestamp_parse(value->bytes, &us) ? us : 0;
}

/* --- queries ------------------------------------------------------------------------------- */

struct answer {
    struct metadata *metadata;
    struct buf *out;
    uint64_t count;
    struct map pending; /* of metadata_current: id -> struct buf of segments */
};

static enum err query(struct metadata *metadata, const char *sql,
                      const struct database_value *values, size_t value_count,
                      database_on_row on_row, struct answer *answer, struct diag *diag)
{
    struct database *database;
    enum err err = reader_get(metadata, &database, diag);
    if (err != ERR_OK)
        return err;
    err = database_query(database, sql, values, value_count, on_row, answer, NULL, diag);
    reader_put(metadata);
    return err != ERR_OK ? err : answer->out->err;
}

static enum err on_dataset(void *ctx, const struct database_value *columns, size_t count)
{
    struct answer *answer = ctx;
    struct buf *out = answer->out;
    struct metadata_row row = {0};
    if (count != DATASET_COLUMNS)
        return ERR_BUG;
    enum err err = metadata_row_read(&row, columns);
    if (err == ERR_OK) {
        const struct database_value *rest = &columns[METADATA_ROW_COLUMNS];
        buf_text(out, answer->count++ > 0 ? "," : "");
        put_row(out, rest[0].bytes, &row);
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
    enum err err = query(metadata, DATASET_SQL "ORDER BY last_seen DESC, ingestion_id", NULL, 0,
                         on_dataset, &answer, diag);
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
    enum err err =
        query(metadata, DATASET_SQL "WHERE ingestion_id = $1", &key, 1, on_dataset, &answer, diag);
    buf_byte(out, '}');
    return err == ERR_OK && answer.count == 0 ? ERR_NOT_FOUND : err;
}

static enum err on_schema(void *ctx, const struct database_value *columns, size_t count)
{
    struct answer *answer = ctx;
    struct metadata_row row = {0};
    if (count != METADATA_ROW_COLUMNS)
        return ERR_BUG;
    enum err err = metadata_row_read(&row, columns);
    if (err == ERR_OK) {
        put_fields(answer->out, row.fields);
        buf_printf(answer->out, ",\"field_count\":%zu", json_array_size(row.fields));
        answer->count = json_array_size(row.fields) + 1;
    }
    metadata_row_fini(&row);
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
    enum err err =
        query(metadata, "SELECT " METADATA_ROW_SQL " FROM dataset_metadata WHERE ingestion_id = $1",
              &key, 1, on_schema, &answer, diag);
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
    json_t *samples =
        columns[5].kind == DATABASE_TEXT
            ? json_loadb((const char *)columns[5].bytes.data, columns[5].bytes.size, 0, NULL)
            : NULL;
    buf_text(out, ",\"sample_values\":");
    put_samples(out, samples);
    buf_byte(out, '}');
    json_decref(samples);
    return out->err;
}

enum err metadata_evolution(struct metadata *metadata, struct bytes id, struct buf *out,
                            uint64_t *ret_count, struct diag *diag)
{
    struct answer answer = {.out = out};
    struct database_value key = database_text(id);
    begin_with_id(out, id);
    buf_text(out, "\"evolution\":[");
    enum err err = query(metadata,
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
    enum err err = query(metadata,
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
        query(metadata,
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
    enum err err = query(metadata,
                         "SELECT count(*), count(DISTINCT coalesce(nullif(topic, ''), 'unknown')), "
                         "coalesce(sum(last_seen >= $1), 0), coalesce(sum(record_count), 0), "
                         "coalesce(sum(data_size_bytes), 0), "
                         "coalesce(sum(unique_sensor_count), 0) FROM dataset_metadata",
                         &active, 1, on_stats, &answer, diag);
    buf_text(out, "}}");
    return err;
}

/* --- what is not in the database yet ------------------------------------------------------- */

struct waiting {
    struct waiting *next;
    uint64_t through;
    struct change change;
};

static void waiting_free(struct waiting *first)
{
    while (first) {
        struct waiting *next = first->next;
        change_fini(&first->change);
        mem_free(first);
        first = next;
    }
}

static void waiting_clear(struct map *by_id)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(by_id, &cursor));)
        waiting_free(entry->value);
    map_fini(by_id);
}

static enum err waiting_copy(const struct pending *pending, struct waiting **ret_first)
{
    struct waiting **end = ret_first;
    *ret_first = NULL;
    for (const struct segment *at = pending->first; at; at = at->next) {
        struct waiting *one = mem_zalloc(1, sizeof(*one));
        if (!one)
            return ERR_NO_MEMORY;
        one->through = at->through;
        change_init(&one->change);
        *end = one;
        end = &one->next;
        enum err err = change_decode(&one->change, bytes_from(at->encoded, at->encoded_size));
        if (err == ERR_NO_MEMORY)
            return err;
    }
    return ERR_OK;
}

static enum err waiting_get(struct metadata *metadata, struct map *by_id)
{
    size_t cursor = 0;
    enum err err = ERR_OK;
    struct map_entry *entry;
    mutex_lock(&metadata->lock);
    while (err == ERR_OK && (entry = map_next(&metadata->pending, &cursor))) {
        struct waiting *first;
        err = waiting_copy(entry->value, &first);
        if (err == ERR_OK && first)
            err = map_put(by_id, bytes_from(entry->key, entry->key_size), first);
        if (err != ERR_OK)
            waiting_free(first);
    }
    mutex_unlock(&metadata->lock);
    return err;
}

static enum err ignore_evolution(void *ctx, const struct metadata_evolution *evolution)
{
    (void)ctx;
    (void)evolution;
    return ERR_OK;
}

static enum err topic_take(struct metadata_row *row, const struct change *change)
{
    if (change->topic.size == 0 || (row->topic && strcmp(row->topic, "unknown") != 0))
        return ERR_OK;
    mem_free(row->topic);
    row->topic = mem_zalloc(change->topic.size + 1, 1);
    if (!row->topic)
        return ERR_NO_MEMORY;
    memcpy(row->topic, change->topic.data, change->topic.size);
    return ERR_OK;
}

/* The row with what waits above its progress. */
static enum err put_current(struct answer *answer, struct bytes id, struct metadata_row *row,
                            const struct waiting *waiting, uint64_t progress)
{
    enum err err = ERR_OK;
    for (; waiting && err == ERR_OK; waiting = waiting->next) {
        if (waiting->through <= progress)
            continue;
        err = topic_take(row, &waiting->change);
        if (err == ERR_OK)
            err = metadata_row_merge(row, &waiting->change, ignore_evolution, NULL);
    }
    if (err != ERR_OK)
        return err;
    buf_text(answer->out, answer->count++ > 0 ? "," : "");
    buf_json_string(answer->out, id);
    buf_byte(answer->out, ':');
    put_row(answer->out, id, row);
    return answer->out->err;
}

static enum err on_current(void *ctx, const struct database_value *columns, size_t count)
{
    struct answer *answer = ctx;
    struct metadata_row row = {0};
    if (count != DATASET_COLUMNS + 1)
        return ERR_BUG;
    const struct database_value *rest = &columns[METADATA_ROW_COLUMNS];
    struct waiting *waiting = map_remove(&answer->pending, rest[0].bytes);
    uint64_t progress = rest[3].kind == DATABASE_INTEGER ? (uint64_t)rest[3].integer : 0;
    enum err err = metadata_row_read(&row, columns);
    if (err == ERR_OK)
        err = put_current(answer, rest[0].bytes, &row, waiting, progress);
    if (err == ERR_OK) {
        buf_byte(answer->out, ',');
        put_second(answer->out, "created_at", &rest[1]);
        buf_byte(answer->out, ',');
        put_moment(answer->out, "updated_at", moment_of(&rest[2]));
        buf_byte(answer->out, '}');
    }
    waiting_free(waiting);
    metadata_row_fini(&row);
    return err;
}

/* Those that the database does not know at all. */
static enum err put_newcomers(struct answer *answer)
{
    size_t cursor = 0;
    enum err err = ERR_OK;
    for (struct map_entry *entry; err == ERR_OK && (entry = map_next(&answer->pending, &cursor));) {
        struct metadata_row row = {.sensors = json_array(), .fields = json_array()};
        err = row.sensors && row.fields ? ERR_OK : ERR_NO_MEMORY;
        if (err == ERR_OK)
            err =
                put_current(answer, bytes_from(entry->key, entry->key_size), &row, entry->value, 0);
        if (err == ERR_OK) {
            buf_byte(answer->out, ',');
            put_moment(answer->out, "updated_at", 0);
            buf_byte(answer->out, '}');
        }
        metadata_row_fini(&row);
    }
    return err;
}

/* What waits is copied before the rows are read: the progress, read with them, says which of it the
 * database has got in between. */
enum err metadata_current(struct metadata *metadata, struct buf *out, uint64_t *ret_count,
                          struct diag *diag)
{
    struct answer answer = {.out = out};
    struct database_value journal =
        database_text(bytes_from_text(journal_uuid(metadata->options.journal)));
    map_init(&answer.pending);
    buf_text(out, "{\"current_metadata\":{");
    enum err err = waiting_get(metadata, &answer.pending);
    if (err == ERR_OK)
        err = query(metadata,
                    "SELECT " METADATA_ROW_SQL ", d.ingestion_id, created_at, updated_at, "
                    "p.position FROM dataset_metadata d LEFT JOIN metadata_progress p "
                    "ON p.journal = $1 AND p.ingestion_id = d.ingestion_id",
                    &journal, 1, on_current, &answer, diag);
    if (err == ERR_OK)
        err = put_newcomers(&answer);
    buf_printf(out, "},\"dataset_count\":%llu}", (unsigned long long)answer.count);
    waiting_clear(&answer.pending);
    *ret_count = answer.count;
    return err != ERR_OK ? err : out->err;
}
