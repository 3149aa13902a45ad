#pragma once
/*
 * What a salvage (metadata_salvage.c) could not take over of a dataset whose counts it has: the
 * database notes what lacks, and it is mended with what all cuts said that are in the counts, which
 * the lake's footers hold (metadata_recount.c). What the database alone knew stays: dates and
 * samples of the evolution that could be read, and counts where the lake has fewer records now.
 *
 * Any thread; calls block on the database. Errors are those of database/database.h.
 */
#include "database/database.h"

enum metadata_lack { /* bits */
                     METADATA_LACKS_SENSORS = 1,
                     METADATA_LACKS_FIELDS = 2,
                     METADATA_LACKS_BYTES = 4,
                     METADATA_LACKS_EVOLUTION = 8, /* rows of it, perhaps */
};

/* Of a dataset; 0: nothing. */
enum err metadata_repair_lacks(struct database *database, struct bytes dataset_id,
                               int64_t *ret_lacks, struct diag *diag) ERR_MUST_USE;
/* Datasets that lack something. */
enum err metadata_repair_count(struct database *database, int64_t *ret_count,
                               struct diag *diag) ERR_MUST_USE;
/* changes: encoded, text32 each, in the order of the cuts: all through the dataset's progress. */
enum err metadata_repair_write(struct database_transaction *transaction, struct bytes dataset_id,
                               struct bytes changes, int64_t lacks, struct diag *diag) ERR_MUST_USE;
/* What is left is not in the lake either. */
enum err metadata_repair_end(struct database *database, struct diag *diag) ERR_MUST_USE;
