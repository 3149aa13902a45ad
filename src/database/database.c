#include "database/database.h"

#include "database/postgres.h"
#include "database/postgres_url.h"
#include "database/sqlite.h"

#include <assert.h>

struct database_transaction {
    struct database *database;
};

#define SQLITE_PREFIX "sqlite:///"

enum err database_url_check(const char *url, struct diag *diag)
{
    size_t scheme_size = strcspn(url, ":");
    if (strncmp(url, SQLITE_PREFIX, sizeof(SQLITE_PREFIX) - 1) == 0) {
        if (url[sizeof(SQLITE_PREFIX) - 1] == 0)
            return diag_set(diag, ERR_INVALID, "the database URL names no file after %s",
                            SQLITE_PREFIX);
        return ERR_OK;
    }
    if (strncmp(url, "sqlite:", 7) == 0)
        return diag_set(diag, ERR_INVALID,
                        "a SQLite URL is sqlite:///relative/path or sqlite:////absolute/path");
    if (postgres_url_is(url))
        return postgres_url_check(url, diag);
    /* Not the URL itself: it may hold a password. */
    return diag_set(diag, ERR_UNSUPPORTED,
                    "databases of the scheme \"%.*s\" are not supported, only sqlite:///path "
                    "and postgresql://user:password@host:port/database",
                    scheme_size > 32 ? 32 : (int)scheme_size, url);
}

enum err database_url_show(const char *url, struct buf *out)
{
    if (postgres_url_is(url))
        return postgres_url_show(url, out);
    bool is_plain = strncmp(url, "sqlite:", 7) == 0;
    return buf_text(out, is_plain ? url : "********");
}

enum err database_open(const char *url, struct database **ret_database, struct diag *diag)
{
    enum err err = database_url_check(url, diag);
    if (err)
        return err;
    if (postgres_url_is(url))
        return postgres_open(url, ret_database, diag);
    return sqlite_open(url + sizeof(SQLITE_PREFIX) - 1, ret_database, diag);
}

enum err database_open_to_read(const char *url, struct database **ret_database, struct diag *diag)
{
    enum err err = database_url_check(url, diag);
    if (err)
        return err;
    if (postgres_url_is(url))
        return diag_set(diag, ERR_UNSUPPORTED, "only a SQLite database is opened to read it");
    return sqlite_open_to_read(url + sizeof(SQLITE_PREFIX) - 1, ret_database, diag);
}

void database_close(struct database *database)
{
    if (database)
        database->ops->close(database);
}

enum err database_probe(struct database *database, struct diag *diag)
{
    mutex_lock(&database->mutex);
    enum err err = database->ops->probe(database, diag);
    mutex_unlock(&database->mutex);
    return err;
}

enum err database_exec(struct database *database, const char *sql, struct diag *diag)
{
    mutex_lock(&database->mutex);
    enum err err = database->ops->exec(database, sql, diag);
    mutex_unlock(&database->mutex);
    return err;
}

enum err database_query(struct database *database, const char *sql,
                        const struct database_value *parameters, size_t parameter_count,
                        database_on_row on_row, void *ctx, int64_t *ret_changes, struct diag *diag)
{
    assert(parameter_count <= DATABASE_PARAMETERS_MAX);
    mutex_lock(&database->mutex);
    enum err err = database->ops->query(database, sql, parameters, parameter_count, on_row, ctx,
                                        ret_changes, diag);
    mutex_unlock(&database->mutex);
    return err;
}

enum err database_transact(struct database *database,
                           enum err (*run)(struct database_transaction *transaction, void *ctx,
                                           struct diag *diag),
                           void *ctx, struct diag *diag)
{
    struct database_transaction transaction = {database};
    mutex_lock(&database->mutex);
    enum err err = database->ops->begin(database, diag);
    if (!err) {
        err = run(&transaction, ctx, diag);
        if (!err)
            err = database->ops->commit(database, diag);
        if (err)
            database->ops->rollback(database);
    }
    mutex_unlock(&database->mutex);
    return err;
}

enum err database_transaction_exec(struct database_transaction *transaction, const char *sql,
                                   struct diag *diag)
{
    return transaction->database->ops->exec(transaction->database, sql, diag);
}

enum err database_transaction_query(struct database_transaction *transaction, const char *sql,
                                    const struct database_value *parameters, size_t parameter_count,
                                    database_on_row on_row, void *ctx, int64_t *ret_changes,
                                    struct diag *diag)
{
    assert(parameter_count <= DATABASE_PARAMETERS_MAX);
    return transaction->database->ops->query(transaction->database, sql, parameters,
                                             parameter_count, on_row, ctx, ret_changes, diag);
}

enum err database_lock(struct database *database, int32_t number, struct diag *diag)
{
    return database->ops->lock ? database->ops->lock(database, number, diag) : ERR_OK;
}

void database_unlock(struct database *database, int32_t number)
{
    if (database->ops->unlock)
        database->ops->unlock(database, number);
}

void database_set_patience(struct database *database, int timeout_ms)
{
    mutex_lock(&database->mutex);
    if (database->ops->set_patience)
        database->ops->set_patience(database, timeout_ms);
    mutex_unlock(&database->mutex);
}
