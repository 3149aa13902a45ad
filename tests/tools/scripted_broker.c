/*
 * An MQTT broker for tests, on 127.0.0.1. It prints "port N" and does what a script says.
 *
 *   scripted_broker [--port N] [--script FILE] [--events FILE] [--keep-running] [--wait-max-ms N]
 *   scripted_broker --flood [--qos 0|1] [--topics N] [--messages N] [--payload BYTES] [--window N]
 *                   [--rate N] [--prefix TOPIC] [--exit]
 *
 * Flood (support/broker_flood.h): sends readings as fast as the one client reads, or --rate N a
 * second; prints totals.
 *
 * Script: one JSON object a line, from FILE or standard input (so that a test can go on writing
 * while it reads events); lines that begin with # are skipped. Steps are done in order; one that
 * needs a client waits for it. Without a script for it, the broker answers by itself: CONNACK,
 * SUBACK, UNSUBACK, PINGRESP, and PUBREL to a PUBREC.
 *
 *   {"do":"auto", …}        what it answers by itself, merged with what was said before:
 *       "connack","suback","pingresp","pubrel","read": false   do not (a broker that stalls)
 *       "connack_reason": 134   refuse, and close;  "connack_properties": {"receive_maximum": 10}
 *       "v5": "take" | "refuse" (reason 0x84) | "refuse_old" (as a broker of 3.1.1 does)
 *       "session": "auto" (known client id) | "present" | "lost"
 *       "suback_codes": [128], "maximum_qos": 1
 *   {"do":"forget"}         loses all sessions
 *   {"do":"wait","for":"PUBACK","count":3,"timeout_ms":5000}   a packet type, "open" or "close";
 *                           what came before and no wait has taken counts
 *   {"do":"sleep","ms":100}
 *   {"do":"publish","topic":"a/{i}","payload":"{\"seq\":{i}}","qos":1,"packet_identifier":7,
 *    "dup":true,"retain":true,"properties":{"topic_alias":1,"user":[["k","v"]]},
 *    "repeat":100,"window":10}   {i} counts from 0, identifiers from the given one, at most window
 *                           unacknowledged; also "payload_hex", "payload_size" (filled with x)
 *   {"do":"ack","type":"PUBACK","packet_identifier":9,"reason":16}   unsolicited
 *   {"do":"connack"|"suback"|"unsuback"|"disconnect"|"auth"|"pingresp", …}   by hand
 *   {"do":"raw","hex":"30 80 80"}, {"do":"garbage","bytes":1000,"seed":1}
 *       all of these: "cut": n sends the first n bytes only (-n: all but the last n),
 *       "connection": n goes to that connection (1 is the first) and not to the newest; when it
 *       has closed, nothing happens
 *   {"do":"stop_reading"}, {"do":"resume_reading"}
 *   {"do":"drop"} after what was sent, {"do":"reset"} at once with RST
 *   {"do":"listen","on":false}   refuse connections; true takes them again on the same port
 *   {"do":"mark","name":"x"}     an event
 *   {"do":"exit","code":0}
 *
 * Events: one JSON object a line to FILE or standard output, each with "t_ms" and "connection":
 * "packet" with "type" and the packet's fields (tests/support/broker_packet.h), "open",
 * "closed_by_client", "connection_error", "dropped", "done" after each step, "mark", "timeout",
 * "bad_step", "not_mqtt".
 */
#include "support/broker_flood.h"
#include "support/broker_script.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
    bool is_flood;
    struct flood_options flood;
    struct broker_options broker;
    const char *script_path;
    const char *events_path;
};

enum option_code {
    OPTION_FLOOD = 256,
    OPTION_QOS,
    OPTION_TOPICS,
    OPTION_MESSAGES,
    OPTION_PAYLOAD,
    OPTION_WINDOW,
    OPTION_RATE,
    OPTION_PREFIX,
    OPTION_EXIT,
    OPTION_PORT,
    OPTION_SCRIPT,
    OPTION_EVENTS,
    OPTION_KEEP_RUNNING,
    OPTION_WAIT_MAX
};

static const struct option long_options[] = {
    {"flood", no_argument, NULL, OPTION_FLOOD},
    {"qos", required_argument, NULL, OPTION_QOS},
    {"topics", required_argument, NULL, OPTION_TOPICS},
    {"messages", required_argument, NULL, OPTION_MESSAGES},
    {"payload", required_argument, NULL, OPTION_PAYLOAD},
    {"window", required_argument, NULL, OPTION_WINDOW},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"prefix", required_argument, NULL, OPTION_PREFIX},
    {"exit", no_argument, NULL, OPTION_EXIT},
    {"port", required_argument, NULL, OPTION_PORT},
    {"script", required_argument, NULL, OPTION_SCRIPT},
    {"events", required_argument, NULL, OPTION_EVENTS},
    {"keep-running", no_argument, NULL, OPTION_KEEP_RUNNING},
    {"wait-max-ms", required_argument, NULL, OPTION_WAIT_MAX},
    {0},
};

static bool set_option(struct options *options, int code)
{
    unsigned long long number = optarg ? strtoull(optarg, NULL, 10) : 0;
    switch (code) {
    case OPTION_FLOOD:
        options->is_flood = true;
        return true;
    case OPTION_QOS:
        options->flood.qos = (uint8_t)number;
        return true;
    case OPTION_TOPICS:
        options->flood.topic_count = (uint32_t)number;
        return true;
    case OPTION_MESSAGES:
        options->flood.message_count = number;
        return true;
    case OPTION_PAYLOAD:
        options->flood.payload_bytes = (uint32_t)number;
        return true;
    case OPTION_WINDOW:
        options->flood.window = (uint32_t)number;
        return true;
    case OPTION_RATE:
        options->flood.messages_per_s = number;
        return true;
    case OPTION_PREFIX:
        options->flood.topic_prefix = optarg;
        return true;
    case OPTION_EXIT:
        options->flood.exit_when_done = true;
        return true;
    case OPTION_PORT:
        options->flood.port = options->broker.port = (uint16_t)number;
        return true;
    case OPTION_SCRIPT:
        options->script_path = optarg;
        return true;
    case OPTION_EVENTS:
        options->events_path = optarg;
        return true;
    case OPTION_KEEP_RUNNING:
        options->broker.keep_running = true;
        return true;
    case OPTION_WAIT_MAX:
        options->broker.wait_max_ms = (int64_t)number;
        return true;
    default:
        return false;
    }
}

static int run_script(struct options *options)
{
    int exit_code = 1;
    options->broker.events = stdout;
    options->broker.steps_fd = STDIN_FILENO;
    if (options->script_path)
        options->broker.steps_fd = open(options->script_path, O_RDONLY | O_CLOEXEC);
    if (options->events_path)
        options->broker.events = fopen(options->events_path, "we");
    if (options->broker.steps_fd < 0 || !options->broker.events) {
        fprintf(stderr, "scripted_broker: cannot open script or events file: %s\n",
                strerror(errno));
        return 1;
    }
    enum err err = broker_run(&options->broker, &exit_code);
    return err == ERR_OK ? exit_code : 1;
}

int main(int argc, char **argv)
{
    struct options options = {.flood = {.qos = 1,
                                        .topic_count = 100,
                                        .message_count = 1000000,
                                        .payload_bytes = 200,
                                        .window = 65535,
                                        .topic_prefix = "smartcity/sensors"},
                              .broker = {.wait_max_ms = 30000}};
    int code;
    (void)signal(SIGPIPE, SIG_IGN);
    while ((code = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if (!set_option(&options, code))
            return 2;
    if (!options.is_flood)
        return run_script(&options);
    enum err err = flood_run(&options.flood, stdout);
    if (err != ERR_OK)
        fprintf(stderr, "scripted_broker: %s\n", err_text(err));
    return err != ERR_OK;
}
