/* What a broker delivers and how it is acknowledged, and what it must not send
 * (support/mqtt_host.h). */
#include "support/mqtt_host.h"

static void acknowledges_only_what_is_durable_in_order(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish(f, 5, false, "five");
    publish(f, 0, false, "none");
    publish(f, 2, false, "two");
    UNTIL(f, pipeline.emitted_count == 3);
    turns(f, 5);
    assert_int_equal(f->in.size, 0); /* nothing is durable yet */
    assert_string_equal(pipeline.emitted[0].payload, "five");
    assert_string_equal(pipeline.emitted[0].topic, "a/b");
    assert_true(pipeline.emitted[0].message.wants_acknowledgement);
    assert_false(pipeline.emitted[1].message.has_identity);
    assert_true(pipeline.emitted[0].qos > 0);
    durable(2);
    expect_puback(f, 5);
    assert_int_equal(f->in.size, 0);
    durable(3);
    expect_puback(f, 2);
    client_close(f);
}

static void a_redelivery_after_reconnect_is_not_stored(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish(f, 1, false, "one");
    publish(f, 2, false, "two");
    UNTIL(f, pipeline.emitted_count == 2);
    durable(1);
    expect_puback(f, 1);
    hang_up(f); /* the broker never got to hear of 2, and lost our PUBACK of 1 */
    UNTIL(f, f->failed);
    f->connector->ops.stop(f->state);
    assert_true(f->stopped);
    f->connector->ops.disconnect(f->state);
    for (int i = 0; i < 50; i++)
        uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_false(f->closed); /* 2 is on its way: only when it has settled */
    durable(2);
    UNTIL(f, f->closed);

    client_ready(f, true);
    publish(f, 1, true, "one");
    publish(f, 2, true, "two");
    publish(f, 3, true, "three"); /* DUP, but we never saw it */
    publish(f, 1, true, "changed");
    UNTIL(f, pipeline.emitted_count == 4);
    assert_int_equal(pipeline.repeated, 2);
    expect_puback(f, 1);
    expect_puback(f, 2);
    pipeline.sources[0]->ops->on_durable(pipeline.sources[0]->ctx, 2, 9);
    expect_puback(f, 3);
    expect_puback(f, 1);
    client_close(f);
}

static void qos_2_is_received_completed_and_released(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish_with(f, 2, 7, false, "seven");
    UNTIL(f, pipeline.emitted_count == 1);
    assert_true(pipeline.emitted[0].message.qos_2);
    turns(f, 5);
    assert_int_equal(f->in.size, 0); /* nothing is durable yet */
    durable(1);
    expect_ack(f, MQTT_PUBREC, 7, 2);
    publish_with(f, 2, 7, true, "seven"); /* still in the received set */
    UNTIL(f, pipeline.repeated == 1);
    expect_ack(f, MQTT_PUBREC, 7, 2);
    give_pubrel(f, 7);
    UNTIL(f, pipeline.released_count == 1);
    turns(f, 5);
    assert_int_equal(f->in.size, 0); /* nor is the release */
    durable(2);
    expect_ack(f, MQTT_PUBCOMP, 7, 2);
    assert_false(pipeline.known[7]);
    publish_with(f, 2, 7, true, "seven"); /* DUP, but released: something new */
    UNTIL(f, pipeline.emitted_count == 2);
    give_pubrel(f, 9);
    expect_ack(f, MQTT_PUBCOMP, 9, 3); /* with "packet identifier not found" */
    client_close(f);
}

static void reconnect(struct fixture *f)
{
    hang_up(f);
    UNTIL(f, f->failed);
    f->connector->ops.stop(f->state);
    f->connector->ops.disconnect(f->state);
    UNTIL(f, f->closed);
    client_ready(f, true);
}

static void a_qos_2_redelivery_after_reconnect_is_not_stored(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish_with(f, 2, 1, false, "one");
    publish_with(f, 2, 2, false, "two");
    UNTIL(f, pipeline.emitted_count == 2);
    durable(2);
    expect_ack(f, MQTT_PUBREC, 1, 2);
    expect_ack(f, MQTT_PUBREC, 2, 2);
    reconnect(f);
    publish_with(f, 2, 1, true, "one"); /* our PUBREC was lost */
    give_pubrel(f, 2);                  /* and this one was not */
    expect_ack(f, MQTT_PUBREC, 1, 2);
    assert_int_equal(pipeline.repeated, 1);
    assert_int_equal(pipeline.emitted_count, 2);
    UNTIL(f, pipeline.released_count == 1);
    durable(1);
    expect_ack(f, MQTT_PUBCOMP, 2, 2);
    reconnect(f);
    give_pubrel(f, 2); /* our PUBCOMP was lost */
    expect_ack(f, MQTT_PUBCOMP, 2, 3);
    give_pubrel(f, 1);
    UNTIL(f, pipeline.released_count == 1);
    durable(1);
    expect_ack(f, MQTT_PUBCOMP, 1, 2);
    client_close(f);
}

/* Only when the release has settled: the next connection would find it in the received set. */
static void a_release_on_its_way_is_waited_for(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish_with(f, 2, 1, false, "one");
    UNTIL(f, pipeline.emitted_count == 1);
    durable(1);
    give_pubrel(f, 1);
    UNTIL(f, pipeline.released_count == 1);
    hang_up(f);
    UNTIL(f, f->failed);
    f->connector->ops.stop(f->state);
    f->connector->ops.disconnect(f->state);
    turns(f, 50);
    assert_false(f->closed);
    durable(2);
    UNTIL(f, f->closed);
}

static void a_reused_qos_2_identifier_is_stored_and_named(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish_with(f, 2, 7, false, "seven");
    publish_with(f, 2, 7, false, "eight");
    UNTIL(f, pipeline.emitted_count == 2);
    assert_non_null(strstr(f->warning, "packet identifier 7"));
    durable(2);
    expect_ack(f, MQTT_PUBREC, 7, 2);
    expect_ack(f, MQTT_PUBREC, 7, 2);
    client_close(f);
}

static void a_lost_session_makes_everything_new(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish(f, 1, false, "one");
    UNTIL(f, pipeline.emitted_count == 1);
    durable(1);
    expect_puback(f, 1);
    client_close(f);
    client_ready(f, false);
    assert_int_equal(pipeline.sessions_new, 2);
    publish(f, 1, true, "one");
    UNTIL(f, pipeline.emitted_count == 2);
    client_close(f);
}

static void topic_aliases_are_resolved(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    struct mqtt_publish packet = {.topic = BYTES_LITERAL("a/x"),
                                  .payload = BYTES_LITERAL("1"),
                                  .packet_identifier = 1,
                                  .qos = 1};
    mqtt_set(&packet.properties, MQTT_PROPERTY_TOPIC_ALIAS);
    packet.properties.topic_alias = 3;
    give_publish(f, &packet);
    packet.topic = (struct bytes){0};
    packet.packet_identifier = 2;
    give_publish(f, &packet);
    UNTIL(f, pipeline.emitted_count == 2);
    assert_string_equal(pipeline.emitted[1].topic, "a/x");
    /* the alias is no part of what a repetition is told by */
    assert_int_equal(pipeline.emitted[0].message.identity_hash,
                     pipeline.emitted[1].message.identity_hash);
    packet.properties.topic_alias = 4;
    give_publish(f, &packet);
    expect_failure(f, ERR_PROTOCOL, "stands for nothing");
    expect_disconnect(f, MQTT_REASON_PROTOCOL_ERROR);
    client_close(f);
}

static void user_properties_become_one_json_text(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    struct buf raw;
    buf_init(&raw, 1 << 16);
    assert_int_equal(mqtt_user_property_append(&raw, BYTES_LITERAL("k"), BYTES_LITERAL("1")), 0);
    assert_int_equal(mqtt_user_property_append(&raw, BYTES_LITERAL("\"q"), BYTES_LITERAL("x")), 0);
    assert_int_equal(mqtt_user_property_append(&raw, BYTES_LITERAL("k"), BYTES_LITERAL("2")), 0);
    struct mqtt_publish packet = {.topic = BYTES_LITERAL("a/x"), .properties.raw = buf_bytes(&raw)};
    give_publish(f, &packet);
    publish(f, 0, false, "none");
    UNTIL(f, pipeline.emitted_count == 2);
    assert_string_equal(pipeline.emitted[0].extras, "{\"k\":[\"1\",\"2\"],\"\\\"q\":\"x\"}");
    assert_string_equal(pipeline.emitted[1].extras, "");
    buf_fini(&raw);
    client_close(f);
}

static void user_properties_are_all_there_or_told_as_left_out(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    enum { SIZE = 60000 };
    char *value = malloc(SIZE);
    memset(value, 'v', SIZE);
    struct buf raw;
    buf_init(&raw, 16 * MIB);
    for (int i = 0; i < 18; i++) {
        struct mqtt_publish packet = {.topic = BYTES_LITERAL("a/x"),
                                      .payload = BYTES_LITERAL("1"),
                                      .properties.raw = buf_bytes(&raw)};
        if (i >= 17)
            give_publish(f, &packet); /* with 17, which fit */
        (void)mqtt_user_property_append(&raw, BYTES_LITERAL("k"), bytes_from(value, SIZE));
        packet.properties.raw = buf_bytes(&raw);
        if (i >= 17)
            give_publish(f, &packet);
    }
    UNTIL(f, pipeline.emitted_count == 2);
    assert_false(pipeline.emitted[0].rejected);
    assert_in_range(pipeline.emitted[0].message.extras.size, 17 * SIZE, MIB);
    assert_true(pipeline.emitted[1].rejected);
    assert_string_equal(pipeline.emitted[1].payload, "1");
    assert_string_equal(pipeline.emitted[1].detail, "the JSON text of 18 user properties is over "
                                                    "1048576 bytes; the first 1 are kept");
    assert_in_range(pipeline.emitted[1].message.extras.size, SIZE, 2 * SIZE);
    buf_fini(&raw);
    free(value);
    client_close(f);
}

static void an_oversize_message_is_skipped_and_acknowledged(void **state)
{
    struct fixture *f = *state;
    set(f, "max_message_bytes", json_integer(1000));
    client_ready(f, false);
    enum { SIZE = 3000000 };
    char *big = malloc(SIZE);
    memset(big, 'x', SIZE);
    struct mqtt_publish packet = {.topic = BYTES_LITERAL("a/big"),
                                  .payload = bytes_from(big, SIZE),
                                  .packet_identifier = 7,
                                  .qos = 1};
    publish(f, 6, false, "before");
    give_publish(f, &packet);
    publish(f, 8, false, "after");
    packet.packet_identifier = 9;
    packet.payload.size = 1000;
    give_publish(f, &packet); /* just fits */
    packet.packet_identifier = 10;
    packet.payload.size = 1001;
    give_publish(f, &packet);
    UNTIL(f, pipeline.emitted_count == 5);
    assert_true(pipeline.emitted[1].rejected);
    assert_int_equal(pipeline.emitted[1].payload_size, LIMIT_DEAD_LETTER_BYTES);
    assert_string_equal(pipeline.emitted[1].detail,
                        "payload of 3000000 bytes is over max_message_bytes 1000");
    assert_string_equal(pipeline.emitted[2].payload, "after");
    assert_false(pipeline.emitted[3].rejected);
    assert_true(pipeline.emitted[4].rejected);
    durable(5);
    for (uint16_t i = 6; i <= 10; i++)
        expect_puback(f, i);
    packet.packet_identifier = 7;
    packet.dup = true;
    packet.payload.size = SIZE;
    give_publish(f, &packet);
    expect_puback(f, 7);
    assert_int_equal(pipeline.repeated, 1);
    free(big);
    client_close(f);
}

/* Properties that no head holds: counted as such, and the payload after them is kept. */
static void a_payload_after_endless_properties_is_kept(void **state)
{
    struct fixture *f = *state;
    set(f, "max_message_bytes", json_integer(700000));
    client_ready(f, false);
    enum { SIZE = 50000 };
    char *value = malloc(SIZE);
    memset(value, 'v', SIZE);
    struct buf raw;
    buf_init(&raw, 16 * MIB);
    for (int i = 0; i < 100; i++)
        (void)mqtt_user_property_append(&raw, BYTES_LITERAL("k"), bytes_from(value, SIZE));
    struct mqtt_publish packet = {.topic = BYTES_LITERAL("a/big"),
                                  .payload = BYTES_LITERAL("{\"seq\":7}"),
                                  .packet_identifier = 7,
                                  .qos = 1,
                                  .properties.raw = buf_bytes(&raw)};
    give_publish(f, &packet);
    publish(f, 8, false, "after");
    packet.packet_identifier = 9;
    packet.payload.size = 0;
    give_publish(f, &packet);
    packet.packet_identifier = 10;
    packet.payload = bytes_from(raw.data, raw.size);
    give_publish(f, &packet);
    packet.packet_identifier = 11; /* over max_message_bytes, and in what is read at most */
    packet.payload = BYTES_LITERAL("fits");
    packet.properties.raw.size = 18 * (SIZE + 6);
    give_publish(f, &packet);
    UNTIL(f, pipeline.emitted_count == 5);
    assert_true(pipeline.emitted[0].rejected);
    assert_string_equal(pipeline.emitted[0].payload, "{\"seq\":7}");
    assert_string_equal(pipeline.emitted[0].topic, "a/big");
    assert_string_equal(pipeline.emitted[0].detail,
                        "packet of 5000627 bytes, with a payload of 9, is over max_message_bytes "
                        "700000 and 393216 more for topic and properties");
    assert_string_equal(pipeline.emitted[1].payload, "after");
    assert_true(pipeline.emitted[2].rejected);
    assert_int_equal(pipeline.emitted[2].payload_size, 0);
    assert_true(pipeline.emitted[3].rejected);
    assert_int_equal(pipeline.emitted[3].payload_size, LIMIT_DEAD_LETTER_BYTES);
    assert_string_equal(pipeline.emitted[3].detail,
                        "payload of 5000600 bytes is over max_message_bytes 700000");
    assert_false(pipeline.emitted[4].rejected);
    assert_string_equal(pipeline.emitted[4].payload, "fits");
    assert_in_range(pipeline.emitted[4].message.extras.size, 18 * SIZE, MIB);
    durable(5);
    for (uint16_t i = 7; i <= 11; i++)
        expect_puback(f, i);
    packet.packet_identifier = 7;
    packet.dup = true;
    packet.payload = BYTES_LITERAL("{\"seq\":7}");
    packet.properties.raw = buf_bytes(&raw);
    give_publish(f, &packet);
    expect_puback(f, 7);
    assert_int_equal(pipeline.repeated, 1);
    buf_fini(&raw);
    free(value);
    client_close(f);
}

static void nothing_is_acknowledged_that_was_not_taken(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    pipeline.refuse = true;
    publish(f, 1, false, "one");
    expect_failure(f, ERR_NO_MEMORY, "could not be taken");
    assert_int_equal(f->in.size, 0);
    client_close(f);
}

static void bad_packets_are_refused(void **state)
{
    struct fixture *f = *state;
#define BAD(bytes, reason, word)                                                                   \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, MQTT_REASON_##reason, word                                       \
    }
    static const struct {
        const char *bytes;
        size_t size;
        uint8_t reason;
        const char *word;
    } bad[] = {
        BAD("\x30\xff\xff\xff\xff\x01", MALFORMED_PACKET, "remaining length"),
        BAD("\x36\x06\x00\x01x\x00\x01\x00", MALFORMED_PACKET, "QoS 3"),
        BAD("\x30\x04\x00\x01\xff\x00", MALFORMED_PACKET, "UTF-8"),
        BAD("\x30\x04\x00\x01#\x00", MALFORMED_PACKET, "wildcard"),
        BAD("\x30\x03\x00\x00\x00", PROTOCOL_ERROR, "empty topic"),
        BAD("\x32\x06\x00\x01x\x00\x00\x00", PROTOCOL_ERROR, "identifier 0"),
        BAD("\x30\x07\x00\x01x\x03\x23\xff\xff", TOPIC_ALIAS_INVALID, "alias"),
        BAD("\x40\x02\x00\x01", PROTOCOL_ERROR, "PUBACK"),
        BAD("\x50\x02\x00\x01", PROTOCOL_ERROR, "PUBREC"),
        BAD("\x90\x04\x00\x01\x00\x01", PROTOCOL_ERROR, "SUBACK"),
        BAD("\x20\x03\x00\x00\x00", PROTOCOL_ERROR, "CONNACK"),
        BAD("\xc0\x00", PROTOCOL_ERROR, "PINGREQ"),
        BAD("\xf0\x00", PROTOCOL_ERROR, "AUTH"),
        BAD("\x00\x00", MALFORMED_PACKET, "reserved"),
        BAD("\xd0\x01x", MALFORMED_PACKET, "body"),
        BAD("\x40\xff\xff\xff\x7f", PACKET_TOO_LARGE, "larger"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        client_ready(f, i > 0);
        publish(f, 1, false, "good");
        give(f, bad[i].bytes, bad[i].size);
        expect_failure(f, ERR_PROTOCOL, bad[i].word);
        f->connector->ops.stop(f->state);
        f->connector->ops.disconnect(f->state);
        expect_disconnect(f, bad[i].reason);
        assert_int_equal(pipeline.emitted_count, i + 1); /* nothing before it is lost */
        client_close(f);
    }
}

/* Mosquitto sends more than it may when it has a backlog; to hang up would bring all of it again.
 */
static void more_than_the_receive_maximum_waits_for_acknowledgements(void **state)
{
    struct fixture *f = *state;
    set(f, "receive_maximum", json_integer(2));
    client_ready(f, false);
    for (uint16_t i = 1; i <= 5; i++)
        publish(f, i, false, "x");
    UNTIL(f, pipeline.emitted_count == 2);
    turns(f, 20);
    assert_int_equal(pipeline.emitted_count, 2);
    durable(1);
    assert_int_equal(pipeline.emitted_count, 2); /* not from within */
    expect_puback(f, 1);
    UNTIL(f, pipeline.emitted_count == 3);
    durable(3);
    expect_puback(f, 2);
    expect_puback(f, 3);
    UNTIL(f, pipeline.emitted_count == 5);
    durable(5);
    expect_puback(f, 4);
    expect_puback(f, 5);
    assert_false(f->failed);
    client_close(f);
}

static void more_than_the_receive_maximum_of_qos_2_is_refused(void **state)
{
    struct fixture *f = *state;
    set(f, "receive_maximum", json_integer(2));
    set(f, "qos", json_integer(2));
    client_ready(f, false);
    for (uint16_t i = 1; i <= 3; i++)
        publish_with(f, 2, i, false, "x");
    UNTIL(f, pipeline.emitted_count == 2);
    durable(2); /* PUBREC makes no room: PUBCOMP does */
    struct mqtt_frame frame;
    expect(f, MQTT_PUBREC, &frame);
    expect(f, MQTT_PUBREC, &frame);
    expect_failure(f, ERR_PROTOCOL, "receive maximum");
    expect_disconnect(f, MQTT_REASON_RECEIVE_MAXIMUM_EXCEEDED);
    assert_int_equal(pipeline.emitted_count, 2);
    client_close(f);
}

static void a_cut_packet_is_not_taken(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    give(f,
         "\x32\x10\x00\x03"
         "a/b"
         "\x00\x01\x00"
         "cut",
         13);
    turns(f, 5);
    hang_up(f);
    expect_failure(f, ERR_CLOSED, "closed the connection");
    assert_int_equal(pipeline.emitted_count, 0);
    client_close(f);
}

static void every_cut_of_the_stream_gives_the_same(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    struct buf bytes;
    buf_init(&bytes, 1 << 20);
    for (int i = 1; i <= 3; i++) {
        struct mqtt_publish packet = {.topic = BYTES_LITERAL("a/b"),
                                      .payload = BYTES_LITERAL("payload"),
                                      .packet_identifier = (uint16_t)i,
                                      .qos = 1};
        assert_int_equal(mqtt_encode_publish(&bytes, f->version, &packet), ERR_OK);
    }
    uint32_t expected = 0;
    for (size_t cut = 1; cut < bytes.size; cut++) {
        give(f, bytes.data, cut);
        turns(f, 2);
        give(f, bytes.data + cut, bytes.size - cut);
        expected += 3;
        UNTIL(f, pipeline.emitted_count == expected);
        durable(expected);
        for (uint16_t i = 1; i <= 3; i++)
            expect_puback(f, i);
    }
    assert_string_equal(pipeline.emitted[expected - 1].payload, "payload");
    buf_fini(&bytes);
    client_close(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(acknowledges_only_what_is_durable_in_order),
        TEST(a_redelivery_after_reconnect_is_not_stored),
        TEST(qos_2_is_received_completed_and_released),
        TEST(a_qos_2_redelivery_after_reconnect_is_not_stored),
        TEST(a_release_on_its_way_is_waited_for),
        TEST(a_reused_qos_2_identifier_is_stored_and_named),
        TEST(a_lost_session_makes_everything_new),
        TEST(topic_aliases_are_resolved),
        TEST(user_properties_become_one_json_text),
        TEST(user_properties_are_all_there_or_told_as_left_out),
        TEST(an_oversize_message_is_skipped_and_acknowledged),
        TEST(a_payload_after_endless_properties_is_kept),
        TEST(nothing_is_acknowledged_that_was_not_taken),
        TEST(bad_packets_are_refused),
        TEST(more_than_the_receive_maximum_waits_for_acknowledgements),
        TEST(more_than_the_receive_maximum_of_qos_2_is_refused),
        TEST(a_cut_packet_is_not_taken),
        TEST(every_cut_of_the_stream_gives_the_same),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    free(pipeline.emitted);
    return failures;
}
