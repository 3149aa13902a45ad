/*
 * One table, indexed by identifier, carries for each property its type, the field that holds it and
 * the packets that may carry it (§2.2.2.2, table 2-4). Decoding and encoding both walk it, so that
 * they cannot disagree. User properties stay in `raw`: they may be many, and nobody needs them
 * twice.
 */
#include "codec/mqtt_properties.h"

#include "base/hash.h"
#include "codec/mqtt_read.h"

#include <stddef.h>

enum kind {
    KIND_NONE,
    KIND_FLAG,
    KIND_U16,
    KIND_U32,
    KIND_VARIABLE,
    KIND_TEXT,
    KIND_BINARY,
    KIND_PAIR
};

#define IN(type)          (1u << (type))
#define IN_ACKS           (IN(MQTT_PUBACK) | IN(MQTT_PUBREC) | IN(MQTT_PUBREL) | IN(MQTT_PUBCOMP))
#define IN_MESSAGE        (IN(MQTT_PUBLISH) | MQTT_IN_WILL)
#define IN_OPENING        (IN(MQTT_CONNECT) | IN(MQTT_CONNACK))
#define IN_AUTHENTICATING (IN_OPENING | IN(MQTT_AUTH))
#define IN_REASONED                                                                                \
    (IN(MQTT_CONNACK) | IN_ACKS | IN(MQTT_SUBACK) | IN(MQTT_UNSUBACK) | IN(MQTT_DISCONNECT) |      \
     IN(MQTT_AUTH))
#define IN_ALL                                                                                     \
    (IN_REASONED | IN(MQTT_CONNECT) | IN_MESSAGE | IN(MQTT_SUBSCRIBE) | IN(MQTT_UNSUBSCRIBE))

#define FIELD(field) (uint16_t) offsetof(struct mqtt_properties, field)

static const struct property {
    uint8_t kind;
    bool zero_forbidden; /* a value of 0 is a protocol error */
    uint16_t field;
    uint32_t packets;
} property_table[MQTT_PROPERTY_COUNT] = {
    [MQTT_PROPERTY_PAYLOAD_FORMAT] = {KIND_FLAG, false, FIELD(payload_format), IN_MESSAGE},
    [MQTT_PROPERTY_MESSAGE_EXPIRY] = {KIND_U32, false, FIELD(message_expiry_seconds), IN_MESSAGE},
    [MQTT_PROPERTY_CONTENT_TYPE] = {KIND_TEXT, false, FIELD(content_type), IN_MESSAGE},
    [MQTT_PROPERTY_RESPONSE_TOPIC] = {KIND_TEXT, false, FIELD(response_topic), IN_MESSAGE},
    [MQTT_PROPERTY_CORRELATION_DATA] = {KIND_BINARY, false, FIELD(correlation_data), IN_MESSAGE},
    [MQTT_PROPERTY_SUBSCRIPTION_IDENTIFIER] = {KIND_VARIABLE, true, FIELD(subscription_identifier),
                                               IN(MQTT_PUBLISH) | IN(MQTT_SUBSCRIBE)},
    [MQTT_PROPERTY_SESSION_EXPIRY] = {KIND_U32, false, FIELD(session_expiry_seconds),
                                      IN_OPENING | IN(MQTT_DISCONNECT)},
    [MQTT_PROPERTY_ASSIGNED_CLIENT_ID] = {KIND_TEXT, false, FIELD(assigned_client_id),
                                          IN(MQTT_CONNACK)},
    [MQTT_PROPERTY_SERVER_KEEP_ALIVE] = {KIND_U16, false, FIELD(server_keep_alive_seconds),
                                         IN(MQTT_CONNACK)},
    [MQTT_PROPERTY_AUTHENTICATION_METHOD] = {KIND_TEXT, false, FIELD(authentication_method),
                                             IN_AUTHENTICATING},
    [MQTT_PROPERTY_AUTHENTICATION_DATA] = {KIND_BINARY, false, FIELD(authentication_data),
                                           IN_AUTHENTICATING},
    [MQTT_PROPERTY_REQUEST_PROBLEM_INFORMATION] = {KIND_FLAG, false,
                                                   FIELD(request_problem_information),
                                                   IN(MQTT_CONNECT)},
    [MQTT_PROPERTY_WILL_DELAY] = {KIND_U32, false, FIELD(will_delay_seconds), MQTT_IN_WILL},
    [MQTT_PROPERTY_REQUEST_RESPONSE_INFORMATION] = {KIND_FLAG, false,
                                                    FIELD(request_response_information),
                                                    IN(MQTT_CONNECT)},
    [MQTT_PROPERTY_RESPONSE_INFORMATION] = {KIND_TEXT, false, FIELD(response_information),
                                            IN(MQTT_CONNACK)},
    [MQTT_PROPERTY_SERVER_REFERENCE] = {KIND_TEXT, false, FIELD(server_reference),
                                        IN(MQTT_CONNACK) | IN(MQTT_DISCONNECT)},
    [MQTT_PROPERTY_REASON_STRING] = {KIND_TEXT, false, FIELD(reason_string), IN_REASONED},
    [MQTT_PROPERTY_RECEIVE_MAXIMUM] = {KIND_U16, true, FIELD(receive_maximum), IN_OPENING},
    [MQTT_PROPERTY_TOPIC_ALIAS_MAXIMUM] = {KIND_U16, false, FIELD(topic_alias_maximum), IN_OPENING},
    [MQTT_PROPERTY_TOPIC_ALIAS] = {KIND_U16, true, FIELD(topic_alias), IN(MQTT_PUBLISH)},
    [MQTT_PROPERTY_MAXIMUM_QOS] = {KIND_FLAG, false, FIELD(maximum_qos), IN(MQTT_CONNACK)},
    [MQTT_PROPERTY_RETAIN_AVAILABLE] = {KIND_FLAG, false, FIELD(retain_available),
                                        IN(MQTT_CONNACK)},
    [MQTT_PROPERTY_USER] = {KIND_PAIR, false, 0, IN_ALL},
    [MQTT_PROPERTY_MAXIMUM_PACKET_SIZE] = {KIND_U32, true, FIELD(maximum_packet_size_bytes),
                                           IN_OPENING},
    [MQTT_PROPERTY_WILDCARD_AVAILABLE] = {KIND_FLAG, false, FIELD(wildcard_available),
                                          IN(MQTT_CONNACK)},
    [MQTT_PROPERTY_IDENTIFIERS_AVAILABLE] = {KIND_FLAG, false, FIELD(identifiers_available),
                                             IN(MQTT_CONNACK)},
    [MQTT_PROPERTY_SHARED_AVAILABLE] = {KIND_FLAG, false, FIELD(shared_available),
                                        IN(MQTT_CONNACK)},
};

_Static_assert(MQTT_PROPERTY_COUNT <= 64, "present has a bit for each");

static void *property_field(struct mqtt_properties *properties, const struct property *property)
{
    return (uint8_t *)properties + property->field;
}

static const void *property_value(const struct mqtt_properties *properties,
                                  const struct property *property)
{
    return (const uint8_t *)properties + property->field;
}

static void refuse_zero(struct mqtt_reader *reader, uint32_t identifier)
{
    if (identifier == MQTT_PROPERTY_TOPIC_ALIAS)
        mqtt_reader_fail(reader, MQTT_REASON_TOPIC_ALIAS_INVALID, "topic alias 0 (§3.3.2.3.4)");
    else
        mqtt_reader_fail(reader, MQTT_REASON_PROTOCOL_ERROR,
                         "0 where a property must not be 0 (receive maximum §3.1.2.11.3, maximum "
                         "packet size §3.1.2.11.4, subscription identifier §3.3.2.3.8)");
}

/* Reads one value into its field (a repeated subscription identifier leaves the first). */
static void read_value(struct mqtt_reader *reader, uint32_t identifier, bool is_first,
                       struct mqtt_properties *properties)
{
    const struct property *property = &property_table[identifier];
    void *field = property_field(properties, property);
    uint32_t number = 1;
    switch ((enum kind)property->kind) {
    case KIND_FLAG:
        number = *(uint8_t *)field = mqtt_read_u8(reader);
        if (number > 1)
            mqtt_reader_fail(reader, MQTT_REASON_PROTOCOL_ERROR,
                             "a property that is 0 or 1 is neither (§2.2.2.2)");
        break;
    case KIND_U16:
        number = *(uint16_t *)field = mqtt_read_u16(reader);
        break;
    case KIND_U32:
        number = *(uint32_t *)field = mqtt_read_u32(reader);
        break;
    case KIND_VARIABLE:
        number = mqtt_read_variable(reader);
        if (is_first)
            *(uint32_t *)field = number;
        break;
    case KIND_TEXT:
        *(struct bytes *)field = mqtt_read_text(reader);
        break;
    case KIND_BINARY:
        *(struct bytes *)field = mqtt_read_binary(reader);
        break;
    case KIND_PAIR: /* §1.5.7 */
        (void)mqtt_read_text(reader);
        (void)mqtt_read_text(reader);
        break;
    case KIND_NONE:
        break;
    }
    if (number == 0 && property->zero_forbidden)
        refuse_zero(reader, identifier);
}

/* User properties may be many; so may subscription identifiers in a PUBLISH that several
 * subscriptions asked for (§3.3.4), but not in a SUBSCRIBE (§3.8.2.1.2). */
static bool may_repeat(uint32_t identifier, uint32_t packet)
{
    return identifier == MQTT_PROPERTY_USER ||
           (identifier == MQTT_PROPERTY_SUBSCRIPTION_IDENTIFIER && packet == IN(MQTT_PUBLISH));
}

static void read_property(struct mqtt_reader *reader, uint32_t packet,
                          struct mqtt_properties *properties)
{
    uint32_t identifier = mqtt_read_variable(reader);
    if (reader->err != ERR_OK)
        return;
    if (identifier >= MQTT_PROPERTY_COUNT || !(property_table[identifier].packets & packet)) {
        mqtt_reader_fail(reader, MQTT_REASON_MALFORMED_PACKET,
                         "a property that this packet may not carry (§2.2.2.2)");
        return;
    }
    bool is_first = !mqtt_has(properties, (enum mqtt_property)identifier);
    if (!is_first && !may_repeat(identifier, packet)) {
        mqtt_reader_fail(reader, MQTT_REASON_PROTOCOL_ERROR, "a property stands twice (§2.2.2.2)");
        return;
    }
    mqtt_set(properties, (enum mqtt_property)identifier);
    read_value(reader, identifier, is_first, properties);
}

static void check_together(struct mqtt_reader *reader, const struct mqtt_properties *properties)
{
    if (mqtt_has(properties, MQTT_PROPERTY_AUTHENTICATION_DATA) &&
        !mqtt_has(properties, MQTT_PROPERTY_AUTHENTICATION_METHOD))
        mqtt_reader_fail(reader, MQTT_REASON_PROTOCOL_ERROR,
                         "authentication data without a method (§3.1.2.11.10)");
    if (mqtt_has(properties, MQTT_PROPERTY_RESPONSE_TOPIC) &&
        !mqtt_topic_valid(properties->response_topic))
        mqtt_reader_fail(reader, MQTT_REASON_PROTOCOL_ERROR,
                         "the response topic is empty or has wildcards (§3.3.2.3.5)");
}

void mqtt_read_properties(struct mqtt_reader *reader, uint32_t packet,
                          struct mqtt_properties *ret_properties)
{
    size_t size = mqtt_read_variable(reader);
    if (size == 0 || !mqtt_reader_has(reader, size))
        return;
    const uint8_t *outer_end = reader->end;
    bool was_part = reader->is_part;
    reader->end = reader->at + size;
    reader->is_part = false;
    ret_properties->raw = bytes_from(reader->at, size);
    while (reader->err == ERR_OK && reader->at < reader->end)
        read_property(reader, packet, ret_properties);
    check_together(reader, ret_properties);
    reader->end = outer_end;
    reader->is_part = was_part;
}

/* One property of a decoded `raw`: its identifier, and the bytes of identifier and value. */
static bool raw_next(struct bytes raw, size_t *offset, uint32_t *ret_identifier,
                     struct bytes *ret_encoding)
{
    struct mqtt_fault fault;
    struct mqtt_properties ignored;
    if (*offset >= raw.size)
        return false;
    struct mqtt_reader reader = {
        .at = raw.data + *offset, .end = raw.data + raw.size, .fault = &fault};
    const uint8_t *start = reader.at;
    uint32_t identifier = mqtt_read_variable(&reader);
    if (reader.err != ERR_OK || identifier >= MQTT_PROPERTY_COUNT ||
        property_table[identifier].kind == KIND_NONE)
        return false;
    read_value(&reader, identifier, true, &ignored);
    if (reader.err != ERR_OK)
        return false;
    *ret_identifier = identifier;
    *ret_encoding = bytes_from(start, (size_t)(reader.at - start));
    *offset = (size_t)(reader.at - raw.data);
    return true;
}

bool mqtt_user_property_next(const struct mqtt_properties *properties, size_t *offset,
                             struct bytes *ret_name, struct bytes *ret_value)
{
    uint32_t identifier;
    struct bytes encoding;
    while (raw_next(properties->raw, offset, &identifier, &encoding)) {
        if (identifier != MQTT_PROPERTY_USER)
            continue;
        struct mqtt_fault fault;
        struct mqtt_reader reader = {
            .at = encoding.data + 1, .end = encoding.data + encoding.size, .fault = &fault};
        *ret_name = mqtt_read_binary(&reader);
        *ret_value = mqtt_read_binary(&reader);
        return true;
    }
    return false;
}

enum err mqtt_user_property_append(struct buf *out, struct bytes name, struct bytes value)
{
    size_t start = out->size;
    mqtt_put_u8(out, MQTT_PROPERTY_USER);
    mqtt_put_binary(out, name);
    mqtt_put_binary(out, value);
    if (out->err != ERR_OK)
        out->size = start;
    return out->err;
}

uint64_t mqtt_properties_hash(const struct mqtt_properties *properties)
{
    uint64_t hash = 0;
    uint64_t user_hash = 0;
    uint32_t identifier;
    struct bytes encoding;
    for (size_t offset = 0; raw_next(properties->raw, &offset, &identifier, &encoding);) {
        if (identifier == MQTT_PROPERTY_TOPIC_ALIAS || identifier == MQTT_PROPERTY_MESSAGE_EXPIRY)
            continue;
        if (identifier == MQTT_PROPERTY_USER)
            user_hash = hash_bytes_seeded(encoding, user_hash);
        else
            hash += hash_bytes(encoding);
    }
    return hash + user_hash;
}

static void encode_value(struct buf *out, const struct property *property, const void *value)
{
    uint8_t variable[4];
    switch ((enum kind)property->kind) {
    case KIND_FLAG:
        mqtt_put_u8(out, *(const uint8_t *)value);
        break;
    case KIND_U16:
        mqtt_put_u16(out, *(const uint16_t *)value);
        break;
    case KIND_U32:
        mqtt_put_u32(out, *(const uint32_t *)value);
        break;
    case KIND_VARIABLE:
        buf_append(out, variable, mqtt_store_variable(variable, *(const uint32_t *)value));
        break;
    case KIND_TEXT:
    case KIND_BINARY:
        mqtt_put_binary(out, *(const struct bytes *)value);
        break;
    case KIND_PAIR:
    case KIND_NONE:
        break;
    }
}

/* User properties, and all subscription identifiers but the first, which has its field. */
static void encode_raw(struct buf *out, const struct mqtt_properties *properties)
{
    uint32_t identifier;
    struct bytes encoding;
    bool is_first = mqtt_has(properties, MQTT_PROPERTY_SUBSCRIPTION_IDENTIFIER);
    for (size_t offset = 0; raw_next(properties->raw, &offset, &identifier, &encoding);) {
        bool is_repeated = identifier == MQTT_PROPERTY_SUBSCRIPTION_IDENTIFIER && !is_first;
        if (identifier == MQTT_PROPERTY_SUBSCRIPTION_IDENTIFIER)
            is_first = false;
        if (identifier == MQTT_PROPERTY_USER || is_repeated)
            buf_append(out, encoding.data, encoding.size);
    }
}

enum err mqtt_properties_encode(struct buf *out, const struct mqtt_properties *properties)
{
    size_t start = out->size;
    buf_append(out, "\0\0\0", 4); /* room for the longest length, closed up below */
    for (uint32_t i = 0; i < MQTT_PROPERTY_COUNT; i++) {
        if (i == MQTT_PROPERTY_USER || !mqtt_has(properties, (enum mqtt_property)i) ||
            property_table[i].kind == KIND_NONE)
            continue;
        mqtt_put_u8(out, (uint8_t)i);
        encode_value(out, &property_table[i], property_value(properties, &property_table[i]));
    }
    encode_raw(out, properties);
    if (out->err == ERR_OK && out->size - start - 4 > MQTT_REMAINING_LENGTH_MAX)
        out->err = ERR_TOO_LARGE;
    if (out->err != ERR_OK) {
        out->size = start;
        return out->err;
    }
    size_t size = out->size - start - 4;
    size_t length_size = mqtt_store_variable(out->data + start, (uint32_t)size);
    memmove(out->data + start + length_size, out->data + start + 4, size);
    out->size -= 4 - length_size;
    return ERR_OK;
}
