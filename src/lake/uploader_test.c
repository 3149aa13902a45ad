/* The threads around the upload: many cuts, a journal on a thread of its own, a store that fails
 * now and then, stop with and without anything left. Meant for TSan as well. */
#include "lake/uploader.h"

#include "base/limits.h"
#include "os/thread.h"
#include "support/step_journal.h"
#include "support/temp_folder.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct moody_store {
    struct store store;
    _Atomic uint64_t calls;
    _Atomic uint64_t probes;
    _Atomic bool away;
    _Atomic bool hangs; /* until cancelled */
    _Atomic bool cancelled;
};

static enum err moody_probe(struct store *store, struct diag *diag)
{
    struct moody_store *moody = (struct moody_store *)store;
    atomic_fetch_add(&moody->probes, 1);
    while (atomic_load(&moody->hangs) && !atomic_load(&moody->cancelled))
        sched_yield();
    return atomic_load(&moody->away) ? diag_set(diag, ERR_NETWORK, "nobody there") : ERR_OK;
}

static enum err moody_put(struct store *store, const struct store_object *object, struct diag *diag)
{
    struct moody_store *moody = (struct moody_store *)store;
    (void)object;
    while (atomic_load(&moody->hangs) && !atomic_load(&moody->cancelled))
        sched_yield();
    if (atomic_load(&moody->cancelled))
        return ERR_STOPPED;
    if (atomic_load(&moody->away))
        return diag_set(diag, ERR_NETWORK, "nobody there");
    return atomic_fetch_add(&moody->calls, 1) % 7 == 3 ? ERR_AGAIN : ERR_OK;
}

static enum err moody_check(struct store *store, const struct store_object *object,
                            enum store_presence *ret_presence, struct diag *diag)
{
    (void)store;
    (void)object;
    (void)diag;
    *ret_presence = STORE_ABSENT;
    return ERR_OK;
}

static void moody_cancel(struct store *store)
{
    atomic_store(&((struct moody_store *)store)->cancelled, true);
}

static const struct store_ops moody_ops = {
    .probe = moody_probe, .put = moody_put, .check = moody_check, .cancel = moody_cancel};

struct fixture {
    char folder[512];
    struct step_journal journal;
    struct thread journal_thread;
    _Atomic bool journal_ends;
    struct moody_store store;
    struct spool *spool;
    struct uploader *uploader;
    _Atomic uint64_t uploaded;
};

static void run_journal(void *ctx)
{
    struct fixture *fixture = ctx;
    while (!atomic_load(&fixture->journal_ends)) {
        if (!step_journal_step(&fixture->journal))
            sched_yield();
    }
}

static void on_uploaded(void *ctx, const struct landed *landed)
{
    struct fixture *fixture = ctx;
    atomic_fetch_add(&fixture->uploaded, landed->messages);
}

static void set_up(struct fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    temp_folder_make(fixture->folder, sizeof(fixture->folder));
    step_journal_init(&fixture->journal);
    fixture->store.store.ops = &moody_ops;
    assert_int_equal(spool_new(&fs_posix, fixture->folder, &fixture->spool), ERR_OK);
    assert_int_equal(spool_open(fixture->spool, NULL), ERR_OK);
    struct uploader_options options = {
        .upload = {.clock = &clock_system,
                   .spool = fixture->spool,
                   .store = &fixture->store.store,
                   .journal = fixture->journal.journal,
                   .retry_first_ms = 1,
                   .retry_max_ms = 2,
                   .on_uploaded = on_uploaded,
                   .ctx = fixture},
        .probe_interval_ms = 10,
    };
    assert_int_equal(uploader_new(&options, &fixture->uploader), ERR_OK);
    assert_int_equal(thread_start(&fixture->journal_thread, "journal", run_journal, fixture),
                     ERR_OK);
}

static void tear_down(struct fixture *fixture)
{
    atomic_store(&fixture->journal_ends, true);
    thread_join(&fixture->journal_thread);
    step_journal_stop(&fixture->journal);
    uploader_free(fixture->uploader);
    spool_free(fixture->spool);
    step_journal_fini(&fixture->journal);
    temp_folder_remove(fixture->folder);
}

static void on_landed(void *ctx, struct block *block, enum err err)
{
    struct landed_cut *cut = ctx;
    (void)block;
    if (err == ERR_OK)
        upload_ready(cut->upload, cut);
    else
        upload_discard(cut->upload, cut);
}

static void add_cut(struct fixture *fixture, uint64_t cut_id)
{
    char key[64];
    char dataset[16];
    struct landed_cut *cut;
    snprintf(key, sizeof(key), "bronze/%llu.parquet", (unsigned long long)cut_id);
    snprintf(dataset, sizeof(dataset), "d%llu", (unsigned long long)cut_id % 5);
    struct spool_file spooled = {.key = bytes_from_text(key), .content = bytes_from_text(key)};
    assert_int_equal(spool_write(fixture->spool, &spooled, 1, NULL), ERR_OK);
    struct landed_file file = {.key = spooled.key, .size_bytes = spooled.size_bytes, .rows = 1};
    memcpy(file.sha256, spooled.sha256, sizeof(file.sha256));
    struct landed landed = {.dataset_id = bytes_from_text(dataset),
                            .messages = 1,
                            .cut_id = cut_id,
                            .files = &file,
                            .file_count = 1};
    const struct landing_journal *journal = &fixture->journal.journal;
    assert_int_equal(upload_prepare(uploader_upload(fixture->uploader), &landed, &cut), ERR_OK);
    assert_int_equal(journal->ops->land(journal->journal, &cut->landed, on_landed, cut), ERR_OK);
}

static void test_all_arrive(void **state)
{
    (void)state;
    struct fixture fixture;
    struct upload_stats stats;
    set_up(&fixture);
    assert_int_equal(uploader_start(fixture.uploader, NULL), ERR_OK);
    for (uint64_t i = 1; i <= 200; i++)
        add_cut(&fixture, i);
    while (atomic_load(&fixture.uploaded) < 200)
        sched_yield();
    uploader_stop(fixture.uploader, 60 * NS_PER_S);
    upload_stats_get(uploader_upload(fixture.uploader), &stats);
    assert_int_equal(stats.pending_cuts, 0);
    assert_int_equal(stats.active_cuts, 0);
    assert_int_equal(stats.uploaded_files, 200);
    assert_true(stats.failures > 0);
    assert_int_equal(spool_bytes(fixture.spool), 0);
    assert_true(atomic_load(&fixture.store.probes) > 0);
    tear_down(&fixture);
}

/* Away: stop does not wait for its time; the cuts stay for the next start. */
static void test_stop_while_away(void **state)
{
    (void)state;
    struct fixture fixture;
    struct upload_stats stats;
    struct uploader_health health;
    set_up(&fixture);
    atomic_store(&fixture.store.away, true);
    assert_int_equal(uploader_start(fixture.uploader, NULL), ERR_OK);
    for (uint64_t i = 1; i <= 10; i++)
        add_cut(&fixture, i);
    do {
        upload_stats_get(uploader_upload(fixture.uploader), &stats);
        uploader_health_get(fixture.uploader, &health);
    } while (!stats.store_away || !health.probed || stats.pending_cuts < 10);
    assert_int_equal(health.err, ERR_NETWORK);
    assert_string_equal(health.sentence, "nobody there");
    uploader_stop(fixture.uploader, 3600 * NS_PER_S);
    upload_stats_get(uploader_upload(fixture.uploader), &stats);
    assert_int_equal(stats.pending_cuts, 10);
    assert_int_equal(step_journal_pending(&fixture.journal), 10);
    tear_down(&fixture);
}

/* A transfer that hangs is cut off at the end of the time. */
static void test_stop_cuts_off(void **state)
{
    (void)state;
    struct fixture fixture;
    struct upload_stats stats;
    set_up(&fixture);
    atomic_store(&fixture.store.hangs, true);
    assert_int_equal(uploader_start(fixture.uploader, NULL), ERR_OK);
    add_cut(&fixture, 1);
    do
        upload_stats_get(uploader_upload(fixture.uploader), &stats);
    while (stats.active_cuts == 0);
    uploader_stop(fixture.uploader, 10 * NS_PER_MS);
    assert_int_equal(step_journal_pending(&fixture.journal), 1);
    tear_down(&fixture);
}

/* A store that takes the connection and says nothing: that is told while it lasts. */
static void test_silence_is_told(void **state)
{
    (void)state;
    struct fixture fixture;
    struct uploader_health health;
    set_up(&fixture);
    atomic_store(&fixture.store.hangs, true);
    assert_int_equal(uploader_start(fixture.uploader, NULL), ERR_OK);
    do
        uploader_health_get(fixture.uploader, &health);
    while (health.silent_ns < NS_PER_MS);
    assert_false(health.probed);
    atomic_store(&fixture.store.hangs, false);
    do
        uploader_health_get(fixture.uploader, &health);
    while (!health.probed);
    assert_int_equal(health.err, ERR_OK);
    uploader_stop(fixture.uploader, 0);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_arrive),
        cmocka_unit_test(test_stop_while_away),
        cmocka_unit_test(test_stop_cuts_off),
        cmocka_unit_test(test_silence_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
