#include "database/postgres.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "database/database_date.h"
#include "database/migrations.h"
#include "database/postgres_url.h"
#include "support/database_rig.h"
#include "support/postgres_server.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct postgres_server server;
static const char *no_server; /* why there is none */

#define TABLES                                                                                     \
    "data_source_metrics, data_sources, data_source_types, dataset_columns, "                      \
    "ingestor_migrations, t, a"

static int start_server(void **state)
{
    (void)state;
    (void)postgres_server_start(&server, &no_server);
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    postgres_server_stop(&server);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    if (!no_server)
        (void)postgres_server_ask(&server, "DROP TABLE IF EXISTS " TABLES);
    return 0;
}

#define NEEDS_SERVER()                                                                             \
    do {                                                                                           \
        if (no_server) {                                                                           \
            print_message("skipped: %s\n", no_server);                                             \
            skip();                                                                                \
        }                                                                                          \
    } while (0)

static struct database *open_ok(void)
{
    return rig_open(server.url);
}

static void test_urls(void **state)
{
    (void)state;
    static const char *const good[] = {
        "postgresql://user:pass%40word@host:5432/db",
        "postgres://host/db?sslmode=require",
        "postgresql://u@a:1,b:2/db?target_session_attrs=read-write",
        "postgresql://",
        "postgresql://[::1]/db",
        "postgresql:///db?host=/run/postgresql",
    };
    /* Each holds "hidden" where a hasty person puts a password. */
    static const char *const bad[] = {
        "postgresql://user:a@hidden@host/db",    "postgresql://user:hidden/b@host/db",
        "postgresql://user:hidden@host:port/db", "postgresql://user:hidden@host/db?what=1",
        "postgresql://user:%zzhidden@host/db",   "postgresql://user:hidden@[host/db",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(database_url_check(good[i], NULL), ERR_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct diag diag = {0};
        assert_int_equal(database_url_check(bad[i], &diag), ERR_INVALID);
        assert_non_null(strstr(diag.text, "postgresql://user:password@host"));
        assert_null(strstr(diag.text, "hidden"));
    }
}

static void test_shown_urls(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"postgresql://u:hidden@h:5433/db", "postgresql://u:********@h:5433/db"},
        {"postgres://u@h/db?pass%77ord=hidden&sslmode=require",
         "postgresql://u:********@h/db?sslmode=require"},
        {"postgresql://u@a:1,b:2/db", "postgresql://u@a,b:1,2/db"},
        {"postgresql:///db?host=/run&sslpassword=hidden",
         "postgresql:///db?host=/run&sslpassword=********"},
        {"postgresql://u:hidden@h/db?what=1", "postgresql://********"},
        {"sqlite:///a.db", "sqlite:///a.db"},
        {"mysql://u:hidden@h", "********"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct buf out;
        buf_init(&out, KIB);
        assert_int_equal(database_url_show(pairs[i][0], &out), ERR_OK);
        assert_null(strstr(buf_cstr(&out), "hidden"));
        if (i != 3) /* libpq's order */
            assert_string_equal(buf_cstr(&out), pairs[i][1]);
        buf_fini(&out);
    }
}

static enum err on_kinds(void *ctx, const struct database_value *columns, size_t count)
{
    assert_int_equal(count, 8);
    assert_int_equal(columns[0].kind, DATABASE_NULL);
    assert_int_equal(columns[1].integer, INT64_MIN);
    assert_true(columns[2].kind == DATABASE_NUMBER && columns[2].number == 0.1);
    assert_true(columns[3].kind == DATABASE_TEXT);
    assert_true(bytes_equal(columns[3].bytes, BYTES_LITERAL("a'b\\ü")));
    assert_true(columns[4].kind == DATABASE_BLOB);
    assert_true(bytes_equal(columns[4].bytes, BYTES_LITERAL("\0\xff\n")));
    assert_true(columns[5].kind == DATABASE_INTEGER && columns[5].integer == 1);
    assert_true(bytes_equal(columns[6].bytes, BYTES_LITERAL("2025-03-01 10:00:01.123456")));
    assert_true(bytes_equal(columns[7].bytes, BYTES_LITERAL("2025-03-01 09:00:00")));
    ++*(int *)ctx;
    return ERR_OK;
}

static enum err on_row_stop(void *ctx, const struct database_value *columns, size_t count)
{
    (void)columns;
    (void)count;
    ++*(int *)ctx;
    return ERR_STOPPED;
}

static void test_values(void **state)
{
    (void)state;
    NEEDS_SERVER();
    struct database *database = open_ok();
    const struct database_value values[8] = {
        database_null(),
        database_integer(INT64_MIN),
        database_number(0.1),
        database_text(BYTES_LITERAL("a'b\\ü")),
        database_blob(BYTES_LITERAL("\0\xff\n")),
        database_integer(1),
        database_text(BYTES_LITERAL("2025-03-01 10:00:01.123456")),
        database_text(BYTES_LITERAL("2025-03-01 10:00:00+01")),
    };
    int rows = 0;
    int64_t changes = 0;
    exec_ok(database, "CREATE TABLE t (a TEXT, b BIGINT, c DOUBLE PRECISION, d TEXT, e BYTEA, "
                      "f BOOLEAN, g TIMESTAMP, h TIMESTAMP WITH TIME ZONE)");
    for (int i = 0; i < 2; i++)
        assert_int_equal(database_query(database,
                                        "INSERT INTO t VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                                        values, 8, NULL, NULL, &changes, NULL),
                         ERR_OK);
    assert_int_equal(changes, 1);
    assert_int_equal(database_query(database, "SELECT * FROM t WHERE b = $2 AND d = $1 AND f = $3",
                                    (struct database_value[]){values[3], values[1], values[5]}, 3,
                                    on_kinds, &rows, NULL, NULL),
                     ERR_OK);
    assert_int_equal(rows, 2);
    rows = 0;
    assert_int_equal(
        database_query(database, "SELECT * FROM t", NULL, 0, on_row_stop, &rows, NULL, NULL),
        ERR_STOPPED);
    assert_int_equal(rows, 1);
    assert_int_equal(
        database_query(database, "UPDATE t SET a = 'x'", NULL, 0, NULL, NULL, &changes, NULL),
        ERR_OK);
    assert_int_equal(changes, 2);
    struct database_value nul = database_text(BYTES_LITERAL("a\0b"));
    assert_int_equal(
        database_query(database, "UPDATE t SET a = $1", &nul, 1, NULL, NULL, NULL, NULL),
        ERR_INVALID);
    assert_int_equal(get_integer(database, "SELECT sum(b / b) FROM t"), 2); /* NUMERIC */
    database_close(database);
}

static void test_errors(void **state)
{
    (void)state;
    NEEDS_SERVER();
    struct database *database = open_ok();
    struct diag diag = {0};
    struct database_value value = database_text(BYTES_LITERAL("hidden"));
    exec_ok(database, "CREATE TABLE t (a VARCHAR(8) UNIQUE, b INTEGER NOT NULL); "
                      "INSERT INTO t VALUES ('hidden', 1)");
    assert_int_equal(database_query(database, "INSERT INTO t VALUES ($1, 1)", &value, 1, NULL, NULL,
                                    NULL, &diag),
                     ERR_CONFLICT);
    assert_null(strstr(diag.text, "hidden"));
    assert_non_null(strstr(diag.text, "the PostgreSQL database postgres at "));
    static const struct {
        const char *sql;
        enum err err;
    } cases[] = {
        {"SELECT x FROM nowhere", ERR_INVALID},
        {"INSERT INTO t VALUES ('123456789', 1)", ERR_TOO_LARGE},
        {"INSERT INTO t VALUES ('x', NULL)", ERR_CONFLICT},
        {"BEGIN READ ONLY; DELETE FROM t", ERR_READ_ONLY},
        {"COPY t FROM STDIN", ERR_INVALID},
        {"", ERR_INVALID},
        {"SELECT pg_sleep(9)", ERR_BUSY},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (i == sizeof(cases) / sizeof(cases[0]) - 1)
            exec_ok(database, "SET statement_timeout = 20");
        assert_int_equal(database_exec(database, cases[i].sql, NULL), cases[i].err);
    }
    database_close(database);
    database = open_ok();
    assert_int_equal(get_integer(database, "SELECT count(*) FROM t"), 1);
    database_close(database);
}

static enum err insert_then(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    enum err err = database_transaction_exec(transaction, "INSERT INTO t VALUES (1), (2)", diag);
    return err ? err : *(enum err *)ctx;
}

static enum err swallow(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    (void)ctx;
    (void)diag;
    (void)!database_transaction_exec(transaction, "INSERT INTO t VALUES (1), (2)", NULL);
    return ERR_OK;
}

static void test_transactions(void **state)
{
    (void)state;
    NEEDS_SERVER();
    struct database *database = open_ok();
    enum err outcome = ERR_STOPPED;
    exec_ok(database, "CREATE TABLE t (a INTEGER UNIQUE)");
    assert_int_equal(database_transact(database, insert_then, &outcome, NULL), ERR_STOPPED);
    assert_int_equal(get_integer(database, "SELECT count(*) FROM t"), 0);
    outcome = ERR_OK;
    assert_int_equal(database_transact(database, insert_then, &outcome, NULL), ERR_OK);
    assert_int_equal(get_integer(database, "SELECT count(*) FROM t"), 2);
    assert_int_equal(database_transact(database, insert_then, &outcome, NULL), ERR_CONFLICT);
    /* A transaction that overlooks a failure did not happen, and is not called a success. */
    assert_int_equal(database_transact(database, swallow, NULL, NULL), ERR_BUG);
    assert_int_equal(get_integer(database, "SELECT count(*) FROM t"), 2);
    database_close(database);
}

/* Kills what the connection of a database is served by. */
static void kill_backend(struct database *database)
{
    char sql[96];
    (void)snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%lld, 60000)::int",
                   (long long)get_integer(database, "SELECT pg_backend_pid()"));
    assert_int_equal(postgres_server_ask(&server, "SELECT 1"), 1);
    (void)postgres_server_ask(&server, sql);
}

static void test_reconnects(void **state)
{
    (void)state;
    NEEDS_SERVER();
    struct database *database = open_ok();
    exec_ok(database, "CREATE TABLE t (a INTEGER)");
    kill_backend(database);
    exec_ok(database, "INSERT INTO t VALUES (1)");
    postgres_server_shut_down(&server);
    struct diag diag = {0};
    assert_int_equal(database_exec(database, "INSERT INTO t VALUES (2)", &diag), ERR_IO);
    assert_int_equal(err_class(ERR_IO), ERR_CLASS_RETRY);
    assert_non_null(strstr(diag.text, server.folder));
    /* At once, with the same reason. */
    struct diag again = {0};
    assert_int_equal(database_exec(database, "INSERT INTO t VALUES (2)", &again), ERR_IO);
    assert_string_equal(again.text, diag.text);
    postgres_server_start_again(&server);
    enum err err;
    do
        err = database_exec(database, "INSERT INTO t VALUES (2)", NULL);
    while (err == ERR_IO);
    assert_int_equal(err, ERR_OK);
    postgres_server_crash(&server);
    postgres_server_start_again(&server);
    exec_ok(database, "INSERT INTO t VALUES (3)"); /* it came back before anybody looked */
    assert_int_equal(get_integer(database, "SELECT count(*) FROM t"), 3);
    database_close(database);
}

static enum err killed_inside(struct database_transaction *transaction, void *ctx,
                              struct diag *diag)
{
    (void)ctx;
    enum err err = database_transaction_exec(transaction, "INSERT INTO t VALUES (1)", diag);
    postgres_server_crash(&server);
    postgres_server_start_again(&server);
    return err ? err : database_transaction_exec(transaction, "INSERT INTO t VALUES (2)", diag);
}

static enum err killed_before_commit(struct database_transaction *transaction, void *ctx,
                                     struct diag *diag)
{
    (void)ctx;
    enum err err = database_transaction_exec(transaction, "INSERT INTO t VALUES (1)", diag);
    postgres_server_crash(&server);
    postgres_server_start_again(&server);
    return err;
}

/* A half of a transaction is never there, nor done again on a new connection. */
static void test_killed_inside(void **state)
{
    (void)state;
    NEEDS_SERVER();
    struct database *database = open_ok();
    exec_ok(database, "CREATE TABLE t (a INTEGER)");
    assert_int_equal(database_transact(database, killed_inside, NULL, NULL), ERR_IO);
    assert_int_equal(get_integer(database, "SELECT count(*) FROM t"), 0);
    assert_int_equal(database_transact(database, killed_before_commit, NULL, NULL), ERR_IO);
    assert_int_equal(get_integer(database, "SELECT count(*) FROM t"), 0);
    /* A statement that dies in the middle: it may have run, so it is not tried again. */
    assert_int_equal(database_exec(database,
                                   "INSERT INTO t VALUES (1); "
                                   "SELECT pg_terminate_backend(pg_backend_pid())",
                                   NULL),
                     ERR_IO);
    assert_int_equal(get_integer(database, "SELECT count(*) FROM t"), 0);
    database_close(database);
}

/* A server that says nothing any more, as behind a network that swallows everything. */
static void test_frozen(void **state)
{
    (void)state;
    NEEDS_SERVER();
    struct database *database = open_ok();
    struct diag diag = {0};
    pid_t backend = (pid_t)get_integer(database, "SELECT pg_backend_pid()");
    assert_int_equal(kill(backend, SIGSTOP), 0);
    assert_int_equal(database_exec(database, "SELECT 1", &diag), ERR_IO);
    assert_non_null(strstr(diag.text, "no answer within 6 s"));
    exec_ok(database, "SELECT 1"); /* over another connection */
    assert_int_equal(kill(backend, SIGCONT), 0);
    assert_int_equal(kill(server.pid, SIGSTOP), 0); /* takes no connection */
    struct database *other = NULL;
    diag = (struct diag){0};
    assert_int_equal(database_open(server.url, &other, &diag), ERR_IO);
    assert_non_null(strstr(diag.text, "timeout expired"));
    assert_int_equal(kill(server.pid, SIGCONT), 0);
    database_close(database);
}

static enum err probe_other(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    (void)transaction;
    return database_probe(ctx, diag);
}

static void test_probe(void **state)
{
    (void)state;
    NEEDS_SERVER();
    struct database *database = open_ok();
    struct database *other = open_ok();
    struct diag diag = {0};
    assert_int_equal(database_probe(database, NULL), ERR_OK);
    assert_int_equal(database_probe(database, NULL), ERR_OK);
    assert_int_equal(database_transact(other, probe_other, database, &diag), ERR_BUSY);
    assert_int_equal(database_probe(database, NULL), ERR_OK);
    exec_ok(database, "SET default_transaction_read_only = on");
    diag = (struct diag){0};
    assert_int_equal(database_probe(database, &diag), ERR_READ_ONLY);
    assert_non_null(strstr(diag.text, "takes no writes"));
    postgres_server_crash(&server);
    assert_int_equal(database_probe(database, NULL), ERR_IO);
    postgres_server_start_again(&server);
    enum err err;
    do
        err = database_probe(database, NULL);
    while (err == ERR_IO);
    assert_int_equal(err, ERR_OK);
    database_close(database);
    database_close(other);
}

static void test_passwords(void **state)
{
    (void)state;
    NEEDS_SERVER();
    char url[256];
    struct database *database = NULL;
    struct diag diag = {0};
    (void)snprintf(url, sizeof(url), "postgresql://walled:pass%%20word%%401@/postgres?host=%s",
                   server.folder);
    assert_int_equal(database_open(url, &database, &diag), ERR_OK);
    database_close(database);
    (void)snprintf(url, sizeof(url), "postgresql://walled:hidden@/postgres?host=%s", server.folder);
    assert_int_equal(database_open(url, &database, &diag), ERR_IO);
    assert_non_null(strstr(diag.text, "password authentication failed for user \"walled\""));
    assert_null(strstr(diag.text, "hidden"));
}

enum { RACERS = 6 };

static void *race_migrations(void *ctx)
{
    struct database *database = NULL;
    enum err *err = ctx;
    *err = database_open(server.url, &database, NULL);
    if (!*err)
        *err = migrations_apply(database, &migrations_sources, NULL);
    database_close(database);
    return NULL;
}

static void test_migrations(void **state)
{
    (void)state;
    NEEDS_SERVER();
    pthread_t threads[RACERS];
    enum err errs[RACERS];
    for (int i = 0; i < RACERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race_migrations, &errs[i]), 0);
    for (int i = 0; i < RACERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(errs[i], ERR_OK);
    }
    struct database *database = open_ok();
    assert_int_equal(get_integer(database, "SELECT version FROM ingestor_migrations "
                                           "WHERE name = 'sources'"),
                     migrations_sources.step_count);
    assert_int_equal(get_integer(database, "SELECT count(*) FROM dataset_columns"), 0);
    database_close(database);
}

static void test_locks(void **state)
{
    (void)state;
    NEEDS_SERVER();
    struct database *database = open_ok();
    struct database *other = open_ok();
    struct diag diag = {0};
    for (int32_t number = 100; number > 0; number--)
        assert_int_equal(database_lock(database, number, NULL), ERR_OK);
    assert_int_equal(database_lock(database, 7, NULL), ERR_OK); /* again */
    assert_int_equal(database_lock(other, 7, &diag), ERR_BUSY);
    assert_int_equal(database_lock(other, -7, NULL), ERR_OK);
    database_unlock(database, 7);
    database_unlock(database, 7);
    assert_int_equal(database_lock(other, 7, NULL), ERR_OK);
    assert_int_equal(database_lock(database, 7, NULL), ERR_BUSY);
    /* Its holder gone, it is free. */
    database_close(other);
    enum err err;
    do
        err = database_lock(database, 7, NULL);
    while (err == ERR_BUSY);
    assert_int_equal(err, ERR_OK);
    database_close(database);
}

/* The connection that has the locks breaks: whoever asks again, learns it. */
static void test_locks_lost(void **state)
{
    (void)state;
    NEEDS_SERVER();
    struct database *database = open_ok();
    struct database *other = open_ok();
    assert_int_equal(database_lock(database, 1, NULL), ERR_OK);
    assert_int_equal(database_lock(database, 2, NULL), ERR_OK);
    (void)postgres_server_ask(&server, "SELECT pg_terminate_backend(pid, 60000)::int FROM pg_locks "
                                       "WHERE locktype = 'advisory' AND objid = 1");
    assert_int_equal(database_lock(other, 1, NULL), ERR_OK);
    assert_int_equal(database_lock(database, 1, NULL), ERR_BUSY);
    assert_int_equal(database_lock(database, 2, NULL), ERR_OK);
    assert_int_equal(database_lock(other, 2, NULL), ERR_BUSY);
    postgres_server_crash(&server);
    assert_int_equal(database_lock(database, 2, NULL), ERR_IO);
    database_unlock(database, 2);
    postgres_server_start_again(&server);
    exec_ok(other, "SELECT 1"); /* statements are not bothered by any of it */
    database_close(database);
    database_close(other);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    NEEDS_SERVER();
    const struct database_value value = database_text(BYTES_LITERAL("text"));
    for (uint64_t k = 1;; k++) {
        struct database *database = NULL;
        mem_fail_at(k);
        enum err err = database_open(server.url, &database, NULL);
        if (!err)
            err = database_query(database, "SELECT $1::text", &value, 1, NULL, NULL, NULL, NULL);
        if (!err)
            err = database_lock(database, 1, NULL);
        int failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        database_close(database);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_shown_urls),
        cmocka_unit_test_setup(test_values, set_up),
        cmocka_unit_test_setup(test_errors, set_up),
        cmocka_unit_test_setup(test_transactions, set_up),
        cmocka_unit_test_setup(test_reconnects, set_up),
        cmocka_unit_test_setup(test_killed_inside, set_up),
        cmocka_unit_test_setup(test_frozen, set_up),
        cmocka_unit_test_setup(test_probe, set_up),
        cmocka_unit_test_setup(test_passwords, set_up),
        cmocka_unit_test_setup(test_migrations, set_up),
        cmocka_unit_test_setup(test_locks, set_up),
        cmocka_unit_test_setup(test_locks_lost, set_up),
        cmocka_unit_test_setup(test_out_of_memory, set_up),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
