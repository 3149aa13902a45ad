#pragma once
/* Values between database.h and PostgreSQL's wire. One thread at a time. */
#include "database/database.h"

#include <libpq-fe.h>

/* The arrays that PQsendQueryParams wants. Texts are copied, for they need a NUL after them; blobs
 * are borrowed. */
struct postgres_parameters {
    Oid types[DATABASE_PARAMETERS_MAX];
    const char *values[DATABASE_PARAMETERS_MAX];
    int sizes[DATABASE_PARAMETERS_MAX];
    int formats[DATABASE_PARAMETERS_MAX];
    char *texts;
};

/* ERR_INVALID: a text with a NUL in it. Whatever it is, fini. */
enum err postgres_parameters_init(struct postgres_parameters *parameters,
                                  const struct database_value *values, size_t count,
                                  struct diag *diag) ERR_MUST_USE;
void postgres_parameters_fini(struct postgres_parameters *parameters);

/* A view into the result, whose text may be changed for it. */
struct database_value postgres_value(PGresult *result, int row, int column);
