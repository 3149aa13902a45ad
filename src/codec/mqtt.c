#include "codec/mqtt.h"

#include "base/hash.h"
#include "codec/mqtt_read.h"

#include <assert.h>

const char *mqtt_type_name(uint8_t type)
{
    static const char *const names[16] = {
        "packet of reserved type 0",
        "CONNECT",
        "CONNACK",
        "PUBLISH",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBSCRIBE",
        "SUBACK",
        "UNSUBSCRIBE",
        "UNSUBACK",
        "PINGREQ",
        "PINGRESP",
        "DISCONNECT",
        "AUTH",
    };
    return type < 16 ? names[type] : "no packet";
}

static enum err refuse(struct mqtt_fault *fault, enum mqtt_reason reason, const char *text)
{
    *fault = (struct mqtt_fault){.reason = (uint8_t)reason, .text = text};
    return ERR_PROTOCOL;
}

static enum err malformed(struct mqtt_fault *fault, const char *text)
{
    return refuse(fault, MQTT_REASON_MALFORMED_PACKET, text);
}

static enum err check_first_byte(uint8_t type, uint8_t flags, struct mqtt_fault *fault)
{
    if (type == MQTT_PUBLISH) {
        if ((flags & 6) == 6)
            return malformed(fault, "a PUBLISH with QoS 3 (§3.3.1.2)");
        if ((flags & 8) && (flags & 6) == 0)
            return malformed(fault, "a PUBLISH with QoS 0 and DUP (§3.3.1.1)");
        return ERR_OK;
    }
    if (type == 0)
        return malformed(fault, "packet type 0 is reserved (§2.1.2)");
    bool has_2 = type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE;
    if (flags != (has_2 ? 2 : 0))
        return malformed(fault,
                         "reserved flags in a fixed header are not as they must be (§2.1.3)");
    return ERR_OK;
}

enum err mqtt_frame(struct bytes in, size_t size_max, struct mqtt_frame *ret_frame,
                    struct mqtt_fault *fault)
{
    if (in.size == 0)
        return ERR_AGAIN;
    uint8_t type = in.data[0] >> 4;
    uint8_t flags = in.data[0] & 15;
    enum err err = check_first_byte(type, flags, fault);
    if (err != ERR_OK)
        return err;
    uint32_t body_size = 0;
    size_t at = 1;
    for (unsigned shift = 0;; shift += 7) {
        if (shift == 28)
            return malformed(fault, "the remaining length has more than four bytes (§1.5.5)");
        if (at == in.size)
            return ERR_AGAIN;
        uint8_t byte = in.data[at++];
        body_size |= (uint32_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            break;
    }
    *ret_frame = (struct mqtt_frame){.type = type,
                                     .flags = flags,
                                     .header_size = (uint8_t)at,
                                     .body_size = body_size,
                                     .total_size = at + body_size};
    return ret_frame->total_size > size_max ? ERR_TOO_LARGE : ERR_OK;
}

/* A reader for a packet's body. Version 5 demands the shortest remaining length (§1.5.5), 3.1.1
 * does not say; mqtt_frame cannot know the version. */
static struct mqtt_reader open_body(enum mqtt_version version, const struct mqtt_frame *frame,
                                    struct bytes body, struct mqtt_fault *fault)
{
    struct mqtt_reader reader = {.at = body.data, .end = body.data + body.size, .fault = fault};
    reader.is_part = body.size < frame->body_size;
    if (version == MQTT_VERSION_5 && frame->header_size != 1 + mqtt_variable_size(frame->body_size))
        mqtt_reader_fail(&reader, MQTT_REASON_MALFORMED_PACKET,
                         "the remaining length is longer than needed (§1.5.5)");
    return reader;
}

static struct mqtt_reader open_whole(enum mqtt_version version, const struct mqtt_frame *frame,
                                     struct bytes body, struct mqtt_fault *fault)
{
    assert(body.size == frame->body_size);
    return open_body(version, frame, body, fault);
}

/* Ends a decode: nothing may be left over. */
static enum err close_body(struct mqtt_reader *reader)
{
    if (reader->err == ERR_OK && reader->at != reader->end)
        mqtt_reader_fail(reader, MQTT_REASON_MALFORMED_PACKET,
                         "bytes are left over at a packet's end (§2.1.4)");
    return reader->err;
}

static uint16_t read_packet_identifier(struct mqtt_reader *reader)
{
    uint16_t identifier = mqtt_read_u16(reader);
    if (identifier == 0)
        mqtt_reader_fail(reader, MQTT_REASON_PROTOCOL_ERROR, "packet identifier 0 (§2.2.1)");
    return identifier;
}

static void read_properties(struct mqtt_reader *reader, enum mqtt_version version, uint8_t type,
                            struct mqtt_properties *properties)
{
    if (version == MQTT_VERSION_5)
        mqtt_read_properties(reader, 1u << type, properties);
}

static void read_publish_topic(struct mqtt_reader *reader, struct mqtt_publish *publish)
{
    publish->topic = mqtt_read_binary(reader);
    if (reader->err == ERR_OK && publish->topic.size > 0 && !mqtt_topic_valid(publish->topic))
        mqtt_reader_fail(reader, MQTT_REASON_MALFORMED_PACKET,
                         "a topic name is not UTF-8, or holds U+0000 or a wildcard (§3.3.2.1)");
}

static void check_publish_topic(struct mqtt_reader *reader, enum mqtt_version version,
                                const struct mqtt_publish *publish)
{
    if (publish->topic.size > 0 || reader->err != ERR_OK)
        return;
    if (version != MQTT_VERSION_5)
        mqtt_reader_fail(reader, MQTT_REASON_MALFORMED_PACKET, "an empty topic name (§4.7.3)");
    else if (!mqtt_has(&publish->properties, MQTT_PROPERTY_TOPIC_ALIAS))
        mqtt_reader_fail(reader, MQTT_REASON_PROTOCOL_ERROR,
                         "an empty topic name without a topic alias (§3.3.2.1)");
}

/* For a size that it knows, gcc writes `rep stos`, a third of the whole decode; so the size is
 * hidden and the library's memset does it. */
static inline void clear_publish(struct mqtt_publish *publish)
{
    size_t size = sizeof(*publish);
    __asm__("" : "+r"(size));
    memset(publish, 0, size);
}

/* What comes before the properties. */
static inline struct mqtt_reader open_publish(enum mqtt_version version,
                                              const struct mqtt_frame *frame, struct bytes body,
                                              struct mqtt_publish *ret_publish,
                                              struct mqtt_fault *fault)
{
    assert(frame->type == MQTT_PUBLISH && body.size <= frame->body_size);
    struct mqtt_reader reader = open_body(version, frame, body, fault);
    clear_publish(ret_publish);
    ret_publish->qos = frame->flags >> 1 & 3;
    ret_publish->dup = frame->flags >> 3 & 1;
    ret_publish->retain = frame->flags & 1;
    read_publish_topic(&reader, ret_publish);
    if (ret_publish->qos > 0)
        ret_publish->packet_identifier = read_packet_identifier(&reader);
    return reader;
}

enum err mqtt_decode_publish(enum mqtt_version version, const struct mqtt_frame *frame,
                             struct bytes body, struct mqtt_publish *ret_publish,
                             struct mqtt_fault *fault)
{
    struct mqtt_reader reader = open_publish(version, frame, body, ret_publish, fault);
    read_properties(&reader, version, MQTT_PUBLISH, &ret_publish->properties);
    check_publish_topic(&reader, version, ret_publish);
    if (reader.err != ERR_OK)
        return reader.err;
    ret_publish->payload = mqtt_reader_rest(&reader);
    ret_publish->payload_size = ret_publish->payload.size + (frame->body_size - body.size);
    return ERR_OK;
}

enum err mqtt_decode_publish_head(enum mqtt_version version, const struct mqtt_frame *frame,
                                  struct bytes body, struct mqtt_publish *ret_publish,
                                  size_t *ret_payload_offset, struct mqtt_fault *fault)
{
    struct mqtt_reader reader = open_publish(version, frame, body, ret_publish, fault);
    size_t properties_size = version == MQTT_VERSION_5 ? mqtt_read_variable(&reader) : 0;
    size_t left = frame->body_size - (size_t)(reader.at - body.data);
    if (reader.err == ERR_OK && properties_size > left)
        mqtt_reader_fail(&reader, MQTT_REASON_MALFORMED_PACKET,
                         "the properties reach beyond the packet's end (§2.1.4)");
    /* An alias may stand among the properties, but nobody looks there. */
    if (reader.err == ERR_OK && ret_publish->topic.size == 0)
        mqtt_reader_fail(&reader, MQTT_REASON_MALFORMED_PACKET,
                         "an empty topic name, and properties too large to look for its alias in");
    ret_publish->payload_size = left - (reader.err == ERR_OK ? properties_size : left);
    *ret_payload_offset = frame->body_size - ret_publish->payload_size;
    return reader.err;
}

uint64_t mqtt_publish_hash(uint64_t topic_hash, const struct mqtt_publish *publish)
{
    uint64_t parts[3] = {topic_hash, hash_bytes(publish->payload), 0};
    if (publish->properties.raw.size > 0)
        parts[2] = mqtt_properties_hash(&publish->properties);
    return hash_bytes(bytes_from(parts, sizeof(parts)));
}

enum connect_flag {
    CONNECT_RESERVED = 1,
    CONNECT_CLEAN_START = 2,
    CONNECT_WILL = 4,
    CONNECT_WILL_RETAIN = 0x20,
    CONNECT_PASSWORD = 0x40,
    CONNECT_USERNAME = 0x80
};

static void read_connect_flags(struct mqtt_reader *reader, struct mqtt_connect *connect)
{
    uint8_t flags = mqtt_read_u8(reader);
    connect->clean_start = flags & CONNECT_CLEAN_START;
    connect->has_will = flags & CONNECT_WILL;
    connect->will_qos = flags >> 3 & 3;
    connect->will_retain = flags & CONNECT_WILL_RETAIN;
    connect->has_username = flags & CONNECT_USERNAME;
    connect->has_password = flags & CONNECT_PASSWORD;
    if (flags & CONNECT_RESERVED)
        mqtt_reader_fail(reader, MQTT_REASON_MALFORMED_PACKET,
                         "the reserved connect flag is set (§3.1.2.3)");
    if (connect->will_qos == 3 ||
        (!connect->has_will && (connect->will_qos > 0 || connect->will_retain)))
        mqtt_reader_fail(reader, MQTT_REASON_MALFORMED_PACKET,
                         "connect flags of the will contradict each other (§3.1.2.5)");
    if (connect->version == MQTT_VERSION_3_1_1 && connect->has_password && !connect->has_username)
        mqtt_reader_fail(reader, MQTT_REASON_MALFORMED_PACKET,
                         "a password without a user name (3.1.1 §3.1.2.9)");
}

static void read_protocol(struct mqtt_reader *reader, struct mqtt_connect *connect)
{
    struct bytes name = mqtt_read_binary(reader);
    uint8_t level = mqtt_read_u8(reader);
    if (reader->err != ERR_OK)
        return;
    if (!bytes_equal_text(name, "MQTT") || (level != MQTT_VERSION_5 && level != MQTT_VERSION_3_1_1))
        mqtt_reader_fail(reader, MQTT_REASON_UNSUPPORTED_VERSION,
                         "a protocol that is neither MQTT 5 nor 3.1.1 (§3.1.2.1)");
    connect->version = (enum mqtt_version)level;
}

static void read_will(struct mqtt_reader *reader, struct mqtt_connect *connect)
{
    if (connect->version == MQTT_VERSION_5)
        mqtt_read_properties(reader, MQTT_IN_WILL, &connect->will_properties);
    connect->will_topic = mqtt_read_text(reader);
    connect->will_payload = mqtt_read_binary(reader);
    if (reader->err == ERR_OK && !mqtt_topic_valid(connect->will_topic))
        mqtt_reader_fail(reader, MQTT_REASON_MALFORMED_PACKET,
                         "the will's topic is empty or has wildcards (§3.1.3.3)");
}

/* What stands for a property that is not there (§3.1.2.11, §3.2.2.3). */
static void set_defaults(struct mqtt_properties *properties)
{
    properties->receive_maximum = 65535;
    properties->maximum_qos = 2;
    properties->retain_available = 1;
    properties->wildcard_available = 1;
    properties->identifiers_available = 1;
    properties->shared_available = 1;
    properties->request_problem_information = 1;
}

enum err mqtt_decode_connect(const struct mqtt_frame *frame, struct bytes body,
                             struct mqtt_connect *ret_connect, struct mqtt_fault *fault)
{
    assert(frame->type == MQTT_CONNECT);
    struct mqtt_reader reader = open_whole(MQTT_VERSION_3_1_1, frame, body, fault);
    *ret_connect = (struct mqtt_connect){0};
    set_defaults(&ret_connect->properties);
    read_protocol(&reader, ret_connect);
    if (reader.err == ERR_OK)
        reader = open_whole(ret_connect->version, frame, body, fault);
    reader.at += reader.err == ERR_OK ? 7 : 0; /* name and level, read above */
    read_connect_flags(&reader, ret_connect);
    ret_connect->keep_alive_seconds = mqtt_read_u16(&reader);
    read_properties(&reader, ret_connect->version, MQTT_CONNECT, &ret_connect->properties);
    ret_connect->client_id = mqtt_read_text(&reader);
    if (ret_connect->has_will)
        read_will(&reader, ret_connect);
    if (ret_connect->has_username)
        ret_connect->username = mqtt_read_text(&reader);
    if (ret_connect->has_password)
        ret_connect->password = mqtt_read_binary(&reader);
    if (ret_connect->version == MQTT_VERSION_3_1_1 && !ret_connect->clean_start &&
        ret_connect->client_id.size == 0)
        mqtt_reader_fail(&reader, MQTT_REASON_CLIENT_ID_INVALID,
                         "an empty client identifier without clean session (3.1.1 §3.1.3.1)");
    return close_body(&reader);
}

enum err mqtt_decode_connack(enum mqtt_version version, const struct mqtt_frame *frame,
                             struct bytes body, struct mqtt_connack *ret_connack,
                             struct mqtt_fault *fault)
{
    assert(frame->type == MQTT_CONNACK);
    struct mqtt_reader reader = open_whole(version, frame, body, fault);
    *ret_connack = (struct mqtt_connack){0};
    set_defaults(&ret_connack->properties);
    uint8_t flags = mqtt_read_u8(&reader);
    uint8_t code = mqtt_read_u8(&reader);
    /* A server of 3.1.1 answers version 5 in its own way: two bytes (3.1.1 §3.1.2.2). */
    ret_connack->answered_3_1_1 =
        version == MQTT_VERSION_5 && frame->body_size == 2 && code > 0 && code < 0x80;
    bool is_old = version == MQTT_VERSION_3_1_1 || ret_connack->answered_3_1_1;
    ret_connack->session_present = flags & 1;
    ret_connack->reason = is_old ? mqtt_reason_from_return_code(code) : code;
    if (!is_old)
        read_properties(&reader, version, MQTT_CONNACK, &ret_connack->properties);
    if (flags > 1)
        mqtt_reader_fail(&reader, MQTT_REASON_MALFORMED_PACKET,
                         "reserved acknowledge flags of a CONNACK are set (§3.2.2.1)");
    if (!mqtt_reason_allowed(ret_connack->reason, MQTT_CONNACK))
        mqtt_reader_fail(&reader, MQTT_REASON_MALFORMED_PACKET,
                         "a CONNACK with a reason code that it may not carry (§3.2.2.2)");
    if (ret_connack->session_present && ret_connack->reason != MQTT_REASON_SUCCESS)
        mqtt_reader_fail(&reader, MQTT_REASON_PROTOCOL_ERROR,
                         "a CONNACK refuses but has a session (§3.2.2.1.1)");
    return close_body(&reader);
}

static bool has_identifier(uint8_t type)
{
    return type != MQTT_DISCONNECT && type != MQTT_AUTH;
}

enum err mqtt_decode_ack(enum mqtt_version version, const struct mqtt_frame *frame,
                         struct bytes body, struct mqtt_ack *ret_ack, struct mqtt_fault *fault)
{
    assert((frame->type >= MQTT_PUBACK && frame->type <= MQTT_PUBCOMP) ||
           frame->type == MQTT_DISCONNECT || frame->type == MQTT_AUTH);
    struct mqtt_reader reader = open_whole(version, frame, body, fault);
    *ret_ack = (struct mqtt_ack){0};
    if (frame->type == MQTT_AUTH && version != MQTT_VERSION_5)
        mqtt_reader_fail(&reader, MQTT_REASON_MALFORMED_PACKET,
                         "packet type 15 is reserved (3.1.1 §2.2.1)");
    if (has_identifier(frame->type))
        ret_ack->packet_identifier = read_packet_identifier(&reader);
    /* Reason and properties may be left out when they say nothing (§3.4.2.1, §3.14.2.1, §3.15.2.1).
     */
    if (version == MQTT_VERSION_5 && reader.at < reader.end)
        ret_ack->reason = mqtt_read_u8(&reader);
    if (version == MQTT_VERSION_5 && reader.at < reader.end)
        read_properties(&reader, version, frame->type, &ret_ack->properties);
    if (reader.err == ERR_OK && !mqtt_reason_allowed(ret_ack->reason, frame->type))
        mqtt_reader_fail(&reader, MQTT_REASON_MALFORMED_PACKET,
                         "a reason code that its packet may not carry (§2.4)");
    return close_body(&reader);
}

static bool is_suback(uint8_t type)
{
    return type == MQTT_SUBACK || type == MQTT_UNSUBACK;
}

static void check_code(struct mqtt_reader *reader, enum mqtt_version version, uint8_t type,
                       uint8_t code)
{
    /* 3.1.1 §3.9.3 knows only 0, 1, 2 and 0x80. */
    bool is_good = mqtt_reason_allowed(code, type) &&
                   (version == MQTT_VERSION_5 || code <= MQTT_REASON_UNSPECIFIED);
    if (!is_good)
        mqtt_reader_fail(reader, MQTT_REASON_MALFORMED_PACKET,
                         "a SUBACK or UNSUBACK with a code that it may not carry (§3.9.3)");
}

static void check_options(struct mqtt_reader *reader, enum mqtt_version version, uint8_t options,
                          struct bytes filter)
{
    struct bytes ignored;
    uint8_t reserved = version == MQTT_VERSION_5 ? 0xc0 : 0xfc;
    if ((options & 3) == 3 || (options & reserved))
        mqtt_reader_fail(reader, MQTT_REASON_MALFORMED_PACKET,
                         "subscription options with QoS 3 or reserved bits (§3.8.3.1)");
    if (version != MQTT_VERSION_5)
        return;
    if ((options & 0x30) == 0x30)
        mqtt_reader_fail(reader, MQTT_REASON_PROTOCOL_ERROR, "retain handling 3 (§3.8.3.1)");
    if ((options & 4) && mqtt_filter_shared(filter, &ignored, &ignored))
        mqtt_reader_fail(reader, MQTT_REASON_PROTOCOL_ERROR,
                         "a shared subscription with No Local (§3.8.3.1)");
}

static void read_filter(struct mqtt_reader *reader, enum mqtt_version version, uint8_t type)
{
    struct bytes filter = mqtt_read_text(reader);
    uint8_t options = type == MQTT_SUBSCRIBE ? mqtt_read_u8(reader) : 0;
    if (reader->err != ERR_OK)
        return;
    if (!mqtt_filter_valid(filter))
        mqtt_reader_fail(reader, MQTT_REASON_TOPIC_FILTER_INVALID,
                         "a topic filter is empty or its wildcards stand wrong (§4.7)");
    check_options(reader, version, options, filter);
}

enum err mqtt_decode_subscribe(enum mqtt_version version, const struct mqtt_frame *frame,
                               struct bytes body, struct mqtt_subscribe *ret_subscribe,
                               struct mqtt_fault *fault)
{
    uint8_t type = frame->type;
    assert(type >= MQTT_SUBSCRIBE && type <= MQTT_UNSUBACK);
    struct mqtt_reader reader = open_whole(version, frame, body, fault);
    *ret_subscribe = (struct mqtt_subscribe){0};
    ret_subscribe->packet_identifier = read_packet_identifier(&reader);
    read_properties(&reader, version, type, &ret_subscribe->properties);
    ret_subscribe->entries = mqtt_reader_rest(&reader);
    bool may_be_empty = type == MQTT_UNSUBACK && version == MQTT_VERSION_3_1_1;
    if (reader.err == ERR_OK && (ret_subscribe->entries.size == 0) != may_be_empty)
        mqtt_reader_fail(&reader, MQTT_REASON_PROTOCOL_ERROR,
                         "a SUBSCRIBE, SUBACK, UNSUBSCRIBE or UNSUBACK without the entries that it "
                         "must have, or with some that it may not (§3.8.3)");
    while (reader.err == ERR_OK && reader.at < reader.end) {
        ret_subscribe->entry_count++;
        if (is_suback(type))
            check_code(&reader, version, type, mqtt_read_u8(&reader));
        else
            read_filter(&reader, version, type);
    }
    return close_body(&reader);
}

bool mqtt_filter_next(const struct mqtt_subscribe *subscribe, bool is_subscribe, size_t *offset,
                      struct mqtt_filter *ret_filter)
{
    struct mqtt_fault fault;
    struct bytes entries = subscribe->entries;
    if (*offset >= entries.size)
        return false;
    struct mqtt_reader reader = {
        .at = entries.data + *offset, .end = entries.data + entries.size, .fault = &fault};
    *ret_filter = (struct mqtt_filter){.filter = mqtt_read_binary(&reader)};
    uint8_t options = is_subscribe ? mqtt_read_u8(&reader) : 0;
    ret_filter->qos = options & 3;
    ret_filter->no_local = options >> 2 & 1;
    ret_filter->retain_as_published = options >> 3 & 1;
    ret_filter->retain_handling = options >> 4 & 3;
    *offset = (size_t)(reader.at - entries.data);
    return reader.err == ERR_OK;
}

enum err mqtt_decode_ping(enum mqtt_version version, const struct mqtt_frame *frame,
                          struct mqtt_fault *fault)
{
    assert(frame->type == MQTT_PINGREQ || frame->type == MQTT_PINGRESP);
    if (frame->body_size != 0)
        return malformed(fault, "a PINGREQ or PINGRESP with a body (§3.12)");
    struct mqtt_reader reader = open_body(version, frame, BYTES_LITERAL(""), fault);
    return reader.err;
}
