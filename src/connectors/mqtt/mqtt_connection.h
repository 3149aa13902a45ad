#pragma once
/*
 * One connection of an MQTT source: TCP, handshake, subscriptions, keep-alive, the receive path,
 * and deferred acknowledgement. It lives for one connect; the host reconnects with a new one.
 *
 *   stream -> mqtt_receive (packets) -> mqtt_routes, ingest_emit
 *                                    -> mqtt_handshake (CONNACK, SUBACK, UNSUBACK)
 *   on_durable -> mqtt_session -> PUBACKs in one write
 *
 * Everything runs on the loop's thread. Storage is the caller's, zeroed, from mqtt_connection_open
 * until on_closed. on_failed comes at most once; after it only mqtt_connection_close is left to do.
 * Closing waits until all that was emitted is durable (after a stop at most MQTT_SETTLE_TIMEOUT_MS,
 * else for as long as it takes), because
 * only then can the next connection learn from the journal what a redelivery repeats.
 *
 * The parts in mqtt_receive.c and mqtt_handshake.c are of the same module: they share the
 * structure.
 */
#include "codec/mqtt.h"
#include "connectors/connector.h"
#include "connectors/mqtt/mqtt_config.h"
#include "connectors/mqtt/mqtt_routes.h"
#include "connectors/mqtt/mqtt_session.h"
#include "connectors/mqtt/mqtt_stall.h"
#include "net/stream.h"

#define MQTT_CONNECT_TIMEOUT_MS  10000 /* TCP, and again for CONNACK and each SUBACK */
#define MQTT_SETTLE_TIMEOUT_MS   60000
#define MQTT_FINISH_MS           500
#define MQTT_FREE_PING_MS        1000 /* after PUBACKs */
#define MQTT_FORGET_TICK_MS      50
#define MQTT_FORGET_QUIET_MS     300
#define MQTT_FORGET_TIMEOUT_MS   3000 /* then without manners: the host waits 5 s */
#define MQTT_LEFTOVER_TIMEOUT_MS 60000
#define MQTT_TICK_MS             1000
#define MQTT_TOPIC_ALIASES_MAX   256
#define MQTT_REDIRECTS_MAX       3
#define MQTT_FILTERS_PER_PACKET  8           /* AWS IoT Core takes no more */
#define MQTT_PAUSED_BYTES_MAX    MIB         /* read on for so long when asked to pause */
#define MQTT_HEAD_BYTES_MAX      (384 * KIB) /* topic, properties and kept payload of an oversize */

enum mqtt_state {
    MQTT_STATE_TCP,
    MQTT_STATE_CONNACK,
    MQTT_STATE_SUBSCRIBING,
    MQTT_STATE_READY,
    MQTT_STATE_FAILED,
    MQTT_STATE_CLOSING,
};

struct mqtt_connection_ops {
    void (*on_ready)(void *ctx);
    void (*on_failed)(void *ctx, enum err err, const char *reason);
    void (*on_warning)(void *ctx, const char *text);
    void (*on_idle)(void *ctx); /* after mqtt_connection_stop: nothing is owed any more */
    void (*on_closed)(void *ctx);
};

/* One filter to subscribe or to unsubscribe, on the way from what the session has to what is
 * wanted. */
struct mqtt_change {
    struct bytes filter;
    bool unsubscribe;
};

struct mqtt_connection {
    const struct mqtt_config *config;
    struct tls_context *tls; /* NULL: none; the connector's */
    const struct connector_host *host;
    const struct mqtt_connection_ops *ops;
    void *ctx;
    uint32_t index; /* among the source's connections */
    char *client_id;
    enum mqtt_state state;
    enum mqtt_version version;

    struct stream stream;
    uv_timer_t tick;
    bool tick_open;
    bool stream_open;
    bool reopen;     /* when the stream has closed: connect again (fall-back, redirect) */
    bool started;    /* mqtt_connection_start was called */
    bool stopping;   /* mqtt_connection_stop was called */
    bool forgetting; /* mqtt_connection_forget was called */
    bool unsubscribing;
    bool draining; /* forgetting: unsubscribed, takes what was queued */
    bool cleaning; /* forgetting by a connect with clean start */
    bool left;     /* forgotten */
    bool paused;
    bool waiting; /* for room among the unacknowledged; what was read stays in the stream */
    bool settle_expired;
    bool idle_told;
    uint32_t redirects;
    char target_host[256];
    uint16_t target_port;

    struct ingest_source *source;
    struct mqtt_routes routes;
    struct mqtt_session session;
    uint64_t sequence; /* emitted last */
    uint64_t durable_sequence;

    /* handshake */
    bool session_present;
    uint8_t subscribe_qos;
    uint8_t maximum_qos;
    bool retain_handling_known;
    uint32_t packet_size_max; /* the server's; 0: none */
    uint16_t keep_alive_seconds;
    uint16_t subscribe_identifier;
    size_t change_count;
    size_t change_at;    /* first of the packet that is out */
    size_t change_ahead; /* how many are in it */
    struct mqtt_change *changes;
    struct buf subscribed; /* what the connector's state said; changes point into it */

    /* receive */
    struct bytes aliases[MQTT_TOPIC_ALIASES_MAX + 1];
    uint64_t skip_bytes;      /* of an oversize packet, still to come */
    uint16_t skip_identifier; /* its acknowledgement is owed when it has passed; 0: none */
    uint8_t skip_qos;
    struct mqtt_publish
        late; /* oversize, its payload comes after skip_bytes; topic.data NULL: none */
    uint64_t late_packet_bytes;
    uint64_t pause_at_bytes;
    struct buf extras;
    struct buf json;
    struct buf out;

    /* times by uv_now */
    uint64_t deadline_ms; /* of the handshake's step, or of settling */
    uint64_t sent_ms;
    uint64_t received_ms;
    uint64_t ping_ms;
    uint64_t forget_ms; /* deadline of forgetting */

    struct mqtt_stall stall;
    uint64_t messages;
    uint64_t repeated;
    uint64_t oversize;
};

/* tls: NULL for none; borrowed until on_closed. */
enum err mqtt_connection_open(struct mqtt_connection *connection, const struct mqtt_config *config,
                              struct tls_context *tls, const struct connector_host *host,
                              uint32_t index, const struct mqtt_connection_ops *ops, void *ctx,
                              struct diag *diag) ERR_MUST_USE;
/* After on_ready: begins to emit. */
void mqtt_connection_start(struct mqtt_connection *connection);
/* Reads no more; on_idle (perhaps from within) when nothing is owed. */
void mqtt_connection_stop(struct mqtt_connection *connection);
/* Instead of stop: ends the session for good, now or when it is ready; then on_idle. Failing is a
 * warning. What the broker has queued is taken before; but when the broker was told nothing yet,
 * and drains is false, the session ends by a clean start. */
void mqtt_connection_forget(struct mqtt_connection *connection, uint32_t timeout_ms, bool drains);
/* Any time after open succeeded; ends with on_closed. */
void mqtt_connection_close(struct mqtt_connection *connection);

/* --- for the module's own parts -----------------------------------------------------------------
 */

uint64_t mqtt_connection_now_ms(const struct mqtt_connection *connection);
/* Sends connection->out and empties it. */
enum err mqtt_connection_send(struct mqtt_connection *connection) ERR_MUST_USE;
/* Ends the connection with a sentence. The first failure stands. */
void mqtt_connection_fail(struct mqtt_connection *connection, enum err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for what the peer may not do, after a DISCONNECT with that reason code (version 5). */
void mqtt_connection_refuse(struct mqtt_connection *connection, uint8_t reason, const char *text);
/* Connects again with another version or to another host, within the same connect. */
void mqtt_connection_again(struct mqtt_connection *connection);
/* Sends the acknowledgements that are due. */
void mqtt_connection_acknowledge(struct mqtt_connection *connection);
void mqtt_connection_ready(struct mqtt_connection *connection);
