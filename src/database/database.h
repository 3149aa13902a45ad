#pragma once
/*
 * One small interface to a relational database, SQLite or PostgreSQL. SQL is written in the subset
 * both speak, with parameters $1, $2, … in order, and for types in table definitions the words of
 * database/dialect.h. Dates are texts (database/database_date.h), booleans the integers 0 and 1,
 * JSON is text.
 *
 * Any thread: one mutex per handle, held for a statement or a whole transaction (never call
 * database_* on the same handle from inside a transaction: use the transaction). Calls block, at
 * most about DATABASE_BUSY_TIMEOUT_MS on another's lock.
 *
 * Errors: ERR_BUSY (locked by another), ERR_IO (cannot be opened or reached), ERR_NO_SPACE,
 * ERR_NO_MEMORY: come again. ERR_CONFLICT (a uniqueness or foreign key stands against it),
 * ERR_READ_ONLY, ERR_PERMISSION, ERR_CORRUPT, ERR_INVALID (the SQL), ERR_UNSUPPORTED (the URL), and
 * whatever a row callback returns. diag is a sentence without secrets.
 */
#include "base/bytes.h"
#include "base/err.h"
#include "database/dialect.h"
#include "os/thread.h"

#define DATABASE_BUSY_TIMEOUT_MS 5000
/* Ends what is said of a file that was removed while it was open. */
#define DATABASE_GONE_ADVICE    "; put it back, or start the service again"
#define DATABASE_PARAMETERS_MAX 64
#define DATABASE_COLUMNS_MAX    64

enum database_kind {
    DATABASE_NULL,
    DATABASE_INTEGER,
    DATABASE_NUMBER,
    DATABASE_TEXT,
    DATABASE_BLOB,
};

struct database_value {
    enum database_kind kind;
    int64_t integer;
    double number;
    struct bytes bytes; /* TEXT (a NUL after it in rows, not counted) and BLOB */
};

static inline struct database_value database_integer(int64_t integer)
{
    return (struct database_value){.kind = DATABASE_INTEGER, .integer = integer};
}

static inline struct database_value database_number(double number)
{
    return (struct database_value){.kind = DATABASE_NUMBER, .number = number};
}

static inline struct database_value database_text(struct bytes text)
{
    return (struct database_value){.kind = DATABASE_TEXT, .bytes = text};
}

static inline struct database_value database_blob(struct bytes blob)
{
    return (struct database_value){.kind = DATABASE_BLOB, .bytes = blob};
}

static inline struct database_value database_null(void)
{
    return (struct database_value){.kind = DATABASE_NULL};
}

/* The values live for the call. */
typedef enum err (*database_on_row)(void *ctx, const struct database_value *columns, size_t count);

struct database;
struct database_transaction; /* a handle that is valid inside database_transact only */

/* sqlite:///relative/path, sqlite:////absolute/path, sqlite:///:memory:; missing folders are made.
 * postgresql://user:password@host:port/database (or postgres://): connects. Other schemes:
 * ERR_UNSUPPORTED. */
enum err database_open(const char *url, struct database **ret_database,
                       struct diag *diag) ERR_MUST_USE;
/* What is there, without making or changing anything: where it cannot be written, too. For a few
 * queries, then close it: another may write the file meanwhile. Waits for locks hardly at all.
 * SQLite only; else ERR_UNSUPPORTED. */
enum err database_open_to_read(const char *url, struct database **ret_database,
                               struct diag *diag) ERR_MUST_USE;
void database_close(struct database *database); /* NULL is fine */
/* Whether the URL is of a kind that database_open knows, without touching anything. */
enum err database_url_check(const char *url, struct diag *diag) ERR_MUST_USE;
/* Appends the URL for people to see, with "********" for passwords. */
enum err database_url_show(const char *url, struct buf *out) ERR_MUST_USE;

/* How long this handle's calls wait for another's lock, instead of DATABASE_BUSY_TIMEOUT_MS: for a
 * thread that has better things to do. */
void database_set_patience(struct database *database, int timeout_ms);

/* One or more statements without parameters and rows. */
enum err database_exec(struct database *database, const char *sql, struct diag *diag) ERR_MUST_USE;
/* One statement. on_row may be NULL. ret_changes (rows inserted, updated, deleted) may be NULL. */
enum err database_query(struct database *database, const char *sql,
                        const struct database_value *parameters, size_t parameter_count,
                        database_on_row on_row, void *ctx, int64_t *ret_changes,
                        struct diag *diag) ERR_MUST_USE;

/* Begins (taking the write lock at once), calls run, commits when it returns ERR_OK and rolls back
 * otherwise. */
enum err database_transact(struct database *database,
                           enum err (*run)(struct database_transaction *transaction, void *ctx,
                                           struct diag *diag),
                           void *ctx, struct diag *diag) ERR_MUST_USE;
enum err database_transaction_exec(struct database_transaction *transaction, const char *sql,
                                   struct diag *diag) ERR_MUST_USE;
enum err database_transaction_query(struct database_transaction *transaction, const char *sql,
                                    const struct database_value *parameters, size_t parameter_count,
                                    database_on_row on_row, void *ctx, int64_t *ret_changes,
                                    struct diag *diag) ERR_MUST_USE;

/* A lock of that number that one process at a time holds, over all that use the database, until it
 * unlocks it, closes the database or dies. Asking again for one that is held tells whether it still
 * is: ERR_BUSY when the connection broke and another took it. SQLite: always given. */
enum err database_lock(struct database *database, int32_t number, struct diag *diag) ERR_MUST_USE;
void database_unlock(struct database *database, int32_t number);

/* Whether it could be written to now, without writing: ERR_OK, or why not (gone, read-only, locked
 * by another for a second or more). */
enum err database_probe(struct database *database, struct diag *diag) ERR_MUST_USE;

/* What a driver fills in. Called under the mutex. */
struct database_ops {
    const struct dialect *dialect;
    enum err (*exec)(struct database *database, const char *sql, struct diag *diag);
    enum err (*query)(struct database *database, const char *sql,
                      const struct database_value *parameters, size_t parameter_count,
                      database_on_row on_row, void *ctx, int64_t *ret_changes, struct diag *diag);
    enum err (*begin)(struct database *database, struct diag *diag);
    enum err (*commit)(struct database *database, struct diag *diag);
    void (*rollback)(struct database *database);
    /* Both NULL: locks are always given. Called without the mutex. */
    enum err (*lock)(struct database *database, int32_t number, struct diag *diag);
    void (*unlock)(struct database *database, int32_t number);
    enum err (*probe)(struct database *database, struct diag *diag);
    void (*close)(struct database *database);                        /* frees the handle */
    void (*set_patience)(struct database *database, int timeout_ms); /* NULL: cannot */
};

struct database {
    const struct database_ops *ops;
    struct mutex mutex;
};
