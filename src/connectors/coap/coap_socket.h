#pragma once
/*
 * The socket of a libcoap session, which libcoap keeps to itself: how much it may hold while we are
 * busy, and what was thrown away because that was not enough. Linux; the loop's thread.
 */
#include <stdint.h>

/* What the kernel is asked for (it gives at most net.core.rmem_max unless we may force it, and
 * twice that as it counts itself): some 6,500 notifications of 200 bytes, which cost it 1,280 each.
 * By itself it gives 208 KiB, for 166. */
#define COAP_SOCKET_BYTES (4 * 1024 * 1024)

/* The socket that an epoll descriptor watches; -1: none is found. */
int coap_socket_of(int epoll_fd);
void coap_socket_enlarge(int fd);
/* Datagrams that found it full since it was opened. */
uint32_t coap_socket_dropped(int fd);
