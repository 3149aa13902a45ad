/*
 * Sensors are looked at record by record: a value that one of the last few hundred records had
 * costs its hash and a comparison. A sensor is a text or a number, in its column or rescued from
 * it; objects, arrays and booleans are none.
 */
#include "base/hash.h"
#include "codec/json.h"
#include "metadata/extract_parts.h"
#include "metadata/sample.h"

#include <inttypes.h>
#include <stdio.h>

#define RECENT_SENSORS 512

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

/* A text may hold what is no sensor: an object as JSON. */
static bool is_sensor(const struct leaf *leaf, struct bytes text)
{
    uint8_t first = text.size > 0 ? text.data[0] : 0;
    return !(first == '{' && leaf->json_rows[LEAF_JSON_STRUCT] > 0) &&
           !(first == '[' && leaf->json_rows[LEAF_JSON_LIST] > 0);
}

static enum err sensors_in(struct extraction *extraction, struct bytes field)
{
    const struct column *column = schema_child(extraction->cut->schema->root, field);
    uint64_t recent[RECENT_SENSORS] = {0};
    enum err err = ERR_OK;
    if (!column || (column->kind != COLUMN_STRING && column->kind != COLUMN_DOUBLE))
        return ERR_OK;
    const struct leaf *leaf = &column->leaf;
    for (size_t i = 0; i < leaf->value_count && err == ERR_OK; i++) {
        struct bytes value = bytes_from(&leaf->doubles[i], sizeof(double));
        if (column->kind == COLUMN_STRING)
            value =
                bytes_from(leaf->data + leaf->offsets[i], leaf->offsets[i + 1] - leaf->offsets[i]);
        uint64_t hash = hash_bytes(value) | 1; /* 0: none */
        if (recent[(hash >> 1) % RECENT_SENSORS] == hash)
            continue;
        recent[(hash >> 1) % RECENT_SENSORS] = hash;
        if (column->kind == COLUMN_DOUBLE)
            err = number_tell(extraction, leaf->doubles[i]);
        else if (is_sensor(leaf, value))
            err = sensor_tell(extraction, value);
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

static struct bytes own_field(const struct extraction *extraction)
{
    const struct origins *origins = extraction->cut->origins;
    return origins->route_count > 0 ? origins->routes[0].view.sensor_id_field : (struct bytes){0};
}

static bool is_sensor_field(const struct extraction *extraction, struct bytes name)
{
    struct bytes own = own_field(extraction);
    if (own.size > 0)
        return bytes_equal(name, own);
    return bytes_equal_text(name, "sensor_id") || bytes_equal_text(name, "sensorId");
}

/* One whose field has a column of another type. */
enum err on_rescued_sensor(void *ctx, struct bytes name, struct bytes value)
{
    struct extraction *extraction = ctx;
    const uint8_t *at = value.data;
    double number;
    if (!is_sensor_field(extraction, name))
        return ERR_OK;
    if (value.data[0] == '"')
        return text_tell(extraction, bytes_from(value.data + 1, value.size - 2));
    if (json_number_read(&at, value.data + value.size, &number) != JSON_NUMBER_DOUBLE)
        return ERR_OK;
    return number_tell(extraction, number);
}

enum err sensors_tell(struct extraction *extraction)
{
    struct bytes own = own_field(extraction);
    if (own.size > 0)
        return sensors_in(extraction, own);
    enum err err = sensors_in(extraction, BYTES_LITERAL("sensor_id"));
    return err != ERR_OK ? err : sensors_in(extraction, BYTES_LITERAL("sensorId"));
}
