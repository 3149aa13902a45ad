#pragma once
/*
 * What is landed and not yet uploaded, and the work on it as plain synchronous steps: upload_step
 * does one cut's turn (check the spool files, PUT them, ask for UPLOADED) or one cut's clean-up
 * (after UPLOADED is durable: remove the spool files). Who calls it decides on which threads; the
 * uploader (uploader.h) has a few, the crash simulation one.
 *
 * Any thread may call anything here; one cut is worked on by one thread at a time. Locks are not
 * held while the disk or the store is waited for. Callbacks come without a lock held.
 *
 * Failures: class RETRY, again after a growing, jittered time, and the dataset's later cuts wait;
 * PERMANENT (a person must act), again after slow_retry_ms, later cuts go on; ERR_CONFLICT, never
 * again until the next start; later cuts go on. When four turns in a row fail, the store itself is
 * taken to be away: then one cut at a time is tried, ever less often, and the first success makes
 * all the others due at once.
 *
 * Memory: about 600 bytes for each pending cut; their number is bounded by the spool's share of
 * JOURNAL_MAX_BYTES, and a slow store makes cuts fewer and larger.
 */
#include "lake/landed_cut.h"
#include "lake/landing_journal.h"
#include "lake/spool.h"
#include "lake/store.h"

struct upload;

struct upload_options {
    const struct clock *clock;
    struct spool *spool;
    struct store *store;
    struct landing_journal journal;
    uint64_t seed;           /* of the jitter */
    uint32_t retry_first_ms; /* 0: 500 */
    uint32_t retry_max_ms;   /* 0: 30,000 */
    uint32_t slow_retry_ms;  /* 0: 30,000 */
    /* UPLOADED is durable, the spool files are gone. On a thread that steps. */
    void (*on_uploaded)(void *ctx, const struct landed *landed);
    /* Something may be due: step. From any thread, the journal's among them. May be NULL. */
    void (*on_work)(void *work_ctx);
    void *ctx; /* of on_uploaded */
    void *work_ctx;
};

/* All options are borrowed and must outlive the upload. */
enum err upload_new(const struct upload_options *options, struct upload **ret_upload) ERR_MUST_USE;
/* After the journal has stopped: its callbacks may come until then. NULL is fine. */
void upload_free(struct upload *upload);

/* Copies landed and reserves all that upload_ready will need. */
enum err upload_prepare(struct upload *upload, const struct landed *landed,
                        struct landed_cut **ret_cut) ERR_MUST_USE;
/* LANDED is durable (or was found by recovery): the cut belongs to the upload from here. A
 * dataset's cuts are made ready in the journal's order. Cannot fail. */
void upload_ready(struct upload *upload, struct landed_cut *take_cut);
/* LANDED did not come to be. */
void upload_discard(struct upload *upload, struct landed_cut *take_cut);

/* False: nothing is due; *ret_wait_ns says for how long at most (INT64_MAX: until on_work). */
bool upload_step(struct upload *upload, int64_t *ret_wait_ns);

struct upload_stats {
    uint64_t pending_cuts; /* landed, UPLOADED not durable; stopped ones included */
    uint64_t pending_bytes;
    uint64_t active_cuts;  /* being put, or UPLOADED on its way */
    uint64_t stopped_cuts; /* ERR_CONFLICT */
    uint64_t aside_cuts;   /* waiting for a person's doing, retried slowly */
    int64_t oldest_age_ns; /* of all pending; recovered ones count from their recovery */
    int64_t lag_ns;        /* of those neither stopped nor aside: how far uploads lag */
    int64_t next_due_ns;   /* monotonic; INT64_MAX: none waits */
    uint64_t uploaded_cuts;
    uint64_t uploaded_files;
    uint64_t uploaded_bytes;
    uint64_t uploaded_rows;
    uint64_t uploaded_messages;
    uint64_t latency_ns_total; /* from landed to uploaded, over uploaded_cuts */
    uint64_t put_ns_total;     /* in the store's put, over uploaded_files */
    uint64_t failures;
    uint64_t consecutive_failures;
    bool store_away; /* the last turns all failed */
    enum err last_err;
    int64_t last_error_ns;   /* monotonic */
    char last_error[512];    /* stays after a success: see consecutive_failures */
    char stopped_error[512]; /* of the last ERR_CONFLICT */
};
void upload_stats_get(struct upload *upload, struct upload_stats *ret_stats);

/* Whether a cut of the dataset is still on its way into the store. */
bool upload_is_pending(struct upload *upload, struct bytes dataset_id);
