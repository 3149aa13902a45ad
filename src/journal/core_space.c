/* How much the journal takes, and when intake must stop. */
#include "journal/core.h"

#include <stdio.h>
#include <string.h>

#define SPACE_CHECK_NS NS_PER_S

static uint64_t reserve_bytes(const struct core *core)
{
    uint64_t part = core->options.size_max_bytes / 4;
    return part < LIMIT_JOURNAL_RESERVE_BYTES ? part : LIMIT_JOURNAL_RESERVE_BYTES;
}

/* Retained segments, the current one only as far as it is written. */
static uint64_t retained_bytes(const struct core *core)
{
    uint64_t bytes = core->orphan_bytes;
    for (size_t i = 0; i < core->segment_count; i++)
        bytes += i + 1 == core->segment_count ? core->segments[i].used_bytes
                                              : core->segments[i].size_bytes;
    return bytes;
}

static uint64_t unlanded_bytes(struct core *core)
{
    uint64_t bytes = 0, needed = ledger_oldest_needed(&core->ledger);
    if (needed > core->ledger.applied_through)
        return 0;
    for (size_t i = 0; i < core->segment_count; i++)
        if (core->segments[i].end_number > needed)
            bytes += core->segments[i].used_bytes;
    return bytes;
}

static bool space_short(struct core *core, uint64_t taken, uint64_t *ret_limit)
{
    uint64_t limit = core->options.size_max_bytes - reserve_bytes(core);
    if (core->paused)
        limit -= limit / 20; /* so that it does not go on and off with each block */
    *ret_limit = limit;
    return taken >= limit;
}

static void file_system_measure(struct core *core)
{
    const struct journal_options *options = &core->options;
    if (fs_free_space(options->fs, core->folder, &core->file_system_free, NULL) != ERR_OK)
        core->file_system_free = UINT64_MAX; /* a writer's own error will tell */
    core->space_checked_ns = clock_monotonic_ns(options->clock);
}

/* All that is on disk: what is preallocated counts. */
static uint64_t disk_bytes(const struct core *core)
{
    const struct journal_options *options = &core->options;
    uint64_t bytes = core->orphan_bytes;
    for (size_t i = 0; i < core->segment_count; i++)
        bytes += core->segments[i].size_bytes;
    for (size_t i = 0; i < core->free_count; i++)
        bytes += core->free_slots[i].size_bytes;
    return bytes + (options->spool_bytes ? options->spool_bytes(options->ctx) : 0);
}

static uint64_t limit_room(const struct core *core)
{
    uint64_t taken = disk_bytes(core), limit = core->options.size_max_bytes - reserve_bytes(core);
    return limit > taken ? limit - taken : 0;
}

static uint64_t file_system_room(struct core *core)
{
    uint64_t unlanded = unlanded_bytes(core);
    return core->file_system_free > unlanded ? (core->file_system_free - unlanded) / 2 : 0;
}

uint64_t core_room(struct core *core)
{
    file_system_measure(core);
    uint64_t room = file_system_room(core), limit = limit_room(core);
    return room < limit ? room : limit;
}

/* What is in the journal and not landed yet wants at most as much for its cuts. Room in a segment
 * is not enough: one that is used again takes nothing from the file system, and still fills it
 * twice. */
bool core_cuts_have_room(struct core *core, uint64_t more_bytes)
{
    uint64_t wanted = unlanded_bytes(core) + more_bytes;
    int64_t age_ns = clock_monotonic_ns(core->options.clock) - core->space_checked_ns;
    if (core->space_checked_ns != 0 && age_ns < SPACE_CHECK_NS &&
        core->file_system_free / 2 >= wanted)
        return true; /* far enough, however fast it shrinks */
    file_system_measure(core);
    return core->file_system_free >= wanted;
}

void core_space(struct core *core)
{
    const struct journal_options *options = &core->options;
    uint64_t spool = options->spool_bytes ? options->spool_bytes(options->ctx) : 0;
    uint64_t taken = retained_bytes(core) + spool, unlanded = unlanded_bytes(core), limit;
    int64_t now_ns = clock_monotonic_ns(options->clock);
    if (core->space_checked_ns == 0 || now_ns - core->space_checked_ns >= SPACE_CHECK_NS)
        file_system_measure(core);
    uint64_t room_wanted = core->paused ? unlanded + unlanded / 10 : unlanded;
    bool full = space_short(core, taken, &limit);
    uint64_t room = file_system_room(core), room_limited = limit_room(core);
    if (room >= options->segment_bytes && room_limited >= options->segment_bytes)
        core->no_room = false;
    if (core->no_room && room_limited <= room) {
        full = true;
        taken = disk_bytes(core);
    }
    bool no_room = core->file_system_free < room_wanted || core->no_room;
    core->paused = full || no_room;
    core->past_half = core->paused || taken >= options->size_max_bytes / 2;
    core->pause_reason[0] = '\0';
    if (full)
        snprintf(core->pause_reason, sizeof(core->pause_reason),
                 "the journal and its spool hold %llu MiB of JOURNAL_MAX_BYTES = %llu MiB: sources "
                 "are paused until more has landed",
                 (unsigned long long)(taken / MIB),
                 (unsigned long long)(options->size_max_bytes / MIB));
    else if (no_room)
        snprintf(
            core->pause_reason, sizeof(core->pause_reason),
            "the file system of the journal has %llu MiB left and %llu MiB are not landed yet: "
            "sources are paused until there is room",
            (unsigned long long)(core->file_system_free / MIB),
            (unsigned long long)(unlanded / MIB));
}

void core_stats(const struct core *core, struct journal_stats *ret_stats)
{
    struct core *mutable = (struct core *)(uintptr_t)core; /* the ledger's cache */
    *ret_stats = (struct journal_stats){
        .used_bytes = unlanded_bytes(mutable),
        .size_max_bytes = core->options.size_max_bytes,
        .block_last = core->ledger.applied_through,
        .block_oldest_needed = ledger_oldest_needed(&mutable->ledger),
        .blocks_written = core->blocks_written,
        .bytes_written = core->bytes_written,
        .syncs = core->syncs,
        .sync_ns_total = core->sync_ns_total,
        .failures = core->failures,
        .damaged_blocks = core->damaged_blocks,
        .memory_bytes = ledger_memory_bytes(&core->ledger),
        .paused = core->paused,
        .past_half = core->past_half,
    };
    ret_stats->size_bytes = core->orphan_bytes;
    for (size_t i = 0; i < core->segment_count; i++)
        ret_stats->size_bytes += core->segments[i].size_bytes;
    for (size_t i = 0; i < core->free_count; i++)
        ret_stats->size_bytes += core->free_slots[i].size_bytes;
    snprintf(ret_stats->reason, sizeof(ret_stats->reason), "%s", core->pause_reason);
}
