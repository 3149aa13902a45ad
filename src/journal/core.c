/*
 * The order that must hold.
 *
 * Append:  prepare the ledger | write | sync | apply to the ledger | (caller) acknowledge.
 *          A group of blocks (BLOCK_MORE) never spans segments and is applied as one.
 * Roll, free: core_roll.c.
 *
 * Error:   the segment is left (its file closed, never synced again); numbers go back to the last
 *          applied one; the next append begins a new segment that takes over from there, so
 *          whatever the failed one holds of these numbers is void. The same when writing the
 *          beginning of a segment fails: its file may come back, and would void what is written to
 *          the old one. If there is no room for its file, nothing was written, and the old one goes
 *          on.
 * Full:    a block of data is written only if the file system then still has room for the cuts of
 *          all that is not landed: without it nothing could ever land. And blocks of data leave the
 *          last 1/CORE_CONTROL_PART of a segment alone. When no new one can be begun, the LANDED
 *          and UPLOADED that make room again go there.
 */
#include "journal/core.h"

#include "base/alloc.h"
#include "base/log.h"
#include "os/random.h"

#include <assert.h>
#include <stdio.h>
#include <unistd.h>

#define PAGE             ((uint64_t)LIMIT_BLOCK_ALIGN_BYTES)
#define STAGING_BYTES    (1 * MIB)
#define STAGED_BLOCK_MAX (128 * KIB)

/* ---- bookkeeping ---- */

enum err core_segment_add(struct core *core, const struct segment *segment)
{
    if (core->segment_count == core->segment_capacity) {
        size_t capacity = core->segment_capacity ? core->segment_capacity * 2 : 16;
        void *segments = mem_realloc(core->segments, capacity * sizeof(*core->segments));
        if (!segments)
            return ERR_NO_MEMORY;
        core->segments = segments;
        core->segment_capacity = capacity;
    }
    core->segments[core->segment_count++] = *segment;
    return ERR_OK;
}

enum err core_slot_free(struct core *core, uint32_t slot, uint64_t size_bytes)
{
    if (core->free_count == core->free_capacity) {
        size_t capacity = core->free_capacity ? core->free_capacity * 2 : 16;
        void *slots = mem_realloc(core->free_slots, capacity * sizeof(*core->free_slots));
        if (!slots)
            return ERR_NO_MEMORY;
        core->free_slots = slots;
        core->free_capacity = capacity;
    }
    core->free_slots[core->free_count++] = (struct core_slot){slot, size_bytes};
    return ERR_OK;
}

enum err core_damage(struct core *core, uint64_t blocks, const char *format, ...)
{
    char text[768];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    for (size_t i = 0; i < core->damage_count; i++)
        if (strcmp(core->damages[i], text) == 0)
            return ERR_OK; /* found by recovery, and met again by the replay */
    core->damaged_blocks += blocks;
    if (core->damage_count == CORE_DAMAGES_MAX)
        return ERR_OK;
    void *damages = mem_realloc(core->damages, (core->damage_count + 1) * sizeof(*core->damages));
    if (!damages)
        return ERR_NO_MEMORY;
    core->damages = damages;
    char *copy = mem_strdup(text);
    if (!copy)
        return ERR_NO_MEMORY;
    core->damages[core->damage_count++] = copy;
    return ERR_OK;
}

struct segment *core_segment_current(struct core *core)
{
    return core->file ? &core->segments[core->segment_count - 1] : NULL;
}

void core_ledger_lock(struct core *core)
{
    if (core->ledger_mutex)
        mutex_lock(core->ledger_mutex);
}

void core_ledger_unlock(struct core *core)
{
    if (core->ledger_mutex)
        mutex_unlock(core->ledger_mutex);
}

/* ---- writing ---- */

enum err core_staging_flush(struct core *core, struct fs_file *file, uint64_t *offset,
                            struct diag *diag)
{
    if (core->staging_size == 0)
        return ERR_OK;
    enum err err =
        fs_write(core->options.fs, file, *offset, core->staging, core->staging_size, diag);
    *offset += core->staging_size;
    core->bytes_written += core->staging_size;
    core->staging_size = 0;
    return err;
}

enum err core_image_write(struct core *core, struct fs_file *file, uint64_t *offset,
                          const uint8_t *image, size_t size_bytes, struct diag *diag)
{
    enum err err = ERR_OK;
    if (size_bytes > STAGED_BLOCK_MAX || core->staging_size + size_bytes > STAGING_BYTES)
        err = core_staging_flush(core, file, offset, diag);
    if (err != ERR_OK)
        return err;
    if (size_bytes <= STAGED_BLOCK_MAX) {
        memcpy(core->staging + core->staging_size, image, size_bytes);
        core->staging_size += size_bytes;
        return ERR_OK;
    }
    err = fs_write(core->options.fs, file, *offset, image, size_bytes, diag);
    *offset += size_bytes;
    core->bytes_written += size_bytes;
    return err;
}

enum err core_file_sync(struct core *core, struct fs_file *file, struct diag *diag)
{
    int64_t begin_ns = clock_monotonic_ns(core->options.clock);
    enum err err = fs_sync(core->options.fs, file, diag);
    core->synced_ns = clock_monotonic_ns(core->options.clock);
    core->sync_ns_total += (uint64_t)(core->synced_ns - begin_ns);
    core->syncs++;
    return err;
}

/* The segment is left for good; what was not applied is as if never written. */
void core_segment_fail(struct core *core)
{
    core->failures++;
    core->staging_size = 0;
    ledger_unprepare(&core->ledger);
    fs_close(core->options.fs, core->file);
    core->file = NULL;
    core->next_number = core->ledger.applied_through + 1;
    core->dirty = false;
}

/* ---- append ---- */

static size_t group_count(const struct core_item *items, size_t count, uint64_t *ret_bytes)
{
    *ret_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        *ret_bytes += block_padded_bytes(items[i].block);
        if (!(items[i].flags & BLOCK_MORE))
            return i + 1;
    }
    assert(count == 0); /* a group without its last block */
    return count;
}

static enum err group_prepare(struct core *core, const struct core_item *items, size_t count,
                              struct diag *diag)
{
    enum err err = ERR_OK;
    core_ledger_lock(core);
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        if (items[i].kind == BLOCK_CONTROL)
            err = ledger_check_landed(&core->ledger, items[i].block, diag);
        if (err == ERR_OK)
            err = ledger_prepare(&core->ledger, items[i].block, diag);
    }
    core_ledger_unlock(core);
    return err;
}

static enum err group_write(struct core *core, const struct core_item *items, size_t count,
                            struct diag *diag)
{
    const struct segment *segment = core_segment_current(core);
    assert(segment);
    uint64_t epoch = segment->epoch;
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        struct block *block = items[i].block;
        block_seal(block, items[i].kind, items[i].flags, items[i].group, core->next_number++, epoch,
                   core->durable_number);
        core->dirty = true;
        core->blocks_written++;
        core->uncalled = items[i].kind != BLOCK_EMPTY;
        err = core_image_write(core, core->file, &core->offset, block->image,
                               block_padded_bytes(block), diag);
    }
    return err;
}

/* Makes what is written durable, and then applies it. */
static enum err written_commit(struct core *core, const struct core_item *items, size_t written,
                               size_t *done, struct diag *diag)
{
    if (*done == written)
        return ERR_OK;
    enum err err = core_staging_flush(core, core->file, &core->offset, diag);
    if (err == ERR_OK && core->options.sync == JOURNAL_SYNC_ALWAYS) {
        err = core_file_sync(core, core->file, diag);
        if (err == ERR_OK) {
            core->durable_number = core->next_number - 1;
            core->dirty = false;
        }
    }
    if (err != ERR_OK) {
        core_segment_fail(core);
        return err;
    }
    struct segment *segment = core_segment_current(core);
    assert(segment);
    segment->used_bytes = core->offset;
    core_ledger_lock(core);
    for (; *done < written; ++*done)
        ledger_apply(&core->ledger, items[*done].block);
    core_ledger_unlock(core);
    return ERR_OK;
}

/* A segment with room for the group. */
static enum err room_make(struct core *core, const struct core_item *items, size_t written,
                          uint64_t group_bytes, size_t *done, struct diag *diag)
{
    const struct segment *segment = core_segment_current(core);
    bool is_carried = segment && core->next_number <= segment->carried_through;
    bool is_data = items[written].kind == BLOCK_DATA && !is_carried;
    enum err err = ERR_OK;
    uint64_t unapplied = segment ? core->offset - segment->used_bytes + core->staging_size : 0;
    if (is_data && !core_cuts_have_room(core, unapplied + group_bytes)) {
        err = written_commit(core, items, written, done, diag);
        core->no_room = core->held_back = err == ERR_OK;
        return err == ERR_OK ? diag_set(diag, ERR_NO_SPACE, "room is kept for cuts") : err;
    }
    if (segment) {
        uint64_t kept_back = is_data ? segment->size_bytes / CORE_CONTROL_PART : 0;
        uint64_t end = core->offset + core->staging_size + group_bytes + kept_back;
        if (end <= segment->size_bytes) {
            core->no_room = core->no_room && !is_data; /* blocks of data come in their order */
            return ERR_OK;
        }
        err = written_commit(core, items, written, done, diag);
    }
    if (err == ERR_OK && core->file)
        err = core_sync(core, true, diag);
    if (err == ERR_OK)
        err = core_roll_for(core, group_bytes, 0, is_data, diag);
    core->no_room = err == ERR_NO_SPACE;
    return err;
}

enum err core_append(struct core *core, const struct core_item *items, size_t count,
                     size_t *ret_done, struct diag *diag)
{
    size_t written = 0;
    enum err err = ERR_OK;
    *ret_done = 0;
    core->held_back = false;
    while (written < count) {
        uint64_t bytes;
        size_t group = group_count(items + written, count - written, &bytes);
        err = room_make(core, items, written, bytes, ret_done, diag);
        if (err != ERR_OK)
            return err;
        err = group_prepare(core, items + written, group, diag);
        if (err != ERR_OK)
            break;
        enum err write_err = group_write(core, items + written, group, diag);
        if (write_err != ERR_OK) {
            core_segment_fail(core);
            return write_err;
        }
        written += group;
    }
    enum err commit_err = written_commit(core, items, written, ret_done, diag);
    if (commit_err == ERR_OK)
        ledger_unprepare(&core->ledger); /* of the group that could not be prepared */
    return commit_err != ERR_OK ? commit_err : err;
}

enum err core_call_durable(struct core *core, struct diag *diag)
{
    struct block *block = NULL;
    size_t done;
    if (!core->uncalled || !core->file)
        return ERR_OK;
    enum err err = core_sync(core, true, diag);
    if (err == ERR_OK)
        err = block_new(PAGE, &block);
    if (err != ERR_OK)
        return err;
    struct core_item item = {.block = block, .kind = BLOCK_EMPTY};
    err = core_append(core, &item, 1, &done, diag);
    block_unref(block);
    return err;
}

enum err core_sync(struct core *core, bool force, struct diag *diag)
{
    if (!core->dirty || !core->file)
        return ERR_OK;
    int64_t interval_ns = (int64_t)core->options.sync_interval_ms * NS_PER_MS;
    int64_t now_ns = clock_monotonic_ns(core->options.clock);
    if (!force &&
        (core->options.sync != JOURNAL_SYNC_INTERVAL || now_ns - core->synced_ns < interval_ns))
        return ERR_OK;
    enum err err = core_file_sync(core, core->file, diag);
    if (err != ERR_OK) {
        core_segment_fail(core);
        return err;
    }
    core->dirty = false;
    core->durable_number = core->next_number - 1;
    return ERR_OK;
}
