#pragma once
/*
 * What people do with data sources while the service runs (contract/http-api.md "Data sources"):
 * the manager's side for the API. Any thread; calls may block (on the database up to some seconds,
 * start and test up to 10 s), so they are for the API's slow routes.
 *
 * Answers are new references. Errors: ERR_NOT_FOUND (no such id), ERR_INVALID (diag: the sentence
 * for a 400), ERR_CONFLICT (409), ERR_IO/ERR_BUSY/ERR_NO_SPACE/ERR_READ_ONLY/… of the database (503
 * with diag), ERR_REFUSED and others of a connector (start: 500 with diag), ERR_NO_MEMORY.
 */
#include "base/bytes.h"
#include "sources/manager.h"

/* An array of {id, name, display_name, description, config_schema, icon, category,
 * supported_formats, real_time, connector_class, enabled, created_at}. Needs no database: with it
 * away id is the place in the list. */
enum err registry_api_types(struct manager *manager, json_t **ret_types,
                            struct diag *diag) ERR_MUST_USE;
/* DataSource objects as the contract shows them, secrets masked. */
enum err registry_api_list(struct manager *manager, bool enabled_only, json_t **ret_sources,
                           struct diag *diag) ERR_MUST_USE;
enum err registry_api_get(struct manager *manager, int64_t id, json_t **ret_source,
                          struct diag *diag) ERR_MUST_USE;
struct registry_wish {
    const char *name;
    const char *type_name;
    const json_t *config; /* an object */
    bool enabled;
    const char *created_by;
};
/* *ret_created false: the same one was there already. */
enum err registry_api_create(struct manager *manager, const struct registry_wish *wish,
                             json_t **ret_source, bool *ret_created,
                             struct diag *diag) ERR_MUST_USE;
/* NULL: as it was. */
struct registry_change {
    const char *name;
    const json_t *config;
    const bool *enabled;
};
enum err registry_api_update(struct manager *manager, int64_t id,
                             const struct registry_change *change, json_t **ret_source,
                             struct diag *diag) ERR_MUST_USE;
enum err registry_api_delete(struct manager *manager, int64_t id, struct diag *diag) ERR_MUST_USE;
/* Waits up to 10 s for the connection. */
enum err registry_api_start(struct manager *manager, int64_t id, struct diag *diag) ERR_MUST_USE;
enum err registry_api_stop(struct manager *manager, int64_t id, struct diag *diag) ERR_MUST_USE;
enum err registry_api_restart(struct manager *manager, int64_t id, struct diag *diag) ERR_MUST_USE;
enum err registry_api_health(struct manager *manager, int64_t id, json_t **ret_health,
                             struct diag *diag) ERR_MUST_USE;
/* {"active_connectors": n, "connectors": {…}}. */
enum err registry_api_overview(struct manager *manager, json_t **ret_overview,
                               struct diag *diag) ERR_MUST_USE;
/* An array of {path, message}; empty: valid. */
enum err registry_api_validate(struct manager *manager, const struct registry_wish *wish,
                               json_t **ret_errors, struct diag *diag) ERR_MUST_USE;
/* Tries the connection: {"success": bool, "message", "sample": {topic, payload}|null, "health"}. */
enum err registry_api_test(struct manager *manager, const struct registry_wish *wish,
                           json_t **ret_result, struct diag *diag) ERR_MUST_USE;
enum err registry_api_metrics(struct manager *manager, int64_t id, int64_t since_us,
                              json_t **ret_rows, struct diag *diag) ERR_MUST_USE;

/* Hands a push over to the source of that ingestion id. ERR_NOT_FOUND: there is none that takes
 * pushes; ERR_BUSY: nobody knows yet, the registry was never read; ERR_STOPPED: it is not running.
 * On ERR_OK push->done comes, on an I/O loop's thread. */
enum err registry_api_push(struct manager *manager, struct bytes ingestion_id,
                           struct connector_push *push) ERR_MUST_USE;
