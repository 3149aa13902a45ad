#pragma once
/*
 * MQTT 5 reason codes (OASIS 2019, §2.4) and for which packets each is allowed (the tables of
 * §3.2.2.2, §3.4.2.1, §3.5.2.1, §3.6.2.1, §3.7.2.1, §3.9.3, §3.11.3, §3.14.2.1, §3.15.2.1).
 * Return codes of 3.1.1 are translated to these when decoded. Pure, any thread, static strings.
 */
#include <stdbool.h>
#include <stdint.h>

/* Bits for MQTT_REASON_MAP's packets: 1 << packet type. */
#define MQTT_IN_CONNACK    (1u << 2)
#define MQTT_IN_PUBACK     (1u << 4)
#define MQTT_IN_PUBREC     (1u << 5)
#define MQTT_IN_PUBREL     (1u << 6)
#define MQTT_IN_PUBCOMP    (1u << 7)
#define MQTT_IN_SUBACK     (1u << 9)
#define MQTT_IN_UNSUBACK   (1u << 11)
#define MQTT_IN_DISCONNECT (1u << 14)
#define MQTT_IN_AUTH       (1u << 15)
#define MQTT_IN_PUBLISHED  (MQTT_IN_PUBACK | MQTT_IN_PUBREC)
#define MQTT_IN_RELEASED   (MQTT_IN_PUBREL | MQTT_IN_PUBCOMP)
#define MQTT_IN_SUBSCRIBED (MQTT_IN_SUBACK | MQTT_IN_UNSUBACK)
#define MQTT_IN_SESSION    (MQTT_IN_CONNACK | MQTT_IN_DISCONNECT)

/* X(name, code, packets, text) */
#define MQTT_REASON_MAP(X)                                                                         \
    X(SUCCESS, 0x00, 0xffffu, "success")                                                           \
    X(GRANTED_QOS_1, 0x01, MQTT_IN_SUBACK, "granted QoS 1")                                        \
    X(GRANTED_QOS_2, 0x02, MQTT_IN_SUBACK, "granted QoS 2")                                        \
    X(DISCONNECT_WITH_WILL, 0x04, MQTT_IN_DISCONNECT, "disconnect with will message")              \
    X(NO_MATCHING_SUBSCRIBERS, 0x10, MQTT_IN_PUBLISHED, "no matching subscribers")                 \
    X(NO_SUBSCRIPTION_EXISTED, 0x11, MQTT_IN_UNSUBACK, "no subscription existed")                  \
    X(CONTINUE_AUTHENTICATION, 0x18, MQTT_IN_AUTH, "continue authentication")                      \
    X(REAUTHENTICATE, 0x19, MQTT_IN_AUTH, "re-authenticate")                                       \
    X(UNSPECIFIED, 0x80, MQTT_IN_SESSION | MQTT_IN_PUBLISHED | MQTT_IN_SUBSCRIBED,                 \
      "unspecified error")                                                                         \
    X(MALFORMED_PACKET, 0x81, MQTT_IN_SESSION, "malformed packet")                                 \
    X(PROTOCOL_ERROR, 0x82, MQTT_IN_SESSION, "protocol error")                                     \
    X(IMPLEMENTATION_SPECIFIC, 0x83, MQTT_IN_SESSION | MQTT_IN_PUBLISHED | MQTT_IN_SUBSCRIBED,     \
      "implementation specific error")                                                             \
    X(UNSUPPORTED_VERSION, 0x84, MQTT_IN_CONNACK, "unsupported protocol version")                  \
    X(CLIENT_ID_INVALID, 0x85, MQTT_IN_CONNACK, "client identifier not valid")                     \
    X(BAD_CREDENTIALS, 0x86, MQTT_IN_CONNACK, "bad user name or password")                         \
    X(NOT_AUTHORIZED, 0x87, MQTT_IN_SESSION | MQTT_IN_PUBLISHED | MQTT_IN_SUBSCRIBED,              \
      "not authorized")                                                                            \
    X(SERVER_UNAVAILABLE, 0x88, MQTT_IN_CONNACK, "server unavailable")                             \
    X(SERVER_BUSY, 0x89, MQTT_IN_SESSION, "server busy")                                           \
    X(BANNED, 0x8a, MQTT_IN_CONNACK, "banned")                                                     \
    X(SERVER_SHUTTING_DOWN, 0x8b, MQTT_IN_DISCONNECT, "server shutting down")                      \
    X(BAD_AUTHENTICATION_METHOD, 0x8c, MQTT_IN_SESSION, "bad authentication method")               \
    X(KEEP_ALIVE_TIMEOUT, 0x8d, MQTT_IN_DISCONNECT, "keep alive timeout")                          \
    X(SESSION_TAKEN_OVER, 0x8e, MQTT_IN_DISCONNECT, "session taken over")                          \
    X(TOPIC_FILTER_INVALID, 0x8f, MQTT_IN_SUBSCRIBED | MQTT_IN_DISCONNECT, "topic filter invalid") \
    X(TOPIC_NAME_INVALID, 0x90, MQTT_IN_SESSION | MQTT_IN_PUBLISHED, "topic name invalid")         \
    X(PACKET_IDENTIFIER_IN_USE, 0x91, MQTT_IN_PUBLISHED | MQTT_IN_SUBSCRIBED,                      \
      "packet identifier in use")                                                                  \
    X(PACKET_IDENTIFIER_NOT_FOUND, 0x92, MQTT_IN_RELEASED, "packet identifier not found")          \
    X(RECEIVE_MAXIMUM_EXCEEDED, 0x93, MQTT_IN_DISCONNECT, "receive maximum exceeded")              \
    X(TOPIC_ALIAS_INVALID, 0x94, MQTT_IN_DISCONNECT, "topic alias invalid")                        \
    X(PACKET_TOO_LARGE, 0x95, MQTT_IN_SESSION, "packet too large")                                 \
    X(MESSAGE_RATE_TOO_HIGH, 0x96, MQTT_IN_DISCONNECT, "message rate too high")                    \
    X(QUOTA_EXCEEDED, 0x97, MQTT_IN_SESSION | MQTT_IN_PUBLISHED | MQTT_IN_SUBACK,                  \
      "quota exceeded")                                                                            \
    X(ADMINISTRATIVE_ACTION, 0x98, MQTT_IN_DISCONNECT, "administrative action")                    \
    X(PAYLOAD_FORMAT_INVALID, 0x99, MQTT_IN_SESSION | MQTT_IN_PUBLISHED, "payload format invalid") \
    X(RETAIN_NOT_SUPPORTED, 0x9a, MQTT_IN_SESSION, "retain not supported")                         \
    X(QOS_NOT_SUPPORTED, 0x9b, MQTT_IN_SESSION, "QoS not supported")                               \
    X(USE_ANOTHER_SERVER, 0x9c, MQTT_IN_SESSION, "use another server")                             \
    X(SERVER_MOVED, 0x9d, MQTT_IN_SESSION, "server moved")                                         \
    X(SHARED_NOT_SUPPORTED, 0x9e, MQTT_IN_SUBACK | MQTT_IN_DISCONNECT,                             \
      "shared subscriptions not supported")                                                        \
    X(CONNECTION_RATE_EXCEEDED, 0x9f, MQTT_IN_SESSION, "connection rate exceeded")                 \
    X(MAXIMUM_CONNECT_TIME, 0xa0, MQTT_IN_DISCONNECT, "maximum connect time")                      \
    X(IDENTIFIERS_NOT_SUPPORTED, 0xa1, MQTT_IN_SUBACK | MQTT_IN_DISCONNECT,                        \
      "subscription identifiers not supported")                                                    \
    X(WILDCARDS_NOT_SUPPORTED, 0xa2, MQTT_IN_SUBACK | MQTT_IN_DISCONNECT,                          \
      "wildcard subscriptions not supported")

enum mqtt_reason {
#define X(name, code, packets, text) MQTT_REASON_##name = (code),
    MQTT_REASON_MAP(X)
#undef X
};

/* From this on a reason is a failure (§2.4). */
#define MQTT_REASON_FAILURE 0x80

/* "not authorized"; "unknown reason code" for what the standard does not name. */
const char *mqtt_reason_text(uint8_t reason);
/* Whether the standard allows the code in a packet of that type. */
bool mqtt_reason_allowed(uint8_t reason, uint8_t packet_type);
/* The reason for a CONNACK return code of MQTT 3.1.1 (§3.2.2.3 there). */
uint8_t mqtt_reason_from_return_code(uint8_t return_code);
/* The way back, for the server side; codes without a counterpart become 3, server unavailable. */
uint8_t mqtt_reason_to_return_code(uint8_t reason);
