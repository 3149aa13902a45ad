#include "os/clock_jump.h"

#include "base/limits.h"

#define JUMP_US (2 * US_PER_S)

int64_t clock_jump_next(struct clock_jump *jump, const struct clock *clock)
{
    int64_t ahead_us = clock_realtime_us(clock) - clock_monotonic_ns(clock) / NS_PER_US;
    int64_t by_us = jump->has_looked ? ahead_us - jump->ahead_us : 0;
    *jump = (struct clock_jump){true, ahead_us};
    return by_us > JUMP_US || by_us < -JUMP_US ? by_us : 0;
}
