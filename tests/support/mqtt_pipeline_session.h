#pragma once
/*
 * The other half of mqtt_pipeline.h: identities and state, kept as the journal does, room for
 * routes, and durable(), which calls messages durable when a test says so. One thread.
 */
#include "support/mqtt_pipeline.h"

void ingest_identities(struct ingest_source *source,
                       void (*on_identity)(void *ctx, uint16_t packet_identifier,
                                           const struct ingest_identity *identity),
                       void *ctx)
{
    (void)source;
    for (uint32_t i = 0; i < 65536; i++)
        if (pipeline.known[i])
            on_identity(ctx, (uint16_t)i, &pipeline.identities[i]);
}

bool ingest_routes_full(const struct ingest_source *source)
{
    (void)source;
    return false;
}

enum err ingest_session_new(struct ingest_source *source)
{
    (void)source;
    memset(pipeline.known, 0, sizeof(pipeline.known));
    pipeline.sessions_new++;
    return ERR_OK;
}

enum err ingest_identities_free(struct ingest_source *source, uint64_t block_number)
{
    (void)source;
    pipeline.freed_block = block_number;
    return ERR_OK;
}

enum err ingest_identity_release(struct ingest_source *source, uint16_t packet_identifier,
                                 uint64_t *ret_sequence)
{
    if (pipeline.refuse)
        return ERR_NO_MEMORY;
    *ret_sequence = ++source->sequence;
    pipeline.released[pipeline.released_count++] =
        (struct released){*ret_sequence, packet_identifier};
    return ERR_OK;
}

static inline struct buf *state_find(struct bytes key)
{
    return map_get(&pipeline.states, key);
}

enum err ingest_state_put(struct ingest_source *source, struct bytes key, struct bytes value)
{
    (void)source;
    struct buf *kept = state_find(key);
    if (!kept) {
        kept = mem_zalloc(1, sizeof(*kept));
        if (!kept)
            return ERR_NO_MEMORY;
        buf_init(kept, 1 << 20);
        if (map_put(&pipeline.states, key, kept) != ERR_OK) {
            mem_free(kept);
            return ERR_NO_MEMORY;
        }
    }
    buf_clear(kept);
    return buf_append(kept, value.data, value.size);
}

enum err ingest_state_get(struct ingest_source *source, struct bytes key, struct buf *ret_value)
{
    (void)source;
    struct buf *kept = state_find(key);
    return !kept || kept->size == 0 ? ERR_NOT_FOUND : buf_append(ret_value, kept->data, kept->size);
}

static inline void identity_keep(const struct ingest_message *message, uint64_t block)
{
    struct ingest_identity *identity = &pipeline.identities[message->packet_identifier];
    if (!message->has_identity)
        return;
    if (!pipeline.known[message->packet_identifier] || identity->hash != message->identity_hash)
        *identity = (struct ingest_identity){
            .hash = message->identity_hash, .block = block, .qos_2 = message->qos_2};
    pipeline.known[message->packet_identifier] = true;
}

/* All that the first source emitted and released up to sequence becomes durable, as one block. */
static inline void durable(uint64_t sequence)
{
    uint64_t block = ++pipeline.block;
    uint32_t release = 0;
    for (uint32_t i = pipeline.emitted_first; i <= pipeline.emitted_count; i++) {
        bool is_last = i == pipeline.emitted_count || pipeline.emitted[i].sequence > sequence;
        uint64_t next = is_last ? sequence + 1 : pipeline.emitted[i].sequence;
        for (; release < pipeline.released_count && pipeline.released[release].sequence < next;
             release++)
            pipeline.known[pipeline.released[release].packet_identifier] = false;
        if (is_last)
            break;
        identity_keep(&pipeline.emitted[i].message, block);
    }
    pipeline.sources[0]->ops->on_durable(pipeline.sources[0]->ctx, sequence, block);
}

static inline void pipeline_clear(void)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&pipeline.states, &cursor));) {
        buf_fini(entry->value);
        mem_free(entry->value);
    }
    map_fini(&pipeline.states);
    assert_int_equal(pipeline.source_count, 0);
    struct emitted *emitted = pipeline.emitted;
    memset(&pipeline, 0, sizeof(pipeline));
    pipeline.emitted = emitted;
}
