#pragma once
/*
 * The journal: what is acknowledged is in here first (contract/data.md "Delivery promise",
 * "Journal"). Blocks go in, and come out durable, in one order. Its interface speaks of blocks,
 * numbers and durability, not of files, so that a replicated log can stand behind it later.
 *
 * One thread (the journal thread) appends and syncs; journal_submit and journal_control may be
 * called from any thread. Between journal_open and journal_start the caller's thread is the journal
 * thread: recovery runs there. Replay may run before journal_start or, on one other thread, after
 * it: then what it needs stays until it is over, while new blocks and LANDED go on.
 */
#include "journal/block.h"
#include "journal/position.h"
#include "os/clock.h"
#include "os/fs.h"

enum journal_sync {
    JOURNAL_SYNC_ALWAYS,   /* durable = written and synced */
    JOURNAL_SYNC_INTERVAL, /* durable = written; a power cut loses what the last interval brought */
    JOURNAL_SYNC_OFF, /* durable = written; a power cut loses what the kernel had not written */
};

struct journal_options {
    const struct fs *fs;
    const struct clock *clock;
    const char *folder;
    uint64_t size_max_bytes; /* JOURNAL_MAX_BYTES, spool included */
    uint64_t segment_bytes;  /* 0: LIMIT_SEGMENT_BYTES; tests use small ones */
    enum journal_sync sync;
    uint32_t sync_interval_ms;
    /* Bytes now in the spool, for the limit. May be NULL. */
    uint64_t (*spool_bytes)(void *ctx);
    void *ctx;
};

struct journal;

/* Makes or opens the folder, takes its lock (ERR_BUSY names the other process), reads all segments
 * and rebuilds the ledger. Damage that was skipped is reported through journal_damage, it is not an
 * error; a newer format is (ERR_VERSION). */
enum err journal_open(const struct journal_options *options, struct journal **ret_journal,
                      struct diag *diag) ERR_MUST_USE;
void journal_close(struct journal *journal); /* stops first; NULL is fine */

/* 36 characters, drawn when the folder was made. */
const char *journal_uuid(const struct journal *journal);

/* What recovery found. */
enum err journal_damage(const struct journal *journal,
                        enum err (*on_damage)(void *ctx, const char *sentence), void *ctx);

/* A cut that is decided. Keys are object keys; the spool file's name follows from the key
 * (spool.h). Ranges are whole blocks: all of the dataset's messages in blocks (after, through]. */
struct landed_file {
    struct bytes key;
    uint64_t size_bytes;
    uint64_t rows;
    uint8_t sha256[32];
};

struct landed {
    struct bytes dataset_id;
    uint64_t after;
    uint64_t through;
    struct position first; /* of the range's first message */
    uint64_t messages;     /* in the range, rejected included: for the accounting */
    uint64_t rejected;
    struct bytes source_id; /* of the accounting */
    uint64_t cut_id;        /* names this cut in UPLOADED; unique in this journal */
    const struct landed_file *files;
    uint32_t file_count;
    uint32_t schema_version;
    /* What the metadata database does not have yet of this dataset, this cut included: kept, one
     * text for each dataset, until the next LANDED's takes its place or journal_metadata_done. */
    struct bytes metadata_changes;
};

/* LANDED without UPLOADED, oldest first. Views live for the call. */
enum err journal_pending_uploads(const struct journal *journal,
                                 enum err (*on_landed)(void *ctx, const struct landed *landed),
                                 void *ctx) ERR_MUST_USE;
/* Recovery found a pending cut's spool file missing or damaged, and the key without it: its range
 * is to be decoded again by replay (ERR_NOT_FOUND: the range is no longer in the journal). Only
 * before journal_replay. The old LANDED is dropped from the pending ones when the new one is
 * durable. */
enum err journal_redo(struct journal *journal, uint64_t cut_id) ERR_MUST_USE;

/* Replays, oldest first, every retained block that holds messages above their dataset's landed
 * position or inside a range to redo. on_block gets a loan (ref it to keep it); it asks
 * journal_wanted for each route. An error from it ends the replay and is returned. */
enum err journal_replay(struct journal *journal,
                        enum err (*on_block)(void *ctx, struct block *block), void *ctx,
                        struct diag *diag) ERR_MUST_USE;
/* Whether this dataset's messages of this block still need a cut. *ret_redo_cut: 0, or the cut_id
 * whose range this block belongs to (then that range must be cut apart, exactly). */
bool journal_wanted(const struct journal *journal, struct bytes dataset_id, uint64_t block_number,
                    uint64_t *ret_redo_cut);
uint64_t journal_landed_through(const struct journal *journal, struct bytes dataset_id);
/* The same of the last cut that has files; 0: there was none, or it is not known any more. */
uint64_t journal_filed_through(const struct journal *journal, struct bytes dataset_id);

/* A connector's recovered state and MQTT identities; before journal_start, or from any thread for a
 * source that is not running. */
enum err journal_state_get(const struct journal *journal, struct bytes source_id, struct bytes key,
                           struct buf *ret_value) ERR_MUST_USE;
void journal_identities(const struct journal *journal, struct bytes source_id,
                        void (*on_identity)(void *ctx, uint16_t packet_identifier, uint64_t hash,
                                            uint64_t block, bool qos_2),
                        void *ctx);

enum err journal_start(struct journal *journal, struct diag *diag) ERR_MUST_USE;
/* Writes what was submitted, calls the last block durable, ends the thread. */
void journal_stop(struct journal *journal);

/* Takes the block (a reference), gives it the next number, writes it with whatever else is waiting
 * in one sync, then calls on_durable on the journal thread, in order: err ERR_OK, or the journal
 * has failed for good (ERR_STOPPED at stop). On a write or sync error the journal writes again
 * elsewhere and tries for as long as it takes; journal_stats says so. A block whose records make no
 * sense or pass a limit is told so, and ends the journal: what comes after it gets ERR_STOPPED. */
typedef void (*journal_on_durable)(void *ctx, struct block *block, enum err err);
enum err journal_submit(struct journal *journal, struct block *take_block, uint16_t flags,
                        uint64_t group, journal_on_durable on_durable, void *ctx) ERR_MUST_USE;

/* Control records; on_durable runs on the journal thread with block NULL. */
enum err journal_land(struct journal *journal, const struct landed *landed,
                      journal_on_durable on_durable, void *ctx) ERR_MUST_USE;
enum err journal_uploaded(struct journal *journal, uint64_t cut_id, journal_on_durable on_durable,
                          void *ctx) ERR_MUST_USE;
/* The metadata changes that are kept: what recovery found, and LANDED records brought since. Views
 * live for the call; on_changes may not call the journal. */
enum err journal_metadata_each(struct journal *journal,
                               enum err (*on_changes)(void *ctx, struct bytes dataset_id,
                                                      struct bytes changes),
                               void *ctx) ERR_MUST_USE;
/* The metadata database has all of these datasets' changes: theirs are dropped. mark: the number
 * that the database bears since, kept with that; 0: none. Any thread. */
#define JOURNAL_METADATA_DONE_MAX 256
enum err journal_metadata_done(struct journal *journal, const struct bytes *dataset_ids,
                               size_t count, uint64_t mark) ERR_MUST_USE;
/* The latest mark; 0: none. A database that bears a lower one lacks changes that were dropped. */
uint64_t journal_metadata_mark(struct journal *journal);
/* The datasets of which a cut has landed and is not known to be in the store yet; one may come more
 * than once. on_dataset may not call the journal. Any thread. */
enum err journal_uploads_each(struct journal *journal,
                              enum err (*on_dataset)(void *ctx, struct bytes dataset_id),
                              void *ctx) ERR_MUST_USE;
/* Whether there is such a cut of this dataset that ends below a block, or that is made again. Any
 * thread. */
bool journal_upload_pending(struct journal *journal, struct bytes dataset_id, uint64_t below);
/* Whether a cut of this journal ever landed. Any thread. */
bool journal_has_landed(struct journal *journal);
/* A cut_id no other cut of this journal has. Any thread. */
uint64_t journal_next_cut_id(struct journal *journal);

/* Nothing submitted is waiting or being written: a waiting acknowledgement should close its block
 * now. Any thread, no lock. */
bool journal_idle(const struct journal *journal);

struct journal_stats {
    uint64_t size_bytes; /* segments on disk */
    uint64_t used_bytes; /* of them, holding what is not landed */
    uint64_t size_max_bytes;
    uint64_t block_last; /* number of the last durable block */
    uint64_t block_oldest_needed;
    uint64_t blocks_written;
    uint64_t bytes_written;
    uint64_t syncs;
    uint64_t sync_ns_total;
    uint64_t failures; /* write and sync errors met */
    uint64_t damaged_blocks;
    uint64_t memory_bytes; /* what is known of each dataset, about */
    bool paused;           /* JOURNAL_MAX_BYTES or the file system's room: intake must stop */
    bool past_half;        /* datasets that hold the oldest segment should be cut */
    bool failing;          /* the last write or sync failed; being tried again */
    char reason[384];      /* why paused or failing */
    /* When the journal thread last went round (monotonic); 0: it is not running. It does every
     * second or so, also while it tries again and again to write. */
    int64_t alive_ns;
};
void journal_stats_get(const struct journal *journal, struct journal_stats *ret_stats);
/* Ids of the datasets that hold the oldest segment (past half of the limit they are cut whatever
 * their age). Any thread. */
enum err journal_holders(const struct journal *journal,
                         enum err (*on_dataset)(void *ctx, struct bytes dataset_id),
                         void *ctx) ERR_MUST_USE;
