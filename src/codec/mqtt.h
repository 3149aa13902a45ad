#pragma once
/*
 * MQTT packets, version 5 (OASIS 2019-03-07) and 3.1.1 (2014-10-29), both directions: bytes to
 * structures. mqtt_encode.h is the way back. No I/O, no state, no allocation; any thread.
 *
 * What a decode returns are views into the caller's bytes and live as long as those. Input is
 * hostile: every size is checked against what is there, work is linear in the packet's size, and
 * everything that the standard calls malformed or a protocol error is refused with ERR_PROTOCOL;
 * `fault` then holds the reason code for DISCONNECT or CONNACK and a sentence with the section.
 * Fields of *ret are then undefined. `fault` is only written on failure and may not be NULL.
 *
 * A receiver: mqtt_frame on what has arrived; ERR_AGAIN: read more; ERR_TOO_LARGE: decode the head
 * (mqtt_decode_publish takes a part), skip frame.total_size; else wait until total_size bytes are
 * there and decode with body = bytes + header_size.
 *
 * State is the caller's: topic aliases, identifiers, receive maximum, which packet may come when.
 */
#include "base/bytes.h"
#include "base/err.h"
#include "codec/mqtt_properties.h"
#include "codec/mqtt_reason.h"

#define MQTT_REMAINING_LENGTH_MAX 268435455u /* §1.5.5 */
#define MQTT_HEADER_BYTES_MAX     5
#define MQTT_TEXT_BYTES_MAX       65535u

enum mqtt_version { MQTT_VERSION_3_1_1 = 4, MQTT_VERSION_5 = 5 };

enum mqtt_type {
    MQTT_CONNECT = 1,
    MQTT_CONNACK,
    MQTT_PUBLISH,
    MQTT_PUBACK,
    MQTT_PUBREC,
    MQTT_PUBREL,
    MQTT_PUBCOMP,
    MQTT_SUBSCRIBE,
    MQTT_SUBACK,
    MQTT_UNSUBSCRIBE,
    MQTT_UNSUBACK,
    MQTT_PINGREQ,
    MQTT_PINGRESP,
    MQTT_DISCONNECT,
    MQTT_AUTH
};

/* "PUBLISH"; "packet of reserved type 0" for what has no name. */
const char *mqtt_type_name(uint8_t type);

struct mqtt_fault {
    uint8_t reason;   /* enum mqtt_reason */
    const char *text; /* static: what is wrong, and the section that says so */
};

struct mqtt_frame {
    uint8_t type;        /* enum mqtt_type */
    uint8_t flags;       /* the low four bits, already checked */
    uint8_t header_size; /* 2 to 5 */
    uint32_t body_size;  /* the standard's Remaining Length */
    size_t total_size;   /* header_size + body_size */
};

/* Reads a fixed header. ERR_AGAIN: not all of it is there; ERR_TOO_LARGE: *ret_frame is good, but
 * total_size is over size_max; ERR_PROTOCOL: not MQTT, the connection cannot go on. */
enum err mqtt_frame(struct bytes in, size_t size_max, struct mqtt_frame *ret_frame,
                    struct mqtt_fault *fault) ERR_MUST_USE;

struct mqtt_publish {
    struct bytes topic;         /* empty: see properties.topic_alias */
    struct bytes payload;       /* of a part: what there is of it */
    size_t payload_size;        /* what there will be */
    uint16_t packet_identifier; /* 0 with QoS 0 */
    uint8_t qos;
    bool dup;
    bool retain;
    struct mqtt_properties properties;
};

struct mqtt_connect {
    enum mqtt_version version;
    bool clean_start;
    uint16_t keep_alive_seconds;
    struct mqtt_properties properties;
    struct bytes client_id;
    bool has_will;
    bool will_retain;
    uint8_t will_qos;
    struct mqtt_properties will_properties;
    struct bytes will_topic;
    struct bytes will_payload;
    bool has_username;
    bool has_password;
    struct bytes username;
    struct bytes password;
};

struct mqtt_connack {
    bool session_present;
    bool answered_3_1_1; /* a server of the old version answers a CONNECT of version 5 */
    uint8_t reason;      /* also for 3.1.1, whose return codes are translated */
    struct mqtt_properties properties;
};

/* PUBACK, PUBREC, PUBREL, PUBCOMP; DISCONNECT and AUTH, whose packet_identifier is 0. */
struct mqtt_ack {
    uint16_t packet_identifier;
    uint8_t reason;
    struct mqtt_properties properties;
};

/* SUBSCRIBE, UNSUBSCRIBE: walk entries with mqtt_filter_next. SUBACK, UNSUBACK: entries are the
 * reason codes, a byte each (none in an UNSUBACK of 3.1.1). */
struct mqtt_subscribe {
    uint16_t packet_identifier;
    struct mqtt_properties properties;
    struct bytes entries;
    uint32_t entry_count;
};

struct mqtt_filter {
    struct bytes filter;
    uint8_t qos;
    bool no_local;
    bool retain_as_published;
    uint8_t retain_handling;
};

/* body may be shorter than frame->body_size (an oversize packet's head): ERR_AGAIN when not even
 * topic, identifier and properties are there, else payload is what there is of it. */
enum err mqtt_decode_publish(enum mqtt_version version, const struct mqtt_frame *frame,
                             struct bytes body, struct mqtt_publish *ret_publish,
                             struct mqtt_fault *fault) ERR_MUST_USE;
/* The same for a head that ends within the properties: they are not looked at, but their size is
 * known, and so payload_size, and where in the body the payload begins, perhaps beyond this part.
 * ERR_AGAIN when not even that is there. */
enum err mqtt_decode_publish_head(enum mqtt_version version, const struct mqtt_frame *frame,
                                  struct bytes body, struct mqtt_publish *ret_publish,
                                  size_t *ret_payload_offset,
                                  struct mqtt_fault *fault) ERR_MUST_USE;
/* All others take the whole body: body.size == frame->body_size. */
enum err mqtt_decode_connect(const struct mqtt_frame *frame, struct bytes body,
                             struct mqtt_connect *ret_connect,
                             struct mqtt_fault *fault) ERR_MUST_USE;
enum err mqtt_decode_connack(enum mqtt_version version, const struct mqtt_frame *frame,
                             struct bytes body, struct mqtt_connack *ret_connack,
                             struct mqtt_fault *fault) ERR_MUST_USE;
/* PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH by frame->type. */
enum err mqtt_decode_ack(enum mqtt_version version, const struct mqtt_frame *frame,
                         struct bytes body, struct mqtt_ack *ret_ack,
                         struct mqtt_fault *fault) ERR_MUST_USE;
/* SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK by frame->type. */
enum err mqtt_decode_subscribe(enum mqtt_version version, const struct mqtt_frame *frame,
                               struct bytes body, struct mqtt_subscribe *ret_subscribe,
                               struct mqtt_fault *fault) ERR_MUST_USE;
/* PINGREQ, PINGRESP, whose body is empty. */
enum err mqtt_decode_ping(enum mqtt_version version, const struct mqtt_frame *frame,
                          struct mqtt_fault *fault) ERR_MUST_USE;

/* Walks the entries of a decoded SUBSCRIBE or UNSUBSCRIBE; *offset starts at 0. */
bool mqtt_filter_next(const struct mqtt_subscribe *subscribe, bool is_subscribe, size_t *offset,
                      struct mqtt_filter *ret_filter);

/* What a repeated delivery is told by (contract/data.md "MQTT redelivery"): resolved topic,
 * payload, properties without Topic Alias and Message Expiry Interval. topic_hash is
 * hash_bytes(topic), which a route can keep. The value is stored in the journal: never change it.
 */
uint64_t mqtt_publish_hash(uint64_t topic_hash, const struct mqtt_publish *publish);
