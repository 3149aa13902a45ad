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

/* What pin_columns would pin now, so that it can be pinned together with other datasets' before
 * (catalog_ops.pin_many): nothing, where the sources say something beforehand. Loads the schema
 * unless it is loaded. Columns and texts are the arena's and the schema's. */
enum err pin_foresee(struct schema *schema, struct catalog *catalog, const struct origins *origins,
                     const struct deferred *deferred, struct arena *arena,
                     struct catalog_pin *ret_pin) ERR_MUST_USE;

/* Gives the metadata fields of a new route their columns, to be pinned with the next ones. */
enum err pin_route(struct schema *schema, struct origin_route *route) ERR_MUST_USE;
