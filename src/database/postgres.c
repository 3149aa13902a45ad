#include "database/postgres.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "database/postgres_link.h"
#include "database/postgres_value.h"
#include "os/clock.h"

#include <stdio.h>
#include <stdlib.h>

/* Advisory locks have two numbers; the first says whose they are ("inge", "ings"). */
#define WRITE_LOCK_SQL      "SELECT pg_advisory_xact_lock(1768843109, 0)"
#define SOURCE_LOCK_CLASS   "1768843123"
#define LOCKS_MAX           100000
#define LOCK_CHECK_AFTER_NS NS_PER_S

struct postgres {
    struct database base;
    char *url;
    struct postgres_link link;
    bool in_transaction;

    struct mutex lock_mutex; /* guards what follows */
    struct postgres_link lock_link;
    uint64_t lock_generation; /* the connection that holds the locks below */
    int64_t lock_checked_ns;
    int32_t *locks; /* ascending */
    size_t lock_count;
    size_t lock_capacity;
};

/* In a transaction a new connection is no help: what was done so far is undone. */
static enum err ready(struct postgres *postgres, struct diag *diag)
{
    if (!postgres->in_transaction)
        return postgres_link_ensure(&postgres->link, diag);
    if (!postgres->link.connection)
        return diag_set(diag, ERR_IO, "the connection to PostgreSQL was lost in a transaction");
    return ERR_OK;
}

static enum err postgres_exec(struct database *database, const char *sql, struct diag *diag)
{
    struct postgres *postgres = (struct postgres *)database;
    enum err err = ready(postgres, diag);
    return err ? err : postgres_link_exec(&postgres->link, sql, diag);
}

struct reading {
    database_on_row on_row;
    void *ctx;
    int64_t changes;
};

static enum err on_result(void *ctx, PGresult *result)
{
    struct reading *reading = ctx;
    struct database_value columns[DATABASE_COLUMNS_MAX];
    int count = PQnfields(result);
    if (count > DATABASE_COLUMNS_MAX)
        return ERR_TOO_MANY;
    for (int row = 0; row < PQntuples(result) && reading->on_row; row++) {
        for (int i = 0; i < count; i++)
            columns[i] = postgres_value(result, row, i);
        enum err err = reading->on_row(reading->ctx, columns, (size_t)count);
        if (err)
            return err;
    }
    if (PQresultStatus(result) != PGRES_SINGLE_TUPLE)
        reading->changes = strtoll(PQcmdTuples(result), NULL, 10);
    return ERR_OK;
}

/* Row by row: a large table is never in memory as a whole. */
static enum err run(struct postgres_link *link, const char *sql,
                    const struct database_value *values, size_t count, struct reading *reading,
                    struct diag *diag)
{
    struct postgres_parameters parameters;
    enum err err = postgres_parameters_init(&parameters, values, count, diag);
    if (!err && !PQsendQueryParams(link->connection, sql, (int)count, parameters.types,
                                   parameters.values, parameters.sizes, parameters.formats, 0))
        err = postgres_link_lost(link, diag);
    else if (!err) {
        (void)PQsetSingleRowMode(link->connection);
        err = postgres_link_finish(link, on_result, reading, diag);
    }
    postgres_parameters_fini(&parameters);
    return err;
}

static enum err postgres_query(struct database *database, const char *sql,
                               const struct database_value *parameters, size_t parameter_count,
                               database_on_row on_row, void *ctx, int64_t *ret_changes,
                               struct diag *diag)
{
    struct postgres *postgres = (struct postgres *)database;
    struct reading reading = {.on_row = on_row, .ctx = ctx};
    enum err err = ready(postgres, diag);
    if (!err)
        err = run(&postgres->link, sql, parameters, parameter_count, &reading, diag);
    if (!err && ret_changes)
        *ret_changes = reading.changes;
    return err;
}

static void postgres_rollback(struct database *database)
{
    struct postgres *postgres = (struct postgres *)database;
    struct postgres_link *link = &postgres->link;
    postgres->in_transaction = false;
    if (link->connection && PQtransactionStatus(link->connection) != PQTRANS_IDLE &&
        postgres_link_exec(link, "ROLLBACK", NULL))
        postgres_link_close(link);
}

static enum err postgres_begin(struct database *database, struct diag *diag)
{
    struct postgres *postgres = (struct postgres *)database;
    enum err err = postgres_exec(database, "BEGIN; " WRITE_LOCK_SQL, diag);
    if (err)
        postgres_rollback(database);
    postgres->in_transaction = !err;
    return err;
}

/* COMMIT after a failed statement would roll back and call that a success. */
static enum err postgres_commit(struct database *database, struct diag *diag)
{
    struct postgres *postgres = (struct postgres *)database;
    PGconn *connection = postgres->link.connection;
    if (connection && PQtransactionStatus(connection) == PQTRANS_INERROR)
        return diag_set(diag, ERR_BUG, "a statement of the transaction has failed");
    enum err err = postgres_exec(database, "COMMIT", diag);
    if (!err)
        postgres->in_transaction = false;
    return err;
}

static enum err on_setting(void *ctx, const struct database_value *columns, size_t count)
{
    *(bool *)ctx = count == 1 && bytes_equal_text(columns[0].bytes, "on");
    return ERR_OK;
}

/* The write lock is taken and given back; a standby gives it, but says that it takes no writes. */
static enum err postgres_probe(struct database *database, struct diag *diag)
{
    struct postgres *postgres = (struct postgres *)database;
    bool is_read_only = false;
    enum err err =
        postgres_exec(database, "BEGIN; SET LOCAL lock_timeout = 1000; " WRITE_LOCK_SQL, diag);
    postgres->in_transaction = !err;
    if (!err)
        err = postgres_query(database, "SELECT current_setting('transaction_read_only')", NULL, 0,
                             on_setting, &is_read_only, NULL, diag);
    if (!err && is_read_only)
        err = diag_set(diag, ERR_READ_ONLY,
                       "the PostgreSQL server takes no writes: it is a "
                       "standby, or was told to be read-only");
    postgres_rollback(database);
    return err;
}

static size_t lock_place(const struct postgres *postgres, int32_t number)
{
    size_t low = 0;
    size_t high = postgres->lock_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (postgres->locks[middle] < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has_lock(const struct postgres *postgres, int32_t number)
{
    size_t place = lock_place(postgres, number);
    return place < postgres->lock_count && postgres->locks[place] == number;
}

static enum err reserve_lock(struct postgres *postgres)
{
    if (postgres->lock_count < postgres->lock_capacity)
        return ERR_OK;
    size_t capacity = postgres->lock_capacity ? 2 * postgres->lock_capacity : 16;
    if (capacity > LOCKS_MAX)
        return ERR_TOO_MANY;
    int32_t *locks = mem_realloc(postgres->locks, capacity * sizeof(*locks));
    if (!locks)
        return ERR_NO_MEMORY;
    postgres->locks = locks;
    postgres->lock_capacity = capacity;
    return ERR_OK;
}

static void add_lock(struct postgres *postgres, int32_t number)
{
    size_t place = lock_place(postgres, number);
    memmove(postgres->locks + place + 1, postgres->locks + place,
            (postgres->lock_count - place) * sizeof(*postgres->locks));
    postgres->locks[place] = number;
    postgres->lock_count++;
}

static void remove_lock(struct postgres *postgres, int32_t number)
{
    size_t place = lock_place(postgres, number);
    postgres->lock_count--;
    memmove(postgres->locks + place, postgres->locks + place + 1,
            (postgres->lock_count - place) * sizeof(*postgres->locks));
}

static enum err on_answer(void *ctx, const struct database_value *columns, size_t count)
{
    *(bool *)ctx = count == 1 && columns[0].integer != 0;
    return ERR_OK;
}

static enum err ask_lock(struct postgres *postgres, const char *function, int32_t number,
                         bool *ret_answer, struct diag *diag)
{
    char sql[96];
    struct reading reading = {.on_row = on_answer, .ctx = ret_answer};
    *ret_answer = false;
    (void)snprintf(sql, sizeof(sql), "SELECT %s(" SOURCE_LOCK_CLASS ", %d)", function, number);
    return run(&postgres->lock_link, sql, NULL, 0, &reading, diag);
}

/* Whether the connection that has the locks still stands is asked at most once a second, however
 * many locks are asked for. */
static enum err check_lock_link(struct postgres *postgres, struct diag *diag)
{
    struct postgres_link *link = &postgres->lock_link;
    int64_t now_ns = clock_monotonic_ns(&clock_system);
    if (link->connection && now_ns - postgres->lock_checked_ns > LOCK_CHECK_AFTER_NS &&
        postgres_link_exec(link, "SELECT 1", NULL))
        postgres_link_close(link);
    enum err err = postgres_link_ensure(link, diag);
    if (err || postgres->lock_generation != link->generation)
        postgres->lock_count = 0;
    postgres->lock_generation = link->generation;
    postgres->lock_checked_ns = clock_monotonic_ns(&clock_system);
    return err;
}

static enum err take_lock(struct postgres *postgres, int32_t number, struct diag *diag)
{
    bool is_given;
    enum err err = check_lock_link(postgres, diag);
    if (err || has_lock(postgres, number))
        return err;
    err = reserve_lock(postgres);
    if (!err)
        err = ask_lock(postgres, "pg_try_advisory_lock", number, &is_given, diag);
    if (err)
        return err;
    if (!is_given)
        return diag_set(diag, ERR_BUSY, "another replica has the lock %d", number);
    add_lock(postgres, number);
    return ERR_OK;
}

static enum err postgres_lock(struct database *database, int32_t number, struct diag *diag)
{
    struct postgres *postgres = (struct postgres *)database;
    mutex_lock(&postgres->lock_mutex);
    enum err err = take_lock(postgres, number, diag);
    mutex_unlock(&postgres->lock_mutex);
    return err;
}

/* A lock that cannot be given back is given back with its connection. */
static void postgres_unlock(struct database *database, int32_t number)
{
    struct postgres *postgres = (struct postgres *)database;
    bool was_held;
    mutex_lock(&postgres->lock_mutex);
    if (has_lock(postgres, number)) {
        remove_lock(postgres, number);
        if (postgres->lock_link.connection &&
            ask_lock(postgres, "pg_advisory_unlock", number, &was_held, NULL))
            postgres_link_close(&postgres->lock_link);
    }
    mutex_unlock(&postgres->lock_mutex);
}

static void postgres_close(struct database *database)
{
    struct postgres *postgres = (struct postgres *)database;
    postgres_link_close(&postgres->link);
    postgres_link_close(&postgres->lock_link);
    mutex_fini(&postgres->lock_mutex);
    mutex_fini(&database->mutex);
    mem_free(postgres->locks);
    mem_free(postgres->url);
    mem_free(postgres);
}

static const struct database_ops postgres_ops = {
    .dialect = &dialect_postgres,
    .exec = postgres_exec,
    .query = postgres_query,
    .begin = postgres_begin,
    .commit = postgres_commit,
    .rollback = postgres_rollback,
    .lock = postgres_lock,
    .unlock = postgres_unlock,
    .probe = postgres_probe,
    .close = postgres_close,
};

enum err postgres_open(const char *url, struct database **ret_database, struct diag *diag)
{
    struct postgres *postgres = mem_zalloc(1, sizeof(*postgres));
    if (!postgres)
        return ERR_NO_MEMORY;
    postgres->url = mem_strdup(url);
    if (!postgres->url) {
        mem_free(postgres);
        return ERR_NO_MEMORY;
    }
    postgres->base.ops = &postgres_ops;
    mutex_init(&postgres->base.mutex);
    mutex_init(&postgres->lock_mutex);
    postgres_link_init(&postgres->link, postgres->url);
    postgres_link_init(&postgres->lock_link, postgres->url);
    enum err err = postgres_link_ensure(&postgres->link, diag);
    if (err) {
        postgres_close(&postgres->base);
        return err;
    }
    *ret_database = &postgres->base;
    return ERR_OK;
}
