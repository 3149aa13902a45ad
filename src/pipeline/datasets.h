#pragma once
/*
 * The datasets of one worker: their open batches, oldest first, and the decision when each is cut.
 * Owned by the worker's thread; a part of worker.c (whose head has the invariants), not of its
 * interface.
 */
#include "base/map.h"
#include "pipeline/worker.h"

struct dataset {
    struct dataset *open_previous; /* among the open ones, oldest first */
    struct dataset *open_next;
    struct dataset *touched_next; /* while a block is worked on */
    struct batch *batch;
    struct account *account;
    struct service_dataset metrics;
    uint8_t *id;
    size_t id_size;
    uint64_t hash;
    uint64_t cut_through; /* all below is cut and handed over */
    uint64_t redo_cut;    /* whose range the batch holds */
    int64_t opened_ns;    /* when the first message of the batch came in */
    int64_t retry_ns;     /* a postponed cut is not tried before */
    int64_t used_ns;
    int64_t arrival_us; /* of the first message of the block in work; 0: it is not looked at */
    size_t memory_bytes;
    uint64_t messages;
    bool open;
    bool touched;
    bool postponed; /* its last cut failed and will be tried again */
    bool undone;    /* the block in work was taken out again */
};

struct datasets {
    const struct worker_options *options;
    struct map by_id;
    struct batch_tally tally; /* all batches add to it */
    struct dataset *open_first;
    struct dataset *open_last;
    uint64_t open_count;
    uint64_t open_messages;
    size_t memory_bytes;
    uint64_t postponed; /* datasets whose cut waits */
    char postponed_reason[256];
    bool left_something; /* a cut was not taken: the journal has it */
    bool recovery_over;  /* every recovered block has been worked on */
};

void datasets_init(struct datasets *datasets, const struct worker_options *options);
void datasets_fini(struct datasets *datasets);

/* Gets or makes the dataset of a block's route. */
enum err datasets_get(struct datasets *datasets, const struct block *block, uint32_t route_index,
                      struct dataset **ret_dataset) ERR_MUST_USE;
/* Appends it to the open ones, as the youngest. */
void datasets_open(struct datasets *datasets, struct dataset *dataset);
/* Brings the sums up to date after the batch changed. */
void datasets_measure(struct datasets *datasets, struct dataset *dataset,
                      struct batch_stats *ret_stats);
/* Merges what the dataset's batch has just told into the metrics. */
void datasets_count(struct datasets *datasets, const struct dataset *dataset);
/* Gives back the memory of those that got nothing for idle_ns. */
void datasets_sweep(struct datasets *datasets, int64_t idle_ns);

/* A range that is made again must be cut as a whole: its LANDED stands for all of the old one. */
bool datasets_may_cut(const struct datasets *datasets, const struct dataset *dataset);
/* Cuts the dataset's batch and hands it over. ERR_OK, ERR_STOPPED, or the reason why it is
 * postponed (and then comes again by itself). */
enum err datasets_cut(struct datasets *datasets, struct dataset *dataset) ERR_MUST_USE;
/* Those whose age is due; *ret_wait_ns says when to come again. */
void datasets_cut_due(struct datasets *datasets, int64_t *ret_wait_ns);
void datasets_cut_for_memory(struct datasets *datasets);
void datasets_cut_forced(struct datasets *datasets, const uint64_t *hashes, uint32_t count);
/* Ranges made again, after the last recovered block. */
void datasets_cut_redone(struct datasets *datasets);
/* The one with the most memory that may be cut; NULL: none is open. */
struct dataset *datasets_largest(struct datasets *datasets);
