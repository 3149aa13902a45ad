#include "connectors/mqtt/mqtt_forget.h"

#include "base/log.h"
#include "codec/mqtt_encode.h"
#include "connectors/mqtt/mqtt_handshake.h"

#include <stdio.h>

/* Nothing remains of the session, here and in the journal. */
static void left(struct mqtt_connection *connection)
{
    enum err err = ingest_session_new(connection->source);
    if (err == ERR_OK)
        err = mqtt_handshake_forget_state(connection);
    if (err != ERR_OK)
        log_debug("mqtt", "the journal keeps what was known of a session");
    ingest_end_of_read(connection->source);
    connection->left = true;
    connection->stopping = true;
    stream_read_stop(&connection->stream);
    if (connection->idle_told)
        return;
    connection->idle_told = true;
    connection->ops->on_idle(connection->ctx);
}

/* The last DISCONNECT. */
static void say_farewell(struct mqtt_connection *connection)
{
    struct mqtt_ack disconnect = {.reason = MQTT_REASON_SUCCESS};
    mqtt_set(&disconnect.properties, MQTT_PROPERTY_SESSION_EXPIRY); /* of 0 seconds */
    enum err err =
        mqtt_encode_ack(&connection->out, connection->version, MQTT_DISCONNECT, &disconnect);
    if (err == ERR_OK)
        err = mqtt_connection_send(connection);
    if (err != ERR_OK)
        log_debug("mqtt", "no DISCONNECT could be sent");
}

static void leave(struct mqtt_connection *connection)
{
    bool is_up =
        connection->state == MQTT_STATE_READY || connection->state == MQTT_STATE_SUBSCRIBING;
    if (is_up && connection->version == MQTT_VERSION_3_1_1 && !connection->cleaning) {
        connection->cleaning = true;
        mqtt_connection_again(connection);
        return;
    }
    if (is_up)
        say_farewell(connection);
    left(connection);
}

void mqtt_forget_failed(struct mqtt_connection *connection, const char *reason)
{
    char text[512];
    if (connection->left)
        return;
    snprintf(text, sizeof(text),
             "its session could not be ended, so the broker keeps it, and a share of the messages "
             "for it, until it expires: %.300s",
             reason);
    connection->ops->on_warning(connection->ctx, text);
}

void mqtt_forget_begin(struct mqtt_connection *connection)
{
    if (!connection->paused)
        mqtt_handshake_unsubscribe(connection);
}

void mqtt_forget_unsubscribed(struct mqtt_connection *connection)
{
    connection->state = MQTT_STATE_READY;
    connection->started = true; /* what was queued is taken */
    connection->draining = true;
}

void mqtt_forget_connected(struct mqtt_connection *connection)
{
    say_farewell(connection);
    left(connection);
}

void mqtt_forget_tick(struct mqtt_connection *connection, uint64_t now_ms)
{
    bool is_late = now_ms >= connection->forget_ms;
    bool is_quiet = connection->draining && mqtt_session_owed(&connection->session) == 0 &&
                    now_ms - connection->received_ms >= MQTT_FORGET_QUIET_MS;
    if (connection->left || (!is_late && !is_quiet))
        return;
    if (connection->cleaning || connection->state < MQTT_STATE_SUBSCRIBING)
        mqtt_forget_failed(connection, "no answer within the time for it");
    if (connection->cleaning)
        left(connection);
    else
        leave(connection);
}
