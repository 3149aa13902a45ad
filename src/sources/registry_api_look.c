#include "sources/registry_api.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "codec/json_schema.h"
#include "codec/timestamp.h"
#include "connectors/registry.h"
#include "sources/ingestion_id.h"
#include "sources/probe.h"
#include "sources/registry_api_parts.h"
#include "sources/secrets.h"

#include <stdio.h>

#define PROBE_SECONDS    8
#define METRICS_ROWS_MAX 1000
#define HEALTH_WAIT_NS   (100 * NS_PER_MS)
#define HEALTH_STEP_NS   NS_PER_MS
#define PUSH_WAIT_NS     (2 * NS_PER_S)
#define PUSH_STEP_NS     (5 * NS_PER_MS)

/* --- answers --- */

/* YYYY-MM-DDTHH:MM:SS, or null. */
static json_t *time_json(int64_t us)
{
    char text[TIMESTAMP_TEXT_BYTES];
    if (us == 0)
        return json_null();
    (void)timestamp_format(us - us % US_PER_S, text);
    return json_stringn(text, 19);
}

static json_t *text_json(const char *text)
{
    return text && text[0] ? json_string(text) : json_null();
}

static enum err config_masked(const struct managed *managed, json_t **ret_config)
{
    return json_schema_mask(registry_validator(managed->connector), managed->row.config,
                            ret_config);
}

/* With the lock. */
enum err registry_source_json(struct managed *managed, json_t **ret_source)
{
    const struct source_row *row = &managed->row;
    json_t *config;
    enum err err = config_masked(managed, &config);
    if (err != ERR_OK)
        return err;
    manager_status_refresh(managed);
    *ret_source =
        json_pack("{s:I, s:s, s:s, s:s, s:o, s:s, s:b, s:s, s:o, s:o, s:o, s:o, s:o}", "id",
                  (json_int_t)row->id, "name", row->name, "type_name", row->type_name,
                  "type_display_name", row->type_display_name, "config", config, "ingestion_id",
                  row->ingestion_id, "enabled", row->enabled, "status",
                  manager_status_text(managed), "created_by", text_json(row->created_by),
                  "last_connection", time_json(managed->status.last_connection_us), "last_error",
                  text_json(managed->status.last_error), "created_at",
                  time_json(row->created_at_us), "updated_at", time_json(row->updated_at_us));
    return *ret_source ? ERR_OK : ERR_NO_MEMORY;
}

enum err registry_not_found(int64_t id, struct diag *diag)
{
    return diag_set(diag, ERR_NOT_FOUND, "Data source %lld not found", (long long)id);
}

enum err registry_ready(struct manager *manager, struct diag *diag)
{
    char why[sizeof(manager->database_why)];
    mutex_lock(&manager->lock);
    manager_first_try_wait(manager);
    bool ready = manager->loaded;
    memcpy(why, manager->database_why, sizeof(why));
    mutex_unlock(&manager->lock);
    if (ready)
        return ERR_OK;
    return diag_set(diag, ERR_IO, "the data-source database is not available%s%s; try again later",
                    why[0] ? ": " : "", why);
}

enum err registry_api_types(struct manager *manager, json_t **ret_types, struct diag *diag)
{
    json_t *rows = NULL;
    struct diag away = {0};
    (void)diag;
    mutex_lock(&manager->writing);
    if (manager->database && source_table_types(manager->database, &rows, &away) != ERR_OK)
        rows = NULL;
    mutex_unlock(&manager->writing);
    json_t *types = json_array();
    for (size_t i = 0; types && i < registry_count(); i++) {
        const struct connector *connector = registry_at(i);
        size_t index;
        const json_t *row;
        const json_t *mine = NULL;
        json_array_foreach(rows, index, row)
        {
            const char *name = json_string_value(json_object_get(row, "name"));
            if (name && strcmp(name, connector->name) == 0)
                mine = row;
        }
        json_t *formats = json_array();
        for (const char *const *format = connector->display.formats; formats && *format; format++)
            json_array_append_new(formats, json_string(*format));
        json_t *created_at = json_incref(json_object_get(mine, "created_at"));
        json_array_append_new(
            types,
            json_pack("{s:I, s:s, s:s, s:s, s:s, s:O, s:b, s:o?, s:s, s:s, s:o, s:b}", "id",
                      mine ? json_integer_value(json_object_get(mine, "id")) : (json_int_t)i + 1,
                      "name", connector->name, "display_name", connector->display.name,
                      "description", connector->display.description, "connector_class",
                      registry_class_path(connector), "config_schema", registry_schema(connector),
                      "enabled", 1, "created_at", created_at ? created_at : json_null(), "icon",
                      connector->display.icon, "category", connector->display.category,
                      "supported_formats", formats, "real_time", connector->display.real_time));
    }
    json_decref(rows);
    *ret_types = types;
    return types && json_array_size(types) == registry_count() ? ERR_OK : ERR_NO_MEMORY;
}

enum err registry_api_list(struct manager *manager, bool enabled_only, json_t **ret_sources,
                           struct diag *diag)
{
    enum err err = registry_ready(manager, diag);
    json_t *sources = err == ERR_OK ? json_array() : NULL;
    if (!sources)
        return err == ERR_OK ? ERR_NO_MEMORY : err;
    mutex_lock(&manager->lock);
    for (uint32_t i = 0; i < manager->count && err == ERR_OK; i++) {
        struct managed *managed = manager->list[i];
        json_t *source;
        if (managed->row.id == 0 || managed->deleted || (enabled_only && !managed->row.enabled))
            continue;
        err = registry_source_json(managed, &source);
        if (err == ERR_OK && json_array_append_new(sources, source) != 0)
            err = ERR_NO_MEMORY;
    }
    mutex_unlock(&manager->lock);
    if (err != ERR_OK)
        json_decref(sources);
    else
        *ret_sources = sources;
    return err;
}

enum err registry_api_get(struct manager *manager, int64_t id, json_t **ret_source,
                          struct diag *diag)
{
    enum err err = registry_ready(manager, diag);
    if (err != ERR_OK)
        return err;
    mutex_lock(&manager->lock);
    struct managed *managed = manager_find_id(manager, id);
    err = managed ? registry_source_json(managed, ret_source) : registry_not_found(id, diag);
    mutex_unlock(&manager->lock);
    return err;
}

/* --- looking --- */

static const char *state_message(enum source_state state)
{
    return state == SOURCE_ERROR        ? "Data source failed and is tried again"
           : state == SOURCE_CONNECTING ? "Data source is connecting"
                                        : "Data source is not running";
}

/* One that is not active tries by itself: it has what both kinds of answers have. */
static enum err health_running(struct managed *managed, json_t **ret_health)
{
    const struct source_status *status = &managed->status;
    json_t *details = source_health(managed->source);
    bool active = status->state == SOURCE_ACTIVE;
    json_t *health = json_pack("{s:s, s:b, s:b}", "status", manager_status_text(managed), "healthy",
                               active, "running", active);
    if (health && status->last_connection_us != 0)
        json_object_set_new(health, "last_successful_operation",
                            time_json(status->last_connection_us));
    if (health && status->warning[0])
        json_object_set_new(health, "error", json_string(status->warning));
    if (health && details)
        json_object_update(health, details); /* the connector knows better */
    if (health && !active) {
        if (status->last_error[0] && !json_object_get(health, "error"))
            json_object_set_new(health, "error", json_string(status->last_error));
        json_object_set_new(health, "healthy", json_false());
        json_object_set_new(health, "message", json_string(state_message(status->state)));
        json_object_set_new(health, "last_error", text_json(status->last_error));
        json_object_set_new(health, "last_connection", time_json(status->last_connection_us));
    }
    json_decref(details);
    *ret_health = health;
    return health ? ERR_OK : ERR_NO_MEMORY;
}

static enum err health_not_running(struct managed *managed, json_t **ret_health)
{
    const struct source_status *status = &managed->status;
    *ret_health = json_pack("{s:s, s:b, s:s, s:o, s:o}", "status", manager_status_text(managed),
                            "healthy", 0, "message", state_message(status->state), "last_error",
                            text_json(status->last_error), "last_connection",
                            time_json(status->last_connection_us));
    return *ret_health ? ERR_OK : ERR_NO_MEMORY;
}

static bool health_is_fresh(const struct managed *managed)
{
    return !managed->source || !managed->status.is_running || source_health_ask(managed->source);
}

/* The lock is given away while the connector's members come from its loop. */
static void health_wait(struct manager *manager, struct managed *managed)
{
    int64_t until_ns = clock_monotonic_ns(&clock_system) + HEALTH_WAIT_NS;
    managed->references++;
    while (!health_is_fresh(managed) && clock_monotonic_ns(&clock_system) < until_ns) {
        condition_wait_for(&manager->wake, &manager->lock, HEALTH_STEP_NS);
        manager_status_refresh(managed);
    }
    managed->references--;
}

enum err registry_api_health(struct manager *manager, int64_t id, json_t **ret_health,
                             struct diag *diag)
{
    enum err err = registry_ready(manager, diag);
    if (err != ERR_OK)
        return err;
    mutex_lock(&manager->lock);
    struct managed *managed = manager_find_id(manager, id);
    if (managed) {
        manager_status_refresh(managed);
        health_wait(manager, managed);
    }
    if (!managed || managed->deleted)
        err = registry_not_found(id, diag);
    else if (managed->source && managed->status.is_running)
        err = health_running(managed, ret_health);
    else
        err = health_not_running(managed, ret_health);
    mutex_unlock(&manager->lock);
    return err;
}

enum err registry_api_overview(struct manager *manager, json_t **ret_overview, struct diag *diag)
{
    json_t *connectors = json_object();
    json_int_t active = 0;
    (void)diag;
    mutex_lock(&manager->lock);
    for (uint32_t i = 0; connectors && i < manager->count; i++) {
        struct managed *managed = manager->list[i];
        manager_status_refresh(managed);
        if (managed->deleted || !managed->source)
            continue;
        bool running = managed->status.state == SOURCE_ACTIVE;
        active += running;
        json_object_set_new(connectors, managed->row.ingestion_id,
                            json_pack("{s:s, s:s, s:b}", "status", manager_status_text(managed),
                                      "type", registry_class_name(managed->connector), "running",
                                      running));
    }
    mutex_unlock(&manager->lock);
    *ret_overview = json_pack("{s:I, s:o}", "active_connectors", active, "connectors", connectors);
    return *ret_overview ? ERR_OK : ERR_NO_MEMORY;
}

struct error_list {
    json_t *errors;
    bool no_memory;
};

static void error_add(struct error_list *list, const char *path, const char *message)
{
    if (json_array_append_new(list->errors,
                              json_pack("{s:s, s:s}", "path", path, "message", message)) != 0)
        list->no_memory = true;
}

static void on_config_error(void *ctx, const char *path, const char *keyword, const char *message)
{
    char place[512];
    (void)keyword;
    snprintf(place, sizeof(place), "/config%s", path);
    error_add(ctx, place, message);
}

/* Whether a mask in the wish can stand for what is stored. */
static bool is_known(struct manager *manager, const struct registry_wish *wish)
{
    struct buf id;
    buf_init(&id, 64 * KIB);
    bool known = false;
    if (ingestion_id_make(wish->name, wish->type_name, &id) == ERR_OK) {
        mutex_lock(&manager->lock);
        const struct managed *managed = manager_find(manager, buf_bytes(&id));
        known = managed && managed->row.id != 0;
        mutex_unlock(&manager->lock);
    }
    buf_fini(&id);
    return known;
}

static enum err config_check(struct manager *manager, const struct connector *connector,
                             const struct registry_wish *wish, struct diag *diag)
{
    enum err err = secrets_check(connector, wish->config, diag);
    if (err != ERR_OK || is_known(manager, wish))
        return err;
    return json_schema_refuse_mask(registry_validator(connector), wish->config, diag);
}

enum err registry_api_validate(struct manager *manager, const struct registry_wish *wish,
                               json_t **ret_errors, struct diag *diag)
{
    const struct connector *connector = registry_find(wish->type_name);
    struct error_list list = {.errors = json_array()};
    struct diag why = {0};
    (void)diag;
    if (!list.errors)
        return ERR_NO_MEMORY;
    if (manager_check_name(wish->name, &why) != ERR_OK)
        error_add(&list, "/name", why.text);
    why = (struct diag){0};
    enum err err = ERR_OK;
    if (connector) {
        err = json_schema_validate(registry_validator(connector), wish->config, on_config_error,
                                   &list);
        if (err == ERR_OK) {
            err = config_check(manager, connector, wish, &why);
            if (err != ERR_OK && err != ERR_NO_MEMORY)
                error_add(&list, "/config", why.text[0] ? why.text : err_text(err));
        }
    } else {
        (void)!manager_check(wish->name, wish->type_name, wish->config, &connector, &why);
        error_add(&list, "/type_name", why.text);
    }
    if (err == ERR_NO_MEMORY || list.no_memory) {
        json_decref(list.errors);
        return ERR_NO_MEMORY;
    }
    *ret_errors = list.errors;
    return ERR_OK;
}

enum err registry_api_test(struct manager *manager, const struct registry_wish *wish,
                           json_t **ret_result, struct diag *diag)
{
    const struct connector *connector;
    (void)manager;
    enum err err = manager_check(wish->name, wish->type_name, wish->config, &connector, diag);
    if (err == ERR_OK)
        err = json_schema_refuse_mask(registry_validator(connector), wish->config, diag);
    return err == ERR_OK
               ? probe_json(connector, wish->name, wish->config, PROBE_SECONDS, ret_result)
               : err;
}

enum err registry_api_metrics(struct manager *manager, int64_t id, int64_t since_us,
                              json_t **ret_rows, struct diag *diag)
{
    mutex_lock(&manager->writing);
    enum err err = registry_ready(manager, diag);
    mutex_lock(&manager->lock);
    if (err == ERR_OK && !manager_find_id(manager, id))
        err = registry_not_found(id, diag);
    mutex_unlock(&manager->lock);
    if (err == ERR_OK)
        err =
            source_table_metrics(manager->database, id, since_us, METRICS_ROWS_MAX, ret_rows, diag);
    mutex_unlock(&manager->writing);
    return err;
}

/* One that is to run, and will in a moment: it was just made, changed or started. */
static bool push_is_early(const struct manager *manager, const struct managed *managed)
{
    return managed && managed->wanted && manager->started && !manager->stopping &&
           (!managed->single || managed->turn) && (!managed->source || managed->ending);
}

/* With the lock, which is given away meanwhile. */
static struct managed *push_target(struct manager *manager, struct bytes ingestion_id)
{
    int64_t until_ns = clock_monotonic_ns(&clock_system) + PUSH_WAIT_NS;
    manager_first_try_wait(manager);
    struct managed *managed = manager_find(manager, ingestion_id);
    while (push_is_early(manager, managed) && clock_monotonic_ns(&clock_system) < until_ns) {
        manager_reconcile(manager, managed);
        condition_wait_for(&manager->wake, &manager->lock, PUSH_STEP_NS);
        managed = manager_find(manager, ingestion_id);
    }
    return managed;
}

enum err registry_api_push(struct manager *manager, struct bytes ingestion_id,
                           struct connector_push *push)
{
    enum err err = ERR_OK;
    mutex_lock(&manager->lock);
    struct managed *managed = push_target(manager, ingestion_id);
    if (!managed && manager->options.database_url && !manager->loaded)
        err = ERR_BUSY; /* nobody knows yet: "there is none" would be the end of it for a client */
    else if (!managed || !managed->connector->ops.push)
        err = ERR_NOT_FOUND;
    else if (!managed->source || managed->ending)
        err = ERR_STOPPED;
    else
        source_push(managed->source, push);
    mutex_unlock(&manager->lock);
    return err;
}
