#include "connectors/coap/coap_socket.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int open_udp(struct sockaddr_in *ret_address)
{
    socklen_t size = sizeof(*ret_address);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    *ret_address = (struct sockaddr_in){.sin_family = AF_INET};
    ret_address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)ret_address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret_address, &size), 0);
    return fd;
}

static void watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    assert_int_equal(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event), 0);
}

static void test_the_socket_among_what_is_watched(void **state)
{
    (void)state;
    struct sockaddr_in address;
    int epoll_fd = epoll_create1(0), other = eventfd(0, 0), fd = open_udp(&address);
    watch(epoll_fd, other);
    assert_int_equal(coap_socket_of(epoll_fd), -1);
    watch(epoll_fd, fd);
    assert_int_equal(coap_socket_of(epoll_fd), fd);
    assert_int_equal(coap_socket_of(-1), -1);
    close(fd);
    close(other);
    close(epoll_fd);
}

static void test_another_takes_the_sockets_place(void **state)
{
    (void)state;
    struct sockaddr_in address;
    int epoll_fd = epoll_create1(0), fd = open_udp(&address), pair[2], taken = -1;
    char data[8];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &address}, come;
    assert_int_equal(coap_socket_exchange(epoll_fd, fd, &taken), ERR_UNSUPPORTED);
    assert_int_equal(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(coap_socket_exchange(epoll_fd, pair[0], &taken), ERR_OK);
    assert_int_equal(close(pair[0]), 0);
    /* the number reads the pair, and is watched as before */
    assert_int_equal(send(pair[1], "pair", 4, 0), 4);
    assert_int_equal(epoll_wait(epoll_fd, &come, 1, 0), 1);
    assert_ptr_equal(come.data.ptr, &address);
    assert_int_equal(recv(fd, data, sizeof(data), 0), 4);
    /* and the socket is not */
    assert_int_equal(sendto(taken, "self", 4, 0, (struct sockaddr *)&address, sizeof(address)), 4);
    assert_int_equal(epoll_wait(epoll_fd, &come, 1, 0), 0);
    assert_int_equal(recv(taken, data, sizeof(data), 0), 4);
    close(taken);
    close(pair[1]);
    close(fd);
    close(epoll_fd);
}

static void test_what_does_not_fit_is_counted(void **state)
{
    (void)state;
    static const char datagram[200];
    struct sockaddr_in address;
    int sender = socket(AF_INET, SOCK_DGRAM, 0), fd = open_udp(&address);
    uint32_t sent = 0, read = 0;
    char data[sizeof(datagram)];
    int before, after;
    socklen_t size = sizeof(before);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &before, &size), 0);
    coap_socket_enlarge(fd);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &after, &size), 0);
    assert_true(after > before);
    for (; sent < 40000; sent++)
        assert_int_equal(sendto(sender, datagram, sizeof(datagram), 0, (struct sockaddr *)&address,
                                sizeof(address)),
                         sizeof(datagram));
    while (recv(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
        read++;
    assert_true(coap_socket_dropped(fd) > 0);
    assert_int_equal(read + coap_socket_dropped(fd), sent);
    assert_int_equal(coap_socket_dropped(-1), 0);
    close(fd);
    close(sender);
}

static void test_looks_at_a_datagram_and_leaves_it(void **state)
{
    (void)state;
    static const uint8_t con[] = {0x40, 0x45, 0x12, 0x34, 0xff, 'a'}, question[] = {0x40, 1, 0, 1};
    struct sockaddr_in address;
    struct coap_datagram seen, again;
    bool is_refused;
    uint8_t data[8];
    int fd = open_udp(&address), sender = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(connect(sender, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_false(coap_socket_peek(fd, &seen, &is_refused));
    assert_false(coap_socket_peek(-1, &seen, &is_refused));
    assert_int_equal(send(sender, con, sizeof(con), 0), sizeof(con));
    assert_int_equal(send(sender, question, sizeof(question), 0), sizeof(question));
    assert_int_equal(send(sender, con, 3, 0), 3);
    assert_true(coap_socket_peek(fd, &seen, &is_refused) && seen.is_con);
    assert_int_equal(seen.message_id, 0x1234);
    assert_true(coap_socket_peek(fd, &again, &is_refused) && again.hash == seen.hash);
    assert_int_equal(recv(fd, data, sizeof(data), 0), sizeof(con));
    assert_true(coap_socket_peek(fd, &again, &is_refused));
    assert_true(!again.is_con && again.hash != seen.hash && !is_refused);
    assert_int_equal(recv(fd, data, sizeof(data), 0), sizeof(question));
    assert_false(coap_socket_peek(fd, &again, &is_refused));
    close(fd);
    assert_int_equal(send(sender, con, sizeof(con), 0), sizeof(con));
    assert_false(coap_socket_peek(sender, &again, &is_refused));
    assert_true(is_refused);
    close(sender);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_socket_among_what_is_watched),
        cmocka_unit_test(test_another_takes_the_sockets_place),
        cmocka_unit_test(test_what_does_not_fit_is_counted),
        cmocka_unit_test(test_looks_at_a_datagram_and_leaves_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
