#include "support/broker_peer.h"

#include "base/alloc.h"
#include "codec/mqtt_encode.h"
#include "support/broker_packet.h"

#include <assert.h>

#define IN_BYTES_MAX ((size_t)16 << 20)

/* Takes the reference to event. */
void broker_emit(struct broker *broker, const struct peer *peer, json_t *event)
{
    double t_ms = (double)(uv_hrtime() - broker->start_ns) / 1e6;
    (void)json_object_set_new(event, "t_ms", json_real(t_ms));
    if (peer)
        (void)json_object_set_new(event, "connection", json_integer(peer->number));
    (void)json_dumpf(event, broker->options->events, JSON_COMPACT | JSON_REAL_PRECISION(10));
    fputc('\n', broker->options->events);
    fflush(broker->options->events);
    json_decref(event);
}

void broker_emit_plain(struct broker *broker, const struct peer *peer, const char *name)
{
    broker_emit(broker, peer, json_pack("{s:s}", "event", name));
}

static bool automatic(const struct broker *broker, const char *name, bool otherwise)
{
    return step_flag(broker->automatic, name, otherwise);
}

static void on_peer_closed(uv_handle_t *handle)
{
    struct peer *peer = (struct peer *)handle;
    peer->broker->peers[peer->number] = NULL;
    buf_fini(&peer->in);
    mem_free(peer);
}

void peer_close(struct peer *peer, const char *event)
{
    if (peer->is_closing)
        return;
    peer->is_closing = true;
    broker_emit_plain(peer->broker, peer, event);
    peer->broker->seen[WAIT_CLOSE]++;
    uv_close((uv_handle_t *)&peer->tcp, on_peer_closed);
}

void peer_reset(struct peer *peer)
{
    peer->is_closing = true;
    broker_emit_plain(peer->broker, peer, "reset");
    peer->broker->seen[WAIT_CLOSE]++;
    (void)uv_tcp_close_reset(&peer->tcp, on_peer_closed);
}

/* Sending */

struct write {
    uv_write_t request;
    struct buf bytes;
};

static void on_written(uv_write_t *request, int status)
{
    struct write *write = (struct write *)request;
    struct peer *peer = (struct peer *)request->handle;
    (void)status; /* a read error follows and closes */
    buf_fini(&write->bytes);
    mem_free(write);
    peer->writes_pending--;
    if (peer->close_after_writes && peer->writes_pending == 0)
        peer_close(peer, "dropped");
}

/* Takes the bytes out of out. */
static void send_bytes(struct peer *peer, struct buf *out)
{
    struct write *write = mem_zalloc(1, sizeof(*write));
    if (!write || out->err != ERR_OK || peer->is_closing || out->size == 0) {
        mem_free(write);
        return;
    }
    write->bytes = *out;
    buf_init(out, BROKER_OUT_BYTES_MAX);
    uv_buf_t piece = uv_buf_init((char *)write->bytes.data, (unsigned)write->bytes.size);
    peer->writes_pending++;
    if (uv_write(&write->request, (uv_stream_t *)&peer->tcp, &piece, 1, on_written) != 0) {
        peer->writes_pending--;
        buf_fini(&write->bytes);
        mem_free(write);
    }
}

void peer_send_step(struct peer *peer, const json_t *step, uint64_t first, uint64_t count)
{
    struct buf out;
    struct diag diag = {0};
    enum err err = ERR_OK;
    buf_init(&out, BROKER_OUT_BYTES_MAX);
    for (uint64_t i = first; i < first + count && err == ERR_OK; i++)
        err = packet_encode(&out, peer->version, step, i, &diag);
    if (err == ERR_OK)
        send_bytes(peer, &out);
    else
        broker_fail_step(peer->broker, diag.text);
    buf_fini(&out);
}

/* Sends what a step of that kind would; takes the reference. */
void peer_send_new(struct peer *peer, json_t *step)
{
    peer_send_step(peer, step, 0, 1);
    json_decref(step);
}

/* What it answers by itself */

static bool session_known(struct broker *broker, const struct mqtt_connect *connect)
{
    const char *rule = step_text(broker->automatic, "session", "auto");
    bool was_known = map_get(&broker->sessions, connect->client_id);
    bool is_kept = connect->version == MQTT_VERSION_5
                       ? connect->properties.session_expiry_seconds > 0
                       : !connect->clean_start;
    if (is_kept && map_put(&broker->sessions, connect->client_id, broker) != ERR_OK)
        return false;
    if (!is_kept)
        (void)map_remove(&broker->sessions, connect->client_id);
    if (strcmp(rule, "auto") != 0)
        return strcmp(rule, "present") == 0;
    return was_known && !connect->clean_start;
}

static void answer_connect(struct peer *peer, const struct mqtt_connect *connect)
{
    struct broker *broker = peer->broker;
    int64_t reason = step_number(broker->automatic, "connack_reason", 0);
    const char *v5 = step_text(broker->automatic, "v5", "take");
    bool refuse_v5 = connect->version == MQTT_VERSION_5 && strcmp(v5, "take") != 0;
    if (refuse_v5)
        reason = MQTT_REASON_UNSUPPORTED_VERSION;
    if (!automatic(broker, "connack", true))
        return;
    json_t *step = json_pack("{s:s,s:I,s:b,s:b}", "do", "connack", "reason", (json_int_t)reason,
                             "session_present", reason == 0 && session_known(broker, connect),
                             "answered_3_1_1", refuse_v5 && strcmp(v5, "refuse_old") == 0);
    json_t *properties = json_object_get(broker->automatic, "connack_properties");
    if (properties)
        (void)json_object_set(step, "properties", properties);
    peer_send_new(peer, step);
    peer->close_after_writes = reason != 0;
}

static void answer_subscribe(struct peer *peer, uint8_t type, const struct mqtt_subscribe *request)
{
    struct mqtt_filter filter;
    json_t *codes = json_array();
    int64_t maximum = step_number(peer->broker->automatic, "maximum_qos", 2);
    for (size_t offset = 0; mqtt_filter_next(request, type == MQTT_SUBSCRIBE, &offset, &filter);)
        (void)json_array_append_new(codes, json_integer(type == MQTT_UNSUBSCRIBE ? 0
                                                        : filter.qos > maximum   ? maximum
                                                                                 : filter.qos));
    const json_t *forced = json_object_get(peer->broker->automatic, "suback_codes");
    bool is_forced = forced && type == MQTT_SUBSCRIBE;
    json_t *step = json_pack("{s:s,s:i,s:O}", "do", type == MQTT_SUBSCRIBE ? "suback" : "unsuback",
                             "packet_identifier", request->packet_identifier, "codes",
                             is_forced ? forced : codes);
    json_decref(codes);
    peer_send_new(peer, step);
}

static void answer(struct peer *peer, const struct mqtt_frame *frame, struct bytes body)
{
    struct mqtt_connect connect;
    struct mqtt_subscribe subscribe;
    struct mqtt_fault fault;
    struct broker *broker = peer->broker;
    if (frame->type == MQTT_CONNECT &&
        mqtt_decode_connect(frame, body, &connect, &fault) == ERR_OK) {
        peer->version = connect.version;
        answer_connect(peer, &connect);
    } else if ((frame->type == MQTT_SUBSCRIBE || frame->type == MQTT_UNSUBSCRIBE) &&
               mqtt_decode_subscribe(peer->version, frame, body, &subscribe, &fault) == ERR_OK) {
        peer->subscribe_identifier = subscribe.packet_identifier;
        if (automatic(broker, "suback", true))
            answer_subscribe(peer, frame->type, &subscribe);
    } else if (frame->type == MQTT_PINGREQ && automatic(broker, "pingresp", true)) {
        peer_send_new(peer, json_pack("{s:s}", "do", "pingresp"));
    } else if (frame->type == MQTT_PUBREC && body.size >= 2 && automatic(broker, "pubrel", true)) {
        peer_send_new(peer, json_pack("{s:s,s:s,s:i}", "do", "ack", "type", "PUBREL",
                                      "packet_identifier", body.data[0] << 8 | body.data[1]));
    }
}

/* Receiving */

static void on_packet(struct peer *peer, const struct mqtt_frame *frame, struct bytes body)
{
    json_t *event = json_pack("{s:s}", "event", "packet");
    /* The version counts from CONNECT on, which describes itself. */
    packet_describe(event, peer->version, frame, body);
    broker_emit(peer->broker, peer, event);
    peer->broker->seen[frame->type]++;
    peer->puback_count += frame->type == MQTT_PUBACK;
    answer(peer, frame, body);
}

static void take_packets(struct peer *peer)
{
    size_t at = 0;
    while (at < peer->in.size && !peer->is_closing) {
        struct mqtt_frame frame;
        struct mqtt_fault fault;
        struct bytes rest = bytes_from(peer->in.data + at, peer->in.size - at);
        enum err err = mqtt_frame(rest, IN_BYTES_MAX, &frame, &fault);
        if (err == ERR_AGAIN || (err == ERR_OK && frame.total_size > rest.size))
            break;
        if (err != ERR_OK) {
            peer_close(peer, "not_mqtt");
            return;
        }
        on_packet(peer, &frame, bytes_from(rest.data + frame.header_size, frame.body_size));
        at += frame.total_size;
    }
    memmove(peer->in.data, peer->in.data + at, peer->in.size - at);
    peer->in.size -= at;
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_room)
{
    struct peer *peer = (struct peer *)handle;
    if (buf_reserve(&peer->in, suggested) != ERR_OK)
        suggested = 0;
    *ret_room = uv_buf_init((char *)peer->in.data + peer->in.size, (unsigned)suggested);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *room)
{
    struct peer *peer = (struct peer *)stream;
    (void)room;
    if (size < 0) {
        peer_close(peer, size == UV_EOF ? "closed_by_client" : "connection_error");
    } else {
        peer->in.size += (size_t)size;
        take_packets(peer);
    }
    broker_advance(peer->broker);
}

void peer_accept(uv_stream_t *listener, int status)
{
    struct broker *broker = listener->data;
    struct peer *peer = status == 0 ? mem_zalloc(1, sizeof(*peer)) : NULL;
    if (!peer)
        return;
    peer->broker = broker;
    peer->version = MQTT_VERSION_5;
    buf_init(&peer->in, IN_BYTES_MAX + 65536);
    assert(broker->peer_count + 1 < BROKER_PEERS_MAX);
    peer->number = ++broker->peer_count;
    broker->peers[peer->number] = peer;
    (void)uv_tcp_init(&broker->loop, &peer->tcp);
    if (uv_accept(listener, (uv_stream_t *)&peer->tcp) != 0) {
        peer_close(peer, "connection_error");
        return;
    }
    (void)uv_tcp_nodelay(&peer->tcp, 1);
    broker_emit_plain(broker, peer, "open");
    broker->seen[WAIT_OPEN]++;
    if (automatic(broker, "read", true))
        peer_start_reading(peer);
    broker_advance(broker);
}

void peer_start_reading(struct peer *peer)
{
    (void)uv_read_start((uv_stream_t *)&peer->tcp, on_room, on_read);
}
