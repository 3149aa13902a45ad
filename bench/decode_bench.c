/*
 * How fast payloads become columns: realistic sensor JSON of about 200 bytes, values that vary,
 * through batch_append into builders (typed decode, the usual case), against jansson's json_loadb
 * of the same payloads, in one run. decode_bench [messages]
 */
#include "base/buf.h"
#include "base/hash.h"
#include "lake/batch.h"
#include "support/fake_catalog.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DATASET        "bench_dataset"
#define BLOCK_MESSAGES 1000
#define ROUNDS         5

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    return *seed ^= *seed << 17;
}

static size_t payload_make(char *text, size_t size, uint64_t *seed, int i, int shape)
{
    double t = 15 + (double)(random_next(seed) % 20000) / 1000.0;
    double h = 30 + (double)(random_next(seed) % 6000) / 100.0;
    double long_digits = (double)(random_next(seed) % 100000000) / 9.7e6;
    unsigned minute = (unsigned)(i / 60 % 60);
    unsigned second = (unsigned)(i % 60);
    static const char *const forms[] = {
        /* compact, as C and JavaScript devices send it */
        "{\"sensor_id\":\"temp-%04d\",\"timestamp\":\"2026-03-04T05:%02u:%02u.%06dZ\","
        "\"temperature\":"
        "%.2f,\"humidity\":%.1f,\"pressure\":%.14g,\"battery\":%d,\"location\":{\"lat\":%.6f,"
        "\"lon\":"
        "%.6f},\"status\":\"%s\"}",
        /* with spaces, as Python's json.dumps does */
        "{\"sensor_id\": \"temp-%04d\", \"timestamp\": \"2026-03-04T05:%02u:%02u.%06dZ\", "
        "\"temperature\": %.2f, \"humidity\": %.1f, \"pressure\": %.14g, \"battery\": %d, "
        "\"location\": {\"lat\": %.6f, \"lon\": %.6f}, \"status\": \"%s\"}",
        /* flat, with all the digits that a division leaves */
        "{\"sensor_id\":\"temp-%04d\",\"timestamp\":\"2026-03-04T05:%02u:%02u.%06dZ\","
        "\"temperature\":"
        "%.16g,\"humidity\":%.16g,\"pressure\":%.16g,\"battery\":%d,\"lat\":%.14f,\"lon\":%.14f,"
        "\"status\":\"%s\"}"};
    double digits = shape == 2 ? long_digits / 3 : 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    return (size_t)snprintf(text, size, forms[shape], (int)(random_next(seed) % 1000), minute,
                            second, (int)(random_next(seed) % 1000000), t + digits, h + digits,
                            1013.25 + long_digits, (int)(random_next(seed) % 101),
                            48.1 + long_digits / 1000 + digits, 11.5 + long_digits / 1000,
                            i % 7 ? "ok" : "degraded");
#pragma GCC diagnostic pop
}

static struct block *block_make(uint64_t *seed, int number, int shape, size_t *ret_bytes)
{
    struct route_view route = {.source_id = bytes_from_text("bench"),
                               .dataset_id = bytes_from_text(DATASET),
                               .source_type = bytes_from_text("mqtt"),
                               .topic = bytes_from_text("bench/dataset"),
                               .partition_window_hours = 24,
                               .field_count = 1,
                               .fields = {{bytes_from_text("topic"), FIELD_STRING, false,
                                           bytes_from_text("bench/dataset")}}};
    struct buf record;
    buf_init(&record, 1 << 16);
    struct block *block;
    uint32_t index;
    if (block_new(512 << 10, &block) != ERR_OK || route_encode(&route, &record) != ERR_OK ||
        block_add_route(block, buf_bytes(&record), hash_bytes(route.dataset_id), &index) != ERR_OK)
        abort();
    for (int i = 0; i < BLOCK_MESSAGES; i++) {
        char text[512];
        size_t size = payload_make(text, sizeof(text), seed, number * BLOCK_MESSAGES + i, shape);
        struct message_view message = {.payload = bytes_from(text, size),
                                       .arrival_us = 1772600767000000,
                                       .route_index = index};
        if (block_add_message(block, &message) != ERR_OK)
            abort();
        *ret_bytes += size;
    }
    block_seal(block, BLOCK_DATA, 0, 0, (uint64_t)number + 1, 1, 0);
    buf_fini(&record);
    return block;
}

static struct batch *batch_make(struct fake_catalog *catalog)
{
    struct batch_options options = {.catalog = &catalog->catalog,
                                    .journal_uuid = "0f4b8a52-6d1c-4f3e-9b7a-2c5d8e1f0a3b",
                                    .parquet = {.codec = PARQUET_ZSTD,
                                                .zstd_level = 3,
                                                .page_bytes = 1 << 20,
                                                .page_rows = 20000,
                                                .created_by = "bench"},
                                    .row_group_rows = 1000000,
                                    .row_group_bytes = 128 << 20};
    struct batch *batch;
    if (batch_new(&options, bytes_from_text(DATASET), &batch) != ERR_OK)
        abort();
    return batch;
}

static void append(struct batch *batch, const struct block *block)
{
    if (batch_append(batch, block, 0) != ERR_OK)
        abort();
    batch_end_block(batch, block);
}

static double columns_seconds(struct batch *batch, struct block **blocks, int count,
                              double *ret_cut_seconds)
{
    double start = now_seconds();
    for (int i = 0; i < count; i++)
        append(batch, blocks[i]);
    double seconds = now_seconds() - start;
    struct cut cut;
    struct batch_stats stats;
    batch_stats_get(batch, &stats);
    if (stats.rows != (uint64_t)count * BLOCK_MESSAGES || stats.rescued > 0)
        abort();
    start = now_seconds();
    if (batch_cut(batch, &cut, NULL) != ERR_OK)
        abort();
    *ret_cut_seconds = now_seconds() - start;
    cut_fini(&cut);
    return seconds;
}

static double jansson_seconds(struct block **blocks, int count)
{
    double start = now_seconds();
    for (int i = 0; i < count; i++) {
        for (uint32_t k = 0; k < blocks[i]->message_count; k++) {
            struct message_view message;
            block_message_get(blocks[i], k, &message);
            json_t *json =
                json_loadb((const char *)message.payload.data, message.payload.size, 0, NULL);
            if (!json)
                abort();
            json_decref(json);
        }
    }
    return now_seconds() - start;
}

static void measure(int messages, int shape, const char *name, bool alone)
{
    int count = messages / BLOCK_MESSAGES;
    struct block **blocks = calloc((size_t)count, sizeof(struct block *));
    uint64_t seed = 88172645463325252u;
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        blocks[i] = block_make(&seed, i, shape, &bytes);
    struct fake_catalog catalog;
    fake_catalog_init(&catalog);
    struct batch *batch = batch_make(&catalog);
    double cut_seconds;
    columns_seconds(batch, blocks, 2, &cut_seconds); /* learns the columns */
    double best = 1e9;
    double best_cut = 1e9;
    double jansson = 1e9;
    for (int i = 0; i < (alone ? 4 : 1) * ROUNDS; i++) {
        double seconds = columns_seconds(batch, blocks, count, &cut_seconds);
        best = seconds < best ? seconds : best;
        best_cut = cut_seconds < best_cut ? cut_seconds : best_cut;
        seconds = alone ? 1e9 : jansson_seconds(blocks, count);
        jansson = seconds < jansson ? seconds : jansson;
    }
    double mb = (double)bytes / 1e6;
    printf("%-22s %4.0f B  columns %7.0f MB/s %5.0f ns  jansson %5.0f MB/s  ratio %5.1f  cut %4.0f "
           "ns\n",
           name, (double)bytes / messages, mb / best, best * 1e9 / messages, mb / jansson,
           jansson / best, best_cut * 1e9 / messages);
    for (int i = 0; i < count; i++)
        block_unref(blocks[i]);
    free(blocks);
    batch_free(batch);
    fake_catalog_fini(&catalog);
}

int main(int argc, char **argv)
{
    int messages = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 200000;
    measure(messages, 0, "compact, nested", argc > 2);
    measure(messages, 1, "spaces, nested", argc > 2);
    measure(messages, 2, "flat, all digits", argc > 2);
    return 0;
}
