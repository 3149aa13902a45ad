#include "connectors/mqtt/mqtt_receive.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "codec/mqtt_encode.h"
#include "codec/mqtt_text.h"
#include "connectors/mqtt/mqtt_handshake.h"
#include "connectors/mqtt/mqtt_user_properties.h"
#include "os/clock.h"

#include <stdio.h>
#include <string.h>

#define MQTT_DETAIL_BYTES      320
#define MQTT_EXTRAS_KEPT_BYTES (64 * KIB) /* of memory, between messages */

/* --- topic aliases (§3.3.2.3.4) ----------------------------------------------------------------
 */

/* The topic that a PUBLISH means. False: refused. */
static bool topic_resolve(struct mqtt_connection *connection, struct mqtt_publish *publish)
{
    if (!mqtt_has(&publish->properties, MQTT_PROPERTY_TOPIC_ALIAS))
        return true;
    uint16_t alias = publish->properties.topic_alias;
    if (alias == 0 || alias > MQTT_TOPIC_ALIASES_MAX) {
        mqtt_connection_refuse(connection, MQTT_REASON_TOPIC_ALIAS_INVALID,
                               "a topic alias that is 0 or over the maximum (§3.3.2.3.4)");
        return false;
    }
    struct bytes *known = &connection->aliases[alias];
    if (publish->topic.size == 0) {
        publish->topic = *known;
        if (known->size == 0)
            mqtt_connection_refuse(connection, MQTT_REASON_PROTOCOL_ERROR,
                                   "a topic alias that stands for nothing (§3.3.2.3.4)");
        return known->size > 0;
    }
    if (bytes_equal(*known, publish->topic))
        return true;
    uint8_t *copy = mem_dup(publish->topic.data, publish->topic.size);
    if (!copy) {
        mqtt_connection_fail(connection, ERR_NO_MEMORY, "out of memory for a topic alias");
        return false;
    }
    mem_free((void *)(uintptr_t)known->data);
    *known = bytes_from(copy, publish->topic.size);
    return true;
}

void mqtt_receive_fini(struct mqtt_connection *connection)
{
    for (size_t i = 0; i <= MQTT_TOPIC_ALIASES_MAX; i++) {
        mem_free((void *)(uintptr_t)connection->aliases[i].data);
        connection->aliases[i] = (struct bytes){0};
    }
    mem_free((void *)(uintptr_t)connection->late.topic.data);
    connection->late = (struct mqtt_publish){0};
    connection->skip_bytes = 0;
    connection->skip_identifier = 0;
}

/* --- user properties ---------------------------------------------------------------------------
 */

/* The fields of the message itself. */
static enum err extras_make(struct mqtt_connection *connection,
                            const struct mqtt_properties *properties,
                            struct mqtt_user_properties *ret_user)
{
    *ret_user = (struct mqtt_user_properties){0};
    buf_clear(&connection->extras);
    if (properties->raw.size == 0)
        return ERR_OK;
    struct buf *json = &connection->json;
    enum err err = mqtt_user_properties_write(json, properties, ret_user);
    if (err == ERR_OK && json->size > 0)
        err = message_field_append(&connection->extras,
                                   &(struct message_field){.index = MQTT_FIELD_USER_PROPERTIES,
                                                           .type = FIELD_STRING,
                                                           .text = buf_bytes(json)});
    return err;
}

/* Adds to what a dead letter says; a message that was none becomes one. */
static void left_out_tell(char *detail, size_t detail_size, const struct mqtt_user_properties *user)
{
    size_t used = strlen(detail);
    if (used == 0)
        snprintf(detail, detail_size,
                 "the JSON text of %zu user properties is over %zu bytes; the first %zu are kept",
                 user->count, MQTT_USER_JSON_BYTES_MAX, user->kept);
    else
        snprintf(detail + used, detail_size - used,
                 "; of %zu user properties the first %zu are kept", user->count, user->kept);
}

static void extras_release(struct mqtt_connection *connection)
{
    struct buf *bufs[] = {&connection->extras, &connection->json};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
        if (bufs[i]->capacity > MQTT_EXTRAS_KEPT_BYTES)
            buf_fini(bufs[i]);
}

/* --- PUBLISH -----------------------------------------------------------------------------------
 */

static void emit_failed(struct mqtt_connection *connection, enum err err)
{
    mqtt_connection_fail(connection, err,
                         "a message could not be taken: %s; the broker will send it again",
                         err_text(err));
}

static void too_many(struct mqtt_connection *connection)
{
    mqtt_connection_refuse(connection, MQTT_REASON_RECEIVE_MAXIMUM_EXCEEDED,
                           "more unacknowledged messages than there are identifiers (§3.3.4)");
}

/* The order of PUBACKs and PUBRECs is that of PUBLISHes, so this is called as each comes to its
 * end. */
static void owe(struct mqtt_connection *connection, uint8_t qos, uint16_t packet_identifier)
{
    if (mqtt_session_owe(&connection->session, qos, packet_identifier) != ERR_OK)
        too_many(connection);
}

static bool publish_allowed(struct mqtt_connection *connection, const struct mqtt_publish *publish)
{
    if (publish->qos > 0 && connection->version == MQTT_VERSION_5 &&
        !mqtt_session_holds(&connection->session, publish->packet_identifier) &&
        mqtt_session_unacknowledged(&connection->session) >= connection->config->receive_maximum) {
        mqtt_connection_refuse(connection, MQTT_REASON_RECEIVE_MAXIMUM_EXCEEDED,
                               "more unacknowledged messages than the receive maximum (§3.3.4)");
        return false;
    }
    return true;
}

static void reused_warn(struct mqtt_connection *connection, uint16_t packet_identifier)
{
    char text[200];
    snprintf(text, sizeof(text),
             "the broker sent another QoS 2 message under packet identifier %u before it released "
             "the first: both are stored (a fault of the broker's)",
             packet_identifier);
    connection->ops->on_warning(connection->ctx, text);
}

/* detail: empty, or why it goes to the dead letters. */
static enum err message_emit(struct mqtt_connection *connection, const struct mqtt_route *route,
                             const struct mqtt_properties *properties,
                             struct ingest_message *message, char detail[MQTT_DETAIL_BYTES])
{
    struct mqtt_user_properties user;
    enum err err = extras_make(connection, properties, &user);
    if (user.kept < user.count)
        left_out_tell(detail, MQTT_DETAIL_BYTES, &user);
    message->extras = buf_bytes(&connection->extras);
    if (err == ERR_OK && detail[0] != '\0')
        err = ingest_reject(route->ingest, message, "oversize", detail, &connection->sequence);
    else if (err == ERR_OK)
        err = ingest_emit(route->ingest, message, &connection->sequence);
    extras_release(connection);
    return err;
}

/* Emits, or counts a repetition. detail: as above. False: failed. */
static bool publish_take(struct mqtt_connection *connection, const struct mqtt_publish *publish,
                         int64_t arrival_us, uint64_t hash_salt, char detail[MQTT_DETAIL_BYTES])
{
    struct mqtt_route *route;
    enum err err = mqtt_routes_get(&connection->routes, publish->topic, publish->qos,
                                   publish->retain, publish->properties.content_type, &route);
    if (err != ERR_OK) {
        emit_failed(connection, err);
        return false;
    }
    struct ingest_message message = {.payload = publish->payload, .arrival_us = arrival_us};
    if (publish->qos > 0) {
        uint64_t hash = mqtt_publish_hash(route->topic_hash, publish) ^ hash_salt;
        enum mqtt_verdict verdict = mqtt_session_judge(
            &connection->session, publish->qos, publish->packet_identifier, publish->dup, hash);
        if (verdict == MQTT_REPEATED) {
            connection->repeated++;
            ingest_count_repeated(route->ingest, publish->payload_size);
            return true;
        }
        if (verdict == MQTT_REUSED)
            reused_warn(connection, publish->packet_identifier);
        message.wants_acknowledgement = true;
        message.has_identity = true;
        message.qos_2 = publish->qos == 2;
        message.packet_identifier = publish->packet_identifier;
        message.identity_hash = hash;
    }
    err = message_emit(connection, route, &publish->properties, &message, detail);
    if (err != ERR_OK) {
        emit_failed(connection, err);
        return false;
    }
    if (publish->qos > 0)
        mqtt_session_received(&connection->session, publish->qos, message.packet_identifier,
                              message.identity_hash, connection->sequence);
    return true;
}

static void receive_publish(struct mqtt_connection *connection, const struct mqtt_frame *frame,
                            struct bytes body, int64_t arrival_us)
{
    struct mqtt_publish publish;
    struct mqtt_fault fault;
    if (mqtt_decode_publish(connection->version, frame, body, &publish, &fault) != ERR_OK) {
        mqtt_connection_refuse(connection, fault.reason, fault.text);
        return;
    }
    if (!publish_allowed(connection, &publish) || !topic_resolve(connection, &publish))
        return;
    connection->messages++;
    if (publish_take(connection, &publish, arrival_us, 0, (char[MQTT_DETAIL_BYTES]){""}) &&
        publish.qos > 0)
        owe(connection, publish.qos, publish.packet_identifier);
}

/* --- oversize ----------------------------------------------------------------------------------
 */

enum head { HEAD_MORE, HEAD_FITS, HEAD_OVERSIZE, HEAD_LATE, HEAD_BAD };

/* Looks at what is there of a PUBLISH that may be over the limit. HEAD_LATE: oversize, and
 * properties beyond all bounds stand before its payload, which begins at *ret_payload_offset. */
static enum head head_read(struct mqtt_connection *connection, const struct mqtt_frame *frame,
                           struct bytes body, struct mqtt_publish *ret_publish,
                           size_t *ret_payload_offset)
{
    struct mqtt_fault fault;
    if (body.size > frame->body_size)
        body.size = frame->body_size;
    enum err err = mqtt_decode_publish(connection->version, frame, body, ret_publish, &fault);
    bool late = err == ERR_AGAIN;
    if (late && body.size < MQTT_HEAD_BYTES_MAX)
        return HEAD_MORE;
    if (late)
        err = mqtt_decode_publish_head(connection->version, frame, body, ret_publish,
                                       ret_payload_offset, &fault);
    if (err != ERR_OK) {
        mqtt_connection_refuse(connection, fault.reason, fault.text);
        return HEAD_BAD;
    }
    if (ret_publish->payload_size <= connection->config->common.message_max_bytes &&
        frame->total_size <= connection->stream.options.read_max_bytes)
        return HEAD_FITS;
    if (late && ret_publish->payload_size > 0)
        return HEAD_LATE;
    size_t keep = ret_publish->payload_size < LIMIT_DEAD_LETTER_BYTES ? ret_publish->payload_size
                                                                      : LIMIT_DEAD_LETTER_BYTES;
    if (ret_publish->payload.size < keep)
        return HEAD_MORE;
    ret_publish->payload.size = keep; /* always the same part, so that its hash can be compared */
    return HEAD_OVERSIZE;
}

static void oversize_tell(const struct mqtt_connection *connection,
                          const struct mqtt_publish *publish, uint64_t packet_bytes,
                          char detail[MQTT_DETAIL_BYTES])
{
    size_t max = connection->config->common.message_max_bytes;
    if (publish->payload_size > max)
        snprintf(detail, MQTT_DETAIL_BYTES, "payload of %zu bytes is over max_message_bytes %zu",
                 publish->payload_size, max);
    else
        snprintf(detail, MQTT_DETAIL_BYTES,
                 "packet of %llu bytes, with a payload of %zu, is over max_message_bytes %zu and "
                 "%zu more for topic and properties",
                 (unsigned long long)packet_bytes, publish->payload_size, max, MQTT_HEAD_BYTES_MAX);
}

/* skip_bytes: of the packet, from the front of what is there. */
static void receive_oversize(struct mqtt_connection *connection, struct mqtt_publish *publish,
                             uint64_t packet_bytes, uint64_t skip_bytes, int64_t arrival_us)
{
    char detail[MQTT_DETAIL_BYTES];
    if (!publish_allowed(connection, publish) || !topic_resolve(connection, publish))
        return;
    oversize_tell(connection, publish, packet_bytes, detail);
    connection->messages++;
    connection->oversize++;
    uint64_t size = publish->payload_size; /* the packet's may change when it comes again */
    uint64_t salt = hash_bytes(bytes_from(&size, sizeof(size)));
    if (!publish_take(connection, publish, arrival_us, salt, detail))
        return;
    connection->skip_bytes = skip_bytes;
    connection->skip_identifier = publish->packet_identifier;
    connection->skip_qos = publish->qos;
}

/* Notes what the head says until its payload comes. */
static void late_begin(struct mqtt_connection *connection, const struct mqtt_frame *frame,
                       const struct mqtt_publish *publish, size_t payload_offset)
{
    uint8_t *topic = mem_dup(publish->topic.data, publish->topic.size);
    if (!topic) {
        mqtt_connection_fail(connection, ERR_NO_MEMORY, "out of memory for a topic");
        return;
    }
    connection->late = *publish;
    connection->late.topic.data = topic;
    connection->late_packet_bytes = frame->total_size;
    connection->skip_bytes = frame->header_size + payload_offset;
}

static void late_release(struct mqtt_connection *connection)
{
    mem_free((void *)(uintptr_t)connection->late.topic.data);
    connection->late = (struct mqtt_publish){0};
}

/* Passes over what there is of an oversize packet; returns how much. */
static size_t skip(struct mqtt_connection *connection, size_t size)
{
    if (size < connection->skip_bytes) {
        connection->skip_bytes -= size;
        return size;
    }
    size = (size_t)connection->skip_bytes;
    connection->skip_bytes = 0;
    if (connection->skip_identifier != 0)
        owe(connection, connection->skip_qos, connection->skip_identifier);
    connection->skip_identifier = 0;
    return size;
}

/* The payload of a late one is at the front of in. As receive_packet. */
static size_t receive_late(struct mqtt_connection *connection, struct bytes in, int64_t arrival_us)
{
    struct mqtt_publish *publish = &connection->late;
    publish->payload = bytes_from(in.data, publish->payload_size < LIMIT_DEAD_LETTER_BYTES
                                               ? publish->payload_size
                                               : LIMIT_DEAD_LETTER_BYTES);
    if (in.size < publish->payload.size)
        return 0;
    receive_oversize(connection, publish, connection->late_packet_bytes, publish->payload_size,
                     arrival_us);
    late_release(connection);
    return connection->skip_bytes > 0 ? skip(connection, in.size) : 0;
}

/* --- packets -----------------------------------------------------------------------------------
 */

static void receive_pong(struct mqtt_connection *connection, const struct mqtt_frame *frame)
{
    struct mqtt_fault fault;
    uint64_t block;
    if (mqtt_decode_ping(connection->version, frame, &fault) != ERR_OK) {
        mqtt_connection_refuse(connection, fault.reason, fault.text);
        return;
    }
    if (!mqtt_session_ponged(&connection->session, &block))
        return;
    /* Not told: the journal keeps them longer, which is harmless. */
    enum err err = ingest_identities_free(connection->source, block);
    (void)err;
}

/* Not in the received set: the release was durable before, but not its PUBCOMP sent (§4.3.3). */
static enum err complete_unknown(struct mqtt_connection *connection, uint16_t packet_identifier)
{
    struct mqtt_ack complete = {.packet_identifier = packet_identifier,
                                .reason = MQTT_REASON_PACKET_IDENTIFIER_NOT_FOUND};
    enum err err = mqtt_encode_ack(&connection->out, connection->version, MQTT_PUBCOMP, &complete);
    return err == ERR_OK ? mqtt_connection_send(connection) : err;
}

/* PUBCOMP goes out when the release is durable: after it the identifier may stand for something
 * new, which a set recovered without the release would take for a repetition. */
static void receive_pubrel(struct mqtt_connection *connection, const struct mqtt_frame *frame,
                           struct bytes body)
{
    struct mqtt_fault fault;
    struct mqtt_ack release;
    enum err err;
    if (mqtt_decode_ack(connection->version, frame, body, &release, &fault) != ERR_OK) {
        mqtt_connection_refuse(connection, fault.reason, fault.text);
        return;
    }
    if (!mqtt_session_holds(&connection->session, release.packet_identifier)) {
        err = complete_unknown(connection, release.packet_identifier);
    } else {
        err = ingest_identity_release(connection->source, release.packet_identifier,
                                      &connection->sequence);
        if (err == ERR_OK && mqtt_session_release(&connection->session, release.packet_identifier,
                                                  connection->sequence) != ERR_OK) {
            too_many(connection);
            return;
        }
    }
    if (err != ERR_OK)
        mqtt_connection_fail(connection, err, "cannot complete a QoS 2 message: %s", err_text(err));
}

static void refuse_type(struct mqtt_connection *connection, const struct mqtt_frame *frame)
{
    char text[160];
    snprintf(text, sizeof(text), "a %s, which it may not send %s", mqtt_type_name(frame->type),
             connection->state == MQTT_STATE_CONNACK ? "before its CONNACK (§3.2)" : "here");
    mqtt_connection_refuse(connection, MQTT_REASON_PROTOCOL_ERROR, text);
}

static void receive_other(struct mqtt_connection *connection, const struct mqtt_frame *frame,
                          struct bytes body)
{
    bool connecting = connection->state == MQTT_STATE_CONNACK;
    bool subscribing = connection->state == MQTT_STATE_SUBSCRIBING;
    if (frame->type == MQTT_CONNACK && connecting)
        mqtt_handshake_connack(connection, frame, body);
    else if (connecting)
        refuse_type(connection, frame);
    else if ((frame->type == MQTT_SUBACK || frame->type == MQTT_UNSUBACK) && subscribing)
        mqtt_handshake_suback(connection, frame, body);
    else if (frame->type == MQTT_PINGRESP)
        receive_pong(connection, frame);
    else if (frame->type == MQTT_PUBREL)
        receive_pubrel(connection, frame, body);
    else if (frame->type == MQTT_DISCONNECT && connection->version == MQTT_VERSION_5)
        mqtt_handshake_disconnect(connection, frame, body);
    else
        refuse_type(connection, frame);
}

static bool may_go_on(const struct mqtt_connection *connection)
{
    return connection->state != MQTT_STATE_FAILED && connection->state != MQTT_STATE_CLOSING &&
           !connection->reopen && !connection->stopping &&
           (connection->state != MQTT_STATE_READY || connection->started);
}

/* As many are unacknowledged as may be, and an acknowledgement goes out as soon as the journal is
 * synced: what has come since is read after that. Mosquitto (2.0.11) takes up to its whole limit
 * from its queue for each single PUBACK; refused, it would send all of that again, for ever. */
static bool window_is_full(const struct mqtt_connection *connection)
{
    uint32_t limit = connection->version == MQTT_VERSION_5 ? connection->config->receive_maximum
                                                           : MQTT_RECEIVE_MAXIMUM;
    return mqtt_session_unacknowledged(&connection->session) >= limit &&
           mqtt_session_owed(&connection->session) > 0;
}

static void refuse_frame(struct mqtt_connection *connection, struct bytes in,
                         const struct mqtt_fault *fault)
{
    if (connection->state != MQTT_STATE_CONNACK) {
        mqtt_connection_refuse(connection, fault->reason, fault->text);
        return;
    }
    const char *guess = "";
    if (in.data[0] == 0x15) /* an alert */
        guess = " (is it a TLS port?)";
    else if (in.size >= 5 && memcmp(in.data, "HTTP/", 5) == 0)
        guess = " (is it an HTTP port?)";
    mqtt_connection_fail(connection, ERR_PROTOCOL,
                         "what answers at %s:%u does not speak MQTT%s: %s", connection->target_host,
                         connection->target_port, guess, fault->text);
}

/* The packet at the front of in: how many bytes were taken; 0: more is needed, or it failed. */
static size_t receive_packet(struct mqtt_connection *connection, struct bytes in,
                             int64_t arrival_us)
{
    struct mqtt_frame frame;
    struct mqtt_fault fault;
    if (connection->late.topic.data)
        return receive_late(connection, in, arrival_us);
    enum err err = mqtt_frame(in, connection->config->common.message_max_bytes, &frame, &fault);
    if (err == ERR_AGAIN)
        return 0;
    if (err == ERR_PROTOCOL) {
        refuse_frame(connection, in, &fault);
        return 0;
    }
    struct bytes body = {in.data + frame.header_size, in.size - frame.header_size};
    if (frame.type == MQTT_PUBLISH && connection->state != MQTT_STATE_CONNACK) {
        struct mqtt_publish publish;
        size_t payload_offset;
        enum head head = err == ERR_TOO_LARGE
                             ? head_read(connection, &frame, body, &publish, &payload_offset)
                             : HEAD_FITS;
        if (head == HEAD_OVERSIZE)
            receive_oversize(connection, &publish, frame.total_size, frame.total_size, arrival_us);
        else if (head == HEAD_LATE)
            late_begin(connection, &frame, &publish, payload_offset);
        if ((head == HEAD_OVERSIZE || head == HEAD_LATE) && connection->skip_bytes > 0)
            return skip(connection, in.size);
        if (head != HEAD_FITS || in.size < frame.total_size)
            return 0;
        body.size = frame.body_size;
        receive_publish(connection, &frame, body, arrival_us);
        return frame.total_size;
    }
    if (frame.total_size > MQTT_HEAD_BYTES_MAX) {
        mqtt_connection_refuse(connection, MQTT_REASON_PACKET_TOO_LARGE,
                               "a control packet larger than any has to be");
        return 0;
    }
    if (in.size < frame.total_size)
        return 0;
    body.size = frame.body_size;
    receive_other(connection, &frame, body);
    return frame.total_size;
}

static void stall_tell(struct mqtt_connection *connection, enum mqtt_stall_news news)
{
    char text[300];
    if (news == MQTT_STALL_NOTHING)
        return;
    if (news == MQTT_STALL_OVER) {
        connection->ops->on_warning(connection->ctx, NULL);
        return;
    }
    snprintf(text, sizeof(text),
             "the broker waits whenever %u messages are unacknowledged, which slows this source: "
             "raise its limit (Mosquitto: max_inflight_messages 0; EMQX: max_inflight; VerneMQ: "
             "max_inflight_messages), or the source's connections where it has none (HiveMQ)",
             connection->stall.size);
    connection->ops->on_warning(connection->ctx, text);
}

size_t mqtt_receive(struct mqtt_connection *connection, struct bytes data)
{
    int64_t arrival_us = clock_realtime_us(&clock_system);
    size_t done = 0;
    connection->received_ms = mqtt_connection_now_ms(connection);
    stall_tell(connection, mqtt_stall_data(&connection->stall, connection->received_ms));
    if (connection->skip_bytes > 0)
        done = skip(connection, data.size);
    while (done < data.size && may_go_on(connection)) {
        connection->waiting = window_is_full(connection);
        if (connection->waiting)
            break;
        size_t taken =
            receive_packet(connection, bytes_from(data.data + done, data.size - done), arrival_us);
        if (taken == 0)
            break;
        done += taken;
    }
    if (connection->state == MQTT_STATE_FAILED || connection->state == MQTT_STATE_CLOSING)
        return data.size;
    ingest_end_of_read(connection->source);
    mqtt_stall_received(&connection->stall, mqtt_session_unacknowledged(&connection->session),
                        connection->config->receive_maximum);
    mqtt_connection_acknowledge(connection);
    if (connection->waiting ||
        (connection->paused && connection->stream.bytes_read >= connection->pause_at_bytes))
        stream_read_stop(&connection->stream);
    return done;
}
