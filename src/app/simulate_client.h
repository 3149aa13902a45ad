#pragma once
/*
 * A publisher for `ingestor simulate`: one MQTT connection that keeps a window of QoS 1 messages in
 * flight, sends them in batches, reconnects by itself and sends again what was not acknowledged.
 *
 * One libuv loop, one thread; nothing blocks. The client is its owner's storage and must stay valid
 * until on_closed. Not connected: client_room is 0, and what is in flight waits.
 *
 * Limits: CLIENT_WINDOW_MAX messages in flight of CLIENT_PACKET_MAX bytes each; the broker's
 * receive maximum when that is less.
 */
#include "base/buf.h"
#include "codec/mqtt.h"
#include "net/backoff.h"
#include "net/stream.h"

#define CLIENT_WINDOW_MAX 4096u
#define CLIENT_PACKET_MAX 1024u

struct client_options {
    const char *host; /* all borrowed until on_closed */
    uint16_t port;
    const char *client_id;
    const char *username; /* NULL: none */
    const char *password;
    enum mqtt_version version;
    uint8_t qos; /* 0 or 1 */
    uint16_t keep_alive_seconds;
};

struct client_ops {
    void (*on_connected)(void *ctx);
    /* There may be room again, or more was acknowledged. */
    void (*on_room)(void *ctx);
    /* The connection is lost or could not be made; the next try comes by itself unless the class is
     * PERMANENT and it was never connected: then *closing* is the owner's turn. */
    void (*on_lost)(void *ctx, enum err err, const char *reason, bool tries_again);
    void (*on_closed)(void *ctx);
};

struct client_slot {
    uint32_t size;
    bool is_acknowledged;
    uint8_t packet[CLIENT_PACKET_MAX];
};

struct client {
    struct stream stream;
    uv_timer_t timer; /* reconnect, or keep-alive */
    uv_loop_t *loop;
    struct client_options options;
    const struct client_ops *ops;
    void *ctx;
    struct backoff backoff;
    struct buf batch;
    struct client_slot *slots; /* QoS 1: message n in n % CLIENT_WINDOW_MAX */
    uint64_t next;             /* the next message's number, from 0 */
    uint64_t head;             /* QoS 1: all before it are acknowledged */
    uint64_t refused;          /* acknowledged with a failure */
    uint64_t sent_again;
    uint32_t window;
    uint32_t reconnects;
    uint16_t keep_alive_seconds; /* as the broker has it */
    bool stream_open;
    bool is_connected;
    bool was_connected;
    bool is_closing;
    bool is_lost; /* until the next try */
    bool timer_open;
    bool awaits_pingresp;
};

enum err client_open(struct client *client, uv_loop_t *loop, const struct client_options *options,
                     const struct client_ops *ops, void *ctx, struct diag *diag) ERR_MUST_USE;
/* How many messages may be published now. */
uint32_t client_room(const struct client *client);
/* Encodes one message into the batch; client_flush sends it. At most client_room times. */
enum err client_publish(struct client *client, struct bytes topic,
                        struct bytes payload) ERR_MUST_USE;
/* A failure also comes to on_lost. */
enum err client_flush(struct client *client);
/* Published and not acknowledged (QoS 0: not yet taken by the kernel, in bytes). */
uint64_t client_pending(const struct client *client);
/* DISCONNECT, then on_closed. Only once. */
void client_close(struct client *client);
