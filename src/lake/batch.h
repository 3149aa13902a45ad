#pragma once
/*
 * One dataset's open rows: messages go in, straight into typed column builders; a cut takes Parquet
 * files out, one for each date and hour, and one for each date and hour of dead letters. Owned by
 * one worker.
 *
 * Rows go in by whole blocks: a block's messages of this dataset are either all in or (after an
 * error) none. The schema lives as long as the batch object; the pinned types come from the
 * catalog.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "journal/block.h"
#include "journal/position.h"
#include "lake/batch_tally.h"
#include "lake/catalog.h"
#include "lake/dedupe.h"
#include "lake/parquet_writer.h"

#include <stdatomic.h>

struct cut_input;

/* What a batch holds, for other threads to read at any moment: all blocks up to block_last, or one
 * less of them. Only ever more, until a cut has been shown to the observer: then nothing. */
struct batch_open {
    _Atomic uint64_t block_last; /* 0: nothing */
    _Atomic uint64_t records;
    _Atomic uint64_t payload_bytes; /* without dead letters */
    _Atomic int64_t first_us;       /* arrivals of the records; 0: none */
    _Atomic int64_t last_us;
};

/* Looks at each cut before the batch is emptied: for metadata. On the worker's thread. */
struct batch_observer_ops {
    /* The leaves are finished and the files not yet written: appends what the cut's first file is
     * to say of it in its footer, under CUT_METADATA_KEY; no text: nothing. May be NULL. A cut that
     * fails afterwards is described again. */
    enum err (*describe)(void *ctx, const struct cut_input *cut, void **state, struct buf *text);
    /* A cut is made; an error (ERR_NO_MEMORY) lets it fail. *state is the batch's own, NULL at
     * first. */
    enum err (*cut)(void *ctx, const struct cut_input *cut, void **state);
    void (*forget)(void *state); /* the batch goes; NULL is fine */
    size_t (*memory_bytes)(const void *state);
    /* After the first block, and again after the next one if it fails: open may be read until
     * forget returns. May be NULL. */
    enum err (*watch)(void *ctx, struct bytes dataset_id, struct bytes topic,
                      const struct batch_open *open, void **state);
};

struct batch_options {
    struct catalog *catalog;
    struct parquet_options parquet;
    const char *journal_uuid;  /* 36 characters; static for the process */
    uint64_t row_group_rows;   /* 1 M */
    size_t row_group_bytes;    /* 128 MiB */
    struct batch_tally *tally; /* of the owner's thread; NULL: nothing is told */
    /* How many batches that grow may still pin their columns before their cut; counted down. A pin
     * is a sync of the database, and the owner's queue waits meanwhile. NULL: all of them. */
    uint32_t *pins_left;
    /* Whether memory is short, as the owner sees it: then a batch of few records keeps them as text
     * and has no columns, which take far more than they do. NULL: never. */
    const bool *lean;
    struct dedupe_options dedupe;
    const struct batch_observer_ops *observer; /* may be NULL */
    void *observer_ctx;
};

struct batch;

enum err batch_new(const struct batch_options *options, struct bytes dataset_id,
                   struct batch **ret_batch) ERR_MUST_USE;
void batch_free(struct batch *batch);

/* The messages of one of the block's routes (which must be of this dataset). Routes of one block
 * are appended one after the other, then batch_end_block seals the block's rows. ERR_NO_MEMORY:
 * batch_undo_block takes out what this block brought, and the caller cuts and tries again. */
enum err batch_append(struct batch *batch, const struct block *block,
                      uint32_t route_index) ERR_MUST_USE;
void batch_end_block(struct batch *batch, const struct block *block);
void batch_undo_block(struct batch *batch);

struct batch_rejection {
    int64_t arrival_us;
    const char *reason; /* static texts; NULL: its connector rejected it, and said why */
    const char *detail;
};

/* What is open. */
struct batch_stats {
    uint64_t messages;      /* without the repeated ones */
    uint64_t repeated;      /* messages all of whose records repeat (dedupe_key): nothing is left */
    uint64_t payload_bytes; /* of both */
    uint64_t rows;          /* records */
    uint64_t rejected;      /* messages that become dead letters */
    struct batch_rejection last_rejected;
    uint64_t rescued;       /* values */
    uint64_t bad_timestamp; /* records whose timestamp was missing or unusable */
    size_t memory_bytes;    /* held by the builders, about */
    struct position first;  /* of the first message; block 0 when empty */
    uint64_t block_last;    /* number of the last block appended */
    int64_t first_us;       /* arrivals of the records; 0: none */
    int64_t last_us;
};
void batch_stats_get(const struct batch *batch, struct batch_stats *ret_stats);
/* The same for the hot path, without rescued and memory_bytes. */
const struct batch_stats *batch_stats_peek(const struct batch *batch);

struct cut_file {
    char *key; /* object key */
    struct buf bytes;
    uint64_t rows;
    bool dead_letters;
};

struct cut {
    struct batch_stats stats; /* of what was cut */
    struct cut_file *files;
    size_t file_count;
    uint32_t schema_version; /* count of pinned columns then */
};

/* The dataset's last cut that has files, by the last block of its range (0: not known): the next
 * cut's files say that they follow it, so that one of which every file is gone is missed. */
void batch_follow(struct batch *batch, uint64_t block_last);

/* Whether a cut decides types and asks the catalog to pin them; and what it would pin as things
 * stand, which may be done for many batches at once before they are cut. */
bool batch_waits_for_columns(const struct batch *batch);
enum err batch_foresee(struct batch *batch, struct arena *arena,
                       struct catalog_pin *ret_pin) ERR_MUST_USE;

/* Decides the types of new fields, pins them in the catalog, encodes. On success the batch is empty
 * and the cut is the caller's (cut_fini). On a RETRY error (database away, no memory) the batch is
 * as before and the caller comes again. A cut of messages that made no record has no files. */
enum err batch_cut(struct batch *batch, struct cut *ret_cut, struct diag *diag) ERR_MUST_USE;
void cut_fini(struct cut *cut);

/* The columns that the dataset has by now, as the catalog knows them: for `ingestor try` and for
 * metadata. Complete after a cut. The views live for the call. */
enum err batch_columns(const struct batch *batch,
                       enum err (*on_column)(void *ctx, const struct catalog_column *column),
                       void *ctx) ERR_MUST_USE;
