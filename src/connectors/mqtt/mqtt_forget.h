#pragma once
/*
 * The end of a session for good: the source is deleted, or has fewer connections than before. Part
 * of mqtt_connection.
 *
 * UNSUBSCRIBE; then what the broker had queued for this member is still taken and acknowledged, as
 * no other member of a shared subscription would get it, until nothing came for a moment; then the
 * session ends: a DISCONNECT with session expiry 0 (MQTT 5), or a connect with clean session
 * (3.1.1). What takes too long is left out: the broker forgets by its own expiry. A source that was
 * not connected when it was deleted comes with a clean start at once.
 */
#include "connectors/mqtt/mqtt_connection.h"

/* READY: sends UNSUBSCRIBE. */
void mqtt_forget_begin(struct mqtt_connection *connection);
/* UNSUBACK came for all. */
void mqtt_forget_unsubscribed(struct mqtt_connection *connection);
/* CONNACK: nothing is there any more to be forgotten. */
void mqtt_forget_connected(struct mqtt_connection *connection);
/* The session stays at the broker until it expires: told as a warning. */
void mqtt_forget_failed(struct mqtt_connection *connection, const char *reason);
void mqtt_forget_tick(struct mqtt_connection *connection, uint64_t now_ms);
