#pragma once
/*
 * The way from an open TCP connection to a session that delivers: CONNECT, CONNACK, UNSUBSCRIBE,
 * SUBSCRIBE; and the sentences for what a broker refuses. Part of mqtt_connection.
 *
 * SUBSCRIBE goes out only when the broker has no session or the topics changed since: what a
 * session has is kept in the connector's state under "subscribed/<connection>".
 */
#include "connectors/mqtt/mqtt_connection.h"

/* Before TCP: a DISCONNECT had named another server. It is tried once, then the configured one is
 * asked again. */
void mqtt_handshake_redirected(struct mqtt_connection *connection);
/* TCP is open: sends CONNECT. */
void mqtt_handshake_begin(struct mqtt_connection *connection);
void mqtt_handshake_connack(struct mqtt_connection *connection, const struct mqtt_frame *frame,
                            struct bytes body);
void mqtt_handshake_suback(struct mqtt_connection *connection, const struct mqtt_frame *frame,
                           struct bytes body);
/* A DISCONNECT of the broker (version 5). */
void mqtt_handshake_disconnect(struct mqtt_connection *connection, const struct mqtt_frame *frame,
                               struct bytes body);
/* TCP ended before a CONNACK. True: an older protocol version is tried. */
bool mqtt_handshake_fall_back(struct mqtt_connection *connection);

/* For mqtt_forget.h: unsubscribes all, which ends with mqtt_forget_unsubscribed; forgets what the
 * connector's state says of the session. */
void mqtt_handshake_unsubscribe(struct mqtt_connection *connection);
enum err mqtt_handshake_forget_state(struct mqtt_connection *connection) ERR_MUST_USE;
/* Whether the source's state tells of a session of that connection, which may not be open. */
bool mqtt_handshake_knows(const struct mqtt_connection *connection, uint32_t index);
