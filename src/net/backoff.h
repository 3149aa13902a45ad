#pragma once
/*
 * Exponential back-off with jitter: how long to wait before the next try. Pure arithmetic, owned by
 * one thread. Each wait is drawn evenly from the upper half of min * 2^tries, capped at max, so
 * that many clients of one broken server do not come back together.
 */
#include <stdint.h>

struct backoff {
    uint32_t min_ms;
    uint32_t max_ms;
    uint32_t tries;
    uint64_t random_state;
};

/* seed: anything that differs between clients. min_ms is at least 1, max_ms at least min_ms. */
void backoff_init(struct backoff *backoff, uint32_t min_ms, uint32_t max_ms, uint64_t seed);
/* Counts a try and returns the wait before it. */
uint32_t backoff_next_ms(struct backoff *backoff);
/* It worked: the next wait is short again. */
void backoff_reset(struct backoff *backoff);
