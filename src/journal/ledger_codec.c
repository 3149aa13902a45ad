/*
 * The checkpoint: the ledger as records. It may take several blocks; a block closes at
 * CHECKPOINT_BLOCK_BYTES. The last record says how many there were, so that a checkpoint of which
 * a block is missing is known to be incomplete.
 */
#include "base/alloc.h"
#include "journal/ledger.h"

#define CHECKPOINT_BLOCK_BYTES (256 * KIB)
#define IDENTITY_RECORD_BYTES  (2 + 1 + 8 + 8)
#define IDENTITIES_PER_RECORD  4096

void block_list_fini(struct block_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        block_unref(list->blocks[i]);
    mem_free(list->blocks);
    *list = (struct block_list){0};
}

enum err block_list_add(struct block_list *list, struct block *take_block)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 8;
        size_t bytes = capacity * sizeof(*list->blocks); /* NOLINT: it is an array of pointers */
        void *blocks = mem_realloc(list->blocks, bytes);
        if (!blocks)
            return ERR_NO_MEMORY;
        list->blocks = blocks;
        list->capacity = capacity;
    }
    list->blocks[list->count++] = take_block;
    return ERR_OK;
}

struct encoder {
    struct block_list *list;
    struct buf body;
    uint64_t record_count;
    enum err err;
};

static enum err encoder_block_new(struct encoder *encoder)
{
    struct block *block = NULL;
    enum err err = block_new(4096, &block);
    if (err == ERR_OK)
        err = block_list_add(encoder->list, block);
    if (err != ERR_OK)
        block_unref(block);
    return err;
}

static void encoder_put(struct encoder *encoder, enum checkpoint_record kind, struct bytes body)
{
    struct block_list *list = encoder->list;
    if (encoder->err == ERR_OK &&
        (list->count == 0 || list->blocks[list->count - 1]->size_bytes >= CHECKPOINT_BLOCK_BYTES))
        encoder->err = encoder_block_new(encoder);
    if (encoder->err == ERR_OK)
        encoder->err =
            block_add_record(list->blocks[list->count - 1], (enum record_kind)kind, body);
    encoder->record_count++;
}

/* The body that was appended; empties it. */
static void encoder_flush(struct encoder *encoder, enum checkpoint_record kind)
{
    if (encoder->err == ERR_OK)
        encoder->err = encoder->body.err;
    encoder_put(encoder, kind, buf_bytes(&encoder->body));
    buf_clear(&encoder->body);
}

static void datasets_encode(struct encoder *encoder, const struct ledger *ledger)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&ledger->datasets, &cursor));) {
        const struct ledger_dataset *dataset = entry->value;
        if (dataset->newest == 0 && dataset->landed_through == 0)
            continue;
        record_append_text16(&encoder->body, bytes_from(entry->key, entry->key_size));
        buf_u64(&encoder->body, dataset->landed_through);
        buf_u64(&encoder->body, dataset->oldest);
        buf_u64(&encoder->body, dataset->newest);
        buf_u64(&encoder->body, dataset->filed_through);
        encoder_flush(encoder, CHECKPOINT_DATASET);
    }
}

static void states_encode(struct encoder *encoder, struct bytes source_id,
                          const struct ledger_source *source)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&source->states, &cursor));) {
        const struct buf *value = entry->value;
        if (value->size == 0)
            continue;
        enum err err = record_state_encode(
            &encoder->body, source_id, bytes_from(entry->key, entry->key_size), buf_bytes(value));
        if (encoder->err == ERR_OK)
            encoder->err = err;
        encoder_flush(encoder, CHECKPOINT_STATE);
    }
}

struct identities_encoder {
    struct encoder *encoder;
    struct bytes source_id;
    size_t count_offset;
    uint32_t count; /* in the open record */
};

static void identities_flush(struct identities_encoder *identities)
{
    struct encoder *encoder = identities->encoder;
    if (identities->count == 0)
        return;
    if (encoder->body.err == ERR_OK)
        store_u32(encoder->body.data + identities->count_offset, identities->count);
    encoder_flush(encoder, CHECKPOINT_IDENTITIES);
    identities->count = 0;
}

static void identity_encode(void *ctx, uint16_t packet_identifier, uint64_t hash, uint64_t block,
                            bool qos_2)
{
    struct identities_encoder *identities = ctx;
    struct buf *body = &identities->encoder->body;
    if (identities->count == 0) {
        record_append_text16(body, identities->source_id);
        identities->count_offset = body->size;
        buf_u32(body, 0);
    }
    buf_u16(body, packet_identifier);
    buf_byte(body, qos_2);
    buf_u64(body, hash);
    buf_u64(body, block);
    if (++identities->count == IDENTITIES_PER_RECORD)
        identities_flush(identities);
}

static void sources_encode(struct encoder *encoder, const struct ledger *ledger)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&ledger->sources, &cursor));) {
        struct bytes id = bytes_from(entry->key, entry->key_size);
        struct identities_encoder identities = {.encoder = encoder, .source_id = id};
        states_encode(encoder, id, entry->value);
        ledger_identities(ledger, id, identity_encode, &identities);
        identities_flush(&identities);
    }
}

enum err ledger_encode(const struct ledger *ledger, struct bytes first_record,
                       struct block_list *ret_blocks)
{
    struct encoder encoder = {.list = ret_blocks};
    buf_init(&encoder.body, LIMIT_BLOCK_BYTES);
    encoder_put(&encoder, CHECKPOINT_SEGMENT, first_record);
    buf_u64(&encoder.body, ledger->applied_through);
    buf_u64(&encoder.body, ledger->cut_id_last);
    encoder_flush(&encoder, CHECKPOINT_TOTALS);
    datasets_encode(&encoder, ledger);
    for (size_t i = 0; i < ledger->pending_count; i++)
        encoder_put(&encoder, CHECKPOINT_PENDING,
                    bytes_from(ledger->pending[i]->body, ledger->pending[i]->body_size));
    sources_encode(&encoder, ledger);
    buf_u64(&encoder.body, encoder.record_count);
    encoder_flush(&encoder, CHECKPOINT_END);
    buf_fini(&encoder.body);
    return encoder.err;
}

/* ---- decoding ---- */

static enum err dataset_decode(struct ledger *ledger, struct bytes body)
{
    struct record_reader reader = record_reader_of(body);
    struct bytes id = record_text16(&reader);
    struct ledger_dataset values, *dataset;
    values.landed_through = record_u64(&reader);
    values.oldest = record_u64(&reader);
    values.newest = record_u64(&reader);
    values.filed_through = record_end(&reader) ? 0 : record_u64(&reader);
    if (!record_end(&reader))
        return ERR_CORRUPT;
    enum err err = ledger_dataset_ensure(ledger, id, &dataset);
    if (err == ERR_OK)
        *dataset = values;
    return err;
}

static enum err pending_decode(struct ledger *ledger, struct bytes body)
{
    struct ledger_pending *pending = NULL;
    enum err err = ledger_pending_reserve(ledger, 1);
    if (err == ERR_OK)
        err = ledger_pending_new(body, &pending);
    if (err == ERR_OK)
        ledger_pending_add(ledger, pending);
    return err;
}

static enum err state_decode(struct ledger *ledger, struct bytes body)
{
    struct record_state state;
    enum err err = record_state_decode(body, &state);
    return err == ERR_OK ? ledger_state_put(ledger, state.source_id, state.key, state.value) : err;
}

static enum err identities_decode(struct ledger *ledger, struct bytes body)
{
    struct record_reader reader = record_reader_of(body);
    struct bytes source_id = record_text16(&reader);
    uint32_t count = record_u32(&reader);
    struct ledger_source *source;
    if (reader.bad || reader.left != (uint64_t)count * IDENTITY_RECORD_BYTES)
        return ERR_CORRUPT;
    enum err err = ledger_source_ensure(ledger, source_id, &source);
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        struct ledger_identity identity = {0};
        uint16_t packet_identifier = record_u16(&reader);
        identity.qos_2 = *record_bytes(&reader, 1).data != 0;
        identity.hash = record_u64(&reader);
        identity.block = record_u64(&reader);
        err = ledger_identity_ensure(source, packet_identifier);
        if (err == ERR_OK)
            ledger_identity_set(source, packet_identifier, identity);
    }
    return err;
}

static enum err totals_decode(struct ledger *ledger, struct bytes body)
{
    struct record_reader reader = record_reader_of(body);
    ledger->applied_through = record_u64(&reader);
    ledger->cut_id_last = record_u64(&reader);
    return record_end(&reader) ? ERR_OK : ERR_CORRUPT;
}

static enum err checkpoint_record_decode(struct ledger *ledger, const struct record_view *record,
                                         uint64_t record_index, bool *ret_end)
{
    struct record_reader reader = record_reader_of(record->body);
    switch ((enum checkpoint_record)record->kind) {
    case CHECKPOINT_SEGMENT:
        return ERR_OK;
    case CHECKPOINT_TOTALS:
        return totals_decode(ledger, record->body);
    case CHECKPOINT_DATASET:
        return dataset_decode(ledger, record->body);
    case CHECKPOINT_PENDING:
        return pending_decode(ledger, record->body);
    case CHECKPOINT_STATE:
        return state_decode(ledger, record->body);
    case CHECKPOINT_IDENTITIES:
        return identities_decode(ledger, record->body);
    case CHECKPOINT_END:
        *ret_end = true;
        return record_u64(&reader) == record_index && record_end(&reader) ? ERR_OK : ERR_CORRUPT;
    }
    return ERR_CORRUPT;
}

enum err ledger_decode(struct ledger *ledger, const struct block *block, uint64_t *record_index,
                       bool *ret_end, struct diag *diag)
{
    struct record_view record;
    size_t cursor = 0;
    enum err err = ERR_OK;
    *ret_end = false;
    while (err == ERR_OK && block_record_next(block, &cursor, &record)) {
        err = *ret_end ? ERR_CORRUPT
                       : checkpoint_record_decode(ledger, &record, *record_index, ret_end);
        ++*record_index;
    }
    if (err == ERR_OK)
        return ERR_OK;
    return diag_set(diag, err, "checkpoint record %llu cannot be read: %s",
                    (unsigned long long)*record_index, err_text(err));
}
