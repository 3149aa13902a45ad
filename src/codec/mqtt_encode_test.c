/* Every packet there and back, with every property; at every truncation; with every allocation
 * failing. */
#include "codec/mqtt_encode.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define V3 MQTT_VERSION_3_1_1
#define V5 MQTT_VERSION_5

static const uint8_t user_raw[] =
    "\x26\x00\x03key\x00\x05value\x0b\x05\x0b\x81\x01\x26\x00\x00\x00\x00";

#define SET(p, name, field, value) (mqtt_set((p), MQTT_PROPERTY_##name), (p)->field = (value))

/* All properties of a PUBLISH; with_will: those of a will. */
static struct mqtt_properties message_properties(bool with_will)
{
    struct mqtt_properties p = {0};
    SET(&p, PAYLOAD_FORMAT, payload_format, 1);
    SET(&p, MESSAGE_EXPIRY, message_expiry_seconds, 0xfffefdfc);
    SET(&p, CONTENT_TYPE, content_type, BYTES_LITERAL("application/json"));
    SET(&p, RESPONSE_TOPIC, response_topic, BYTES_LITERAL("answer/here"));
    SET(&p, CORRELATION_DATA, correlation_data, BYTES_LITERAL("\x00\xff"));
    if (with_will) {
        SET(&p, WILL_DELAY, will_delay_seconds, 77);
        return p;
    }
    SET(&p, SUBSCRIPTION_IDENTIFIER, subscription_identifier, 5);
    SET(&p, TOPIC_ALIAS, topic_alias, 65535);
    p.raw = bytes_from(user_raw, sizeof(user_raw) - 1);
    return p;
}

static struct mqtt_properties opening_properties(bool is_connack)
{
    struct mqtt_properties p = {0};
    SET(&p, SESSION_EXPIRY, session_expiry_seconds, 3600);
    SET(&p, AUTHENTICATION_METHOD, authentication_method, BYTES_LITERAL("SCRAM"));
    SET(&p, AUTHENTICATION_DATA, authentication_data, BYTES_LITERAL("\x01\x02"));
    SET(&p, RECEIVE_MAXIMUM, receive_maximum, 20);
    SET(&p, TOPIC_ALIAS_MAXIMUM, topic_alias_maximum, 9);
    SET(&p, MAXIMUM_PACKET_SIZE, maximum_packet_size_bytes, 1 << 20);
    if (!is_connack) {
        SET(&p, REQUEST_PROBLEM_INFORMATION, request_problem_information, 0);
        SET(&p, REQUEST_RESPONSE_INFORMATION, request_response_information, 1);
        return p;
    }
    SET(&p, ASSIGNED_CLIENT_ID, assigned_client_id, BYTES_LITERAL("given"));
    SET(&p, SERVER_KEEP_ALIVE, server_keep_alive_seconds, 30);
    SET(&p, RESPONSE_INFORMATION, response_information, BYTES_LITERAL("r/"));
    SET(&p, SERVER_REFERENCE, server_reference, BYTES_LITERAL("other:1883"));
    SET(&p, REASON_STRING, reason_string, BYTES_LITERAL("because"));
    SET(&p, MAXIMUM_QOS, maximum_qos, 1);
    SET(&p, RETAIN_AVAILABLE, retain_available, 0);
    SET(&p, WILDCARD_AVAILABLE, wildcard_available, 0);
    SET(&p, IDENTIFIERS_AVAILABLE, identifiers_available, 1);
    SET(&p, SHARED_AVAILABLE, shared_available, 0);
    return p;
}

static enum err encode_connect(struct buf *out, enum mqtt_version version)
{
    struct mqtt_connect connect = {.version = version,
                                   .clean_start = true,
                                   .keep_alive_seconds = 60,
                                   .properties = opening_properties(false),
                                   .client_id = BYTES_LITERAL("client"),
                                   .has_will = true,
                                   .will_retain = true,
                                   .will_qos = 2,
                                   .will_properties = message_properties(true),
                                   .will_topic = BYTES_LITERAL("will/topic"),
                                   .will_payload = BYTES_LITERAL("gone"),
                                   .has_username = true,
                                   .has_password = true,
                                   .username = BYTES_LITERAL("user"),
                                   .password = BYTES_LITERAL("\x00\x01")};
    return mqtt_encode_connect(out, &connect);
}

static enum err encode_connack(struct buf *out, enum mqtt_version version)
{
    return mqtt_encode_connack(out, version,
                               &(struct mqtt_connack){.reason = MQTT_REASON_NOT_AUTHORIZED,
                                                      .properties = opening_properties(true)});
}

static enum err encode_publish(struct buf *out, enum mqtt_version version)
{
    struct mqtt_publish publish = {.topic = BYTES_LITERAL("a/b/c"),
                                   .payload = BYTES_LITERAL("{\"value\":1}"),
                                   .packet_identifier = 4711,
                                   .qos = 1,
                                   .dup = true,
                                   .properties = message_properties(false)};
    return mqtt_encode_publish(out, version, &publish);
}

static enum err encode_acks(struct buf *out, enum mqtt_version version)
{
    struct mqtt_ack ack = {.packet_identifier = 300, .reason = MQTT_REASON_QUOTA_EXCEEDED};
    SET(&ack.properties, REASON_STRING, reason_string, BYTES_LITERAL("full"));
    (void)mqtt_encode_ack(out, version, MQTT_PUBACK, &ack);
    (void)mqtt_encode_ack(out, version, MQTT_PUBREC, &ack);
    ack.reason = MQTT_REASON_PACKET_IDENTIFIER_NOT_FOUND;
    (void)mqtt_encode_ack(out, version, MQTT_PUBREL, &ack);
    return mqtt_encode_ack(out, version, MQTT_PUBCOMP, &ack);
}

static enum err encode_disconnect(struct buf *out, enum mqtt_version version)
{
    struct mqtt_ack ack = {.reason = MQTT_REASON_SERVER_MOVED};
    SET(&ack.properties, SERVER_REFERENCE, server_reference, BYTES_LITERAL("there"));
    ack.properties.raw = BYTES_LITERAL("\x26\x00\x01k\x00\x01v");
    return mqtt_encode_ack(out, version, MQTT_DISCONNECT, &ack);
}

static enum err encode_subscribe(struct buf *out, enum mqtt_version version)
{
    struct mqtt_properties properties = {0};
    SET(&properties, SUBSCRIPTION_IDENTIFIER, subscription_identifier, MQTT_REMAINING_LENGTH_MAX);
    struct mqtt_filter filters[] = {
        {.filter = BYTES_LITERAL("$share/g/a/#"), .qos = 1, .retain_handling = 1},
        {.filter = BYTES_LITERAL("+"), .qos = 2, .no_local = true, .retain_as_published = true}};
    (void)mqtt_encode_subscribe(out, version, 9, &properties, filters, 2);
    return mqtt_encode_unsubscribe(out, version, 10, &(struct mqtt_properties){0}, filters, 2);
}

static enum err encode_suback(struct buf *out, enum mqtt_version version)
{
    struct mqtt_subscribe suback = {.packet_identifier = 9,
                                    .entries = BYTES_LITERAL("\x00\x80\x87")};
    (void)mqtt_encode_suback(out, version, MQTT_SUBACK, &suback);
    (void)mqtt_encode_suback(out, version, MQTT_UNSUBACK, &suback);
    (void)mqtt_encode_ping(out, MQTT_PINGREQ);
    return mqtt_encode_ping(out, MQTT_PINGRESP);
}

/* Decodes one packet and encodes it again. */
static enum err reencode(enum mqtt_version version, const struct mqtt_frame *frame,
                         struct bytes body, struct buf *out)
{
    struct mqtt_fault fault;
    struct mqtt_connect connect;
    struct mqtt_connack connack;
    struct mqtt_publish publish;
    struct mqtt_ack ack;
    struct mqtt_subscribe subscribe;
    struct mqtt_filter filters[8];
    size_t count = 0;
    enum err err;
    switch (frame->type) {
    case MQTT_CONNECT:
        err = mqtt_decode_connect(frame, body, &connect, &fault);
        return err ? err : mqtt_encode_connect(out, &connect);
    case MQTT_CONNACK:
        err = mqtt_decode_connack(version, frame, body, &connack, &fault);
        return err ? err : mqtt_encode_connack(out, version, &connack);
    case MQTT_PUBLISH:
        err = mqtt_decode_publish(version, frame, body, &publish, &fault);
        return err ? err : mqtt_encode_publish(out, version, &publish);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        err = mqtt_decode_ping(version, frame, &fault);
        return err ? err : mqtt_encode_ping(out, (enum mqtt_type)frame->type);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        err = mqtt_decode_subscribe(version, frame, body, &subscribe, &fault);
        return err ? err
                   : mqtt_encode_suback(out, version, (enum mqtt_type)frame->type, &subscribe);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        err = mqtt_decode_subscribe(version, frame, body, &subscribe, &fault);
        if (err != ERR_OK)
            return err;
        for (size_t offset = 0;
             mqtt_filter_next(&subscribe, frame->type == MQTT_SUBSCRIBE, &offset, &filters[count]);)
            count++;
        return (frame->type == MQTT_SUBSCRIBE ? mqtt_encode_subscribe : mqtt_encode_unsubscribe)(
            out, version, subscribe.packet_identifier, &subscribe.properties, filters, count);
    default:
        err = mqtt_decode_ack(version, frame, body, &ack, &fault);
        return err ? err : mqtt_encode_ack(out, version, (enum mqtt_type)frame->type, &ack);
    }
}

/* Cuts a packet's body at each place and mends the length: it must not decode, unless the standard
 * lets its tail be left out or it is payload. */
static void check_truncations(enum mqtt_version version, struct mqtt_frame frame,
                              const uint8_t *body)
{
    struct buf out;
    uint32_t whole_size = frame.body_size;
    buf_init(&out, 4096);
    for (uint32_t size = 0; size < whole_size; size++) {
        uint8_t *copy = mem_dup(body, size); /* so that ASan sees a read beyond the cut */
        struct mqtt_frame cut = frame;
        cut.body_size = size;
        cut.header_size = size < 128 ? 2 : 3;
        buf_clear(&out);
        enum err err = reencode(version, &cut, bytes_from(copy, size), &out);
        bool may_end = frame.type == MQTT_PUBLISH || frame.type == MQTT_DISCONNECT ||
                       (frame.type >= MQTT_PUBACK && frame.type <= MQTT_PUBCOMP) ||
                       (frame.type >= MQTT_SUBSCRIBE && frame.type <= MQTT_UNSUBACK);
        if (err == ERR_OK && !may_end)
            fail_msg("%s cut at %u decodes", mqtt_type_name(frame.type), size);
        mem_free(copy);
    }
    buf_fini(&out);
}

typedef enum err (*encode_function)(struct buf *out, enum mqtt_version version);
static const encode_function encoders[] = {encode_connect,   encode_connack,   encode_publish,
                                           encode_acks,      encode_subscribe, encode_suback,
                                           encode_disconnect};
#define ENCODER_COUNT (sizeof(encoders) / sizeof(encoders[0]))

static void check_round_trip(encode_function encode, enum mqtt_version version)
{
    struct buf first;
    struct buf again;
    buf_init(&first, 4096);
    buf_init(&again, 4096);
    assert_int_equal(encode(&first, version), ERR_OK);
    for (size_t at = 0; at < first.size;) {
        struct mqtt_frame frame;
        struct mqtt_fault fault = {0};
        struct bytes rest = bytes_from(first.data + at, first.size - at);
        assert_int_equal(mqtt_frame(rest, SIZE_MAX, &frame, &fault), ERR_OK);
        const uint8_t *body = rest.data + frame.header_size;
        assert_int_equal(reencode(version, &frame, bytes_from(body, frame.body_size), &again),
                         ERR_OK);
        check_truncations(version, frame, body);
        at += frame.total_size;
    }
    assert_int_equal(first.size, again.size);
    assert_memory_equal(first.data, again.data, first.size);
    buf_fini(&first);
    buf_fini(&again);
}

static void test_round_trips(void **state)
{
    (void)state;
    for (size_t i = 0; i < ENCODER_COUNT; i++) {
        check_round_trip(encoders[i], V5);
        check_round_trip(encoders[i], V3);
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < ENCODER_COUNT; i++) {
        for (uint64_t k = 1;; k++) {
            struct buf out;
            buf_init(&out, 4096);
            mem_fail_at(k);
            enum err err = encoders[i](&out, V5);
            bool failed = mem_failed();
            mem_fail_at(0);
            assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
            if (failed && i != 3 && i != 4 && i != 5) /* those append several packets */
                assert_int_equal(out.size, 0);
            buf_fini(&out);
            if (!failed)
                break;
        }
    }
}

static void test_too_large(void **state)
{
    (void)state;
    static uint8_t large[65536];
    struct buf out;
    for (size_t size_max = 0; size_max < 40; size_max++) {
        buf_init(&out, size_max);
        assert_int_equal(encode_publish(&out, V5), ERR_TOO_LARGE);
        assert_int_equal(out.size, 0);
        buf_fini(&out);
    }
    buf_init(&out, 1 << 20);
    struct mqtt_publish publish = {.topic = bytes_from(large, sizeof(large))};
    assert_int_equal(mqtt_encode_publish(&out, V5, &publish), ERR_TOO_LARGE);
    buf_clear(&out);
    assert_int_equal(
        mqtt_user_property_append(&out, BYTES_LITERAL("k"), bytes_from(large, sizeof(large))),
        ERR_TOO_LARGE);
    assert_int_equal(out.size, 0);
    buf_clear(&out);
    publish = (struct mqtt_publish){.topic = BYTES_LITERAL("t"), .payload = {large, 65000}};
    assert_int_equal(mqtt_encode_publish(&out, V3, &publish), ERR_OK);
    assert_memory_equal(out.data, "\x30\xeb\xfb\x03\x00\x01t", 7);
    assert_int_equal(out.size, 65007);
    buf_fini(&out);
}

static void test_short_forms(void **state)
{
    (void)state;
    uint8_t ack[MQTT_SHORT_ACK_BYTES];
    struct buf out;
    buf_init(&out, 64);
    for (int type = MQTT_PUBACK; type <= MQTT_PUBCOMP; type++) {
        buf_clear(&out);
        mqtt_put_short_ack(ack, (enum mqtt_type)type, 0x1234);
        struct mqtt_ack plain = {.packet_identifier = 0x1234};
        assert_int_equal(mqtt_encode_ack(&out, V5, (enum mqtt_type)type, &plain), ERR_OK);
        assert_int_equal(out.size, sizeof(ack));
        assert_memory_equal(out.data, ack, sizeof(ack));
    }
    buf_clear(&out);
    assert_int_equal(mqtt_encode_ack(&out, V5, MQTT_DISCONNECT, &(struct mqtt_ack){0}), ERR_OK);
    assert_int_equal(out.size, 2);
    buf_clear(&out);
    struct mqtt_connack refusal = {.reason = MQTT_REASON_UNSUPPORTED_VERSION,
                                   .answered_3_1_1 = true};
    assert_int_equal(mqtt_encode_connack(&out, V5, &refusal), ERR_OK);
    assert_memory_equal(out.data, "\x20\x02\x00\x01", 4);
    buf_fini(&out);
}

static void test_reasons(void **state)
{
    (void)state;
    assert_string_equal(mqtt_reason_text(0x87), "not authorized");
    assert_string_equal(mqtt_reason_text(0x7f), "unknown reason code");
    for (uint8_t code = 0; code < 6; code++)
        assert_int_equal(mqtt_reason_to_return_code(mqtt_reason_from_return_code(code)), code);
    assert_int_equal(mqtt_reason_from_return_code(6), MQTT_REASON_UNSPECIFIED);
    assert_int_equal(mqtt_reason_to_return_code(MQTT_REASON_BANNED), 3);
    assert_true(mqtt_reason_allowed(MQTT_REASON_SUCCESS, MQTT_SUBACK));
    assert_false(mqtt_reason_allowed(MQTT_REASON_GRANTED_QOS_1, MQTT_PUBACK));
    assert_false(mqtt_reason_allowed(0x7f, MQTT_PUBACK));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_too_large),   cmocka_unit_test(test_short_forms),
        cmocka_unit_test(test_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
