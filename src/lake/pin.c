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

static enum err records_pin(struct schema *schema, struct catalog *catalog,
                            const struct deferred *deferred, struct diag *diag)
{
    struct learn learn;
    enum err err = ERR_OK;
    learn_init(&learn, schema);
    for (size_t i = 0; i < deferred->count && err == ERR_OK; i++)
        err = learn_record(&learn, deferred_text(deferred, i));
    if (err == ERR_OK)
        err = learn_decide(&learn);
    if (err == ERR_OK && (learn.wish_count > 0 || !schema_system_pinned(schema)))
        err = schema_pin(schema, catalog, learn.wishes, learn.wish_count, diag);
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
