/* From a cut to the store, and what goes wrong on the way. */
#include "support/landing_rig.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void test_the_way(void **state)
{
    (void)state;
    struct landing_rig rig;
    int64_t wait_ns;
    const char *texts[] = {"one", "two"};
    landing_rig_set_up(&rig);
    assert_int_equal(landing_rig_land(&rig, "d", 1, texts, 2, 0, NULL), ERR_OK);
    /* nothing reaches the store before LANDED is durable */
    assert_false(upload_step(rig.upload, &wait_ns));
    assert_int_equal(wait_ns, INT64_MAX);
    assert_int_equal(rig.store.puts, 0);
    assert_int_equal(spool_bytes(rig.spool), 6);
    assert_true(step_journal_step(&rig.journal));
    assert_int_equal(rig.landed, 1);
    assert_int_equal(landing_rig_stats_of(&rig).pending_cuts, 1);
    landing_rig_now_ns += NS_PER_S;
    assert_int_equal(landing_rig_stats_of(&rig).oldest_age_ns, NS_PER_S);

    assert_true(upload_step(rig.upload, &wait_ns));
    assert_true(landing_rig_is_at_key(&rig, "d", 1, 0, "one") &&
                landing_rig_is_at_key(&rig, "d", 1, 1, "two"));
    /* not done before UPLOADED is durable */
    assert_int_equal(rig.uploaded_messages, 0);
    assert_int_equal(landing_rig_stats_of(&rig).active_cuts, 1);
    assert_true(step_journal_step(&rig.journal));
    assert_true(upload_step(rig.upload, &wait_ns));
    assert_int_equal(rig.uploaded_messages, 10);
    struct upload_stats stats = landing_rig_stats_of(&rig);
    assert_int_equal(stats.pending_cuts, 0);
    assert_int_equal(stats.active_cuts, 0);
    assert_int_equal(stats.pending_bytes, 0);
    assert_int_equal(stats.uploaded_files, 2);
    assert_int_equal(stats.uploaded_rows, 10);
    assert_int_equal(stats.latency_ns_total, NS_PER_S);
    assert_int_equal(spool_bytes(rig.spool), 0);
    assert_int_equal(step_journal_pending(&rig.journal), 0);
    landing_rig_tear_down(&rig);
}

static void test_cut_without_files(void **state)
{
    (void)state;
    struct landing_rig rig;
    landing_rig_set_up(&rig);
    assert_int_equal(landing_rig_land(&rig, "d", 1, NULL, 0, 0, NULL), ERR_OK);
    landing_rig_run_due(&rig);
    assert_int_equal(rig.uploaded_messages, 10);
    assert_int_equal(step_journal_pending(&rig.journal), 0);
    landing_rig_tear_down(&rig);
}

/* A dataset's cuts wait for each other, datasets do not. */
static void test_retry_keeps_order(void **state)
{
    (void)state;
    struct landing_rig rig;
    landing_rig_set_up(&rig);
    rig.store.put_err = ERR_AGAIN;
    rig.store.put_err_key = "part-1.parquet";
    landing_rig_land_one(&rig, "d", 1, "one");
    landing_rig_land_one(&rig, "d", 2, "two");
    landing_rig_land_one(&rig, "e", 3, "three");
    landing_rig_run_due(&rig);
    assert_false(landing_rig_is_at_key(&rig, "d", 2, 0, "two"));
    assert_true(landing_rig_is_at_key(&rig, "e", 3, 0, "three"));
    struct upload_stats stats = landing_rig_stats_of(&rig);
    assert_int_equal(stats.pending_cuts, 2);
    assert_int_equal(stats.failures, 1);
    assert_non_null(strstr(stats.last_error, "refuses"));
    int64_t wait_ns = stats.next_due_ns - landing_rig_now_ns;
    assert_true(wait_ns >= 250 * NS_PER_MS && wait_ns <= 500 * NS_PER_MS);

    /* time grows, up to its bound */
    for (int i = 0; i < 20; i++) {
        landing_rig_now_ns = landing_rig_stats_of(&rig).next_due_ns;
        landing_rig_run_due(&rig);
    }
    stats = landing_rig_stats_of(&rig);
    assert_true(stats.next_due_ns - landing_rig_now_ns >= 15 * NS_PER_S);
    assert_true(stats.next_due_ns - landing_rig_now_ns <= 30 * NS_PER_S);
    rig.store.put_err = ERR_OK;
    landing_rig_now_ns = stats.next_due_ns;
    landing_rig_run_due(&rig);
    assert_int_equal(landing_rig_stats_of(&rig).pending_cuts, 0);
    assert_int_equal(rig.uploaded_messages, 30);
    landing_rig_tear_down(&rig);
}

static void test_store_away(void **state)
{
    (void)state;
    struct landing_rig rig;
    char dataset[16];
    landing_rig_set_up(&rig);
    rig.store.put_err = ERR_NETWORK;
    for (int i = 0; i < 100; i++) {
        snprintf(dataset, sizeof(dataset), "d%d", i);
        landing_rig_land_one(&rig, dataset, 1, "x");
    }
    landing_rig_run_due(&rig);
    /* four tries, then one at a time */
    assert_int_equal(rig.store.puts, 4);
    struct upload_stats stats = landing_rig_stats_of(&rig);
    assert_true(stats.store_away);
    landing_rig_now_ns = stats.next_due_ns;
    landing_rig_run_due(&rig);
    assert_int_equal(rig.store.puts, 5);
    rig.store.put_err = ERR_OK;
    landing_rig_now_ns = landing_rig_stats_of(&rig).next_due_ns;
    landing_rig_run_due(&rig);
    stats = landing_rig_stats_of(&rig);
    assert_int_equal(stats.pending_cuts, 0);
    assert_int_equal(stats.uploaded_cuts, 100);
    assert_false(stats.store_away);
    landing_rig_tear_down(&rig);
}

static void test_permanent_goes_aside(void **state)
{
    (void)state;
    struct landing_rig rig;
    landing_rig_set_up(&rig);
    rig.store.put_err = ERR_AUTH;
    rig.store.put_err_key = "part-1.parquet";
    landing_rig_land_one(&rig, "d", 1, "one");
    landing_rig_land_one(&rig, "d", 2, "two");
    landing_rig_run_due(&rig);
    assert_true(landing_rig_is_at_key(&rig, "d", 2, 0, "two"));
    struct upload_stats stats = landing_rig_stats_of(&rig);
    assert_int_equal(stats.aside_cuts, 1);
    assert_int_equal(stats.lag_ns, 0);
    assert_true(stats.next_due_ns - landing_rig_now_ns >= 15 * NS_PER_S);
    rig.store.put_err = ERR_OK;
    landing_rig_now_ns = stats.next_due_ns;
    landing_rig_run_due(&rig);
    stats = landing_rig_stats_of(&rig);
    assert_int_equal(stats.aside_cuts, 0);
    assert_int_equal(stats.pending_cuts, 0);
    landing_rig_tear_down(&rig);
}

static void test_conflict_stops(void **state)
{
    (void)state;
    struct landing_rig rig;
    landing_rig_set_up(&rig);
    rig.store.put_err = ERR_CONFLICT;
    rig.store.put_err_key = "part-1.parquet";
    landing_rig_land_one(&rig, "d", 1, "one");
    landing_rig_land_one(&rig, "d", 2, "two");
    landing_rig_run_due(&rig);
    landing_rig_now_ns += 3600 * NS_PER_S;
    landing_rig_run_due(&rig);
    assert_int_equal(rig.store.puts, 2);
    struct upload_stats stats = landing_rig_stats_of(&rig);
    assert_int_equal(stats.stopped_cuts, 1);
    assert_int_equal(stats.pending_cuts, 1);
    assert_int_equal(stats.uploaded_cuts, 1);
    assert_non_null(strstr(stats.stopped_error, "refuses"));
    assert_int_equal(stats.next_due_ns, INT64_MAX);
    landing_rig_tear_down(&rig);
}

static void test_journal_refuses(void **state)
{
    (void)state;
    struct landing_rig rig;
    struct diag diag = {0};
    const char *text = "one";
    landing_rig_set_up(&rig);
    rig.journal.refuse_next = ERR_NO_MEMORY;
    assert_int_equal(landing_rig_land(&rig, "d", 1, &text, 1, 0, &diag), ERR_NO_MEMORY);
    assert_int_equal(spool_bytes(rig.spool), 0);
    landing_rig_land_one(&rig, "d", 1, text);
    rig.journal.refuse_next = ERR_NO_MEMORY; /* UPLOADED */
    landing_rig_run_due(&rig);
    assert_int_equal(landing_rig_stats_of(&rig).pending_cuts, 1);
    landing_rig_now_ns = landing_rig_stats_of(&rig).next_due_ns;
    landing_rig_run_due(&rig);
    struct upload_stats stats = landing_rig_stats_of(&rig);
    assert_int_equal(stats.pending_cuts, 0);
    assert_int_equal(stats.active_cuts, 0);
    assert_int_equal(stats.aside_cuts, 0);
    assert_int_equal(rig.uploaded_messages, 10);
    landing_rig_tear_down(&rig);
}

static void test_spool_full(void **state)
{
    (void)state;
    struct landing_rig rig;
    struct diag diag = {0};
    const char *texts[] = {"one", "two"};
    landing_rig_set_up(&rig);
    faulty_fs_arm(&rig.faulty, 2, FAULTY_WRITE, ERR_NO_SPACE, true);
    assert_int_equal(landing_rig_land(&rig, "d", 1, texts, 2, 0, &diag), ERR_NO_SPACE);
    assert_int_equal(err_class(ERR_NO_SPACE), ERR_CLASS_RETRY);
    assert_int_equal(rig.journal.entry_count, 0);
    faulty_fs_arm(&rig.faulty, 0, 0, ERR_OK, false);
    assert_int_equal(landing_rig_land(&rig, "d", 1, texts, 2, 0, &diag), ERR_OK);
    landing_rig_run_due(&rig);
    assert_int_equal(rig.uploaded_messages, 10);
    landing_rig_tear_down(&rig);
}

/* Killed at every stage: LANDED decides, and nothing else. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_way),
        cmocka_unit_test(test_cut_without_files),
        cmocka_unit_test(test_retry_keeps_order),
        cmocka_unit_test(test_store_away),
        cmocka_unit_test(test_permanent_goes_aside),
        cmocka_unit_test(test_conflict_stops),
        cmocka_unit_test(test_journal_refuses),
        cmocka_unit_test(test_spool_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
