#pragma once
/*
 * WebSocket (RFC 6455), a client's side, as a layer of a stream: the upgrade with subprotocol
 * "mqtt", then every send is one binary frame, and what comes in data frames goes up. Pings are
 * answered, a close frame ends the stream with the other side's words. One thread; no I/O but the
 * kernel's random bytes for keys and masks.
 */
#include "net/stream_layer.h"

#include <stdint.h>

struct websocket_layer_options {
    const char *host; /* of the Host header; all are copied */
    uint16_t port;
    bool is_tls;      /* TLS lies below: only decides whether the port is the default one */
    const char *path; /* "/mqtt", with a query if there is one */
};

enum err websocket_layer_new(const struct websocket_layer_options *options,
                             struct stream_layer **ret_layer) ERR_MUST_USE;
