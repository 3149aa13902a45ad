#pragma once
/*
 * How many bytes of request bodies the API holds at a time, as received and as inflated, over all
 * connections: LIMIT_API_BODIES_BYTES. Any thread.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct body_budget {
    _Atomic size_t used_bytes;
    size_t max_bytes;
};

/* False: that would be too many; nothing was taken. budget may be NULL: always true. */
bool body_budget_take(struct body_budget *budget, size_t bytes);
void body_budget_give(struct body_budget *budget, size_t bytes);
