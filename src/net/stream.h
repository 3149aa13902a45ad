#pragma once
/*
 * A byte stream to a host on a libuv loop: name lookup, connect with a timeout, reading into one
 * large buffer, writing, close. Below it is TCP; TLS and WebSocket may lie between
 * (stream_layer.h), which change nothing for the user of a stream: it is open when all of them are.
 *
 * Everything is called, and calls back, on the loop's thread; nothing blocks. The storage is the
 * caller's and must stay valid from stream_open until on_closed. No callback comes after on_closed,
 * and but for on_closed none after stream_close.
 *
 * Reading: on_data gets all that has arrived and was not taken yet, and returns how much of it is
 * done with. The rest stays, moved to the front of the buffer at most once per read, and comes
 * again with what follows; a rest that fills the buffer makes it grow, up to read_max_bytes.
 *
 * Failing: on_failed comes once, with a sentence that names the host and the cause; the owner then
 * calls stream_close. The end of the stream is ERR_CLOSED. What is written is queued up to
 * STREAM_QUEUE_BYTES_MAX, then stream_write fails: the peer does not read.
 */
#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "net/stream_layer.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define STREAM_READ_BYTES      ((size_t)256 * 1024)
#define STREAM_WIRE_BYTES      ((size_t)64 * 1024) /* of one read below layers */
#define STREAM_QUEUE_BYTES_MAX ((size_t)4 * 1024 * 1024)
#define STREAM_ADDRESSES_MAX   8 /* of one name, tried one after the other */

struct stream_options {
    const char *host; /* name or address; borrowed until on_closed */
    uint16_t port;
    uint32_t connect_timeout_ms; /* lookup, all addresses and the layers' beginnings together */
    size_t read_max_bytes;       /* 0: STREAM_READ_BYTES */
    /* Taken when stream_open succeeds: the lowest first. */
    struct stream_layer *layers[STREAM_LAYERS_MAX];
    size_t layer_count;
};

struct stream_ops {
    void (*on_open)(void *ctx);
    size_t (*on_data)(void *ctx, struct bytes data);
    void (*on_failed)(void *ctx, enum err err, const char *reason);
    void (*on_closed)(void *ctx);
};

struct stream_lookup; /* outlives a stream that is closed while the lookup runs */

struct stream {
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_connect_t connect;
    uv_write_t write;
    uv_loop_t *loop;
    struct stream_options options;
    const struct stream_ops *ops;
    void *ctx;
    struct stream_lookup *lookup;
    struct sockaddr_storage addresses[STREAM_ADDRESSES_MAX];
    uint32_t address_count;
    uint32_t address_next;
    int last_error; /* libuv's, of the address tried last */
    uint8_t *data;  /* the read buffer: [0, size) is not taken yet */
    size_t size;
    size_t capacity;
    struct stream_layers layers;
    uint8_t *wire;      /* what is read below the layers */
    struct buf plain;   /* what they made of it */
    struct buf sending; /* being written by libuv */
    struct buf queued;  /* waits for that */
    uint8_t handles_open;
    bool tcp_open;
    bool is_connected; /* TCP is */
    bool is_open;
    bool reading;
    bool in_data; /* on_data is running */
    bool failed;
    bool finishing;
    bool closing;
    uint64_t bytes_read;
    uint64_t bytes_written;
};

/* Begins to connect; the answer is on_open (reading has not begun: stream_read_start) or on_failed.
 * On an error return nothing has begun and no callback comes. */
enum err stream_open(struct stream *stream, uv_loop_t *loop, const struct stream_options *options,
                     const struct stream_ops *ops, void *ctx, struct diag *diag) ERR_MUST_USE;

/* What was left in the buffer comes at once, from within the call. Harmless if already reading. */
void stream_read_start(struct stream *stream);
/* From within on_data too: what that does not take stays for later. */
void stream_read_stop(struct stream *stream);

/* Copies. Goes to the kernel at once if nothing is queued. */
enum err stream_write(struct stream *stream, struct bytes data) ERR_MUST_USE;
/* Bytes not yet taken by the kernel. */
size_t stream_queued_bytes(const struct stream *stream);

/* Closes; on_closed comes later. With finish_ms > 0 what is queued is sent first, and the peer has
 * that long to read it and to close its side, so that no reset overtakes our last words. Without a
 * stream_open before (storage zeroed) it does nothing and returns false: no callback will come. */
bool stream_close(struct stream *stream, uint32_t finish_ms);
