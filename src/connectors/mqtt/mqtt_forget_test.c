/* A source that is deleted: its session ends at the broker (support/mqtt_host.h). */
#include "support/mqtt_host.h"

static struct mqtt_subscribe expect_unsubscribe(struct fixture *f)
{
    struct mqtt_subscribe packet = expect_subscribe(f, MQTT_UNSUBSCRIBE);
    struct mqtt_filter filter;
    size_t offset = 0;
    assert_int_equal(packet.entry_count, 1);
    assert_true(mqtt_filter_next(&packet, false, &offset, &filter));
    return packet;
}

/* DISCONNECT with session expiry 0, which must be there: without it the CONNECT's stays. */
static void expect_farewell(struct fixture *f)
{
    struct mqtt_frame frame;
    struct mqtt_fault fault;
    struct mqtt_ack disconnect;
    struct bytes body = expect(f, MQTT_DISCONNECT, &frame);
    assert_int_equal(mqtt_decode_ack(f->version, &frame, body, &disconnect, &fault), ERR_OK);
    assert_int_equal(disconnect.reason, MQTT_REASON_SUCCESS);
    if (f->version == MQTT_VERSION_5) {
        assert_true(mqtt_has(&disconnect.properties, MQTT_PROPERTY_SESSION_EXPIRY));
        assert_int_equal(disconnect.properties.session_expiry_seconds, 0);
    }
}

/* The host goes on; no other DISCONNECT comes. */
static void end(struct fixture *f)
{
    UNTIL(f, f->stopped);
    assert_false(f->failed);
    struct buf *subscribed = state_find(BYTES_LITERAL("subscribed/0"));
    assert_true(!subscribed || subscribed->size == 0);
    f->connector->ops.disconnect(f->state);
    while (!f->hung_up)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->in.size, 0);
    hang_up(f);
    UNTIL(f, f->closed);
}

static void what_was_queued_is_taken_first(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish(f, 1, false, "one");
    UNTIL(f, pipeline.emitted_count == 1);
    f->connector->ops.forget(f->state);
    struct mqtt_subscribe packet = expect_unsubscribe(f);
    publish(f, 2, false, "two");
    give_suback(f, MQTT_UNSUBACK, &packet, 0);
    publish(f, 3, false, "three");
    UNTIL(f, pipeline.emitted_count == 3);
    turns(f, 20);
    assert_false(f->stopped);
    durable(3);
    for (uint16_t identifier = 1; identifier <= 3; identifier++)
        expect_puback(f, identifier);
    expect_farewell(f);
    assert_int_equal(pipeline.sessions_new, 2); /* at the beginning and at the end */
    end(f);
}

static void with_3_1_1_a_clean_session_ends_it(void **state)
{
    struct fixture *f = *state;
    set(f, "protocol_version", json_string("3.1.1"));
    client_ready(f, false);
    f->connector->ops.forget(f->state);
    struct mqtt_subscribe packet = expect_unsubscribe(f);
    give_suback(f, MQTT_UNSUBACK, &packet, 0);
    UNTIL(f, f->hung_up);
    hang_up(f);
    UNTIL(f, f->accept_count == 2);
    struct mqtt_connect connect = expect_connect(f);
    assert_true(connect.clean_start);
    assert_int_equal(connect.version, MQTT_VERSION_3_1_1);
    give_connack(f, &(struct mqtt_connack){0});
    expect_farewell(f);
    end(f);
}

static void a_broker_that_does_not_answer_is_left(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    f->connector->ops.forget(f->state);
    expect_unsubscribe(f);
    expect_farewell(f);
    end(f);
}

static void one_that_is_paused_takes_nothing_more(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    pipeline.sources[0]->ops->on_pause(pipeline.sources[0]->ctx);
    f->connector->ops.forget(f->state);
    expect_farewell(f);
    end(f);
}

static void before_it_is_ready_it_waits(void **state)
{
    struct fixture *f = *state;
    client_open(f);
    expect_connect(f);
    f->connector->ops.forget(f->state);
    give_connack(f, &(struct mqtt_connack){.session_present = true});
    struct mqtt_subscribe subscribe = expect_subscribe(f, MQTT_SUBSCRIBE);
    give_suback(f, MQTT_SUBACK, &subscribe, 1);
    struct mqtt_subscribe packet = expect_unsubscribe(f);
    give_suback(f, MQTT_UNSUBACK, &packet, 0);
    expect_farewell(f);
    assert_false(f->connected);
    end(f);
}

static void a_session_that_is_not_there_is_not_made(void **state)
{
    struct fixture *f = *state;
    client_open(f);
    expect_connect(f);
    f->connector->ops.forget(f->state);
    give_connack(f, &(struct mqtt_connack){0});
    expect_farewell(f);
    end(f);
}

static void one_that_was_not_connected_comes_with_a_clean_start(void **state)
{
    struct fixture *f = *state;
    set(f, "clean_start", json_false());
    client_open(f);
    f->connector->ops.forget(f->state);
    struct mqtt_connect connect = expect_connect(f);
    assert_true(connect.clean_start);
    assert_true(mqtt_has(&connect.properties, MQTT_PROPERTY_SESSION_EXPIRY));
    assert_int_equal(connect.properties.session_expiry_seconds, 0);
    give_connack(f, &(struct mqtt_connack){0});
    expect_farewell(f);
    assert_false(f->connected);
    end(f);
}

static void a_lost_connection_is_no_failure(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    f->connector->ops.forget(f->state);
    expect_unsubscribe(f);
    hang_up(f);
    UNTIL(f, f->stopped);
    assert_false(f->failed);
    f->connector->ops.disconnect(f->state);
    UNTIL(f, f->closed);
}

static void one_that_has_failed_stops_at_once(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    hang_up(f);
    UNTIL(f, f->failed);
    f->connector->ops.forget(f->state);
    assert_true(f->stopped);
    f->connector->ops.disconnect(f->state);
    UNTIL(f, f->closed);
}

static uv_tcp_t second;

static void on_second_closed(uv_handle_t *handle)
{
    (void)handle;
}

/* The first connection is the fixture's; from here on the second one is. */
static void second_takes_over(struct fixture *f, uv_stream_t *listener)
{
    uv_tcp_t *first = &second;
    assert_int_equal(uv_tcp_init(&f->loop, first), 0);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)first), 0);
    first->data = f;
    f->second_accept = NULL;
    uv_read_start((uv_stream_t *)first, on_alloc, on_read);
}

/* Bytes to the second connection, whose own come into the fixture's buffer. */
static void second_say(const char *bytes, size_t size)
{
    uv_buf_t part = {.base = (char *)(uintptr_t)bytes, .len = size};
    assert_int_equal(uv_try_write((uv_stream_t *)&second, &part, 1), size);
}

static void fewer_connections_end_the_sessions_of_the_others(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(
        ingest_state_put(NULL, BYTES_LITERAL("subscribed/3"), BYTES_LITERAL("an old session")),
        ERR_OK);
    set(f, "client_id", json_string("mine"));
    f->second_accept = second_takes_over;
    client_ready(f, false);
    struct mqtt_connect connect = expect_connect(f);
    assert_true(bytes_equal_text(connect.client_id, "mine-3"));
    assert_false(connect.clean_start);
    second_say("\x20\x03\x00\x00\x00", 5); /* and it is not there any more */
    expect_farewell(f);
    assert_int_equal(state_find(BYTES_LITERAL("subscribed/3"))->size, 0);
    UNTIL(f, f->hung_up);
    f->hung_up = false;
    uv_close((uv_handle_t *)&second, on_second_closed);
    UNTIL(f, pipeline.source_count == 1);
    publish(f, 1, false, "one");
    UNTIL(f, pipeline.emitted_count == 1);
    client_close(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_queued_is_taken_first),
        TEST(with_3_1_1_a_clean_session_ends_it),
        TEST(a_broker_that_does_not_answer_is_left),
        TEST(one_that_is_paused_takes_nothing_more),
        TEST(before_it_is_ready_it_waits),
        TEST(a_session_that_is_not_there_is_not_made),
        TEST(one_that_was_not_connected_comes_with_a_clean_start),
        TEST(a_lost_connection_is_no_failure),
        TEST(one_that_has_failed_stops_at_once),
        TEST(fewer_connections_end_the_sessions_of_the_others),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    free(pipeline.emitted);
    return failures;
}
