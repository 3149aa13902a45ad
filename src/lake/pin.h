#pragma once
/*
 * Pins the columns of a batch: what its sources say beforehand, and what the records that wait
 * bring. One thread, that of the batch; blocks on the catalog.
 */
#include "lake/deferred.h"
#include "lake/origin.h"
#include "lake/schema.h"

/* Again if another replica was first. Fails as schema_pin does; ERR_BUSY: others were first too
 * often. What is pinned by then stays. */
enum err pin_columns(struct schema *schema, struct catalog *catalog, struct origins *origins,
                     const struct deferred *deferred, struct diag *diag) ERR_MUST_USE;
