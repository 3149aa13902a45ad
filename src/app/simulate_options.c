#include "app/simulate_options.h"

#include "os/clock.h"
#include "os/random.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SENSORS_MAX 100000u
#define RATE_MAX    10000000.0

const char simulate_usage[] =
    "Usage: ingestor simulate [options]\n"
    "\n"
    "Publishes readings of simulated sensors (temperature, air quality, traffic, smart bins) over\n"
    "MQTT, or with --coap-port serves them over CoAP, to be observed or asked.\n"
    "\n"
    "  --broker HOST         MQTT broker (MQTT_BROKER, else localhost)\n"
    "  --port PORT           its port (MQTT_PORT, else 1883)\n"
    "  --rate N              messages per second; 0 as fast as possible (100)\n"
    "  --sensors N           how many sensors, each with its own topic (100)\n"
    "  --qos 0|1             (1)\n"
    "  --count N             end after N messages (no end)\n"
    "  --duration SECONDS    end after that time (no end)\n"
    "  --coap-port PORT      a CoAP server there in place of MQTT, 0 for any free port: a resource "
    "for\n"
    "                        each sensor, /.well-known/core; half of them JSON, a quarter each "
    "CBOR\n"
    "                        and SenML; --rate is of new readings, --count of notifications sent,\n"
    "                        --qos 1 makes them confirmable\n"
    "  --coap-address ADDR   the server's own (127.0.0.1; 0.0.0.0 or :: for all)\n"
    "  --topic-prefix TOPIC  topics, or paths, are TOPIC/<type>/<sensor id> (smartcity/sensors)\n"
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
    "  ingestor simulate --broker localhost --rate 1000 --sensors 500 --duration 60\n"
    "         40 sensors to observe with: ingestor try coap://localhost/\n"
    "  ingestor simulate --coap-port 5683 --sensors 40 --rate 40\n";

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
    {"broker", required_argument, NULL, 'b'},
    {"port", required_argument, NULL, 'p'},
    {"rate", required_argument, NULL, 'r'},
    {"sensors", required_argument, NULL, 'n'},
    {"qos", required_argument, NULL, 'q'},
    {"count", required_argument, NULL, 'c'},
    {"duration", required_argument, NULL, 'd'},
    {"topic-prefix", required_argument, NULL, 't'},
    {"faults", required_argument, NULL, 'f'},
    {"first-seq", required_argument, NULL, 'F'},
    {"seed", required_argument, NULL, 's'},
    {"protocol", required_argument, NULL, 'v'},
    {"username", required_argument, NULL, 'u'},
    {"client-id", required_argument, NULL, 'i'},
    {"coap-port", required_argument, NULL, 'C'},
    {"coap-address", required_argument, NULL, 'A'},
    {"json", no_argument, NULL, 'j'},
    {"quiet", no_argument, NULL, 'Q'},
    {"help", no_argument, NULL, 'h'},
    {0},
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
    case 'C':
        good = parse_count("--coap-port", text, 0, 65535, &number);
        options->coap_port = (uint16_t)number;
        options->serves_coap = true;
        return good;
    case 'A':
        options->coap_address = text;
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
        drawn[0] = drawn[1] = (uint64_t)clock_monotonic_ns(&clock_system);
    *options = (struct simulate_options){.client = {.host = host && *host ? host : "localhost",
                                                    .password = getenv("MQTT_PASSWORD"),
                                                    .version = MQTT_VERSION_5,
                                                    .qos = 1,
                                                    .keep_alive_seconds = 30},
                                         .rate = 100,
                                         .sensor_count = 100,
                                         .count = UINT64_MAX,
                                         .coap_address = "127.0.0.1",
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

/* Path segments as they are: what would have to be escaped is none, nor is an empty one. */
static bool is_path(const char *text)
{
    static const char unreserved[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789-._~/";
    return text[strspn(text, unreserved)] == '\0' && *text && *text != '/' && !strstr(text, "//") &&
           text[strlen(text) - 1] != '/';
}

/* What the options say together. */
static bool check(const struct simulate_options *options)
{
    if (!options->serves_coap)
        return true;
    if (options->rate <= 0)
        fprintf(stderr, "simulate: --rate 0 is for MQTT: nothing tells a CoAP server how fast its "
                        "observers are\n");
    else if (!is_path(options->topic_prefix))
        fprintf(stderr,
                "simulate: --topic-prefix \"%s\" is no path: letters, digits and -._~ "
                "between single slashes\n",
                options->topic_prefix);
    else
        return true;
    return false;
}

bool simulate_options_read(int argc, char **argv, struct simulate_options *ret_options)
{
    int code;
    if (!set_defaults(ret_options))
        return false;
    optind = 1;
    while ((code = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if (!set_option(ret_options, code, optarg))
            return false;
    if (optind < argc) {
        fprintf(stderr, "simulate: \"%s\" is not an option; see ingestor simulate --help\n",
                argv[optind]);
        return false;
    }
    if (!ret_options->client.username)
        ret_options->client.password = NULL;
    return ret_options->wants_help || check(ret_options);
}
