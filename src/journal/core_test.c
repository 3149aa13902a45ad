#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "journal/core.h"
#include "support/sim_disk.h"

#include <stdio.h>
#include <string.h>

#define SEGMENT_BYTES (64 * KIB)
#define FOLDER        "/j"

static struct sim_disk *disk;
static struct core core;
static uint64_t spool;

static uint64_t spool_bytes(void *ctx)
{
    (void)ctx;
    return spool;
}

static struct journal_options options_of(void)
{
    return (struct journal_options){.fs = sim_disk_fs(disk),
                                    .clock = sim_disk_clock(disk),
                                    .folder = FOLDER,
                                    .size_max_bytes = 16 * SEGMENT_BYTES,
                                    .segment_bytes = SEGMENT_BYTES,
                                    .spool_bytes = spool_bytes};
}

static int set_up(void **state)
{
    (void)state;
    spool = 0;
    disk = sim_disk_new(1, 64 * MIB);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sim_disk_free(disk);
    return 0;
}

static void open_core(void)
{
    struct journal_options options = options_of();
    struct diag diag = {0};
    enum err err = core_open(&core, &options, &diag);
    if (err != ERR_OK)
        print_message("%s\n", diag.text);
    assert_int_equal(err, ERR_OK);
}

static struct block *make(const char *dataset, size_t padding)
{
    static uint8_t zeros[1 * MIB];
    struct block *block = NULL;
    struct buf encoded;
    uint32_t route_index;
    struct route_view route = {.source_id = BYTES_LITERAL("s"),
                               .dataset_id = bytes_from_text(dataset)};
    struct message_view message = {.payload = bytes_from(zeros, padding)};
    buf_init(&encoded, 4096);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    assert_int_equal(route_encode(&route, &encoded), ERR_OK);
    assert_int_equal(
        block_add_route(block, buf_bytes(&encoded), hash_bytes(route.dataset_id), &route_index),
        ERR_OK);
    assert_int_equal(block_add_message(block, &message), ERR_OK);
    buf_fini(&encoded);
    return block;
}

static enum err try_append(const char *dataset, size_t padding)
{
    struct block *block = make(dataset, padding);
    struct core_item item = {.block = block, .kind = BLOCK_DATA};
    size_t done;
    enum err err = core_append(&core, &item, 1, &done, NULL);
    block_unref(block);
    return err;
}

static void append(const char *dataset, size_t padding)
{
    assert_int_equal(try_append(dataset, padding), ERR_OK);
}

static void land(const char *dataset, uint64_t through)
{
    struct block *block = NULL;
    struct buf body;
    struct core_item item = {.kind = BLOCK_CONTROL};
    struct landed landed = {.dataset_id = bytes_from_text(dataset),
                            .through = through,
                            .first = {1, 0},
                            .cut_id = core.ledger.cut_id_last + 1};
    size_t done;
    buf_init(&body, 4096);
    assert_int_equal(record_landed_encode(&body, &landed), ERR_OK);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    assert_int_equal(block_add_record(block, RECORD_LANDED, buf_bytes(&body)), ERR_OK);
    item.block = block;
    assert_int_equal(core_append(&core, &item, 1, &done, NULL), ERR_OK);
    block_unref(block);
    buf_fini(&body);
}

static void uploaded(uint64_t cut_id)
{
    struct block *block = NULL;
    struct buf body;
    size_t done;
    buf_init(&body, 4096);
    assert_int_equal(record_uploaded_encode(&body, cut_id), ERR_OK);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    assert_int_equal(block_add_record(block, RECORD_UPLOADED, buf_bytes(&body)), ERR_OK);
    struct core_item item = {.block = block, .kind = BLOCK_CONTROL};
    assert_int_equal(core_append(&core, &item, 1, &done, NULL), ERR_OK);
    block_unref(block);
    buf_fini(&body);
}

static enum err count(void *ctx, struct block *block)
{
    *(uint32_t *)ctx += block->message_count;
    return ERR_OK;
}

static uint32_t replayed(void)
{
    uint32_t messages = 0;
    struct diag diag = {0};
    assert_int_equal(core_replay(&core, count, &messages, &diag), ERR_OK);
    return messages;
}

static bool damage_says(const char *text)
{
    for (size_t i = 0; i < core.damage_count; i++)
        if (strstr(core.damages[i], text))
            return true;
    return false;
}

/* Where in which file block number stands. */
struct place {
    uint64_t number, offset;
    bool found;
};

static enum err on_place(void *ctx, const struct block_header *header, struct bytes image,
                         uint64_t offset)
{
    struct place *place = ctx;
    (void)image;
    if (header->number == place->number) {
        place->offset = offset;
        place->found = true;
    }
    return ERR_OK;
}

static enum err on_place_damage(void *ctx, uint64_t offset, uint64_t from, uint64_t to)
{
    (void)ctx, (void)offset, (void)from, (void)to;
    return ERR_OK;
}

static void flip(uint64_t number)
{
    struct place place = {.number = number};
    struct segment_visitor visitor = {NULL, on_place, on_place_damage, &place};
    struct segment_end end;
    char path[SEGMENT_PATH_MAX];
    for (size_t i = 0; i < core.segment_count && !place.found; i++) {
        assert_int_equal(segment_path(path, FOLDER, core.segments[i].slot, NULL), ERR_OK);
        assert_int_equal(
            segment_walk(core.options.fs, path, &core.segments[i], &visitor, &end, NULL), ERR_OK);
    }
    assert_true(place.found);
    assert_true(sim_disk_flip(disk, path, place.offset + 70));
}

static void flip_in(size_t segment_index, uint64_t offset)
{
    char path[SEGMENT_PATH_MAX];
    assert_int_equal(segment_path(path, FOLDER, core.segments[segment_index].slot, NULL), ERR_OK);
    assert_true(sim_disk_flip(disk, path, offset));
}

/* ---- damage against torn tail ---- */

static void test_damage_is_skipped(void **state)
{
    (void)state;
    open_core();
    for (int i = 0; i < 6; i++)
        append("d", 10);
    flip(3);
    core_fini(&core);
    open_core();
    assert_true(damage_says("offset 16384: blocks 3 to 3 were durable and cannot be read"));
    assert_int_equal(core.damaged_blocks, 1);
    assert_int_equal(core.ledger.applied_through, 6);
    assert_int_equal(replayed(), 5);
    assert_int_equal(core.damage_count, 1); /* met again, said once */
    append("d", 10);
    assert_int_equal(core.ledger.applied_through, 7);
    core_fini(&core);
    open_core();
    assert_int_equal(replayed(), 6);
    core_fini(&core);
}

static void test_torn_tail_is_silent(void **state)
{
    (void)state;
    open_core();
    for (int i = 0; i < 3; i++)
        append("d", 10);
    flip(3); /* nothing says that 3 was durable */
    core_fini(&core);
    open_core();
    assert_int_equal(core.damage_count, 0);
    assert_int_equal(core.ledger.applied_through, 2);
    append("d", 10); /* takes number 3 */
    core_fini(&core);
    open_core();
    assert_int_equal(replayed(), 3);
    core_fini(&core);
}

/* An empty block, written when all is quiet, makes the same flip damage. */
static void test_empty_block_vouches(void **state)
{
    (void)state;
    open_core();
    for (int i = 0; i < 3; i++)
        append("d", 10);
    assert_true(core.uncalled);
    assert_int_equal(core_call_durable(&core, NULL), ERR_OK);
    assert_false(core.uncalled);
    assert_int_equal(core.ledger.applied_through, 4);
    assert_int_equal(core_call_durable(&core, NULL), ERR_OK);
    assert_int_equal(core.ledger.applied_through, 4); /* one is enough */
    flip(3);
    core_fini(&core);
    open_core();
    assert_true(damage_says("blocks 3 to 3 were durable"));
    assert_int_equal(replayed(), 2);
    core_fini(&core);
}

static void test_damage_across_segments(void **state)
{
    (void)state;
    open_core();
    for (int i = 0; i < 40; i++)
        append("d", 5000); /* 8 KiB each: 7 a segment */
    assert_true(core.segment_count > 4);
    uint64_t last_of_first = core.segments[0].end_number - 1;
    flip(last_of_first); /* nothing behind it in its segment, but a newer one took over later */
    core_fini(&core);
    open_core();
    assert_int_equal(replayed(), 39);
    assert_true(damage_says("were durable and cannot be read"));
    core_fini(&core);
}

static void test_checkpoint_made_good(void **state)
{
    (void)state;
    open_core();
    append("a", 10);
    append("b", 10);
    land("a", 2);
    assert_int_equal(core_roll(&core, 0, 0, NULL), ERR_OK);
    append("a", 10);
    assert_int_equal(core_roll(&core, 0, 0, NULL), ERR_OK);
    append("a", 10);
    append("a", 10);
    flip_in(core.segment_count - 1, 4096 + 80);
    core_fini(&core);
    open_core();
    assert_true(damage_says("checkpoint at offset 4096 is damaged"));
    assert_int_equal(ledger_dataset(&core.ledger, BYTES_LITERAL("a"))->landed_through, 2);
    assert_int_equal(core.ledger.pending_count, 1);
    assert_int_equal(replayed(), 4);
    core_fini(&core);
    open_core();
    assert_int_equal(replayed(), 4);
    core_fini(&core);
}

/* What is freed is freed under two checkpoints: with one of them damaged nothing comes back. */
static void test_freed_under_two_checkpoints(void **state)
{
    (void)state;
    for (int damaged = 0; damaged < 2; damaged++) {
        (void)tear_down(NULL);
        (void)set_up(NULL);
        open_core();
        core.past_half = true; /* space is wanted */
        for (int i = 0; i < 4; i++) {
            append("a", 10);
            land("a", core.ledger.applied_through);
            assert_int_equal(core_roll(&core, 0, 0, NULL), ERR_OK);
        }
        assert_int_equal(core.segment_count, 2); /* all older ones are free */
        append("a", 10);
        append("a", 10);
        flip_in((size_t)damaged, 4096 + 80);
        core_fini(&core);
        open_core();
        assert_int_equal(ledger_dataset(&core.ledger, BYTES_LITERAL("a"))->landed_through, 7);
        assert_int_equal(core.ledger.pending_count, 4);
        assert_int_equal(replayed(), 2);
        core_fini(&core);
    }
}

/* A file of the spool that turns out damaged is made again from what is still here. */
static void test_kept_until_uploaded(void **state)
{
    (void)state;
    open_core();
    append("a", 10);
    land("a", 1);
    uint64_t cut_id = core.ledger.cut_id_last;
    for (int i = 0; i < 3; i++)
        assert_int_equal(core_roll(&core, 0, 0, NULL), ERR_OK);
    core_fini(&core);
    open_core();
    assert_int_equal(core_redo(&core, cut_id), ERR_OK);
    assert_int_equal(replayed(), 1);
    uploaded(cut_id);
    for (int i = 0; i < 3; i++)
        assert_int_equal(core_roll(&core, 0, 0, NULL), ERR_OK);
    assert_int_equal(core.segment_count, 2);
    core_fini(&core);
}

static void test_header_copy(void **state)
{
    (void)state;
    open_core();
    append("a", 10);
    append("a", 10);
    flip_in(0, 20);
    core_fini(&core);
    open_core();
    assert_true(damage_says("header at offset 0 is damaged; its copy was used"));
    assert_int_equal(replayed(), 2);
    flip_in(0, 4096 + 80); /* now the copy as well */
    core_fini(&core);
    open_core();
    assert_true(damage_says("the file is left as it is"));
    assert_true(core.orphan_bytes > 0);
    core_fini(&core);
}

/* ---- what is refused ---- */

static void rewrite_header(void (*change)(uint8_t *page))
{
    const struct fs *fs = sim_disk_fs(disk);
    struct fs_file *file = NULL;
    uint8_t page[4096];
    size_t size;
    assert_int_equal(fs_open(fs, FOLDER "/segment-000000", FS_WRITE, &file, NULL), ERR_OK);
    assert_int_equal(fs_read(fs, file, 0, page, sizeof(page), &size, NULL), ERR_OK);
    change(page);
    store_u32(page + 8, crc32c(0, page + 16, 256 - 16));
    assert_int_equal(fs_write(fs, file, 0, page, sizeof(page), NULL), ERR_OK);
    fs_close(fs, file);
}

static void version_up(uint8_t *page)
{
    store_u32(page + 16, SEGMENT_VERSION + 1);
}

static void uuid_change(uint8_t *page)
{
    page[20] = page[20] == 'a' ? 'b' : 'a';
}

static void test_newer_version(void **state)
{
    (void)state;
    struct journal_options options = options_of();
    struct diag diag = {0};
    open_core();
    append("a", 10);
    core_fini(&core);
    rewrite_header(version_up);
    assert_int_equal(core_open(&core, &options, &diag), ERR_VERSION);
    assert_non_null(strstr(diag.text, "newer version (format 2"));
}

static void test_foreign_segment(void **state)
{
    (void)state;
    open_core();
    append("a", 10);
    core_fini(&core);
    rewrite_header(uuid_change);
    open_core();
    assert_true(damage_says("belongs to another journal"));
    assert_int_equal(replayed(), 0);
    core_fini(&core);
}

static void test_second_open(void **state)
{
    (void)state;
    struct core second;
    struct journal_options options = options_of();
    struct diag diag = {0};
    open_core();
    assert_int_equal(core_open(&second, &options, &diag), ERR_BUSY);
    assert_non_null(strstr(diag.text, "in use by another process (pid "));
    core_fini(&core);
}

static void test_no_space_at_open(void **state)
{
    (void)state;
    struct diag diag = {0};
    sim_disk_free(disk);
    disk = sim_disk_new(1, 16 * KIB);
    struct journal_options options = options_of();
    assert_int_equal(core_open(&core, &options, &diag), ERR_NO_SPACE);
    assert_true(diag.text[0] != '\0');
}

/* ---- errors while it runs ---- */

static void test_failed_sync_writes_again(void **state)
{
    (void)state;
    open_core();
    append("a", 10);
    uint64_t first_segment = core.segments[0].epoch;
    sim_disk_fault(disk, SIM_FAULT_IO, 2); /* write, then the sync that fails */
    assert_int_equal(try_append("a", 10), ERR_IO);
    assert_int_equal(core.ledger.applied_through, 1);
    append("a", 10);
    assert_int_equal(core.ledger.applied_through, 2);
    assert_int_equal(core.segment_count, 2);
    assert_int_not_equal(core.segments[1].epoch, first_segment);
    assert_int_equal(core.segments[1].first_number, 2);
    assert_int_equal(core.segments[0].end_number, 2); /* what it holds of 2 is void */
    core_fini(&core);
    sim_disk_power_cut(disk);
    open_core();
    assert_int_equal(core.damage_count, 0);
    assert_int_equal(replayed(), 2);
    core_fini(&core);
}

/* A segment whose begin failed may be there again after a power cut, and takes over from where it
 * was begun: nothing acknowledged may stand there in the one before. */
static void test_failed_roll_leaves_the_segment(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 300; seed++) {
        sim_disk_free(disk);
        disk = sim_disk_new(seed, 64 * MIB);
        open_core();
        append("a", 10);
        sim_disk_fault(disk, SIM_FAULT_IO, 2 + seed % 4); /* allocate, write, sync, folder */
        assert_int_equal(core_roll(&core, 0, 0, NULL), ERR_IO);
        append("a", 10);
        core_fini(&core);
        sim_disk_power_cut(disk);
        open_core();
        assert_int_equal(core.ledger.applied_through, 2);
        assert_int_equal(replayed(), 2);
        core_fini(&core);
    }
}

/* Written, not synced, killed: what can be read is carried over and survives the power cut after.
 */
static void test_tail_is_carried(void **state)
{
    (void)state;
    for (uint64_t operations = 1; operations < 12; operations++) {
        (void)tear_down(NULL);
        (void)set_up(NULL);
        open_core();
        append("a", 10);
        sim_disk_fault(disk, SIM_FAULT_IO, 2);
        assert_int_equal(try_append("a", 10), ERR_IO);
        core_fini(&core);
        sim_disk_kill(disk);
        open_core();
        uint64_t last = core.ledger.applied_through;
        assert_int_equal(last, 2);
        assert_int_equal(core.segments[1].carried_through, 2);
        assert_int_equal(replayed(), 2);
        core_fini(&core);
        sim_disk_power_cut(disk);
        open_core();
        assert_int_equal(core.ledger.applied_through, last);
        assert_int_equal(replayed(), 2);
        assert_int_equal(core.damage_count, 0);
        core_fini(&core);
    }
}

static void test_group_is_whole(void **state)
{
    (void)state;
    struct block *blocks[3];
    struct core_item items[3];
    size_t done;
    open_core();
    for (int i = 0; i < 3; i++) {
        blocks[i] = make("g", 10);
        items[i] = (struct core_item){blocks[i], BLOCK_DATA, i < 2 ? BLOCK_MORE : 0, 5};
    }
    assert_int_equal(core_append(&core, items, 3, &done, NULL), ERR_OK);
    assert_int_equal(done, 3);
    flip(3); /* its last block is torn: the others do not count */
    core_fini(&core);
    open_core();
    assert_int_equal(core.ledger.applied_through, 0);
    assert_int_equal(replayed(), 0);
    core_fini(&core);
    for (int i = 0; i < 3; i++)
        block_unref(blocks[i]);
}

static void test_sync_off(void **state)
{
    (void)state;
    struct journal_options options = options_of();
    options.sync = JOURNAL_SYNC_INTERVAL;
    options.sync_interval_ms = 100;
    assert_int_equal(core_open(&core, &options, NULL), ERR_OK);
    uint64_t syncs = core.syncs;
    append("a", 10);
    append("a", 10);
    assert_int_equal(core.syncs, syncs);
    assert_int_equal(core.ledger.applied_through, 2);
    assert_int_equal(core_sync(&core, false, NULL), ERR_OK);
    assert_int_equal(core.syncs, syncs);
    sim_disk_advance(disk, 200 * NS_PER_MS);
    assert_int_equal(core_sync(&core, false, NULL), ERR_OK);
    assert_int_equal(core.syncs, syncs + 1);
    append("a", 10);
    core_fini(&core);
    sim_disk_power_cut(disk);
    open_core();
    assert_true(core.ledger.applied_through >= 2);
    assert_int_equal(core.damage_count, 0); /* it never claimed more than was synced */
    core_fini(&core);
}

/* ---- space ---- */

static void test_pause_and_resume(void **state)
{
    (void)state;
    open_core();
    for (int i = 0; i < 1000 && !core.paused; i++) {
        append("a", 30000);
        core_space(&core);
    }
    assert_true(core.paused && core.past_half);
    assert_non_null(strstr(core.pause_reason, "JOURNAL_MAX_BYTES"));
    struct journal_stats stats;
    core_stats(&core, &stats);
    assert_true(stats.size_bytes <= core.options.size_max_bytes);
    assert_true(stats.used_bytes > core.options.size_max_bytes / 2);
    assert_int_equal(core_free_space(&core, NULL), ERR_OK);
    core_space(&core);
    assert_true(core.paused); /* nothing landed */
    land("a", core.ledger.applied_through);
    assert_int_equal(core_free_space(&core, NULL), ERR_OK);
    core_space(&core);
    assert_false(core.paused);
    assert_int_equal(core.segment_count, 2);
    assert_true(core.free_count > 0); /* kept for reuse */
    core_stats(&core, &stats);
    assert_true(stats.size_bytes <= 6 * SEGMENT_BYTES);
    assert_int_equal(replayed(), 0);
    core_fini(&core);
}

static void test_spool_counts(void **state)
{
    (void)state;
    open_core();
    append("a", 100);
    core_space(&core);
    assert_false(core.paused);
    spool = 15 * SEGMENT_BYTES;
    core_space(&core);
    assert_true(core.paused);
    spool = 11 * SEGMENT_BYTES; /* below the limit, but not by enough */
    core_space(&core);
    spool = 0;
    core_space(&core);
    assert_false(core.paused);
    core_fini(&core);
}

static void test_room_of_file_system(void **state)
{
    (void)state;
    sim_disk_free(disk);
    disk = sim_disk_new(1, 6 * SEGMENT_BYTES);
    open_core();
    for (int i = 0; i < 100 && !core.paused; i++) {
        append("a", 30000);
        sim_disk_advance(disk, 2 * NS_PER_S);
        core_space(&core);
    }
    assert_true(core.paused);
    assert_non_null(strstr(core.pause_reason, "file system"));
    core_fini(&core);
}

/* A long life in little space: segments are recycled, and the ledger does not grow. */
static void test_recycling(void **state)
{
    (void)state;
    char dataset[32];
    open_core();
    for (int i = 0; i < 2000; i++) {
        snprintf(dataset, sizeof(dataset), "d%d", i);
        append(dataset, 3000);
        land(dataset, core.ledger.applied_through);
        uploaded(core.ledger.cut_id_last);
    }
    assert_true(core.slot_next < 12);
    assert_true(core.ledger.datasets.live_count < 100);
    core_fini(&core);
}

/* ---- no memory ---- */

static enum err life(void)
{
    struct journal_options options = options_of();
    struct diag diag = {0};
    size_t done;
    enum err err = core_open(&core, &options, &diag);
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
            err = core_append(&core, &item, 1, &done, NULL);
        block_unref(block);
        buf_fini(&body);
    }
    if (err == ERR_OK)
        err = core_roll(&core, 0, 0, NULL);
    if (err == ERR_OK)
        err = core_call_durable(&core, NULL);
    uint32_t messages = 0;
    if (err == ERR_OK)
        err = core_replay(&core, count, &messages, NULL);
    core_fini(&core);
    return err;
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        (void)tear_down(NULL);
        (void)set_up(NULL);
        open_core();
        append("a", 10);
        land("a", 1);
        append("b", 10);
        core_fini(&core);
        mem_fail_at(k);
        enum err err = life();
        int failed = mem_failed();
        mem_fail_at(0);
        if (err != ERR_OK)
            assert_int_equal(err, ERR_NO_MEMORY);
        open_core(); /* whatever happened, it is whole */
        assert_int_equal(replayed(), 1);
        assert_int_equal(core.ledger.pending_count, 1);
        assert_int_equal(core.damage_count, 0);
        core_fini(&core);
        if (!failed)
            break;
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_damage_is_skipped),
        TEST(test_torn_tail_is_silent),
        TEST(test_empty_block_vouches),
        TEST(test_damage_across_segments),
        TEST(test_checkpoint_made_good),
        TEST(test_freed_under_two_checkpoints),
        TEST(test_kept_until_uploaded),
        TEST(test_header_copy),
        TEST(test_newer_version),
        TEST(test_foreign_segment),
        TEST(test_second_open),
        TEST(test_no_space_at_open),
        TEST(test_failed_sync_writes_again),
        TEST(test_failed_roll_leaves_the_segment),
        TEST(test_tail_is_carried),
        TEST(test_group_is_whole),
        TEST(test_sync_off),
        TEST(test_pause_and_resume),
        TEST(test_spool_counts),
        TEST(test_room_of_file_system),
        TEST(test_recycling),
        TEST(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
