#pragma once
/*
 * MQTT packets, structures to bytes, appended to a struct buf. On failure (ERR_NO_MEMORY,
 * ERR_TOO_LARGE) the buffer's size is as before, and its sticky error is set. With 3.1.1 all
 * properties and reasons are left out (CONNACK and SUBACK get the old codes). What is given is
 * taken as it is: a test broker must be able to send what the standard forbids. Any thread.
 */
#include "base/buf.h"
#include "codec/mqtt.h"

enum err mqtt_encode_connect(struct buf *out, const struct mqtt_connect *connect);
enum err mqtt_encode_connack(struct buf *out, enum mqtt_version version,
                             const struct mqtt_connack *connack);
enum err mqtt_encode_publish(struct buf *out, enum mqtt_version version,
                             const struct mqtt_publish *publish);
/* PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH; the shortest form that says it. */
enum err mqtt_encode_ack(struct buf *out, enum mqtt_version version, enum mqtt_type type,
                         const struct mqtt_ack *ack);
enum err mqtt_encode_subscribe(struct buf *out, enum mqtt_version version,
                               uint16_t packet_identifier, const struct mqtt_properties *properties,
                               const struct mqtt_filter *filters, size_t filter_count);
enum err mqtt_encode_unsubscribe(struct buf *out, enum mqtt_version version,
                                 uint16_t packet_identifier,
                                 const struct mqtt_properties *properties,
                                 const struct mqtt_filter *filters, size_t filter_count);
/* SUBACK or UNSUBACK; entries are the codes. */
enum err mqtt_encode_suback(struct buf *out, enum mqtt_version version, enum mqtt_type type,
                            const struct mqtt_subscribe *suback);
/* PINGREQ or PINGRESP. */
enum err mqtt_encode_ping(struct buf *out, enum mqtt_type type);

#define MQTT_SHORT_ACK_BYTES 4

/* The four bytes of a successful PUBACK, PUBREC, PUBREL or PUBCOMP, the same in both versions. */
static inline void mqtt_put_short_ack(uint8_t *to, enum mqtt_type type, uint16_t packet_identifier)
{
    to[0] = (uint8_t)((unsigned)type << 4 | (type == MQTT_PUBREL ? 2u : 0u));
    to[1] = 2;
    to[2] = (uint8_t)(packet_identifier >> 8);
    to[3] = (uint8_t)packet_identifier;
}
