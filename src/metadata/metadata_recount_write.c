/* What of counting anew (metadata_recount.c) the thread does that writes. */
#include "journal/record.h"
#include "metadata/metadata_parts.h"
#include "metadata/metadata_repair.h"

#include <stdio.h>

/* One that lacks what the journal dropped because a database had it: an older copy, which somebody
 * put back. At the end of the recount it bears the mark of the one that lacks nothing. */
static enum err old_check(struct metadata *metadata, bool *is_recounted, bool *ret_is_old,
                          struct diag *diag)
{
    const char *journal = journal_uuid(metadata->options.journal);
    uint64_t mark;
    enum err err = metadata_table_mark(metadata->writer, journal, &mark, diag);
    *ret_is_old = err == ERR_OK && *is_recounted && mark < metadata->mark_told;
    if (*ret_is_old)
        err = metadata_table_unset_recounted(metadata->writer, journal, diag);
    if (err == ERR_OK && mark > metadata->mark)
        metadata->mark = mark;
    *is_recounted = *is_recounted && !*ret_is_old;
    return err;
}

enum err recount_begin(struct metadata *metadata, struct diag *diag)
{
    struct recounting *recounting = &metadata->recounting;
    const char *journal = journal_uuid(metadata->options.journal);
    bool is_recounted, is_old = false;
    enum err err = metadata_table_is_recounted(metadata->writer, journal, &is_recounted, diag);
    if (err == ERR_OK)
        err = old_check(metadata, &is_recounted, &is_old, diag);
    if (err == ERR_OK && !is_recounted && !journal_has_landed(metadata->options.journal)) {
        err = metadata_table_set_recounted(metadata->writer, journal, metadata->mark_told, diag);
        is_recounted = true;
    }
    int64_t lacking = 0;
    if (err == ERR_OK)
        err = metadata_repair_count(metadata->writer, &lacking, diag);
    if (err != ERR_OK)
        return err;
    mutex_lock(&metadata->lock);
    recounting->round++;
    recounting->lacking = lacking;
    recounting->is_old = is_old;
    recounting->stage = is_recounted || !recounting->store ? RECOUNT_NONE : RECOUNT_LISTING;
    recounting->unread_count = 0;
    recounting->trouble[0] = 0;
    condition_signal(&recounting->wake);
    mutex_unlock(&metadata->lock);
    return ERR_OK;
}

uint64_t recount_pending_begin(const struct metadata *metadata, struct bytes id, uint64_t progress)
{
    const struct pending *pending = map_get(&metadata->pending, id);
    const struct segment *at = pending ? pending->first : NULL;
    while (at && at->through <= progress)
        at = at->next;
    return at ? change_first_block(bytes_from(at->encoded, at->encoded_size)) : UINT64_MAX;
}

struct writing {
    struct metadata *metadata;
    const struct recounted *recounted;
    int64_t lacks;
    uint64_t progress; /* as the database must have it */
};

static enum err changes_apply(struct database_transaction *transaction, const char *journal,
                              const struct recounted *recounted, struct diag *diag)
{
    struct record_reader reader = record_reader_of(buf_bytes(&recounted->changes));
    enum err err = ERR_OK;
    while (reader.left > 0 && err == ERR_OK) {
        struct change change;
        change_init(&change);
        err = change_decode(&change, record_text32(&reader));
        if (err == ERR_OK)
            err = metadata_table_apply(transaction, journal, buf_bytes(&recounted->id), &change,
                                       recounted->through, diag);
        else if (err == ERR_CORRUPT) /* our own text: it says nothing of the database */
            err = ERR_BUG;
        change_fini(&change);
    }
    return err;
}

static enum err writing_run(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    const struct writing *writing = ctx;
    const struct recounted *recounted = writing->recounted;
    const char *journal = journal_uuid(writing->metadata->options.journal);
    uint64_t progress;
    enum err err =
        metadata_table_progress(transaction, journal, buf_bytes(&recounted->id), &progress, diag);
    if (err == ERR_OK && progress != writing->progress)
        err = ERR_AGAIN;
    if (err == ERR_OK && writing->lacks != 0)
        return metadata_repair_write(transaction, buf_bytes(&recounted->id),
                                     buf_bytes(&recounted->changes), writing->lacks, diag);
    return err == ERR_OK ? changes_apply(transaction, journal, recounted, diag) : err;
}

/* All was counted. */
static enum err end_write(struct metadata *metadata, struct diag *diag)
{
    enum err err = metadata_repair_end(metadata->writer, diag);
    if (err != ERR_OK)
        return err;
    return metadata_table_set_recounted(metadata->writer, journal_uuid(metadata->options.journal),
                                        metadata->mark_told, diag);
}

/* ERR_AGAIN: it is to be counted again. */
static enum err result_write(struct metadata *metadata, const struct recounted *recounted,
                             struct diag *diag)
{
    const struct recounting *recounting = &metadata->recounting;
    struct writing writing = {metadata, recounted, recounting->result_lacks,
                              recounting->result_progress};
    if (!recounted)
        return end_write(metadata, diag);
    mutex_lock(&metadata->lock);
    uint64_t begin = recount_pending_begin(metadata, buf_bytes(&recounted->id), writing.progress);
    mutex_unlock(&metadata->lock);
    if (begin <= recounted->through)
        return ERR_AGAIN;
    return database_transact(metadata->writer, writing_run, &writing, diag);
}

enum err recount_commit(struct metadata *metadata, bool *ret_counted, struct diag *diag)
{
    struct recounting *recounting = &metadata->recounting;
    mutex_lock(&metadata->lock);
    bool has_result = recounting->has_result;
    bool is_stale = recounting->result_round != recounting->round;
    const struct recounted *recounted = recounting->result;
    recounting->is_busy = has_result;
    mutex_unlock(&metadata->lock);
    *ret_counted = has_result && recounted;
    if (!has_result)
        return ERR_OK;
    enum err err = is_stale ? ERR_AGAIN : result_write(metadata, recounted, diag);
    mutex_lock(&metadata->lock);
    recounting->is_busy = false;
    if (err == ERR_OK || err == ERR_AGAIN) {
        recounting->has_result = false;
        recounting->result_err = err;
        if (err == ERR_OK && !recounted)
            recounting->stage = RECOUNT_NONE;
        else if (err == ERR_OK && recounting->result_lacks != 0)
            recounting->lacking--;
    }
    condition_signal(&recounting->wake);
    mutex_unlock(&metadata->lock);
    return err == ERR_AGAIN ? ERR_OK : err;
}

void recount_tell(const struct metadata *metadata, const char *and, char *text, size_t size)
{
    const struct recounting *recounting = &metadata->recounting;
    unsigned long long all = recounting->datasets;
    unsigned long long left = recounting->todo.live_count;
    int length = 0;
    if (recounting->stage == RECOUNT_LISTING)
        length = snprintf(text, size, "%srecounting from the lake: looking for its datasets", and);
    else if (recounting->stage == RECOUNT_COUNTING)
        length = snprintf(text, size, "%srecounting from the lake: %llu of %llu datasets", and,
                          all - left, all);
    else if (recounting->unread_count > 0)
        length = snprintf(text, size,
                          "%sof the lake %llu files could not be read when it was recounted, "
                          "one is %.200s",
                          and, (unsigned long long)recounting->unread_count, recounting->unread);
    if (recounting->stage != RECOUNT_NONE && recounting->is_old && length > 0 &&
        (size_t)length < size)
        length += snprintf(text + length, size - (size_t)length,
                           "; the database is an older copy of the one that was here");
    if (recounting->stage != RECOUNT_NONE && recounting->lacking > 0 && length > 0 &&
        (size_t)length < size)
        length += snprintf(text + length, size - (size_t)length,
                           "; of %lld datasets lists, sizes or evolution are not read again yet",
                           (long long)recounting->lacking);
    if (recounting->stage != RECOUNT_NONE && recounting->trouble[0] && length > 0 &&
        (size_t)length < size)
        snprintf(text + length, size - (size_t)length, " (%s)", recounting->trouble);
}
