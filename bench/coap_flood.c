/*
 * A CoAP server that costs little itself, for bench/coap_bench.py: resources /r/0, /r/1, … that can
 * be observed, shared out evenly over servers (sockets, one after the other), and non-confirmable
 * notifications of them at a rate. Each has its resource, its number among that resource's, and
 * when it was sent, so that what arrived can be counted and timed.
 *
 *   coap_flood --resources 1000 --servers 1 --rate 10000 --count 600000 --payload 200
 *
 * Prints "port N" for each server, "ready" when each resource is observed, "done" when all is sent;
 * then it goes on answering until its standard input ends, and prints what it counted as JSON. What
 * it sends late it makes good at once, for no more than 20 ms.
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "os/clock.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RESOURCES_MAX  100000u
#define SERVERS_MAX    1000u
#define TOKEN_MAX      8
#define PAYLOAD_MAX    1024u
#define DATAGRAM_MAX   (PAYLOAD_MAX + 64)
#define BATCH_MAX      64u
#define TICK_NS        (2 * NS_PER_MS)
#define CATCH_UP_NS    (20 * NS_PER_MS)
#define ACK            2
#define NON            1
#define RESET          3
#define CODE_GET       0x01
#define CODE_CONTENT   0x45
#define CODE_NOT_FOUND 0x84
#define OPTION_OBSERVE 6
#define OPTION_PATH    11

struct resource {
    struct sockaddr_storage observer;
    uint8_t token[TOKEN_MAX];
    uint8_t token_size;
    bool is_observed;
    uint32_t seq; /* notifications; also their Observe */
};

struct counts {
    uint64_t sent, registrations, asked, resets, refused, unobserved;
};

static struct {
    uint32_t resources, servers;
    uint64_t count;
    double rate;
    uint32_t payload;
} options = {.resources = 1000, .servers = 1, .count = 600000, .rate = 10000, .payload = 200};

static struct resource *resources;
static int *sockets;
static uint16_t *message_ids;
static uint32_t observed;
static struct counts counts;
static int64_t first_ns, last_ns;

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&clock_system);
}

static uint32_t server_of(uint32_t resource)
{
    return (uint32_t)((uint64_t)resource * options.servers / options.resources);
}

/* --- messages --- */

static size_t put_head(uint8_t *out, int type, uint8_t code, uint16_t message_id,
                       const uint8_t *token, uint8_t token_size)
{
    out[0] = (uint8_t)(0x40 | type << 4 | token_size);
    out[1] = code;
    out[2] = (uint8_t)(message_id >> 8);
    out[3] = (uint8_t)message_id;
    memcpy(out + 4, token, token_size);
    return 4u + token_size;
}

/* 2.05 with Observe (three bytes), JSON, and so many bytes of payload. */
static size_t put_value(uint8_t *out, int type, uint16_t message_id, uint32_t number)
{
    struct resource *resource = &resources[number];
    size_t size =
        put_head(out, type, CODE_CONTENT, message_id, resource->token, resource->token_size);
    const uint8_t tail[] = {OPTION_OBSERVE << 4 | 3,
                            (uint8_t)(resource->seq >> 16),
                            (uint8_t)(resource->seq >> 8),
                            (uint8_t)resource->seq,
                            (12 - OPTION_OBSERVE) << 4 | 1,
                            50,
                            0xff};
    memcpy(out + size, tail, sizeof(tail));
    size += sizeof(tail);
    int written =
        snprintf((char *)out + size, PAYLOAD_MAX,
                 "{\"resource\":%u,\"seq\":%u,\"sent_us\":%" PRId64
                 ",\"temperature\":%u.%02u,\"humidity\":%u.%u,\"battery\":%u,"
                 "\"status\":\"ok\",\"location\":{\"lat\":51.0%04u,\"lon\":13.7%04u}",
                 number, resource->seq, clock_realtime_us(&clock_system), 10 + resource->seq % 20,
                 resource->seq % 100, 40 + resource->seq % 50, resource->seq % 10,
                 100 - resource->seq % 60, number % 10000, number * 7 % 10000);
    assert(written > 0 && (uint32_t)written < PAYLOAD_MAX - 16);
    size += (size_t)written;
    if ((uint32_t)written + 10 < options.payload) { /* ,"pad":"…"} */
        size_t pad = options.payload - (uint32_t)written - 10;
        memcpy(out + size, ",\"pad\":\"", 8);
        memset(out + size + 8, 'x', pad);
        out[size + 8 + pad] = '"';
        size += 9 + pad;
    }
    out[size++] = '}';
    return size;
}

/* --- what comes --- */

struct question {
    int type;
    uint8_t code;
    uint16_t message_id;
    const uint8_t *token;
    uint8_t token_size;
    int observe; /* -1: none */
    uint32_t resource;
    bool is_known; /* the path is of a resource */
};

static bool read_options(struct question *question, const uint8_t *at, const uint8_t *end)
{
    unsigned number = 0, segments = 0;
    while (at < end && *at != 0xff) {
        unsigned parts[2] = {*at >> 4, *at & 15u};
        at++;
        for (int i = 0; i < 2; i++) {
            if (parts[i] == 15 || end - at < (parts[i] == 13 ? 1 : parts[i] == 14 ? 2 : 0))
                return false;
            if (parts[i] == 13) {
                parts[i] = 13u + *at++;
            } else if (parts[i] == 14) {
                parts[i] = 269u + ((unsigned)at[0] << 8) + at[1];
                at += 2;
            }
        }
        number += parts[0];
        if ((size_t)(end - at) < parts[1])
            return false;
        if (number == OPTION_OBSERVE)
            question->observe = parts[1] == 0 ? 0 : at[parts[1] - 1];
        if (number == OPTION_PATH && ++segments == 2 && parts[1] < 10) {
            char text[10] = {0};
            memcpy(text, at, parts[1]);
            question->resource = (uint32_t)strtoul(text, NULL, 10);
            question->is_known = question->resource < options.resources;
        }
        at += parts[1];
    }
    return true;
}

static bool read_question(struct question *question, const uint8_t *data, size_t size)
{
    if (size < 4 || data[0] >> 6 != 1 || (data[0] & 15) > TOKEN_MAX || size < 4u + (data[0] & 15u))
        return false;
    *question = (struct question){.type = data[0] >> 4 & 3,
                                  .code = data[1],
                                  .message_id = (uint16_t)(data[2] << 8 | data[3]),
                                  .token = data + 4,
                                  .token_size = data[0] & 15,
                                  .observe = -1};
    return read_options(question, data + 4 + question->token_size, data + size);
}

static void observe(const struct question *question, const struct sockaddr_storage *from)
{
    struct resource *resource = &resources[question->resource];
    observed = observed + (question->observe == 0) - resource->is_observed;
    resource->is_observed = question->observe == 0;
    resource->observer = *from;
    resource->token_size = question->token_size;
    memcpy(resource->token, question->token, question->token_size);
    counts.registrations += question->observe == 0;
}

static void answer(uint32_t server, const struct question *question,
                   const struct sockaddr_storage *from, socklen_t from_size)
{
    uint8_t out[DATAGRAM_MAX];
    size_t size;
    if (question->type == RESET)
        counts.resets++;
    if (question->code != CODE_GET)
        return;
    counts.asked++;
    if (question->is_known && question->observe >= 0)
        observe(question, from);
    if (question->is_known && server_of(question->resource) == server && question->observe == 0)
        size = put_value(out, ACK, question->message_id, question->resource);
    else
        size = put_head(out, ACK, CODE_NOT_FOUND, question->message_id, question->token,
                        question->token_size);
    if (sendto(sockets[server], out, size, 0, (const struct sockaddr *)from, from_size) < 0)
        counts.refused++;
}

static void take(uint32_t server)
{
    uint8_t data[2048];
    struct sockaddr_storage from;
    for (int i = 0; i < 64; i++) {
        socklen_t from_size = sizeof(from);
        struct question question;
        ssize_t size = recvfrom(sockets[server], data, sizeof(data), MSG_DONTWAIT,
                                (struct sockaddr *)&from, &from_size);
        if (size < 0)
            return;
        if (read_question(&question, data, (size_t)size))
            answer(server, &question, &from, from_size);
    }
}

/* --- sending --- */

static void send_batch(uint32_t server, struct mmsghdr *batch, unsigned size)
{
    unsigned done = 0;
    while (done < size) {
        int sent = sendmmsg(sockets[server], batch + done, size - done, 0);
        if (sent > 0) {
            counts.sent += (unsigned)sent;
            done += (unsigned)sent;
        } else if (errno != EINTR && errno != EAGAIN) {
            counts.refused++; /* not sent, and not counted as such */
            done++;
        }
    }
}

/* The next so many notifications, in turn over the resources. */
static void notify(uint32_t *next, uint64_t count)
{
    static uint8_t data[BATCH_MAX][DATAGRAM_MAX];
    static struct iovec parts[BATCH_MAX];
    static struct mmsghdr batch[BATCH_MAX];
    while (count > 0) {
        uint32_t server = server_of(*next);
        unsigned size = 0;
        while (size < BATCH_MAX && count > 0 && server_of(*next) == server) {
            struct resource *resource = &resources[*next];
            count--;
            if (resource->is_observed) {
                resource->seq++;
                parts[size].iov_base = data[size];
                parts[size].iov_len = put_value(data[size], NON, message_ids[server]++, *next);
                batch[size].msg_hdr = (struct msghdr){.msg_name = &resource->observer,
                                                      .msg_namelen = sizeof(struct sockaddr_in),
                                                      .msg_iov = &parts[size],
                                                      .msg_iovlen = 1};
                size++;
            } else {
                counts.unobserved++;
            }
            *next = *next + 1 == options.resources ? 0 : *next + 1;
        }
        send_batch(server, batch, size);
    }
}

static bool poll_all(struct pollfd *polled, int timeout_ms)
{
    if (poll(polled, options.servers + 1, timeout_ms) <= 0)
        return true;
    for (uint32_t i = 0; i < options.servers; i++)
        if (polled[i].revents)
            take(i);
    return polled[options.servers].revents == 0; /* our end */
}

static void run(struct pollfd *polled)
{
    uint64_t made = 0;
    uint32_t next = 0;
    bool goes_on = true;
    while (observed < options.resources && goes_on)
        goes_on = poll_all(polled, 100);
    printf("ready\n");
    fflush(stdout);
    first_ns = now_ns();
    int64_t begin_ns = first_ns; /* moves when more than CATCH_UP_NS behind */
    while (made < options.count && goes_on) {
        int64_t now = now_ns();
        uint64_t due = (uint64_t)((double)(now - begin_ns) / NS_PER_S * options.rate) + 1;
        uint64_t behind = due > made ? due - made : 0;
        uint64_t behind_max = (uint64_t)(options.rate * CATCH_UP_NS / NS_PER_S) + 1;
        if (behind > behind_max) {
            begin_ns += (int64_t)((double)(behind - behind_max) / options.rate * NS_PER_S);
            behind = behind_max;
        }
        behind = behind < options.count - made ? behind : options.count - made;
        notify(&next, behind);
        made += behind;
        goes_on = poll_all(polled, 0);
        struct timespec pause = {.tv_nsec = TICK_NS};
        nanosleep(&pause, NULL);
    }
    last_ns = now_ns();
    printf("done\n");
    fflush(stdout);
    while (goes_on)
        goes_on = poll_all(polled, 1000);
}

/* --- starting --- */

static int open_socket(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        perror("coap_flood: no socket");
        exit(1);
    }
    printf("port %u\n", ntohs(address.sin_port));
    return fd;
}

static void read_arguments(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        double value = strtod(argv[i + 1], NULL);
        if (strcmp(argv[i], "--resources") == 0)
            options.resources = (uint32_t)value;
        else if (strcmp(argv[i], "--servers") == 0)
            options.servers = (uint32_t)value;
        else if (strcmp(argv[i], "--rate") == 0)
            options.rate = value;
        else if (strcmp(argv[i], "--count") == 0)
            options.count = (uint64_t)value;
        else if (strcmp(argv[i], "--payload") == 0)
            options.payload = (uint32_t)value;
    }
    if (options.resources < 1 || options.resources > RESOURCES_MAX || options.servers < 1 ||
        options.servers > SERVERS_MAX || options.servers > options.resources || options.rate <= 0 ||
        options.payload > PAYLOAD_MAX - 64) {
        fprintf(stderr, "coap_flood: an option is out of range\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    read_arguments(argc, argv);
    resources = calloc(options.resources, sizeof(*resources));
    sockets = calloc(options.servers, sizeof(*sockets));
    message_ids = calloc(options.servers, sizeof(*message_ids));
    struct pollfd *polled = calloc(options.servers + 1, sizeof(*polled));
    if (!resources || !sockets || !message_ids || !polled)
        return 1;
    for (uint32_t i = 0; i < options.servers; i++) {
        sockets[i] = open_socket();
        polled[i] = (struct pollfd){.fd = sockets[i], .events = POLLIN};
    }
    fflush(stdout);
    polled[options.servers] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    run(polled);
    printf("{\"sent\": %" PRIu64 ", \"seconds\": %.3f, \"registrations\": %" PRIu64
           ", \"asked\": %" PRIu64 ", \"resets\": %" PRIu64 ", \"refused\": %" PRIu64
           ", \"unobserved\": %" PRIu64 "}\n",
           counts.sent, (double)(last_ns - first_ns) / NS_PER_S, counts.registrations, counts.asked,
           counts.resets, counts.refused, counts.unobserved);
    for (uint32_t i = 0; i < options.servers; i++)
        close(sockets[i]);
    free(polled);
    free(message_ids);
    free(sockets);
    free(resources);
    return 0;
}
