#include "lake/file_digest.h"
#include "lake/store_open.h"

#include "base/alloc.h"
#include "support/faulty_fs.h"
#include "support/temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY "bronze/ingestion_id=a%20b/date=2026-01-01/hour=00/part-x.parquet"

struct fixture {
    char folder[512];
    char spool_path[600];
    char lake[600];
    char at_key[800];
    struct faulty_fs faulty;
    struct store *store;
    struct store_object object;
};

static void write_file(const char *path, const char *content)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void open_store(struct fixture *fixture)
{
    assert_int_equal(store_folder_new(&fixture->faulty.fs, fixture->lake, &fixture->store, NULL),
                     ERR_OK);
}

static void set_up(struct fixture *fixture, bool split)
{
    struct file_digest digest;
    temp_folder_make(fixture->folder, sizeof(fixture->folder));
    snprintf(fixture->spool_path, sizeof(fixture->spool_path), "%s/spool.parquet", fixture->folder);
    snprintf(fixture->lake, sizeof(fixture->lake), "%s/data/lake", fixture->folder);
    snprintf(fixture->at_key, sizeof(fixture->at_key), "%s/%s", fixture->lake, KEY);
    faulty_fs_init(&fixture->faulty, &fs_posix);
    fixture->faulty.split_devices = split;
    write_file(fixture->spool_path, "rows");
    assert_int_equal(file_digest(&fs_posix, fixture->spool_path, &digest, NULL), ERR_OK);
    fixture->object = (struct store_object){
        .key = KEY, .spool_path = fixture->spool_path, .size_bytes = digest.size_bytes};
    memcpy(fixture->object.sha256, digest.sha256, sizeof(digest.sha256));
    open_store(fixture);
}

static void tear_down(struct fixture *fixture)
{
    fixture->store->ops->close(fixture->store);
    temp_folder_remove(fixture->folder);
}

static enum store_presence presence_of(struct fixture *fixture)
{
    enum store_presence presence;
    assert_non_null(fixture->store);
    assert_int_equal(fixture->store->ops->check(fixture->store, &fixture->object, &presence, NULL),
                     ERR_OK);
    return presence;
}

static void test_put(bool split)
{
    struct fixture fixture;
    struct diag diag = {0};
    set_up(&fixture, split);
    struct store *store = fixture.store;
    assert_int_equal(store->ops->probe(store, &diag), ERR_OK);
    assert_int_equal(presence_of(&fixture), STORE_ABSENT);
    assert_int_equal(store->ops->put(store, &fixture.object, &diag), ERR_OK);
    assert_int_equal(presence_of(&fixture), STORE_SAME);
    assert_true(exists(fixture.spool_path) == split);
    /* the same once more is done, spool file or not */
    assert_int_equal(store->ops->put(store, &fixture.object, &diag), ERR_OK);
    write_file(fixture.at_key, "ROWS");
    assert_int_equal(presence_of(&fixture), STORE_DIFFERENT);
    write_file(fixture.spool_path, "rows");
    assert_int_equal(store->ops->put(store, &fixture.object, &diag), ERR_CONFLICT);
    assert_non_null(strstr(diag.text, "other content"));
    assert_true(exists(fixture.spool_path));
    tear_down(&fixture);
}

static void test_rename(void **state)
{
    (void)state;
    test_put(false);
}

static void test_copy(void **state)
{
    (void)state;
    test_put(true);
}

/* The spool file is not what was landed: no reader gets to see it. */
static void test_copy_checks(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, true);
    write_file(fixture.spool_path, "rowz");
    assert_int_equal(fixture.store->ops->put(fixture.store, &fixture.object, NULL), ERR_CORRUPT);
    assert_false(exists(fixture.at_key));
    tear_down(&fixture);
}

static void test_keys_stay_inside(void **state)
{
    (void)state;
    static const char *const keys[] = {"../x", "a/../../x", "/x", "a//b", "a/./b",
                                       "a/..", "",          "a/", ".",    ".."};
    struct fixture fixture;
    set_up(&fixture, false);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        fixture.object.key = keys[i];
        assert_int_equal(fixture.store->ops->put(fixture.store, &fixture.object, NULL),
                         ERR_INVALID);
    }
    fixture.object.key = "a/..b/...";
    assert_int_equal(fixture.store->ops->put(fixture.store, &fixture.object, NULL), ERR_OK);
    tear_down(&fixture);
}

/* Each operation of a put fails once. Then the object is not there, or whole; the bytes are never
 * gone from both places; and the next put finds its way. */
static void check_failures(bool split)
{
    for (int64_t k = 1;; k++) {
        struct fixture fixture;
        set_up(&fixture, split);
        faulty_fs_arm(&fixture.faulty, k, FAULTY_ANY, k % 2 ? ERR_IO : ERR_NO_SPACE, false);
        enum err err = fixture.store->ops->put(fixture.store, &fixture.object, NULL);
        bool happened = atomic_load(&fixture.faulty.happened);
        faulty_fs_arm(&fixture.faulty, 0, 0, ERR_OK, false);
        enum store_presence presence = presence_of(&fixture);
        assert_true(presence == STORE_SAME || (presence == STORE_ABSENT && err != ERR_OK));
        assert_true(presence == STORE_SAME || exists(fixture.spool_path));
        if (presence == STORE_ABSENT || exists(fixture.spool_path))
            assert_int_equal(fixture.store->ops->put(fixture.store, &fixture.object, NULL), ERR_OK);
        assert_int_equal(presence_of(&fixture), STORE_SAME);
        tear_down(&fixture);
        if (!happened) {
            assert_int_equal(err, ERR_OK);
            assert_true(k > 10);
            return;
        }
    }
}

static void test_failures(void **state)
{
    (void)state;
    check_failures(false);
    check_failures(true);
}

/* Done means: the key's folder was synced after the rename, and so was every folder above it, by
 * this process, whoever made them. */
static void test_syncs(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, false);
    assert_int_equal(fixture.store->ops->put(fixture.store, &fixture.object, NULL), ERR_OK);
    fixture.store->ops->close(fixture.store);
    open_store(&fixture);
    uint64_t before = atomic_load(&fixture.faulty.counts[4]);
    assert_int_equal(fixture.store->ops->put(fixture.store, &fixture.object, NULL), ERR_OK);
    /* data, data/lake, bronze, ingestion_id=, date=, hour= at least, and what holds the file */
    assert_true(atomic_load(&fixture.faulty.counts[4]) - before >= 7);
    before = atomic_load(&fixture.faulty.counts[4]);
    assert_int_equal(presence_of(&fixture), STORE_SAME);
    assert_int_equal(atomic_load(&fixture.faulty.counts[4]) - before, 1);
    /* another file in the same folder: it and the spool folder, after the rename */
    write_file(fixture.spool_path, "rows");
    fixture.object.key = "bronze/ingestion_id=a%20b/date=2026-01-01/hour=00/part-y.parquet";
    before = atomic_load(&fixture.faulty.counts[4]);
    assert_int_equal(fixture.store->ops->put(fixture.store, &fixture.object, NULL), ERR_OK);
    assert_int_equal(atomic_load(&fixture.faulty.counts[4]) - before, 2);
    faulty_fs_arm(&fixture.faulty, 1, FAULTY_SYNC_FOLDER, ERR_IO, false);
    assert_int_equal(fixture.store->ops->put(fixture.store, &fixture.object, NULL), ERR_IO);
    tear_down(&fixture);
}

/* Somebody removes the lake under the running service: the next put makes its folders again. */
static void test_folders_removed(void **state)
{
    (void)state;
    for (int split = 0; split < 2; split++) {
        struct fixture fixture;
        set_up(&fixture, split);
        assert_int_equal(fixture.store->ops->put(fixture.store, &fixture.object, NULL), ERR_OK);
        temp_folder_remove(fixture.lake);
        assert_false(exists(fixture.lake));
        write_file(fixture.spool_path, "rows");
        uint64_t before = atomic_load(&fixture.faulty.counts[4]);
        assert_int_equal(fixture.store->ops->put(fixture.store, &fixture.object, NULL), ERR_OK);
        assert_true(exists(fixture.at_key));
        assert_true(atomic_load(&fixture.faulty.counts[4]) - before >= 6); /* all of them synced */
        tear_down(&fixture);
    }
}

/* A copy is synced before it gets its name: a sync that fails leaves no object. */
static void test_copy_syncs(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, true);
    faulty_fs_arm(&fixture.faulty, 1, FAULTY_SYNC, ERR_IO, false);
    assert_int_equal(fixture.store->ops->put(fixture.store, &fixture.object, NULL), ERR_IO);
    assert_false(exists(fixture.at_key));
    assert_int_equal(fixture.store->ops->put(fixture.store, &fixture.object, NULL), ERR_OK);
    tear_down(&fixture);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct fixture fixture;
        set_up(&fixture, true);
        fixture.store->ops->close(fixture.store);
        fixture.store = NULL;
        mem_fail_at(k);
        enum err err = store_folder_new(&fixture.faulty.fs, fixture.lake, &fixture.store, NULL);
        assert_true(err != ERR_OK || fixture.store);
        if (err == ERR_OK)
            err = fixture.store->ops->put(fixture.store, &fixture.object, NULL);
        int failed = mem_failed();
        mem_fail_at(0);
        assert_true(err == ERR_OK || err == ERR_NO_MEMORY);
        if (!fixture.store)
            open_store(&fixture);
        if (err != ERR_OK)
            assert_int_equal(presence_of(&fixture), STORE_ABSENT);
        tear_down(&fixture);
        if (!failed)
            return;
    }
}

static void test_probe_unwritable(void **state)
{
    (void)state;
    struct fixture fixture;
    struct diag diag = {0};
    set_up(&fixture, false);
    faulty_fs_arm(&fixture.faulty, 1, FAULTY_WRITE, ERR_READ_ONLY, true);
    assert_int_equal(fixture.store->ops->probe(fixture.store, &diag), ERR_READ_ONLY);
    assert_true(strlen(diag.text) > 0);
    faulty_fs_arm(&fixture.faulty, 0, 0, ERR_OK, false);
    tear_down(&fixture);
}

/* Somebody put a file where a folder of the store's path, or of a key's, should be. */
static void test_a_file_in_the_path(void **state)
{
    (void)state;
    struct fixture fixture;
    struct diag diag[3] = {0};
    char path[700];
    char expected[800];
    enum store_presence presence;
    set_up(&fixture, false);
    snprintf(path, sizeof(path), "%s/data", fixture.folder);
    write_file(path, "");
    snprintf(expected, sizeof(expected), "%s is not a folder; ", path);
    struct store *store = fixture.store;
    assert_int_equal(store->ops->probe(store, &diag[0]), ERR_NOT_A_FOLDER);
    assert_non_null(strstr(diag[0].text, expected));
    assert_int_equal(store->ops->put(store, &fixture.object, &diag[1]), ERR_NOT_A_FOLDER);
    assert_non_null(strstr(diag[1].text, expected));
    assert_int_equal(store->ops->check(store, &fixture.object, &presence, &diag[2]),
                     ERR_NOT_A_FOLDER);
    assert_non_null(strstr(diag[2].text, expected));
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rename),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_copy_checks),
        cmocka_unit_test(test_keys_stay_inside),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_syncs),
        cmocka_unit_test(test_folders_removed),
        cmocka_unit_test(test_copy_syncs),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_probe_unwritable),
        cmocka_unit_test(test_a_file_in_the_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
