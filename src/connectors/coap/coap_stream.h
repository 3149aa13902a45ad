#pragma once
/*
 * Between libcoap and a TCP connection. libcoap 4.3.1 loses its place in the stream when a read
 * ends within a message's header, and with it all that comes until the lengths happen to fit again.
 * So its socket becomes one end of a SOCK_SEQPACKET pair, of which a read gives one packet, and
 * what the connection brings is handed over in packets that end elsewhere (coap_frames.h).
 *
 * Bounds: 16 KiB here, and what the pair's socket holds; while libcoap does not read, neither is
 * the connection read. The loop's thread only; nothing blocks.
 */
#include "base/err.h"

#include <uv.h>

struct coap_stream;

/* The socket that epoll_fd watches is connected, and nothing has been read of it. Of an error
 * nothing remains. */
enum err coap_stream_open(uv_loop_t *loop, int epoll_fd,
                          struct coap_stream **ret_stream) ERR_MUST_USE;
/* After libcoap has closed its socket. Sends what libcoap has sent, as far as that does not block.
 * NULL: nothing to do. */
void coap_stream_close(struct coap_stream *stream);
/* Why the stream was ended by this side; NULL: it was not. */
const char *coap_stream_complaint(const struct coap_stream *stream);
