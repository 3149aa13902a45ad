#pragma once
/*
 * From a finished cut to LANDED, and what recovery has to do before anything else runs
 * (contract/data.md "From journal to lake", steps 1, 2 and 4; step 3 is upload.h).
 *
 * landing_land blocks on the disk and may be called from several threads, but for one dataset by
 * one at a time, in order: after a failure the same cut must come again before the dataset's next
 * one. landing_recover runs once, before them, on the thread that opened the journal, and before
 * journal_replay.
 */
#include "lake/batch.h"
#include "lake/landing_journal.h"
#include "lake/spool.h"
#include "lake/upload.h"

struct landing;

struct landing_metadata_ops {
    /* Appends the text; before LANDED is asked for, and again if that fails. */
    enum err (*changes)(void *ctx, struct bytes dataset_id, uint64_t through, struct buf *out);
    /* LANDED with that text is durable. On the journal's thread. */
    void (*landed)(void *ctx, struct bytes dataset_id, uint64_t through);
    /* The cut makes files of an earlier LANDED again: its metadata are not new. */
    void (*again)(void *ctx, struct bytes dataset_id, uint64_t through);
};

struct landing_options {
    struct spool *spool;
    struct store *store;
    struct landing_journal journal;
    struct upload *upload;
    /* What goes into LANDED of the dataset's metadata, up to and with the cut that ends with block
     * through (cuts made again have gone once: landing_metadata_ops.again). May be NULL. */
    const struct landing_metadata_ops *metadata;
    void *metadata_ctx;
    /* What an operator must know: a file that is lost, with its range. May be NULL. */
    void (*on_report)(void *ctx, const char *sentence);
    void *ctx;
};

enum err landing_new(const struct landing_options *options,
                     struct landing **ret_landing) ERR_MUST_USE;
/* After the journal has stopped. NULL is fine. */
void landing_free(struct landing *landing);

/* Which messages a cut holds: all of the dataset's in blocks (after, through]. */
struct landing_range {
    struct bytes dataset_id;
    struct bytes source_id; /* of the accounting */
    uint64_t after;
    uint64_t through;
    uint64_t redo_cut; /* 0, or the cut_id that journal_wanted gave for these blocks */
};

/* LANDED is durable (ERR_OK), or the journal has stopped (ERR_STOPPED). On the journal's thread. */
typedef void (*landing_on_landed)(void *ctx, uint64_t cut_id, enum err err);

/* Writes the cut's files to the spool, durably, then asks the journal for LANDED; when that is
 * durable the cut is the upload's, and then on_landed is called. The cut may be freed as soon as
 * this returns. After an error nothing has happened, on_landed will not be called; class RETRY
 * (disk full) means: come again with the same cut. */
enum err landing_land(struct landing *landing, const struct cut *cut,
                      const struct landing_range *range, landing_on_landed on_landed, void *ctx,
                      struct diag *diag) ERR_MUST_USE;

struct landing_recovery {
    uint64_t pending_cuts; /* handed to the upload */
    uint64_t redo_cuts;    /* to be made again by replay */
    uint64_t lost_files;   /* reported, in spool/damaged/ */
    uint64_t stray_files;  /* deleted: no LANDED named them */
};

/* Checks every LANDED without UPLOADED against the spool. Good ones go to the upload. Where a file
 * is missing or damaged and not at its key, the cut's range is asked for again (landing_land then
 * keeps those of its files that are good), or, if the journal has it no more, the file is reported
 * lost and the rest goes on. Deletes all other spool files. When the store cannot be asked now
 * (it is tried once, and for ten seconds in all), the upload does it later, and what is nowhere is
 * made again at the next start. */
enum err landing_recover(struct landing *landing, struct landing_recovery *ret_recovery,
                         struct diag *diag) ERR_MUST_USE;
