#pragma once
/*
 * A journal in a folder, into which blocks of one message go, and landings of all that there is of
 * a dataset. One at a time. The program includes cmocka before.
 */
#include "base/buf.h"
#include "base/hash.h"
#include "journal/journal.h"
#include "support/temp_folder.h"

#include <stdatomic.h>
#include <unistd.h>

static char folder[256];

static inline int set_up(void **state)
{
    (void)state;
    temp_folder_make(folder, sizeof(folder));
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    temp_folder_remove(folder);
    return 0;
}

static inline struct journal *open_journal(void)
{
    struct journal_options options = {.fs = &fs_posix,
                                      .clock = &clock_system,
                                      .folder = folder,
                                      .size_max_bytes = 1 * GIB,
                                      .segment_bytes = 256 * KIB};
    struct journal *journal = NULL;
    assert_int_equal(journal_open(&options, &journal, NULL), ERR_OK);
    assert_int_equal(journal_start(journal, NULL), ERR_OK);
    return journal;
}

static _Atomic uint32_t durable;

static inline void on_durable(void *ctx, struct block *block, enum err err)
{
    (void)ctx;
    (void)block;
    assert_int_equal(err, ERR_OK);
    atomic_fetch_add(&durable, 1);
}

static inline void wait_for(uint32_t count)
{
    while (atomic_load(&durable) < count)
        usleep(100);
}

/* One block with a message of the dataset. */
static inline void submit(struct journal *journal, const char *dataset)
{
    struct block *block;
    struct buf encoded;
    uint32_t route_index;
    char payload[2000];
    struct route_view route = {.source_id = BYTES_LITERAL("src"),
                               .dataset_id = bytes_from_text(dataset),
                               .source_type = BYTES_LITERAL("mqtt")};
    memset(payload, 'x', sizeof(payload));
    buf_init(&encoded, 4096);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    assert_int_equal(route_encode(&route, &encoded), ERR_OK);
    assert_int_equal(
        block_add_route(block, buf_bytes(&encoded), hash_bytes(route.dataset_id), &route_index),
        ERR_OK);
    struct message_view message = {.payload = bytes_from(payload, sizeof(payload))};
    assert_int_equal(block_add_message(block, &message), ERR_OK);
    buf_fini(&encoded);
    uint32_t before = atomic_load(&durable);
    assert_int_equal(journal_submit(journal, block, 0, 0, on_durable, NULL), ERR_OK);
    wait_for(before + 1);
}

static inline uint64_t last_block(struct journal *journal)
{
    struct journal_stats stats;
    journal_stats_get(journal, &stats);
    return stats.block_last;
}

/* Lands all that there is of the dataset, with a new message of it: the landing's dataset, range
 * and cut are set here, the rest is the caller's. */
static inline void land_all(struct journal *journal, const char *dataset, struct landed *landed,
                            bool uploaded)
{
    uint32_t before = atomic_load(&durable);
    submit(journal, dataset);
    landed->dataset_id = bytes_from_text(dataset);
    landed->source_id = BYTES_LITERAL("src");
    landed->after = journal_landed_through(journal, bytes_from_text(dataset));
    landed->through = last_block(journal);
    landed->cut_id = journal_next_cut_id(journal);
    landed->first = (struct position){landed->through, 0};
    assert_int_equal(journal_land(journal, landed, on_durable, NULL), ERR_OK);
    wait_for(before + 2);
    if (!uploaded)
        return;
    assert_int_equal(journal_uploaded(journal, landed->cut_id, on_durable, NULL), ERR_OK);
    wait_for(before + 3);
}
