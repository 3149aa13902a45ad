#pragma once
/*
 * The connectors that the build found (src/connectors/<name>_connector.c), by their type's name,
 * and the schemas of their configurations. The list is static. The schemas are made by
 * registry_init, before any other thread asks for them, and are immutable until registry_fini; then
 * any thread.
 */
#include "codec/json_schema.h"
#include "connectors/connector.h"

/* Sorted by file name. */
size_t registry_count(void);
const struct connector *registry_at(size_t index);
/* NULL when there is no such type, or it was built for another ABI. */
const struct connector *registry_find(const char *name);

/* What the connector is called where the seed told the names of its classes. */
static inline const char *registry_class_name(const struct connector *connector)
{
    return connector->class_name ? connector->class_name : connector->name;
}
static inline const char *registry_class_path(const struct connector *connector)
{
    return connector->class_path ? connector->class_path : connector->name;
}

/* Parses and compiles the schemas of all connectors; once more is fine. ERR_INVALID: a connector's
 * schema is bad, diag says which and why. ERR_NO_MEMORY. After a failure there is none. */
enum err registry_init(struct diag *diag) ERR_MUST_USE;
void registry_fini(void); /* safe after a failure or without registry_init */

/* The connector's own schema and the options of every source (connectors/common_schema.h): what a
 * configuration is validated by, and what people are shown. Borrowed, also by the validator. NULL
 * before registry_init, and for a connector that is not registered. */
const json_t *registry_schema(const struct connector *connector);
const struct json_schema *registry_validator(const struct connector *connector);
