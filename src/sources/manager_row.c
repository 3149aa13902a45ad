/* Rows of the registry as they come to be, and into memory. */
#include "sources/manager_parts.h"

#include "base/alloc.h"
#include "connectors/registry.h"
#include "sources/ingestion_id.h"

enum err manager_row_make(const char *name, const struct connector *connector, const json_t *config,
                          bool enabled, const char *created_by, struct source_row *ret_row)
{
    struct buf id;
    buf_init(&id, 64 * KIB);
    *ret_row = (struct source_row){.enabled = enabled, .status = "inactive"};
    enum err err = ingestion_id_make(name, connector->name, &id);
    const char *text = err == ERR_OK ? buf_cstr(&id) : NULL;
    ret_row->ingestion_id = text ? mem_strdup(text) : NULL;
    ret_row->name = mem_strdup(name);
    ret_row->type_name = mem_strdup(connector->name);
    ret_row->type_display_name = mem_strdup(connector->display.name);
    ret_row->created_by = mem_strdup(created_by);
    ret_row->config = json_deep_copy(config);
    buf_fini(&id);
    if (ret_row->ingestion_id && ret_row->name && ret_row->type_name &&
        ret_row->type_display_name && ret_row->created_by && ret_row->config)
        return ERR_OK;
    source_row_fini(ret_row);
    return err == ERR_OK ? ERR_NO_MEMORY : err;
}

enum err manager_name_key(const char *type_name, const char *name, struct buf *out)
{
    enum err err = buf_append(out, type_name, strlen(type_name) + 1);
    return err == ERR_OK ? buf_append(out, name, strlen(name)) : err;
}

bool manager_row_wanted(const struct source_row *row)
{
    return row->enabled && strcmp(row->status, "stopped") != 0;
}

void manager_row_replace(struct managed *managed, struct source_row *take_row)
{
    if (!json_equal(managed->row.config, take_row->config) && managed->source)
        managed->renew = true;
    source_row_fini(&managed->row);
    managed->row = *take_row;
    managed->wanted = manager_row_wanted(&managed->row);
}

/* A row that was inserted, into memory. */
static enum err row_run(struct manager *manager, struct source_row *take_row)
{
    struct managed *managed;
    enum err err = ERR_OK;
    mutex_lock(&manager->lock);
    managed = manager_find(manager, bytes_from_text(take_row->ingestion_id));
    if (managed)
        manager_row_replace(managed, take_row);
    else
        err = manager_add(manager, registry_find(take_row->type_name), take_row, &managed);
    if (err == ERR_OK)
        manager_reconcile(manager, managed);
    mutex_unlock(&manager->lock);
    return err;
}

/* What this process inserted need not be read back: loading all rows after each of 1,000 makes
 * half a million. */
static void own_insertion_seen(struct manager *manager, const struct source_row *row)
{
    struct source_version now;
    struct diag diag = {0};
    if (source_table_version(manager->database, &now, &diag) == ERR_OK &&
        source_version_is_next(&manager->table_version, &now, row))
        manager->table_version = now;
}

enum err manager_register(struct manager *manager, struct source_row *row, struct diag *diag)
{
    enum err err = source_table_insert(manager->database, row, diag);
    if (err != ERR_OK) {
        source_row_fini(row);
        return err;
    }
    own_insertion_seen(manager, row);
    return row_run(manager, row);
}

enum err manager_register_all(struct manager *manager, struct source_row *rows, size_t count,
                              struct diag *diag)
{
    enum err err = source_table_insert_all(manager->database, rows, count, diag);
    bool one_by_one = err == ERR_CONFLICT;
    bool conflict = false;
    err = one_by_one ? ERR_OK : err;
    for (size_t i = 0; i < count; i++) {
        if (err != ERR_OK)
            source_row_fini(&rows[i]);
        else
            err =
                one_by_one ? manager_register(manager, &rows[i], diag) : row_run(manager, &rows[i]);
        conflict = conflict || (one_by_one && err == ERR_CONFLICT);
        err = one_by_one && err == ERR_CONFLICT ? ERR_OK : err;
    }
    return err == ERR_OK && conflict ? ERR_CONFLICT : err;
}
