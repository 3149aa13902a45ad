#pragma once
/* What the broker of mqtt_broker.h says and expects, packet by packet. One thread. */
#include "codec/mqtt_encode.h"
#include "support/mqtt_broker.h"

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    hang_up(f);
    uv_close((uv_handle_t *)&f->listener, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    buf_fini(&f->in);
    json_decref(f->config);
    free(f->state);
    pipeline_clear();
    return 0;
}

static inline void give(struct fixture *f, const void *data, size_t size)
{
    size_t sent = 0;
    while (sent < size && !f->failed) {
        uv_buf_t part = {.base = (char *)(uintptr_t)data + sent, .len = size - sent};
        int written = uv_try_write((uv_stream_t *)&f->socket, &part, 1);
        if (written > 0)
            sent += (size_t)written;
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
}

static inline void give_buf(struct fixture *f, struct buf *packet)
{
    assert_int_equal(packet->err, ERR_OK);
    give(f, packet->data, packet->size);
    buf_fini(packet);
}

/* The next packet of the client; its body stays until the next call. False: it hung up. */
static inline bool next_packet(struct fixture *f, struct mqtt_frame *frame, struct bytes *body)
{
    static uint8_t copy[200000];
    struct mqtt_fault fault;
    enum err err;
    while ((err = mqtt_frame(buf_bytes(&f->in), sizeof(copy), frame, &fault)) == ERR_AGAIN ||
           (err == ERR_OK && frame->total_size > f->in.size)) {
        if (f->hung_up)
            return false;
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(err, ERR_OK);
    memcpy(copy, f->in.data, frame->total_size);
    memmove(f->in.data, f->in.data + frame->total_size, f->in.size - frame->total_size);
    f->in.size -= frame->total_size;
    *body = bytes_from(copy + frame->header_size, frame->body_size);
    return true;
}

static inline struct bytes expect(struct fixture *f, uint8_t type, struct mqtt_frame *frame)
{
    struct bytes body = {0};
    do /* pings come when they want */
        assert_true(next_packet(f, frame, &body));
    while (frame->type == MQTT_PINGREQ && type != MQTT_PINGREQ);
    if (frame->type != type)
        fail_msg("%s where a %s was expected", mqtt_type_name(frame->type), mqtt_type_name(type));
    return body;
}

static inline struct mqtt_connect expect_connect(struct fixture *f)
{
    struct mqtt_frame frame;
    struct mqtt_fault fault;
    struct mqtt_connect connect;
    struct bytes body = expect(f, MQTT_CONNECT, &frame);
    assert_int_equal(mqtt_decode_connect(&frame, body, &connect, &fault), ERR_OK);
    f->version = connect.version;
    return connect;
}

static inline void give_connack(struct fixture *f, const struct mqtt_connack *connack)
{
    struct buf packet;
    buf_init(&packet, 1 << 16);
    (void)mqtt_encode_connack(&packet, f->version, connack);
    give_buf(f, &packet);
}

static inline struct mqtt_subscribe expect_subscribe(struct fixture *f, uint8_t type)
{
    struct mqtt_frame frame;
    struct mqtt_fault fault;
    struct mqtt_subscribe subscribe;
    struct bytes body = expect(f, type, &frame);
    assert_int_equal(mqtt_decode_subscribe(f->version, &frame, body, &subscribe, &fault), ERR_OK);
    return subscribe;
}

static inline void give_suback(struct fixture *f, uint8_t type,
                               const struct mqtt_subscribe *subscribe, uint8_t code)
{
    uint8_t codes[16];
    struct buf packet;
    memset(codes, code, sizeof(codes));
    struct mqtt_subscribe suback = {.packet_identifier = subscribe->packet_identifier,
                                    .entries = {codes, subscribe->entry_count}};
    buf_init(&packet, 1 << 16);
    (void)mqtt_encode_suback(&packet, f->version, type, &suback);
    give_buf(f, &packet);
}

static inline void give_publish(struct fixture *f, const struct mqtt_publish *publish)
{
    struct buf packet;
    buf_init(&packet, 64 << 20);
    (void)mqtt_encode_publish(&packet, f->version, publish);
    give_buf(f, &packet);
}

static inline void publish_with(struct fixture *f, uint8_t qos, uint16_t identifier, bool dup,
                                const char *payload)
{
    struct mqtt_publish packet = {.topic = BYTES_LITERAL("a/b"),
                                  .payload = bytes_from_text(payload),
                                  .packet_identifier = identifier,
                                  .qos = qos,
                                  .dup = dup};
    give_publish(f, &packet);
}

static inline void publish(struct fixture *f, uint16_t identifier, bool dup, const char *payload)
{
    publish_with(f, identifier ? 1 : 0, identifier, dup, payload);
}

static inline void expect_ack(struct fixture *f, enum mqtt_type type, uint16_t identifier,
                              size_t size)
{
    struct mqtt_frame frame;
    struct bytes body = expect(f, (uint8_t)type, &frame);
    assert_int_equal(body.data[0] << 8 | body.data[1], identifier);
    assert_int_equal(body.size, size);
}

static inline void expect_puback(struct fixture *f, uint16_t identifier)
{
    expect_ack(f, MQTT_PUBACK, identifier, 2);
}

static inline void give_pubrel(struct fixture *f, uint16_t identifier)
{
    uint8_t packet[MQTT_SHORT_ACK_BYTES];
    mqtt_put_short_ack(packet, MQTT_PUBREL, identifier);
    give(f, packet, sizeof(packet));
}

static inline void turns(struct fixture *f, int count)
{
    for (int i = 0; i < count; i++)
        uv_run(&f->loop, UV_RUN_NOWAIT);
}

/* CONNECT to SUBACK. */
static inline void client_ready(struct fixture *f, bool session_present)
{
    client_open(f);
    expect_connect(f);
    give_connack(f, &(struct mqtt_connack){.session_present = session_present});
    if (!session_present) {
        struct mqtt_subscribe subscribe = expect_subscribe(f, MQTT_SUBSCRIBE);
        give_suback(f, MQTT_SUBACK, &subscribe, 1);
    }
    UNTIL(f, f->connected);
    turns(f, 3);
}

static inline void expect_failure(struct fixture *f, enum err err, const char *word)
{
    UNTIL(f, f->failed);
    if (!strstr(f->reason, word))
        fail_msg("\"%s\" lacks \"%s\"", f->reason, word);
    assert_int_equal(f->err, err);
}

static inline void expect_disconnect(struct fixture *f, uint8_t reason)
{
    struct mqtt_frame frame;
    struct bytes body = expect(f, MQTT_DISCONNECT, &frame);
    assert_int_equal(body.size ? body.data[0] : 0, reason);
}
