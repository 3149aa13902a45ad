#pragma once
/* The clocks, behind a table so that tests own time. Any thread. */
#include <stdint.h>

struct clock_ops {
    int64_t (*monotonic_ns)(void *ctx); /* never goes back */
    int64_t (*realtime_us)(void *ctx);  /* Unix time, UTC; may jump */
};

struct clock {
    const struct clock_ops *ops;
    void *ctx;
};

/* The kernel's clocks. */
extern const struct clock clock_system;

static inline int64_t clock_monotonic_ns(const struct clock *clock)
{
    return clock->ops->monotonic_ns(clock->ctx);
}

static inline int64_t clock_realtime_us(const struct clock *clock)
{
    return clock->ops->realtime_us(clock->ctx);
}
