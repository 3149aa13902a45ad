#pragma once
/*
 * When a source polls: at fixed distances from its first poll, whatever a poll takes, so that
 * nothing drifts and nothing overlaps: slots that pass during a poll are left out. And when a poll
 * tries again. Pure arithmetic on a monotonic clock that the caller reads; one thread.
 */
#include "base/bytes.h"
#include "net/backoff.h"

#include <stdbool.h>
#include <stdint.h>

#define REST_TRIES_MAX         3
#define REST_TRIES_SECONDS     60
#define REST_RETRY_AFTER_MAX_S 86400
#define REST_RETRY_FIRST_MS    1000
#define REST_RETRY_LAST_MS     20000
#define REST_STARTS_AT_ONCE    20
#define REST_STARTS_PER_SECOND 20

struct rest_schedule {
    int64_t interval_ns;
    int64_t next_ns;       /* the slot that comes, or that is being polled */
    int64_t not_before_ns; /* the server asked for it (Retry-After) */
    uint64_t skipped;      /* slots that passed during a poll */
};

/* The first slot is now, or, when many start together, spread over the interval by the hash. */
void rest_schedule_begin(struct rest_schedule *schedule, uint32_t interval_seconds, int64_t now_ns,
                         bool at_once, uint64_t hash);
/* The poll of the slot is over: the next one. */
void rest_schedule_next(struct rest_schedule *schedule, int64_t now_ns);
/* No poll for so many seconds from now. */
void rest_schedule_hold(struct rest_schedule *schedule, int64_t now_ns, uint32_t seconds);

/* Who may poll at once: a few sources that people make by hand, not thousands at a start. */
struct rest_starts {
    int64_t filled_ns;
    int64_t tokens_ns; /* each start takes a second / REST_STARTS_PER_SECOND */
};
bool rest_starts_take(struct rest_starts *starts, int64_t now_ns);

/* The tries of one request. */
struct rest_retry {
    struct backoff backoff;
    int64_t first_ns;
    uint32_t tries; /* made */
};
void rest_retry_begin(struct rest_retry *retry, int64_t now_ns, uint64_t seed);
/* A try has failed in a way that may pass. Whether to try again, and after which wait.
 * retry_after_seconds below 0: the server said nothing. */
bool rest_retry_again(struct rest_retry *retry, int64_t now_ns, int64_t retry_after_seconds,
                      uint32_t *ret_wait_ms);

/* Retry-After (RFC 9110 §10.2.3): seconds or a date. -1 when it is neither. now is Unix time. */
int64_t rest_retry_after(const char *text, int64_t now_seconds);
