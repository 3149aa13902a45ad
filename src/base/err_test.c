#include "base/err.h"

#include <errno.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_error_has_name_class_and_text),
        cmocka_unit_test(test_the_first_sentence_stays),
        cmocka_unit_test(test_errno),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
