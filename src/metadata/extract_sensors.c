/*
 * Sensors are looked at record by record: a value that one of the last few hundred records had
 * costs its hash and a comparison. A sensor is a text or a number, in its column or rescued from
 * it; objects, arrays and booleans are none. Its field is what the record's route says, or
 * sensor_id and sensorId: routes of one dataset may say different ones (of several sources, or
 * before and after a change of one).
 */
#include "base/hash.h"
#include "codec/json.h"
#include "metadata/extract_parts.h"
#include "metadata/sample.h"

#include <inttypes.h>
#include <stdio.h>

#define RECENT_SENSORS    512
#define SENSOR_FIELDS_MAX 16 /* different ones in a cut */

/* The fields that the routes of a cut say. */
struct sensor_fields {
    struct bytes names[SENSOR_FIELDS_MAX];
    uint32_t count;
    bool differ; /* not the same for all records */
};

/* A longer one is told by its beginning and its hash. */
static struct bytes sensor_name(struct bytes sensor, char room[LIMIT_SAMPLE_BYTES + 1])
{
    if (sensor.size <= LIMIT_SAMPLE_BYTES)
        return sensor;
    struct bytes begin = change_text_cut(sensor, LIMIT_SAMPLE_BYTES - 1 - 16);
    memcpy(room, begin.data, begin.size);
    snprintf(room + begin.size, LIMIT_SAMPLE_BYTES + 1 - begin.size, "-%016" PRIx64,
             hash_bytes(sensor));
    return bytes_from(room, begin.size + 1 + 16);
}

static enum err sensor_tell(struct extraction *extraction, struct bytes sensor)
{
    struct told *told = extraction->told;
    char room[LIMIT_SAMPLE_BYTES + 1];
    bool is_new;
    sensor = sensor_name(sensor, room);
    enum err err = distinct_add(&told->sensors, distinct_hash(sensor), &is_new);
    if (err != ERR_OK || !is_new)
        return err;
    if (told->sensors_listed >= LIMIT_SENSORS_LISTED)
        return distinct_add(&extraction->change->beyond, distinct_hash(sensor), &is_new);
    told->sensors_listed++;
    return change_sensor_add(extraction->change, sensor);
}

static enum err number_tell(struct extraction *extraction, double number)
{
    buf_clear(&extraction->text);
    sample_number(&extraction->text, number);
    return sensor_tell(extraction, buf_bytes(&extraction->text));
}

/* A text may hold what is no sensor, as JSON. Which row's it is stands nowhere: in a cut that has
 * such a value, a text like it is taken for one. */
static bool is_sensor(const struct leaf *leaf, struct bytes text)
{
    uint8_t first = text.size > 0 ? text.data[0] : 0;
    bool is_boolean = bytes_equal_text(text, "true") || bytes_equal_text(text, "false");
    return !(first == '{' && leaf->json_rows[LEAF_JSON_STRUCT] > 0) &&
           !(first == '[' && leaf->json_rows[LEAF_JSON_LIST] > 0) &&
           !(is_boolean && leaf->json_rows[LEAF_JSON_BOOLEAN] > 0);
}

static bool row_says(const struct extraction *extraction, size_t row, struct bytes field)
{
    const struct origins *origins = extraction->cut->origins;
    const struct origin *origin = &origins->origins[extraction->cut->rows->origin[row]];
    struct bytes own = origins->routes[origin->route].view.sensor_id_field;
    if (own.size > 0)
        return bytes_equal(field, own);
    return bytes_equal_text(field, "sensor_id") || bytes_equal_text(field, "sensorId");
}

static enum err column_tell(struct extraction *extraction, const struct column *column, size_t i,
                            uint64_t recent[RECENT_SENSORS])
{
    const struct leaf *leaf = &column->leaf;
    struct bytes value =
        column->kind == COLUMN_STRING
            ? bytes_from(leaf->data + leaf->offsets[i], leaf->offsets[i + 1] - leaf->offsets[i])
            : bytes_from(&leaf->doubles[i], sizeof(double));
    uint64_t hash = hash_bytes(value) | 1; /* 0: none */
    if (recent[(hash >> 1) % RECENT_SENSORS] == hash)
        return ERR_OK;
    recent[(hash >> 1) % RECENT_SENSORS] = hash;
    if (column->kind == COLUMN_DOUBLE)
        return number_tell(extraction, leaf->doubles[i]);
    return is_sensor(leaf, value) ? sensor_tell(extraction, value) : ERR_OK;
}

static enum err sensors_in(struct extraction *extraction, struct bytes field, bool differ)
{
    const struct column *column = schema_child(extraction->cut->schema->root, field);
    uint64_t recent[RECENT_SENSORS] = {0};
    enum err err = ERR_OK;
    if (!column || (column->kind != COLUMN_STRING && column->kind != COLUMN_DOUBLE))
        return ERR_OK;
    const struct leaf *leaf = &column->leaf;
    for (size_t row = 0, value = 0; value < leaf->value_count && err == ERR_OK; row++) {
        if (leaf->definition_levels && leaf->definition_levels[row] != leaf->definition_max)
            continue;
        if (!differ || row_says(extraction, row, field))
            err = column_tell(extraction, column, value, recent);
        value++;
    }
    return err;
}

static enum err text_tell(struct extraction *extraction, struct bytes raw)
{
    struct buf *text = &extraction->unescaped;
    buf_clear(text);
    if (buf_reserve(text, raw.size + 1) != ERR_OK) /* longer than any payload, or no memory */
        return ERR_NO_MEMORY;
    return sensor_tell(extraction, bytes_from(text->data, json_unescape(raw, text->data)));
}

/* One whose field has a column of another type. */
enum err on_rescued_sensor(void *ctx, size_t row, struct bytes name, struct bytes value)
{
    struct extraction *extraction = ctx;
    const uint8_t *at = value.data;
    double number;
    if (!row_says(extraction, row, name))
        return ERR_OK;
    if (value.data[0] == '"')
        return text_tell(extraction, bytes_from(value.data + 1, value.size - 2));
    if (json_number_read(&at, value.data + value.size, &number) != JSON_NUMBER_DOUBLE)
        return ERR_OK;
    return number_tell(extraction, number);
}

static void field_add(struct sensor_fields *fields, struct bytes name)
{
    for (uint32_t i = 0; i < fields->count; i++)
        if (bytes_equal(fields->names[i], name))
            return;
    if (fields->count < SENSOR_FIELDS_MAX)
        fields->names[fields->count++] = name;
}

static void fields_find(const struct origins *origins, struct sensor_fields *fields)
{
    *fields = (struct sensor_fields){0};
    for (uint32_t i = 0; i < origins->route_count; i++) {
        struct bytes own = origins->routes[i].view.sensor_id_field;
        if (i > 0 && bytes_equal(own, origins->routes[i - 1].view.sensor_id_field))
            continue;
        fields->differ = fields->differ || i > 0;
        field_add(fields, own.size > 0 ? own : BYTES_LITERAL("sensor_id"));
        if (own.size == 0)
            field_add(fields, BYTES_LITERAL("sensorId"));
    }
}

enum err sensors_tell(struct extraction *extraction)
{
    struct sensor_fields fields;
    enum err err = ERR_OK;
    fields_find(extraction->cut->origins, &fields);
    for (uint32_t i = 0; i < fields.count && err == ERR_OK; i++)
        err = sensors_in(extraction, fields.names[i], fields.differ);
    return err;
}
