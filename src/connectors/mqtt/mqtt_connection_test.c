/*
 * The connector as a host sees it, against a broker that each test plays packet by packet on the
 * same loop, and a pipeline (the functions of ingest.h, below) that calls messages durable when the
 * test says so and keeps identities and state as the journal does.
 */
#include "connectors/connector.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "codec/mqtt_encode.h"
#include "connectors/mqtt/mqtt_connection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants those four first */
#include <cmocka.h>

#define MESSAGES_MAX 70000

/* Not through the registry, which would bring the other connectors and with them the pipeline. */
extern const struct connector mqtt_connector;

/* --- the pipeline ------------------------------------------------------------------------------
 */

struct emitted {
    char topic[64];
    char payload[64];
    size_t payload_size;
    char extras[200];
    struct ingest_message message;
    uint64_t sequence;
    bool rejected;
    bool retain;
    double qos;
};

struct ingest_source {
    const struct ingest_source_ops *ops;
    void *ctx;
    uint64_t sequence;
    uint8_t session;
};

struct ingest_route {
    char topic[64];
    char dataset[LIMIT_DATASET_ID_BYTES + 1];
    enum content_format format;
    double qos;
    bool retain;
    struct ingest_source *source;
};

struct released {
    uint64_t sequence;
    uint16_t packet_identifier;
};

static struct pipeline {
    struct ingest_source *sources[MQTT_CONNECTIONS_MAX];
    uint32_t source_count; /* open */
    struct emitted *emitted;
    uint32_t emitted_count;
    uint32_t emitted_first; /* of the source opened last */
    struct released released[100];
    uint32_t released_count;
    uint64_t block;
    struct ingest_identity identities[65536];
    bool known[65536];
    struct map states;
    uint32_t sessions_new;
    uint32_t repeated;
    uint64_t freed_block;
    bool refuse;
} pipeline;

enum err ingest_source_open(struct ingest_loop *loop, struct bytes source_id,
                            struct bytes source_type, const struct ingest_source_ops *ops,
                            void *ctx, struct ingest_source **ret_source)
{
    (void)loop;
    assert_true(bytes_equal_text(source_id, "source"));
    assert_true(bytes_equal_text(source_type, "mqtt"));
    struct ingest_source *source = mem_zalloc(1, sizeof(*source));
    if (!source)
        return ERR_NO_MEMORY;
    *source = (struct ingest_source){.ops = ops, .ctx = ctx};
    pipeline.sources[pipeline.source_count++] = source;
    if (pipeline.source_count == 1) {
        pipeline.emitted_first = pipeline.emitted_count;
        pipeline.released_count = 0;
    }
    *ret_source = source;
    return ERR_OK;
}

void ingest_source_session(struct ingest_source *source, uint8_t session)
{
    source->session = session;
}

void ingest_source_close(struct ingest_source *source)
{
    for (uint32_t i = 0; i < pipeline.source_count; i++)
        if (pipeline.sources[i] == source)
            pipeline.sources[i] = pipeline.sources[--pipeline.source_count];
    mem_free(source);
}

static void text_copy(char *to, size_t size, struct bytes text)
{
    snprintf(to, size, "%.*s", (int)text.size, (const char *)text.data);
}

enum err ingest_route_new(struct ingest_source *source, const struct route_view *view,
                          struct ingest_route **ret_route)
{
    struct ingest_route *route = mem_zalloc(1, sizeof(*route));
    if (!route)
        return ERR_NO_MEMORY;
    text_copy(route->topic, sizeof(route->topic), view->topic);
    text_copy(route->dataset, sizeof(route->dataset), view->dataset_id);
    static const char *const names[] = {
        "topic", "qos", "retain", "broker", "original_source_id", "user_properties"};
    assert_int_equal(view->field_count, 6);
    for (int i = 0; i < 6; i++)
        assert_true(bytes_equal_text(view->fields[i].name, names[i]));
    memcpy(&route->qos, view->fields[1].constant.data, sizeof(double));
    route->retain = view->fields[2].constant.data[0];
    assert_true(bytes_equal_text(view->fields[3].constant, "127.0.0.1"));
    assert_true(bytes_equal_text(view->fields[4].constant, "source"));
    route->format = view->format;
    route->source = source;
    *ret_route = route;
    return ERR_OK;
}

void ingest_route_free(struct ingest_route *route)
{
    mem_free(route);
}

enum err ingest_dataset_id(struct bytes source_id, struct bytes topic, uint32_t levels,
                           struct buf *out)
{
    (void)levels;
    buf_append(out, source_id.data, source_id.size);
    buf_byte(out, '_');
    return buf_append(out, topic.data, topic.size < 100 ? topic.size : 100);
}

static enum err take(struct ingest_route *route, const struct ingest_message *message,
                     bool rejected, uint64_t *ret_sequence)
{
    if (pipeline.refuse)
        return ERR_NO_MEMORY;
    assert_true(pipeline.emitted_count < MESSAGES_MAX);
    struct emitted *emitted = &pipeline.emitted[pipeline.emitted_count++];
    *emitted = (struct emitted){
        .message = *message, .rejected = rejected, .retain = route->retain, .qos = route->qos};
    snprintf(emitted->topic, sizeof(emitted->topic), "%s", route->topic);
    text_copy(emitted->payload, sizeof(emitted->payload), message->payload);
    emitted->payload_size = message->payload.size;
    size_t cursor = 0;
    struct message_field field;
    if (message_field_next(message->extras, &cursor, &field))
        text_copy(emitted->extras, sizeof(emitted->extras), field.text);
    *ret_sequence = emitted->sequence = ++route->source->sequence;
    return ERR_OK;
}

enum err ingest_emit(struct ingest_route *route, const struct ingest_message *message,
                     uint64_t *ret_sequence)
{
    return take(route, message, false, ret_sequence);
}

enum err ingest_reject(struct ingest_route *route, const struct ingest_message *message,
                       const char *reason, const char *detail, uint64_t *ret_sequence)
{
    assert_string_equal(reason, "oversize");
    assert_non_null(strstr(detail, "max_message_bytes"));
    return take(route, message, true, ret_sequence);
}

void ingest_count_repeated(struct ingest_route *route, uint64_t bytes)
{
    assert_non_null(route);
    (void)bytes;
    pipeline.repeated++;
}

void ingest_end_of_read(struct ingest_source *source)
{
    (void)source;
}

void ingest_identities(struct ingest_source *source,
                       void (*on_identity)(void *ctx, uint16_t packet_identifier,
                                           const struct ingest_identity *identity),
                       void *ctx)
{
    (void)source;
    for (uint32_t i = 0; i < 65536; i++)
        if (pipeline.known[i])
            on_identity(ctx, (uint16_t)i, &pipeline.identities[i]);
}

enum err ingest_session_new(struct ingest_source *source)
{
    (void)source;
    memset(pipeline.known, 0, sizeof(pipeline.known));
    pipeline.sessions_new++;
    return ERR_OK;
}

enum err ingest_identities_free(struct ingest_source *source, uint64_t block_number)
{
    (void)source;
    pipeline.freed_block = block_number;
    return ERR_OK;
}

enum err ingest_identity_release(struct ingest_source *source, uint16_t packet_identifier,
                                 uint64_t *ret_sequence)
{
    if (pipeline.refuse)
        return ERR_NO_MEMORY;
    *ret_sequence = ++source->sequence;
    pipeline.released[pipeline.released_count++] =
        (struct released){*ret_sequence, packet_identifier};
    return ERR_OK;
}

static struct buf *state_find(struct bytes key)
{
    return map_get(&pipeline.states, key);
}

enum err ingest_state_put(struct ingest_source *source, struct bytes key, struct bytes value)
{
    (void)source;
    struct buf *kept = state_find(key);
    if (!kept) {
        kept = mem_zalloc(1, sizeof(*kept));
        if (!kept)
            return ERR_NO_MEMORY;
        buf_init(kept, 1 << 20);
        if (map_put(&pipeline.states, key, kept) != ERR_OK) {
            mem_free(kept);
            return ERR_NO_MEMORY;
        }
    }
    buf_clear(kept);
    return buf_append(kept, value.data, value.size);
}

enum err ingest_state_get(struct ingest_source *source, struct bytes key, struct buf *ret_value)
{
    (void)source;
    struct buf *kept = state_find(key);
    return !kept || kept->size == 0 ? ERR_NOT_FOUND : buf_append(ret_value, kept->data, kept->size);
}

static void identity_keep(const struct ingest_message *message, uint64_t block)
{
    struct ingest_identity *identity = &pipeline.identities[message->packet_identifier];
    if (!message->has_identity)
        return;
    if (!pipeline.known[message->packet_identifier] || identity->hash != message->identity_hash)
        *identity = (struct ingest_identity){
            .hash = message->identity_hash, .block = block, .qos_2 = message->qos_2};
    pipeline.known[message->packet_identifier] = true;
}

/* All that the first source emitted and released up to sequence becomes durable, as one block. */
static void durable(uint64_t sequence)
{
    uint64_t block = ++pipeline.block;
    uint32_t release = 0;
    for (uint32_t i = pipeline.emitted_first; i <= pipeline.emitted_count; i++) {
        bool is_last = i == pipeline.emitted_count || pipeline.emitted[i].sequence > sequence;
        uint64_t next = is_last ? sequence + 1 : pipeline.emitted[i].sequence;
        for (; release < pipeline.released_count && pipeline.released[release].sequence < next;
             release++)
            pipeline.known[pipeline.released[release].packet_identifier] = false;
        if (is_last)
            break;
        identity_keep(&pipeline.emitted[i].message, block);
    }
    pipeline.sources[0]->ops->on_durable(pipeline.sources[0]->ctx, sequence, block);
}

static void pipeline_clear(void)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&pipeline.states, &cursor));) {
        buf_fini(entry->value);
        mem_free(entry->value);
    }
    map_fini(&pipeline.states);
    assert_int_equal(pipeline.source_count, 0);
    struct emitted *emitted = pipeline.emitted;
    memset(&pipeline, 0, sizeof(pipeline));
    pipeline.emitted = emitted;
}

/* --- the host and the broker -------------------------------------------------------------------
 */

struct fixture {
    uv_loop_t loop;
    uv_tcp_t listener;
    uint16_t port;
    uv_tcp_t socket;
    bool accepted;
    bool hung_up;
    uint32_t accept_count;
    struct buf in;
    char room[65536];
    enum mqtt_version version;

    json_t *config;
    void *state;
    const struct connector *connector;
    struct connector_host host;
    bool connected;
    bool failed;
    bool stopped;
    bool closed;
    bool start_at_once;
    bool take_second; /* two connections: the second answers by itself */
    enum err err;
    char reason[600];
    char warning[600];
};

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    struct fixture *f = handle->data;
    *ret = uv_buf_init(f->room, sizeof(f->room));
}

static void on_read(uv_stream_t *handle, ssize_t size, const uv_buf_t *data)
{
    struct fixture *f = handle->data;
    if (size > 0)
        assert_int_equal(buf_append(&f->in, data->base, (size_t)size), ERR_OK);
    else if (size < 0) {
        uv_read_stop(handle);
        f->hung_up = true;
    }
}

static void on_socket_closed(uv_handle_t *handle)
{
    ((struct fixture *)handle->data)->accepted = false;
}

static void hang_up(struct fixture *f)
{
    if (f->accepted && !uv_is_closing((uv_handle_t *)&f->socket))
        uv_close((uv_handle_t *)&f->socket, on_socket_closed);
    while (f->accepted)
        uv_run(&f->loop, UV_RUN_ONCE);
}

static void second_accept(struct fixture *f, uv_stream_t *listener);

static void on_connection(uv_stream_t *listener, int status)
{
    struct fixture *f = listener->data;
    assert_int_equal(status, 0);
    if (f->take_second && f->accepted) {
        second_accept(f, listener);
        return;
    }
    assert_false(f->accepted);
    assert_int_equal(uv_tcp_init(&f->loop, &f->socket), 0);
    f->socket.data = f;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&f->socket), 0);
    f->accepted = true;
    f->hung_up = false;
    f->accept_count++;
    buf_clear(&f->in);
    uv_read_start((uv_stream_t *)&f->socket, on_alloc, on_read);
}

static int setup(void **state)
{
    static struct fixture fixture;
    struct fixture *f = &fixture;
    *f = (struct fixture){.version = MQTT_VERSION_5, .start_at_once = true};
    buf_init(&f->in, 64 << 20);
    if (!pipeline.emitted)
        pipeline.emitted = calloc(MESSAGES_MAX, sizeof(struct emitted));
    pipeline_clear();
    uv_loop_init(&f->loop);
    uv_tcp_init(&f->loop, &f->listener);
    f->listener.data = f;
    struct sockaddr_in address;
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_bind(&f->listener, (struct sockaddr *)&address, 0);
    uv_listen((uv_stream_t *)&f->listener, 8, on_connection);
    int size = sizeof(address);
    uv_tcp_getsockname(&f->listener, (struct sockaddr *)&address, &size);
    f->port = ntohs(address.sin_port);
    f->config =
        json_pack("{s:s,s:i,s:[s]}", "broker", "127.0.0.1", "port", (int)f->port, "topics", "a/#");
    f->connector = &mqtt_connector;
    f->state = calloc(1, f->connector->state_size);
    *state = f;
    return 0;
}

static void on_connected(void *ctx)
{
    struct fixture *f = ctx;
    f->connected = true;
    struct diag diag = {0};
    if (f->start_at_once)
        assert_int_equal(f->connector->ops.start(f->state, &diag), ERR_OK);
}

static void on_failed(void *ctx, enum err err, const char *reason)
{
    struct fixture *f = ctx;
    assert_false(f->failed);
    f->failed = true;
    f->err = err;
    snprintf(f->reason, sizeof(f->reason), "%s", reason);
}

static void on_warning(void *ctx, const char *text)
{
    struct fixture *f = ctx;
    snprintf(f->warning, sizeof(f->warning), "%s", text);
}

static void on_stopped(void *ctx)
{
    ((struct fixture *)ctx)->stopped = true;
}

static void on_closed(void *ctx)
{
    ((struct fixture *)ctx)->closed = true;
}

static void set(struct fixture *f, const char *name, json_t *value)
{
    json_object_set_new(f->config, name, value);
}

static enum err client_connect(struct fixture *f, struct diag *diag)
{
    memset(f->state, 0, f->connector->state_size);
    f->connected = f->failed = f->stopped = f->closed = f->hung_up = false;
    buf_clear(&f->in);
    f->host = (struct connector_host){.loop = &f->loop,
                                      .config = f->config,
                                      .source_id = "source",
                                      .source_name = "Source",
                                      .replica_id = "replica",
                                      .ctx = f,
                                      .on_connected = on_connected,
                                      .on_failed = on_failed,
                                      .on_warning = on_warning,
                                      .on_stopped = on_stopped,
                                      .on_closed = on_closed};
    return f->connector->ops.connect(f->state, &f->host, diag);
}

static void client_open(struct fixture *f)
{
    struct diag diag = {0};
    assert_int_equal(client_connect(f, &diag), ERR_OK);
}

#define UNTIL(f, condition)                                                                        \
    while (!(condition))                                                                           \
    uv_run(&(f)->loop, UV_RUN_ONCE)

/* As the host ends it: stop, disconnect, closed. */
static void client_close(struct fixture *f)
{
    f->connector->ops.stop(f->state);
    f->connector->ops.disconnect(f->state);
    for (uint32_t i = 0; i < pipeline.source_count; i++) {
        struct ingest_source *source = pipeline.sources[i];
        if (source->sequence > 0)
            source->ops->on_durable(source->ctx, source->sequence, ++pipeline.block);
    }
    while (!f->closed) {
        uv_run(&f->loop, UV_RUN_ONCE);
        if (f->hung_up)
            hang_up(f);
    }
    hang_up(f);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    hang_up(f);
    uv_close((uv_handle_t *)&f->listener, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    buf_fini(&f->in);
    json_decref(f->config);
    free(f->state);
    pipeline_clear();
    return 0;
}

/* --- packets -----------------------------------------------------------------------------------
 */

static void give(struct fixture *f, const void *data, size_t size)
{
    size_t sent = 0;
    while (sent < size && !f->failed) {
        uv_buf_t part = {.base = (char *)(uintptr_t)data + sent, .len = size - sent};
        int written = uv_try_write((uv_stream_t *)&f->socket, &part, 1);
        if (written > 0)
            sent += (size_t)written;
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
}

static void give_buf(struct fixture *f, struct buf *packet)
{
    assert_int_equal(packet->err, ERR_OK);
    give(f, packet->data, packet->size);
    buf_fini(packet);
}

/* The next packet of the client; its body stays until the next call. False: it hung up. */
static bool next_packet(struct fixture *f, struct mqtt_frame *frame, struct bytes *body)
{
    static uint8_t copy[200000];
    struct mqtt_fault fault;
    enum err err;
    while ((err = mqtt_frame(buf_bytes(&f->in), sizeof(copy), frame, &fault)) == ERR_AGAIN ||
           (err == ERR_OK && frame->total_size > f->in.size)) {
        if (f->hung_up)
            return false;
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(err, ERR_OK);
    memcpy(copy, f->in.data, frame->total_size);
    memmove(f->in.data, f->in.data + frame->total_size, f->in.size - frame->total_size);
    f->in.size -= frame->total_size;
    *body = bytes_from(copy + frame->header_size, frame->body_size);
    return true;
}

static struct bytes expect(struct fixture *f, uint8_t type, struct mqtt_frame *frame)
{
    struct bytes body = {0};
    assert_true(next_packet(f, frame, &body));
    if (frame->type != type)
        fail_msg("%s where a %s was expected", mqtt_type_name(frame->type), mqtt_type_name(type));
    return body;
}

static struct mqtt_connect expect_connect(struct fixture *f)
{
    struct mqtt_frame frame;
    struct mqtt_fault fault;
    struct mqtt_connect connect;
    struct bytes body = expect(f, MQTT_CONNECT, &frame);
    assert_int_equal(mqtt_decode_connect(&frame, body, &connect, &fault), ERR_OK);
    f->version = connect.version;
    return connect;
}

static void give_connack(struct fixture *f, const struct mqtt_connack *connack)
{
    struct buf packet;
    buf_init(&packet, 1 << 16);
    (void)mqtt_encode_connack(&packet, f->version, connack);
    give_buf(f, &packet);
}

static struct mqtt_subscribe expect_subscribe(struct fixture *f, uint8_t type)
{
    struct mqtt_frame frame;
    struct mqtt_fault fault;
    struct mqtt_subscribe subscribe;
    struct bytes body = expect(f, type, &frame);
    assert_int_equal(mqtt_decode_subscribe(f->version, &frame, body, &subscribe, &fault), ERR_OK);
    return subscribe;
}

static void give_suback(struct fixture *f, uint8_t type, const struct mqtt_subscribe *subscribe,
                        uint8_t code)
{
    uint8_t codes[16];
    struct buf packet;
    memset(codes, code, sizeof(codes));
    struct mqtt_subscribe suback = {.packet_identifier = subscribe->packet_identifier,
                                    .entries = {codes, subscribe->entry_count}};
    buf_init(&packet, 1 << 16);
    (void)mqtt_encode_suback(&packet, f->version, type, &suback);
    give_buf(f, &packet);
}

static void give_publish(struct fixture *f, const struct mqtt_publish *publish)
{
    struct buf packet;
    buf_init(&packet, 64 << 20);
    (void)mqtt_encode_publish(&packet, f->version, publish);
    give_buf(f, &packet);
}

static void publish_with(struct fixture *f, uint8_t qos, uint16_t identifier, bool dup,
                         const char *payload)
{
    struct mqtt_publish packet = {.topic = BYTES_LITERAL("a/b"),
                                  .payload = bytes_from_text(payload),
                                  .packet_identifier = identifier,
                                  .qos = qos,
                                  .dup = dup};
    give_publish(f, &packet);
}

static void publish(struct fixture *f, uint16_t identifier, bool dup, const char *payload)
{
    publish_with(f, identifier ? 1 : 0, identifier, dup, payload);
}

static void expect_ack(struct fixture *f, enum mqtt_type type, uint16_t identifier, size_t size)
{
    struct mqtt_frame frame;
    struct bytes body = {0};
    do /* pings come when they want */
        assert_true(next_packet(f, &frame, &body));
    while (frame.type == MQTT_PINGREQ);
    assert_int_equal(frame.type, type);
    assert_int_equal(body.data[0] << 8 | body.data[1], identifier);
    assert_int_equal(body.size, size);
}

static void expect_puback(struct fixture *f, uint16_t identifier)
{
    expect_ack(f, MQTT_PUBACK, identifier, 2);
}

static void give_pubrel(struct fixture *f, uint16_t identifier)
{
    uint8_t packet[MQTT_SHORT_ACK_BYTES];
    mqtt_put_short_ack(packet, MQTT_PUBREL, identifier);
    give(f, packet, sizeof(packet));
}

static void turns(struct fixture *f, int count)
{
    for (int i = 0; i < count; i++)
        uv_run(&f->loop, UV_RUN_NOWAIT);
}

/* CONNECT to SUBACK. */
static void client_ready(struct fixture *f, bool session_present)
{
    client_open(f);
    expect_connect(f);
    give_connack(f, &(struct mqtt_connack){.session_present = session_present});
    if (!session_present) {
        struct mqtt_subscribe subscribe = expect_subscribe(f, MQTT_SUBSCRIBE);
        give_suback(f, MQTT_SUBACK, &subscribe, 1);
    }
    UNTIL(f, f->connected);
    turns(f, 3);
}

static void expect_failure(struct fixture *f, enum err err, const char *word)
{
    UNTIL(f, f->failed);
    if (!strstr(f->reason, word))
        fail_msg("\"%s\" lacks \"%s\"", f->reason, word);
    assert_int_equal(f->err, err);
}

static void expect_disconnect(struct fixture *f, uint8_t reason)
{
    struct mqtt_frame frame;
    struct bytes body = expect(f, MQTT_DISCONNECT, &frame);
    assert_int_equal(body.size ? body.data[0] : 0, reason);
}

/* --- tests: handshake --------------------------------------------------------------------------
 */

static void connects_as_the_contract_says(void **state)
{
    struct fixture *f = *state;
    set(f, "username", json_string("me"));
    set(f, "password", json_string("secret"));
    set(f, "session_expiry_seconds", json_integer(77));
    client_open(f);
    struct mqtt_connect connect = expect_connect(f);
    assert_int_equal(connect.version, MQTT_VERSION_5);
    assert_false(connect.clean_start);
    assert_int_equal(connect.keep_alive_seconds, 60);
    assert_int_equal(connect.properties.session_expiry_seconds, 77);
    assert_int_equal(connect.properties.receive_maximum, 65535);
    assert_int_equal(connect.properties.topic_alias_maximum, MQTT_TOPIC_ALIASES_MAX);
    assert_false(mqtt_has(&connect.properties, MQTT_PROPERTY_MAXIMUM_PACKET_SIZE));
    assert_int_equal(connect.client_id.size, 23);
    assert_true(bytes_equal_text(connect.username, "me"));
    assert_true(bytes_equal_text(connect.password, "secret"));
    give_connack(f, &(struct mqtt_connack){0});
    struct mqtt_subscribe subscribe = expect_subscribe(f, MQTT_SUBSCRIBE);
    struct mqtt_filter filter;
    size_t offset = 0;
    assert_true(mqtt_filter_next(&subscribe, true, &offset, &filter));
    assert_true(bytes_equal_text(filter.filter, "$share/ingestor-group/a/#"));
    assert_int_equal(filter.qos, 1);
    assert_int_equal(filter.retain_handling, 1);
    assert_false(f->connected);
    give_suback(f, MQTT_SUBACK, &subscribe, 1);
    UNTIL(f, f->connected);
    assert_int_equal(pipeline.sessions_new, 1);
    json_t *health = json_object();
    f->connector->ops.health(f->state, health);
    assert_string_equal(json_string_value(json_object_get(health, "broker")), "127.0.0.1");
    assert_int_equal(json_integer_value(json_object_get(health, "port")), f->port);
    assert_string_equal(json_string_value(json_object_get(health, "shared_group")),
                        "ingestor-group");
    json_decref(health);
    f->connector->ops.stop(f->state);
    assert_true(f->stopped);
    f->connector->ops.disconnect(f->state);
    expect_disconnect(f, 0);
    UNTIL(f, f->hung_up);
    client_close(f);
}

static void a_present_session_is_not_subscribed_again(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    client_close(f);
    client_ready(f, true); /* connected without a SUBSCRIBE */
    assert_int_equal(pipeline.sessions_new, 1);
    client_close(f);

    set(f, "topics", json_pack("[s,s]", "b/#", "c"));
    client_open(f);
    expect_connect(f);
    give_connack(f, &(struct mqtt_connack){.session_present = true});
    struct mqtt_subscribe packet = expect_subscribe(f, MQTT_UNSUBSCRIBE);
    struct mqtt_filter filter;
    size_t offset = 0;
    assert_true(mqtt_filter_next(&packet, false, &offset, &filter));
    assert_true(bytes_equal_text(filter.filter, "$share/ingestor-group/a/#"));
    give_suback(f, MQTT_UNSUBACK, &packet, 0);
    packet = expect_subscribe(f, MQTT_SUBSCRIBE);
    assert_int_equal(packet.entry_count, 2);
    give_suback(f, MQTT_SUBACK, &packet, 1);
    UNTIL(f, f->connected);
    client_close(f);
}

static void falls_back_to_3_1_1(void **state)
{
    struct fixture *f = *state;
    for (int how = 0; how < 3; how++) {
        client_open(f);
        assert_int_equal(expect_connect(f).version, MQTT_VERSION_5);
        if (how == 0)
            give_connack(f, &(struct mqtt_connack){.reason = MQTT_REASON_UNSUPPORTED_VERSION});
        else if (how == 1)
            give(f, "\x20\x02\x00\x01", 4); /* as an old server says it */
        hang_up(f);
        UNTIL(f, f->accepted);
        struct mqtt_connect connect = expect_connect(f);
        assert_int_equal(connect.version, MQTT_VERSION_3_1_1);
        assert_false(connect.clean_start);
        give_connack(f, &(struct mqtt_connack){0});
        struct mqtt_subscribe packet = expect_subscribe(f, MQTT_SUBSCRIBE);
        give_suback(f, MQTT_SUBACK, &packet, 1);
        UNTIL(f, f->connected);
        client_close(f);
    }
}

static void a_refusal_says_what_to_do(void **state)
{
    struct fixture *f = *state;
    client_open(f);
    expect_connect(f);
    struct mqtt_connack connack = {.reason = MQTT_REASON_BAD_CREDENTIALS};
    mqtt_set(&connack.properties, MQTT_PROPERTY_REASON_STRING);
    connack.properties.reason_string = BYTES_LITERAL("go away");
    give_connack(f, &connack);
    expect_failure(f, ERR_AUTH, "check username and password");
    assert_non_null(strstr(f->reason, "go away"));
    client_close(f);

    client_open(f);
    expect_connect(f);
    give_connack(f, &(struct mqtt_connack){0});
    struct mqtt_subscribe packet = expect_subscribe(f, MQTT_SUBSCRIBE);
    give_suback(f, MQTT_SUBACK, &packet, MQTT_REASON_SHARED_NOT_SUPPORTED);
    expect_failure(f, ERR_UNSUPPORTED, "set use_shared_subscription to false");
    client_close(f);

    client_open(f);
    expect_connect(f);
    connack = (struct mqtt_connack){0};
    mqtt_set(&connack.properties, MQTT_PROPERTY_SHARED_AVAILABLE);
    give_connack(f, &connack);
    expect_failure(f, ERR_UNSUPPORTED, "no shared subscriptions");
    client_close(f);
}

static void a_redirect_is_followed(void **state)
{
    struct fixture *f = *state;
    char reference[40];
    snprintf(reference, sizeof(reference), "localhost:%u other:1", f->port);
    client_open(f);
    expect_connect(f);
    struct mqtt_connack connack = {.reason = MQTT_REASON_USE_ANOTHER_SERVER};
    mqtt_set(&connack.properties, MQTT_PROPERTY_SERVER_REFERENCE);
    connack.properties.server_reference = bytes_from_text(reference);
    for (int i = 0; i < MQTT_REDIRECTS_MAX; i++) {
        give_connack(f, &connack);
        hang_up(f);
        UNTIL(f, f->accepted);
        expect_connect(f);
    }
    assert_false(f->failed);
    give_connack(f, &connack); /* enough is enough */
    expect_failure(f, ERR_REFUSED, "use another server");
    client_close(f);

    client_ready(f, false);
    struct buf packet;
    buf_init(&packet, 1 << 16);
    struct mqtt_ack bye = {.reason = MQTT_REASON_SERVER_MOVED};
    mqtt_set(&bye.properties, MQTT_PROPERTY_SERVER_REFERENCE);
    bye.properties.server_reference = bytes_from_text(reference);
    (void)mqtt_encode_ack(&packet, MQTT_VERSION_5, MQTT_DISCONNECT, &bye);
    give_buf(f, &packet);
    expect_failure(f, ERR_REFUSED, "server moved");
    client_close(f);
    client_open(f);
    expect_connect(f);
    give(f, "garbage", 7);
    expect_failure(f, ERR_PROTOCOL, "localhost"); /* where the reference pointed */
    client_close(f);
}

static void bad_configurations_fail_at_connect(void **state)
{
    struct fixture *f = *state;
    struct diag diag = {0};
    set(f, "tls", json_pack("{s:s}", "ca_file", "/nowhere/ca.pem"));
    assert_int_equal(client_connect(f, &diag), ERR_INVALID);
    assert_non_null(strstr(diag.text, "tls.ca_file: cannot use /nowhere/ca.pem"));
    f->connector->ops.stop(f->state);
    assert_true(f->stopped);
    f->connector->ops.disconnect(f->state);
    UNTIL(f, f->closed);
}

static void subscribes_with(struct fixture *f, uint8_t qos)
{
    struct mqtt_subscribe packet = expect_subscribe(f, MQTT_SUBSCRIBE);
    struct mqtt_filter filter;
    size_t offset = 0;
    assert_true(mqtt_filter_next(&packet, true, &offset, &filter));
    assert_int_equal(filter.qos, qos);
    give_suback(f, MQTT_SUBACK, &packet, 0);
    UNTIL(f, f->connected);
    assert_non_null(strstr(f->warning, "granted only QoS 0"));
}

static void qos_2_is_asked_for(void **state)
{
    struct fixture *f = *state;
    set(f, "qos", json_integer(2));
    client_open(f);
    expect_connect(f);
    give_connack(f, &(struct mqtt_connack){0});
    subscribes_with(f, 2);
    client_close(f);
}

static void a_broker_without_qos_2_is_named(void **state)
{
    struct fixture *f = *state;
    struct mqtt_connack connack = {0};
    set(f, "qos", json_integer(2));
    client_open(f);
    expect_connect(f);
    mqtt_set(&connack.properties, MQTT_PROPERTY_MAXIMUM_QOS);
    connack.properties.maximum_qos = 1;
    give_connack(f, &connack);
    UNTIL(f, f->in.size > 0);
    assert_non_null(strstr(f->warning, "has no QoS 2"));
    subscribes_with(f, 1);
    client_close(f);
}

/* --- tests: delivery ---------------------------------------------------------------------------
 */

static void acknowledges_only_what_is_durable_in_order(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish(f, 5, false, "five");
    publish(f, 0, false, "none");
    publish(f, 2, false, "two");
    UNTIL(f, pipeline.emitted_count == 3);
    turns(f, 5);
    assert_int_equal(f->in.size, 0); /* nothing is durable yet */
    assert_string_equal(pipeline.emitted[0].payload, "five");
    assert_string_equal(pipeline.emitted[0].topic, "a/b");
    assert_true(pipeline.emitted[0].message.wants_acknowledgement);
    assert_false(pipeline.emitted[1].message.has_identity);
    assert_true(pipeline.emitted[0].qos > 0);
    durable(2);
    expect_puback(f, 5);
    assert_int_equal(f->in.size, 0);
    durable(3);
    expect_puback(f, 2);
    client_close(f);
}

static void a_redelivery_after_reconnect_is_not_stored(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish(f, 1, false, "one");
    publish(f, 2, false, "two");
    UNTIL(f, pipeline.emitted_count == 2);
    durable(1);
    expect_puback(f, 1);
    hang_up(f); /* the broker never got to hear of 2, and lost our PUBACK of 1 */
    UNTIL(f, f->failed);
    f->connector->ops.stop(f->state);
    assert_true(f->stopped);
    f->connector->ops.disconnect(f->state);
    for (int i = 0; i < 50; i++)
        uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_false(f->closed); /* 2 is on its way: only when it has settled */
    durable(2);
    UNTIL(f, f->closed);

    client_ready(f, true);
    publish(f, 1, true, "one");
    publish(f, 2, true, "two");
    publish(f, 3, true, "three"); /* DUP, but we never saw it */
    publish(f, 1, true, "changed");
    UNTIL(f, pipeline.emitted_count == 4);
    assert_int_equal(pipeline.repeated, 2);
    expect_puback(f, 1);
    expect_puback(f, 2);
    pipeline.sources[0]->ops->on_durable(pipeline.sources[0]->ctx, 2, 9);
    expect_puback(f, 3);
    expect_puback(f, 1);
    client_close(f);
}

static void qos_2_is_received_completed_and_released(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish_with(f, 2, 7, false, "seven");
    UNTIL(f, pipeline.emitted_count == 1);
    assert_true(pipeline.emitted[0].message.qos_2);
    turns(f, 5);
    assert_int_equal(f->in.size, 0); /* nothing is durable yet */
    durable(1);
    expect_ack(f, MQTT_PUBREC, 7, 2);
    publish_with(f, 2, 7, true, "seven"); /* still in the received set */
    UNTIL(f, pipeline.repeated == 1);
    expect_ack(f, MQTT_PUBREC, 7, 2);
    give_pubrel(f, 7);
    UNTIL(f, pipeline.released_count == 1);
    turns(f, 5);
    assert_int_equal(f->in.size, 0); /* nor is the release */
    durable(2);
    expect_ack(f, MQTT_PUBCOMP, 7, 2);
    assert_false(pipeline.known[7]);
    publish_with(f, 2, 7, true, "seven"); /* DUP, but released: something new */
    UNTIL(f, pipeline.emitted_count == 2);
    give_pubrel(f, 9);
    expect_ack(f, MQTT_PUBCOMP, 9, 3); /* with "packet identifier not found" */
    client_close(f);
}

static void reconnect(struct fixture *f)
{
    hang_up(f);
    UNTIL(f, f->failed);
    f->connector->ops.stop(f->state);
    f->connector->ops.disconnect(f->state);
    UNTIL(f, f->closed);
    client_ready(f, true);
}

static void a_qos_2_redelivery_after_reconnect_is_not_stored(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish_with(f, 2, 1, false, "one");
    publish_with(f, 2, 2, false, "two");
    UNTIL(f, pipeline.emitted_count == 2);
    durable(2);
    expect_ack(f, MQTT_PUBREC, 1, 2);
    expect_ack(f, MQTT_PUBREC, 2, 2);
    reconnect(f);
    publish_with(f, 2, 1, true, "one"); /* our PUBREC was lost */
    give_pubrel(f, 2);                  /* and this one was not */
    expect_ack(f, MQTT_PUBREC, 1, 2);
    assert_int_equal(pipeline.repeated, 1);
    assert_int_equal(pipeline.emitted_count, 2);
    UNTIL(f, pipeline.released_count == 1);
    durable(1);
    expect_ack(f, MQTT_PUBCOMP, 2, 2);
    reconnect(f);
    give_pubrel(f, 2); /* our PUBCOMP was lost */
    expect_ack(f, MQTT_PUBCOMP, 2, 3);
    give_pubrel(f, 1);
    UNTIL(f, pipeline.released_count == 1);
    durable(1);
    expect_ack(f, MQTT_PUBCOMP, 1, 2);
    client_close(f);
}

/* Only when the release has settled: the next connection would find it in the received set. */
static void a_release_on_its_way_is_waited_for(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish_with(f, 2, 1, false, "one");
    UNTIL(f, pipeline.emitted_count == 1);
    durable(1);
    give_pubrel(f, 1);
    UNTIL(f, pipeline.released_count == 1);
    hang_up(f);
    UNTIL(f, f->failed);
    f->connector->ops.stop(f->state);
    f->connector->ops.disconnect(f->state);
    turns(f, 50);
    assert_false(f->closed);
    durable(2);
    UNTIL(f, f->closed);
}

static void a_reused_qos_2_identifier_is_stored_and_named(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish_with(f, 2, 7, false, "seven");
    publish_with(f, 2, 7, false, "eight");
    UNTIL(f, pipeline.emitted_count == 2);
    assert_non_null(strstr(f->warning, "packet identifier 7"));
    durable(2);
    expect_ack(f, MQTT_PUBREC, 7, 2);
    expect_ack(f, MQTT_PUBREC, 7, 2);
    client_close(f);
}

static void a_lost_session_makes_everything_new(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish(f, 1, false, "one");
    UNTIL(f, pipeline.emitted_count == 1);
    durable(1);
    expect_puback(f, 1);
    client_close(f);
    client_ready(f, false);
    assert_int_equal(pipeline.sessions_new, 2);
    publish(f, 1, true, "one");
    UNTIL(f, pipeline.emitted_count == 2);
    client_close(f);
}

static void topic_aliases_are_resolved(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    struct mqtt_publish packet = {.topic = BYTES_LITERAL("a/x"),
                                  .payload = BYTES_LITERAL("1"),
                                  .packet_identifier = 1,
                                  .qos = 1};
    mqtt_set(&packet.properties, MQTT_PROPERTY_TOPIC_ALIAS);
    packet.properties.topic_alias = 3;
    give_publish(f, &packet);
    packet.topic = (struct bytes){0};
    packet.packet_identifier = 2;
    give_publish(f, &packet);
    UNTIL(f, pipeline.emitted_count == 2);
    assert_string_equal(pipeline.emitted[1].topic, "a/x");
    /* the alias is no part of what a repetition is told by */
    assert_int_equal(pipeline.emitted[0].message.identity_hash,
                     pipeline.emitted[1].message.identity_hash);
    packet.properties.topic_alias = 4;
    give_publish(f, &packet);
    expect_failure(f, ERR_PROTOCOL, "stands for nothing");
    expect_disconnect(f, MQTT_REASON_PROTOCOL_ERROR);
    client_close(f);
}

static void user_properties_become_one_json_text(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    struct buf raw;
    buf_init(&raw, 1 << 16);
    assert_int_equal(mqtt_user_property_append(&raw, BYTES_LITERAL("k"), BYTES_LITERAL("1")), 0);
    assert_int_equal(mqtt_user_property_append(&raw, BYTES_LITERAL("\"q"), BYTES_LITERAL("x")), 0);
    assert_int_equal(mqtt_user_property_append(&raw, BYTES_LITERAL("k"), BYTES_LITERAL("2")), 0);
    struct mqtt_publish packet = {.topic = BYTES_LITERAL("a/x"), .properties.raw = buf_bytes(&raw)};
    give_publish(f, &packet);
    publish(f, 0, false, "none");
    UNTIL(f, pipeline.emitted_count == 2);
    assert_string_equal(pipeline.emitted[0].extras, "{\"k\":[\"1\",\"2\"],\"\\\"q\":\"x\"}");
    assert_string_equal(pipeline.emitted[1].extras, "");
    buf_fini(&raw);
    client_close(f);
}

static void an_oversize_message_is_skipped_and_acknowledged(void **state)
{
    struct fixture *f = *state;
    set(f, "max_message_bytes", json_integer(1000));
    client_ready(f, false);
    enum { SIZE = 3000000 };
    char *big = malloc(SIZE);
    memset(big, 'x', SIZE);
    struct mqtt_publish packet = {.topic = BYTES_LITERAL("a/big"),
                                  .payload = bytes_from(big, SIZE),
                                  .packet_identifier = 7,
                                  .qos = 1};
    publish(f, 6, false, "before");
    give_publish(f, &packet);
    publish(f, 8, false, "after");
    packet.packet_identifier = 9;
    packet.payload.size = 1000;
    give_publish(f, &packet); /* just fits */
    packet.packet_identifier = 10;
    packet.payload.size = 1001;
    give_publish(f, &packet);
    UNTIL(f, pipeline.emitted_count == 5);
    assert_true(pipeline.emitted[1].rejected);
    assert_int_equal(pipeline.emitted[1].payload_size, LIMIT_DEAD_LETTER_BYTES);
    assert_string_equal(pipeline.emitted[2].payload, "after");
    assert_false(pipeline.emitted[3].rejected);
    assert_true(pipeline.emitted[4].rejected);
    durable(5);
    for (uint16_t i = 6; i <= 10; i++)
        expect_puback(f, i);
    packet.packet_identifier = 7;
    packet.dup = true;
    packet.payload.size = SIZE;
    give_publish(f, &packet);
    expect_puback(f, 7);
    assert_int_equal(pipeline.repeated, 1);
    free(big);
    client_close(f);
}

static void nothing_is_acknowledged_that_was_not_taken(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    pipeline.refuse = true;
    publish(f, 1, false, "one");
    expect_failure(f, ERR_NO_MEMORY, "could not be taken");
    assert_int_equal(f->in.size, 0);
    client_close(f);
}

static void a_paused_source_stops_reading_and_goes_on_acknowledging(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish(f, 1, false, "one");
    UNTIL(f, pipeline.emitted_count == 1);
    pipeline.sources[0]->ops->on_pause(pipeline.sources[0]->ctx);
    static char data[100000];
    struct mqtt_publish packet = {.topic = BYTES_LITERAL("a/b"),
                                  .payload = bytes_from(data, sizeof(data))};
    struct buf bytes;
    buf_init(&bytes, 64 << 20);
    for (int i = 0; i < 200; i++)
        assert_int_equal(mqtt_encode_publish(&bytes, f->version, &packet), ERR_OK);
    size_t sent = 0;
    for (int still = 0; still < 200;) {
        uv_buf_t part = {.base = (char *)bytes.data + sent, .len = bytes.size - sent};
        int written = sent < bytes.size ? uv_try_write((uv_stream_t *)&f->socket, &part, 1) : 0;
        sent += written > 0 ? (size_t)written : 0;
        still = written > 0 ? 0 : still + 1;
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    uint32_t taken = pipeline.emitted_count;
    assert_true(taken < 40); /* a megabyte more, and what one read brings */
    durable(1);
    expect_puback(f, 1);
    pipeline.sources[0]->ops->on_resume(pipeline.sources[0]->ctx);
    assert_int_equal(pipeline.emitted_count, taken); /* not from within */
    give(f, bytes.data + sent, bytes.size - sent);
    UNTIL(f, pipeline.emitted_count == 201);
    buf_fini(&bytes);
    client_close(f);
}

static void stop_lets_what_was_received_be_acknowledged(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish(f, 1, false, "one");
    UNTIL(f, pipeline.emitted_count == 1);
    f->connector->ops.stop(f->state);
    assert_false(f->stopped);
    durable(1);
    assert_true(f->stopped);
    expect_puback(f, 1);
    f->connector->ops.disconnect(f->state);
    expect_disconnect(f, 0);
    client_close(f);
}

static void a_pong_after_acknowledgements_frees(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    publish(f, 1, false, "one");
    UNTIL(f, pipeline.emitted_count == 1);
    durable(1);
    expect_puback(f, 1);
    struct mqtt_frame frame;
    expect(f, MQTT_PINGREQ, &frame);
    assert_int_equal(pipeline.freed_block, 0);
    give(f, "\xd0\x00", 2);
    UNTIL(f, pipeline.freed_block == pipeline.block);
    client_close(f);
}

static void a_small_window_of_the_broker_is_named(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    uint16_t identifier = 0;
    for (int round = 0; round < 100 && !f->warning[0]; round++) {
        uint32_t target = pipeline.emitted_count + 20;
        for (int i = 0; i < 20; i++)
            publish(f, ++identifier, false, "x");
        UNTIL(f, pipeline.emitted_count == target);
        durable(target);
        for (int i = 0; i < 20; i++)
            expect_puback(f, (uint16_t)(identifier - 19 + i));
    }
    assert_non_null(strstr(f->warning, "20 messages"));
    assert_non_null(strstr(f->warning, "max_inflight_messages"));
    client_close(f);
}

/* A second client, answered by itself: CONNACK and SUBACK as they are asked for. */
struct second {
    struct fixture *f;
    uv_tcp_t socket;
    char room[4096];
    size_t size;
    char client_id[64];
    bool closed;
};

static struct second second;

static void second_say(const char *bytes, size_t size)
{
    uv_buf_t part = {.base = (char *)(uintptr_t)bytes, .len = size};
    assert_int_equal(uv_try_write((uv_stream_t *)&second.socket, &part, 1), size);
}

static void on_second_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)handle;
    (void)suggested;
    *ret = uv_buf_init(second.room + second.size, (unsigned)(sizeof(second.room) - second.size));
}

static void on_second_closed(uv_handle_t *handle)
{
    (void)handle;
    second.closed = true;
}

static void on_second_read(uv_stream_t *handle, ssize_t size, const uv_buf_t *data)
{
    (void)data;
    struct mqtt_frame frame;
    struct mqtt_fault fault;
    struct mqtt_connect connect;
    if (size < 0) {
        uv_close((uv_handle_t *)handle, on_second_closed);
        return;
    }
    second.size += (size_t)size;
    while (mqtt_frame(bytes_from(second.room, second.size), sizeof(second.room), &frame, &fault) ==
               ERR_OK &&
           frame.total_size <= second.size) {
        if (frame.type == MQTT_CONNECT) {
            struct bytes body = bytes_from(second.room + frame.header_size, frame.body_size);
            assert_int_equal(mqtt_decode_connect(&frame, body, &connect, &fault), ERR_OK);
            text_copy(second.client_id, sizeof(second.client_id), connect.client_id);
            second_say("\x20\x03\x00\x00\x00", 5);
        } else if (frame.type == MQTT_SUBSCRIBE) {
            second_say("\x90\x04\x00\x01\x00\x01", 6);
        }
        second.size -= frame.total_size;
        memmove(second.room, second.room + frame.total_size, second.size);
    }
}

static void second_accept(struct fixture *f, uv_stream_t *listener)
{
    second = (struct second){.f = f};
    uv_tcp_init(&f->loop, &second.socket);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&second.socket), 0);
    uv_read_start((uv_stream_t *)&second.socket, on_second_alloc, on_second_read);
}

static void several_connections_share(void **state)
{
    struct fixture *f = *state;
    set(f, "connections", json_integer(2));
    f->take_second = true;
    client_open(f);
    struct mqtt_connect connect = expect_connect(f);
    char first_id[64];
    text_copy(first_id, sizeof(first_id), connect.client_id);
    give_connack(f, &(struct mqtt_connack){0});
    struct mqtt_subscribe subscribe = expect_subscribe(f, MQTT_SUBSCRIBE);
    turns(f, 20);
    assert_false(f->connected);
    give_suback(f, MQTT_SUBACK, &subscribe, 1);
    UNTIL(f, f->connected);
    assert_string_not_equal(first_id, second.client_id);
    assert_int_equal(pipeline.source_count, 2);
    assert_int_equal(pipeline.sources[0]->session, 0);
    assert_int_equal(pipeline.sources[1]->session, 1);
    turns(f, 3);
    publish(f, 1, false, "first");
    UNTIL(f, pipeline.emitted_count == 1);
    second_say("\x32\x09\x00\x03"
               "a/b\x00\x01\x00x",
               11);
    UNTIL(f, pipeline.emitted_count == 2);
    client_close(f);
    UNTIL(f, second.closed);
}

/* --- tests: hostile brokers --------------------------------------------------------------------
 */

static void bad_packets_are_refused(void **state)
{
    struct fixture *f = *state;
#define BAD(bytes, reason, word)                                                                   \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, MQTT_REASON_##reason, word                                       \
    }
    static const struct {
        const char *bytes;
        size_t size;
        uint8_t reason;
        const char *word;
    } bad[] = {
        BAD("\x30\xff\xff\xff\xff\x01", MALFORMED_PACKET, "remaining length"),
        BAD("\x36\x06\x00\x01x\x00\x01\x00", MALFORMED_PACKET, "QoS 3"),
        BAD("\x30\x04\x00\x01\xff\x00", MALFORMED_PACKET, "UTF-8"),
        BAD("\x30\x04\x00\x01#\x00", MALFORMED_PACKET, "wildcard"),
        BAD("\x30\x03\x00\x00\x00", PROTOCOL_ERROR, "empty topic"),
        BAD("\x32\x06\x00\x01x\x00\x00\x00", PROTOCOL_ERROR, "identifier 0"),
        BAD("\x30\x07\x00\x01x\x03\x23\xff\xff", TOPIC_ALIAS_INVALID, "alias"),
        BAD("\x40\x02\x00\x01", PROTOCOL_ERROR, "PUBACK"),
        BAD("\x50\x02\x00\x01", PROTOCOL_ERROR, "PUBREC"),
        BAD("\x90\x04\x00\x01\x00\x01", PROTOCOL_ERROR, "SUBACK"),
        BAD("\x20\x03\x00\x00\x00", PROTOCOL_ERROR, "CONNACK"),
        BAD("\xc0\x00", PROTOCOL_ERROR, "PINGREQ"),
        BAD("\xf0\x00", PROTOCOL_ERROR, "AUTH"),
        BAD("\x00\x00", MALFORMED_PACKET, "reserved"),
        BAD("\xd0\x01x", MALFORMED_PACKET, "body"),
        BAD("\x40\xff\xff\xff\x7f", PACKET_TOO_LARGE, "larger"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        client_ready(f, i > 0);
        publish(f, 1, false, "good");
        give(f, bad[i].bytes, bad[i].size);
        expect_failure(f, ERR_PROTOCOL, bad[i].word);
        f->connector->ops.stop(f->state);
        f->connector->ops.disconnect(f->state);
        expect_disconnect(f, bad[i].reason);
        assert_int_equal(pipeline.emitted_count, i + 1); /* nothing before it is lost */
        client_close(f);
    }
}

static void more_than_the_receive_maximum_is_refused(void **state)
{
    struct fixture *f = *state;
    set(f, "receive_maximum", json_integer(2));
    client_ready(f, false);
    publish(f, 1, false, "x");
    publish(f, 2, false, "x");
    publish(f, 3, false, "x");
    expect_failure(f, ERR_PROTOCOL, "receive maximum");
    expect_disconnect(f, MQTT_REASON_RECEIVE_MAXIMUM_EXCEEDED);
    assert_int_equal(pipeline.emitted_count, 2);
    client_close(f);
}

static void what_is_no_broker_is_named(void **state)
{
    struct fixture *f = *state;
    client_open(f);
    expect_connect(f);
    give(f, "HTTP/1.1 400 Bad Request\r\n", 26);
    expect_failure(f, ERR_PROTOCOL, "does not speak MQTT");
    client_close(f);
    client_open(f);
    expect_connect(f);
    give(f, "\x15\x03\x03\x00\x02\x02\x46", 7);
    expect_failure(f, ERR_PROTOCOL, "TLS port");
    client_close(f);
    client_open(f);
    expect_connect(f);
    give(f, "\x30\x04\x00\x01x\x00", 6);
    expect_failure(f, ERR_PROTOCOL, "before its CONNACK");
    client_close(f);
}

static void a_cut_packet_is_not_taken(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    give(f,
         "\x32\x10\x00\x03"
         "a/b"
         "\x00\x01\x00"
         "cut",
         13);
    turns(f, 5);
    hang_up(f);
    expect_failure(f, ERR_CLOSED, "closed the connection");
    assert_int_equal(pipeline.emitted_count, 0);
    client_close(f);
}

static void every_cut_of_the_stream_gives_the_same(void **state)
{
    struct fixture *f = *state;
    client_ready(f, false);
    struct buf bytes;
    buf_init(&bytes, 1 << 20);
    for (int i = 1; i <= 3; i++) {
        struct mqtt_publish packet = {.topic = BYTES_LITERAL("a/b"),
                                      .payload = BYTES_LITERAL("payload"),
                                      .packet_identifier = (uint16_t)i,
                                      .qos = 1};
        assert_int_equal(mqtt_encode_publish(&bytes, f->version, &packet), ERR_OK);
    }
    uint32_t expected = 0;
    for (size_t cut = 1; cut < bytes.size; cut++) {
        give(f, bytes.data, cut);
        turns(f, 2);
        give(f, bytes.data + cut, bytes.size - cut);
        expected += 3;
        UNTIL(f, pipeline.emitted_count == expected);
        durable(expected);
        for (uint16_t i = 1; i <= 3; i++)
            expect_puback(f, i);
    }
    assert_string_equal(pipeline.emitted[expected - 1].payload, "payload");
    buf_fini(&bytes);
    client_close(f);
}

static void a_silent_broker_is_left(void **state)
{
    struct fixture *f = *state;
    set(f, "keep_alive_seconds", json_integer(1));
    client_ready(f, false);
    struct mqtt_frame frame;
    expect(f, MQTT_PINGREQ, &frame);
    expect_failure(f, ERR_TIMEOUT, "silent");
    client_close(f);
}

static void a_closed_port_is_named(void **state)
{
    struct fixture *f = *state;
    set(f, "port", json_integer(1));
    client_open(f);
    expect_failure(f, ERR_NETWORK, "cannot connect to 127.0.0.1:1");
    client_close(f);
}

static void disconnecting_at_any_moment_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    for (int count = 0; count < 12; count++) {
        client_open(f);
        for (int i = 0; i < count; i++)
            uv_run(&f->loop, UV_RUN_NOWAIT);
        if (count > 8 && f->accepted)
            give_connack(f, &(struct mqtt_connack){0});
        f->connector->ops.disconnect(f->state);
        while (!f->closed) {
            uv_run(&f->loop, UV_RUN_ONCE);
            if (f->hung_up)
                hang_up(f);
        }
        turns(f, 3);
        hang_up(f);
    }
}

/* A whole life with the k-th allocation failing: it ends connected or with a reason, and nothing is
 * acknowledged that was not taken. */
static bool life(struct fixture *f, uint64_t k)
{
    struct diag diag = {0};
    mem_fail_at(k);
    enum err err = client_connect(f, &diag);
    if (err == ERR_OK) {
        UNTIL(f, f->failed || f->accepted);
        UNTIL(f, f->failed || f->in.size > 4);
        if (!f->failed)
            give(f, "\x20\x03\x00\x00\x00", 5);
        f->in.size = 0;
        UNTIL(f, f->failed || f->in.size > 4);
        if (!f->failed)
            give(f, "\x90\x04\x00\x01\x00\x01", 6);
        UNTIL(f, f->failed || f->connected);
        f->in.size = 0;
        if (!f->failed)
            give(f, "\x32\x0d\x00\x01x\x00\x01\x05\x26\x00\x00\x00\x00zz", 15);
        UNTIL(f, f->failed || pipeline.emitted_count > 0);
        if (!f->failed)
            durable(1);
        UNTIL(f, f->failed || f->in.size >= 4);
    } else {
        assert_int_equal(err, ERR_NO_MEMORY);
        f->failed = true;
    }
    bool reached = mem_failed();
    mem_fail_at(0);
    assert_true(f->failed ? reached : f->in.data[0] == 0x40);
    client_close(f);
    return reached;
}

static void every_failed_allocation_is_survived(void **state)
{
    struct fixture *f = *state;
    buf_reserve(&f->in, 1 << 20);
    for (uint64_t k = 1;; k++) {
        pipeline.emitted_count = 0;
        memset(pipeline.known, 0, sizeof(pipeline.known));
        if (!life(f, k))
            break;
        assert_true(k < 1000);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(connects_as_the_contract_says),
        TEST(a_present_session_is_not_subscribed_again),
        TEST(falls_back_to_3_1_1),
        TEST(a_refusal_says_what_to_do),
        TEST(a_redirect_is_followed),
        TEST(bad_configurations_fail_at_connect),
        TEST(qos_2_is_asked_for),
        TEST(a_broker_without_qos_2_is_named),
        TEST(acknowledges_only_what_is_durable_in_order),
        TEST(a_redelivery_after_reconnect_is_not_stored),
        TEST(qos_2_is_received_completed_and_released),
        TEST(a_qos_2_redelivery_after_reconnect_is_not_stored),
        TEST(a_release_on_its_way_is_waited_for),
        TEST(a_reused_qos_2_identifier_is_stored_and_named),
        TEST(a_lost_session_makes_everything_new),
        TEST(topic_aliases_are_resolved),
        TEST(user_properties_become_one_json_text),
        TEST(an_oversize_message_is_skipped_and_acknowledged),
        TEST(nothing_is_acknowledged_that_was_not_taken),
        TEST(a_paused_source_stops_reading_and_goes_on_acknowledging),
        TEST(stop_lets_what_was_received_be_acknowledged),
        TEST(a_pong_after_acknowledgements_frees),
        TEST(a_small_window_of_the_broker_is_named),
        TEST(several_connections_share),
        TEST(bad_packets_are_refused),
        TEST(more_than_the_receive_maximum_is_refused),
        TEST(what_is_no_broker_is_named),
        TEST(a_cut_packet_is_not_taken),
        TEST(every_cut_of_the_stream_gives_the_same),
        TEST(a_silent_broker_is_left),
        TEST(a_closed_port_is_named),
        TEST(disconnecting_at_any_moment_leaves_nothing),
        TEST(every_failed_allocation_is_survived),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    free(pipeline.emitted);
    return failures;
}
