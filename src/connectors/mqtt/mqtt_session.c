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
                          uint64_t block, bool qos_2)
{
    session->identities[packet_identifier] =
        (struct mqtt_identity){.hash = hash, .block = block, .known = true, .qos_2 = qos_2};
    /* One ping after the redeliveries frees what the broker will not send again. */
    if (!qos_2 && block > session->acknowledged_block)
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

enum mqtt_verdict mqtt_session_judge(struct mqtt_session *session, uint8_t qos,
                                     uint16_t packet_identifier, bool dup, uint64_t hash)
{
    const struct mqtt_identity *identity = &session->identities[packet_identifier];
    session->dup_since_ping = session->dup_since_ping || dup;
    if (qos == 2) {
        if (!identity->known || !identity->qos_2)
            return MQTT_NEW;
        return dup || identity->hash == hash ? MQTT_REPEATED : MQTT_REUSED;
    }
    bool repeats = dup && !identity->qos_2 && !is_free(session, identity) && identity->hash == hash;
    return repeats ? MQTT_REPEATED : MQTT_NEW;
}

void mqtt_session_received(struct mqtt_session *session, uint8_t qos, uint16_t packet_identifier,
                           uint64_t hash, uint64_t sequence)
{
    struct mqtt_identity *identity = &session->identities[packet_identifier];
    bool in_window = identity->in_window && qos == 2;
    session->window_count -= identity->in_window && !in_window;
    *identity = (struct mqtt_identity){.hash = hash,
                                       .sequence = sequence,
                                       .known = true,
                                       .qos_2 = qos == 2,
                                       .in_window = in_window};
}

static enum err owe(struct mqtt_session *session, struct mqtt_owed owed)
{
    if (session->owed_count >= MQTT_OWED_MAX - 1)
        return ERR_TOO_MANY;
    uint32_t at = (session->owed_first + session->owed_count++) & (MQTT_OWED_MAX - 1);
    session->owed[at] = owed;
    return ERR_OK;
}

enum err mqtt_session_owe(struct mqtt_session *session, uint8_t qos, uint16_t packet_identifier)
{
    struct mqtt_identity *identity = &session->identities[packet_identifier];
    enum err err = owe(session, (struct mqtt_owed){.sequence = identity->sequence,
                                                   .packet_identifier = packet_identifier,
                                                   .type = qos == 2 ? MQTT_PUBREC : MQTT_PUBACK,
                                                   .in_window = qos == 1});
    if (err != ERR_OK || (qos == 2 && identity->in_window))
        return err;
    identity->in_window = qos == 2;
    session->window_count++;
    return ERR_OK;
}

bool mqtt_session_holds(const struct mqtt_session *session, uint16_t packet_identifier)
{
    const struct mqtt_identity *identity = &session->identities[packet_identifier];
    return identity->known && identity->qos_2;
}

enum err mqtt_session_release(struct mqtt_session *session, uint16_t packet_identifier,
                              uint64_t sequence)
{
    struct mqtt_identity *identity = &session->identities[packet_identifier];
    enum err err = owe(session, (struct mqtt_owed){.sequence = sequence,
                                                   .packet_identifier = packet_identifier,
                                                   .type = MQTT_PUBCOMP,
                                                   .in_window = identity->in_window});
    if (err == ERR_OK)
        *identity = (struct mqtt_identity){0};
    return err;
}

void mqtt_session_durable(struct mqtt_session *session, uint64_t sequence, uint64_t block)
{
    /* Only what is owed can be on its way, and the ring is in the order of sequences. */
    for (uint32_t i = 0; i < session->owed_count; i++) {
        const struct mqtt_owed *owed =
            &session->owed[(session->owed_first + i) & (MQTT_OWED_MAX - 1)];
        if (owed->sequence > sequence)
            break;
        if (owed->type == MQTT_PUBCOMP)
            continue;
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
        mqtt_put_short_ack(out->data + out->size, owed.type, owed.packet_identifier);
        out->size += MQTT_SHORT_ACK_BYTES;
        session->window_count -= owed.in_window;
        if (owed.type != MQTT_PUBACK)
            continue;
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
        const struct mqtt_owed *owed =
            &session->owed[(session->owed_first + i) & (MQTT_OWED_MAX - 1)];
        uint64_t block = session->identities[owed->packet_identifier].block;
        if (owed->type != MQTT_PUBACK)
            continue;
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
