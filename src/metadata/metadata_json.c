#include "metadata/metadata_json.h"

#include "base/alloc.h"
#include "codec/json.h"
#include "codec/timestamp.h"

#include <stdlib.h>
#include <string.h>

#define FIELD_DEPTH 8

static int on_json(const char *text, size_t size, void *ctx)
{
    return buf_append(ctx, text, size) == ERR_OK ? 0 : -1;
}

static void put_json(struct buf *out, const json_t *json)
{
    if (json_dump_callback(json, on_json, out, JSON_COMPACT | JSON_ENCODE_ANY) != 0 && !out->err)
        out->err = ERR_NO_MEMORY;
}

static void put_name(struct buf *out, const char *name)
{
    buf_byte(out, '"');
    buf_text(out, name);
    buf_text(out, "\":");
}

void put_text(struct buf *out, const char *name, struct bytes text)
{
    put_name(out, name);
    buf_json_string(out, text);
}

static void put_integer(struct buf *out, const char *name, int64_t value)
{
    put_name(out, name);
    buf_printf(out, "%lld", (long long)value);
}

void put_moment(struct buf *out, const char *name, int64_t us)
{
    char text[METADATA_MOMENT_BYTES];
    metadata_moment(us, text);
    put_text(out, name, bytes_from_text(text));
}

static void put_null(struct buf *out, const char *name)
{
    put_name(out, name);
    buf_text(out, "null");
}

void put_second(struct buf *out, const char *name, const struct database_value *value)
{
    char text[METADATA_MOMENT_BYTES];
    int64_t us;
    if (value->kind == DATABASE_TEXT && timestamp_parse(value->bytes, &us)) {
        metadata_second(us, text);
        put_text(out, name, bytes_from_text(text));
    } else {
        put_null(out, name);
    }
}

void put_value(struct buf *out, const char *name, const struct database_value *value)
{
    if (value->kind == DATABASE_TEXT)
        put_text(out, name, value->bytes);
    else if (value->kind == DATABASE_INTEGER)
        put_integer(out, name, value->integer);
    else
        put_null(out, name);
}

void put_number(struct buf *out, const char *name, const struct database_value *value)
{
    json_t *number =
        value->kind == DATABASE_INTEGER ? json_integer(value->integer) : json_real(value->number);
    put_name(out, name);
    if (number)
        put_json(out, number);
    else
        buf_text(out, "null");
    json_decref(number);
}

int64_t moment_of(const struct database_value *value)
{
    int64_t us = 0;
    return value->kind == DATABASE_TEXT && timestamp_parse(value->bytes, &us) ? us : 0;
}

/* --- from a tree --------------------------------------------------------------------------- */

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

/* --- from a text that needs no tree -------------------------------------------------------- */

/* Each of these copies what the cursor stands at, without white space; false: it is something else,
 * and what was copied is to be taken back. */

static bool copy_byte(struct json_cursor *cursor, struct buf *out, uint8_t byte)
{
    json_space(cursor);
    if (!json_take(cursor, byte))
        return false;
    buf_byte(out, byte);
    return true;
}

static bool copy_string(struct json_cursor *cursor, struct buf *out, struct bytes *ret_raw)
{
    struct json_string string;
    json_space(cursor);
    if (json_peek(cursor) != '"' || json_string_scan(cursor, &string) != ERR_OK)
        return false;
    *ret_raw = string.raw;
    struct bytes quoted = bytes_from(string.raw.data - 1, string.raw.size + 2);
    if (string.escaped) /* mends lone surrogates */
        return json_compact(out, quoted, JSON_NAN_TEXT) == ERR_OK;
    return buf_append(out, quoted.data, quoted.size) == ERR_OK;
}

static bool copy_strings(struct json_cursor *cursor, struct buf *out, size_t count_max)
{
    struct bytes raw;
    if (!copy_byte(cursor, out, '['))
        return false;
    json_space(cursor);
    if (json_peek(cursor) == ']')
        return copy_byte(cursor, out, ']');
    for (size_t i = 0; i < count_max && copy_string(cursor, out, &raw); i++) {
        if (copy_byte(cursor, out, ']'))
            return true;
        if (!copy_byte(cursor, out, ','))
            return false;
    }
    return false;
}

static bool copy_key(struct json_cursor *cursor, struct buf *out, const char *name)
{
    struct bytes raw;
    return copy_string(cursor, out, &raw) && bytes_equal_text(raw, name) &&
           copy_byte(cursor, out, ':');
}

static bool copy_boolean(struct json_cursor *cursor, struct buf *out)
{
    struct bytes value;
    if (json_skip(cursor, FIELD_DEPTH, &value) != ERR_OK ||
        (!bytes_equal_text(value, "true") && !bytes_equal_text(value, "false")))
        return false;
    return buf_append(out, value.data, value.size) == ERR_OK;
}

static bool copy_field(struct json_cursor *cursor, struct buf *out)
{
    struct bytes raw;
    return copy_byte(cursor, out, '{') && copy_key(cursor, out, "name") &&
           copy_string(cursor, out, &raw) && copy_byte(cursor, out, ',') &&
           copy_key(cursor, out, "type") && copy_string(cursor, out, &raw) &&
           dataset_type_of(raw) != DATASET_TYPES && copy_byte(cursor, out, ',') &&
           copy_key(cursor, out, "nullable") && copy_boolean(cursor, out) &&
           copy_byte(cursor, out, ',') && copy_key(cursor, out, "sample_values") &&
           copy_strings(cursor, out, LIMIT_SAMPLES) && copy_byte(cursor, out, '}');
}

static bool copy_fields(struct json_cursor *cursor, struct buf *out, size_t *ret_count)
{
    *ret_count = 0;
    if (!copy_byte(cursor, out, '['))
        return false;
    json_space(cursor);
    if (json_peek(cursor) == ']')
        return copy_byte(cursor, out, ']');
    while (copy_field(cursor, out)) {
        ++*ret_count;
        if (copy_byte(cursor, out, ']'))
            return true;
        if (!copy_byte(cursor, out, ','))
            return false;
    }
    return false;
}

static struct json_cursor cursor_of(const struct database_value *text)
{
    struct bytes bytes = text->kind == DATABASE_TEXT ? text->bytes : (struct bytes){0};
    return (struct json_cursor){bytes.data, bytes.data ? bytes.data + bytes.size : NULL, true};
}

static bool at_end(struct json_cursor *cursor)
{
    json_space(cursor);
    return cursor->at == cursor->end;
}

/* What was begun at size is taken back. */
static void take_back(struct buf *out, size_t size)
{
    if (out->err == ERR_OK)
        out->size = size;
}

enum err put_samples_text(struct buf *out, const struct database_value *text)
{
    struct json_cursor cursor = cursor_of(text);
    size_t size = out->size;
    if (copy_strings(&cursor, out, LIMIT_SAMPLES) && at_end(&cursor))
        return out->err;
    take_back(out, size);
    json_t *samples = metadata_array_read(text);
    if (!samples)
        return ERR_NO_MEMORY;
    put_samples(out, samples);
    json_decref(samples);
    return out->err;
}

enum err put_fields_text(struct buf *out, const struct database_value *text, size_t *ret_count)
{
    struct json_cursor cursor = cursor_of(text);
    size_t size = out->size;
    put_name(out, "schema_fields");
    if (copy_fields(&cursor, out, ret_count) && at_end(&cursor))
        return out->err;
    take_back(out, size);
    json_t *fields = metadata_array_read(text);
    if (!fields)
        return ERR_NO_MEMORY;
    put_fields(out, fields);
    *ret_count = json_array_size(fields);
    json_decref(fields);
    return out->err;
}

enum err put_sensors_text(struct buf *out, const struct database_value *text)
{
    struct json_cursor cursor = cursor_of(text);
    size_t size = out->size;
    put_name(out, "unique_sensor_ids");
    if (copy_strings(&cursor, out, LIMIT_SENSORS_LISTED) && at_end(&cursor))
        return out->err;
    take_back(out, size);
    json_t *sensors = metadata_array_read(text);
    if (!sensors)
        return ERR_NO_MEMORY;
    put_sensors(out, sensors);
    json_decref(sensors);
    return out->err;
}

/* --- a dataset ----------------------------------------------------------------------------- */

enum err put_dataset(struct buf *out, struct bytes id, const struct metadata_row *row,
                     const struct database_value *columns)
{
    size_t count;
    enum err err = ERR_OK;
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
    if (row->sensors)
        put_sensors(out, row->sensors);
    else
        err = put_sensors_text(out, &columns[METADATA_ROW_SENSORS]);
    if (err != ERR_OK)
        return err;
    buf_byte(out, ',');
    put_integer(out, "data_size_bytes", row->payload_bytes);
    buf_byte(out, ',');
    if (!row->fields)
        return put_fields_text(out, &columns[METADATA_ROW_FIELDS], &count);
    put_fields(out, row->fields);
    return out->err;
}
