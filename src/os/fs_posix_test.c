#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "os/fs.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char root[64];

static const char *path_of(const char *name)
{
    static char paths[4][256];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, 256, "%s/%s", root, name);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/ingestor-fs-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}

static void test_read_and_write(void **state)
{
    (void)state;
    const struct fs *fs = &fs_posix;
    struct fs_file *file = NULL;
    char text[16];
    size_t size;
    struct diag diag = {0};
    assert_int_equal(fs_open(fs, path_of("none"), FS_READ, &file, &diag), ERR_NOT_FOUND);
    assert_non_null(strstr(diag.text, "none"));
    assert_int_equal(fs_open(fs, path_of("a"), FS_WRITE | FS_CREATE, &file, NULL), ERR_OK);
    assert_int_equal(fs_write(fs, file, 4, "hello", 5, NULL), ERR_OK);
    assert_int_equal(fs_read(fs, file, 0, text, sizeof(text), &size, NULL), ERR_OK);
    assert_int_equal(size, 9);
    assert_memory_equal(text, "\0\0\0\0hello", 9);
    assert_int_equal(fs_read(fs, file, 9, text, sizeof(text), &size, NULL), ERR_OK);
    assert_int_equal(size, 0);
    assert_int_equal(fs_sync(fs, file, NULL), ERR_OK);
    assert_int_equal(fs_truncate(fs, file, 6, NULL), ERR_OK);
    struct fs_stat stat;
    assert_int_equal(fs_stat(fs, path_of("a"), &stat, NULL), ERR_OK);
    assert_int_equal(stat.size_bytes, 6);
    assert_false(stat.is_folder);
    fs_close(fs, file);
    file = NULL;
    assert_int_equal(fs_open(fs, path_of("a"), FS_WRITE | FS_CREATE | FS_EXCLUSIVE, &file, NULL),
                     ERR_EXISTS);
    assert_int_equal(fs_open(fs, path_of("a"), FS_READ, &file, NULL), ERR_OK);
    assert_int_not_equal(fs_write(fs, file, 0, "x", 1, NULL), ERR_OK);
    fs_close(fs, file);
}

static void test_direct_and_allocate(void **state)
{
    (void)state;
    const struct fs *fs = &fs_posix;
    struct fs_file *file = NULL;
    size_t size;
    uint8_t *page = mem_aligned(4096, 8192);
    memset(page, 7, 8192);
    assert_int_equal(fs_open(fs, path_of("d"), FS_WRITE | FS_CREATE | FS_DIRECT, &file, NULL),
                     ERR_OK);
    assert_int_equal(fs_allocate(fs, file, 65536, NULL), ERR_OK);
    struct fs_stat stat;
    assert_int_equal(fs_stat(fs, path_of("d"), &stat, NULL), ERR_OK);
    assert_int_equal(stat.size_bytes, 65536);
    assert_int_equal(fs_write(fs, file, 4096, page, 8192, NULL), ERR_OK);
    assert_int_equal(fs_sync(fs, file, NULL), ERR_OK);
    assert_int_equal(fs_read(fs, file, 0, page, 8192, &size, NULL), ERR_OK);
    assert_int_equal(size, 8192);
    assert_int_equal(page[4095], 0);
    assert_int_equal(page[4096], 7);
    fs_close(fs, file);
    mem_free(page);
}

static enum err count_name(void *ctx, const char *name)
{
    (void)name;
    return ++*(int *)ctx == 3 ? ERR_STOPPED : ERR_OK;
}

static void test_folders(void **state)
{
    (void)state;
    const struct fs *fs = &fs_posix;
    struct fs_file *file = NULL;
    int count = 0;
    assert_int_equal(fs_make_folders(fs, path_of("x/y/z"), NULL), ERR_OK);
    assert_int_equal(fs_make_folders(fs, path_of("x/y/z"), NULL), ERR_OK);
    assert_int_equal(fs_open(fs, path_of("x/f"), FS_WRITE | FS_CREATE, &file, NULL), ERR_OK);
    fs_close(fs, file);
    assert_int_equal(fs_make_folder(fs, path_of("x/f"), NULL), ERR_NOT_A_FOLDER);
    assert_int_equal(fs_list(fs, path_of("x"), count_name, &count, NULL), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(fs_list(fs, path_of("x"), count_name, &count, NULL), ERR_STOPPED);
    assert_int_equal(fs_rename(fs, path_of("x/f"), path_of("x/g"), NULL), ERR_OK);
    assert_int_equal(fs_unlink(fs, path_of("x/f"), NULL), ERR_NOT_FOUND);
    assert_int_equal(fs_unlink(fs, path_of("x/g"), NULL), ERR_OK);
    assert_int_equal(fs_sync_folder(fs, path_of("x"), NULL), ERR_OK);
    assert_int_equal(fs_sync_folder(fs, path_of("none"), NULL), ERR_NOT_FOUND);
    uint64_t bytes = 0;
    assert_int_equal(fs_free_space(fs, root, &bytes, NULL), ERR_OK);
    assert_true(bytes > 0);
}

/* Which part of a long path is wrong, and what to do about it. */
static void test_sentences(void **state)
{
    (void)state;
    const struct fs *fs = &fs_posix;
    struct fs_file *file = NULL;
    struct fs_stat stat;
    struct diag diag[5] = {0};
    char expected[600];
    char name[4096];
    assert_int_equal(fs_open(fs, path_of("flat"), FS_WRITE | FS_CREATE, &file, NULL), ERR_OK);
    fs_close(fs, file);
    snprintf(expected, sizeof(expected), "%s is not a folder; move it away", path_of("flat"));
    assert_int_equal(fs_make_folders(fs, path_of("flat/a/b"), &diag[0]), ERR_NOT_A_FOLDER);
    assert_non_null(strstr(diag[0].text, expected));
    assert_int_equal(fs_stat(fs, path_of("flat/a/b"), &stat, &diag[1]), ERR_NOT_A_FOLDER);
    assert_non_null(strstr(diag[1].text, expected));
    assert_int_equal(symlink(path_of("round"), path_of("round")), 0);
    assert_int_equal(fs_make_folders(fs, path_of("round/a"), &diag[2]), ERR_INVALID);
    assert_non_null(strstr(diag[2].text, "symbolic links"));
    assert_int_equal(symlink(path_of("nowhere"), path_of("dangling")), 0);
    assert_int_equal(fs_make_folders(fs, path_of("dangling/a"), &diag[3]), ERR_NOT_FOUND);
    assert_non_null(strstr(diag[3].text, path_of("dangling")));
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(fs_open(fs, name, FS_READ, &file, &diag[4]), ERR_TOO_LARGE);
    assert_non_null(strstr(diag[4].text, "name a shorter one")); /* not cut off by the path */
}

static void test_lock(void **state)
{
    (void)state;
    const struct fs *fs = &fs_posix;
    struct fs_file *first = NULL, *second = NULL;
    assert_int_equal(fs_open(fs, path_of("l"), FS_WRITE | FS_CREATE, &first, NULL), ERR_OK);
    assert_int_equal(fs_open(fs, path_of("l"), FS_WRITE | FS_CREATE, &second, NULL), ERR_OK);
    assert_int_equal(fs_lock(fs, first, NULL), ERR_OK);
    assert_int_equal(fs_lock(fs, second, NULL), ERR_BUSY);
    fs_close(fs, first);
    assert_int_equal(fs_lock(fs, second, NULL), ERR_OK);
    fs_close(fs, second);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct fs_file *file = NULL;
    for (uint64_t k = 1; k <= 2; k++) {
        mem_fail_at(k);
        assert_int_equal(fs_open(&fs_posix, path_of("m"), FS_WRITE | FS_CREATE, &file, NULL),
                         ERR_NO_MEMORY);
        mem_fail_at(0);
        assert_null(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_and_write), cmocka_unit_test(test_direct_and_allocate),
        cmocka_unit_test(test_folders),        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_no_memory),      cmocka_unit_test(test_sentences),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
