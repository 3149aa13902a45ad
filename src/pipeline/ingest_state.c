/* What a source keeps across restarts: its state and its sessions' identities. And what it is told
 * of its messages when they were decoded. */
#include "pipeline/ingest_parts.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "journal/record.h"
#include "pipeline/rejections.h"

#include <assert.h>

#define INGEST_STATE_BYTES_MAX (1 * MIB)

static enum err record_add(struct ingest_source *source, enum record_kind kind,
                           const struct buf *body)
{
    if (body->err != ERR_OK)
        return body->err;
    enum err err = ingest_block_ready(source->loop);
    if (err != ERR_OK)
        return err;
    return block_add_record(source->loop->open->block, kind, buf_bytes(body));
}

static enum err state_keep(struct ingest_source *source, struct bytes key, struct bytes value)
{
    struct buf *kept = map_get(&source->states, key);
    if (!kept) {
        kept = mem_zalloc(1, sizeof(*kept));
        if (!kept)
            return ERR_NO_MEMORY;
        buf_init(kept, INGEST_STATE_BYTES_MAX);
        enum err err = map_put(&source->states, key, kept);
        if (err != ERR_OK) {
            mem_free(kept);
            return err;
        }
    }
    buf_clear(kept);
    return buf_append(kept, value.data, value.size);
}

enum err ingest_state_put(struct ingest_source *source, struct bytes key, struct bytes value)
{
    struct buf body;
    buf_init(&body, INGEST_STATE_BYTES_MAX);
    enum err err = record_state_encode(&body, source_id(source), key, value);
    if (err == ERR_OK)
        err = state_keep(source, key, value);
    if (err == ERR_OK)
        err = record_add(source, RECORD_STATE, &body);
    buf_fini(&body);
    return err;
}

enum err ingest_state_get(struct ingest_source *source, struct bytes key, struct buf *ret_value)
{
    struct buf *kept = map_get(&source->states, key);
    if (kept)
        return kept->size == 0 ? ERR_NOT_FOUND : buf_append(ret_value, kept->data, kept->size);
    const struct ingest_sink *sink = &source->loop->sink;
    return sink->state_get ? sink->state_get(sink->ctx, source_id(source), key, ret_value)
                           : ERR_NOT_FOUND;
}

struct identity_walk {
    void (*on_identity)(void *ctx, uint16_t packet_identifier,
                        const struct ingest_identity *identity);
    void *ctx;
};

static void on_ledger_identity(void *ctx, uint16_t packet_identifier, uint64_t hash, uint64_t block,
                               bool qos_2)
{
    struct identity_walk *walk = ctx;
    walk->on_identity(walk->ctx, packet_identifier,
                      &(struct ingest_identity){.hash = hash, .block = block, .qos_2 = qos_2});
}

void ingest_source_session(struct ingest_source *source, uint8_t session)
{
    assert(session < MESSAGE_SESSIONS_MAX);
    source->session = session;
}

static struct bytes session_key(const struct ingest_source *source,
                                uint8_t room[RECORD_SESSION_KEY_BYTES])
{
    return record_session_key(source_id(source), source->session, room);
}

void ingest_identities(struct ingest_source *source,
                       void (*on_identity)(void *ctx, uint16_t packet_identifier,
                                           const struct ingest_identity *identity),
                       void *ctx)
{
    struct identity_walk walk = {on_identity, ctx};
    uint8_t room[RECORD_SESSION_KEY_BYTES];
    const struct ingest_sink *sink = &source->loop->sink;
    if (sink->identities)
        sink->identities(sink->ctx, session_key(source, room), on_ledger_identity, &walk);
}

enum err ingest_session_new(struct ingest_source *source)
{
    uint8_t room[RECORD_SESSION_KEY_BYTES];
    struct buf body;
    buf_init(&body, INGEST_STATE_BYTES_MAX);
    enum err err = record_session_encode(&body, session_key(source, room));
    if (err == ERR_OK)
        err = record_add(source, RECORD_SESSION, &body);
    buf_fini(&body);
    return err;
}

enum err ingest_identities_free(struct ingest_source *source, uint64_t block_number)
{
    uint8_t room[RECORD_SESSION_KEY_BYTES];
    struct buf body;
    buf_init(&body, INGEST_STATE_BYTES_MAX);
    enum err err = record_identities_free_encode(&body, session_key(source, room), block_number);
    if (err == ERR_OK)
        err = record_add(source, RECORD_IDENTITY_FREE, &body);
    buf_fini(&body);
    return err;
}

enum err ingest_identity_release(struct ingest_source *source, uint16_t packet_identifier,
                                 uint64_t *ret_sequence)
{
    struct ingest_loop *loop = source->loop;
    uint8_t room[RECORD_SESSION_KEY_BYTES];
    struct buf body;
    buf_init(&body, INGEST_STATE_BYTES_MAX);
    enum err err =
        record_identity_release_encode(&body, session_key(source, room), packet_identifier);
    if (err == ERR_OK)
        err = ingest_block_ready(loop);
    if (err == ERR_OK)
        err = ingest_ack_entry(source);
    if (err == ERR_OK)
        err = record_add(source, RECORD_IDENTITY_FREE, &body);
    buf_fini(&body);
    if (err != ERR_OK)
        return err;
    *ret_sequence = ++source->sequence;
    loop->open->acks[source->ack_index].sequence = source->sequence;
    loop->ack_waiting = true;
    if (loop->open->block->size_bytes >= LIMIT_BLOCK_CLOSE_BYTES)
        ingest_block_submit(loop);
    return ERR_OK;
}

/* --- what the workers saw --- */

enum err ingest_watch_rejections(struct ingest_source *source)
{
    return account_watch_rejections(source->account);
}

bool ingest_rejection(const struct ingest_source *source, struct bytes topic,
                      struct ingest_rejection *ret_rejection)
{
    struct rejections *rejections = atomic_load(&source->account->rejections);
    return rejections && rejections_get(rejections, topic, ret_rejection);
}
