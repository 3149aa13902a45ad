#include "connectors/coap/coap_stream.h"

#include "base/alloc.h"
#include "connectors/coap/coap_frames.h"
#include "connectors/coap/coap_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES  16384
#define READS_MAX   16   /* in a row before others have their turn */
#define PIECE_BYTES 1472 /* libcoap's buffer: of a longer packet it would lose the rest */
#define SENT_BYTES  8192 /* libcoap sends questions (1152), settings, pings and their answers */

/* One of two sockets. */
struct end {
    uv_poll_t poll;
    int fd;
    bool is_over; /* no more comes from there */
};

struct coap_stream {
    struct end server;
    struct end library;
    struct coap_frames frames;
    const char *complaint;
    bool is_full; /* the library has to read first */
    unsigned open_handles;
    size_t in_size;
    size_t out_at;
    size_t out_size;
    uint8_t in[READ_BYTES];
    uint8_t out[SENT_BYTES];
};

static bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ENOBUFS;
}

/* --- from the server -------------------------------------------------------------------------- */

static void end_library(struct coap_stream *stream)
{
    if (!stream->library.is_over)
        (void)shutdown(stream->library.fd, SHUT_WR); /* read after what is on its way */
    stream->server.is_over = true;
    stream->in_size = 0;
}

/* All that is there, but for a header's beginning. */
static void hand_over(struct coap_stream *stream)
{
    size_t at = 0;
    stream->is_full = false;
    while (at < stream->in_size) {
        struct coap_frames next = stream->frames;
        size_t piece;
        if (coap_frames_cut(&next, stream->in + at, stream->in_size - at, PIECE_BYTES, &piece) !=
            ERR_OK) {
            stream->complaint = "it sent a token length that RFC 8323 reserves";
            end_library(stream);
            return;
        }
        if (piece == 0)
            break;
        if (send(stream->library.fd, stream->in + at, piece, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            stream->is_full = would_block();
            if (stream->is_full)
                break;
            end_library(stream); /* libcoap has closed it */
            return;
        }
        stream->frames = next;
        at += piece;
    }
    memmove(stream->in, stream->in + at, stream->in_size - at);
    stream->in_size -= at;
}

static void pass_in(struct coap_stream *stream)
{
    for (int reads = 0; reads < READS_MAX && !stream->server.is_over; reads++) {
        hand_over(stream);
        if (stream->is_full || stream->server.is_over)
            return;
        ssize_t size = recv(stream->server.fd, stream->in + stream->in_size,
                            sizeof(stream->in) - stream->in_size, MSG_DONTWAIT);
        if (size > 0)
            stream->in_size += (size_t)size;
        else if (size < 0 && would_block())
            return;
        else
            end_library(stream);
    }
    if (!stream->server.is_over)
        hand_over(stream);
}

/* --- from the library ------------------------------------------------------------------------- */

static void pass_out(struct coap_stream *stream)
{
    while (stream->out_at < stream->out_size || !stream->library.is_over) {
        if (stream->out_at == stream->out_size) {
            ssize_t size = recv(stream->library.fd, stream->out, sizeof(stream->out), MSG_DONTWAIT);
            if (size < 0 && would_block())
                return;
            stream->library.is_over = size <= 0;
            stream->out_at = 0;
            stream->out_size = size > 0 ? (size_t)size : 0;
        } else {
            ssize_t size = send(stream->server.fd, stream->out + stream->out_at,
                                stream->out_size - stream->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (size < 0 && would_block())
                return;
            if (size < 0) /* the connection is lost, as its other direction says */
                stream->out_at = stream->out_size;
            else
                stream->out_at += (size_t)size;
        }
    }
}

/* --- the loop --------------------------------------------------------------------------------- */

static void on_event(uv_poll_t *poll, int status, int events);

static void watch(struct end *end, bool reads, bool writes)
{
    int events = (reads ? UV_READABLE : 0) | (writes ? UV_WRITABLE : 0);
    if (events)
        (void)uv_poll_start(&end->poll, events, on_event);
    else
        (void)uv_poll_stop(&end->poll);
}

static void watch_both(struct coap_stream *stream)
{
    bool is_sending = stream->out_at < stream->out_size;
    watch(&stream->server, !stream->server.is_over && !stream->is_full, is_sending);
    watch(&stream->library, !stream->library.is_over && !is_sending,
          stream->is_full && !stream->server.is_over);
}

/* An error of the socket is what reading it says. */
static void on_event(uv_poll_t *poll, int status, int events)
{
    struct coap_stream *stream = poll->data;
    (void)status;
    (void)events;
    pass_out(stream);
    pass_in(stream);
    watch_both(stream);
}

static void on_closed(uv_handle_t *handle)
{
    struct coap_stream *stream = handle->data;
    if (--stream->open_handles == 0)
        mem_free(stream);
}

static void end_close(struct end *end)
{
    uv_close((uv_handle_t *)&end->poll, on_closed);
    (void)close(end->fd);
}

void coap_stream_close(struct coap_stream *stream)
{
    if (!stream)
        return;
    pass_out(stream);
    end_close(&stream->server);
    end_close(&stream->library);
}

const char *coap_stream_complaint(const struct coap_stream *stream)
{
    return stream ? stream->complaint : NULL;
}

/* --- opening ---------------------------------------------------------------------------------- */

static enum err end_open(struct coap_stream *stream, struct end *end, uv_loop_t *loop, int fd)
{
    if (uv_poll_init(loop, &end->poll, fd) != 0)
        return ERR_IO;
    end->poll.data = stream;
    end->fd = fd;
    stream->open_handles++;
    return ERR_OK;
}

/* Owns the two descriptors if it succeeds. */
static enum err open_with(uv_loop_t *loop, int server, int library, struct coap_stream **ret_stream)
{
    struct coap_stream *stream = mem_zalloc(1, sizeof(*stream));
    if (!stream)
        return ERR_NO_MEMORY;
    if (end_open(stream, &stream->server, loop, server) != ERR_OK) {
        mem_free(stream);
        return ERR_IO;
    }
    if (end_open(stream, &stream->library, loop, library) != ERR_OK) {
        uv_close((uv_handle_t *)&stream->server.poll, on_closed);
        return ERR_IO;
    }
    watch_both(stream);
    *ret_stream = stream;
    return ERR_OK;
}

enum err coap_stream_open(uv_loop_t *loop, int epoll_fd, struct coap_stream **ret_stream)
{
    int pair[2], server = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        return err_from_errno(errno);
    enum err err = coap_socket_exchange(epoll_fd, pair[0], &server);
    (void)close(pair[0]); /* libcoap's descriptor stands for it now */
    if (err == ERR_OK)
        err = open_with(loop, server, pair[1], ret_stream);
    if (err == ERR_OK)
        return ERR_OK;
    if (server >= 0)
        (void)close(server);
    (void)close(pair[1]);
    return err;
}
