#pragma once
/*
 * What every simulation runs on: a loop with a tick, SIGINT and SIGTERM, and the pace at which
 * readings may be made. One thread.
 */
#include "base/err.h"

#include <stdint.h>
#include <uv.h>

struct simulate_loop_ops {
    void (*on_tick)(void *ctx);
    void (*on_signal)(void *ctx);
};

struct simulate_loop {
    uv_loop_t uv;
    uv_timer_t timer;
    uv_signal_t signals[2];
    const struct simulate_loop_ops *ops;
    void *ctx;
    int64_t start_ns;
    int64_t paced_ns;
    double budget; /* readings that the rate allows now */
};

enum err simulate_loop_init(struct simulate_loop *loop, const struct simulate_loop_ops *ops,
                            void *ctx) ERR_MUST_USE;
/* Ticks until simulate_loop_end, and returns when every other handle is closed too. */
void simulate_loop_run(struct simulate_loop *loop);
void simulate_loop_end(struct simulate_loop *loop);
void simulate_loop_fini(struct simulate_loop *loop);

double simulate_loop_seconds(const struct simulate_loop *loop);
/* How many readings the rate allows now; what an outage held up is not made good for more than a
 * second. rate 0: no limit. What is then made is taken off with simulate_loop_spend. */
uint64_t simulate_loop_allowance(struct simulate_loop *loop, double rate);
void simulate_loop_spend(struct simulate_loop *loop, uint64_t count);
