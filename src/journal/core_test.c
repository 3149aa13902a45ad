#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "support/core_rig.h"

#include <stdio.h>
#include <string.h>

/* ---- errors while it runs ---- */

static void test_failed_sync_writes_again(void **state)
{
    (void)state;
    rig_open();
    rig_append("a", 10);
    uint64_t first_segment = rig_core.segments[0].epoch;
    sim_disk_fault(rig_disk, SIM_FAULT_IO, 2); /* write, then the sync that fails */
    assert_int_equal(rig_try_append("a", 10), ERR_IO);
    assert_int_equal(rig_core.ledger.applied_through, 1);
    rig_append("a", 10);
    assert_int_equal(rig_core.ledger.applied_through, 2);
    assert_int_equal(rig_core.segment_count, 2);
    assert_int_not_equal(rig_core.segments[1].epoch, first_segment);
    assert_int_equal(rig_core.segments[1].first_number, 2);
    assert_int_equal(rig_core.segments[0].end_number, 2); /* what it holds of 2 is void */
    core_fini(&rig_core);
    sim_disk_power_cut(rig_disk);
    rig_open();
    assert_int_equal(rig_core.damage_count, 0);
    assert_int_equal(rig_replayed(), 2);
    core_fini(&rig_core);
}

/* A segment whose begin failed may be there again after a power cut, and takes over from where it
 * was begun: nothing acknowledged may stand there in the one before. */
static void test_failed_roll_leaves_the_segment(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 300; seed++) {
        sim_disk_free(rig_disk);
        rig_disk = sim_disk_new(seed, 64 * MIB);
        rig_open();
        rig_append("a", 10);
        sim_disk_fault(rig_disk, SIM_FAULT_IO, 2 + seed % 4); /* allocate, write, sync, folder */
        assert_int_equal(core_roll(&rig_core, 0, 0, NULL), ERR_IO);
        rig_append("a", 10);
        core_fini(&rig_core);
        sim_disk_power_cut(rig_disk);
        rig_open();
        assert_int_equal(rig_core.ledger.applied_through, 2);
        assert_int_equal(rig_replayed(), 2);
        core_fini(&rig_core);
    }
}

/* Written, not synced, killed: what can be read is carried over and survives the power cut after.
 */
static void test_tail_is_carried(void **state)
{
    (void)state;
    for (uint64_t operations = 1; operations < 12; operations++) {
        (void)rig_tear_down(NULL);
        (void)rig_set_up(NULL);
        rig_open();
        rig_append("a", 10);
        sim_disk_fault(rig_disk, SIM_FAULT_IO, 2);
        assert_int_equal(rig_try_append("a", 10), ERR_IO);
        core_fini(&rig_core);
        sim_disk_kill(rig_disk);
        rig_open();
        uint64_t last = rig_core.ledger.applied_through;
        assert_int_equal(last, 2);
        assert_int_equal(rig_core.segments[1].carried_through, 2);
        assert_int_equal(rig_replayed(), 2);
        core_fini(&rig_core);
        sim_disk_power_cut(rig_disk);
        rig_open();
        assert_int_equal(rig_core.ledger.applied_through, last);
        assert_int_equal(rig_replayed(), 2);
        assert_int_equal(rig_core.damage_count, 0);
        core_fini(&rig_core);
    }
}

static void test_group_is_whole(void **state)
{
    (void)state;
    struct block *blocks[3];
    struct core_item items[3];
    size_t done;
    rig_open();
    for (int i = 0; i < 3; i++) {
        blocks[i] = rig_block("g", 10);
        items[i] = (struct core_item){blocks[i], BLOCK_DATA, i < 2 ? BLOCK_MORE : 0, 5};
    }
    assert_int_equal(core_append(&rig_core, items, 3, &done, NULL), ERR_OK);
    assert_int_equal(done, 3);
    rig_flip(3); /* its last block is torn: the others do not count */
    core_fini(&rig_core);
    rig_open();
    assert_int_equal(rig_core.ledger.applied_through, 0);
    assert_int_equal(rig_replayed(), 0);
    core_fini(&rig_core);
    for (int i = 0; i < 3; i++)
        block_unref(blocks[i]);
}

static void test_sync_off(void **state)
{
    (void)state;
    struct journal_options options = rig_options();
    options.sync = JOURNAL_SYNC_INTERVAL;
    options.sync_interval_ms = 100;
    assert_int_equal(core_open(&rig_core, &options, NULL), ERR_OK);
    uint64_t syncs = rig_core.syncs;
    rig_append("a", 10);
    rig_append("a", 10);
    assert_int_equal(rig_core.syncs, syncs);
    assert_int_equal(rig_core.ledger.applied_through, 2);
    assert_int_equal(core_sync(&rig_core, false, NULL), ERR_OK);
    assert_int_equal(rig_core.syncs, syncs);
    sim_disk_advance(rig_disk, 200 * NS_PER_MS);
    assert_int_equal(core_sync(&rig_core, false, NULL), ERR_OK);
    assert_int_equal(rig_core.syncs, syncs + 1);
    rig_append("a", 10);
    core_fini(&rig_core);
    sim_disk_power_cut(rig_disk);
    rig_open();
    assert_true(rig_core.ledger.applied_through >= 2);
    assert_int_equal(rig_core.damage_count, 0); /* it never claimed more than was synced */
    core_fini(&rig_core);
}

/* A cut must not pass over messages that no cut before it has. */
static void test_landed_leaves_no_gap(void **state)
{
    (void)state;
    rig_open();
    for (int i = 0; i < 6; i++)
        rig_append("a", 10);
    assert_int_equal(rig_try_land("a", 2, (struct position){3, 0}, 4), ERR_CORRUPT);
    assert_int_equal(rig_core.ledger.pending_count, 0);
    assert_int_equal(rig_try_land("a", 0, (struct position){1, 0}, 2), ERR_OK);
    assert_int_equal(rig_try_land("a", 2, (struct position){3, 0}, 4), ERR_OK);
    assert_int_equal(rig_try_land("a", 5, (struct position){6, 0}, 6), ERR_CORRUPT);
    assert_int_equal(rig_try_land("a", 4, (struct position){5, 0}, 6), ERR_OK);
    core_fini(&rig_core);
}

/* A range from 0 on, of a dataset that was forgotten meanwhile: only what it counts is made again.
 */
static void test_redo_of_a_range_from_zero(void **state)
{
    (void)state;
    uint64_t redo_cut;
    rig_open();
    rig_append("a", 10);
    rig_append("b", 10);
    rig_append("a", 10);
    assert_int_equal(rig_try_land("a", 0, (struct position){3, 0}, 3), ERR_OK);
    assert_int_equal(core_redo(&rig_core, rig_core.ledger.cut_id_last), ERR_OK);
    assert_false(ledger_wanted(&rig_core.ledger, BYTES_LITERAL("a"), 1, &redo_cut));
    assert_true(ledger_wanted(&rig_core.ledger, BYTES_LITERAL("a"), 3, &redo_cut));
    assert_int_equal(redo_cut, rig_core.ledger.cut_id_last);
    core_fini(&rig_core);
}

/* While a dataset's blocks are there, a cut of another that is made again replays them: that they
 * have landed must be known until they are gone, also when the roll that was to free them fails. */
static void test_failed_roll_forgets_nothing(void **state)
{
    (void)state;
    rig_open();
    rig_append("a", 10);
    rig_land("a", rig_core.ledger.applied_through);
    rig_uploaded(rig_core.ledger.cut_id_last);
    assert_int_equal(core_roll(&rig_core, 0, 0, NULL), ERR_OK);
    sim_disk_fault(rig_disk, SIM_FAULT_SPACE, 1);
    assert_int_equal(core_roll(&rig_core, 0, 0, NULL), ERR_NO_SPACE);
    assert_int_equal(rig_core.segment_count, 2);
    assert_non_null(ledger_dataset(&rig_core.ledger, BYTES_LITERAL("a")));
    sim_disk_fault(rig_disk, SIM_FAULT_NONE, 0);
    assert_int_equal(core_roll(&rig_core, 0, 0, NULL), ERR_OK);
    assert_int_equal(rig_core.segment_count, 2);
    assert_null(ledger_dataset(&rig_core.ledger, BYTES_LITERAL("a")));
    core_fini(&rig_core);
}

/* ---- space ---- */

static void test_pause_and_resume(void **state)
{
    (void)state;
    rig_open();
    enum err err = ERR_OK;
    for (int i = 0; i < 1000 && !rig_core.paused; i++) {
        err = rig_try_append("a", 3000);
        core_space(&rig_core);
    }
    assert_true(err == ERR_OK || err == ERR_NO_SPACE);
    assert_true(rig_core.paused && rig_core.past_half);
    assert_non_null(strstr(rig_core.pause_reason, "JOURNAL_MAX_BYTES"));
    struct journal_stats stats;
    core_stats(&rig_core, &stats);
    assert_true(stats.size_bytes <= rig_core.options.size_max_bytes);
    assert_true(stats.used_bytes > rig_core.options.size_max_bytes / 2);
    assert_int_equal(core_free_space(&rig_core, NULL), ERR_OK);
    core_space(&rig_core);
    assert_true(rig_core.paused); /* nothing landed */
    rig_land("a", rig_core.ledger.applied_through);
    assert_int_equal(core_free_space(&rig_core, NULL), ERR_OK);
    core_space(&rig_core);
    assert_false(rig_core.paused);
    assert_int_equal(rig_core.segment_count, 2);
    assert_true(rig_core.free_count > 0); /* kept for reuse */
    core_stats(&rig_core, &stats);
    assert_true(stats.size_bytes <= 6 * SEGMENT_BYTES);
    assert_int_equal(rig_replayed(), 0);
    core_fini(&rig_core);
}

/* Whoever does not heed the pause waits: what is preallocated, free files and the spool counted,
 * the files never take more than JOURNAL_MAX_BYTES. */
static void test_limit_is_kept(void **state)
{
    (void)state;
    uint64_t free_bytes, taken = 0, most = 0;
    rig_open();
    for (int round = 0; round < 20; round++) {
        enum err err = ERR_OK;
        rig_spool = (uint64_t)(round % 4) * SEGMENT_BYTES;
        for (int i = 0; i < 1000 && err == ERR_OK; i++) {
            err = rig_try_append("a", 3000 + (size_t)round * 1000);
            assert_int_equal(fs_free_space(rig_core.options.fs, FOLDER, &free_bytes, NULL), ERR_OK);
            taken = 64 * MIB - free_bytes + rig_spool;
            most = taken > most ? taken : most;
            assert_true(taken <= rig_core.options.size_max_bytes);
        }
        assert_int_equal(err, ERR_NO_SPACE);
        core_space(&rig_core);
        assert_true(rig_core.paused);
        assert_non_null(strstr(rig_core.pause_reason, "JOURNAL_MAX_BYTES"));
        rig_land("a", rig_core.ledger.applied_through);
        rig_uploaded(rig_core.ledger.cut_id_last);
        rig_spool = 0;
        core_space(&rig_core);
        assert_int_equal(core_free_space(&rig_core, NULL), ERR_OK);
        core_space(&rig_core);
    }
    assert_true(most > rig_core.options.size_max_bytes / 2); /* and it is used */
    core_fini(&rig_core);
}

static void test_spool_counts(void **state)
{
    (void)state;
    rig_open();
    rig_append("a", 100);
    core_space(&rig_core);
    assert_false(rig_core.paused);
    rig_spool = 15 * SEGMENT_BYTES;
    core_space(&rig_core);
    assert_true(rig_core.paused);
    rig_spool = 11 * SEGMENT_BYTES; /* below the limit, but not by enough */
    core_space(&rig_core);
    rig_spool = 0;
    core_space(&rig_core);
    assert_false(rig_core.paused);
    core_fini(&rig_core);
}

static void test_room_of_file_system(void **state)
{
    (void)state;
    sim_disk_free(rig_disk);
    rig_disk = sim_disk_new(1, 6 * SEGMENT_BYTES);
    rig_open();
    enum err err = ERR_OK;
    for (int i = 0; i < 100 && err == ERR_OK; i++) {
        err = rig_try_append("a", 3000);
        sim_disk_advance(rig_disk, 2 * NS_PER_S);
        core_space(&rig_core);
    }
    assert_int_equal(err, ERR_NO_SPACE);
    assert_true(rig_core.held_back && rig_core.paused && rig_core.past_half);
    assert_non_null(strstr(rig_core.pause_reason, "file system"));
    /* The cuts of all that was taken find room, and what they write makes some again. */
    uint64_t free_bytes, taken = rig_core.ledger.applied_through * 4096;
    assert_int_equal(fs_free_space(rig_core.options.fs, FOLDER, &free_bytes, NULL), ERR_OK);
    assert_true(free_bytes >= taken && taken > SEGMENT_BYTES);
    rig_land("a", rig_core.ledger.applied_through);
    rig_uploaded(rig_core.ledger.cut_id_last);
    core_space(&rig_core);
    assert_int_equal(core_free_space(&rig_core, NULL), ERR_OK);
    rig_append("a", 3000);
    core_space(&rig_core);
    assert_false(rig_core.paused);
    core_fini(&rig_core);
}

/* As the journal's thread does it: when there is no room, it looks for some and tries once more. */
static void fill_up(void)
{
    int failures = 0;
    while (failures < 2) {
        if (rig_try_append("a", 3000) == ERR_OK) {
            failures = 0;
            continue;
        }
        assert_true(rig_core.held_back);
        failures++;
        core_space(&rig_core);
        assert_true(rig_core.paused);
        assert_int_equal(core_free_space(&rig_core, NULL), ERR_OK);
        core_space(&rig_core);
    }
}

/* Segments that are used again take nothing more from the file system, and yet what is written
 * there wants room for its cuts: all rounds in a row, in one large segment or in many small ones.
 */
static void test_recycled_segments_leave_room(void **state)
{
    (void)state;
    for (uint64_t parts = 1; parts <= 4; parts *= 4) {
        sim_disk_free(rig_disk);
        rig_disk = sim_disk_new(1, 8 * SEGMENT_BYTES);
        struct journal_options options = rig_options();
        options.segment_bytes = 4 * SEGMENT_BYTES / parts;
        options.size_max_bytes = 64 * MIB;
        assert_int_equal(core_open(&rig_core, &options, NULL), ERR_OK);
        for (int round = 0; round < 10; round++) {
            uint64_t first = rig_core.ledger.applied_through, free_bytes;
            fill_up();
            uint64_t taken = (rig_core.ledger.applied_through - first) * 4096;
            assert_int_equal(fs_free_space(rig_core.options.fs, FOLDER, &free_bytes, NULL), ERR_OK);
            assert_true(taken > 0 && free_bytes >= taken);
            rig_land("a", rig_core.ledger.applied_through);
            rig_uploaded(rig_core.ledger.cut_id_last);
        }
        core_fini(&rig_core);
    }
}

/* No room for a segment at all: LANDED and UPLOADED find room in the one there is. */
static void test_full_disk_takes_control(void **state)
{
    (void)state;
    struct journal_options options = rig_options();
    options.segment_bytes = 512 * KIB;
    options.size_max_bytes = 64 * MIB;
    assert_int_equal(core_open(&rig_core, &options, NULL), ERR_OK);

    sim_disk_fault(rig_disk, SIM_FAULT_SPACE, 1);
    enum err err = ERR_OK;
    for (uint64_t i = 0; i < 1000 && err == ERR_OK; i++)
        err = rig_try_append("a", 3000);
    assert_int_equal(err, ERR_NO_SPACE);
    rig_land("a", rig_core.ledger.applied_through);
    rig_uploaded(rig_core.ledger.cut_id_last);
    assert_int_equal(rig_core.segment_count, 1);
    core_space(&rig_core);
    assert_true(rig_core.paused);
    sim_disk_fault(rig_disk, SIM_FAULT_NONE, 0);
    rig_append("a", 3000);
    sim_disk_advance(rig_disk, 2 * NS_PER_S);
    core_space(&rig_core);
    assert_false(rig_core.paused);
    core_fini(&rig_core);
    sim_disk_power_cut(rig_disk);
    rig_open();
    assert_int_equal(rig_core.damage_count, 0);
    assert_int_equal(rig_core.ledger.pending_count, 0);
    assert_int_equal(rig_replayed(), 1);
    core_fini(&rig_core);
}

/* A long life in little space: segments are recycled, and the ledger does not grow. */
static void test_recycling(void **state)
{
    (void)state;
    char dataset[32];
    rig_open();
    for (int i = 0; i < 2000; i++) {
        snprintf(dataset, sizeof(dataset), "d%d", i);
        rig_append(dataset, 3000);
        rig_land(dataset, rig_core.ledger.applied_through);
        rig_uploaded(rig_core.ledger.cut_id_last);
    }
    assert_true(rig_core.slot_next < 12);
    assert_true(rig_core.ledger.datasets.live_count < 100);
    core_fini(&rig_core);
}

/* ---- no memory ---- */

static enum err life(void)
{
    struct journal_options options = rig_options();
    struct diag diag = {0};
    size_t done;
    enum err err = core_open(&rig_core, &options, &diag);
    if (err != ERR_OK) {
        assert_true(diag.text[0] != '\0');
        return err;
    }
    for (int i = 0; i < 3 && err == ERR_OK; i++) {
        struct block *block = NULL;
        struct buf body;
        struct core_item item = {.kind = BLOCK_DATA};
        buf_init(&body, 4096);
        err =
            record_state_encode(&body, BYTES_LITERAL("s"), BYTES_LITERAL("k"), BYTES_LITERAL("v"));
        if (err == ERR_OK)
            err = block_new(4096, &block);
        if (err == ERR_OK)
            err = block_add_record(block, RECORD_STATE, buf_bytes(&body));
        item.block = block;
        if (err == ERR_OK)
            err = core_append(&rig_core, &item, 1, &done, NULL);
        block_unref(block);
        buf_fini(&body);
    }
    if (err == ERR_OK)
        err = core_roll(&rig_core, 0, 0, NULL);
    if (err == ERR_OK)
        err = core_call_durable(&rig_core, NULL);
    uint32_t messages = 0;
    if (err == ERR_OK)
        err = core_replay(&rig_core, rig_count, &messages, NULL);
    core_fini(&rig_core);
    return err;
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        (void)rig_tear_down(NULL);
        (void)rig_set_up(NULL);
        rig_open();
        rig_append("a", 10);
        rig_land("a", 1);
        rig_append("b", 10);
        core_fini(&rig_core);
        mem_fail_at(k);
        enum err err = life();
        int failed = mem_failed();
        mem_fail_at(0);
        if (err != ERR_OK)
            assert_int_equal(err, ERR_NO_MEMORY);
        rig_open(); /* whatever happened, it is whole */
        assert_int_equal(rig_replayed(), 1);
        assert_int_equal(rig_core.ledger.pending_count, 1);
        assert_int_equal(rig_core.damage_count, 0);
        core_fini(&rig_core);
        if (!failed)
            break;
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_failed_sync_writes_again),
        TEST(test_failed_roll_leaves_the_segment),
        TEST(test_tail_is_carried),
        TEST(test_group_is_whole),
        TEST(test_sync_off),
        TEST(test_landed_leaves_no_gap),
        TEST(test_redo_of_a_range_from_zero),
        TEST(test_failed_roll_forgets_nothing),
        TEST(test_pause_and_resume),
        TEST(test_limit_is_kept),
        TEST(test_spool_counts),
        TEST(test_room_of_file_system),
        TEST(test_recycled_segments_leave_room),
        TEST(test_full_disk_takes_control),
        TEST(test_recycling),
        TEST(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
