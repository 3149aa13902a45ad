#include "database/database.h"

#include "base/alloc.h"
#include "database/migrations.h"
#include "support/database_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/database_test.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command); /* NOLINT */
}

static const char *url(const char *name)
{
    static char text[160];
    (void)snprintf(text, sizeof(text), "sqlite:///%s/%s", folder, name);
    return text;
}

static struct database *open_ok(const char *name)
{
    return rig_open(url(name));
}

static void test_urls(void **state)
{
    (void)state;
    struct diag diag = {0};
    assert_int_equal(database_url_check("sqlite:///./ingestor.db", &diag), ERR_OK);
    assert_int_equal(database_url_check("sqlite:////abs/path.db", &diag), ERR_OK);
    assert_int_equal(database_url_check("sqlite:///:memory:", &diag), ERR_OK);
    assert_int_equal(database_url_check("sqlite://", &diag), ERR_INVALID);
    assert_int_equal(database_url_check("sqlite:///", NULL), ERR_INVALID);
    diag = (struct diag){0};
    assert_int_equal(database_url_check("mysql://user:secret@host/db", &diag), ERR_UNSUPPORTED);
    assert_non_null(strstr(diag.text, "\"mysql\""));
    assert_null(strstr(diag.text, "secret"));
    assert_int_equal(database_url_check("", NULL), ERR_UNSUPPORTED);
    struct database *database;
    assert_int_equal(database_open("mysql://x", &database, NULL), ERR_UNSUPPORTED);
}

static enum err on_kinds(void *ctx, const struct database_value *columns, size_t count)
{
    assert_int_equal(count, 5);
    assert_int_equal(columns[0].kind, DATABASE_NULL);
    assert_int_equal(columns[1].integer, INT64_MIN);
    assert_true(columns[2].kind == DATABASE_NUMBER && columns[2].number == 0.5);
    assert_true(columns[3].kind == DATABASE_TEXT);
    assert_true(bytes_equal(columns[3].bytes, BYTES_LITERAL("a'b\0c")));
    assert_true(columns[4].kind == DATABASE_BLOB);
    assert_true(bytes_equal(columns[4].bytes, BYTES_LITERAL("\0\xff")));
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
    struct database *database = open_ok("deep/folders/values.db");
    const struct database_value values[5] = {
        database_null(), database_integer(INT64_MIN), database_number(0.5),
        database_text(BYTES_LITERAL("a'b\0c")), database_blob(BYTES_LITERAL("\0\xff"))};
    int rows = 0;
    int64_t changes = 0;
    exec_ok(database, "CREATE TABLE t (a TEXT, b INTEGER, c REAL, d TEXT, e BLOB)");
    for (int i = 0; i < 2; i++)
        assert_int_equal(database_query(database, "INSERT INTO t VALUES ($1, $2, $3, $4, $5)",
                                        values, 5, NULL, NULL, &changes, NULL),
                         ERR_OK);
    assert_int_equal(changes, 1);
    assert_int_equal(database_query(database, "SELECT * FROM t WHERE b = $1 AND d = $2",
                                    (struct database_value[]){values[1], values[3]}, 2, on_kinds,
                                    &rows, NULL, NULL),
                     ERR_OK);
    assert_int_equal(rows, 2);
    rows = 0;
    assert_int_equal(
        database_query(database, "SELECT * FROM t", NULL, 0, on_row_stop, &rows, NULL, NULL),
        ERR_STOPPED);
    assert_int_equal(rows, 1);
    database_close(database);
}

/* A parameter's number counts, not where it stands. */
static void test_parameter_numbers(void **state)
{
    (void)state;
    struct database *database = open_ok("numbers.db");
    const struct database_value values[2] = {database_integer(1), database_integer(2)};
    int64_t found = 0;
    assert_int_equal(database_query(database, "SELECT $2 * 100 + $1 * 10 + $2", values, 2,
                                    on_integer, &found, NULL, NULL),
                     ERR_OK);
    assert_int_equal(found, 212);
    database_close(database);
}

static enum err on_two(void *ctx, const struct database_value *columns, size_t count)
{
    ((int64_t *)ctx)[0] = columns[0].integer;
    ((int64_t *)ctx)[1] = (int64_t)count;
    return ERR_STOPPED;
}

/* More statements than are kept prepared, each several times; one that ended in the middle, and
 * one whose table has changed. */
static void test_statements_again(void **state)
{
    (void)state;
    struct database *database = open_ok("again.db");
    char sql[128];
    struct diag diag = {0};
    int64_t seen[2];
    assert_int_equal(
        database_exec(database, "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (3), (4)", &diag),
        ERR_OK);
    for (int i = 0; i < 200; i++) {
        struct database_value value = database_integer(i);
        snprintf(sql, sizeof(sql), "SELECT %d + $1, * FROM t", i % 50);
        assert_int_equal(database_query(database, sql, &value, 1, on_two, seen, NULL, &diag),
                         ERR_STOPPED);
        assert_int_equal(seen[0], i % 50 + i);
        assert_int_equal(seen[1], i < 150 ? 2 : 3);
        if (i == 149) /* nothing that was not read to its end stands in the way */
            assert_int_equal(database_exec(database, "ALTER TABLE t ADD COLUMN b INTEGER", &diag),
                             ERR_OK);
    }
    assert_int_equal(database_query(database, sql, NULL, 0, on_two, seen, NULL, &diag),
                     ERR_INVALID); /* no parameter of before is left */
    database_close(database);
}

static void test_wrong_sql(void **state)
{
    (void)state;
    struct database *database = open_ok("wrong.db");
    struct database_value value = database_integer(1);
    struct diag diag = {0};
    assert_int_equal(
        database_query(database, "SELECT x FROM nowhere", NULL, 0, NULL, NULL, NULL, &diag),
        ERR_INVALID);
    assert_non_null(strstr(diag.text, "nowhere"));
    assert_int_equal(database_query(database, "", NULL, 0, NULL, NULL, NULL, NULL), ERR_INVALID);
    assert_int_equal(database_query(database, "SELECT 1", &value, 1, NULL, NULL, NULL, NULL),
                     ERR_INVALID);
    assert_int_equal(database_query(database, "SELECT $1", NULL, 0, NULL, NULL, NULL, NULL),
                     ERR_INVALID);
    assert_int_equal(database_query(database, "SELECT $2", &value, 1, NULL, NULL, NULL, NULL),
                     ERR_INVALID);
    assert_int_equal(database_query(database, "SELECT ?", &value, 1, NULL, NULL, NULL, NULL),
                     ERR_INVALID);
    assert_int_equal(get_integer(database, "PRAGMA foreign_keys"), 1);
    database_close(database);
}

static enum err insert_then(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    enum err err = database_transaction_exec(transaction, "INSERT INTO t VALUES (1), (2)", diag);
    return err ? err : *(enum err *)ctx;
}

static void test_transactions(void **state)
{
    (void)state;
    struct database *database = open_ok("transactions.db");
    enum err outcome = ERR_STOPPED;
    exec_ok(database, "CREATE TABLE t (a INTEGER UNIQUE)");
    assert_int_equal(database_transact(database, insert_then, &outcome, NULL), ERR_STOPPED);
    assert_int_equal(get_integer(database, "SELECT count(*) FROM t"), 0);
    outcome = ERR_OK;
    assert_int_equal(database_transact(database, insert_then, &outcome, NULL), ERR_OK);
    assert_int_equal(get_integer(database, "SELECT count(*) FROM t"), 2);
    assert_int_equal(database_transact(database, insert_then, &outcome, NULL), ERR_CONFLICT);
    assert_int_equal(get_integer(database, "SELECT count(*) FROM t"), 2);
    database_close(database);
}

static void test_failures_are_told_apart(void **state)
{
    (void)state;
    struct database *database = open_ok("failures.db");
    struct database *other = open_ok("failures.db");
    struct diag diag = {0};
    exec_ok(database, "CREATE TABLE t (a)");
    exec_ok(other, "PRAGMA busy_timeout = 0");
    exec_ok(database, "BEGIN IMMEDIATE");
    assert_int_equal(database_exec(other, "INSERT INTO t VALUES (1)", &diag), ERR_BUSY);
    assert_int_equal(err_class(ERR_BUSY), ERR_CLASS_RETRY);
    assert_non_null(strstr(diag.text, "failures.db"));
    exec_ok(database, "COMMIT");
    exec_ok(other, "INSERT INTO t VALUES (1)");
    exec_ok(other, "PRAGMA query_only = 1");
    assert_int_equal(database_exec(other, "INSERT INTO t VALUES (1)", NULL), ERR_READ_ONLY);
    exec_ok(database, "PRAGMA max_page_count = 1");
    assert_int_equal(database_exec(database, "INSERT INTO t VALUES (zeroblob(1000000))", NULL),
                     ERR_NO_SPACE);
    database_close(database);
    database_close(other);
}

static void test_damaged_and_missing(void **state)
{
    (void)state;
    char path[128];
    struct database *database = NULL;
    (void)snprintf(path, sizeof(path), "%s/damaged.db", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        (void)fputs("no database ", file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(database_open(url("damaged.db"), &database, NULL), ERR_CORRUPT);
    assert_int_equal(database_open(url("damaged.db/below"), &database, NULL) == ERR_OK, 0);
    (void)snprintf(path, sizeof(path), "sqlite:///%s", folder);
    assert_int_equal(database_open(path, &database, NULL), ERR_IO); /* a folder */
}

/* Root may write wherever the file system itself does not forbid it. */
static void folder_close(const char *path, bool closed)
{
    char command[200];
    (void)snprintf(command, sizeof(command),
                   geteuid() == 0 ? "chattr %si %s 2>/dev/null" : "chmod u%sw %s",
                   closed == (geteuid() == 0) ? "+" : "-", path);
    if (system(command) != 0 && closed)
        skip();
}

/* Which file, and what its folder must be: SQLite says "unable to open database file". */
static void test_where_nothing_can_be_written(void **state)
{
    (void)state;
    char path[128], expected[300];
    struct database *database = NULL;
    struct diag diag[3] = {0};
    (void)snprintf(path, sizeof(path), "%s/flat", folder);
    assert_int_equal(fclose(fopen(path, "w")), 0);
    (void)snprintf(expected, sizeof(expected), "%s is not a folder; move it away", path);
    assert_int_equal(database_open(url("flat/below/a.db"), &database, &diag[0]), ERR_NOT_A_FOLDER);
    assert_non_null(strstr(diag[0].text, expected));
    assert_non_null(strstr(diag[0].text, "/flat/below/a.db"));
    (void)snprintf(path, sizeof(path), "%s/closed", folder);
    database_close(open_ok("closed/old.db"));
    folder_close(path, true);
    enum err made = database_open(url("closed/new.db"), &database, &diag[1]);
    enum err opened = database_open(url("closed/old.db"), &database, &diag[2]);
    folder_close(path, false);
    assert_int_not_equal(made, ERR_OK);
    assert_int_not_equal(opened, ERR_OK);
    assert_non_null(strstr(diag[1].text, "/closed/new.db"));
    assert_non_null(strstr(diag[1].text, "its folder must exist"));
    assert_non_null(strstr(diag[2].text, "/closed/old.db"));
    assert_non_null(strstr(diag[2].text, "its folder must exist"));
    assert_null(strstr(diag[2].text, "No such file"));
}

/* Beside the one that writes; nothing is made where nothing is. */
static void test_to_read(void **state)
{
    (void)state;
    char path[128];
    struct database *database = open_ok("read.db");
    struct database *reader = NULL;
    exec_ok(database, "CREATE TABLE t (x); INSERT INTO t VALUES (7)");
    assert_int_equal(database_open_to_read(url("read.db"), &reader, NULL), ERR_OK);
    assert_int_equal(get_integer(reader, "SELECT x FROM t"), 7);
    assert_int_equal(database_exec(reader, "INSERT INTO t VALUES (8)", NULL), ERR_READ_ONLY);
    database_close(reader);
    database_close(database);
    assert_int_equal(database_open_to_read(url("read.db"), &reader, NULL), ERR_OK);
    assert_int_equal(get_integer(reader, "SELECT x FROM t"), 7);
    database_close(reader);
    assert_int_equal(database_open_to_read(url("nothing.db"), &reader, NULL), ERR_IO);
    (void)snprintf(path, sizeof(path), "%s/nothing.db", folder);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(database_open_to_read("postgresql://x", &reader, NULL), ERR_UNSUPPORTED);
}

/* What the Python service (SQLAlchemy) leaves. */
static const char python_database[] =
    "CREATE TABLE data_source_types (id INTEGER NOT NULL, name VARCHAR(50) NOT NULL, "
    "display_name VARCHAR(100) NOT NULL, PRIMARY KEY (id));"
    "CREATE UNIQUE INDEX ix_data_source_types_name ON data_source_types (name);"
    "CREATE TABLE data_sources (id INTEGER NOT NULL, name VARCHAR NOT NULL, type_id INTEGER, "
    "ingestion_id VARCHAR(100) NOT NULL, "
    "PRIMARY KEY (id), FOREIGN KEY(type_id) REFERENCES data_source_types (id));"
    "INSERT INTO data_source_types VALUES (1, 'mqtt', 'MQTT'); "
    "INSERT INTO data_sources VALUES (7, 'old', 1, 'old_mqtt')";

static void test_migrations(void **state)
{
    (void)state;
    struct database *database = open_ok("python.db");
    struct database *other = open_ok("python.db");
    exec_ok(database, python_database);
    assert_int_equal(migrations_apply(database, &migrations_sources, NULL), ERR_OK);
    assert_int_equal(migrations_apply(other, &migrations_sources, NULL), ERR_OK);
    assert_int_equal(get_integer(database, "SELECT id FROM data_sources"), 7);
    assert_int_equal(get_integer(database, "SELECT count(*) FROM dataset_columns"), 0);
    exec_ok(database, "INSERT INTO dataset_columns VALUES ('d', '/a', 'a', 'DOUBLE', 1, '')");
    static const char *const clashes[] = {
        "INSERT INTO dataset_columns VALUES ('d', '/a', 'b', 'DOUBLE', 2, '')",
        "INSERT INTO dataset_columns VALUES ('d', '/b', 'a', 'DOUBLE', 2, '')",
        "INSERT INTO dataset_columns VALUES ('d', '/b', 'b', 'DOUBLE', 1, '')",
    };
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(database_exec(database, clashes[i], NULL), ERR_CONFLICT);
    exec_ok(database, "INSERT INTO dataset_columns VALUES ('e', '/a', 'a', 'DOUBLE', 1, '')");
    database_close(database);
    database_close(other);
}

static void test_migrations_in_steps(void **state)
{
    (void)state;
    static const char *const steps[] = {"CREATE TABLE a (x); INSERT INTO a VALUES (1)",
                                        "INSERT INTO a VALUES (2); INSERT INTO nowhere VALUES (1)",
                                        "UPDATE a SET x = x + 10"};
    static const char *const mended[] = {"wrong", "INSERT INTO a VALUES (2)",
                                         "UPDATE a SET x = x + 10"};
    struct migrations set = {"test", steps, 3};
    struct database *database = open_ok("steps.db");
    struct diag diag = {0};
    assert_int_equal(migrations_apply(database, &set, &diag), ERR_INVALID);
    assert_int_equal(get_integer(database, "SELECT sum(x) FROM a"), 1); /* step 2 left nothing */
    set.steps = mended;
    assert_int_equal(migrations_apply(database, &set, NULL), ERR_OK);
    assert_int_equal(get_integer(database, "SELECT sum(x) FROM a"), 23);
    assert_int_equal(migrations_apply(database, &set, NULL), ERR_OK);
    assert_int_equal(get_integer(database, "SELECT sum(x) FROM a"), 23);
    set.step_count = 2;
    diag = (struct diag){0};
    assert_int_equal(migrations_apply(database, &set, &diag), ERR_VERSION);
    assert_non_null(strstr(diag.text, "newer"));
    database_close(database);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct database *database = NULL;
        mem_fail_at(k);
        enum err err = database_open(url("memory.db"), &database, NULL);
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
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_parameter_numbers),
        cmocka_unit_test(test_statements_again),
        cmocka_unit_test(test_wrong_sql),
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_failures_are_told_apart),
        cmocka_unit_test(test_damaged_and_missing),
        cmocka_unit_test(test_where_nothing_can_be_written),
        cmocka_unit_test(test_to_read),
        cmocka_unit_test(test_migrations),
        cmocka_unit_test(test_migrations_in_steps),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
