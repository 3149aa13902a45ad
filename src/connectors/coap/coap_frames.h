#pragma once
/*
 * Where a stream of CoAP messages (RFC 8323 §3.2) may be cut: anywhere but in a header.
 */
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define COAP_FRAME_HEADER_BYTES_MAX 6 /* Len and TKL, Extended Length, Code */

/* All zero: before the first message. */
struct coap_frames {
    uint64_t body; /* of the message under way, still to come: token, options, payload */
};

/*
 * How many of the bytes, at most max, go together: *ret_piece, 0 when a header is not whole yet.
 * Moves frames past them. ERR_PROTOCOL: a token length that is reserved (§3.2), so nothing behind
 * it can be found.
 */
enum err coap_frames_cut(struct coap_frames *frames, const uint8_t *bytes, size_t size, size_t max,
                         size_t *ret_piece) ERR_MUST_USE;
