#pragma once
/* How a batch is looked at by its observer (struct batch_observer_ops). One thread, that of the
 * batch, but for struct batch_open. */
#include "lake/batch.h"
#include "lake/origin.h"

struct batch_watch {
    struct batch_open open;
    bool watched;
    void *state; /* the observer's */
    size_t state_bytes;
};

/* A block has ended. */
void batch_watch_block(struct batch_watch *watch, const struct batch_options *options,
                       struct bytes dataset_id, const struct origins *origins,
                       const struct batch_stats *stats, size_t dead_letters_bytes);
/* A cut has been shown to the observer: nothing is open now. */
void batch_watch_clear(struct batch_watch *watch);
/* The batch goes, or gives up what it can. */
void batch_watch_end(struct batch_watch *watch, const struct batch_options *options);
