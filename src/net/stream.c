#include "net/stream.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <stdio.h>
#include <sys/socket.h>

struct stream_lookup {
    uv_getaddrinfo_t request;
    struct stream *stream; /* NULL: nobody waits any more */
};

static enum err err_from_uv(int error)
{
    switch (error) {
    case UV_ENOMEM:
    case UV_EAI_MEMORY:
        return ERR_NO_MEMORY;
    case UV_ETIMEDOUT:
        return ERR_TIMEOUT;
    case UV_EOF:
    case UV_ECONNRESET:
    case UV_EPIPE:
        return ERR_CLOSED;
    default:
        return ERR_NETWORK; /* a wrong name or a closed port may be right in a minute */
    }
}

static void fail_because(struct stream *stream, enum err err, const char *doing, const char *cause)
{
    if (stream->failed || stream->closing || stream->finishing)
        return;
    stream->failed = true;
    stream_read_stop(stream);
    uv_timer_stop(&stream->timer);
    char reason[800];
    snprintf(reason, sizeof(reason), "%s %s:%u: %s", doing, stream->options.host,
             stream->options.port, cause);
    stream->ops->on_failed(stream->ctx, err, reason);
}

static void stream_fail(struct stream *stream, int error, const char *doing)
{
    struct diag diag = {0};
    enum err err = err_from_uv(error);
    if (stream->is_connected && err == ERR_CLOSED)
        stream_layers_lost(&stream->layers, &diag);
    if (diag.text[0] == 0)
        diag_set(&diag, err, "%s",
                 error == UV_EOF ? "it closed the connection" : uv_strerror(error));
    fail_because(stream, err, doing, diag.text);
}

/* A layer has failed, and has said why. */
static void layers_fail(struct stream *stream, enum err err, const struct diag *diag)
{
    fail_because(stream, err,
                 !stream->is_open    ? "cannot connect to"
                 : err == ERR_CLOSED ? "lost the connection to"
                                     : "cannot go on with",
                 diag->text[0] ? diag->text : err_text(err));
}

/* --- close -------------------------------------------------------------------------------------
 */

static void stream_release(struct stream *stream)
{
    mem_free(stream->data);
    mem_free(stream->wire);
    stream->data = stream->wire = NULL;
    stream->size = stream->capacity = 0;
    buf_fini(&stream->sending);
    buf_fini(&stream->queued);
    buf_fini(&stream->plain);
    stream_layers_fini(&stream->layers);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct stream *stream = handle->data;
    if (--stream->handles_open > 0)
        return;
    stream_release(stream);
    stream->loop = NULL;
    stream->ops->on_closed(stream->ctx);
}

static void close_now(struct stream *stream)
{
    if (stream->closing)
        return;
    stream->closing = true;
    if (stream->lookup) {
        stream->lookup->stream = NULL;
        uv_cancel((uv_req_t *)&stream->lookup->request);
        stream->lookup = NULL;
    }
    if (stream->tcp_open)
        uv_close((uv_handle_t *)&stream->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&stream->timer, on_handle_closed);
}

static void on_finish_timeout(uv_timer_t *timer)
{
    close_now(timer->data);
}

static void on_read(uv_stream_t *handle, ssize_t size, const uv_buf_t *unused);
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf);
static enum err layers_flush(struct stream *stream);

/* Half-closes, once all was sent. */
static void finish_if_sent(struct stream *stream)
{
    uv_os_fd_t fd;
    if (stream->sending.size == 0 && uv_fileno((uv_handle_t *)&stream->tcp, &fd) == 0)
        shutdown(fd, SHUT_WR);
}

bool stream_close(struct stream *stream, uint32_t finish_ms)
{
    if (!stream->loop)
        return false;
    if (stream->closing || stream->finishing)
        return true;
    if (finish_ms == 0 || !stream->is_open || stream->failed) {
        close_now(stream);
        return true;
    }
    stream_read_stop(stream);
    stream_layers_end(&stream->layers);
    if (layers_flush(stream) != ERR_OK) {
        close_now(stream);
        return true;
    }
    stream->finishing = true;
    stream->size = 0;
    finish_if_sent(stream);
    if (uv_read_start((uv_stream_t *)&stream->tcp, on_alloc, on_read) != 0 ||
        uv_timer_start(&stream->timer, on_finish_timeout, finish_ms, 0) != 0)
        close_now(stream);
    return true;
}

/* --- read --------------------------------------------------------------------------------------
 */

static bool read_buffer_grow(struct stream *stream)
{
    /* Layers give what a read brought at once, above whatever was left. */
    size_t max =
        stream->options.read_max_bytes + (stream->layers.count > 0 ? STREAM_READ_BYTES : 0);
    size_t capacity = stream->capacity == 0 ? STREAM_READ_BYTES : stream->capacity * 2;
    if (capacity > max)
        capacity = max;
    if (capacity <= stream->capacity)
        return false;
    uint8_t *data = mem_realloc(stream->data, capacity);
    if (!data)
        return false;
    stream->data = data;
    stream->capacity = capacity;
    return true;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    (void)suggested;
    struct stream *stream = handle->data;
    if (stream->layers.count > 0) {
        if (!stream->wire)
            stream->wire = mem_alloc(STREAM_WIRE_BYTES);
        bool has_room = stream->wire && stream->size < stream->options.read_max_bytes;
        *ret_buf = uv_buf_init((char *)stream->wire, has_room ? STREAM_WIRE_BYTES : 0);
        return;
    }
    if (stream->size == stream->capacity && !read_buffer_grow(stream)) {
        *ret_buf = uv_buf_init(NULL, 0); /* on_read gets UV_ENOBUFS */
        return;
    }
    size_t room = stream->capacity - stream->size;
    ret_buf->base = (char *)stream->data + stream->size;
    ret_buf->len = room;
}

static void data_offer(struct stream *stream)
{
    stream->in_data = true;
    size_t taken = stream->ops->on_data(stream->ctx, bytes_from(stream->data, stream->size));
    stream->in_data = false;
    if (stream->closing || stream->finishing)
        return;
    if (taken > 0 && taken < stream->size)
        memmove(stream->data, stream->data + taken, stream->size - taken);
    stream->size -= taken;
}

static bool plain_keep(struct stream *stream)
{
    size_t size = stream->plain.size;
    while (stream->capacity - stream->size < size)
        if (!read_buffer_grow(stream))
            return false;
    if (size > 0)
        memcpy(stream->data + stream->size, stream->plain.data, size);
    stream->size += size;
    return true;
}

static void stream_opened(struct stream *stream);

/* What was read goes up through the layers, their answers go out. */
static void layers_take(struct stream *stream, size_t size)
{
    struct diag diag = {0};
    buf_clear(&stream->plain);
    enum err err = stream_layers_receive(&stream->layers, bytes_from(stream->wire, size),
                                         &stream->plain, &diag);
    enum err flushed = layers_flush(stream);
    if (err == ERR_OK)
        err = flushed;
    if (!plain_keep(stream) && err == ERR_OK)
        err = ERR_NO_MEMORY;
    bool opened = err == ERR_OK && !stream->is_open && stream_layers_open(&stream->layers);
    if (opened)
        stream_opened(stream);
    else if (stream->is_open && stream->plain.size > 0)
        data_offer(stream);
    if (err != ERR_OK)
        layers_fail(stream, err, &diag);
}

static void on_read(uv_stream_t *handle, ssize_t size, const uv_buf_t *unused)
{
    (void)unused;
    struct stream *stream = handle->data;
    if (stream->finishing) {
        if (size < 0)
            close_now(stream);
        return;
    }
    if (size < 0) {
        stream_fail(stream, size == UV_ENOBUFS ? UV_ENOMEM : (int)size, "lost the connection to");
        return;
    }
    stream->bytes_read += (uint64_t)size;
    if (stream->layers.count > 0) {
        layers_take(stream, (size_t)size);
        return;
    }
    stream->size += (size_t)size;
    if (size > 0)
        data_offer(stream);
}

static void read_begin(struct stream *stream)
{
    if (stream->reading)
        return;
    stream->reading = true;
    int error = uv_read_start((uv_stream_t *)&stream->tcp, on_alloc, on_read);
    if (error != 0)
        stream_fail(stream, error, "cannot read from");
}

void stream_read_start(struct stream *stream)
{
    if (!stream->is_open || stream->failed || stream->closing || stream->finishing ||
        stream->reading)
        return;
    read_begin(stream);
    if (!stream->failed && stream->size > 0 && !stream->in_data)
        data_offer(stream);
}

void stream_read_stop(struct stream *stream)
{
    if (!stream->reading)
        return;
    stream->reading = false;
    uv_read_stop((uv_stream_t *)&stream->tcp);
}

/* --- write -------------------------------------------------------------------------------------
 */

static void on_written(uv_write_t *request, int status);

static enum err send_queued(struct stream *stream)
{
    struct buf sent = stream->sending;
    stream->sending = stream->queued;
    stream->queued = sent;
    buf_clear(&stream->queued);
    uv_buf_t part = uv_buf_init((char *)stream->sending.data, (unsigned)stream->sending.size);
    int error = uv_write(&stream->write, (uv_stream_t *)&stream->tcp, &part, 1, on_written);
    return error == 0 ? ERR_OK : err_from_uv(error);
}

static void on_written(uv_write_t *request, int status)
{
    struct stream *stream = request->data;
    stream->bytes_written += status == 0 ? stream->sending.size : 0;
    buf_clear(&stream->sending);
    if (stream->closing)
        return;
    if (status == 0 && stream->queued.size > 0 && send_queued(stream) != ERR_OK)
        status = UV_ENOMEM;
    if (status != 0)
        stream_fail(stream, status, "cannot write to");
    if (stream->finishing && status != 0)
        close_now(stream);
    else if (stream->finishing)
        finish_if_sent(stream);
}

static enum err write_wire(struct stream *stream, struct bytes data)
{
    if (stream->sending.size == 0) {
        uv_buf_t part = {.base = (char *)(uintptr_t)data.data, .len = data.size};
        int written = uv_try_write((uv_stream_t *)&stream->tcp, &part, 1);
        if (written < 0 && written != UV_EAGAIN)
            return err_from_uv(written);
        size_t done = written > 0 ? (size_t)written : 0;
        stream->bytes_written += done;
        data.data += done;
        data.size -= done;
    }
    if (data.size == 0)
        return ERR_OK;
    enum err err = buf_append(&stream->queued, data.data, data.size);
    if (err == ERR_OK && stream->sending.size == 0)
        err = send_queued(stream);
    return err;
}

/* Sends what the layers have to say. */
static enum err layers_flush(struct stream *stream)
{
    struct buf *out = &stream->layers.out;
    enum err err = out->err;
    if (err == ERR_OK && out->size > 0)
        err = write_wire(stream, buf_bytes(out));
    buf_clear(out);
    return err;
}

enum err stream_write(struct stream *stream, struct bytes data)
{
    if (!stream->is_open || stream->failed || stream->closing || stream->finishing)
        return ERR_CLOSED;
    if (stream->layers.count == 0)
        return write_wire(stream, data);
    struct diag unused = {0};
    enum err err = stream_layers_send(&stream->layers, data, &unused);
    return err == ERR_OK ? layers_flush(stream) : err;
}

size_t stream_queued_bytes(const struct stream *stream)
{
    return stream->sending.size + stream->queued.size;
}

/* --- connect -----------------------------------------------------------------------------------
 */

static void connect_next(struct stream *stream);

static void stream_opened(struct stream *stream)
{
    uv_timer_stop(&stream->timer);
    stream_read_stop(stream);
    stream->is_open = true;
    stream->ops->on_open(stream->ctx);
}

static void layers_begin(struct stream *stream)
{
    struct diag diag = {0};
    enum err err = stream_layers_begin(&stream->layers, &diag);
    enum err flushed = layers_flush(stream);
    if (err == ERR_OK)
        err = flushed;
    if (err == ERR_OK)
        read_begin(stream);
    else
        layers_fail(stream, err, &diag);
}

static void on_connect(uv_connect_t *request, int status)
{
    struct stream *stream = request->data;
    if (stream->closing || stream->failed)
        return;
    if (status != 0) {
        stream->last_error = status;
        connect_next(stream);
        return;
    }
    uv_tcp_nodelay(&stream->tcp, 1);
    stream->is_connected = true;
    if (stream->layers.count == 0)
        stream_opened(stream);
    else
        layers_begin(stream);
}

static void on_retry_closed(uv_handle_t *handle)
{
    struct stream *stream = handle->data;
    if (stream->closing) {
        on_handle_closed(handle);
        return;
    }
    stream->handles_open--;
    connect_next(stream);
}

/* A socket is good for one attempt: the one before is closed first. */
static void connect_next(struct stream *stream)
{
    if (stream->tcp_open) {
        stream->tcp_open = false;
        uv_close((uv_handle_t *)&stream->tcp, on_retry_closed);
        return;
    }
    if (stream->failed)
        return;
    if (stream->address_next == stream->address_count) {
        stream_fail(stream, stream->last_error, "cannot connect to");
        return;
    }
    const struct sockaddr *address =
        (const struct sockaddr *)&stream->addresses[stream->address_next++];
    int error = uv_tcp_init(stream->loop, &stream->tcp);
    if (error == 0) {
        stream->tcp.data = stream;
        stream->tcp_open = true;
        stream->handles_open++;
        error = uv_tcp_connect(&stream->connect, &stream->tcp, address, on_connect);
    }
    if (error != 0) {
        stream->last_error = error;
        connect_next(stream);
    }
}

static void addresses_take(struct stream *stream, const struct addrinfo *found)
{
    for (; found && stream->address_count < STREAM_ADDRESSES_MAX; found = found->ai_next)
        if (found->ai_addrlen <= sizeof(stream->addresses[0]))
            memcpy(&stream->addresses[stream->address_count++], found->ai_addr, found->ai_addrlen);
}

static void on_lookup(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct stream_lookup *lookup = request->data;
    struct stream *stream = lookup->stream;
    mem_free(lookup);
    if (stream) {
        stream->lookup = NULL;
        if (status != 0)
            stream_fail(stream, status, "cannot find the address of");
        else
            addresses_take(stream, found);
        if (status == 0 && !stream->failed) {
            stream->last_error = UV_EADDRNOTAVAIL;
            connect_next(stream);
        }
    }
    uv_freeaddrinfo(found);
}

static int lookup_begin(struct stream *stream)
{
    char port[8];
    snprintf(port, sizeof(port), "%u", stream->options.port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct stream_lookup *lookup = mem_zalloc(1, sizeof(*lookup));
    if (!lookup)
        return UV_ENOMEM;
    lookup->stream = stream;
    lookup->request.data = lookup;
    int error = uv_getaddrinfo(stream->loop, &lookup->request, on_lookup, stream->options.host,
                               port, &hints);
    if (error == 0)
        stream->lookup = lookup;
    else
        mem_free(lookup);
    return error;
}

static void on_connect_timeout(uv_timer_t *timer)
{
    struct stream *stream = timer->data;
    stream_fail(stream, UV_ETIMEDOUT,
                stream->lookup         ? "cannot find the address of"
                : stream->is_connected ? "no end of the TLS or WebSocket handshake with"
                                       : "cannot connect to");
}

enum err stream_open(struct stream *stream, uv_loop_t *loop, const struct stream_options *options,
                     const struct stream_ops *ops, void *ctx, struct diag *diag)
{
    *stream = (struct stream){.options = *options, .ops = ops, .ctx = ctx};
    if (stream->options.read_max_bytes < STREAM_READ_BYTES)
        stream->options.read_max_bytes = STREAM_READ_BYTES;
    buf_init(&stream->sending, STREAM_QUEUE_BYTES_MAX);
    buf_init(&stream->queued, STREAM_QUEUE_BYTES_MAX);
    stream->loop = loop;
    stream->connect.data = stream;
    stream->write.data = stream;
    int error = lookup_begin(stream);
    if (error != 0) {
        stream->loop = NULL;
        return diag_set(diag, err_from_uv(error), "cannot look up %s: %s", options->host,
                        uv_strerror(error));
    }
    buf_init(&stream->plain, STREAM_READ_BYTES);
    stream_layers_init(&stream->layers, options->layers, options->layer_count,
                       STREAM_QUEUE_BYTES_MAX);
    uv_timer_init(loop, &stream->timer);
    stream->timer.data = stream;
    stream->handles_open = 1;
    uv_timer_start(&stream->timer, on_connect_timeout, options->connect_timeout_ms, 0);
    return ERR_OK;
}
