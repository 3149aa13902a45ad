/*
 * Order of durable steps of landing_land:
 *   1. the cut's files are in the spool, synced, under their names (spool.h S1, S2);
 *   2. LANDED is durable in the journal (its callback);
 *   3. the cut is handed to the upload. Nothing reaches the store before.
 * A crash before 2: the files have no LANDED and are deleted; the range is decoded again. A crash
 * after 2: recovery finds LANDED without UPLOADED and the very files that it names.
 *
 * Redo. A cut of several files may have some at their keys already when another's spool file turns
 * out damaged. Made again, the files could differ from before (columns pinned since then), and what
 * readers have seen must stay. So a new LANDED takes over, as it stands in the old one, each file
 * that recovery found good, and only the rest comes from the new cut. The same range has the same
 * first messages, hence the same keys; should a new version of the decoder place rows elsewhere,
 * the good files of the old LANDED are kept all the same.
 */
#include "lake/landing.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/thread.h"

#include <stdio.h>

#define REPORT_SIZE    1024
#define RECOVER_ASK_NS (10 * NS_PER_S)

/* cut->done says which files are good. */
struct redo {
    struct landed_cut *old;
    struct redo *next;
};

struct landing {
    struct landing_options options;
    struct mutex lock;
    struct redo *redos; /* under lock; until their new LANDED is asked for */
};

enum err landing_new(const struct landing_options *options, struct landing **ret_landing)
{
    struct landing *landing = mem_zalloc(1, sizeof(*landing));
    if (!landing)
        return ERR_NO_MEMORY;
    landing->options = *options;
    mutex_init(&landing->lock);
    *ret_landing = landing;
    return ERR_OK;
}

static void redo_free(struct redo *redo)
{
    if (redo)
        landed_cut_free(redo->old);
    mem_free(redo);
}

void landing_free(struct landing *landing)
{
    if (!landing)
        return;
    while (landing->redos) {
        struct redo *next = landing->redos->next;
        redo_free(landing->redos);
        landing->redos = next;
    }
    mutex_fini(&landing->lock);
    mem_free(landing);
}

/* ---- landing ---- */

/* A cut on its way to LANDED. */
struct on_its_way {
    struct landing *landing;
    struct landed_cut *cut;
    struct redo *redo; /* back on the list if LANDED does not come to be */
    uint64_t through;  /* of the cut; a redo's LANDED keeps the old one's range */
    landing_on_landed on_landed;
    void *ctx;
};

static struct redo *redo_take(struct landing *landing, uint64_t cut_id)
{
    struct redo *found = NULL;
    if (cut_id == 0)
        return NULL;
    mutex_lock(&landing->lock);
    for (struct redo **at = &landing->redos; *at; at = &(*at)->next) {
        if ((*at)->old->landed.cut_id == cut_id) {
            found = *at;
            *at = found->next;
            break;
        }
    }
    mutex_unlock(&landing->lock);
    return found;
}

static void redo_give_back(struct landing *landing, struct redo *redo)
{
    if (!redo)
        return;
    mutex_lock(&landing->lock);
    redo->next = landing->redos;
    landing->redos = redo;
    mutex_unlock(&landing->lock);
}

static const struct landed_file *redo_good_file(const struct redo *redo, struct bytes key)
{
    for (uint32_t i = 0; redo && i < redo->old->landed.file_count; i++) {
        if (redo->old->done[i] && bytes_equal(redo->old->files[i].key, key))
            return &redo->old->files[i];
    }
    return NULL;
}

/* What LANDED will name: files[0, fresh) are to be written, the others are kept from a redo. */
struct plan {
    struct spool_file *fresh;
    struct landed_file *files;
    size_t fresh_count;
    size_t file_count;
};

static void plan_fini(struct plan *plan)
{
    mem_free(plan->fresh);
    mem_free(plan->files);
}

static enum err plan_init(struct plan *plan, const struct cut *cut, const struct redo *redo)
{
    size_t kept = redo ? redo->old->landed.file_count : 0;
    *plan = (struct plan){0};
    plan->fresh = mem_zalloc(cut->file_count, sizeof(*plan->fresh));
    plan->files = mem_zalloc(cut->file_count + kept, sizeof(*plan->files));
    if (!plan->fresh || !plan->files)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < cut->file_count; i++) {
        struct bytes key = bytes_from_text(cut->files[i].key);
        if (redo_good_file(redo, key))
            continue;
        plan->fresh[plan->fresh_count] =
            (struct spool_file){.key = key, .content = buf_bytes(&cut->files[i].bytes)};
        plan->files[plan->fresh_count++] =
            (struct landed_file){.key = key, .rows = cut->files[i].rows};
    }
    plan->file_count = plan->fresh_count;
    for (size_t i = 0; i < kept; i++) {
        if (redo->old->done[i])
            plan->files[plan->file_count++] = redo->old->files[i];
    }
    return plan->file_count <= LANDED_FILES_MAX ? ERR_OK : ERR_TOO_MANY;
}

static enum err write_plan(struct landing *landing, struct plan *plan, struct diag *diag)
{
    enum err err = spool_write(landing->options.spool, plan->fresh, plan->fresh_count, diag);
    for (size_t i = 0; i < plan->fresh_count && err == ERR_OK; i++) {
        plan->files[i].size_bytes = plan->fresh[i].size_bytes;
        memcpy(plan->files[i].sha256, plan->fresh[i].sha256, SHA256_BYTES);
    }
    return err;
}

static void unwrite_plan(struct landing *landing, const struct plan *plan)
{
    for (size_t i = 0; i < plan->fresh_count; i++) {
        enum err ignored = spool_remove(landing->options.spool, &plan->files[i], NULL);
        (void)ignored;
    }
}

/* ---- metadata ---- */

static enum err metadata_changes(struct on_its_way *way, struct bytes dataset_id, struct buf *out)
{
    const struct landing_options *options = &way->landing->options;
    if (!options->metadata)
        return ERR_OK;
    if (!way->redo)
        return options->metadata->changes(options->metadata_ctx, dataset_id, way->through, out);
    options->metadata->again(options->metadata_ctx, dataset_id, way->through);
    return ERR_OK;
}

/* Before the upload has the cut, and with it the dataset's id. */
static void metadata_landed(struct on_its_way *way)
{
    const struct landing_options *options = &way->landing->options;
    if (options->metadata && !way->redo)
        options->metadata->landed(options->metadata_ctx, way->cut->landed.dataset_id, way->through);
}

/* On the journal's thread. */
static void on_landed_durable(void *ctx, struct block *block, enum err err)
{
    struct on_its_way *way = ctx;
    struct landing *landing = way->landing;
    uint64_t cut_id = way->cut->landed.cut_id;
    (void)block;
    if (err == ERR_OK) {
        metadata_landed(way);
        upload_ready(landing->options.upload, way->cut);
        redo_free(way->redo);
    } else { /* the journal has stopped; recovery deletes the files */
        upload_discard(landing->options.upload, way->cut);
        redo_give_back(landing, way->redo);
    }
    if (way->on_landed)
        way->on_landed(way->ctx, cut_id, err);
    mem_free(way);
}

static enum err ask_landed(struct on_its_way *way, const struct cut *cut,
                           const struct landing_range *range, const struct plan *plan)
{
    const struct landing_options *options = &way->landing->options;
    struct landed landed = {
        .dataset_id = range->dataset_id,
        /* a redo's LANDED stands for the old one only with exactly its range */
        .after = way->redo ? way->redo->old->landed.after : range->after,
        .through = way->redo ? way->redo->old->landed.through : range->through,
        .first = cut->stats.first,
        .messages = cut->stats.messages,
        .rejected = cut->stats.rejected,
        .source_id = range->source_id,
        .cut_id = options->journal.ops->next_cut_id(options->journal.journal),
        .files = plan->files,
        .file_count = (uint32_t)plan->file_count,
        .schema_version = cut->schema_version,
    };
    struct buf changes;
    buf_init(&changes, LIMIT_METADATA_CHANGES_BYTES);
    enum err err = metadata_changes(way, range->dataset_id, &changes);
    if (err == ERR_OK)
        err = upload_prepare(options->upload, &landed, &way->cut);
    if (err == ERR_OK) {
        struct landed_cut *prepared = way->cut;
        landed = prepared->landed;
        landed.metadata_changes = buf_bytes(&changes);
        err = options->journal.ops->land(options->journal.journal, &landed, on_landed_durable, way);
        if (err != ERR_OK)
            upload_discard(options->upload, prepared);
    }
    buf_fini(&changes);
    return err;
}

enum err landing_land(struct landing *landing, const struct cut *cut,
                      const struct landing_range *range, landing_on_landed on_landed, void *ctx,
                      struct diag *diag)
{
    struct plan plan = {0};
    struct redo *redo = redo_take(landing, range->redo_cut);
    struct on_its_way *way = mem_zalloc(1, sizeof(*way));
    enum err err = way ? plan_init(&plan, cut, redo) : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = write_plan(landing, &plan, diag);
    if (err == ERR_OK) {
        *way = (struct on_its_way){landing, NULL, redo, range->through, on_landed, ctx};
        err = ask_landed(way, cut, range, &plan);
        if (err != ERR_OK)
            unwrite_plan(landing, &plan);
    }
    plan_fini(&plan);
    if (err == ERR_OK)
        return ERR_OK;
    mem_free(way);
    redo_give_back(landing, redo);
    return diag_set(diag, err, "cannot land a cut of %.*s: %s", (int)range->dataset_id.size,
                    (const char *)range->dataset_id.data, err_text(err));
}

/* ---- recovery ---- */

struct recovering {
    struct landing *landing;
    struct landed_cut **cuts;
    size_t count;
    size_t capacity;
    struct map keep;   /* spool names */
    bool store_silent; /* it did not answer once: it is not asked again */
    int64_t asked_ns;  /* spent on asking it */
    struct landing_recovery *result;
    struct diag *diag;
};

static enum err note_pending(void *ctx, const struct landed *landed)
{
    struct recovering *recovering = ctx;
    if (recovering->count == recovering->capacity) {
        size_t capacity = recovering->capacity ? recovering->capacity * 2 : 64;
        struct landed_cut **grown =
            mem_realloc(recovering->cuts, capacity * sizeof(struct landed_cut *));
        if (!grown)
            return ERR_NO_MEMORY;
        recovering->cuts = grown;
        recovering->capacity = capacity;
    }
    struct landed_cut *cut = landed_cut_new(landed);
    if (!cut)
        return ERR_NO_MEMORY;
    recovering->cuts[recovering->count++] = cut;
    return ERR_OK;
}

/* A start waits for the store once at most, and not for long where each answer takes its time: what
 * it does not say now, the upload asks later. */
static enum err ask_store(struct recovering *recovering, const struct landed_file *file,
                          enum store_presence *ret_presence)
{
    const struct landing *landing = recovering->landing;
    char path[SPOOL_PATH_SIZE];
    struct store *store = landing->options.store;
    if (recovering->store_silent || recovering->asked_ns > RECOVER_ASK_NS)
        return ERR_AGAIN;
    enum err err = spool_path(landing->options.spool, file->key, path);
    if (err != ERR_OK)
        return err;
    struct store_object object = {
        .key = (const char *)file->key.data, .spool_path = path, .size_bytes = file->size_bytes};
    memcpy(object.sha256, file->sha256, sizeof(object.sha256));
    int64_t from_ns = clock_monotonic_ns(&clock_system);
    err = store->ops->check(store, &object, ret_presence, NULL);
    recovering->asked_ns += clock_monotonic_ns(&clock_system) - from_ns;
    recovering->store_silent = err_class(err) == ERR_CLASS_RETRY && err != ERR_NO_MEMORY;
    return err;
}

/* Sets done[i] for each file that is good, in the spool or at its key. */
static enum err judge_files(struct recovering *recovering, struct landed_cut *cut,
                            uint32_t *ret_bad_count, bool *ret_unknown)
{
    struct landing *landing = recovering->landing;
    *ret_bad_count = 0;
    *ret_unknown = false;
    for (uint32_t i = 0; i < cut->landed.file_count; i++) {
        struct diag diag = {0};
        enum store_presence presence = STORE_ABSENT;
        enum err err = spool_verify(landing->options.spool, &cut->files[i], NULL, &diag);
        if (err == ERR_NO_MEMORY)
            return err;
        /* A disk that cannot read it has lost it as much as one that reads it wrongly. */
        cut->done[i] = err == ERR_OK;
        if (!cut->done[i]) {
            *ret_unknown |= ask_store(recovering, &cut->files[i], &presence) != ERR_OK;
            cut->done[i] = presence == STORE_SAME;
        }
        *ret_bad_count += !cut->done[i];
    }
    return ERR_OK;
}

/* The store may hold what the spool does not, and cannot be asked: made again, the file could
 * differ from what readers have seen. The upload asks until it knows; what is not there either then
 * is made again at the next start. */
static void assume_good(struct landed_cut *cut)
{
    for (uint32_t i = 0; i < cut->landed.file_count; i++)
        cut->done[i] = true;
}

static enum err keep_name(struct recovering *recovering, struct bytes key)
{
    char name[SPOOL_NAME_SIZE];
    enum err err = spool_name(key, name);
    return err != ERR_OK ? err : map_put(&recovering->keep, bytes_from_text(name), recovering);
}

static enum err keep_good_names(struct recovering *recovering, const struct landed_cut *cut)
{
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < cut->landed.file_count && err == ERR_OK; i++) {
        if (cut->done[i])
            err = keep_name(recovering, cut->files[i].key);
    }
    return err;
}

/* The journal's record of these rows is gone, and so is the file: say so, keep what there is. */
static enum err report_lost(struct recovering *recovering, const struct landed_cut *cut,
                            const struct landed_file *file)
{
    const struct landing_options *options = &recovering->landing->options;
    char report[REPORT_SIZE];
    snprintf(report, sizeof(report),
             "lost: object %.300s of dataset %.*s (%llu rows, blocks %llu to %llu): its spool file "
             "is missing or damaged, the store does not hold it and the journal has reused its "
             "range; what there is of it lies in spool/damaged\n",
             (const char *)file->key.data, (int)cut->landed.dataset_id.size,
             (const char *)cut->landed.dataset_id.data, (unsigned long long)file->rows,
             (unsigned long long)cut->landed.after + 1, (unsigned long long)cut->landed.through);
    enum err err = spool_quarantine(options->spool, file->key, report, recovering->diag);
    if (err != ERR_OK)
        return err;
    recovering->result->lost_files++;
    report[strlen(report) - 1] = '\0';
    if (options->on_report)
        options->on_report(options->ctx, report);
    return ERR_OK;
}

/* Gives the upload the cut's good files; those that are lost are no part of it any more. */
static enum err recover_upload(struct recovering *recovering, struct landed_cut *cut)
{
    struct landing *landing = recovering->landing;
    struct landed_cut *prepared;
    struct landed landed = cut->landed;
    uint32_t good = 0;
    struct landed_file *files = mem_zalloc(landed.file_count, sizeof(*files));
    if (!files)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < landed.file_count; i++) {
        if (cut->done[i])
            files[good++] = cut->files[i];
    }
    landed.files = files;
    landed.file_count = good;
    enum err err = upload_prepare(landing->options.upload, &landed, &prepared);
    mem_free(files);
    if (err != ERR_OK)
        return err;
    upload_ready(landing->options.upload, prepared);
    recovering->result->pending_cuts++;
    return ERR_OK;
}

/* On success the redo owns the cut. */
static enum err recover_redo(struct recovering *recovering, struct landed_cut *cut)
{
    struct landing *landing = recovering->landing;
    struct redo *redo = mem_zalloc(1, sizeof(*redo));
    if (!redo)
        return ERR_NO_MEMORY;
    enum err err =
        landing->options.journal.ops->redo(landing->options.journal.journal, cut->landed.cut_id);
    if (err != ERR_OK) {
        mem_free(redo);
        return err;
    }
    redo->old = cut;
    redo_give_back(landing, redo);
    recovering->result->redo_cuts++;
    return ERR_OK;
}

static enum err recover_cut(struct recovering *recovering, struct landed_cut **take_cut)
{
    struct landed_cut *cut = *take_cut;
    uint32_t bad_count;
    bool unknown;
    enum err err = judge_files(recovering, cut, &bad_count, &unknown);
    if (err == ERR_OK && unknown)
        assume_good(cut);
    if (err == ERR_OK)
        err = keep_good_names(recovering, cut);
    if (err != ERR_OK)
        return err;
    if (bad_count > 0 && !unknown) {
        err = recover_redo(recovering, cut);
        if (err == ERR_OK)
            *take_cut = NULL;
        if (err != ERR_NOT_FOUND)
            return err;
        err = ERR_OK;
        for (uint32_t i = 0; i < cut->landed.file_count && err == ERR_OK; i++) {
            if (!cut->done[i])
                err = report_lost(recovering, cut, &cut->files[i]);
        }
    }
    return err != ERR_OK ? err : recover_upload(recovering, cut);
}

enum err landing_recover(struct landing *landing, struct landing_recovery *ret_recovery,
                         struct diag *diag)
{
    const struct landing_journal *journal = &landing->options.journal;
    struct recovering recovering = {.landing = landing, .result = ret_recovery, .diag = diag};
    *ret_recovery = (struct landing_recovery){0};
    map_init(&recovering.keep);
    enum err err = journal->ops->pending(journal->journal, note_pending, &recovering);
    for (size_t i = 0; i < recovering.count && err == ERR_OK; i++)
        err = recover_cut(&recovering, &recovering.cuts[i]);
    if (err == ERR_OK)
        err =
            spool_clean(landing->options.spool, &recovering.keep, &ret_recovery->stray_files, diag);
    for (size_t i = 0; i < recovering.count; i++)
        landed_cut_free(recovering.cuts[i]);
    mem_free(recovering.cuts);
    map_fini(&recovering.keep);
    return err == ERR_OK ? ERR_OK
                         : diag_set(diag, err, "cannot recover the spool: %s", err_text(err));
}
