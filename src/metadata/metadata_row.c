/* A dataset's row and what a change makes of it: no database here. */
#include "base/alloc.h"
#include "base/hash.h"
#include "codec/timestamp.h"
#include "database/database_date.h"
#include "metadata/metadata_table.h"
#include "os/clock.h"

#include <stdio.h>

void metadata_row_fini(struct metadata_row *row)
{
    mem_free(row->topic);
    json_decref(row->sensors);
    json_decref(row->fields);
    distinct_fini(&row->sketch);
    *row = (struct metadata_row){0};
}

static int64_t moment_or_now(int64_t us)
{
    return us != 0 ? us : clock_realtime_us(&clock_system);
}

void metadata_second(int64_t us, char ret_text[METADATA_MOMENT_BYTES])
{
    char date[DATABASE_DATE_BYTES];
    database_date_format(moment_or_now(us), date);
    snprintf(ret_text, METADATA_MOMENT_BYTES, "%.19s", date);
}

void metadata_moment(int64_t us, char ret_text[METADATA_MOMENT_BYTES])
{
    char date[DATABASE_DATE_BYTES];
    database_date_format(moment_or_now(us), date);
    snprintf(ret_text, METADATA_MOMENT_BYTES, "%.10sT%.15s+00:00", date, date + 11);
}

/* --- fields -------------------------------------------------------------------------------- */

json_t *metadata_json_text(struct bytes text)
{
    json_t *json = json_stringn((const char *)text.data, text.size);
    return json ? json : json_string(""); /* not UTF-8, which a column's text always is */
}

/* Where each field stood in row->fields. */
static enum err fields_index(const json_t *fields, struct map *by_name)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < json_array_size(fields) && err == ERR_OK; i++) {
        const json_t *name = json_object_get(json_array_get(fields, i), "name");
        if (json_is_string(name))
            err = map_put(by_name, bytes_from(json_string_value(name), json_string_length(name)),
                          json_array_get(fields, i));
    }
    return err;
}

static enum dataset_type json_field_type(const json_t *field)
{
    const char *name = json_string_value(json_object_get(field, "type"));
    return name ? dataset_type_of(bytes_from_text(name)) : DATASET_TYPES;
}

static bool has_text(const json_t *array, struct bytes text)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *entry = json_array_get(array, i);
        if (json_is_string(entry) &&
            bytes_equal(bytes_from(json_string_value(entry), json_string_length(entry)), text))
            return true;
    }
    return false;
}

static enum err samples_merge(json_t *field, const struct change_field *from)
{
    json_t *samples = json_object_get(field, "sample_values");
    if (!json_is_array(samples)) {
        samples = json_array();
        if (json_object_set_new(field, "sample_values", samples) != 0)
            return ERR_NO_MEMORY;
    }
    for (uint8_t i = 0; i < from->sample_count; i++)
        if (json_array_size(samples) < LIMIT_SAMPLES && !has_text(samples, from->samples[i]) &&
            json_array_append_new(samples, metadata_json_text(from->samples[i])) != 0)
            return ERR_NO_MEMORY;
    return ERR_OK;
}

static enum err field_make(struct metadata_row *row, const struct change_field *from,
                           json_t **ret_field)
{
    bool later = row->record_count > 0 || from->missing_before > 0;
    json_t *field = json_object();
    int failed = json_object_set_new(field, "name", metadata_json_text(from->name)) |
                 json_object_set_new(field, "type", json_string("null")) |
                 json_object_set_new(field, "nullable", json_boolean(from->nullable || later)) |
                 json_object_set_new(field, "sample_values", json_array());
    if (failed) {
        json_decref(field);
        return ERR_NO_MEMORY;
    }
    *ret_field = field;
    return json_array_append_new(row->fields, field) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

/* Types in the order of their ranks, which is that in which they came. */
static enum err types_merge(json_t *field, const struct change_field *from, bool is_new,
                            enum err (*on_evolution)(void *ctx,
                                                     const struct metadata_evolution *evolution),
                            void *ctx)
{
    enum dataset_type now = json_field_type(field);
    enum err err = ERR_OK;
    for (int i = 0; i < DATASET_TYPES && err == ERR_OK; i++) {
        enum dataset_type type = (enum dataset_type)i;
        bool news = is_new || now == DATASET_TYPES || dataset_type_rises(now, type);
        if (!(from->types & (1u << i)) || !news)
            continue;
        now = type;
        is_new = false;
        if (json_object_set_new(field, "type", json_string(dataset_type_name(type))) != 0)
            return ERR_NO_MEMORY;
        err = on_evolution(ctx, &(struct metadata_evolution){
                                    from->name, type, json_object_get(field, "sample_values")});
    }
    return err;
}

/* A change names each field once: what is new here need not be found again. */
static enum err
field_merge(struct metadata_row *row, const struct map *by_name, const struct change_field *from,
            enum err (*on_evolution)(void *ctx, const struct metadata_evolution *evolution),
            void *ctx)
{
    json_t *field = map_get(by_name, from->name);
    bool is_new = !field;
    enum err err = ERR_OK;
    if (is_new && (from->types == 0 || json_array_size(row->fields) >= CHANGE_FIELDS_MAX))
        return ERR_OK; /* a column that never had a value here, or one too many */
    if (is_new)
        err = field_make(row, from, &field);
    if (err == ERR_OK)
        err = samples_merge(field, from);
    if (err == ERR_OK && from->nullable && json_object_set_new(field, "nullable", json_true()) != 0)
        err = ERR_NO_MEMORY;
    return err == ERR_OK ? types_merge(field, from, is_new, on_evolution, ctx) : err;
}

/* --- sensors ------------------------------------------------------------------------------- */

static enum err listed_hashes(const json_t *sensors, struct distinct *hashes)
{
    enum err err = ERR_OK;
    bool is_new;
    for (size_t i = 0; i < json_array_size(sensors) && err == ERR_OK; i++) {
        const json_t *sensor = json_array_get(sensors, i);
        struct bytes text = bytes_from(json_string_value(sensor), json_string_length(sensor));
        if (json_is_string(sensor))
            err = distinct_add(hashes, distinct_hash(text), &is_new);
    }
    return err;
}

/* The list has room for LIMIT_SENSORS_LISTED; what is beyond is only counted. */
static enum err sensors_list(struct metadata_row *row, const struct change *change,
                             struct distinct *listed)
{
    enum err err = ERR_OK;
    bool is_new;
    for (size_t i = 0; i < change->sensor_count && err == ERR_OK; i++) {
        struct bytes sensor = change->sensors[i];
        if (json_array_size(row->sensors) >= LIMIT_SENSORS_LISTED) {
            row->has_sketch = true;
            err = distinct_add(&row->sketch, distinct_hash(sensor), &is_new);
            continue;
        }
        err = distinct_add(listed, distinct_hash(sensor), &is_new);
        if (err == ERR_OK && is_new &&
            json_array_append_new(row->sensors, metadata_json_text(sensor)) != 0)
            err = ERR_NO_MEMORY;
    }
    return err;
}

/* An old row may have counted more than it listed: the count never goes back. */
static enum err sensors_merge(struct metadata_row *row, const struct change *change)
{
    struct distinct listed;
    distinct_init(&listed);
    enum err err = listed_hashes(row->sensors, &listed);
    if (err == ERR_OK)
        err = sensors_list(row, change, &listed);
    if (err == ERR_OK && !distinct_is_empty(&change->beyond)) {
        row->has_sketch = true;
        err = distinct_merge(&row->sketch, &change->beyond);
    }
    if (err == ERR_OK && row->has_sketch)
        err = distinct_merge(&row->sketch, &listed);
    int64_t count = row->has_sketch ? (int64_t)distinct_count(&row->sketch)
                                    : (int64_t)json_array_size(row->sensors);
    distinct_fini(&listed);
    if (count > row->sensor_count)
        row->sensor_count = count;
    return err;
}

enum err metadata_row_merge(struct metadata_row *row, const struct change *change,
                            enum err (*on_evolution)(void *ctx,
                                                     const struct metadata_evolution *evolution),
                            void *ctx)
{
    struct map by_name;
    enum err err = ERR_OK;
    map_init(&by_name);
    if (change->field_count > 0)
        err = fields_index(row->fields, &by_name);
    for (size_t i = 0; i < change->field_count && err == ERR_OK; i++)
        err = field_merge(row, &by_name, &change->fields[i], on_evolution, ctx);
    map_fini(&by_name);
    if (err == ERR_OK && (change->sensor_count > 0 || !distinct_is_empty(&change->beyond)))
        err = sensors_merge(row, change);
    row->record_count += (int64_t)change->records;
    row->payload_bytes += (int64_t)change->payload_bytes;
    if (change->first_us != 0 && (row->first_us == 0 || change->first_us < row->first_us))
        row->first_us = change->first_us;
    if (change->last_us > row->last_us)
        row->last_us = change->last_us;
    return err;
}
