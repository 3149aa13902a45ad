/*
 * CPU budget of the worker's stages: a million messages of realistic sensor JSON (about 200 bytes,
 * values that vary, 100 datasets) from sealed blocks into column builders, then cut into Parquet.
 *
 *     batch_bench [messages] [datasets] [blocks worked off together]
 *
 * Prints CPU seconds per million messages for each stage, for bench/RESULTS.md.
 */
#include "base/alloc.h"
#include "base/hash.h"
#include "base/limits.h"
#include "journal/block.h"
#include "lake/batch.h"
#include "lake/catalog.h"
#include "metadata/extract.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BENCH_DATASETS_MAX 100000
#define BENCH_GROUP_MAX    64

struct bench {
    uint64_t end; /* of the sequence, in this part of the run */
    uint32_t datasets;
    uint32_t group;
    uint64_t sequence;
    struct buf extras;
    double fill_s, append_s, cut_s, metadata_s;
    uint64_t payload_bytes, file_bytes, files;
    struct batch *batches[BENCH_DATASETS_MAX];
    struct buf routes[BENCH_DATASETS_MAX];
    uint64_t hashes[BENCH_DATASETS_MAX];
};

static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void must(enum err err, const char *what)
{
    if (err == ERR_OK)
        return;
    fprintf(stderr, "batch_bench: %s: %s\n", what, err_text(err));
    exit(1);
}

static size_t payload_make(char *to, size_t size, uint64_t n, uint32_t sensor)
{
    return (size_t)snprintf(
        to, size,
        "{\"sensor_id\":\"temp-%04u\",\"timestamp\":\"2026-11-24T12:%02u:%02u.%03uZ\","
        "\"temperature\":%.2f,\"humidity\":%.1f,\"battery\":%u,\"location\":{\"lat\":%.5f,"
        "\"lon\":%.5f},\"status\":\"%s\",\"seq\":%" PRIu64 "}",
        sensor, (unsigned)(n / 60000 % 60), (unsigned)(n / 1000 % 60), (unsigned)(n % 1000),
        15 + (double)(n * 7919 % 1500) / 100, 40 + (double)(n * 104729 % 300) / 10,
        (unsigned)(n / 5000 % 100), 52.5 + sensor * 0.001, 13.4 + sensor * 0.001,
        n % 97 == 0 ? "warn" : "ok", n);
}

static void routes_make(struct bench *bench)
{
    for (uint32_t i = 0; i < bench->datasets; i++) {
        char topic[64];
        char id[64];
        snprintf(topic, sizeof(topic), "smartcity/sensors/temperature/%u", i);
        snprintf(id, sizeof(id), "5ec7bb57_mqtt_smartcity_sensors_temperature_%u", i);
        const struct route_view view = {
            .source_id = BYTES_LITERAL("5ec7bb57_mqtt"),
            .dataset_id = bytes_from_text(id),
            .source_type = BYTES_LITERAL("mqtt"),
            .topic = bytes_from_text(topic),
            .partition_window_hours = 24,
            .field_count = 5,
            .fields = {{BYTES_LITERAL("topic"), FIELD_STRING, false, bytes_from_text(topic)},
                       {BYTES_LITERAL("qos"), FIELD_DOUBLE, true, {0}},
                       {BYTES_LITERAL("retain"), FIELD_BOOLEAN, true, {0}},
                       {BYTES_LITERAL("broker"), FIELD_STRING, false, BYTES_LITERAL("localhost")},
                       {BYTES_LITERAL("original_source_id"), FIELD_STRING, false,
                        BYTES_LITERAL("5ec7bb57_mqtt")}},
        };
        buf_init(&bench->routes[i], 64 * KIB);
        must(route_encode(&view, &bench->routes[i]), "route");
        bench->hashes[i] = hash_bytes(view.dataset_id);
    }
}

static struct block *block_fill(struct bench *bench, struct bytes extras)
{
    struct block *block;
    must(block_new(LIMIT_BLOCK_CLOSE_BYTES + 32 * KIB, &block), "block");
    uint32_t *indexes = mem_zalloc(bench->datasets, sizeof(*indexes));
    while (block->size_bytes < LIMIT_BLOCK_CLOSE_BYTES && bench->sequence < bench->end) {
        char payload[512];
        uint32_t dataset = (uint32_t)(bench->sequence % bench->datasets);
        size_t size = payload_make(payload, sizeof(payload), bench->sequence, dataset);
        double begin = cpu_s();
        if (indexes[dataset] == 0) {
            must(block_add_route(block, buf_bytes(&bench->routes[dataset]), bench->hashes[dataset],
                                 &indexes[dataset]),
                 "add route");
            indexes[dataset]++;
        }
        must(block_add_message(block,
                               &(struct message_view){
                                   .payload = bytes_from(payload, size),
                                   .extras = extras,
                                   .arrival_us = 1795521600000000 + (int64_t)bench->sequence,
                                   .route_index = indexes[dataset] - 1,
                                   .flags = MESSAGE_IDENTITY,
                               }),
             "add message");
        bench->fill_s += cpu_s() - begin;
        bench->payload_bytes += size;
        bench->sequence++;
    }
    mem_free(indexes);
    block_seal(block, BLOCK_DATA, 0, 0, bench->sequence, 1, 0);
    block->number = bench->sequence;
    return block;
}

static void cut_all(struct bench *bench)
{
    double begin = cpu_s();
    for (uint32_t i = 0; i < bench->datasets; i++) {
        struct cut cut;
        struct diag diag = {0};
        if (!bench->batches[i])
            continue;
        must(batch_cut(bench->batches[i], &cut, &diag), diag.text);
        for (size_t file = 0; file < cut.file_count; file++) {
            bench->file_bytes += cut.files[file].bytes.size;
            bench->files++;
        }
        cut_fini(&cut);
    }
    bench->cut_s += cpu_s() - begin;
}

static void route_append(struct bench *bench, const struct batch_options *options,
                         const struct block *block, uint32_t index)
{
    struct route_view route;
    block_route_get(block, index, &route);
    uint32_t dataset = (uint32_t)strtoul((const char *)route.topic.data + 30, NULL, 10);
    if (!bench->batches[dataset])
        must(batch_new(options, route.dataset_id, &bench->batches[dataset]), "batch");
    must(batch_append(bench->batches[dataset], block, index), "append");
    batch_end_block(bench->batches[dataset], block);
}

/* As the worker does: the queued blocks together, one dataset after the other. The routes of a
 * block stand in the same order in all of them here. */
static void blocks_work(struct bench *bench, const struct batch_options *options)
{
    struct block *blocks[BENCH_GROUP_MAX];
    uint32_t count = 0;
    struct buf *extras = &bench->extras;
    while (count < bench->group && bench->sequence < bench->end)
        blocks[count++] = block_fill(bench, buf_bytes(extras));
    double begin = cpu_s();
    for (uint32_t route = 0; route < bench->datasets; route++)
        for (uint32_t i = 0; i < count; i++)
            if (route < blocks[i]->route_count)
                route_append(bench, options, blocks[i], route);
    bench->append_s += cpu_s() - begin;
    for (uint32_t i = 0; i < count; i++)
        block_unref(blocks[i]);
}

/* --- metadata ------------------------------------------------------------------------------ */

static enum err observer_cut(void *ctx, const struct cut_input *cut, void **state)
{
    struct bench *bench = ctx;
    struct told *told = *state;
    struct change change;
    double from_s = cpu_s();
    change_init(&change);
    struct bytes column;
    enum err err = extract_change(cut, &told, &change);
    if (err == ERR_OK)
        err = extract_sensors_column(cut, told, &change, &column);
    change_fini(&change);
    *state = told;
    bench->metadata_s += cpu_s() - from_s;
    return err;
}

static void observer_forget(void *state)
{
    told_free(state);
}

static size_t observer_bytes(const void *state)
{
    return told_memory_bytes(state);
}

static const struct batch_observer_ops observer = {
    .cut = observer_cut, .forget = observer_forget, .memory_bytes = observer_bytes};

int main(int argc, char **argv)
{
    static struct bench bench;
    struct diag diag = {0};
    uint64_t messages = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    bench.datasets = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 100;
    bench.group = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 8;
    if (bench.datasets < 1 || bench.datasets > BENCH_DATASETS_MAX || bench.group < 1 ||
        bench.group > BENCH_GROUP_MAX)
        return 2;
    struct batch_options options = {
        .observer = &observer,
        .observer_ctx = &bench,
        .parquet = {.codec = PARQUET_ZSTD,
                    .zstd_level = 3,
                    .page_bytes = MIB,
                    .page_rows = 20000,
                    .created_by = "batch_bench"},
        .journal_uuid = "00000000-0000-0000-0000-000000000000",
        .row_group_rows = 1000000,
        .row_group_bytes = 128 * MIB,
    };
    must(catalog_open("sqlite:///:memory:", &options.catalog, &diag), diag.text);
    buf_init(&bench.extras, 64);
    must(message_field_append(
             &bench.extras, &(struct message_field){.index = 1, .type = FIELD_DOUBLE, .number = 1}),
         "extras");
    must(
        message_field_append(
            &bench.extras, &(struct message_field){.index = 2, .type = FIELD_BOOLEAN, .number = 0}),
        "extras");
    routes_make(&bench);

    /* the first tenth pins the columns and is not measured */
    bench.end = messages / 10;
    while (bench.sequence < bench.end)
        blocks_work(&bench, &options);
    cut_all(&bench);
    bench.fill_s = bench.append_s = bench.cut_s = bench.metadata_s = 0;
    bench.payload_bytes = bench.file_bytes = bench.files = 0;
    bench.end = bench.sequence + messages;
    while (bench.sequence < bench.end)
        blocks_work(&bench, &options);
    cut_all(&bench);

    double millions = (double)messages / 1e6;
    printf("| stage | CPU-s per million | MB/s |\n|---|---|---|\n");
    printf("| append (decode, columns) | %.3f | %.0f |\n", bench.append_s / millions,
           (double)bench.payload_bytes / bench.append_s / 1e6);
    printf("| metadata, at the cut | %.4f | %.0f |\n", bench.metadata_s / millions,
           (double)bench.payload_bytes / 1e6 / bench.metadata_s);
    bench.cut_s -= bench.metadata_s;
    printf("| cut (dictionaries, levels, zstd) | %.3f | %.0f |\n", bench.cut_s / millions,
           (double)bench.payload_bytes / bench.cut_s / 1e6);
    printf("\n%" PRIu64 " messages of %.0f bytes in %u datasets, %" PRIu64
           " files of %.0f bytes, %.1f bytes a row\n",
           messages, (double)bench.payload_bytes / (double)messages, bench.datasets, bench.files,
           (double)bench.file_bytes / (double)bench.files,
           (double)bench.file_bytes / (double)messages);
    for (uint32_t i = 0; i < bench.datasets; i++) {
        batch_free(bench.batches[i]);
        buf_fini(&bench.routes[i]);
    }
    buf_fini(&bench.extras);
    catalog_close(options.catalog);
    return 0;
}
