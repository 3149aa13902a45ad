/*
 * The thread that writes. Each round takes what has landed of at most COMMIT_DATASETS_MAX datasets,
 * commits it in one transaction, and then tells the journal of the datasets of which nothing is
 * left.
 *
 * A handle that failed for good is closed and opened anew at the next try: the file may have been
 * given back its permissions, put back, or (removed while it was open) have to be made again. A
 * file that is damaged is renamed, kept for people to look at, and begun anew with what can still
 * be read of it (metadata_salvage.c).
 */
#include "base/alloc.h"
#include "metadata/metadata_aside.h"
#include "metadata/metadata_parts.h"

#include <stdio.h>
#include <string.h>

#define COMMIT_DATASETS_MAX JOURNAL_METADATA_DONE_MAX
#define COMMIT_WAIT_NS      NS_PER_S
#define RETRY_NS            (2 * NS_PER_S)
#define DOUBT_NS            (60 * NS_PER_S)
#define FIRST_TRY_NS        (3 * NS_PER_S)
#define FIRST_TRY_STEP_NS   (5 * NS_PER_MS)
#define MEASURE_NS          (2 * NS_PER_S)
#define FRESHEN_NS          (10 * NS_PER_S)
#define EXPIRE_NS           (3600 * NS_PER_S) /* and not in the first hour */
#define WRITER_PATIENCE_MS  2000
/* Of the pages that many datasets' rows are on, and the indexes, some are wanted in each round. */
#define WRITER_CACHE_BYTES_MAX (8 * MIB)
#define WRITER_CACHE_PART      64 /* of MEMORY_LIMIT_BYTES, one in so many */

/* A dataset's segments in the transaction at hand. */
struct job {
    struct bytes id; /* heap */
    struct segment *first;
    struct segment *last;
    uint64_t progress; /* as the database had it */
    bool progress_known;
};

struct round {
    struct metadata *metadata;
    struct job jobs[COMMIT_DATASETS_MAX];
    size_t job_count;
    bool complete; /* all was written, and only the commit itself may have failed */
};

/* --- what to commit ------------------------------------------------------------------------ */

static struct segment *landed_first(const struct pending *pending)
{
    struct segment *at = pending->first;
    return at && at->state == SEGMENT_LANDED ? at : NULL;
}

/* What waits for the dataset to be counted anew, as few segments as may be. */
static void held_merge(struct segment *first)
{
    while (first && first->state == SEGMENT_LANDED && first->unsure)
        first = first->next;
    const struct segment *end = first;
    while (end && end->state == SEGMENT_LANDED && !end->unsure)
        end = end->next;
    if (first && first != end && first->next != end)
        (void)!segments_merge(first, end); /* without memory they stay apart */
}

static bool job_take(struct round *round, const struct map_entry *entry)
{
    struct segment *first = landed_first(entry->value);
    if (first && recount_holds(round->metadata, bytes_from(entry->key, entry->key_size))) {
        held_merge(first);
        return false;
    }
    struct job *job = &round->jobs[round->job_count];
    uint8_t *id = first ? mem_dup(entry->key, entry->key_size) : NULL;
    if (!id)
        return false;
    *job = (struct job){.id = bytes_from(id, entry->key_size), .first = first};
    for (struct segment *at = first; at && at->state == SEGMENT_LANDED; at = at->next) {
        at->state = SEGMENT_COMMITTING;
        job->last = at;
    }
    round->job_count++;
    return true;
}

static void round_take(struct round *round)
{
    struct metadata *metadata = round->metadata;
    size_t cursor = 0;
    struct map_entry *entry;
    mutex_lock(&metadata->lock);
    while (round->job_count < COMMIT_DATASETS_MAX &&
           (entry = map_next(&metadata->pending, &cursor)))
        (void)job_take(round, entry);
    mutex_unlock(&metadata->lock);
}

/* --- the transaction ----------------------------------------------------------------------- */

static enum err job_commit(struct database_transaction *transaction, struct round *round,
                           struct job *job, struct diag *diag)
{
    const char *journal = journal_uuid(round->metadata->options.journal);
    struct change sum;
    enum err err = metadata_table_progress(transaction, journal, job->id, &job->progress, diag);
    job->progress_known = err == ERR_OK;
    if (err != ERR_OK || job->last->through <= job->progress)
        return err;
    change_init(&sum);
    err = segments_sum(job->first, job->last, job->progress, &sum);
    if (err == ERR_OK)
        err = metadata_table_apply(transaction, journal, job->id, &sum, job->last->through, diag);
    change_fini(&sum);
    return err;
}

static enum err round_run(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    struct round *round = ctx;
    enum err err = ERR_OK;
    for (size_t i = 0; i < round->job_count && err == ERR_OK; i++)
        err = job_commit(transaction, round, &round->jobs[i], diag);
    if (err == ERR_OK)
        err = metadata_table_set_mark(transaction, journal_uuid(round->metadata->options.journal),
                                      round->metadata->mark, diag);
    round->complete = err == ERR_OK;
    return err;
}

/* --- afterwards ---------------------------------------------------------------------------- */

static void segments_drop(struct pending *pending, uint64_t through)
{
    while (pending->first && pending->first->through <= through &&
           pending->first->state >= SEGMENT_LANDED) {
        struct segment *gone = pending->first;
        pending->first = gone->next;
        segment_free(gone);
    }
}

/* Failed: the segments wait again, as few as may be. */
static void job_put_back(struct job *job, struct pending *pending, bool complete)
{
    for (struct segment *at = job->first; at; at = at->next) {
        at->state = SEGMENT_LANDED;
        if (job->progress_known)
            at->unsure = complete;
        if (at == job->last)
            break;
    }
    struct segment *end = job->last->next;
    if (job->progress_known)
        segments_drop(pending, job->progress);
    struct segment *first = pending->first;
    while (first && first != end && !job->progress_known && first->unsure)
        first = first->next;
    if (first && first != end && first->next != end)
        (void)!segments_merge(first, end); /* without memory they stay apart */
}

static void round_end(struct round *round, enum err err)
{
    struct metadata *metadata = round->metadata;
    struct bytes done[COMMIT_DATASETS_MAX];
    size_t done_count = 0;
    mutex_lock(&metadata->lock);
    for (size_t i = 0; i < round->job_count; i++) {
        struct job *job = &round->jobs[i];
        struct pending *pending = map_get(&metadata->pending, job->id);
        if (err != ERR_OK) {
            job_put_back(job, pending, round->complete);
        } else {
            segments_drop(pending, job->last->through);
        }
        if (pending->first)
            continue;
        mem_free(map_remove(&metadata->pending, job->id));
        done[done_count++] = job->id;
    }
    /* Under the lock: no LANDED of these datasets can be asked for in between, which it would wipe
     * out. A failure leaves texts that are below the progress. */
    if (err == ERR_OK)
        metadata->mark_told = metadata->mark;
    (void)!journal_metadata_done(metadata->options.journal, done, done_count,
                                 err == ERR_OK ? metadata->mark : 0);
    mutex_unlock(&metadata->lock);
    for (size_t i = 0; i < round->job_count; i++)
        mem_free((void *)(uintptr_t)round->jobs[i].id.data);
}

/* --- the handles --------------------------------------------------------------------------- */

static void handles_close(struct metadata *metadata)
{
    mutex_lock(&metadata->lock);
    metadata->open = false; /* first: no reader opens the file again */
    mutex_unlock(&metadata->lock);
    for (size_t i = 0; i < READERS; i++) {
        struct reader *reader = &metadata->readers[i];
        mutex_lock(&reader->lock);
        database_close(reader->database);
        reader->database = NULL;
        mutex_unlock(&reader->lock);
    }
    database_close(metadata->writer);
    metadata->writer = NULL;
}

static void salvaged_tell(struct metadata *metadata, const char *kept,
                          const struct metadata_salvaged *salvaged)
{
    char partly[96] = "";
    if (salvaged->partial > 0)
        snprintf(partly, sizeof(partly), " (what %lld of them lack is read from the lake)",
                 (long long)salvaged->partial);
    mutex_lock(&metadata->lock);
    metadata->set_asides++;
    snprintf(metadata->set_aside, sizeof(metadata->set_aside),
             "the database was damaged and is kept as %.180s; the metadata of %lld datasets could "
             "be taken over%s, others are counted anew from the lake",
             kept, (long long)salvaged->datasets, partly);
    mutex_unlock(&metadata->lock);
}

/* Takes over what can be read of one that was set aside, perhaps by an earlier run that was killed.
 * It was taken over already if the database says so: then only its name is not yet what it should
 * be. */
static enum err salvage_one(struct metadata *metadata, const char *waiting, struct diag *diag)
{
    struct metadata_salvaged salvaged;
    struct buf kept;
    buf_init(&kept, METADATA_ASIDE_BYTES);
    enum err err = metadata_salvage(waiting, journal_uuid(metadata->options.journal),
                                    metadata->writer, &salvaged, diag);
    if (err == ERR_OK)
        err = metadata_aside_read(metadata->options.path, waiting, &kept, diag);
    if (err == ERR_OK && buf_cstr(&kept))
        salvaged_tell(metadata, buf_cstr(&kept), &salvaged);
    buf_fini(&kept);
    return err;
}

static enum err salvage(struct metadata *metadata, struct diag *diag)
{
    struct buf waiting;
    buf_init(&waiting, METADATA_ASIDE_BYTES);
    enum err err = metadata_aside_next(metadata->options.path, &waiting, diag);
    while (err == ERR_OK && waiting.size > 0) {
        const char *path = buf_cstr(&waiting);
        err = path ? salvage_one(metadata, path, diag) : ERR_NO_MEMORY;
        if (err == ERR_OK)
            err = metadata_aside_next(metadata->options.path, &waiting, diag);
    }
    buf_fini(&waiting);
    return err;
}

/* Whether readers may look at the file as it stands: not before what was salvaged is in it. */
static void to_read_set(struct metadata *metadata, enum err err)
{
    bool waits = err != ERR_OK && metadata_aside_waits(metadata->options.path);
    mutex_lock(&metadata->lock);
    metadata->to_read = err != ERR_OK && err != ERR_CORRUPT && !waits;
    mutex_unlock(&metadata->lock);
}

/* A new file knows nothing of what was told. */
static void handles_lose(struct metadata *metadata, enum err err)
{
    struct diag unread = {0};
    handles_close(metadata);
    if (err == ERR_CORRUPT) /* where it cannot be moved, it is met again */
        (void)!metadata_aside_move(metadata->options.path, &unread);
    to_read_set(metadata, err);
    atomic_fetch_add(&metadata->generation, 1);
}

/* Before there is a new database. */
static enum err aside_settle(struct metadata *metadata, struct diag *diag)
{
    struct buf waiting;
    buf_init(&waiting, METADATA_ASIDE_BYTES);
    enum err err = metadata_aside_next(metadata->options.path, &waiting, diag);
    buf_fini(&waiting);
    return err;
}

static enum err cache_set(struct metadata *metadata, struct diag *diag)
{
    uint64_t limit_bytes = metadata->options.memory_limit_bytes;
    uint64_t bytes = limit_bytes / WRITER_CACHE_PART;
    char sql[64];
    if (limit_bytes == 0 || bytes > WRITER_CACHE_BYTES_MAX)
        bytes = WRITER_CACHE_BYTES_MAX;
    snprintf(sql, sizeof(sql), "PRAGMA cache_size = -%u", (unsigned)(bytes / KIB));
    return database_exec(metadata->writer, sql, diag);
}

static enum err writer_open(struct metadata *metadata, struct diag *diag)
{
    enum err err = ERR_OK;
    if (metadata->writer) {
        err = database_probe(metadata->writer, diag);
        database_set_patience(metadata->writer, WRITER_PATIENCE_MS); /* the probe has its own */
        return err;
    }
    err = aside_settle(metadata, diag);
    if (err == ERR_OK)
        err = database_open(metadata->url, &metadata->writer, diag);
    if (err == ERR_OK)
        database_set_patience(metadata->writer, WRITER_PATIENCE_MS);
    if (err == ERR_OK)
        err = cache_set(metadata, diag);
    if (err == ERR_OK)
        err = metadata_table_prepare(metadata->writer, diag);
    if (err == ERR_OK)
        err = salvage(metadata, diag);
    if (err == ERR_OK)
        err = recount_begin(metadata, diag);
    if (err == ERR_OK)
        err = quality_load(metadata, metadata->writer, diag);
    if (err != ERR_OK) { /* all of it again: it has no tables yet, or not what was salvaged */
        database_close(metadata->writer);
        metadata->writer = NULL;
    }
    mutex_lock(&metadata->lock);
    metadata->open = err == ERR_OK;
    mutex_unlock(&metadata->lock);
    to_read_set(metadata, err);
    return err;
}

/* --- doubts -------------------------------------------------------------------------------- */

void metadata_doubt(struct metadata *metadata)
{
    atomic_store(&metadata->doubted, true);
    metadata_wake(metadata);
}

static enum err on_check(void *ctx, const struct database_value *columns, size_t count)
{
    bool good = count == 1 && bytes_equal_text(columns[0].bytes, "ok");
    return good ? ERR_OK
                : diag_set(ctx, ERR_CORRUPT, "the database is damaged: %.200s",
                           count == 1 ? (const char *)columns[0].bytes.data : "no answer");
}

/* With a handle of its own: the writer's may still have in memory what the file has no more. */
static enum err doubt_settle(struct metadata *metadata, struct diag *diag)
{
    struct database *database = NULL;
    int64_t now_ns = clock_monotonic_ns(metadata->options.clock);
    bool soon = metadata->looked_ns != 0 && now_ns - metadata->looked_ns < DOUBT_NS;
    if (soon || !atomic_exchange(&metadata->doubted, false))
        return ERR_OK;
    metadata->looked_ns = now_ns;
    enum err err = database_open_to_read(metadata->url, &database, diag);
    if (err == ERR_OK)
        err =
            database_query(database, "PRAGMA quick_check(1)", NULL, 0, on_check, diag, NULL, diag);
    database_close(database);
    if (err == ERR_OK || err == ERR_CORRUPT)
        return err;
    atomic_store(&metadata->doubted, true); /* later */
    *diag = (struct diag){0};
    return ERR_OK;
}

/* Without the writer: as the file stands, if it is one whose tables are ours. Closed by reader_put,
 * so that the writer finds the file as it left it. */
static enum err reader_open_as_is(struct metadata *metadata, struct reader *reader)
{
    struct diag unread = {0};
    enum err err = database_open_to_read(metadata->url, &reader->database, &unread);
    if (err != ERR_OK)
        return err;
    err = metadata_table_check(reader->database, &unread);
    reader->as_is = err == ERR_OK;
    if (err != ERR_OK) {
        database_close(reader->database);
        reader->database = NULL;
    }
    return err;
}

/* Who asks while the service starts waits a moment for its being opened. With the lock. */
static void first_try_wait(struct metadata *metadata)
{
    int64_t until_ns = clock_monotonic_ns(&clock_system) + FIRST_TRY_NS;
    while (!metadata->tried && !metadata->stopping && clock_monotonic_ns(&clock_system) < until_ns)
        condition_wait_for(&metadata->wake, &metadata->lock, FIRST_TRY_STEP_NS);
}

enum err reader_get(struct metadata *metadata, enum reader_use use, struct database **ret_database,
                    struct diag *diag)
{
    struct reader *reader = &metadata->readers[use];
    enum err err = ERR_OK;
    mutex_lock(&reader->lock);
    mutex_lock(&metadata->lock);
    first_try_wait(metadata);
    bool to_read = !metadata->open && metadata->to_read && use != READER_WRITE;
    if (!metadata->open)
        err = diag_set(diag, ERR_AGAIN, "the metadata database cannot be read now: %s",
                       metadata->trouble);
    mutex_unlock(&metadata->lock);
    if (to_read && !reader->database && reader_open_as_is(metadata, reader) == ERR_OK)
        err = ERR_OK;
    else if (err == ERR_OK && !reader->database)
        err = database_open(metadata->url, &reader->database, diag);
    *ret_database = reader->database;
    if (err != ERR_OK)
        mutex_unlock(&reader->lock);
    return err;
}

void reader_put(struct metadata *metadata, enum reader_use use)
{
    struct reader *reader = &metadata->readers[use];
    if (reader->as_is) {
        database_close(reader->database);
        reader->database = NULL;
        reader->as_is = false;
    }
    mutex_unlock(&reader->lock);
}

/* --- rounds -------------------------------------------------------------------------------- */

/* A file that was removed is opened, or made, anew by itself. */
static void trouble_set(struct metadata *metadata, enum err err, const struct diag *diag)
{
    const char *text = err == ERR_OK ? "" : diag->text[0] ? diag->text : err_text(err);
    const char *advice = strstr(text, DATABASE_GONE_ADVICE);
    size_t size = advice ? (size_t)(advice - text) : strlen(text);
    mutex_lock(&metadata->lock);
    snprintf(metadata->trouble, sizeof(metadata->trouble), "%.*s%s", (int)(size < 360 ? size : 360),
             text, advice ? "; it is opened anew" : "");
    metadata->tried = true;
    mutex_unlock(&metadata->lock);
}

static bool may_pass(enum err err)
{
    return err == ERR_BUSY || err == ERR_NO_SPACE || err == ERR_NO_MEMORY;
}

static enum err round_commit(struct metadata *metadata, size_t *ret_count, struct diag *diag)
{
    struct round *round = mem_zalloc(1, sizeof(*round));
    if (!round)
        return ERR_NO_MEMORY;
    round->metadata = metadata;
    round_take(round);
    *ret_count = round->job_count;
    enum err err = ERR_OK;
    if (round->job_count > 0) {
        metadata->mark++; /* no two commits have the same, also where one is not known to be done */
        err = database_transact(metadata->writer, round_run, round, diag);
        round_end(round, err);
    }
    mem_free(round);
    return err;
}

/* What has its time. */
static enum err quality_work(struct metadata *metadata, struct diag *diag)
{
    int64_t now_ns = clock_monotonic_ns(metadata->options.clock);
    bool more = false;
    enum err err = ERR_OK;
    if (now_ns - metadata->measured_ns < MEASURE_NS)
        return ERR_OK;
    metadata->measured_ns = now_ns;
    err = quality_measure(metadata, metadata->writer, diag);
    if (err == ERR_OK && now_ns - metadata->freshened_ns >= FRESHEN_NS) {
        metadata->freshened_ns = now_ns;
        err = quality_freshen(metadata, metadata->writer, diag);
    }
    if (err == ERR_OK && now_ns - metadata->expired_ns >= EXPIRE_NS) {
        err = quality_expire(metadata, metadata->writer, &more, diag);
        metadata->expired_ns = more ? metadata->expired_ns : now_ns;
    }
    return err;
}

static bool is_stopping(struct metadata *metadata)
{
    mutex_lock(&metadata->lock);
    bool stopping = metadata->stopping;
    mutex_unlock(&metadata->lock);
    return stopping;
}

/* *ret_more: there is more to commit now. Datasets that are counted anew come one by one, faster
 * than all that waits is worth to be looked through. */
static enum err work(struct metadata *metadata, bool *ret_more, struct diag *diag)
{
    size_t count = 0;
    bool counted = false;
    enum err err = writer_open(metadata, diag);
    if (err == ERR_OK)
        err = doubt_settle(metadata, diag);
    if (err == ERR_OK)
        err = recount_commit(metadata, &counted, diag);
    int64_t now_ns = clock_monotonic_ns(metadata->options.clock);
    if (err == ERR_OK && counted && !is_stopping(metadata) &&
        now_ns - metadata->committed_ns < COMMIT_WAIT_NS)
        return ERR_OK;
    metadata->committed_ns = now_ns;
    if (err == ERR_OK)
        err = round_commit(metadata, &count, diag);
    *ret_more = err == ERR_OK && count == COMMIT_DATASETS_MAX;
    return err == ERR_OK && !is_stopping(metadata) ? quality_work(metadata, diag) : err;
}

static bool wait_for_work(struct metadata *metadata, bool more)
{
    mutex_lock(&metadata->lock);
    if (!metadata->stopping && !more)
        condition_wait_for(&metadata->wake, &metadata->lock, COMMIT_WAIT_NS);
    bool stopping = metadata->stopping;
    mutex_unlock(&metadata->lock);
    return stopping;
}

/* False: it failed. */
static bool work_or_wait(struct metadata *metadata, bool *ret_more)
{
    struct diag diag = {0};
    enum err err = work(metadata, ret_more, &diag);
    trouble_set(metadata, err, &diag);
    if (err != ERR_OK)
        metadata->retry_ns = clock_monotonic_ns(metadata->options.clock) + RETRY_NS;
    if (err != ERR_OK && !may_pass(err))
        handles_lose(metadata, err);
    return err == ERR_OK;
}

static bool is_late(struct metadata *metadata)
{
    mutex_lock(&metadata->lock);
    bool late =
        metadata->stopping && clock_monotonic_ns(metadata->options.clock) >= metadata->deadline_ns;
    mutex_unlock(&metadata->lock);
    return late;
}

/* At the stop what has landed is committed if there is time; the journal has the rest. */
void metadata_run(void *ctx)
{
    struct metadata *metadata = ctx;
    bool more = true;
    metadata->expired_ns = clock_monotonic_ns(metadata->options.clock);
    for (;;) {
        bool stopping = wait_for_work(metadata, more);
        bool good = true;
        more = false;
        if (stopping || clock_monotonic_ns(metadata->options.clock) >= metadata->retry_ns)
            good = work_or_wait(metadata, &more);
        if (stopping && (!more || !good || is_late(metadata)))
            return;
    }
}
