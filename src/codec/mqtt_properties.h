#pragma once
/*
 * The properties of MQTT 5 packets (§2.2.2): one structure for all packet types, filled from the
 * wire by a table that knows each property's type and where it is allowed.
 *
 * Pure, any thread, no allocation when decoding: texts are views into the packet's bytes and live
 * as long as those. A field that is not present is zero, but for the defaults that the standard
 * gives CONNECT and CONNACK (receive_maximum 65535, maximum_qos 2, retain, wildcard, shared and
 * subscription identifiers available, request_problem_information 1); ask mqtt_has to tell.
 */
#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"

/* X(name, identifier, field type, field) */
#define MQTT_PROPERTY_MAP(X)                                                                       \
    X(PAYLOAD_FORMAT, 0x01, uint8_t, payload_format)                                               \
    X(MESSAGE_EXPIRY, 0x02, uint32_t, message_expiry_seconds)                                      \
    X(CONTENT_TYPE, 0x03, struct bytes, content_type)                                              \
    X(RESPONSE_TOPIC, 0x08, struct bytes, response_topic)                                          \
    X(CORRELATION_DATA, 0x09, struct bytes, correlation_data)                                      \
    X(SUBSCRIPTION_IDENTIFIER, 0x0b, uint32_t, subscription_identifier)                            \
    X(SESSION_EXPIRY, 0x11, uint32_t, session_expiry_seconds)                                      \
    X(ASSIGNED_CLIENT_ID, 0x12, struct bytes, assigned_client_id)                                  \
    X(SERVER_KEEP_ALIVE, 0x13, uint16_t, server_keep_alive_seconds)                                \
    X(AUTHENTICATION_METHOD, 0x15, struct bytes, authentication_method)                            \
    X(AUTHENTICATION_DATA, 0x16, struct bytes, authentication_data)                                \
    X(REQUEST_PROBLEM_INFORMATION, 0x17, uint8_t, request_problem_information)                     \
    X(WILL_DELAY, 0x18, uint32_t, will_delay_seconds)                                              \
    X(REQUEST_RESPONSE_INFORMATION, 0x19, uint8_t, request_response_information)                   \
    X(RESPONSE_INFORMATION, 0x1a, struct bytes, response_information)                              \
    X(SERVER_REFERENCE, 0x1c, struct bytes, server_reference)                                      \
    X(REASON_STRING, 0x1f, struct bytes, reason_string)                                            \
    X(RECEIVE_MAXIMUM, 0x21, uint16_t, receive_maximum)                                            \
    X(TOPIC_ALIAS_MAXIMUM, 0x22, uint16_t, topic_alias_maximum)                                    \
    X(TOPIC_ALIAS, 0x23, uint16_t, topic_alias)                                                    \
    X(MAXIMUM_QOS, 0x24, uint8_t, maximum_qos)                                                     \
    X(RETAIN_AVAILABLE, 0x25, uint8_t, retain_available)                                           \
    X(MAXIMUM_PACKET_SIZE, 0x27, uint32_t, maximum_packet_size_bytes)                              \
    X(WILDCARD_AVAILABLE, 0x28, uint8_t, wildcard_available)                                       \
    X(IDENTIFIERS_AVAILABLE, 0x29, uint8_t, identifiers_available)                                 \
    X(SHARED_AVAILABLE, 0x2a, uint8_t, shared_available)

enum mqtt_property {
#define X(name, identifier, type, field) MQTT_PROPERTY_##name = (identifier),
    MQTT_PROPERTY_MAP(X)
#undef X
        MQTT_PROPERTY_USER = 0x26,
    MQTT_PROPERTY_COUNT = 0x2b
};

struct mqtt_properties {
    uint64_t present; /* bit 1 << identifier */
    /* All of them as they stand on the wire, without the length. When encoding: the user properties
     * (and repeated subscription identifiers) to send; other properties in it are not taken. */
    struct bytes raw;
#define X(name, identifier, type, field) type field;
    MQTT_PROPERTY_MAP(X)
#undef X
};

static inline bool mqtt_has(const struct mqtt_properties *properties, enum mqtt_property property)
{
    return (properties->present >> property) & 1;
}

/* Marks a field as to be sent: mqtt_set(&p, MQTT_PROPERTY_TOPIC_ALIAS); p.topic_alias = 3; */
static inline void mqtt_set(struct mqtt_properties *properties, enum mqtt_property property)
{
    properties->present |= (uint64_t)1 << property;
}

/* Walks the user properties in their order (§3.3.2.3.7); *offset starts at 0. Only on properties
 * that were decoded. Returns false at the end. */
bool mqtt_user_property_next(const struct mqtt_properties *properties, size_t *offset,
                             struct bytes *ret_name, struct bytes *ret_value);

/* Appends one user property to a buffer that becomes properties.raw. ERR_TOO_LARGE over 65535. */
enum err mqtt_user_property_append(struct buf *out, struct bytes name, struct bytes value);

/* For mqtt_publish_hash: all properties but Topic Alias and Message Expiry Interval (contract/
 * data.md), whatever their order, user properties in theirs. 0 when there are none. */
uint64_t mqtt_properties_hash(const struct mqtt_properties *properties);
