/* CONNECT to SUBACK, and what a broker may refuse on the way: the connector as a host sees it,
 * against a broker that each test plays packet by packet (support/mqtt_host.h). */
#include "support/mqtt_host.h"

static void connects_as_the_contract_says(void **state)
{
    struct fixture *f = *state;
    set(f, "username", json_string("me"));
    set(f, "password", json_string("secret"));
    set(f, "session_expiry_seconds", json_integer(77));
    client_open(f);
    struct mqtt_connect connect = expect_connect(f);
    assert_int_equal(connect.version, MQTT_VERSION_5);
    assert_false(connect.clean_start);
    assert_int_equal(connect.keep_alive_seconds, 60);
    assert_int_equal(connect.properties.session_expiry_seconds, 77);
    assert_int_equal(connect.properties.receive_maximum, 65535);
    assert_int_equal(connect.properties.topic_alias_maximum, MQTT_TOPIC_ALIASES_MAX);
    assert_false(mqtt_has(&connect.properties, MQTT_PROPERTY_MAXIMUM_PACKET_SIZE));
    assert_int_equal(connect.client_id.size, 23);
    assert_true(bytes_equal_text(connect.username, "me"));
    assert_true(bytes_equal_text(connect.password, "secret"));
    give_connack(f, &(struct mqtt_connack){0});
    struct mqtt_subscribe subscribe = expect_subscribe(f, MQTT_SUBSCRIBE);
    struct mqtt_filter filter;
    size_t offset = 0;
    assert_true(mqtt_filter_next(&subscribe, true, &offset, &filter));
    assert_true(bytes_equal_text(filter.filter, "$share/ingestor-group/a/#"));
    assert_int_equal(filter.qos, 1);
    assert_int_equal(filter.retain_handling, 1);
    assert_false(f->connected);
    give_suback(f, MQTT_SUBACK, &subscribe, 1);
    UNTIL(f, f->connected);
    assert_int_equal(pipeline.sessions_new, 1);
    json_t *health = json_object();
    f->connector->ops.health(f->state, health);
    assert_string_equal(json_string_value(json_object_get(health, "broker")), "127.0.0.1");
    assert_int_equal(json_integer_value(json_object_get(health, "port")), f->port);
    assert_string_equal(json_string_value(json_object_get(health, "shared_group")),
                        "ingestor-group");
    json_decref(health);
    f->connector->ops.stop(f->state);
    assert_true(f->stopped);
    f->connector->ops.disconnect(f->state);
    expect_disconnect(f, 0);
    UNTIL(f, f->hung_up);
    client_close(f);
}

static void a_present_session_is_not_subscribed_again(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    client_close(f);
    client_ready(f, true); /* connected without a SUBSCRIBE */
    assert_int_equal(pipeline.sessions_new, 1);
    client_close(f);

    set(f, "topics", json_pack("[s,s]", "b/#", "c"));
    client_open(f);
    expect_connect(f);
    give_connack(f, &(struct mqtt_connack){.session_present = true});
    struct mqtt_subscribe packet = expect_subscribe(f, MQTT_UNSUBSCRIBE);
    struct mqtt_filter filter;
    size_t offset = 0;
    assert_true(mqtt_filter_next(&packet, false, &offset, &filter));
    assert_true(bytes_equal_text(filter.filter, "$share/ingestor-group/a/#"));
    give_suback(f, MQTT_UNSUBACK, &packet, 0);
    packet = expect_subscribe(f, MQTT_SUBSCRIBE);
    assert_int_equal(packet.entry_count, 2);
    give_suback(f, MQTT_SUBACK, &packet, 1);
    UNTIL(f, f->connected);
    client_close(f);
}

static void falls_back_to_3_1_1(void **state)
{
    struct fixture *f = *state;
    for (int how = 0; how < 3; how++) {
        client_open(f);
        assert_int_equal(expect_connect(f).version, MQTT_VERSION_5);
        if (how == 0)
            give_connack(f, &(struct mqtt_connack){.reason = MQTT_REASON_UNSUPPORTED_VERSION});
        else if (how == 1)
            give(f, "\x20\x02\x00\x01", 4); /* as an old server says it */
        hang_up(f);
        UNTIL(f, f->accepted);
        struct mqtt_connect connect = expect_connect(f);
        assert_int_equal(connect.version, MQTT_VERSION_3_1_1);
        assert_false(connect.clean_start);
        give_connack(f, &(struct mqtt_connack){0});
        struct mqtt_subscribe packet = expect_subscribe(f, MQTT_SUBSCRIBE);
        give_suback(f, MQTT_SUBACK, &packet, 1);
        UNTIL(f, f->connected);
        client_close(f);
    }
}

static void a_refusal_says_what_to_do(void **state)
{
    struct fixture *f = *state;
    client_open(f);
    expect_connect(f);
    struct mqtt_connack connack = {.reason = MQTT_REASON_BAD_CREDENTIALS};
    mqtt_set(&connack.properties, MQTT_PROPERTY_REASON_STRING);
    connack.properties.reason_string = BYTES_LITERAL("go away");
    give_connack(f, &connack);
    expect_failure(f, ERR_AUTH, "check username and password");
    assert_non_null(strstr(f->reason, "go away"));
    client_close(f);

    client_open(f);
    expect_connect(f);
    give_connack(f, &(struct mqtt_connack){0});
    struct mqtt_subscribe packet = expect_subscribe(f, MQTT_SUBSCRIBE);
    give_suback(f, MQTT_SUBACK, &packet, MQTT_REASON_SHARED_NOT_SUPPORTED);
    expect_failure(f, ERR_UNSUPPORTED, "set use_shared_subscription to false");
    client_close(f);

    client_open(f);
    expect_connect(f);
    connack = (struct mqtt_connack){0};
    mqtt_set(&connack.properties, MQTT_PROPERTY_SHARED_AVAILABLE);
    give_connack(f, &connack);
    expect_failure(f, ERR_UNSUPPORTED, "no shared subscriptions");
    client_close(f);
}

static void a_redirect_is_followed(void **state)
{
    struct fixture *f = *state;
    char reference[40];
    snprintf(reference, sizeof(reference), "localhost:%u other:1", f->port);
    client_open(f);
    expect_connect(f);
    struct mqtt_connack connack = {.reason = MQTT_REASON_USE_ANOTHER_SERVER};
    mqtt_set(&connack.properties, MQTT_PROPERTY_SERVER_REFERENCE);
    connack.properties.server_reference = bytes_from_text(reference);
    for (int i = 0; i < MQTT_REDIRECTS_MAX; i++) {
        give_connack(f, &connack);
        hang_up(f);
        UNTIL(f, f->accepted);
        expect_connect(f);
    }
    assert_false(f->failed);
    give_connack(f, &connack); /* enough is enough */
    expect_failure(f, ERR_REFUSED, "use another server");
    client_close(f);

    client_ready(f, false);
    struct buf packet;
    buf_init(&packet, 1 << 16);
    struct mqtt_ack bye = {.reason = MQTT_REASON_SERVER_MOVED};
    mqtt_set(&bye.properties, MQTT_PROPERTY_SERVER_REFERENCE);
    bye.properties.server_reference = bytes_from_text(reference);
    (void)mqtt_encode_ack(&packet, MQTT_VERSION_5, MQTT_DISCONNECT, &bye);
    give_buf(f, &packet);
    expect_failure(f, ERR_REFUSED, "server moved");
    client_close(f);
    client_open(f);
    expect_connect(f);
    give(f, "garbage", 7);
    expect_failure(f, ERR_PROTOCOL, "localhost"); /* where the reference pointed */
    client_close(f);
}

static void bad_configurations_fail_at_connect(void **state)
{
    struct fixture *f = *state;
    struct diag diag = {0};
    set(f, "tls", json_pack("{s:s}", "ca_file", "/nowhere/ca.pem"));
    assert_int_equal(client_connect(f, &diag), ERR_INVALID);
    assert_non_null(strstr(diag.text, "tls.ca_file: cannot use /nowhere/ca.pem"));
    f->connector->ops.stop(f->state);
    assert_true(f->stopped);
    f->connector->ops.disconnect(f->state);
    UNTIL(f, f->closed);
}

static void subscribes_with(struct fixture *f, uint8_t qos)
{
    struct mqtt_subscribe packet = expect_subscribe(f, MQTT_SUBSCRIBE);
    struct mqtt_filter filter;
    size_t offset = 0;
    assert_true(mqtt_filter_next(&packet, true, &offset, &filter));
    assert_int_equal(filter.qos, qos);
    give_suback(f, MQTT_SUBACK, &packet, 0);
    UNTIL(f, f->connected);
    assert_non_null(strstr(f->warning, "granted only QoS 0"));
}

static void qos_2_is_asked_for(void **state)
{
    struct fixture *f = *state;
    set(f, "qos", json_integer(2));
    client_open(f);
    expect_connect(f);
    give_connack(f, &(struct mqtt_connack){0});
    subscribes_with(f, 2);
    client_close(f);
}

static void a_broker_without_qos_2_is_named(void **state)
{
    struct fixture *f = *state;
    struct mqtt_connack connack = {0};
    set(f, "qos", json_integer(2));
    client_open(f);
    expect_connect(f);
    mqtt_set(&connack.properties, MQTT_PROPERTY_MAXIMUM_QOS);
    connack.properties.maximum_qos = 1;
    give_connack(f, &connack);
    UNTIL(f, f->in.size > 0);
    assert_non_null(strstr(f->warning, "has no QoS 2"));
    subscribes_with(f, 1);
    client_close(f);
}

static void what_is_no_broker_is_named(void **state)
{
    struct fixture *f = *state;
    client_open(f);
    expect_connect(f);
    give(f, "HTTP/1.1 400 Bad Request\r\n", 26);
    expect_failure(f, ERR_PROTOCOL, "does not speak MQTT (is it an HTTP port?)");
    client_close(f);
    client_open(f);
    expect_connect(f);
    give(f, "\x15\x03\x03\x00\x02\x02\x46", 7);
    expect_failure(f, ERR_PROTOCOL, "TLS port");
    client_close(f);
    client_open(f);
    expect_connect(f);
    give(f, "\x30\x04\x00\x01x\x00", 6);
    expect_failure(f, ERR_PROTOCOL, "before its CONNACK");
    client_close(f);
}

static void a_closed_port_is_named(void **state)
{
    struct fixture *f = *state;
    set(f, "port", json_integer(1));
    client_open(f);
    expect_failure(f, ERR_NETWORK, "cannot connect to 127.0.0.1:1");
    client_close(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(connects_as_the_contract_says),
        TEST(a_present_session_is_not_subscribed_again),
        TEST(falls_back_to_3_1_1),
        TEST(a_refusal_says_what_to_do),
        TEST(a_redirect_is_followed),
        TEST(bad_configurations_fail_at_connect),
        TEST(qos_2_is_asked_for),
        TEST(a_broker_without_qos_2_is_named),
        TEST(what_is_no_broker_is_named),
        TEST(a_closed_port_is_named),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    free(pipeline.emitted);
    return failures;
}
