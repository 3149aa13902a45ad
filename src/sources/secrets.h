#pragma once
/* References to secrets in a source's config, contract/config.md: "${file:/run/secrets/x}" and
 * "${env:NAME}". The reference is stored, the value is read when the source starts. May block on a
 * file. */
#include "connectors/connector.h"

/* A deep copy of config with every string that is a reference replaced by its value (a file's
 * trailing newline is dropped), and valid by the connector's schema. The caller owns *ret_config.
 * ERR_NOT_FOUND: a value cannot be read; diag, not NULL, names the property and the reference.
 * ERR_INVALID: the schema refuses a value. */
enum err secrets_resolve(const struct connector *connector, const json_t *config,
                         json_t **ret_config, struct diag *diag) ERR_MUST_USE;

/* What the connector says of a configuration before it runs (connector_ops.check; without one:
 * ERR_OK), with the values that its references stand for. While one of them cannot be read, here or
 * yet, nothing is said: the source says it when it starts. */
enum err secrets_check(const struct connector *connector, const json_t *config,
                       struct diag *diag) ERR_MUST_USE;

/* Cuts diag where it would show what a reference in config stands for. resolved: of
 * secrets_resolve. */
void secrets_hide(const json_t *config, const json_t *resolved, struct diag *diag);
