/* Each row's _rescued_data, an object of ours: {"name":value,...}. */
#include "codec/json.h"
#include "metadata/extract_parts.h"
#include "metadata/sample.h"

struct reading {
    struct rescued *rescued;
    const struct cut_input *cut;
    enum err (*on_value)(void *ctx, size_t row, struct bytes name, struct bytes value);
    void *ctx;
    size_t row;
    uint64_t order; /* of the row */
};

void rescued_init(struct rescued *rescued)
{
    arena_init(&rescued->arena, 64 * MIB);
    map_init(&rescued->by_name);
}

void rescued_fini(struct rescued *rescued)
{
    map_fini(&rescued->by_name);
    arena_fini(&rescued->arena);
}

static enum dataset_type json_type(struct bytes value)
{
    switch (value.size > 0 ? value.data[0] : 0) {
    case '{':
        return DATASET_OBJECT;
    case '[':
        return DATASET_ARRAY;
    case '"':
        return sample_is_uuid(bytes_from(value.data + 1, value.size - 2)) ? DATASET_UUID
                                                                          : DATASET_STRING;
    case 't':
    case 'f':
        return DATASET_BOOLEAN;
    case 'n':
        return DATASET_NULL;
    default:
        return DATASET_DOUBLE;
    }
}

/* NULL in *ret_field when there are too many; those with a column always find room. */
static enum err field_get(const struct reading *reading, struct bytes name,
                          struct rescued_field **ret_field)
{
    struct rescued *rescued = reading->rescued;
    struct rescued_field *field = *ret_field = map_get(&rescued->by_name, name);
    if (field || (rescued->by_name.live_count >= CHANGE_FIELDS_MAX &&
                  !schema_child(reading->cut->schema->root, name)))
        return ERR_OK;
    field = arena_zalloc(&rescued->arena, sizeof(*field));
    const char *kept = field ? arena_dup(&rescued->arena, name.data, name.size) : NULL;
    if (!kept)
        return ERR_NO_MEMORY;
    field->name = bytes_from(kept, name.size);
    *ret_field = field;
    return map_put(&rescued->by_name, field->name, field);
}

/* A list of which only some elements did not fit is in its column too. */
static bool is_in_column(const struct cut_input *cut, struct bytes name, enum dataset_type type)
{
    if (type != DATASET_ARRAY)
        return false;
    const struct column *column = schema_child(cut->schema->root, name);
    return column && column->kind == COLUMN_LIST && column->child_count > 0;
}

/* The top-level field's name that a name of _rescued_data (rescue_name.h) stands for, in place.
 * Fields inside of objects have none: their object is what counts here, and that has its column. */
static bool name_read(struct bytes raw, uint8_t name[FIELD_NAME_BYTES], struct bytes *ret_name)
{
    if (raw.size > FIELD_NAME_BYTES)
        return false;
    size_t size = json_unescape(raw, name);
    *ret_name = bytes_from(name, size);
    if (size == 0 || name[0] != '/')
        return !memchr(name, '.', size);
    size_t used = 0;
    for (size_t i = 1; i < size; i++) { /* a JSON Pointer */
        if (name[i] == '/')
            return false;
        bool escaped = name[i] == '~' && i + 1 < size;
        name[used++] = !escaped ? name[i] : name[++i] == '1' ? '/' : '~';
    }
    *ret_name = bytes_from(name, used);
    return true;
}

static enum err value_add(struct reading *reading, struct bytes raw_name, struct bytes value)
{
    uint8_t name[FIELD_NAME_BYTES];
    struct rescued_field *field;
    struct bytes key;
    if (!name_read(raw_name, name, &key))
        return ERR_OK;
    enum dataset_type type = json_type(value);
    enum err err = reading->on_value(reading->ctx, reading->row, key, value);
    if (err == ERR_OK)
        err = field_get(reading, key, &field);
    if (err != ERR_OK || !field)
        return err;
    field->absent += type != DATASET_NULL && !is_in_column(reading->cut, key, type);
    sighting_add(&field->sightings, type, reading->order);
    if (type != DATASET_NULL && field->sample_count < LIMIT_SAMPLES)
        field->samples[field->sample_count++] = value;
    return ERR_OK;
}

static enum err row_read(struct reading *reading, struct bytes text)
{
    struct json_cursor cursor = {text.data, text.data + text.size, false};
    enum err err = ERR_OK;
    json_space(&cursor);
    if (!json_take(&cursor, '{'))
        return ERR_OK;
    while (err == ERR_OK && json_peek(&cursor) == '"') {
        struct json_string name;
        struct bytes value;
        if (json_string_scan(&cursor, &name) != ERR_OK || !json_take(&cursor, ':') ||
            json_skip(&cursor, LIMIT_JSON_DEPTH, &value) != ERR_OK)
            return ERR_OK;
        err = value_add(reading, name.raw, value);
        if (!json_take(&cursor, ','))
            break;
    }
    return err;
}

enum err rescued_read(struct rescued *rescued, const struct cut_input *cut,
                      enum err (*on_value)(void *ctx, size_t row, struct bytes name,
                                           struct bytes value),
                      void *ctx)
{
    const struct leaf *leaf = &cut->rows->rescued;
    struct reading reading = {rescued, cut, on_value, ctx, 0, 0};
    enum err err = ERR_OK;
    size_t row = 0;
    for (size_t i = 0; i < leaf->value_count && err == ERR_OK; i++, row++) {
        while (leaf->definition_levels && leaf->definition_levels[row] < leaf->definition_max)
            row++;
        reading.row = row;
        reading.order = rows_arrival_order(cut->rows, row);
        err = row_read(&reading, bytes_from(leaf->data + leaf->offsets[i],
                                            leaf->offsets[i + 1] - leaf->offsets[i]));
    }
    return err;
}
