#include "net/websocket_layer.h"

#include "base/alloc.h"
#include "codec/websocket.h"
#include "os/random.h"

#include <stdio.h>

#define CLOSE_NORMAL         1000
#define CLOSE_PROTOCOL_ERROR 1002

struct websocket {
    struct stream_layer layer; /* first */
    char host[256];
    char *path;
    uint16_t port;
    bool is_tls;
    bool has_closed; /* our close frame is out */
    uint8_t key[WEBSOCKET_KEY_BYTES];
    struct buf head; /* the server's answer, until it is whole */
    struct websocket_reader reader;
};

static struct websocket *websocket_of(struct stream_layer *layer)
{
    return (struct websocket *)layer;
}

static enum err frame_add(struct buf *out, enum websocket_opcode opcode, struct bytes payload)
{
    uint8_t mask[WEBSOCKET_MASK_BYTES];
    enum err err = random_fill(mask, sizeof(mask));
    return err == ERR_OK ? websocket_frame(out, opcode, payload, mask) : err;
}

static enum err layer_begin(struct stream_layer *layer, struct buf *out, struct diag *diag)
{
    struct websocket *websocket = websocket_of(layer);
    enum err err = random_fill(websocket->key, sizeof(websocket->key));
    if (err == ERR_OK)
        err = websocket_request(out, websocket->host, websocket->port, websocket->is_tls,
                                websocket->path, websocket->key);
    return err == ERR_OK ? ERR_OK : diag_set(diag, err, "no WebSocket upgrade: %s", err_text(err));
}

/* A close frame's code, reason and what they mean, as a clause. */
static enum err closed(struct bytes payload, struct diag *diag)
{
    char reason[WEBSOCKET_CONTROL_BYTES_MAX + 1];
    if (payload.size < 2)
        return diag_set(diag, ERR_CLOSED, "it closed the WebSocket");
    unsigned code = (unsigned)(payload.data[0] << 8 | payload.data[1]);
    size_t size = payload.size - 2;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = payload.data[i + 2];
        reason[i] = (char)(byte >= ' ' && byte < 0x7f ? byte : '?');
    }
    reason[size] = 0;
    return diag_set(diag, ERR_CLOSED, "it closed the WebSocket with code %u%s%s", code,
                    size > 0 ? ": " : "", reason);
}

static enum err close_say(struct websocket *websocket, struct buf *out, unsigned code)
{
    uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};
    if (websocket->has_closed)
        return ERR_OK;
    websocket->has_closed = true;
    return frame_add(out, WEBSOCKET_CLOSE, bytes_from(payload, sizeof(payload)));
}

static enum err event_take(struct websocket *websocket, const struct websocket_event *event,
                           struct buf *plain, struct buf *out, struct diag *diag)
{
    enum err err;
    switch (event->opcode) {
    case WEBSOCKET_BINARY:
        return buf_append(plain, event->payload.data, event->payload.size);
    case WEBSOCKET_PING:
        return frame_add(out, WEBSOCKET_PONG, event->payload);
    case WEBSOCKET_CLOSE:
        err = close_say(websocket, out, CLOSE_NORMAL);
        return err == ERR_OK ? closed(event->payload, diag) : err;
    default:
        return ERR_OK; /* a pong nobody asked for means nothing (§5.5.3) */
    }
}

static enum err frames_take(struct websocket *websocket, struct bytes in, struct buf *plain,
                            struct buf *out, struct diag *diag)
{
    for (;;) {
        struct websocket_event event;
        enum err err = websocket_read(&websocket->reader, &in, &event, diag);
        if (err == ERR_AGAIN)
            return ERR_OK;
        if (err != ERR_OK) {
            enum err said = close_say(websocket, out, CLOSE_PROTOCOL_ERROR);
            (void)said; /* the connection ends in any case */
            return err;
        }
        err = event_take(websocket, &event, plain, out, diag);
        if (err != ERR_OK)
            return diag_set(diag, err, "%s for what came by WebSocket", err_text(err));
    }
}

/* *in moves behind the answer. */
static enum err answer_take(struct websocket *websocket, struct bytes *in, struct diag *diag)
{
    size_t before = websocket->head.size;
    size_t room = WEBSOCKET_HEAD_BYTES_MAX - before;
    size_t size = 0;
    enum err err = buf_append(&websocket->head, in->data, in->size < room ? in->size : room);
    if (err != ERR_OK)
        return diag_set(diag, err, "%s for the answer to the WebSocket upgrade", err_text(err));
    err = websocket_answer(buf_bytes(&websocket->head), websocket->key, &size, diag);
    if (err == ERR_AGAIN && websocket->head.size == WEBSOCKET_HEAD_BYTES_MAX)
        return diag_set(diag, ERR_TOO_LARGE, "its answer to the WebSocket upgrade has no end");
    if (err == ERR_AGAIN)
        *in = (struct bytes){0};
    if (err != ERR_OK)
        return err;
    /* The line that ends it came with this piece, else it would have been whole before. */
    in->data += size - before;
    in->size -= size - before;
    websocket->layer.is_open = true;
    buf_fini(&websocket->head);
    return ERR_OK;
}

static enum err layer_receive(struct stream_layer *layer, struct bytes in, struct buf *plain,
                              struct buf *out, struct diag *diag)
{
    struct websocket *websocket = websocket_of(layer);
    if (!layer->is_open) {
        enum err err = answer_take(websocket, &in, diag);
        if (err == ERR_AGAIN)
            return ERR_OK;
        if (err != ERR_OK)
            return err;
    }
    return frames_take(websocket, in, plain, out, diag);
}

static enum err layer_send(struct stream_layer *layer, struct bytes plain, struct buf *out,
                           struct diag *diag)
{
    enum err err = ERR_CLOSED;
    if (!websocket_of(layer)->has_closed)
        err = frame_add(out, WEBSOCKET_BINARY, plain);
    return err == ERR_OK ? ERR_OK
                         : diag_set(diag, err, "cannot send by WebSocket: %s", err_text(err));
}

static void layer_end(struct stream_layer *layer, struct buf *out)
{
    if (!layer->is_open)
        return;
    enum err err = close_say(websocket_of(layer), out, CLOSE_NORMAL);
    (void)err; /* what cannot be said is not missed: the socket ends too */
}

static void layer_lost(const struct stream_layer *layer, struct diag *diag)
{
    if (!layer->is_open)
        diag_set(diag, ERR_CLOSED,
                 "it closed the connection during the WebSocket upgrade; is it a WebSocket port?");
}

static void layer_free(struct stream_layer *layer)
{
    struct websocket *websocket = websocket_of(layer);
    buf_fini(&websocket->head);
    mem_free(websocket->path);
    mem_free(websocket);
}

static const struct stream_layer_ops ops = {layer_begin, layer_receive, layer_send,
                                            layer_end,   layer_lost,    layer_free};

enum err websocket_layer_new(const struct websocket_layer_options *options,
                             struct stream_layer **ret_layer)
{
    struct websocket *websocket = mem_zalloc(1, sizeof(*websocket));
    if (!websocket)
        return ERR_NO_MEMORY;
    websocket->layer.ops = &ops;
    websocket->port = options->port;
    websocket->is_tls = options->is_tls;
    snprintf(websocket->host, sizeof(websocket->host), "%s", options->host);
    buf_init(&websocket->head, WEBSOCKET_HEAD_BYTES_MAX);
    websocket->path = mem_strdup(options->path);
    if (!websocket->path) {
        layer_free(&websocket->layer);
        return ERR_NO_MEMORY;
    }
    *ret_layer = &websocket->layer;
    return ERR_OK;
}
