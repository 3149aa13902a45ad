#pragma once
/*
 * A lander takes finished cuts from the workers, one at a time and in order, through the steps of
 * contract/data.md "From journal to lake": spool, LANDED, then over to the uploader. One thread;
 * the queue is bounded, so workers wait when the disk is behind.
 */
#include "lake/landing.h"
#include "pipeline/worker.h"

struct lander;

struct lander_options {
    struct landing *landing;
    const struct clock *clock;
    uint64_t queue_bytes_max;     /* of encoded files; workers wait when more are queued */
    _Atomic uint64_t *held_bytes; /* a sum that all landers keep; may be NULL */
};

enum err lander_new(const struct lander_options *options, struct lander **ret_lander) ERR_MUST_USE;
enum err lander_start(struct lander *lander) ERR_MUST_USE;
/* Lands what is queued and ends, at deadline_ns at the latest; the rest stays in the journal. */
bool lander_stop(struct lander *lander, int64_t deadline_ns);
void lander_free(struct lander *lander);

/* Any worker's thread; waits while the queue is full. ERR_STOPPED: not taken. */
enum err lander_submit(struct lander *lander, struct land_job *take_job) ERR_MUST_USE;

/* As worker_alive_ns; 0: it is not running. */
int64_t lander_alive_ns(const struct lander *lander);

struct lander_stats {
    uint64_t queue_cuts;
    uint64_t landed_cuts;
    uint64_t failures;
    char last_error[512]; /* empty: the last cut went well */
};
void lander_stats_get(struct lander *lander, struct lander_stats *ret_stats);
