#include "support/fake_registry.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "os/thread.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SOURCES_MAX 1000

struct manager {
    struct mutex lock;
    struct condition changed;
    json_t *sources; /* an array of DataSource objects, null where one was deleted */
    enum err err;
    char reason[128];
    struct connector_push *first; /* to be answered */
    struct connector_push *kept;
    struct thread thread;
    bool stopping;
};

static unsigned push_status(const struct connector_push *push)
{
    return push->ctx ? (unsigned)(uintptr_t)push->ctx : 202;
}

static uint64_t lines_of(struct bytes body)
{
    uint64_t count = body.size > 0 && body.data[body.size - 1] != '\n' ? 1 : 0;
    for (size_t i = 0; i < body.size; i++)
        count += body.data[i] == '\n';
    return count;
}

static void push_answer(struct connector_push *push)
{
    push->status = push_status(push);
    push->count = lines_of(push->body);
    push->error_type = push->body.size > 2 ? "json_invalid" : "missing";
    push->error_offset = 7;
    snprintf(push->message, sizeof(push->message), "Answered from %s, %s", push->remote,
             push->idempotency_key ? push->idempotency_key : "no key");
    push->done(push);
}

static void answer_run(void *ctx)
{
    struct manager *manager = ctx;
    mutex_lock(&manager->lock);
    while (!manager->stopping || manager->first) {
        struct connector_push *push = manager->first;
        if (!push) {
            condition_wait(&manager->changed, &manager->lock);
            continue;
        }
        manager->first = push->next;
        mutex_unlock(&manager->lock);
        push_answer(push);
        mutex_lock(&manager->lock);
    }
    mutex_unlock(&manager->lock);
}

enum err fake_registry_new(struct manager **ret_manager)
{
    struct manager *manager = mem_zalloc(1, sizeof(*manager));
    assert(manager);
    mutex_init(&manager->lock);
    condition_init(&manager->changed);
    manager->sources = json_array();
    *ret_manager = manager;
    return thread_start(&manager->thread, "fake-registry", answer_run, manager);
}

void fake_registry_free(struct manager *manager)
{
    mutex_lock(&manager->lock);
    manager->stopping = true;
    condition_broadcast(&manager->changed);
    mutex_unlock(&manager->lock);
    thread_join(&manager->thread);
    for (struct connector_push *push; (push = manager->kept);) {
        manager->kept = push->next;
        push_answer(push);
    }
    json_decref(manager->sources);
    condition_fini(&manager->changed);
    mutex_fini(&manager->lock);
    mem_free(manager);
}

void fake_registry_fail(struct manager *manager, enum err err, const char *reason)
{
    mutex_lock(&manager->lock);
    manager->err = err;
    snprintf(manager->reason, sizeof(manager->reason), "%s", reason);
    mutex_unlock(&manager->lock);
}

/* Locks; on failure the lock is not held. */
static enum err begin(struct manager *manager, struct diag *diag)
{
    mutex_lock(&manager->lock);
    enum err err = manager->err;
    if (err != ERR_OK) {
        diag_set(diag, err, "%s", manager->reason);
        mutex_unlock(&manager->lock);
    }
    return err;
}

static enum err end(struct manager *manager, enum err err)
{
    mutex_unlock(&manager->lock);
    return err;
}

/* A new reference, or an error. */
static enum err give(json_t *json, json_t **ret_json)
{
    *ret_json = json;
    return json ? ERR_OK : ERR_NO_MEMORY;
}

static json_t *find(const struct manager *manager, int64_t id)
{
    json_t *source = id > 0 ? json_array_get(manager->sources, (size_t)id - 1) : NULL;
    return json_is_object(source) ? source : NULL;
}

enum err registry_api_types(struct manager *manager, json_t **ret_types, struct diag *diag)
{
    enum err err = begin(manager, diag);
    if (err != ERR_OK)
        return err;
    return end(manager,
               give(json_pack("[{s:i,s:s,s:s,s:s,s:{s:s},s:s,s:s,s:[s],s:b,s:s,s:b,s:s}]", "id", 1,
                              "name", "mqtt", "display_name", "MQTT Broker", "description", "d",
                              "config_schema", "type", "object", "icon", "📡", "category", "IoT",
                              "supported_formats", "JSON", "real_time", 1, "connector_class",
                              "src.x", "enabled", 1, "created_at", "2026-01-01 00:00:00"),
                    ret_types));
}

enum err registry_api_list(struct manager *manager, bool enabled_only, json_t **ret_sources,
                           struct diag *diag)
{
    enum err err = begin(manager, diag);
    if (err != ERR_OK)
        return err;
    json_t *list = json_array();
    size_t i;
    json_t *source;
    json_array_foreach(manager->sources, i, source)
    {
        if (json_is_object(source) &&
            (!enabled_only || json_is_true(json_object_get(source, "enabled"))) &&
            json_array_append_new(list, json_deep_copy(source)) != 0)
            err = ERR_NO_MEMORY;
    }
    if (err != ERR_OK) {
        json_decref(list);
        list = NULL;
    }
    return end(manager, give(list, ret_sources));
}

enum err registry_api_get(struct manager *manager, int64_t id, json_t **ret_source,
                          struct diag *diag)
{
    enum err err = begin(manager, diag);
    if (err != ERR_OK)
        return err;
    const json_t *source = find(manager, id);
    return end(manager, source ? give(json_deep_copy(source), ret_source) : ERR_NOT_FOUND);
}

static enum err wish_check(const struct registry_wish *wish, struct diag *diag)
{
    if (strcmp(wish->type_name, "mqtt") != 0)
        return diag_set(diag, ERR_INVALID, "there is no type '%.100s'", wish->type_name);
    if (strlen(wish->name) > 255)
        return diag_set(diag, ERR_INVALID, "name: longer than 255 bytes");
    if (!json_is_string(json_object_get(wish->config, "broker")))
        return diag_set(diag, ERR_INVALID, "config.broker: required, a string");
    return ERR_OK;
}

static json_t *made_source(size_t id, const struct registry_wish *wish)
{
    char ingestion_id[32];
    snprintf(ingestion_id, sizeof(ingestion_id), "%08zx_fake_mqtt", id);
    return json_pack("{s:I,s:s,s:s,s:s,s:o,s:s,s:b,s:s,s:s,s:n,s:n,s:s,s:s}", "id", (json_int_t)id,
                     "name", wish->name, "type_name", wish->type_name, "type_display_name",
                     "MQTT Broker", "config", json_deep_copy(wish->config), "ingestion_id",
                     ingestion_id, "enabled", wish->enabled, "status", "inactive", "created_by",
                     wish->created_by, "last_connection", "last_error", "created_at",
                     "2026-01-01 00:00:00", "updated_at", "2026-01-01 00:00:00");
}

/* The source of that name and type. */
static json_t *same(const struct manager *manager, const struct registry_wish *wish)
{
    size_t i;
    json_t *source;
    json_array_foreach(manager->sources, i, source)
    {
        const char *name = json_string_value(json_object_get(source, "name"));
        if (name && strcmp(name, wish->name) == 0)
            return source;
    }
    return NULL;
}

enum err registry_api_create(struct manager *manager, const struct registry_wish *wish,
                             json_t **ret_source, bool *ret_created, struct diag *diag)
{
    enum err err = begin(manager, diag);
    if (err != ERR_OK)
        return err;
    err = wish_check(wish, diag);
    json_t *source = err == ERR_OK ? same(manager, wish) : NULL;
    *ret_created = err == ERR_OK && !source;
    if (source && !json_equal(json_object_get(source, "config"), wish->config))
        err = diag_set(diag, ERR_CONFLICT, "'%.100s' is there with another config", wish->name);
    if (err == ERR_OK && !source) {
        source = made_source(json_array_size(manager->sources) + 1, wish);
        if (!source || json_array_append_new(manager->sources, source) != 0)
            err = ERR_NO_MEMORY;
    }
    return end(manager, err == ERR_OK ? give(json_deep_copy(source), ret_source) : err);
}

enum err registry_api_update(struct manager *manager, int64_t id,
                             const struct registry_change *change, json_t **ret_source,
                             struct diag *diag)
{
    enum err err = begin(manager, diag);
    if (err != ERR_OK)
        return err;
    json_t *source = find(manager, id);
    if (!source)
        return end(manager, ERR_NOT_FOUND);
    if (change->name)
        json_object_set_new(source, "name", json_string(change->name));
    if (change->config)
        json_object_set_new(source, "config", json_deep_copy(change->config));
    if (change->enabled)
        json_object_set_new(source, "enabled", json_boolean(*change->enabled));
    return end(manager, give(json_deep_copy(source), ret_source));
}

enum err registry_api_delete(struct manager *manager, int64_t id, struct diag *diag)
{
    enum err err = begin(manager, diag);
    if (err != ERR_OK)
        return err;
    if (!find(manager, id))
        return end(manager, ERR_NOT_FOUND);
    json_array_set_new(manager->sources, (size_t)id - 1, json_null());
    return end(manager, ERR_OK);
}

static enum err status_set(struct manager *manager, int64_t id, const char *status,
                           const char **ret_broker, struct diag *diag)
{
    enum err err = begin(manager, diag);
    if (err != ERR_OK)
        return err;
    json_t *source = find(manager, id);
    if (!source)
        return end(manager, ERR_NOT_FOUND);
    *ret_broker = json_string_value(json_object_get(json_object_get(source, "config"), "broker"));
    json_object_set_new(source, "status", json_string(status));
    return end(manager, ERR_OK);
}

static enum err broker_try(const char *broker, struct diag *diag)
{
    if (broker && strcmp(broker, "slow") == 0)
        nanosleep(&(struct timespec){0, 300 * 1000 * 1000}, NULL);
    if (broker && strcmp(broker, "away") == 0)
        return diag_set(diag, ERR_REFUSED, "away:1883 refuses the connection");
    return ERR_OK;
}

enum err registry_api_start(struct manager *manager, int64_t id, struct diag *diag)
{
    const char *broker = NULL;
    enum err err = status_set(manager, id, "active", &broker, diag);
    return err == ERR_OK ? broker_try(broker, diag) : err;
}

enum err registry_api_stop(struct manager *manager, int64_t id, struct diag *diag)
{
    const char *broker = NULL;
    return status_set(manager, id, "stopped", &broker, diag);
}

enum err registry_api_restart(struct manager *manager, int64_t id, struct diag *diag)
{
    return registry_api_start(manager, id, diag);
}

enum err registry_api_health(struct manager *manager, int64_t id, json_t **ret_health,
                             struct diag *diag)
{
    const char *broker = NULL;
    enum err err = status_set(manager, id, "active", &broker, diag);
    if (err != ERR_OK)
        return err;
    return give(json_pack("{s:s,s:b,s:b,s:s}", "status", "active", "healthy", 1, "running", 1,
                          "broker", broker),
                ret_health);
}

enum err registry_api_overview(struct manager *manager, json_t **ret_overview, struct diag *diag)
{
    enum err err = begin(manager, diag);
    if (err != ERR_OK)
        return err;
    return end(manager, give(json_pack("{s:i,s:{s:{s:s,s:s,s:b}}}", "active_connectors", 1,
                                       "connectors", "a_b_mqtt", "status", "active", "type",
                                       "MQTTConnector", "running", 1),
                             ret_overview));
}

enum err registry_api_validate(struct manager *manager, const struct registry_wish *wish,
                               json_t **ret_errors, struct diag *diag)
{
    struct diag wrong = {0};
    (void)manager, (void)diag;
    enum err err = wish_check(wish, &wrong);
    return give(err == ERR_OK ? json_array()
                              : json_pack("[{s:s,s:s}]", "path", "config", "message", wrong.text),
                ret_errors);
}

enum err registry_api_test(struct manager *manager, const struct registry_wish *wish,
                           json_t **ret_result, struct diag *diag)
{
    struct diag wrong = {0};
    (void)manager;
    enum err err = wish_check(wish, diag);
    if (err != ERR_OK)
        return err;
    err = broker_try(json_string_value(json_object_get(wish->config, "broker")), &wrong);
    return give(json_pack("{s:b,s:s,s:n,s:n}", "success", err == ERR_OK, "message",
                          err == ERR_OK ? "connected" : wrong.text, "sample", "health"),
                ret_result);
}

enum err registry_api_metrics(struct manager *manager, int64_t id, int64_t since_us,
                              json_t **ret_rows, struct diag *diag)
{
    const char *broker = NULL;
    enum err err = status_set(manager, id, "active", &broker, diag);
    if (err != ERR_OK)
        return err;
    return give(since_us > 1700000000000000
                    ? json_array()
                    : json_pack("[{s:i,s:I,s:i,s:i,s:n,s:f,s:i,s:s}]", "id", 1, "data_source_id",
                                (json_int_t)id, "messages_received", 5, "messages_processed", 5,
                                "last_processed", "processing_latency_ms", 1.5, "error_count", 0,
                                "recorded_at", "2023-01-01 00:00:00"),
                ret_rows);
}

enum err registry_api_push(struct manager *manager, struct bytes ingestion_id,
                           struct connector_push *push)
{
    char id[64];
    snprintf(id, sizeof(id), "%.*s", (int)(ingestion_id.size < 60 ? ingestion_id.size : 60),
             (const char *)ingestion_id.data);
    if (strncmp(id, "push", 4) != 0)
        return ERR_NOT_FOUND;
    if (strcmp(id, "push-off") == 0)
        return ERR_STOPPED;
    mutex_lock(&manager->lock);
    struct connector_push **list = strcmp(id, "push-never") == 0 ? &manager->kept : &manager->first;
    push->ctx = id[4] == '-' ? (void *)(uintptr_t)strtoul(id + 5, NULL, 10) : NULL;
    push->next = *list;
    *list = push;
    condition_broadcast(&manager->changed);
    mutex_unlock(&manager->lock);
    return ERR_OK;
}
