/*
 * The thread and the queue around core.c. Submitters append to a list under a short lock; the
 * journal thread takes what is there, up to BATCH_BYTES, and makes it durable with one sync.
 *
 * Groups (BLOCK_MORE) wait apart, under their id, until their last block is submitted, and then
 * enter the list together: so they get neighbouring numbers, and no cut can pass over a part of
 * one.
 *
 * Locks: queue (the lists), ledger (journal_mutex: the ledger and the published stats). The core is
 * the journal thread's alone. Neither lock is held over I/O or a callback.
 *
 * When writing fails the thread keeps the batch, waits, and tries again for as long as it takes; at
 * journal_stop once more, then what is left is given up with ERR_STOPPED: it was never
 * acknowledged.
 */
#include "journal/journal.h"

#include "base/alloc.h"
#include "journal/journal_parts.h"

#include <assert.h>
#include <stdio.h>

#define BATCH_BYTES      (8 * MIB)
#define BATCH_ITEMS_MAX  4096
#define QUIET_NS         NS_PER_S
#define SPACE_NS         (20 * NS_PER_MS)
#define RETRY_FIRST_NS   (50 * NS_PER_MS)
#define RETRY_LAST_NS    (5 * NS_PER_S)
#define OPEN_GROUPS_MAX  10000
#define LANDED_BYTES_MAX (32 * MIB)

/* ---- open and close ---- */

enum err journal_open(const struct journal_options *options, struct journal **ret_journal,
                      struct diag *diag)
{
    struct journal *journal = mem_zalloc(1, sizeof(*journal));
    if (!journal)
        return diag_set(diag, ERR_NO_MEMORY, "no memory to open the journal");
    journal->batch = mem_zalloc(BATCH_ITEMS_MAX, sizeof(*journal->batch));
    enum err err = journal->batch ? core_open(&journal->core, options, diag) : ERR_NO_MEMORY;
    if (err != ERR_OK) {
        mem_free(journal->batch);
        mem_free(journal);
        return diag_set(diag, err, "cannot open the journal: %s", err_text(err));
    }
    mutex_init(&journal->queue_mutex);
    mutex_init(&journal->journal_mutex);
    condition_init(&journal->queue_changed);
    journal->core.ledger_mutex = &journal->journal_mutex;
    atomic_init(&journal->cut_id_next, journal->core.ledger.cut_id_last + 1);
    journal->oldest_segment_end = journal->core.segments[0].end_number;
    core_stats(&journal->core, &journal->stats);
    *ret_journal = journal;
    return ERR_OK;
}

void journal_close(struct journal *journal)
{
    if (!journal)
        return;
    journal_stop(journal);
    core_fini(&journal->core);
    mutex_fini(&journal->queue_mutex);
    mutex_fini(&journal->journal_mutex);
    condition_fini(&journal->queue_changed);
    mem_free(journal->batch);
    mem_free(journal);
}

const char *journal_uuid(const struct journal *journal)
{
    return journal->core.uuid;
}

/* ---- the thread ---- */

static void stats_publish(struct journal *journal)
{
    struct journal_stats stats;
    core_stats(&journal->core, &stats);
    stats.failing = journal->failing;
    stats.alive_ns = clock_monotonic_ns(&clock_system);
    if (journal->failing)
        snprintf(stats.reason, sizeof(stats.reason), "%s", journal->failure);
    mutex_lock(&journal->journal_mutex);
    journal->stats = stats;
    journal->oldest_segment_end =
        journal->core.segment_count > 0 ? journal->core.segments[0].end_number : 0;
    mutex_unlock(&journal->journal_mutex);
}

static bool stop_asked(struct journal *journal)
{
    mutex_lock(&journal->queue_mutex);
    bool stopping = journal->stopping;
    mutex_unlock(&journal->queue_mutex);
    return stopping;
}

static void batch_finish(struct journal *journal, struct item_list *batch, size_t count,
                         enum err err)
{
    atomic_fetch_sub(&journal->waiting, count);
    while (count-- > 0)
        item_finish(item_list_pop(batch), err);
}

/* The group can never be taken. */
static bool is_refusal(enum err err)
{
    return err == ERR_CORRUPT || err == ERR_TOO_MANY || err == ERR_TOO_LARGE;
}

static void failure_note(struct journal *journal, const struct diag *diag, enum err err)
{
    if (journal->refused)
        return;
    journal->failing = err != ERR_OK;
    if (err != ERR_OK)
        snprintf(journal->failure, sizeof(journal->failure), "%.383s",
                 diag->text[0] ? diag->text : err_text(err));
}

static void retry_wait(struct journal *journal, int64_t *wait_ns)
{
    stats_publish(journal);
    mutex_lock(&journal->queue_mutex);
    int64_t until_ns = clock_monotonic_ns(&clock_system) + *wait_ns;
    for (int64_t left_ns = *wait_ns; left_ns > 0 && !journal->stopping;
         left_ns = until_ns - clock_monotonic_ns(&clock_system))
        (void)condition_wait_for(&journal->queue_changed, &journal->queue_mutex, left_ns);
    mutex_unlock(&journal->queue_mutex);
    *wait_ns = *wait_ns * 2 < RETRY_LAST_NS ? *wait_ns * 2 : RETRY_LAST_NS;
}

/* What comes after a record that can never be taken must not become durable: an acknowledgement of
 * it, or a later cut, would pass over the gap. */
static void refuse(struct journal *journal, struct item_list *batch, const struct diag *diag,
                   enum err err)
{
    snprintf(journal->failure, sizeof(journal->failure),
             "stopped, nothing more is acknowledged until the next start: %.180s", diag->text);
    journal->failing = true;
    mutex_lock(&journal->queue_mutex);
    journal->refused = true;
    item_list_move(batch, &journal->ready);
    mutex_unlock(&journal->queue_mutex);
    stats_publish(journal);
    batch_finish(journal, batch, item_group_length(batch->first), err);
    batch_finish(journal, batch, batch->count, ERR_STOPPED);
}

static enum err batch_append(struct journal *journal, struct item_list *batch, struct diag *diag)
{
    size_t count = 0, done = 0;
    for (const struct item *item = batch->first; item && count < BATCH_ITEMS_MAX;
         item = item->next) {
        if (count + item_group_length(item) > BATCH_ITEMS_MAX && count > 0 &&
            !journal->batch[count - 1].flags)
            break;
        journal->batch[count++] =
            (struct core_item){item->block, item->kind, item->flags, item->group};
    }
    enum err err = core_append(&journal->core, journal->batch, count, &done, diag);
    failure_note(journal, diag, is_refusal(err) || journal->core.held_back ? ERR_OK : err);
    stats_publish(journal);
    if (done > 0)
        batch_finish(journal, batch, done, ERR_OK);
    if (is_refusal(err))
        refuse(journal, batch, diag, err);
    return is_refusal(err) ? ERR_OK : err;
}

static enum err space_make(struct journal *journal, struct diag *diag)
{
    struct core *core = &journal->core;
    core_space(core);
    enum err err = core_free_space(core, diag);
    core_space(core);
    return err;
}

/* On a full disk LANDED and UPLOADED are what makes room again: they must not stand behind blocks
 * that wait for it. They speak of blocks that are durable already, so they may go first. */
static void control_first(struct journal *journal, struct item_list *batch)
{
    struct item_list control = {0}, data = {0}, later = {0};
    item_list_split(batch, &control, &data);
    mutex_lock(&journal->queue_mutex);
    item_list_split(&journal->ready, &control, &later);
    journal->ready = later;
    mutex_unlock(&journal->queue_mutex);
    item_list_move(&control, &data);
    *batch = control;
}

static void batch_write(struct journal *journal, struct item_list *batch)
{
    int64_t wait_ns = RETRY_FIRST_NS;
    bool last_try = false;
    while (batch->count > 0) {
        struct diag diag = {0};
        enum err err = batch_append(journal, batch, &diag);
        journal->appended_ns = clock_monotonic_ns(journal->core.options.clock);
        if (err == ERR_OK)
            continue;
        if (last_try) {
            batch_finish(journal, batch, batch->count, ERR_STOPPED);
            return;
        }
        last_try = stop_asked(journal);
        if (last_try)
            continue;
        if (err == ERR_NO_SPACE)
            wait_ns = RETRY_FIRST_NS; /* it does not hurt to look, and LANDED may have come */
        (void)!space_make(journal, NULL);
        retry_wait(journal, &wait_ns);
        if (err == ERR_NO_SPACE)
            control_first(journal, batch);
    }
}

/* Whole groups, up to BATCH_BYTES (at least one). */
static void batch_take(struct journal *journal, struct item_list *ret_batch)
{
    do {
        size_t group = item_group_length(journal->ready.first);
        if (ret_batch->count > 0 && ret_batch->count + group > BATCH_ITEMS_MAX)
            return;
        while (group-- > 0)
            item_list_push(ret_batch, item_list_pop(&journal->ready));
    } while (journal->ready.first && ret_batch->bytes < BATCH_BYTES);
}

static int64_t tick_ns(const struct journal *journal)
{
    const struct journal_options *options = &journal->core.options;
    int64_t ns = journal->core.uncalled || journal->core.paused ? QUIET_NS / 4 : QUIET_NS;
    int64_t interval_ns = (int64_t)options->sync_interval_ms * NS_PER_MS;
    if (options->sync == JOURNAL_SYNC_INTERVAL && journal->core.dirty && interval_ns < ns)
        ns = interval_ns;
    return ns > NS_PER_MS ? ns : NS_PER_MS;
}

/* False: stop, and nothing is left. */
static bool batch_wait(struct journal *journal, struct item_list *ret_batch)
{
    mutex_lock(&journal->queue_mutex);
    if (!journal->ready.first && !journal->stopping)
        (void)condition_wait_for(&journal->queue_changed, &journal->queue_mutex, tick_ns(journal));
    if (journal->ready.first)
        batch_take(journal, ret_batch);
    bool over = journal->stopping && ret_batch->count == 0;
    mutex_unlock(&journal->queue_mutex);
    return !over;
}

static void housekeep(struct journal *journal, bool quiet)
{
    struct core *core = &journal->core;
    struct diag diag = {0};
    int64_t now_ns = clock_monotonic_ns(core->options.clock);
    enum err err = core_sync(core, false, &diag);
    if (err == ERR_OK && quiet && core->uncalled && now_ns - journal->appended_ns >= QUIET_NS)
        err = core_call_durable(core, &diag);
    if (now_ns - journal->space_ns >= SPACE_NS || quiet) {
        journal->space_ns = now_ns;
        enum err space_err = space_make(journal, &diag);
        err = err == ERR_OK ? space_err : err;
    }
    if (err != ERR_OK)
        failure_note(journal, &diag, err);
    stats_publish(journal);
}

static void journal_run(void *ctx)
{
    struct journal *journal = ctx;
    struct item_list batch = {0};
    while (batch_wait(journal, &batch)) {
        bool quiet = batch.count == 0;
        batch_write(journal, &batch);
        housekeep(journal, quiet);
    }
    struct diag diag = {0};
    enum err err = core_call_durable(&journal->core, &diag);
    if (err == ERR_OK)
        err = core_sync(&journal->core, true, &diag);
    failure_note(journal, &diag, err);
    stats_publish(journal);
    mutex_lock(&journal->journal_mutex);
    journal->stats.alive_ns = 0;
    mutex_unlock(&journal->journal_mutex);
}

enum err journal_start(struct journal *journal, struct diag *diag)
{
    assert(!journal->running);
    /* What was not replayed before is pinned until it is. */
    if (!journal->replayed &&
        ledger_oldest_needed(&journal->core.ledger) < journal->core.next_number &&
        core_replay_plan(&journal->core) != ERR_OK)
        return diag_set(diag, ERR_NO_MEMORY, "no memory to start the journal");
    journal->appended_ns = clock_monotonic_ns(journal->core.options.clock);
    enum err err = thread_start(&journal->thread, "journal", journal_run, journal);
    if (err != ERR_OK)
        return diag_set(diag, err, "cannot start the journal thread: %s", err_text(err));
    journal->running = true;
    return ERR_OK;
}

static void groups_give_up(struct journal *journal)
{
    while (journal->groups) {
        struct open_group *group = journal->groups;
        journal->groups = group->next;
        for (struct item *item; (item = item_list_pop(&group->items));)
            item_finish(item, ERR_STOPPED);
        mem_free(group);
    }
    journal->group_count = 0;
}

void journal_stop(struct journal *journal)
{
    mutex_lock(&journal->queue_mutex);
    journal->stopping = true;
    condition_broadcast(&journal->queue_changed);
    mutex_unlock(&journal->queue_mutex);
    thread_join(&journal->thread);
    journal->running = false;
    batch_finish(journal, &journal->ready, journal->ready.count, ERR_STOPPED); /* never started */
    groups_give_up(journal);
}

/* ---- submitting ---- */

static struct open_group **group_find(struct journal *journal, uint64_t id)
{
    struct open_group **at = &journal->groups;
    while (*at && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

static void ready_push(struct journal *journal, struct item_list *list)
{
    atomic_fetch_add(&journal->waiting, list->count);
    item_list_move(&journal->ready, list);
    condition_signal(&journal->queue_changed);
}

static enum err group_push(struct journal *journal, struct item *item)
{
    struct open_group **at = group_find(journal, item->group), *group = *at;
    if (!group && !(item->flags & BLOCK_MORE)) {
        struct item_list one = {0};
        item_list_push(&one, item);
        ready_push(journal, &one);
        return ERR_OK;
    }
    if (group && (group->items.bytes + block_padded_bytes(item->block) > LIMIT_GROUP_BYTES ||
                  group->items.count + 1 > BATCH_ITEMS_MAX))
        return ERR_TOO_LARGE;
    if (!group) {
        if (journal->group_count >= OPEN_GROUPS_MAX)
            return ERR_TOO_MANY;
        group = mem_zalloc(1, sizeof(*group));
        if (!group)
            return ERR_NO_MEMORY;
        group->id = item->group;
        *at = group;
        journal->group_count++;
    }
    item_list_push(&group->items, item);
    if (item->flags & BLOCK_MORE)
        return ERR_OK;
    ready_push(journal, &group->items);
    *at = group->next;
    journal->group_count--;
    mem_free(group);
    return ERR_OK;
}

static enum err item_submit(struct journal *journal, struct block *take_block, enum block_kind kind,
                            uint16_t flags, uint64_t group, journal_on_durable on_durable,
                            void *ctx)
{
    struct item *item = mem_alloc(sizeof(*item));
    if (!item)
        return ERR_NO_MEMORY;
    *item = (struct item){.block = take_block,
                          .kind = kind,
                          .flags = flags,
                          .group = group,
                          .on_durable = on_durable,
                          .ctx = ctx};
    mutex_lock(&journal->queue_mutex);
    enum err err = journal->stopping || journal->refused ? ERR_STOPPED : ERR_OK;
    if (err == ERR_OK && (flags & BLOCK_MORE || group != 0)) {
        err = group_push(journal, item);
    } else if (err == ERR_OK) {
        struct item_list one = {0};
        item_list_push(&one, item);
        ready_push(journal, &one);
    }
    mutex_unlock(&journal->queue_mutex);
    if (err != ERR_OK)
        mem_free(item);
    return err;
}

enum err journal_submit(struct journal *journal, struct block *take_block, uint16_t flags,
                        uint64_t group, journal_on_durable on_durable, void *ctx)
{
    if (flags & ~BLOCK_MORE)
        return ERR_INVALID;
    return item_submit(journal, take_block, BLOCK_DATA, flags, group, on_durable, ctx);
}

enum err journal_control(struct journal *journal, const struct record_view *records, size_t count,
                         journal_on_durable on_durable, void *ctx)
{
    struct block *block = NULL;
    size_t bytes = BLOCK_HEADER_BYTES;
    for (size_t i = 0; i < count; i++)
        bytes += 64 + records[i].body.size;
    enum err err = block_new(bytes, &block);
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        err = block_add_record(block, records[i].kind, records[i].body);
    if (err == ERR_OK)
        err = item_submit(journal, block, BLOCK_CONTROL, 0, 0, on_durable, ctx);
    if (err != ERR_OK)
        block_unref(block);
    return err;
}

static bool is_landed_real(struct journal *journal, const struct landed *landed)
{
    mutex_lock(&journal->journal_mutex);
    bool real = landed->after < landed->through &&
                landed->through <= journal->core.ledger.applied_through && landed->cut_id > 0 &&
                landed->cut_id < atomic_load(&journal->cut_id_next);
    mutex_unlock(&journal->journal_mutex);
    return real;
}

enum err journal_land(struct journal *journal, const struct landed *landed,
                      journal_on_durable on_durable, void *ctx)
{
    struct buf body;
    struct buf changes;
    struct landed bare = *landed;
    bare.metadata_changes = (struct bytes){0}; /* they outlive the cut: journal_metadata.c */
    if (!is_landed_real(journal, landed))
        return ERR_INVALID;
    buf_init(&body, LANDED_BYTES_MAX);
    buf_init(&changes, LIMIT_BLOCK_BYTES);
    enum err err = record_landed_encode(&body, &bare);
    if (err == ERR_OK && landed->metadata_changes.size > 0)
        err = journal_metadata_encode(&changes, landed->dataset_id, landed->metadata_changes);
    const struct record_view records[] = {{.kind = RECORD_LANDED, .body = buf_bytes(&body)},
                                          {.kind = RECORD_STATE, .body = buf_bytes(&changes)}};
    if (err == ERR_OK)
        err = journal_control(journal, records, changes.size > 0 ? 2 : 1, on_durable, ctx);
    buf_fini(&changes);
    buf_fini(&body);
    return err;
}

enum err journal_uploaded(struct journal *journal, uint64_t cut_id, journal_on_durable on_durable,
                          void *ctx)
{
    struct buf body;
    buf_init(&body, 64);
    enum err err = record_uploaded_encode(&body, cut_id);
    const struct record_view record = {.kind = RECORD_UPLOADED, .body = buf_bytes(&body)};
    if (err == ERR_OK)
        err = journal_control(journal, &record, 1, on_durable, ctx);
    buf_fini(&body);
    return err;
}

uint64_t journal_next_cut_id(struct journal *journal)
{
    return atomic_fetch_add(&journal->cut_id_next, 1);
}

bool journal_idle(const struct journal *journal)
{
    return atomic_load_explicit(&journal->waiting, memory_order_relaxed) == 0;
}

/* ---- questions ---- */

static struct mutex *mutex_of(const struct journal *journal)
{
    return (struct mutex *)(uintptr_t)&journal->journal_mutex; /* asking changes nothing else */
}

enum err journal_damage(const struct journal *journal,
                        enum err (*on_damage)(void *ctx, const char *sentence), void *ctx)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < journal->core.damage_count && err == ERR_OK; i++)
        err = on_damage(ctx, journal->core.damages[i]);
    return err;
}

enum err journal_pending_uploads(const struct journal *journal,
                                 enum err (*on_landed)(void *ctx, const struct landed *landed),
                                 void *ctx)
{
    const struct ledger *ledger = &journal->core.ledger;
    enum err err = ERR_OK;
    for (size_t i = 0; i < ledger->pending_count && err == ERR_OK; i++)
        err = on_landed(ctx, &ledger->pending[i]->landed);
    return err;
}

enum err journal_redo(struct journal *journal, uint64_t cut_id)
{
    assert(!journal->running);
    return core_redo(&journal->core, cut_id);
}

enum err journal_replay(struct journal *journal,
                        enum err (*on_block)(void *ctx, struct block *block), void *ctx,
                        struct diag *diag)
{
    if (journal->running && !journal->core.replay_segments)
        return ERR_OK; /* there was nothing to replay at the start */
    journal->replayed = true;
    return core_replay(&journal->core, on_block, ctx, diag);
}

bool journal_wanted(const struct journal *journal, struct bytes dataset_id, uint64_t block_number,
                    uint64_t *ret_redo_cut)
{
    mutex_lock(mutex_of(journal));
    bool wanted = ledger_wanted(&journal->core.ledger, dataset_id, block_number, ret_redo_cut);
    mutex_unlock(mutex_of(journal));
    return wanted;
}

uint64_t journal_landed_through(const struct journal *journal, struct bytes dataset_id)
{
    mutex_lock(mutex_of(journal));
    const struct ledger_dataset *dataset = ledger_dataset(&journal->core.ledger, dataset_id);
    uint64_t through = dataset ? dataset->landed_through : 0;
    mutex_unlock(mutex_of(journal));
    return through;
}

uint64_t journal_filed_through(const struct journal *journal, struct bytes dataset_id)
{
    mutex_lock(mutex_of(journal));
    const struct ledger_dataset *dataset = ledger_dataset(&journal->core.ledger, dataset_id);
    uint64_t through = dataset ? dataset->filed_through : 0;
    mutex_unlock(mutex_of(journal));
    return through;
}

enum err journal_state_get(const struct journal *journal, struct bytes source_id, struct bytes key,
                           struct buf *ret_value)
{
    mutex_lock(mutex_of(journal));
    const struct buf *value = ledger_state(&journal->core.ledger, source_id, key);
    enum err err = value ? buf_append(ret_value, value->data, value->size) : ERR_NOT_FOUND;
    mutex_unlock(mutex_of(journal));
    return err;
}

void journal_identities(const struct journal *journal, struct bytes source_id,
                        void (*on_identity)(void *ctx, uint16_t packet_identifier, uint64_t hash,
                                            uint64_t block, bool qos_2),
                        void *ctx)
{
    mutex_lock(mutex_of(journal));
    ledger_identities(&journal->core.ledger, source_id, on_identity, ctx);
    mutex_unlock(mutex_of(journal));
}

void journal_stats_get(const struct journal *journal, struct journal_stats *ret_stats)
{
    mutex_lock(mutex_of(journal));
    *ret_stats = journal->stats;
    mutex_unlock(mutex_of(journal));
}

enum err journal_holders(const struct journal *journal,
                         enum err (*on_dataset)(void *ctx, struct bytes dataset_id), void *ctx)
{
    struct map held;
    size_t cursor = 0;
    enum err err = ERR_OK;
    map_init(&held);
    mutex_lock(mutex_of(journal));
    const struct map *datasets = &journal->core.ledger.datasets;
    for (struct map_entry *entry; err == ERR_OK && (entry = map_next(datasets, &cursor));) {
        const struct ledger_dataset *dataset = entry->value;
        if (dataset->oldest != 0 && dataset->oldest < journal->oldest_segment_end)
            err = map_put(&held, bytes_from(entry->key, entry->key_size), &held);
    }
    mutex_unlock(mutex_of(journal));
    cursor = 0;
    for (struct map_entry *entry; err == ERR_OK && (entry = map_next(&held, &cursor));)
        err = on_dataset(ctx, bytes_from(entry->key, entry->key_size));
    map_fini(&held);
    return err;
}
