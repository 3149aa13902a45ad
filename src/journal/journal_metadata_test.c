#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/hash.h"
#include "journal/journal.h"
#include "support/temp_folder.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static char folder[256];

static int set_up(void **state)
{
    (void)state;
    temp_folder_make(folder, sizeof(folder));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    temp_folder_remove(folder);
    return 0;
}

static struct journal *open_journal(void)
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

static void on_durable(void *ctx, struct block *block, enum err err)
{
    (void)ctx;
    (void)block;
    assert_int_equal(err, ERR_OK);
    atomic_fetch_add(&durable, 1);
}

static void wait_for(uint32_t count)
{
    while (atomic_load(&durable) < count)
        usleep(100);
}

/* One block with a message of the dataset. */
static void submit(struct journal *journal, const char *dataset)
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

static uint64_t last_block(struct journal *journal)
{
    struct journal_stats stats;
    journal_stats_get(journal, &stats);
    return stats.block_last;
}

/* Lands all that there is of the dataset, and has it uploaded at once. */
static void land(struct journal *journal, const char *dataset, const char *changes)
{
    uint32_t before = atomic_load(&durable);
    submit(journal, dataset);
    struct landed landed = {.dataset_id = bytes_from_text(dataset),
                            .source_id = BYTES_LITERAL("src"),
                            .after = journal_landed_through(journal, bytes_from_text(dataset)),
                            .through = last_block(journal),
                            .cut_id = journal_next_cut_id(journal),
                            .metadata_changes = bytes_from_text(changes)};
    landed.first = (struct position){landed.through, 0};
    assert_int_equal(journal_land(journal, &landed, on_durable, NULL), ERR_OK);
    wait_for(before + 2);
    assert_int_equal(journal_uploaded(journal, landed.cut_id, on_durable, NULL), ERR_OK);
    wait_for(before + 3);
}

static enum err on_kept(void *ctx, struct bytes dataset_id, struct bytes changes)
{
    return buf_printf(ctx, "%.*s=%.*s;", (int)dataset_id.size, (const char *)dataset_id.data,
                      (int)changes.size, (const char *)changes.data);
}

/* Those of "a" and "b" and no more, in any order. */
static void check_kept(struct journal *journal, const char *a, const char *b)
{
    struct buf kept;
    buf_init(&kept, MIB);
    assert_int_equal(journal_metadata_each(journal, on_kept, &kept), ERR_OK);
    const char *text = buf_cstr(&kept);
    assert_non_null(text);
    assert_int_equal(strlen(text), strlen(a) + strlen(b));
    assert_non_null(strstr(text, a));
    assert_non_null(strstr(text, b));
    buf_fini(&kept);
}

/* They outlive the upload, restarts and checkpoints; the latest stands for all before it. */
static void test_kept_until_done(void **state)
{
    (void)state;
    struct journal *journal = open_journal();
    check_kept(journal, "", "");
    land(journal, "a", "one");
    land(journal, "b", "two");
    land(journal, "a", "three");
    land(journal, "a", ""); /* nothing new is said */
    check_kept(journal, "a=three;", "b=two;");
    journal_close(journal);

    journal = open_journal();
    check_kept(journal, "a=three;", "b=two;");
    for (int i = 0; i < 300; i++) /* over several segments */
        land(journal, "c", "");
    journal_close(journal);

    journal = open_journal();
    check_kept(journal, "a=three;", "b=two;");
    const struct bytes done[] = {BYTES_LITERAL("a"), BYTES_LITERAL("unknown")};
    assert_int_equal(journal_metadata_done(journal, done, 2, 7), ERR_OK);
    land(journal, "c", ""); /* after it */
    check_kept(journal, "", "b=two;");
    assert_int_equal(journal_metadata_done(journal, done, 1000, 8), ERR_TOO_MANY);
    assert_int_equal(journal_metadata_done(journal, NULL, 0, 0), ERR_OK);
    journal_close(journal);

    journal = open_journal();
    check_kept(journal, "", "b=two;");
    journal_close(journal);
}

/* It outlives restarts and checkpoints, with datasets or alone, and is among no dataset's changes.
 */
static void test_mark(void **state)
{
    (void)state;
    const struct bytes done[] = {BYTES_LITERAL("a")};
    struct journal *journal = open_journal();
    assert_int_equal(journal_metadata_mark(journal), 0);
    land(journal, "a", "one");
    assert_int_equal(journal_metadata_done(journal, done, 1, 7), ERR_OK);
    assert_int_equal(journal_metadata_done(journal, NULL, 0, UINT64_MAX - 1), ERR_OK);
    land(journal, "b", "two");
    assert_true(journal_metadata_mark(journal) == UINT64_MAX - 1);
    for (int i = 0; i < 300; i++) /* over several segments */
        land(journal, "c", "");
    journal_close(journal);

    journal = open_journal();
    assert_true(journal_metadata_mark(journal) == UINT64_MAX - 1);
    check_kept(journal, "", "b=two;");
    journal_close(journal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kept_until_done, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mark, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
