#include "lake/dedupe.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "support/faulty_fs.h"
#include "support/temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define UUID  "0f4b8a52-6d1c-4f3e-9b7a-2c5d8e1f0a3b"
#define OTHER "11111111-6d1c-4f3e-9b7a-2c5d8e1f0a3b"

struct fixture {
    char folder[256];
    struct dedupe *dedupe;
    struct faulty_fs faulty;
};

static void open_as(struct fixture *fixture, const char *uuid, const char *dataset)
{
    struct dedupe_options options = {&fixture->faulty.fs, fixture->folder, uuid};
    dedupe_free(fixture->dedupe);
    fixture->dedupe = NULL;
    assert_int_equal(dedupe_new(&options, bytes_from_text(dataset), &fixture->dedupe), ERR_OK);
}

static void reopen(struct fixture *fixture)
{
    open_as(fixture, UUID, "plant");
}

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){0};
    temp_folder_make(fixture.folder, sizeof(fixture.folder));
    faulty_fs_init(&fixture.faulty, &fs_posix);
    reopen(&fixture);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    dedupe_free(fixture->dedupe);
    temp_folder_remove(fixture->folder);
    return 0;
}

static enum err see(struct fixture *fixture, const char *json, uint64_t block, int64_t second,
                    bool *ret_repeated)
{
    struct dedupe_record record = {.json = bytes_from_text(json),
                                   .field = bytes_from_text("id"),
                                   .window_us = 60 * US_PER_S,
                                   .arrival_us = second * US_PER_S,
                                   .place = {.block = block}};
    return dedupe_see(fixture->dedupe, &record, ret_repeated);
}

static bool repeats(struct fixture *fixture, const char *json, uint64_t block, int64_t second)
{
    bool repeated;
    assert_int_equal(see(fixture, json, block, second, &repeated), ERR_OK);
    return repeated;
}

static void save(struct fixture *fixture)
{
    struct diag diag = {0};
    if (dedupe_save(fixture->dedupe, &diag) != ERR_OK)
        fail_msg("%s", diag.text);
}

static void values_are_told_apart_by_what_they_are(void **state)
{
    struct fixture *fixture = *state;
    assert_false(repeats(fixture, "{\"id\":1}", 1, 0));
    assert_true(repeats(fixture, "{ \"x\" : {\"id\":9}, \"id\" : 1.0e0 }", 2, 1));
    assert_false(repeats(fixture, "{\"id\":\"1\"}", 3, 1));
    assert_true(repeats(fixture, "{\"\\u0069d\":\"\\u0031\"}", 4, 1));
    assert_false(repeats(fixture, "{\"id\":true}", 5, 1));
    assert_false(repeats(fixture, "{\"id\":false}", 6, 1));
    assert_true(repeats(fixture, "{\"id\":1,\"id\":true}", 7, 1)); /* the last one counts */
    assert_false(repeats(fixture, "{\"id\":9007199254740993}", 8, 1));
    assert_false(repeats(fixture, "{\"id\":9007199254740995}", 9, 1));
    assert_true(repeats(fixture, "{\"id\":9007199254740995}", 10, 1));
    assert_false(repeats(fixture, "{\"id\":0}", 11, 1));
    assert_true(repeats(fixture, "{\"id\":-0.0}", 12, 1));
}

static void what_has_no_key_is_never_a_repetition(void **state)
{
    struct fixture *fixture = *state;
    static const char *const records[] = {
        "{}",          "{\"a\":1}",    "{\"id\":null}", "{\"id\":{}}",
        "{\"id\":[]}", "{\"id\":NaN}", "{\"Id\":\"x\"}"};
    for (uint64_t i = 0; i < 2 * sizeof(records) / sizeof(records[0]); i++)
        assert_false(repeats(fixture, records[i / 2], i + 1, 1));
}

/* It runs from the record that was kept, not from the last repetition. */
static void the_window_is_one_of_arrival(void **state)
{
    struct fixture *fixture = *state;
    assert_false(repeats(fixture, "{\"id\":1}", 1, 100));
    assert_true(repeats(fixture, "{\"id\":1}", 2, 159));
    assert_false(repeats(fixture, "{\"id\":1}", 3, 160));
    assert_true(repeats(fixture, "{\"id\":1}", 4, 101)); /* the clock was set back */
    assert_false(repeats(fixture, "{\"id\":1}", 5, INT64_MIN / US_PER_S));
    assert_false(repeats(fixture, "{\"id\":1}", 6, INT64_MAX / US_PER_S));
}

/* As after a crash between the save and LANDED: all is looked at again. */
static void what_is_decoded_again_is_decided_as_before(void **state)
{
    struct fixture *fixture = *state;
    for (int round = 0; round < 3; round++) {
        assert_false(repeats(fixture, "{\"id\":1}", 1, 0));
        assert_true(repeats(fixture, "{\"id\":1}", 2, 1));
        assert_false(repeats(fixture, "{\"id\":2}", 3, 2));
        assert_false(repeats(fixture, "{\"id\":1}", 4, 60));
        assert_true(repeats(fixture, "{\"id\":1}", 5, 61));
        save(fixture);
        reopen(fixture);
    }
    assert_true(repeats(fixture, "{\"id\":2}", 6, 61));
}

static void an_undone_block_was_never_there(void **state)
{
    struct fixture *fixture = *state;
    assert_false(repeats(fixture, "{\"id\":1}", 1, 0));
    size_t mark = dedupe_mark(fixture->dedupe);
    for (int i = 0; i < 300; i++) {
        char json[32];
        snprintf(json, sizeof(json), "{\"id\":%d}", i);
        assert_int_equal(repeats(fixture, json, 2, 1), i == 1);
    }
    assert_false(repeats(fixture, "{\"id\":1}", 2, 70)); /* a younger one of the same value */
    dedupe_undo(fixture->dedupe, mark);
    assert_false(repeats(fixture, "{\"id\":299}", 3, 2));
    assert_true(repeats(fixture, "{\"id\":1}", 3, 2));
    assert_true(repeats(fixture, "{\"id\":1}", 4, 59));
}

/* A bit of the first entry's digest. */
static enum err damage(void *ctx, const char *name)
{
    const struct fixture *fixture = ctx;
    char path[600];
    snprintf(path, sizeof(path), "%s/%s", fixture->folder, name);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 90, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, 90, SEEK_SET), 0);
    assert_int_not_equal(fputc(byte ^ 1, file), EOF);
    fclose(file);
    return ERR_OK;
}

static void a_file_of_others_or_damaged_is_none(void **state)
{
    struct fixture *fixture = *state;
    assert_false(repeats(fixture, "{\"id\":1}", 1, 0));
    save(fixture);
    open_as(fixture, UUID, "other");
    assert_false(repeats(fixture, "{\"id\":1}", 2, 1));
    open_as(fixture, OTHER, "plant");
    assert_false(repeats(fixture, "{\"id\":1}", 2, 1));
    reopen(fixture);
    assert_true(repeats(fixture, "{\"id\":1}", 2, 1));
    assert_int_equal(fs_list(&fs_posix, fixture->folder, damage, fixture, NULL), ERR_OK);
    reopen(fixture);
    assert_false(repeats(fixture, "{\"id\":1}", 2, 1));
}

static void a_failing_disk_keeps_the_last_file(void **state)
{
    struct fixture *fixture = *state;
    static const int operations[] = {FAULTY_OPEN, FAULTY_WRITE, FAULTY_SYNC, FAULTY_RENAME,
                                     FAULTY_SYNC_FOLDER};
    assert_false(repeats(fixture, "{\"id\":1}", 1, 0));
    save(fixture);
    for (uint64_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        char json[32];
        snprintf(json, sizeof(json), "{\"id\":\"%d\"}", (int)i);
        assert_false(repeats(fixture, json, i + 2, 1));
        faulty_fs_arm(&fixture->faulty, 1, operations[i], ERR_NO_SPACE, false);
        assert_int_equal(dedupe_save(fixture->dedupe, NULL), ERR_NO_SPACE);
    }
    save(fixture);
    reopen(fixture);
    assert_true(repeats(fixture, "{\"id\":1}", 20, 1));
    assert_true(repeats(fixture, "{\"id\":\"4\"}", 20, 1));
}

static void too_many_forget_the_oldest(void **state)
{
    struct fixture *fixture = *state;
    char json[32];
    for (size_t i = 0; i <= DEDUPE_ENTRIES_MAX; i++) {
        snprintf(json, sizeof(json), "{\"id\":%zu}", i);
        assert_false(repeats(fixture, json, 1 + i, 0));
    }
    dedupe_settle(fixture->dedupe);
    assert_true(repeats(fixture, json, UINT32_MAX, 1));
    assert_false(repeats(fixture, "{\"id\":7}", UINT32_MAX, 1));
    assert_true(dedupe_memory_bytes(fixture->dedupe) < 64 * MIB);
}

/* What is out of the window does not stay in the file. */
static void the_file_does_not_grow_for_ever(void **state)
{
    struct fixture *fixture = *state;
    char json[32];
    for (int i = 0; i < 2000; i++) {
        snprintf(json, sizeof(json), "{\"id\":%d}", i);
        assert_false(repeats(fixture, json, (uint64_t)i + 1, i));
        if (i % 20 == 19)
            save(fixture);
    }
    assert_true(dedupe_mark(fixture->dedupe) < 150);
    reopen(fixture);
    assert_true(repeats(fixture, "{\"id\":1999}", 3000, 2000));
    assert_true(repeats(fixture, "{\"id\":1950}", 3001, 2000));
}

static void memory_may_end_anywhere(void **state)
{
    struct fixture *fixture = *state;
    bool ended = false;
    for (uint64_t k = 1; !ended; k++) {
        bool repeated = false;
        struct dedupe_options options = {&fs_posix, fixture->folder, UUID};
        struct dedupe *dedupe = NULL;
        mem_fail_at(k);
        enum err err = dedupe_new(&options, bytes_from_text("plant"), &dedupe);
        if (err == ERR_OK) {
            dedupe_free(fixture->dedupe);
            fixture->dedupe = dedupe;
            err = see(fixture, "{\"\\u0069d\":\"a\"}", k, (int64_t)k * 100, &repeated);
        }
        if (err == ERR_OK)
            err = dedupe_save(fixture->dedupe, NULL);
        ended = !mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, ended ? ERR_OK : ERR_NO_MEMORY);
        assert_false(repeated);
    }
}

static void old_files_are_removed_at_the_start(void **state)
{
    struct fixture *fixture = *state;
    struct fs_stat stat;
    char path[300];
    assert_false(repeats(fixture, "{\"id\":1}", 1, 0));
    save(fixture);
    snprintf(path, sizeof(path), "%s/old", fixture->folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(fs_stat(&fs_posix, path, &stat, NULL), ERR_OK);
    int64_t soon_us = stat.modified_us + 60 * US_PER_S;
    assert_int_equal(dedupe_folder_open(&fs_posix, fixture->folder, soon_us, NULL), ERR_OK);
    assert_int_equal(fs_stat(&fs_posix, path, &stat, NULL), ERR_OK);
    int64_t later_us = soon_us + 31 * 86400 * US_PER_S;
    assert_int_equal(dedupe_folder_open(&fs_posix, fixture->folder, later_us, NULL), ERR_OK);
    assert_int_equal(fs_stat(&fs_posix, path, &stat, NULL), ERR_NOT_FOUND);
    reopen(fixture);
    assert_false(repeats(fixture, "{\"id\":1}", 2, 1));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(values_are_told_apart_by_what_they_are),
        TEST(what_has_no_key_is_never_a_repetition),
        TEST(the_window_is_one_of_arrival),
        TEST(what_is_decoded_again_is_decided_as_before),
        TEST(an_undone_block_was_never_there),
        TEST(a_file_of_others_or_damaged_is_none),
        TEST(a_failing_disk_keeps_the_last_file),
        TEST(too_many_forget_the_oldest),
        TEST(the_file_does_not_grow_for_ever),
        TEST(memory_may_end_anywhere),
        TEST(old_files_are_removed_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
