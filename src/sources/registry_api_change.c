/*
 * What people change: the database first, then memory, then (outside of `writing`) the wait for
 * what comes of it.
 */
#include "sources/registry_api.h"

#include "base/alloc.h"
#include "codec/json_schema.h"
#include "connectors/registry.h"
#include "sources/registry_api_parts.h"

#include <stdio.h>

#define START_WAIT_NS (10 * NS_PER_S)
#define STOP_WAIT_NS  (7 * NS_PER_S)
#define WAIT_STEP_NS  (20 * NS_PER_MS)

static const char conflict_text[] =
    "A data source named '%.100s' of type %s exists already with another configuration: change "
    "that one with PUT /api/data-sources/%lld, or choose another name";

static const char start_late_text[] = "no connection within 10 s; it goes on trying";

/* --- waiting: with the lock, which is given away meanwhile --- */

static bool has_started(const struct managed *managed)
{
    enum source_state state = managed->status.state;
    bool settled = state == SOURCE_ACTIVE || state == SOURCE_ERROR;
    return managed->elsewhere ||
           (managed->source && !managed->ending && !managed->renew && settled);
}

static bool has_ended(const struct managed *managed)
{
    return !managed->source;
}

/* Whether it came about in time. The caller holds a reference, so that managed cannot go. */
static bool wait_until(struct manager *manager, struct managed *managed,
                       bool (*is_so)(const struct managed *managed), int64_t wait_ns)
{
    int64_t until_ns = clock_monotonic_ns(&clock_system) + wait_ns;
    bool so;
    for (;;) {
        manager_reconcile(manager, managed);
        so = is_so(managed);
        if (so || manager->stopping || clock_monotonic_ns(&clock_system) >= until_ns)
            break;
        condition_wait_for(&manager->wake, &manager->lock, WAIT_STEP_NS);
    }
    return so;
}

static enum err start_result(struct managed *managed, bool so, struct diag *diag)
{
    if (so && (managed->elsewhere || managed->status.state == SOURCE_ACTIVE))
        return ERR_OK;
    if (managed->status.last_error[0])
        return diag_set(diag, ERR_REFUSED, "%s", managed->status.last_error);
    return diag_set(diag, ERR_TIMEOUT, "%s", start_late_text);
}

/* --- changes --- */

/* What is changed is what the database has now, whoever wrote it last. With `writing`. */
static enum err change_begin(struct manager *manager, struct diag *diag)
{
    enum err err = registry_ready(manager, diag);
    return err == ERR_OK ? manager_poll(manager, diag) : err;
}

/* The same config, or the same but for secrets that are masked. With the lock. */
static bool config_same(const struct managed *managed, const json_t *config)
{
    json_t *unmasked;
    if (json_equal(managed->row.config, config))
        return true;
    if (json_schema_unmask(registry_validator(managed->connector), config, managed->row.config,
                           &unmasked) != ERR_OK)
        return false;
    bool same = json_equal(managed->row.config, unmasked);
    json_decref(unmasked);
    return same;
}

/* *ret_source stays NULL when there is none of that name and type. */
static enum err create_known(struct manager *manager, const char *ingestion_id,
                             const struct registry_wish *wish, json_t **ret_source,
                             struct diag *diag)
{
    enum err err = ERR_OK;
    mutex_lock(&manager->lock);
    struct managed *managed = manager_find(manager, bytes_from_text(ingestion_id));
    if (managed && managed->row.id != 0)
        err = config_same(managed, wish->config)
                  ? registry_source_json(managed, ret_source)
                  : diag_set(diag, ERR_CONFLICT, conflict_text, wish->name, wish->type_name,
                             (long long)managed->row.id);
    mutex_unlock(&manager->lock);
    return err;
}

/* A row that nobody has yet: *take_row is used up. ERR_CONFLICT: since it was looked for, another
 * replica has inserted one of that name and type. */
static enum err create_new(struct manager *manager, const char *ingestion_id,
                           struct source_row *take_row, json_t **ret_source, struct diag *diag)
{
    enum err err = manager_register(manager, take_row, diag);
    if (err != ERR_OK)
        return err;
    mutex_lock(&manager->lock);
    struct managed *managed = manager_find(manager, bytes_from_text(ingestion_id));
    err = managed ? registry_source_json(managed, ret_source) : ERR_CONFLICT;
    mutex_unlock(&manager->lock);
    return err;
}

/* What another replica was quicker to insert is read and compared, as if it had been there before.
 */
static enum err create_beaten(struct manager *manager, const char *ingestion_id,
                              const struct registry_wish *wish, json_t **ret_source,
                              struct diag *diag)
{
    enum err err = manager_poll(manager, diag);
    if (err == ERR_OK)
        err = create_known(manager, ingestion_id, wish, ret_source, diag);
    if (err != ERR_OK || *ret_source)
        return err;
    return diag_set(diag, ERR_CONFLICT,
                    "another replica has just made or removed this data source: look again");
}

/* Takes the row over. With `writing`. */
static enum err create(struct manager *manager, const struct registry_wish *wish,
                       struct source_row *take_row, json_t **ret_source, bool *ret_created,
                       struct diag *diag)
{
    struct diag reason = {0};
    char *ingestion_id = mem_strdup(take_row->ingestion_id);
    enum err err = ingestion_id ? change_begin(manager, diag) : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = create_known(manager, ingestion_id, wish, ret_source, diag);
    if (err == ERR_OK && !*ret_source)
        err = json_schema_refuse_mask(registry_validator(registry_find(wish->type_name)),
                                      wish->config, diag);
    if (err != ERR_OK || *ret_source) {
        source_row_fini(take_row);
        mem_free(ingestion_id);
        return err;
    }
    err = create_new(manager, ingestion_id, take_row, ret_source, &reason);
    *ret_created = err == ERR_OK;
    if (err == ERR_CONFLICT)
        err = create_beaten(manager, ingestion_id, wish, ret_source, diag);
    else if (err != ERR_OK)
        err = diag_set(diag, err, "%s", reason.text);
    mem_free(ingestion_id);
    return err;
}

enum err registry_api_create(struct manager *manager, const struct registry_wish *wish,
                             json_t **ret_source, bool *ret_created, struct diag *diag)
{
    const struct connector *connector;
    struct source_row row;
    *ret_source = NULL;
    *ret_created = false;
    enum err err = manager_check(wish->name, wish->type_name, wish->config, &connector, diag);
    if (err == ERR_OK)
        err = manager_row_make(wish->name, connector, wish->config, wish->enabled, wish->created_by,
                               &row);
    if (err != ERR_OK)
        return err;
    mutex_lock(&manager->writing);
    err = create(manager, wish, &row, ret_source, ret_created, diag);
    mutex_unlock(&manager->writing);
    return err;
}

/* A copy of the row with the change in it. With the lock. */
static enum err row_changed(const struct managed *managed, const struct registry_change *change,
                            struct source_row *ret_row)
{
    const struct source_row *row = &managed->row;
    const json_t *stored = row->config;
    json_t *config = NULL;
    enum err err = ERR_OK;
    if (change->config)
        err = json_schema_unmask(registry_validator(managed->connector), change->config, stored,
                                 &config);
    if (err == ERR_OK)
        err = manager_row_make(change->name ? change->name : row->name, managed->connector,
                               config ? config : stored,
                               change->enabled ? *change->enabled : row->enabled,
                               row->created_by ? row->created_by : "", ret_row);
    json_decref(config);
    char *ingestion_id = err == ERR_OK ? mem_strdup(row->ingestion_id) : NULL;
    if (err == ERR_OK && !ingestion_id) {
        source_row_fini(ret_row);
        err = ERR_NO_MEMORY;
    }
    if (err != ERR_OK)
        return err;
    mem_free(ret_row->ingestion_id); /* stays, whatever the name */
    ret_row->ingestion_id = ingestion_id;
    ret_row->id = row->id;
    ret_row->created_at_us = row->created_at_us;
    ret_row->updated_at_us = row->updated_at_us;
    ret_row->last_connection_us = row->last_connection_us;
    memcpy(ret_row->status, row->status, sizeof(row->status));
    return ERR_OK;
}

/* The row, as the database has it now, becomes what runs. Takes it over. */
static enum err row_adopt(struct manager *manager, struct source_row *take_row, json_t **ret_source,
                          struct diag *diag)
{
    enum err err;
    mutex_lock(&manager->lock);
    struct managed *managed = manager_find_id(manager, take_row->id);
    if (managed) {
        if (!json_equal(managed->row.config, take_row->config) && managed->source)
            managed->renew = true;
        source_row_fini(&managed->row);
        managed->row = *take_row;
        managed->wanted = managed->row.enabled && strcmp(managed->row.status, "stopped") != 0;
        manager_reconcile(manager, managed);
        err = ret_source ? registry_source_json(managed, ret_source) : ERR_OK;
    } else {
        err = registry_not_found(take_row->id, diag);
        source_row_fini(take_row);
    }
    mutex_unlock(&manager->lock);
    return err;
}

static enum err change_check(const struct registry_change *change, const struct source_row *row,
                             struct diag *diag)
{
    const struct connector *connector;
    /* A source of an old database may have a config that breaks our schema: it can be renamed. */
    if (!change->config && !change->name)
        return ERR_OK;
    if (change->config)
        return manager_check(row->name, row->type_name, row->config, &connector, diag);
    return manager_check_name(row->name, diag);
}

static void ended_wait(struct manager *manager, int64_t id, bool deleted)
{
    mutex_lock(&manager->lock);
    struct managed *managed = manager_find_id(manager, id);
    if (managed) {
        manager_status_refresh(managed);
        managed->deleted = deleted;
        managed->references++;
        /* Nobody waits for a peer to forget one that did not run: it may be away. */
        if (!deleted || managed->status.is_running)
            (void)wait_until(manager, managed, has_ended, STOP_WAIT_NS);
        managed->references--;
        manager_reconcile(manager, managed);
    }
    mutex_unlock(&manager->lock);
}

/* What has become of a source that was to end; it may be deleted by now. */
static enum err ended_look(struct manager *manager, int64_t id, json_t **ret_source)
{
    json_t *source = NULL;
    ended_wait(manager, id, false);
    mutex_lock(&manager->lock);
    struct managed *managed = manager_find_id(manager, id);
    enum err err = managed ? registry_source_json(managed, &source) : ERR_OK;
    mutex_unlock(&manager->lock);
    if (err == ERR_OK && !source)
        return ERR_OK;
    json_decref(*ret_source);
    *ret_source = source;
    return err;
}

enum err registry_api_update(struct manager *manager, int64_t id,
                             const struct registry_change *change, json_t **ret_source,
                             struct diag *diag)
{
    struct source_row row = {0};
    bool switched = false;
    bool ends = false;
    mutex_lock(&manager->writing);
    enum err err = change_begin(manager, diag);
    if (err == ERR_OK) {
        mutex_lock(&manager->lock);
        struct managed *managed = manager_find_id(manager, id);
        err = managed ? row_changed(managed, change, &row) : registry_not_found(id, diag);
        switched = managed && err == ERR_OK && row.enabled != managed->row.enabled;
        ends = switched && !row.enabled;
        mutex_unlock(&manager->lock);
    }
    if (err == ERR_OK) {
        err = change_check(change, &row, diag);
        if (err == ERR_OK && switched) {
            snprintf(row.status, sizeof(row.status), row.enabled ? "inactive" : "stopped");
            err = source_table_set_status(manager->database, id, row.status, 0, NULL, diag);
        }
        if (err == ERR_OK)
            err = source_table_update(manager->database, &row, diag);
        if (err == ERR_OK)
            err = row_adopt(manager, &row, ret_source, diag);
        else
            source_row_fini(&row);
    }
    mutex_unlock(&manager->writing);
    return err == ERR_OK && ends ? ended_look(manager, id, ret_source) : err;
}

enum err registry_api_delete(struct manager *manager, int64_t id, struct diag *diag)
{
    mutex_lock(&manager->writing);
    enum err err = change_begin(manager, diag);
    mutex_lock(&manager->lock);
    if (err == ERR_OK && !manager_find_id(manager, id))
        err = registry_not_found(id, diag);
    mutex_unlock(&manager->lock);
    if (err == ERR_OK)
        err = source_table_delete(manager->database, id, diag);
    if (err == ERR_NOT_FOUND)
        err = registry_not_found(id, diag);
    mutex_unlock(&manager->writing);
    if (err == ERR_OK)
        ended_wait(manager, id, true);
    return err;
}

/* What people want of a source, in the database first. With `writing`. */
static enum err want(struct manager *manager, int64_t id, bool run, struct diag *diag)
{
    const bool enabled = true;
    const struct registry_change change = {.enabled = run ? &enabled : NULL};
    struct source_row row;
    enum err err = change_begin(manager, diag);
    if (err != ERR_OK)
        return err;
    mutex_lock(&manager->lock);
    struct managed *managed = manager_find_id(manager, id);
    err = managed ? row_changed(managed, &change, &row) : registry_not_found(id, diag);
    bool same = managed && managed->wanted == run && managed->row.enabled == row.enabled &&
                (run || strcmp(managed->row.status, "stopped") == 0);
    mutex_unlock(&manager->lock);
    if (err != ERR_OK)
        return err;
    if (!same) {
        snprintf(row.status, sizeof(row.status), "%s", run ? "inactive" : "stopped");
        err = source_table_set_status(manager->database, id, row.status, 0, NULL, diag);
        if (err == ERR_OK)
            err = source_table_update(manager->database, &row, diag);
    }
    if (err != ERR_OK || same) {
        source_row_fini(&row);
        return err;
    }
    return row_adopt(manager, &row, NULL, diag);
}

static enum err start(struct manager *manager, int64_t id, bool anew, struct diag *diag)
{
    mutex_lock(&manager->writing);
    enum err err = want(manager, id, true, diag);
    mutex_unlock(&manager->writing);
    if (err != ERR_OK)
        return err;
    mutex_lock(&manager->lock);
    struct managed *managed = manager_find_id(manager, id);
    if (managed) {
        manager_status_refresh(managed);
        /* One that waits for its next try does not wait any longer. */
        managed->renew = managed->source && (anew || managed->status.state == SOURCE_ERROR);
        managed->references++;
        bool so = wait_until(manager, managed, has_started, START_WAIT_NS);
        if (!so && managed->source && !managed->ending && !manager->stopping)
            source_start_late(managed->source, start_late_text);
        manager_status_refresh(managed);
        err = managed->deleted ? registry_not_found(id, diag) : start_result(managed, so, diag);
        managed->references--;
        manager_reconcile(manager, managed);
    } else {
        err = registry_not_found(id, diag);
    }
    mutex_unlock(&manager->lock);
    return err;
}

enum err registry_api_start(struct manager *manager, int64_t id, struct diag *diag)
{
    return start(manager, id, false, diag);
}

enum err registry_api_restart(struct manager *manager, int64_t id, struct diag *diag)
{
    return start(manager, id, true, diag);
}

enum err registry_api_stop(struct manager *manager, int64_t id, struct diag *diag)
{
    mutex_lock(&manager->writing);
    enum err err = want(manager, id, false, diag);
    mutex_unlock(&manager->writing);
    if (err != ERR_OK)
        return err;
    ended_wait(manager, id, false);
    return ERR_OK;
}
