/* Landing, upload and recovery over a journal that becomes durable when the test says so, a real
 * folder and a store that does as it is told. */
#include "lake/landing.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "lake/store_open.h"
#include "support/faulty_fs.h"
#include "support/step_journal.h"
#include "support/temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static int64_t test_now_ns;

static int64_t test_monotonic_ns(void *ctx)
{
    (void)ctx;
    return test_now_ns;
}

static const struct clock_ops test_clock_ops = {test_monotonic_ns, test_monotonic_ns};
static const struct clock test_clock = {&test_clock_ops, NULL};

/* A folder store behind a switch. */
struct switch_store {
    struct store store;
    struct store *inner;
    enum err put_err;
    const char *put_err_key; /* NULL: all */
    uint64_t puts;
};

static bool is_refused(const struct switch_store *store, const char *key)
{
    return store->put_err != ERR_OK &&
           (!store->put_err_key || strstr(key, store->put_err_key) != NULL);
}

static enum err switch_put(struct store *store, const struct store_object *object,
                           struct diag *diag)
{
    struct switch_store *outer = (struct switch_store *)store;
    outer->puts++;
    if (is_refused(outer, object->key))
        return diag_set(diag, outer->put_err, "the store refuses %s", object->key);
    return outer->inner->ops->put(outer->inner, object, diag);
}

static enum err switch_check(struct store *store, const struct store_object *object,
                             enum store_presence *ret_presence, struct diag *diag)
{
    struct switch_store *outer = (struct switch_store *)store;
    if (is_refused(outer, object->key))
        return diag_set(diag, outer->put_err, "the store does not answer for %s", object->key);
    return outer->inner->ops->check(outer->inner, object, ret_presence, diag);
}

static const struct store_ops switch_ops = {.put = switch_put, .check = switch_check};

struct fixture {
    char folder[512];
    char lake[600];
    struct faulty_fs faulty;
    struct step_journal journal;
    struct switch_store store;
    struct spool *spool;
    struct upload *upload;
    struct landing *landing;
    uint64_t uploaded_messages;
    uint64_t landed;
    enum err landed_err;
    char report[1024];
};

static void on_uploaded(void *ctx, const struct landed *landed)
{
    struct fixture *fixture = ctx;
    fixture->uploaded_messages += landed->messages;
}

static void on_report(void *ctx, const char *sentence)
{
    struct fixture *fixture = ctx;
    snprintf(fixture->report, sizeof(fixture->report), "%s", sentence);
}

static void on_landed(void *ctx, uint64_t cut_id, enum err err)
{
    struct fixture *fixture = ctx;
    (void)cut_id;
    fixture->landed++;
    fixture->landed_err = err;
}

static void start(struct fixture *fixture)
{
    assert_int_equal(spool_new(&fixture->faulty.fs, fixture->folder, &fixture->spool), ERR_OK);
    assert_int_equal(spool_open(fixture->spool, NULL), ERR_OK);
    struct upload_options upload = {.clock = &test_clock,
                                    .spool = fixture->spool,
                                    .store = &fixture->store.store,
                                    .journal = fixture->journal.journal,
                                    .seed = 7,
                                    .on_uploaded = on_uploaded,
                                    .ctx = fixture};
    assert_int_equal(upload_new(&upload, &fixture->upload), ERR_OK);
    struct landing_options landing = {.spool = fixture->spool,
                                      .store = &fixture->store.store,
                                      .journal = fixture->journal.journal,
                                      .upload = fixture->upload,
                                      .on_report = on_report,
                                      .ctx = fixture};
    assert_int_equal(landing_new(&landing, &fixture->landing), ERR_OK);
}

static void set_up(struct fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    temp_folder_make(fixture->folder, sizeof(fixture->folder));
    snprintf(fixture->lake, sizeof(fixture->lake), "%s/lake", fixture->folder);
    faulty_fs_init(&fixture->faulty, &fs_posix);
    step_journal_init(&fixture->journal);
    fixture->store.store.ops = &switch_ops;
    assert_int_equal(
        store_folder_new(&fixture->faulty.fs, fixture->lake, &fixture->store.inner, NULL), ERR_OK);
    start(fixture);
}

/* The process ends here, whatever is on its way. */
static void stop(struct fixture *fixture)
{
    step_journal_stop(&fixture->journal);
    landing_free(fixture->landing);
    upload_free(fixture->upload);
    spool_free(fixture->spool);
}

static void tear_down(struct fixture *fixture)
{
    stop(fixture);
    step_journal_fini(&fixture->journal);
    fixture->store.inner->ops->close(fixture->store.inner);
    temp_folder_remove(fixture->folder);
}

/* A cut of one file for each text, with keys after the dataset and the block. */
static enum err land(struct fixture *fixture, const char *dataset, uint64_t block,
                     const char *const *texts, size_t count, uint64_t redo_cut, struct diag *diag)
{
    char keys[4][128];
    struct cut_file files[4];
    struct cut cut = {.files = files, .file_count = count};
    cut.stats.messages = 10;
    for (size_t i = 0; i < count; i++) {
        snprintf(keys[i], sizeof(keys[i]), "bronze/ingestion_id=%s/hour=%02zu/part-%llu.parquet",
                 dataset, i, (unsigned long long)block);
        files[i] = (struct cut_file){.key = keys[i], .rows = 5};
        buf_init(&files[i].bytes, KIB);
        buf_text(&files[i].bytes, texts[i]);
    }
    struct landing_range range = {.dataset_id = bytes_from_text(dataset),
                                  .source_id = BYTES_LITERAL("source"),
                                  .after = block - 1,
                                  .through = block,
                                  .redo_cut = redo_cut};
    enum err err = landing_land(fixture->landing, &cut, &range, on_landed, fixture, diag);
    for (size_t i = 0; i < count; i++)
        buf_fini(&files[i].bytes);
    return err;
}

static void land_one(struct fixture *fixture, const char *dataset, uint64_t block, const char *text)
{
    assert_int_equal(land(fixture, dataset, block, &text, 1, 0, NULL), ERR_OK);
    assert_true(step_journal_step(&fixture->journal));
}

static void path_at_key(const struct fixture *fixture, const char *dataset, uint64_t block,
                        size_t hour, char *path, size_t size)
{
    snprintf(path, size, "%s/bronze/ingestion_id=%s/hour=%02zu/part-%llu.parquet", fixture->lake,
             dataset, hour, (unsigned long long)block);
}

static bool is_at_key(const struct fixture *fixture, const char *dataset, uint64_t block,
                      size_t hour, const char *text)
{
    char path[1024];
    char content[64] = "";
    path_at_key(fixture, dataset, block, hour, path, sizeof(path));
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    size_t size = fread(content, 1, sizeof(content) - 1, file);
    fclose(file);
    content[size] = '\0';
    return strcmp(content, text) == 0;
}

static void path_in_spool(const struct fixture *fixture, const char *dataset, uint64_t block,
                          size_t hour, char *path)
{
    char key[128];
    snprintf(key, sizeof(key), "bronze/ingestion_id=%s/hour=%02zu/part-%llu.parquet", dataset, hour,
             (unsigned long long)block);
    assert_int_equal(spool_path(fixture->spool, bytes_from_text(key), path), ERR_OK);
}

/* Steps until nothing is due now. */
static void overwrite(const char *path)
{
    FILE *file = fopen(path, "w");
    fputs("twx", file);
    fclose(file);
}

static void run_due(struct fixture *fixture)
{
    int64_t wait_ns;
    do {
        while (step_journal_step(&fixture->journal))
            continue;
    } while (upload_step(fixture->upload, &wait_ns));
}

static struct upload_stats stats_of(struct fixture *fixture)
{
    struct upload_stats stats;
    upload_stats_get(fixture->upload, &stats);
    return stats;
}

static void recover(struct fixture *fixture, struct landing_recovery *ret_recovery)
{
    struct diag diag = {0};
    enum err err = landing_recover(fixture->landing, ret_recovery, &diag);
    if (err != ERR_OK)
        print_message("%s\n", diag.text);
    assert_int_equal(err, ERR_OK);
}

static void test_the_way(void **state)
{
    (void)state;
    struct fixture fixture;
    int64_t wait_ns;
    const char *texts[] = {"one", "two"};
    set_up(&fixture);
    assert_int_equal(land(&fixture, "d", 1, texts, 2, 0, NULL), ERR_OK);
    /* nothing reaches the store before LANDED is durable */
    assert_false(upload_step(fixture.upload, &wait_ns));
    assert_int_equal(wait_ns, INT64_MAX);
    assert_int_equal(fixture.store.puts, 0);
    assert_int_equal(spool_bytes(fixture.spool), 6);
    assert_true(step_journal_step(&fixture.journal));
    assert_int_equal(fixture.landed, 1);
    assert_int_equal(stats_of(&fixture).pending_cuts, 1);
    test_now_ns += NS_PER_S;
    assert_int_equal(stats_of(&fixture).oldest_age_ns, NS_PER_S);

    assert_true(upload_step(fixture.upload, &wait_ns));
    assert_true(is_at_key(&fixture, "d", 1, 0, "one") && is_at_key(&fixture, "d", 1, 1, "two"));
    /* not done before UPLOADED is durable */
    assert_int_equal(fixture.uploaded_messages, 0);
    assert_int_equal(stats_of(&fixture).active_cuts, 1);
    assert_true(step_journal_step(&fixture.journal));
    assert_true(upload_step(fixture.upload, &wait_ns));
    assert_int_equal(fixture.uploaded_messages, 10);
    struct upload_stats stats = stats_of(&fixture);
    assert_int_equal(stats.pending_cuts, 0);
    assert_int_equal(stats.active_cuts, 0);
    assert_int_equal(stats.pending_bytes, 0);
    assert_int_equal(stats.uploaded_files, 2);
    assert_int_equal(stats.uploaded_rows, 10);
    assert_int_equal(stats.latency_ns_total, NS_PER_S);
    assert_int_equal(spool_bytes(fixture.spool), 0);
    assert_int_equal(step_journal_pending(&fixture.journal), 0);
    tear_down(&fixture);
}

static void test_cut_without_files(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_int_equal(land(&fixture, "d", 1, NULL, 0, 0, NULL), ERR_OK);
    run_due(&fixture);
    assert_int_equal(fixture.uploaded_messages, 10);
    assert_int_equal(step_journal_pending(&fixture.journal), 0);
    tear_down(&fixture);
}

/* A dataset's cuts wait for each other, datasets do not. */
static void test_retry_keeps_order(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.store.put_err = ERR_AGAIN;
    fixture.store.put_err_key = "part-1.parquet";
    land_one(&fixture, "d", 1, "one");
    land_one(&fixture, "d", 2, "two");
    land_one(&fixture, "e", 3, "three");
    run_due(&fixture);
    assert_false(is_at_key(&fixture, "d", 2, 0, "two"));
    assert_true(is_at_key(&fixture, "e", 3, 0, "three"));
    struct upload_stats stats = stats_of(&fixture);
    assert_int_equal(stats.pending_cuts, 2);
    assert_int_equal(stats.failures, 1);
    assert_non_null(strstr(stats.last_error, "refuses"));
    int64_t wait_ns = stats.next_due_ns - test_now_ns;
    assert_true(wait_ns >= 250 * NS_PER_MS && wait_ns <= 500 * NS_PER_MS);

    /* time grows, up to its bound */
    for (int i = 0; i < 20; i++) {
        test_now_ns = stats_of(&fixture).next_due_ns;
        run_due(&fixture);
    }
    stats = stats_of(&fixture);
    assert_true(stats.next_due_ns - test_now_ns >= 15 * NS_PER_S);
    assert_true(stats.next_due_ns - test_now_ns <= 30 * NS_PER_S);
    fixture.store.put_err = ERR_OK;
    test_now_ns = stats.next_due_ns;
    run_due(&fixture);
    assert_int_equal(stats_of(&fixture).pending_cuts, 0);
    assert_int_equal(fixture.uploaded_messages, 30);
    tear_down(&fixture);
}

static void test_store_away(void **state)
{
    (void)state;
    struct fixture fixture;
    char dataset[16];
    set_up(&fixture);
    fixture.store.put_err = ERR_NETWORK;
    for (int i = 0; i < 100; i++) {
        snprintf(dataset, sizeof(dataset), "d%d", i);
        land_one(&fixture, dataset, 1, "x");
    }
    run_due(&fixture);
    /* four tries, then one at a time */
    assert_int_equal(fixture.store.puts, 4);
    struct upload_stats stats = stats_of(&fixture);
    assert_true(stats.store_away);
    test_now_ns = stats.next_due_ns;
    run_due(&fixture);
    assert_int_equal(fixture.store.puts, 5);
    fixture.store.put_err = ERR_OK;
    test_now_ns = stats_of(&fixture).next_due_ns;
    run_due(&fixture);
    stats = stats_of(&fixture);
    assert_int_equal(stats.pending_cuts, 0);
    assert_int_equal(stats.uploaded_cuts, 100);
    assert_false(stats.store_away);
    tear_down(&fixture);
}

static void test_permanent_goes_aside(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.store.put_err = ERR_AUTH;
    fixture.store.put_err_key = "part-1.parquet";
    land_one(&fixture, "d", 1, "one");
    land_one(&fixture, "d", 2, "two");
    run_due(&fixture);
    assert_true(is_at_key(&fixture, "d", 2, 0, "two"));
    struct upload_stats stats = stats_of(&fixture);
    assert_int_equal(stats.aside_cuts, 1);
    assert_int_equal(stats.lag_ns, 0);
    assert_true(stats.next_due_ns - test_now_ns >= 15 * NS_PER_S);
    fixture.store.put_err = ERR_OK;
    test_now_ns = stats.next_due_ns;
    run_due(&fixture);
    stats = stats_of(&fixture);
    assert_int_equal(stats.aside_cuts, 0);
    assert_int_equal(stats.pending_cuts, 0);
    tear_down(&fixture);
}

static void test_conflict_stops(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.store.put_err = ERR_CONFLICT;
    fixture.store.put_err_key = "part-1.parquet";
    land_one(&fixture, "d", 1, "one");
    land_one(&fixture, "d", 2, "two");
    run_due(&fixture);
    test_now_ns += 3600 * NS_PER_S;
    run_due(&fixture);
    assert_int_equal(fixture.store.puts, 2);
    struct upload_stats stats = stats_of(&fixture);
    assert_int_equal(stats.stopped_cuts, 1);
    assert_int_equal(stats.pending_cuts, 1);
    assert_int_equal(stats.uploaded_cuts, 1);
    assert_non_null(strstr(stats.stopped_error, "refuses"));
    assert_int_equal(stats.next_due_ns, INT64_MAX);
    tear_down(&fixture);
}

static void test_journal_refuses(void **state)
{
    (void)state;
    struct fixture fixture;
    struct diag diag = {0};
    const char *text = "one";
    set_up(&fixture);
    fixture.journal.refuse_next = ERR_NO_MEMORY;
    assert_int_equal(land(&fixture, "d", 1, &text, 1, 0, &diag), ERR_NO_MEMORY);
    assert_int_equal(spool_bytes(fixture.spool), 0);
    land_one(&fixture, "d", 1, text);
    fixture.journal.refuse_next = ERR_NO_MEMORY; /* UPLOADED */
    run_due(&fixture);
    assert_int_equal(stats_of(&fixture).pending_cuts, 1);
    test_now_ns = stats_of(&fixture).next_due_ns;
    run_due(&fixture);
    struct upload_stats stats = stats_of(&fixture);
    assert_int_equal(stats.pending_cuts, 0);
    assert_int_equal(stats.active_cuts, 0);
    assert_int_equal(stats.aside_cuts, 0);
    assert_int_equal(fixture.uploaded_messages, 10);
    tear_down(&fixture);
}

static void test_spool_full(void **state)
{
    (void)state;
    struct fixture fixture;
    struct diag diag = {0};
    const char *texts[] = {"one", "two"};
    set_up(&fixture);
    faulty_fs_arm(&fixture.faulty, 2, FAULTY_WRITE, ERR_NO_SPACE, true);
    assert_int_equal(land(&fixture, "d", 1, texts, 2, 0, &diag), ERR_NO_SPACE);
    assert_int_equal(err_class(ERR_NO_SPACE), ERR_CLASS_RETRY);
    assert_int_equal(fixture.journal.entry_count, 0);
    faulty_fs_arm(&fixture.faulty, 0, 0, ERR_OK, false);
    assert_int_equal(land(&fixture, "d", 1, texts, 2, 0, &diag), ERR_OK);
    run_due(&fixture);
    assert_int_equal(fixture.uploaded_messages, 10);
    tear_down(&fixture);
}

/* Killed at every stage: LANDED decides, and nothing else. */
static void test_killed(void **state)
{
    (void)state;
    for (int stage = 0; stage < 5; stage++) {
        struct fixture fixture;
        struct landing_recovery recovery;
        int64_t wait_ns;
        const char *text = "one";
        set_up(&fixture);
        assert_int_equal(land(&fixture, "d", 1, &text, 1, 0, NULL), ERR_OK);
        if (stage >= 1)
            step_journal_step(&fixture.journal); /* LANDED */
        if (stage >= 2)
            upload_step(fixture.upload, &wait_ns); /* PUT */
        if (stage >= 3)
            step_journal_step(&fixture.journal); /* UPLOADED */
        if (stage >= 4)
            upload_step(fixture.upload, &wait_ns); /* removed */
        stop(&fixture);
        start(&fixture);
        fixture.store.put_err = ERR_AGAIN; /* nobody can be asked: no reason to make it again */
        recover(&fixture, &recovery);
        fixture.store.put_err = ERR_OK;
        assert_int_equal(recovery.pending_cuts, stage == 1 || stage == 2);
        assert_int_equal(recovery.stray_files, stage == 0);
        assert_int_equal(recovery.redo_cuts, 0);
        run_due(&fixture);
        assert_true(is_at_key(&fixture, "d", 1, 0, "one") == (stage >= 1));
        assert_int_equal(step_journal_pending(&fixture.journal), 0);
        assert_int_equal(spool_bytes(fixture.spool), 0);
        tear_down(&fixture);
    }
}

/* Two files: one uploaded before the other's spool file is lost. Made again, the first stays as
 * readers saw it, though the new cut would write it differently. */
static void test_redo(void **state)
{
    (void)state;
    for (int damaged = 0; damaged < 2; damaged++) {
        struct fixture fixture;
        struct landing_recovery recovery;
        char path[SPOOL_PATH_SIZE];
        const char *texts[] = {"one", "two"};
        const char *again[] = {"ONE", "TWO"};
        set_up(&fixture);
        fixture.store.put_err = ERR_AGAIN;
        fixture.store.put_err_key = "hour=01";
        assert_int_equal(land(&fixture, "d", 1, texts, 2, 0, NULL), ERR_OK);
        run_due(&fixture);
        assert_true(is_at_key(&fixture, "d", 1, 0, "one"));
        path_in_spool(&fixture, "d", 1, 1, path);
        assert_int_equal(unlink(path), 0);
        if (damaged)
            overwrite(path);
        stop(&fixture);
        start(&fixture);
        fixture.store.put_err = ERR_OK;
        recover(&fixture, &recovery);
        assert_int_equal(recovery.redo_cuts, 1);
        assert_int_equal(recovery.pending_cuts, 0);
        run_due(&fixture);
        uint64_t old_id = fixture.journal.entries[0].landed->landed.cut_id;
        assert_int_equal(land(&fixture, "d", 1, again, 2, old_id, NULL), ERR_OK);
        run_due(&fixture);
        assert_true(is_at_key(&fixture, "d", 1, 0, "one"));
        assert_true(is_at_key(&fixture, "d", 1, 1, "TWO"));
        assert_int_equal(step_journal_pending(&fixture.journal), 0);
        assert_int_equal(stats_of(&fixture).stopped_cuts, 0);
        assert_int_equal(fixture.uploaded_messages, 10);
        assert_int_equal(spool_bytes(fixture.spool), 0);
        tear_down(&fixture);
    }
}

static void test_lost(void **state)
{
    (void)state;
    struct fixture fixture;
    struct landing_recovery recovery;
    char path[SPOOL_PATH_SIZE];
    const char *texts[] = {"one", "two"};
    set_up(&fixture);
    assert_int_equal(land(&fixture, "d", 7, texts, 2, 0, NULL), ERR_OK);
    assert_true(step_journal_step(&fixture.journal));
    path_in_spool(&fixture, "d", 7, 1, path);
    overwrite(path);
    stop(&fixture);
    start(&fixture);
    fixture.journal.range_gone = true;
    recover(&fixture, &recovery);
    assert_int_equal(recovery.lost_files, 1);
    assert_int_equal(recovery.pending_cuts, 1);
    assert_non_null(strstr(fixture.report, "blocks 7 to 7"));
    assert_int_equal(access(path, F_OK), -1);
    run_due(&fixture);
    assert_true(is_at_key(&fixture, "d", 7, 0, "one"));
    assert_false(is_at_key(&fixture, "d", 7, 1, "twx"));
    assert_int_equal(step_journal_pending(&fixture.journal), 0);
    tear_down(&fixture);
}

/* While running: damaged in the spool and not in the store. It is kept and shown, not uploaded. */
static void test_damaged_while_running(void **state)
{
    (void)state;
    struct fixture fixture;
    char path[SPOOL_PATH_SIZE];
    set_up(&fixture);
    land_one(&fixture, "d", 1, "one");
    land_one(&fixture, "d", 2, "two");
    path_in_spool(&fixture, "d", 1, 0, path);
    assert_int_equal(truncate(path, 1), 0);
    run_due(&fixture);
    struct upload_stats stats = stats_of(&fixture);
    assert_int_equal(stats.aside_cuts, 1);
    assert_int_equal(stats.uploaded_cuts, 1);
    assert_non_null(strstr(stats.last_error, "damaged"));
    assert_int_equal(step_journal_pending(&fixture.journal), 1);
    tear_down(&fixture);
}

/* Any one allocation fails anywhere on the way: it is refused or done, never half done. */
static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct fixture fixture;
        struct landing_recovery recovery;
        const char *texts[] = {"one", "two"};
        set_up(&fixture);
        mem_fail_at(k);
        enum err err = land(&fixture, "d", 1, texts, 2, 0, NULL);
        run_due(&fixture);
        int failed = mem_failed();
        mem_fail_at(0);
        if (err != ERR_OK) {
            assert_int_equal(err, ERR_NO_MEMORY);
            assert_int_equal(land(&fixture, "d", 1, texts, 2, 0, NULL), ERR_OK);
        }
        test_now_ns += 60 * NS_PER_S;
        run_due(&fixture);
        assert_int_equal(fixture.uploaded_messages, 10);
        assert_int_equal(spool_bytes(fixture.spool), 0);
        stop(&fixture);
        start(&fixture);
        recover(&fixture, &recovery);
        assert_int_equal(recovery.pending_cuts, 0);
        tear_down(&fixture);
        if (!failed)
            return;
    }
}

static void test_recover_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct fixture fixture;
        struct landing_recovery recovery;
        const char *texts[] = {"one", "two"};
        char path[SPOOL_PATH_SIZE];
        set_up(&fixture);
        assert_int_equal(land(&fixture, "d", 1, texts, 2, 0, NULL), ERR_OK);
        assert_int_equal(land(&fixture, "e", 2, texts, 2, 0, NULL), ERR_OK);
        while (step_journal_step(&fixture.journal))
            continue;
        path_in_spool(&fixture, "e", 2, 1, path);
        assert_int_equal(unlink(path), 0);
        stop(&fixture);
        start(&fixture);
        mem_fail_at(k);
        enum err err = landing_recover(fixture.landing, &recovery, NULL);
        int failed = mem_failed();
        mem_fail_at(0);
        assert_true(err == ERR_OK || err == ERR_NO_MEMORY);
        if (err != ERR_OK) { /* the start fails; the next one finds all there is */
            stop(&fixture);
            start(&fixture);
            recover(&fixture, &recovery);
        }
        assert_int_equal(recovery.pending_cuts, 1);
        assert_int_equal(recovery.redo_cuts, 1);
        tear_down(&fixture);
        if (!failed)
            return;
    }
}

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
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_redo),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_damaged_while_running),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_recover_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
