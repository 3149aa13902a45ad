#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "support/core_rig.h"

#include <string.h>

/* ---- damage against torn tail ---- */

static void test_damage_is_skipped(void **state)
{
    (void)state;
    rig_open();
    for (int i = 0; i < 6; i++)
        rig_append("d", 10);
    rig_flip(3);
    core_fini(&rig_core);
    rig_open();
    assert_true(rig_damage_says("offset 16384: blocks 3 to 3 were durable and cannot be read"));
    assert_int_equal(rig_core.damaged_blocks, 1);
    assert_int_equal(rig_core.ledger.applied_through, 6);
    assert_int_equal(rig_replayed(), 5);
    assert_int_equal(rig_core.damage_count, 1); /* met again, said once */
    rig_append("d", 10);
    assert_int_equal(rig_core.ledger.applied_through, 7);
    core_fini(&rig_core);
    rig_open();
    assert_int_equal(rig_replayed(), 6);
    core_fini(&rig_core);
}

static void test_torn_tail_is_silent(void **state)
{
    (void)state;
    rig_open();
    for (int i = 0; i < 3; i++)
        rig_append("d", 10);
    rig_flip(3); /* nothing says that 3 was durable */
    core_fini(&rig_core);
    rig_open();
    assert_int_equal(rig_core.damage_count, 0);
    assert_int_equal(rig_core.ledger.applied_through, 2);
    rig_append("d", 10); /* takes number 3 */
    core_fini(&rig_core);
    rig_open();
    assert_int_equal(rig_replayed(), 3);
    core_fini(&rig_core);
}

/* An empty block, written when all is quiet, makes the same flip damage. */
static void test_empty_block_vouches(void **state)
{
    (void)state;
    rig_open();
    for (int i = 0; i < 3; i++)
        rig_append("d", 10);
    assert_true(rig_core.uncalled);
    assert_int_equal(core_call_durable(&rig_core, NULL), ERR_OK);
    assert_false(rig_core.uncalled);
    assert_int_equal(rig_core.ledger.applied_through, 4);
    assert_int_equal(core_call_durable(&rig_core, NULL), ERR_OK);
    assert_int_equal(rig_core.ledger.applied_through, 4); /* one is enough */
    rig_flip(3);
    core_fini(&rig_core);
    rig_open();
    assert_true(rig_damage_says("blocks 3 to 3 were durable"));
    assert_int_equal(rig_replayed(), 2);
    core_fini(&rig_core);
}

static void test_damage_across_segments(void **state)
{
    (void)state;
    rig_open();
    for (int i = 0; i < 40; i++)
        rig_append("d", 5000); /* 8 KiB each: 7 a segment */
    assert_true(rig_core.segment_count > 4);
    uint64_t last_of_first = rig_core.segments[0].end_number - 1;
    rig_flip(last_of_first); /* nothing behind it in its segment, but a newer one took over later */
    core_fini(&rig_core);
    rig_open();
    assert_int_equal(rig_replayed(), 39);
    assert_true(rig_damage_says("were durable and cannot be read"));
    core_fini(&rig_core);
}

static void test_checkpoint_made_good(void **state)
{
    (void)state;
    rig_open();
    rig_append("a", 10);
    rig_append("b", 10);
    rig_land("a", 2);
    assert_int_equal(core_roll(&rig_core, 0, 0, NULL), ERR_OK);
    rig_append("a", 10);
    assert_int_equal(core_roll(&rig_core, 0, 0, NULL), ERR_OK);
    rig_append("a", 10);
    rig_append("a", 10);
    rig_flip_in(rig_core.segment_count - 1, 4096 + 80);
    core_fini(&rig_core);
    rig_open();
    assert_true(rig_damage_says("checkpoint at offset 4096 is damaged"));
    assert_int_equal(ledger_dataset(&rig_core.ledger, BYTES_LITERAL("a"))->landed_through, 2);
    assert_int_equal(rig_core.ledger.pending_count, 1);
    assert_int_equal(rig_replayed(), 4);
    core_fini(&rig_core);
    rig_open();
    assert_int_equal(rig_replayed(), 4);
    core_fini(&rig_core);
}

/* What is freed is freed under two checkpoints: with one of them damaged nothing comes back. */
static void test_freed_under_two_checkpoints(void **state)
{
    (void)state;
    for (int damaged = 0; damaged < 2; damaged++) {
        (void)rig_tear_down(NULL);
        (void)rig_set_up(NULL);
        rig_open();
        rig_core.past_half = true; /* space is wanted */
        for (int i = 0; i < 4; i++) {
            rig_append("a", 10);
            rig_land("a", rig_core.ledger.applied_through);
            assert_int_equal(core_roll(&rig_core, 0, 0, NULL), ERR_OK);
        }
        assert_int_equal(rig_core.segment_count, 2); /* all older ones are free */
        rig_append("a", 10);
        rig_append("a", 10);
        rig_flip_in((size_t)damaged, 4096 + 80);
        core_fini(&rig_core);
        rig_open();
        assert_int_equal(ledger_dataset(&rig_core.ledger, BYTES_LITERAL("a"))->landed_through, 7);
        assert_int_equal(rig_core.ledger.pending_count, 4);
        assert_int_equal(rig_replayed(), 2);
        core_fini(&rig_core);
    }
}

/* A file of the spool that turns out damaged is made again from what is still here. */
static void test_kept_until_uploaded(void **state)
{
    (void)state;
    rig_open();
    rig_append("a", 10);
    rig_land("a", 1);
    uint64_t cut_id = rig_core.ledger.cut_id_last;
    for (int i = 0; i < 3; i++)
        assert_int_equal(core_roll(&rig_core, 0, 0, NULL), ERR_OK);
    core_fini(&rig_core);
    rig_open();
    assert_int_equal(core_redo(&rig_core, cut_id), ERR_OK);
    assert_int_equal(rig_replayed(), 1);
    rig_uploaded(cut_id);
    for (int i = 0; i < 3; i++)
        assert_int_equal(core_roll(&rig_core, 0, 0, NULL), ERR_OK);
    assert_int_equal(rig_core.segment_count, 2);
    core_fini(&rig_core);
}

static void test_header_copy(void **state)
{
    (void)state;
    rig_open();
    rig_append("a", 10);
    rig_append("a", 10);
    rig_flip_in(0, 20);
    core_fini(&rig_core);
    rig_open();
    assert_true(rig_damage_says("header at offset 0 is damaged; its copy was used"));
    assert_int_equal(rig_replayed(), 2);
    rig_flip_in(0, 4096 + 80); /* now the copy as well */
    core_fini(&rig_core);
    rig_open();
    assert_true(rig_damage_says("the file is left as it is"));
    assert_true(rig_core.orphan_bytes > 0);
    core_fini(&rig_core);
}

/* ---- what is refused ---- */

static void rewrite_header(void (*change)(uint8_t *page))
{
    const struct fs *fs = sim_disk_fs(rig_disk);
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
    struct journal_options options = rig_options();
    struct diag diag = {0};
    rig_open();
    rig_append("a", 10);
    core_fini(&rig_core);
    rewrite_header(version_up);
    assert_int_equal(core_open(&rig_core, &options, &diag), ERR_VERSION);
    assert_non_null(strstr(diag.text, "newer version (format 3"));
}

static void test_foreign_segment(void **state)
{
    (void)state;
    rig_open();
    rig_append("a", 10);
    core_fini(&rig_core);
    rewrite_header(uuid_change);
    rig_open();
    assert_true(rig_damage_says("belongs to another journal"));
    assert_int_equal(rig_replayed(), 0);
    core_fini(&rig_core);
}

/* Somebody's file whose number is beyond ours: what is written after it is found again all the
 * same. */
static void test_number_beyond(void **state)
{
    static const char *const names[] = {FOLDER "/segment-999999", FOLDER "/segment-099999"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const struct fs *fs = sim_disk_fs(rig_disk);
        struct fs_file *file;
        rig_open(); /* makes the folder */
        core_fini(&rig_core);
        assert_int_equal(fs_open(fs, names[i], FS_WRITE | FS_CREATE, &file, NULL), ERR_OK);
        assert_int_equal(fs_sync_folder(fs, FOLDER, NULL), ERR_OK);
        fs_close(fs, file);
        rig_open();
        rig_append("a", 10);
        core_fini(&rig_core);
        sim_disk_power_cut(rig_disk);
        rig_open();
        assert_int_equal(rig_replayed(), i + 1);
        core_fini(&rig_core);
    }
}

static void test_second_open(void **state)
{
    (void)state;
    struct core second;
    struct journal_options options = rig_options();
    struct diag diag = {0};
    rig_open();
    assert_int_equal(core_open(&second, &options, &diag), ERR_BUSY);
    assert_non_null(strstr(diag.text, "in use by another process (pid "));
    core_fini(&rig_core);
}

static void test_no_space_at_open(void **state)
{
    (void)state;
    struct diag diag = {0};
    sim_disk_free(rig_disk);
    rig_disk = sim_disk_new(1, 6 * KIB); /* not even the least segment fits */
    struct journal_options options = rig_options();
    assert_int_equal(core_open(&rig_core, &options, &diag), ERR_NO_SPACE);
    assert_true(diag.text[0] != '\0');
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_damage_is_skipped),    TEST(test_torn_tail_is_silent),
        TEST(test_empty_block_vouches),  TEST(test_damage_across_segments),
        TEST(test_checkpoint_made_good), TEST(test_freed_under_two_checkpoints),
        TEST(test_kept_until_uploaded),  TEST(test_header_copy),
        TEST(test_newer_version),        TEST(test_foreign_segment),
        TEST(test_number_beyond),        TEST(test_second_open),
        TEST(test_no_space_at_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
