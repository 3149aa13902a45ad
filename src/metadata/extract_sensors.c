/*
 * Sensors are looked at record by record: a value that one of the last few hundred records had
 * costs its hash and a comparison. A sensor is a text or a number, in its column or rescued from
 * it; objects, arrays and booleans are none. Its field is what the record's route says, or
 * sensor_id, or where that tells none sensorId: routes of one dataset may say different ones (of
 * several sources, or before and after a change of one).
 */
#include "base/alloc.h"
#include "base/hash.h"
#include "codec/json.h"
#include "metadata/extract_parts.h"
#include "metadata/sample.h"

#define RECENT_SENSORS    512
#define SENSOR_FIELDS_MAX 16 /* different ones in a cut */

/* The fields that the routes of a cut say. */
struct sensor_fields {
    struct bytes names[SENSOR_FIELDS_MAX];
    uint32_t count;
    bool differ; /* not the same for all records */
};

static enum err sensor_tell(struct extraction *extraction, struct bytes sensor)
{
    struct told *told = extraction->told;
    char room[LIMIT_SAMPLE_BYTES + 1];
    bool is_new;
    sensor = sample_sensor_name(sensor, room);
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
    sample_number(&extraction->text, number == 0 ? 0 : number); /* one sensor: no -0 */
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

/* Among texts a number stands as its device wrote it: 5.0 is the sensor 5. As above, a text like it
 * is taken for one; whole numbers stay what they are, however long. */
static bool is_fraction(const struct leaf *leaf, struct bytes text, double *ret_number)
{
    const uint8_t *at = text.data;
    bool whole = true;
    for (size_t i = 0; i < text.size && whole; i++)
        whole = text.data[i] != '.' && text.data[i] != 'e' && text.data[i] != 'E';
    return !whole && leaf->json_rows[LEAF_JSON_NUMBER] > 0 &&
           json_number_read(&at, text.data + text.size, ret_number) == JSON_NUMBER_DOUBLE &&
           at == text.data + text.size;
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

/* --- both names ---------------------------------------------------------------------------- */

static bool is_first(struct bytes field)
{
    return bytes_equal_text(field, "sensor_id");
}

static bool is_second(struct bytes field)
{
    return bytes_equal_text(field, "sensorId");
}

enum err sensors_begin(struct extraction *extraction)
{
    const struct column *root = extraction->cut->schema->root;
    bool in_columns = schema_child(root, BYTES_LITERAL("sensor_id")) &&
                      schema_child(root, BYTES_LITERAL("sensorId"));
    /* what is rescued may have no column: a dataset has no more than so many */
    if (!in_columns && extraction->cut->rows->rescued.value_count == 0)
        return ERR_OK;
    extraction->named = mem_zalloc(extraction->cut->rows->count / 8 + 1, 1);
    return extraction->named ? ERR_OK : ERR_NO_MEMORY;
}

void sensors_end(struct extraction *extraction)
{
    mem_free(extraction->named);
    mem_free(extraction->late);
    extraction->named = NULL;
    extraction->late = NULL;
}

static void row_name(struct extraction *extraction, size_t row, struct bytes field)
{
    if (extraction->named && is_first(field))
        extraction->named[row / 8] |= (uint8_t)(1u << row % 8);
}

static bool row_is_named(const struct extraction *extraction, size_t row, struct bytes field)
{
    return extraction->named && is_second(field) &&
           (extraction->named[row / 8] & (1u << row % 8)) != 0;
}

static enum err late_add(struct extraction *extraction, size_t row, struct bytes value)
{
    if (extraction->late_count == extraction->late_capacity) {
        size_t capacity = extraction->late_capacity ? extraction->late_capacity * 2 : 16;
        void *grown = mem_realloc(extraction->late, capacity * sizeof(*extraction->late));
        if (!grown)
            return ERR_NO_MEMORY;
        extraction->late = grown;
        extraction->late_capacity = capacity;
    }
    extraction->late[extraction->late_count++] = (struct late_sensor){row, value};
    return ERR_OK;
}

/* --- in columns ---------------------------------------------------------------------------- */

static struct bytes column_value(const struct column *column, size_t i)
{
    const struct leaf *leaf = &column->leaf;
    return column->kind == COLUMN_STRING
               ? bytes_from(leaf->data + leaf->offsets[i], leaf->offsets[i + 1] - leaf->offsets[i])
               : bytes_from(&leaf->doubles[i], sizeof(double));
}

static enum err column_tell(struct extraction *extraction, const struct column *column, size_t i,
                            uint64_t recent[RECENT_SENSORS])
{
    const struct leaf *leaf = &column->leaf;
    struct bytes value = column_value(column, i);
    double number;
    uint64_t hash = hash_bytes(value) | 1; /* 0: none */
    if (recent[(hash >> 1) % RECENT_SENSORS] == hash)
        return ERR_OK;
    recent[(hash >> 1) % RECENT_SENSORS] = hash;
    if (column->kind == COLUMN_DOUBLE)
        return number_tell(extraction, leaf->doubles[i]);
    return is_fraction(leaf, value, &number) ? number_tell(extraction, number)
                                             : sensor_tell(extraction, value);
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
        size_t at = value++;
        if ((differ && !row_says(extraction, row, field)) || row_is_named(extraction, row, field) ||
            (column->kind == COLUMN_STRING && !is_sensor(leaf, column_value(column, at))))
            continue;
        row_name(extraction, row, field);
        err = column_tell(extraction, column, at, recent);
    }
    return err;
}

/* --- rescued ------------------------------------------------------------------------------- */

static enum err text_tell(struct extraction *extraction, struct bytes raw)
{
    struct buf *text = &extraction->unescaped;
    buf_clear(text);
    if (buf_reserve(text, raw.size + 1) != ERR_OK) /* longer than any payload, or no memory */
        return ERR_NO_MEMORY;
    return sensor_tell(extraction, bytes_from(text->data, json_unescape(raw, text->data)));
}

/* False in *ret_sensor: it is none. */
static enum err rescued_tell(struct extraction *extraction, struct bytes value, bool *ret_sensor)
{
    const uint8_t *at = value.data;
    double number;
    *ret_sensor = true;
    if (value.data[0] == '"')
        return text_tell(extraction, bytes_from(value.data + 1, value.size - 2));
    switch (json_number_read(&at, value.data + value.size, &number)) {
    case JSON_NUMBER_DOUBLE:
        return number_tell(extraction, number);
    case JSON_NUMBER_BIG_INTEGER:
        return sensor_tell(extraction, value);
    case JSON_NUMBER_OVERFLOW:
    case JSON_NUMBER_INVALID:
    default:
        *ret_sensor = false;
        return ERR_OK;
    }
}

/* One whose field has a column of another type. */
enum err on_rescued_sensor(void *ctx, size_t row, struct bytes name, struct bytes value)
{
    struct extraction *extraction = ctx;
    bool is_sensor;
    if (!row_says(extraction, row, name))
        return ERR_OK;
    if (extraction->named && is_second(name))
        return late_add(extraction, row, value);
    enum err err = rescued_tell(extraction, value, &is_sensor);
    if (is_sensor)
        row_name(extraction, row, name);
    return err;
}

static enum err late_tell(struct extraction *extraction)
{
    enum err err = ERR_OK;
    bool is_sensor;
    for (size_t i = 0; i < extraction->late_count && err == ERR_OK; i++) {
        const struct late_sensor *late = &extraction->late[i];
        if (!row_is_named(extraction, late->row, BYTES_LITERAL("sensorId")))
            err = rescued_tell(extraction, late->value, &is_sensor);
    }
    return err;
}

/* --- the fields ---------------------------------------------------------------------------- */

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

/* sensorId last: it tells only of the rows that the others left. */
enum err sensors_tell(struct extraction *extraction)
{
    struct sensor_fields fields;
    enum err err = ERR_OK;
    fields_find(extraction->cut->origins, &fields);
    for (int second = 0; second < 2; second++)
        for (uint32_t i = 0; i < fields.count && err == ERR_OK; i++)
            if (is_second(fields.names[i]) == (second == 1))
                err = sensors_in(extraction, fields.names[i], fields.differ);
    return err == ERR_OK ? late_tell(extraction) : err;
}
