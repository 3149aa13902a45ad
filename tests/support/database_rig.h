#pragma once
/* What tests of databases do all the time. A failure fails the test with the database's sentence.
 */
#include "database/database.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static inline struct database *rig_open(const char *url)
{
    struct database *database = NULL;
    struct diag diag = {0};
    if (database_open(url, &database, &diag))
        fail_msg("%s", diag.text);
    return database;
}

static inline void exec_ok(struct database *database, const char *sql)
{
    struct diag diag = {0};
    if (database_exec(database, sql, &diag))
        fail_msg("%s", diag.text);
}

static inline enum err on_integer(void *ctx, const struct database_value *columns, size_t count)
{
    assert_int_equal(count, 1);
    assert_int_equal(columns[0].kind, DATABASE_INTEGER);
    *(int64_t *)ctx = columns[0].integer;
    return ERR_OK;
}

static inline int64_t get_integer(struct database *database, const char *sql)
{
    int64_t integer = -1;
    struct diag diag = {0};
    if (database_query(database, sql, NULL, 0, on_integer, &integer, NULL, &diag))
        fail_msg("%s", diag.text);
    return integer;
}
