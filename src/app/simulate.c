#include "app/simulate.h"

#include "app/simulate_client.h"
#include "app/simulate_sensor.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "codec/timestamp.h"
#include "os/clock.h"
#include "os/random.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TICK_MS            5
#define DRAIN_MS           30000 /* for acknowledgements, at the end */
#define DRAIN_AFTER_INT_MS 5000
#define SENSORS_MAX        100000u
#define RATE_MAX           10000000.0

static const char usage[] =
    "Usage: ingestor simulate [options]\n"
    "\n"
    "Publishes readings of simulated sensors (temperature, air quality, traffic, smart bins).\n"
    "\n"
    "  --broker HOST         MQTT broker (MQTT_BROKER, else localhost)\n"
    "  --port PORT           its port (MQTT_PORT, else 1883)\n"
    "  --rate N              messages per second; 0 as fast as possible (100)\n"
    "  --sensors N           how many sensors, each with its own topic (100)\n"
    "  --qos 0|1             (1)\n"
    "  --count N             end after N messages (no end)\n"
    "  --duration SECONDS    end after that time (no end)\n"
    "  --topic-prefix TOPIC  topics are TOPIC/<type>/<sensor id> (smartcity/sensors)\n"
    "  --faults RATIO        share of readings with a fault: \"N/A\", null, a missing field, NaN, "
    "an\n"
    "                        outlier, broken JSON (0.001; 0 for tests that count)\n"
    "  --first-seq N         \"seq\" of the first message (1)\n"
    "  --seed N              same seed, same readings (drawn)\n"
    "  --protocol 5|3.1.1    MQTT version (5)\n"
    "  --username NAME       with MQTT_PASSWORD from the environment\n"
    "  --client-id ID        (drawn)\n"
    "  --json                the totals as JSON\n"
    "  --quiet               no live line\n"
    "\n"
    "Example: 1000 messages a second from 500 sensors for a minute\n"
    "  ingestor simulate --broker localhost --rate 1000 --sensors 500 --duration 60\n";

struct simulate_options {
    struct client_options client;
    char client_id[32];
    double rate; /* 0: no limit */
    uint32_t sensor_count;
    uint64_t count; /* UINT64_MAX: no end */
    double duration_seconds;
    const char *topic_prefix;
    double fault_ratio;
    uint64_t first_seq;
    uint64_t seed;
    bool as_json;
    bool is_quiet;
    bool wants_help;
};

struct simulation {
    const struct simulate_options *options;
    uv_loop_t loop;
    uv_timer_t timer;
    uv_signal_t signals[2];
    struct client client;
    struct sensor *sensors;
    uint32_t sensor_next;
    struct buf payload;
    uint64_t random;
    uint64_t produced;
    uint64_t fault_count;
    double budget; /* messages that the rate allows now */
    int64_t start_ns;
    int64_t first_ns; /* of the first message */
    int64_t last_ns;  /* of the last progress */
    int64_t tick_ns;
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
    double seconds = (double)(now_ns() - simulation->start_ns) / (double)NS_PER_S;
    if (simulation->produced == options->count || seconds >= options->duration_seconds)
        begin_drain(simulation, DRAIN_MS);
    if (simulation->drain_until_ns == 0)
        return;
    if (client_pending(&simulation->client) == 0 || now_ns() > simulation->drain_until_ns)
        close_all(simulation);
}

static void on_closed(void *ctx)
{
    struct simulation *simulation = ctx;
    uv_close((uv_handle_t *)&simulation->timer, NULL);
    for (int i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&simulation->signals[i], NULL);
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct simulation *simulation = signal->data;
    (void)number;
    if (simulation->drain_until_ns != 0) /* a second one */
        close_all(simulation);
    begin_drain(simulation, DRAIN_AFTER_INT_MS);
    check_end(simulation);
}

/* Producing */

static enum err produce_one(struct simulation *simulation, const char *timestamp)
{
    struct sensor *sensor = &simulation->sensors[simulation->sensor_next];
    uint64_t seq = simulation->options->first_seq + simulation->produced;
    buf_clear(&simulation->payload);
    enum sensor_fault fault = sensor_read(sensor, seq, timestamp, simulation->options->fault_ratio,
                                          &simulation->random, &simulation->payload);
    enum err err = simulation->payload.err;
    if (err == ERR_OK)
        err = client_publish(&simulation->client, bytes_from_text(sensor->topic),
                             buf_bytes(&simulation->payload));
    if (err != ERR_OK)
        return err;
    simulation->fault_count += fault != SENSOR_FAULT_NONE;
    simulation->produced++;
    if (++simulation->sensor_next == simulation->options->sensor_count)
        simulation->sensor_next = 0;
    return ERR_OK;
}

/* How many messages may go now: room in the window, what the rate allows, what is left to do. */
static uint64_t allowance(struct simulation *simulation)
{
    const struct simulate_options *options = simulation->options;
    int64_t now = now_ns();
    double seconds = (double)(now - simulation->tick_ns) / (double)NS_PER_S;
    simulation->tick_ns = now;
    uint64_t allowed = client_room(&simulation->client);
    if (options->rate > 0) {
        /* What an outage held up is not made good for more than a second. */
        simulation->budget =
            fmin(simulation->budget + seconds * options->rate, fmax(options->rate, 1));
        allowed = (double)allowed < simulation->budget ? allowed : (uint64_t)simulation->budget;
    }
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
    (void)timestamp_format(clock_realtime_us(&clock_system), timestamp);
    if (simulation->first_ns == 0)
        simulation->first_ns = now_ns();
    enum err err = ERR_OK;
    for (uint64_t i = 0; i < allowed && err == ERR_OK; i++)
        err = produce_one(simulation, timestamp);
    simulation->budget -= (double)allowed;
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

static void on_tick(uv_timer_t *timer)
{
    struct simulation *simulation = timer->data;
    produce(simulation);
    check_end(simulation);
    show(simulation);
}

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

static void start_handles(struct simulation *simulation)
{
    (void)uv_timer_init(&simulation->loop, &simulation->timer);
    simulation->timer.data = simulation;
    (void)uv_timer_start(&simulation->timer, on_tick, TICK_MS, TICK_MS);
    for (int i = 0; i < 2; i++) {
        (void)uv_signal_init(&simulation->loop, &simulation->signals[i]);
        simulation->signals[i].data = simulation;
        (void)uv_signal_start(&simulation->signals[i], on_signal, i == 0 ? SIGINT : SIGTERM);
    }
}

static int run(const struct simulate_options *options)
{
    struct simulation *simulation = mem_zalloc(1, sizeof(*simulation));
    struct diag diag = {0};
    if (!simulation)
        return 1;
    simulation->options = options;
    simulation->start_ns = simulation->tick_ns = simulation->shown_ns = now_ns();
    buf_init(&simulation->payload, CLIENT_PACKET_MAX);
    enum err err = make_sensors(simulation);
    if (err == ERR_OK && uv_loop_init(&simulation->loop) != 0)
        err = ERR_NO_MEMORY;
    if (err == ERR_OK) {
        err = client_open(&simulation->client, &simulation->loop, &options->client, &simulate_ops,
                          simulation, &diag);
        if (err == ERR_OK) {
            start_handles(simulation);
            (void)uv_run(&simulation->loop, UV_RUN_DEFAULT);
            report(simulation);
        }
        (void)uv_loop_close(&simulation->loop);
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

/* Options */

static bool parse_count(const char *name, const char *text, uint64_t least, uint64_t most,
                        uint64_t *ret_value)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (*text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && value >= least &&
        value <= most) {
        *ret_value = value;
        return true;
    }
    fprintf(stderr, "simulate: %s is \"%s\", not a whole number from %" PRIu64 " to %" PRIu64 "\n",
            name, text, least, most);
    return false;
}

static bool parse_number(const char *name, const char *text, double least, double most,
                         double *ret_value)
{
    char *end;
    double value = strtod(text, &end);
    if (end != text && *end == '\0' && value >= least && value <= most) {
        *ret_value = value;
        return true;
    }
    fprintf(stderr, "simulate: %s is \"%s\", not a number from %g to %g\n", name, text, least,
            most);
    return false;
}

static const struct option long_options[] = {
    {"broker", required_argument, NULL, 'b'},   {"port", required_argument, NULL, 'p'},
    {"rate", required_argument, NULL, 'r'},     {"sensors", required_argument, NULL, 'n'},
    {"qos", required_argument, NULL, 'q'},      {"count", required_argument, NULL, 'c'},
    {"duration", required_argument, NULL, 'd'}, {"topic-prefix", required_argument, NULL, 't'},
    {"faults", required_argument, NULL, 'f'},   {"first-seq", required_argument, NULL, 'F'},
    {"seed", required_argument, NULL, 's'},     {"protocol", required_argument, NULL, 'v'},
    {"username", required_argument, NULL, 'u'}, {"client-id", required_argument, NULL, 'i'},
    {"json", no_argument, NULL, 'j'},           {"quiet", no_argument, NULL, 'Q'},
    {"help", no_argument, NULL, 'h'},           {0},
};

static bool set_protocol(struct simulate_options *options, const char *text)
{
    if (strcmp(text, "5") == 0)
        options->client.version = MQTT_VERSION_5;
    else if (strcmp(text, "3.1.1") == 0)
        options->client.version = MQTT_VERSION_3_1_1;
    else
        fprintf(stderr, "simulate: --protocol is \"%s\", not 5 or 3.1.1\n", text);
    return strcmp(text, "5") == 0 || strcmp(text, "3.1.1") == 0;
}

static bool set_option(struct simulate_options *options, int code, const char *text)
{
    uint64_t number = 0;
    bool good = true;
    switch (code) {
    case 'b':
        options->client.host = text;
        return true;
    case 'p':
        good = parse_count("--port", text, 1, 65535, &number);
        options->client.port = (uint16_t)number;
        return good;
    case 'r':
        return parse_number("--rate", text, 0, RATE_MAX, &options->rate);
    case 'n':
        good = parse_count("--sensors", text, 1, SENSORS_MAX, &number);
        options->sensor_count = (uint32_t)number;
        return good;
    case 'q':
        good = parse_count("--qos", text, 0, 1, &number);
        options->client.qos = (uint8_t)number;
        return good;
    case 'c':
        return parse_count("--count", text, 1, UINT64_MAX / 2, &options->count);
    case 'd':
        return parse_number("--duration", text, 0.001, 1e9, &options->duration_seconds);
    case 't':
        options->topic_prefix = text;
        return true;
    case 'f':
        return parse_number("--faults", text, 0, 1, &options->fault_ratio);
    case 'F':
        return parse_count("--first-seq", text, 0, UINT64_MAX / 4, &options->first_seq);
    case 's':
        return parse_count("--seed", text, 0, UINT64_MAX, &options->seed);
    case 'v':
        return set_protocol(options, text);
    case 'u':
        options->client.username = text;
        return true;
    case 'i':
        options->client.client_id = text;
        return true;
    case 'j':
        options->as_json = true;
        return true;
    case 'Q':
        options->is_quiet = true;
        return true;
    case 'h':
        options->wants_help = true;
        return true;
    default:
        return false;
    }
}

static bool set_defaults(struct simulate_options *options)
{
    uint64_t drawn[2] = {1, 1};
    const char *host = getenv("MQTT_BROKER");
    const char *port = getenv("MQTT_PORT");
    uint64_t port_number = 1883;
    if (random_fill(drawn, sizeof(drawn)) != ERR_OK)
        drawn[0] = drawn[1] = (uint64_t)now_ns();
    *options = (struct simulate_options){.client = {.host = host && *host ? host : "localhost",
                                                    .password = getenv("MQTT_PASSWORD"),
                                                    .version = MQTT_VERSION_5,
                                                    .qos = 1,
                                                    .keep_alive_seconds = 30},
                                         .rate = 100,
                                         .sensor_count = 100,
                                         .count = UINT64_MAX,
                                         .duration_seconds = HUGE_VAL,
                                         .topic_prefix = "smartcity/sensors",
                                         .fault_ratio = 0.001,
                                         .first_seq = 1,
                                         .seed = drawn[0]};
    snprintf(options->client_id, sizeof(options->client_id), "simulate-%012" PRIx64,
             drawn[1] >> 16);
    options->client.client_id = options->client_id;
    if (port && *port && !parse_count("MQTT_PORT", port, 1, 65535, &port_number))
        return false;
    options->client.port = (uint16_t)port_number;
    return true;
}

int simulate_main(int argc, char **argv)
{
    struct simulate_options options;
    int code;
    if (!set_defaults(&options))
        return 2;
    optind = 1;
    while ((code = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if (!set_option(&options, code, optarg))
            return 2;
    if (optind < argc) {
        fprintf(stderr, "simulate: \"%s\" is not an option; see ingestor simulate --help\n",
                argv[optind]);
        return 2;
    }
    if (options.wants_help) {
        fputs(usage, stdout);
        return 0;
    }
    if (!options.client.username)
        options.client.password = NULL;
    (void)signal(SIGPIPE, SIG_IGN);
    return run(&options);
}
