/*
 * A new segment, and which of the older ones it frees.
 *
 * Roll:    everything written so far synced and applied
 *          | file made, reserved | header and checkpoint written | synced | folder synced
 *          | only now older segments are freed, as the checkpoint itself says (free_below).
 *          So recovery from this checkpoint never needs what was freed, and a file is reused only
 *          after a durable checkpoint calls it free. Only then the ledger forgets the datasets
 *          that have no blocks any more: if it had before, and the roll failed, a cut made again
 *          would replay what nobody knows to have landed, and double it.
 * Free:    a segment may go when all its blocks are below the oldest that is needed according to
 *          the newest checkpoint (and below what is landed and not uploaded, unless space is
 *          wanted: until then it is a second copy of the spool), and a second good checkpoint
 *          stands in a retained segment behind it. Then one damaged checkpoint is made good: the
 *          older good one lacks only what the segments behind it, which are retained, say in their
 *          own records; and a damaged LANDED record is made good by the newest checkpoint.
 *
 * Room: a segment for data leaves what the cuts of all data in the journal will want
 * (core_space.c). One for control records is as small as it must be: they make room.
 */
#include "journal/core.h"

#include "base/alloc.h"
#include "os/random.h"

#include <assert.h>

#define PAGE      ((uint64_t)LIMIT_BLOCK_ALIGN_BYTES)
#define FREE_KEPT 4

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
    bool for_data;
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

/* Large enough, or else any. NULL: there is none that may be used. */
static struct core_slot *free_slot_choose(struct core *core, uint64_t size_bytes)
{
    if (core->free_count == 0 || core->free_held)
        return NULL;
    size_t i = core->free_count - 1;
    while (i > 0 && core->free_slots[i].size_bytes < size_bytes)
        i--;
    return &core->free_slots[i];
}

/* What is opened for data leaves the room that the cuts of what is in the journal want. For control
 * records there must be a segment, however small: they make room. */
static enum err opening_size(struct core *core, const struct opening *opening, uint64_t least_bytes,
                             uint64_t *size_bytes, struct diag *diag)
{
    const struct core_slot *slot = free_slot_choose(core, *size_bytes);
    uint64_t have = slot ? slot->size_bytes : 0, room = core_room(core);
    if (have >= *size_bytes || *size_bytes - have <= room) {
        *size_bytes = have > *size_bytes ? have : *size_bytes;
        return ERR_OK;
    }
    uint64_t wanted = *size_bytes, small = least_bytes + wanted / CORE_CONTROL_PART;
    *size_bytes = (have + room) & ~(PAGE - 1);
    if (*size_bytes >= small)
        return ERR_OK;
    *size_bytes = (small < wanted ? small : wanted) & ~(PAGE - 1);
    if (*size_bytes < least_bytes)
        *size_bytes = least_bytes;
    core->held_back = opening->for_data;
    return opening->for_data ? diag_set(diag, ERR_NO_SPACE, "room is kept for cuts") : ERR_OK;
}

/* A free file, large enough if there is one, or a new one. */
static enum err opening_file(struct core *core, struct opening *opening, uint64_t size_bytes,
                             uint64_t least_bytes, struct diag *diag)
{
    const struct fs *fs = core->options.fs;
    struct segment *segment = &opening->segment;
    enum err err = opening_size(core, opening, least_bytes, &size_bytes, diag);
    if (err != ERR_OK)
        return err;
    segment->size_bytes = size_bytes;
    struct core_slot *slot = free_slot_choose(core, size_bytes);
    if (slot) {
        segment->slot = slot->slot;
        *slot = core->free_slots[--core->free_count];
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
        err = core_image_write(core, opening->file, &offset, block->image,
                               block_padded_bytes(block), diag);
    }
    if (err == ERR_OK)
        err = core_staging_flush(core, opening->file, &offset, diag);
    if (err == ERR_OK)
        err = core_file_sync(core, opening->file, diag);
    /* Also for a file that was there: its name may be left from one killed before it got here. */
    if (err == ERR_OK)
        err = fs_sync_folder(core->options.fs, core->folder, diag);
    core->staging_size = 0;
    return err;
}

/* Nothing was written, so the segment before it may go on. */
static void opening_drop(struct core *core, struct opening *opening)
{
    core->failures += !core->held_back;
    fs_close(core->options.fs, opening->file);
    if (opening->path[0])
        (void)!fs_unlink(core->options.fs, opening->path, NULL);
    if (core->file)
        core->segments[core->segment_count - 1].end_number = UINT64_MAX;
}

/* The file may come back after a power cut and then takes over from the next number: so nothing may
 * be written to the segment before it any more. */
static void opening_undo(struct core *core, struct opening *opening)
{
    fs_close(core->options.fs, opening->file);
    if (opening->path[0] && fs_unlink(core->options.fs, opening->path, NULL) != ERR_OK)
        core->orphan_bytes += opening->file ? opening->segment.size_bytes : 0;
    core_segment_fail(core);
}

/* Free files that are too many go. */
static void free_release(struct core *core, size_t kept)
{
    char path[SEGMENT_PATH_MAX];
    while (core->free_count > kept) {
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
        free_release(core, FREE_KEPT);
    core->free_held = false; /* this life's first checkpoint is durable */
    segments_free(core, freeable);
    core_ledger_lock(core); /* only now: while their blocks are there, datasets are known */
    ledger_trim(&core->ledger, core->segments[0].first_number);
    core_ledger_unlock(core);
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

enum err core_roll_for(struct core *core, uint64_t size_bytes, uint64_t carried_through,
                       bool for_data, struct diag *diag)
{
    assert(!core->dirty || core->options.sync != JOURNAL_SYNC_ALWAYS);
    struct opening opening = {.for_data = for_data};
    core->held_back = false;
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
    if (err != ERR_OK) {
        opening_drop(core, &opening);
    } else {
        err = opening_write(core, &opening, diag);
        if (err == ERR_OK)
            opening_done(core, &opening, freeable);
        else
            opening_undo(core, &opening);
    }
    block_list_fini(&opening.checkpoint);
    return err == ERR_OK ? err : diag_set(diag, err, "cannot begin a segment: %s", err_text(err));
}

enum err core_roll(struct core *core, uint64_t size_bytes, uint64_t carried_through,
                   struct diag *diag)
{
    return core_roll_for(core, size_bytes, carried_through, false, diag);
}

enum err core_free_space(struct core *core, struct diag *diag)
{
    if (core->paused && !core->free_held)
        free_release(core, 0);
    if ((!core->paused && !core->past_half) || !core->file || core->segment_count < 3)
        return ERR_OK;
    struct segment *segment = core_segment_current(core);
    uint64_t end = segment->end_number;
    segment->end_number = core->next_number;
    size_t freeable = segments_freeable(core);
    segment->end_number = end;
    if (freeable == 0)
        return ERR_OK;
    enum err err = core_sync(core, true, diag);
    return err == ERR_OK ? core_roll(core, 0, 0, diag) : err;
}
