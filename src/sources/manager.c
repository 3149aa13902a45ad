#include "sources/manager_parts.h"

#include "base/alloc.h"
#include "base/log.h"
#include "codec/json_schema.h"
#include "connectors/registry.h"
#include "sources/secrets.h"

#include <stdio.h>

#define MANAGER_TICK_NS (200 * NS_PER_MS)
#define MANAGER_IDLE_NS NS_PER_S
#define NAME_BYTES_MAX  255

/* --- the list --- */

struct managed *manager_find(struct manager *manager, struct bytes ingestion_id)
{
    struct managed *managed = map_get(&manager->by_ingestion_id, ingestion_id);
    return managed && !managed->deleted ? managed : NULL;
}

struct managed *manager_find_id(struct manager *manager, int64_t id)
{
    for (uint32_t i = 0; id > 0 && i < manager->count; i++)
        if (manager->list[i]->row.id == id && !manager->list[i]->deleted)
            return manager->list[i];
    return NULL;
}

static enum err list_reserve(struct manager *manager)
{
    if (manager->count >= MANAGER_SOURCES_MAX)
        return ERR_TOO_MANY;
    if (manager->count < manager->capacity)
        return ERR_OK;
    uint32_t capacity = manager->capacity ? manager->capacity * 2 : 16;
    struct managed **list = mem_realloc(manager->list, capacity * sizeof(struct managed *));
    if (!list)
        return ERR_NO_MEMORY;
    manager->list = list;
    manager->capacity = capacity;
    return ERR_OK;
}

enum err manager_add(struct manager *manager, const struct connector *connector,
                     struct source_row *take_row, struct managed **ret_managed)
{
    enum err err = list_reserve(manager);
    struct managed *managed = err == ERR_OK ? mem_zalloc(1, sizeof(*managed)) : NULL;
    if (managed) {
        managed->has_elder =
            map_get(&manager->by_ingestion_id, bytes_from_text(take_row->ingestion_id)) != NULL;
        err = map_put(&manager->by_ingestion_id, bytes_from_text(take_row->ingestion_id), managed);
    }
    if (!managed || err != ERR_OK) {
        mem_free(managed);
        source_row_fini(take_row);
        return err == ERR_OK ? ERR_NO_MEMORY : err;
    }
    managed->row = *take_row;
    managed->connector = connector;
    managed->single = connector->single;
    managed->turn = managed->single && !manager_many_replicas(manager);
    managed->loop = manager->next_loop++ % manager->options.loop_count;
    managed->wanted = managed->row.enabled && strcmp(managed->row.status, "stopped") != 0;
    managed->status.state =
        strcmp(managed->row.status, "stopped") == 0 ? SOURCE_STOPPED : SOURCE_INACTIVE;
    managed->status.last_connection_us = managed->row.last_connection_us;
    snprintf(managed->status.last_error, sizeof(managed->status.last_error), "%s",
             managed->row.last_error ? managed->row.last_error : "");
    snprintf(managed->told_status, sizeof(managed->told_status), "%s", managed->row.status);
    snprintf(managed->told_error, sizeof(managed->told_error), "%s", managed->status.last_error);
    managed->told_connection_us = managed->row.last_connection_us;
    manager->list[manager->count++] = managed;
    manager->restless = true;
    *ret_managed = managed;
    return ERR_OK;
}

static void managed_free(struct managed *managed)
{
    source_free(managed->source);
    source_row_fini(&managed->row);
    mem_free(managed);
}

static void list_remove(struct manager *manager, const struct managed *managed)
{
    struct bytes ingestion_id = bytes_from_text(managed->row.ingestion_id);
    uint32_t i = 0;
    if (map_get(&manager->by_ingestion_id, ingestion_id) == managed)
        map_remove(&manager->by_ingestion_id, ingestion_id);
    while (manager->list[i] != managed)
        i++;
    for (; i + 1 < manager->count; i++)
        manager->list[i] = manager->list[i + 1];
    manager->count--;
}

/* --- one source --- */

void manager_status_refresh(struct managed *managed)
{
    int64_t connection_us = managed->status.last_connection_us;
    uint64_t changes = managed->source ? source_status_changes(managed->source) : 0;
    if (!managed->source)
        return;
    if (changes != managed->seen_changes) {
        managed->seen_changes = changes;
        source_status_get(managed->source, &managed->status);
        if (managed->status.last_connection_us == 0)
            managed->status.last_connection_us = connection_us;
    }
    /* between two instances of a source that is to run */
    if (managed->status.state == SOURCE_STOPPED && managed->wanted)
        managed->status.state = SOURCE_CONNECTING;
}

const char *manager_status_text(const struct managed *managed)
{
    return source_state_text(managed->status.state);
}

/* The stored configuration with the schema's defaults; a reference to a secret stays one. */
static enum err config_complete(const struct managed *managed, json_t **ret_config)
{
    const struct json_schema *validator = registry_validator(managed->connector);
    json_t *config = json_deep_copy(managed->row.config);
    if (!config)
        return ERR_NO_MEMORY;
    enum err err = validator ? json_schema_defaults(validator, config) : ERR_OK;
    if (err != ERR_OK)
        json_decref(config);
    else
        *ret_config = config;
    return err;
}

static enum err instance_new(struct manager *manager, struct managed *managed)
{
    json_t *config;
    enum err err = config_complete(managed, &config);
    if (err != ERR_OK)
        return err;
    err = source_new(
        &(struct source_options){
            .connector = managed->connector,
            .name = managed->row.name,
            .ingestion_id = managed->row.ingestion_id,
            .config = config,
            .replica_id = manager->options.replica_id,
            .loop = manager->options.loops[managed->loop],
            .ingest = manager->options.ingests[managed->loop],
        },
        &managed->source);
    json_decref(config);
    managed->seen_changes = 0;
    return err;
}

static enum err instance_start(struct manager *manager, struct managed *managed)
{
    enum err err = instance_new(manager, managed);
    if (err == ERR_OK)
        source_start(managed->source);
    return err;
}

/* Whether the other side may keep something for it: who never was connected has left nothing. */
static bool has_left(const struct managed *managed)
{
    return managed->connector->ops.forget && managed->status.last_connection_us != 0;
}

static void instance_end(struct manager *manager, struct managed *managed)
{
    managed->ending = true;
    manager->ending_count++;
    managed->forgotten = managed->deleted;
    if (managed->deleted && has_left(managed))
        source_forget(managed->source);
    else
        source_stop(managed->source);
}

/* One that does not run when it is deleted has an instance once more, only to be forgotten. */
static bool forget_is_due(const struct manager *manager, const struct managed *managed)
{
    return managed->deleted && !managed->forgotten && !managed->source && has_left(managed) &&
           manager->started && !manager->stopping;
}

static void forget_start(struct manager *manager, struct managed *managed)
{
    enum err err = instance_new(manager, managed);
    managed->forgotten = true;
    if (err == ERR_OK)
        instance_end(manager, managed);
    else
        log_warning("sources", "%s: is deleted, but what the other side keeps for it stays: %s",
                    managed->row.name, err_text(err));
}

/* A source that was deleted and made again waits for its former instance. */
static bool twin_runs(struct manager *manager, const struct managed *managed)
{
    for (uint32_t i = 0; managed->has_elder && i < manager->count; i++) {
        const struct managed *other = manager->list[i];
        bool goes = other->deleted && (other->source || forget_is_due(manager, other));
        if (other != managed && goes &&
            strcmp(other->row.ingestion_id, managed->row.ingestion_id) == 0)
            return true;
    }
    return false;
}

void manager_reconcile(struct manager *manager, struct managed *managed)
{
    bool may_run = managed->wanted && !managed->deleted && !manager->stopping &&
                   (!managed->single || managed->turn);
    manager_status_refresh(managed);
    if (managed->source && !managed->ending && (!may_run || managed->renew))
        instance_end(manager, managed);
    if (managed->source && managed->ending && source_finished(managed->source)) {
        manager_status_refresh(managed);
        source_free(managed->source);
        managed->source = NULL;
        manager->ending_count--;
        managed->ending = managed->renew = false;
        managed->status.state = managed->wanted ? SOURCE_INACTIVE : SOURCE_STOPPED;
    }
    if (!managed->source)
        managed->renew = false;
    if (!managed->source && may_run && manager->started && !twin_runs(manager, managed)) {
        enum err err = instance_start(manager, managed);
        if (err != ERR_OK) { /* no memory: the next round tries again */
            manager->restless = true;
            snprintf(managed->status.last_error, sizeof(managed->status.last_error), "%s",
                     err_text(err));
        }
    }
    if (forget_is_due(manager, managed))
        forget_start(manager, managed);
    if (managed->deleted && !managed->source && managed->references == 0) {
        list_remove(manager, managed);
        managed_free(managed);
    }
}

/* --- what the configuration declares --- */

/* The first thing that is wrong. */
struct complaint {
    char path[256];
    char message[512];
};

static void on_schema_error(void *ctx, const char *path, const char *keyword, const char *message)
{
    struct complaint *complaint = ctx;
    (void)keyword;
    if (complaint->message[0])
        return;
    snprintf(complaint->path, sizeof(complaint->path), "%s", path);
    snprintf(complaint->message, sizeof(complaint->message), "%s", message);
}

static enum err type_unknown(const char *type_name, struct diag *diag)
{
    char names[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < registry_count() && used < sizeof(names); i++) {
        int written = snprintf(names + used, sizeof(names) - used, "%s%s", i > 0 ? ", " : "",
                               registry_at(i)->name);
        used += written > 0 ? (size_t)written : 0;
    }
    return diag_set(diag, ERR_INVALID, "Unknown data source type '%.100s': use one of %s",
                    type_name, names);
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '\0';
}

enum err manager_check_name(const char *name, struct diag *diag)
{
    if (is_blank(name) || strlen(name) > NAME_BYTES_MAX)
        return diag_set(diag, ERR_INVALID, "name must have 1 to %d bytes, and not only spaces",
                        NAME_BYTES_MAX);
    return ERR_OK;
}

enum err manager_check(const char *name, const char *type_name, const json_t *config,
                       const struct connector **ret_connector, struct diag *diag)
{
    const struct connector *connector = *ret_connector = registry_find(type_name);
    if (!connector)
        return type_unknown(type_name, diag);
    enum err err = manager_check_name(name, diag);
    if (err != ERR_OK)
        return err;
    struct complaint complaint = {0};
    err = json_schema_validate(registry_validator(connector), config, on_schema_error, &complaint);
    if (err == ERR_INVALID)
        return diag_set(diag, err, "Invalid configuration: %s%s%s", complaint.path,
                        complaint.path[0] ? ": " : "", complaint.message);
    if (err == ERR_OK)
        err = secrets_check(connector, config, diag);
    return err == ERR_OK || err == ERR_NO_MEMORY ? err
                                                 : diag_set(diag, ERR_INVALID, "%s", err_text(err));
}

static const char *member_text(const json_t *body, const char *member)
{
    const char *text = json_string_value(json_object_get(body, member));
    return text ? text : "";
}

static bool bodies_same_source(const json_t *a, const json_t *b)
{
    return strcmp(member_text(a, "name"), member_text(b, "name")) == 0 &&
           strcmp(member_text(a, "type_name"), member_text(b, "type_name")) == 0;
}

static enum err declared_once(struct map *seen, json_t *body, struct diag *diag)
{
    struct buf key;
    json_t *twin = NULL;
    buf_init(&key, 64 * KIB);
    enum err err =
        manager_name_key(member_text(body, "type_name"), member_text(body, "name"), &key);
    if (err == ERR_OK)
        twin = map_get(seen, buf_bytes(&key));
    if (err == ERR_OK && !twin)
        err = map_put(seen, buf_bytes(&key), body);
    buf_fini(&key);
    if (!twin || json_equal(twin, body))
        return err;
    return diag_set(diag, ERR_CONFLICT,
                    "source '%.100s' of type %s is declared twice, with different settings",
                    member_text(body, "name"), member_text(body, "type_name"));
}

static enum err declared_check(const json_t *sources, struct diag *diag)
{
    struct map seen;
    enum err err = ERR_OK;
    size_t index;
    json_t *body;
    map_init(&seen);
    json_array_foreach(sources, index, body)
    {
        const struct connector *connector;
        struct diag why = {0};
        err = manager_check(member_text(body, "name"), member_text(body, "type_name"),
                            json_object_get(body, "config"), &connector, &why);
        if (err != ERR_OK)
            err = diag_set(diag, err, "source '%.100s': %s", member_text(body, "name"),
                           why.text[0] ? why.text : err_text(err));
        else
            err = declared_once(&seen, body, diag);
        if (err != ERR_OK)
            break;
    }
    map_fini(&seen);
    return err;
}

enum err manager_declare(struct manager *manager, const json_t *sources, struct diag *diag)
{
    enum err err = declared_check(sources, diag);
    json_t *copy = err != ERR_OK ? NULL : sources ? json_deep_copy(sources) : json_array();
    if (!copy)
        return err == ERR_OK ? ERR_NO_MEMORY : err;
    mutex_lock(&manager->lock);
    json_t *old = manager->declared;
    manager->declared = copy;
    manager->declared_changed = true;
    condition_signal(&manager->wake);
    mutex_unlock(&manager->lock);
    json_decref(old);
    return ERR_OK;
}

enum err manager_declare_default(struct manager *manager, const json_t *source, struct diag *diag)
{
    size_t index;
    const json_t *body;
    json_array_foreach(manager->declared, index, body)
    {
        if (bodies_same_source(body, source))
            return ERR_OK;
    }
    json_t *list = json_pack("[O]", source);
    enum err err = list ? declared_check(list, diag) : ERR_NO_MEMORY;
    json_decref(list);
    if (err == ERR_OK)
        manager->default_source = json_deep_copy(source);
    return err == ERR_OK && !manager->default_source ? ERR_NO_MEMORY : err;
}

/* --- the thread --- */

static void reconcile_all(struct manager *manager)
{
    manager->restless = false;
    manager->reconciled_ns = clock_monotonic_ns(&clock_system);
    for (uint32_t i = manager->count; i > 0; i--) /* backwards: one may be removed */
        manager_reconcile(manager, manager->list[i - 1]);
}

/* What ends an instance, or begins one, says so; the rest is looked at now and then. */
static bool must_reconcile(const struct manager *manager)
{
    return manager->restless || manager->ending_count > 0 ||
           clock_monotonic_ns(&clock_system) - manager->reconciled_ns >= MANAGER_IDLE_NS;
}

static void manager_run(void *ctx)
{
    struct manager *manager = ctx;
    bool stopping = false;
    while (!stopping) {
        manager_table_round(manager);
        mutex_lock(&manager->lock);
        if (must_reconcile(manager))
            reconcile_all(manager);
        if (!manager->stopping)
            condition_wait_for(&manager->wake, &manager->lock, MANAGER_TICK_NS);
        stopping = manager->stopping;
        mutex_unlock(&manager->lock);
    }
}

enum err manager_start(struct manager *manager)
{
    return thread_start(&manager->thread, "manager", manager_run, manager);
}

void manager_run_sources(struct manager *manager)
{
    mutex_lock(&manager->lock);
    manager->started = manager->restless = true;
    condition_signal(&manager->wake);
    mutex_unlock(&manager->lock);
}

static bool none_left(struct manager *manager)
{
    for (uint32_t i = 0; i < manager->count; i++)
        if (manager->list[i]->source)
            return false;
    return true;
}

bool manager_stop(struct manager *manager, int64_t deadline_ns)
{
    bool all = false;
    mutex_lock(&manager->lock);
    manager->stopping = true;
    condition_broadcast(&manager->wake);
    reconcile_all(manager); /* the sources end while the thread may hang on the database */
    for (;;) {
        reconcile_all(manager);
        all = none_left(manager);
        if (all || clock_monotonic_ns(&clock_system) >= deadline_ns)
            break;
        condition_wait_for(&manager->wake, &manager->lock, 10 * NS_PER_MS);
    }
    mutex_unlock(&manager->lock);
    thread_join(&manager->thread);
    if (clock_monotonic_ns(&clock_system) < deadline_ns)
        manager_table_last_words(manager);
    return all;
}

/* --- life --- */

enum err manager_new(const struct manager_options *options, struct manager **ret_manager)
{
    struct manager *manager = mem_zalloc(1, sizeof(*manager));
    if (!manager)
        return ERR_NO_MEMORY;
    manager->options = *options;
    mutex_init(&manager->writing);
    mutex_init(&manager->lock);
    condition_init(&manager->wake);
    map_init(&manager->by_ingestion_id);
    manager->database_good = true; /* nobody has tried */
    *ret_manager = manager;
    return ERR_OK;
}

void manager_free(struct manager *manager)
{
    if (!manager)
        return;
    for (uint32_t i = 0; i < manager->count; i++)
        managed_free(manager->list[i]);
    mem_free(manager->list);
    map_fini(&manager->by_ingestion_id);
    json_decref(manager->declared);
    json_decref(manager->default_source);
    database_close(manager->database);
    condition_fini(&manager->wake);
    mutex_fini(&manager->lock);
    mutex_fini(&manager->writing);
    mem_free(manager);
}

void manager_each(struct manager *manager,
                  void (*on_source)(void *ctx, const struct manager_source *source), void *ctx)
{
    mutex_lock(&manager->lock);
    for (uint32_t i = 0; i < manager->count; i++) {
        struct managed *managed = manager->list[i];
        if (managed->deleted || (!managed->wanted && !managed->source))
            continue;
        manager_status_refresh(managed);
        on_source(ctx, &(struct manager_source){managed->row.name, managed->row.ingestion_id,
                                                managed->connector, managed->status});
    }
    mutex_unlock(&manager->lock);
}

bool manager_loaded(struct manager *manager)
{
    mutex_lock(&manager->lock);
    bool loaded = manager->loaded;
    mutex_unlock(&manager->lock);
    return loaded;
}

bool manager_database_good(struct manager *manager, char why[512])
{
    mutex_lock(&manager->lock);
    bool good = manager->database_good;
    snprintf(why, 512, "%s", manager->database_why);
    mutex_unlock(&manager->lock);
    return good;
}
