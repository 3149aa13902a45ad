#pragma once
/*
 * The connectors that the build found (src/connectors/<name>_connector.c), by their type's name.
 * Static and immutable; any thread.
 */
#include "connectors/connector.h"

/* Sorted by file name. */
size_t registry_count(void);
const struct connector *registry_at(size_t index);
/* NULL when there is no such type, or it was built for another ABI. */
const struct connector *registry_find(const char *name);
