#pragma once
/*
 * Brings a database to the schema this program needs, one version at a time, each in a transaction
 * of its own; several replicas may do so at once. A set of migrations has a name, so that two sets
 * may share one database. Versions are kept in the table ingestor_migrations. A database that the
 * Python service wrote has no such table: it is at version 0, and version 1 finds its tables there.
 *
 * Any thread; blocks. ERR_VERSION: a newer program has been here.
 */
#include "database/database.h"

struct migrations {
    const char *name;
    const char *const *steps; /* SQL scripts; steps[0] leads from version 0 to 1 */
    size_t step_count;
};

/* The data-source database of contract/data.md. Append steps, never change one that was released.
 */
extern const struct migrations migrations_sources;

enum err migrations_apply(struct database *database, const struct migrations *migrations,
                          struct diag *diag) ERR_MUST_USE;
