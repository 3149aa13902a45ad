#pragma once
/*
 * The upload's threads: some that step (upload.h), and one that probes the store at start and every
 * so often, so that health can be answered from the last result. uploader_start and uploader_stop
 * from one thread; the rest from any.
 *
 * Order at the end: uploader_stop, journal_stop, uploader_free: until the journal has stopped, its
 * callbacks come here.
 */
#include "lake/upload.h"

struct uploader;

struct uploader_options {
    struct upload_options upload; /* its on_work is set here */
    uint32_t thread_count;        /* 0: 4 */
    uint32_t probe_interval_ms;   /* 0: 5,000; while it fails, a fifth of it */
};

enum err uploader_new(const struct uploader_options *options,
                      struct uploader **ret_uploader) ERR_MUST_USE;
/* Stops first, with no time to drain. NULL is fine. */
void uploader_free(struct uploader *uploader);

/* For landing_new. */
struct upload *uploader_upload(struct uploader *uploader);

enum err uploader_start(struct uploader *uploader, struct diag *diag) ERR_MUST_USE;
/* Goes on until nothing can be done any more (all is uploaded, or the store is away) or the time is
 * over; then transfers are cut off, which the next start mends. The store is unusable afterwards.
 */
void uploader_stop(struct uploader *uploader, int64_t drain_ns);

struct uploader_health {
    bool probed;           /* false: no answer yet */
    enum err err;          /* of the last probe */
    int64_t age_ns;        /* of that answer */
    int64_t silent_ns;     /* for so long a probe has waited for its answer; 0: none does */
    char description[256]; /* of the store */
    char sentence[512];    /* why not, "" when it is well */
};
void uploader_health_get(struct uploader *uploader, struct uploader_health *ret_health);
