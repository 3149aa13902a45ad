#include "app/simulate.h"

#include "app/simulate_coap.h"
#include "app/simulate_loop.h"
#include "app/simulate_options.h"
#include "app/simulate_sensor.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "codec/timestamp.h"
#include "os/clock.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define DRAIN_MS           30000 /* for acknowledgements, at the end */
#define DRAIN_AFTER_INT_MS 5000
struct simulation {
    const struct simulate_options *options;
    struct simulate_loop loop;
    struct client client;
    struct sensor *sensors;
    uint32_t sensor_next;
    struct buf payload;
    uint64_t random;
    uint64_t produced;
    uint64_t fault_count;
    int64_t first_ns; /* of the first message */
    int64_t last_ns;  /* of the last progress */
    int64_t shown_ns;
    uint64_t shown_count;
    int64_t drain_until_ns; /* 0: still producing */
    bool is_closing;
    bool has_failed;
};

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&clock_system);
}

/* Ending */

static void close_all(struct simulation *simulation)
{
    if (simulation->is_closing)
        return;
    simulation->is_closing = true;
    simulation->last_ns = now_ns();
    client_close(&simulation->client);
}

static void begin_drain(struct simulation *simulation, int64_t wait_ms)
{
    if (simulation->drain_until_ns == 0)
        simulation->drain_until_ns = now_ns() + wait_ms * NS_PER_MS;
}

static void check_end(struct simulation *simulation)
{
    const struct simulate_options *options = simulation->options;
    if (simulation->produced == options->count ||
        simulate_loop_seconds(&simulation->loop) >= options->duration_seconds)
        begin_drain(simulation, DRAIN_MS);
    if (simulation->drain_until_ns == 0)
        return;
    if (client_pending(&simulation->client) == 0 || now_ns() > simulation->drain_until_ns)
        close_all(simulation);
}

static void on_closed(void *ctx)
{
    struct simulation *simulation = ctx;
    simulate_loop_end(&simulation->loop);
}

static void on_signal(void *ctx)
{
    struct simulation *simulation = ctx;
    if (simulation->drain_until_ns != 0) /* a second one */
        close_all(simulation);
    begin_drain(simulation, DRAIN_AFTER_INT_MS);
    check_end(simulation);
}

/* Producing */

static enum err produce_one(struct simulation *simulation, int64_t time_us, const char *timestamp)
{
    struct sensor *sensor = &simulation->sensors[simulation->sensor_next];
    uint64_t seq = simulation->options->first_seq + simulation->produced;
    buf_clear(&simulation->payload);
    struct sensor_reading reading =
        sensor_step(sensor, seq, time_us, simulation->options->fault_ratio, &simulation->random);
    sensor_write_json(sensor, &reading, timestamp, &simulation->payload);
    enum err err = simulation->payload.err;
    if (err == ERR_OK)
        err = client_publish(&simulation->client, bytes_from_text(sensor->topic),
                             buf_bytes(&simulation->payload));
    if (err != ERR_OK)
        return err;
    simulation->fault_count += reading.fault != SENSOR_FAULT_NONE;
    simulation->produced++;
    if (++simulation->sensor_next == simulation->options->sensor_count)
        simulation->sensor_next = 0;
    return ERR_OK;
}

/* How many messages may go now: room in the window, what the rate allows, what is left to do. */
static uint64_t allowance(struct simulation *simulation)
{
    const struct simulate_options *options = simulation->options;
    uint64_t allowed = client_room(&simulation->client);
    uint64_t paced = simulate_loop_allowance(&simulation->loop, options->rate);
    allowed = allowed < paced ? allowed : paced;
    uint64_t left = options->count - simulation->produced;
    return allowed < left ? allowed : left;
}

static void produce(struct simulation *simulation)
{
    if (simulation->drain_until_ns != 0 || simulation->is_closing)
        return;
    uint64_t allowed = allowance(simulation);
    if (allowed == 0)
        return;
    char timestamp[TIMESTAMP_TEXT_BYTES];
    int64_t time_us = clock_realtime_us(&clock_system);
    (void)timestamp_format(time_us, timestamp);
    if (simulation->first_ns == 0)
        simulation->first_ns = now_ns();
    enum err err = ERR_OK;
    for (uint64_t i = 0; i < allowed && err == ERR_OK; i++)
        err = produce_one(simulation, time_us, timestamp);
    simulate_loop_spend(&simulation->loop, allowed);
    if (err != ERR_OK) {
        fprintf(stderr, "simulate: a message cannot be made: %s\n", err_text(err));
        simulation->has_failed = true;
        close_all(simulation);
        return;
    }
    (void)client_flush(&simulation->client);
}

static void on_connected(void *ctx)
{
    struct simulation *simulation = ctx;
    if (!simulation->options->is_quiet)
        fprintf(stderr, "simulate: connected to %s:%u\n", simulation->options->client.host,
                simulation->options->client.port);
    produce(simulation);
}

static void on_room(void *ctx)
{
    struct simulation *simulation = ctx;
    check_end(simulation);
    produce(simulation);
}

static void on_lost(void *ctx, enum err err, const char *reason, bool tries_again)
{
    struct simulation *simulation = ctx;
    (void)err;
    fprintf(stderr, "simulate: %s%s\n", reason, tries_again ? "; trying again" : "");
    if (tries_again)
        return;
    simulation->has_failed = true;
    close_all(simulation);
}

static const struct client_ops simulate_ops = {
    .on_connected = on_connected, .on_room = on_room, .on_lost = on_lost, .on_closed = on_closed};

/* Showing */

static uint64_t acknowledged(const struct simulation *simulation)
{
    return simulation->options->client.qos == 0 ? simulation->produced : simulation->client.head;
}

static void show(struct simulation *simulation)
{
    bool is_terminal = isatty(STDERR_FILENO);
    int64_t now = now_ns();
    int64_t interval_ns = now - simulation->shown_ns;
    if (simulation->options->is_quiet || interval_ns < (is_terminal ? 1 : 10) * NS_PER_S)
        return;
    double rate = (double)(simulation->produced - simulation->shown_count) /
                  ((double)interval_ns / (double)NS_PER_S);
    fprintf(stderr,
            "%ssimulate: %" PRIu64 " published, %.0f/s, %" PRIu64 " acknowledged, %" PRIu64
            " in flight%s",
            is_terminal ? "\r\033[K" : "", simulation->produced, rate, acknowledged(simulation),
            simulation->client.next - simulation->client.head, is_terminal ? "" : "\n");
    simulation->shown_ns = now;
    simulation->shown_count = simulation->produced;
}

static void on_tick(void *ctx)
{
    struct simulation *simulation = ctx;
    produce(simulation);
    check_end(simulation);
    show(simulation);
}

static const struct simulate_loop_ops loop_ops = {.on_tick = on_tick, .on_signal = on_signal};

static void report(const struct simulation *simulation)
{
    const struct simulate_options *options = simulation->options;
    double seconds = (double)(simulation->last_ns - simulation->first_ns) / (double)NS_PER_S;
    if (simulation->first_ns == 0 || seconds <= 0)
        seconds = 0;
    double rate = seconds > 0 ? (double)simulation->produced / seconds : 0;
    if (isatty(STDERR_FILENO) && !options->is_quiet)
        fputc('\n', stderr);
    if (options->as_json)
        printf("{\"published\": %" PRIu64 ", \"acknowledged\": %" PRIu64 ", \"refused\": %" PRIu64
               ", \"sent_again\": %" PRIu64 ", \"reconnects\": %u, \"faults\": %" PRIu64
               ", \"first_seq\": %" PRIu64 ", \"seconds\": %.3f, \"rate\": %.0f}\n",
               simulation->produced, acknowledged(simulation), simulation->client.refused,
               simulation->client.sent_again, simulation->client.reconnects,
               simulation->fault_count, options->first_seq, seconds, rate);
    else
        printf("published %" PRIu64 " messages in %.1f s (%.0f/s), %s %" PRIu64
               ", sent again %" PRIu64 ", with a fault %" PRIu64 "\n",
               simulation->produced, seconds, rate,
               options->client.qos == 0 ? "handed over" : "acknowledged", acknowledged(simulation),
               simulation->client.sent_again, simulation->fault_count);
    fflush(stdout);
}

/* Starting */

static enum err make_sensors(struct simulation *simulation)
{
    const struct simulate_options *options = simulation->options;
    simulation->sensors = mem_zalloc(options->sensor_count, sizeof(*simulation->sensors));
    if (!simulation->sensors)
        return ERR_NO_MEMORY;
    simulation->random = options->seed;
    for (uint32_t i = 0; i < options->sensor_count; i++) {
        enum err err =
            sensor_init(&simulation->sensors[i], i, options->topic_prefix, &simulation->random);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static int run(const struct simulate_options *options)
{
    struct simulation *simulation = mem_zalloc(1, sizeof(*simulation));
    struct diag diag = {0};
    if (!simulation)
        return 1;
    simulation->options = options;
    simulation->shown_ns = now_ns();
    buf_init(&simulation->payload, CLIENT_PACKET_MAX);
    enum err err = make_sensors(simulation);
    if (err == ERR_OK)
        err = simulate_loop_init(&simulation->loop, &loop_ops, simulation);
    if (err == ERR_OK) {
        err = client_open(&simulation->client, &simulation->loop.uv, &options->client,
                          &simulate_ops, simulation, &diag);
        if (err == ERR_OK) {
            simulate_loop_run(&simulation->loop);
            report(simulation);
        }
        simulate_loop_fini(&simulation->loop);
    }
    if (err != ERR_OK)
        fprintf(stderr, "simulate: %s\n", diag.text[0] ? diag.text : err_text(err));
    bool is_good = err == ERR_OK && !simulation->has_failed && simulation->client.was_connected &&
                   acknowledged(simulation) == simulation->produced &&
                   simulation->client.refused == 0;
    buf_fini(&simulation->payload);
    mem_free(simulation->sensors);
    mem_free(simulation);
    return is_good ? 0 : 1;
}

int simulate_main(int argc, char **argv)
{
    struct simulate_options options;
    if (!simulate_options_read(argc, argv, &options))
        return 2;
    if (options.wants_help) {
        fputs(simulate_usage, stdout);
        return 0;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    return options.serves_coap ? simulate_coap_run(&options) : run(&options);
}
