#include "lake/schema.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "journal/block_field.h"
#include "lake/schema_name.h"

#include <assert.h>
#include <limits.h>

#define ARENA_MAX (64 * MIB)

static const struct {
    const char *path;
    enum parquet_kind kind;
} system_fixed[] = {
    [SYSTEM_TIMESTAMP] = {"#timestamp", PARQUET_STRING},
    [SYSTEM_SOURCE_TYPE] = {"#source_type", PARQUET_STRING},
    [SYSTEM_INGESTION_TIMESTAMP] = {"#ingestion_timestamp", PARQUET_STRING},
    [SYSTEM_EVENT_TIME] = {"#_event_time", PARQUET_TIMESTAMP_US},
    [SYSTEM_INGESTED_AT] = {"#_ingested_at", PARQUET_TIMESTAMP_US},
    [SYSTEM_RESCUED_DATA] = {"#_rescued_data", PARQUET_STRING},
};

static enum err column_new(struct schema *schema, struct column *parent, struct bytes key,
                           enum column_kind kind, struct column **ret_column)
{
    struct column *column = arena_zalloc_line(&schema->arena, sizeof(*column));
    char *copy = arena_dup(&schema->arena, key.data, key.size);
    if (!column || !copy)
        return ERR_NO_MEMORY;
    column->kind = kind;
    column->parent = parent;
    column->key = bytes_from(copy, key.size);
    map_init(&column->by_key);
    struct buf quoted;
    buf_init(&quoted, LIMIT_MESSAGE_BYTES_MAX * 7);
    enum err err = buf_json_string(&quoted, key);
    uint8_t *text =
        err == ERR_OK ? (uint8_t *)arena_dup(&schema->arena, quoted.data, quoted.size) : NULL;
    column->quoted = bytes_from(text, quoted.size);
    buf_fini(&quoted);
    if (!text)
        return ERR_NO_MEMORY;
    if (column->quoted.size <= COLUMN_GUESS_BYTES) {
        memcpy(column->guess_text, text, column->quoted.size);
        column->guess_size = (uint8_t)column->quoted.size;
    }
    *ret_column = column;
    return ERR_OK;
}

/* Makes room for one more child and one more column, so that the adding cannot fail. */
static enum err column_room(struct schema *schema, struct column *parent)
{
    if (schema->column_count == schema->column_capacity) {
        size_t capacity = schema->column_capacity ? schema->column_capacity * 2 : 16;
        struct column **grown = mem_realloc(schema->columns, capacity * sizeof(struct column *));
        if (!grown)
            return ERR_NO_MEMORY;
        schema->columns = grown;
        schema->column_capacity = capacity;
    }
    if (parent->child_count == parent->child_capacity) {
        uint32_t capacity = parent->child_capacity ? parent->child_capacity * 2 : 4;
        struct column **grown = mem_realloc(parent->children, capacity * sizeof(struct column *));
        if (!grown)
            return ERR_NO_MEMORY;
        parent->children = grown;
        parent->child_capacity = capacity;
    }
    return ERR_OK;
}

/* A leaf of this subtree, or NULL. */
static const struct leaf *any_leaf(const struct column *column)
{
    if (column_is_leaf(column))
        return &column->leaf;
    for (uint32_t i = 0; i < column->child_count; i++) {
        const struct leaf *leaf = any_leaf(column->children[i]);
        if (leaf)
            return leaf;
    }
    return NULL;
}

/* A new leaf in a group that has rows: it is null in all of them, at the level the group has. */
static enum err leaf_fill(struct column *column)
{
    for (const struct column *group = column->parent; group->depth > 0; group = group->parent) {
        const struct leaf *sibling = any_leaf(group);
        if (sibling)
            return leaf_fill_from_sibling(&column->leaf, sibling, group->definition,
                                          group->repetition);
    }
    return ERR_OK;
}

static void column_levels(struct column *column)
{
    const struct column *parent = column->parent;
    bool element = parent->kind == COLUMN_LIST;
    column->depth = (uint8_t)(parent->depth + 1);
    column->definition = (uint8_t)(parent->definition + (element ? 2 : 1));
    column->repetition = (uint8_t)(parent->repetition + (element ? 1 : 0));
}

static enum err column_link(struct schema *schema, struct column *column)
{
    struct column *parent = column->parent;
    enum err err = column_room(schema, parent);
    if (err == ERR_OK && column_is_leaf(column)) {
        static const enum parquet_kind kinds[] = {PARQUET_DOUBLE, PARQUET_BOOLEAN, PARQUET_STRING};
        leaf_init(&column->leaf, kinds[column->kind], column->definition, column->repetition,
                  schema->memory_bytes);
        err = leaf_fill(column);
    }
    if (err == ERR_OK)
        err = map_put(&schema->by_path, bytes_from_text(column->path), column);
    if (err == ERR_OK && parent->kind == COLUMN_STRUCT)
        err = map_put(&parent->by_key, column->key, column);
    if (err != ERR_OK) {
        map_remove(&schema->by_path, bytes_from_text(column->path));
        leaf_clear(&column->leaf);
        return err;
    }
    uint32_t place = parent->child_count++;
    for (; place > 0 && parent->children[place - 1]->field_id > column->field_id; place--)
        parent->children[place] = parent->children[place - 1];
    parent->children[place] = column;
    schema->columns[schema->column_count++] = column;
    schema->leaf_count += column_is_leaf(column);
    return ERR_OK;
}

/* Adds a pinned column to the tree. */
static enum err column_add(struct schema *schema, struct column *parent, struct bytes key,
                           enum column_kind kind, const struct catalog_column *pinned,
                           struct column **ret_column)
{
    enum column_role role = COLUMN_PLAIN;
    struct column *known = parent == schema->root ? schema_child(parent, key) : NULL;
    if (known)
        role = known->role;
    struct column *column;
    enum err err = column_new(schema, parent, key, kind, &column);
    if (err != ERR_OK)
        return err;
    column->role = role;
    column->field_id = pinned->field_id;
    column->path = arena_dup(&schema->arena, pinned->field_path.data, pinned->field_path.size);
    column->name = arena_dup(&schema->arena, pinned->column_name.data, pinned->column_name.size);
    if (!column->path || !column->name)
        return ERR_NO_MEMORY;
    size_t prefix = parent->depth > 0 ? strlen(parent->name) + 1 : 0;
    column->own_name = pinned->column_name.size > prefix ? column->name + prefix : column->name;
    column_levels(column);
    err = schema_name_take(&schema->names, pinned->column_name);
    if (err == ERR_OK)
        err = column_link(schema, column);
    if (err == ERR_OK)
        *ret_column = column;
    return err;
}

/* A top-level name that is ours, as a field that the decoder meets. */
static enum err reserve(struct schema *schema, const char *name, enum column_role role)
{
    struct column *known = schema_child(schema->root, bytes_from_text(name));
    if (known) {
        known->role = role;
        return ERR_OK;
    }
    struct column *column;
    enum err err = column_new(schema, schema->root, bytes_from_text(name), COLUMN_NONE, &column);
    if (err != ERR_OK)
        return err;
    column->role = role;
    column->depth = 1;
    return map_put(&schema->root->by_key, column->key, column);
}

static enum err system_add(struct schema *schema, struct bytes path, struct bytes name,
                           enum parquet_kind kind, int32_t field_id)
{
    if (schema->system_count == SCHEMA_SYSTEM_MAX)
        return ERR_TOO_MANY;
    struct system_column *system = &schema->system[schema->system_count];
    *system =
        (struct system_column){arena_dup(&schema->arena, path.data, path.size),
                               arena_dup(&schema->arena, name.data, name.size), kind, field_id};
    if (!system->path || !system->name)
        return ERR_NO_MEMORY;
    enum err err = schema_name_take(&schema->names, name);
    if (err == ERR_OK)
        schema->system_count++;
    return err;
}

static enum err system_init(struct schema *schema)
{
    enum err err = reserve(schema, "ingestion_id", COLUMN_RESERVED);
    if (err == ERR_OK)
        err = schema_name_take(&schema->names, bytes_from_text("ingestion_id"));
    if (err == ERR_OK)
        err = schema_name_take(&schema->names, bytes_from_text("date"));
    if (err == ERR_OK)
        err = schema_name_take(&schema->names, bytes_from_text("hour"));
    for (size_t i = 0; i < SYSTEM_FIRST_METADATA && err == ERR_OK; i++) {
        const char *name = system_fixed[i].path + 1;
        err = system_add(schema, bytes_from_text(system_fixed[i].path), bytes_from_text(name),
                         system_fixed[i].kind, 0);
        if (err == ERR_OK)
            err = reserve(schema, name, i == SYSTEM_TIMESTAMP ? COLUMN_TIME : COLUMN_RESERVED);
    }
    return err;
}

enum err schema_init(struct schema *schema, struct bytes dataset_id, size_t *memory_bytes)
{
    *schema = (struct schema){.dataset_id = dataset_id, .memory_bytes = memory_bytes};
    arena_init(&schema->arena, ARENA_MAX);
    map_init(&schema->by_path);
    map_init(&schema->names);
    enum err err = column_new(schema, NULL, bytes_from_text(""), COLUMN_STRUCT, &schema->root);
    if (err == ERR_OK)
        schema->system = arena_zalloc(&schema->arena, SCHEMA_SYSTEM_MAX * sizeof(*schema->system));
    if (err != ERR_OK || !schema->system)
        return ERR_NO_MEMORY;
    schema->root->path = schema->root->name = "";
    return system_init(schema);
}

size_t schema_memory_bytes(const struct schema *schema)
{
    return schema->arena.held_bytes + schema->column_capacity * sizeof(struct column *) +
           map_memory_bytes(&schema->by_path) + map_memory_bytes(&schema->names);
}

void schema_fini(struct schema *schema)
{
    for (size_t i = 0; i < schema->column_count; i++) {
        leaf_clear(&schema->columns[i]->leaf);
        map_fini(&schema->columns[i]->by_key);
        mem_free(schema->columns[i]->children);
    }
    if (schema->root) {
        map_fini(&schema->root->by_key);
        mem_free(schema->root->children);
    }
    mem_free(schema->columns);
    map_fini(&schema->by_path);
    map_fini(&schema->names);
    arena_fini(&schema->arena);
    *schema = (struct schema){0};
}

struct column *schema_child(const struct column *column, struct bytes key)
{
    if (column->kind == COLUMN_LIST)
        return column->child_count > 0 ? column->children[0] : NULL;
    return map_get(&column->by_key, key);
}

static struct system_column *system_by_path(struct schema *schema, struct bytes path)
{
    for (size_t i = 0; i < schema->system_count; i++)
        if (bytes_equal_text(path, schema->system[i].path))
            return &schema->system[i];
    return NULL;
}

static bool system_kind_parse(struct bytes text, enum parquet_kind *ret_kind)
{
    static const enum parquet_kind kinds[] = {PARQUET_STRING, PARQUET_DOUBLE, PARQUET_BOOLEAN,
                                              PARQUET_TIMESTAMP_US};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        *ret_kind = kinds[i];
        if (bytes_equal_text(text, schema_system_kind_name(kinds[i])))
            return true;
    }
    return false;
}

/* The name of a metadata field, without the type that tells apart two of one name. */
static struct bytes system_field_name(struct bytes path)
{
    struct bytes name = {path.data + 1, path.size - 1};
    const uint8_t *colon = memchr(name.data, ':', name.size);
    return colon ? bytes_from(name.data, (size_t)(colon - name.data)) : name;
}

static enum err reserve_bytes(struct schema *schema, struct bytes name)
{
    char *text = arena_dup(&schema->arena, name.data, name.size);
    return text ? reserve(schema, text, COLUMN_RESERVED) : ERR_NO_MEMORY;
}

struct load {
    struct schema *schema;
    struct diag *diag;
};

static enum err load_corrupt(const struct load *load, const struct catalog_column *column,
                             const char *what)
{
    return diag_set(load->diag, ERR_CORRUPT,
                    "dataset_columns of %.*s: column %.*s (%.*s, field_id %d): %s",
                    (int)load->schema->dataset_id.size, (const char *)load->schema->dataset_id.data,
                    (int)column->field_path.size, (const char *)column->field_path.data,
                    (int)column->column_type.size, (const char *)column->column_type.data,
                    (int)column->field_id, what);
}

static enum err load_system(const struct load *load, const struct catalog_column *column)
{
    struct schema *schema = load->schema;
    struct system_column *system = system_by_path(schema, column->field_path);
    if (system) {
        if (system->field_id == 0) {
            char *name =
                arena_dup(&schema->arena, column->column_name.data, column->column_name.size);
            if (!name)
                return ERR_NO_MEMORY;
            system->name = name;
            schema->pinned_count++;
        }
        system->field_id = column->field_id;
        return schema_name_take(&schema->names, column->column_name);
    }
    enum parquet_kind kind;
    if (!system_kind_parse(column->column_type, &kind))
        return load_corrupt(load, column, "its type is unknown");
    enum err err =
        system_add(schema, column->field_path, column->column_name, kind, column->field_id);
    if (err != ERR_OK)
        return err == ERR_TOO_MANY ? load_corrupt(load, column, "too many metadata columns") : err;
    schema->pinned_count++;
    return reserve_bytes(schema, system_field_name(column->field_path));
}

/* The parent of a path, by its text up to the last slash; a path without one is no pointer. */
static struct column *path_parent(const struct schema *schema, struct bytes path)
{
    size_t slash = path.size;
    while (slash > 0 && path.data[slash - 1] != '/')
        slash--;
    if (slash == 0)
        return NULL;
    if (slash == 1)
        return schema->root;
    return map_get(&schema->by_path, bytes_from(path.data, slash - 1));
}

static enum err on_load(void *ctx, const struct catalog_column *column)
{
    const struct load *load = ctx;
    struct schema *schema = load->schema;
    if (column->field_id <= 0 || column->field_id == INT32_MAX)
        return load_corrupt(load, column, "its field_id is out of range");
    if (column->field_id > schema->field_id_last)
        schema->field_id_last = column->field_id;
    if (column->field_path.size > 1 && column->field_path.data[0] == '#')
        return load_system(load, column);
    if (map_get(&schema->by_path, column->field_path))
        return ERR_OK;
    struct column *parent = path_parent(schema, column->field_path);
    bool fits = parent && (parent->kind == COLUMN_STRUCT ||
                           (parent->kind == COLUMN_LIST && parent->child_count == 0));
    if (!fits || parent->depth >= LIMIT_COLUMN_DEPTH)
        return load_corrupt(load, column, "it has no parent that could hold it");
    for (size_t kind = 0; kind < COLUMN_NONE; kind++) {
        if (!bytes_equal_text(column->column_type, schema_kind_name((enum column_kind)kind)))
            continue;
        struct buf key;
        buf_init(&key, LIMIT_MESSAGE_BYTES_MAX);
        enum err err = schema_name_from_path(&key, column->field_path);
        struct column *added;
        if (err == ERR_OK)
            err =
                column_add(schema, parent, buf_bytes(&key), (enum column_kind)kind, column, &added);
        buf_fini(&key);
        schema->pinned_count += err == ERR_OK;
        return err;
    }
    return load_corrupt(load, column, "its type is unknown");
}

enum err schema_load(struct schema *schema, struct catalog *catalog, struct diag *diag)
{
    struct load load = {schema, diag};
    enum err err = catalog->ops->load(catalog, schema->dataset_id, on_load, &load, diag);
    if (err == ERR_OK)
        schema->loaded = true;
    return err;
}

enum err schema_system(struct schema *schema, struct bytes name, enum parquet_kind kind,
                       size_t *ret_index)
{
    struct buf text;
    buf_init(&text, LIMIT_TOPIC_BYTES);
    buf_byte(&text, '#');
    buf_append(&text, name.data, name.size);
    struct system_column *system =
        text.err == ERR_OK ? system_by_path(schema, buf_bytes(&text)) : NULL;
    if (system && system->kind != kind) {
        buf_printf(&text, ":%s", schema_system_kind_name(kind));
        system = text.err == ERR_OK ? system_by_path(schema, buf_bytes(&text)) : NULL;
    }
    enum err err = text.err;
    if (err == ERR_OK && !system) {
        struct buf column_name;
        buf_init(&column_name, LIMIT_TOPIC_BYTES * 2);
        err = schema_name_make(&column_name, &schema->names, NULL, "", name, true);
        if (err == ERR_OK)
            err = reserve_bytes(schema, name);
        if (err == ERR_OK)
            err = system_add(schema, buf_bytes(&text), buf_bytes(&column_name), kind, 0);
        buf_fini(&column_name);
        system = &schema->system[schema->system_count - 1];
    }
    buf_fini(&text);
    *ret_index = (size_t)(system - schema->system);
    return err;
}

bool schema_system_pinned(const struct schema *schema)
{
    for (size_t i = 0; i < schema->system_count; i++)
        if (schema->system[i].field_id == 0)
            return false;
    return true;
}

/* What the catalog now holds comes into the tree. */
static enum err wishes_add(struct schema *schema, struct schema_wish *wishes, size_t wish_count,
                           const struct catalog_column *columns)
{
    for (size_t i = 0; i < wish_count; i++) {
        struct column *parent = wishes[i].wished ? wishes[i].wished->column : wishes[i].parent;
        enum err err = column_add(schema, parent, wishes[i].key, wishes[i].kind, &columns[i],
                                  &wishes[i].column);
        if (err != ERR_OK)
            return err;
        schema->pinned_count++;
        schema->field_id_last = columns[i].field_id;
    }
    for (size_t i = 0, next = wish_count; i < schema->system_count; i++) {
        if (schema->system[i].field_id != 0)
            continue;
        schema->system[i].field_id = columns[next].field_id;
        schema->field_id_last = columns[next++].field_id;
        schema->pinned_count++;
    }
    return ERR_OK;
}

enum err schema_pin(struct schema *schema, struct catalog *catalog, struct schema_wish *wishes,
                    size_t wish_count, struct diag *diag)
{
    assert(schema->loaded);
    struct arena arena;
    struct catalog_pin pin;
    arena_init(&arena, ARENA_MAX);
    enum err err = schema_foresee(schema, &arena, wishes, wish_count, &pin);
    if (err == ERR_OK && pin.count > 0)
        err = catalog->ops->pin(catalog, schema->dataset_id, pin.columns, pin.count, diag);
    if (err == ERR_OK)
        err = wishes_add(schema, wishes, wish_count, pin.columns);
    arena_fini(&arena);
    return err;
}

enum err schema_prepin(struct schema *schema, struct catalog *catalog, struct bytes columns,
                       struct diag *diag)
{
    static const enum column_kind kinds[] = {[FIELD_STRING] = COLUMN_STRING,
                                             [FIELD_DOUBLE] = COLUMN_DOUBLE,
                                             [FIELD_BOOLEAN] = COLUMN_BOOLEAN};
    size_t room = schema_room(schema);
    struct schema_wish *wishes = room > 0 ? mem_zalloc(room, sizeof(*wishes)) : NULL;
    struct bytes name;
    enum field_type type;
    size_t wish_count = 0;
    size_t cursor = 0;
    if (room == 0)
        return ERR_OK;
    if (!wishes)
        return ERR_NO_MEMORY;
    while (wish_count < room && route_column_next(columns, &cursor, &name, &type))
        if (!schema_child(schema->root, name))
            wishes[wish_count++] =
                (struct schema_wish){.parent = schema->root, .kind = kinds[type], .key = name};
    enum err err = wish_count > 0 ? schema_pin(schema, catalog, wishes, wish_count, diag) : ERR_OK;
    mem_free(wishes);
    return err;
}

enum err schema_each(const struct schema *schema,
                     enum err (*on_column)(void *ctx, const struct catalog_column *column),
                     void *ctx)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < schema->column_count && err == ERR_OK; i++) {
        const struct column *column = schema->columns[i];
        err =
            on_column(ctx, &(struct catalog_column){
                               bytes_from_text(column->path), bytes_from_text(column->name),
                               bytes_from_text(schema_kind_name(column->kind)), column->field_id});
    }
    for (size_t i = 0; i < schema->system_count && err == ERR_OK; i++) {
        const struct system_column *system = &schema->system[i];
        err = on_column(ctx, &(struct catalog_column){
                                 bytes_from_text(system->path), bytes_from_text(system->name),
                                 bytes_from_text(schema_system_kind_name(system->kind)),
                                 system->field_id});
    }
    return err;
}
