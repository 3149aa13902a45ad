#pragma once
/* Notices that somebody set the system's clock (or the machine slept). Single-threaded. */
#include "os/clock.h"

#include <stdbool.h>

struct clock_jump { /* zeroed: has not looked yet */
    bool has_looked;
    int64_t ahead_us; /* realtime before monotonic, at the last look */
};

/* How far realtime jumped since the last look, µs, negative: back. 0: by no more than 2 s;
 * a clock that NTP slews gains far less between two looks. */
int64_t clock_jump_next(struct clock_jump *jump, const struct clock *clock);
