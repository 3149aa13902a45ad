#include "net/backoff.h"

#define BACKOFF_DOUBLINGS_MAX 31

void backoff_init(struct backoff *backoff, uint32_t min_ms, uint32_t max_ms, uint64_t seed)
{
    if (min_ms == 0)
        min_ms = 1;
    if (max_ms < min_ms)
        max_ms = min_ms;
    *backoff = (struct backoff){.min_ms = min_ms, .max_ms = max_ms, .random_state = seed};
}

/* splitmix64 */
static uint64_t random_next(uint64_t *state)
{
    uint64_t value = *state += 0x9e3779b97f4a7c15ULL;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
    return value ^ (value >> 31);
}

uint32_t backoff_next_ms(struct backoff *backoff)
{
    uint64_t wait_ms = (uint64_t)backoff->min_ms << backoff->tries;
    if (wait_ms >= backoff->max_ms)
        wait_ms = backoff->max_ms;
    else if (backoff->tries < BACKOFF_DOUBLINGS_MAX)
        backoff->tries++;
    uint64_t half_ms = wait_ms / 2;
    return (uint32_t)(wait_ms - random_next(&backoff->random_state) % (half_ms + 1));
}

void backoff_reset(struct backoff *backoff)
{
    backoff->tries = 0;
}
