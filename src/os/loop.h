#pragma once
/*
 * A libuv loop on a thread of its own, and letters to it: loop_post is for any thread, what it
 * carries runs on the loop's thread, in order. Everything else of a loop belongs to its thread.
 *
 * A letter is part of its sender's structure, so that posting cannot fail: it must stay valid until
 * its run was called, and it is posted at most once at a time.
 */
#include "base/err.h"
#include "os/thread.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct letter {
    void (*run)(struct letter *letter);
    struct letter *next;
};

struct loop {
    uv_loop_t uv;
    uv_async_t async;
    struct thread thread;
    struct mutex lock;
    struct letter *first; /* waiting letters, guarded by lock */
    struct letter **last;
    bool stopping;
    /* Nanoseconds (monotonic) when the loop last went round; a watchdog reads it. */
    _Atomic int64_t alive_ns;
    uv_timer_t heartbeat;
    char name[16];
};

/* Starts the thread. name: at most 15 characters. */
enum err loop_start(struct loop *loop, const char *name) ERR_MUST_USE;
/* Runs waiting letters, closes what is left on the loop, joins the thread. Handles of others must
 * have been closed by them; those still open are closed without their owner being told. */
void loop_stop(struct loop *loop);
void loop_post(struct loop *loop, struct letter *letter);
/* Runs fn on the loop's thread and waits for it. Not from that thread. */
void loop_call(struct loop *loop, void (*fn)(void *ctx), void *ctx);
