/* Landing and upload on the real journal, its thread and the disk: what is landed is uploaded, and
 * a start after an end in the middle goes on from there. */
#include "lake/landing.h"

#include "base/limits.h"
#include "lake/store_open.h"
#include "lake/uploader.h"
#include "support/temp_folder.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct service {
    char folder[512];
    char journal_folder[600];
    char lake[600];
    struct journal *journal;
    struct spool *spool;
    struct store *store;
    struct uploader *uploader;
    struct landing *landing;
    struct landing_recovery recovery;
    _Atomic uint64_t landed;
    _Atomic uint64_t uploaded_messages;
    _Atomic uint64_t durable_blocks;
};

static void on_uploaded(void *ctx, const struct landed *landed)
{
    struct service *service = ctx;
    atomic_fetch_add(&service->uploaded_messages, landed->messages);
}

static void on_landed(void *ctx, uint64_t cut_id, enum err err)
{
    struct service *service = ctx;
    (void)cut_id;
    assert_int_equal(err, ERR_OK);
    atomic_fetch_add(&service->landed, 1);
}

static void on_block(void *ctx, struct block *block, enum err err)
{
    struct service *service = ctx;
    (void)block;
    if (err == ERR_OK)
        atomic_fetch_add(&service->durable_blocks, 1);
}

static void start_service(struct service *service)
{
    struct diag diag = {0};
    struct journal_options journal = {.fs = &fs_posix,
                                      .clock = &clock_system,
                                      .folder = service->journal_folder,
                                      .size_max_bytes = GIB,
                                      .segment_bytes = MIB,
                                      .sync = JOURNAL_SYNC_ALWAYS,
                                      .spool_bytes = spool_bytes_of,
                                      .ctx = &service->spool};
    enum err err = journal_open(&journal, &service->journal, &diag);
    if (err != ERR_OK)
        fail_msg("%s", diag.text);
    assert_int_equal(spool_new(&fs_posix, service->journal_folder, &service->spool), ERR_OK);
    assert_int_equal(spool_open(service->spool, &diag), ERR_OK);
    assert_int_equal(store_folder_new(&fs_posix, service->lake, &service->store, &diag), ERR_OK);
    struct landing_journal table = landing_journal_of(service->journal);
    struct uploader_options uploader = {.upload = {.clock = &clock_system,
                                                   .spool = service->spool,
                                                   .store = service->store,
                                                   .journal = table,
                                                   .on_uploaded = on_uploaded,
                                                   .ctx = service}};
    assert_int_equal(uploader_new(&uploader, &service->uploader), ERR_OK);
    struct landing_options landing = {.spool = service->spool,
                                      .store = service->store,
                                      .journal = table,
                                      .upload = uploader_upload(service->uploader)};
    assert_int_equal(landing_new(&landing, &service->landing), ERR_OK);
    assert_int_equal(landing_recover(service->landing, &service->recovery, &diag), ERR_OK);
    assert_int_equal(journal_start(service->journal, &diag), ERR_OK);
}

static void stop_service(struct service *service)
{
    uploader_stop(service->uploader, 60 * NS_PER_S);
    journal_stop(service->journal);
    landing_free(service->landing);
    uploader_free(service->uploader);
    journal_close(service->journal); /* it asks for the spool's bytes until here */
    spool_free(service->spool);
    service->spool = NULL;
    service->store->ops->close(service->store);
}

/* One block with one message; its number is the range's end. */
static uint64_t submit_message(struct service *service)
{
    struct block *block;
    struct buf route;
    uint32_t index;
    struct route_view view = {.source_id = BYTES_LITERAL("source"),
                              .dataset_id = BYTES_LITERAL("d"),
                              .source_type = BYTES_LITERAL("mqtt")};
    buf_init(&route, 4 * KIB);
    assert_int_equal(route_encode(&view, &route), ERR_OK);
    assert_int_equal(block_new(4 * KIB, &block), ERR_OK);
    assert_int_equal(block_add_route(block, buf_bytes(&route), 1, &index), ERR_OK);
    struct message_view message = {.payload = BYTES_LITERAL("{}"), .route_index = index};
    assert_int_equal(block_add_message(block, &message), ERR_OK);
    uint64_t before = atomic_load(&service->durable_blocks);
    block_ref(block);
    assert_int_equal(journal_submit(service->journal, block, 0, 0, on_block, service), ERR_OK);
    while (atomic_load(&service->durable_blocks) == before)
        sched_yield();
    uint64_t number = block->number;
    block_unref(block);
    buf_fini(&route);
    return number;
}

static void land_file(struct service *service, uint64_t after, uint64_t through, const char *text)
{
    char key[128];
    struct diag diag = {0};
    struct cut_file file = {.key = key, .rows = 1};
    struct cut cut = {.files = &file, .file_count = 1};
    snprintf(key, sizeof(key), "bronze/ingestion_id=d/part-%llu.parquet",
             (unsigned long long)through);
    cut.stats.messages = 1;
    cut.stats.first = (struct position){through, 0};
    buf_init(&file.bytes, KIB);
    buf_text(&file.bytes, text);
    struct landing_range range = {.dataset_id = BYTES_LITERAL("d"),
                                  .source_id = BYTES_LITERAL("source"),
                                  .after = after,
                                  .through = through};
    uint64_t before = atomic_load(&service->landed);
    enum err err = landing_land(service->landing, &cut, &range, on_landed, service, &diag);
    if (err != ERR_OK)
        fail_msg("%s", diag.text);
    buf_fini(&file.bytes);
    while (atomic_load(&service->landed) == before)
        sched_yield();
}

static void test_end_in_the_middle(void **state)
{
    (void)state;
    struct service service = {0};
    struct upload_stats stats;
    temp_folder_make(service.folder, sizeof(service.folder));
    snprintf(service.journal_folder, sizeof(service.journal_folder), "%s/journal", service.folder);
    snprintf(service.lake, sizeof(service.lake), "%s/lake", service.folder);
    start_service(&service);
    assert_int_equal(service.recovery.pending_cuts, 0);
    /* landed while nobody uploads: the uploader has not been started */
    uint64_t first = submit_message(&service);
    land_file(&service, 0, first, "one");
    uint64_t second = submit_message(&service);
    land_file(&service, first, second, "two");
    uploader_stop(service.uploader, 0);
    stop_service(&service);

    start_service(&service);
    assert_int_equal(service.recovery.pending_cuts, 2);
    assert_int_equal(service.recovery.redo_cuts, 0);
    assert_int_equal(journal_landed_through(service.journal, BYTES_LITERAL("d")), second);
    assert_int_equal(uploader_start(service.uploader, NULL), ERR_OK);
    while (atomic_load(&service.uploaded_messages) < 2)
        sched_yield();
    stop_service(&service);

    start_service(&service);
    assert_int_equal(service.recovery.pending_cuts, 0);
    assert_int_equal(service.recovery.stray_files, 0);
    upload_stats_get(uploader_upload(service.uploader), &stats);
    assert_int_equal(stats.pending_cuts, 0);
    stop_service(&service);
    temp_folder_remove(service.folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_end_in_the_middle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
