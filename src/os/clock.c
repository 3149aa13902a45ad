#include "os/clock.h"

#include "base/limits.h"

#include <time.h>

static int64_t system_monotonic_ns(void *ctx)
{
    (void)ctx;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int64_t system_realtime_us(void *ctx)
{
    (void)ctx;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * US_PER_S + now.tv_nsec / NS_PER_US;
}

static const struct clock_ops system_ops = {system_monotonic_ns, system_realtime_us};

const struct clock clock_system = {&system_ops, 0};
