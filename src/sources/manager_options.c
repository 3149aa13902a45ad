/* What the sources say of payloads, for one who has only the id of a dataset. */
#include "base/arena.h"
#include "sources/letters_parts.h"
#include "sources/manager_parts.h"

/* A dataset's id begins with its source's, and an underscore if it goes on. */
static bool is_of(struct bytes dataset_id, struct bytes source_id)
{
    return dataset_id.size >= source_id.size && source_id.size > 0 &&
           memcmp(dataset_id.data, source_id.data, source_id.size) == 0 &&
           (dataset_id.size == source_id.size || dataset_id.data[source_id.size] == '_');
}

/* With the lock. The longest id wins: one source's may begin with another's. */
static const struct managed *source_of(struct manager *manager, struct bytes dataset_id)
{
    const struct managed *found = NULL;
    size_t size = 0;
    for (uint32_t i = 0; i < manager->count; i++) {
        const struct managed *managed = manager->list[i];
        struct bytes id = bytes_from_text(managed->row.ingestion_id);
        if (managed->deleted || id.size <= size || !is_of(dataset_id, id))
            continue;
        found = managed;
        size = id.size;
    }
    return found;
}

enum err manager_common_options(struct manager *manager, struct bytes dataset_id,
                                struct arena *arena, struct common_options *ret_options,
                                bool *ret_found, struct diag *diag)
{
    json_t *config = NULL;
    struct diag unread = {0};
    *ret_found = false;
    mutex_lock(&manager->writing);
    mutex_lock(&manager->lock);
    bool settled = manager->loaded && !manager->declared_changed;
    enum err err = settled ? ERR_OK
                           : diag_set(diag, ERR_BUSY,
                                      "the data sources are not all read from their database yet: "
                                      "try again later");
    const struct managed *managed = settled ? source_of(manager, dataset_id) : NULL;
    if (managed) {
        config = json_deep_copy(managed->row.config);
        err = config ? ERR_OK : ERR_NO_MEMORY;
    }
    mutex_unlock(&manager->lock);
    mutex_unlock(&manager->writing);
    if (err == ERR_OK && config) {
        enum err fault = ERR_OK;
        struct config_reader reader = {
            .arena = arena, .json = config, .diag = &unread, .err = &fault, .within = ""};
        common_options_read(ret_options, &reader);
        *ret_found = fault == ERR_OK;
        err = fault == ERR_NO_MEMORY ? fault : ERR_OK;
    }
    json_decref(config);
    return err;
}
