#pragma once
/*
 * What a stored configuration means although the schema would not take it today: an old database's
 * source runs as well as it can (contract/http-api.md). Pure; works on the members that the schema
 * knows, also inside objects, and leaves all others as they are, for the connector to refuse.
 */
#include "connectors/connector.h"

/* Removes texts that are empty and need not be there: forms send what nobody filled in. A secret
 * that may not be empty stays, for an open door is not what was meant. */
void config_mend_empty(const struct connector *connector, json_t *config);
/* The same; and digits or 30.5 for a whole number, "true" and 1 for a boolean become such. */
void config_mend(const struct connector *connector, json_t *config);
