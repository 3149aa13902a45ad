/*
 * The journal by itself: `journal_bench [folder]` (default: a new folder in /var/tmp).
 *
 *   add      block_add_message, 200-byte payloads, ns a message
 *   parse    block_parse, GB/s
 *   append   256 KiB blocks through the journal thread, MB/s and syncs; then 4 KiB ones
 *   recover  journal_open and journal_replay of 1 GiB that is not landed, s
 *   clean    journal_open after a clean stop with everything landed, ms
 */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "journal/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MESSAGES_PER_BLOCK 1150

static void must(enum err err, const struct diag *diag)
{
    if (err == ERR_OK)
        return;
    fprintf(stderr, "%s: %s\n", err_text(err), diag ? diag->text : "");
    exit(1);
}

static double now_s(void)
{
    return (double)clock_monotonic_ns(&clock_system) / 1e9;
}

static struct block *block_make(uint32_t messages, bool identity)
{
    static uint8_t payload[200];
    struct block *block = NULL;
    struct buf encoded;
    uint32_t route_index[16];
    char dataset[32];
    buf_init(&encoded, 4096);
    must(block_new(300 * KIB, &block), NULL);
    for (uint32_t i = 0; i < 16; i++) {
        snprintf(dataset, sizeof(dataset), "dataset%u", i);
        struct route_view route = {.source_id = BYTES_LITERAL("src"),
                                   .dataset_id = bytes_from_text(dataset),
                                   .topic = BYTES_LITERAL("a/b/c")};
        buf_clear(&encoded);
        must(route_encode(&route, &encoded), NULL);
        must(block_add_route(block, buf_bytes(&encoded), hash_bytes(route.dataset_id),
                             &route_index[i]),
             NULL);
    }
    for (uint32_t i = 0; i < messages; i++) {
        struct message_view message = {.payload = {payload, sizeof(payload)},
                                       .arrival_us = i,
                                       .route_index = route_index[i % 16],
                                       .packet_identifier = (uint16_t)i,
                                       .flags = identity ? MESSAGE_IDENTITY : 0};
        must(block_add_message(block, &message), NULL);
    }
    buf_fini(&encoded);
    return block;
}

static void bench_block(void)
{
    double begin_s = now_s();
    const int rounds = 2000;
    for (int i = 0; i < rounds; i++)
        block_unref(block_make(MESSAGES_PER_BLOCK, true));
    double add_s = now_s() - begin_s;
    struct block *block = block_make(MESSAGES_PER_BLOCK, true), *again;
    block_seal(block, BLOCK_DATA, 0, 0, 1, 1, 0);
    begin_s = now_s();
    for (int i = 0; i < rounds; i++) {
        must(block_parse(bytes_from(block->image, block->size_bytes), &again, NULL), NULL);
        block_unref(again);
    }
    double parse_s = now_s() - begin_s;
    printf("add      %6.1f ns a message\n", add_s * 1e9 / rounds / MESSAGES_PER_BLOCK);
    printf("parse    %6.2f GB/s\n", (double)block->size_bytes * rounds / parse_s / 1e9);
    block_unref(block);
}

static struct journal *journal_at(const char *folder)
{
    struct journal_options options = {
        .fs = &fs_posix, .clock = &clock_system, .folder = folder, .size_max_bytes = 4 * GIB};
    struct journal *journal = NULL;
    struct diag diag = {0};
    must(journal_open(&options, &journal, &diag), &diag);
    return journal;
}

static _Atomic uint32_t durable;

static void on_durable(void *ctx, struct block *block, enum err err)
{
    (void)ctx, (void)block;
    must(err, NULL);
    atomic_fetch_add(&durable, 1);
}

static void append_many(struct journal *journal, uint32_t count, uint32_t messages,
                        const char *what)
{
    struct journal_stats before, after;
    uint64_t bytes = 0;
    journal_stats_get(journal, &before);
    atomic_store(&durable, 0);
    double begin_s = now_s();
    for (uint32_t i = 0; i < count; i++) {
        struct block *block = block_make(messages, true);
        bytes += block_padded_bytes(block);
        while (i - atomic_load(&durable) > 64)
            usleep(50);
        must(journal_submit(journal, block, 0, 0, on_durable, NULL), NULL);
    }
    while (atomic_load(&durable) < count)
        usleep(50);
    double took_s = now_s() - begin_s;
    journal_stats_get(journal, &after);
    uint64_t syncs = after.syncs - before.syncs;
    printf("append   %6.0f MB/s of %s blocks, %llu syncs of %.2f ms\n",
           (double)bytes / took_s / 1e6, what, (unsigned long long)syncs,
           (double)(after.sync_ns_total - before.sync_ns_total) / (double)(syncs ? syncs : 1) /
               1e6);
}

static enum err on_block(void *ctx, struct block *block)
{
    *(uint64_t *)ctx += block->message_count;
    return ERR_OK;
}

static void land_all(struct journal *journal)
{
    struct journal_stats stats;
    char dataset[32];
    journal_stats_get(journal, &stats);
    atomic_store(&durable, 0);
    for (uint32_t i = 0; i < 16; i++) {
        snprintf(dataset, sizeof(dataset), "dataset%u", i);
        struct landed landed = {.dataset_id = bytes_from_text(dataset),
                                .through = stats.block_last,
                                .cut_id = journal_next_cut_id(journal)};
        must(journal_land(journal, &landed, on_durable, NULL), NULL);
    }
    while (atomic_load(&durable) < 16)
        usleep(50);
}

int main(int argc, char **argv)
{
    char made[] = "/var/tmp/journal-bench-XXXXXX", command[600];
    const char *folder = argc > 1 ? argv[1] : mkdtemp(made);
    struct diag diag = {0};
    uint64_t messages = 0;
    bench_block();
    mem_tune(); /* as main does */
    bench_block();
    struct journal *journal = journal_at(folder);
    must(journal_start(journal, &diag), &diag);
    append_many(journal, 4096, MESSAGES_PER_BLOCK, "256 KiB"); /* 1 GiB */
    append_many(journal, 2000, 10, "4 KiB");
    journal_close(journal);
    double begin_s = now_s();
    journal = journal_at(folder);
    double opened_s = now_s();
    must(journal_replay(journal, on_block, &messages, &diag), &diag);
    printf("recover  %6.2f s to open, %.2f s to replay %llu messages\n", opened_s - begin_s,
           now_s() - opened_s, (unsigned long long)messages);
    must(journal_start(journal, &diag), &diag);
    land_all(journal);
    journal_close(journal);
    begin_s = now_s();
    journal = journal_at(folder);
    printf("clean    %6.1f ms to open\n", (now_s() - begin_s) * 1e3);
    journal_close(journal);
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return argc > 1 ? 0 : system(command);
}
