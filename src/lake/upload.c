/*
 * A cut's life:
 *
 *   prepared --ready--> waiting --(first of its lane)--> due --step--> active --put--> committing
 *                                                         ^  failed      |               | durable
 *                                                         +--------------+               v
 *                                                            conflict -> stopped      committed -->
 * gone
 *
 * A lane is one dataset's cuts in order. Only a lane's first cut is in the heap (ordered by due
 * time, then by age), so that a dataset's cuts are put in order while datasets do not wait for each
 * other. A cut that failed for good or for long leaves its lane ("aside"), so that the rest goes
 * on.
 *
 * Order of durable steps: LANDED durable (before upload_ready) -> PUT, durable by the store's word
 * -> UPLOADED durable -> spool file removed. A crash anywhere in between repeats the PUT, which
 * finds the same bytes at the key.
 */
#include "lake/upload.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "lake/upload_heap.h"
#include "os/thread.h"

#include <assert.h>
#include <stdio.h>

#define FAILURES_AWAY 4

enum cut_state {
    CUT_PREPARED,
    CUT_WAITING,
    CUT_DUE,
    CUT_ACTIVE,
    CUT_COMMITTING,
    CUT_COMMITTED,
    CUT_STOPPED,
};

struct upload_lane {
    struct landed_cut *first;
    struct landed_cut *last;
    uint64_t references; /* cuts that name it */
};

struct upload {
    struct upload_options options;
    struct mutex lock; /* all below */
    struct map lanes;  /* dataset id -> struct upload_lane */
    struct upload_heap heap;
    size_t cut_count; /* that exist: the heap has room for all */
    struct landed_cut *oldest;
    struct landed_cut *newest;
    struct landed_cut *committed;
    struct landed_cut *committed_last;
    uint64_t sequence;
    uint64_t random;
    int64_t hold_until_ns; /* while the store is away */
    uint64_t putting;      /* turns that run */
    struct upload_stats stats;
};

enum err upload_new(const struct upload_options *options, struct upload **ret_upload)
{
    struct upload *upload = mem_zalloc(1, sizeof(*upload));
    if (!upload)
        return ERR_NO_MEMORY;
    upload->options = *options;
    if (upload->options.retry_first_ms == 0)
        upload->options.retry_first_ms = 500;
    if (upload->options.retry_max_ms == 0)
        upload->options.retry_max_ms = 30000;
    if (upload->options.slow_retry_ms == 0)
        upload->options.slow_retry_ms = 30000;
    upload->random = options->seed;
    mutex_init(&upload->lock);
    map_init(&upload->lanes);
    *ret_upload = upload;
    return ERR_OK;
}

void upload_free(struct upload *upload)
{
    if (!upload)
        return;
    struct map_entry *entry;
    size_t cursor = 0;
    for (struct landed_cut *cut = upload->oldest; cut;) {
        struct landed_cut *newer = cut->newer;
        landed_cut_free(cut);
        cut = newer;
    }
    while ((entry = map_next(&upload->lanes, &cursor)))
        mem_free(entry->value);
    map_fini(&upload->lanes);
    upload_heap_fini(&upload->heap);
    mutex_fini(&upload->lock);
    mem_free(upload);
}

static int64_t now_ns(const struct upload *upload)
{
    return clock_monotonic_ns(upload->options.clock);
}

static void wake(const struct upload *upload)
{
    if (upload->options.on_work)
        upload->options.on_work(upload->options.work_ctx);
}

/* ---- lanes ---- */

static void make_due(struct upload *upload, struct landed_cut *cut)
{
    cut->state = CUT_DUE;
    upload_heap_push(&upload->heap, cut);
}

static enum err lane_get(struct upload *upload, struct bytes dataset_id,
                         struct upload_lane **ret_lane)
{
    struct upload_lane *lane = map_get(&upload->lanes, dataset_id);
    if (!lane) {
        lane = mem_zalloc(1, sizeof(*lane));
        if (!lane)
            return ERR_NO_MEMORY;
        enum err err = map_put(&upload->lanes, dataset_id, lane);
        if (err != ERR_OK) {
            mem_free(lane);
            return err;
        }
    }
    lane->references++;
    *ret_lane = lane;
    return ERR_OK;
}

static void lane_put(struct upload *upload, struct landed_cut *cut)
{
    if (--cut->lane->references > 0)
        return;
    map_remove(&upload->lanes, cut->landed.dataset_id);
    mem_free(cut->lane);
}

static void lane_append(struct upload *upload, struct landed_cut *cut)
{
    struct upload_lane *lane = cut->lane;
    cut->state = CUT_WAITING;
    if (lane->last)
        lane->last->lane_next = cut;
    else
        lane->first = cut;
    lane->last = cut;
    if (lane->first == cut)
        make_due(upload, cut);
}

/* The lane's first cut is out of the way: the next one's turn. */
static void lane_advance(struct upload *upload, struct landed_cut *cut)
{
    struct upload_lane *lane = cut->lane;
    if (cut->aside)
        return;
    assert(lane->first == cut);
    lane->first = cut->lane_next;
    if (!lane->first)
        lane->last = NULL;
    cut->lane_next = NULL;
    cut->aside = true;
    if (lane->first)
        make_due(upload, lane->first);
}

/* ---- the list of all pending cuts, oldest first ---- */

static void list_append(struct upload *upload, struct landed_cut *cut)
{
    cut->older = upload->newest;
    if (upload->newest)
        upload->newest->newer = cut;
    else
        upload->oldest = cut;
    upload->newest = cut;
}

static void list_remove(struct upload *upload, struct landed_cut *cut)
{
    if (cut->older)
        cut->older->newer = cut->newer;
    else
        upload->oldest = cut->newer;
    if (cut->newer)
        cut->newer->older = cut->older;
    else
        upload->newest = cut->older;
}

enum err upload_prepare(struct upload *upload, const struct landed *landed,
                        struct landed_cut **ret_cut)
{
    struct landed_cut *cut = landed_cut_new(landed);
    if (!cut)
        return ERR_NO_MEMORY;
    mutex_lock(&upload->lock);
    enum err err = upload_heap_reserve(&upload->heap, upload->cut_count + 1);
    if (err == ERR_OK)
        err = lane_get(upload, cut->landed.dataset_id, &cut->lane);
    if (err == ERR_OK)
        upload->cut_count++;
    mutex_unlock(&upload->lock);
    if (err != ERR_OK) {
        landed_cut_free(cut);
        return err;
    }
    cut->upload = upload;
    cut->state = CUT_PREPARED;
    *ret_cut = cut;
    return ERR_OK;
}

void upload_discard(struct upload *upload, struct landed_cut *take_cut)
{
    mutex_lock(&upload->lock);
    lane_put(upload, take_cut);
    upload->cut_count--;
    mutex_unlock(&upload->lock);
    landed_cut_free(take_cut);
}

void upload_ready(struct upload *upload, struct landed_cut *take_cut)
{
    mutex_lock(&upload->lock);
    assert(take_cut->state == CUT_PREPARED);
    take_cut->landed_ns = now_ns(upload);
    take_cut->due_ns = take_cut->landed_ns;
    take_cut->sequence = upload->sequence++;
    list_append(upload, take_cut);
    lane_append(upload, take_cut);
    upload->stats.pending_cuts++;
    upload->stats.pending_bytes += take_cut->size_bytes;
    mutex_unlock(&upload->lock);
    wake(upload);
}

/* ---- failures ---- */

/* splitmix64 */
static uint64_t random_next(struct upload *upload)
{
    uint64_t z = (upload->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Between half of the time and all of it. */
static int64_t jittered(struct upload *upload, uint64_t time_ms)
{
    int64_t time_ns = (int64_t)time_ms * NS_PER_MS;
    return time_ns / 2 + (int64_t)(random_next(upload) % (uint64_t)(time_ns / 2 + 1));
}

static int64_t back_off_ns(struct upload *upload, uint64_t failures, bool slow)
{
    if (slow)
        return jittered(upload, upload->options.slow_retry_ms);
    uint64_t shift = failures > 0 ? failures - 1 : 0;
    uint64_t time_ms = shift < 20 ? (uint64_t)upload->options.retry_first_ms << shift : UINT64_MAX;
    if (time_ms > upload->options.retry_max_ms)
        time_ms = upload->options.retry_max_ms;
    return jittered(upload, time_ms);
}

static bool is_slow(enum err err)
{
    return err_class(err) != ERR_CLASS_RETRY && err != ERR_STOPPED;
}

static void note_failure(struct upload *upload, enum err err, const struct diag *diag)
{
    struct upload_stats *stats = &upload->stats;
    stats->failures++;
    stats->last_err = err;
    stats->last_error_ns = now_ns(upload);
    snprintf(stats->last_error, sizeof(stats->last_error), "%s",
             diag->text[0] ? diag->text : err_text(err));
}

static void stop_cut(struct upload *upload, struct landed_cut *cut)
{
    cut->state = CUT_STOPPED;
    upload->stats.stopped_cuts++;
    snprintf(upload->stats.stopped_error, sizeof(upload->stats.stopped_error), "%s",
             upload->stats.last_error);
    lane_advance(upload, cut);
}

/* Under the lock. */
static void cut_failed(struct upload *upload, struct landed_cut *cut, enum err err,
                       const struct diag *diag)
{
    note_failure(upload, err, diag);
    if (err == ERR_CONFLICT) {
        stop_cut(upload, cut);
        return;
    }
    cut->attempts++;
    /* A damaged spool file says nothing about the store. */
    upload->stats.consecutive_failures += err_class(err) != ERR_CLASS_CORRUPT;
    uint64_t failures = upload->stats.consecutive_failures;
    if (failures >= FAILURES_AWAY)
        upload->hold_until_ns =
            now_ns(upload) + back_off_ns(upload, failures - FAILURES_AWAY + 1, is_slow(err));
    if (is_slow(err) && !cut->aside) {
        upload->stats.aside_cuts++;
        lane_advance(upload, cut);
    }
    cut->due_ns = now_ns(upload) + back_off_ns(upload, cut->attempts, is_slow(err));
    make_due(upload, cut);
}

/* Under the lock. After the store was away, nobody waits out the rest of a long time. */
static void turn_succeeded(struct upload *upload)
{
    bool was_away = upload->stats.consecutive_failures >= FAILURES_AWAY;
    upload->stats.consecutive_failures = 0;
    upload->hold_until_ns = 0;
    if (!was_away)
        return;
    upload_heap_all_due(&upload->heap, now_ns(upload));
}

/* ---- a cut's turn ---- */

/* The spool does not hold what was landed; that is well if the store does. */
static enum err find_at_key(struct upload *upload, const struct store_object *object, enum err why,
                            struct diag *diag)
{
    enum store_presence presence;
    struct store *store = upload->options.store;
    enum err err = store->ops->check(store, object, &presence, diag);
    if (err != ERR_OK)
        return err;
    if (presence == STORE_SAME)
        return ERR_OK;
    return diag_set(diag, ERR_CORRUPT,
                    "the spool file of %.200s is %s and the store does not hold it: the next start "
                    "makes it again from the journal",
                    object->key, why == ERR_NOT_FOUND ? "missing" : "damaged");
}

static enum err put_timed(struct upload *upload, const struct store_object *object,
                          struct diag *diag)
{
    struct store *store = upload->options.store;
    int64_t from_ns = now_ns(upload);
    enum err err = store->ops->put(store, object, diag);
    int64_t took_ns = now_ns(upload) - from_ns;
    mutex_lock(&upload->lock);
    upload->stats.put_ns_total += took_ns > 0 ? (uint64_t)took_ns : 0;
    mutex_unlock(&upload->lock);
    return err;
}

static enum err put_file(struct upload *upload, struct landed_cut *cut, uint32_t index,
                         struct diag *diag)
{
    const struct landed_file *file = &cut->files[index];
    char path[SPOOL_PATH_SIZE];
    struct store_object object = {
        .key = (const char *)file->key.data,
        .spool_path = path,
        .size_bytes = file->size_bytes,
        .crc32c_known = true,
    };
    struct diag spool_diag = {0};
    memcpy(object.sha256, file->sha256, sizeof(object.sha256));
    enum err err = spool_path(upload->options.spool, file->key, path);
    if (err != ERR_OK)
        return err;
    err = spool_verify(upload->options.spool, file, &object.crc32c, &spool_diag);
    if (err == ERR_NOT_FOUND)
        cut->elsewhere[index] = !cut->tried[index];
    if (err == ERR_NOT_FOUND || err == ERR_CORRUPT)
        return find_at_key(upload, &object, err, diag);
    if (err != ERR_OK)
        return diag_set(diag, err, "%s", spool_diag.text);
    cut->tried[index] = true;
    return put_timed(upload, &object, diag);
}

static enum err put_files(struct upload *upload, struct landed_cut *cut, struct diag *diag)
{
    for (uint32_t i = 0; i < cut->landed.file_count; i++) {
        if (cut->done[i])
            continue;
        enum err err = put_file(upload, cut, i, diag);
        if (err != ERR_OK)
            return err;
        cut->done[i] = true;
    }
    return ERR_OK;
}

/* On the journal's thread. */
static void on_uploaded_durable(void *ctx, struct block *block, enum err err)
{
    struct landed_cut *cut = ctx;
    struct upload *upload = cut->upload;
    (void)block;
    mutex_lock(&upload->lock);
    if (err == ERR_OK) {
        cut->state = CUT_COMMITTED;
        cut->committed_next = NULL;
        if (upload->committed_last)
            upload->committed_last->committed_next = cut;
        else
            upload->committed = cut;
        upload->committed_last = cut;
    } else {
        cut->state = CUT_STOPPED; /* the journal has stopped: recovery goes on from here */
    }
    mutex_unlock(&upload->lock);
    wake(upload);
}

static void ask_uploaded(struct upload *upload, struct landed_cut *cut)
{
    const struct landing_journal *journal = &upload->options.journal;
    mutex_lock(&upload->lock);
    upload->putting--;
    turn_succeeded(upload);
    if (cut->aside)
        upload->stats.aside_cuts--;
    lane_advance(upload, cut);
    cut->state = CUT_COMMITTING;
    mutex_unlock(&upload->lock);

    enum err err =
        journal->ops->uploaded(journal->journal, cut->landed.cut_id, on_uploaded_durable, cut);
    if (err == ERR_OK)
        return;
    struct diag diag = {0};
    diag_set(&diag, err, "the journal does not take an UPLOADED: %s", err_text(err));
    mutex_lock(&upload->lock);
    upload->stats.active_cuts--;
    upload->stats.aside_cuts++;
    cut_failed(upload, cut, err == ERR_CONFLICT ? ERR_BUG : err, &diag);
    mutex_unlock(&upload->lock);
}

static void take_turn(struct upload *upload, struct landed_cut *cut)
{
    struct diag diag = {0};
    enum err err = put_files(upload, cut, &diag);
    if (err == ERR_OK) {
        ask_uploaded(upload, cut);
    } else {
        mutex_lock(&upload->lock);
        upload->putting--;
        upload->stats.active_cuts--;
        if (err == ERR_CONFLICT && cut->aside)
            upload->stats.aside_cuts--;
        cut_failed(upload, cut, err, &diag);
        mutex_unlock(&upload->lock);
    }
    wake(upload);
}

/* UPLOADED is durable. A file that cannot be removed is recovery's. */
static void finish(struct upload *upload, struct landed_cut *cut)
{
    for (uint32_t i = 0; i < cut->landed.file_count; i++) {
        if (cut->elsewhere[i])
            continue;
        enum err ignored = spool_remove(upload->options.spool, &cut->files[i], NULL);
        (void)ignored;
    }
    if (upload->options.on_uploaded)
        upload->options.on_uploaded(upload->options.ctx, &cut->landed);
    mutex_lock(&upload->lock);
    struct upload_stats *stats = &upload->stats;
    int64_t latency_ns = now_ns(upload) - cut->landed_ns;
    stats->latency_ns_total += latency_ns > 0 ? (uint64_t)latency_ns : 0;
    stats->uploaded_cuts++;
    stats->uploaded_files += cut->landed.file_count;
    stats->uploaded_bytes += cut->size_bytes;
    stats->uploaded_rows += cut->rows;
    stats->uploaded_messages += cut->landed.messages;
    stats->pending_cuts--;
    stats->pending_bytes -= cut->size_bytes;
    stats->active_cuts--;
    list_remove(upload, cut);
    lane_put(upload, cut);
    upload->cut_count--;
    mutex_unlock(&upload->lock);
    landed_cut_free(cut);
}

static struct landed_cut *take_committed(struct upload *upload)
{
    struct landed_cut *cut = upload->committed;
    if (!cut)
        return NULL;
    upload->committed = cut->committed_next;
    if (!upload->committed)
        upload->committed_last = NULL;
    return cut;
}

/* While the store is away, one tries for all. */
static struct landed_cut *take_due(struct upload *upload, int64_t *ret_wait_ns)
{
    int64_t now = now_ns(upload);
    *ret_wait_ns = INT64_MAX;
    if (upload->heap.count == 0)
        return NULL;
    int64_t due_ns = upload->heap.cuts[0]->due_ns;
    if (upload->stats.consecutive_failures >= FAILURES_AWAY) {
        if (upload->putting > 0)
            return NULL;
        due_ns = upload->hold_until_ns;
    }
    if (due_ns > now) {
        *ret_wait_ns = due_ns - now;
        return NULL;
    }
    struct landed_cut *cut = upload_heap_pop(&upload->heap);
    cut->state = CUT_ACTIVE;
    upload->stats.active_cuts++;
    upload->putting++;
    return cut;
}

bool upload_step(struct upload *upload, int64_t *ret_wait_ns)
{
    *ret_wait_ns = 0;
    mutex_lock(&upload->lock);
    struct landed_cut *committed = take_committed(upload);
    struct landed_cut *due = committed ? NULL : take_due(upload, ret_wait_ns);
    mutex_unlock(&upload->lock);
    if (committed)
        finish(upload, committed);
    else if (due)
        take_turn(upload, due);
    return committed || due;
}

static int64_t age_of_oldest(const struct upload *upload, bool all)
{
    const struct landed_cut *cut = upload->oldest;
    while (cut && !all && (cut->state == CUT_STOPPED || (cut->aside && cut->state == CUT_DUE)))
        cut = cut->newer;
    int64_t age_ns = cut ? now_ns(upload) - cut->landed_ns : 0;
    return age_ns > 0 ? age_ns : 0;
}

void upload_stats_get(struct upload *upload, struct upload_stats *ret_stats)
{
    mutex_lock(&upload->lock);
    *ret_stats = upload->stats;
    ret_stats->oldest_age_ns = age_of_oldest(upload, true);
    ret_stats->lag_ns = age_of_oldest(upload, false);
    ret_stats->store_away = upload->stats.consecutive_failures >= FAILURES_AWAY;
    ret_stats->next_due_ns = upload->heap.count ? upload->heap.cuts[0]->due_ns : INT64_MAX;
    if (ret_stats->store_away && upload->hold_until_ns > ret_stats->next_due_ns)
        ret_stats->next_due_ns = upload->hold_until_ns;
    mutex_unlock(&upload->lock);
}

bool upload_is_pending(struct upload *upload, struct bytes dataset_id)
{
    mutex_lock(&upload->lock);
    bool pending = map_get(&upload->lanes, dataset_id) != NULL;
    mutex_unlock(&upload->lock);
    return pending;
}
