#include "net/stream_layer.h"

void stream_layers_init(struct stream_layers *layers, struct stream_layer *const *take_layers,
                        size_t count, size_t size_max)
{
    *layers = (struct stream_layers){.count = count};
    for (size_t i = 0; i < count; i++)
        layers->layers[i] = take_layers[i];
    buf_init(&layers->out, size_max);
    buf_init(&layers->up, size_max);
    buf_init(&layers->down, size_max);
    buf_init(&layers->reply, size_max);
}

void stream_layers_fini(struct stream_layers *layers)
{
    for (size_t i = 0; i < layers->count; i++)
        layers->layers[i]->ops->free(layers->layers[i]);
    buf_fini(&layers->out);
    buf_fini(&layers->up);
    buf_fini(&layers->down);
    buf_fini(&layers->reply);
    layers->count = 0;
}

bool stream_layers_open(const struct stream_layers *layers)
{
    return layers->count == 0 || layers->layers[layers->count - 1]->is_open;
}

/* data goes down through the layers below level, and out. */
static enum err send_below(struct stream_layers *layers, size_t level, struct bytes data,
                           struct diag *diag)
{
    if (data.size == 0)
        return ERR_OK;
    if (level == 0)
        return buf_append(&layers->out, data.data, data.size);
    for (enum err err; level > 0; level--) {
        struct buf *to = level == 1 ? &layers->out : &layers->down;
        if (level > 1)
            buf_clear(to);
        struct stream_layer *layer = layers->layers[level - 1];
        err = layer->ops->send(layer, data, to, diag);
        if (err != ERR_OK)
            return err;
        data = buf_bytes(to);
    }
    return ERR_OK;
}

static enum err layer_begin(struct stream_layers *layers, size_t level, struct diag *diag)
{
    struct stream_layer *layer = layers->layers[level];
    buf_clear(&layers->reply);
    enum err err = layer->ops->begin(layer, &layers->reply, diag);
    return err == ERR_OK ? send_below(layers, level, buf_bytes(&layers->reply), diag) : err;
}

enum err stream_layers_begin(struct stream_layers *layers, struct diag *diag)
{
    return layers->count > 0 ? layer_begin(layers, 0, diag) : ERR_OK;
}

static enum err layer_receive(struct stream_layers *layers, size_t level, struct bytes in,
                              struct buf *to, struct diag *diag)
{
    struct stream_layer *layer = layers->layers[level];
    bool was_open = layer->is_open;
    buf_clear(&layers->reply);
    enum err err = layer->ops->receive(layer, in, to, &layers->reply, diag);
    enum err sent = send_below(layers, level, buf_bytes(&layers->reply), diag);
    if (err == ERR_OK)
        err = sent;
    if (err == ERR_OK && !was_open && layer->is_open && level + 1 < layers->count)
        err = layer_begin(layers, level + 1, diag);
    return err;
}

enum err stream_layers_receive(struct stream_layers *layers, struct bytes in, struct buf *plain,
                               struct diag *diag)
{
    enum err err = ERR_OK;
    for (size_t level = 0; level < layers->count && in.size > 0; level++) {
        struct buf *to = level + 1 == layers->count ? plain : &layers->up;
        buf_clear(to);
        enum err failed = layer_receive(layers, level, in, to, diag);
        if (err == ERR_OK)
            err = failed;
        in = buf_bytes(to); /* what came before the failure goes up all the same */
    }
    return err;
}

enum err stream_layers_send(struct stream_layers *layers, struct bytes plain, struct diag *diag)
{
    return send_below(layers, layers->count, plain, diag);
}

void stream_layers_end(struct stream_layers *layers)
{
    struct diag unused = {0};
    for (size_t level = layers->count; level > 0; level--) {
        struct stream_layer *layer = layers->layers[level - 1];
        buf_clear(&layers->reply);
        layer->ops->end(layer, &layers->reply);
        /* What cannot be said is not missed: the socket ends too. */
        if (send_below(layers, level - 1, buf_bytes(&layers->reply), &unused) != ERR_OK)
            return;
    }
}

void stream_layers_lost(const struct stream_layers *layers, struct diag *diag)
{
    for (size_t level = 0; level < layers->count && !diag->text[0]; level++)
        layers->layers[level]->ops->lost(layers->layers[level], diag);
}
