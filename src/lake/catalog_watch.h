#pragma once
/*
 * Asks the catalog every few seconds whether it can be written to, on a thread of its own, so that
 * health tells of a database that is gone, locked or read-only also while no new column comes
 * along. start and stop from one thread, get from any.
 */
#include "lake/catalog.h"

#include <stdbool.h>

struct catalog_watch;

/* interval_ms 0: 3,000. The catalog outlives the watch. */
enum err catalog_watch_start(struct catalog *catalog, uint32_t interval_ms,
                             struct catalog_watch **ret_watch, struct diag *diag) ERR_MUST_USE;
/* Waits for a probe that runs: some seconds at most. NULL is fine. */
void catalog_watch_stop(struct catalog_watch *watch);

struct catalog_health {
    bool probed;        /* false: no answer yet */
    enum err err;       /* of the last probe */
    char sentence[512]; /* why not, "" when it is well */
};
void catalog_watch_get(struct catalog_watch *watch, struct catalog_health *ret_health);
