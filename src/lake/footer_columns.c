/*
 * A file's schema is a list of elements, depth first, parents before children. Each gets a node
 * that says which field it is (or that it is none of ours); then those are dropped under which
 * nothing is pinned, since a struct without columns cannot be written; the rest is added.
 */
#include "lake/footer_columns.h"

#include "base/alloc.h"
#include "lake/schema_name.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define COLUMNS_ARENA_MAX ((size_t)64 * 1024 * 1024)
#define SYSTEM_MAX        (SCHEMA_SYSTEM_MAX - 8)

void footer_columns_init(struct footer_columns *columns)
{
    *columns = (struct footer_columns){0};
    arena_init(&columns->arena, COLUMNS_ARENA_MAX);
    map_init(&columns->by_path);
    map_init(&columns->names);
    map_init(&columns->ids);
}

void footer_columns_fini(struct footer_columns *columns)
{
    mem_free(columns->columns);
    map_fini(&columns->by_path);
    map_fini(&columns->names);
    map_fini(&columns->ids);
    arena_fini(&columns->arena);
    *columns = (struct footer_columns){0};
}

enum node_kind {
    NODE_NONE,   /* not ours, and nothing below it */
    NODE_FIELD,  /* a column */
    NODE_MIDDLE, /* the repeated group between a list and its elements */
};

struct node {
    enum node_kind kind;
    struct bytes path;
    struct bytes name;
    const char *type;
    int32_t field_id; /* 0: give it one */
    uint8_t depth;
    bool is_list;
    bool is_group;
    bool is_useful; /* it, or something below it, holds values */
};

struct file {
    struct footer_columns *columns;
    const struct parquet_metadata *metadata;
    struct node *nodes;
    bool is_ours;
    json_t *paths;   /* of FOOTER_COLUMNS_KEY, or NULL */
    uint32_t groups; /* bit i: of the table below, the file has the fields of row i */
};

/* The metadata fields of contract/data.md "DataMessage": whose they are is told by all that a
 * message of that kind always has. */
static const struct {
    const char *always[5];
    const char *sometimes[3];
} metadata_groups[] = {
    {{"topic", "qos", "retain", "broker"}, {"original_source_id", "user_properties"}},
    {{"source_url", "http_status", "content_type", "fetch_timestamp", "method"}, {NULL}},
    {{"resource_uri", "coap_code", "content_format", "mode"}, {"original_source_id"}},
    {{"remote", "content_type"}, {NULL}},
};
#define METADATA_GROUPS (sizeof(metadata_groups) / sizeof(metadata_groups[0]))

static const char *const system_names[] = {"timestamp",   "source_type",  "ingestion_timestamp",
                                           "_event_time", "_ingested_at", "_rescued_data"};
static const char *const path_names[] = {"ingestion_id", "date", "hour"};

static bool is_among(struct bytes name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count && names[i]; i++)
        if (bytes_equal_text(name, names[i]))
            return true;
    return false;
}

static bool has_top_level(const struct parquet_metadata *metadata, const char *name)
{
    for (size_t i = 1; i < metadata->element_count; i++)
        if (metadata->elements[i].parent == 0 && bytes_equal_text(metadata->elements[i].name, name))
            return true;
    return false;
}

static uint32_t groups_find(const struct parquet_metadata *metadata)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < METADATA_GROUPS; i++) {
        bool all = true;
        for (size_t k = 0; k < 5 && metadata_groups[i].always[k] && all; k++)
            all = has_top_level(metadata, metadata_groups[i].always[k]);
        found |= all ? 1u << i : 0;
    }
    return found;
}

/* A name at the top that is the service's own and not the device's. */
static bool is_system(const struct file *file, struct bytes name)
{
    if (is_among(name, system_names, sizeof(system_names) / sizeof(system_names[0])))
        return true;
    for (uint32_t i = 0; i < METADATA_GROUPS; i++)
        if ((file->groups & (1u << i)) && (is_among(name, metadata_groups[i].always, 5) ||
                                           is_among(name, metadata_groups[i].sometimes, 3)))
            return true;
    return false;
}

/* --- types --------------------------------------------------------------------------------- */

/* parquet.thrift's numbers that only foreign files hold */
enum { CONVERTED_MAP = 1, CONVERTED_MAP_KEY_VALUE = 2, CONVERTED_DECIMAL = 5 };
enum { CONVERTED_DATE = 6, CONVERTED_TIMESTAMP_MICROS = 10 };
enum { LOGICAL_MAP = 2, LOGICAL_DECIMAL = 5, LOGICAL_DATE = 6 };

static bool is_time(const struct parquet_metadata_element *element)
{
    return (element->converted_type >= CONVERTED_DATE &&
            element->converted_type <= CONVERTED_TIMESTAMP_MICROS) ||
           (element->logical_type >= LOGICAL_DATE &&
            element->logical_type <= PARQUET_LOGICAL_TIMESTAMP);
}

static const char *leaf_type(const struct parquet_metadata_element *element)
{
    switch (element->type) {
    case PARQUET_TYPE_BOOLEAN:
        return "BOOLEAN";
    case PARQUET_TYPE_INT32:
    case PARQUET_TYPE_INT64:
    case PARQUET_TYPE_FLOAT:
    case PARQUET_TYPE_DOUBLE:
        return is_time(element) ? "STRING" : "DOUBLE";
    default:
        return element->converted_type == CONVERTED_DECIMAL ||
                       element->logical_type == LOGICAL_DECIMAL
                   ? "DOUBLE"
                   : "STRING";
    }
}

static const char *system_type(const struct parquet_metadata_element *element)
{
    return element->kind == PARQUET_TIMESTAMP_US && element->is_known ? "TIMESTAMP"
                                                                      : leaf_type(element);
}

static bool is_map(const struct parquet_metadata_element *element)
{
    return element->converted_type == CONVERTED_MAP ||
           element->converted_type == CONVERTED_MAP_KEY_VALUE ||
           element->logical_type == LOGICAL_MAP;
}

/* An INT32 that never had a value says nothing about its field: pandas and pyarrow leave a field so
 * that was always null. */
static bool is_unpinned(const struct parquet_metadata *metadata, uint32_t index)
{
    size_t column = 0;
    if (metadata->elements[index].type != PARQUET_TYPE_INT32)
        return false;
    if (metadata->elements[index].logical_type == PARQUET_LOGICAL_UNKNOWN)
        return true;
    while (column < metadata->column_count && metadata->leaves[column] != index)
        column++;
    for (size_t i = 0; i < metadata->row_group_count; i++) {
        const struct parquet_metadata_chunk *chunk = &metadata->row_groups[i].chunks[column];
        if (!chunk->has_null_count || chunk->null_count < chunk->level_count)
            return false;
    }
    return true;
}

/* --- nodes --------------------------------------------------------------------------------- */

static struct bytes keep(struct footer_columns *columns, struct buf *text)
{
    char *copy = text->err == ERR_OK ? arena_dup(&columns->arena, text->data, text->size) : NULL;
    struct bytes kept = bytes_from(copy, copy ? text->size : 0);
    buf_fini(text);
    return kept;
}

/* Whether a path from the footer's pair may stand for an element there. */
static bool path_fits(struct bytes path, const struct node *parent)
{
    size_t prefix = parent ? parent->path.size : 0;
    if (path.size < 2)
        return false;
    if (path.data[0] == '#')
        return !parent;
    return path.size > prefix && path.data[prefix] == '/' &&
           memcmp(path.data, parent ? (const char *)parent->path.data : "", prefix) == 0 &&
           !memchr(path.data + prefix + 1, '/', path.size - prefix - 1);
}

static enum err path_given(const struct file *file, const struct parquet_metadata_element *element,
                           const struct node *parent, struct bytes *ret_path)
{
    char id[16];
    *ret_path = bytes_from(NULL, 0);
    snprintf(id, sizeof(id), "%d", element->field_id);
    const json_t *text = file->paths ? json_object_get(file->paths, id) : NULL;
    if (!json_is_string(text))
        return ERR_OK;
    struct bytes given =
        bytes_from((const uint8_t *)json_string_value(text), json_string_length(text));
    if (!path_fits(given, parent))
        return ERR_OK;
    struct buf copy;
    buf_init(&copy, FOOTER_COLUMNS_KEY_BYTES);
    buf_append(&copy, given.data, given.size);
    *ret_path = keep(file->columns, &copy);
    return ret_path->data ? ERR_OK : ERR_NO_MEMORY;
}

static enum err path_by_name(const struct file *file, struct bytes name, const struct node *parent,
                             bool element, struct bytes *ret_path)
{
    struct buf text;
    buf_init(&text, COLUMNS_ARENA_MAX);
    enum err err = ERR_OK;
    if (!parent && is_system(file, name)) {
        buf_byte(&text, '#');
        buf_append(&text, name.data, name.size);
    } else {
        err = schema_name_path(&text, parent ? (const char *)parent->path.data : "", name, element);
    }
    *ret_path = keep(file->columns, &text);
    return err != ERR_OK ? err : ret_path->data ? ERR_OK : ERR_NO_MEMORY;
}

static enum err name_make(const struct file *file, struct bytes own, const struct node *parent,
                          bool element, struct bytes *ret_name)
{
    struct buf text;
    buf_init(&text, COLUMNS_ARENA_MAX);
    if (parent) {
        buf_append(&text, parent->name.data, parent->name.size);
        buf_byte(&text, '.');
    }
    if (element)
        buf_text(&text, "element");
    else
        buf_append(&text, own.data, own.size);
    *ret_name = keep(file->columns, &text);
    return ret_name->data ? ERR_OK : ERR_NO_MEMORY;
}

static int32_t own_field_id(const struct file *file, const struct parquet_metadata_element *element,
                            const struct node *parent)
{
    bool usable = file->is_ours && element->field_id > 0 && element->field_id < INT32_MAX / 2 &&
                  (!parent || (parent->field_id > 0 && parent->field_id < element->field_id));
    return usable ? element->field_id : 0;
}

/* The device's own field of a name that the service keeps is never a column. */
static bool is_reserved(struct bytes path)
{
    return path.size > 1 && path.data[0] == '/' &&
           (is_among(bytes_from(path.data + 1, path.size - 1), system_names,
                     sizeof(system_names) / sizeof(system_names[0])) ||
            is_among(bytes_from(path.data + 1, path.size - 1), path_names, 1));
}

static enum err field_init(struct file *file, uint32_t index, const struct node *parent,
                           bool element)
{
    const struct parquet_metadata_element *at = &file->metadata->elements[index];
    struct node *node = &file->nodes[index];
    struct bytes path;
    if (!parent && is_among(at->name, path_names, sizeof(path_names) / sizeof(path_names[0])))
        return ERR_OK;
    if (at->name.size == 0 || (parent && parent->depth >= LIMIT_COLUMN_DEPTH) ||
        (at->is_leaf && is_unpinned(file->metadata, index)))
        return ERR_OK;
    enum err err = path_given(file, at, parent, &path);
    if (err == ERR_OK && !path.data)
        err = path_by_name(file, at->name, parent, element, &path);
    if (err == ERR_OK)
        err = name_make(file, at->name, parent, element, &node->name);
    if (err != ERR_OK || is_reserved(path) || (path.data[0] == '#' && !at->is_leaf))
        return err;
    bool is_text = at->is_leaf || is_map(at);
    node->kind = NODE_FIELD;
    node->path = path;
    node->depth = parent ? (uint8_t)(parent->depth + 1) : 1;
    node->field_id = own_field_id(file, at, parent);
    node->is_list = !is_text && (at->converted_type == PARQUET_CONVERTED_LIST ||
                                 at->logical_type == PARQUET_LOGICAL_LIST);
    node->is_group = !is_text;
    node->is_useful = is_text;
    node->type = path.data[0] == '#' ? system_type(at)
                 : at->is_leaf       ? leaf_type(at)
                 : is_text           ? "STRING"
                 : node->is_list     ? "LIST"
                                     : "STRUCT";
    return ERR_OK;
}

static bool name_ends(struct bytes name, const char *end)
{
    size_t size = strlen(end);
    return name.size >= size && memcmp(name.data + name.size - size, end, size) == 0;
}

/* The format's own rules for lists, old two-level ones included. */
static bool is_middle(const struct parquet_metadata_element *element)
{
    return !element->is_leaf && element->child_count == 1 &&
           !bytes_equal_text(element->name, "array") && !name_ends(element->name, "_tuple");
}

static enum err node_init(struct file *file, uint32_t index)
{
    const struct parquet_metadata_element *element = &file->metadata->elements[index];
    uint32_t parent_index = element->parent;
    const struct node *parent = parent_index > 0 ? &file->nodes[parent_index] : NULL;
    if (parent && parent->kind == NODE_NONE)
        return ERR_OK;
    if (parent && parent->kind == NODE_MIDDLE)
        return field_init(file, index, &file->nodes[file->metadata->elements[parent_index].parent],
                          true);
    if (parent && parent->is_list) {
        if (is_middle(element)) {
            file->nodes[index].kind = NODE_MIDDLE;
            return ERR_OK;
        }
        return field_init(file, index, parent, true);
    }
    if (parent && !parent->is_group)
        return ERR_OK;
    if (element->repetition == PARQUET_REPEATED) /* a list of a kind that nobody here writes */
        return ERR_OK;
    return field_init(file, index, parent, false);
}

static void useful_spread(struct file *file)
{
    for (size_t i = file->metadata->element_count - 1; i > 0; i--)
        if (file->nodes[i].is_useful)
            file->nodes[file->metadata->elements[i].parent].is_useful = true;
}

/* --- adding -------------------------------------------------------------------------------- */

static enum err room(struct footer_columns *columns)
{
    if (columns->count < columns->capacity)
        return ERR_OK;
    size_t capacity = columns->capacity ? columns->capacity * 2 : 32;
    struct catalog_column *grown = mem_realloc(columns->columns, capacity * sizeof(*grown));
    if (!grown)
        return ERR_NO_MEMORY;
    columns->columns = grown;
    columns->capacity = capacity;
    return ERR_OK;
}

static bool id_take(struct footer_columns *columns, int32_t field_id, enum err *err)
{
    char text[16];
    int size = snprintf(text, sizeof(text), "%d", field_id);
    struct bytes key = bytes_from((const uint8_t *)text, (size_t)size);
    if (map_get(&columns->ids, key))
        return false;
    *err = map_put(&columns->ids, key, columns);
    return *err == ERR_OK;
}

static enum err node_add(struct footer_columns *columns, struct node *node)
{
    enum err err = room(columns);
    if (err == ERR_OK && node->field_id > 0 && !id_take(columns, node->field_id, &err))
        node->field_id = 0;
    if (err == ERR_OK)
        err = map_put(&columns->names, node->name, columns);
    if (err == ERR_OK)
        err = map_put(&columns->by_path, node->path, (void *)(uintptr_t)(columns->count + 1));
    if (err != ERR_OK)
        return err;
    columns->columns[columns->count++] = (struct catalog_column){
        node->path, node->name, bytes_from_text(node->type), node->field_id};
    columns->system_count += node->path.data[0] == '#';
    if (node->field_id > columns->field_id_last)
        columns->field_id_last = node->field_id;
    return ERR_OK;
}

/* Adds what is new. A field known as something else loses what this file has below it. */
static enum err node_merge(struct file *file, uint32_t index)
{
    struct footer_columns *columns = file->columns;
    struct node *node = &file->nodes[index];
    uint32_t above = file->metadata->elements[index].parent;
    if (file->nodes[above].kind == NODE_MIDDLE)
        above = file->metadata->elements[above].parent;
    const struct node *parent = above > 0 ? &file->nodes[above] : NULL;
    uintptr_t known = (uintptr_t)map_get(&columns->by_path, node->path);
    if (known > 0) {
        const struct catalog_column *column = &columns->columns[known - 1];
        if (!bytes_equal_text(column->column_type, node->type))
            node->kind = NODE_NONE;
        node->field_id = column->field_id;
        return ERR_OK;
    }
    bool full = columns->count - columns->system_count >= LIMIT_COLUMNS_PER_DATASET ||
                (node->path.data[0] == '#' && columns->system_count >= SYSTEM_MAX);
    if (full || (parent && parent->kind != NODE_FIELD) || map_get(&columns->names, node->name)) {
        node->kind = NODE_NONE;
        return ERR_OK;
    }
    if (parent && parent->field_id == 0)
        node->field_id = 0;
    return node_add(columns, node);
}

static struct bytes pair_value(const struct parquet_metadata *metadata, const char *key)
{
    for (size_t i = 0; i < metadata->pair_count; i++)
        if (bytes_equal_text(metadata->pairs[i].key, key))
            return metadata->pairs[i].value;
    return bytes_from(NULL, 0);
}

enum err footer_columns_add(struct footer_columns *columns, const struct parquet_metadata *metadata)
{
    struct bytes paths = pair_value(metadata, FOOTER_COLUMNS_KEY);
    struct file file = {.columns = columns,
                        .metadata = metadata,
                        .is_ours = pair_value(metadata, "ingestor.journal").size > 0,
                        .groups = groups_find(metadata)};
    file.nodes = mem_zalloc(metadata->element_count, sizeof(*file.nodes));
    if (!file.nodes)
        return ERR_NO_MEMORY;
    if (file.is_ours && paths.size > 0 && paths.size <= FOOTER_COLUMNS_KEY_BYTES)
        file.paths = json_loadb((const char *)paths.data, paths.size, JSON_ALLOW_NUL, NULL);
    if (json_is_object(file.paths))
        file.groups = 0; /* it names them itself */
    enum err err = ERR_OK;
    for (uint32_t i = 1; i < metadata->element_count && err == ERR_OK; i++)
        err = node_init(&file, i);
    useful_spread(&file);
    for (uint32_t i = 1; i < metadata->element_count && err == ERR_OK; i++)
        if (file.nodes[i].kind == NODE_FIELD && file.nodes[i].is_useful)
            err = node_merge(&file, i);
    json_decref(file.paths);
    mem_free(file.nodes);
    return err;
}

static int by_field_id(const void *a, const void *b)
{
    const struct catalog_column *left = a;
    const struct catalog_column *right = b;
    return (left->field_id > right->field_id) - (left->field_id < right->field_id);
}

void footer_columns_finish(struct footer_columns *columns)
{
    for (size_t i = 0; i < columns->count; i++)
        if (columns->columns[i].field_id == 0)
            columns->columns[i].field_id = ++columns->field_id_last;
    if (columns->count > 0)
        qsort(columns->columns, columns->count, sizeof(*columns->columns), by_field_id);
}

/* --- the writer's side --------------------------------------------------------------------- */

static void path_write(struct buf *out, int32_t field_id, const char *path)
{
    buf_printf(out, "%s\"%d\":", out->size > 0 ? "," : "{", field_id);
    (void)buf_json_string(out, bytes_from_text(path));
}

enum err footer_columns_write(const struct schema *schema, struct buf *out)
{
    for (size_t i = 0; i < schema->column_count; i++) {
        const struct column *column = schema->columns[i];
        bool element = column->parent->kind == COLUMN_LIST;
        if (!element && !bytes_equal_text(column->key, column->own_name))
            path_write(out, column->field_id, column->path);
    }
    for (size_t i = 0; i < schema->system_count; i++)
        if (schema->system[i].field_id > 0)
            path_write(out, schema->system[i].field_id, schema->system[i].path);
    if (out->size > 0)
        buf_byte(out, '}');
    return out->err;
}
