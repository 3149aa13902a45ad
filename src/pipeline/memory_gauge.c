#include "pipeline/memory_gauge.h"

#include "base/limits.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void memory_gauge_init(struct memory_gauge *gauge, uint64_t limit_bytes)
{
    uint64_t part = (limit_bytes - least(limit_bytes / 4, MEMORY_GAUGE_BASE_BYTES)) / 16;
    *gauge = (struct memory_gauge){
        .in_flight_max_bytes = least(2 * part, LIMIT_BLOCKS_IN_FLIGHT_BYTES),
        .batches_max_bytes = 6 * part,
        .landers_max_bytes = least(2 * part, LIMIT_LANDERS_BYTES),
        .recent_max_bytes = least(2 * part, LIMIT_RECENT_BYTES),
        .pause_bytes = 12 * part,
        .resume_bytes = 10 * part,
        .waiting_pause_bytes = 4 * part,
        .waiting_resume_bytes = 3 * part,
    };
}

static uint64_t get(const _Atomic uint64_t *bytes)
{
    return atomic_load_explicit(bytes, memory_order_relaxed);
}

uint64_t memory_gauge_bytes(const struct memory_gauge *gauge)
{
    return get(&gauge->in_flight_bytes) + get(&gauge->batches_bytes) + get(&gauge->landers_bytes) +
           get(&gauge->recent_bytes);
}

static bool switch_at(_Atomic bool *state, uint64_t bytes, uint64_t on_bytes, uint64_t off_bytes)
{
    bool on = atomic_load_explicit(state, memory_order_relaxed);
    bool now = bytes > on_bytes || (on && bytes > off_bytes);
    if (now != on)
        atomic_store_explicit(state, now, memory_order_relaxed);
    return now;
}

bool memory_gauge_paused(struct memory_gauge *gauge)
{
    return switch_at(&gauge->paused, memory_gauge_bytes(gauge), gauge->pause_bytes,
                     gauge->resume_bytes);
}

bool memory_gauge_waiting(struct memory_gauge *gauge)
{
    return switch_at(&gauge->waiting, get(&gauge->waiting_bytes), gauge->waiting_pause_bytes,
                     gauge->waiting_resume_bytes);
}

bool memory_gauge_replay_room(struct memory_gauge *gauge)
{
    if (get(&gauge->in_flight_bytes) > gauge->in_flight_max_bytes || memory_gauge_waiting(gauge))
        return false;
    uint64_t bytes = memory_gauge_bytes(gauge);
    uint64_t redo_bytes = get(&gauge->redo_bytes);
    return (bytes > redo_bytes ? bytes - redo_bytes : 0) <= gauge->resume_bytes;
}
