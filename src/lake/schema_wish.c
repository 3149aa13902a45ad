/* From wishes to what the catalog is asked to pin: a part of schema.c. */
#include "lake/schema.h"
#include "lake/schema_name.h"

#define WISH_TEXT_MAX (64 * MIB)

const char *schema_kind_name(enum column_kind kind)
{
    static const char *const names[] = {
        [COLUMN_DOUBLE] = "DOUBLE", [COLUMN_BOOLEAN] = "BOOLEAN", [COLUMN_STRING] = "STRING",
        [COLUMN_STRUCT] = "STRUCT", [COLUMN_LIST] = "LIST",
    };
    return names[kind];
}

const char *schema_system_kind_name(enum parquet_kind kind)
{
    switch (kind) {
    case PARQUET_DOUBLE:
        return "DOUBLE";
    case PARQUET_BOOLEAN:
        return "BOOLEAN";
    case PARQUET_TIMESTAMP_US:
        return "TIMESTAMP";
    default:
        return "STRING";
    }
}

/* Path and name of a wish; name is unique among the pinned and the wished. */
static enum err wish_name(struct schema *schema, struct arena *arena, struct map *wished_names,
                          struct schema_wish *wish)
{
    const char *parent_path = wish->wished ? wish->wished->path : wish->parent->path;
    const char *parent_name = wish->wished ? wish->wished->name : wish->parent->name;
    bool element = (wish->wished ? wish->wished->kind : wish->parent->kind) == COLUMN_LIST;
    struct buf text;
    buf_init(&text, WISH_TEXT_MAX);
    enum err err = schema_name_path(&text, parent_path, wish->key, element);
    if (err == ERR_OK) {
        wish->path = arena_dup(arena, text.data, text.size);
        buf_clear(&text);
        struct bytes key = element ? bytes_from_text("element") : wish->key;
        err = schema_name_make(&text, &schema->names, wished_names, parent_name, key, false);
    }
    if (err == ERR_OK) {
        wish->name = arena_dup(arena, text.data, text.size);
        err = wish->path && wish->name ? schema_name_take(wished_names, buf_bytes(&text))
                                       : ERR_NO_MEMORY;
    }
    buf_fini(&text);
    return err;
}

static enum err wishes_list(struct schema *schema, struct arena *arena, struct schema_wish *wishes,
                            size_t wish_count, struct catalog_column *columns, size_t *ret_count)
{
    struct map names;
    map_init(&names);
    int32_t field_id = schema->field_id_last;
    size_t count = 0;
    enum err err = ERR_OK;
    for (size_t i = 0; i < wish_count && err == ERR_OK; i++) {
        err = wish_name(schema, arena, &names, &wishes[i]);
        if (err == ERR_OK)
            columns[count++] = (struct catalog_column){
                bytes_from_text(wishes[i].path), bytes_from_text(wishes[i].name),
                bytes_from_text(schema_kind_name(wishes[i].kind)), ++field_id};
    }
    for (size_t i = 0; i < schema->system_count && err == ERR_OK; i++) {
        const struct system_column *system = &schema->system[i];
        if (system->field_id != 0)
            continue;
        const char *path = arena_dup(arena, system->path, strlen(system->path));
        const char *name = arena_dup(arena, system->name, strlen(system->name));
        err = path && name ? ERR_OK : ERR_NO_MEMORY;
        if (err == ERR_OK)
            columns[count++] = (struct catalog_column){
                bytes_from_text(path), bytes_from_text(name),
                bytes_from_text(schema_system_kind_name(system->kind)), ++field_id};
    }
    map_fini(&names);
    *ret_count = count;
    return err;
}

enum err schema_foresee(struct schema *schema, struct arena *arena, struct schema_wish *wishes,
                        size_t wish_count, struct catalog_pin *ret_pin)
{
    struct catalog_column *columns =
        arena_zalloc(arena, (wish_count + schema->system_count) * sizeof(*columns));
    *ret_pin = (struct catalog_pin){.dataset_id = schema->dataset_id, .columns = columns};
    return columns ? wishes_list(schema, arena, wishes, wish_count, columns, &ret_pin->count)
                   : ERR_NO_MEMORY;
}
