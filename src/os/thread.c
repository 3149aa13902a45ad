#include "os/thread.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

void mutex_init(struct mutex *mutex)
{
    int result = pthread_mutex_init(&mutex->handle, NULL);
    assert(result == 0);
}

void mutex_fini(struct mutex *mutex)
{
    pthread_mutex_destroy(&mutex->handle);
}

void mutex_lock(struct mutex *mutex)
{
    int result = pthread_mutex_lock(&mutex->handle);
    assert(result == 0);
}

void mutex_unlock(struct mutex *mutex)
{
    int result = pthread_mutex_unlock(&mutex->handle);
    assert(result == 0);
}

void condition_init(struct condition *condition)
{
    pthread_condattr_t attributes;
    int result = pthread_condattr_init(&attributes);
    assert(result == 0);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    result = pthread_cond_init(&condition->handle, &attributes);
    assert(result == 0);
    pthread_condattr_destroy(&attributes);
}

void condition_fini(struct condition *condition)
{
    pthread_cond_destroy(&condition->handle);
}

void condition_wait(struct condition *condition, struct mutex *mutex)
{
    int result = pthread_cond_wait(&condition->handle, &mutex->handle);
    assert(result == 0);
}

bool condition_wait_for(struct condition *condition, struct mutex *mutex, int64_t timeout_ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t nanoseconds = until.tv_nsec + timeout_ns % NS_PER_S;
    until.tv_sec += timeout_ns / NS_PER_S + nanoseconds / NS_PER_S;
    until.tv_nsec = nanoseconds % NS_PER_S;
    int result = pthread_cond_timedwait(&condition->handle, &mutex->handle, &until);
    assert(result == 0 || result == ETIMEDOUT);
    return result == 0;
}

void condition_signal(struct condition *condition)
{
    pthread_cond_signal(&condition->handle);
}

void condition_broadcast(struct condition *condition)
{
    pthread_cond_broadcast(&condition->handle);
}

struct thread_start {
    char name[16];
    void (*run)(void *ctx);
    void *ctx;
};

static void *thread_main(void *argument)
{
    struct thread_start start = *(struct thread_start *)argument;
    mem_free(argument);
    pthread_setname_np(pthread_self(), start.name);
    start.run(start.ctx);
    return NULL;
}

enum err thread_start(struct thread *thread, const char *name, void (*run)(void *ctx), void *ctx)
{
    *thread = (struct thread){0};
    struct thread_start *start = mem_alloc(sizeof(*start));
    if (!start)
        return ERR_NO_MEMORY;
    *start = (struct thread_start){.run = run, .ctx = ctx};
    snprintf(start->name, sizeof(start->name), "%s", name);

    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&thread->handle, NULL, thread_main, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result != 0) {
        mem_free(start);
        return err_from_errno(result);
    }
    thread->started = true;
    return ERR_OK;
}

void thread_join(struct thread *thread)
{
    if (!thread->started)
        return;
    pthread_join(thread->handle, NULL);
    thread->started = false;
}
