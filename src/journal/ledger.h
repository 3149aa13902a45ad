#pragma once
/*
 * What the journal knows of its own contents: how far each dataset has landed, which cuts wait for
 * their upload, the connectors' states, the MQTT identities. It is exactly what a checkpoint holds:
 * the ledger after block N is a function of the blocks 1..N.
 *
 * Single-threaded; the journal guards it with its lock. ledger_prepare allocates all that a block
 * will need, so that ledger_apply, which runs when the block is durable, cannot fail.
 *
 * Limits: LEDGER_SOURCES_MAX sources, LEDGER_STATES_MAX states of a source; what is beyond is
 * refused by ledger_prepare before the block is written.
 */
#include "base/map.h"
#include "journal/journal.h"
#include "journal/record.h"

#define LEDGER_SOURCES_MAX 1000000
#define LEDGER_STATES_MAX  100000

struct ledger_dataset {
    uint64_t landed_through; /* 0: none */
    uint64_t oldest;         /* no message that has not landed is in an older block; 0: none */
    uint64_t newest;         /* the last block with messages of it */
    uint64_t filed_through;  /* of its last cut that has files; 0: none, or not known */
};

struct ledger_pending { /* LANDED without UPLOADED */
    struct landed landed;
    struct landed_file *files;
    uint8_t *body; /* what the views above point into */
    size_t body_size;
    bool redo; /* its range is to be decoded again */
};

struct ledger_identity {
    uint64_t hash;
    uint64_t block; /* 0: none */
    bool qos_2;
};

#define LEDGER_PAGE_IDENTITIES 256
struct ledger_source {
    struct ledger_identity *pages[LEDGER_PAGE_IDENTITIES];
    uint32_t identity_count;
    struct map states; /* key -> struct buf, heap */
};

/* Made by ledger_prepare, taken by ledger_apply. */
struct staged_item {
    struct buf *value;              /* STATE */
    struct ledger_pending *pending; /* LANDED */
};

struct ledger {
    uint64_t applied_through; /* all blocks up to here are in it */
    uint64_t cut_id_last;
    struct map datasets;             /* dataset id -> struct ledger_dataset */
    struct map sources;              /* source id -> struct ledger_source */
    struct ledger_pending **pending; /* oldest first */
    size_t pending_count;
    size_t pending_capacity;
    size_t redo_count;
    /* Made by ledger_prepare for the STATE and LANDED records to come, in their order. */
    void **staged;
    size_t staged_count, staged_capacity, staged_taken;
    uint64_t oldest_cached;  /* ledger_oldest_needed; 0: to be found anew */
    uint64_t oldest_holders; /* datasets whose oldest that is */
};

void ledger_init(struct ledger *ledger);
void ledger_fini(struct ledger *ledger);

/* ERR_CORRUPT: a record's body makes no sense (then nothing of the block may be applied). Several
 * blocks may be prepared before they are applied, in the same order. */
enum err ledger_prepare(struct ledger *ledger, const struct block *block,
                        struct diag *diag) ERR_MUST_USE;
/* ERR_CORRUPT: a LANDED in it passes over messages that no one before it, prepared ones included,
 * covers. For blocks that are to be written; what recovery reads may lack a damaged one. */
enum err ledger_check_landed(const struct ledger *ledger, const struct block *block,
                             struct diag *diag) ERR_MUST_USE;
/* The block was prepared, is durable, and has number applied_through + 1 or higher (damage). */
void ledger_apply(struct ledger *ledger, const struct block *block);
/* Forgets what was prepared and not applied: the blocks were not written. */
void ledger_unprepare(struct ledger *ledger);

/* The oldest block that holds a message not landed, or belongs to a range to redo; never above
 * applied_through + 1. */
uint64_t ledger_oldest_needed(struct ledger *ledger);

/* A dataset's oldest was before and is after; before 0: nothing is known of the oldest of all. */
void ledger_oldest_moved(struct ledger *ledger, uint64_t before, uint64_t after);
/* What its datasets hold, about. */
size_t ledger_memory_bytes(const struct ledger *ledger);
const struct ledger_dataset *ledger_dataset(const struct ledger *ledger, struct bytes dataset_id);
struct ledger_pending *ledger_pending_find(const struct ledger *ledger, uint64_t cut_id);
const struct buf *ledger_state(const struct ledger *ledger, struct bytes source_id,
                               struct bytes key);
bool ledger_wanted(const struct ledger *ledger, struct bytes dataset_id, uint64_t block_number,
                   uint64_t *ret_redo_cut);
void ledger_redo_set(struct ledger *ledger, struct ledger_pending *pending, bool redo);
void ledger_identities(const struct ledger *ledger, struct bytes source_id,
                       void (*on_identity)(void *ctx, uint16_t packet_identifier, uint64_t hash,
                                           uint64_t block, bool qos_2),
                       void *ctx);
/* Drops datasets that nothing retained speaks of any more (no block below retained_from is). */
void ledger_trim(struct ledger *ledger, uint64_t retained_from);

/* ---- checkpoint: the ledger as records of BLOCK_CHECKPOINT blocks (ledger_codec.c) ---- */

enum checkpoint_record {
    CHECKPOINT_SEGMENT = RECORD_CHECKPOINT_FIRST, /* segment.h: a second copy of the header */
    CHECKPOINT_TOTALS = 17,                       /* applied_through u64 | cut_id_last u64 */
    CHECKPOINT_DATASET = 18, /* id text16 | landed_through, oldest, newest, filed_through u64; older
                              * versions end before the last */
    CHECKPOINT_PENDING = 19, /* a LANDED body */
    CHECKPOINT_STATE = 20,   /* a STATE body */
    CHECKPOINT_IDENTITIES = 21, /* source text16 | count u32 | id u16, qos_2 u8, hash, block u64 */
    CHECKPOINT_END = 22,        /* record count u64: nothing is missing */
};

/* Appends blocks to the array (heap; each a reference), sealed by the caller. The first gets
 * first_record, of kind CHECKPOINT_SEGMENT. */
struct block_list {
    struct block **blocks;
    size_t count, capacity;
};
void block_list_fini(struct block_list *list);
enum err block_list_add(struct block_list *list, struct block *take_block) ERR_MUST_USE;
enum err ledger_encode(const struct ledger *ledger, struct bytes first_record,
                       struct block_list *ret_blocks) ERR_MUST_USE;
/* One block's records into a ledger that was empty before the first; *record_index begins at 0.
 * *ret_end: the last record of the checkpoint was here, and none was missing. */
enum err ledger_decode(struct ledger *ledger, const struct block *block, uint64_t *record_index,
                       bool *ret_end, struct diag *diag) ERR_MUST_USE;

/* For the codec and the tests. */
enum err ledger_dataset_ensure(struct ledger *ledger, struct bytes id,
                               struct ledger_dataset **ret_dataset) ERR_MUST_USE;
enum err ledger_source_ensure(struct ledger *ledger, struct bytes id,
                              struct ledger_source **ret_source) ERR_MUST_USE;
enum err ledger_identity_ensure(struct ledger_source *source,
                                uint16_t packet_identifier) ERR_MUST_USE;
/* NULL when its page was never made. */
struct ledger_identity *ledger_identity_at(struct ledger_source *source, uint16_t identifier);
void ledger_identity_set(struct ledger_source *source, uint16_t packet_identifier,
                         struct ledger_identity identity);
enum err ledger_pending_new(struct bytes body, struct ledger_pending **ret_pending) ERR_MUST_USE;
enum err ledger_pending_reserve(struct ledger *ledger, size_t count) ERR_MUST_USE;
void ledger_pending_add(struct ledger *ledger, struct ledger_pending *take_pending);
enum err ledger_state_put(struct ledger *ledger, struct bytes source_id, struct bytes key,
                          struct bytes value) ERR_MUST_USE;
