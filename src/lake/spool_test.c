#include "lake/spool.h"

#include "base/alloc.h"
#include "support/faulty_fs.h"
#include "support/temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define KEY_A                                                                                      \
    "bronze/ingestion_id=a/date=2026-01-01/hour=00/"                                               \
    "part-6f1c9a54-0000-4000-8000-000000000001-0000000000000007-00000003.parquet"
#define KEY_B "bronze/ingestion_id=b/x.parquet"

struct fixture {
    char folder[512];
    struct faulty_fs faulty;
    struct spool *spool;
};

static void set_up(struct fixture *fixture)
{
    temp_folder_make(fixture->folder, sizeof(fixture->folder));
    faulty_fs_init(&fixture->faulty, &fs_posix);
    assert_int_equal(spool_new(&fixture->faulty.fs, fixture->folder, &fixture->spool), ERR_OK);
    assert_int_equal(spool_open(fixture->spool, NULL), ERR_OK);
}

static void tear_down(struct fixture *fixture)
{
    spool_free(fixture->spool);
    temp_folder_remove(fixture->folder);
}

static enum err count_one(void *ctx, const char *name)
{
    size_t *count = ctx;
    *count += strcmp(name, "damaged") != 0;
    return ERR_OK;
}

static size_t entries_in(const struct fixture *fixture, const char *below)
{
    char path[600];
    size_t count = 0;
    snprintf(path, sizeof(path), "%s/%s", fixture->folder, below);
    assert_int_equal(fs_list(&fs_posix, path, count_one, &count, NULL), ERR_OK);
    return count;
}

static struct landed_file landed_of(const struct spool_file *file)
{
    struct landed_file landed = {.key = file->key, .size_bytes = file->size_bytes};
    memcpy(landed.sha256, file->sha256, sizeof(landed.sha256));
    return landed;
}

static void test_names(void **state)
{
    (void)state;
    char name[SPOOL_NAME_SIZE];
    char other[SPOOL_NAME_SIZE];
    assert_int_equal(spool_name(BYTES_LITERAL(KEY_A), name), ERR_OK);
    assert_memory_equal(name, "0000000000000007-00000003-", 26);
    assert_int_equal(spool_name(BYTES_LITERAL("../../etc/passwd"), other), ERR_OK);
    assert_int_equal(strlen(name), strlen(other));
    assert_int_equal(strspn(other, "0123456789abcdef-.parquet"), strlen(other));
    assert_null(strchr(other, '/'));
    assert_int_equal(spool_name(BYTES_LITERAL(KEY_B), name), ERR_OK);
    assert_string_not_equal(name, other);
}

static void test_write_verify_remove(void **state)
{
    (void)state;
    struct fixture fixture;
    struct spool_file files[2] = {{.key = BYTES_LITERAL(KEY_A), .content = BYTES_LITERAL("abc")},
                                  {.key = BYTES_LITERAL(KEY_B), .content = {NULL, 0}}};
    set_up(&fixture);
    uint64_t folder_syncs = atomic_load(&fixture.faulty.counts[4]);
    assert_int_equal(spool_write(fixture.spool, files, 2, NULL), ERR_OK);
    assert_int_equal(atomic_load(&fixture.faulty.counts[4]) - folder_syncs, 1);
    assert_int_equal(files[0].size_bytes, 3);
    assert_int_equal(spool_bytes(fixture.spool), 3);
    assert_int_equal(entries_in(&fixture, "spool"), 2);
    /* one sync for each file, one of the folder for the cut (others made the folders) */
    assert_int_equal(atomic_load(&fixture.faulty.counts[3]), 2);

    char hex[SHA256_HEX_SIZE];
    hex_encode(files[0].sha256, SHA256_BYTES, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct landed_file landed = landed_of(&files[0]);
    uint32_t crc = 0;
    assert_int_equal(spool_verify(fixture.spool, &landed, &crc, NULL), ERR_OK);
    assert_int_equal(crc, 0x364b3fb7);
    landed.sha256[0] ^= 1;
    assert_int_equal(spool_verify(fixture.spool, &landed, NULL, NULL), ERR_CORRUPT);
    landed.sha256[0] ^= 1;
    landed.size_bytes = 4;
    assert_int_equal(spool_verify(fixture.spool, &landed, NULL, NULL), ERR_CORRUPT);
    landed.size_bytes = 3;
    assert_int_equal(spool_remove(fixture.spool, &landed, NULL), ERR_OK);
    assert_int_equal(spool_verify(fixture.spool, &landed, NULL, NULL), ERR_NOT_FOUND);
    assert_int_equal(spool_remove(fixture.spool, &landed, NULL), ERR_OK);
    assert_int_equal(spool_bytes(fixture.spool), 0);
    tear_down(&fixture);
}

/* Every operation of a write fails once: nothing stays, and the next try is whole. */
static void test_write_failures(void **state)
{
    (void)state;
    struct fixture fixture;
    static const enum err errors[] = {ERR_NO_SPACE, ERR_IO};
    set_up(&fixture);
    for (size_t e = 0; e < 2; e++) {
        for (int64_t k = 1;; k++) {
            struct spool_file files[2] = {
                {.key = BYTES_LITERAL(KEY_A), .content = BYTES_LITERAL("abc")},
                {.key = BYTES_LITERAL(KEY_B), .content = BYTES_LITERAL("defgh")}};
            struct diag diag = {0};
            faulty_fs_arm(&fixture.faulty, k, FAULTY_ANY, errors[e], false);
            enum err err = spool_write(fixture.spool, files, 2, &diag);
            bool happened = atomic_load(&fixture.faulty.happened);
            faulty_fs_arm(&fixture.faulty, 0, 0, ERR_OK, false);
            if (happened) {
                assert_int_equal(err, errors[e]);
                assert_true(strlen(diag.text) > 0);
                assert_int_equal(entries_in(&fixture, "spool"), 0);
                assert_int_equal(spool_bytes(fixture.spool), 0);
                continue;
            }
            assert_true(k > 9);
            assert_int_equal(err, ERR_OK);
            for (size_t i = 0; i < 2; i++) {
                struct landed_file landed = landed_of(&files[i]);
                assert_int_equal(spool_verify(fixture.spool, &landed, NULL, NULL), ERR_OK);
                assert_int_equal(spool_remove(fixture.spool, &landed, NULL), ERR_OK);
            }
            break;
        }
    }
    tear_down(&fixture);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    for (uint64_t k = 1;; k++) {
        struct spool *spool = NULL;
        struct spool_file file = {.key = BYTES_LITERAL(KEY_A), .content = BYTES_LITERAL("abc")};
        mem_fail_at(k);
        enum err err = spool_new(&fixture.faulty.fs, fixture.folder, &spool);
        if (err == ERR_OK)
            err = spool_open(spool, NULL);
        if (err == ERR_OK)
            err = spool_write(spool, &file, 1, NULL);
        struct landed_file landed = landed_of(&file);
        if (err == ERR_OK)
            err = spool_verify(spool, &landed, NULL, NULL);
        int failed = mem_failed();
        mem_fail_at(0);
        spool_free(spool);
        if (!failed) {
            assert_int_equal(err, ERR_OK);
            break;
        }
        assert_int_equal(err, ERR_NO_MEMORY);
    }
    tear_down(&fixture);
}

static void put_stray(const struct fixture *fixture, const char *name)
{
    char path[600];
    snprintf(path, sizeof(path), "%s/spool/%s", fixture->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("stray", file);
    fclose(file);
}

static void test_clean(void **state)
{
    (void)state;
    struct fixture fixture;
    struct map keep;
    char name[SPOOL_NAME_SIZE];
    uint64_t removed = 0;
    struct spool_file files[2] = {{.key = BYTES_LITERAL(KEY_A), .content = BYTES_LITERAL("abc")},
                                  {.key = BYTES_LITERAL(KEY_B), .content = BYTES_LITERAL("de")}};
    set_up(&fixture);
    assert_int_equal(spool_write(fixture.spool, files, 2, NULL), ERR_OK);
    put_stray(&fixture, "x.tmp");
    put_stray(&fixture, "zzz");
    put_stray(&fixture, "damaged/evidence");
    map_init(&keep);
    assert_int_equal(spool_name(files[1].key, name), ERR_OK);
    assert_int_equal(map_put(&keep, bytes_from_text(name), &keep), ERR_OK);
    assert_int_equal(spool_clean(fixture.spool, &keep, &removed, NULL), ERR_OK);
    assert_int_equal(removed, 3);
    assert_int_equal(entries_in(&fixture, "spool"), 1);
    assert_int_equal(entries_in(&fixture, "spool/damaged"), 1);
    assert_int_equal(spool_bytes(fixture.spool), 2 + 5);
    map_fini(&keep);

    /* what lies there counts after a restart */
    spool_free(fixture.spool);
    assert_int_equal(spool_new(&fs_posix, fixture.folder, &fixture.spool), ERR_OK);
    assert_int_equal(spool_bytes_of(&fixture.spool), 0);
    assert_int_equal(spool_open(fixture.spool, NULL), ERR_OK);
    assert_int_equal(spool_bytes_of(&fixture.spool), 7);
    tear_down(&fixture);
}

static void test_quarantine(void **state)
{
    (void)state;
    struct fixture fixture;
    struct spool_file file = {.key = BYTES_LITERAL(KEY_A), .content = BYTES_LITERAL("abc")};
    set_up(&fixture);
    assert_int_equal(spool_write(fixture.spool, &file, 1, NULL), ERR_OK);
    assert_int_equal(spool_quarantine(fixture.spool, file.key, "why\n", NULL), ERR_OK);
    assert_int_equal(entries_in(&fixture, "spool"), 0);
    assert_int_equal(entries_in(&fixture, "spool/damaged"), 2);
    /* a file that is missing leaves its report */
    assert_int_equal(spool_quarantine(fixture.spool, BYTES_LITERAL(KEY_B), "why\n", NULL), ERR_OK);
    assert_int_equal(entries_in(&fixture, "spool/damaged"), 3);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),          cmocka_unit_test(test_write_verify_remove),
        cmocka_unit_test(test_write_failures), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_clean),          cmocka_unit_test(test_quarantine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
