#include "sources/manager.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "connectors/registry.h"
#include "sources/ingestion_id.h"

#include <stdio.h>

#define MANAGER_SOURCES_MAX 10000

struct managed {
    struct source *source;
    json_t *config;
};

struct manager {
    struct manager_options options;
    struct managed *sources;
    uint32_t count;
};

enum err manager_new(const struct manager_options *options, struct manager **ret_manager)
{
    struct manager *manager = mem_zalloc(1, sizeof(*manager));
    if (!manager)
        return ERR_NO_MEMORY;
    manager->options = *options;
    *ret_manager = manager;
    return ERR_OK;
}

void manager_free(struct manager *manager)
{
    if (!manager)
        return;
    for (uint32_t i = 0; i < manager->count; i++) {
        source_free(manager->sources[i].source);
        json_decref(manager->sources[i].config);
    }
    mem_free(manager->sources);
    mem_free(manager);
}

static struct managed *find(struct manager *manager, const char *ingestion_id)
{
    for (uint32_t i = 0; i < manager->count; i++)
        if (strcmp(source_ingestion_id(manager->sources[i].source), ingestion_id) == 0)
            return &manager->sources[i];
    return NULL;
}

static enum err grow(struct manager *manager)
{
    if (manager->count >= MANAGER_SOURCES_MAX)
        return ERR_TOO_MANY;
    struct managed *sources =
        mem_realloc(manager->sources, (manager->count + 1) * sizeof(*sources));
    if (!sources)
        return ERR_NO_MEMORY;
    manager->sources = sources;
    return ERR_OK;
}

static enum err add(struct manager *manager, const struct connector *connector, const char *name,
                    const char *ingestion_id, const json_t *config)
{
    enum err err = grow(manager);
    if (err != ERR_OK)
        return err;
    uint32_t loop = manager->count % manager->options.loop_count;
    struct managed *managed = &manager->sources[manager->count];
    managed->config = json_deep_copy(config);
    if (!managed->config)
        return ERR_NO_MEMORY;
    err = source_new(
        &(struct source_options){
            .connector = connector,
            .name = name,
            .ingestion_id = ingestion_id,
            .config = config,
            .replica_id = manager->options.replica_id,
            .loop = manager->options.loops[loop],
            .ingest = manager->options.ingests[loop],
        },
        &managed->source);
    if (err != ERR_OK)
        json_decref(managed->config);
    else
        manager->count++;
    return err;
}

enum err manager_add(struct manager *manager, const char *name, const char *type_name,
                     const json_t *config, struct diag *diag)
{
    const struct connector *connector = registry_find(type_name);
    if (!connector)
        return diag_set(diag, ERR_INVALID, "source '%s': there is no type '%s'", name, type_name);
    struct buf id;
    buf_init(&id, 64 * 1024);
    enum err err = ingestion_id_make(name, type_name, &id);
    const char *ingestion_id = err == ERR_OK ? buf_cstr(&id) : NULL;
    if (err == ERR_OK && !ingestion_id)
        err = ERR_NO_MEMORY;
    struct managed *same = err == ERR_OK ? find(manager, ingestion_id) : NULL;
    if (same && !json_equal(same->config, config))
        err = diag_set(diag, ERR_CONFLICT,
                       "source '%s' of type %s is there already with another config", name,
                       type_name);
    else if (err == ERR_OK && !same)
        err = add(manager, connector, name, ingestion_id, config);
    buf_fini(&id);
    return err;
}

void manager_start(struct manager *manager)
{
    for (uint32_t i = 0; i < manager->count; i++)
        source_start(manager->sources[i].source);
}

bool manager_stop(struct manager *manager, int64_t deadline_ns)
{
    bool all = true;
    for (uint32_t i = 0; i < manager->count; i++)
        source_stop(manager->sources[i].source);
    for (uint32_t i = 0; i < manager->count; i++)
        all = source_wait_stopped(manager->sources[i].source, deadline_ns) && all;
    return all;
}

uint32_t manager_count(const struct manager *manager)
{
    return manager->count;
}

struct source *manager_at(const struct manager *manager, uint32_t index)
{
    return manager->sources[index].source;
}
