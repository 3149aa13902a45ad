#pragma once
/*
 * The receive path: bytes from the stream to packets, PUBLISH to ingest_emit, in place and without
 * an allocation per message. Part of mqtt_connection.
 */
#include "connectors/mqtt/mqtt_connection.h"

/* Takes whole packets off the front of data; returns how many bytes are done with. */
size_t mqtt_receive(struct mqtt_connection *connection, struct bytes data);
void mqtt_receive_fini(struct mqtt_connection *connection);
