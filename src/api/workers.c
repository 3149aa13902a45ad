#include "api/workers.h"

void workers_init(struct workers *workers, void (*on_work)(struct work *work),
                  void (*on_refused)(struct work *work))
{
    *workers = (struct workers){.on_work = on_work, .on_refused = on_refused};
    workers->last = &workers->first;
    mutex_init(&workers->lock);
    condition_init(&workers->changed);
}

void workers_fini(struct workers *workers)
{
    condition_fini(&workers->changed);
    mutex_fini(&workers->lock);
}

/* With the lock; NULL when none waits. */
static struct work *work_take(struct workers *workers)
{
    struct work *work = workers->first;
    if (!work)
        return NULL;
    workers->first = work->next;
    if (!workers->first)
        workers->last = &workers->first;
    workers->count--;
    return work;
}

static void worker_run(void *ctx)
{
    struct workers *workers = ctx;
    mutex_lock(&workers->lock);
    while (!workers->stopping) {
        struct work *work = work_take(workers);
        if (!work) {
            condition_wait(&workers->changed, &workers->lock);
            continue;
        }
        mutex_unlock(&workers->lock);
        workers->on_work(work);
        mutex_lock(&workers->lock);
    }
    mutex_unlock(&workers->lock);
}

enum err workers_start(struct workers *workers)
{
    enum err err = ERR_OK;
    for (int i = 0; i < WORKERS_COUNT && err == ERR_OK; i++)
        err = thread_start(&workers->threads[i], "api-worker", worker_run, workers);
    return err;
}

void workers_stop(struct workers *workers)
{
    mutex_lock(&workers->lock);
    workers->stopping = true;
    condition_broadcast(&workers->changed);
    for (struct work *work; (work = work_take(workers));) {
        mutex_unlock(&workers->lock);
        workers->on_refused(work);
        mutex_lock(&workers->lock);
    }
    mutex_unlock(&workers->lock);
    for (int i = 0; i < WORKERS_COUNT; i++)
        thread_join(&workers->threads[i]);
}

enum err workers_add(struct workers *workers, struct work *work)
{
    enum err err = ERR_OK;
    work->next = NULL;
    mutex_lock(&workers->lock);
    if (workers->stopping)
        err = ERR_STOPPED;
    else if (workers->count >= WORKERS_QUEUE_MAX)
        err = ERR_TOO_MANY;
    if (err == ERR_OK) {
        *workers->last = work;
        workers->last = &work->next;
        workers->count++;
        condition_signal(&workers->changed);
    }
    mutex_unlock(&workers->lock);
    return err;
}
