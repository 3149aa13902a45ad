#include "pipeline/flush_pace.h"

#include "base/limits.h"

#define PACE_AGE_MAX_NS (3600 * NS_PER_S)
#define PACE_LAG_MIN_NS (60 * NS_PER_S)
/* A second's worth of files may close at once before the pace holds them back. */
#define PACE_BURST_NS NS_PER_S
/* In which each open batch is cut once, whatever the files: in less than the hour, so that none
 * comes to its end. */
#define PACE_ROUND_NS (3300 * NS_PER_S)

void flush_pace_init(struct flush_pace *pace, uint32_t interval_seconds,
                     uint32_t files_per_second_max)
{
    *pace = (struct flush_pace){
        .interval_ns = interval_seconds * NS_PER_S,
        .ns_per_file = NS_PER_S / files_per_second_max,
    };
}

void flush_pace_set_upload_lag(struct flush_pace *pace, int64_t lag_ns)
{
    atomic_store(&pace->upload_lag_ns, lag_ns);
}

void flush_pace_set_open(struct flush_pace *pace, uint64_t batches)
{
    atomic_store(&pace->open, batches);
}

/* The age at which a batch is due while the store lags: as old as the lag. */
static int64_t age_due_ns(const struct flush_pace *pace)
{
    int64_t lag_ns = atomic_load(&pace->upload_lag_ns);
    int64_t due_ns = pace->interval_ns;
    if (lag_ns >= PACE_LAG_MIN_NS && lag_ns > due_ns)
        due_ns = lag_ns;
    return due_ns < PACE_AGE_MAX_NS ? due_ns : PACE_AGE_MAX_NS;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* From cut to cut, so that each open batch has its turn in a round. */
static int64_t cut_step_ns(const struct flush_pace *pace)
{
    uint64_t open = atomic_load(&pace->open);
    return PACE_ROUND_NS / (int64_t)(open > 0 ? open : 1);
}

/* A cut that came late may be made up for by the next one; one that came early is no credit. */
static void cut_charge(struct flush_pace *pace, int64_t now_ns)
{
    int64_t step_ns = cut_step_ns(pace);
    int64_t cut_ns = atomic_load(&pace->cut_ns);
    int64_t moved_ns;
    do {
        moved_ns = later(cut_ns + step_ns, now_ns - step_ns);
        moved_ns = moved_ns < now_ns ? moved_ns : now_ns;
    } while (!atomic_compare_exchange_weak(&pace->cut_ns, &cut_ns, moved_ns));
}

/* What the next file must wait for; 0: nothing. */
static int64_t ahead_ns(const struct flush_pace *pace, int64_t now_ns)
{
    int64_t file_ns = atomic_load(&pace->next_ns) - now_ns - PACE_BURST_NS;
    int64_t cut_ns = atomic_load(&pace->cut_ns) + cut_step_ns(pace) - now_ns;
    return later(file_ns < cut_ns ? file_ns : cut_ns, 0);
}

static void take(struct flush_pace *pace, int64_t now_ns)
{
    flush_pace_charge(pace, 1, now_ns);
    cut_charge(pace, now_ns);
}

bool flush_pace_take(struct flush_pace *pace, int64_t opened_ns, int64_t now_ns,
                     int64_t *ret_wait_ns)
{
    int64_t wait_ns = opened_ns + age_due_ns(pace) - now_ns;
    if (wait_ns <= 0 && now_ns - opened_ns < PACE_AGE_MAX_NS)
        wait_ns = ahead_ns(pace, now_ns);
    if (wait_ns > 0)
        *ret_wait_ns = wait_ns;
    else
        take(pace, now_ns);
    return wait_ns <= 0;
}

bool flush_pace_take_early(struct flush_pace *pace, int64_t now_ns, int64_t *ret_wait_ns)
{
    int64_t wait_ns = ahead_ns(pace, now_ns);
    if (wait_ns > 0)
        *ret_wait_ns = wait_ns;
    else
        take(pace, now_ns);
    return wait_ns <= 0;
}

void flush_pace_charge(struct flush_pace *pace, uint64_t files, int64_t now_ns)
{
    int64_t next_ns = atomic_load(&pace->next_ns);
    int64_t moved_ns;
    do {
        int64_t from_ns = next_ns > now_ns ? next_ns : now_ns;
        int64_t most_ns = now_ns + PACE_AGE_MAX_NS;
        moved_ns = from_ns + (int64_t)files * pace->ns_per_file;
        if (moved_ns > most_ns)
            moved_ns = most_ns;
    } while (!atomic_compare_exchange_weak(&pace->next_ns, &next_ns, moved_ns));
}

void flush_pace_give_back(struct flush_pace *pace)
{
    atomic_fetch_sub(&pace->next_ns, pace->ns_per_file);
}
