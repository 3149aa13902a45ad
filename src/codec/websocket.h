#pragma once
/*
 * WebSocket (RFC 6455), a client's side, bytes and structures only: the upgrade's request and
 * answer, frames as they come in pieces, frames to send. Pure; any thread.
 *
 * Payload streams through: a frame may be as long as the protocol allows and is never held. What is
 * held is a control frame's payload (at most 125 bytes) and a header (at most 14).
 */
#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define WEBSOCKET_KEY_BYTES         16
#define WEBSOCKET_MASK_BYTES        4
#define WEBSOCKET_CONTROL_BYTES_MAX 125
#define WEBSOCKET_HEAD_BYTES_MAX    ((size_t)16 * 1024) /* of the server's answer */

/* --- the upgrade -------------------------------------------------------------------------------
 */

/* Appends the request, with subprotocol "mqtt". key: fresh random bytes. */
enum err websocket_request(struct buf *out, const char *host, uint16_t port, bool is_tls,
                           const char *path, const uint8_t key[WEBSOCKET_KEY_BYTES]) ERR_MUST_USE;

/* Reads the answer's head. *ret_size: its length with the empty line. ERR_AGAIN: not all of it is
 * there; otherwise errors come with a clause in diag: ERR_PROTOCOL when it is no HTTP or breaks the
 * rules, ERR_AUTH, ERR_REFUSED, ERR_BUSY by the status. */
enum err websocket_answer(struct bytes in, const uint8_t key[WEBSOCKET_KEY_BYTES], size_t *ret_size,
                          struct diag *diag) ERR_MUST_USE;

/* --- frames ------------------------------------------------------------------------------------
 */

enum websocket_opcode {
    WEBSOCKET_CONTINUATION = 0,
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_BINARY = 2,
    WEBSOCKET_CLOSE = 8,
    WEBSOCKET_PING = 9,
    WEBSOCKET_PONG = 10,
};

/* Appends one whole frame, masked as a client must. */
enum err websocket_frame(struct buf *out, enum websocket_opcode opcode, struct bytes payload,
                         const uint8_t mask[WEBSOCKET_MASK_BYTES]) ERR_MUST_USE;

/* A server's frames, in pieces of any size. Zero-initialise. */
struct websocket_reader {
    uint8_t header[14];
    uint8_t header_size;
    uint8_t control[WEBSOCKET_CONTROL_BYTES_MAX];
    uint8_t control_size;
    bool in_payload;
    bool in_message; /* a data message has begun and is not final yet */
    bool is_closed;  /* a close frame came: nothing after it counts */
    uint8_t opcode;  /* of the frame at hand */
    bool is_final;
    uint64_t left; /* of its payload */
};

/* What a piece was. */
struct websocket_event {
    enum websocket_opcode opcode; /* BINARY, or a control frame, which is whole */
    struct bytes payload;         /* in the input, or in the reader until the next call */
};

/* Takes from the front of *in, which moves on. ERR_OK: *ret_event is the next piece; ERR_AGAIN: all
 * of *in was taken; ERR_PROTOCOL: not what a server may send, with a clause in diag. */
enum err websocket_read(struct websocket_reader *reader, struct bytes *in,
                        struct websocket_event *ret_event, struct diag *diag) ERR_MUST_USE;
