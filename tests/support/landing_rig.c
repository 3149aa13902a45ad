#include "support/landing_rig.h"

#include "base/alloc.h"
#include "lake/store_open.h"
#include "support/temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

int64_t landing_rig_now_ns;

static int64_t test_monotonic_ns(void *ctx)
{
    (void)ctx;
    return landing_rig_now_ns;
}

static const struct clock_ops test_clock_ops = {test_monotonic_ns, test_monotonic_ns};
static const struct clock test_clock = {&test_clock_ops, NULL};

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
    outer->checks++;
    if (is_refused(outer, object->key))
        return diag_set(diag, outer->put_err, "the store does not answer for %s", object->key);
    return outer->inner->ops->check(outer->inner, object, ret_presence, diag);
}

static const struct store_ops switch_ops = {.put = switch_put, .check = switch_check};

static void on_uploaded(void *ctx, const struct landed *landed)
{
    struct landing_rig *rig = ctx;
    rig->uploaded_messages += landed->messages;
}

static void on_report(void *ctx, const char *sentence)
{
    struct landing_rig *rig = ctx;
    snprintf(rig->report, sizeof(rig->report), "%s", sentence);
}

static void on_landed(void *ctx, uint64_t cut_id, enum err err)
{
    struct landing_rig *rig = ctx;
    (void)cut_id;
    rig->landed++;
    rig->landed_err = err;
}

void landing_rig_start(struct landing_rig *rig)
{
    assert_int_equal(spool_new(&rig->faulty.fs, rig->folder, &rig->spool), ERR_OK);
    assert_int_equal(spool_open(rig->spool, NULL), ERR_OK);
    struct upload_options upload = {.clock = &test_clock,
                                    .spool = rig->spool,
                                    .store = &rig->store.store,
                                    .journal = rig->journal.journal,
                                    .seed = 7,
                                    .on_uploaded = on_uploaded,
                                    .ctx = rig};
    assert_int_equal(upload_new(&upload, &rig->upload), ERR_OK);
    struct landing_options landing = {.spool = rig->spool,
                                      .store = &rig->store.store,
                                      .journal = rig->journal.journal,
                                      .upload = rig->upload,
                                      .on_report = on_report,
                                      .ctx = rig};
    assert_int_equal(landing_new(&landing, &rig->landing), ERR_OK);
}

void landing_rig_set_up(struct landing_rig *rig)
{
    memset(rig, 0, sizeof(*rig));
    temp_folder_make(rig->folder, sizeof(rig->folder));
    snprintf(rig->lake, sizeof(rig->lake), "%s/lake", rig->folder);
    faulty_fs_init(&rig->faulty, &fs_posix);
    step_journal_init(&rig->journal);
    rig->store.store.ops = &switch_ops;
    assert_int_equal(store_folder_new(&rig->faulty.fs, rig->lake, &rig->store.inner, NULL), ERR_OK);
    landing_rig_start(rig);
}

/* The process ends here, whatever is on its way. */
void landing_rig_stop(struct landing_rig *rig)
{
    step_journal_stop(&rig->journal);
    landing_free(rig->landing);
    upload_free(rig->upload);
    spool_free(rig->spool);
}

void landing_rig_tear_down(struct landing_rig *rig)
{
    landing_rig_stop(rig);
    step_journal_fini(&rig->journal);
    rig->store.inner->ops->close(rig->store.inner);
    temp_folder_remove(rig->folder);
}

/* A cut of one file for each text, with keys after the dataset and the block. */
enum err landing_rig_land(struct landing_rig *rig, const char *dataset, uint64_t block,
                          const char *const *texts, size_t count, uint64_t redo_cut,
                          struct diag *diag)
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
    enum err err = landing_land(rig->landing, &cut, &range, on_landed, rig, diag);
    for (size_t i = 0; i < count; i++)
        buf_fini(&files[i].bytes);
    return err;
}

void landing_rig_land_one(struct landing_rig *rig, const char *dataset, uint64_t block,
                          const char *text)
{
    assert_int_equal(landing_rig_land(rig, dataset, block, &text, 1, 0, NULL), ERR_OK);
    assert_true(step_journal_step(&rig->journal));
}

void landing_rig_path_at_key(const struct landing_rig *rig, const char *dataset, uint64_t block,
                             size_t hour, char *path, size_t size)
{
    snprintf(path, size, "%s/bronze/ingestion_id=%s/hour=%02zu/part-%llu.parquet", rig->lake,
             dataset, hour, (unsigned long long)block);
}

bool landing_rig_is_at_key(const struct landing_rig *rig, const char *dataset, uint64_t block,
                           size_t hour, const char *text)
{
    char path[1024];
    char content[64] = "";
    landing_rig_path_at_key(rig, dataset, block, hour, path, sizeof(path));
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    size_t size = fread(content, 1, sizeof(content) - 1, file);
    fclose(file);
    content[size] = '\0';
    return strcmp(content, text) == 0;
}

void landing_rig_path_in_spool(const struct landing_rig *rig, const char *dataset, uint64_t block,
                               size_t hour, char *path)
{
    char key[128];
    snprintf(key, sizeof(key), "bronze/ingestion_id=%s/hour=%02zu/part-%llu.parquet", dataset, hour,
             (unsigned long long)block);
    assert_int_equal(spool_path(rig->spool, bytes_from_text(key), path), ERR_OK);
}

void landing_rig_overwrite(const char *path)
{
    FILE *file = fopen(path, "w");
    fputs("twx", file);
    fclose(file);
}

void landing_rig_run_due(struct landing_rig *rig)
{
    int64_t wait_ns;
    do {
        while (step_journal_step(&rig->journal))
            continue;
    } while (upload_step(rig->upload, &wait_ns));
}

struct upload_stats landing_rig_stats_of(struct landing_rig *rig)
{
    struct upload_stats stats;
    upload_stats_get(rig->upload, &stats);
    return stats;
}

void landing_rig_recover(struct landing_rig *rig, struct landing_recovery *ret_recovery)
{
    struct diag diag = {0};
    enum err err = landing_recover(rig->landing, ret_recovery, &diag);
    if (err != ERR_OK)
        print_message("%s\n", diag.text);
    assert_int_equal(err, ERR_OK);
}
