/* dedupe_key in a batch: what becomes of the messages, and of a batch that dies at each moment. */
#include "lake/batch.h"

#include "base/alloc.h"
#include "support/fake_parquet.h"
#include "support/temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* wants cmocka before */
#include "support/batch_check.h"

static void dedupe_setup(struct rig *rig, char folder[256])
{
    temp_folder_make(folder, 256);
    assert_int_equal(rig_init(rig), ERR_OK);
    rig->dedupe_folder = folder;
    rig->route.dedupe_field = bytes_from_text("id");
    rig->route.dedupe_window_seconds = 60;
    assert_int_equal(rig_batch(rig), ERR_OK);
}

static void dedupe_end(struct rig *rig, const char *folder)
{
    rig_fini(rig);
    temp_folder_remove(folder);
}

/* The ids of the rows of a cut, as one text. */
static void check_ids(struct rig *rig, const char *expected)
{
    char ids[256] = "";
    json_t *rows = cut_rows(rig);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *id = json_object_get(json_array_get(rows, i), "id");
        size_t used = strlen(ids);
        snprintf(ids + used, sizeof(ids) - used, "%s ",
                 json_is_string(id) ? json_string_value(id) : "-");
    }
    json_decref(rows);
    assert_string_equal(ids, expected);
}

static void test_records(void **state)
{
    (void)state;
    struct rig rig;
    char folder[256];
    struct batch_stats stats;
    dedupe_setup(&rig, folder);
    SEND(&rig, "{\"id\":\"a\"}", "{\"id\":\"a\",\"x\":1}",
         "[{\"id\":\"b\"},{\"id\":\"a\"},{\"id\":\"b\"}]", "{\"x\":2}", "{\"x\":2}",
         "[{\"id\":\"a\"},{\"id\":\"b\"}]", "[]");
    batch_stats_get(rig.batch, &stats);
    assert_int_equal(stats.messages, 5);
    assert_int_equal(stats.repeated, 2);
    assert_int_equal(stats.rows, 4);
    assert_int_equal(rig.tally.messages, 5);
    assert_int_equal(rig.tally.repeated, 2);
    check_ids(&rig, "a b - - ");
    rig.arrival_us += 59 * US_PER_S;
    SEND(&rig, "{\"id\":\"a\"}");
    batch_stats_get(rig.batch, &stats);
    assert_int_equal(stats.messages, 0);
    assert_int_equal(stats.block_last, 2); /* the cut of nothing moves the landed position */
    check_ids(&rig, "");
    rig.arrival_us += US_PER_S;
    SEND(&rig, "{\"id\":\"a\"}");
    check_ids(&rig, "a ");
    dedupe_end(&rig, folder);
}

/* The service dies and comes again: what it had landed is landed, the rest is decoded again. */
static void die(struct rig *rig, uint64_t landed)
{
    batch_free(rig->batch);
    rig->batch = NULL;
    assert_int_equal(rig_batch(rig), ERR_OK);
    rig->block_number = landed;
}

static void test_crashes(void **state)
{
    (void)state;
    struct rig rig;
    char folder[256];
    dedupe_setup(&rig, folder);
    SEND(&rig, "{\"id\":\"a\"}", "{\"id\":\"b\"}");
    check_ids(&rig, "a b "); /* landed */
    SEND(&rig, "{\"id\":\"a\"}", "{\"id\":\"c\"}");
    die(&rig, 1); /* before the cut */
    SEND(&rig, "{\"id\":\"a\"}", "{\"id\":\"c\"}");
    SEND(&rig, "{\"id\":\"c\"}", "{\"id\":\"d\"}");
    check_ids(&rig, "c d ");
    die(&rig, 1); /* the cut was made, and did not land: the same again, in another portion */
    SEND(&rig, "{\"id\":\"a\"}", "{\"id\":\"c\"}");
    check_ids(&rig, "c ");
    SEND(&rig, "{\"id\":\"c\"}", "{\"id\":\"d\"}");
    check_ids(&rig, "d ");
    die(&rig, 3); /* landed */
    SEND(&rig, "{\"id\":\"d\"}", "{\"id\":\"a\"}", "{\"id\":\"e\"}");
    check_ids(&rig, "e ");
    dedupe_end(&rig, folder);
}

/* Wherever memory ends, a block is in as a whole or not at all. */
static void test_memory(void **state)
{
    (void)state;
    bool ended = false;
    for (uint64_t k = 1; !ended; k++) {
        struct rig rig;
        char folder[256];
        dedupe_setup(&rig, folder);
        SEND(&rig, "{\"id\":\"a\"}");
        assert_int_equal(rig_block(&rig), ERR_OK);
        assert_int_equal(rig_message(&rig, bytes_from_text("{\"id\":\"b\"}"), 0), ERR_OK);
        assert_int_equal(rig_message(&rig, bytes_from_text("{\"id\":\"b\"}"), 0), ERR_OK);
        assert_int_equal(rig_message(&rig, bytes_from_text("{\"id\":\"a\"}"), 0), ERR_OK);
        mem_fail_at(k);
        enum err err = rig_append(&rig);
        ended = !mem_failed();
        mem_fail_at(0);
        if (err != ERR_OK) {
            rig.block_number--;
            assert_int_equal(rig_append(&rig), ERR_OK);
        }
        check_ids(&rig, "a b ");
        dedupe_end(&rig, folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_crashes),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
