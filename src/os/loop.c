#include "os/loop.h"

#include "os/clock.h"

#include <assert.h>
#include <stdio.h>

#define LOOP_HEARTBEAT_MS 1000

static struct letter *letters_take(struct loop *loop)
{
    mutex_lock(&loop->lock);
    struct letter *first = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    mutex_unlock(&loop->lock);
    return first;
}

static void handle_close(uv_handle_t *handle, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void letters_run(struct loop *loop)
{
    for (struct letter *letter = letters_take(loop); letter;) {
        struct letter *next = letter->next;
        letter->run(letter);
        letter = next;
    }
}

static void on_async(uv_async_t *async)
{
    struct loop *loop = async->data;
    letters_run(loop);
    mutex_lock(&loop->lock);
    bool stopping = loop->stopping && !loop->first;
    mutex_unlock(&loop->lock);
    if (stopping)
        uv_walk(&loop->uv, handle_close, NULL);
}

static void on_heartbeat(uv_timer_t *timer)
{
    struct loop *loop = timer->data;
    atomic_store(&loop->alive_ns, clock_monotonic_ns(&clock_system));
}

static void loop_run(void *ctx)
{
    struct loop *loop = ctx;
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

enum err loop_start(struct loop *loop, const char *name)
{
    *loop = (struct loop){0};
    loop->last = &loop->first;
    snprintf(loop->name, sizeof(loop->name), "%s", name);
    if (uv_loop_init(&loop->uv) != 0)
        return ERR_NO_MEMORY;
    if (uv_async_init(&loop->uv, &loop->async, on_async) != 0) {
        int result = uv_loop_close(&loop->uv);
        assert(result == 0);
        return ERR_TOO_MANY; /* no descriptor left */
    }
    mutex_init(&loop->lock);
    loop->async.data = loop;
    loop->heartbeat.data = loop;
    uv_timer_init(&loop->uv, &loop->heartbeat);
    uv_timer_start(&loop->heartbeat, on_heartbeat, 0, LOOP_HEARTBEAT_MS);
    atomic_store(&loop->alive_ns, clock_monotonic_ns(&clock_system));
    enum err err = thread_start(&loop->thread, name, loop_run, loop);
    if (err != ERR_OK) {
        uv_walk(&loop->uv, handle_close, NULL);
        uv_run(&loop->uv, UV_RUN_DEFAULT);
        uv_loop_close(&loop->uv);
        mutex_fini(&loop->lock);
    }
    return err;
}

void loop_stop(struct loop *loop)
{
    if (!loop->thread.started)
        return;
    mutex_lock(&loop->lock);
    loop->stopping = true;
    mutex_unlock(&loop->lock);
    uv_async_send(&loop->async);
    thread_join(&loop->thread);
    letters_run(loop);
    int result = uv_loop_close(&loop->uv);
    assert(result == 0);
    mutex_fini(&loop->lock);
}

void loop_post(struct loop *loop, struct letter *letter)
{
    letter->next = NULL;
    mutex_lock(&loop->lock);
    bool wake = loop->first == NULL;
    *loop->last = letter;
    loop->last = &letter->next;
    mutex_unlock(&loop->lock);
    if (wake)
        uv_async_send(&loop->async);
}

struct call {
    struct letter letter;
    void (*fn)(void *ctx);
    void *ctx;
    struct mutex lock;
    struct condition done_condition;
    bool done;
};

static void call_run(struct letter *letter)
{
    struct call *call = (struct call *)letter;
    call->fn(call->ctx);
    mutex_lock(&call->lock);
    call->done = true;
    condition_signal(&call->done_condition);
    mutex_unlock(&call->lock);
}

void loop_call(struct loop *loop, void (*fn)(void *ctx), void *ctx)
{
    struct call call = {.letter = {.run = call_run}, .fn = fn, .ctx = ctx};
    mutex_init(&call.lock);
    condition_init(&call.done_condition);
    loop_post(loop, &call.letter);
    mutex_lock(&call.lock);
    while (!call.done)
        condition_wait(&call.done_condition, &call.lock);
    mutex_unlock(&call.lock);
    condition_fini(&call.done_condition);
    mutex_fini(&call.lock);
}
