#pragma once
/*
 * What one MQTT session has to remember (contract/data.md "MQTT redelivery"): which message each
 * packet identifier stood for last, and which acknowledgements are owed, in the order of arrival.
 * No I/O and no clock: bytes of acknowledgements go out through a buffer. One thread.
 *
 *   identities   packet identifier -> {hash, sequence, block}, until freed by a ping
 *   owed         a ring of {packet identifier, sequence}; one is due when its sequence is durable
 * and all before it are gone
 *
 * Freeing. A PINGRESP tells that the broker has read our PUBACKs sent before the ping, so
 * identifiers of messages in those blocks may stand for something new. But what was recovered may
 * yet come again after a reconnect, and a broker sends that before anything new: so nothing is
 * freed before one whole ping went round without any DUP.
 *
 * Bounded: 65,535 identities, 65,535 owed acknowledgements.
 */
#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define MQTT_OWED_MAX 65536 /* a power of two; one more than there are identifiers */

struct mqtt_identity {
    uint64_t hash;
    uint64_t sequence; /* of the message in this connection; 0: recovered, so durable */
    uint64_t block;    /* 0: on its way */
    bool known;
};

struct mqtt_owed {
    uint64_t sequence; /* 0: due at once */
    uint16_t packet_identifier;
};

struct mqtt_session {
    struct mqtt_identity *identities; /* by packet identifier, 65536 */
    struct mqtt_owed *owed;           /* MQTT_OWED_MAX */
    uint32_t owed_first;
    uint32_t owed_count;
    uint64_t durable_sequence;
    uint64_t acknowledged_block; /* all owed in blocks up to it were acknowledged */
    uint64_t freed_block;
    uint64_t ping_block; /* acknowledged_block when the ping was sent */
    uint32_t pings_out;  /* not answered yet, keep-alive's included */
    uint32_t ping_wait;  /* answers to come before that of the marked ping */
    bool ping_is_out;    /* the marked one, whose answer frees ping_block */
    bool dup_since_ping;
    bool redelivery_over;
    uint64_t acknowledged_count;
};

enum err mqtt_session_init(struct mqtt_session *session) ERR_MUST_USE;
void mqtt_session_fini(struct mqtt_session *session);

/* What the journal recovered; before the first message. */
void mqtt_session_recover(struct mqtt_session *session, uint16_t packet_identifier, uint64_t hash,
                          uint64_t block);
/* CONNACK with session present 0. */
void mqtt_session_forget(struct mqtt_session *session);

/* Whether a QoS 1 PUBLISH is a repetition. When it is not, mqtt_session_received follows. */
bool mqtt_session_repeats(struct mqtt_session *session, uint16_t packet_identifier, bool dup,
                          uint64_t hash);
/* A new message was emitted with this sequence. */
void mqtt_session_received(struct mqtt_session *session, uint16_t packet_identifier, uint64_t hash,
                           uint64_t sequence);
/* Owes the acknowledgement of the identifier's message (new or repeated). ERR_TOO_MANY: the peer
 * has more unacknowledged than there are identifiers. */
enum err mqtt_session_owe(struct mqtt_session *session, uint16_t packet_identifier) ERR_MUST_USE;

/* All with sequence <= sequence are durable, the last of them in this block. */
void mqtt_session_durable(struct mqtt_session *session, uint64_t sequence, uint64_t block);
/* Appends the PUBACKs that are due; on failure none is taken. */
enum err mqtt_session_acknowledge(struct mqtt_session *session, struct buf *out) ERR_MUST_USE;
static inline uint32_t mqtt_session_unacknowledged(const struct mqtt_session *session)
{
    return session->owed_count;
}

/* Whether a ping would free something, now or after one more round. */
bool mqtt_session_wants_ping(const struct mqtt_session *session);
void mqtt_session_pinged(struct mqtt_session *session);
/* A PINGRESP came. If it is the marked ping's: identities in blocks up to *ret_block are free and
 * to be told to the journal; false: nothing new. */
bool mqtt_session_ponged(struct mqtt_session *session, uint64_t *ret_block);
