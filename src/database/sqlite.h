#pragma once
/*
 * SQLite behind database.h: WAL, every commit synced (what is pinned must not be forgotten by a
 * power cut), foreign keys on, a busy timeout. Paths as sqlite3_open takes them; ":memory:" is a
 * database of its own per handle.
 */
#include "database/database.h"

enum err sqlite_open(const char *path, struct database **ret_database,
                     struct diag *diag) ERR_MUST_USE;
/* database.h: database_open_to_read */
enum err sqlite_open_to_read(const char *path, struct database **ret_database,
                             struct diag *diag) ERR_MUST_USE;
