/*
 * Metadata changes that the metadata database does not have yet. They come with a LANDED, in the
 * same block, and outlive it: the cut may be uploaded, and its LANDED forgotten, long before a
 * locked database can be written again. So each dataset's are a state of its own, which checkpoints
 * carry as they carry a connector's: the latest text stands for all before it.
 *
 * A source of the ledger has at most LEDGER_STATES_MAX states, and there may be more datasets than
 * that: they are spread over METADATA_SOURCES sources that no data source can be called.
 */
#include "base/hash.h"
#include "journal/journal_parts.h"

#include <stdio.h>

#define METADATA_SOURCES      32
#define METADATA_SOURCE_BYTES 24
#define DONE_BYTES_MAX        (8 * MIB)
#define MARK_SOURCE           BYTES_LITERAL("#metadata/mark")
#define MARK_KEY              BYTES_LITERAL("commits")

static struct bytes source_name(uint64_t index, char room[METADATA_SOURCE_BYTES])
{
    snprintf(room, METADATA_SOURCE_BYTES, "#metadata/%u", (unsigned)index);
    return bytes_from_text(room);
}

enum err journal_metadata_encode(struct buf *body, struct bytes dataset_id, struct bytes changes)
{
    char room[METADATA_SOURCE_BYTES];
    struct bytes source = source_name(hash_bytes(dataset_id) % METADATA_SOURCES, room);
    return record_state_encode(body, source, dataset_id, changes);
}

enum err journal_metadata_each(struct journal *journal,
                               enum err (*on_changes)(void *ctx, struct bytes dataset_id,
                                                      struct bytes changes),
                               void *ctx)
{
    char room[METADATA_SOURCE_BYTES];
    enum err err = ERR_OK;
    mutex_lock(&journal->journal_mutex);
    for (uint64_t i = 0; i < METADATA_SOURCES && err == ERR_OK; i++) {
        const struct ledger_source *source =
            map_get(&journal->core.ledger.sources, source_name(i, room));
        size_t cursor = 0;
        struct map_entry *entry;
        while (source && err == ERR_OK && (entry = map_next(&source->states, &cursor))) {
            const struct buf *value = entry->value;
            if (value->size > 0)
                err = on_changes(ctx, bytes_from(entry->key, entry->key_size), buf_bytes(value));
        }
    }
    mutex_unlock(&journal->journal_mutex);
    return err;
}

/* The database's mark is a state, too: what says that changes may be dropped says which database
 * has them. */
static enum err mark_encode(struct buf *body, uint64_t mark)
{
    uint8_t value[sizeof(mark)];
    store_u64(value, mark);
    return record_state_encode(body, MARK_SOURCE, MARK_KEY, bytes_from(value, sizeof(value)));
}

enum err journal_metadata_done(struct journal *journal, const struct bytes *dataset_ids,
                               size_t count, uint64_t mark)
{
    if (count > JOURNAL_METADATA_DONE_MAX)
        return ERR_TOO_MANY;
    struct record_view records[JOURNAL_METADATA_DONE_MAX + 1];
    size_t ends[JOURNAL_METADATA_DONE_MAX + 1];
    size_t records_count = count + (mark != 0);
    struct buf bodies;
    buf_init(&bodies, DONE_BYTES_MAX);
    enum err err = ERR_OK;
    for (size_t i = 0; i < records_count && err == ERR_OK; i++) {
        err = i < count ? journal_metadata_encode(&bodies, dataset_ids[i], (struct bytes){0})
                        : mark_encode(&bodies, mark);
        ends[i] = bodies.size;
    }
    for (size_t i = 0; i < records_count && err == ERR_OK; i++) {
        size_t begin = i > 0 ? ends[i - 1] : 0;
        records[i] = (struct record_view){.kind = RECORD_STATE,
                                          .body = bytes_from(bodies.data + begin, ends[i] - begin)};
    }
    if (err == ERR_OK && records_count > 0)
        err = journal_control(journal, records, records_count, NULL, NULL);
    buf_fini(&bodies);
    return err;
}

uint64_t journal_metadata_mark(struct journal *journal)
{
    mutex_lock(&journal->journal_mutex);
    const struct buf *value = ledger_state(&journal->core.ledger, MARK_SOURCE, MARK_KEY);
    uint64_t mark = value && value->size == sizeof(mark) ? load_u64(value->data) : 0;
    mutex_unlock(&journal->journal_mutex);
    return mark;
}

/* --- for those who count anew -------------------------------------------------------------- */

enum err journal_uploads_each(struct journal *journal,
                              enum err (*on_dataset)(void *ctx, struct bytes dataset_id), void *ctx)
{
    const struct ledger *ledger = &journal->core.ledger;
    enum err err = ERR_OK;
    mutex_lock(&journal->journal_mutex);
    for (size_t i = 0; i < ledger->pending_count && err == ERR_OK; i++)
        err = on_dataset(ctx, ledger->pending[i]->landed.dataset_id);
    mutex_unlock(&journal->journal_mutex);
    return err;
}

bool journal_upload_pending(struct journal *journal, struct bytes dataset_id, uint64_t below)
{
    const struct ledger *ledger = &journal->core.ledger;
    bool found = false;
    mutex_lock(&journal->journal_mutex);
    for (size_t i = 0; i < ledger->pending_count && !found; i++) {
        const struct ledger_pending *pending = ledger->pending[i];
        found = (pending->redo || pending->landed.through < below) &&
                bytes_equal(pending->landed.dataset_id, dataset_id);
    }
    mutex_unlock(&journal->journal_mutex);
    return found;
}

bool journal_has_landed(struct journal *journal)
{
    mutex_lock(&journal->journal_mutex);
    bool has = journal->core.ledger.cut_id_last > 0;
    mutex_unlock(&journal->journal_mutex);
    return has;
}
