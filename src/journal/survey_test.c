#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/hash.h"
#include "journal/journal.h"
#include "journal/survey.h"
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

/* Lands all that there is of the dataset; the next block calls that durable. */
static uint64_t land(struct journal *journal, const char *dataset, uint32_t files, bool uploaded)
{
    uint32_t before = atomic_load(&durable);
    const struct landed_file file = {.key = BYTES_LITERAL("k"), .size_bytes = 1, .rows = 1};
    submit(journal, dataset);
    struct landed landed = {.dataset_id = bytes_from_text(dataset),
                            .source_id = BYTES_LITERAL("src"),
                            .after = journal_landed_through(journal, bytes_from_text(dataset)),
                            .through = last_block(journal),
                            .cut_id = journal_next_cut_id(journal),
                            .files = &file,
                            .file_count = files};
    landed.first = (struct position){landed.through, 0};
    assert_int_equal(journal_land(journal, &landed, on_durable, NULL), ERR_OK);
    wait_for(before + 2);
    if (uploaded) {
        assert_int_equal(journal_uploaded(journal, landed.cut_id, on_durable, NULL), ERR_OK);
        wait_for(before + 3);
    }
    return landed.through;
}

static const struct journal_survey_dataset *find(const struct journal_survey *survey,
                                                 const char *dataset)
{
    for (size_t i = 0; i < survey->count; i++)
        if (strcmp(survey->datasets[i].id, dataset) == 0)
            return &survey->datasets[i];
    return NULL;
}

static void check(const char *uuid, uint64_t a, uint64_t b)
{
    struct journal_survey survey;
    struct diag diag = {0};
    if (journal_survey_read(&fs_posix, folder, &survey, &diag) != ERR_OK)
        fail_msg("%s", diag.text);
    assert_string_equal(survey.uuid, uuid);
    assert_int_equal(survey.count, 2);
    assert_non_null(find(&survey, "a"));
    assert_int_equal(find(&survey, "a")->filed_through, a);
    assert_false(find(&survey, "a")->is_on_its_way);
    assert_non_null(find(&survey, "b"));
    assert_int_equal(find(&survey, "b")->filed_through, b);
    assert_true(find(&survey, "b")->is_on_its_way);
    journal_survey_fini(&survey);
}

/* Beside the process that has it, over several segments, and when it has gone; a cut without files
 * moves nothing. */
static void test_survey(void **state)
{
    (void)state;
    char uuid[JOURNAL_SURVEY_UUID_BYTES];
    struct journal *journal = open_journal();
    snprintf(uuid, sizeof(uuid), "%s", journal_uuid(journal));
    (void)land(journal, "a", 1, true);
    uint64_t a = land(journal, "a", 1, true);
    uint64_t b = land(journal, "b", 1, false);
    (void)land(journal, "a", 0, true);
    (void)land(journal, "c", 0, true);
    submit(journal, "d");
    check(uuid, a, b);
    for (int i = 0; i < 300; i++)
        (void)land(journal, "c", 0, true);
    a = land(journal, "a", 1, true);
    submit(journal, "d");
    check(uuid, a, b);
    journal_close(journal);
    check(uuid, a, b);
}

static void test_nothing_there(void **state)
{
    struct journal_survey survey;
    struct diag diag = {0};
    char none[300];
    (void)state;
    assert_int_equal(journal_survey_read(&fs_posix, folder, &survey, &diag), ERR_NOT_FOUND);
    snprintf(none, sizeof(none), "%s/none", folder);
    assert_int_equal(journal_survey_read(&fs_posix, none, &survey, &diag), ERR_NOT_FOUND);
    assert_int_equal(access(none, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_survey, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_there, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
