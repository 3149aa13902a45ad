#pragma once
/*
 * The socket of a libcoap session, which libcoap keeps to itself: how much it may hold while we are
 * busy, and what was thrown away because that was not enough. Linux; the loop's thread.
 */
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* What the kernel is asked for (it gives at most net.core.rmem_max unless we may force it, and
 * twice that as it counts itself): some 6,500 notifications of 200 bytes, which cost it 1,280 each.
 * By itself it gives 208 KiB, for 166. */
#define COAP_SOCKET_BYTES (4 * 1024 * 1024)

/* The socket that an epoll descriptor watches; -1: none is found. */
int coap_socket_of(int epoll_fd);
/* Puts other in the place of that socket, whose number and watch it gets; the socket itself is the
 * caller's then, as *ret_fd. ERR_UNSUPPORTED: /proc does not tell what is watched. */
enum err coap_socket_exchange(int epoll_fd, int other, int *ret_fd) ERR_MUST_USE;
void coap_socket_enlarge(int fd);
/* The datagram that is read next. */
struct coap_datagram {
    bool is_con; /* a confirmable response */
    uint16_t message_id;
    uint64_t hash;
};
/* false: there is none, or fd is -1. ret_refused: nothing listens at the other side; libcoap does
 * not get to know then. */
bool coap_socket_peek(int fd, struct coap_datagram *ret_datagram, bool *ret_refused);
/* Datagrams that found it full since it was opened. */
uint32_t coap_socket_dropped(int fd);
