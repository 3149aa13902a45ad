#include "codec/csv.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants those four first */
#include <cmocka.h>

/* Expected NULL: an error. */
static void check(const char *text, const char *expected)
{
    struct buf out;
    const char *why = NULL;
    size_t size = strlen(text);
    char *exact = malloc(size ? size : 1); /* for the sanitizers */
    assert_non_null(exact);
    memcpy(exact, text, size);
    buf_init(&out, MIB);
    enum err err = csv_to_json(bytes_from(exact, size), &out, &why);
    free(exact);
    if (!expected) {
        assert_int_equal(err, ERR_SYNTAX);
        assert_non_null(why);
    } else if (err != ERR_OK || strcmp(buf_cstr(&out), expected) != 0) {
        fail_msg("%s: %s (%s), expected %s", text, buf_cstr(&out), why ? why : "", expected);
    }
    buf_fini(&out);
}

static void test_header(void **state)
{
    (void)state;
    check("t,name\n1.5,a\n", "[{\"t\":1.5,\"name\":\"a\"}]");
    check("\xef\xbb\xbft;name\r\n1.5;a\r\n2;\r\n",
          "[{\"t\":1.5,\"name\":\"a\"},{\"t\":2,\"name\":null}]");
    check("a\tb\n1\t2", "[{\"a\":1,\"b\":2}]");
    check("\"a,b\";c\n1;2", "[{\"a,b\":1,\"c\":2}]");
    check("a,,c\n1,2,3\n\n\n4,5,6", "[{\"a\":1,\"column_2\":2,\"c\":3},"
                                    "{\"a\":4,\"column_2\":5,\"c\":6}]");
    check("a,b\n1\n", "[{\"a\":1}]"); /* a short line */
    check("a\n1\n2\n", "[{\"a\":1},{\"a\":2}]");
    /* no header: numbers, or nothing else that it could be the header of */
    check("21.5,60\n22,61",
          "[{\"column_1\":21.5,\"column_2\":60},{\"column_1\":22,\"column_2\":61}]");
    check("open,closed", "[{\"column_1\":\"open\",\"column_2\":\"closed\"}]");
    check("x,1\ny,2", "[{\"column_1\":\"x\",\"column_2\":1},{\"column_1\":\"y\",\"column_2\":2}]");
    check(",\n1,2", "[{\"column_1\":null,\"column_2\":null},{\"column_1\":1,\"column_2\":2}]");
    check("", "[]");
    check("\n\r\n", "[]");
}

static void test_values(void **state)
{
    (void)state;
    check("a,b\n\"1\",\"say \"\"hi\"\"\"", "[{\"a\":\"1\",\"b\":\"say \\\"hi\\\"\"}]");
    check("a,b\n\"x\ny\",\"\"", "[{\"a\":\"x\\ny\",\"b\":\"\"}]");
    check("a,b,c,d\ntrue,false,True,null",
          "[{\"a\":true,\"b\":false,\"c\":\"True\",\"d\":\"null\"}]");
    check("a,b,c,d\n007,-1e3,1.,+1", "[{\"a\":\"007\",\"b\":-1e3,\"c\":\"1.\",\"d\":\"+1\"}]");
    check("a,b\n  5 ,\"q\" \n", "[{\"a\":5,\"b\":\"q\"}]");
    check("a,b\n1 2,x\"y", "[{\"a\":\"1 2\",\"b\":\"x\\\"y\"}]");
    check("\"a\"\"b\",c\n1,NaN", "[{\"a\\\"b\":1,\"c\":\"NaN\"}]");
}

static void test_refused(void **state)
{
    (void)state;
    check("a,b\n1,2,3", NULL);
    check("a,b\n\"1,2", NULL);
    check("a,b\n\"1\"x,2", NULL);
    check("a\n\xff", NULL);
    check("\"", NULL);
    char wide[2 * CSV_COLUMNS_MAX + 3];
    memset(wide, ',', sizeof(wide));
    wide[CSV_COLUMNS_MAX] = 0;
    check(wide, NULL);
}

static void test_limits(void **state)
{
    (void)state;
    static const char text[] = "\"a\"\"\",b\n\"x\"\"\",2\n";
    struct buf out;
    const char *why;
    buf_init(&out, 10);
    assert_int_equal(csv_to_json(bytes_from_text(text), &out, &why), ERR_TOO_LARGE);
    buf_fini(&out);
    for (uint64_t k = 1;; k++) {
        buf_init(&out, KIB);
        mem_fail_at(k);
        enum err err = csv_to_json(bytes_from_text(text), &out, &why);
        mem_fail_at(0);
        buf_fini(&out);
        if (err == ERR_OK)
            break;
        assert_int_equal(err, ERR_NO_MEMORY);
        assert_true(k < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
