#include "connectors/mqtt/mqtt_session.h"

#include "base/alloc.h"
#include "codec/mqtt_encode.h"

#define IDENTITIES 65536

enum err mqtt_session_init(struct mqtt_session *session)
{
    *session = (struct mqtt_session){0};
    /* Both are zero pages until used. */
    session->identities = mem_zalloc(IDENTITIES, sizeof(struct mqtt_identity));
    session->owed = mem_zalloc(MQTT_OWED_MAX, sizeof(struct mqtt_owed));
    if (session->identities && session->owed)
        return ERR_OK;
    mqtt_session_fini(session);
    return ERR_NO_MEMORY;
}

void mqtt_session_fini(struct mqtt_session *session)
{
    mem_free(session->identities);
    mem_free(session->owed);
    *session = (struct mqtt_session){0};
}

void mqtt_session_recover(struct mqtt_session *session, uint16_t packet_identifier, uint64_t hash,
                          uint64_t block)
{
    session->identities[packet_identifier] =
        (struct mqtt_identity){.hash = hash, .block = block, .known = true};
    /* One ping after the redeliveries frees what the broker will not send again. */
    if (block > session->acknowledged_block)
        session->acknowledged_block = block;
}

void mqtt_session_forget(struct mqtt_session *session)
{
    memset(session->identities, 0, IDENTITIES * sizeof(struct mqtt_identity));
    session->acknowledged_block = 0;
    session->freed_block = 0;
    session->redelivery_over = true; /* a new session has nothing to send again */
}

static bool is_free(const struct mqtt_session *session, const struct mqtt_identity *identity)
{
    return !identity->known || (identity->block != 0 && identity->block <= session->freed_block);
}

bool mqtt_session_repeats(struct mqtt_session *session, uint16_t packet_identifier, bool dup,
                          uint64_t hash)
{
    if (!dup)
        return false;
    session->dup_since_ping = true;
    const struct mqtt_identity *identity = &session->identities[packet_identifier];
    return !is_free(session, identity) && identity->hash == hash;
}

void mqtt_session_received(struct mqtt_session *session, uint16_t packet_identifier, uint64_t hash,
                           uint64_t sequence)
{
    session->identities[packet_identifier] =
        (struct mqtt_identity){.hash = hash, .sequence = sequence, .known = true};
}

enum err mqtt_session_owe(struct mqtt_session *session, uint16_t packet_identifier)
{
    if (session->owed_count >= MQTT_OWED_MAX - 1)
        return ERR_TOO_MANY;
    uint32_t at = (session->owed_first + session->owed_count++) & (MQTT_OWED_MAX - 1);
    session->owed[at] =
        (struct mqtt_owed){session->identities[packet_identifier].sequence, packet_identifier};
    return ERR_OK;
}

void mqtt_session_durable(struct mqtt_session *session, uint64_t sequence, uint64_t block)
{
    /* Only what is owed can be on its way, and the ring is in the order of sequences. */
    for (uint32_t i = 0; i < session->owed_count; i++) {
        const struct mqtt_owed *owed =
            &session->owed[(session->owed_first + i) & (MQTT_OWED_MAX - 1)];
        if (owed->sequence > sequence)
            break;
        struct mqtt_identity *identity = &session->identities[owed->packet_identifier];
        if (identity->sequence == owed->sequence && identity->block == 0)
            identity->block = block;
    }
    session->durable_sequence = sequence;
}

static uint32_t due_count(const struct mqtt_session *session)
{
    uint32_t count = 0;
    while (count < session->owed_count &&
           session->owed[(session->owed_first + count) & (MQTT_OWED_MAX - 1)].sequence <=
               session->durable_sequence)
        count++;
    return count;
}

enum err mqtt_session_acknowledge(struct mqtt_session *session, struct buf *out)
{
    uint32_t count = due_count(session);
    enum err err = buf_reserve(out, (size_t)count * MQTT_SHORT_ACK_BYTES);
    if (err != ERR_OK)
        return err;
    for (uint32_t i = 0; i < count; i++) {
        struct mqtt_owed owed = session->owed[session->owed_first];
        session->owed_first = (session->owed_first + 1) & (MQTT_OWED_MAX - 1);
        mqtt_put_short_ack(out->data + out->size, MQTT_PUBACK, owed.packet_identifier);
        out->size += MQTT_SHORT_ACK_BYTES;
        uint64_t block = session->identities[owed.packet_identifier].block;
        if (block > session->acknowledged_block)
            session->acknowledged_block = block;
    }
    session->owed_count -= count;
    session->acknowledged_count += count;
    return ERR_OK;
}

bool mqtt_session_wants_ping(const struct mqtt_session *session)
{
    return !session->ping_is_out && session->acknowledged_block > session->freed_block;
}

/* A late repetition is owed although its block was acknowledged long ago: it stays known. */
static uint64_t block_without_owed(const struct mqtt_session *session, uint64_t block_number)
{
    for (uint32_t i = 0; i < session->owed_count; i++) {
        uint16_t packet_identifier =
            session->owed[(session->owed_first + i) & (MQTT_OWED_MAX - 1)].packet_identifier;
        uint64_t block = session->identities[packet_identifier].block;
        if (block != 0 && block <= block_number)
            block_number = block - 1;
    }
    return block_number;
}

void mqtt_session_pinged(struct mqtt_session *session)
{
    uint32_t before = session->pings_out++;
    if (session->ping_is_out)
        return;
    session->ping_is_out = true;
    session->ping_wait = before;
    session->dup_since_ping = false;
    session->ping_block = block_without_owed(session, session->acknowledged_block);
}

bool mqtt_session_ponged(struct mqtt_session *session, uint64_t *ret_block)
{
    if (session->pings_out == 0)
        return false; /* nobody asked */
    session->pings_out--;
    if (!session->ping_is_out)
        return false;
    if (session->ping_wait > 0) {
        session->ping_wait--;
        return false;
    }
    session->ping_is_out = false;
    if (!session->redelivery_over) {
        session->redelivery_over = !session->dup_since_ping;
        return false;
    }
    if (session->ping_block <= session->freed_block)
        return false;
    session->freed_block = session->ping_block;
    *ret_block = session->ping_block;
    return true;
}
