#include "lake/footer_columns.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "lake/inherit.h"
#include "lake/lake_columns.h"
#include "lake/parquet_writer.h"
#include "lake/store_open.h"
#include "os/fs.h"
#include "support/fake_catalog.h"
#include "support/temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define DATASET "plant_line1"
#define PREFIX  "bronze/ingestion_id=" DATASET "/"

struct rig {
    char folder[256];
    struct store *store;
    struct fake_catalog catalog;
    struct inherit *inherit;
    bool pending;
};

static bool is_pending(void *ctx, struct bytes dataset_id)
{
    assert_true(bytes_equal_text(dataset_id, DATASET));
    return ((struct rig *)ctx)->pending;
}

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    temp_folder_make(rig->folder, sizeof(rig->folder));
    fake_catalog_init(&rig->catalog);
    assert_int_equal(store_folder_new(&fs_posix, rig->folder, &rig->store, NULL), ERR_OK);
    assert_int_equal(inherit_new(&(struct inherit_options){.catalog = &rig->catalog.catalog,
                                                           .store = rig->store,
                                                           .clock = &clock_system,
                                                           .pending = is_pending,
                                                           .ctx = rig},
                                 &rig->inherit),
                     ERR_OK);
    *state = rig;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;
    inherit_free(rig->inherit);
    rig->store->ops->close(rig->store);
    fake_catalog_fini(&rig->catalog);
    temp_folder_remove(rig->folder);
    free(rig);
    return 0;
}

static void put(struct rig *rig, const char *key, struct bytes content)
{
    char path[1024];
    char folder[1024];
    snprintf(path, sizeof(path), "%s/%s", rig->folder, key);
    snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
    assert_int_equal(fs_make_folders(&fs_posix, folder, NULL), ERR_OK);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(content.data, 1, content.size, file), content.size);
    fclose(file);
}

static enum err on_bytes(void *ctx, struct bytes bytes)
{
    return buf_append(ctx, bytes.data, bytes.size);
}

/* A file without rows. */
static void put_file(struct rig *rig, const char *key, const struct parquet_node *nodes,
                     size_t count, const struct parquet_key_value *pairs, size_t pair_count)
{
    struct parquet_options options = {
        .codec = PARQUET_NONE, .page_bytes = 1 << 20, .page_rows = 20000, .created_by = "test"};
    struct parquet_writer *writer;
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(parquet_writer_new(&options, nodes, count, on_bytes, &out, &writer), ERR_OK);
    assert_int_equal(parquet_writer_finish(writer, pairs, pair_count), ERR_OK);
    parquet_writer_free(writer);
    put(rig, key, buf_bytes(&out));
    buf_fini(&out);
}

/* As many fields of one type as names. */
static void put_flat(struct rig *rig, const char *key, enum parquet_kind kind,
                     const char *const *names, size_t count)
{
    struct parquet_node nodes[8];
    for (size_t i = 0; i < count; i++)
        nodes[i] = (struct parquet_node){.name = names[i], .kind = kind, .field_id = -1};
    put_file(rig, key, nodes, count, NULL, 0);
}

static enum err on_column(void *ctx, const struct catalog_column *column)
{
    return buf_printf(ctx, "%.*s %.*s %.*s %d;", (int)column->field_path.size,
                      (const char *)column->field_path.data, (int)column->column_name.size,
                      (const char *)column->column_name.data, (int)column->column_type.size,
                      (const char *)column->column_type.data, column->field_id);
}

static enum err load(struct rig *rig, struct buf *text, struct diag *diag)
{
    struct catalog *catalog = inherit_catalog(rig->inherit);
    buf_clear(text);
    return catalog->ops->load(catalog, bytes_from_text(DATASET), on_column, text, diag);
}

static void loads(struct rig *rig, const char *expected)
{
    struct buf text;
    struct diag diag = {0};
    buf_init(&text, 1 << 16);
    assert_int_equal(load(rig, &text, &diag), ERR_BUSY);
    assert_non_null(strstr(diag.text, DATASET));
    assert_true(inherit_step(rig->inherit));
    assert_int_equal(load(rig, &text, NULL), ERR_OK);
    assert_string_equal(buf_cstr(&text), expected);
    buf_fini(&text);
}

static void test_new_dataset(void **state)
{
    struct rig *rig = *state;
    loads(rig, "");
    assert_int_equal(rig->catalog.count, 0);
}

static void test_foreign_file(void **state)
{
    struct rig *rig = *state;
    const char *names[] = {"temp", "ingestion_id", "date", "timestamp", "a b"};
    put_flat(rig, PREFIX "date=2026-01-01/hour=00/x.parquet", PARQUET_STRING, names, 5);
    put_flat(rig, PREFIX "date=2026-01-01/hour=00/_x.parquet", PARQUET_DOUBLE, names, 1);
    put_flat(rig, PREFIX "date=2026-01-01/hour=00/x.parquet.tmp", PARQUET_DOUBLE, names, 1);
    loads(rig, "/temp temp STRING 1;#timestamp timestamp STRING 2;/a b a b STRING 3;");
}

/* The newest says the type, older ones add what it lacks. */
static void test_newest_wins(void **state)
{
    struct rig *rig = *state;
    const char *names[] = {"temp", "old"};
    put_flat(rig, PREFIX "date=2026-01-02/hour=03/a.parquet", PARQUET_STRING, names, 2);
    put_flat(rig, PREFIX "date=2025-12-31/hour=23/a.parquet", PARQUET_DOUBLE, names, 1);
    loads(rig, "/temp temp DOUBLE 1;/old old STRING 2;");
}

static void test_metadata_columns(void **state)
{
    struct rig *rig = *state;
    const char *mqtt[] = {"topic", "qos", "retain", "broker", "mode", "original_source_id"};
    put_flat(rig, PREFIX "date=2026-01-02/hour=03/a.parquet", PARQUET_STRING, mqtt, 6);
    loads(rig, "#topic topic STRING 1;#qos qos STRING 2;#retain retain STRING 3;"
               "#broker broker STRING 4;/mode mode STRING 5;"
               "#original_source_id original_source_id STRING 6;");
}

/* Our own files say which field is behind a name, and keep their ids. */
static void test_own_file(void **state)
{
    struct rig *rig = *state;
    const struct parquet_node nodes[] = {
        {.name = "a_b", .kind = PARQUET_DOUBLE, .field_id = 7},
        {.name = "topic", .kind = PARQUET_STRING, .field_id = 3},
        {.name = "at", .kind = PARQUET_STRUCT, .field_id = 9, .child_count = 2},
        {.name = "x_y", .kind = PARQUET_BOOLEAN, .field_id = 10},
        {.name = "l", .kind = PARQUET_LIST, .field_id = 11, .child_count = 1},
        {.name = "element", .kind = PARQUET_DOUBLE, .field_id = 12},
        {.name = "_event_time", .kind = PARQUET_TIMESTAMP_US, .field_id = 5},
    };
    const struct parquet_key_value pairs[] = {
        {"ingestor.journal", "u"},
        {FOOTER_COLUMNS_KEY, "{\"7\":\"/a b\",\"3\":\"#topic\",\"10\":\"/at/x~1y\","
                             "\"9\":\"/at/too/deep\",\"5\":\"#_event_time\"}"}};
    put_file(rig, PREFIX "date=2026-01-02/hour=03/a.parquet", nodes, 7, pairs, 2);
    loads(rig, "#topic topic STRING 3;#_event_time _event_time TIMESTAMP 5;/a b a_b DOUBLE 7;"
               "/at at STRUCT 9;/at/x~1y at.x_y BOOLEAN 10;/at/l at.l LIST 11;"
               "/at/l/- at.l.element DOUBLE 12;");
}

static void test_empty_folders_and_damage(void **state)
{
    struct rig *rig = *state;
    const char *names[] = {"temp"};
    struct buf text;
    struct inherit_stats stats;
    put(rig, PREFIX "date=2026-01-05/hour=00/.keep", bytes_from_text("x"));
    put(rig, PREFIX "date=2026-01-04/hour=00/bad.parquet", bytes_from_text("PAR1 this is no file"));
    buf_init(&text, 1024);
    assert_int_equal(load(rig, &text, NULL), ERR_BUSY);
    assert_true(inherit_step(rig->inherit));
    inherit_stats_get(rig->inherit, &stats);
    assert_int_equal(stats.err, ERR_CORRUPT); /* never guessed: a person must look */
    assert_int_equal(stats.waiting, 1);
    assert_non_null(strstr(stats.sentence, "bad.parquet"));
    assert_int_equal(load(rig, &text, NULL), ERR_BUSY);
    inherit_cancel(rig->inherit);
    assert_int_equal(load(rig, &text, NULL), ERR_STOPPED);
    put_flat(rig, PREFIX "date=2026-01-03/hour=00/good.parquet", PARQUET_DOUBLE, names, 1);
    struct footer_columns columns;
    footer_columns_init(&columns);
    assert_int_equal(lake_columns_read(rig->store, bytes_from_text(DATASET), &columns, NULL),
                     ERR_OK);
    assert_int_equal(columns.count, 1);
    footer_columns_fini(&columns);
    buf_fini(&text);
}

static void test_pending_files_are_waited_for(void **state)
{
    struct rig *rig = *state;
    struct buf text;
    rig->pending = true;
    buf_init(&text, 1024);
    assert_int_equal(load(rig, &text, NULL), ERR_BUSY);
    assert_true(inherit_step(rig->inherit));
    struct diag diag = {0};
    assert_int_equal(load(rig, &text, &diag), ERR_BUSY);
    assert_non_null(strstr(diag.text, "uploaded"));
    buf_fini(&text);
}

/* At the first start of all the store's folder is made a moment later: that is waited for, also
 * when the service is told to end meanwhile. */
static void test_store_is_about_to_be_made(void **state)
{
    struct rig *rig = *state;
    struct buf text;
    struct diag diag = {0};
    buf_init(&text, 1024);
    temp_folder_remove(rig->folder);
    assert_int_equal(load(rig, &text, NULL), ERR_BUSY);
    assert_true(inherit_step(rig->inherit));
    inherit_cancel(rig->inherit);
    assert_int_equal(load(rig, &text, &diag), ERR_BUSY);
    assert_non_null(strstr(diag.text, rig->folder));
    assert_int_equal(fs_make_folders(&fs_posix, rig->folder, NULL), ERR_OK);
    while (!inherit_step(rig->inherit))
        usleep(10000);
    assert_int_equal(load(rig, &text, NULL), ERR_OK);
    buf_fini(&text);
}

static void test_table_first(void **state)
{
    struct rig *rig = *state;
    struct buf text;
    fake_catalog_put(&rig->catalog, DATASET, "/temp", "temp", "BOOLEAN", 4);
    buf_init(&text, 1024);
    assert_int_equal(load(rig, &text, NULL), ERR_OK);
    assert_string_equal(buf_cstr(&text), "/temp temp BOOLEAN 4;");
    assert_false(inherit_step(rig->inherit));
    buf_fini(&text);
}

/* Whatever allocation fails, nothing is lost and the next look finds it all. */
static void test_no_memory(void **state)
{
    struct rig *rig = *state;
    const char *names[] = {"temp", "old"};
    bool failed = true;
    put_flat(rig, PREFIX "date=2026-01-02/hour=03/a.parquet", PARQUET_STRING, names, 2);
    for (uint64_t k = 1; failed; k++) {
        struct footer_columns columns;
        footer_columns_init(&columns);
        mem_fail_at(k);
        enum err err = lake_columns_read(rig->store, bytes_from_text(DATASET), &columns, NULL);
        failed = err != ERR_OK;
        mem_fail_at(0);
        assert_true(err == ERR_OK || err == ERR_NO_MEMORY);
        if (!failed)
            assert_int_equal(columns.count, 2);
        footer_columns_fini(&columns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_new_dataset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_foreign_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_newest_wins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_metadata_columns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_own_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_empty_folders_and_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pending_files_are_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_store_is_about_to_be_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_table_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
