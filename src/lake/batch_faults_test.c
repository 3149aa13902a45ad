/* What can be away or run out, what is taken out again, and what is told of it. */
#include "lake/batch.h"

#include "base/alloc.h"
#include "lake/schema.h"
#include "support/fake_parquet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* wants cmocka before */
#include "support/batch_check.h"

/* The catalog is away, then back; meanwhile records wait as they are. */
static void test_catalog_away(void **state)
{
    (void)state;
    struct rig rig;
    assert_int_equal(rig_init(&rig), ERR_OK);
    rig.catalog.away = true;
    assert_int_equal(rig_batch(&rig), ERR_OK);
    SEND(&rig, "{\"a\":1}", "[2]", "text");
    struct cut cut;
    struct diag diag = {0};
    assert_int_equal(batch_cut(rig.batch, &cut, &diag), ERR_BUSY);
    assert_string_equal(diag.text, "the catalog is away");
    struct batch_stats stats;
    batch_stats_get(rig.batch, &stats);
    assert_int_equal(stats.rows, 3);
    rig.catalog.away = false;
    json_t *rows = cut_rows(&rig);
    assert_int_equal(json_array_size(rows), 3);
    check_value(rows, 0, "a", "1.0");
    json_decref(rows);
    rig_fini(&rig);
}

static void other_replica(struct fake_catalog *fake)
{
    fake_catalog_put(fake, RIG_DATASET, "/a", "a", "STRING", 1);
    fake_catalog_put(fake, RIG_DATASET, "#timestamp", "timestamp", "STRING", 2);
}

static void test_conflict(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    rig.catalog.before_pin = other_replica;
    SEND(&rig, "{\"a\":1,\"b\":2}");
    json_t *rows = cut_rows(&rig);
    check_value(rows, 0, "a", "\"1\"");
    check_value(rows, 0, "b", "2.0");
    assert_int_equal(fake_catalog_field_id(&rig.catalog, "/b"), 3);
    json_decref(rows);
    rig_fini(&rig);
}

static void test_undo(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    SEND(&rig, "{\"a\":1,\"s\":\"x\",\"l\":[1]}");
    json_decref(cut_rows(&rig));
    SEND(&rig, "{\"a\":1,\"l\":[1,2]}", "{\"s\":\"y\"}");
    static const char *const gone[] = {"{\"a\":2,\"s\":\"gone\",\"l\":[3]}", "{\"new\":1}", "x",
                                       "{\"a\":\"bad\",\"timestamp\":\"2026-03-04T01:00:00Z\"}"};
    assert_int_equal(rig_block(&rig), ERR_OK);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(rig_message(&rig, bytes_from_text(gone[i]), 0), ERR_OK);
    block_seal(rig.block, BLOCK_DATA, 0, 0, 77, 1, 76);
    assert_int_equal(batch_append(rig.batch, rig.block, rig.route_index), ERR_OK);
    batch_undo_block(rig.batch);
    SEND(&rig, "{\"a\":3}");
    struct cut cut;
    assert_int_equal(batch_cut(rig.batch, &cut, NULL), ERR_OK);
    assert_int_equal(cut.stats.rows, 3);
    assert_int_equal(cut.stats.messages, 3);
    assert_int_equal(cut.stats.rescued, 0);
    assert_int_equal(cut.file_count, 1);
    json_t *rows = rig_rows(&cut, false);
    check_value(rows, 0, "l", "[1.0,2.0]");
    check_value(rows, 1, "s", "\"y\"");
    check_value(rows, 2, "a", "3.0");
    check_value(rows, 2, "s", "null");
    json_decref(rows);
    cut_fini(&cut);
    rig_fini(&rig);
}

static const char *const failing[] = {
    "{\"t\":1,\"s\":\"abc\",\"o\":{\"a\":1,\"b\":[1,{\"c\":2}]},\"l\":[[1],[2,3]]}",
    "{\"t\":\"x\",\"s\":\"d\\n\",\"t\":\"y\",\"timestamp\":\"2026-03-04T01:00:00Z\",\"q\":true}",
    "[1,2,{\"t\":5}]",
    "not json",
    "{\"l\":[[]],\"o\":{\"z\":null,\"n\":\"new\"}}",
};

/* One whole life with the k-th allocation failing, retried until it works. */
static bool failing_life(uint64_t k)
{
    struct rig rig;
    struct cut cut = {0};
    uint64_t rescued = 0;
    assert_int_equal(rig_init(&rig), ERR_OK);
    mem_fail_at(k);
    enum err err;
    while ((err = rig_batch(&rig)) != ERR_OK)
        assert_int_equal(err, ERR_NO_MEMORY);
    for (int round = 0; round < 2; round++) {
        size_t from = round == 0 ? 0 : 2;
        while ((err = rig_send(&rig, failing + from, 5 - from)) != ERR_OK)
            assert_int_equal(err, ERR_NO_MEMORY);
        if (round == 0) {
            while ((err = batch_cut(rig.batch, &cut, NULL)) != ERR_OK)
                assert_int_equal(err, ERR_NO_MEMORY);
            assert_int_equal(cut.stats.rows, 7);
            rescued = cut.stats.rescued;
            cut_fini(&cut);
        }
    }
    while ((err = batch_cut(rig.batch, &cut, NULL)) != ERR_OK)
        assert_int_equal(err, ERR_NO_MEMORY);
    bool failed = mem_failed();
    mem_fail_at(0);
    json_t *rows = rig_rows(&cut, false);
    assert_int_equal(json_array_size(rows), 5);
    check_value(rows, 0, "value", "1.0");
    check_value(rows, 2, "t", "5.0");
    check_value(rows, 3, "content", "\"not json\"");
    json_decref(rows);
    /* However often it was undone, everything is told once. */
    assert_int_equal(rig.tally.messages, 8);
    assert_int_equal(rig.tally.delay_count, 12);
    assert_int_equal(rig.tally.delays[0], 11);
    assert_int_equal(rig.tally.delays[2], 1);
    assert_int_equal(rig.tally.rescued, rescued + cut.stats.rescued);
    cut_fini(&cut);
    rig_fini(&rig);
    return failed;
}

static void test_no_memory(void **state)
{
    (void)state;
    uint64_t k = 1;
    while (failing_life(k))
        k++;
    assert_true(k > 100);
}

static void check_delays(const struct rig *rig, uint64_t soon, uint64_t hour, uint64_t late)
{
    assert_int_equal(rig->tally.delays[0], soon);
    assert_int_equal(rig->tally.delays[1], hour);
    assert_int_equal(rig->tally.delays[2], late);
    assert_int_equal(rig->tally.delay_count, soon + hour + late);
}

static void test_tally(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    /* Untyped records wait: their messages are told now, their delays at the cut. */
    SEND(&rig, "{\"n\":1,\"timestamp\":\"2026-03-04T05:06:06Z\"}");
    assert_int_equal(rig.tally.messages, 1);
    check_delays(&rig, 0, 0, 0);
    json_decref(cut_rows(&rig));
    check_delays(&rig, 1, 0, 0);
    /* On the bound, past it, early, and two records of one message, of which one is hours late. */
    SEND(&rig, "{\"n\":1,\"timestamp\":\"2026-03-04T04:06:07Z\"}",
         "{\"n\":\"bad\",\"timestamp\":\"2026-03-04T04:06:06Z\"}",
         "{\"n\":1,\"timestamp\":\"2026-03-04T05:06:08Z\"}",
         "[{\"n\":2},{\"timestamp\":\"2026-03-03T05:06:07Z\"}]");
    check_delays(&rig, 2, 1, 2);
    assert_int_equal(rig.tally.rescued, 1);
    assert_float_equal(rig.tally.delay_seconds, 1 + 3600 + 3601 + 86400, 0);
    /* What is taken out again is not told; what is rejected is, with its reason. */
    assert_int_equal(rig_block(&rig), ERR_OK);
    assert_int_equal(rig_message(&rig, bytes_from_text("{\"n\":\"gone\"}"), 0), ERR_OK);
    assert_int_equal(rig_message(&rig, bytes_from_text("long"), MESSAGE_DEAD_LETTER), ERR_OK);
    block_seal(rig.block, BLOCK_DATA, 0, 0, ++rig.block_number, 1, 0);
    assert_int_equal(batch_append(rig.batch, rig.block, rig.route_index), ERR_OK);
    batch_undo_block(rig.batch);
    assert_int_equal(rig.tally.messages, 5);
    assert_int_equal(rig_append(&rig), ERR_OK);
    json_decref(cut_rows(&rig));
    assert_int_equal(rig.tally.messages, 7);
    assert_int_equal(rig.tally.rescued, 2);
    assert_int_equal(rig.tally.rejected, 1);
    assert_int_equal(rig.tally.reason_count, 1);
    assert_string_equal(rig.tally.reasons[0].text, "oversize");
    check_delays(&rig, 3, 1, 2);
    batch_tally_clear(&rig.tally);
    SEND(&rig, "{\"n\":4}");
    check_delays(&rig, 1, 0, 0);
    assert_int_equal(rig.tally.payload_bytes, 7);
    assert_int_equal(rig.tally.rejected + rig.tally.reason_count + rig.tally.rescued, 0);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_catalog_away), cmocka_unit_test(test_conflict),
        cmocka_unit_test(test_undo),         cmocka_unit_test(test_tally),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
