#pragma once
/* References to secrets in a source's config, contract/config.md: "${file:/run/secrets/x}" and
 * "${env:NAME}". The reference is stored, the value is read when the source starts. May block on a
 * file. */
#include "base/err.h"

#include <jansson.h>

/* A deep copy of config with every string that is a reference replaced by its value (a file's
 * trailing newline is dropped). The caller owns *ret_config. diag names the property and the
 * reference, never the value. */
enum err secrets_resolve(const json_t *config, json_t **ret_config, struct diag *diag) ERR_MUST_USE;
