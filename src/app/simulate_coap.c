#include "app/simulate_coap.h"

#include "app/simulate_format.h"
#include "app/simulate_loop.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "os/clock.h"

#include <arpa/inet.h>
#include <coap3/coap.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#define DRAIN_MS        5000 /* for acknowledgements, at the end */
#define MAX_AGE_DEFAULT 60   /* seconds, RFC 7252 §5.10.5 */
#define MAX_AGE_MAX     86400
#define SHOWN_MIN_NS    NS_PER_S
#define SHOWN_LOG_NS    (10 * NS_PER_S)

struct served {
    struct server *server;
    struct sensor sensor;
    struct sensor_reading reading; /* the newest */
    enum sensor_format format;
    coap_resource_t *resource;
};

struct server {
    const struct simulate_options *options;
    struct simulate_loop loop;
    uv_poll_t poll;
    coap_context_t *context;
    coap_endpoint_t *endpoint;
    struct served *sensors;
    uint32_t sensor_next;
    struct buf payload;
    uint64_t random;
    int max_age; /* -1: the default */
    uint64_t readings;
    uint64_t faults;
    uint64_t notifications;
    uint64_t answers;
    uint64_t not_acknowledged;
    int64_t shown_ns;
    uint64_t shown_count;
    int64_t drain_until_ns; /* 0: not ending */
    bool is_closing;
};

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&clock_system);
}

/* --- answers and notifications ---------------------------------------------------------------- */

static void release(coap_session_t *session, void *payload)
{
    (void)session;
    mem_free(payload);
}

/* libcoap calls it for a question and for each notification of it; only what answers is no ACK. */
static void on_get(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                   const coap_string_t *query, coap_pdu_t *response)
{
    struct served *served = coap_resource_get_userdata(resource);
    struct server *server = served->server;
    buf_clear(&server->payload);
    sensor_write(&served->sensor, &served->reading, served->format, &server->payload);
    size_t size = server->payload.size;
    uint8_t *payload = mem_dup(server->payload.data, size);
    if (server->payload.err != ERR_OK || !payload) {
        mem_free(payload);
        coap_pdu_set_code(response, COAP_RESPONSE_CODE_INTERNAL_ERROR);
        return;
    }
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_CONTENT);
    (void)coap_add_data_large_response(resource, session, request, response, query,
                                       (uint16_t)served->format, server->max_age, 0, size, payload,
                                       release, payload);
    if (coap_pdu_get_type(response) == COAP_MESSAGE_ACK)
        server->answers++;
    else
        server->notifications++;
}

static void on_nack(coap_session_t *session, const coap_pdu_t *sent,
                    const coap_nack_reason_t reason, const coap_mid_t message_id)
{
    struct server *server = coap_get_app_data(coap_session_get_context(session));
    (void)sent;
    (void)message_id;
    server->not_acknowledged += reason == COAP_NACK_TOO_MANY_RETRIES;
}

/* --- readings --------------------------------------------------------------------------------- */

static void read_next(struct server *server, int64_t time_us)
{
    const struct simulate_options *options = server->options;
    struct served *served = &server->sensors[server->sensor_next];
    served->reading = sensor_step(&served->sensor, options->first_seq + server->readings, time_us,
                                  options->fault_ratio, &server->random);
    server->faults += served->reading.fault != SENSOR_FAULT_NONE;
    server->readings++;
    if (++server->sensor_next == options->sensor_count)
        server->sensor_next = 0;
    (void)coap_resource_notify_observers(served->resource, NULL); /* false: nobody observes it */
}

static void produce(struct server *server)
{
    uint64_t allowed = simulate_loop_allowance(&server->loop, server->options->rate);
    int64_t time_us = clock_realtime_us(&clock_system);
    if (server->drain_until_ns != 0)
        return;
    for (uint64_t i = 0; i < allowed; i++)
        read_next(server, time_us);
    simulate_loop_spend(&server->loop, allowed);
    if (allowed > 0)
        (void)coap_io_process(server->context, COAP_IO_NO_WAIT); /* sends */
}

/* --- ending and showing ----------------------------------------------------------------------- */

static void close_all(struct server *server)
{
    if (server->is_closing)
        return;
    server->is_closing = true;
    uv_poll_stop(&server->poll);
    uv_close((uv_handle_t *)&server->poll, NULL);
    simulate_loop_end(&server->loop);
}

static void begin_drain(struct server *server)
{
    if (server->drain_until_ns == 0)
        server->drain_until_ns = now_ns() + DRAIN_MS * NS_PER_MS;
}

static void check_end(struct server *server)
{
    if (server->notifications >= server->options->count ||
        simulate_loop_seconds(&server->loop) >= server->options->duration_seconds)
        begin_drain(server);
    if (server->drain_until_ns != 0 &&
        (coap_can_exit(server->context) || now_ns() > server->drain_until_ns))
        close_all(server);
}

static void show(struct server *server)
{
    bool is_terminal = isatty(STDERR_FILENO);
    int64_t now = now_ns();
    int64_t interval_ns = now - server->shown_ns;
    if (server->options->is_quiet || interval_ns < (is_terminal ? SHOWN_MIN_NS : SHOWN_LOG_NS))
        return;
    double rate = (double)(server->notifications - server->shown_count) /
                  ((double)interval_ns / (double)NS_PER_S);
    fprintf(stderr,
            "%ssimulate: %" PRIu64 " readings, %" PRIu64 " notifications, %.0f/s, %" PRIu64
            " answers%s",
            is_terminal ? "\r\033[K" : "", server->readings, server->notifications, rate,
            server->answers, is_terminal ? "" : "\n");
    server->shown_ns = now;
    server->shown_count = server->notifications;
}

static void report(const struct server *server)
{
    double seconds = simulate_loop_seconds(&server->loop);
    if (isatty(STDERR_FILENO) && !server->options->is_quiet)
        fputc('\n', stderr);
    if (server->options->as_json)
        printf("{\"readings\": %" PRIu64 ", \"notifications\": %" PRIu64 ", \"answers\": %" PRIu64
               ", \"not_acknowledged\": %" PRIu64 ", \"faults\": %" PRIu64
               ", \"first_seq\": %" PRIu64 ", \"seconds\": %.3f}\n",
               server->readings, server->notifications, server->answers, server->not_acknowledged,
               server->faults, server->options->first_seq, seconds);
    else
        printf("made %" PRIu64 " readings in %.1f s, sent %" PRIu64 " notifications and %" PRIu64
               " answers, not acknowledged %" PRIu64 ", with a fault %" PRIu64 "\n",
               server->readings, seconds, server->notifications, server->answers,
               server->not_acknowledged, server->faults);
    fflush(stdout);
}

static void on_tick(void *ctx)
{
    struct server *server = ctx;
    produce(server);
    check_end(server);
    show(server);
}

static void on_signal(void *ctx)
{
    struct server *server = ctx;
    if (server->drain_until_ns != 0) /* a second one */
        close_all(server);
    begin_drain(server);
    if (!server->is_closing)
        check_end(server);
}

static const struct simulate_loop_ops loop_ops = {.on_tick = on_tick, .on_signal = on_signal};

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct server *server = poll->data;
    (void)status;
    (void)events;
    (void)coap_io_process(server->context, COAP_IO_NO_WAIT);
}

/* --- starting --------------------------------------------------------------------------------- */

static enum err add_attributes(struct served *served)
{
    char type[40], content_format[8];
    snprintf(type, sizeof(type), "\"%s\"", sensor_type(&served->sensor));
    snprintf(content_format, sizeof(content_format), "%d", (int)served->format);
    return coap_add_attr(served->resource, coap_make_str_const("rt"), coap_make_str_const(type),
                         0) &&
                   coap_add_attr(served->resource, coap_make_str_const("ct"),
                                 coap_make_str_const(content_format), 0)
               ? ERR_OK
               : ERR_NO_MEMORY;
}

static enum err add_sensor(struct server *server, uint32_t number)
{
    const struct simulate_options *options = server->options;
    struct served *served = &server->sensors[number];
    int flags =
        options->client.qos == 0 ? COAP_RESOURCE_FLAGS_NOTIFY_NON : COAP_RESOURCE_FLAGS_NOTIFY_CON;
    served->server = server;
    served->format = sensor_format_of(number);
    enum err err = sensor_init(&served->sensor, number, options->topic_prefix, &server->random);
    if (err != ERR_OK)
        return err;
    served->resource = coap_resource_init(coap_make_str_const(served->sensor.topic), flags);
    if (!served->resource)
        return ERR_NO_MEMORY;
    coap_resource_set_userdata(served->resource, served);
    coap_resource_set_get_observable(served->resource, 1);
    coap_register_request_handler(served->resource, COAP_REQUEST_GET, on_get);
    coap_add_resource(server->context, served->resource);
    return add_attributes(served);
}

static enum err add_sensors(struct server *server)
{
    const struct simulate_options *options = server->options;
    double turn_seconds = 2 * options->sensor_count / options->rate;
    server->max_age = turn_seconds > MAX_AGE_DEFAULT ? (int)fmin(turn_seconds, MAX_AGE_MAX) : -1;
    server->random = options->seed;
    server->sensors = mem_zalloc(options->sensor_count, sizeof(*server->sensors));
    enum err err = server->sensors ? ERR_OK : ERR_NO_MEMORY;
    for (uint32_t i = 0; i < options->sensor_count && err == ERR_OK; i++)
        err = add_sensor(server, i);
    for (uint32_t i = 0; i < options->sensor_count && err == ERR_OK; i++)
        read_next(server, clock_realtime_us(&clock_system));
    return err;
}

static bool address_of(const struct simulate_options *options, coap_address_t *ret_address)
{
    coap_address_init(ret_address);
    if (inet_pton(AF_INET, options->coap_address, &ret_address->addr.sin.sin_addr) == 1) {
        ret_address->size = sizeof(ret_address->addr.sin);
        ret_address->addr.sin.sin_family = AF_INET;
        ret_address->addr.sin.sin_port = htons(options->coap_port);
        return true;
    }
    ret_address->size = sizeof(ret_address->addr.sin6);
    ret_address->addr.sin6.sin6_family = AF_INET6;
    ret_address->addr.sin6.sin6_port = htons(options->coap_port);
    return inet_pton(AF_INET6, options->coap_address, &ret_address->addr.sin6.sin6_addr) == 1;
}

static enum err listen_on(struct server *server, struct diag *diag)
{
    const struct simulate_options *options = server->options;
    coap_address_t address;
    if (!address_of(options, &address))
        return diag_set(diag, ERR_INVALID, "--coap-address is \"%s\", not an IPv4 or IPv6 address",
                        options->coap_address);
    server->endpoint = coap_new_endpoint(server->context, &address, COAP_PROTO_UDP);
    if (!server->endpoint)
        return diag_set(diag, ERR_NETWORK,
                        "no CoAP server can be on %s, UDP port %u: is there another one?",
                        options->coap_address, options->coap_port);
    return ERR_OK;
}

static enum err open_server(struct server *server, struct diag *diag)
{
    coap_startup();
    coap_set_log_level(LOG_EMERG); /* what goes wrong is told here */
    server->context = coap_new_context(NULL);
    if (!server->context)
        return ERR_NO_MEMORY;
    coap_set_app_data(server->context, server);
    coap_context_set_block_mode(server->context, COAP_BLOCK_USE_LIBCOAP | COAP_BLOCK_SINGLE_BODY);
    coap_register_nack_handler(server->context, on_nack);
    enum err err = listen_on(server, diag);
    if (err == ERR_OK)
        err = add_sensors(server);
    if (err == ERR_OK && uv_poll_init(&server->loop.uv, &server->poll,
                                      coap_context_get_coap_fd(server->context)) != 0)
        err = ERR_UNSUPPORTED; /* libcoap without epoll */
    return err;
}

/* What libcoap says of its endpoint, "127.0.0.1:5683 UDP", as an address to ask. */
static void say_where(const struct server *server)
{
    const char *text = coap_endpoint_str(server->endpoint);
    fprintf(stderr, "simulate: serving %u sensors on coap://%.*s/\n", server->options->sensor_count,
            (int)strcspn(text, " "), text);
}

static void serve(struct server *server)
{
    server->poll.data = server;
    uv_poll_start(&server->poll, UV_READABLE, on_poll);
    say_where(server);
    simulate_loop_run(&server->loop);
    report(server);
}

int simulate_coap_run(const struct simulate_options *options)
{
    struct server *server = mem_zalloc(1, sizeof(*server));
    struct diag diag = {0};
    if (!server)
        return 1;
    server->options = options;
    server->shown_ns = now_ns();
    buf_init(&server->payload, SENSOR_READING_MAX);
    enum err err = simulate_loop_init(&server->loop, &loop_ops, server);
    if (err == ERR_OK) {
        err = open_server(server, &diag);
        if (err == ERR_OK)
            serve(server);
        coap_free_context(server->context);
        simulate_loop_fini(&server->loop);
    }
    if (err != ERR_OK)
        fprintf(stderr, "simulate: %s\n", diag.text[0] ? diag.text : err_text(err));
    buf_fini(&server->payload);
    mem_free(server->sensors);
    mem_free(server);
    return err == ERR_OK ? 0 : err == ERR_INVALID ? 2 : 1;
}
