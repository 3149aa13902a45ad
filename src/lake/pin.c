#include "lake/pin.h"

#include "lake/learn.h"

#define CONFLICTS_MAX 16

/* What the sources say beforehand, of fields that are not pinned yet. */
static enum err sources_pin(struct schema *schema, struct catalog *catalog, struct origins *origins,
                            struct diag *diag)
{
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < origins->route_count && err == ERR_OK; i++) {
        struct origin_route *route = &origins->routes[i];
        if (!route->pinned)
            err = schema_prepin(schema, catalog, route->view.columns, diag);
        route->pinned = err == ERR_OK;
    }
    return err;
}

static enum err records_learn(struct learn *learn, const struct deferred *deferred)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < deferred->count && err == ERR_OK; i++)
        err = learn_record(learn, deferred_text(deferred, i));
    return err == ERR_OK ? learn_decide(learn) : err;
}

static enum err records_pin(struct schema *schema, struct catalog *catalog,
                            const struct deferred *deferred, struct diag *diag)
{
    struct learn learn;
    learn_init(&learn, schema);
    enum err err = records_learn(&learn, deferred);
    if (err == ERR_OK && (learn.wish_count > 0 || !schema_system_pinned(schema)))
        err = schema_pin(schema, catalog, learn.wishes, learn.wish_count, diag);
    learn_fini(&learn);
    return err;
}

static bool sources_pinned(const struct origins *origins)
{
    for (uint32_t i = 0; i < origins->route_count; i++)
        if (!origins->routes[i].pinned && origins->routes[i].view.columns.size > 0)
            return false;
    return true;
}

enum err pin_foresee(struct schema *schema, struct catalog *catalog, const struct origins *origins,
                     const struct deferred *deferred, struct arena *arena,
                     struct catalog_pin *ret_pin)
{
    struct learn learn;
    enum err err = schema->loaded ? ERR_OK : schema_load(schema, catalog, NULL);
    *ret_pin = (struct catalog_pin){0};
    if (err != ERR_OK || !sources_pinned(origins))
        return err;
    learn_init(&learn, schema);
    err = records_learn(&learn, deferred);
    if (err == ERR_OK)
        err = schema_foresee(schema, arena, learn.wishes, learn.wish_count, ret_pin);
    learn_fini(&learn);
    return err;
}

enum err pin_columns(struct schema *schema, struct catalog *catalog, struct origins *origins,
                     const struct deferred *deferred, struct diag *diag)
{
    enum err err = ERR_CONFLICT;
    for (int i = 0; i < CONFLICTS_MAX && err == ERR_CONFLICT; i++) {
        if (i > 0 || !schema->loaded) {
            err = schema_load(schema, catalog, diag);
            if (err != ERR_OK)
                return err;
        }
        err = sources_pin(schema, catalog, origins, diag);
        if (err == ERR_OK)
            err = records_pin(schema, catalog, deferred, diag);
    }
    return err == ERR_CONFLICT ? ERR_BUSY : err;
}

enum err pin_route(struct schema *schema, struct origin_route *route)
{
    static const enum parquet_kind kinds[] = {[FIELD_STRING] = PARQUET_STRING,
                                              [FIELD_DOUBLE] = PARQUET_DOUBLE,
                                              [FIELD_BOOLEAN] = PARQUET_BOOLEAN};
    for (uint32_t i = 0; i < route->view.field_count; i++) {
        const struct route_field *field = &route->view.fields[i];
        size_t place;
        enum err err = schema_system(schema, field->name, kinds[field->type], &place);
        if (err == ERR_TOO_MANY)
            place = SCHEMA_SYSTEM_MAX;
        else if (err != ERR_OK)
            return err;
        route->system[i] = (uint16_t)place;
    }
    route->ready = true;
    return ERR_OK;
}

void pin_close(struct schema *schema, struct origins *origins)
{
    schema_fini(schema);
    for (uint32_t i = 0; i < origins->route_count; i++)
        origins->routes[i].ready = false;
}

enum err pin_open(struct schema *schema, struct bytes dataset_id, size_t *memory_bytes,
                  struct catalog *catalog, struct origins *origins)
{
    if (schema->root)
        return ERR_OK;
    enum err err = schema_init(schema, dataset_id, memory_bytes);
    /* With the catalog away records wait as text until a cut can load it. */
    if (err == ERR_OK && schema_load(schema, catalog, NULL) == ERR_NO_MEMORY)
        err = ERR_NO_MEMORY;
    for (uint32_t i = 0; i < origins->route_count && err == ERR_OK; i++)
        err = pin_route(schema, &origins->routes[i]);
    if (err != ERR_OK)
        pin_close(schema, origins);
    return err;
}

void pin_open_undo(struct schema *schema, struct origins *origins)
{
    if (!schema->loaded || schema->pinned_count > 0)
        pin_close(schema, origins);
}
