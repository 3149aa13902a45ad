#pragma once
/*
 * What one MQTT session has to remember (contract/data.md "MQTT redelivery"): which message each
 * packet identifier stood for last, and which acknowledgements are owed, in the order of arrival.
 * No I/O and no clock: bytes of acknowledgements go out through a buffer. One thread.
 *
 *   identities   packet identifier -> {hash, sequence, block}; of QoS 1 until freed by a ping, of
 *                QoS 2 (the received set of §4.3.3) until its PUBREL
 *   owed         a ring of {PUBACK, PUBREC or PUBCOMP, packet identifier, sequence}; one is due
 * when its sequence (a PUBCOMP's is that of the release) is durable and all before it are gone
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
    bool qos_2;     /* in the received set */
    bool in_window; /* QoS 2: it counts against the receive maximum of this connection */
};

struct mqtt_owed {
    uint64_t sequence; /* 0: due at once */
    uint16_t packet_identifier;
    uint8_t type;   /* MQTT_PUBACK, MQTT_PUBREC, MQTT_PUBCOMP */
    bool in_window; /* it makes room in the window when it is sent */
};

struct mqtt_session {
    struct mqtt_identity *identities; /* by packet identifier, 65536 */
    struct mqtt_owed *owed;           /* MQTT_OWED_MAX */
    uint32_t owed_first;
    uint32_t owed_count;
    uint32_t window_count; /* messages of this connection that the server counts as in flight */
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
                          uint64_t block, bool qos_2);
/* CONNACK with session present 0. */
void mqtt_session_forget(struct mqtt_session *session);

enum mqtt_verdict {
    MQTT_NEW,      /* mqtt_session_received follows */
    MQTT_REPEATED, /* not to be stored */
    MQTT_REUSED,   /* new, but its identifier is in the received set: a fault of the broker's */
};

/* What a PUBLISH with QoS 1 or 2 is. */
enum mqtt_verdict mqtt_session_judge(struct mqtt_session *session, uint8_t qos,
                                     uint16_t packet_identifier, bool dup, uint64_t hash);
/* A new message was emitted with this sequence. */
void mqtt_session_received(struct mqtt_session *session, uint8_t qos, uint16_t packet_identifier,
                           uint64_t hash, uint64_t sequence);
/* Owes the PUBACK or PUBREC of the identifier's message (new or repeated). ERR_TOO_MANY: the peer
 * has more unacknowledged than there are identifiers. */
enum err mqtt_session_owe(struct mqtt_session *session, uint8_t qos,
                          uint16_t packet_identifier) ERR_MUST_USE;

/* Whether a PUBREL's identifier is in the received set. */
bool mqtt_session_holds(const struct mqtt_session *session, uint16_t packet_identifier);
/* It leaves the set; PUBCOMP is owed when this sequence is durable. */
enum err mqtt_session_release(struct mqtt_session *session, uint16_t packet_identifier,
                              uint64_t sequence) ERR_MUST_USE;

/* All with sequence <= sequence are durable, the last of them in this block. */
void mqtt_session_durable(struct mqtt_session *session, uint64_t sequence, uint64_t block);
/* Appends the acknowledgements that are due; on failure none is taken. */
enum err mqtt_session_acknowledge(struct mqtt_session *session, struct buf *out) ERR_MUST_USE;
static inline uint32_t mqtt_session_owed(const struct mqtt_session *session)
{
    return session->owed_count;
}
/* What the server counts against our receive maximum: messages without PUBACK or PUBCOMP. */
static inline uint32_t mqtt_session_unacknowledged(const struct mqtt_session *session)
{
    return session->window_count;
}

/* Whether a ping would free something, now or after one more round. */
bool mqtt_session_wants_ping(const struct mqtt_session *session);
void mqtt_session_pinged(struct mqtt_session *session);
/* A PINGRESP came. If it is the marked ping's: identities in blocks up to *ret_block are free and
 * to be told to the journal; false: nothing new. */
bool mqtt_session_ponged(struct mqtt_session *session, uint64_t *ret_block);
