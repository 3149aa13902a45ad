#include "net/stream.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* A peer on the same loop that echoes, or does what a test tells it. */
struct peer {
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_tcp_t socket;
    bool accepted;
    bool mute; /* accepts and reads nothing */
    struct buf received;
    uint16_t port;
    char room[65536];
    struct stream stream;
    struct buf got;
    size_t take; /* how much on_data takes at a time; 0: all */
    bool stop_after;
    bool opened;
    bool failed;
    bool closed;
    enum err err;
    char reason[512];
};

static void on_peer_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    struct peer *peer = handle->data;
    *ret = uv_buf_init(peer->room, sizeof(peer->room));
}

static void on_peer_read(uv_stream_t *handle, ssize_t size, const uv_buf_t *buf)
{
    struct peer *peer = handle->data;
    if (size > 0)
        assert_int_equal(buf_append(&peer->received, buf->base, (size_t)size), ERR_OK);
    else if (size < 0)
        uv_read_stop(handle);
}

static void on_extra_closed(uv_handle_t *handle)
{
    free(handle);
}

static void refuse_extra(struct peer *peer, uv_stream_t *listener)
{
    uv_tcp_t *extra = malloc(sizeof(*extra));
    assert_int_equal(uv_tcp_init(&peer->loop, extra), 0);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)extra), 0);
    uv_close((uv_handle_t *)extra, on_extra_closed);
}

static void on_peer_connection(uv_stream_t *listener, int status)
{
    struct peer *peer = listener->data;
    assert_int_equal(status, 0);
    if (peer->accepted) {
        refuse_extra(peer, listener);
        return;
    }
    assert_int_equal(uv_tcp_init(&peer->loop, &peer->socket), 0);
    peer->socket.data = peer;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&peer->socket), 0);
    peer->accepted = true;
    if (!peer->mute)
        uv_read_start((uv_stream_t *)&peer->socket, on_peer_alloc, on_peer_read);
}

static void peer_init(struct peer *peer)
{
    *peer = (struct peer){0};
    buf_init(&peer->received, 64 << 20);
    buf_init(&peer->got, 64 << 20);
    assert_int_equal(uv_loop_init(&peer->loop), 0);
    uv_tcp_init(&peer->loop, &peer->listener);
    peer->listener.data = peer;
    struct sockaddr_in address;
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_bind(&peer->listener, (struct sockaddr *)&address, 0);
    assert_int_equal(uv_listen((uv_stream_t *)&peer->listener, 8, on_peer_connection), 0);
    int size = sizeof(address);
    uv_tcp_getsockname(&peer->listener, (struct sockaddr *)&address, &size);
    peer->port = ntohs(address.sin_port);
}

static void peer_fini(struct peer *peer)
{
    if (!uv_is_closing((uv_handle_t *)&peer->listener))
        uv_close((uv_handle_t *)&peer->listener, NULL);
    if (peer->accepted && !uv_is_closing((uv_handle_t *)&peer->socket))
        uv_close((uv_handle_t *)&peer->socket, NULL);
    uv_run(&peer->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&peer->loop), 0);
    buf_fini(&peer->received);
    buf_fini(&peer->got);
}

static void peer_send(struct peer *peer, const void *data, size_t size)
{
    size_t sent = 0;
    while (sent < size) {
        uv_buf_t part = {.base = (char *)(uintptr_t)data + sent, .len = size - sent};
        int written = uv_try_write((uv_stream_t *)&peer->socket, &part, 1);
        if (written > 0)
            sent += (size_t)written;
        uv_run(&peer->loop, UV_RUN_NOWAIT);
    }
}

static void on_open(void *ctx)
{
    ((struct peer *)ctx)->opened = true;
}

static size_t on_data(void *ctx, struct bytes data)
{
    struct peer *peer = ctx;
    size_t take = peer->take == 0 ? data.size : data.size / peer->take * peer->take;
    assert_int_equal(buf_append(&peer->got, data.data, take), ERR_OK);
    if (peer->stop_after)
        stream_read_stop(&peer->stream);
    return take;
}

static void on_failed(void *ctx, enum err err, const char *reason)
{
    struct peer *peer = ctx;
    assert_false(peer->failed);
    peer->failed = true;
    peer->err = err;
    snprintf(peer->reason, sizeof(peer->reason), "%s", reason);
}

static void on_closed(void *ctx)
{
    struct peer *peer = ctx;
    assert_false(peer->closed);
    peer->closed = true;
}

static const struct stream_ops ops = {on_open, on_data, on_failed, on_closed};

static void peer_connect_to(struct peer *peer, const char *host, uint16_t port, size_t read_max)
{
    struct stream_options options = {
        .host = host, .port = port, .connect_timeout_ms = 60000, .read_max_bytes = read_max};
    struct diag diag = {0};
    assert_int_equal(stream_open(&peer->stream, &peer->loop, &options, &ops, peer, &diag), ERR_OK);
    while (!peer->failed && !(peer->opened && peer->accepted))
        uv_run(&peer->loop, UV_RUN_ONCE);
}

static void peer_connect(struct peer *peer)
{
    peer_connect_to(peer, "127.0.0.1", peer->port, 0);
    assert_true(peer->opened);
}

static void close_and_wait(struct peer *peer, uint32_t finish_ms)
{
    assert_true(stream_close(&peer->stream, finish_ms));
    while (!peer->closed)
        uv_run(&peer->loop, UV_RUN_ONCE);
}

static void fill(uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13);
}

static void bytes_arrive_both_ways(void **state)
{
    (void)state;
    struct peer peer;
    peer_init(&peer);
    peer_connect(&peer);
    enum { SIZE = 3000000 };
    uint8_t *data = malloc(SIZE);
    fill(data, SIZE);
    assert_int_equal(stream_write(&peer.stream, bytes_from(data, SIZE)), ERR_OK);
    while (peer.received.size < SIZE)
        uv_run(&peer.loop, UV_RUN_ONCE);
    assert_memory_equal(peer.received.data, data, SIZE);
    assert_int_equal(stream_queued_bytes(&peer.stream), 0);

    peer.take = 1000; /* rests stay in the buffer */
    stream_read_start(&peer.stream);
    peer_send(&peer, data, SIZE);
    while (peer.got.size < SIZE)
        uv_run(&peer.loop, UV_RUN_ONCE);
    assert_memory_equal(peer.got.data, data, SIZE);
    assert_int_equal(peer.stream.bytes_read, SIZE);
    free(data);
    close_and_wait(&peer, 0);
    peer_fini(&peer);
}

static void a_stopped_reader_gets_its_rest_later(void **state)
{
    (void)state;
    struct peer peer;
    peer_init(&peer);
    peer_connect(&peer);
    peer.take = 4;
    peer.stop_after = true;
    stream_read_start(&peer.stream);
    peer_send(&peer, "abcdef", 6);
    while (peer.got.size < 4)
        uv_run(&peer.loop, UV_RUN_ONCE);
    peer_send(&peer, "ghijkl", 6);
    for (int i = 0; i < 20; i++)
        uv_run(&peer.loop, UV_RUN_NOWAIT);
    assert_int_equal(peer.got.size, 4);
    peer.stop_after = false;
    peer.take = 0;
    stream_read_start(&peer.stream);
    assert_int_equal(peer.got.size, 6); /* at once */
    while (peer.got.size < 12)
        uv_run(&peer.loop, UV_RUN_ONCE);
    assert_memory_equal(peer.got.data, "abcdefghijkl", 12);
    close_and_wait(&peer, 0);
    peer_fini(&peer);
}

static void the_buffer_grows_to_its_maximum_only(void **state)
{
    (void)state;
    struct peer peer;
    peer_init(&peer);
    peer_connect_to(&peer, "127.0.0.1", peer.port, 2 * STREAM_READ_BYTES);
    peer.take = 2 * STREAM_READ_BYTES;
    stream_read_start(&peer.stream);
    uint8_t *data = malloc(2 * STREAM_READ_BYTES);
    fill(data, 2 * STREAM_READ_BYTES);
    peer_send(&peer, data, 2 * STREAM_READ_BYTES);
    while (peer.got.size < 2 * STREAM_READ_BYTES)
        uv_run(&peer.loop, UV_RUN_ONCE);
    assert_memory_equal(peer.got.data, data, 2 * STREAM_READ_BYTES);
    peer.take = 4 * STREAM_READ_BYTES; /* more than may be held */
    peer_send(&peer, data, 2 * STREAM_READ_BYTES);
    peer_send(&peer, data, 1);
    while (!peer.failed)
        uv_run(&peer.loop, UV_RUN_ONCE);
    assert_int_equal(peer.err, ERR_NO_MEMORY);
    free(data);
    close_and_wait(&peer, 0);
    peer_fini(&peer);
}

static void failures_name_the_host_and_the_cause(void **state)
{
    (void)state;
    struct peer peer;
    peer_init(&peer);
    uint16_t port = peer.port;
    uv_close((uv_handle_t *)&peer.listener, NULL);
    uv_run(&peer.loop, UV_RUN_DEFAULT); /* nobody listens there now */
    peer_connect_to(&peer, "localhost", port, 0);
    assert_true(peer.failed);
    assert_int_equal(peer.err, ERR_NETWORK);
    assert_non_null(strstr(peer.reason, "cannot connect to localhost:"));
    assert_non_null(strstr(peer.reason, "refused"));
    close_and_wait(&peer, 500);

    peer.failed = peer.closed = false;
    peer_connect_to(&peer, "no such host.invalid", 1, 0);
    assert_true(peer.failed);
    assert_non_null(strstr(peer.reason, "cannot find the address of"));
    close_and_wait(&peer, 0);
    peer_fini(&peer);
}

static void the_end_of_the_stream_is_told(void **state)
{
    (void)state;
    struct peer peer;
    peer_init(&peer);
    peer_connect(&peer);
    stream_read_start(&peer.stream);
    uv_close((uv_handle_t *)&peer.socket, NULL);
    while (!peer.failed)
        uv_run(&peer.loop, UV_RUN_ONCE);
    assert_int_equal(peer.err, ERR_CLOSED);
    assert_int_equal(stream_write(&peer.stream, BYTES_LITERAL("x")), ERR_CLOSED);
    close_and_wait(&peer, 0);
    peer_fini(&peer);
}

static void last_words_are_read_before_the_close(void **state)
{
    (void)state;
    struct peer peer;
    peer_init(&peer);
    peer_connect(&peer);
    enum { SIZE = 2000000 };
    uint8_t *data = malloc(SIZE);
    fill(data, SIZE);
    peer_send(&peer, "unread", 6);
    assert_int_equal(stream_write(&peer.stream, bytes_from(data, SIZE)), ERR_OK);
    stream_close(&peer.stream, 60000);
    while (peer.received.size < SIZE)
        uv_run(&peer.loop, UV_RUN_ONCE);
    assert_memory_equal(peer.received.data, data, SIZE);
    uv_close((uv_handle_t *)&peer.socket, NULL);
    while (!peer.closed)
        uv_run(&peer.loop, UV_RUN_ONCE);
    assert_false(peer.failed);
    free(data);
    peer_fini(&peer);
}

static void a_peer_that_does_not_read_is_not_fed_for_ever(void **state)
{
    (void)state;
    struct peer peer;
    peer_init(&peer);
    peer.mute = true;
    peer_connect(&peer);
    static uint8_t data[1 << 20];
    enum err err = ERR_OK;
    for (int i = 0; i < 1000 && err == ERR_OK; i++) {
        err = stream_write(&peer.stream, bytes_from(data, sizeof(data)));
        uv_run(&peer.loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(err, ERR_TOO_LARGE);
    assert_true(stream_queued_bytes(&peer.stream) <= 2 * STREAM_QUEUE_BYTES_MAX);
    close_and_wait(&peer, 0);
    peer_fini(&peer);
}

static void closing_early_leaves_nothing(void **state)
{
    (void)state;
    struct peer peer;
    peer_init(&peer);
    assert_false(stream_close(&peer.stream, 0)); /* never opened */
    struct stream_options options = {
        .host = "127.0.0.1", .port = peer.port, .connect_timeout_ms = 60000};
    /* during the lookup, and after a few turns of the loop each */
    for (int turns = 0; turns < 4; turns++) {
        peer.closed = peer.opened = false;
        assert_int_equal(stream_open(&peer.stream, &peer.loop, &options, &ops, &peer, NULL),
                         ERR_OK);
        for (int i = 0; i < turns; i++)
            uv_run(&peer.loop, UV_RUN_NOWAIT);
        close_and_wait(&peer, 0);
    }
    peer_fini(&peer);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct peer peer;
        peer_init(&peer);
        buf_reserve(&peer.received, 1 << 20);
        buf_reserve(&peer.got, 1 << 20);
        struct stream_options options = {
            .host = "127.0.0.1", .port = peer.port, .connect_timeout_ms = 60000};
        mem_fail_at(k);
        enum err err = stream_open(&peer.stream, &peer.loop, &options, &ops, &peer, NULL);
        if (err == ERR_OK) {
            while (!peer.failed && !(peer.opened && peer.accepted))
                uv_run(&peer.loop, UV_RUN_ONCE);
            stream_read_start(&peer.stream);
            if (!peer.failed)
                peer_send(&peer, "hello", 5);
            while (!peer.failed && peer.got.size < 5)
                uv_run(&peer.loop, UV_RUN_ONCE);
            assert_true(peer.failed ? peer.err == ERR_NO_MEMORY : peer.got.size == 5);
            close_and_wait(&peer, 0);
        }
        int was_reached = mem_failed();
        mem_fail_at(0);
        peer_fini(&peer);
        if (!was_reached)
            break;
        assert_true(k < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_arrive_both_ways),
        cmocka_unit_test(a_stopped_reader_gets_its_rest_later),
        cmocka_unit_test(the_buffer_grows_to_its_maximum_only),
        cmocka_unit_test(failures_name_the_host_and_the_cause),
        cmocka_unit_test(the_end_of_the_stream_is_told),
        cmocka_unit_test(last_words_are_read_before_the_close),
        cmocka_unit_test(a_peer_that_does_not_read_is_not_fed_for_ever),
        cmocka_unit_test(closing_early_leaves_nothing),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
