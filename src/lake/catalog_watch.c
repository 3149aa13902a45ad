#include "lake/catalog_watch.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "os/thread.h"

#include <stdio.h>

#define INTERVAL_MS 3000

struct catalog_watch {
    struct catalog *catalog;
    int64_t interval_ns;
    struct thread thread;
    struct mutex lock; /* all below */
    struct condition wake;
    bool stopping;
    struct catalog_health health;
};

static void watch_run(void *ctx)
{
    struct catalog_watch *watch = ctx;
    struct catalog *catalog = watch->catalog;
    mutex_lock(&watch->lock);
    while (!watch->stopping) {
        struct diag diag = {0};
        mutex_unlock(&watch->lock);
        enum err err = catalog->ops->probe ? catalog->ops->probe(catalog, &diag) : ERR_OK;
        mutex_lock(&watch->lock);
        watch->health.probed = true;
        watch->health.err = err;
        snprintf(watch->health.sentence, sizeof(watch->health.sentence), "%.511s",
                 err == ERR_OK  ? ""
                 : diag.text[0] ? diag.text
                                : err_text(err));
        if (!watch->stopping)
            condition_wait_for(&watch->wake, &watch->lock, watch->interval_ns);
    }
    mutex_unlock(&watch->lock);
}

enum err catalog_watch_start(struct catalog *catalog, uint32_t interval_ms,
                             struct catalog_watch **ret_watch, struct diag *diag)
{
    struct catalog_watch *watch = mem_zalloc(1, sizeof(*watch));
    if (!watch)
        return diag_set(diag, ERR_NO_MEMORY, "no memory to watch the database");
    watch->catalog = catalog;
    watch->interval_ns = (interval_ms ? interval_ms : INTERVAL_MS) * NS_PER_MS;
    mutex_init(&watch->lock);
    condition_init(&watch->wake);
    enum err err = thread_start(&watch->thread, "database-probe", watch_run, watch);
    if (err != ERR_OK) {
        catalog_watch_stop(watch);
        return diag_set(diag, err, "cannot start the thread that watches the database: %s",
                        err_text(err));
    }
    *ret_watch = watch;
    return ERR_OK;
}

void catalog_watch_stop(struct catalog_watch *watch)
{
    if (!watch)
        return;
    mutex_lock(&watch->lock);
    watch->stopping = true;
    condition_broadcast(&watch->wake);
    mutex_unlock(&watch->lock);
    thread_join(&watch->thread);
    condition_fini(&watch->wake);
    mutex_fini(&watch->lock);
    mem_free(watch);
}

void catalog_watch_get(struct catalog_watch *watch, struct catalog_health *ret_health)
{
    mutex_lock(&watch->lock);
    *ret_health = watch->health;
    mutex_unlock(&watch->lock);
}
