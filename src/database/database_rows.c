#include "database/database_rows.h"

#include <assert.h>
#include <string.h>

#define PARAMETER_BYTES_MAX 8 /* "($64, " and ")" */

void database_rows_init(struct database_rows *rows, struct database_transaction *transaction,
                        const char *into, size_t columns)
{
    assert(columns > 0 && columns <= DATABASE_PARAMETERS_MAX / DATABASE_ROWS_TOGETHER);
    assert(strlen(into) <= DATABASE_ROWS_INTO_MAX);
    rows->transaction = transaction;
    rows->into = into;
    rows->columns = columns;
    rows->count = 0;
}

void database_rows_add(struct database_rows *rows, const struct database_value *values)
{
    assert(!database_rows_full(rows));
    memcpy(&rows->values[rows->count * rows->columns], values, rows->columns * sizeof(*values));
    rows->count++;
}

static char *parameter_write(char *at, size_t number)
{
    *at++ = '$';
    if (number >= 10)
        *at++ = (char)('0' + number / 10);
    *at++ = (char)('0' + number % 10);
    return at;
}

/* "($1, $2), ($3, $4)" after what it goes into. By hand: it is done for every few rows. */
static void sql_write(const struct database_rows *rows, char *at)
{
    at = stpcpy(at, rows->into);
    size_t total = rows->count * rows->columns;
    for (size_t i = 0; i < total; i++) {
        if (i > 0)
            at = stpcpy(at, ", ");
        if (i % rows->columns == 0)
            *at++ = '(';
        at = parameter_write(at, i + 1);
        if ((i + 1) % rows->columns == 0)
            *at++ = ')';
    }
    *at = '\0';
}

enum err database_rows_flush(struct database_rows *rows, struct diag *diag)
{
    char sql[DATABASE_ROWS_INTO_MAX + DATABASE_PARAMETERS_MAX * PARAMETER_BYTES_MAX + 1];
    size_t count = rows->count * rows->columns;
    if (count == 0)
        return ERR_OK;
    sql_write(rows, sql);
    rows->count = 0;
    return database_transaction_query(rows->transaction, sql, rows->values, count, NULL, NULL, NULL,
                                      diag);
}
