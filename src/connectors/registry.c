#include "connectors/registry.h"

#define CONNECTOR(name) extern const struct connector name;
#include "connector_list.h"
#undef CONNECTOR

static const struct connector *const connectors[] = {
#define CONNECTOR(name) &name,
#include "connector_list.h"
#undef CONNECTOR
};

size_t registry_count(void)
{
    return sizeof(connectors) / sizeof(connectors[0]);
}

const struct connector *registry_at(size_t index)
{
    return index < registry_count() ? connectors[index] : NULL;
}

const struct connector *registry_find(const char *name)
{
    for (size_t i = 0; i < registry_count(); i++)
        if (strcmp(connectors[i]->name, name) == 0)
            return connectors[i]->abi == INGESTOR_CONNECTOR_ABI ? connectors[i] : NULL;
    return NULL;
}
