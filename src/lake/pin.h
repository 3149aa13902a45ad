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
 * unless it is loaded. Columns and texts are the arena's. */
enum err pin_foresee(struct schema *schema, struct catalog *catalog, const struct origins *origins,
                     const struct deferred *deferred, struct arena *arena,
                     struct catalog_pin *ret_pin) ERR_MUST_USE;

/* Makes the schema, unless there is one, and loads it as far as the catalog lets it. After a
 * failure (ERR_NO_MEMORY) there is none. */
enum err pin_open(struct schema *schema, struct bytes dataset_id, size_t *memory_bytes,
                  struct catalog *catalog, struct origins *origins) ERR_MUST_USE;
/* Back to none: a schema with rows loses them. */
void pin_close(struct schema *schema, struct origins *origins);
/* The same, but for the schema of a new dataset: that it is new the catalog has found out from the
 * lake, and says once. */
void pin_open_undo(struct schema *schema, struct origins *origins);

/* Gives the metadata fields of a new route their columns, to be pinned with the next ones. */
enum err pin_route(struct schema *schema, struct origin_route *route) ERR_MUST_USE;
