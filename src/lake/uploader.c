#include "lake/uploader.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "os/thread.h"

#include <stdio.h>

#define THREADS_MAX 64
#define WAIT_MAX_NS (5 * NS_PER_S)

struct uploader {
    struct uploader_options options;
    struct upload *upload;
    struct thread threads[THREADS_MAX];
    struct thread probe_thread;
    struct mutex lock;           /* all below */
    struct condition work;       /* generation or stopping changed */
    struct condition probe_wake; /* stopping changed */
    uint64_t generation;
    bool stopping;
    bool probed;
    enum err probe_err;
    int64_t probe_ns;
    int64_t probe_begun_ns; /* 0: none runs */
    struct diag probe_diag;
};

static void on_work(void *ctx)
{
    struct uploader *uploader = ctx;
    mutex_lock(&uploader->lock);
    uploader->generation++;
    condition_broadcast(&uploader->work);
    mutex_unlock(&uploader->lock);
}

enum err uploader_new(const struct uploader_options *options, struct uploader **ret_uploader)
{
    struct uploader *uploader = mem_zalloc(1, sizeof(*uploader));
    if (!uploader)
        return ERR_NO_MEMORY;
    uploader->options = *options;
    if (uploader->options.thread_count == 0)
        uploader->options.thread_count = 4;
    if (uploader->options.thread_count > THREADS_MAX)
        uploader->options.thread_count = THREADS_MAX;
    if (uploader->options.probe_interval_ms == 0)
        uploader->options.probe_interval_ms = 5000;
    struct upload_options upload = options->upload;
    upload.on_work = on_work;
    upload.work_ctx = uploader;
    enum err err = upload_new(&upload, &uploader->upload);
    if (err != ERR_OK) {
        mem_free(uploader);
        return err;
    }
    mutex_init(&uploader->lock);
    condition_init(&uploader->work);
    condition_init(&uploader->probe_wake);
    *ret_uploader = uploader;
    return ERR_OK;
}

struct upload *uploader_upload(struct uploader *uploader)
{
    return uploader->upload;
}

/* Steps until there is nothing due, then waits for a due time or for work. The generation is read
 * before the step: what comes in between is not slept through. */
static void run(void *ctx)
{
    struct uploader *uploader = ctx;
    mutex_lock(&uploader->lock);
    while (!uploader->stopping) {
        uint64_t generation = uploader->generation;
        int64_t wait_ns;
        mutex_unlock(&uploader->lock);
        bool worked = upload_step(uploader->upload, &wait_ns);
        mutex_lock(&uploader->lock);
        if (!worked && !uploader->stopping && uploader->generation == generation)
            condition_wait_for(&uploader->work, &uploader->lock,
                               wait_ns < WAIT_MAX_NS ? wait_ns : WAIT_MAX_NS);
    }
    mutex_unlock(&uploader->lock);
}

static void run_probe(void *ctx)
{
    struct uploader *uploader = ctx;
    struct store *store = uploader->options.upload.store;
    const struct clock *clock = uploader->options.upload.clock;
    mutex_lock(&uploader->lock);
    while (!uploader->stopping) {
        struct diag diag = {0};
        uploader->probe_begun_ns = clock_monotonic_ns(clock);
        mutex_unlock(&uploader->lock);
        enum err err = store->ops->probe(store, &diag);
        mutex_lock(&uploader->lock);
        uploader->probe_begun_ns = 0;
        uploader->probed = true;
        uploader->probe_err = err;
        uploader->probe_diag = diag;
        uploader->probe_ns = clock_monotonic_ns(clock);
        int64_t wait_ns = (int64_t)uploader->options.probe_interval_ms * NS_PER_MS;
        if (!uploader->stopping)
            condition_wait_for(&uploader->probe_wake, &uploader->lock,
                               err == ERR_OK ? wait_ns : wait_ns / 5);
    }
    mutex_unlock(&uploader->lock);
}

/* Ends the threads; a transfer that runs is cut off. */
static void join_all(struct uploader *uploader)
{
    struct store *store = uploader->options.upload.store;
    mutex_lock(&uploader->lock);
    uploader->stopping = true;
    condition_broadcast(&uploader->work);
    condition_broadcast(&uploader->probe_wake);
    mutex_unlock(&uploader->lock);
    if (store->ops->cancel)
        store->ops->cancel(store);
    for (uint32_t i = 0; i < uploader->options.thread_count; i++)
        thread_join(&uploader->threads[i]);
    thread_join(&uploader->probe_thread);
}

enum err uploader_start(struct uploader *uploader, struct diag *diag)
{
    enum err err = thread_start(&uploader->probe_thread, "store-probe", run_probe, uploader);
    for (uint32_t i = 0; i < uploader->options.thread_count && err == ERR_OK; i++)
        err = thread_start(&uploader->threads[i], "upload", run, uploader);
    if (err == ERR_OK)
        return ERR_OK;
    join_all(uploader);
    return diag_set(diag, err, "cannot start the upload threads: %s", err_text(err));
}

/* Nothing runs and nothing will before until_ns. */
static bool is_drained(struct uploader *uploader, int64_t until_ns)
{
    struct upload_stats stats;
    upload_stats_get(uploader->upload, &stats);
    return stats.active_cuts == 0 && (stats.next_due_ns > until_ns || stats.store_away);
}

void uploader_stop(struct uploader *uploader, int64_t drain_ns)
{
    const struct clock *clock = uploader->options.upload.clock;
    int64_t until_ns = clock_monotonic_ns(clock) + drain_ns;
    mutex_lock(&uploader->lock);
    while (!uploader->stopping) {
        uint64_t generation = uploader->generation;
        mutex_unlock(&uploader->lock);
        bool drained = is_drained(uploader, until_ns);
        int64_t left_ns = until_ns - clock_monotonic_ns(clock);
        mutex_lock(&uploader->lock);
        if (drained || left_ns <= 0)
            break;
        if (uploader->generation == generation)
            condition_wait_for(&uploader->work, &uploader->lock,
                               left_ns < 100 * NS_PER_MS ? left_ns : 100 * NS_PER_MS);
    }
    mutex_unlock(&uploader->lock);
    join_all(uploader);
}

void uploader_free(struct uploader *uploader)
{
    if (!uploader)
        return;
    join_all(uploader);
    upload_free(uploader->upload);
    condition_fini(&uploader->work);
    condition_fini(&uploader->probe_wake);
    mutex_fini(&uploader->lock);
    mem_free(uploader);
}

void uploader_health_get(struct uploader *uploader, struct uploader_health *ret_health)
{
    const struct store *store = uploader->options.upload.store;
    const struct clock *clock = uploader->options.upload.clock;
    *ret_health = (struct uploader_health){0};
    snprintf(ret_health->description, sizeof(ret_health->description), "%s", store->description);
    mutex_lock(&uploader->lock);
    ret_health->probed = uploader->probed;
    ret_health->err = uploader->probe_err;
    if (uploader->probed)
        ret_health->age_ns = clock_monotonic_ns(clock) - uploader->probe_ns;
    if (uploader->probe_begun_ns != 0)
        ret_health->silent_ns = clock_monotonic_ns(clock) - uploader->probe_begun_ns;
    if (uploader->probe_err != ERR_OK)
        snprintf(ret_health->sentence, sizeof(ret_health->sentence), "%s",
                 uploader->probe_diag.text[0] ? uploader->probe_diag.text
                                              : err_text(uploader->probe_err));
    mutex_unlock(&uploader->lock);
}
