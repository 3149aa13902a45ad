#pragma once
/*
 * What may lie between a stream and its socket: TLS (tls.h), WebSocket (websocket.h). A layer has
 * no I/O and no clock: bytes from below go in, bytes for above and bytes to answer come out, so a
 * test can drive it without a socket.
 *
 * One thread. A layer is owned by the stream it was given to, and freed with it. Each operation
 * takes all it is given. Errors come with a clause in diag that says what the other side did and
 * what a user can do, fit to follow "cannot connect to host:port: ". Output buffers have their
 * owner's maximum.
 */
#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

struct stream_layer;

struct stream_layer_ops {
    /* What lies below is open: appends the first words. */
    enum err (*begin)(struct stream_layer *layer, struct buf *out, struct diag *diag);
    /* Appends what is for above to plain, and what has to be answered to out. ERR_CLOSED: the other
     * side has ended it in order; what is in plain was before that. On an error, out may still have
     * last words. */
    enum err (*receive)(struct stream_layer *layer, struct bytes in, struct buf *plain,
                        struct buf *out, struct diag *diag);
    /* Only while it is open. */
    enum err (*send)(struct stream_layer *layer, struct bytes plain, struct buf *out,
                     struct diag *diag);
    /* Appends the last words. */
    void (*end)(struct stream_layer *layer, struct buf *out);
    /* What lies below is lost: a clause in diag if this layer knows better why. */
    void (*lost)(const struct stream_layer *layer, struct diag *diag);
    void (*free)(struct stream_layer *layer);
};

struct stream_layer {
    const struct stream_layer_ops *ops;
    bool is_open; /* set by the layer: what lies above may begin */
};

#define STREAM_LAYERS_MAX 2 /* TLS, and WebSocket above it */

/* The layers of one stream, the lowest first. */
struct stream_layers {
    struct stream_layer *layers[STREAM_LAYERS_MAX];
    size_t count;
    struct buf out;  /* for the socket; emptied by the stream */
    struct buf up;   /* between two layers, on the way up */
    struct buf down; /* and on the way down */
    struct buf reply;
};

/* Takes the layers. size_max bounds each buffer. */
void stream_layers_init(struct stream_layers *layers, struct stream_layer *const *take_layers,
                        size_t count, size_t size_max);
void stream_layers_fini(struct stream_layers *layers);
bool stream_layers_open(const struct stream_layers *layers);
/* The socket is open. Like those that follow it leaves in layers->out what has to be sent, also
 * when it fails. */
enum err stream_layers_begin(struct stream_layers *layers, struct diag *diag) ERR_MUST_USE;
enum err stream_layers_receive(struct stream_layers *layers, struct bytes in, struct buf *plain,
                               struct diag *diag) ERR_MUST_USE;
enum err stream_layers_send(struct stream_layers *layers, struct bytes plain,
                            struct diag *diag) ERR_MUST_USE;
void stream_layers_end(struct stream_layers *layers);
/* The socket is lost. */
void stream_layers_lost(const struct stream_layers *layers, struct diag *diag);
