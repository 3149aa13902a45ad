#include "connectors/registry.h"

#include "connectors/common_schema.h"

#define CONNECTOR(name) extern const struct connector name;
#include "connector_list.h"
#undef CONNECTOR

static const struct connector *const connectors[] = {
#define CONNECTOR(name) &name,
#include "connector_list.h"
#undef CONNECTOR
};

#define CONNECTOR_COUNT (sizeof(connectors) / sizeof(connectors[0]))

/* Of connectors[i] at i. Written by registry_init and registry_fini alone. */
static struct {
    json_t *schema;
    struct json_schema *validator;
} made[CONNECTOR_COUNT];

size_t registry_count(void)
{
    return CONNECTOR_COUNT;
}

const struct connector *registry_at(size_t index)
{
    return index < CONNECTOR_COUNT ? connectors[index] : NULL;
}

const struct connector *registry_find(const char *name)
{
    for (size_t i = 0; i < CONNECTOR_COUNT; i++)
        if (strcmp(connectors[i]->name, name) == 0)
            return connectors[i]->abi == INGESTOR_CONNECTOR_ABI ? connectors[i] : NULL;
    return NULL;
}

enum err registry_init(struct diag *diag)
{
    for (size_t i = 0; i < CONNECTOR_COUNT; i++) {
        if (made[i].validator)
            continue;
        enum err err = common_schema_make(connectors[i], &made[i].schema, &made[i].validator, diag);
        if (err == ERR_OK)
            continue;
        registry_fini();
        return err;
    }
    return ERR_OK;
}

void registry_fini(void)
{
    for (size_t i = 0; i < CONNECTOR_COUNT; i++) {
        json_schema_free(made[i].validator);
        json_decref(made[i].schema);
        made[i].validator = NULL;
        made[i].schema = NULL;
    }
}

/* CONNECTOR_COUNT when it is not registered. */
static size_t index_of(const struct connector *connector)
{
    size_t i = 0;
    while (i < CONNECTOR_COUNT && connectors[i] != connector)
        i++;
    return i;
}

const json_t *registry_schema(const struct connector *connector)
{
    size_t i = index_of(connector);
    return i < CONNECTOR_COUNT ? made[i].schema : NULL;
}

const struct json_schema *registry_validator(const struct connector *connector)
{
    size_t i = index_of(connector);
    return i < CONNECTOR_COUNT ? made[i].validator : NULL;
}
