#pragma once
/*
 * Where SQLite and PostgreSQL cannot share a word: column types in table definitions. Write
 * {ID} (the numbered primary key), {COUNT} (64 bits), {NUMBER}, {DATE}, {BOOLEAN} or {JSON} in a
 * migration step, as the Python service's SQLAlchemy would choose them. Pure; any thread.
 */
#include "base/buf.h"

struct dialect {
    const char *id;
    const char *count;
    const char *number;
    const char *date;
    const char *boolean;
    const char *json;
};

extern const struct dialect dialect_sqlite;
extern const struct dialect dialect_postgres;

/* Appends sql with its words replaced. ERR_BUG: a word that is none of the above. */
enum err dialect_expand(const struct dialect *dialect, const char *sql,
                        struct buf *out) ERR_MUST_USE;
