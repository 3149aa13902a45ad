/* What the ledger is asked. */
#include "journal/ledger.h"

#include "base/alloc.h"

static uint64_t oldest_find(struct ledger *ledger)
{
    uint64_t oldest = UINT64_MAX;
    ledger->oldest_holders = 0;
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&ledger->datasets, &cursor));) {
        const struct ledger_dataset *dataset = entry->value;
        if (dataset->oldest && dataset->oldest < oldest) {
            oldest = dataset->oldest;
            ledger->oldest_holders = 0;
        }
        ledger->oldest_holders += dataset->oldest == oldest;
    }
    for (size_t i = 0; i < ledger->pending_count && ledger->redo_count > 0; i++)
        if (ledger->pending[i]->redo && ledger->pending[i]->landed.first.block < oldest)
            oldest = ledger->pending[i]->landed.first.block;
    return oldest;
}

uint64_t ledger_oldest_needed(struct ledger *ledger)
{
    if (ledger->oldest_cached == 0) {
        uint64_t oldest = oldest_find(ledger);
        if (oldest == UINT64_MAX) /* not cached: the next block may be the first */
            return ledger->applied_through + 1;
        ledger->oldest_cached = oldest;
    }
    return ledger->oldest_cached;
}

/* With 100,000 datasets a walk over all is for when the last one that held the oldest block has
 * landed, not for each. None can become a holder later: what comes in is newer. */
void ledger_oldest_moved(struct ledger *ledger, uint64_t before, uint64_t after)
{
    bool left = before == ledger->oldest_cached && before != after;
    if (before == 0 || (left && --ledger->oldest_holders == 0))
        ledger->oldest_cached = 0;
}

/* Each has an entry here, and one in the states for its metadata (journal_metadata.c). */
#define STATE_BYTES (2 * sizeof(struct map_entry) + 64 + sizeof(struct buf) + 16)

size_t ledger_memory_bytes(const struct ledger *ledger)
{
    return map_memory_bytes(&ledger->datasets) +
           ledger->datasets.live_count * (sizeof(struct ledger_dataset) + STATE_BYTES + 16);
}

const struct ledger_dataset *ledger_dataset(const struct ledger *ledger, struct bytes dataset_id)
{
    return map_get(&ledger->datasets, dataset_id);
}

struct ledger_pending *ledger_pending_find(const struct ledger *ledger, uint64_t cut_id)
{
    for (size_t i = 0; i < ledger->pending_count; i++)
        if (ledger->pending[i]->landed.cut_id == cut_id)
            return ledger->pending[i];
    return NULL;
}

const struct buf *ledger_state(const struct ledger *ledger, struct bytes source_id,
                               struct bytes key)
{
    const struct ledger_source *source = map_get(&ledger->sources, source_id);
    const struct buf *value = source ? map_get(&source->states, key) : NULL;
    return value && value->size > 0 ? value : NULL;
}

bool ledger_wanted(const struct ledger *ledger, struct bytes dataset_id, uint64_t block_number,
                   uint64_t *ret_redo_cut)
{
    *ret_redo_cut = 0;
    for (size_t i = 0; i < ledger->pending_count && ledger->redo_count > 0; i++) {
        const struct ledger_pending *pending = ledger->pending[i];
        /* A range may begin at 0 (ledger_trim had forgotten the dataset), and what comes back with
         * an older checkpoint below its first message is not in its files. */
        if (pending->redo && block_number > pending->landed.after &&
            block_number >= pending->landed.first.block &&
            block_number <= pending->landed.through &&
            bytes_equal(pending->landed.dataset_id, dataset_id)) {
            *ret_redo_cut = pending->landed.cut_id;
            return true;
        }
    }
    const struct ledger_dataset *dataset = ledger_dataset(ledger, dataset_id);
    return !dataset || block_number > dataset->landed_through;
}

void ledger_redo_set(struct ledger *ledger, struct ledger_pending *pending, bool redo)
{
    if (pending->redo == redo)
        return;
    pending->redo = redo;
    ledger->redo_count = redo ? ledger->redo_count + 1 : ledger->redo_count - 1;
    ledger->oldest_cached = 0;
}

void ledger_identities(const struct ledger *ledger, struct bytes source_id,
                       void (*on_identity)(void *ctx, uint16_t packet_identifier, uint64_t hash,
                                           uint64_t block, bool qos_2),
                       void *ctx)
{
    struct ledger_source *source = map_get(&ledger->sources, source_id);
    for (uint32_t id = 0; source && source->identity_count > 0 && id <= UINT16_MAX; id++) {
        const struct ledger_identity *at = ledger_identity_at(source, (uint16_t)id);
        if (!at)
            id |= LEDGER_PAGE_IDENTITIES - 1;
        else if (at->block)
            on_identity(ctx, (uint16_t)id, at->hash, at->block, at->qos_2);
    }
}

static uint64_t landed_or_staged(const struct ledger *ledger, struct bytes dataset_id,
                                 uint64_t landed_through)
{
    for (size_t i = ledger->staged_taken; i < ledger->staged_count; i++) {
        const struct staged_item *item = ledger->staged[i];
        const struct landed *landed = item->pending ? &item->pending->landed : NULL;
        if (landed && landed->through > landed_through &&
            bytes_equal(landed->dataset_id, dataset_id))
            landed_through = landed->through;
    }
    return landed_through;
}

enum err ledger_check_landed(const struct ledger *ledger, const struct block *block,
                             struct diag *diag)
{
    struct record_view record;
    size_t cursor = 0;
    while (block_record_next(block, &cursor, &record)) {
        struct landed landed;
        struct landed_file *files;
        if (record.kind != RECORD_LANDED)
            continue;
        enum err err = record_landed_decode(record.body, &landed, &files);
        if (err != ERR_OK)
            return diag_set(diag, err, "a LANDED record makes no sense");
        mem_free(files);
        const struct ledger_dataset *dataset = map_get(&ledger->datasets, landed.dataset_id);
        if (!dataset || dataset->oldest == 0 || dataset->oldest > landed.after)
            continue;
        uint64_t through = landed_or_staged(ledger, landed.dataset_id, dataset->landed_through);
        if (through < landed.after)
            return diag_set(diag, ERR_CORRUPT,
                            "a cut of %.*s begins after block %llu, it has landed up to %llu",
                            (int)landed.dataset_id.size, (const char *)landed.dataset_id.data,
                            (unsigned long long)landed.after, (unsigned long long)through);
    }
    return ERR_OK;
}
