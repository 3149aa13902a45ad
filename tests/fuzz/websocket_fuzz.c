/*
 * WebSocket from a hostile server. The first byte picks the size of the pieces; the rest is an
 * answer to the upgrade, and frames. Read whole and in pieces, both must give the same: bytes,
 * control frames, and the same end.
 */
#include "codec/websocket.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good)
        abort();
}

/* What came, control frames with their opcode and size before them. */
static enum err read_all(struct bytes in, size_t step, struct buf *plain, struct buf *controls)
{
    struct websocket_reader reader = {0};
    for (size_t at = 0; at < in.size; at += step) {
        struct bytes piece = {in.data + at, in.size - at < step ? in.size - at : step};
        for (;;) {
            struct websocket_event event;
            struct diag diag = {0};
            enum err err = websocket_read(&reader, &piece, &event, &diag);
            if (err == ERR_AGAIN)
                break;
            check((err == ERR_OK) == (diag.text[0] == 0));
            if (err != ERR_OK)
                return err;
            if (event.opcode == WEBSOCKET_BINARY) {
                check(event.payload.size > 0);
                buf_append(plain, event.payload.data, event.payload.size);
                continue;
            }
            check(event.payload.size <= WEBSOCKET_CONTROL_BYTES_MAX);
            buf_byte(controls, (uint8_t)event.opcode);
            buf_byte(controls, (uint8_t)event.payload.size);
            buf_append(controls, event.payload.data, event.payload.size);
        }
        check(piece.size == 0);
    }
    return ERR_OK;
}

static void frames(struct bytes in, size_t step)
{
    struct buf bufs[4];
    for (int i = 0; i < 4; i++)
        buf_init(&bufs[i], (size_t)1 << 24);
    check(read_all(in, in.size + 1, &bufs[0], &bufs[1]) == read_all(in, step, &bufs[2], &bufs[3]));
    check(bytes_equal(buf_bytes(&bufs[0]), buf_bytes(&bufs[2])));
    check(bytes_equal(buf_bytes(&bufs[1]), buf_bytes(&bufs[3])));
    for (int i = 0; i < 4; i++)
        buf_fini(&bufs[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t key[WEBSOCKET_KEY_BYTES] = "0123456789abcdef";
    if (size < 2)
        return 0;
    struct bytes in = {data + 1, size - 1};
    struct diag diag = {0};
    size_t head_size = 0;
    enum err err = websocket_answer(in, key, &head_size, &diag);
    check(err == ERR_OK || err == ERR_AGAIN || diag.text[0]);
    check(err != ERR_OK || (head_size > 0 && head_size <= in.size));
    frames(in, data[0] + 1u);
    return 0;
}
