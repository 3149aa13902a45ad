#pragma once
/*
 * The schema of a source's configuration: what the connector says (connector.config_schema), and
 * the options that every source has (contract/connectors.md "Every source"), written once here. The
 * two are merged by property: the connector's own property of the same name wins, so a connector
 * narrows an option by writing it again, and refuses it with `"format": false`. As the result is
 * one list of properties, "additionalProperties": false of the connector still means: these, and no
 * others. Any thread.
 */
#include "codec/json_schema.h"
#include "connectors/connector.h"

/* The options of every source: a JSON Schema, an object of "properties" only. */
extern const char common_schema_text[];

/* Both are the caller's (json_decref; json_schema_free, first). ERR_INVALID: diag names the
 * connector, the keyword and where it stands. ERR_NO_MEMORY. */
enum err common_schema_make(const struct connector *connector, json_t **ret_schema,
                            struct json_schema **ret_validator, struct diag *diag) ERR_MUST_USE;
