/* Decoding: vectors from the standard, and every kind of malformed packet with the reason it earns.
 */
#include "codec/mqtt.h"

#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define V3 MQTT_VERSION_3_1_1
#define V5 MQTT_VERSION_5

union packet {
    struct mqtt_connect connect;
    struct mqtt_connack connack;
    struct mqtt_publish publish;
    struct mqtt_ack ack;
    struct mqtt_subscribe subscribe;
};

/* Decodes a whole packet of any type. */
static enum err decode(enum mqtt_version version, struct bytes in, union packet *packet,
                       struct mqtt_fault *fault)
{
    struct mqtt_frame frame;
    enum err err = mqtt_frame(in, SIZE_MAX, &frame, fault);
    if (err != ERR_OK)
        return err;
    if (in.size < frame.total_size)
        return ERR_AGAIN;
    struct bytes body = bytes_from(in.data + frame.header_size, frame.body_size);
    switch (frame.type) {
    case MQTT_CONNECT:
        return mqtt_decode_connect(&frame, body, &packet->connect, fault);
    case MQTT_CONNACK:
        return mqtt_decode_connack(version, &frame, body, &packet->connack, fault);
    case MQTT_PUBLISH:
        return mqtt_decode_publish(version, &frame, body, &packet->publish, fault);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return mqtt_decode_ping(version, &frame, fault);
    case MQTT_SUBSCRIBE:
    case MQTT_SUBACK:
    case MQTT_UNSUBSCRIBE:
    case MQTT_UNSUBACK:
        return mqtt_decode_subscribe(version, &frame, body, &packet->subscribe, fault);
    default:
        return mqtt_decode_ack(version, &frame, body, &packet->ack, fault);
    }
}

#define DECODE(version, literal, packet)                                                           \
    assert_int_equal(decode(version, BYTES_LITERAL(literal), packet, &(struct mqtt_fault){0}), 0)

static void assert_text(struct bytes found, const char *expected)
{
    assert_int_equal(found.size, strlen(expected));
    assert_memory_equal(found.data, expected, found.size);
}

static void test_frame(void **state)
{
    (void)state;
    struct mqtt_frame frame;
    struct mqtt_fault fault;
    assert_int_equal(mqtt_frame(BYTES_LITERAL(""), 99, &frame, &fault), ERR_AGAIN);
    assert_int_equal(mqtt_frame(BYTES_LITERAL("\x30"), 99, &frame, &fault), ERR_AGAIN);
    assert_int_equal(mqtt_frame(BYTES_LITERAL("\x30\xff\xff\xff"), 99, &frame, &fault), ERR_AGAIN);
    /* §1.5.5 table 1-1 */
    static const struct {
        struct bytes in;
        uint32_t body_size;
    } lengths[] = {
        {BYTES_LITERAL("\x30\x00"), 0},
        {BYTES_LITERAL("\x30\x7f"), 127},
        {BYTES_LITERAL("\x30\x80\x01"), 128},
        {BYTES_LITERAL("\x30\xff\x7f"), 16383},
        {BYTES_LITERAL("\x30\x80\x80\x01"), 16384},
        {BYTES_LITERAL("\x30\xff\xff\x7f"), 2097151},
        {BYTES_LITERAL("\x30\x80\x80\x80\x01"), 2097152},
        {BYTES_LITERAL("\x30\xff\xff\xff\x7f"), 268435455},
    };
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        assert_int_equal(mqtt_frame(lengths[i].in, SIZE_MAX, &frame, &fault), ERR_OK);
        assert_int_equal(frame.type, MQTT_PUBLISH);
        assert_int_equal(frame.body_size, lengths[i].body_size);
        assert_int_equal(frame.header_size, lengths[i].in.size);
        assert_int_equal(frame.total_size, lengths[i].in.size + lengths[i].body_size);
    }
    assert_int_equal(mqtt_frame(BYTES_LITERAL("\x3b\x08"), 10, &frame, &fault), ERR_OK);
    assert_int_equal(frame.flags, 11);
    assert_int_equal(mqtt_frame(BYTES_LITERAL("\x3b\x08"), 9, &frame, &fault), ERR_TOO_LARGE);
    assert_int_equal(frame.total_size, 10);
}

static void test_first_bytes(void **state)
{
    (void)state;
    /* Each first byte is refused or not as §2.1.2, §2.1.3 and §3.3.1 say, before a length is seen.
     */
    static const char good[] = "\x10\x20\x40\x50\x62\x70\x82\x90\xa2\xb0\xc0\xd0\xe0\xf0"
                               "\x30\x31\x32\x33\x34\x35\x3a\x3b\x3c\x3d";
    for (unsigned first = 0; first < 256; first++) {
        uint8_t in[2] = {(uint8_t)first, 0};
        struct mqtt_frame frame;
        struct mqtt_fault fault = {0};
        bool is_good = memchr(good, (int)first, sizeof(good) - 1);
        enum err err = mqtt_frame(bytes_from(in, 2), 99, &frame, &fault);
        assert_int_equal(err, is_good ? ERR_OK : ERR_PROTOCOL);
        assert_int_equal(fault.reason, is_good ? 0 : MQTT_REASON_MALFORMED_PACKET);
    }
}

static void test_publish(void **state)
{
    (void)state;
    union packet packet;
    /* 3.1.1 figure 3.11: topic a/b, identifier 10 */
    DECODE(V3,
           "\x32\x09\x00\x03"
           "a/b\x00\x0ahi",
           &packet);
    assert_text(packet.publish.topic, "a/b");
    assert_text(packet.publish.payload, "hi");
    assert_int_equal(packet.publish.packet_identifier, 10);
    assert_int_equal(packet.publish.qos, 1);
    assert_false(packet.publish.dup);
    DECODE(V5,
           "\x3d\x08\x00\x03"
           "a/b\xff\xfe\x00",
           &packet);
    assert_int_equal(packet.publish.packet_identifier, 65534);
    assert_int_equal(packet.publish.qos, 2);
    assert_true(packet.publish.dup);
    assert_true(packet.publish.retain);
    assert_int_equal(packet.publish.payload.size, 0);
    DECODE(V5,
           "\x30\x1d\x00\x00\x1a\x01\x01\x02\x00\x00\x00\x09\x03\x00\x01x\x23\x00\x07\x0b\x81"
           "\x01\x0b\x05\x26\x00\x01k\x00\x01v",
           &packet);
    assert_int_equal(packet.publish.properties.topic_alias, 7);
    assert_int_equal(packet.publish.properties.message_expiry_seconds, 9);
    assert_int_equal(packet.publish.properties.payload_format, 1);
    assert_int_equal(packet.publish.properties.subscription_identifier, 129);
    assert_text(packet.publish.properties.content_type, "x");
    assert_true(mqtt_has(&packet.publish.properties, MQTT_PROPERTY_TOPIC_ALIAS));
    assert_false(mqtt_has(&packet.publish.properties, MQTT_PROPERTY_RESPONSE_TOPIC));
    struct bytes name;
    struct bytes value;
    size_t offset = 0;
    assert_true(mqtt_user_property_next(&packet.publish.properties, &offset, &name, &value));
    assert_text(name, "k");
    assert_text(value, "v");
    assert_false(mqtt_user_property_next(&packet.publish.properties, &offset, &name, &value));
}

static void test_publish_part(void **state)
{
    (void)state;
    static const char whole[] = "\x32\x10\x00\x03"
                                "a/b\x00\x0a\x03\x23\x00\x01"
                                "abcde";
    for (size_t size = 2; size < sizeof(whole); size++) {
        struct mqtt_frame frame;
        struct mqtt_fault fault;
        struct mqtt_publish publish;
        assert_int_equal(mqtt_frame(bytes_from(whole, size), 10, &frame, &fault), ERR_TOO_LARGE);
        enum err err =
            mqtt_decode_publish(V5, &frame, bytes_from(whole + 2, size - 2), &publish, &fault);
        assert_int_equal(err, size < 13 ? ERR_AGAIN : ERR_OK);
        struct mqtt_publish head;
        size_t offset;
        enum err head_err = mqtt_decode_publish_head(V5, &frame, bytes_from(whole + 2, size - 2),
                                                     &head, &offset, &fault);
        assert_int_equal(head_err, size < 10 ? ERR_AGAIN : ERR_OK);
        if (head_err == ERR_OK) {
            assert_text(head.topic, "a/b");
            assert_int_equal(head.packet_identifier, 10);
            assert_int_equal(head.payload_size, 5);
            assert_int_equal(offset, 11);
        }
        if (err != ERR_OK)
            continue;
        assert_int_equal(publish.payload.size, size - 13);
        assert_int_equal(publish.payload_size, 5);
    }
}

static void test_publish_head_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {
        {"\x30\x90\x03\x00\x01x\x8d\x03", 8},     /* properties one byte longer than the packet */
        {"\x30\x90\x03\x00\x00\x8a\x03", 7},      /* no topic */
        {"\x30\x90\x03\x00\x01#\x80\x03", 8},     /* no topic name */
        {"\x30\x90\x03\x00\x01x\x80\x80\x00", 9}, /* a size too long */
        {"\x32\x90\x03\x00\x01x\x00\x00\x80\x03", 10},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct mqtt_frame frame;
        struct mqtt_fault fault;
        struct mqtt_publish head;
        size_t offset;
        assert_int_equal(mqtt_frame(bytes_from(bad[i].bytes, bad[i].size), 10, &frame, &fault),
                         ERR_TOO_LARGE);
        assert_int_equal(mqtt_decode_publish_head(V5, &frame,
                                                  bytes_from(bad[i].bytes + 3, bad[i].size - 3),
                                                  &head, &offset, &fault),
                         ERR_PROTOCOL);
        assert_int_equal(head.payload_size, 0);
    }
}

static void test_connack(void **state)
{
    (void)state;
    union packet packet;
    DECODE(V3, "\x20\x02\x01\x00", &packet);
    assert_true(packet.connack.session_present);
    assert_int_equal(packet.connack.properties.receive_maximum, 65535);
    DECODE(V3, "\x20\x02\x00\x05", &packet);
    assert_int_equal(packet.connack.reason, MQTT_REASON_NOT_AUTHORIZED);
    DECODE(V5, "\x20\x02\x00\x01", &packet);
    assert_true(packet.connack.answered_3_1_1);
    assert_int_equal(packet.connack.reason, MQTT_REASON_UNSUPPORTED_VERSION);
    DECODE(V5, "\x20\x03\x00\x00\x00", &packet);
    assert_false(packet.connack.answered_3_1_1);
    assert_int_equal(packet.connack.properties.maximum_qos, 2);
    DECODE(V5,
           "\x20\x18\x00\x86\x15\x21\x00\x14\x24\x01\x13\x00\x1e\x12\x00\x02id\x27\x00\x00\x01"
           "\x00\x1f\x00\x00",
           &packet);
    assert_int_equal(packet.connack.reason, MQTT_REASON_BAD_CREDENTIALS);
    assert_int_equal(packet.connack.properties.receive_maximum, 20);
    assert_int_equal(packet.connack.properties.maximum_qos, 1);
    assert_int_equal(packet.connack.properties.server_keep_alive_seconds, 30);
    assert_int_equal(packet.connack.properties.maximum_packet_size_bytes, 256);
    assert_text(packet.connack.properties.assigned_client_id, "id");
}

static void test_connect(void **state)
{
    (void)state;
    union packet packet;
    /* §3.1.2.12 figure 3-6, with the payload that its flags ask for */
    DECODE(V5,
           "\x10\x27\x00\x04MQTT\x05\xce\x00\x0a\x05\x11\x00\x00\x00\x0a"
           "\x00\x01"
           "c\x05\x18\x00\x00\x00\x02\x00\x01w\x00\x02ok\x00\x02me\x00\x01p",
           &packet);
    assert_int_equal(packet.connect.version, 5);
    assert_int_equal(packet.connect.keep_alive_seconds, 10);
    assert_int_equal(packet.connect.properties.session_expiry_seconds, 10);
    assert_int_equal(packet.connect.will_qos, 1);
    assert_int_equal(packet.connect.will_properties.will_delay_seconds, 2);
    assert_true(packet.connect.clean_start);
    assert_false(packet.connect.will_retain);
    assert_text(packet.connect.client_id, "c");
    assert_text(packet.connect.will_topic, "w");
    assert_text(packet.connect.will_payload, "ok");
    assert_text(packet.connect.username, "me");
    assert_text(packet.connect.password, "p");
    DECODE(V3, "\x10\x0d\x00\x04MQTT\x04\x00\x00\x3c\x00\x01x", &packet);
    assert_int_equal(packet.connect.version, 4);
    assert_false(packet.connect.clean_start);
}

static void test_acks(void **state)
{
    (void)state;
    union packet packet;
    DECODE(V3, "\x40\x02\x12\x34", &packet);
    assert_int_equal(packet.ack.packet_identifier, 0x1234);
    DECODE(V5, "\x62\x03\x00\x01\x92", &packet);
    assert_int_equal(packet.ack.reason, MQTT_REASON_PACKET_IDENTIFIER_NOT_FOUND);
    DECODE(V5, "\x50\x08\x00\x01\x97\x04\x1f\x00\x01q", &packet);
    assert_text(packet.ack.properties.reason_string, "q");
    DECODE(V5, "\xe0\x00", &packet);
    assert_int_equal(packet.ack.reason, 0);
    DECODE(V5, "\xe0\x07\x9c\x05\x1c\x00\x02zz", &packet);
    assert_text(packet.ack.properties.server_reference, "zz");
    DECODE(V5, "\xf0\x06\x18\x04\x15\x00\x01m", &packet);
    assert_int_equal(packet.ack.reason, MQTT_REASON_CONTINUE_AUTHENTICATION);
    DECODE(V5, "\xd0\x00", &packet);
}

static void test_subscribe(void **state)
{
    (void)state;
    union packet packet;
    /* §3.8.3 figure 3-21: a/b with QoS 1, c/d with QoS 2 */
    DECODE(V5,
           "\x82\x0f\x00\x0a\x00\x00\x03"
           "a/b\x01\x00\x03"
           "c/d\x2e",
           &packet);
    assert_int_equal(packet.subscribe.entry_count, 2);
    size_t offset = 0;
    struct mqtt_filter filter;
    assert_true(mqtt_filter_next(&packet.subscribe, true, &offset, &filter));
    assert_text(filter.filter, "a/b");
    assert_int_equal(filter.qos, 1);
    assert_true(mqtt_filter_next(&packet.subscribe, true, &offset, &filter));
    assert_text(filter.filter, "c/d");
    assert_int_equal(filter.qos, 2);
    assert_true(filter.no_local && filter.retain_as_published);
    assert_int_equal(filter.retain_handling, 2);
    assert_false(mqtt_filter_next(&packet.subscribe, true, &offset, &filter));
    DECODE(V3,
           "\xa2\x07\x00\x0a\x00\x03"
           "a/b",
           &packet);
    offset = 0;
    assert_true(mqtt_filter_next(&packet.subscribe, false, &offset, &filter));
    assert_text(filter.filter, "a/b");
    DECODE(V5, "\x90\x06\x00\x0a\x00\x00\x02\x97", &packet);
    assert_int_equal(packet.subscribe.entry_count, 3);
    assert_int_equal(packet.subscribe.entries.data[2], MQTT_REASON_QUOTA_EXCEEDED);
    DECODE(V3, "\xb0\x02\x00\x0a", &packet);
    DECODE(V5, "\xb0\x04\x00\x0a\x00\x11", &packet);
}

/* clang-format off */
/* What must be refused, with which version, and the reason code that says why. */
static const struct {
    const char *name;
    enum mqtt_version version;
    uint8_t reason;
    struct bytes in;
} refused[] = {
#define R(name, version, reason, literal) {name, version, reason, BYTES_LITERAL(literal)},
    R("five byte length", V5, 0x81, "\x30\x80\x80\x80\x80\x01")
    R("length not minimal", V5, 0x81, "\xd0\x80\x00")
    R("pingresp body", V5, 0x81, "\xd0\x01\x00")
    R("pingreq body", V3, 0x81, "\xc0\x01\x00")
    R("publish without topic", V5, 0x81, "\x30\x01\x00")
    R("topic beyond the end", V5, 0x81, "\x30\x05\x00\x04" "abc")
    R("topic with +", V5, 0x81, "\x30\x06\x00\x03" "a/+\x00")
    R("topic with #", V3, 0x81, "\x30\x05\x00\x03" "a/#")
    R("long topic with #", V3, 0x81, "\x30\x12\x00\x10" "abcdefghijklm#op")
    R("topic with NUL", V3, 0x81, "\x30\x05\x00\x03" "a\x00" "b")
    R("topic with a surrogate", V3, 0x81, "\x30\x05\x00\x03\xed\xa0\x80")
    R("topic overlong", V3, 0x81, "\x30\x04\x00\x02\xc0\xaf")
    R("topic above U+10FFFF", V3, 0x81, "\x30\x06\x00\x04\xf4\x90\x80\x80")
    R("topic cut sequence", V3, 0x81, "\x30\x04\x00\x02" "a\xe2")
    R("empty topic 3.1.1", V3, 0x81, "\x30\x03\x00\x00x")
    R("empty topic without alias", V5, 0x82, "\x30\x04\x00\x00\x00x")
    R("alias 0", V5, 0x94, "\x30\x06\x00\x00\x03\x23\x00\x00")
    R("identifier 0", V3, 0x82, "\x32\x05\x00\x01" "a\x00\x00")
    R("no identifier", V3, 0x81, "\x32\x04\x00\x01" "a\x00")
    R("no property length", V5, 0x81, "\x30\x03\x00\x01" "a")
    R("properties beyond the end", V5, 0x81, "\x30\x06\x00\x01" "a\x05\x01\x01")
    R("property cut by its length", V5, 0x81, "\x30\x07\x00\x01" "a\x02\x23\x00\x01")
    R("property length not minimal", V5, 0x81, "\x30\x06\x00\x01" "a\x80\x00x")
    R("identifier not minimal", V5, 0x81, "\x30\x07\x00\x01" "a\x03\x81\x00\x01")
    R("unknown property", V5, 0x81, "\x30\x06\x00\x01" "a\x02\x7f\x00")
    R("property 0", V5, 0x81, "\x30\x06\x00\x01" "a\x02\x00\x00")
    R("property of another packet", V5, 0x81, "\x30\x07\x00\x01" "a\x03\x21\x00\x01")
    R("property twice", V5, 0x82, "\x30\x08\x00\x01" "a\x04\x01\x01\x01\x01")
    R("payload format 2", V5, 0x82, "\x30\x06\x00\x01" "a\x02\x01\x02")
    R("content type not UTF-8", V5, 0x81, "\x30\x08\x00\x01" "a\x04\x03\x00\x01\xff")
    R("response topic wildcard", V5, 0x82, "\x30\x08\x00\x01" "a\x04\x08\x00\x01#")
    R("response topic empty", V5, 0x82, "\x30\x07\x00\x01" "a\x03\x08\x00\x00")
    R("subscription identifier 0", V5, 0x82, "\x30\x06\x00\x01" "a\x02\x0b\x00")
    R("user property name NUL", V5, 0x81, "\x30\x0a\x00\x01" "a\x06\x26\x00\x01\x00\x00\x00")
    R("connack one byte", V3, 0x81, "\x20\x01\x00")
    R("connack left over", V3, 0x81, "\x20\x03\x00\x00\x00")
    R("connack flags", V3, 0x81, "\x20\x02\x02\x00")
    R("connack session but refused", V3, 0x82, "\x20\x02\x01\x05")
    R("connack bad reason", V5, 0x81, "\x20\x03\x00\x8d\x00")
    R("connack without properties", V5, 0x81, "\x20\x02\x00\x00")
    R("connack receive maximum 0", V5, 0x82, "\x20\x06\x00\x00\x03\x21\x00\x00")
    R("connack packet size 0", V5, 0x82, "\x20\x08\x00\x00\x05\x27\x00\x00\x00\x00")
    R("connack maximum qos 2", V5, 0x82, "\x20\x05\x00\x00\x02\x24\x02")
    R("connack auth data alone", V5, 0x82, "\x20\x06\x00\x00\x03\x16\x00\x00")
    R("puback identifier 0", V5, 0x82, "\x40\x02\x00\x00")
    R("puback short", V5, 0x81, "\x40\x01\x00")
    R("puback reason", V5, 0x81, "\x40\x03\x00\x01\x92")
    R("puback left over 3.1.1", V3, 0x81, "\x40\x03\x00\x01\x00")
    R("puback left over", V5, 0x81, "\x40\x05\x00\x01\x00\x00\x00")
    R("pubrel reason", V5, 0x81, "\x62\x03\x00\x01\x80")
    R("suback empty", V5, 0x82, "\x90\x03\x00\x01\x00")
    R("suback code", V5, 0x81, "\x90\x04\x00\x01\x00\x03")
    R("suback code 3.1.1", V3, 0x81, "\x90\x03\x00\x01\x87")
    R("unsuback codes 3.1.1", V3, 0x82, "\xb0\x03\x00\x01\x00")
    R("unsuback code", V5, 0x81, "\xb0\x04\x00\x01\x00\x01")
    R("disconnect body 3.1.1", V3, 0x81, "\xe0\x01\x00")
    R("disconnect reason", V5, 0x81, "\xe0\x01\x84")
    R("auth 3.1.1", V3, 0x81, "\xf0\x00")
    R("auth reason", V5, 0x81, "\xf0\x01\x80")
    R("subscribe empty", V5, 0x82, "\x82\x03\x00\x01\x00")
    R("subscribe qos 3", V5, 0x81, "\x82\x07\x00\x01\x00\x00\x01" "a\x03")
    R("subscribe reserved", V5, 0x81, "\x82\x07\x00\x01\x00\x00\x01" "a\x41")
    R("subscribe reserved 3.1.1", V3, 0x81, "\x82\x06\x00\x01\x00\x01" "a\x05")
    R("subscribe retain handling 3", V5, 0x82, "\x82\x07\x00\x01\x00\x00\x01" "a\x31")
    R("subscribe shared no local", V5, 0x82, "\x82\x10\x00\x01\x00\x00\x0a$share/g/a\x05")
    R("subscribe filter", V5, 0x8f, "\x82\x08\x00\x01\x00\x00\x02" "a+\x01")
    R("subscribe no options", V5, 0x81, "\x82\x06\x00\x01\x00\x00\x01" "a")
    R("subscribe identifier twice", V5, 0x82,
      "\x82\x0b\x00\x01\x04\x0b\x01\x0b\x02\x00\x01" "a\x01")
    R("unsubscribe filter empty", V5, 0x8f, "\xa2\x05\x00\x01\x00\x00\x00")
    R("connect other protocol", V5, 0x84, "\x10\x0d\x00\x04MQTX\x05\x00\x00\x00\x00\x00\x00")
    R("connect version 3", V5, 0x84, "\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00")
    R("connect version 6", V5, 0x84, "\x10\x0d\x00\x04MQTT\x06\x00\x00\x00\x00\x00\x00")
    R("connect reserved flag", V5, 0x81, "\x10\x0d\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x00")
    R("connect will qos without will", V5, 0x81, "\x10\x0d\x00\x04MQTT\x05\x0a\x00\x00\x00\x00\x00")
    R("connect will qos 3", V5, 0x81, "\x10\x0d\x00\x04MQTT\x05\x1e\x00\x00\x00\x00\x00")
    R("connect password alone", V3, 0x81, "\x10\x0e\x00\x04MQTT\x04\x42\x00\x00\x00\x00\x00\x00")
    R("connect no id no clean", V3, 0x85, "\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00")
    R("connect left over", V5, 0x81, "\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00\x00")
    R("connect will topic", V5, 0x81,
      "\x10\x13\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x00\x00\x00\x01#\x00\x00")
    R("connect will property", V5, 0x81,
      "\x10\x16\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x00\x03\x23\x00\x01\x00\x01w\x00\x00")
#undef R
};
/* clang-format on */

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        union packet packet;
        struct mqtt_fault fault = {0};
        enum err err = decode(refused[i].version, refused[i].in, &packet, &fault);
        if (err != ERR_PROTOCOL || fault.reason != refused[i].reason)
            fail_msg("%s: err %s, reason 0x%02x, expected 0x%02x (%s)", refused[i].name,
                     err_name(err), fault.reason, refused[i].reason,
                     fault.text ? fault.text : "no text");
        assert_non_null(strstr(fault.text, "§"));
    }
}

static uint64_t hash_of(enum mqtt_version version, struct bytes in)
{
    union packet packet;
    struct mqtt_fault fault;
    assert_int_equal(decode(version, in, &packet, &fault), ERR_OK);
    return mqtt_publish_hash(hash_bytes(packet.publish.topic), &packet.publish);
}

static void test_hash(void **state)
{
    (void)state;
    uint64_t plain = hash_of(V5, BYTES_LITERAL("\x32\x08\x00\x01t\x00\x07\x00hi"));
    /* Another identifier, DUP, RETAIN, an alias and an expiry make no difference; 3.1.1 is the
     * same. */
    assert_int_equal(plain, hash_of(V3, BYTES_LITERAL("\x3b\x07\x00\x01t\x00\x08hi")));
    assert_int_equal(
        plain, hash_of(V5, BYTES_LITERAL(
                               "\x3a\x10\x00\x01t\x00\x07\x08\x02\x00\x00\x00\x09\x23\x00\x01hi")));
    assert_int_not_equal(plain, hash_of(V5, BYTES_LITERAL("\x32\x08\x00\x01u\x00\x07\x00hi")));
    assert_int_not_equal(plain, hash_of(V5, BYTES_LITERAL("\x32\x08\x00\x01t\x00\x07\x00ho")));
    /* A byte that moves from topic to payload is another message. */
    assert_int_not_equal(plain, hash_of(V5, BYTES_LITERAL("\x32\x08\x00\x02th\x00\x07\x00i")));
    uint64_t a = hash_of(V5, BYTES_LITERAL("\x30\x0d\x00\x01t\x09\x01\x01\x26\x00\x01k\x00\x01v"));
    uint64_t b = hash_of(V5, BYTES_LITERAL("\x30\x0d\x00\x01t\x09\x26\x00\x01k\x00\x01v\x01\x01"));
    assert_int_equal(a, b);
    assert_int_not_equal(
        a, hash_of(V5, BYTES_LITERAL("\x30\x0d\x00\x01t\x09\x26\x00\x01k\x00\x01w\x01\x01")));
    assert_int_not_equal(
        a, hash_of(V5, BYTES_LITERAL("\x30\x0d\x00\x01t\x09\x26\x00\x01v\x00\x01k\x01\x01")));
    /* The value itself is stored in journals: it may never change. */
    assert_int_equal(plain, 0x548244d4ef109b27ULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame),
        cmocka_unit_test(test_first_bytes),
        cmocka_unit_test(test_publish),
        cmocka_unit_test(test_publish_part),
        cmocka_unit_test(test_publish_head_refuses),
        cmocka_unit_test(test_connack),
        cmocka_unit_test(test_connect),
        cmocka_unit_test(test_acks),
        cmocka_unit_test(test_subscribe),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
