#include "database/database_rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define INTO "INSERT INTO t (a, b, c) VALUES "

static struct diag diag;

static struct database *open_ok(const char *sql)
{
    struct database *database;
    assert_int_equal(database_open("sqlite:///:memory:", &database, &diag), ERR_OK);
    assert_int_equal(database_exec(database, sql, &diag), ERR_OK);
    return database;
}

static enum err on_row(void *ctx, const struct database_value *columns, size_t count)
{
    int64_t *next = ctx;
    char text[32];
    snprintf(text, sizeof(text), "row %d", (int)*next);
    assert_int_equal(count, 4);
    assert_int_equal(columns[0].integer, *next + 1);
    assert_int_equal(columns[1].integer, 10 * *next);
    assert_true(bytes_equal_text(columns[2].bytes, text));
    assert_int_equal(columns[3].kind, DATABASE_NULL);
    ++*next;
    return ERR_OK;
}

static enum err add_many(struct database_transaction *transaction, void *ctx, struct diag *why)
{
    struct database_rows rows;
    char texts[DATABASE_ROWS_TOGETHER][32];
    int count = *(const int *)ctx;
    enum err err = ERR_OK;
    database_rows_init(&rows, transaction, INTO, 3);
    for (int i = 0; i < count && err == ERR_OK; i++) {
        char *text = texts[i % DATABASE_ROWS_TOGETHER]; /* written over once it was flushed */
        snprintf(text, sizeof(texts[0]), "row %d", i);
        struct database_value values[] = {database_integer(10 * i),
                                          database_text(bytes_from_text(text)), database_null()};
        database_rows_add(&rows, values);
        if (database_rows_full(&rows))
            err = database_rows_flush(&rows, why);
    }
    return err == ERR_OK ? database_rows_flush(&rows, why) : err;
}

/* In the order in which they were added, however many there are. */
static void test_any_number(void **state)
{
    (void)state;
    for (int count = 0; count <= 2 * DATABASE_ROWS_TOGETHER + 1; count++) {
        struct database *database = open_ok("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, "
                                            "a INTEGER, b TEXT, c REAL)");
        int64_t seen = 0;
        assert_int_equal(database_transact(database, add_many, &count, &diag), ERR_OK);
        assert_int_equal(database_query(database, "SELECT id, a, b, c FROM t ORDER BY id", NULL, 0,
                                        on_row, &seen, NULL, &diag),
                         ERR_OK);
        assert_int_equal(seen, count);
        database_close(database);
    }
}

static enum err on_integer(void *ctx, const struct database_value *columns, size_t count)
{
    assert_int_equal(count, 1);
    *(int64_t *)ctx = columns[0].integer;
    return ERR_OK;
}

/* One row that cannot be: none of the transaction is. */
static void test_all_or_none(void **state)
{
    (void)state;
    struct database *database = open_ok("CREATE TABLE t (a INTEGER CHECK (a != 90), b, c)");
    int64_t rows = -1;
    int count = 12;
    assert_int_equal(database_transact(database, add_many, &count, &diag), ERR_CONFLICT);
    assert_int_equal(
        database_query(database, "SELECT count(*) FROM t", NULL, 0, on_integer, &rows, NULL, &diag),
        ERR_OK);
    assert_int_equal(rows, 0);
    database_close(database);
}

static enum err add_widest(struct database_transaction *transaction, void *ctx, struct diag *why)
{
    struct database_rows rows;
    int64_t number = 1;
    (void)ctx;
    database_rows_init(&rows, transaction, "INSERT INTO t VALUES ", 8);
    while (!database_rows_full(&rows)) {
        struct database_value values[8];
        for (size_t i = 0; i < 8; i++)
            values[i] = database_integer(number++);
        database_rows_add(&rows, values);
    }
    return database_rows_flush(&rows, why);
}

/* As many parameters as a statement may have, each in its place. */
static void test_widest(void **state)
{
    (void)state;
    struct database *database = open_ok("CREATE TABLE t (a, b, c, d, e, f, g, h)");
    int64_t rows = 0;
    assert_int_equal(database_transact(database, add_widest, NULL, &diag), ERR_OK);
    assert_int_equal(database_query(database,
                                    "SELECT count(*) FROM t WHERE a = 8 * rowid - 7 AND "
                                    "b = a + 1 AND d = a + 3 AND h = a + 7",
                                    NULL, 0, on_integer, &rows, NULL, &diag),
                     ERR_OK);
    assert_int_equal(rows, DATABASE_ROWS_TOGETHER);
    database_close(database);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_number),
        cmocka_unit_test(test_all_or_none),
        cmocka_unit_test(test_widest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
