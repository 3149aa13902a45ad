#include "metadata/row_fields.h"

#include "metadata/sample.h"

#include <jansson.h>
#include <stdlib.h>

#define NAME_BYTES_MAX 1024
#define SAMPLE_BYTES   (4 * KIB)

void row_fields_init(struct row_fields *fields)
{
    *fields = (struct row_fields){0};
    change_init(&fields->change);
    map_init(&fields->found);
}

void row_fields_fini(struct row_fields *fields)
{
    change_fini(&fields->change);
    map_fini(&fields->found);
}

static struct bytes text_of(const json_t *value)
{
    return bytes_from(json_string_value(value), json_string_length(value));
}

static enum dataset_type type_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return DATASET_OBJECT;
    case JSON_ARRAY:
        return DATASET_ARRAY;
    case JSON_STRING:
        return sample_is_uuid(text_of(value)) ? DATASET_UUID : DATASET_STRING;
    case JSON_INTEGER:
    case JSON_REAL:
        return DATASET_DOUBLE;
    case JSON_TRUE:
    case JSON_FALSE:
        return DATASET_BOOLEAN;
    default:
        return DATASET_NULL;
    }
}

/* As a column's samples are shown. */
static void sample_put(struct buf *out, const json_t *value)
{
    if (json_is_string(value)) {
        buf_append(out, json_string_value(value), json_string_length(value));
    } else if (json_is_integer(value) && llabs(json_integer_value(value)) > 1LL << 53) {
        buf_printf(out, "%lld", (long long)json_integer_value(value)); /* its column is a text */
    } else if (json_is_number(value)) {
        double number = json_number_value(value);
        sample_number(out, number == 0 ? 0 : number);
    } else {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        buf_text(out, text ? text : "");
        free(text);
    }
}

static enum err sample_tell(struct change *change, struct change_field *field, const json_t *value)
{
    struct buf text;
    buf_init(&text, 64 * SAMPLE_BYTES);
    sample_put(&text, value);
    enum err err = text.err;
    if (err == ERR_TOO_LARGE) /* no sample of it until its cut */
        err = ERR_OK;
    else if (err == ERR_OK)
        err = change_sample_add(change, field, buf_bytes(&text));
    buf_fini(&text);
    return err;
}

/* As extract_sensors.c does. */
static enum err sensor_tell(struct change *change, const json_t *row)
{
    struct buf text;
    char room[LIMIT_SAMPLE_BYTES + 1];
    const json_t *value = json_object_get(row, "sensor_id");
    if (!json_is_string(value) && !json_is_number(value))
        value = json_object_get(row, "sensorId");
    if (!json_is_string(value) && !json_is_number(value))
        return ERR_OK;
    buf_init(&text, LIMIT_MESSAGE_BYTES_MAX);
    sample_put(&text, value);
    enum err err = text.err == ERR_NO_MEMORY ? text.err : ERR_OK;
    if (text.err == ERR_OK)
        err = change_sensor_add(change, sample_sensor_name(buf_bytes(&text), room));
    buf_fini(&text);
    return err;
}

static enum err field_tell(struct row_fields *fields, struct bytes name, const json_t *value)
{
    struct change_field *field;
    enum dataset_type type = type_of(value);
    enum err err = change_field_get(&fields->change, name, &field);
    if (err != ERR_OK || !field)
        return err;
    field->types |= (uint8_t)(1u << type);
    uintptr_t found = (uintptr_t)map_get(&fields->found, name) + 1;
    err = map_put(&fields->found, name, (void *)found);
    if (type == DATASET_NULL)
        field->nullable = true;
    else if (err == ERR_OK)
        err = sample_tell(&fields->change, field, value);
    return err;
}

enum err row_fields_add(void *ctx, struct bytes json)
{
    struct row_fields *fields = ctx;
    const char *key;
    json_t *value;
    enum err err = ERR_OK;
    json_t *row = json_loadb((const char *)json.data, json.size, JSON_ALLOW_NUL, NULL);
    fields->rows++;
    json_object_foreach(row, key, value)
    {
        struct bytes name = change_text_cut(bytes_from_text(key), NAME_BYTES_MAX);
        /* it has a column of its own, that no reader takes for a field */
        if (err == ERR_OK && !bytes_equal_text(name, "_rescued_data"))
            err = field_tell(fields, name, value);
    }
    if (err == ERR_OK)
        err = sensor_tell(&fields->change, row);
    json_decref(row);
    return err;
}

void row_fields_end(struct row_fields *fields)
{
    for (size_t i = 0; i < fields->change.field_count; i++) {
        struct change_field *field = &fields->change.fields[i];
        field->nullable |= (uintptr_t)map_get(&fields->found, field->name) < fields->rows;
    }
}
