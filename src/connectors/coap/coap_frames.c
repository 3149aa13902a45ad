#include "connectors/coap/coap_frames.h"

#define TOKEN_BYTES_MAX 8

/* The bytes of the Extended Length, and what is added to it, by the Len from 13 on. */
static const struct {
    uint8_t bytes;
    uint32_t offset;
} extended[] = {{1, 13}, {2, 269}, {4, 65805}};

static size_t extended_bytes(uint8_t first)
{
    unsigned length = first >> 4;
    return length < 13 ? 0 : extended[length - 13].bytes;
}

/* The header is whole. */
static uint64_t body_bytes(const uint8_t *header)
{
    unsigned length = header[0] >> 4;
    uint64_t value = 0;
    for (size_t i = 0; i < extended_bytes(header[0]); i++)
        value = value << 8 | header[1 + i];
    return (length < 13 ? length : value + extended[length - 13].offset) + (header[0] & 15u);
}

enum err coap_frames_cut(struct coap_frames *frames, const uint8_t *bytes, size_t size, size_t max,
                         size_t *ret_piece)
{
    size_t end = size < max ? size : max;
    size_t at = 0;
    *ret_piece = 0;
    while (at < end) {
        if (frames->body == 0) {
            size_t header = 2 + extended_bytes(bytes[at]);
            if ((bytes[at] & 15) > TOKEN_BYTES_MAX)
                return ERR_PROTOCOL;
            if (end - at < header)
                break;
            frames->body = body_bytes(bytes + at);
            at += header;
        }
        size_t some = frames->body < end - at ? (size_t)frames->body : end - at;
        frames->body -= some;
        at += some;
    }
    *ret_piece = at;
    return ERR_OK;
}
