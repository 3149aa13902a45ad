#include "app/simulate_client.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "codec/mqtt_encode.h"

#include <assert.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS     10000u
#define BACKOFF_MIN_MS         200u
#define BACKOFF_MAX_MS         10000u
#define FINISH_MS              2000u
#define SESSION_EXPIRY_SECONDS 300u
#define BATCH_BYTES_MAX        (2 * MIB)
#define QUEUE_BYTES_MAX        (1 * MIB) /* QoS 0: more waits in the generator */

static uint16_t identifier_of(uint64_t message)
{
    return (uint16_t)(message % 65535 + 1);
}

static struct client_slot *slot_of(const struct client *client, uint64_t message)
{
    return &client->slots[message % CLIENT_WINDOW_MAX];
}

/* Losing and opening the connection */

static void try_again(uv_timer_t *timer);
static void keep_alive(uv_timer_t *timer);

static void lose(struct client *client, enum err err, const char *reason)
{
    bool tries_again = client->was_connected || err_class(err) != ERR_CLASS_PERMANENT;
    client->is_connected = false;
    (void)uv_timer_stop(&client->timer);
    if (client->is_closing || client->is_lost)
        return;
    client->is_lost = true;
    client->reconnects += client->was_connected;
    client->ops->on_lost(client->ctx, err, reason, tries_again);
    if (!client->is_closing)
        (void)stream_close(&client->stream, 0);
}

static void on_failed(void *ctx, enum err err, const char *reason)
{
    lose(ctx, err, reason);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct client *client = handle->data;
    buf_fini(&client->batch);
    mem_free(client->slots);
    client->slots = NULL;
    client->ops->on_closed(client->ctx);
}

static void on_stream_closed(void *ctx)
{
    struct client *client = ctx;
    client->stream_open = false;
    if (client->is_closing)
        uv_close((uv_handle_t *)&client->timer, on_timer_closed);
    else
        (void)uv_timer_start(&client->timer, try_again, backoff_next_ms(&client->backoff), 0);
}

static enum err send_connect(struct client *client)
{
    const struct client_options *options = &client->options;
    struct mqtt_connect connect = {.version = options->version,
                                   .clean_start = !client->was_connected,
                                   .keep_alive_seconds = options->keep_alive_seconds,
                                   .client_id = bytes_from_text(options->client_id),
                                   .has_username = options->username,
                                   .has_password = options->password};
    struct buf out;
    if (options->username)
        connect.username = bytes_from_text(options->username);
    if (options->password)
        connect.password = bytes_from_text(options->password);
    /* 3.1.1 has no expiry: a session that nobody ends stays for ever, so it gets a clean one. */
    connect.clean_start |= options->version == MQTT_VERSION_3_1_1;
    mqtt_set(&connect.properties, MQTT_PROPERTY_SESSION_EXPIRY);
    connect.properties.session_expiry_seconds = SESSION_EXPIRY_SECONDS;
    buf_init(&out, 4 * KIB);
    enum err err = mqtt_encode_connect(&out, &connect);
    if (err == ERR_OK)
        err = stream_write(&client->stream, buf_bytes(&out));
    buf_fini(&out);
    return err;
}

static void on_no_answer(uv_timer_t *timer)
{
    lose(timer->data, ERR_TIMEOUT, "the broker does not answer CONNECT");
}

static void on_open(void *ctx)
{
    struct client *client = ctx;
    stream_read_start(&client->stream);
    (void)uv_timer_start(&client->timer, on_no_answer, CONNECT_TIMEOUT_MS, 0);
    enum err err = send_connect(client);
    if (err != ERR_OK)
        lose(client, err, err_text(err));
}

static size_t on_data(void *ctx, struct bytes data);

static const struct stream_ops client_stream_ops = {
    .on_open = on_open, .on_data = on_data, .on_failed = on_failed, .on_closed = on_stream_closed};

static enum err open_stream(struct client *client, struct diag *diag)
{
    struct stream_options options = {.host = client->options.host,
                                     .port = client->options.port,
                                     .connect_timeout_ms = CONNECT_TIMEOUT_MS};
    enum err err =
        stream_open(&client->stream, client->loop, &options, &client_stream_ops, client, diag);
    client->stream_open = err == ERR_OK;
    client->is_lost = false;
    return err;
}

static void try_again(uv_timer_t *timer)
{
    struct client *client = timer->data;
    struct diag diag = {0};
    enum err err = open_stream(client, &diag);
    if (err == ERR_OK)
        return;
    client->ops->on_lost(client->ctx, err, diag.text, true);
    if (!client->is_closing)
        (void)uv_timer_start(&client->timer, try_again, backoff_next_ms(&client->backoff), 0);
}

enum err client_open(struct client *client, uv_loop_t *loop, const struct client_options *options,
                     const struct client_ops *ops, void *ctx, struct diag *diag)
{
    *client = (struct client){.loop = loop, .options = *options, .ops = ops, .ctx = ctx};
    backoff_init(&client->backoff, BACKOFF_MIN_MS, BACKOFF_MAX_MS, uv_hrtime());
    buf_init(&client->batch, BATCH_BYTES_MAX);
    if (options->qos > 0) {
        client->slots = mem_zalloc(CLIENT_WINDOW_MAX, sizeof(*client->slots));
        if (!client->slots)
            return diag_set(diag, ERR_NO_MEMORY, "no memory for the messages in flight");
    }
    enum err err = open_stream(client, diag);
    if (err != ERR_OK) {
        mem_free(client->slots);
        client->slots = NULL;
        return err;
    }
    (void)uv_timer_init(loop, &client->timer); /* cannot fail */
    client->timer.data = client;
    client->timer_open = true;
    return ERR_OK;
}

/* Sending */

uint32_t client_room(const struct client *client)
{
    if (!client->is_connected || client->is_closing)
        return 0;
    size_t queued = stream_queued_bytes(&client->stream) + client->batch.size;
    if (queued >= QUEUE_BYTES_MAX)
        return 0;
    uint32_t room = (uint32_t)((BATCH_BYTES_MAX - queued) / CLIENT_PACKET_MAX);
    if (client->options.qos == 0)
        return room;
    uint64_t in_flight = client->next - client->head;
    uint64_t free_slots = in_flight < client->window ? client->window - in_flight : 0;
    return free_slots < room ? (uint32_t)free_slots : room;
}

enum err client_publish(struct client *client, struct bytes topic, struct bytes payload)
{
    size_t start = client->batch.size;
    struct mqtt_publish publish = {.topic = topic,
                                   .payload = payload,
                                   .packet_identifier = identifier_of(client->next),
                                   .qos = client->options.qos};
    enum err err = mqtt_encode_publish(&client->batch, client->options.version, &publish);
    if (err != ERR_OK)
        return err;
    size_t size = client->batch.size - start;
    if (size > CLIENT_PACKET_MAX) {
        client->batch.size = start;
        return ERR_TOO_LARGE;
    }
    if (client->options.qos > 0) {
        struct client_slot *slot = slot_of(client, client->next);
        slot->size = (uint32_t)size;
        slot->is_acknowledged = false;
        memcpy(slot->packet, client->batch.data + start, size);
    }
    client->next++;
    return ERR_OK;
}

enum err client_flush(struct client *client)
{
    enum err err = ERR_OK;
    if (client->batch.size > 0 && client->is_connected)
        err = stream_write(&client->stream, buf_bytes(&client->batch));
    buf_clear(&client->batch);
    if (err != ERR_OK)
        lose(client, err, "the broker does not read");
    return err;
}

uint64_t client_pending(const struct client *client)
{
    if (client->options.qos == 0)
        return client->stream_open ? stream_queued_bytes(&client->stream) : 0;
    return client->next - client->head;
}

/* Sends what was in flight when the connection broke: with DUP where the broker still has the
 * session (§4.4), as new messages where it has not. */
static enum err send_again(struct client *client, bool session_present)
{
    for (uint64_t message = client->head; message < client->next; message++) {
        struct client_slot *slot = slot_of(client, message);
        if (slot->is_acknowledged)
            continue;
        slot->packet[0] = (uint8_t)((slot->packet[0] & ~8u) | (session_present ? 8u : 0u));
        buf_append(&client->batch, slot->packet, slot->size);
        client->sent_again++;
        if (client->batch.size > QUEUE_BYTES_MAX && client_flush(client) != ERR_OK)
            return ERR_NETWORK;
    }
    return client_flush(client);
}

/* Receiving */

static enum err refuse_connack(const struct mqtt_connack *connack, struct diag *diag)
{
    bool is_credentials = connack->reason == MQTT_REASON_BAD_CREDENTIALS ||
                          connack->reason == MQTT_REASON_NOT_AUTHORIZED;
    bool is_passing = connack->reason == MQTT_REASON_SERVER_UNAVAILABLE ||
                      connack->reason == MQTT_REASON_SERVER_BUSY ||
                      connack->reason == MQTT_REASON_CONNECTION_RATE_EXCEEDED;
    return diag_set(diag,
                    is_credentials ? ERR_AUTH
                    : is_passing   ? ERR_BUSY
                                   : ERR_REFUSED,
                    "the broker refuses the connection: %s (0x%02x)",
                    mqtt_reason_text(connack->reason), connack->reason);
}

static enum err on_connack(struct client *client, const struct mqtt_connack *connack,
                           struct diag *diag)
{
    const struct mqtt_properties *properties = &connack->properties;
    if (connack->reason != MQTT_REASON_SUCCESS)
        return refuse_connack(connack, diag);
    if (client->is_connected)
        return diag_set(diag, ERR_PROTOCOL, "the broker sends CONNACK twice");
    if (properties->maximum_qos < client->options.qos)
        return diag_set(diag, ERR_UNSUPPORTED, "the broker takes QoS 0 only");
    client->window = CLIENT_WINDOW_MAX;
    if (client->window > properties->receive_maximum)
        client->window = properties->receive_maximum;
    client->keep_alive_seconds = mqtt_has(properties, MQTT_PROPERTY_SERVER_KEEP_ALIVE)
                                     ? properties->server_keep_alive_seconds
                                     : client->options.keep_alive_seconds;
    client->is_connected = client->was_connected = true;
    client->awaits_pingresp = false;
    backoff_reset(&client->backoff);
    (void)uv_timer_stop(&client->timer);
    uint64_t half_ms = (uint64_t)client->keep_alive_seconds * 500;
    if (half_ms > 0)
        (void)uv_timer_start(&client->timer, keep_alive, half_ms, half_ms);
    if (send_again(client, connack->session_present) != ERR_OK)
        return ERR_OK; /* lose was called */
    client->ops->on_connected(client->ctx);
    return ERR_OK;
}

static void on_puback(struct client *client, const struct mqtt_ack *ack)
{
    /* Brokers answer in order, so this is almost always the head. */
    uint64_t message = client->head;
    while (message < client->next && identifier_of(message) != ack->packet_identifier)
        message++;
    if (message == client->next)
        return; /* not ours, or twice: harmless for a publisher */
    client->refused += ack->reason >= MQTT_REASON_FAILURE;
    slot_of(client, message)->is_acknowledged = true;
    while (client->head < client->next && slot_of(client, client->head)->is_acknowledged)
        client->head++;
}

static void keep_alive(uv_timer_t *timer)
{
    struct client *client = timer->data;
    if (client->awaits_pingresp) {
        lose(client, ERR_TIMEOUT, "the broker does not answer PINGREQ");
        return;
    }
    client->awaits_pingresp = true;
    enum err err = stream_write(&client->stream, BYTES_LITERAL("\xc0\x00"));
    if (err != ERR_OK)
        lose(client, err, "the broker does not read");
}

static enum err on_packet(struct client *client, const struct mqtt_frame *frame, struct bytes body,
                          struct diag *diag)
{
    enum mqtt_version version = client->options.version;
    struct mqtt_fault fault = {0};
    struct mqtt_connack connack;
    struct mqtt_ack ack;
    enum err err = ERR_OK;
    if (frame->type == MQTT_CONNACK) {
        err = mqtt_decode_connack(version, frame, body, &connack, &fault);
        if (err == ERR_OK)
            return on_connack(client, &connack, diag);
    } else if (frame->type == MQTT_PUBACK && client->options.qos == 1) {
        err = mqtt_decode_ack(version, frame, body, &ack, &fault);
        if (err == ERR_OK)
            on_puback(client, &ack);
    } else if (frame->type == MQTT_PINGRESP) {
        client->awaits_pingresp = false;
    } else if (frame->type == MQTT_DISCONNECT) {
        err = mqtt_decode_ack(version, frame, body, &ack, &fault);
        if (err == ERR_OK)
            return diag_set(diag, ERR_CLOSED, "the broker ends the connection: %s (0x%02x)",
                            mqtt_reason_text(ack.reason), ack.reason);
    } else {
        return diag_set(diag, ERR_PROTOCOL, "the broker sends an unexpected %s",
                        mqtt_type_name(frame->type));
    }
    return err == ERR_OK ? ERR_OK : diag_set(diag, err, "the broker sends %s", fault.text);
}

static size_t on_data(void *ctx, struct bytes data)
{
    struct client *client = ctx;
    size_t at = 0;
    while (at < data.size && !client->is_closing && !client->is_lost) {
        struct mqtt_frame frame;
        struct mqtt_fault fault;
        struct diag diag = {0};
        struct bytes rest = bytes_from(data.data + at, data.size - at);
        enum err err = mqtt_frame(rest, STREAM_READ_BYTES, &frame, &fault);
        if (err == ERR_AGAIN || (err == ERR_OK && rest.size < frame.total_size))
            break;
        if (err == ERR_OK)
            err = on_packet(client, &frame,
                            bytes_from(rest.data + frame.header_size, frame.body_size), &diag);
        else
            (void)diag_set(&diag, err, "what answers is no MQTT broker");
        if (err != ERR_OK) {
            lose(client, err, diag.text);
            return data.size;
        }
        at += frame.total_size;
    }
    if (client->is_connected && !client->is_closing)
        client->ops->on_room(client->ctx);
    return at;
}

void client_close(struct client *client)
{
    assert(!client->is_closing && client->timer_open);
    client->is_closing = true;
    (void)uv_timer_stop(&client->timer);
    if (client->is_connected && stream_write(&client->stream, BYTES_LITERAL("\xe0\x00")) != ERR_OK)
        client->is_connected = false; /* nothing more to wait for */
    if (!client->stream_open ||
        !stream_close(&client->stream, client->is_connected ? FINISH_MS : 0))
        uv_close((uv_handle_t *)&client->timer, on_timer_closed);
}
