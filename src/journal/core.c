/*
 * The order that must hold.
 *
 * Append:  prepare the ledger | write | sync | apply to the ledger | (caller) acknowledge.
 *          A group of blocks (BLOCK_MORE) never spans segments and is applied as one.
 * Roll:    everything written so far synced and applied
 *          | file made, reserved | header and checkpoint written | synced | folder synced
 *          | only now older segments are freed, as the checkpoint itself says (free_below).
 *          So recovery from this checkpoint never needs what was freed, and a file is reused only
 *          after a durable checkpoint calls it free.
 * Free:    a segment may go when all its blocks are below the oldest that is needed according to
 *          the newest checkpoint (and below what is landed and not uploaded, unless space is
 *          wanted: until then it is a second copy of the spool), and a second good checkpoint
 *          stands in a retained segment behind it. Then one damaged checkpoint is made good: the
 *          older good one lacks only what the segments behind it, which are retained, say in their
 *          own records; and a damaged LANDED record is made good by the newest checkpoint.
 *
 * Error:   the segment is left (its file closed, never synced again); numbers go back to the last
 *          applied one; the next append begins a new segment that takes over from there, so
 *          whatever the failed one holds of these numbers is void. The same when beginning a
 *          segment fails: its file may come back, and would void what is written to the old one.
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
#define FREE_KEPT        4

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

static struct segment *segment_current(struct core *core)
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

static enum err staging_flush(struct core *core, struct fs_file *file, uint64_t *offset,
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

static enum err image_write(struct core *core, struct fs_file *file, uint64_t *offset,
                            const uint8_t *image, size_t size_bytes, struct diag *diag)
{
    enum err err = ERR_OK;
    if (size_bytes > STAGED_BLOCK_MAX || core->staging_size + size_bytes > STAGING_BYTES)
        err = staging_flush(core, file, offset, diag);
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

static enum err file_sync(struct core *core, struct fs_file *file, struct diag *diag)
{
    int64_t begin_ns = clock_monotonic_ns(core->options.clock);
    enum err err = fs_sync(core->options.fs, file, diag);
    core->synced_ns = clock_monotonic_ns(core->options.clock);
    core->sync_ns_total += (uint64_t)(core->synced_ns - begin_ns);
    core->syncs++;
    return err;
}

/* The segment is left for good; what was not applied is as if never written. */
static void segment_fail(struct core *core)
{
    core->failures++;
    core->staging_size = 0;
    ledger_unprepare(&core->ledger);
    fs_close(core->options.fs, core->file);
    core->file = NULL;
    core->next_number = core->ledger.applied_through + 1;
    core->dirty = false;
}

/* ---- a new segment ---- */

/* How many of the oldest segments may be freed under a checkpoint of the ledger as it is. */
static size_t segments_freeable(struct core *core)
{
    if (atomic_load(&core->replay_pending))
        return 0; /* they are being read */
    uint64_t needed = core_oldest_kept(core);
    size_t good = core->segment_count, count = 0;
    while (good > 0 && !core->segments[good - 1].checkpoint_good)
        good--;
    if (good == 0)
        return 0;
    for (; count < good - 1; count++) {
        uint64_t end = core->segments[count].end_number;
        if (end > needed)
            break;
    }
    return count;
}

static void segments_free(struct core *core, size_t count)
{
    char path[SEGMENT_PATH_MAX];
    for (size_t i = 0; i < count; i++) {
        const struct segment *segment = &core->segments[i];
        if (core->free_count < FREE_KEPT &&
            core_slot_free(core, segment->slot, segment->size_bytes) == ERR_OK)
            continue;
        if (segment_path(path, core->folder, segment->slot, NULL) != ERR_OK ||
            fs_unlink(core->options.fs, path, NULL) != ERR_OK)
            core->orphan_bytes += segment->size_bytes; /* found again at the next start */
    }
    core->segment_count -= count;
    memmove(core->segments, core->segments + count, core->segment_count * sizeof(*core->segments));
}

struct opening {
    struct segment segment;
    struct segment_header header;
    struct block_list checkpoint;
    uint64_t checkpoint_bytes;
    struct fs_file *file;
    char path[SEGMENT_PATH_MAX];
};

static enum err opening_encode(struct core *core, struct opening *opening, size_t freeable)
{
    uint8_t body[SEGMENT_HEADER_BODY_BYTES];
    uint32_t random;
    enum err err = random_fill(&random, sizeof(random));
    if (err != ERR_OK)
        return err;
    struct segment_header *header = &opening->header;
    header->epoch = (++core->generation << 32) | random;
    header->first_number = core->next_number;
    header->free_below =
        freeable < core->segment_count ? core->segments[freeable].epoch : header->epoch;
    memcpy(header->uuid, core->uuid, sizeof(header->uuid));
    segment_header_body_write(body, header);
    core_ledger_lock(core);
    ledger_trim(&core->ledger, freeable < core->segment_count
                                   ? core->segments[freeable].first_number
                                   : header->first_number);
    core_ledger_unlock(core);
    err = ledger_encode(&core->ledger, bytes_from(body, sizeof(body)), &opening->checkpoint);
    for (size_t i = 0; i < opening->checkpoint.count && err == ERR_OK; i++) {
        struct block *block = opening->checkpoint.blocks[i];
        bool last = i + 1 == opening->checkpoint.count;
        block_seal(block, BLOCK_CHECKPOINT, last ? 0 : BLOCK_MORE, 0, header->first_number - 1,
                   header->epoch, header->first_number - 1);
        opening->checkpoint_bytes += block_padded_bytes(block);
    }
    return err;
}

static bool slot_is_used(const struct core *core, uint32_t slot)
{
    char path[SEGMENT_PATH_MAX];
    struct fs_stat stat;
    for (size_t i = 0; i < core->segment_count; i++)
        if (core->segments[i].slot == slot)
            return true;
    return segment_path(path, core->folder, slot, NULL) != ERR_OK ||
           fs_stat(core->options.fs, path, &stat, NULL) != ERR_NOT_FOUND;
}

/* A number that no file has. */
static enum err slot_find(struct core *core, uint32_t *ret_slot, struct diag *diag)
{
    for (uint32_t tries = 0; tries <= CORE_SLOTS_MAX; tries++) {
        *ret_slot = core->slot_next;
        core->slot_next = (core->slot_next + 1) % CORE_SLOTS_MAX;
        if (!slot_is_used(core, *ret_slot))
            return ERR_OK;
    }
    return diag_set(diag, ERR_NO_SPACE, "the journal has %d files", CORE_SLOTS_MAX);
}

/* On a full disk a small segment will do: it takes the LANDED and UPLOADED that make room again. */
static enum err opening_allocate(struct core *core, struct opening *opening, uint64_t least_bytes,
                                 struct diag *diag)
{
    const struct fs *fs = core->options.fs;
    struct segment *segment = &opening->segment;
    for (;;) {
        struct diag first = {0};
        enum err err = fs_allocate(fs, opening->file, segment->size_bytes, &first);
        if (err == ERR_OK)
            return ERR_OK;
        if (err != ERR_NO_SPACE || segment->size_bytes <= least_bytes)
            return diag_set(diag, err, "%s", first.text);
        uint64_t smaller = (segment->size_bytes / 4) & ~(uint64_t)(PAGE - 1);
        segment->size_bytes = smaller > least_bytes ? smaller : least_bytes;
        err = fs_truncate(fs, opening->file, 0, diag); /* gives back what was reserved in part */
        if (err != ERR_OK)
            return err;
    }
}

/* A free file, large enough if there is one, or a new one. */
static enum err opening_file(struct core *core, struct opening *opening, uint64_t size_bytes,
                             uint64_t least_bytes, struct diag *diag)
{
    const struct fs *fs = core->options.fs;
    struct segment *segment = &opening->segment;
    enum err err = ERR_OK;
    segment->size_bytes = size_bytes;
    if (core->free_count > 0 && !core->free_held) {
        size_t i = core->free_count - 1;
        while (i > 0 && core->free_slots[i].size_bytes < size_bytes)
            i--;
        segment->slot = core->free_slots[i].slot;
        if (core->free_slots[i].size_bytes > size_bytes)
            segment->size_bytes = core->free_slots[i].size_bytes;
        core->free_slots[i] = core->free_slots[--core->free_count];
    } else {
        err = slot_find(core, &segment->slot, diag);
    }
    if (err == ERR_OK)
        err = segment_path(opening->path, core->folder, segment->slot, diag);
    if (err == ERR_OK)
        err = fs_open(fs, opening->path, FS_WRITE | FS_CREATE | FS_DIRECT, &opening->file, diag);
    if (err == ERR_OK)
        err = opening_allocate(core, opening, least_bytes, diag);
    return err;
}

static enum err opening_write(struct core *core, struct opening *opening, struct diag *diag)
{
    uint8_t *page = core->staging;
    assert(core->staging_size == 0);
    segment_header_write(page, &opening->header);
    core->staging_size = PAGE;
    uint64_t offset = 0;
    enum err err = ERR_OK;
    for (size_t i = 0; i < opening->checkpoint.count && err == ERR_OK; i++) {
        const struct block *block = opening->checkpoint.blocks[i];
        err = image_write(core, opening->file, &offset, block->image, block_padded_bytes(block),
                          diag);
    }
    if (err == ERR_OK)
        err = staging_flush(core, opening->file, &offset, diag);
    if (err == ERR_OK)
        err = file_sync(core, opening->file, diag);
    /* Also for a file that was there: its name may be left from one killed before it got here. */
    if (err == ERR_OK)
        err = fs_sync_folder(core->options.fs, core->folder, diag);
    core->staging_size = 0;
    return err;
}

/* The file may come back after a power cut and then takes over from the next number: so nothing may
 * be written to the segment before it any more. */
static void opening_undo(struct core *core, struct opening *opening)
{
    fs_close(core->options.fs, opening->file);
    if (opening->path[0] && fs_unlink(core->options.fs, opening->path, NULL) != ERR_OK)
        core->orphan_bytes += opening->file ? opening->segment.size_bytes : 0;
    segment_fail(core);
}

/* After the first checkpoint of this life: free files that are too many go. */
static void free_release(struct core *core)
{
    char path[SEGMENT_PATH_MAX];
    core->free_held = false;
    while (core->free_count > FREE_KEPT) {
        const struct core_slot *slot = &core->free_slots[--core->free_count];
        if (segment_path(path, core->folder, slot->slot, NULL) != ERR_OK ||
            fs_unlink(core->options.fs, path, NULL) != ERR_OK)
            core->orphan_bytes += slot->size_bytes;
    }
}

static void opening_done(struct core *core, struct opening *opening, size_t freeable)
{
    struct segment *segment = &opening->segment;
    segment->epoch = opening->header.epoch;
    segment->first_number = opening->header.first_number;
    segment->carried_through = opening->header.carried_through;
    segment->end_number = UINT64_MAX;
    segment->used_bytes = PAGE + opening->checkpoint_bytes;
    segment->checkpoint_good = true;
    for (size_t i = 0; i < core->segment_count; i++)
        if (core->segments[i].end_number > segment->first_number)
            core->segments[i].end_number = segment->first_number;
    core->segments[core->segment_count++] = *segment; /* room was made by core_roll */
    if (core->free_held)
        free_release(core);
    segments_free(core, freeable);
    fs_close(core->options.fs, core->file);
    core->file = opening->file;
    core->offset = segment->used_bytes;
    core->durable_number = segment->first_number - 1;
    core->uncalled = false;
    core->dirty = false;
}

static enum err segment_room(struct core *core)
{
    struct segment none = {0};
    enum err err = core_segment_add(core, &none);
    if (err == ERR_OK)
        core->segment_count--;
    return err;
}

enum err core_roll(struct core *core, uint64_t size_bytes, uint64_t carried_through,
                   struct diag *diag)
{
    assert(!core->dirty || core->options.sync != JOURNAL_SYNC_ALWAYS);
    struct opening opening = {0};
    for (size_t i = 0; i < core->segment_count; i++) /* the current one ends here */
        if (core->segments[i].end_number > core->next_number)
            core->segments[i].end_number = core->next_number;
    /* While blocks are carried over, what recovery found stays as it is. */
    size_t freeable = carried_through ? 0 : segments_freeable(core);
    opening.header.carried_through = carried_through ? carried_through : core->next_number - 1;
    enum err err = segment_room(core);
    if (err == ERR_OK)
        err = opening_encode(core, &opening, freeable);
    uint64_t least = PAGE + opening.checkpoint_bytes + size_bytes;
    uint64_t wanted = least < core->options.segment_bytes ? core->options.segment_bytes : least;
    if (err == ERR_OK)
        err = opening_file(core, &opening, wanted, least, diag);
    if (err == ERR_OK)
        err = opening_write(core, &opening, diag);
    if (err == ERR_OK)
        opening_done(core, &opening, freeable);
    else
        opening_undo(core, &opening);
    block_list_fini(&opening.checkpoint);
    return err == ERR_OK ? err : diag_set(diag, err, "cannot begin a segment: %s", err_text(err));
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
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        err = ledger_prepare(&core->ledger, items[i].block, diag);
    core_ledger_unlock(core);
    return err;
}

static enum err group_write(struct core *core, const struct core_item *items, size_t count,
                            struct diag *diag)
{
    const struct segment *segment = segment_current(core);
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
        err = image_write(core, core->file, &core->offset, block->image, block_padded_bytes(block),
                          diag);
    }
    return err;
}

/* Makes what is written durable, and then applies it. */
static enum err written_commit(struct core *core, const struct core_item *items, size_t written,
                               size_t *done, struct diag *diag)
{
    if (*done == written)
        return ERR_OK;
    enum err err = staging_flush(core, core->file, &core->offset, diag);
    if (err == ERR_OK && core->options.sync == JOURNAL_SYNC_ALWAYS) {
        err = file_sync(core, core->file, diag);
        if (err == ERR_OK) {
            core->durable_number = core->next_number - 1;
            core->dirty = false;
        }
    }
    if (err != ERR_OK) {
        segment_fail(core);
        return err;
    }
    struct segment *segment = segment_current(core);
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
    const struct segment *segment = segment_current(core);
    enum err err = ERR_OK;
    if (segment && core->offset + core->staging_size + group_bytes <= segment->size_bytes)
        return ERR_OK;
    if (segment)
        err = written_commit(core, items, written, done, diag);
    if (err == ERR_OK && core->file)
        err = core_sync(core, true, diag);
    return err == ERR_OK ? core_roll(core, group_bytes, 0, diag) : err;
}

enum err core_append(struct core *core, const struct core_item *items, size_t count,
                     size_t *ret_done, struct diag *diag)
{
    size_t written = 0;
    enum err err = ERR_OK;
    *ret_done = 0;
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
            segment_fail(core);
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
    enum err err = file_sync(core, core->file, diag);
    if (err != ERR_OK) {
        segment_fail(core);
        return err;
    }
    core->dirty = false;
    core->durable_number = core->next_number - 1;
    return ERR_OK;
}

enum err core_free_space(struct core *core, struct diag *diag)
{
    if ((!core->paused && !core->past_half) || !core->file || core->segment_count < 3)
        return ERR_OK;
    struct segment *segment = segment_current(core);
    uint64_t end = segment->end_number;
    segment->end_number = core->next_number;
    size_t freeable = segments_freeable(core);
    segment->end_number = end;
    if (freeable == 0)
        return ERR_OK;
    enum err err = core_sync(core, true, diag);
    return err == ERR_OK ? core_roll(core, 0, 0, diag) : err;
}
