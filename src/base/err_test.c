#include "base/err.h"

#include <errno.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>

static void test_every_error_has_name_class_and_text(void **state)
{
    (void)state;
    assert_int_equal(err_class(ERR_OK), ERR_CLASS_NONE);
    for (int i = 1; i < ERR_COUNT; i++) {
        assert_true(err_name((enum err)i)[0] != '\0');
        assert_true(err_text((enum err)i)[0] != '\0');
        assert_int_not_equal(err_class((enum err)i), ERR_CLASS_NONE);
    }
    assert_int_equal(err_class((enum err)12345), ERR_CLASS_BUG);
}

static void test_the_first_sentence_stays(void **state)
{
    (void)state;
    struct diag diag = {0};
    assert_int_equal(diag_set(&diag, ERR_IO, "cause %d", 1), ERR_IO);
    assert_int_equal(diag_set(&diag, ERR_BUG, "consequence"), ERR_BUG);
    assert_string_equal(diag.text, "cause 1");
    assert_int_equal(diag_set(NULL, ERR_IO, "nobody reads it"), ERR_IO);
}

static void test_errno(void **state)
{
    (void)state;
    assert_int_equal(err_from_errno(0), ERR_OK);
    assert_int_equal(err_from_errno(ENOSPC), ERR_NO_SPACE);
    assert_int_equal(err_from_errno(EROFS), ERR_READ_ONLY);
    assert_int_equal(err_from_errno(ENOENT), ERR_NOT_FOUND);
    assert_int_equal(err_from_errno(99999), ERR_IO);
}

/* A person reads it in the log and in health: "input/output error" helps nobody. */
static void test_errno_says_what_to_do(void **state)
{
    (void)state;
    const int errors[] = {ENOSPC, EDQUOT, EACCES,       EPERM,  EROFS,  ENOTDIR,
                          EISDIR, ELOOP,  ENAMETOOLONG, EMFILE, ENFILE, EIO};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        assert_non_null(strstr(err_errno_text(errors[i]), "; "));
    assert_int_equal(err_from_errno(ENOTDIR), ERR_NOT_A_FOLDER);
    assert_int_equal(err_class(err_from_errno(ELOOP)), ERR_CLASS_PERMANENT);
    assert_string_equal(err_errno_text(ENOENT), "No such file or directory");
    assert_string_equal(err_errno_text(99999), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_error_has_name_class_and_text),
        cmocka_unit_test(test_the_first_sentence_stays),
        cmocka_unit_test(test_errno),
        cmocka_unit_test(test_errno_says_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
