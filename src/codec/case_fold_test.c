#include "codec/case_fold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka wants those before */
#include <cmocka.h>

static void check(const char *text, const char *folded)
{
    struct buf out;
    buf_init(&out, 1000);
    assert_int_equal(case_fold(&out, bytes_from_text(text)), ERR_OK);
    assert_string_equal(buf_cstr(&out), folded);
    buf_fini(&out);
}

static void texts_of_many_scripts_fold(void **state)
{
    (void)state;
    check("", "");
    check("Az[@`{09", "az[@`{09");
    check("ÄÖÜ ÿŸ × ÷ ẞß", "äöü ÿÿ × ÷ ßß");
    check("ĀăŁłŽſ Ǆǅǆ", "āăłłžs ǆǆǆ");
    check("ΣσςΆΩ\u2126ᾼ", "σσσάωωᾳ");
    check("ЖжЀѐҐԱաႠ", "жжѐѐґաաⴀ");
    check("ＡａⅣⓐⒶ𐐀𐐨", "ａａⅳⓐⓐ𐐨𐐨");
    check("\u212a\u212bİı", "kåii");
    check("温度 🐍", "温度 🐍");
    check("A\xff\xc3Z\xe2\x82", "a\xff\xc3z\xe2\x82");
}

/* Each character folds to one that folds to itself, and so for its whole text. */
static void folding_twice_is_folding_once(void **state)
{
    (void)state;
    unsigned folded = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint32_t once = case_fold_character(c);
        assert_int_equal(case_fold_character(once), once);
        assert_true(once < 0x110000 && (once == c || once < 0xd800 || once > 0xdfff));
        folded += once != c;
        if (c < 0x80)
            assert_int_equal(once, c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    assert_int_equal(folded, 1456);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts_of_many_scripts_fold),
                                       cmocka_unit_test(folding_twice_is_folding_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
