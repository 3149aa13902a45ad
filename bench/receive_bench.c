/*
 * How fast the MQTT connector receives: connector and emission, without the journal. Blocks become
 * durable at once (--delay-ms later, if given, as a slow disk would have it), so that what is
 * measured is socket, framing, routes, hashes, the copy into blocks, and PUBACKs.
 *
 *   scripted_broker --flood --qos 1 --messages 10000000 --exit      (prints port N)
 *   receive_bench --port N --count 10000000 [--broker H] [--topic T] [--qos Q] [--version V]
 *                 [--connections N] [--delay-ms N]
 *
 * Prints messages, seconds, rate, and the CPU time of this process per million messages.
 */
#include "connectors/registry.h"
#include "pipeline/ingest_loop.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

struct receive_bench {
    struct loop loop;
    struct account_book *book;
    struct account *account;
    struct ingest_loop *ingest;
    _Atomic uint64_t in_flight;
    uint64_t blocks;
    void *state;
    const struct connector *connector;
    struct connector_host host;
    _Atomic bool closed;
    _Atomic bool failed;
    _Atomic uint64_t warnings;
};

struct late {
    uv_timer_t timer;
    struct shipment *shipment;
};

static uint64_t delay_ms;

static void on_late_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_late(uv_timer_t *timer)
{
    struct late *late = timer->data;
    late->shipment->letter.run(&late->shipment->letter);
    uv_close((uv_handle_t *)timer, on_late_closed);
}

static enum err sink_submit(void *ctx, struct shipment *take_shipment, uint16_t flags,
                            uint64_t group)
{
    struct receive_bench *bench = ctx;
    (void)flags;
    (void)group;
    take_shipment->block->number = ++bench->blocks;
    if (delay_ms == 0) {
        loop_post(&bench->loop, &take_shipment->letter);
        return ERR_OK;
    }
    struct late *late = calloc(1, sizeof(*late));
    if (!late)
        return ERR_NO_MEMORY;
    late->shipment = take_shipment;
    late->timer.data = late;
    uv_timer_init(&bench->loop.uv, &late->timer);
    uv_timer_start(&late->timer, on_late, delay_ms, 0);
    return ERR_OK;
}

static bool sink_idle(void *ctx)
{
    (void)ctx;
    return false;
}

static void on_connected(void *ctx)
{
    struct receive_bench *bench = ctx;
    struct diag diag = {0};
    if (bench->connector->ops.start(bench->state, &diag) != ERR_OK)
        fprintf(stderr, "start: %s\n", diag.text);
}

static void on_failed(void *ctx, enum err err, const char *reason)
{
    struct receive_bench *bench = ctx;
    fprintf(stderr, "failed: %s: %s\n", err_name(err), reason);
    bench->failed = true;
}

static void on_warning(void *ctx, const char *text)
{
    struct receive_bench *bench = ctx;
    bench->warnings++;
    fprintf(stderr, "warning: %s\n", text ? text : "-");
}

static void on_stopped(void *ctx)
{
    struct receive_bench *bench = ctx;
    bench->connector->ops.disconnect(bench->state);
}

static void on_closed(void *ctx)
{
    ((struct receive_bench *)ctx)->closed = true;
}

static void connect_on_loop(void *ctx)
{
    struct receive_bench *bench = ctx;
    struct diag diag = {0};
    enum err err = bench->connector->ops.connect(bench->state, &bench->host, &diag);
    if (err != ERR_OK)
        on_failed(bench, err, diag.text);
}

static void health_on_loop(void *ctx)
{
    struct receive_bench *bench = ctx;
    json_t *health = json_object();
    bench->connector->ops.health(bench->state, health);
    json_dumpf(health, stdout, JSON_COMPACT);
    printf("\n");
    json_decref(health);
}

static void stop_on_loop(void *ctx)
{
    struct receive_bench *bench = ctx;
    bench->connector->ops.stop(bench->state);
}

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void wait_for(struct receive_bench *bench, uint64_t count)
{
    const struct timespec nap = {.tv_nsec = 2000000};
    uint64_t last = 0;
    double moved_s = seconds(CLOCK_MONOTONIC);
    while (!bench->failed) {
        uint64_t now = bench->account->received;
        if (now != last)
            moved_s = seconds(CLOCK_MONOTONIC);
        last = now;
        if (now >= count || seconds(CLOCK_MONOTONIC) - moved_s > 30)
            return;
        nanosleep(&nap, NULL);
    }
}

static void report(struct receive_bench *bench, uint64_t count)
{
    const struct timespec nap = {.tv_nsec = 200000};
    while (bench->account->received == 0 && !bench->failed)
        nanosleep(&nap, NULL);
    uint64_t first = bench->account->received;
    double wall_s = seconds(CLOCK_MONOTONIC);
    double cpu_s = seconds(CLOCK_PROCESS_CPUTIME_ID);
    wait_for(bench, count);
    wall_s = seconds(CLOCK_MONOTONIC) - wall_s;
    cpu_s = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_s;
    double messages = (double)(bench->account->received - first);
    printf("messages %.0f repeated %llu seconds %.3f rate %.0f/s cpu %.3f s per million\n",
           messages + (double)first, (unsigned long long)bench->account->repeated, wall_s,
           messages / wall_s, cpu_s / messages * 1e6);
}

static void bench_open(struct receive_bench *bench, const json_t *config)
{
    const struct ingest_rule rule = {PARTITION_BY_EVENT, 24};
    const struct ingest_sink sink = {.submit = sink_submit, .idle = sink_idle, .ctx = bench};
    bench->connector = registry_find("mqtt");
    bench->state = calloc(1, bench->connector->state_size);
    if (!bench->state || loop_start(&bench->loop, "bench") != ERR_OK ||
        account_book_new(&bench->book) != ERR_OK ||
        account_get(bench->book, BYTES_LITERAL("bench"), &bench->account) != ERR_OK ||
        ingest_loop_new(&bench->loop, &sink, &rule, bench->book, &bench->in_flight,
                        &bench->ingest) != ERR_OK)
        abort();
    bench->host = (struct connector_host){.loop = &bench->loop.uv,
                                          .ingest = bench->ingest,
                                          .config = config,
                                          .source_id = "bench",
                                          .source_name = "bench",
                                          .replica_id = "bench",
                                          .ctx = bench,
                                          .on_connected = on_connected,
                                          .on_failed = on_failed,
                                          .on_warning = on_warning,
                                          .on_stopped = on_stopped,
                                          .on_closed = on_closed};
}

static void bench_close(struct receive_bench *bench)
{
    const struct timespec nap = {.tv_nsec = 2000000};
    loop_call(&bench->loop, stop_on_loop, bench);
    while (!bench->closed)
        nanosleep(&nap, NULL);
    ingest_loop_close(bench->ingest);
    const struct timespec settle = {.tv_nsec = 200000000};
    nanosleep(&settle, NULL);
    loop_stop(&bench->loop);
    ingest_loop_free(bench->ingest);
    account_book_free(bench->book);
    free(bench->state);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"broker", required_argument, NULL, 'b'},
                                            {"port", required_argument, NULL, 'p'},
                                            {"topic", required_argument, NULL, 't'},
                                            {"qos", required_argument, NULL, 'q'},
                                            {"count", required_argument, NULL, 'n'},
                                            {"version", required_argument, NULL, 'v'},
                                            {"delay-ms", required_argument, NULL, 'd'},
                                            {"connections", required_argument, NULL, 'c'},
                                            {0}};
    const char *broker = "127.0.0.1", *topic = "#", *version = "5";
    long port = 1883, qos = 1, connections = 1;
    uint64_t count = 1000000;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'b':
            broker = optarg;
            break;
        case 'p':
            port = strtol(optarg, NULL, 10);
            break;
        case 't':
            topic = optarg;
            break;
        case 'q':
            qos = strtol(optarg, NULL, 10);
            break;
        case 'n':
            count = strtoull(optarg, NULL, 10);
            break;
        case 'v':
            version = optarg;
            break;
        case 'd':
            delay_ms = strtoull(optarg, NULL, 10);
            break;
        case 'c':
            connections = strtol(optarg, NULL, 10);
            break;
        default:
            return 2;
        }
    }
    json_t *config = json_pack("{s:s,s:i,s:[s],s:i,s:s,s:i}", "broker", broker, "port", (int)port,
                               "topics", topic, "qos", (int)qos, "protocol_version", version,
                               "connections", (int)connections);
    static struct receive_bench bench;
    bench_open(&bench, config);
    loop_call(&bench.loop, connect_on_loop, &bench);
    report(&bench, count);
    loop_call(&bench.loop, health_on_loop, &bench);
    bench_close(&bench);
    json_decref(config);
    return bench.failed ? 1 : 0;
}
