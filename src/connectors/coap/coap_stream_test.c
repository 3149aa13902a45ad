#include "connectors/coap/coap_stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define MESSAGE_BYTES 300
#define ROUNDS        50 /* of the loop: more than anything here takes */

/* A server's end of a connection, and libcoap's, with a stream between. */
struct way {
    uv_loop_t loop;
    int server;
    int library;
    int epoll_fd;
    struct coap_stream *stream;
};

static void turn(struct way *way)
{
    for (int i = 0; i < ROUNDS; i++)
        uv_run(&way->loop, UV_RUN_NOWAIT);
}

static void way_open(struct way *way)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    way->library = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(way->library, (struct sockaddr *)&address, size), 0);
    way->server = accept(listener, NULL, NULL);
    assert_true(way->server >= 0);
    close(listener);
    way->epoll_fd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = way};
    assert_int_equal(epoll_ctl(way->epoll_fd, EPOLL_CTL_ADD, way->library, &event), 0);
    assert_int_equal(uv_loop_init(&way->loop), 0);
    assert_int_equal(coap_stream_open(&way->loop, way->epoll_fd, &way->stream), ERR_OK);
}

static void way_close(struct way *way)
{
    close(way->library);
    coap_stream_close(way->stream);
    turn(way);
    assert_int_equal(uv_loop_close(&way->loop), 0);
    close(way->epoll_fd);
    close(way->server);
}

/* The next message: its number, and sizes that change. */
static size_t message_make(uint32_t number, uint8_t bytes[MESSAGE_BYTES])
{
    size_t body = 13 + number % 250;
    bytes[0] = 0xd0;
    bytes[1] = (uint8_t)(body - 13);
    bytes[2] = 0x45;
    memset(bytes + 3, (int)(number & 0xff), body);
    return 3 + body;
}

/* While libcoap does not read, what the server sends stays with the server; then all comes. */
static uint32_t send_until_full(struct way *way)
{
    uint32_t sent = 0;
    for (int idle = 0; idle < 3;) {
        uint8_t bytes[MESSAGE_BYTES];
        size_t size = message_make(sent, bytes);
        ssize_t part = send(way->server, bytes, size, MSG_DONTWAIT);
        if (part >= 0 && (size_t)part < size)
            return sent; /* full in the midst of one, which does not count */
        if (part < 0)
            turn(way);
        sent += part >= 0;
        idle = part < 0 ? idle + 1 : 0;
    }
    return sent;
}

static void test_all_comes_when_the_library_reads_late(void **state)
{
    (void)state;
    struct way way = {0};
    way_open(&way);
    uint32_t sent = send_until_full(&way), read = 0;
    size_t at = 0, size = 0;
    uint8_t packet[1472 + 1], expected[MESSAGE_BYTES];
    assert_true(sent > 1000);
    assert_int_equal(shutdown(way.server, SHUT_WR), 0);
    for (;;) {
        ssize_t come = recv(way.library, packet, sizeof(packet), MSG_DONTWAIT);
        if (come < 0) {
            assert_int_equal(errno, EAGAIN);
            turn(&way);
            continue;
        }
        if (come == 0)
            break;
        assert_true(come < (ssize_t)sizeof(packet));
        assert_true(at == 0 || at >= 3); /* the one before has ended in no header */
        for (ssize_t i = 0; i < come; i++) {
            size = at == 0 ? message_make(read, expected) : size;
            assert_int_equal(packet[i], expected[at]);
            at = (at + 1) % size;
            read += at == 0;
        }
    }
    assert_int_equal(read, sent);
    assert_null(coap_stream_complaint(way.stream));
    way_close(&way);
}

static void test_what_the_library_sent_last_arrives(void **state)
{
    (void)state;
    struct way way = {0};
    char data[16];
    way_open(&way);
    assert_int_equal(send(way.library, "one", 3, 0), 3);
    turn(&way);
    assert_int_equal(recv(way.server, data, sizeof(data), MSG_DONTWAIT), 3);
    assert_int_equal(send(way.library, "two", 3, 0), 3);
    close(way.library);
    coap_stream_close(way.stream); /* the loop has had no turn */
    turn(&way);
    assert_int_equal(recv(way.server, data, sizeof(data), 0), 3);
    assert_memory_equal(data, "two", 3);
    assert_int_equal(recv(way.server, data, sizeof(data), 0), 0);
    assert_int_equal(uv_loop_close(&way.loop), 0);
    close(way.epoll_fd);
    close(way.server);
}

static void test_a_stream_without_its_place_ends(void **state)
{
    (void)state;
    struct way way = {0};
    char data[16];
    way_open(&way);
    assert_int_equal(send(way.server, "\x01\x45t\x0f\x45", 5, 0), 5);
    turn(&way);
    assert_non_null(coap_stream_complaint(way.stream));
    assert_int_equal(recv(way.library, data, sizeof(data), MSG_DONTWAIT), 0);
    way_close(&way);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_comes_when_the_library_reads_late),
        cmocka_unit_test(test_what_the_library_sent_last_arrives),
        cmocka_unit_test(test_a_stream_without_its_place_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
