/*
 * What a scrape of /api/metrics costs: partitions with all their series (messages, failures,
 * rescued values, buffers) and as many sources, and for how long it can hold up a worker that makes
 * a new dataset's series meanwhile. metrics_bench [partitions] [partitions shown]
 */
#include "base/hash.h"
#include "base/limits.h"
#include "journal/block.h"
#include "pipeline/service_metrics.h"

#include "os/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 50

struct bench {
    struct metrics *metrics;
    struct account_book *book;
    struct recent *recent;
    struct service_metrics *service;
    _Atomic bool over;
    int64_t waited_ns;
};

/* CPU time: what the machine does besides is not the page's cost. */
static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void must(enum err err, const char *what)
{
    if (err == ERR_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, err_text(err));
    exit(1);
}

static void begin(struct bench *bench, size_t shown)
{
    must(metrics_new(&bench->metrics), "metrics");
    must(account_book_new(&bench->book), "book");
    must(recent_new(100, 3600, &clock_system, &bench->recent), "recent");
    must(service_metrics_new(bench->metrics,
                             &(struct service_metrics_options){.pod = "ingestor-7c9f8d6b5-x2v4q",
                                                               .pod_namespace = "smartcity",
                                                               .version = "1.0.0",
                                                               .partitions_max = shown,
                                                               .recent = bench->recent,
                                                               .book = bench->book},
                             &bench->service),
         "service metrics");
}

static void recent_fill(struct bench *bench, struct bytes id)
{
    struct block *block;
    struct buf encoded;
    uint32_t route;
    buf_init(&encoded, 64 * KIB);
    must(block_new(4 * KIB, &block), "block");
    must(route_encode(&(struct route_view){.source_id = BYTES_LITERAL("source"),
                                           .dataset_id = id,
                                           .source_type = BYTES_LITERAL("mqtt"),
                                           .topic = BYTES_LITERAL("t")},
                      &encoded),
         "route");
    must(block_add_route(block, buf_bytes(&encoded), hash_bytes(id), &route), "route");
    must(block_add_message(block,
                           &(struct message_view){.payload = BYTES_LITERAL("{\"value\":21.5}"),
                                                  .arrival_us = clock_realtime_us(&clock_system),
                                                  .route_index = route}),
         "message");
    recent_add(bench->recent, block, route);
    block_unref(block);
    buf_fini(&encoded);
}

static void partition_add(struct bench *bench, int i)
{
    char id[100];
    struct service_dataset dataset;
    struct account *account;
    struct batch_tally tally = {.messages = 1234567 + (uint64_t)i * 7919, .payload_bytes = 1 << 30};
    snprintf(id, sizeof(id), "mqtt_0a1b2c3d_smartcity_sensors_temperature_district-%d", i);
    must(service_metrics_dataset(bench->service, BYTES_LITERAL("mqtt"), bytes_from_text(id),
                                 &dataset),
         "dataset");
    tally.rescued = (uint64_t)i;
    batch_tally_rejected(&tally, BYTES_LITERAL("oversize"));
    service_metrics_tally(bench->service, &dataset, &tally);
    must(account_get(bench->book, bytes_from_text(id), &account), "account");
    account->received = 1234567 + (uint64_t)i * 104729;
    account->stored = account->received - 3;
    recent_fill(bench, bytes_from_text(id));
}

/* A worker that meets a new dataset while the page is made. */
static void *datasets_add(void *ctx)
{
    struct bench *bench = ctx;
    struct service_dataset dataset;
    while (!bench->over) {
        int64_t begin_ns = clock_monotonic_ns(&clock_system);
        must(service_metrics_dataset(bench->service, BYTES_LITERAL("mqtt"),
                                     BYTES_LITERAL("a new one"), &dataset),
             "dataset");
        int64_t waited_ns = clock_monotonic_ns(&clock_system) - begin_ns;
        if (waited_ns > bench->waited_ns)
            bench->waited_ns = waited_ns;
        const struct timespec pause = {.tv_nsec = 50000};
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void render(struct bench *bench, struct buf *out)
{
    buf_clear(out);
    must(metrics_render(bench->metrics, out), "render");
}

/* What delays cost a worker for each row. */
static void delays_measure(void)
{
    enum { ROWS = 1000, ROUNDS_OF_ROWS = 10000 };
    static int64_t event_us[ROWS];
    static int64_t arrival_us[ROWS];
    struct batch_tally tally = {0};
    service_metrics_tally_init(&tally);
    for (int i = 0; i < ROWS; i++) {
        event_us[i] = 1795521600000000 + i * 1000;
        arrival_us[i] = event_us[i] + (int64_t)(i * 7919L % 1000) * 400; /* up to 0.4 s */
    }
    double begin_ms = now_ms();
    for (int i = 0; i < ROUNDS_OF_ROWS; i++)
        batch_tally_delays(&tally, event_us, arrival_us, ROWS);
    printf("delays: %.2f ns a row (%.0f s in all)\n",
           (now_ms() - begin_ms) * 1e6 / ((double)ROWS * ROUNDS_OF_ROWS), tally.delay_seconds);
}

int main(int argc, char **argv)
{
    int partitions = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1000;
    size_t shown = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 1000;
    struct bench bench = {0};
    struct buf out;
    double took_ms[ROUNDS];
    pthread_t worker;
    buf_init(&out, 256 * MIB);
    delays_measure();
    begin(&bench, shown);
    for (int i = 0; i < partitions; i++)
        partition_add(&bench, i);
    double first_ms = now_ms();
    render(&bench, &out);
    first_ms = now_ms() - first_ms;
    for (int i = 0; i < ROUNDS; i++) {
        double begin_ms = now_ms();
        render(&bench, &out);
        took_ms[i] = now_ms() - begin_ms;
    }
    qsort(took_ms, ROUNDS, sizeof(took_ms[0]), by_value);
    must(pthread_create(&worker, NULL, datasets_add, &bench) == 0 ? ERR_OK : ERR_NO_MEMORY,
         "thread");
    for (int i = 0; i < ROUNDS; i++)
        render(&bench, &out);
    bench.over = true;
    pthread_join(worker, NULL);
    printf("partitions %d, shown %zu: page %zu bytes; CPU first %.2f ms, then median %.2f ms, "
           "slowest %.2f ms; a worker waited at most %.2f ms for a dataset's series\n",
           partitions, shown, out.size, first_ms, took_ms[ROUNDS / 2], took_ms[ROUNDS - 1],
           (double)bench.waited_ns / 1e6);
    buf_fini(&out);
    metrics_free(bench.metrics);
    service_metrics_free(bench.service);
    recent_free(bench.recent);
    account_book_free(bench.book);
    return 0;
}
