#include "codec/json.h"

#include "base/alloc.h"
#include "codec/base64.h"
#include "codec/utf8.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static bool accepts(const char *text, bool strict)
{
    /* An exact copy, so that a sanitizer sees a read past the end. */
    size_t size = strlen(text);
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, text, size);
    enum err err = json_validate(bytes_from(copy, size), strict);
    free(copy);
    return err == ERR_OK;
}

static void test_dialects(void **state)
{
    (void)state;
    static const char *const both[] = {"{}",      "[]",    " 1 ",   "\"\"",        "null",
                                       "[1,[2]]", "-0",    "1E+2",  "\"\\ud800\"", "{\"a\":{}}",
                                       "true",    "1e400", "[\"\"]"};
    static const char *const none[] = {"",        " ",      "{",     "[1,]",  "{\"a\":1,}", "01",
                                       "+1",      ".5",     "1.",    "1e",    "nul",        "'a'",
                                       "\"\\x\"", "\"\t\"", "[1 2]", "{1:2}", "1 2",        "nan",
                                       "-",       "\"a",    "]",     "-I",    "\"\\u12\"",  "\"\\"};
    static const char *const device[] = {"NaN", "[Infinity]", "{\"a\":-Infinity}"};
    for (size_t i = 0; i < sizeof(both) / sizeof(both[0]); i++) {
        assert_true(accepts(both[i], true));
        assert_true(accepts(both[i], false));
    }
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_false(accepts(none[i], true));
        assert_false(accepts(none[i], false));
    }
    for (size_t i = 0; i < sizeof(device) / sizeof(device[0]); i++) {
        assert_false(accepts(device[i], true));
        assert_true(accepts(device[i], false));
    }
}

static void test_depth(void **state)
{
    (void)state;
    char text[2 * LIMIT_JSON_DEPTH + 4];
    memset(text, '[', LIMIT_JSON_DEPTH + 1);
    memset(text + LIMIT_JSON_DEPTH + 1, ']', LIMIT_JSON_DEPTH + 1);
    struct bytes fits = bytes_from(text + 1, 2 * LIMIT_JSON_DEPTH);
    struct bytes deep = bytes_from(text, 2 * LIMIT_JSON_DEPTH + 2);
    assert_int_equal(json_validate(fits, true), ERR_OK);
    assert_int_equal(json_validate(deep, true), ERR_TOO_DEEP);
}

static struct bytes file_read(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint8_t *data = malloc(1 << 20);
    size_t size = fread(data, 1, 1 << 20, file);
    fclose(file);
    uint8_t *exact = malloc(size ? size : 1);
    memcpy(exact, data, size);
    free(data);
    return bytes_from(exact, size);
}

static void test_suite(void **state)
{
    (void)state;
    const char *shared = getenv("INGESTOR_SHARED_DATA");
    char folder[512];
    snprintf(folder, sizeof(folder), "%s/json-test-suite/test_parsing", shared ? shared : ".");
    DIR *files = opendir(folder);
    if (!files) {
        print_message("skipped: no JSON test suite at %s\n", folder);
        skip();
    }
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(files));) {
        char path[1024];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        struct bytes text = file_read(path);
        bool ok = json_validate(text, true) == ERR_OK;
        bool device = json_validate(text, false) == ERR_OK;
        if (ok != (entry->d_name[0] == 'y') && entry->d_name[0] != 'i')
            fail_msg("%s: %s", entry->d_name, ok ? "accepted" : "rejected");
        assert_true(device || !ok);
        free((void *)(uintptr_t)text.data);
        count++;
    }
    closedir(files);
    assert_true(count > 300);
}

/* What follows a number decides no value, but which way it is read. */
static void check_followed(const char *text, enum json_number_kind expected, double value)
{
    static const char *const tails[] = {",                ", "}               ",
                                        "]\"000000000000000"};
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        char longer[1024];
        snprintf(longer, sizeof(longer), "%s%s", text, tails[i]);
        const uint8_t *at = (const uint8_t *)longer;
        double again = 0;
        assert_int_equal(json_number_read(&at, at + strlen(longer), &again), expected);
        assert_int_equal(at - (const uint8_t *)longer, strlen(text));
        assert_memory_equal(&again, &value, sizeof(value));
    }
}

static double number(const char *text, enum json_number_kind expected)
{
    const uint8_t *at = (const uint8_t *)text;
    double value = 0;
    assert_int_equal(json_number_read(&at, at + strlen(text), &value), expected);
    assert_ptr_equal(at, text + strlen(text));
    check_followed(text, expected, value);
    return value;
}

static void test_numbers(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0",
        "-0",
        "1.5",
        "23.456789012345678",
        "0.1",
        "1e22",
        "1e23",
        "123456789012345.678",
        "5e-324",
        "2.4703282292062328e-324",
        "2.4703282292062327e-324",
        "1.7976931348623157e308",
        "2.2250738585072011e-308",
        "9007199254740993.0",
        "9007199254740992.99999999999999999999999",
        "0.00000000000000000000000000000000000000000000001",
        "1e-400",
        "0e999999999999999999999",
        "100000000000000000000000000000000000000000000000000e-50",
        "3.141592653589793238462643383279502884197",
        "1.00000000000000011102230246251565404236316680908203125",
        "1.00000000000000011102230246251565404236316680908203124",
        "1.00000000000000011102230246251565404236316680908203126",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        double expected = strtod(texts[i], NULL);
        double value = number(texts[i], JSON_NUMBER_DOUBLE);
        assert_memory_equal(&value, &expected, sizeof(value));
    }
    number("9007199254740992", JSON_NUMBER_DOUBLE);
    number("9007199254740993", JSON_NUMBER_BIG_INTEGER);
    number("-18446744073709551616", JSON_NUMBER_BIG_INTEGER);
    number("1e400", JSON_NUMBER_OVERFLOW);
    number("-1e99999999999999999999", JSON_NUMBER_OVERFLOW);
}

static uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    return *seed ^= *seed << 17;
}

/* Against the C library, with digits as devices and as adversaries send them. */
static void test_numbers_random(void **state)
{
    (void)state;
    uint64_t seed = 0x1234567;
    for (int i = 0; i < 300000; i++) {
        char text[96];
        uint64_t random = random_next(&seed);
        double value;
        if (i % 3 == 0) {
            memcpy(&value, &random, sizeof(value));
            if (!isfinite(value))
                continue;
            snprintf(text, sizeof(text), "%.17g", value);
        } else {
            snprintf(text, sizeof(text), "%lu.%lue%d", (unsigned long)(random % 1000000),
                     (unsigned long)(random_next(&seed) >> (random % 50)), (int)(random % 60) - 30);
        }
        if (i % 2)
            snprintf(text, sizeof(text), "%.*f", (int)(random % 9), (double)(random >> 40) / 1e4);
        size_t length = strlen(text);
        memset(text + length, i % 4 == 1 ? ',' : ' ', 16);
        text[length + 16] = '\0';
        const uint8_t *at = (const uint8_t *)text;
        double expected = strtod(text, NULL);
        enum json_number_kind kind = json_number_read(&at, at + length + 16, &value);
        assert_int_equal(at - (const uint8_t *)text, length);
        if (kind == JSON_NUMBER_BIG_INTEGER)
            continue;
        if (memcmp(&value, &expected, sizeof(value)) != 0)
            fail_msg("%s: %.17g, expected %.17g", text, value, expected);
    }
}

static void check_unescape(const char *raw, const char *expected, size_t size)
{
    uint8_t text[64];
    assert_int_equal(json_unescape(bytes_from_text(raw), text), size);
    assert_memory_equal(text, expected, size);
}

static void test_unescape(void **state)
{
    (void)state;
    check_unescape("a\\n\\t\\\"\\\\\\/\\b\\f\\r", "a\n\t\"\\/\b\f\r", 9);
    check_unescape("\\u00e9\\u20ac", "\xc3\xa9\xe2\x82\xac", 5);
    check_unescape("\\ud83d\\ude00", "\xf0\x9f\x98\x80", 4);
    check_unescape("\\ud83dx", "\xef\xbf\xbdx", 4);
    check_unescape("\\ude00\\ud83d", "\xef\xbf\xbd\xef\xbf\xbd", 6);
    check_unescape("\\ud83d\\ud83d\\ude00", "\xef\xbf\xbd\xf0\x9f\x98\x80", 7);
    check_unescape("\\u0000", "\0", 1);
}

static void check_compact(const char *text, const char *expected, enum json_nan nan)
{
    struct buf out;
    buf_init(&out, 1024);
    assert_int_equal(json_compact(&out, bytes_from_text(text), nan), ERR_OK);
    assert_string_equal(buf_cstr(&out), expected);
    buf_fini(&out);
}

static void test_compact(void **state)
{
    (void)state;
    check_compact(" { \"a b\" : [ 1 , -2.50 , \" x \\\" \" ] } ",
                  "{\"a b\":[1,-2.50,\" x \\\" \"]}", JSON_NAN_TEXT);
    check_compact("[NaN, -Infinity,Infinity,1e-5]", "[\"NaN\",\"-Infinity\",\"Infinity\",1e-5]",
                  JSON_NAN_TEXT);
    check_compact("[NaN,-Infinity , -1]", "[null,null,-1]", JSON_NAN_NULL);
    check_compact("\"\\ud800 \\ud83d\\ude00 \\udc00\\u0041\"",
                  "\"\\ufffd \\ud83d\\ude00 \\ufffd\\u0041\"", JSON_NAN_TEXT);
}

static void test_unique(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1024);
    bool repeated;
    const char *text = "{\"a\":1, \"b\":{\"x\":1,\"\\u0078\":[{\"k\":1,\"k\":2}]}, \"a\":NaN}";
    assert_int_equal(json_unique(&out, bytes_from_text(text), 17, &repeated), ERR_OK);
    assert_true(repeated);
    assert_string_equal(buf_cstr(&out), "{\"b\":{\"\\u0078\":[{\"k\":2}]},\"a\":NaN}");
    buf_clear(&out);
    assert_int_equal(json_unique(&out, bytes_from_text("{\"a\":{\"b\":[]}}"), 17, &repeated),
                     ERR_OK);
    assert_false(repeated);
    buf_fini(&out);
}

/* More fields than are compared one by one, with repetitions of the first and of the last. */
static void test_unique_many(void **state)
{
    (void)state;
    struct buf text;
    struct buf wanted;
    struct buf out;
    bool repeated;
    buf_init(&text, 4096);
    buf_init(&wanted, 4096);
    buf_init(&out, 4096);
    buf_text(&text, "{\"k0\":-1");
    buf_byte(&wanted, '{');
    for (int i = 0; i < 40; i++) {
        buf_printf(&text, ",\"k%d\":%d", i, i);
        if (i < 39)
            buf_printf(&wanted, "\"k%d\":%d,", i, i);
    }
    buf_text(&text, ",\"k\\u0033\\u0039\":[]}");
    buf_text(&wanted, "\"k\\u0033\\u0039\":[]}");
    assert_int_equal(json_unique(&out, buf_bytes(&text), 17, &repeated), ERR_OK);
    assert_true(repeated);
    assert_string_equal(buf_cstr(&out), buf_cstr(&wanted));
    buf_clear(&out);
    assert_int_equal(json_unique(&out, buf_bytes(&wanted), 17, &repeated), ERR_OK);
    assert_false(repeated);
    assert_string_equal(buf_cstr(&out), buf_cstr(&wanted));
    buf_fini(&out);
    buf_fini(&wanted);
    buf_fini(&text);
}

static void test_unique_no_memory(void **state)
{
    (void)state;
    const char *text = "{\"a\":[{\"b\":1},{\"\\u0062\":2}],\"0\":0,\"1\":0,\"2\":0,\"3\":0,\"4\":0,"
                       "\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0,\"10\":0,\"11\":0,\"12\":0,"
                       "\"13\":0,\"14\":0,\"15\":0,\"16\":0}";
    for (uint64_t k = 1;; k++) {
        struct buf out;
        bool repeated;
        buf_init(&out, 1024);
        mem_fail_at(k);
        enum err err = json_unique(&out, bytes_from_text(text), 17, &repeated);
        bool failed = mem_failed();
        mem_fail_at(0);
        buf_fini(&out);
        if (!failed) {
            assert_int_equal(err, ERR_OK);
            break;
        }
        assert_int_equal(err, ERR_NO_MEMORY);
    }
}

static void test_base64(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 64);
    base64_append(&out, bytes_from("\xff", 1));
    base64_append(&out, bytes_from("\xff\x00", 2));
    base64_append(&out, bytes_from("foobar", 6));
    assert_string_equal(buf_cstr(&out), "/w==/wA=Zm9vYmFy");
    buf_fini(&out);
}

static void test_utf8(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc3",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf0\x80\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xff",
                                      "abcdefgh\xc3"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(utf8_valid(bytes_from_text(bad[i])));
    assert_true(utf8_valid(bytes_from_text("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 abcdefghijkl")));
    assert_true(utf8_valid((struct bytes){0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialects),       cmocka_unit_test(test_depth),
        cmocka_unit_test(test_suite),          cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_numbers_random), cmocka_unit_test(test_unescape),
        cmocka_unit_test(test_compact),        cmocka_unit_test(test_unique),
        cmocka_unit_test(test_unique_many),    cmocka_unit_test(test_unique_no_memory),
        cmocka_unit_test(test_base64),         cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
