/*
 * A packet is written after a gap of MQTT_HEADER_BYTES_MAX bytes; when its size is known, the fixed
 * header goes into the gap and the body closes up to it. So no size is ever computed twice, and the
 * move costs less than the copy that made the body.
 */
#include "codec/mqtt_encode.h"

#include "codec/mqtt_read.h"

static size_t begin_packet(struct buf *out)
{
    size_t start = out->size;
    buf_append(out, "\0\0\0\0", MQTT_HEADER_BYTES_MAX);
    return start;
}

static enum err end_packet(struct buf *out, size_t start, enum mqtt_type type, uint8_t flags)
{
    size_t body_size = out->size - start - MQTT_HEADER_BYTES_MAX;
    if (out->err == ERR_OK && body_size > MQTT_REMAINING_LENGTH_MAX)
        out->err = ERR_TOO_LARGE;
    if (out->err != ERR_OK) {
        if (out->size > start)
            out->size = start;
        return out->err;
    }
    uint8_t *packet = out->data + start;
    uint8_t *body = packet + MQTT_HEADER_BYTES_MAX;
    packet[0] = (uint8_t)((unsigned)type << 4 | flags);
    size_t length_size = mqtt_store_variable(packet + 1, (uint32_t)body_size);
    memmove(packet + 1 + length_size, body, body_size);
    out->size = start + 1 + length_size + body_size;
    return ERR_OK;
}

static void put_properties(struct buf *out, enum mqtt_version version,
                           const struct mqtt_properties *properties)
{
    if (version == MQTT_VERSION_5)
        (void)mqtt_properties_encode(out, properties);
}

static uint8_t connect_flags(const struct mqtt_connect *connect)
{
    unsigned flags = 0;
    flags |= connect->clean_start ? 2u : 0u;
    flags |= connect->has_will ? 4u : 0u;
    flags |= connect->has_will ? (unsigned)(connect->will_qos & 3) << 3 : 0u;
    flags |= connect->has_will && connect->will_retain ? 0x20u : 0u;
    flags |= connect->has_password ? 0x40u : 0u;
    flags |= connect->has_username ? 0x80u : 0u;
    return (uint8_t)flags;
}

enum err mqtt_encode_connect(struct buf *out, const struct mqtt_connect *connect)
{
    size_t start = begin_packet(out);
    mqtt_put_binary(out, BYTES_LITERAL("MQTT"));
    mqtt_put_u8(out, (uint8_t)connect->version);
    mqtt_put_u8(out, connect_flags(connect));
    mqtt_put_u16(out, connect->keep_alive_seconds);
    put_properties(out, connect->version, &connect->properties);
    mqtt_put_binary(out, connect->client_id);
    if (connect->has_will) {
        put_properties(out, connect->version, &connect->will_properties);
        mqtt_put_binary(out, connect->will_topic);
        mqtt_put_binary(out, connect->will_payload);
    }
    if (connect->has_username)
        mqtt_put_binary(out, connect->username);
    if (connect->has_password)
        mqtt_put_binary(out, connect->password);
    return end_packet(out, start, MQTT_CONNECT, 0);
}

enum err mqtt_encode_connack(struct buf *out, enum mqtt_version version,
                             const struct mqtt_connack *connack)
{
    bool is_old = version == MQTT_VERSION_3_1_1 || connack->answered_3_1_1;
    size_t start = begin_packet(out);
    mqtt_put_u8(out, connack->session_present);
    mqtt_put_u8(out, is_old ? mqtt_reason_to_return_code(connack->reason) : connack->reason);
    if (!is_old)
        put_properties(out, version, &connack->properties);
    return end_packet(out, start, MQTT_CONNACK, 0);
}

enum err mqtt_encode_publish(struct buf *out, enum mqtt_version version,
                             const struct mqtt_publish *publish)
{
    unsigned flags =
        (publish->dup ? 8u : 0u) | (unsigned)(publish->qos & 3) << 1 | (publish->retain ? 1u : 0u);
    size_t start = begin_packet(out);
    mqtt_put_binary(out, publish->topic);
    if (publish->qos > 0)
        mqtt_put_u16(out, publish->packet_identifier);
    put_properties(out, version, &publish->properties);
    buf_append(out, publish->payload.data, publish->payload.size);
    return end_packet(out, start, MQTT_PUBLISH, (uint8_t)flags);
}

static bool says_something(const struct mqtt_properties *properties)
{
    return properties->present != 0 || properties->raw.size > 0;
}

enum err mqtt_encode_ack(struct buf *out, enum mqtt_version version, enum mqtt_type type,
                         const struct mqtt_ack *ack)
{
    bool has_properties = version == MQTT_VERSION_5 && says_something(&ack->properties);
    bool has_reason = version == MQTT_VERSION_5 && (ack->reason != 0 || has_properties);
    size_t start = begin_packet(out);
    if (type != MQTT_DISCONNECT && type != MQTT_AUTH)
        mqtt_put_u16(out, ack->packet_identifier);
    if (has_reason)
        mqtt_put_u8(out, ack->reason);
    if (has_properties)
        put_properties(out, version, &ack->properties);
    return end_packet(out, start, type, type == MQTT_PUBREL ? 2 : 0);
}

static void put_filter(struct buf *out, const struct mqtt_filter *filter)
{
    unsigned options = (filter->qos & 3u) | (filter->no_local ? 4u : 0u) |
                       (filter->retain_as_published ? 8u : 0u) |
                       (unsigned)(filter->retain_handling & 3) << 4;
    mqtt_put_binary(out, filter->filter);
    mqtt_put_u8(out, (uint8_t)options);
}

enum err mqtt_encode_subscribe(struct buf *out, enum mqtt_version version,
                               uint16_t packet_identifier, const struct mqtt_properties *properties,
                               const struct mqtt_filter *filters, size_t filter_count)
{
    size_t start = begin_packet(out);
    mqtt_put_u16(out, packet_identifier);
    put_properties(out, version, properties);
    for (size_t i = 0; i < filter_count; i++) {
        struct mqtt_filter filter = filters[i];
        if (version == MQTT_VERSION_3_1_1)
            filter = (struct mqtt_filter){.filter = filter.filter, .qos = filter.qos};
        put_filter(out, &filter);
    }
    return end_packet(out, start, MQTT_SUBSCRIBE, 2);
}

enum err mqtt_encode_unsubscribe(struct buf *out, enum mqtt_version version,
                                 uint16_t packet_identifier,
                                 const struct mqtt_properties *properties,
                                 const struct mqtt_filter *filters, size_t filter_count)
{
    size_t start = begin_packet(out);
    mqtt_put_u16(out, packet_identifier);
    put_properties(out, version, properties);
    for (size_t i = 0; i < filter_count; i++)
        mqtt_put_binary(out, filters[i].filter);
    return end_packet(out, start, MQTT_UNSUBSCRIBE, 2);
}

enum err mqtt_encode_suback(struct buf *out, enum mqtt_version version, enum mqtt_type type,
                            const struct mqtt_subscribe *suback)
{
    size_t start = begin_packet(out);
    mqtt_put_u16(out, suback->packet_identifier);
    put_properties(out, version, &suback->properties);
    for (size_t i = 0; i < suback->entries.size; i++) {
        uint8_t code = suback->entries.data[i];
        if (version == MQTT_VERSION_5)
            mqtt_put_u8(out, code);
        else if (type == MQTT_SUBACK)
            mqtt_put_u8(out, code < MQTT_REASON_FAILURE ? code : MQTT_REASON_UNSPECIFIED);
    }
    return end_packet(out, start, type, 0);
}

enum err mqtt_encode_ping(struct buf *out, enum mqtt_type type)
{
    return end_packet(out, begin_packet(out), type, 0);
}
