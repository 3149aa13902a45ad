/*
 * What the manager's thread does with the database. Everything here may fail at any time and is
 * done again: each step compares what the database says with what is in memory.
 */
#include "sources/manager_parts.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "connectors/registry.h"
#include "sources/ingestion_id.h"

#include <stdio.h>

#define RETRY_NS          (2 * NS_PER_S)
#define FIRST_TRY_NS      (3 * NS_PER_S)
#define FIRST_TRY_STEP_NS (5 * NS_PER_MS)
#define POLL_NS           (2 * NS_PER_S)
#define STATUSES_NS       NS_PER_S
#define TURN_NS           (3 * NS_PER_S)
#define TURNS_MAX         256
#define METRICS_PERIOD_NS (60 * NS_PER_S)

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&clock_system);
}

static void database_state(struct manager *manager, enum err err, const struct diag *diag)
{
    bool good = err == ERR_OK;
    const char *why = good ? "" : diag->text[0] ? diag->text : err_text(err);
    mutex_lock(&manager->lock);
    bool changed = good != manager->database_good;
    manager->database_good = good;
    snprintf(manager->database_why, sizeof(manager->database_why), "%.511s", why);
    mutex_unlock(&manager->lock);
    if (changed && good)
        log_info("sources", "the data-source database is there again");
    else if (changed)
        log_warning("sources",
                    "the data-source database cannot be used: %s; sources that run go on, and it "
                    "is tried again every 2 s",
                    why);
}

/* --- loading: at first, and when another replica changed something --- */

struct rows {
    struct source_row *rows;
    size_t count;
    size_t capacity;
};

static enum err on_row(void *ctx, struct source_row *take_row)
{
    struct rows *rows = ctx;
    if (rows->count == rows->capacity) {
        size_t capacity = rows->capacity ? rows->capacity * 2 : 64;
        struct source_row *grown = mem_realloc(rows->rows, capacity * sizeof(*grown));
        if (!grown) {
            source_row_fini(take_row);
            return ERR_NO_MEMORY;
        }
        rows->rows = grown;
        rows->capacity = capacity;
    }
    rows->rows[rows->count++] = *take_row;
    return ERR_OK;
}

static void rows_free(struct rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        source_row_fini(&rows->rows[i]);
    mem_free(rows->rows);
}

/* Ascending by id. */
static bool rows_have(const struct rows *rows, int64_t id)
{
    size_t low = 0;
    size_t high = rows->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rows->rows[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < rows->count && rows->rows[low].id == id;
}

static enum err row_merge(struct manager *manager, struct source_row *row)
{
    struct managed *managed = manager_find(manager, bytes_from_text(row->ingestion_id));
    struct source_row taken = *row;
    const struct connector *connector = registry_find(row->type_name);
    if (!connector ||
        (managed && managed->row.id == row->id && managed->row.updated_at_us == row->updated_at_us))
        return ERR_OK;
    *row = (struct source_row){.id = row->id};
    if (managed && managed->row.id != 0 && managed->row.id != taken.id) {
        managed->deleted = true; /* it was deleted and made again elsewhere */
        managed = NULL;
    }
    if (!managed)
        return manager_add(manager, connector, &taken, &managed);
    if (managed->row.id == 0 && managed->declared) { /* its declaration is compared next */
        json_t *config = managed->row.config;
        managed->row.config = json_incref(taken.config);
        manager_row_replace(managed, &taken);
        managed->renew = false;
        json_decref(config);
        return ERR_OK;
    }
    manager_row_replace(managed, &taken);
    return ERR_OK;
}

enum err manager_load(struct manager *manager, struct diag *diag)
{
    struct rows rows = {0};
    enum err err = source_table_each(manager->database, on_row, &rows, diag);
    mutex_lock(&manager->lock);
    manager->restless = true;
    for (size_t i = 0; i < rows.count && err == ERR_OK; i++)
        err = row_merge(manager, &rows.rows[i]);
    for (uint32_t i = 0; i < manager->count && err == ERR_OK; i++) {
        struct managed *managed = manager->list[i];
        if (managed->row.id != 0 && !rows_have(&rows, managed->row.id))
            managed->deleted = true;
    }
    mutex_unlock(&manager->lock);
    rows_free(&rows);
    return err;
}

static enum err database_up(struct manager *manager, struct diag *diag)
{
    enum err err = ERR_OK;
    if (!manager->database) {
        struct database *database = NULL;
        err = database_open(manager->options.database_url, &database, diag);
        if (err == ERR_OK)
            err = source_table_prepare(database, diag);
        if (err != ERR_OK) {
            database_close(database);
            return err;
        }
        manager->database = database;
    }
    err = source_table_version(manager->database, &manager->table_version, diag);
    return err == ERR_OK ? manager_load(manager, diag) : err;
}

enum err manager_poll(struct manager *manager, struct diag *diag)
{
    struct source_version version;
    enum err err = source_table_version(manager->database, &version, diag);
    if (err != ERR_OK || version.hash == manager->table_version.hash)
        return err;
    err = manager_load(manager, diag);
    if (err == ERR_OK)
        manager->table_version = version;
    return err;
}

/* --- turns: sources that run on one replica at a time --- */

bool manager_many_replicas(const struct manager *manager)
{
    return manager->options.database_url &&
           strncmp(manager->options.database_url, "sqlite:", 7) != 0;
}

static int64_t turn_due(struct manager *manager, int64_t now)
{
    int64_t id = 0;
    mutex_lock(&manager->lock);
    for (uint32_t i = 0; i < manager->count && id == 0; i++) {
        struct managed *managed = manager->list[i];
        if (!managed->single)
            continue;
        if (managed->row.id == 0) {
            manager->restless = manager->restless || !managed->turn;
            managed->turn = true;
        } else if (managed->row.id != 0 && managed->wanted && !managed->deleted &&
                   now - managed->turn_ns >= TURN_NS) {
            managed->turn_ns = now;
            id = managed->row.id;
        }
    }
    mutex_unlock(&manager->lock);
    return id;
}

/* The lock is given back as soon as the source no longer runs here. */
static int64_t turn_over(struct manager *manager)
{
    int64_t id = 0;
    mutex_lock(&manager->lock);
    for (uint32_t i = 0; i < manager->count && id == 0; i++) {
        struct managed *managed = manager->list[i];
        if (managed->single && managed->turn && !managed->source &&
            (!managed->wanted || managed->deleted)) {
            managed->turn = false;
            id = managed->row.id;
        }
    }
    mutex_unlock(&manager->lock);
    return id;
}

static void turns_take(struct manager *manager)
{
    int64_t now = now_ns();
    int64_t id;
    if (!manager_many_replicas(manager))
        return; /* it is always theirs */
    for (int i = 0; i < TURNS_MAX && (id = turn_due(manager, now)) != 0; i++) {
        struct diag diag = {0};
        enum err err = source_table_lock(manager->database, id, &diag);
        mutex_lock(&manager->lock);
        struct managed *managed = manager_find_id(manager, id);
        /* With the database away who had the turn keeps it: better twice than never. */
        if (managed && (err == ERR_OK || err == ERR_BUSY)) {
            manager->restless = manager->restless || managed->turn != (err == ERR_OK);
            managed->turn = err == ERR_OK;
            managed->elsewhere = err == ERR_BUSY;
        }
        mutex_unlock(&manager->lock);
    }
    while ((id = turn_over(manager)) != 0)
        source_table_unlock(manager->database, id);
}

/* --- the round --- */

static enum err registered_round(struct manager *manager, const json_t *declared, bool changed,
                                 struct diag *diag)
{
    int64_t now = now_ns();
    int64_t period_ns = manager->options.metrics_period_ms
                            ? manager->options.metrics_period_ms * NS_PER_MS
                            : METRICS_PERIOD_NS;
    enum err err = ERR_OK;
    if (changed)
        err = manager_declared_apply(manager, declared, diag);
    if (err == ERR_OK && now - manager->polled_ns >= POLL_NS) {
        manager->polled_ns = now;
        err = manager_poll(manager, diag);
    }
    if (err == ERR_OK && now - manager->statuses_ns >= STATUSES_NS) {
        manager->statuses_ns = now;
        err = manager_statuses_write(manager, diag);
    }
    if (err == ERR_OK && now - manager->metrics_ns >= period_ns) {
        double period_s = (double)(now - manager->metrics_ns) / (double)NS_PER_S;
        if (manager->metrics_ns != 0)
            err = manager_metrics_write(manager, period_s, diag);
        manager->metrics_ns = now;
    }
    return err;
}

void manager_first_try_wait(struct manager *manager)
{
    int64_t until_ns = now_ns() + FIRST_TRY_NS;
    while (manager->options.database_url && !manager->tried && !manager->stopping &&
           now_ns() < until_ns)
        condition_wait_for(&manager->wake, &manager->lock, FIRST_TRY_STEP_NS);
}

static void round_end(struct manager *manager, bool changed, enum err err, const struct diag *diag)
{
    if (err != ERR_OK)
        manager->database_retry_ns = now_ns() + RETRY_NS;
    mutex_lock(&manager->lock);
    manager->tried = true;
    manager->loaded = manager->loaded || err == ERR_OK;
    manager->declared_changed = manager->declared_changed || (changed && err != ERR_OK);
    mutex_unlock(&manager->lock);
    database_state(manager, err, diag);
}

void manager_table_round(struct manager *manager)
{
    mutex_lock(&manager->lock);
    json_t *declared = json_incref(manager->declared);
    mutex_unlock(&manager->lock);
    if (manager->options.database_url && now_ns() >= manager->database_retry_ns) {
        struct diag diag = {0};
        mutex_lock(&manager->writing);
        enum err err = manager->loaded ? ERR_OK : database_up(manager, &diag);
        mutex_lock(&manager->lock);
        bool changed = manager->declared_changed || !manager->loaded;
        manager->declared_changed = manager->declared_changed && err != ERR_OK;
        mutex_unlock(&manager->lock);
        if (err == ERR_OK)
            err = registered_round(manager, declared, changed, &diag);
        mutex_unlock(&manager->writing);
        round_end(manager, changed, err, &diag);
    }
    if (!manager->loaded)
        manager_declared_run(manager, declared);
    turns_take(manager);
    json_decref(declared);
}

void manager_table_last_words(struct manager *manager)
{
    struct diag diag = {0};
    if (manager->database && manager->loaded && manager_statuses_write(manager, &diag) != ERR_OK)
        log_warning("sources", "the last statuses of the data sources were not written: %s",
                    diag.text);
}
