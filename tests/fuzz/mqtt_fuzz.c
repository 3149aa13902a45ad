/*
 * MQTT packets from a hostile peer. The input is a stream: its first byte picks the version, the
 * rest is framed and decoded as a receiver would. What decodes is encoded again and must decode to
 * the same bytes once more; a cut PUBLISH must ask for more or give a part.
 */
#include "base/alloc.h"
#include "codec/mqtt_encode.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good)
        abort();
}

#define FILTERS_MAX 64

static enum err reencode_subscribe(enum mqtt_version version, uint8_t type,
                                   const struct mqtt_subscribe *subscribe, struct buf *out)
{
    struct mqtt_filter filters[FILTERS_MAX];
    size_t count = 0;
    size_t offset = 0;
    if (type == MQTT_SUBACK || type == MQTT_UNSUBACK)
        return mqtt_encode_suback(out, version, (enum mqtt_type)type, subscribe);
    if (subscribe->entry_count > FILTERS_MAX)
        return ERR_TOO_MANY;
    while (mqtt_filter_next(subscribe, type == MQTT_SUBSCRIBE, &offset, &filters[count]))
        check(++count <= subscribe->entry_count);
    check(count == subscribe->entry_count);
    return (type == MQTT_SUBSCRIBE ? mqtt_encode_subscribe : mqtt_encode_unsubscribe)(
        out, version, subscribe->packet_identifier, &subscribe->properties, filters, count);
}

static void walk_user_properties(const struct mqtt_properties *properties)
{
    struct bytes name;
    struct bytes value;
    for (size_t offset = 0; mqtt_user_property_next(properties, &offset, &name, &value);)
        check(offset <= properties->raw.size);
}

/* Decodes a whole packet; what is good is written to out. */
static enum err decode_and_encode(enum mqtt_version version, const struct mqtt_frame *frame,
                                  struct bytes body, struct buf *out, struct mqtt_fault *fault)
{
    struct mqtt_connect connect;
    struct mqtt_connack connack;
    struct mqtt_publish publish;
    struct mqtt_ack ack;
    struct mqtt_subscribe subscribe;
    enum err err;
    switch (frame->type) {
    case MQTT_CONNECT:
        err = mqtt_decode_connect(frame, body, &connect, fault);
        return err ? err : mqtt_encode_connect(out, &connect);
    case MQTT_CONNACK:
        err = mqtt_decode_connack(version, frame, body, &connack, fault);
        return err ? err : mqtt_encode_connack(out, version, &connack);
    case MQTT_PUBLISH:
        err = mqtt_decode_publish(version, frame, body, &publish, fault);
        if (err != ERR_OK)
            return err;
        walk_user_properties(&publish.properties);
        (void)mqtt_publish_hash(1, &publish);
        return mqtt_encode_publish(out, version, &publish);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        err = mqtt_decode_ping(version, frame, fault);
        return err ? err : mqtt_encode_ping(out, (enum mqtt_type)frame->type);
    case MQTT_SUBSCRIBE:
    case MQTT_SUBACK:
    case MQTT_UNSUBSCRIBE:
    case MQTT_UNSUBACK:
        err = mqtt_decode_subscribe(version, frame, body, &subscribe, fault);
        return err ? err : reencode_subscribe(version, frame->type, &subscribe, out);
    default:
        err = mqtt_decode_ack(version, frame, body, &ack, fault);
        return err ? err : mqtt_encode_ack(out, version, (enum mqtt_type)frame->type, &ack);
    }
}

/* Encoding is a fixed point: packet -> bytes -> packet -> the same bytes. */
static void check_fixed_point(enum mqtt_version version, struct bytes packet)
{
    struct buf again;
    struct mqtt_frame frame;
    struct mqtt_fault fault;
    buf_init(&again, 1 << 20);
    check(mqtt_frame(packet, SIZE_MAX, &frame, &fault) == ERR_OK);
    check(frame.total_size == packet.size);
    enum err err = decode_and_encode(version, &frame,
                                     bytes_from(packet.data + frame.header_size, frame.body_size),
                                     &again, &fault);
    check(err == ERR_OK && bytes_equal(packet, buf_bytes(&again)));
    buf_fini(&again);
}

static void one_packet(enum mqtt_version version, const struct mqtt_frame *frame, struct bytes in)
{
    struct buf out;
    struct mqtt_fault fault = {0};
    /* A copy of exact size, so that a read beyond the packet is seen. */
    uint8_t *body = mem_dup(in.data + frame->header_size, frame->body_size);
    buf_init(&out, 1 << 20);
    enum err err =
        decode_and_encode(version, frame, bytes_from(body, frame->body_size), &out, &fault);
    if (err == ERR_OK && out.size > 0)
        check_fixed_point(version, buf_bytes(&out));
    else if (err == ERR_PROTOCOL)
        check(fault.text && fault.reason >= MQTT_REASON_FAILURE);
    buf_fini(&out);
    mem_free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    enum mqtt_version version = data[0] & 1 ? MQTT_VERSION_5 : MQTT_VERSION_3_1_1;
    size_t at = 1;
    while (at < size) {
        struct mqtt_frame frame;
        struct mqtt_fault fault;
        struct bytes in = bytes_from(data + at, size - at);
        enum err err = mqtt_frame(in, size, &frame, &fault);
        if (err != ERR_OK && err != ERR_TOO_LARGE)
            break;
        if (frame.total_size > in.size) {
            struct mqtt_publish part;
            struct bytes body =
                bytes_from(in.data + frame.header_size, in.size - frame.header_size);
            if (frame.type == MQTT_PUBLISH &&
                mqtt_decode_publish(version, &frame, body, &part, &fault) == ERR_OK)
                check(part.payload_size > part.payload.size);
            size_t offset;
            if (frame.type == MQTT_PUBLISH &&
                mqtt_decode_publish_head(version, &frame, body, &part, &offset, &fault) == ERR_OK)
                check(offset + part.payload_size == frame.body_size && part.topic.size > 0);
            break;
        }
        one_packet(version, &frame, in);
        at += frame.total_size;
    }
    return 0;
}
