#pragma once
/*
 * `ingestor lake`: looks at what is in the object store, and never changes it. Runs on the main
 * thread, blocks on the store.
 *
 * Targets: nothing (all datasets and the dead letters), a dataset's id, "_dead_letters", the key of
 * a file, or the path of a file on this machine.
 */
#include "app/config.h"
#include "lake/lake_walk.h"

#include <stdio.h>

struct lake_command {
    const char *verb;   /* ls, cat, head, schema, ddl, verify */
    const char *target; /* NULL: all */
    const char *engine; /* ddl */
    uint64_t rows_max;  /* cat, head */
    bool json;
    bool table;
};

/* Sets rows_max from limit (NULL: what the verb takes by itself); ERR_INVALID says what is wrong.
 */
enum err lake_command_check(struct lake_command *command, const char *limit,
                            struct diag *diag) ERR_MUST_USE;
/* Returns an exit code (cli.h). */
int lake_main(const struct config *config, const struct lake_command *command);
