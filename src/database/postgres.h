#pragma once
/*
 * PostgreSQL (10 or newer) behind database.h. A handle keeps one connection for statements, made
 * anew when it is found dead before a statement is sent, outside a transaction; a statement whose
 * connection breaks after it was sent fails with ERR_IO, for it may have run. After a failure to
 * connect, calls fail at once for a second.
 *
 * A transaction takes the one write lock that all handles on this database share, as SQLite has it,
 * so that what it reads stays true until it commits. Locks (database_lock) live on a second
 * connection, made with the first lock, and are gone when it is; a pooler that shares sessions
 * (PgBouncer in transaction mode) cannot keep them.
 *
 * Values: BOOLEAN is 0 or 1, timestamps are texts in UTC, NUMERIC is an integer if it is one.
 * Texts with a NUL in them: ERR_INVALID.
 */
#include "database/database.h"

/* Connects. The URL has passed postgres_url_check. */
enum err postgres_open(const char *url, struct database **ret_database,
                       struct diag *diag) ERR_MUST_USE;
