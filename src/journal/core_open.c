/* The core's birth and end, redo and replay; writing is in core.c. */
#include "base/alloc.h"
#include "journal/recovery.h"

#define SEGMENT_BYTES_MIN   (64 * KIB)
#define FIRST_SEGMENT_BYTES (4 * MIB)
#define STAGING_BYTES       (1 * MIB)

static uint64_t segment_bytes_of(const struct journal_options *options)
{
    uint64_t bytes = options->segment_bytes ? options->segment_bytes : LIMIT_SEGMENT_BYTES;
    /* A journal of a few segments could free none: two stay under newer checkpoints. */
    if (!options->segment_bytes && bytes > options->size_max_bytes / 8)
        bytes = options->size_max_bytes / 8;
    if (!options->segment_bytes && bytes < SEGMENT_BYTES_MIN)
        bytes = SEGMENT_BYTES_MIN;
    return bytes & ~(uint64_t)(LIMIT_BLOCK_ALIGN_BYTES - 1);
}

/* A segment with room for the tail, and the tail in it, so that nothing hangs on what is perhaps
 * only in the page cache. Until all of it is durable the segment takes nothing over. */
static enum err tail_carry(struct core *core, const struct block_list *tail, struct diag *diag)
{
    uint64_t size_bytes = 0;
    size_t done;
    struct core_item *items = mem_zalloc(tail->count, sizeof(*items));
    if (!items)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < tail->count; i++) {
        struct block_header header;
        block_header_read(tail->blocks[i]->image, &header);
        items[i] = (struct core_item){tail->blocks[i], (enum block_kind)header.kind, header.flags,
                                      header.group};
        size_bytes += block_padded_bytes(tail->blocks[i]);
    }
    /* A small one at first, so that a service that is started over and over does not fill the
     * journal with segments that hold nothing. */
    uint64_t full_bytes = core->options.segment_bytes;
    if (full_bytes > FIRST_SEGMENT_BYTES)
        core->options.segment_bytes = FIRST_SEGMENT_BYTES;
    enum err err =
        core_roll(core, size_bytes, tail->count ? core->next_number + tail->count - 1 : 0, diag);
    core->options.segment_bytes = full_bytes;
    if (err == ERR_OK)
        err = core_append(core, items, tail->count, &done, diag);
    if (err == ERR_OK)
        err = core_sync(core, true, diag);
    mem_free(items);
    return err;
}

enum err core_open(struct core *core, const struct journal_options *options, struct diag *diag)
{
    struct block_list tail = {0};
    *core = (struct core){.options = *options};
    core->options.segment_bytes = segment_bytes_of(options);
    core->free_held = true;
    ledger_init(&core->ledger);
    core->folder = mem_strdup(options->folder);
    core->staging = mem_aligned(LIMIT_BLOCK_ALIGN_BYTES, STAGING_BYTES);
    enum err err = core->folder && core->staging ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = fs_make_folders(options->fs, core->folder, diag);
    if (err == ERR_OK)
        err = fs_settle_folders(options->fs, core->folder, diag);
    if (err == ERR_OK)
        err = recovery_run(core, &tail, diag);
    if (err == ERR_OK)
        err = tail_carry(core, &tail, diag);
    block_list_fini(&tail);
    if (err == ERR_OK) {
        core_space(core);
        return ERR_OK;
    }
    core_fini(core);
    return diag_set(diag, err, "cannot open the journal %s: %s", options->folder, err_text(err));
}

void core_fini(struct core *core)
{
    if (core->options.fs) {
        fs_close(core->options.fs, core->file);
        fs_close(core->options.fs, core->lock_file);
    }
    ledger_fini(&core->ledger);
    for (size_t i = 0; i < core->damage_count; i++)
        mem_free(core->damages[i]);
    mem_free(core->damages);
    mem_free(core->segments);
    mem_free(core->replay_segments);
    mem_free(core->free_slots);
    mem_free(core->staging);
    mem_free(core->folder);
    *core = (struct core){0};
}

uint64_t core_oldest_kept(struct core *core)
{
    uint64_t oldest = ledger_oldest_needed(&core->ledger);
    if (core->paused || core->past_half)
        return oldest;
    for (size_t i = 0; i < core->ledger.pending_count; i++)
        if (core->ledger.pending[i]->landed.first.block < oldest)
            oldest = core->ledger.pending[i]->landed.first.block;
    return oldest;
}

enum err core_redo(struct core *core, uint64_t cut_id)
{
    struct ledger_pending *pending = ledger_pending_find(&core->ledger, cut_id);
    uint64_t retained_from = core->next_number;
    if (!pending)
        return ERR_NOT_FOUND;
    for (size_t i = 0; i < core->segment_count; i++)
        if (core->segments[i].first_number < core->segments[i].end_number &&
            core->segments[i].first_number < retained_from)
            retained_from = core->segments[i].first_number;
    if (pending->landed.first.block < retained_from)
        return ERR_NOT_FOUND;
    ledger_redo_set(&core->ledger, pending, true);
    return ERR_OK;
}

struct replay {
    struct core *core;
    const char *path;
    enum err (*on_block)(void *ctx, struct block *block);
    void *ctx;
};

static bool block_wanted(struct core *core, const struct block *block)
{
    struct route_view route;
    uint64_t redo_cut;
    bool wanted = false;
    core_ledger_lock(core);
    for (uint32_t i = 0; i < block->route_count && !wanted; i++) {
        if (block->routes[i].message_count == 0)
            continue;
        block_route_get(block, i, &route);
        wanted = ledger_wanted(&core->ledger, route.dataset_id, block->number, &redo_cut);
    }
    core_ledger_unlock(core);
    return wanted;
}

static enum err on_block(void *ctx, const struct block_header *header, struct bytes image,
                         uint64_t offset)
{
    struct replay *replay = ctx;
    struct block *block = NULL;
    struct diag diag = {0};
    if (header->kind != BLOCK_DATA || header->number < replay->core->replay_from)
        return ERR_OK;
    enum err err = block_parse(image, &block, &diag);
    if (err == ERR_CORRUPT)
        return core_damage(replay->core, 1, "%s, offset %llu: %s", replay->path,
                           (unsigned long long)offset, diag.text);
    if (err == ERR_OK && block_wanted(replay->core, block))
        err = replay->on_block(replay->ctx, block);
    block_unref(block);
    return err;
}

static enum err on_damage(void *ctx, uint64_t offset, uint64_t from, uint64_t to)
{
    struct replay *replay = ctx;
    return core_damage(replay->core, to - from,
                       "%s, offset %llu: blocks %llu to %llu were durable and cannot be read",
                       replay->path, (unsigned long long)offset, (unsigned long long)from,
                       (unsigned long long)(to - 1));
}

enum err core_replay_plan(struct core *core)
{
    struct segment *segments = mem_zalloc(core->segment_count, sizeof(*segments));
    if (!segments)
        return ERR_NO_MEMORY;
    memcpy(segments, core->segments, core->segment_count * sizeof(*segments));
    /* The newest holds what recovery carried over; what comes later is not replayed. */
    struct segment *newest = &segments[core->segment_count - 1];
    if (newest->end_number > core->next_number)
        newest->end_number = core->next_number;
    mem_free(core->replay_segments);
    core->replay_segments = segments;
    core->replay_count = core->segment_count;
    core->replay_from = ledger_oldest_needed(&core->ledger);
    atomic_store(&core->replay_pending, true);
    return ERR_OK;
}

enum err core_replay(struct core *core, enum err (*on_replayed)(void *ctx, struct block *block),
                     void *ctx, struct diag *diag)
{
    struct replay replay = {core, NULL, on_replayed, ctx};
    struct segment_visitor visitor = {NULL, on_block, on_damage, &replay};
    char path[SEGMENT_PATH_MAX];
    enum err err = core->replay_segments ? ERR_OK : core_replay_plan(core);
    for (size_t i = 0; i < core->replay_count && err == ERR_OK; i++) {
        const struct segment *segment = &core->replay_segments[i];
        struct segment_end end;
        if (segment->end_number <= core->replay_from ||
            segment->first_number >= segment->end_number)
            continue;
        replay.path = path;
        err = segment_path(path, core->folder, segment->slot, diag);
        if (err == ERR_OK)
            err = segment_walk(core->options.fs, path, segment, &visitor, &end, diag);
    }
    if (err == ERR_OK)
        atomic_store(&core->replay_pending, false);
    mem_free(core->replay_segments);
    core->replay_segments = NULL;
    return err;
}
