#include "pipeline/memory_gauge.h"

#include "base/limits.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void memory_gauge_init(struct memory_gauge *gauge, uint64_t limit_bytes)
{
    uint64_t part = (limit_bytes - least(limit_bytes / 8 * 3, MEMORY_GAUGE_BASE_BYTES)) / 16;
    *gauge = (struct memory_gauge){
        .limit_bytes = limit_bytes,
        .in_flight_max_bytes = least(2 * part, LIMIT_BLOCKS_IN_FLIGHT_BYTES),
        .batches_max_bytes = 6 * part,
        .landers_max_bytes = least(2 * part, LIMIT_LANDERS_BYTES),
        .recent_max_bytes = least(2 * part, LIMIT_RECENT_BYTES),
        .routes_max_bytes = part,
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

static void move(_Atomic uint64_t *sum, uint64_t from, uint64_t to)
{
    if (from != to)
        atomic_fetch_add_explicit(sum, to - from, memory_order_relaxed);
}

void memory_gauge_tell(struct memory_gauge *gauge, struct memory_told *told,
                       const struct memory_told *now)
{
    move(&gauge->batches_bytes, told->batches_bytes, now->batches_bytes);
    move(&gauge->waiting_bytes, told->waiting_bytes, now->waiting_bytes);
    move(&gauge->redo_bytes, told->redo_bytes, now->redo_bytes);
    *told = *now;
}

static uint64_t less_bytes(const struct memory_gauge *gauge)
{
    return get(&gauge->fixed_bytes) + get(&gauge->squeeze_bytes);
}

uint64_t memory_gauge_recent_max(const struct memory_gauge *gauge)
{
    uint64_t max_bytes = gauge->recent_max_bytes;
    return max_bytes - least(less_bytes(gauge), max_bytes / 4 * 3);
}

uint64_t memory_gauge_batches_less(const struct memory_gauge *gauge)
{
    uint64_t rest_bytes =
        less_bytes(gauge) - (gauge->recent_max_bytes - memory_gauge_recent_max(gauge));
    return least(rest_bytes, gauge->batches_max_bytes / 4 * 3);
}

/* Far enough from the limit for what a checkpoint of the journal takes for a moment. */
static uint64_t near_limit_bytes(const struct memory_gauge *gauge)
{
    return gauge->limit_bytes / 8 * 7;
}

bool memory_gauge_is_near(const struct memory_gauge *gauge, uint64_t resident_bytes)
{
    return resident_bytes > near_limit_bytes(gauge);
}

/* Down at once, up again slowly. */
void memory_gauge_resident(struct memory_gauge *gauge, uint64_t resident_bytes)
{
    uint64_t near_bytes = near_limit_bytes(gauge);
    uint64_t squeeze_bytes = get(&gauge->squeeze_bytes);
    if (resident_bytes > near_bytes)
        squeeze_bytes = least(squeeze_bytes + (resident_bytes - near_bytes),
                              gauge->batches_max_bytes + gauge->recent_max_bytes);
    else
        squeeze_bytes -= squeeze_bytes / 32;
    atomic_store_explicit(&gauge->squeeze_bytes, squeeze_bytes, memory_order_relaxed);
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

bool memory_gauge_stuck(const struct memory_gauge *gauge)
{
    return get(&gauge->waiting_bytes) > gauge->batches_max_bytes;
}

bool memory_gauge_replay_room(struct memory_gauge *gauge)
{
    if (get(&gauge->in_flight_bytes) > gauge->in_flight_max_bytes || memory_gauge_waiting(gauge))
        return false;
    uint64_t bytes = memory_gauge_bytes(gauge);
    uint64_t redo_bytes = get(&gauge->redo_bytes);
    return (bytes > redo_bytes ? bytes - redo_bytes : 0) <= gauge->resume_bytes;
}
