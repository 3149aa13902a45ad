/*
 * A database that is new, or was salvaged, is filled with what lies in the lake: of this journal,
 * whose counts it would hold. Exactly once, because a dataset's progress says through which block
 * its cuts are in the database, and three things come together:
 *
 *   - Its changes wait while it is counted (recount_holds): none moves the progress, and the first
 *     that waits says by its first block which cuts have to be counted from their files: those
 *     above the progress and below that block.
 *   - Those cuts are in the lake when it is listed: a cut below the block that has not reached the
 *     store yet, or is made again, is waited for.
 *   - What was counted is written with the progress in one transaction, and only if the progress is
 *     still the old one, and no cut came in between whose file may have been counted. Else the
 *     dataset is counted again.
 *
 * A dataset that the lake does not have when its folders are listed, and of which no upload was
 * pending then, has all its cuts among the changes: it does not wait.
 *
 * A dataset whose counts could be salvaged and whose lists could not is read twice: its cuts up to
 * the progress mend what lacks (metadata_repair.c), without counting; then those above it, as ever.
 *
 * A kill loses what was counted and not written. The database notes the journal in
 * metadata_recounts when all is done; until then each start goes through the lake again, and finds
 * datasets whose progress says that they are done.
 */
#include "base/alloc.h"
#include "lake/lake_walk.h"
#include "lake/object_key.h"
#include "metadata/metadata_parts.h"
#include "metadata/metadata_repair.h"

#include <stdio.h>
#include <string.h>

#define FOLDER_PREFIX "bronze/ingestion_id="
#define FOLDER_BYTES  512
#define ID_BYTES_MAX  (64 * KIB)
#define TURN_NS       (NS_PER_S / 500) /* calls of the store a second, so that others find theirs */
#define RETRY_NS      (2 * NS_PER_S)
#define WAIT_NS       (60 * NS_PER_S) /* it is signalled */

/* --- who waits ----------------------------------------------------------------------------- */

static enum err folder_of(struct bytes id, struct buf *folder)
{
    buf_text(folder, FOLDER_PREFIX);
    (void)!object_key_encode_id(folder, id);
    return buf_byte(folder, '/');
}

bool recount_holds(struct metadata *metadata, struct bytes id)
{
    const struct recounting *recounting = &metadata->recounting;
    struct buf folder;
    if (recounting->stage != RECOUNT_COUNTING)
        return recounting->stage == RECOUNT_LISTING;
    buf_init(&folder, FOLDER_BYTES);
    bool holds = folder_of(id, &folder) != ERR_OK || map_get(&recounting->todo, buf_bytes(&folder));
    buf_fini(&folder);
    return holds;
}

/* --- the thread ---------------------------------------------------------------------------- */

/* A dataset under way. */
struct counting {
    struct metadata *metadata;
    uint64_t round;
    int64_t lacks;     /* what the dataset lacks, or 0: it is counted */
    uint64_t progress; /* of the dataset */
};

static bool is_over(const struct metadata *metadata, uint64_t round)
{
    return metadata->stopping || metadata->recounting.round != round;
}

/* ERR_STOPPED: the service ends, or there is another database. */
static enum err on_turn(void *ctx)
{
    struct counting *counting = ctx;
    struct metadata *metadata = counting->metadata;
    struct recounting *recounting = &metadata->recounting;
    enum err err = ERR_OK;
    mutex_lock(&metadata->lock);
    for (;;) {
        int64_t now_ns = clock_monotonic_ns(metadata->options.clock);
        if (is_over(metadata, counting->round))
            err = ERR_STOPPED;
        if (err != ERR_OK || now_ns >= recounting->turn_ns)
            break;
        condition_wait_for(&recounting->wake, &metadata->lock, recounting->turn_ns - now_ns);
    }
    recounting->turn_ns = clock_monotonic_ns(metadata->options.clock) + TURN_NS;
    mutex_unlock(&metadata->lock);
    return err;
}

static enum err on_integer(void *ctx, const struct database_value *columns, size_t count)
{
    if (count > 0 && columns[0].kind == DATABASE_INTEGER)
        *(int64_t *)ctx = columns[0].integer;
    return ERR_OK;
}

static enum err progress_read(struct counting *counting, struct bytes id)
{
    struct metadata *metadata = counting->metadata;
    struct database *database;
    struct diag diag = {0};
    int64_t position = 0;
    const struct database_value key[] = {
        database_text(bytes_from_text(journal_uuid(metadata->options.journal))), database_text(id)};
    enum err err = reader_get(metadata, READER_ONE, &database, &diag);
    if (err != ERR_OK)
        return err;
    err = database_query(
        database, "SELECT position FROM metadata_progress WHERE journal = $1 AND ingestion_id = $2",
        key, 2, on_integer, &position, NULL, &diag);
    if (err == ERR_OK)
        err = metadata_repair_lacks(database, id, &counting->lacks, &diag);
    reader_put(metadata, READER_ONE);
    counting->progress = (uint64_t)position;
    return err;
}

static enum err on_bounds(void *ctx, struct bytes id, uint64_t *ret_after, uint64_t *ret_before)
{
    struct counting *counting = ctx;
    struct metadata *metadata = counting->metadata;
    enum err err = progress_read(counting, id);
    if (err != ERR_OK)
        return err;
    *ret_after = counting->lacks != 0 ? 0 : counting->progress;
    *ret_before = counting->progress + 1;
    if (counting->lacks != 0)
        return ERR_OK;
    mutex_lock(&metadata->lock);
    *ret_before = recount_pending_begin(metadata, id, counting->progress);
    mutex_unlock(&metadata->lock);
    return ERR_OK;
}

/* Before it is listed: ERR_AGAIN when a cut that is to be counted is not in the lake yet. Of a
 * dataset that had no upload pending when the datasets were listed there is none: cuts that landed
 * since are among the changes that wait. */
static enum err uploads_check(struct counting *counting, struct bytes id)
{
    struct journal *journal = counting->metadata->options.journal;
    uint64_t after, before;
    if (id.size == 0)
        return ERR_OK;
    enum err err = on_bounds(counting, id, &after, &before);
    return err == ERR_OK && journal_upload_pending(journal, id, before) ? ERR_AGAIN : err;
}

/* Hands it over and waits until it is written: then ERR_OK. ERR_AGAIN: it was not, and will not be.
 */
static enum err result_hand_over(struct counting *counting, struct recounted *recounted)
{
    struct metadata *metadata = counting->metadata;
    struct recounting *recounting = &metadata->recounting;
    mutex_lock(&metadata->lock);
    recounting->result = recounted;
    recounting->result_round = counting->round;
    recounting->result_lacks = counting->lacks;
    recounting->result_progress = counting->progress;
    recounting->result_err = ERR_AGAIN;
    recounting->has_result = !is_over(metadata, counting->round);
    condition_signal(&metadata->wake);
    while (recounting->is_busy || (recounting->has_result && !is_over(metadata, counting->round)))
        condition_wait_for(&recounting->wake, &metadata->lock, WAIT_NS);
    recounting->has_result = false;
    enum err err = recounting->result_err;
    mutex_unlock(&metadata->lock);
    return err;
}

static void unread_note(struct recounting *recounting, const struct recounted *recounted)
{
    recounting->unread_count += recounted->unread_count;
    if (recounted->unread_count > 0)
        snprintf(recounting->unread, sizeof(recounting->unread), "%s", recounted->unread);
}

/* A dataset that is done, or of which no more can be known. */
static void todo_remove(struct counting *counting, const char *folder,
                        const struct recounted *recounted)
{
    struct metadata *metadata = counting->metadata;
    mutex_lock(&metadata->lock);
    if (!is_over(metadata, counting->round)) {
        unread_note(&metadata->recounting, recounted);
        mem_free(map_remove(&metadata->recounting.todo, bytes_from_text(folder)));
    }
    mutex_unlock(&metadata->lock);
}

static enum err dataset_count(struct counting *counting, const char *folder, struct diag *diag)
{
    struct metadata *metadata = counting->metadata;
    const struct recount_options options = {
        .store = metadata->recounting.store,
        .journal_uuid = journal_uuid(metadata->options.journal),
        .turn = on_turn,
        .bounds = on_bounds,
        .ctx = counting,
    };
    struct recounted recounted;
    recounted_init(&recounted);
    counting->lacks = 0;
    enum err err = recount_dataset(&options, folder, &recounted, diag);
    if (err == ERR_OK && (recounted.changes.size > 0 || counting->lacks != 0))
        err = result_hand_over(counting, &recounted);
    if (err_class(err) == ERR_CLASS_LIMIT) { /* of its files, or of what they say */
        recounted.unread_count++;
        snprintf(recounted.unread, sizeof(recounted.unread), "%.290s",
                 diag->text[0] ? diag->text : folder);
        counting->lacks = 0;
        err = ERR_OK;
    }
    if (err == ERR_OK && counting->lacks == 0)
        todo_remove(counting, folder, &recounted);
    recounted_fini(&recounted);
    return err;
}

/* --- whose files lie in the lake --- */

void recount_todo_clear(struct map *todo)
{
    size_t cursor = 0;
    for (const struct map_entry *entry; (entry = map_next(todo, &cursor));)
        mem_free(entry->value);
    map_fini(todo);
}

/* id: empty when no upload is pending. */
static enum err todo_add(struct map *todo, const struct buf *folder, struct bytes id)
{
    if (folder->err != ERR_OK || map_get(todo, buf_bytes(folder)))
        return folder->err;
    struct recount_todo *entry = mem_zalloc(1, sizeof(*entry) + id.size);
    if (!entry)
        return ERR_NO_MEMORY;
    entry->id_size = id.size;
    if (id.size > 0)
        memcpy(entry->id, id.data, id.size);
    enum err err = map_put(todo, buf_bytes(folder), entry);
    if (err != ERR_OK)
        mem_free(entry);
    return err;
}

static enum err on_upload(void *ctx, struct bytes dataset_id)
{
    struct buf folder;
    buf_init(&folder, FOLDER_BYTES);
    (void)!folder_of(dataset_id, &folder);
    enum err err = todo_add(ctx, &folder, dataset_id);
    buf_fini(&folder);
    return err;
}

static enum err on_folder(void *ctx, const struct store_entry *entry)
{
    static const char prefix[] = "ingestion_id=";
    const size_t size = sizeof(prefix) - 1;
    struct buf folder;
    if (!entry->is_folder || entry->name.size <= size ||
        memcmp(entry->name.data, prefix, size) != 0 || entry->name.size > FOLDER_BYTES / 2)
        return ERR_OK;
    buf_init(&folder, FOLDER_BYTES);
    buf_text(&folder, "bronze/");
    buf_append(&folder, entry->name.data, entry->name.size);
    buf_byte(&folder, '/');
    enum err err = todo_add(ctx, &folder, (struct bytes){0});
    buf_fini(&folder);
    return err;
}

/* What is being uploaded first: it may be in the lake, and not in that list, when that is read. */
static enum err datasets_list(struct counting *counting, struct diag *diag)
{
    struct metadata *metadata = counting->metadata;
    struct recounting *recounting = &metadata->recounting;
    struct store *store = recounting->store;
    struct map todo;
    map_init(&todo);
    enum err err = journal_uploads_each(metadata->options.journal, on_upload, &todo);
    if (err == ERR_OK)
        err = store->ops->list(store, "bronze/", on_folder, &todo, diag);
    bool too_many = err == ERR_TOO_MANY;
    err = too_many ? ERR_OK : err;
    mutex_lock(&metadata->lock);
    if (err == ERR_OK && is_over(metadata, counting->round))
        err = ERR_STOPPED;
    if (err == ERR_OK) {
        struct map before = recounting->todo;
        recounting->todo = todo;
        recounting->datasets = todo.live_count;
        recounting->stage = RECOUNT_COUNTING;
        if (too_many)
            unread_note(recounting, &(struct recounted){.unread_count = 1,
                                                        .unread = "in one of too many datasets"});
        todo = before;
        condition_signal(&metadata->wake);
    }
    mutex_unlock(&metadata->lock);
    recount_todo_clear(&todo);
    return err;
}

/* --- all of them --- */

/* The next one that is to be counted; *cursor 0: the first. id: with room for any. */
static bool folder_next(struct metadata *metadata, size_t *cursor, char ret_folder[FOLDER_BYTES],
                        struct buf *id)
{
    buf_clear(id);
    mutex_lock(&metadata->lock);
    const struct map_entry *entry = map_next(&metadata->recounting.todo, cursor);
    if (entry) {
        const struct recount_todo *todo = entry->value;
        snprintf(ret_folder, FOLDER_BYTES, "%s", (const char *)entry->key);
        buf_append(id, todo->id, todo->id_size);
    }
    mutex_unlock(&metadata->lock);
    return entry;
}

/* First what it lacks, then what is to be counted. */
static enum err dataset_settle(struct counting *counting, struct bytes id, const char *folder,
                               struct diag *diag)
{
    enum err err;
    do {
        err = uploads_check(counting, id);
        if (err == ERR_OK)
            err = dataset_count(counting, folder, diag);
    } while (err == ERR_OK && counting->lacks != 0);
    return err;
}

/* One turn through all that are left. Without an error some may be left that have to wait, or could
 * not be read: diag says why. */
static enum err datasets_count(struct counting *counting, struct diag *diag)
{
    char folder[FOLDER_BYTES];
    struct buf id;
    size_t cursor = 0;
    enum err err = ERR_OK;
    buf_init(&id, ID_BYTES_MAX);
    while (err != ERR_STOPPED && folder_next(counting->metadata, &cursor, folder, &id)) {
        err = id.err == ERR_OK ? dataset_settle(counting, buf_bytes(&id), folder, diag) : id.err;
        if (err != ERR_OK && err != ERR_AGAIN && err != ERR_STOPPED)
            diag_set(diag, err, "%.300s: %s", folder, err_text(err));
    }
    buf_fini(&id);
    return err == ERR_STOPPED ? err : ERR_OK;
}

static void trouble_note(struct metadata *metadata, const struct diag *diag)
{
    mutex_lock(&metadata->lock);
    snprintf(metadata->recounting.trouble, sizeof(metadata->recounting.trouble), "%.190s",
             diag->text);
    mutex_unlock(&metadata->lock);
}

/* True: there is nothing left to do in this round. */
static bool round_step(struct counting *counting)
{
    struct metadata *metadata = counting->metadata;
    struct recounting *recounting = &metadata->recounting;
    struct diag diag = {0};
    enum err err = ERR_OK;
    mutex_lock(&metadata->lock);
    enum recount_stage stage = recounting->stage;
    mutex_unlock(&metadata->lock);
    if (stage == RECOUNT_LISTING)
        err = datasets_list(counting, &diag);
    if (err == ERR_OK)
        err = datasets_count(counting, &diag);
    if (err != ERR_OK && err != ERR_STOPPED)
        diag_set(&diag, err, "%s", err_text(err));
    trouble_note(metadata, &diag);
    mutex_lock(&metadata->lock);
    bool is_done = err == ERR_OK && recounting->todo.live_count == 0;
    mutex_unlock(&metadata->lock);
    return err == ERR_STOPPED || (is_done && result_hand_over(counting, NULL) == ERR_OK);
}

/* Waits for work; false: the service ends. */
static bool round_wait(struct metadata *metadata, uint64_t *ret_round)
{
    const struct recounting *recounting = &metadata->recounting;
    mutex_lock(&metadata->lock);
    while (!metadata->stopping && recounting->stage == RECOUNT_NONE)
        condition_wait_for(&metadata->recounting.wake, &metadata->lock, WAIT_NS);
    *ret_round = recounting->round;
    bool stopping = metadata->stopping;
    mutex_unlock(&metadata->lock);
    return !stopping;
}

static void retry_wait(struct counting *counting)
{
    struct metadata *metadata = counting->metadata;
    int64_t end_ns = clock_monotonic_ns(metadata->options.clock) + RETRY_NS;
    mutex_lock(&metadata->lock);
    while (!is_over(metadata, counting->round)) {
        int64_t left_ns = end_ns - clock_monotonic_ns(metadata->options.clock);
        if (left_ns <= 0)
            break;
        condition_wait_for(&metadata->recounting.wake, &metadata->lock, left_ns);
    }
    mutex_unlock(&metadata->lock);
}

void recount_run(void *ctx)
{
    struct counting counting = {.metadata = ctx};
    while (round_wait(ctx, &counting.round))
        if (!round_step(&counting))
            retry_wait(&counting);
}
