#pragma once
/*
 * What a batch tells the metrics: plain counts that it adds to when a block has ended and when it
 * is cut, and that its owner then merges and clears. One tally serves all batches of a worker, on
 * its thread: the owner takes it after each batch_end_block and each batch_cut.
 *
 * Every message and every row is in exactly one taking, whatever is undone or waits in between.
 */
#include "base/bytes.h"

#include <stdint.h>

#define BATCH_TALLY_BOUNDS_MAX   16
#define BATCH_TALLY_REASONS_MAX  16
#define BATCH_TALLY_REASON_BYTES 32
#define BATCH_TALLY_OTHER        "other"

struct batch_tally_reason {
    char text[BATCH_TALLY_REASON_BYTES]; /* a short word: [a-z0-9_]+, or BATCH_TALLY_OTHER */
    uint64_t messages;
};

struct batch_tally {
    /* The owner's: ascending, in microseconds; none: delays are not looked at. */
    int64_t delay_bounds_us[BATCH_TALLY_BOUNDS_MAX];
    uint32_t delay_bound_count;

    uint64_t messages;
    uint64_t repeated; /* messages beside them, of which nothing was kept (dedupe_key) */
    uint64_t payload_bytes;
    uint64_t rejected; /* of the messages */
    uint64_t rescued;  /* values */
    /* Arrival minus event time of each row where it is not negative, by the first bound that is
     * not below it; beyond the last one at [delay_bound_count]. */
    uint64_t delays[BATCH_TALLY_BOUNDS_MAX + 1];
    uint64_t delay_count;
    double delay_seconds;                                           /* the sum */
    struct batch_tally_reason reasons[BATCH_TALLY_REASONS_MAX + 1]; /* of the rejected */
    uint32_t reason_count;
};

/* Keeps the bounds. */
void batch_tally_clear(struct batch_tally *tally);

/* Rows by their two times. */
void batch_tally_delays(struct batch_tally *tally, const int64_t *event_us,
                        const int64_t *arrival_us, size_t count);
/* A rejected message. More than BATCH_TALLY_REASONS_MAX reasons, and what is no short word, count
 * as BATCH_TALLY_OTHER. */
void batch_tally_rejected(struct batch_tally *tally, struct bytes reason);
