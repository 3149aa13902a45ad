#include "connectors/mqtt/mqtt_connection.h"

#include "base/alloc.h"
#include "base/log.h"
#include "codec/mqtt_encode.h"
#include "connectors/mqtt/mqtt_forget.h"
#include "connectors/mqtt/mqtt_handshake.h"
#include "connectors/mqtt/mqtt_receive.h"
#include "connectors/mqtt/mqtt_user_properties.h"
#include "net/websocket_layer.h"

#include <stdio.h>

#define OUT_BYTES_MAX (8 * MIB)

uint64_t mqtt_connection_now_ms(const struct mqtt_connection *connection)
{
    return uv_now(connection->host->loop);
}

/* --- failing -----------------------------------------------------------------------------------
 */

static void idle_check(struct mqtt_connection *connection)
{
    if (!connection->stopping || connection->idle_told)
        return;
    bool lost = connection->state == MQTT_STATE_FAILED || connection->state == MQTT_STATE_CLOSING;
    if (!lost && mqtt_session_owed(&connection->session) > 0)
        return;
    connection->idle_told = true;
    connection->ops->on_idle(connection->ctx);
}

void mqtt_connection_fail(struct mqtt_connection *connection, enum err err, const char *format, ...)
{
    if (connection->state == MQTT_STATE_FAILED || connection->state == MQTT_STATE_CLOSING)
        return;
    char reason[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    connection->state = MQTT_STATE_FAILED;
    stream_read_stop(&connection->stream);
    connection->stopping = connection->stopping || connection->forgetting;
    if (connection->forgetting)
        mqtt_forget_failed(connection, reason);
    else
        connection->ops->on_failed(connection->ctx, err, reason);
    idle_check(connection);
}

static enum err send_disconnect(struct mqtt_connection *connection, uint8_t reason)
{
    struct mqtt_ack disconnect = {.reason = reason};
    enum err err =
        mqtt_encode_ack(&connection->out, connection->version, MQTT_DISCONNECT, &disconnect);
    return err == ERR_OK ? mqtt_connection_send(connection) : err;
}

void mqtt_connection_refuse(struct mqtt_connection *connection, uint8_t reason, const char *text)
{
    /* Before its CONNACK a server gets no DISCONNECT; an old one knows no reasons. */
    bool tell =
        connection->version == MQTT_VERSION_5 &&
        (connection->state == MQTT_STATE_SUBSCRIBING || connection->state == MQTT_STATE_READY);
    if (tell && send_disconnect(connection, reason) != ERR_OK)
        log_debug("mqtt", "no DISCONNECT could be sent");
    mqtt_connection_fail(connection, ERR_PROTOCOL,
                         "the broker %s:%u sent what MQTT does not allow: %s",
                         connection->target_host, connection->target_port, text);
}

/* --- sending -----------------------------------------------------------------------------------
 */

enum err mqtt_connection_send(struct mqtt_connection *connection)
{
    enum err err = connection->out.err;
    if (err == ERR_OK && connection->out.size > 0)
        err = stream_write(&connection->stream, buf_bytes(&connection->out));
    buf_clear(&connection->out);
    connection->sent_ms = mqtt_connection_now_ms(connection);
    return err;
}

static void on_tick(uv_timer_t *timer);

static uint64_t tick_ms(const struct mqtt_connection *connection)
{
    if (connection->forgetting)
        return MQTT_FORGET_TICK_MS;
    uint64_t quarter_ms = (uint64_t)connection->keep_alive_seconds * 1000 / 4;
    return quarter_ms > 0 && quarter_ms < MQTT_TICK_MS ? quarter_ms : MQTT_TICK_MS;
}

/* Reads on. Not from within: what waits in the buffer would be emitted into the caller's own loop.
 */
static void tick_soon(struct mqtt_connection *connection)
{
    if (connection->tick_open && !uv_is_closing((uv_handle_t *)&connection->tick))
        uv_timer_start(&connection->tick, on_tick, 0, tick_ms(connection));
}

void mqtt_connection_acknowledge(struct mqtt_connection *connection)
{
    if (connection->state != MQTT_STATE_READY && connection->state != MQTT_STATE_SUBSCRIBING)
        return;
    enum err err = mqtt_session_acknowledge(&connection->session, &connection->out);
    if (err == ERR_OK && connection->out.size == 0)
        return;
    if (err == ERR_OK)
        err = mqtt_connection_send(connection);
    if (err != ERR_OK) {
        mqtt_connection_fail(connection, err, "cannot acknowledge to %s:%u: %s",
                             connection->target_host, connection->target_port,
                             err == ERR_TOO_LARGE ? "it does not read" : err_text(err));
        return;
    }
    mqtt_stall_acknowledged(&connection->stall, mqtt_connection_now_ms(connection));
    if (connection->waiting)
        tick_soon(connection);
    idle_check(connection);
}

/* --- the pipeline's calls ----------------------------------------------------------------------
 */

static void close_check(struct mqtt_connection *connection);

static void on_durable(void *ctx, uint64_t sequence, uint64_t block_number)
{
    struct mqtt_connection *connection = ctx;
    connection->durable_sequence = sequence;
    mqtt_session_durable(&connection->session, sequence, block_number);
    mqtt_connection_acknowledge(connection);
    close_check(connection);
}

static void on_pause(void *ctx)
{
    struct mqtt_connection *connection = ctx;
    connection->paused = true;
    connection->pause_at_bytes = connection->stream.bytes_read + MQTT_PAUSED_BYTES_MAX;
}

static void on_resume(void *ctx)
{
    struct mqtt_connection *connection = ctx;
    connection->paused = false;
    tick_soon(connection);
}

static const struct ingest_source_ops source_ops = {on_durable, on_pause, on_resume};

static void on_recovered(void *ctx, uint16_t packet_identifier,
                         const struct ingest_identity *identity)
{
    struct mqtt_connection *connection = ctx;
    mqtt_session_recover(&connection->session, packet_identifier, identity->hash, identity->block,
                         identity->qos_2);
}

/* --- time --------------------------------------------------------------------------------------
 */

static void ping(struct mqtt_connection *connection)
{
    enum err err = mqtt_encode_ping(&connection->out, MQTT_PINGREQ);
    if (err == ERR_OK)
        err = mqtt_connection_send(connection);
    if (err != ERR_OK) {
        mqtt_connection_fail(connection, err, "cannot send PINGREQ: %s", err_text(err));
        return;
    }
    connection->ping_ms = mqtt_connection_now_ms(connection);
    mqtt_session_pinged(&connection->session);
}

static bool is_silent(const struct mqtt_connection *connection, uint64_t now_ms)
{
    uint64_t patience_ms = (uint64_t)connection->keep_alive_seconds * 500;
    return connection->session.pings_out > 0 && patience_ms > 0 &&
           now_ms - connection->ping_ms > patience_ms &&
           now_ms - connection->received_ms > patience_ms;
}

static void keep_alive(struct mqtt_connection *connection, uint64_t now_ms)
{
    uint64_t interval_ms = (uint64_t)connection->keep_alive_seconds * 1000;
    if (!connection->stream.reading) {
        /* What is not read cannot be missed. */
        connection->received_ms = now_ms;
    } else if (is_silent(connection, now_ms)) {
        mqtt_connection_fail(connection, ERR_TIMEOUT,
                             "the broker %s:%u is silent: no answer to a ping within %u s",
                             connection->target_host, connection->target_port,
                             (connection->keep_alive_seconds + 1) / 2);
        return;
    }
    bool frees = mqtt_session_wants_ping(&connection->session) &&
                 now_ms - connection->ping_ms >= MQTT_FREE_PING_MS;
    bool due = interval_ms > 0 && now_ms - connection->sent_ms + tick_ms(connection) >= interval_ms;
    if (frees || due)
        ping(connection);
}

static void handshake_late(struct mqtt_connection *connection)
{
    mqtt_connection_fail(connection, ERR_TIMEOUT, "the broker %s:%u did not answer %s within %d s",
                         connection->target_host, connection->target_port,
                         connection->state == MQTT_STATE_CONNACK ? "CONNECT" : "SUBSCRIBE",
                         MQTT_CONNECT_TIMEOUT_MS / 1000);
}

static void forget_tick(struct mqtt_connection *connection, uint64_t now_ms)
{
    bool reads = connection->unsubscribing && !connection->paused && !connection->left;
    if (reads)
        stream_read_start(&connection->stream);
    if (connection->state != MQTT_STATE_FAILED)
        mqtt_forget_tick(connection, now_ms);
}

static void on_tick(uv_timer_t *timer)
{
    struct mqtt_connection *connection = timer->data;
    uint64_t now_ms = mqtt_connection_now_ms(connection);
    if (connection->state == MQTT_STATE_CLOSING) {
        /* Only a source that is to end may leave before: the next connection would not know what is
         * on its way, and store the broker's redelivery of it again. */
        connection->settle_expired = connection->stopping && now_ms >= connection->deadline_ms;
        close_check(connection);
        return;
    }
    if (connection->waiting && !connection->paused && !connection->stopping) {
        connection->waiting = false;
        stream_read_start(&connection->stream);
    }
    if (connection->state == MQTT_STATE_CONNACK || connection->state == MQTT_STATE_SUBSCRIBING) {
        if (now_ms >= connection->deadline_ms && !connection->paused && !connection->waiting)
            handshake_late(connection);
    } else if (connection->state == MQTT_STATE_READY) {
        if (connection->started && !connection->paused && !connection->stopping)
            stream_read_start(&connection->stream);
        if (connection->state == MQTT_STATE_READY)
            keep_alive(connection, now_ms);
    }
    if (connection->forgetting)
        forget_tick(connection, now_ms);
}

/* --- the stream's calls ------------------------------------------------------------------------
 */

static void on_open(void *ctx)
{
    struct mqtt_connection *connection = ctx;
    connection->received_ms = mqtt_connection_now_ms(connection);
    mqtt_handshake_begin(connection);
    stream_read_start(&connection->stream);
}

static size_t on_data(void *ctx, struct bytes data)
{
    return mqtt_receive(ctx, data);
}

static void on_stream_failed(void *ctx, enum err err, const char *reason)
{
    struct mqtt_connection *connection = ctx;
    if (connection->state == MQTT_STATE_CONNACK && err == ERR_CLOSED &&
        mqtt_handshake_fall_back(connection))
        return;
    mqtt_connection_fail(connection, err, "%s%s", reason,
                         connection->state == MQTT_STATE_CONNACK && err == ERR_CLOSED
                             ? " before it answered CONNECT; does a client with the same client_id "
                               "or its access list stand against it?"
                             : "");
}

static enum err stream_begin(struct mqtt_connection *connection, struct diag *diag);

static void on_stream_closed(void *ctx)
{
    struct mqtt_connection *connection = ctx;
    struct diag diag = {0};
    connection->stream_open = false;
    if (connection->state == MQTT_STATE_CLOSING || !connection->reopen) {
        close_check(connection);
        return;
    }
    connection->reopen = false;
    enum err err = stream_begin(connection, &diag);
    if (err != ERR_OK)
        mqtt_connection_fail(connection, err, "%s", diag.text);
}

static const struct stream_ops stream_ops = {on_open, on_data, on_stream_failed, on_stream_closed};

/* What lies between MQTT and TCP. */
static enum err layers_make(struct mqtt_connection *connection, struct stream_options *options)
{
    enum err err = ERR_OK;
    if (connection->tls)
        err = tls_layer_new(connection->tls, connection->target_host, &options->layers[0]);
    if (err != ERR_OK)
        return err;
    options->layer_count = connection->tls != NULL;
    if (!connection->config->websocket)
        return ERR_OK;
    const struct websocket_layer_options websocket = {.host = connection->target_host,
                                                      .port = connection->target_port,
                                                      .is_tls = connection->tls,
                                                      .path = connection->config->websocket};
    err = websocket_layer_new(&websocket, &options->layers[options->layer_count]);
    options->layer_count += err == ERR_OK;
    return err;
}

static enum err stream_begin(struct mqtt_connection *connection, struct diag *diag)
{
    struct stream_options options = {
        .host = connection->target_host,
        .port = connection->target_port,
        .connect_timeout_ms = MQTT_CONNECT_TIMEOUT_MS,
        .read_max_bytes = connection->config->common.message_max_bytes + MQTT_HEAD_BYTES_MAX,
    };
    connection->state = MQTT_STATE_TCP;
    enum err err = layers_make(connection, &options);
    if (err != ERR_OK)
        diag_set(diag, err, "cannot connect to %s: %s", options.host, err_text(err));
    else
        err = stream_open(&connection->stream, connection->host->loop, &options, &stream_ops,
                          connection, diag);
    for (size_t i = 0; i < options.layer_count && err != ERR_OK; i++)
        options.layers[i]->ops->free(options.layers[i]);
    connection->stream_open = err == ERR_OK;
    return err;
}

void mqtt_connection_again(struct mqtt_connection *connection)
{
    connection->reopen = true;
    stream_close(&connection->stream, 0);
}

/* --- life --------------------------------------------------------------------------------------
 */

static void on_tick_closed(uv_handle_t *handle)
{
    struct mqtt_connection *connection = handle->data;
    connection->tick_open = false;
    connection->ops->on_closed(connection->ctx);
}

static void release(struct mqtt_connection *connection)
{
    mqtt_routes_fini(&connection->routes);
    if (connection->source)
        ingest_source_close(connection->source);
    connection->source = NULL;
    mqtt_session_fini(&connection->session);
    mqtt_receive_fini(connection);
    mem_free(connection->changes);
    mem_free(connection->client_id);
    connection->changes = NULL;
    connection->client_id = NULL;
    buf_fini(&connection->subscribed);
    buf_fini(&connection->extras);
    buf_fini(&connection->json);
    buf_fini(&connection->out);
}

static void close_check(struct mqtt_connection *connection)
{
    if (connection->state != MQTT_STATE_CLOSING || connection->stream_open || !connection->source)
        return;
    if (connection->durable_sequence < connection->sequence && !connection->settle_expired)
        return;
    release(connection);
    uv_close((uv_handle_t *)&connection->tick, on_tick_closed);
}

void mqtt_connection_close(struct mqtt_connection *connection)
{
    if (connection->state == MQTT_STATE_CLOSING)
        return;
    bool polite = connection->state == MQTT_STATE_READY && !connection->left;
    if (polite && send_disconnect(connection, MQTT_REASON_SUCCESS) != ERR_OK)
        log_debug("mqtt", "no DISCONNECT could be sent");
    connection->state = MQTT_STATE_CLOSING;
    connection->deadline_ms = mqtt_connection_now_ms(connection) + MQTT_SETTLE_TIMEOUT_MS;
    if (connection->stream_open)
        stream_close(&connection->stream, MQTT_FINISH_MS);
    /* From the loop, so that on_closed never comes from within. */
    uv_timer_start(&connection->tick, on_tick, 0, MQTT_TICK_MS);
}

void mqtt_connection_ready(struct mqtt_connection *connection)
{
    connection->state = MQTT_STATE_READY;
    if (!connection->started)
        stream_read_stop(&connection->stream);
    uv_timer_start(&connection->tick, on_tick, tick_ms(connection), tick_ms(connection));
    if (connection->forgetting)
        mqtt_forget_begin(connection);
    else
        connection->ops->on_ready(connection->ctx);
}

void mqtt_connection_start(struct mqtt_connection *connection)
{
    connection->started = true;
    /* From the loop: start may be called from within on_ready, in the middle of a read. */
    if (connection->state == MQTT_STATE_READY)
        uv_timer_start(&connection->tick, on_tick, 0, tick_ms(connection));
}

void mqtt_connection_stop(struct mqtt_connection *connection)
{
    connection->stopping = true;
    stream_read_stop(&connection->stream);
    idle_check(connection);
}

void mqtt_connection_forget(struct mqtt_connection *connection, uint32_t timeout_ms, bool drains)
{
    connection->forgetting = true;
    connection->cleaning = !drains && connection->state == MQTT_STATE_TCP;
    connection->forget_ms = mqtt_connection_now_ms(connection) + timeout_ms;
    if (connection->state == MQTT_STATE_FAILED || connection->state == MQTT_STATE_CLOSING) {
        connection->stopping = true;
        idle_check(connection);
        return;
    }
    uv_timer_start(&connection->tick, on_tick, MQTT_FORGET_TICK_MS, MQTT_FORGET_TICK_MS);
    if (connection->state == MQTT_STATE_READY)
        mqtt_forget_begin(connection);
}

enum err mqtt_connection_open(struct mqtt_connection *connection, const struct mqtt_config *config,
                              struct tls_context *tls, const struct connector_host *host,
                              uint32_t index, const struct mqtt_connection_ops *ops, void *ctx,
                              struct diag *diag)
{
    *connection = (struct mqtt_connection){.config = config,
                                           .tls = tls,
                                           .host = host,
                                           .ops = ops,
                                           .ctx = ctx,
                                           .index = index,
                                           .version = config->version,
                                           .keep_alive_seconds = config->keep_alive_seconds};
    buf_init(&connection->subscribed, 2 * MQTT_CONFIG_BYTES_MAX);
    buf_init(&connection->extras, 2 * MQTT_USER_JSON_BYTES_MAX);
    buf_init(&connection->json, 8 * MQTT_USER_JSON_BYTES_MAX);
    buf_init(&connection->out, OUT_BYTES_MAX);
    connection->target_port = config->port;
    snprintf(connection->target_host, sizeof(connection->target_host), "%s", config->host);
    char client_id[1100];
    enum err err = mqtt_config_client_id(config, host->replica_id, host->source_id, index,
                                         client_id, sizeof(client_id));
    if (err == ERR_OK && !(connection->client_id = mem_strdup(client_id)))
        err = ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = mqtt_session_init(&connection->session);
    if (err == ERR_OK)
        err =
            ingest_source_open(host->ingest, bytes_from_text(host->source_id),
                               BYTES_LITERAL("mqtt"), &source_ops, connection, &connection->source);
    if (err != ERR_OK) {
        diag_set(diag, err, "cannot begin the MQTT connection: %s", err_text(err));
        goto fail;
    }
    mqtt_routes_init(&connection->routes, connection->source, config, host->source_id);
    ingest_source_session(connection->source, (uint8_t)index);
    ingest_identities(connection->source, on_recovered, connection);
    mqtt_handshake_redirected(connection);
    err = stream_begin(connection, diag);
    if (err != ERR_OK)
        goto fail;
    uv_timer_init(host->loop, &connection->tick);
    connection->tick.data = connection;
    connection->tick_open = true;
    uv_timer_start(&connection->tick, on_tick, MQTT_TICK_MS, MQTT_TICK_MS);
    return ERR_OK;
fail:
    release(connection);
    return err;
}
