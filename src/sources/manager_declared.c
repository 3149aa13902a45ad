/*
 * What the configuration declares, brought into the registry; and, as long as there is no database,
 * run without it.
 */
#include "sources/manager_parts.h"

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

/* Makes the registry's row what the declaration says. */
static enum err body_apply(struct manager *manager, const json_t *body, struct diag *diag)
{
    struct source_row row;
    enum err err = body_row(body, &row);
    if (err != ERR_OK)
        return err;
    mutex_lock(&manager->lock);
    struct managed *managed = manager_find(manager, bytes_from_text(row.ingestion_id));
    bool known = managed && managed->row.id != 0;
    bool same = known && json_equal(managed->row.config, row.config) &&
                managed->row.enabled == row.enabled && strcmp(managed->row.name, row.name) == 0;
    if (managed)
        managed->declared = true;
    if (known) {
        row.id = managed->row.id;
        row.created_at_us = managed->row.created_at_us;
        row.last_connection_us = managed->row.last_connection_us;
        memcpy(row.status, managed->row.status, sizeof(row.status));
    }
    mutex_unlock(&manager->lock);
    if (!known)
        return manager_register(manager, &row, diag);
    if (!same)
        err = source_table_update(manager->database, &row, diag);
    if (same || err != ERR_OK) {
        source_row_fini(&row);
        return err;
    }
    mutex_lock(&manager->lock);
    managed = manager_find_id(manager, row.id);
    if (managed)
        manager_row_replace(managed, &row);
    else
        source_row_fini(&row);
    mutex_unlock(&manager->lock);
    return ERR_OK;
}

static bool is_declared(const json_t *declared, const struct source_row *row)
{
    size_t index;
    const json_t *body;
    json_array_foreach(declared, index, body)
    {
        if (strcmp(json_string_value(json_object_get(body, "name")), row->name) == 0 &&
            strcmp(json_string_value(json_object_get(body, "type_name")), row->type_name) == 0)
            return true;
    }
    return false;
}

/* One source that was declared once and is no more; 0: there is none. */
static int64_t undeclared_next(struct manager *manager, const json_t *declared)
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

static enum err undeclared_delete(struct manager *manager, const json_t *declared,
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
            managed->deleted = true;
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
            manager->list[i]->deleted = true;
    mutex_unlock(&manager->lock);
}

enum err manager_declared_apply(struct manager *manager, const json_t *declared, struct diag *diag)
{
    size_t index;
    const json_t *body;
    json_array_foreach(declared, index, body)
    {
        enum err err = body_apply(manager, body, diag);
        if (err == ERR_CONFLICT) /* another replica was faster */
            err = manager_load(manager, diag);
        if (err != ERR_OK)
            return err;
    }
    enum err err = undeclared_delete(manager, declared, diag);
    if (err == ERR_OK && manager->default_source)
        err = default_apply(manager, diag);
    if (err == ERR_OK)
        unregistered_end(manager);
    return err;
}
