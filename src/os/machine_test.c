#include "os/machine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static uint64_t limit(const char *text)
{
    return machine_limit_from_text(bytes_from_text(text));
}

static void test_limit_text(void **state)
{
    (void)state;
    assert_int_equal(limit("1073741824\n"), 1073741824);
    assert_int_equal(limit("5"), 5);
    assert_true(limit("max\n") == UINT64_MAX);
    assert_true(limit("") == UINT64_MAX);
    assert_true(limit("0\n") == UINT64_MAX);
    assert_true(limit("99999999999999999999999") == UINT64_MAX);
    assert_true(limit("9223372036854771712\n") == 9223372036854771712ULL);
}

/* A file system in which every file holds the same text, or none is there. */
static const char *file_text;
static enum err fake_open(void *ctx, const char *path, int flags, struct fs_file **ret_file,
                          struct diag *diag)
{
    (void)ctx, (void)flags;
    *ret_file = NULL;
    if (!file_text)
        return diag_set(diag, ERR_NOT_FOUND, "%s", path);
    return ERR_OK;
}

static enum err fake_read(void *ctx, struct fs_file *file, uint64_t offset, void *buffer,
                          size_t size, size_t *ret_size, struct diag *diag)
{
    (void)ctx, (void)file, (void)offset, (void)diag;
    *ret_size = strlen(file_text) < size ? strlen(file_text) : size;
    memcpy(buffer, file_text, *ret_size);
    return ERR_OK;
}

static const struct fs_ops fake_ops = {.open = fake_open, .read = fake_read};

static void test_memory(void **state)
{
    (void)state;
    const struct fs fs = {.ops = &fake_ops};
    file_text = NULL;
    uint64_t machine = machine_memory_bytes(&fs);
    assert_true(machine > 0);
    file_text = "max\n";
    assert_true(machine_memory_bytes(&fs) == machine);
    file_text = "12345678\n";
    assert_int_equal(machine_memory_bytes(&fs), 12345678);
    file_text = "0::/a/b/c\n"; /* also what memory.max says then: no number, so no limit */
    assert_true(machine_memory_bytes(&fs) == machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit_text),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
