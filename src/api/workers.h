#pragma once
/*
 * The threads that run slow requests: those that wait for a database, a connection, a broker.
 * Requests stand in a bounded queue, first come, first served.
 *
 * workers_stop: what still waits goes to on_refused, what runs runs to its end (handlers bound
 * themselves; start and test take up to 10 s). Any thread.
 */
#include "base/err.h"
#include "os/thread.h"

#define WORKERS_COUNT     8
#define WORKERS_QUEUE_MAX 1000

/* Part of what is worked on. */
struct work {
    struct work *next;
};

struct workers {
    void (*on_work)(struct work *work);
    void (*on_refused)(struct work *work); /* the service stops */
    struct mutex lock;
    struct condition changed;
    struct work *first;
    struct work **last;
    size_t count;
    bool stopping;
    struct thread threads[WORKERS_COUNT];
};

void workers_init(struct workers *workers, void (*on_work)(struct work *work),
                  void (*on_refused)(struct work *work));
void workers_fini(struct workers *workers);
/* On failure call workers_stop all the same. */
enum err workers_start(struct workers *workers) ERR_MUST_USE;
void workers_stop(struct workers *workers);
/* ERR_TOO_MANY: the queue is full; ERR_STOPPED. */
enum err workers_add(struct workers *workers, struct work *work) ERR_MUST_USE;
