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

static void stream_fail(struct stream *stream, int error, const char *doing)
{
    if (stream->failed || stream->closing || stream->finishing)
        return;
    stream->failed = true;
    stream_read_stop(stream);
    uv_timer_stop(&stream->timer);
    char reason[400];
    const char *cause = error == UV_EOF ? "it closed the connection" : uv_strerror(error);
    snprintf(reason, sizeof(reason), "%s %s:%u: %s", doing, stream->options.host,
             stream->options.port, cause);
    stream->ops->on_failed(stream->ctx, err_from_uv(error), reason);
}

/* --- close -------------------------------------------------------------------------------------
 */

static void stream_release(struct stream *stream)
{
    mem_free(stream->data);
    stream->data = NULL;
    stream->size = stream->capacity = 0;
    buf_fini(&stream->sending);
    buf_fini(&stream->queued);
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
    size_t max = stream->options.read_max_bytes;
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
    stream->size += (size_t)size;
    stream->bytes_read += (uint64_t)size;
    if (size > 0)
        data_offer(stream);
}

void stream_read_start(struct stream *stream)
{
    if (!stream->is_open || stream->failed || stream->closing || stream->finishing)
        return;
    if (stream->reading)
        return;
    stream->reading = true;
    int error = uv_read_start((uv_stream_t *)&stream->tcp, on_alloc, on_read);
    if (error != 0) {
        stream_fail(stream, error, "cannot read from");
        return;
    }
    if (stream->size > 0 && !stream->in_data)
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

enum err stream_write(struct stream *stream, struct bytes data)
{
    if (!stream->is_open || stream->failed || stream->closing || stream->finishing)
        return ERR_CLOSED;
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

size_t stream_queued_bytes(const struct stream *stream)
{
    return stream->sending.size + stream->queued.size;
}

/* --- connect -----------------------------------------------------------------------------------
 */

static void connect_next(struct stream *stream);

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
    uv_timer_stop(&stream->timer);
    uv_tcp_nodelay(&stream->tcp, 1);
    stream->is_open = true;
    stream->ops->on_open(stream->ctx);
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
                stream->lookup ? "cannot find the address of" : "cannot connect to");
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
    uv_timer_init(loop, &stream->timer);
    stream->timer.data = stream;
    stream->handles_open = 1;
    uv_timer_start(&stream->timer, on_connect_timeout, options->connect_timeout_ms, 0);
    return ERR_OK;
}
