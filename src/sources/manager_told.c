/* What the database is told of the sources: their statuses, and a row of metrics each minute. */
#include "sources/manager_parts.h"

#include "base/alloc.h"

#include <stdio.h>

#define STATUSES_MAX      256 /* in one transaction */
#define STATUS_ROUNDS_MAX 80  /* all of MANAGER_SOURCES_MAX */
#define METRICS_KEEP_US   (7 * 24 * 3600 * US_PER_S)

struct told {
    int64_t id;
    uint32_t place; /* in the list, most likely still */
    char status[16];
    char error[512];
    int64_t connection_us;
};

static uint32_t statuses_collect(struct manager *manager, struct told *tell)
{
    uint32_t count = 0;
    mutex_lock(&manager->lock);
    for (uint32_t i = 0; i < manager->count && count < STATUSES_MAX; i++) {
        struct managed *managed = manager->list[i];
        manager_status_refresh(managed);
        const char *text = manager_status_text(managed);
        /* "stopped" is a wish, written by whom it is made: told late it would undo a start. Of a
         * source that runs on another replica only that one tells. */
        if (managed->row.id == 0 || managed->deleted || managed->elsewhere ||
            managed->status.state == SOURCE_STOPPED ||
            (strcmp(managed->told_status, text) == 0 &&
             strcmp(managed->told_error, managed->status.last_error) == 0 &&
             managed->told_connection_us == managed->status.last_connection_us))
            continue;
        struct told *told = &tell[count++];
        told->id = managed->row.id;
        told->place = i;
        snprintf(told->status, sizeof(told->status), "%s", text);
        snprintf(told->error, sizeof(told->error), "%s", managed->status.last_error);
        told->connection_us = managed->status.last_connection_us;
    }
    mutex_unlock(&manager->lock);
    return count;
}

static void status_told(struct manager *manager, const struct told *told)
{
    mutex_lock(&manager->lock);
    struct managed *managed = told->place < manager->count ? manager->list[told->place] : NULL;
    if (!managed || managed->deleted || managed->row.id != told->id)
        managed = manager_find_id(manager, told->id);
    if (managed) {
        memcpy(managed->told_status, told->status, sizeof(told->status));
        memcpy(managed->told_error, told->error, sizeof(told->error));
        managed->told_connection_us = told->connection_us;
    }
    mutex_unlock(&manager->lock);
}

/* A stop that was asked for stands, whoever asked: only a start takes it away. */
static enum err statuses_tell(struct manager *manager, const struct told *tell, uint32_t count,
                              struct diag *diag)
{
    struct source_report reports[STATUSES_MAX] = {0};
    for (uint32_t i = 0; i < count; i++)
        reports[i] = (struct source_report){tell[i].id, tell[i].status, tell[i].connection_us,
                                            tell[i].error[0] ? tell[i].error : NULL};
    enum err err = source_table_report(manager->database, reports, count, diag);
    for (uint32_t i = 0; i < count && err == ERR_OK; i++)
        status_told(manager, &tell[i]);
    return err;
}

enum err manager_statuses_write(struct manager *manager, struct diag *diag)
{
    struct told *tell = mem_zalloc(STATUSES_MAX, sizeof(*tell));
    enum err err = tell ? ERR_OK : ERR_NO_MEMORY;
    uint32_t count = STATUSES_MAX;
    for (int i = 0; i < STATUS_ROUNDS_MAX && count == STATUSES_MAX && err == ERR_OK; i++) {
        count = statuses_collect(manager, tell);
        err = statuses_tell(manager, tell, count, diag);
    }
    mem_free(tell);
    return err;
}

/* Time in the service by Little's law: what is in it over what leaves it. */
static double latency_ms(uint64_t pending, uint64_t left, double period_s)
{
    return left > 0 ? (double)pending / ((double)left / period_s) * 1000 : 0;
}

static void metrics_row(struct managed *managed, struct account *account, double period_s,
                        struct source_metrics_row *ret_row)
{
    struct account_totals totals;
    account_totals_get(account, &totals);
    uint64_t errors = totals.rejected + managed->status.restarts;
    if (totals.received < managed->told_received || errors < managed->told_errors) {
        managed->told_received = managed->told_stored = 0; /* a new instance counts anew */
        managed->told_errors = 0;
    }
    *ret_row = (struct source_metrics_row){
        .data_source_id = managed->row.id,
        .messages_received = (int64_t)(totals.received - managed->told_received),
        .messages_processed = (int64_t)(totals.stored - managed->told_stored),
        .last_processed_us = atomic_load(&account->last_received_us),
        .processing_latency_ms =
            latency_ms(totals.pending, totals.stored - managed->told_stored, period_s),
        .error_count = (int64_t)(errors - managed->told_errors),
        .recorded_at_us = clock_realtime_us(&clock_system),
    };
    managed->told_received = totals.received;
    managed->told_stored = totals.stored;
    managed->told_errors = errors;
}

enum err manager_metrics_write(struct manager *manager, double period_s, struct diag *diag)
{
    uint32_t count = 0;
    mutex_lock(&manager->lock);
    struct source_metrics_row *rows = mem_zalloc(manager->count + 1, sizeof(*rows));
    for (uint32_t i = 0; rows && i < manager->count; i++) {
        struct managed *managed = manager->list[i];
        struct account *account;
        manager_status_refresh(managed);
        if (managed->row.id == 0 || managed->deleted || managed->status.state != SOURCE_ACTIVE)
            continue;
        if (account_get(manager->options.book, bytes_from_text(managed->row.ingestion_id),
                        &account) == ERR_OK)
            metrics_row(managed, account, period_s, &rows[count++]);
    }
    mutex_unlock(&manager->lock);
    if (!rows)
        return ERR_NO_MEMORY;
    enum err err = source_table_add_metrics(
        manager->database, rows, count, clock_realtime_us(&clock_system) - METRICS_KEEP_US, diag);
    mem_free(rows);
    return err;
}
