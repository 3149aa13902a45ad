/* A damaged database's files under their names, with a kill between any two of them. */
#include "metadata/metadata_aside.h"

#include "os/fs.h"
#include "support/temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char folder[200], path[256];
static struct buf name;
static struct diag diag;

static void write_text(const char *at, const char *end, const char *text)
{
    struct fs_file *file;
    char full[600];
    snprintf(full, sizeof(full), "%s%s", at, end);
    assert_int_equal(fs_open(&fs_posix, full, FS_WRITE | FS_CREATE | FS_TRUNCATE, &file, NULL),
                     ERR_OK);
    assert_int_equal(fs_write(&fs_posix, file, 0, text, strlen(text), NULL), ERR_OK);
    fs_close(&fs_posix, file);
}

/* "": there is none. */
static const char *read_text(const char *at, const char *end)
{
    static char text[64];
    struct fs_file *file;
    char full[600];
    size_t size = 0;
    snprintf(full, sizeof(full), "%s%s", at, end);
    if (fs_open(&fs_posix, full, FS_READ, &file, NULL) == ERR_OK) {
        assert_int_equal(fs_read(&fs_posix, file, 0, text, sizeof(text) - 1, &size, NULL), ERR_OK);
        fs_close(&fs_posix, file);
    }
    text[size] = 0;
    return text;
}

static void make(const char *what)
{
    char text[32];
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(text, sizeof(text), "%s%s", what, ends[i]);
        write_text(path, ends[i], text);
    }
}

static int setup(void **state)
{
    (void)state;
    temp_folder_make(folder, sizeof(folder));
    snprintf(path, sizeof(path), "%s/meta.db", folder);
    buf_init(&name, METADATA_ASIDE_BYTES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&name);
    temp_folder_remove(folder);
    return 0;
}

/* What waits first, as a path. */
static const char *waiting(void)
{
    assert_int_equal(metadata_aside_next(path, &name, &diag), ERR_OK);
    return buf_cstr(&name);
}

static void assert_all(const char *at, const char *what)
{
    char text[32];
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(text, sizeof(text), "%s%s", what, ends[i]);
        assert_string_equal(read_text(at, ends[i]), text);
    }
}

static void read_one(const char *what)
{
    char from[512];
    struct buf kept;
    snprintf(from, sizeof(from), "%s", waiting());
    assert_all(from, what);
    buf_init(&kept, METADATA_ASIDE_BYTES);
    assert_int_equal(metadata_aside_read(path, from, &kept, &diag), ERR_OK);
    assert_non_null(strstr(buf_cstr(&kept), "/meta.db.damaged-"));
    assert_all(buf_cstr(&kept), what);
    assert_string_equal(read_text(from, ""), "");
    buf_fini(&kept);
}

/* All within a second or two: none takes another's name, whether that was read or waits. */
static void test_names_are_unique(void **state)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        make(names[i]);
        assert_int_equal(metadata_aside_move(path, &diag), ERR_OK);
        assert_string_equal(read_text(path, ""), "");
        assert_true(metadata_aside_waits(path));
        if (i < 2)
            read_one(names[i]);
    }
    read_one("c");
    read_one("d");
    assert_false(metadata_aside_waits(path));
    assert_string_equal(waiting(), "");
}

/* The file was moved, and what lies beside it was not. */
static void test_killed_while_moved(void **state)
{
    char to[300];
    (void)state;
    make("a");
    snprintf(to, sizeof(to), "%s.salvage-2026-01-02T03:04:05", path);
    assert_int_equal(fs_rename(&fs_posix, path, to, NULL), ERR_OK);
    read_one("a");
    assert_string_equal(read_text(path, "-wal"), "");
}

/* A new one has its own log. */
static void test_a_new_one_keeps_its_log(void **state)
{
    char to[300];
    (void)state;
    make("a");
    snprintf(to, sizeof(to), "%s.salvage-2026-01-02T03:04:05", path);
    assert_int_equal(fs_rename(&fs_posix, path, to, NULL), ERR_OK);
    make("b");
    assert_string_equal(waiting(), to);
    assert_all(path, "b");
    assert_string_equal(read_text(to, "-wal"), "");
}

/* After it was read: its log has the new name, the file has not. */
static void test_killed_while_renamed(void **state)
{
    char from[512], log[600], kept_log[600];
    struct buf kept;
    (void)state;
    make("a");
    assert_int_equal(metadata_aside_move(path, &diag), ERR_OK);
    snprintf(from, sizeof(from), "%s", waiting());
    snprintf(log, sizeof(log), "%s-wal", from);
    snprintf(kept_log, sizeof(kept_log), "%s.damaged-%s-wal", path, strstr(from, ".salvage-") + 9);
    assert_int_equal(fs_rename(&fs_posix, log, kept_log, NULL), ERR_OK);
    assert_string_equal(waiting(), from);
    buf_init(&kept, METADATA_ASIDE_BYTES);
    assert_int_equal(metadata_aside_read(path, from, &kept, &diag), ERR_OK);
    assert_all(buf_cstr(&kept), "a");
    assert_false(metadata_aside_waits(path));
    buf_fini(&kept);
}

static void test_no_folder(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "%s/none/meta.db", folder);
    assert_string_equal(waiting(), "");
    assert_false(metadata_aside_waits(path));
    assert_int_equal(metadata_aside_move(path, &diag), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names_are_unique, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_while_moved, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_new_one_keeps_its_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_while_renamed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_folder, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
