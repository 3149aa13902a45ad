/*
 * What the configuration declares, brought into the registry; and, as long as there is no database,
 * run without it.
 */
#include "sources/manager_parts.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "connectors/registry.h"

#define DEFAULT_ONCE "default source"
#define DECLARED_BY  "config"

static bool body_enabled(const json_t *body)
{
    return !json_is_false(json_object_get(body, "enabled"));
}

static enum err body_row(const json_t *body, struct source_row *ret_row)
{
    const char *created_by = json_string_value(json_object_get(body, "created_by"));
    const struct connector *connector =
        registry_find(json_string_value(json_object_get(body, "type_name")));
    return manager_row_make(json_string_value(json_object_get(body, "name")), connector,
                            json_object_get(body, "config"), body_enabled(body),
                            created_by ? created_by : DECLARED_BY, ret_row);
}

/* The database is away: the declared source runs without being registered. */
static void body_run(struct manager *manager, const json_t *body)
{
    struct source_row row;
    struct managed *managed;
    if (body_row(body, &row) != ERR_OK)
        return; /* no memory: again in the next round */
    mutex_lock(&manager->lock);
    if (manager_find(manager, bytes_from_text(row.ingestion_id)))
        source_row_fini(&row);
    else if (manager_add(manager, registry_find(row.type_name), &row, &managed) == ERR_OK)
        managed->declared = true;
    mutex_unlock(&manager->lock);
}

void manager_declared_run(struct manager *manager, const json_t *declared)
{
    size_t index;
    const json_t *body;
    json_array_foreach(declared, index, body)
    {
        body_run(manager, body);
    }
    if (manager->default_source)
        body_run(manager, manager->default_source);
}

/* Declared and not in the registry yet: inserted together. */
#define NEWCOMERS_MAX 256

struct newcomers {
    struct source_row rows[NEWCOMERS_MAX];
    size_t count;
};

static enum err newcomers_register(struct manager *manager, struct newcomers *newcomers,
                                   struct diag *diag)
{
    size_t count = newcomers->count;
    newcomers->count = 0;
    if (count == 0)
        return ERR_OK;
    enum err err = manager_register_all(manager, newcomers->rows, count, diag);
    return err == ERR_CONFLICT ? manager_load(manager, diag) : err; /* another replica was faster */
}

/* The row there is, brought to what is declared. Takes it over. */
static enum err row_change(struct manager *manager, struct source_row *row, struct diag *diag)
{
    enum err err = source_table_update(manager->database, row, diag);
    if (err != ERR_OK) {
        source_row_fini(row);
        return err;
    }
    mutex_lock(&manager->lock);
    struct managed *managed = manager_find_id(manager, row->id);
    manager->restless = true;
    if (managed)
        manager_row_replace(managed, row);
    else
        source_row_fini(row);
    mutex_unlock(&manager->lock);
    return ERR_OK;
}

/* Whether the registry has it; if so, *row becomes what that row is to be, and *ret_same tells
 * whether it is that already. */
static bool row_known(struct manager *manager, struct source_row *row, bool *ret_same)
{
    mutex_lock(&manager->lock);
    struct managed *managed = manager_find(manager, bytes_from_text(row->ingestion_id));
    bool known = managed && managed->row.id != 0;
    *ret_same = known && json_equal(managed->row.config, row->config) &&
                managed->row.enabled == row->enabled && strcmp(managed->row.name, row->name) == 0;
    if (managed)
        managed->declared = true;
    if (known) {
        row->id = managed->row.id;
        row->created_at_us = managed->row.created_at_us;
        row->last_connection_us = managed->row.last_connection_us;
        memcpy(row->status, managed->row.status, sizeof(row->status));
    }
    mutex_unlock(&manager->lock);
    return known;
}

/* Makes the registry's row what the declaration says; one that lacks joins the newcomers. */
static enum err body_apply(struct manager *manager, const json_t *body, struct newcomers *newcomers,
                           struct diag *diag)
{
    struct source_row row;
    bool same;
    enum err err = body_row(body, &row);
    if (err != ERR_OK)
        return err;
    if (!row_known(manager, &row, &same)) {
        newcomers->rows[newcomers->count++] = row;
        return newcomers->count < NEWCOMERS_MAX ? ERR_OK
                                                : newcomers_register(manager, newcomers, diag);
    }
    if (!same)
        return row_change(manager, &row, diag);
    source_row_fini(&row);
    return ERR_OK;
}

static enum err bodies_apply(struct manager *manager, const json_t *declared, struct diag *diag)
{
    struct newcomers *newcomers = mem_zalloc(1, sizeof(*newcomers));
    enum err err = newcomers ? ERR_OK : ERR_NO_MEMORY;
    for (size_t i = 0; i < json_array_size(declared) && err == ERR_OK; i++)
        err = body_apply(manager, json_array_get(declared, i), newcomers, diag);
    if (err == ERR_OK)
        err = newcomers_register(manager, newcomers, diag);
    for (size_t i = 0; newcomers && i < newcomers->count; i++)
        source_row_fini(&newcomers->rows[i]);
    mem_free(newcomers);
    return err;
}

/* name_key -> body */
static enum err declared_map(const json_t *declared, struct map *ret_map)
{
    size_t index;
    json_t *body;
    enum err err = ERR_OK;
    struct buf key;
    map_init(ret_map);
    buf_init(&key, 64 * KIB);
    json_array_foreach(declared, index, body)
    {
        buf_clear(&key);
        err = manager_name_key(json_string_value(json_object_get(body, "type_name")),
                               json_string_value(json_object_get(body, "name")), &key);
        if (err == ERR_OK)
            err = map_put(ret_map, buf_bytes(&key), body);
        if (err != ERR_OK)
            break;
    }
    buf_fini(&key);
    if (err != ERR_OK)
        map_fini(ret_map);
    return err;
}

/* Out of memory: as if it were. */
static bool is_declared(const struct map *declared, const struct source_row *row)
{
    struct buf key;
    buf_init(&key, 64 * KIB);
    bool declares = manager_name_key(row->type_name, row->name, &key) != ERR_OK ||
                    map_get(declared, buf_bytes(&key)) != NULL;
    buf_fini(&key);
    return declares;
}

/* One source that was declared once and is no more; 0: there is none. */
static int64_t undeclared_next(struct manager *manager, const struct map *declared)
{
    int64_t id = 0;
    mutex_lock(&manager->lock);
    for (uint32_t i = 0; i < manager->count && id == 0; i++) {
        const struct managed *managed = manager->list[i];
        const char *created_by = managed->row.created_by;
        if (managed->row.id != 0 && !managed->deleted && created_by &&
            strcmp(created_by, DECLARED_BY) == 0 && !is_declared(declared, &managed->row))
            id = managed->row.id;
    }
    mutex_unlock(&manager->lock);
    return id;
}

static enum err undeclared_delete(struct manager *manager, const struct map *declared,
                                  struct diag *diag)
{
    int64_t id;
    while ((id = undeclared_next(manager, declared)) != 0) {
        enum err err = source_table_delete(manager->database, id, diag);
        if (err != ERR_OK && err != ERR_NOT_FOUND)
            return err;
        mutex_lock(&manager->lock);
        struct managed *managed = manager_find_id(manager, id);
        if (managed) {
            log_info("sources", "%s: no longer declared, deleted", managed->row.name);
            managed->deleted = manager->restless = true;
        }
        mutex_unlock(&manager->lock);
    }
    return ERR_OK;
}

static enum err on_any(void *ctx, const struct database_value *columns, size_t count)
{
    (void)columns;
    *(bool *)ctx = count > 0;
    return ERR_OK;
}

/* The mark comes after the row: a kill in between registers it again, which finds it there. */
static enum err default_apply(struct manager *manager, struct diag *diag)
{
    const struct database_value name = database_text(BYTES_LITERAL(DEFAULT_ONCE));
    bool done = false;
    bool first;
    struct source_row row;
    enum err err =
        database_query(manager->database, "SELECT version FROM ingestor_migrations WHERE name = $1",
                       &name, 1, on_any, &done, NULL, diag);
    if (err != ERR_OK)
        return err;
    if (!done) {
        err = body_row(manager->default_source, &row);
        if (err != ERR_OK)
            return err;
        mutex_lock(&manager->lock);
        const struct managed *known = manager_find(manager, bytes_from_text(row.ingestion_id));
        bool registered = known && known->row.id != 0;
        mutex_unlock(&manager->lock);
        struct diag conflict = {0};
        if (registered)
            source_row_fini(&row);
        else
            err = manager_register(manager, &row, &conflict);
        if (err == ERR_OK || err == ERR_CONFLICT)
            return source_table_once(manager->database, DEFAULT_ONCE, &first, diag);
        return diag_set(diag, err, "%s", conflict.text[0] ? conflict.text : err_text(err));
    }
    return ERR_OK;
}

/* Ran without being registered while the database was away, and is not in it: it was deleted. */
static void unregistered_end(struct manager *manager)
{
    mutex_lock(&manager->lock);
    for (uint32_t i = 0; i < manager->count; i++)
        if (manager->list[i]->row.id == 0)
            manager->list[i]->deleted = manager->restless = true;
    mutex_unlock(&manager->lock);
}

enum err manager_declared_apply(struct manager *manager, const json_t *declared, struct diag *diag)
{
    struct map names;
    enum err err = bodies_apply(manager, declared, diag);
    if (err == ERR_OK)
        err = declared_map(declared, &names);
    if (err != ERR_OK)
        return err;
    err = undeclared_delete(manager, &names, diag);
    map_fini(&names);
    if (err == ERR_OK && manager->default_source)
        err = default_apply(manager, diag);
    if (err == ERR_OK)
        unregistered_end(manager);
    return err;
}
