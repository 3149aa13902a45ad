#pragma once
/*
 * Rows of one table that are inserted together: a statement costs about as much as the row. Inside
 * one database_transact, on its thread. What the values point to is the caller's until
 * database_rows_flush; what was not flushed was not inserted. A number of rows has a statement of
 * its own, which stays prepared.
 *
 * Errors are those of database/database.h.
 */
#include "database/database.h"

#define DATABASE_ROWS_TOGETHER 8
/* "INSERT INTO t (a, b, …) VALUES " */
#define DATABASE_ROWS_INTO_MAX 200

struct database_rows {
    struct database_transaction *transaction;
    const char *into;
    size_t columns; /* at most DATABASE_PARAMETERS_MAX / DATABASE_ROWS_TOGETHER */
    size_t count;   /* of those that wait */
    struct database_value values[DATABASE_PARAMETERS_MAX];
};

void database_rows_init(struct database_rows *rows, struct database_transaction *transaction,
                        const char *into, size_t columns);
/* Puts a row after those that wait; there is room when fewer than DATABASE_ROWS_TOGETHER do. */
void database_rows_add(struct database_rows *rows, const struct database_value *values);
static inline bool database_rows_full(const struct database_rows *rows)
{
    return rows->count == DATABASE_ROWS_TOGETHER;
}
/* Inserts those that wait, in their order. */
enum err database_rows_flush(struct database_rows *rows, struct diag *diag) ERR_MUST_USE;
