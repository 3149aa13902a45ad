/*
 * Invariant: jobs are landed in the order they were submitted, so a dataset's cuts are too; a job
 * that fails is tried again until it succeeds or the lander stops, and those behind it wait.
 */
#include "pipeline/lander.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "os/thread.h"

#include <stdio.h>

#define LANDER_QUEUE_CUTS 16 /* a worker waits when so many are queued */
#define LANDER_RETRY_NS   NS_PER_S
#define LANDER_WAIT_NS    (2 * NS_PER_S) /* so that it is seen to be alive */

struct lander {
    struct lander_options options;
    struct thread thread;
    struct mutex lock;
    struct condition wake; /* the lander: work, stop, or LANDED became durable */
    struct condition room; /* the workers */
    struct land_job *first;
    struct land_job *last;
    uint64_t queue_cuts;
    uint64_t queue_bytes;
    uint64_t landing; /* asked for, not durable yet */
    bool stopping;
    bool left_something;
    int64_t deadline_ns;
    struct lander_stats stats;
    _Atomic int64_t alive_ns;
};

static void beat(struct lander *lander)
{
    atomic_store_explicit(&lander->alive_ns, clock_monotonic_ns(lander->options.clock),
                          memory_order_relaxed);
}

int64_t lander_alive_ns(const struct lander *lander)
{
    return atomic_load_explicit(&lander->alive_ns, memory_order_relaxed);
}

static uint64_t job_bytes(const struct land_job *job)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < job->cut.file_count; i++)
        bytes += job->cut.files[i].bytes.capacity;
    return bytes;
}

static void queue_bytes_add(struct lander *lander, uint64_t bytes)
{
    lander->queue_bytes += bytes;
    if (lander->options.held_bytes)
        atomic_fetch_add_explicit(lander->options.held_bytes, bytes, memory_order_relaxed);
}

static void on_landed(void *ctx, uint64_t cut_id, enum err err)
{
    struct lander *lander = ctx;
    (void)cut_id;
    mutex_lock(&lander->lock);
    lander->landing--;
    if (err == ERR_OK)
        lander->stats.landed_cuts++;
    else
        lander->left_something = true;
    condition_signal(&lander->wake);
    mutex_unlock(&lander->lock);
}

static bool is_late(const struct lander *lander)
{
    return lander->stopping && clock_monotonic_ns(lander->options.clock) >= lander->deadline_ns;
}

static enum err job_land(struct lander *lander, const struct land_job *job)
{
    struct diag diag = {0};
    const struct landing_range range = {
        .dataset_id = bytes_from(job->dataset_id, job->dataset_id_size),
        .source_id = bytes_from_text(job->account->source_id),
        .after = job->after,
        .through = job->through,
        .redo_cut = job->redo_cut,
    };
    mutex_lock(&lander->lock);
    lander->landing++; /* before: the callback may come at once */
    mutex_unlock(&lander->lock);
    enum err err =
        landing_land(lander->options.landing, &job->cut, &range, on_landed, lander, &diag);
    mutex_lock(&lander->lock);
    if (err != ERR_OK) {
        lander->landing--;
        lander->stats.failures++;
        snprintf(lander->stats.last_error, sizeof(lander->stats.last_error), "%s",
                 diag.text[0] ? diag.text : err_text(err));
    } else {
        lander->stats.last_error[0] = '\0';
    }
    mutex_unlock(&lander->lock);
    return err;
}

/* Waits for the next job; NULL when the lander stops and there is none, or no time is left. */
static struct land_job *job_wait(struct lander *lander)
{
    mutex_lock(&lander->lock);
    beat(lander);
    while (!lander->first && !lander->stopping) {
        condition_wait_for(&lander->wake, &lander->lock, LANDER_WAIT_NS);
        beat(lander);
    }
    struct land_job *job = is_late(lander) ? NULL : lander->first; /* the journal has the rest */
    mutex_unlock(&lander->lock);
    return job;
}

static void job_done(struct lander *lander, struct land_job *job)
{
    mutex_lock(&lander->lock);
    lander->first = job->next;
    if (!lander->first)
        lander->last = NULL;
    lander->queue_cuts--;
    queue_bytes_add(lander, 0 - job_bytes(job));
    condition_broadcast(&lander->room);
    mutex_unlock(&lander->lock);
    land_job_free(job);
}

/* False: the lander is to end and leave the job to the journal. */
static bool wait_to_retry(struct lander *lander)
{
    mutex_lock(&lander->lock);
    if (!is_late(lander))
        condition_wait_for(&lander->wake, &lander->lock, LANDER_RETRY_NS);
    bool go_on = !is_late(lander);
    mutex_unlock(&lander->lock);
    return go_on;
}

static void jobs_land(struct lander *lander)
{
    for (struct land_job *job; (job = job_wait(lander));) {
        enum err err;
        while ((err = job_land(lander, job)) != ERR_OK) {
            if (err == ERR_STOPPED || !wait_to_retry(lander))
                return;
            beat(lander);
        }
        job_done(lander, job);
    }
}

static void lander_run(void *ctx)
{
    struct lander *lander = ctx;
    jobs_land(lander);
    atomic_store(&lander->alive_ns, 0);
}

enum err lander_new(const struct lander_options *options, struct lander **ret_lander)
{
    struct lander *lander = mem_zalloc(1, sizeof(*lander));
    if (!lander)
        return ERR_NO_MEMORY;
    lander->options = *options;
    mutex_init(&lander->lock);
    condition_init(&lander->wake);
    condition_init(&lander->room);
    *ret_lander = lander;
    return ERR_OK;
}

enum err lander_start(struct lander *lander)
{
    return thread_start(&lander->thread, "lander", lander_run, lander);
}

bool lander_stop(struct lander *lander, int64_t deadline_ns)
{
    mutex_lock(&lander->lock);
    lander->stopping = true;
    lander->deadline_ns = deadline_ns;
    condition_signal(&lander->wake);
    condition_broadcast(&lander->room);
    mutex_unlock(&lander->lock);
    thread_join(&lander->thread);

    mutex_lock(&lander->lock);
    int64_t left_ns;
    while (lander->landing > 0 &&
           (left_ns = deadline_ns - clock_monotonic_ns(lander->options.clock)) > 0)
        condition_wait_for(&lander->wake, &lander->lock, left_ns);
    bool all = lander->landing == 0 && !lander->first && !lander->left_something;
    mutex_unlock(&lander->lock);
    return all;
}

void lander_free(struct lander *lander)
{
    if (!lander)
        return;
    for (struct land_job *job = lander->first, *next; job; job = next) {
        next = job->next;
        land_job_free(job);
    }
    condition_fini(&lander->room);
    condition_fini(&lander->wake);
    mutex_fini(&lander->lock);
    mem_free(lander);
}

enum err lander_submit(struct lander *lander, struct land_job *take_job)
{
    uint64_t bytes = job_bytes(take_job);
    mutex_lock(&lander->lock);
    while (lander->queue_cuts > 0 && !is_late(lander) &&
           (lander->queue_cuts >= LANDER_QUEUE_CUTS ||
            lander->queue_bytes + bytes > lander->options.queue_bytes_max))
        condition_wait_for(&lander->room, &lander->lock, LANDER_RETRY_NS);
    if (is_late(lander)) {
        mutex_unlock(&lander->lock);
        return ERR_STOPPED;
    }
    take_job->next = NULL;
    *(lander->last ? &lander->last->next : &lander->first) = take_job;
    lander->last = take_job;
    lander->queue_cuts++;
    queue_bytes_add(lander, bytes);
    condition_signal(&lander->wake);
    mutex_unlock(&lander->lock);
    return ERR_OK;
}

void lander_stats_get(struct lander *lander, struct lander_stats *ret_stats)
{
    mutex_lock(&lander->lock);
    *ret_stats = lander->stats;
    ret_stats->queue_cuts = lander->queue_cuts;
    mutex_unlock(&lander->lock);
}
