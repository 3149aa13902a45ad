#pragma once
/*
 * A catalog before the catalog: a dataset that the table dataset_columns does not know takes its
 * columns over from its newest files in the lake (contract/data.md "Columns"), so that a lost
 * database, or files of the Python service, never make a column change its type.
 *
 * load of an unknown dataset never blocks on the store: it notes the dataset, wakes a thread of
 * ours and returns ERR_BUSY (with a sentence for health); the batch keeps its records as text and
 * comes again. The thread looks (lake_columns.h), pins what it finds in the catalog behind, and the
 * next load succeeds: with those columns, or with none where the lake has no file. While the store
 * is away, or files of the dataset are still to be uploaded (pending), the dataset waits: a type is
 * never guessed if the lake may hold another one.
 *
 * load, pin and the stats from any thread. inherit_new, start, cancel, stop, free: one thread, in
 * this order. As many datasets wait as have an open batch.
 */
#include "lake/catalog.h"
#include "lake/store.h"
#include "os/clock.h"

struct inherit;

struct inherit_options {
    struct catalog *catalog; /* behind; borrowed */
    struct store *store;
    const struct clock *clock;
    /* Whether a file of the dataset is on its way into the store. NULL: never. */
    bool (*pending)(void *ctx, struct bytes dataset_id);
    void *ctx;
    uint32_t thread_count; /* 0: 4 */
};

enum err inherit_new(const struct inherit_options *options,
                     struct inherit **ret_inherit) ERR_MUST_USE;
/* The threads that look. Without them inherit_step does it. */
enum err inherit_start(struct inherit *inherit, struct diag *diag) ERR_MUST_USE;
/* The service is to end: from now on a dataset that waits because of a failure, or for long, is
 * ERR_STOPPED, so that nobody waits for it: the journal has its messages. */
void inherit_cancel(struct inherit *inherit);
/* Joins the threads. A call to the store that runs must be cut off by store->ops->cancel. */
void inherit_stop(struct inherit *inherit);
/* Stops first. NULL is fine. */
void inherit_free(struct inherit *inherit);

/* For struct batch_options; its close does nothing. */
struct catalog *inherit_catalog(struct inherit *inherit);

/* Looks for one dataset that is due. False when none is. */
bool inherit_step(struct inherit *inherit);

struct inherit_stats {
    uint64_t waiting;   /* datasets */
    uint64_t inherited; /* datasets that took columns over */
    enum err err;       /* of the last look that failed, until one succeeds */
    char sentence[512]; /* which dataset, and why */
};
void inherit_stats_get(struct inherit *inherit, struct inherit_stats *ret_stats);
