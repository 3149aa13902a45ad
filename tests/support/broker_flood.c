/*
 * The ring holds some rounds of all topics as encoded PUBLISH packets (ring_count). What changes
 * stands at fixed places from each payload's start, so that sending message n is: store the digits
 * of its sequence number, a few of its value, the time, its packet identifier; then one send() for
 * up to BATCH_MESSAGES of them.
 *
 *   {"seq":1000000000,"timestamp":"2026-11-24T12:00:00.000Z","value":21.537,"sensor_id":...
 *          ^7                      ^32                               ^70 (fraction)
 *
 * Message n lies in slot n % ring.count and has packet identifier n % 65535 + 1. The window
 * is smaller than the ring, so what is not acknowledged still stands there and can be sent again.
 */
#include "support/broker_flood.h"

#include "base/alloc.h"
#include "codec/mqtt_encode.h"
#include "os/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH_MESSAGES 1024u
#define READ_BYTES     (256u * 1024u)
#define SEND_BYTES     (4 * 1024 * 1024)

#define SEQ_AT       7
#define TIMESTAMP_AT 31
#define FRACTION_AT  68

struct ring {
    struct buf bytes;
    uint32_t *ends;        /* of each packet, in bytes */
    uint32_t count;        /* of packets: FLOOD_RING_MIN or a little more, whole rounds */
    uint16_t payload_size; /* the same for all */
};

struct flood {
    const struct flood_options *options;
    struct ring ring;
    int listener;
    int client;
    enum mqtt_version version;
    uint32_t window;
    uint64_t made;         /* messages whose bytes are in the ring */
    uint64_t next;         /* the next to send */
    uint64_t acknowledged; /* all before it are */
    uint64_t again_count;
    uint64_t disordered_count;
    size_t region_at; /* bytes of the ring that are being sent */
    size_t region_end;
    bool is_subscribed;
    bool has_session;
    bool is_done;
    uint32_t pings_pending;
    int64_t start_ns;
    int64_t done_ns;
    uint8_t *in;
    size_t in_size;
};

static const char digit_pairs[] = "0001020304050607080910111213141516171819202122232425262728293031"
                                  "3233343536373839404142434445464748"
                                  "4950515253545556575859606162636465666768697071727374757677787980"
                                  "8182838485868788899091929394959697"
                                  "9899";

static void put_digits(uint8_t *to, uint64_t value, int digits)
{
    for (; digits >= 2; digits -= 2, value /= 100)
        memcpy(to + digits - 2, digit_pairs + value % 100 * 2, 2);
    if (digits == 1)
        to[0] = (uint8_t)('0' + value % 10);
}

static const struct {
    const char *name;
    const char *unit;
} kinds[] = {{"temperature", "C"}, {"air_quality", "ug/m3"}, {"traffic", "1/min"}, {"bin", "%"}};

static int payload_text(char *to, size_t size, uint32_t slot, uint32_t sensor, size_t pad)
{
    return snprintf(
        to, size,
        "{\"seq\":1000000000,\"timestamp\":\"2026-01-01T00:00:00.000Z\",\"value\":%02u.000,"
        "\"sensor_id\":\"sensor-%05u\",\"type\":\"%s\",\"unit\":\"%s\",\"battery\":%u.%u,"
        "\"location\":{\"lat\":%.5f,\"lon\":%.5f},\"note\":\"%.*s\"}",
        10 + slot * 7919u % 90, sensor, kinds[sensor % 4].name, kinds[sensor % 4].unit,
        60 + slot % 40, slot % 10, 51.0 + (double)(sensor % 1000) / 10007.0,
        13.0 + (double)(sensor % 997) / 9973.0, (int)pad,
        "ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok");
}

/* One packet; the payload is filled up with blanks to the ring's size, as JSON allows. */
static enum err encode_slot(struct flood *flood, uint32_t slot, char *payload)
{
    const struct flood_options *options = flood->options;
    char topic[256];
    uint32_t sensor = slot % options->topic_count;
    snprintf(topic, sizeof(topic), "%s/%s/sensor-%05u", options->topic_prefix,
             kinds[sensor % 4].name, sensor);
    size_t bare = (size_t)payload_text(payload, FLOOD_PAYLOAD_MAX, slot, sensor, 0);
    size_t pad = bare < flood->ring.payload_size ? flood->ring.payload_size - bare : 0;
    size_t size = (size_t)payload_text(payload, FLOOD_PAYLOAD_MAX, slot, sensor, pad);
    if (size < flood->ring.payload_size)
        memset(payload + size, ' ', flood->ring.payload_size - size);
    struct mqtt_publish publish = {.topic = bytes_from_text(topic),
                                   .payload = bytes_from(payload, flood->ring.payload_size),
                                   .packet_identifier = 1,
                                   .qos = options->qos};
    enum err err = mqtt_encode_publish(&flood->ring.bytes, flood->version, &publish);
    flood->ring.ends[slot] = (uint32_t)flood->ring.bytes.size;
    return err;
}

#define PAYLOAD_BYTES_MIN 210u

static enum err fill_ring(struct flood *flood)
{
    uint32_t size = flood->options->payload_bytes;
    size = size < PAYLOAD_BYTES_MIN ? PAYLOAD_BYTES_MIN : size;
    flood->ring.payload_size = (uint16_t)(size > FLOOD_PAYLOAD_MAX ? FLOOD_PAYLOAD_MAX : size);
    char *payload = mem_alloc(FLOOD_PAYLOAD_MAX + 1);
    if (!payload)
        return ERR_NO_MEMORY;
    buf_clear(&flood->ring.bytes);
    enum err err = ERR_OK;
    for (uint32_t slot = 0; slot < flood->ring.count && err == ERR_OK; slot++)
        err = encode_slot(flood, slot, payload);
    mem_free(payload);
    return err;
}

static size_t slot_start(const struct ring *ring, uint32_t slot)
{
    return slot == 0 ? 0 : ring->ends[slot - 1];
}

static uint16_t identifier_of(uint64_t message)
{
    return (uint16_t)(message % 65535 + 1);
}

/* Writes what is message n's own into its slot. */
static void make_message(struct flood *flood, uint64_t message, const char *timestamp)
{
    struct ring *ring = &flood->ring;
    uint32_t slot = (uint32_t)(message % ring->count);
    uint8_t *payload = ring->bytes.data + ring->ends[slot] - ring->payload_size;
    put_digits(payload + SEQ_AT, FLOOD_SEQ_FIRST + message, 10);
    memcpy(payload + TIMESTAMP_AT, timestamp, 23);
    put_digits(payload + FRACTION_AT, message * 7919 % 1000, 3);
    if (flood->options->qos == 0)
        return;
    uint8_t *packet = ring->bytes.data + slot_start(ring, slot);
    packet[0] &= (uint8_t)~8u;
    uint16_t identifier = identifier_of(message);
    uint8_t *at = payload - (flood->version == MQTT_VERSION_5 ? 3 : 2);
    at[0] = (uint8_t)(identifier >> 8);
    at[1] = (uint8_t)identifier;
}

static void format_timestamp(char *to, size_t size)
{
    int64_t now_us = clock_realtime_us(&clock_system);
    time_t seconds = (time_t)(now_us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t length = strftime(to, size, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(to + length, size - length, ".%03d", (int)(now_us / 1000 % 1000));
}

/* Messages that the rate allows so far. */
static uint64_t rate_end(const struct flood *flood)
{
    uint64_t rate = flood->options->messages_per_s;
    if (rate == 0)
        return UINT64_MAX;
    double seconds = (double)(clock_monotonic_ns(&clock_system) - flood->start_ns) / 1e9;
    return (uint64_t)(seconds * (double)rate);
}

/* Chooses the next bytes to send: nothing when the window is full, the rate is kept or all is
 * sent. */
static void next_region(struct flood *flood)
{
    char timestamp[64];
    uint64_t end = flood->next + BATCH_MESSAGES;
    if (flood->options->qos > 0 && end > flood->acknowledged + flood->window)
        end = flood->acknowledged + flood->window;
    if (end > flood->options->message_count)
        end = flood->options->message_count;
    uint64_t allowed = rate_end(flood);
    end = end > allowed ? allowed : end;
    uint64_t lap_end = (flood->next / flood->ring.count + 1) * flood->ring.count;
    end = end > lap_end ? lap_end : end;
    if (end <= flood->next)
        return;
    format_timestamp(timestamp, sizeof(timestamp));
    for (; flood->made < end; flood->made++)
        make_message(flood, flood->made, timestamp);
    flood->region_at = slot_start(&flood->ring, (uint32_t)(flood->next % flood->ring.count));
    flood->region_end = flood->ring.ends[(end - 1) % flood->ring.count];
    flood->next = end;
}

static enum err send_all(int fd, const void *data, size_t size)
{
    const uint8_t *at = data;
    while (size > 0) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            (void)poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 100);
            continue;
        }
        if (sent <= 0)
            return ERR_CLOSED;
        at += sent;
        size -= (size_t)sent;
    }
    return ERR_OK;
}

/* Sends until the socket is full, the window is, or all is done; a few batches at most with QoS 1,
 * so that acknowledgements are looked for in between. A PINGRESP goes between two batches, never
 * into a packet. */
static enum err send_region(struct flood *flood)
{
    for (int batch = 0; batch < 16 || flood->options->qos == 0; batch++) {
        if (flood->region_at == flood->region_end && flood->pings_pending > 0) {
            flood->pings_pending--;
            if (send_all(flood->client, "\xd0\x00", 2) != ERR_OK)
                return ERR_CLOSED;
        }
        if (flood->region_at == flood->region_end && flood->is_subscribed)
            next_region(flood);
        if (flood->region_at == flood->region_end)
            return ERR_OK;
        ssize_t sent = send(flood->client, flood->ring.bytes.data + flood->region_at,
                            flood->region_end - flood->region_at, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? ERR_OK : ERR_CLOSED;
        flood->region_at += (size_t)sent;
    }
    return ERR_OK;
}

/* A client with a kept session gets what it has not acknowledged once more. */
static void resume(struct flood *flood)
{
    for (uint64_t message = flood->acknowledged; message < flood->next; message++) {
        uint32_t slot = (uint32_t)(message % flood->ring.count);
        flood->ring.bytes.data[slot_start(&flood->ring, slot)] |= 8;
    }
    flood->again_count += flood->next - flood->acknowledged;
    flood->next = flood->acknowledged;
}

static enum err on_connect(struct flood *flood, const struct mqtt_connect *connect)
{
    struct buf out;
    struct mqtt_connack connack = {.session_present = !connect->clean_start && flood->has_session};
    if (flood->made == 0 || flood->version != connect->version) {
        flood->version = connect->version;
        if (flood->made > 0 || fill_ring(flood) != ERR_OK)
            return ERR_UNSUPPORTED;
    }
    flood->window = flood->options->window;
    if (flood->window > connect->properties.receive_maximum)
        flood->window = connect->properties.receive_maximum;
    if (connack.session_present && flood->options->qos > 0)
        resume(flood);
    flood->has_session = true;
    flood->is_subscribed = connack.session_present;
    buf_init(&out, 256);
    enum err err = mqtt_encode_connack(&out, flood->version, &connack);
    if (err == ERR_OK)
        err = send_all(flood->client, out.data, out.size);
    buf_fini(&out);
    return err;
}

static enum err on_subscribe(struct flood *flood, const struct mqtt_subscribe *subscribe)
{
    uint8_t codes[64];
    struct buf out;
    size_t count = subscribe->entry_count < sizeof(codes) ? subscribe->entry_count : sizeof(codes);
    memset(codes, flood->options->qos, sizeof(codes));
    struct mqtt_subscribe suback = {.packet_identifier = subscribe->packet_identifier,
                                    .entries = bytes_from(codes, count)};
    buf_init(&out, 256);
    enum err err = mqtt_encode_suback(&out, flood->version, MQTT_SUBACK, &suback);
    if (err == ERR_OK)
        err = send_all(flood->client, out.data, out.size);
    buf_fini(&out);
    flood->is_subscribed = true;
    return err;
}

static void on_puback(struct flood *flood, uint16_t packet_identifier)
{
    if (packet_identifier != identifier_of(flood->acknowledged))
        flood->disordered_count++;
    if (flood->acknowledged < flood->next)
        flood->acknowledged++;
}

static enum err on_packet(struct flood *flood, const struct mqtt_frame *frame, struct bytes body)
{
    struct mqtt_fault fault;
    struct mqtt_connect connect;
    struct mqtt_subscribe subscribe;
    enum err err;
    switch (frame->type) {
    case MQTT_CONNECT:
        err = mqtt_decode_connect(frame, body, &connect, &fault);
        return err ? err : on_connect(flood, &connect);
    case MQTT_SUBSCRIBE:
        err = mqtt_decode_subscribe(flood->version, frame, body, &subscribe, &fault);
        return err ? err : on_subscribe(flood, &subscribe);
    case MQTT_PINGREQ:
        flood->pings_pending++;
        return ERR_OK;
    case MQTT_PUBACK:
        if (body.size >= 2)
            on_puback(flood, (uint16_t)(body.data[0] << 8 | body.data[1]));
        return ERR_OK;
    case MQTT_DISCONNECT:
        return ERR_CLOSED;
    default:
        return ERR_OK;
    }
}

static enum err read_packets(struct flood *flood)
{
    ssize_t got = recv(flood->client, flood->in + flood->in_size, READ_BYTES - flood->in_size, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? ERR_OK : ERR_CLOSED;
    flood->in_size += (size_t)got;
    size_t at = 0;
    while (at < flood->in_size) {
        struct mqtt_frame frame;
        struct mqtt_fault fault;
        struct bytes rest = bytes_from(flood->in + at, flood->in_size - at);
        enum err err = mqtt_frame(rest, READ_BYTES, &frame, &fault);
        if (err == ERR_AGAIN || (err == ERR_OK && frame.total_size > rest.size))
            break;
        if (err == ERR_OK)
            err = on_packet(flood, &frame,
                            bytes_from(rest.data + frame.header_size, frame.body_size));
        if (err != ERR_OK)
            return err;
        at += frame.total_size;
    }
    memmove(flood->in, flood->in + at, flood->in_size - at);
    flood->in_size -= at;
    return ERR_OK;
}

/* All sent and, with QoS 1, acknowledged; with QoS 0, taken by the client's machine. */
static bool is_complete(const struct flood *flood)
{
    int unsent = 0;
    if (flood->options->qos > 0)
        return flood->acknowledged == flood->options->message_count;
    return flood->next == flood->options->message_count && flood->region_at == flood->region_end &&
           flood->pings_pending == 0 && ioctl(flood->client, SIOCOUTQ, &unsent) == 0 && unsent == 0;
}

static void report(const struct flood *flood, FILE *out)
{
    double seconds = (double)(flood->done_ns - flood->start_ns) / 1e9;
    fprintf(out,
            "{\"sent\": %" PRIu64 ", \"acknowledged\": %" PRIu64 ", \"sent_again\": %" PRIu64
            ", \"out_of_order\": %" PRIu64 ", \"seconds\": %.3f, \"rate\": %.0f}\n",
            flood->next, flood->acknowledged, flood->again_count, flood->disordered_count, seconds,
            seconds > 0 ? (double)flood->next / seconds : 0);
    fflush(out);
}

static enum err serve_client(struct flood *flood, FILE *out)
{
    enum err err = ERR_OK;
    while (err == ERR_OK) {
        bool wants_out = flood->is_subscribed && flood->region_at < flood->region_end;
        struct pollfd fds[2] = {
            {.fd = flood->client, .events = (short)(POLLIN | (wants_out ? POLLOUT : 0))},
            {.fd = flood->options->exit_when_done ? -1 : STDIN_FILENO, .events = POLLIN}};
        if (poll(fds, 2, flood->is_subscribed && !flood->is_done ? 2 : 200) < 0 && errno != EINTR)
            return ERR_IO;
        if ((fds[1].revents & (POLLIN | POLLHUP)) && read(STDIN_FILENO, (char[64]){0}, 64) <= 0)
            return ERR_STOPPED;
        if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
            err = read_packets(flood);
        if (err != ERR_OK)
            continue;
        if (flood->start_ns == 0 && flood->is_subscribed)
            flood->start_ns = clock_monotonic_ns(&clock_system);
        err = send_region(flood);
        if (flood->is_done || !is_complete(flood))
            continue;
        flood->is_done = true;
        flood->done_ns = clock_monotonic_ns(&clock_system);
        report(flood, out);
        if (flood->options->exit_when_done)
            return ERR_STOPPED;
    }
    return err;
}

static enum err listen_on(struct flood *flood, FILE *out)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(flood->options->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int on = 1;
    flood->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (flood->listener < 0)
        return err_from_errno(errno);
    (void)setsockopt(flood->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(flood->listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(flood->listener, 16) != 0 ||
        getsockname(flood->listener, (struct sockaddr *)&address, &size) != 0)
        return err_from_errno(errno);
    fprintf(out, "port %d\n", ntohs(address.sin_port));
    fflush(out);
    return ERR_OK;
}

static enum err accept_client(struct flood *flood)
{
    int size = SEND_BYTES;
    int on = 1;
    flood->client = accept4(flood->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (flood->client < 0)
        return err_from_errno(errno);
    (void)setsockopt(flood->client, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    (void)setsockopt(flood->client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    flood->in_size = 0;
    flood->is_subscribed = false;
    flood->region_at = flood->region_end = 0;
    flood->pings_pending = 0;
    return ERR_OK;
}

/* Clients come and go until all is done and the last has left. */
static enum err serve(struct flood *flood, FILE *out)
{
    for (;;) {
        struct pollfd fds[2] = {
            {.fd = flood->listener, .events = POLLIN},
            {.fd = flood->options->exit_when_done ? -1 : STDIN_FILENO, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return ERR_IO;
        if ((fds[1].revents & (POLLIN | POLLHUP)) && read(STDIN_FILENO, (char[64]){0}, 64) <= 0)
            return ERR_OK;
        if (!(fds[0].revents & POLLIN))
            continue;
        enum err err = accept_client(flood);
        if (err != ERR_OK)
            return err;
        err = serve_client(flood, out);
        close(flood->client);
        if (err == ERR_STOPPED)
            return ERR_OK;
    }
}

static uint32_t ring_count(uint32_t topic_count)
{
    return (FLOOD_RING_MIN + topic_count - 1) / topic_count * topic_count;
}

enum err flood_run(const struct flood_options *options, FILE *out)
{
    struct flood flood = {.options = options, .listener = -1, .client = -1};
    if (options->window == 0 || options->window > 65535 || options->qos > 1 ||
        options->topic_count == 0 || options->topic_count > FLOOD_TOPICS_MAX ||
        options->message_count > 9 * FLOOD_SEQ_FIRST)
        return ERR_INVALID;
    flood.ring.count = ring_count(options->topic_count);
    buf_init(&flood.ring.bytes, (size_t)flood.ring.count * (FLOOD_PAYLOAD_MAX + 512));
    flood.ring.ends = mem_zalloc(flood.ring.count, sizeof(*flood.ring.ends));
    flood.in = mem_alloc(READ_BYTES);
    enum err err = flood.ring.ends && flood.in ? listen_on(&flood, out) : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = serve(&flood, out);
    if (flood.listener >= 0)
        close(flood.listener);
    buf_fini(&flood.ring.bytes);
    mem_free(flood.ring.ends);
    mem_free(flood.in);
    return err;
}
