#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "journal/journal.h"
#include "journal/record.h"
#include "support/sim_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/ingestor-journal-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

static struct journal *open_journal(uint64_t segment_bytes)
{
    struct journal_options options = {.fs = &fs_posix,
                                      .clock = &clock_system,
                                      .folder = folder,
                                      .size_max_bytes = 1 * GIB,
                                      .segment_bytes = segment_bytes};
    struct journal *journal = NULL;
    struct diag diag = {0};
    enum err err = journal_open(&options, &journal, &diag);
    if (err != ERR_OK)
        print_message("%s\n", diag.text);
    assert_int_equal(err, ERR_OK);
    return journal;
}

static struct block *make_block(const char *dataset, uint32_t first, uint32_t count)
{
    struct block *block = NULL;
    struct buf encoded;
    uint32_t route_index;
    char payload[64];
    struct route_view route = {.source_id = BYTES_LITERAL("src"),
                               .dataset_id = bytes_from_text(dataset),
                               .source_type = BYTES_LITERAL("mqtt")};
    buf_init(&encoded, 4096);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    assert_int_equal(route_encode(&route, &encoded), ERR_OK);
    assert_int_equal(
        block_add_route(block, buf_bytes(&encoded), hash_bytes(route.dataset_id), &route_index),
        ERR_OK);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(payload, sizeof(payload), "%u", first + i);
        struct message_view message = {.payload = bytes_from_text(payload),
                                       .flags = MESSAGE_IDENTITY,
                                       .packet_identifier = (uint16_t)(first + i),
                                       .identity_hash = first + i};
        assert_int_equal(block_add_message(block, &message), ERR_OK);
    }
    buf_fini(&encoded);
    return block;
}

struct waiting {
    _Atomic uint32_t durable;
    uint64_t last_number;
    bool in_order;
    enum err err;
};

static void on_durable(void *ctx, struct block *block, enum err err)
{
    struct waiting *waiting = ctx;
    if (block && err == ERR_OK) {
        if (block->number <= waiting->last_number)
            waiting->in_order = false;
        waiting->last_number = block->number;
    }
    waiting->err = err;
    atomic_fetch_add(&waiting->durable, 1);
}

static void wait_for(struct waiting *waiting, uint32_t count)
{
    while (atomic_load(&waiting->durable) < count)
        usleep(100);
}

static enum err count_messages(void *ctx, struct block *block)
{
    *(uint32_t *)ctx += block->message_count;
    return ERR_OK;
}

static uint32_t replayed(struct journal *journal)
{
    uint32_t count = 0;
    struct diag diag = {0};
    assert_int_equal(journal_replay(journal, count_messages, &count, &diag), ERR_OK);
    return count;
}

static enum err fail_on_damage(void *ctx, const char *sentence)
{
    print_message("damage: %s\n", sentence);
    ++*(int *)ctx;
    return ERR_OK;
}

static void expect_no_damage(struct journal *journal)
{
    int count = 0;
    assert_int_equal(journal_damage(journal, fail_on_damage, &count), ERR_OK);
    assert_int_equal(count, 0);
}

static void submit_many(struct journal *journal, struct waiting *waiting, uint32_t blocks)
{
    for (uint32_t i = 0; i < blocks; i++)
        assert_int_equal(journal_submit(journal, make_block(i % 2 ? "a" : "b", i * 10, 10), 0, 0,
                                        on_durable, waiting),
                         ERR_OK);
}

static enum err count_pending(void *ctx, const struct landed *landed)
{
    assert_true(bytes_equal_text(landed->dataset_id, "a"));
    assert_int_equal(landed->file_count, 1);
    assert_true(bytes_equal_text(landed->files[0].key, "bronze/x"));
    ++*(uint32_t *)ctx;
    return ERR_OK;
}

static void land_a(struct journal *journal, uint64_t through, uint64_t *ret_cut)
{
    struct waiting waiting = {.in_order = true};
    struct landed_file file = {.key = BYTES_LITERAL("bronze/x"), .size_bytes = 5, .rows = 3};
    struct landed landed = {.dataset_id = BYTES_LITERAL("a"),
                            .source_id = BYTES_LITERAL("src"),
                            .through = through,
                            .first = {2, 0},
                            .cut_id = journal_next_cut_id(journal),
                            .files = &file,
                            .file_count = 1};
    assert_int_equal(journal_land(journal, &landed, on_durable, &waiting), ERR_OK);
    wait_for(&waiting, 1);
    assert_int_equal(waiting.err, ERR_OK);
    *ret_cut = landed.cut_id;
}

static void test_life(void **state)
{
    (void)state;
    struct waiting waiting = {.in_order = true};
    char uuid[64];
    struct diag diag = {0};
    uint64_t cut_id, redo;
    uint32_t pending = 0;
    struct journal *journal = open_journal(256 * KIB);
    snprintf(uuid, sizeof(uuid), "%s", journal_uuid(journal));
    assert_int_equal(strlen(uuid), 36);
    assert_int_equal(journal_start(journal, &diag), ERR_OK);
    submit_many(journal, &waiting, 200); /* 800 KiB: several segments */
    wait_for(&waiting, 200);
    assert_true(waiting.in_order);
    assert_true(journal_idle(journal));
    land_a(journal, 100, &cut_id);
    journal_close(journal);

    journal = open_journal(256 * KIB);
    expect_no_damage(journal);
    assert_string_equal(journal_uuid(journal), uuid);
    assert_int_equal(journal_landed_through(journal, BYTES_LITERAL("a")), 100);
    assert_false(journal_wanted(journal, BYTES_LITERAL("a"), 100, &redo));
    assert_true(journal_wanted(journal, BYTES_LITERAL("a"), 102, &redo));
    assert_true(journal_wanted(journal, BYTES_LITERAL("b"), 1, &redo));
    assert_int_equal(journal_pending_uploads(journal, count_pending, &pending), ERR_OK);
    assert_int_equal(pending, 1);
    assert_int_equal(replayed(journal), 1000 + 500);
    assert_int_equal(journal_redo(journal, cut_id + 1), ERR_NOT_FOUND);
    assert_int_equal(journal_redo(journal, cut_id), ERR_OK);
    assert_true(journal_wanted(journal, BYTES_LITERAL("a"), 100, &redo));
    assert_int_equal(redo, cut_id);
    assert_int_equal(replayed(journal), 2000);
    assert_int_equal(journal_start(journal, &diag), ERR_OK);
    land_a(journal, 100, &redo); /* the same range again takes the old one's place */
    assert_int_not_equal(redo, cut_id);
    waiting = (struct waiting){.in_order = true};
    assert_int_equal(journal_uploaded(journal, redo, on_durable, &waiting), ERR_OK);
    wait_for(&waiting, 1);
    journal_close(journal);

    journal = open_journal(256 * KIB);
    expect_no_damage(journal);
    pending = 0;
    assert_int_equal(journal_pending_uploads(journal, count_pending, &pending), ERR_OK);
    assert_int_equal(pending, 0);
    assert_int_equal(replayed(journal), 1500);
    journal_close(journal);
}

static void test_second_process(void **state)
{
    (void)state;
    struct journal *journal = open_journal(0), *second = NULL;
    struct journal_options options = {
        .fs = &fs_posix, .clock = &clock_system, .folder = folder, .size_max_bytes = 1 * GIB};
    struct diag diag = {0};
    char pid[32];
    snprintf(pid, sizeof(pid), "pid %ld", (long)getpid());
    assert_int_equal(journal_open(&options, &second, &diag), ERR_BUSY);
    assert_non_null(strstr(diag.text, pid));
    journal_close(journal);
    assert_int_equal(journal_open(&options, &second, NULL), ERR_OK);
    journal_close(second);
}

static void test_groups(void **state)
{
    (void)state;
    struct waiting group = {.in_order = true}, other = {.in_order = true};
    struct diag diag = {0};
    struct journal *journal = open_journal(256 * KIB);
    assert_int_equal(journal_start(journal, &diag), ERR_OK);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(
            journal_submit(journal, make_block("g", i, 1), BLOCK_MORE, 7, on_durable, &group),
            ERR_OK);
    assert_int_equal(journal_submit(journal, make_block("o", 9, 1), 0, 0, on_durable, &other),
                     ERR_OK);
    wait_for(&other, 1);
    assert_int_equal(atomic_load(&group.durable), 0);
    assert_int_equal(journal_submit(journal, make_block("g", 3, 1), 0, 7, on_durable, &group),
                     ERR_OK);
    wait_for(&group, 4);
    assert_int_equal(group.last_number, other.last_number + 4);
    /* and one that never ends */
    assert_int_equal(
        journal_submit(journal, make_block("g", 4, 1), BLOCK_MORE, 8, on_durable, &group), ERR_OK);
    journal_close(journal);
    assert_int_equal(group.err, ERR_STOPPED);
    journal = open_journal(256 * KIB);
    assert_int_equal(replayed(journal), 5);
    journal_close(journal);
}

struct found {
    uint32_t count;
    uint64_t hashes;
};

static void on_identity(void *ctx, uint16_t packet_identifier, uint64_t hash, uint64_t block,
                        bool qos_2)
{
    struct found *found = ctx;
    assert_int_equal(packet_identifier, hash);
    assert_true(block > 0 && !qos_2);
    found->count++;
}

static void test_states_and_identities(void **state)
{
    (void)state;
    struct waiting waiting = {.in_order = true};
    struct diag diag = {0};
    struct found found = {0};
    struct buf body, value;
    struct bytes source = BYTES_LITERAL("src");
    buf_init(&body, 1000);
    buf_init(&value, 1000);
    struct journal *journal = open_journal(256 * KIB);
    assert_int_equal(journal_start(journal, &diag), ERR_OK);
    struct block *block = make_block("a", 1, 20);
    assert_int_equal(
        record_state_encode(&body, source, BYTES_LITERAL("cursor"), BYTES_LITERAL("42")), ERR_OK);
    assert_int_equal(block_add_record(block, RECORD_STATE, buf_bytes(&body)), ERR_OK);
    assert_int_equal(journal_submit(journal, block, 0, 0, on_durable, &waiting), ERR_OK);
    wait_for(&waiting, 1);
    block = make_block("a", 100, 5); /* then 1..20 are free, 100..104 not */
    buf_clear(&body);
    assert_int_equal(record_identities_free_encode(&body, source, waiting.last_number), ERR_OK);
    assert_int_equal(block_add_record(block, RECORD_IDENTITY_FREE, buf_bytes(&body)), ERR_OK);
    assert_int_equal(journal_submit(journal, block, 0, 0, on_durable, &waiting), ERR_OK);
    wait_for(&waiting, 2);
    journal_close(journal);
    for (int round = 0; round < 2; round++) { /* from records, then from the checkpoint */
        journal = open_journal(256 * KIB);
        buf_clear(&value);
        assert_int_equal(journal_state_get(journal, source, BYTES_LITERAL("cursor"), &value),
                         ERR_OK);
        assert_true(bytes_equal_text(buf_bytes(&value), "42"));
        found.count = 0;
        journal_identities(journal, source, on_identity, &found);
        assert_int_equal(found.count, 5);
        journal_close(journal);
    }
    buf_fini(&body);
    buf_fini(&value);
}

static void test_refused_record(void **state)
{
    (void)state;
    struct waiting waiting = {.in_order = true};
    struct diag diag = {0};
    struct journal *journal = open_journal(256 * KIB);
    assert_int_equal(journal_start(journal, &diag), ERR_OK);
    struct block *block = make_block("a", 1, 1);
    assert_int_equal(block_add_record(block, RECORD_STATE, BYTES_LITERAL("nonsense")), ERR_OK);
    assert_int_equal(journal_submit(journal, block, 0, 0, on_durable, &waiting), ERR_OK);
    wait_for(&waiting, 1);
    assert_int_equal(waiting.err, ERR_CORRUPT);
    block = make_block("a", 2, 1); /* it would vouch for the one that is not there */
    assert_int_equal(journal_submit(journal, block, 0, 0, on_durable, &waiting), ERR_STOPPED);
    block_unref(block);
    struct journal_stats stats;
    journal_stats_get(journal, &stats);
    assert_true(stats.failing);
    assert_non_null(strstr(stats.reason, "stopped"));
    journal_close(journal);
    journal = open_journal(256 * KIB);
    assert_int_equal(replayed(journal), 0);
    journal_close(journal);
}

/* The disk's faults are set before the thread starts: from then on the disk is its own. */
static struct journal *journal_on(struct sim_disk *disk, enum sim_fault fault, uint64_t ahead,
                                  uint64_t segment_bytes)
{
    struct journal_options options = {.fs = sim_disk_fs(disk),
                                      .clock = &clock_system,
                                      .folder = "/j",
                                      .size_max_bytes = 1 * GIB,
                                      .segment_bytes = segment_bytes};
    struct journal *journal = NULL;
    struct diag diag = {0};
    assert_int_equal(journal_open(&options, &journal, &diag), ERR_OK);
    sim_disk_fault(disk, fault, ahead);
    assert_int_equal(journal_start(journal, &diag), ERR_OK);
    return journal;
}

static void test_sync_fails_once(void **state)
{
    (void)state;
    struct waiting waiting = {.in_order = true};
    struct journal_stats stats;
    struct sim_disk *disk = sim_disk_new(1, 64 * MIB);
    struct journal *journal = journal_on(disk, SIM_FAULT_IO, 2, 64 * KIB);
    submit_many(journal, &waiting, 50);
    wait_for(&waiting, 50);
    assert_true(waiting.in_order && waiting.err == ERR_OK);
    journal_stop(journal);
    journal_stats_get(journal, &stats);
    assert_int_equal(stats.failures, 1);
    assert_false(stats.failing);
    journal_close(journal);
    sim_disk_power_cut(disk);
    journal = journal_on(disk, SIM_FAULT_NONE, 0, 64 * KIB);
    journal_stop(journal);
    assert_int_equal(replayed(journal), 500);
    journal_close(journal);
    sim_disk_free(disk);
}

/* The disk never comes back: stop ends all the same, and nobody is told that anything is durable.
 */
static void test_stop_while_failing(void **state)
{
    (void)state;
    struct waiting waiting = {.in_order = true};
    struct journal_stats stats;
    struct sim_disk *disk = sim_disk_new(1, 64 * MIB);
    struct journal *journal = journal_on(disk, SIM_FAULT_CRASH, 1, 64 * KIB);
    submit_many(journal, &waiting, 5);
    do {
        journal_stats_get(journal, &stats);
        usleep(100);
    } while (!stats.failing);
    assert_true(stats.reason[0] != '\0');
    assert_int_equal(atomic_load(&waiting.durable), 0);
    journal_stop(journal);
    assert_int_equal(atomic_load(&waiting.durable), 5);
    assert_int_equal(waiting.err, ERR_STOPPED);
    struct block *block = make_block("a", 1, 1);
    assert_int_equal(journal_submit(journal, block, 0, 0, on_durable, &waiting), ERR_STOPPED);
    block_unref(block);
    journal_close(journal);
    sim_disk_free(disk);
}

/* The disk is full and blocks wait: LANDED, asked for after them, becomes durable before them. */
static void test_full_disk_lands(void **state)
{
    (void)state;
    struct waiting waiting = {.in_order = true};
    struct journal_stats stats;
    struct sim_disk *disk = sim_disk_new(1, 4 * MIB);
    struct journal *journal = journal_on(disk, SIM_FAULT_SPACE, 1, 512 * KIB);
    uint64_t cut_id;
    submit_many(journal, &waiting, 200);
    do {
        journal_stats_get(journal, &stats);
        usleep(100);
    } while (!stats.paused);
    assert_non_null(strstr(stats.reason, "file system"));
    assert_false(stats.failing);
    assert_in_range(stats.block_last, 50, 150);
    land_a(journal, stats.block_last, &cut_id);
    assert_int_equal(atomic_load(&waiting.durable), stats.block_last);
    journal_close(journal);
    assert_int_equal(waiting.err, ERR_STOPPED);
    sim_disk_free(disk);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_life),
        TEST(test_second_process),
        TEST(test_groups),
        TEST(test_states_and_identities),
        TEST(test_refused_record),
        cmocka_unit_test(test_sync_fails_once),
        cmocka_unit_test(test_stop_while_failing),
        cmocka_unit_test(test_full_disk_lands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
