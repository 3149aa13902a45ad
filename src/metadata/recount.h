#pragma once
/*
 * Counts a dataset anew from the lake: reads the footers of the files that a journal's cuts left
 * there, and puts together what the cuts said of their dataset (CUT_METADATA_KEY). Of a cut of
 * which no file says it (of an older version, or too long), as much as its columns tell
 * (recount_columns.h).
 *
 * Blocks on the store, in small steps; one thread. Memory: 24 bytes a file, and what the dataset's
 * fields and sensors need. A file that is damaged, or not what its name says, is passed over and
 * told; other failures of the store end it.
 */
#include "base/buf.h"
#include "lake/store.h"

#define RECOUNT_FILES_MAX 4000000 /* of a dataset */

struct recount_options {
    struct store *store;
    const char *journal_uuid;
    /* Called before each call of the store: may take its time; an error ends it. */
    enum err (*turn)(void *ctx);
    /* Cuts in blocks (after, before) are counted; an error ends it. */
    enum err (*bounds)(void *ctx, struct bytes dataset_id, uint64_t *ret_after,
                       uint64_t *ret_before);
    void *ctx;
};

struct recounted {
    struct buf id;      /* empty: the journal has no file here */
    uint64_t after;     /* as bounds gave it */
    uint64_t through;   /* where the last cut that was counted ends; after: there was none */
    struct buf changes; /* encoded (change.h), text32 each: to be applied one after the other */
    uint64_t unread_count;
    char unread[300]; /* of one of these files, what and why */
};
void recounted_init(struct recounted *recounted);
void recounted_fini(struct recounted *recounted);

/* folder: "bronze/ingestion_id=…/". */
enum err recount_dataset(const struct recount_options *options, const char *folder,
                         struct recounted *recounted, struct diag *diag) ERR_MUST_USE;
