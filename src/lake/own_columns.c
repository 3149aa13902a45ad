#include "lake/own_columns.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "codec/timestamp.h"
#include "codec/utf8.h"

#define VALUES_MAX (4 * GIB - 1)
#define NO_ENTRY   UINT32_MAX
#define UNSEEN     (UINT32_MAX - 1)

void own_column_fini(struct own_column *column)
{
    buf_fini(&column->values);
    mem_free(column->definition_levels);
    mem_free(column->offsets);
    mem_free(column->indices);
    mem_free(column->booleans);
}

/* A dictionary under way: entries of text or doubles, and an index for each row. */
struct entries {
    struct own_column *column;
    enum parquet_kind kind;
    uint32_t count;
    size_t capacity;
};

static enum err entry_add(struct entries *entries, struct bytes value)
{
    struct own_column *column = entries->column;
    if (entries->count + 2u > entries->capacity) {
        size_t capacity = entries->capacity ? entries->capacity * 2 : 16;
        uint32_t *grown = mem_realloc(column->offsets, capacity * sizeof(*grown));
        if (!grown)
            return ERR_NO_MEMORY;
        column->offsets = grown;
        column->offsets[0] = 0;
        entries->capacity = capacity;
    }
    if (buf_append(&column->values, value.data, value.size) != ERR_OK)
        return ERR_NO_MEMORY;
    column->offsets[++entries->count] = (uint32_t)column->values.size;
    return ERR_OK;
}

static void leaf_values(struct own_column *column, enum parquet_kind kind)
{
    if (kind == PARQUET_STRING) {
        column->leaf.offsets = column->offsets;
        column->leaf.data = column->values.data;
    } else {
        column->leaf.values = column->values.data;
    }
}

/* --- times --------------------------------------------------------------------------------- */

static enum err time_column(struct own_column *column, const int64_t *times, size_t count)
{
    size_t runs = 0;
    for (size_t i = 0; i < count; i++)
        runs += i == 0 || times[i] != times[i - 1];
    bool dictionary = runs <= count / 2;
    struct entries entries = {.column = column, .kind = PARQUET_STRING};
    if (dictionary) {
        column->indices = mem_alloc(count * sizeof(uint32_t));
        if (!column->indices)
            return ERR_NO_MEMORY;
    }
    char text[TIMESTAMP_TEXT_BYTES];
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        bool same = i > 0 && times[i] == times[i - 1];
        if (!same)
            length = timestamp_format(times[i], text);
        if (!same || !dictionary) {
            enum err err = entry_add(&entries, bytes_from(text, length));
            if (err != ERR_OK)
                return err;
        }
        if (dictionary)
            column->indices[i] = entries.count - 1;
    }
    column->leaf = (struct parquet_leaf){.level_count = count,
                                         .value_count = count,
                                         .indices = column->indices,
                                         .dictionary_count = dictionary ? entries.count : 0};
    leaf_values(column, PARQUET_STRING);
    return ERR_OK;
}

/* --- metadata ------------------------------------------------------------------------------ */

/* The value of a column in an origin, as bytes. False: null. */
static bool origin_value(const struct origins *origins, uint32_t origin, size_t system_index,
                         struct message_field *field, struct bytes *ret_value)
{
    const struct origin_route *route = &origins->routes[origins->origins[origin].route];
    if (system_index == SYSTEM_SOURCE_TYPE) {
        *ret_value = route->view.source_type;
        return true;
    }
    for (uint32_t i = 0; i < route->view.field_count; i++) {
        if (route->system[i] != system_index)
            continue;
        if (!origin_field(origins, origin, i, field))
            return false;
        *ret_value =
            field->type == FIELD_STRING ? field->text : bytes_from(&field->number, sizeof(double));
        return true;
    }
    return false;
}

/* The entry of a value, made if it is new. */
static enum err entry_get(struct entries *entries, struct map *known, struct bytes value,
                          uint32_t *ret_entry)
{
    struct buf clean;
    buf_init(&clean, LIMIT_MESSAGE_BYTES_MAX);
    enum err err = ERR_OK;
    if (entries->kind == PARQUET_STRING && !utf8_valid(value)) {
        err = buf_json_string(&clean, value);
        value = bytes_from(clean.data + 1, err == ERR_OK ? clean.size - 2 : 0);
    }
    uintptr_t entry = err == ERR_OK ? (uintptr_t)map_get(known, value) : 0;
    if (err == ERR_OK && entry == 0) {
        err = entry_add(entries, value);
        entry = entries->count;
        if (err == ERR_OK)
            err = map_put(known, value, (void *)entry);
    }
    buf_fini(&clean);
    *ret_entry = (uint32_t)(entry - 1);
    return err;
}

/* Fills in the entry of each row's origin; NO_ENTRY: null. */
static enum err origins_entries(struct entries *entries, const struct origins *origins,
                                const struct own_rows *rows, size_t system_index,
                                uint32_t *of_origin)
{
    struct map known;
    map_init(&known);
    for (uint32_t i = 0; i < origins->count; i++)
        of_origin[i] = UNSEEN;
    enum err err = ERR_OK;
    for (size_t i = 0; i < rows->count && err == ERR_OK; i++) {
        uint32_t origin = rows->origin[i];
        if (of_origin[origin] != UNSEEN)
            continue;
        struct message_field field;
        struct bytes value;
        of_origin[origin] = NO_ENTRY;
        if (origin_value(origins, origin, system_index, &field, &value))
            err = entry_get(entries, &known, value, &of_origin[origin]);
    }
    map_fini(&known);
    return err;
}

/* Booleans have no dictionary in the writer's interface that would be worth it. */
static enum err booleans_expand(struct own_column *column)
{
    column->booleans = mem_alloc(column->leaf.value_count);
    if (!column->booleans)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < column->leaf.value_count; i++) {
        double value;
        memcpy(&value, column->values.data + column->indices[i] * sizeof(value), sizeof(value));
        column->booleans[i] = value != 0;
    }
    column->leaf.values = column->booleans;
    column->leaf.indices = NULL;
    column->leaf.dictionary_count = 0;
    return ERR_OK;
}

/* As many entries as values, in order: they are the values. */
static bool is_plain(const struct own_column *column)
{
    if (column->leaf.dictionary_count != column->leaf.value_count)
        return false;
    for (size_t i = 0; i < column->leaf.value_count; i++)
        if (column->indices[i] != i)
            return false;
    return true;
}

static enum err origin_column(struct own_column *column, const struct origins *origins,
                              const struct own_rows *rows, size_t system_index,
                              enum parquet_kind kind)
{
    struct entries entries = {.column = column, .kind = kind};
    uint32_t *of_origin = mem_alloc(origins->count * sizeof(*of_origin));
    column->indices = mem_alloc(rows->count * sizeof(uint32_t));
    column->definition_levels = mem_alloc(rows->count);
    enum err err =
        of_origin && column->indices && column->definition_levels ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = origins_entries(&entries, origins, rows, system_index, of_origin);
    size_t values = 0;
    for (size_t i = 0; i < rows->count && err == ERR_OK; i++) {
        uint32_t entry = of_origin[rows->origin[i]];
        column->definition_levels[i] = entry != NO_ENTRY;
        if (entry != NO_ENTRY)
            column->indices[values++] = entry;
    }
    mem_free(of_origin);
    if (err != ERR_OK)
        return err;
    bool nulls = values < rows->count;
    static const uint32_t no_offsets[1];
    if (!column->offsets && kind == PARQUET_STRING)
        column->leaf.offsets = no_offsets;
    else
        leaf_values(column, kind);
    struct parquet_leaf *leaf = &column->leaf;
    leaf->definition_levels = nulls ? column->definition_levels : NULL;
    leaf->level_count = rows->count;
    leaf->value_count = values;
    leaf->indices = column->indices;
    leaf->dictionary_count = entries.count;
    if (values == 0 || (kind != PARQUET_BOOLEAN && is_plain(column))) {
        leaf->indices = NULL;
        leaf->dictionary_count = 0;
        if (values == 0 && kind != PARQUET_STRING)
            leaf->values = "";
        return ERR_OK;
    }
    return kind == PARQUET_BOOLEAN ? booleans_expand(column) : ERR_OK;
}

enum err own_column_init(struct own_column *column, const struct schema *schema,
                         const struct origins *origins, const struct own_rows *rows,
                         size_t system_index)
{
    *column = (struct own_column){0};
    buf_init(&column->values, VALUES_MAX);
    switch (system_index) {
    case SYSTEM_TIMESTAMP:
        return time_column(column, rows->event_us, rows->count);
    case SYSTEM_INGESTION_TIMESTAMP:
        return time_column(column, rows->arrival_us, rows->count);
    case SYSTEM_EVENT_TIME:
    case SYSTEM_INGESTED_AT:
        column->leaf = (struct parquet_leaf){
            .level_count = rows->count,
            .value_count = rows->count,
            .values = system_index == SYSTEM_EVENT_TIME ? rows->event_us : rows->arrival_us};
        return ERR_OK;
    default:
        return origin_column(column, origins, rows, system_index,
                             schema->system[system_index].kind);
    }
}
