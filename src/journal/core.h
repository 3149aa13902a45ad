#pragma once
/*
 * The journal's core: a synchronous, single-threaded state machine over struct fs and struct clock.
 * journal.c puts a queue and a thread around it, the crash simulation drives it as it is.
 *
 * What is durable is applied to the ledger, and the other way round: ledger.applied_through is the
 * last block that may be acknowledged.
 *
 * After an error of core_append the core stands as if the blocks that were not done had never been
 * written: the caller gives the same ones again, in the same order, and they get the same numbers
 * in a new segment.
 */
#include "journal/journal.h"
#include "journal/ledger.h"
#include "journal/segment.h"
#include "os/thread.h"

#define CORE_SLOTS_MAX   100000
#define CORE_DAMAGES_MAX 1000 /* sentences kept; more are counted only */

struct core_slot { /* a file that is free for reuse */
    uint32_t slot;
    uint64_t size_bytes;
};

struct core {
    struct journal_options options;
    char *folder;
    char uuid[SEGMENT_UUID_CHARS + 1];
    struct fs_file *lock_file;
    struct ledger ledger;
    struct mutex *ledger_mutex; /* held while the ledger changes; NULL: nobody else reads it */

    struct segment *segments; /* retained, oldest first; the last is being written if file is set */
    size_t segment_count, segment_capacity;
    struct core_slot *free_slots;
    size_t free_count, free_capacity;
    /* Recovery's free files are not touched before this core's first checkpoint is durable: the one
     * that called them free is perhaps in the page cache only. */
    bool free_held;
    uint32_t slot_next; /* where the search for a free number begins */

    struct segment *replay_segments; /* core_replay_plan; NULL: none */
    size_t replay_count;
    uint64_t replay_from;
    _Atomic bool replay_pending;

    struct fs_file *file;
    uint64_t offset; /* where the next block goes */
    uint64_t next_number;
    uint64_t durable_number; /* synced; what blocks say of those before them */
    uint64_t generation;     /* high half of the last epoch */
    bool uncalled;           /* the last block is no EMPTY one: nothing calls it durable yet */
    bool dirty;              /* written since the last sync */
    int64_t synced_ns;       /* when, for JOURNAL_SYNC_INTERVAL */

    uint8_t *staging; /* small blocks are gathered here into one write */
    size_t staging_size;

    char **damages;
    size_t damage_count;
    _Atomic uint64_t damaged_blocks;
    uint64_t orphan_bytes; /* files that cannot be read and are left alone */

    bool paused, past_half;
    bool no_room;   /* something waits that found no room for its segment */
    bool held_back; /* and that only because cuts need what there is */
    char pause_reason[192];
    int64_t space_checked_ns;
    uint64_t file_system_free;

    uint64_t blocks_written, bytes_written, syncs, sync_ns_total, failures;
};

/* Lock, uuid, recovery, a new segment. On failure nothing is held. */
enum err core_open(struct core *core, const struct journal_options *options,
                   struct diag *diag) ERR_MUST_USE;
/* Writes nothing. fini is safe on a zeroed one. */
void core_fini(struct core *core);

struct core_item {
    struct block *block; /* borrowed; sealed here */
    enum block_kind kind;
    uint16_t flags; /* BLOCK_MORE: a group, whose last block must be among the items */
    uint64_t group;
};
/* Writes and syncs. *ret_done: how many of the first ones are durable and in the ledger (also on
 * error). ERR_CORRUPT, ERR_TOO_MANY, ERR_TOO_LARGE: the group at *ret_done can never be taken. */
enum err core_append(struct core *core, const struct core_item *items, size_t count,
                     size_t *ret_done, struct diag *diag) ERR_MUST_USE;

/* Calls the last block durable by an EMPTY one, if that is wanting. */
enum err core_call_durable(struct core *core, struct diag *diag) ERR_MUST_USE;
/* JOURNAL_SYNC_INTERVAL: syncs what is written when the interval is over (or now, if forced). */
enum err core_sync(struct core *core, bool force, struct diag *diag) ERR_MUST_USE;
/* Begins a new segment if that frees older ones and the space is wanted. */
enum err core_free_space(struct core *core, struct diag *diag) ERR_MUST_USE;
/* Begins a new segment with room for size_bytes. All written before must be synced.
 * carried_through: see segment.h; 0: nothing is carried over. */
enum err core_roll(struct core *core, uint64_t size_bytes, uint64_t carried_through,
                   struct diag *diag) ERR_MUST_USE;

/* Around reads of the ledger by another thread than the core's. */
void core_ledger_lock(struct core *core);
void core_ledger_unlock(struct core *core);

/* Measures; sets paused and past_half. */
void core_space(struct core *core);
/* Measures, too: how many bytes more segments may take, for data: what is written there wants as
 * much again for its cut. */
uint64_t core_room(struct core *core);
/* Whether so many bytes more of data leave what the cuts of all data in the journal will want. */
bool core_cuts_have_room(struct core *core, uint64_t more_bytes);
void core_stats(const struct core *core, struct journal_stats *ret_stats);

/* The oldest block that is needed, or that a file of the spool could be made again from while no
 * space is wanted. */
uint64_t core_oldest_kept(struct core *core);
enum err core_redo(struct core *core, uint64_t cut_id) ERR_MUST_USE;
/* Replay may run on another thread than the core's, beside it: core_replay_plan, on the core's own
 * thread, notes what there is to replay and from then on no segment is freed, until a core_replay
 * that ends well (one that fails leaves its work undone: nothing may be freed then). Without a plan
 * core_replay makes one. */
enum err core_replay_plan(struct core *core) ERR_MUST_USE;
enum err core_replay(struct core *core, enum err (*on_block)(void *ctx, struct block *block),
                     void *ctx, struct diag *diag) ERR_MUST_USE;

/* Between core.c and core_roll.c. */
#define CORE_CONTROL_PART 64
struct segment *core_segment_current(struct core *core); /* NULL: none is being written */
enum err core_staging_flush(struct core *core, struct fs_file *file, uint64_t *offset,
                            struct diag *diag) ERR_MUST_USE;
enum err core_image_write(struct core *core, struct fs_file *file, uint64_t *offset,
                          const uint8_t *image, size_t size_bytes, struct diag *diag) ERR_MUST_USE;
enum err core_file_sync(struct core *core, struct fs_file *file, struct diag *diag) ERR_MUST_USE;
void core_segment_fail(struct core *core);
enum err core_roll_for(struct core *core, uint64_t size_bytes, uint64_t carried_through,
                       bool for_data, struct diag *diag) ERR_MUST_USE;

/* For recovery.c. */
enum err core_damage(struct core *core, uint64_t blocks, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
enum err core_segment_add(struct core *core, const struct segment *segment) ERR_MUST_USE;
enum err core_slot_free(struct core *core, uint32_t slot, uint64_t size_bytes) ERR_MUST_USE;
