#include "lake/batch_watch.h"

#include "base/alloc.h"
#include "lake/cut.h"
#include "support/fake_parquet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
/* wants cmocka before */
#include "support/batch_check.h"

/* The one observer: what it was given, and what it saw at the cut. */
static const struct batch_open *watched;
static int watch_calls;
static enum err watch_answer;
static uint64_t records_at_cut;

static uint64_t records(void)
{
    return atomic_load(&watched->block_last) > 0 ? atomic_load(&watched->records) : 0;
}

static enum err on_watch(void *ctx, struct bytes dataset_id, struct bytes topic,
                         const struct batch_open *open, void **state)
{
    (void)ctx;
    (void)state;
    watch_calls++;
    assert_true(bytes_equal_text(dataset_id, RIG_DATASET));
    assert_true(bytes_equal_text(topic, "line/1"));
    watched = open;
    return watch_answer;
}

static enum err on_cut(void *ctx, const struct cut_input *cut, void **state)
{
    (void)ctx;
    (void)state;
    assert_int_equal(cut->stats.rows, records());
    records_at_cut = records();
    return ERR_OK;
}

static void on_forget(void *state)
{
    (void)state;
    watched = NULL;
}

static size_t no_bytes(const void *state)
{
    (void)state;
    return 0;
}

static const struct batch_observer_ops observer = {
    .cut = on_cut, .forget = on_forget, .memory_bytes = no_bytes, .watch = on_watch};

static void watched_setup(struct rig *rig)
{
    watch_calls = 0;
    watch_answer = ERR_OK;
    assert_int_equal(rig_observed(rig, &observer), ERR_OK);
}

static void test_counts_of_whole_blocks(void **state)
{
    (void)state;
    struct rig rig;
    watched_setup(&rig);
    SEND(&rig, "{\"a\":1}", "[{\"a\":2},{\"b\":[3]}]", "[]");
    assert_int_equal(watch_calls, 1);
    assert_int_equal(records(), 3);
    assert_int_equal(atomic_load(&watched->payload_bytes), 7 + 19 + 2);
    assert_int_equal(atomic_load(&watched->first_us), RIG_ARRIVAL_US);
    assert_int_equal(atomic_load(&watched->last_us), RIG_ARRIVAL_US);
    uint64_t block = atomic_load(&watched->block_last);
    SEND(&rig, "{\"a\":1}");
    assert_true(atomic_load(&watched->block_last) > block);
    assert_int_equal(records(), 4);
    json_decref(cut_rows(&rig));
    assert_int_equal(records_at_cut, 4);
    assert_int_equal(records(), 0);
    SEND(&rig, "{\"a\":1}");
    assert_int_equal(records(), 1);
    assert_int_equal(atomic_load(&watched->payload_bytes), 7);
    assert_int_equal(watch_calls, 1);
    rig_fini(&rig);
    assert_null(watched);
}

static void test_watched_again_after_a_failure(void **state)
{
    (void)state;
    struct rig rig;
    watched_setup(&rig);
    watch_answer = ERR_NO_MEMORY;
    SEND(&rig, "{\"a\":1}");
    SEND(&rig, "{\"a\":1}");
    assert_int_equal(watch_calls, 2);
    watch_answer = ERR_OK;
    SEND(&rig, "{\"a\":1}");
    SEND(&rig, "{\"a\":1}");
    assert_int_equal(watch_calls, 3);
    assert_int_equal(records(), 4);
    rig_fini(&rig);
}

/* A cut that fails leaves the records open. */
static void test_a_failed_cut_is_no_cut(void **state)
{
    (void)state;
    struct rig rig;
    struct cut cut;
    struct diag diag = {0};
    watched_setup(&rig);
    SEND(&rig, "{\"a\":1}", "{\"a\":2}");
    mem_fail_at(1);
    enum err err = batch_cut(rig.batch, &cut, &diag);
    mem_fail_at(0);
    assert_int_not_equal(err, ERR_OK);
    assert_int_equal(records(), 2);
    json_decref(cut_rows(&rig));
    assert_int_equal(records_at_cut, 2);
    assert_int_equal(records(), 0);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_of_whole_blocks),
        cmocka_unit_test(test_watched_again_after_a_failure),
        cmocka_unit_test(test_a_failed_cut_is_no_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
