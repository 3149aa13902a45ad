#pragma once
/* What both halves of registry_api.h (looking and changing) need. */
#include "sources/manager_parts.h"

/* A DataSource as the contract shows it, secrets masked. With the lock. */
enum err registry_source_json(struct managed *managed, json_t **ret_source) ERR_MUST_USE;
/* ERR_NOT_FOUND with the contract's text. */
enum err registry_not_found(int64_t id, struct diag *diag);
/* Whether the registry was read from the database at all, and why not. Waits for nothing. */
enum err registry_ready(struct manager *manager, struct diag *diag) ERR_MUST_USE;
