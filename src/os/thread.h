#pragma once
/*
 * Threads, locks and conditions. A lock is held for a few lines, never across a call that blocks.
 * pthread errors from correct use cannot happen and are asserted; starting a thread can fail.
 */
#include "base/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct mutex {
    pthread_mutex_t handle;
};

struct condition {
    pthread_cond_t handle;
};

struct thread {
    pthread_t handle;
    bool started;
};

void mutex_init(struct mutex *mutex);
void mutex_fini(struct mutex *mutex);
void mutex_lock(struct mutex *mutex);
void mutex_unlock(struct mutex *mutex);

void condition_init(struct condition *condition);
void condition_fini(struct condition *condition);
void condition_wait(struct condition *condition, struct mutex *mutex);
/* False when timeout_ns passed (monotonic clock). May wake early, as conditions do. */
bool condition_wait_for(struct condition *condition, struct mutex *mutex, int64_t timeout_ns);
void condition_signal(struct condition *condition);
void condition_broadcast(struct condition *condition);

/* name: at most 15 characters, seen in top and gdb. Signals are blocked in the new thread. */
enum err thread_start(struct thread *thread, const char *name, void (*run)(void *ctx),
                      void *ctx) ERR_MUST_USE;
/* Waits for its end; does nothing when it was not started. */
void thread_join(struct thread *thread);
