/* What a start finds: of landing_recover, and of memory that runs out. */
#include "support/landing_rig.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void test_killed(void **state)
{
    (void)state;
    for (int stage = 0; stage < 5; stage++) {
        struct landing_rig rig;
        struct landing_recovery recovery;
        int64_t wait_ns;
        const char *text = "one";
        landing_rig_set_up(&rig);
        assert_int_equal(landing_rig_land(&rig, "d", 1, &text, 1, 0, NULL), ERR_OK);
        if (stage >= 1)
            step_journal_step(&rig.journal); /* LANDED */
        if (stage >= 2)
            upload_step(rig.upload, &wait_ns); /* PUT */
        if (stage >= 3)
            step_journal_step(&rig.journal); /* UPLOADED */
        if (stage >= 4)
            upload_step(rig.upload, &wait_ns); /* removed */
        landing_rig_stop(&rig);
        landing_rig_start(&rig);
        rig.store.put_err = ERR_AGAIN; /* nobody can be asked: no reason to make it again */
        landing_rig_recover(&rig, &recovery);
        rig.store.put_err = ERR_OK;
        assert_int_equal(recovery.pending_cuts, stage == 1 || stage == 2);
        assert_int_equal(recovery.stray_files, stage == 0);
        assert_int_equal(recovery.redo_cuts, 0);
        landing_rig_run_due(&rig);
        assert_true(landing_rig_is_at_key(&rig, "d", 1, 0, "one") == (stage >= 1));
        assert_int_equal(step_journal_pending(&rig.journal), 0);
        assert_int_equal(spool_bytes(rig.spool), 0);
        landing_rig_tear_down(&rig);
    }
}

/* Two files: one uploaded before the other's spool file is lost. Made again, the first stays as
 * readers saw it, though the new cut would write it differently. */
static void test_redo(void **state)
{
    (void)state;
    for (int damaged = 0; damaged < 2; damaged++) {
        struct landing_rig rig;
        struct landing_recovery recovery;
        char path[SPOOL_PATH_SIZE];
        const char *texts[] = {"one", "two"};
        const char *again[] = {"ONE", "TWO"};
        landing_rig_set_up(&rig);
        rig.store.put_err = ERR_AGAIN;
        rig.store.put_err_key = "hour=01";
        assert_int_equal(landing_rig_land(&rig, "d", 1, texts, 2, 0, NULL), ERR_OK);
        landing_rig_run_due(&rig);
        assert_true(landing_rig_is_at_key(&rig, "d", 1, 0, "one"));
        landing_rig_path_in_spool(&rig, "d", 1, 1, path);
        assert_int_equal(unlink(path), 0);
        if (damaged)
            landing_rig_overwrite(path);
        landing_rig_stop(&rig);
        landing_rig_start(&rig);
        rig.store.put_err = ERR_OK;
        landing_rig_recover(&rig, &recovery);
        assert_int_equal(recovery.redo_cuts, 1);
        assert_int_equal(recovery.pending_cuts, 0);
        landing_rig_run_due(&rig);
        uint64_t old_id = rig.journal.entries[0].landed->landed.cut_id;
        assert_int_equal(landing_rig_land(&rig, "d", 1, again, 2, old_id, NULL), ERR_OK);
        landing_rig_run_due(&rig);
        assert_true(landing_rig_is_at_key(&rig, "d", 1, 0, "one"));
        assert_true(landing_rig_is_at_key(&rig, "d", 1, 1, "TWO"));
        assert_int_equal(step_journal_pending(&rig.journal), 0);
        assert_int_equal(landing_rig_stats_of(&rig).stopped_cuts, 0);
        assert_int_equal(rig.uploaded_messages, 10);
        assert_int_equal(spool_bytes(rig.spool), 0);
        landing_rig_tear_down(&rig);
    }
}

static void test_lost(void **state)
{
    (void)state;
    struct landing_rig rig;
    struct landing_recovery recovery;
    char path[SPOOL_PATH_SIZE];
    const char *texts[] = {"one", "two"};
    landing_rig_set_up(&rig);
    assert_int_equal(landing_rig_land(&rig, "d", 7, texts, 2, 0, NULL), ERR_OK);
    assert_true(step_journal_step(&rig.journal));
    landing_rig_path_in_spool(&rig, "d", 7, 1, path);
    landing_rig_overwrite(path);
    landing_rig_stop(&rig);
    landing_rig_start(&rig);
    rig.journal.range_gone = true;
    landing_rig_recover(&rig, &recovery);
    assert_int_equal(recovery.lost_files, 1);
    assert_int_equal(recovery.pending_cuts, 1);
    assert_non_null(strstr(rig.report, "blocks 7 to 7"));
    assert_int_equal(access(path, F_OK), -1);
    landing_rig_run_due(&rig);
    assert_true(landing_rig_is_at_key(&rig, "d", 7, 0, "one"));
    assert_false(landing_rig_is_at_key(&rig, "d", 7, 1, "twx"));
    assert_int_equal(step_journal_pending(&rig.journal), 0);
    landing_rig_tear_down(&rig);
}

/* While running: damaged in the spool and not in the store. It is kept and shown, not uploaded. */
static void test_damaged_while_running(void **state)
{
    (void)state;
    struct landing_rig rig;
    char path[SPOOL_PATH_SIZE];
    landing_rig_set_up(&rig);
    landing_rig_land_one(&rig, "d", 1, "one");
    landing_rig_land_one(&rig, "d", 2, "two");
    landing_rig_path_in_spool(&rig, "d", 1, 0, path);
    assert_int_equal(truncate(path, 1), 0);
    landing_rig_run_due(&rig);
    struct upload_stats stats = landing_rig_stats_of(&rig);
    assert_int_equal(stats.aside_cuts, 1);
    assert_int_equal(stats.uploaded_cuts, 1);
    assert_non_null(strstr(stats.last_error, "damaged"));
    assert_int_equal(step_journal_pending(&rig.journal), 1);
    landing_rig_tear_down(&rig);
}

/* Any one allocation fails anywhere on the way: it is refused or done, never half done. */
static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct landing_rig rig;
        struct landing_recovery recovery;
        const char *texts[] = {"one", "two"};
        landing_rig_set_up(&rig);
        mem_fail_at(k);
        enum err err = landing_rig_land(&rig, "d", 1, texts, 2, 0, NULL);
        landing_rig_run_due(&rig);
        int failed = mem_failed();
        mem_fail_at(0);
        if (err != ERR_OK) {
            assert_int_equal(err, ERR_NO_MEMORY);
            assert_int_equal(landing_rig_land(&rig, "d", 1, texts, 2, 0, NULL), ERR_OK);
        }
        landing_rig_now_ns += 60 * NS_PER_S;
        landing_rig_run_due(&rig);
        assert_int_equal(rig.uploaded_messages, 10);
        assert_int_equal(spool_bytes(rig.spool), 0);
        landing_rig_stop(&rig);
        landing_rig_start(&rig);
        landing_rig_recover(&rig, &recovery);
        assert_int_equal(recovery.pending_cuts, 0);
        landing_rig_tear_down(&rig);
        if (!failed)
            return;
    }
}

static void test_recover_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct landing_rig rig;
        struct landing_recovery recovery;
        const char *texts[] = {"one", "two"};
        char path[SPOOL_PATH_SIZE];
        landing_rig_set_up(&rig);
        assert_int_equal(landing_rig_land(&rig, "d", 1, texts, 2, 0, NULL), ERR_OK);
        assert_int_equal(landing_rig_land(&rig, "e", 2, texts, 2, 0, NULL), ERR_OK);
        while (step_journal_step(&rig.journal))
            continue;
        landing_rig_path_in_spool(&rig, "e", 2, 1, path);
        assert_int_equal(unlink(path), 0);
        landing_rig_stop(&rig);
        landing_rig_start(&rig);
        mem_fail_at(k);
        enum err err = landing_recover(rig.landing, &recovery, NULL);
        int failed = mem_failed();
        mem_fail_at(0);
        assert_true(err == ERR_OK || err == ERR_NO_MEMORY);
        if (err != ERR_OK) { /* the start fails; the next one finds all there is */
            landing_rig_stop(&rig);
            landing_rig_start(&rig);
            landing_rig_recover(&rig, &recovery);
        }
        assert_int_equal(recovery.pending_cuts, 1);
        assert_int_equal(recovery.redo_cuts, 1);
        landing_rig_tear_down(&rig);
        if (!failed)
            return;
    }
}

/* Very many files are nowhere in the spool, and the store does not answer: the start asks it once,
 * not once a file, and the upload asks for the rest. */
static void test_silent_store_is_asked_once(void **state)
{
    (void)state;
    struct landing_rig rig;
    struct landing_recovery recovery;
    char path[SPOOL_PATH_SIZE];
    landing_rig_set_up(&rig);
    for (uint64_t block = 1; block <= 50; block++) {
        landing_rig_land_one(&rig, "d", block, "one");
        landing_rig_path_in_spool(&rig, "d", block, 0, path);
        assert_int_equal(unlink(path), 0);
    }
    landing_rig_stop(&rig);
    rig.store.put_err = ERR_TIMEOUT;
    landing_rig_start(&rig);
    landing_rig_recover(&rig, &recovery);
    assert_int_equal(rig.store.checks, 1);
    assert_int_equal(recovery.pending_cuts, 50);
    assert_int_equal(recovery.redo_cuts, 0);
    /* nobody knows where they are, so none is done */
    landing_rig_run_due(&rig);
    assert_int_equal(rig.uploaded_messages, 0);
    assert_int_equal(step_journal_pending(&rig.journal), 50);
    /* and once the store says that it lacks them, the next start makes them again */
    rig.store.put_err = ERR_OK;
    landing_rig_stop(&rig);
    landing_rig_start(&rig);
    landing_rig_recover(&rig, &recovery);
    assert_int_equal(recovery.redo_cuts, 50);
    landing_rig_tear_down(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_redo),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_damaged_while_running),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_recover_no_memory),
        cmocka_unit_test(test_silent_store_is_asked_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
