#pragma once
/*
 * What a connector sees of the pipeline: routes, and emit. A connector never parses business data
 * and never touches storage; it frames, names the route and emits, and is told when what it emitted
 * is durable.
 *
 * Everything here belongs to one I/O loop's thread: a source is opened, used and closed on it, and
 * its callbacks run on it. Nothing here blocks, and emit does not allocate in the steady state.
 *
 * Order: messages of a source become durable in the order of their emission; on_durable(n) says
 * that all with sequence <= n are. The first emission after ingest_source_open has sequence 1.
 *
 * Pressure: emit always takes the message unless it returns an error (nothing is dropped inside);
 * on_pause asks the connector to stop reading soon, on_resume to go on. They alternate.
 */
#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"
#include "journal/block.h"

#include <stdbool.h>
#include <stdint.h>

struct ingest_loop;   /* the I/O loop's open block; made by the pipeline */
struct ingest_source; /* one running source */
struct ingest_route;  /* one topic, resource or endpoint of a source */

struct ingest_source_ops {
    void (*on_durable)(void *ctx, uint64_t sequence, uint64_t block_number);
    void (*on_pause)(void *ctx);
    void (*on_resume)(void *ctx);
};

/* source_id and source_type are copied. *ret_source is freed by ingest_source_close, after which no
 * callback comes (messages already emitted stay emitted). */
enum err ingest_source_open(struct ingest_loop *loop, struct bytes source_id,
                            struct bytes source_type, const struct ingest_source_ops *ops,
                            void *ctx, struct ingest_source **ret_source) ERR_MUST_USE;
void ingest_source_close(struct ingest_source *source);

/* Encodes a route once. source_id, source_type and the partition rule are filled in here. The
 * dataset id is used as given (make it with ingest_dataset_id). */
enum err ingest_route_new(struct ingest_source *source, const struct route_view *view,
                          struct ingest_route **ret_route) ERR_MUST_USE;
void ingest_route_free(struct ingest_route *route);
/* The routes of all sources of the loop hold their share of the memory: who keeps many, so as not
 * to encode them again, gives his up before he adds one. */
bool ingest_routes_full(const struct ingest_source *source);

/* Appends "<source id>_<topic>" with / -> _, # -> wildcard, + -> plus to out (contract/data.md
 * "DataMessage"); levels > 0: only that many leading levels. Over 200 bytes: cut and ended by a
 * hash. */
struct buf;
enum err ingest_dataset_id(struct bytes source_id, struct bytes topic, uint32_t levels,
                           struct buf *out) ERR_MUST_USE;

struct ingest_message {
    struct bytes payload;
    struct bytes extras;        /* message_field_append; values of the route's per_message fields */
    int64_t arrival_us;         /* one clock reading per network read is enough */
    bool wants_acknowledgement; /* somebody waits for on_durable: do not let the block linger */
    bool has_identity;          /* MQTT QoS > 0 */
    bool qos_2;
    uint16_t packet_identifier;
    uint64_t identity_hash;
};

/* Copies the message into the open block. ERR_NO_MEMORY or ERR_TOO_LARGE: not taken. */
enum err ingest_emit(struct ingest_route *route, const struct ingest_message *message,
                     uint64_t *ret_sequence) ERR_MUST_USE;

/* What cannot become a record (oversize, …): a dead letter of the route's dataset, durable and
 * acknowledged like any message. reason is a short word ("oversize"), detail a sentence; of the
 * payload at most 64 KiB are kept. */
enum err ingest_reject(struct ingest_route *route, const struct ingest_message *message,
                       const char *reason, const char *detail, uint64_t *ret_sequence) ERR_MUST_USE;

/* What of a topic became dead letters, once its source has asked for it: a payload is decoded after
 * it was emitted, and whose health it is only the connector can say. Since the process began. */
struct ingest_rejection {
    uint64_t messages;
    int64_t arrival_us; /* of the last */
    const char *reason; /* of the last: static texts; NULL: ingest_reject took it */
    const char *detail;
};
enum err ingest_watch_rejections(struct ingest_source *source) ERR_MUST_USE;
/* false: none that is known. */
bool ingest_rejection(const struct ingest_source *source, struct bytes topic,
                      struct ingest_rejection *ret_rejection);

/* A repetition that is not stored, for the accounting (received and repeated each grow by one). */
void ingest_count_repeated(struct ingest_route *route, uint64_t bytes);

/* The read is over: what was emitted may go to the disk now if the disk is idle. Call it once after
 * each batch of emissions. */
void ingest_end_of_read(struct ingest_source *source);

/* A group: all that this source emits and puts between begin and end becomes durable together or
 * not at all, whatever number of blocks it takes (its messages and states, at most
 * INGEST_GROUP_BYTES_MAX as ingest_group_bytes counts them). Begin, emit, put and end in one go:
 * what others on the loop emit meanwhile joins the group and waits for its end. When an emission
 * fails, keep the group open, and go on later where it failed. end is an ingest_end_of_read too. */
#define INGEST_GROUP_BYTES_MAX    (96 * MIB) /* LIMIT_GROUP_BYTES without routes and padding */
#define INGEST_MESSAGE_COST_BYTES 32
void ingest_group_begin(struct ingest_source *source);
void ingest_group_end(struct ingest_source *source);
/* What so many messages with so many bytes of payload in all take of it, at most. */
static inline uint64_t ingest_group_bytes(uint64_t messages, uint64_t payload_bytes)
{
    return payload_bytes + messages * INGEST_MESSAGE_COST_BYTES;
}

/* MQTT sessions. What the journal recovered of this source's session: the identities of its last
 * messages by packet identifier. Returns false and 0 identities when none is known. */
struct ingest_identity {
    uint64_t hash;
    uint64_t block; /* where it is; free when block <= freed_block */
    bool qos_2;
};
/* A source with several connections has as many sessions, 0 to MESSAGE_SESSIONS_MAX - 1: all that
 * follows, and the identities of what is emitted, is about this one. Before the first emission. */
void ingest_source_session(struct ingest_source *source, uint8_t session);
/* Walks what was recovered, before the first emission. */
void ingest_identities(struct ingest_source *source,
                       void (*on_identity)(void *ctx, uint16_t packet_identifier,
                                           const struct ingest_identity *identity),
                       void *ctx);
/* The broker lost the session (CONNACK session-present 0): identities are forgotten, durable with
 * the next block. */
enum err ingest_session_new(struct ingest_source *source) ERR_MUST_USE;
/* A PINGRESP to a ping sent after the PUBACKs of all messages in blocks <= block_number. */
enum err ingest_identities_free(struct ingest_source *source, uint64_t block_number) ERR_MUST_USE;
/* QoS 2: this identifier's PUBREL came: it leaves the received set. Takes a sequence as an emission
 * does, so that on_durable tells when the release is durable: then PUBCOMP may go out. */
enum err ingest_identity_release(struct ingest_source *source, uint16_t packet_identifier,
                                 uint64_t *ret_sequence) ERR_MUST_USE;

/* The connector's own state, kept across restarts; durable with the next block, in the same atomic
 * group as what was emitted before it since the last ingest_end_of_read. An empty value removes it.
 * get reads what was put here or recovered (ERR_NOT_FOUND). */
enum err ingest_state_put(struct ingest_source *source, struct bytes key,
                          struct bytes value) ERR_MUST_USE;
enum err ingest_state_get(struct ingest_source *source, struct bytes key,
                          struct buf *ret_value) ERR_MUST_USE;
