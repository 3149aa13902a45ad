/* A connection's life: pressure, stop, pings, silence, several at once, disconnecting at any
 * moment, no memory (support/mqtt_host.h). */
#include "support/mqtt_host.h"

/* A second client, answered by itself: CONNACK and SUBACK as they are asked for. */
struct second {
    struct fixture *f;
    uv_tcp_t socket;
    char room[4096];
    size_t size;
    char client_id[64];
    bool closed;
};

static struct second second;

static void second_say(const char *bytes, size_t size)
{
    uv_buf_t part = {.base = (char *)(uintptr_t)bytes, .len = size};
    assert_int_equal(uv_try_write((uv_stream_t *)&second.socket, &part, 1), size);
}

static void on_second_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)handle;
    (void)suggested;
    *ret = uv_buf_init(second.room + second.size, (unsigned)(sizeof(second.room) - second.size));
}

static void on_second_closed(uv_handle_t *handle)
{
    (void)handle;
    second.closed = true;
}

static void on_second_read(uv_stream_t *handle, ssize_t size, const uv_buf_t *data)
{
    (void)data;
    struct mqtt_frame frame;
    struct mqtt_fault fault;
    struct mqtt_connect connect;
    if (size < 0) {
        uv_close((uv_handle_t *)handle, on_second_closed);
        return;
    }
    second.size += (size_t)size;
    while (mqtt_frame(bytes_from(second.room, second.size), sizeof(second.room), &frame, &fault) ==
               ERR_OK &&
           frame.total_size <= second.size) {
        if (frame.type == MQTT_CONNECT) {
            struct bytes body = bytes_from(second.room + frame.header_size, frame.body_size);
            assert_int_equal(mqtt_decode_connect(&frame, body, &connect, &fault), ERR_OK);
            text_copy(second.client_id, sizeof(second.client_id), connect.client_id);
            second_say("\x20\x03\x00\x00\x00", 5);
        } else if (frame.type == MQTT_SUBSCRIBE) {
            second_say("\x90\x04\x00\x01\x00\x01", 6);
        }
        second.size -= frame.total_size;
        memmove(second.room, second.room + frame.total_size, second.size);
    }
}

static void second_accept(struct fixture *f, uv_stream_t *listener)
{
    second = (struct second){.f = f};
    uv_tcp_init(&f->loop, &second.socket);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&second.socket), 0);
    uv_read_start((uv_stream_t *)&second.socket, on_second_alloc, on_second_read);
}

static void a_paused_source_stops_reading_and_goes_on_acknowledging(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish(f, 1, false, "one");
    UNTIL(f, pipeline.emitted_count == 1);
    pipeline.sources[0]->ops->on_pause(pipeline.sources[0]->ctx);
    static char data[100000];
    struct mqtt_publish packet = {.topic = BYTES_LITERAL("a/b"),
                                  .payload = bytes_from(data, sizeof(data))};
    struct buf bytes;
    buf_init(&bytes, 64 << 20);
    for (int i = 0; i < 200; i++)
        assert_int_equal(mqtt_encode_publish(&bytes, f->version, &packet), ERR_OK);
    size_t sent = 0;
    for (int still = 0; still < 200;) {
        uv_buf_t part = {.base = (char *)bytes.data + sent, .len = bytes.size - sent};
        int written = sent < bytes.size ? uv_try_write((uv_stream_t *)&f->socket, &part, 1) : 0;
        sent += written > 0 ? (size_t)written : 0;
        still = written > 0 ? 0 : still + 1;
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    uint32_t taken = pipeline.emitted_count;
    assert_true(taken < 40); /* a megabyte more, and what one read brings */
    durable(1);
    expect_puback(f, 1);
    pipeline.sources[0]->ops->on_resume(pipeline.sources[0]->ctx);
    assert_int_equal(pipeline.emitted_count, taken); /* not from within */
    give(f, bytes.data + sent, bytes.size - sent);
    UNTIL(f, pipeline.emitted_count == 201);
    buf_fini(&bytes);
    client_close(f);
}

static void stop_lets_what_was_received_be_acknowledged(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish(f, 1, false, "one");
    UNTIL(f, pipeline.emitted_count == 1);
    f->connector->ops.stop(f->state);
    assert_false(f->stopped);
    durable(1);
    assert_true(f->stopped);
    expect_puback(f, 1);
    f->connector->ops.disconnect(f->state);
    expect_disconnect(f, 0);
    client_close(f);
}

static void a_pong_after_acknowledgements_frees(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish(f, 1, false, "one");
    UNTIL(f, pipeline.emitted_count == 1);
    durable(1);
    expect_puback(f, 1);
    struct mqtt_frame frame;
    expect(f, MQTT_PINGREQ, &frame);
    assert_int_equal(pipeline.freed_block, 0);
    give(f, "\xd0\x00", 2);
    UNTIL(f, pipeline.freed_block == pipeline.block);
    client_close(f);
}

static void a_small_window_of_the_broker_is_named(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    uint16_t identifier = 0;
    for (int round = 0; round < 100 && !f->warning[0]; round++) {
        uint32_t target = pipeline.emitted_count + 20;
        for (int i = 0; i < 20; i++)
            publish(f, ++identifier, false, "x");
        UNTIL(f, pipeline.emitted_count == target);
        durable(target);
        for (int i = 0; i < 20; i++)
            expect_puback(f, (uint16_t)(identifier - 19 + i));
    }
    assert_non_null(strstr(f->warning, "20 messages"));
    assert_non_null(strstr(f->warning, "max_inflight_messages"));
    client_close(f);
}

static void several_connections_share(void **state)
{
    struct fixture *f = *state;
    set(f, "connections", json_integer(2));
    f->second_accept = second_accept;
    client_open(f);
    struct mqtt_connect connect = expect_connect(f);
    char first_id[64];
    text_copy(first_id, sizeof(first_id), connect.client_id);
    give_connack(f, &(struct mqtt_connack){0});
    struct mqtt_subscribe subscribe = expect_subscribe(f, MQTT_SUBSCRIBE);
    turns(f, 20);
    assert_false(f->connected);
    give_suback(f, MQTT_SUBACK, &subscribe, 1);
    UNTIL(f, f->connected);
    assert_string_not_equal(first_id, second.client_id);
    assert_int_equal(pipeline.source_count, 2);
    assert_int_equal(pipeline.sources[0]->session, 0);
    assert_int_equal(pipeline.sources[1]->session, 1);
    turns(f, 3);
    publish(f, 1, false, "first");
    UNTIL(f, pipeline.emitted_count == 1);
    second_say("\x32\x09\x00\x03"
               "a/b\x00\x01\x00x",
               11);
    UNTIL(f, pipeline.emitted_count == 2);
    client_close(f);
    UNTIL(f, second.closed);
}

static void a_silent_broker_is_left(void **state)
{
    struct fixture *f = *state;
    set(f, "keep_alive_seconds", json_integer(1));
    client_ready(f, false);
    struct mqtt_frame frame;
    expect(f, MQTT_PINGREQ, &frame);
    expect_failure(f, ERR_TIMEOUT, "silent");
    client_close(f);
}

static void disconnecting_at_any_moment_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    for (int count = 0; count < 12; count++) {
        client_open(f);
        for (int i = 0; i < count; i++)
            uv_run(&f->loop, UV_RUN_NOWAIT);
        if (count > 8 && f->accepted)
            give_connack(f, &(struct mqtt_connack){0});
        f->connector->ops.disconnect(f->state);
        while (!f->closed) {
            uv_run(&f->loop, UV_RUN_ONCE);
            if (f->hung_up)
                hang_up(f);
        }
        turns(f, 3);
        hang_up(f);
    }
}

/* A whole life with the k-th allocation failing: it ends connected or with a reason, and nothing is
 * acknowledged that was not taken. */
static bool life(struct fixture *f, uint64_t k)
{
    struct diag diag = {0};
    mem_fail_at(k);
    enum err err = client_connect(f, &diag);
    if (err == ERR_OK) {
        UNTIL(f, f->failed || f->accepted);
        UNTIL(f, f->failed || f->in.size > 4);
        if (!f->failed)
            give(f, "\x20\x03\x00\x00\x00", 5);
        f->in.size = 0;
        UNTIL(f, f->failed || f->in.size > 4);
        if (!f->failed)
            give(f, "\x90\x04\x00\x01\x00\x01", 6);
        UNTIL(f, f->failed || f->connected);
        f->in.size = 0;
        if (!f->failed)
            give(f, "\x32\x0d\x00\x01x\x00\x01\x05\x26\x00\x00\x00\x00zz", 15);
        UNTIL(f, f->failed || pipeline.emitted_count > 0);
        if (!f->failed)
            durable(1);
        UNTIL(f, f->failed || f->in.size >= 4);
    } else {
        assert_int_equal(err, ERR_NO_MEMORY);
        f->failed = true;
    }
    bool reached = mem_failed();
    mem_fail_at(0);
    assert_true(f->failed ? reached : f->in.data[0] == 0x40);
    client_close(f);
    return reached;
}

static void every_failed_allocation_is_survived(void **state)
{
    struct fixture *f = *state;
    buf_reserve(&f->in, 1 << 20);
    for (uint64_t k = 1;; k++) {
        pipeline.emitted_count = 0;
        memset(pipeline.known, 0, sizeof(pipeline.known));
        if (!life(f, k))
            break;
        assert_true(k < 1000);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_paused_source_stops_reading_and_goes_on_acknowledging),
        TEST(stop_lets_what_was_received_be_acknowledged),
        TEST(a_pong_after_acknowledgements_frees),
        TEST(a_small_window_of_the_broker_is_named),
        TEST(several_connections_share),
        TEST(a_silent_broker_is_left),
        TEST(disconnecting_at_any_moment_leaves_nothing),
        TEST(every_failed_allocation_is_survived),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    free(pipeline.emitted);
    return failures;
}
