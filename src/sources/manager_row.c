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

enum err manager_register(struct manager *manager, struct source_row *row, struct diag *diag)
{
    struct managed *managed;
    enum err err = source_table_insert(manager->database, row, diag);
    if (err != ERR_OK) {
        source_row_fini(row);
        return err;
    }
    mutex_lock(&manager->lock);
    managed = manager_find(manager, bytes_from_text(row->ingestion_id));
    if (managed)
        manager_row_replace(managed, row);
    else
        err = manager_add(manager, registry_find(row->type_name), row, &managed);
    if (err == ERR_OK)
        manager_reconcile(manager, managed);
    mutex_unlock(&manager->lock);
    return err;
}
