#pragma once
/*
 * Metadata of all datasets (contract/data.md "Metadata"): changes come from the workers' cuts, go
 * through the journal with LANDED, and are added to the metadata database by one thread of its own.
 * Nothing here ever waits for the database but that thread and those who read.
 *
 *     metadata_new -> (observer and landing in use) -> metadata_start -> metadata_stop -> free
 *
 * metadata_new takes over what the journal kept of an earlier run, so it stands between
 * journal_open and journal_start; metadata_stop before journal_stop and after the last LANDED,
 * metadata_free after journal_stop. A database that cannot be opened, is locked, full or read-only
 * is tried again for as long as it takes; one that is damaged is set aside and made anew. What a
 * new one lacks is counted anew from the lake, in the background.
 */
#include "base/metrics.h"
#include "journal/journal.h"
#include "lake/batch.h"
#include "lake/landing.h"
#include "os/clock.h"

struct metadata;

struct metadata_options {
    const char *path; /* of the SQLite file */
    struct journal *journal;
    const struct clock *clock;
    struct metrics *metrics;  /* may be NULL */
    size_t series_max;        /* datasets that have metrics of their own */
    uint32_t quality_seconds; /* between two measurements of a dataset */
    uint32_t quality_days;    /* measurements are kept; 0: for ever */
    /* The process's, of which the writer's cache takes a small part; 0: none. */
    uint64_t memory_limit_bytes;
};

enum err metadata_new(const struct metadata_options *options,
                      struct metadata **ret_metadata) ERR_MUST_USE;
/* store: the lake, from which a database that was lost is counted anew; NULL: it begins at zero.
 * Its calls must be cut off, by its cancel, before metadata_stop. */
enum err metadata_start(struct metadata *metadata, struct store *store) ERR_MUST_USE;
/* Writes what has landed, as far as that goes until deadline_ns (monotonic) and without a failure,
 * and ends the thread; the journal keeps the rest. */
void metadata_stop(struct metadata *metadata, int64_t deadline_ns);
void metadata_free(struct metadata *metadata); /* NULL is fine */

/* For struct batch_options and struct landing_options; their ctx is the metadata. */
extern const struct batch_observer_ops metadata_observer;
extern const struct landing_metadata_ops metadata_landing;

/* The answers of the API, as JSON text: the value of "data", or a row's. They block on the
 * database, at most for some seconds. ERR_NOT_FOUND: no such dataset. Else diag says why not. */
enum err metadata_datasets(struct metadata *metadata, struct buf *out, uint64_t *ret_count,
                           struct diag *diag) ERR_MUST_USE;
enum err metadata_dataset(struct metadata *metadata, struct bytes id, struct buf *out,
                          struct diag *diag) ERR_MUST_USE;
enum err metadata_schema(struct metadata *metadata, struct bytes id, struct buf *out,
                         uint64_t *ret_count, struct diag *diag) ERR_MUST_USE;
enum err metadata_evolution(struct metadata *metadata, struct bytes id, struct buf *out,
                            uint64_t *ret_count, struct diag *diag) ERR_MUST_USE;
enum err metadata_quality(struct metadata *metadata, struct bytes id, struct buf *out,
                          uint64_t *ret_count, struct diag *diag) ERR_MUST_USE;
enum err metadata_topics(struct metadata *metadata, struct buf *out, uint64_t *ret_count,
                         struct diag *diag) ERR_MUST_USE;
enum err metadata_stats(struct metadata *metadata, struct buf *out, struct diag *diag) ERR_MUST_USE;
/* Gives a dataset's newest rows, at most row_limit of them, as JSON objects. */
struct metadata_rows {
    enum err (*each)(void *ctx, struct bytes id, uint32_t row_limit,
                     enum err (*on_row)(void *ctx, struct bytes json), void *row_ctx);
    void *ctx;
};
/* With what has not reached the database yet: cuts, and the counts of open batches. Of a dataset
 * that has been cut never, fields and sensors are those of its newest rows. */
enum err metadata_current(struct metadata *metadata, const struct metadata_rows *rows,
                          struct buf *out, uint64_t *ret_count, struct diag *diag) ERR_MUST_USE;
/* A metric that somebody else measured. */
enum err metadata_quality_post(struct metadata *metadata, struct bytes id, struct bytes name,
                               double value, struct diag *diag) ERR_MUST_USE;
enum err metadata_cleanup(struct metadata *metadata, int64_t days_to_keep, int64_t *ret_deleted,
                          struct diag *diag) ERR_MUST_USE;

struct metadata_state {
    bool good;
    bool starting;    /* not yet good, for a moment: it is just being opened */
    uint64_t waiting; /* datasets whose changes are not in the database yet */
    char text[512];   /* what is wrong */
    /* Of damaged databases since the start: how many were set aside, and what could be taken over
     * of the last one into the one that is good now. */
    uint64_t set_asides;
    char past[512];
};
void metadata_state_get(struct metadata *metadata, struct metadata_state *ret_state);
