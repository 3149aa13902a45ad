/*
 * Why prepare and apply: a block is applied when it is durable, and then nothing may go wrong any
 * more, or what was promised and what is remembered would part. So all memory is found beforehand:
 * entries of datasets and sources and pages of identities are made empty (an empty one means
 * nothing and is harmless if the block never comes), and the objects of STATE and LANDED records
 * are staged in the order of the records. ledger_apply takes them in that order.
 *
 * oldest of a dataset is a lower bound: after LANDED through T it is T + 1 if newer blocks hold
 * messages of it. The exact next one would need a list of blocks for each dataset; the bound is
 * never more than a cut's own lag away.
 */
#include "journal/ledger.h"

#include "base/alloc.h"

#include <assert.h>

void ledger_init(struct ledger *ledger)
{
    *ledger = (struct ledger){0};
    map_init(&ledger->datasets);
    map_init(&ledger->sources);
}

static void pending_free(struct ledger_pending *pending)
{
    if (!pending)
        return;
    mem_free(pending->files);
    mem_free(pending->body);
    mem_free(pending);
}

static void state_free(struct buf *value)
{
    if (value)
        buf_fini(value);
    mem_free(value);
}

static void source_free(struct ledger_source *source)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&source->states, &cursor));)
        state_free(entry->value);
    map_fini(&source->states);
    for (size_t i = 0; i < LEDGER_PAGE_IDENTITIES; i++)
        mem_free(source->pages[i]);
    mem_free(source);
}

void ledger_fini(struct ledger *ledger)
{
    size_t cursor = 0;
    ledger_unprepare(ledger);
    for (struct map_entry *entry; (entry = map_next(&ledger->datasets, &cursor));)
        mem_free(entry->value);
    cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&ledger->sources, &cursor));)
        source_free(entry->value);
    for (size_t i = 0; i < ledger->pending_count; i++)
        pending_free(ledger->pending[i]);
    map_fini(&ledger->datasets);
    map_fini(&ledger->sources);
    mem_free(ledger->pending);
    mem_free(ledger->staged);
    *ledger = (struct ledger){0};
}

/* ---- entries ---- */

enum err ledger_dataset_ensure(struct ledger *ledger, struct bytes id,
                               struct ledger_dataset **ret_dataset)
{
    struct ledger_dataset *dataset = map_get(&ledger->datasets, id);
    if (!dataset) {
        dataset = mem_zalloc(1, sizeof(*dataset));
        enum err err = dataset ? map_put(&ledger->datasets, id, dataset) : ERR_NO_MEMORY;
        if (err != ERR_OK) {
            mem_free(dataset);
            return err;
        }
    }
    *ret_dataset = dataset;
    return ERR_OK;
}

enum err ledger_source_ensure(struct ledger *ledger, struct bytes id,
                              struct ledger_source **ret_source)
{
    struct ledger_source *source = map_get(&ledger->sources, id);
    if (!source) {
        if (ledger->sources.live_count >= LEDGER_SOURCES_MAX)
            return ERR_TOO_MANY;
        source = mem_zalloc(1, sizeof(*source));
        if (!source)
            return ERR_NO_MEMORY;
        map_init(&source->states);
        enum err err = map_put(&ledger->sources, id, source);
        if (err != ERR_OK) {
            mem_free(source);
            return err;
        }
    }
    *ret_source = source;
    return ERR_OK;
}

enum err ledger_identity_ensure(struct ledger_source *source, uint16_t packet_identifier)
{
    struct ledger_identity **page = &source->pages[packet_identifier / LEDGER_PAGE_IDENTITIES];
    if (!*page)
        *page = mem_zalloc(LEDGER_PAGE_IDENTITIES, sizeof(**page));
    return *page ? ERR_OK : ERR_NO_MEMORY;
}

struct ledger_identity *ledger_identity_at(struct ledger_source *source, uint16_t identifier)
{
    struct ledger_identity *page = source->pages[identifier / LEDGER_PAGE_IDENTITIES];
    return page ? &page[identifier % LEDGER_PAGE_IDENTITIES] : NULL;
}

void ledger_identity_set(struct ledger_source *source, uint16_t packet_identifier,
                         struct ledger_identity identity)
{
    struct ledger_identity *at = ledger_identity_at(source, packet_identifier);
    assert(at);
    source->identity_count += identity.block != 0;
    source->identity_count -= at->block != 0;
    *at = identity;
}

enum err ledger_pending_new(struct bytes body, struct ledger_pending **ret_pending)
{
    struct ledger_pending *pending = mem_zalloc(1, sizeof(*pending));
    uint8_t *copy = mem_dup(body.data, body.size);
    enum err err = pending && copy ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = record_landed_decode(bytes_from(copy, body.size), &pending->landed, &pending->files);
    if (err != ERR_OK) {
        mem_free(copy);
        mem_free(pending);
        return err;
    }
    pending->body = copy;
    pending->body_size = body.size;
    *ret_pending = pending;
    return ERR_OK;
}

enum err ledger_pending_reserve(struct ledger *ledger, size_t count)
{
    size_t wanted = ledger->pending_count + count;
    if (wanted <= ledger->pending_capacity)
        return ERR_OK;
    size_t capacity = ledger->pending_capacity * 2 > wanted ? ledger->pending_capacity * 2 : wanted;
    size_t bytes = capacity * sizeof(*ledger->pending); /* NOLINT: it is an array of pointers */
    void *pending = mem_realloc(ledger->pending, bytes);
    if (!pending)
        return ERR_NO_MEMORY;
    ledger->pending = pending;
    ledger->pending_capacity = capacity;
    return ERR_OK;
}

static void pending_remove_at(struct ledger *ledger, size_t index)
{
    struct ledger_pending *pending = ledger->pending[index];
    ledger_redo_set(ledger, pending, false);
    pending_free(pending);
    ledger->pending_count--;
    for (size_t i = index; i < ledger->pending_count; i++)
        ledger->pending[i] = ledger->pending[i + 1];
}

/* A new LANDED of exactly the same range stands for the old one (journal_redo), and so does the
 * same cut written again. */
static void pending_replace(struct ledger *ledger, const struct landed *landed)
{
    for (size_t i = 0; i < ledger->pending_count; i++) {
        const struct landed *old = &ledger->pending[i]->landed;
        bool same_range = old->after == landed->after && old->through == landed->through &&
                          bytes_equal(old->dataset_id, landed->dataset_id);
        if (same_range || old->cut_id == landed->cut_id) {
            pending_remove_at(ledger, i);
            return;
        }
    }
}

void ledger_pending_add(struct ledger *ledger, struct ledger_pending *take_pending)
{
    assert(ledger->pending_count < ledger->pending_capacity);
    ledger->pending[ledger->pending_count++] = take_pending;
    if (take_pending->landed.cut_id > ledger->cut_id_last)
        ledger->cut_id_last = take_pending->landed.cut_id;
}

static enum err state_value_new(struct bytes value, struct buf **ret_value)
{
    struct buf *copy = mem_zalloc(1, sizeof(*copy));
    if (!copy)
        return ERR_NO_MEMORY;
    buf_init(copy, value.size ? value.size : 1);
    enum err err = buf_append(copy, value.data, value.size);
    if (err != ERR_OK) {
        state_free(copy);
        return err;
    }
    *ret_value = copy;
    return ERR_OK;
}

enum err ledger_state_put(struct ledger *ledger, struct bytes source_id, struct bytes key,
                          struct bytes value)
{
    struct ledger_source *source;
    struct buf *copy = NULL;
    enum err err = ledger_source_ensure(ledger, source_id, &source);
    if (err == ERR_OK)
        err = state_value_new(value, &copy);
    if (err != ERR_OK)
        return err;
    struct buf *old = map_get(&source->states, key);
    err = map_put(&source->states, key, copy);
    state_free(err == ERR_OK ? old : copy);
    return err;
}

/* ---- prepare ---- */

static enum err stage(struct ledger *ledger, void *object)
{
    if (ledger->staged_count == ledger->staged_capacity) {
        size_t capacity = ledger->staged_capacity ? ledger->staged_capacity * 2 : 16;
        void *staged = mem_realloc(ledger->staged, capacity * sizeof(*ledger->staged));
        if (!staged)
            return ERR_NO_MEMORY;
        ledger->staged = staged;
        ledger->staged_capacity = capacity;
    }
    ledger->staged[ledger->staged_count++] = object;
    return ERR_OK;
}

static void staged_free(struct staged_item *item)
{
    if (!item)
        return;
    state_free(item->value);
    pending_free(item->pending);
    mem_free(item);
}

void ledger_unprepare(struct ledger *ledger)
{
    for (size_t i = ledger->staged_taken; i < ledger->staged_count; i++)
        staged_free(ledger->staged[i]);
    ledger->staged_count = ledger->staged_taken = 0;
}

static enum err state_key_ensure(struct ledger *ledger, const struct record_state *state)
{
    struct ledger_source *source;
    enum err err = ledger_source_ensure(ledger, state->source_id, &source);
    if (err != ERR_OK || state->value.size == 0 || map_get(&source->states, state->key))
        return err;
    if (source->states.live_count >= LEDGER_STATES_MAX)
        return ERR_TOO_MANY;
    struct buf *empty = NULL; /* so that the map has room; an empty value means gone */
    err = state_value_new((struct bytes){NULL, 0}, &empty);
    if (err == ERR_OK)
        err = map_put(&source->states, state->key, empty);
    if (err != ERR_OK)
        state_free(empty);
    return err;
}

static enum err state_prepare(struct ledger *ledger, struct bytes body, struct staged_item *item)
{
    struct record_state state;
    enum err err = record_state_decode(body, &state);
    if (err == ERR_OK)
        err = state_key_ensure(ledger, &state);
    if (err == ERR_OK && state.value.size > 0)
        err = state_value_new(state.value, &item->value);
    return err;
}

static enum err landed_prepare(struct ledger *ledger, struct bytes body, struct staged_item *item)
{
    struct ledger_dataset *dataset;
    enum err err = ledger_pending_new(body, &item->pending);
    if (err == ERR_OK)
        err = ledger_pending_reserve(ledger, ledger->staged_count - ledger->staged_taken + 1);
    if (err == ERR_OK)
        err = ledger_dataset_ensure(ledger, item->pending->landed.dataset_id, &dataset);
    return err;
}

/* block_number 0: not given yet */
static enum err staged_prepare(struct ledger *ledger, uint64_t block_number,
                               const struct record_view *record)
{
    struct staged_item *item = mem_zalloc(1, sizeof(*item));
    if (!item)
        return ERR_NO_MEMORY;
    enum err err = record->kind == RECORD_STATE ? state_prepare(ledger, record->body, item)
                                                : landed_prepare(ledger, record->body, item);
    if (err == ERR_OK && item->pending && block_number > 0 &&
        item->pending->landed.through >= block_number)
        err = ERR_CORRUPT; /* it speaks of blocks that were not there yet */
    if (err == ERR_OK)
        err = stage(ledger, item);
    if (err != ERR_OK)
        staged_free(item);
    return err;
}

static enum err record_prepare(struct ledger *ledger, uint64_t block_number,
                               const struct record_view *record)
{
    struct ledger_source *source;
    struct record_identity_free freed;
    struct bytes source_id;
    uint64_t cut_id;
    enum err err = ERR_OK;
    switch (record->kind) {
    case RECORD_STATE:
    case RECORD_LANDED:
        return staged_prepare(ledger, block_number, record);
    case RECORD_SESSION:
        err = record_session_decode(record->body, &source_id);
        return err == ERR_OK ? ledger_source_ensure(ledger, source_id, &source) : err;
    case RECORD_IDENTITY_FREE:
        return record_identity_free_decode(record->body, &freed);
    case RECORD_UPLOADED:
        return record_uploaded_decode(record->body, &cut_id);
    default:
        return ERR_OK;
    }
}

static uint8_t session_of(const struct message_view *message)
{
    return (message->flags & MESSAGE_SESSION) >> MESSAGE_SESSION_SHIFT;
}

static enum err identity_prepare(struct ledger *ledger, struct bytes source_id,
                                 const struct message_view *message)
{
    uint8_t room[RECORD_SESSION_KEY_BYTES];
    struct ledger_source *source;
    enum err err = ledger_source_ensure(
        ledger, record_session_key(source_id, session_of(message), room), &source);
    return err == ERR_OK ? ledger_identity_ensure(source, message->packet_identifier) : err;
}

static enum err routes_prepare(struct ledger *ledger, const struct block *block)
{
    struct bytes source_id;
    struct bytes dataset_id;
    struct ledger_dataset *dataset;
    struct ledger_source *source;
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < block->route_count && err == ERR_OK; i++) {
        if (block->routes[i].message_count == 0)
            continue;
        block_route_ids(block, i, &source_id, &dataset_id);
        err = ledger_dataset_ensure(ledger, dataset_id, &dataset);
        if (err != ERR_OK || block->identity_count == 0)
            continue;
        err = ledger_source_ensure(ledger, source_id, &source);
        for (uint32_t m = block->routes[i].message_first; m != BLOCK_END && err == ERR_OK;
             m = block->messages[m].next) {
            struct message_view message;
            block_message_get(block, m, &message);
            if (!(message.flags & MESSAGE_IDENTITY))
                continue;
            err = (message.flags & MESSAGE_SESSION)
                      ? identity_prepare(ledger, source_id, &message)
                      : ledger_identity_ensure(source, message.packet_identifier);
        }
    }
    return err;
}

static bool block_has_others(const struct block *block)
{
    return block->record_count > block->message_count + block->route_count;
}

enum err ledger_prepare(struct ledger *ledger, const struct block *block, struct diag *diag)
{
    enum err err = routes_prepare(ledger, block);
    struct record_view record;
    size_t cursor = 0;
    while (err == ERR_OK && block_has_others(block) && block_record_next(block, &cursor, &record))
        err = record_prepare(ledger, block->number, &record);
    if (err == ERR_OK)
        return ERR_OK;
    return diag_set(diag, err, "a record of block %llu cannot be taken into the ledger: %s",
                    (unsigned long long)block->number, err_text(err));
}

/* ---- apply ---- */

static struct staged_item *staged_take(struct ledger *ledger)
{
    assert(ledger->staged_taken < ledger->staged_count);
    struct staged_item *item = ledger->staged[ledger->staged_taken++];
    if (ledger->staged_taken == ledger->staged_count)
        ledger->staged_taken = ledger->staged_count = 0;
    return item;
}

static void state_apply(struct ledger *ledger, struct bytes body)
{
    struct record_state state;
    struct staged_item *item = staged_take(ledger);
    enum err err = record_state_decode(body, &state);
    assert(err == ERR_OK);
    struct ledger_source *source = map_get(&ledger->sources, state.source_id);
    /* The key stays with an empty value when the state is gone: its place was made beforehand, and
     * ledger_trim takes it away later. */
    struct buf *value = source ? map_get(&source->states, state.key) : NULL;
    if (value && state.value.size == 0) {
        buf_fini(value);
    } else if (value) {
        struct buf swapped = *value;
        *value = *item->value;
        *item->value = swapped;
    }
    staged_free(item);
}

static void landed_apply(struct ledger *ledger)
{
    struct staged_item *item = staged_take(ledger);
    const struct landed *landed = &item->pending->landed;
    struct ledger_dataset *dataset = map_get(&ledger->datasets, landed->dataset_id);
    uint64_t oldest = ledger->redo_count > 0 ? 0 : dataset->oldest;
    pending_replace(ledger, landed);
    if (landed->through > dataset->landed_through)
        dataset->landed_through = landed->through;
    if (landed->file_count > 0 && landed->through > dataset->filed_through)
        dataset->filed_through = landed->through;
    if (dataset->newest <= dataset->landed_through)
        dataset->oldest = 0;
    else if (dataset->oldest <= dataset->landed_through)
        dataset->oldest = dataset->landed_through + 1;
    ledger_pending_add(ledger, item->pending);
    ledger_oldest_moved(ledger, oldest, dataset->oldest);
    item->pending = NULL;
    staged_free(item);
}

static void uploaded_apply(struct ledger *ledger, struct bytes body)
{
    uint64_t cut_id = 0;
    enum err err = record_uploaded_decode(body, &cut_id);
    assert(err == ERR_OK);
    for (size_t i = 0; i < ledger->pending_count; i++) {
        if (ledger->pending[i]->landed.cut_id == cut_id) {
            pending_remove_at(ledger, i);
            return;
        }
    }
}

static void session_apply(struct ledger *ledger, struct bytes body)
{
    struct bytes source_id;
    enum err err = record_session_decode(body, &source_id);
    assert(err == ERR_OK);
    struct ledger_source *source = map_get(&ledger->sources, source_id);
    for (size_t i = 0; i < LEDGER_PAGE_IDENTITIES; i++)
        if (source->pages[i])
            memset(source->pages[i], 0, LEDGER_PAGE_IDENTITIES * sizeof(*source->pages[i]));
    source->identity_count = 0;
}

static void identity_free_apply(struct ledger *ledger, struct bytes body)
{
    struct record_identity_free freed;
    enum err err = record_identity_free_decode(body, &freed);
    assert(err == ERR_OK);
    struct ledger_source *source = map_get(&ledger->sources, freed.source_id);
    if (!source)
        return;
    if (freed.one) {
        struct ledger_identity *at = ledger_identity_at(source, freed.packet_identifier);
        if (at && at->block)
            ledger_identity_set(source, freed.packet_identifier, (struct ledger_identity){0});
        return;
    }
    for (uint32_t id = 0; id <= UINT16_MAX; id++) {
        struct ledger_identity *at = ledger_identity_at(source, (uint16_t)id);
        if (!at)
            id |= LEDGER_PAGE_IDENTITIES - 1; /* no such page: on to the next */
        else if (at->block && !at->qos_2 && at->block <= freed.through_block)
            ledger_identity_set(source, (uint16_t)id, (struct ledger_identity){0});
    }
}

static void routes_apply(struct ledger *ledger, const struct block *block)
{
    struct bytes source_id;
    struct bytes dataset_id;
    for (uint32_t i = 0; i < block->route_count; i++) {
        if (block->routes[i].message_count == 0)
            continue;
        block_route_ids(block, i, &source_id, &dataset_id);
        struct ledger_dataset *dataset = map_get(&ledger->datasets, dataset_id);
        dataset->newest = block->number;
        if (block->number > dataset->landed_through && dataset->oldest == 0)
            dataset->oldest = block->number;
    }
}

/* The last message's source: the next one has mostly the same. */
struct source_cache {
    struct ledger_source *source;
    struct bytes source_id;
    uint8_t session;
};

static void message_apply(struct ledger *ledger, const struct block *block, uint32_t index,
                          struct source_cache *cache)
{
    struct message_view message;
    struct bytes source_id;
    struct bytes dataset_id;
    block_message_get(block, index, &message);
    if (!(message.flags & MESSAGE_IDENTITY))
        return;
    uint8_t session = session_of(&message);
    block_route_ids(block, message.route_index, &source_id, &dataset_id);
    if (!cache->source || cache->session != session || !bytes_equal(cache->source_id, source_id)) {
        uint8_t room[RECORD_SESSION_KEY_BYTES];
        cache->source = map_get(&ledger->sources, record_session_key(source_id, session, room));
        cache->source_id = source_id;
        cache->session = session;
    }
    ledger_identity_set(cache->source, message.packet_identifier,
                        (struct ledger_identity){.hash = message.identity_hash,
                                                 .block = block->number,
                                                 .qos_2 = message.flags & MESSAGE_QOS_2});
}

/* Records in their order: a session that begins between two messages forgets only the first. */
static void records_apply(struct ledger *ledger, const struct block *block)
{
    struct record_view record;
    struct source_cache cache = {0};
    uint32_t message_index = 0;
    size_t cursor = 0;
    while (block_record_next(block, &cursor, &record)) {
        switch (record.kind) {
        case RECORD_MESSAGE:
            message_apply(ledger, block, message_index++, &cache);
            break;
        case RECORD_STATE:
            state_apply(ledger, record.body);
            break;
        case RECORD_SESSION:
            session_apply(ledger, record.body);
            break;
        case RECORD_IDENTITY_FREE:
            identity_free_apply(ledger, record.body);
            break;
        case RECORD_LANDED:
            landed_apply(ledger);
            break;
        case RECORD_UPLOADED:
            uploaded_apply(ledger, record.body);
            break;
        default:
            break;
        }
    }
}

void ledger_apply(struct ledger *ledger, const struct block *block)
{
    assert(block->number > ledger->applied_through);
    routes_apply(ledger, block);
    if (block->identity_count > 0 || block_has_others(block))
        records_apply(ledger, block);
    ledger->applied_through = block->number;
}

/* ---- trim ---- */

static void states_trim(struct ledger_source *source)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&source->states, &cursor));) {
        if (((const struct buf *)entry->value)->size == 0)
            state_free(map_remove(&source->states, bytes_from(entry->key, entry->key_size)));
    }
}

void ledger_trim(struct ledger *ledger, uint64_t retained_from)
{
    size_t cursor = 0;
    assert(ledger->staged_count == ledger->staged_taken);
    for (struct map_entry *entry; (entry = map_next(&ledger->datasets, &cursor));) {
        struct ledger_dataset *dataset = entry->value;
        if (dataset->oldest == 0 && dataset->newest < retained_from)
            mem_free(map_remove(&ledger->datasets, bytes_from(entry->key, entry->key_size)));
    }
    cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&ledger->sources, &cursor));)
        states_trim(entry->value);
}
