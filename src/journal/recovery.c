/*
 * From a folder to a core that may append.
 *
 *  1. Lock; uuid; the folder is synced, so that no file whose removal a killed process did not make
 *     durable comes back later, with an epoch not below those that are drawn now; then the header
 *     of each segment file. Files without one are free, unless they hold log blocks of an epoch not
 *     yet free: those are damaged, reported and left alone.
 *  2. The newest checkpoint that is complete and good fills the ledger: it holds the effects of all
 *     blocks up to applied_through, A. Damaged newer ones are passed over: their segments' own
 *     records, and those of the segments between, are applied on top. Those segments are there: a
 *     segment is freed only under a newer checkpoint that is good, and one more (core.c).
 *  3. Segments below that checkpoint's free_below are free. The others are the log: each holds the
 *     numbers from its first_number up to the lowest first_number of any newer one; the rest is
 *     void. So each number is taken once, from the newest segment that took it over.
 *  4. Segments with numbers above A are walked in order and their blocks applied. Blocks at the end
 *     that belong to a group whose last block is missing are dropped.
 *  5. Blocks that nothing calls durable are the tail. They can be read, but after a failed sync and
 * a kill the kernel may hold them in memory only and call its next sync a success. So they are not
 *     applied: core_open writes them again, under their numbers, into its first segment. That
 *     segment's header says up to where (carried_through); as long as it does not hold them all, it
 *     takes nothing over, and the next recovery passes it by.
 *  6. From then on what was read cannot be read differently.
 */
#include "journal/recovery.h"

#include "base/alloc.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define HELD_BYTES_MAX (512 * MIB)

struct recovery {
    struct core *core;
    struct diag *diag;
    uint32_t *slots;
    size_t slot_count, slot_capacity;
    size_t *unnamed; /* indexes into slots of files without a header */
    size_t unnamed_count;
    uint64_t free_below;
    uint64_t last_number;
    struct block_list held; /* blocks that nothing has called durable yet */
    size_t held_bytes;
    uint64_t durable; /* known of the segment being walked */
    const char *path; /* being walked */
    uint64_t visited;
    bool reads_only;
};

/* ---- the folder ---- */

static enum err on_name(void *ctx, const char *name)
{
    struct recovery *recovery = ctx;
    uint32_t slot;
    if (!segment_slot_from_name(name, &slot))
        return ERR_OK;
    if (recovery->slot_count >= CORE_SLOTS_MAX)
        return ERR_TOO_MANY;
    if (recovery->slot_count == recovery->slot_capacity) {
        size_t capacity = recovery->slot_capacity ? recovery->slot_capacity * 2 : 64;
        void *slots = mem_realloc(recovery->slots, capacity * sizeof(*recovery->slots));
        if (!slots)
            return ERR_NO_MEMORY;
        recovery->slots = slots;
        recovery->slot_capacity = capacity;
    }
    recovery->slots[recovery->slot_count++] = slot;
    if (slot >= recovery->core->slot_next && slot < CORE_SLOTS_MAX - 1)
        recovery->core->slot_next = slot + 1; /* a name beyond would not be found again */
    return ERR_OK;
}

static enum err header_take(struct recovery *recovery, uint32_t slot, const char *path,
                            const struct segment_header *header, uint64_t size_bytes, bool copy)
{
    struct core *core = recovery->core;
    if (core->uuid[0] == '\0')
        memcpy(core->uuid, header->uuid, sizeof(core->uuid));
    if (memcmp(core->uuid, header->uuid, SEGMENT_UUID_CHARS) != 0) {
        core->orphan_bytes += size_bytes;
        return core_damage(core, 0, "%s belongs to another journal (%s) and is ignored", path,
                           header->uuid);
    }
    if (header->epoch >> 32 > core->generation)
        core->generation = header->epoch >> 32;
    struct segment segment = {.slot = slot,
                              .epoch = header->epoch,
                              .first_number = header->first_number,
                              .carried_through = header->carried_through,
                              .end_number = UINT64_MAX,
                              .size_bytes = size_bytes,
                              .used_bytes = size_bytes,
                              .header_copy = copy};
    return core_segment_add(core, &segment);
}

static enum err segments_identify(struct recovery *recovery)
{
    struct core *core = recovery->core;
    char path[SEGMENT_PATH_MAX];
    recovery->unnamed = mem_zalloc(recovery->slot_count, sizeof(*recovery->unnamed));
    if (!recovery->unnamed)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < recovery->slot_count; i++) {
        struct segment_header header;
        struct diag diag = {0};
        uint64_t size_bytes;
        bool copy;
        enum err err = segment_path(path, core->folder, recovery->slots[i], recovery->diag);
        if (err == ERR_OK)
            err = segment_identify(core->options.fs, path, &header, &size_bytes, &copy, &diag);
        if (err == ERR_NOT_FOUND)
            recovery->unnamed[recovery->unnamed_count++] = i;
        else if (err == ERR_OK)
            err = header_take(recovery, recovery->slots[i], path, &header, size_bytes, copy);
        if (err != ERR_OK && err != ERR_NOT_FOUND)
            return diag_set(recovery->diag, err, "%s: %s", path, diag.text);
    }
    return ERR_OK;
}

static int segment_compare(const void *a, const void *b)
{
    const struct segment *x = a, *y = b;
    return (x->epoch > y->epoch) - (x->epoch < y->epoch);
}

/* ---- checkpoint ---- */

struct checkpoint_reading {
    struct ledger ledger;
    uint64_t record_index;
    bool complete, failed;
    struct diag *diag;
};

static enum err on_checkpoint(void *ctx, const struct block_header *header, struct bytes image,
                              uint64_t offset)
{
    struct checkpoint_reading *reading = ctx;
    struct block *block = NULL;
    bool end = false;
    (void)header;
    (void)offset;
    enum err err = block_parse(image, &block, NULL);
    if (err == ERR_OK)
        err = ledger_decode(&reading->ledger, block, &reading->record_index, &end, NULL);
    block_unref(block);
    reading->complete = end;
    if (err == ERR_CORRUPT)
        reading->failed = true;
    return err == ERR_CORRUPT ? ERR_OK : err;
}

/* Fills the core's ledger from this segment. *ret_good: it is a whole one. */
static enum err checkpoint_load(struct recovery *recovery, const struct segment *segment,
                                bool *ret_good)
{
    struct core *core = recovery->core;
    struct checkpoint_reading reading = {.diag = recovery->diag};
    struct segment_visitor visitor = {.on_checkpoint = on_checkpoint, .ctx = &reading};
    struct segment_end end;
    char path[SEGMENT_PATH_MAX];
    ledger_init(&reading.ledger);
    enum err err = segment_path(path, core->folder, segment->slot, recovery->diag);
    if (err == ERR_OK)
        err = segment_walk(core->options.fs, path, segment, &visitor, &end, recovery->diag);
    *ret_good = err == ERR_OK && reading.complete && !reading.failed &&
                reading.ledger.applied_through == segment->first_number - 1;
    if (*ret_good) {
        ledger_fini(&core->ledger);
        core->ledger = reading.ledger;
    } else {
        ledger_fini(&reading.ledger);
    }
    return err;
}

static enum err checkpoint_choose(struct recovery *recovery)
{
    struct core *core = recovery->core;
    struct segment_header header;
    char path[SEGMENT_PATH_MAX];
    uint64_t size_bytes;
    bool good = false, copy;
    size_t i = core->segment_count;
    while (i > 0 && !good) {
        enum err err = checkpoint_load(recovery, &core->segments[--i], &good);
        if (err != ERR_OK)
            return err;
    }
    if (!good)
        return ERR_OK;
    core->segments[i].checkpoint_good = true;
    enum err err = segment_path(path, core->folder, core->segments[i].slot, recovery->diag);
    if (err == ERR_OK)
        err = segment_identify(core->options.fs, path, &header, &size_bytes, &copy, recovery->diag);
    if (err == ERR_OK)
        recovery->free_below = header.free_below;
    return err;
}

/* ---- which segment holds what ---- */

static enum err segments_settle(struct recovery *recovery)
{
    struct core *core = recovery->core;
    size_t kept = 0;
    uint64_t end = UINT64_MAX;
    for (size_t i = core->segment_count; i-- > 0;) {
        struct segment *segment = &core->segments[i];
        segment->end_number = end;
        if (segment->first_number < end)
            end = segment->first_number;
    }
    for (size_t i = 0; i < core->segment_count; i++) {
        const struct segment *segment = &core->segments[i];
        enum err err = ERR_OK;
        if (segment->epoch < recovery->free_below)
            err = core_slot_free(core, segment->slot, segment->size_bytes);
        else
            core->segments[kept++] = *segment;
        if (err != ERR_OK)
            return err;
    }
    core->segment_count = kept;
    return ERR_OK;
}

static enum err unnamed_settle(struct recovery *recovery)
{
    struct core *core = recovery->core;
    char path[SEGMENT_PATH_MAX];
    for (size_t i = 0; i < recovery->unnamed_count; i++) {
        uint32_t slot = recovery->slots[recovery->unnamed[i]];
        struct fs_stat stat;
        bool found;
        enum err err = segment_path(path, core->folder, slot, recovery->diag);
        if (err == ERR_OK)
            err = fs_stat(core->options.fs, path, &stat, recovery->diag);
        if (err == ERR_OK)
            err =
                segment_probe(core->options.fs, path, recovery->free_below, &found, recovery->diag);
        if (err == ERR_OK && found) {
            core->orphan_bytes += stat.size_bytes;
            err = core_damage(core, 0,
                              "%s: the header at offset 0 and its copy are damaged; the blocks in "
                              "it are not read and the file is left as it is",
                              path);
        } else if (err == ERR_OK) {
            err = core_slot_free(core, slot, stat.size_bytes);
        }
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

/* ---- the blocks behind the checkpoint ---- */

static enum err block_apply(struct recovery *recovery, const struct block *block)
{
    struct ledger *ledger = &recovery->core->ledger;
    struct diag diag = {0};
    enum err err = ledger_prepare(ledger, block, &diag);
    if (err == ERR_OK)
        ledger_apply(ledger, block);
    ledger_unprepare(ledger);
    if (err == ERR_OK || err == ERR_NO_MEMORY)
        return err;
    return core_damage(recovery->core, 1, "%s: %s", recovery->path, diag.text);
}

/* Applies what is called durable by now. */
static enum err held_apply(struct recovery *recovery)
{
    struct block_list *held = &recovery->held;
    size_t count = 0;
    enum err err = ERR_OK;
    while (count < held->count && held->blocks[count]->number <= recovery->durable &&
           err == ERR_OK) {
        recovery->held_bytes -= held->blocks[count]->size_bytes;
        err = block_apply(recovery, held->blocks[count++]);
    }
    for (size_t i = 0; i < count; i++)
        block_unref(held->blocks[i]);
    held->count -= count;
    for (size_t i = 0; i < held->count; i++)
        held->blocks[i] = held->blocks[i + count];
    return err;
}

static enum err on_block(void *ctx, const struct block_header *header, struct bytes image,
                         uint64_t offset)
{
    struct recovery *recovery = ctx;
    struct block *block = NULL;
    struct diag diag = {0};
    recovery->visited++;
    if (header->durable_number > recovery->durable)
        recovery->durable = header->durable_number;
    if (header->number <= recovery->core->ledger.applied_through)
        return ERR_OK;
    enum err err = block_parse(image, &block, &diag);
    if (err == ERR_CORRUPT)
        return core_damage(recovery->core, 1, "%s, offset %llu: %s", recovery->path,
                           (unsigned long long)offset, diag.text);
    if (err == ERR_OK && recovery->held_bytes > HELD_BYTES_MAX)
        err = diag_set(recovery->diag, ERR_CORRUPT, "%s, offset %llu: nothing is called durable",
                       recovery->path, (unsigned long long)offset);
    if (err == ERR_OK)
        err = block_list_add(&recovery->held, block);
    if (err != ERR_OK) {
        block_unref(block);
        return err;
    }
    recovery->held_bytes += block->size_bytes;
    return held_apply(recovery);
}

static enum err on_damage(void *ctx, uint64_t offset, uint64_t from, uint64_t to)
{
    struct recovery *recovery = ctx;
    return core_damage(recovery->core, to - from,
                       "%s, offset %llu: blocks %llu to %llu were durable and cannot be read",
                       recovery->path, (unsigned long long)offset, (unsigned long long)from,
                       (unsigned long long)(to - 1));
}

static enum err segment_apply(struct recovery *recovery, struct segment *segment)
{
    const struct fs *fs = recovery->core->options.fs;
    struct segment_visitor visitor = {NULL, on_block, on_damage, recovery};
    struct segment_end end;
    char path[SEGMENT_PATH_MAX];
    enum err err = segment_path(path, recovery->core->folder, segment->slot, recovery->diag);
    recovery->path = path;
    recovery->visited = 0;
    recovery->durable = segment->first_number - 1;
    if (segment->end_number != UINT64_MAX) /* else a newer one had not begun there */
        recovery->durable = segment->end_number - 1;
    if (err == ERR_OK)
        err = segment_walk(fs, path, segment, &visitor, &end, recovery->diag);
    if (err == ERR_OK && end.durable > recovery->durable)
        recovery->durable = end.durable; /* of blocks behind the log's end */
    if (err == ERR_OK)
        err = held_apply(recovery);
    recovery->path = NULL;
    if (err != ERR_OK)
        return err;
    segment->used_bytes = end.offset;
    if (end.last_number > recovery->last_number)
        recovery->last_number = end.last_number;
    if (recovery->visited == 0) /* perhaps never begun: a torn header is no damage then */
        return ERR_OK;
    if (segment->header_copy)
        err = core_damage(recovery->core, 0,
                          "%s: the header at offset 0 is damaged; its copy was used", path);
    if (err == ERR_OK && !segment->checkpoint_good)
        err = core_damage(recovery->core, 0,
                          "%s: the checkpoint at offset %d is damaged; an older one was used", path,
                          (int)LIMIT_BLOCK_ALIGN_BYTES);
    return err;
}

static void tail_cut(struct recovery *recovery, size_t count)
{
    struct block_list *held = &recovery->held;
    for (; held->count > count; held->count--) {
        recovery->last_number = held->blocks[held->count - 1]->number - 1;
        block_unref(held->blocks[held->count - 1]);
    }
}

/* Drops what follows a block that could not be read, and at the end the blocks of a group whose
 * last block is not there. */
static void tail_trim(struct recovery *recovery)
{
    struct block_list *held = &recovery->held;
    struct block_header header;
    for (size_t i = 1; i < held->count; i++)
        if (held->blocks[i]->number != held->blocks[0]->number + i)
            tail_cut(recovery, i);
    while (held->count > 0) {
        block_header_read(held->blocks[held->count - 1]->image, &header);
        if (!(header.flags & BLOCK_MORE))
            return;
        tail_cut(recovery, held->count - 1);
    }
}

static enum err blocks_apply(struct recovery *recovery)
{
    struct core *core = recovery->core;
    enum err err = ERR_OK;
    recovery->last_number = core->ledger.applied_through;
    uint64_t from = core->ledger.applied_through;
    for (size_t i = 0; i < core->segment_count && err == ERR_OK; i++)
        if (core->segments[i].end_number > from + 1 &&
            core->segments[i].first_number < core->segments[i].end_number)
            err = segment_apply(recovery, &core->segments[i]);
    if (err != ERR_OK)
        return err;
    tail_trim(recovery);
    if (recovery->held.count > 0)
        recovery->last_number = recovery->held.blocks[0]->number - 1;
    core->ledger.applied_through = recovery->last_number;
    core->next_number = recovery->last_number + 1;
    return ERR_OK;
}

static enum err gaps_report(struct core *core)
{
    uint64_t expected = ledger_oldest_needed(&core->ledger);
    for (size_t i = 0; i < core->segment_count; i++) {
        const struct segment *segment = &core->segments[i];
        if (segment->first_number >= segment->end_number)
            continue; /* a begin that came to nothing */
        if (segment->first_number > expected) {
            enum err err = core_damage(
                core, segment->first_number - expected,
                "blocks %llu to %llu are in no segment of %s", (unsigned long long)expected,
                (unsigned long long)(segment->first_number - 1), core->folder);
            if (err != ERR_OK)
                return err;
        }
        if (segment->end_number > expected)
            expected = segment->end_number;
    }
    return ERR_OK;
}

/* ---- a segment that was to take over a tail and was cut off ---- */

static enum err on_carried(void *ctx, const struct block_header *header, struct bytes image,
                           uint64_t offset)
{
    (void)ctx, (void)header, (void)image, (void)offset;
    return ERR_OK;
}

static enum err on_carried_damage(void *ctx, uint64_t offset, uint64_t from, uint64_t to)
{
    (void)ctx, (void)offset, (void)from, (void)to;
    return ERR_OK; /* something calls it durable: the tail was complete; met again below */
}

/* Takes out the newest segments that lack a part of what they were to carry: the older segment
 * still has it. Only the newest can be so, for a newer one begins when it is complete. */
static enum err carries_check(struct recovery *recovery)
{
    struct core *core = recovery->core;
    struct segment_visitor visitor = {NULL, on_carried, on_carried_damage, NULL};
    struct segment_end end;
    char path[SEGMENT_PATH_MAX];
    while (core->segment_count > 0) {
        struct segment *newest = &core->segments[core->segment_count - 1];
        if (newest->carried_through < newest->first_number)
            return ERR_OK;
        enum err err = segment_path(path, core->folder, newest->slot, recovery->diag);
        if (err == ERR_OK)
            err = segment_walk(core->options.fs, path, newest, &visitor, &end, recovery->diag);
        if (err != ERR_OK || end.last_number >= newest->carried_through)
            return err;
        /* Not reused: a torn header over its blocks would look like damage. */
        if (!recovery->reads_only)
            err = fs_unlink(core->options.fs, path, recovery->diag);
        if (err != ERR_OK)
            return err;
        core->segment_count--;
    }
    return ERR_OK;
}

static enum err segments_recover(struct recovery *recovery)
{
    struct core *core = recovery->core;
    if (core->segment_count > 1)
        qsort(core->segments, core->segment_count, sizeof(*core->segments), segment_compare);
    enum err err = carries_check(recovery);
    if (err == ERR_OK)
        err = checkpoint_choose(recovery);
    if (err == ERR_OK)
        err = segments_settle(recovery);
    if (err == ERR_OK)
        err = unnamed_settle(recovery);
    if (err == ERR_OK)
        err = blocks_apply(recovery);
    return err == ERR_OK ? gaps_report(core) : err;
}

enum err recovery_run(struct core *core, struct block_list *ret_tail, struct diag *diag)
{
    struct recovery recovery = {.core = core, .diag = diag};
    enum err err = recovery_lock(core, diag);
    if (err == ERR_OK)
        err = recovery_uuid_read(core, diag);
    bool had_file = core->uuid[0] != '\0';
    if (err == ERR_OK) /* what is removed stays removed from here on */
        err = fs_sync_folder(core->options.fs, core->folder, diag);
    if (err == ERR_OK)
        err = fs_list(core->options.fs, core->folder, on_name, &recovery, diag);
    if (err == ERR_OK)
        err = segments_identify(&recovery);
    if (err == ERR_OK)
        err = recovery_uuid_settle(core, had_file, diag);
    if (err == ERR_OK)
        err = segments_recover(&recovery);
    *ret_tail = recovery.held;
    mem_free(recovery.slots);
    mem_free(recovery.unnamed);
    return err == ERR_OK ? err
                         : diag_set(diag, err, "cannot recover the journal %s: %s", core->folder,
                                    err_text(err));
}

enum err recovery_read(struct core *core, struct diag *diag)
{
    struct recovery recovery = {.core = core, .diag = diag, .reads_only = true};
    enum err err = recovery_uuid_read(core, diag);
    if (err == ERR_OK)
        err = fs_list(core->options.fs, core->folder, on_name, &recovery, diag);
    if (err == ERR_OK)
        err = segments_identify(&recovery);
    if (err == ERR_OK && core->segment_count == 0)
        err = diag_set(diag, ERR_NOT_FOUND, "there is no journal in %s", core->folder);
    if (err == ERR_OK)
        err = segments_recover(&recovery);
    block_list_fini(&recovery.held);
    mem_free(recovery.slots);
    mem_free(recovery.unnamed);
    return err;
}
