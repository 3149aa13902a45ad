#include "connectors/mqtt/mqtt_handshake.h"

#include "base/alloc.h"
#include "codec/mqtt_encode.h"
#include "connectors/mqtt/mqtt_forget.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* --- what a reason code means to a user --------------------------------------------------------
 */

struct advice {
    uint8_t reason;
    enum err err;
    const char *text;
};

static const struct advice advices[] = {
    {MQTT_REASON_BAD_CREDENTIALS, ERR_AUTH, "check username and password"},
    {MQTT_REASON_NOT_AUTHORIZED, ERR_AUTH,
     "check username and password, and what the broker's access list allows them"},
    {MQTT_REASON_UNSUPPORTED_VERSION, ERR_UNSUPPORTED,
     "it speaks neither MQTT 5 nor 3.1.1, or protocol_version has to be changed"},
    {MQTT_REASON_CLIENT_ID_INVALID, ERR_REFUSED, "set client_id to one that the broker takes"},
    {MQTT_REASON_BANNED, ERR_REFUSED, "ask the broker's operator why this client is banned"},
    {MQTT_REASON_BAD_AUTHENTICATION_METHOD, ERR_AUTH,
     "it wants an authentication method; only user name and password are supported"},
    {MQTT_REASON_SERVER_UNAVAILABLE, ERR_BUSY, "it is tried again"},
    {MQTT_REASON_SERVER_BUSY, ERR_BUSY, "it is tried again"},
    {MQTT_REASON_SERVER_SHUTTING_DOWN, ERR_CLOSED, "it is tried again"},
    {MQTT_REASON_CONNECTION_RATE_EXCEEDED, ERR_BUSY, "it is tried again, more slowly"},
    {MQTT_REASON_QUOTA_EXCEEDED, ERR_BUSY, "raise the broker's quota for this client"},
    {MQTT_REASON_SESSION_TAKEN_OVER, ERR_CONFLICT,
     "another client uses the same client_id: give each source and replica its own"},
    {MQTT_REASON_KEEP_ALIVE_TIMEOUT, ERR_TIMEOUT, "raise keep_alive_seconds if this recurs"},
    {MQTT_REASON_SHARED_NOT_SUPPORTED, ERR_UNSUPPORTED, "set use_shared_subscription to false"},
    {MQTT_REASON_WILDCARDS_NOT_SUPPORTED, ERR_UNSUPPORTED,
     "name the topics one by one, without + and #"},
    {MQTT_REASON_TOPIC_FILTER_INVALID, ERR_INVALID, "correct the topic in topics"},
    {MQTT_REASON_PACKET_TOO_LARGE, ERR_TOO_LARGE, "raise the broker's packet size limit"},
    {MQTT_REASON_ADMINISTRATIVE_ACTION, ERR_CLOSED, "it is tried again"},
};

static struct advice advice_for(uint8_t reason)
{
    for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++)
        if (advices[i].reason == reason)
            return advices[i];
    return (struct advice){reason, ERR_REFUSED, "see the broker's log"};
}

/* Fails with "<what>: <reason> (<the broker's own words>); <advice>". */
static void fail_by_reason(struct mqtt_connection *connection, uint8_t reason, struct bytes words,
                           const char *what)
{
    struct advice advice = advice_for(reason);
    char quoted[140] = "";
    if (words.size > 0)
        snprintf(quoted, sizeof(quoted), " (\"%.*s\")", (int)(words.size < 128 ? words.size : 128),
                 (const char *)words.data);
    mqtt_connection_fail(connection, advice.err, "%s: %s%s; %s", what, mqtt_reason_text(reason),
                         quoted, advice.text);
}

/* --- redirects ---------------------------------------------------------------------------------
 */

/* The first of "host:port host:port …" (§4.11); IPv6 in brackets. */
static bool reference_parse(struct bytes reference, char host[256], uint16_t *port)
{
    char text[300];
    size_t size = 0;
    while (size < reference.size && size < sizeof(text) - 1 && reference.data[size] > ' ')
        size++;
    if (size == 0 || size == sizeof(text) - 1)
        return false;
    memcpy(text, reference.data, size);
    text[size] = 0;
    char *name = text;
    char *rest = strrchr(text, ':');
    if (text[0] == '[') {
        char *end = strchr(text, ']');
        if (!end)
            return false;
        *end = 0;
        name++;
        rest = end[1] == ':' ? end + 1 : NULL;
    }
    if (rest) {
        char *end;
        unsigned long number = strtoul(rest + 1, &end, 10);
        if (*end || number == 0 || number > 65535)
            return false;
        *port = (uint16_t)number;
        *rest = 0;
    }
    return *name && strlen(name) < 256 && snprintf(host, 256, "%s", name) > 0;
}

static bool is_redirect(uint8_t reason)
{
    return reason == MQTT_REASON_USE_ANOTHER_SERVER || reason == MQTT_REASON_SERVER_MOVED;
}

/* True: another try is under way. */
static bool redirect(struct mqtt_connection *connection, const struct mqtt_properties *properties)
{
    char host[256];
    uint16_t port = connection->config->port;
    if (connection->redirects >= MQTT_REDIRECTS_MAX ||
        !mqtt_has(properties, MQTT_PROPERTY_SERVER_REFERENCE) ||
        !reference_parse(properties->server_reference, host, &port))
        return false;
    connection->redirects++;
    snprintf(connection->target_host, sizeof(connection->target_host), "%s", host);
    connection->target_port = port;
    mqtt_connection_again(connection);
    return true;
}

void mqtt_handshake_redirected(struct mqtt_connection *connection)
{
    char host[256];
    uint16_t port = connection->config->port;
    struct buf reference;
    buf_init(&reference, MQTT_TEXT_BYTES_MAX);
    if (ingest_state_get(connection->source, BYTES_LITERAL("redirect"), &reference) == ERR_OK &&
        reference_parse(buf_bytes(&reference), host, &port) &&
        ingest_state_put(connection->source, BYTES_LITERAL("redirect"), (struct bytes){0}) ==
            ERR_OK) {
        connection->redirects++;
        snprintf(connection->target_host, sizeof(connection->target_host), "%s", host);
        connection->target_port = port;
        ingest_end_of_read(connection->source);
    }
    buf_fini(&reference);
}

/* --- CONNECT -----------------------------------------------------------------------------------
 */

static struct bytes text_or_empty(const char *text)
{
    return text ? bytes_from_text(text) : (struct bytes){0};
}

static struct mqtt_connect connect_packet(const struct mqtt_connection *connection)
{
    const struct mqtt_config *config = connection->config;
    struct mqtt_connect packet = {
        .version = connection->version,
        .clean_start = config->clean_start || connection->cleaning,
        .keep_alive_seconds = config->keep_alive_seconds,
        .client_id = bytes_from_text(connection->client_id),
        .has_username = config->username,
        .username = text_or_empty(config->username),
        .has_password = config->password,
        .password = text_or_empty(config->password),
    };
    struct mqtt_properties *properties = &packet.properties;
    mqtt_set(properties, MQTT_PROPERTY_SESSION_EXPIRY);
    properties->session_expiry_seconds = connection->cleaning ? 0 : config->session_expiry_seconds;
    mqtt_set(properties, MQTT_PROPERTY_RECEIVE_MAXIMUM);
    properties->receive_maximum = config->receive_maximum;
    mqtt_set(properties, MQTT_PROPERTY_TOPIC_ALIAS_MAXIMUM);
    properties->topic_alias_maximum = MQTT_TOPIC_ALIASES_MAX;
    return packet;
}

void mqtt_handshake_begin(struct mqtt_connection *connection)
{
    struct mqtt_connect packet = connect_packet(connection);
    connection->state = MQTT_STATE_CONNACK;
    connection->deadline_ms = mqtt_connection_now_ms(connection) + MQTT_CONNECT_TIMEOUT_MS;
    enum err err = mqtt_encode_connect(&connection->out, &packet);
    if (err == ERR_OK)
        err = mqtt_connection_send(connection);
    if (err != ERR_OK)
        mqtt_connection_fail(connection, err, "cannot send CONNECT to %s:%u: %s",
                             connection->target_host, connection->target_port, err_text(err));
}

bool mqtt_handshake_fall_back(struct mqtt_connection *connection)
{
    if (connection->version != MQTT_VERSION_5)
        return false;
    connection->version = MQTT_VERSION_3_1_1;
    mqtt_connection_again(connection);
    return true;
}

/* --- what is to be subscribed ------------------------------------------------------------------
 */

static void state_key(uint32_t index, char ret_key[32])
{
    snprintf(ret_key, 32, "subscribed/%u", index);
}

/* "client id NUL host:port NUL (qos filter NUL)…": whose session it is, then what it has. */
static void state_encode(const struct mqtt_connection *connection, struct buf *out)
{
    buf_append(out, connection->client_id, strlen(connection->client_id) + 1);
    buf_printf(out, "%s:%u", connection->config->broker, connection->config->port);
    buf_byte(out, 0);
    for (size_t i = 0; i < connection->config->topic_count; i++) {
        buf_byte(out, (uint8_t)('0' + connection->subscribe_qos));
        buf_append(out, connection->config->filters[i].data, connection->config->filters[i].size);
        buf_byte(out, 0);
    }
}

static enum err state_save(struct mqtt_connection *connection)
{
    char key[32];
    struct buf value;
    state_key(connection->index, key);
    buf_init(&value, 2 * MQTT_CONFIG_BYTES_MAX);
    state_encode(connection, &value);
    enum err err = value.err;
    if (err == ERR_OK)
        err = ingest_state_put(connection->source, bytes_from_text(key), buf_bytes(&value));
    buf_fini(&value);
    return err;
}

static struct bytes next_text(const struct buf *buf, size_t *offset)
{
    const uint8_t *start = buf->data + *offset;
    const uint8_t *end = *offset < buf->size ? memchr(start, 0, buf->size - *offset) : NULL;
    if (!end)
        return (struct bytes){0};
    *offset = (size_t)(end - buf->data) + 1;
    return bytes_from(start, (size_t)(end - start));
}

/* Where the filters begin in the saved state, or 0: it is about no session or another one. */
static size_t state_filters(const struct mqtt_connection *connection)
{
    char broker[300];
    size_t offset = 0;
    snprintf(broker, sizeof(broker), "%s:%u", connection->config->broker, connection->config->port);
    bool same =
        bytes_equal_text(next_text(&connection->subscribed, &offset), connection->client_id) &&
        bytes_equal_text(next_text(&connection->subscribed, &offset), broker);
    return same ? offset : 0;
}

static void change_add(struct mqtt_connection *connection, struct bytes filter, bool unsubscribe)
{
    connection->changes[connection->change_count++] = (struct mqtt_change){filter, unsubscribe};
}

static bool is_wanted(const struct mqtt_connection *connection, struct bytes filter)
{
    for (size_t i = 0; i < connection->config->topic_count; i++)
        if (bytes_equal(connection->config->filters[i], filter))
            return true;
    return false;
}

static bool is_subscribed(const struct mqtt_connection *connection, size_t offset,
                          struct bytes filter)
{
    for (struct bytes had; (had = next_text(&connection->subscribed, &offset)).size > 0;)
        if (had.data[0] == '0' + connection->subscribe_qos &&
            bytes_equal(bytes_from(had.data + 1, had.size - 1), filter))
            return true;
    return false;
}

static enum err changes_find(struct mqtt_connection *connection)
{
    char key[32];
    size_t offset = 0;
    state_key(connection->index, key);
    buf_clear(&connection->subscribed);
    if (connection->session_present) {
        enum err err =
            ingest_state_get(connection->source, bytes_from_text(key), &connection->subscribed);
        if (err != ERR_OK && err != ERR_NOT_FOUND)
            return err;
        offset = state_filters(connection);
    }
    size_t had_count = 0;
    for (size_t at = offset; offset > 0 && next_text(&connection->subscribed, &at).size > 0;)
        had_count++;
    mem_free(connection->changes);
    connection->changes =
        mem_zalloc(had_count + connection->config->topic_count, sizeof(struct mqtt_change));
    connection->change_count = connection->change_at = connection->change_ahead = 0;
    if (!connection->changes)
        return ERR_NO_MEMORY;
    size_t at = offset;
    struct bytes had;
    for (; had_count > 0 && (had = next_text(&connection->subscribed, &at)).size > 0; had_count--) {
        assert(had.data);
        struct bytes filter = bytes_from(had.data + 1, had.size - 1);
        if (!is_wanted(connection, filter))
            change_add(connection, filter, true);
    }
    for (size_t i = 0; i < connection->config->topic_count; i++)
        if (offset == 0 || !is_subscribed(connection, offset, connection->config->filters[i]))
            change_add(connection, connection->config->filters[i], false);
    return ERR_OK;
}

/* --- SUBSCRIBE and UNSUBSCRIBE -----------------------------------------------------------------
 */

static enum err change_packet(struct mqtt_connection *connection)
{
    struct mqtt_filter filters[MQTT_FILTERS_PER_PACKET];
    const struct mqtt_change *first = &connection->changes[connection->change_at];
    size_t left = connection->change_count - connection->change_at;
    size_t count = 0;
    while (count < left && count < MQTT_FILTERS_PER_PACKET &&
           first[count].unsubscribe == first->unsubscribe) {
        filters[count] = (struct mqtt_filter){.filter = first[count].filter,
                                              .qos = connection->subscribe_qos,
                                              .retain_as_published = true,
                                              .retain_handling = 1};
        count++;
    }
    connection->change_ahead = count;
    connection->subscribe_identifier++;
    struct mqtt_properties none = {0};
    return first->unsubscribe
               ? mqtt_encode_unsubscribe(&connection->out, connection->version,
                                         connection->subscribe_identifier, &none, filters, count)
               : mqtt_encode_subscribe(&connection->out, connection->version,
                                       connection->subscribe_identifier, &none, filters, count);
}

static void changes_done(struct mqtt_connection *connection)
{
    if (connection->unsubscribing) {
        mqtt_forget_unsubscribed(connection);
        return;
    }
    enum err err = connection->change_count > 0 ? state_save(connection) : ERR_OK;
    if (err != ERR_OK) {
        mqtt_connection_fail(connection, err, "cannot keep what is subscribed: %s", err_text(err));
        return;
    }
    ingest_end_of_read(connection->source);
    mqtt_connection_ready(connection);
}

static void changes_go_on(struct mqtt_connection *connection)
{
    connection->change_at += connection->change_ahead;
    connection->change_ahead = 0;
    if (connection->change_at == connection->change_count) {
        changes_done(connection);
        return;
    }
    connection->state = MQTT_STATE_SUBSCRIBING;
    connection->deadline_ms = mqtt_connection_now_ms(connection) + MQTT_CONNECT_TIMEOUT_MS;
    enum err err = change_packet(connection);
    if (err == ERR_OK && connection->packet_size_max > 0 &&
        connection->out.size > connection->packet_size_max) {
        mqtt_connection_fail(connection, ERR_TOO_LARGE,
                             "the topics are too long for the broker, whose maximum packet size is "
                             "%u bytes: raise it, or shorten topics",
                             connection->packet_size_max);
        return;
    }
    if (err == ERR_OK)
        err = mqtt_connection_send(connection);
    if (err != ERR_OK)
        mqtt_connection_fail(connection, err, "cannot send SUBSCRIBE: %s", err_text(err));
}

void mqtt_handshake_unsubscribe(struct mqtt_connection *connection)
{
    mem_free(connection->changes);
    connection->changes = mem_zalloc(connection->config->topic_count, sizeof(struct mqtt_change));
    connection->change_count = connection->change_at = connection->change_ahead = 0;
    if (!connection->changes)
        return; /* the session ends without it */
    for (size_t i = 0; i < connection->config->topic_count; i++)
        change_add(connection, connection->config->filters[i], true);
    connection->unsubscribing = true;
    changes_go_on(connection);
}

enum err mqtt_handshake_forget_state(struct mqtt_connection *connection)
{
    char key[32];
    state_key(connection->index, key);
    return ingest_state_put(connection->source, bytes_from_text(key), (struct bytes){0});
}

bool mqtt_handshake_knows(const struct mqtt_connection *connection, uint32_t index)
{
    char key[32];
    struct buf value;
    state_key(index, key);
    buf_init(&value, 2 * MQTT_CONFIG_BYTES_MAX);
    bool knows = ingest_state_get(connection->source, bytes_from_text(key), &value) == ERR_OK;
    buf_fini(&value);
    return knows;
}

/* One code of a SUBACK. False: the subscription was refused. */
static bool code_good(struct mqtt_connection *connection, uint8_t code, struct bytes filter,
                      struct bytes words)
{
    char text[300];
    if (code >= MQTT_REASON_FAILURE) {
        snprintf(text, sizeof(text), "the broker refused to subscribe to \"%.*s\"",
                 (int)(filter.size < 120 ? filter.size : 120), (const char *)filter.data);
        if (connection->version == MQTT_VERSION_3_1_1)
            mqtt_connection_fail(
                connection, ERR_REFUSED, "%s and gave no reason; check its access list%s", text,
                connection->config->shared_group ? ", or set use_shared_subscription to false"
                                                 : "");
        else
            fail_by_reason(connection, code, words, text);
        return false;
    }
    if (code < connection->subscribe_qos) {
        snprintf(text, sizeof(text), "the broker granted only QoS %u for \"%.*s\": %s", code,
                 (int)(filter.size < 120 ? filter.size : 120), (const char *)filter.data,
                 code == 0 ? "messages may be lost on the way" : "repetitions are recognised");
        connection->ops->on_warning(connection->ctx, text);
    }
    return true;
}

void mqtt_handshake_suback(struct mqtt_connection *connection, const struct mqtt_frame *frame,
                           struct bytes body)
{
    struct mqtt_subscribe suback;
    struct mqtt_fault fault;
    if (mqtt_decode_subscribe(connection->version, frame, body, &suback, &fault) != ERR_OK) {
        mqtt_connection_refuse(connection, fault.reason, fault.text);
        return;
    }
    const struct mqtt_change *first = &connection->changes[connection->change_at];
    bool is_unsuback = frame->type == MQTT_UNSUBACK;
    bool has_codes = !is_unsuback || connection->version == MQTT_VERSION_5;
    if (is_unsuback != first->unsubscribe ||
        suback.packet_identifier != connection->subscribe_identifier ||
        (has_codes && suback.entry_count != connection->change_ahead)) {
        mqtt_connection_refuse(connection, MQTT_REASON_PROTOCOL_ERROR,
                               "a SUBACK or UNSUBACK that answers nothing that was asked (§3.9)");
        return;
    }
    for (size_t i = 0; i < connection->change_ahead && !is_unsuback; i++)
        if (!code_good(connection, suback.entries.data[i], first[i].filter,
                       suback.properties.reason_string))
            return;
    changes_go_on(connection);
}

/* --- CONNACK -----------------------------------------------------------------------------------
 */

static bool server_suits(struct mqtt_connection *connection,
                         const struct mqtt_properties *properties)
{
    const struct mqtt_config *config = connection->config;
    if (config->shared_group && !properties->shared_available) {
        mqtt_connection_fail(connection, ERR_UNSUPPORTED,
                             "the broker has no shared subscriptions: set use_shared_subscription "
                             "to false");
        return false;
    }
    for (size_t i = 0; i < config->topic_count && !properties->wildcard_available; i++) {
        if (!memchr(config->topics[i].data, '+', config->topics[i].size) &&
            !memchr(config->topics[i].data, '#', config->topics[i].size))
            continue;
        mqtt_connection_fail(
            connection, ERR_UNSUPPORTED,
            "the broker has no wildcard subscriptions: name the topics one by one");
        return false;
    }
    return true;
}

static bool server_take(struct mqtt_connection *connection,
                        const struct mqtt_properties *properties)
{
    const struct mqtt_config *config = connection->config;
    connection->keep_alive_seconds = config->keep_alive_seconds;
    connection->maximum_qos = properties->maximum_qos;
    connection->packet_size_max = properties->maximum_packet_size_bytes;
    if (mqtt_has(properties, MQTT_PROPERTY_SERVER_KEEP_ALIVE))
        connection->keep_alive_seconds = properties->server_keep_alive_seconds;
    connection->subscribe_qos = config->qos;
    if (connection->subscribe_qos > properties->maximum_qos) {
        connection->subscribe_qos = properties->maximum_qos;
        connection->ops->on_warning(connection->ctx,
                                    properties->maximum_qos == 0
                                        ? "the broker has QoS 0 only: messages may be lost on the "
                                          "way"
                                        : "the broker has no QoS 2: it is asked for QoS 1, whose "
                                          "repetitions are recognised");
    }
    if (!mqtt_has(properties, MQTT_PROPERTY_ASSIGNED_CLIENT_ID) ||
        properties->assigned_client_id.size == 0)
        return true;
    char *assigned = mem_alloc(properties->assigned_client_id.size + 1);
    if (!assigned) {
        mqtt_connection_fail(connection, ERR_NO_MEMORY, "out of memory at CONNACK");
        return false;
    }
    memcpy(assigned, properties->assigned_client_id.data, properties->assigned_client_id.size);
    assigned[properties->assigned_client_id.size] = 0;
    mem_free(connection->client_id);
    connection->client_id = assigned;
    return true;
}

static void session_begin(struct mqtt_connection *connection)
{
    enum err err = ERR_OK;
    if (!connection->session_present) {
        mqtt_session_forget(&connection->session);
        err = ingest_session_new(connection->source);
    }
    if (err == ERR_OK)
        err = changes_find(connection);
    if (err != ERR_OK) {
        mqtt_connection_fail(connection, err, "cannot begin the session: %s", err_text(err));
        return;
    }
    ingest_end_of_read(connection->source);
    changes_go_on(connection);
}

static void refused(struct mqtt_connection *connection, const struct mqtt_connack *connack)
{
    char what[300];
    if (is_redirect(connack->reason) && redirect(connection, &connack->properties))
        return;
    if (connack->reason == MQTT_REASON_UNSUPPORTED_VERSION && mqtt_handshake_fall_back(connection))
        return;
    snprintf(what, sizeof(what), "the broker %.200s:%u refused the connection",
             connection->target_host, connection->target_port);
    fail_by_reason(connection, connack->reason, connack->properties.reason_string, what);
}

void mqtt_handshake_connack(struct mqtt_connection *connection, const struct mqtt_frame *frame,
                            struct bytes body)
{
    struct mqtt_connack connack;
    struct mqtt_fault fault;
    if (mqtt_decode_connack(connection->version, frame, body, &connack, &fault) != ERR_OK) {
        mqtt_connection_refuse(connection, fault.reason, fault.text);
        return;
    }
    if (connack.reason != MQTT_REASON_SUCCESS) {
        refused(connection, &connack);
        return;
    }
    if (connack.session_present && (connection->config->clean_start || connection->cleaning)) {
        mqtt_connection_refuse(connection, MQTT_REASON_PROTOCOL_ERROR,
                               "a session is present although none was asked for (§3.2.2.1.1)");
        return;
    }
    connection->session_present = connack.session_present;
    if (connection->cleaning || (connection->forgetting && !connack.session_present)) {
        mqtt_forget_connected(connection);
        return;
    }
    if (server_suits(connection, &connack.properties) &&
        server_take(connection, &connack.properties))
        session_begin(connection);
}

void mqtt_handshake_disconnect(struct mqtt_connection *connection, const struct mqtt_frame *frame,
                               struct bytes body)
{
    struct mqtt_ack disconnect;
    struct mqtt_fault fault;
    if (mqtt_decode_ack(connection->version, frame, body, &disconnect, &fault) != ERR_OK) {
        mqtt_connection_refuse(connection, fault.reason, fault.text);
        return;
    }
    if (is_redirect(disconnect.reason)) {
        struct bytes reference = disconnect.properties.server_reference;
        /* For the next connect; if it cannot be kept, the broker will say so again. */
        enum err err = ingest_state_put(connection->source, BYTES_LITERAL("redirect"), reference);
        (void)err;
        ingest_end_of_read(connection->source);
    }
    char what[300];
    snprintf(what, sizeof(what), "the broker %.200s:%u ended the connection",
             connection->target_host, connection->target_port);
    fail_by_reason(connection, disconnect.reason, disconnect.properties.reason_string, what);
}
