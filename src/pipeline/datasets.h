#pragma once
/*
 * The datasets of one worker: their open batches, oldest first, and the decision when each is cut.
 * Owned by the worker's thread; a part of worker.c (whose head has the invariants), not of its
 * interface.
 */
#include "base/map.h"
#include "pipeline/worker.h"

/* A dataset stands in one of these lists: closed and kept for its schema, by the time of its last
 * use; open, oldest first; or open with a cut that failed, by the time of its next try (one list
 * for each length of the wait, so that each is in order). */
#define DATASETS_WAITS 7
enum dataset_place {
    DATASET_IDLE,
    DATASET_OPEN,
    DATASET_POSTPONED, /* and the waits behind it */
    DATASET_PLACES = DATASET_POSTPONED + DATASETS_WAITS,
    DATASET_NOWHERE
};

/* What one source more than the first brought to a dataset. */
struct dataset_share {
    struct account *account;
    uint64_t messages;
    uint64_t rejected;
};
#define DATASETS_SHARES_MAX 64 /* what further sources bring counts for the first one */

struct dataset_list {
    struct dataset *first;
    struct dataset *last;
};

struct dataset {
    struct dataset *previous; /* in its place's list */
    struct dataset *next;
    struct dataset *size_previous; /* among those of about its size that may be cut now */
    struct dataset *size_next;
    struct dataset *touched_next; /* while a block is worked on */
    struct batch *batch;
    struct account *account;      /* of the source that it was first seen from */
    struct dataset_share *shares; /* of what is open, the other sources' */
    uint32_t share_count;
    struct service_dataset metrics;
    uint8_t *id;
    size_t id_size;
    uint64_t hash;
    uint64_t cut_through;   /* all below is cut and handed over */
    uint64_t filed_through; /* of the last cut that has files; 0: not known */
    uint64_t redo_cut;      /* whose range the batch holds */
    int64_t opened_ns;      /* when the first message of the batch came in */
    int64_t recovered_us;   /* when the batch's first message came in, before the restart; or 0 */
    int64_t retry_ns;       /* a postponed cut is not tried before */
    int64_t used_ns;
    int64_t arrival_us; /* of the first message of the block in work; 0: it is not looked at */
    size_t memory_bytes;
    size_t waiting_bytes; /* the same while a cut is postponed, else 0 */
    size_t redo_bytes;    /* the same while the range must be cut whole, else 0 */
    uint64_t messages;
    enum dataset_place place;
    uint8_t size_class; /* SIZE_NONE: in no size's list */
    uint8_t wait;       /* of the next postponement, among DATASETS_WAITS */
    bool foreseen;      /* dataset_pins_ahead has looked at what waits for its cut */
    bool touched;
    bool undone; /* the block in work was taken out again */
};

/* By the place of memory_bytes' highest bit. */
#define DATASETS_SIZES 64

struct datasets {
    const struct worker_options *options;
    struct map by_id;
    struct batch_tally tally; /* all batches add to it */
    uint32_t pins_left;       /* in this go through the queue */
    struct dataset_list lists[DATASET_PLACES];
    struct dataset *sizes[DATASETS_SIZES];
    uint64_t sizes_used; /* a bit for each that is not empty */
    uint64_t open_count; /* postponed ones too */
    uint64_t open_messages;
    size_t memory_bytes;
    size_t waiting_bytes; /* of those whose cut waits */
    size_t redo_bytes;    /* of ranges made again */
    uint64_t postponed;   /* datasets whose cut waits */
    char postponed_reason[512];
    bool left_something; /* a cut was not taken: the journal has it */
    bool halted;         /* a block was left in its middle: nothing is cut any more */
    bool recovery_over;  /* every recovered block has been worked on */
    bool closing;        /* all are cut, whatever their age and the pace: the service ends */
    bool cutting_largest;
    bool lean; /* memory is short enough for small batches to do without columns */
    /* When the worker last said that it goes on; 0: it is not running, or waits for a lander. */
    _Atomic int64_t alive_ns;
};

static inline bool dataset_is_open(const struct dataset *dataset)
{
    return dataset->place != DATASET_IDLE && dataset->place != DATASET_NOWHERE;
}

void datasets_init(struct datasets *datasets, const struct worker_options *options);
void datasets_fini(struct datasets *datasets);

/* The worker goes on. Costs a look at the clock. */
void datasets_beat(struct datasets *datasets);

/* Gets or makes the dataset of a block's route. */
enum err datasets_get(struct datasets *datasets, const struct block *block, uint32_t route_index,
                      struct dataset **ret_dataset) ERR_MUST_USE;
/* The account of the source that the route is of, and its share: NULL when it is the first one's.
 * The share is valid until the next call. */
enum err datasets_share(struct datasets *datasets, struct dataset *dataset, struct bytes source_id,
                        struct account **ret_account,
                        struct dataset_share **ret_share) ERR_MUST_USE;
/* Appends it to the open ones, as the youngest. */
void datasets_open(struct datasets *datasets, struct dataset *dataset);
/* Brings the sums up to date after the batch changed. */
void datasets_measure(struct datasets *datasets, struct dataset *dataset,
                      struct batch_stats *ret_stats);
/* Merges what the dataset's batch has just told into the metrics. */
void datasets_count(struct datasets *datasets, const struct dataset *dataset);
/* Gives back the memory of those that got nothing for idle_ns, the longest idle first, as long as
 * more than memory_bytes are held in all; with idle_ns 0 only what has landed: the next range
 * begins where that one ended. Not while a block is worked on. */
void datasets_sweep(struct datasets *datasets, int64_t idle_ns, size_t memory_bytes);

/* A range that is made again must be cut as a whole: its LANDED stands for all of the old one. */
bool datasets_may_cut(const struct datasets *datasets, const struct dataset *dataset);
/* Cuts the dataset's batch and hands it over. ERR_OK, ERR_STOPPED, or the reason why it is
 * postponed (and then comes again by itself). */
enum err datasets_cut(struct datasets *datasets, struct dataset *dataset) ERR_MUST_USE;
/* Those whose age is due; *ret_wait_ns says when to come again. */
void datasets_cut_due(struct datasets *datasets, int64_t *ret_wait_ns);
/* What they may hold now. */
size_t datasets_memory_max(const struct datasets *datasets);
/* While there is too much: closed ones are given up, then the largest are cut, small ones at the
 * pace. True: there is still something to cut, so come again after *ret_wait_ns. */
bool datasets_cut_for_memory(struct datasets *datasets, int64_t *ret_wait_ns);
void datasets_cut_forced(struct datasets *datasets, const uint64_t *hashes, uint32_t count);
/* After the last recovered block: ranges made again are cut, and what else was begun before the
 * restart is as old as its first message, or many restarts, each sooner than the interval, would
 * never land it. No older than the interval: the pace holds for it too. */
void datasets_recovery_end(struct datasets *datasets);
/* One with about the most memory (at least half of the largest's) of those that may be cut now and
 * that the block in work does not touch; NULL: there is none. */
struct dataset *datasets_largest(struct datasets *datasets);
/* When the oldest open batch was opened, about; 0: none is open. */
int64_t datasets_oldest_ns(const struct datasets *datasets);
