/* RFC 8949's appendix A, whole, as §6.1 there and contract/data.md have it in JSON; then what is
 * not well-formed (appendix F), tags, keys, and depth. */
#include "codec/cbor.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "codec/content_format.h"
#include "codec/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants those four first */
#include <cmocka.h>

static size_t unhex(const char *hex, uint8_t *ret_bytes)
{
    size_t size = 0;
    for (; hex[0]; hex += 2) {
        unsigned byte;
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        ret_bytes[size++] = (uint8_t)byte;
    }
    return size;
}

/* Expected NULL: an error. */
static void check(const char *hex, const char *expected)
{
    uint8_t bytes[512];
    struct buf out;
    const char *why = NULL;
    size_t size = unhex(hex, bytes);
    uint8_t *exact = malloc(size ? size : 1); /* so that a sanitizer sees what is read beyond */
    assert_non_null(exact);
    memcpy(exact, bytes, size);
    buf_init(&out, MIB);
    enum err err = cbor_to_json(bytes_from(exact, size), &out, &why);
    free(exact);
    if (!expected) {
        if (err == ERR_OK)
            fail_msg("%s is taken as %s", hex, buf_cstr(&out));
        assert_true(err != ERR_SYNTAX || why);
    } else if (err != ERR_OK || strcmp(buf_cstr(&out), expected) != 0) {
        fail_msg("%s: %s (%s), expected %s", hex, buf_cstr(&out), why ? why : "", expected);
    }
    if (expected)
        assert_int_equal(json_validate(buf_bytes(&out), false), ERR_OK);
    buf_fini(&out);
}

static const struct {
    const char *hex;
    const char *json;
} appendix_a[] = {
    {"00", "0"},
    {"01", "1"},
    {"0a", "10"},
    {"17", "23"},
    {"1818", "24"},
    {"1819", "25"},
    {"1864", "100"},
    {"1903e8", "1000"},
    {"1a000f4240", "1000000"},
    {"1b000000e8d4a51000", "1000000000000"},
    {"1bffffffffffffffff", "18446744073709551615"},
    {"c249010000000000000000", "\"AQAAAAAAAAAA\""},
    {"3bffffffffffffffff", "-18446744073709551616"},
    {"c349010000000000000000", "\"~AQAAAAAAAAAA\""},
    {"20", "-1"},
    {"29", "-10"},
    {"3863", "-100"},
    {"3903e7", "-1000"},
    {"f90000", "0.0"},
    {"f98000", "-0.0"},
    {"f93c00", "1.0"},
    {"fb3ff199999999999a", "1.1"},
    {"f93e00", "1.5"},
    {"f97bff", "65504.0"},
    {"fa47c35000", "100000.0"},
    {"fa7f7fffff", "3.4028234663852886e+38"},
    {"fb7e37e43c8800759c", "1e+300"},
    {"f90001", "5.9604644775390625e-08"},
    {"f90400", "6.103515625e-05"},
    {"f9c400", "-4.0"},
    {"fbc010666666666666", "-4.1"},
    {"f97c00", "null"},
    {"f97e00", "null"},
    {"f9fc00", "null"},
    {"fa7f800000", "null"},
    {"fa7fc00000", "null"},
    {"faff800000", "null"},
    {"fb7ff0000000000000", "null"},
    {"fb7ff8000000000000", "null"},
    {"fbfff0000000000000", "null"},
    {"f4", "false"},
    {"f5", "true"},
    {"f6", "null"},
    {"f7", "null"},
    {"f0", "null"},
    {"f8ff", "null"},
    {"c074323031332d30332d32315432303a30343a30305a", "\"2013-03-21T20:04:00Z\""},
    {"c11a514b67b0", "1363896240"},
    {"c1fb41d452d9ec200000", "1363896240.5"},
    {"d74401020304", "\"01020304\""},
    {"d818456449455446", "\"ZElFVEY=\""},
    {"d82076687474703a2f2f7777772e6578616d706c652e636f6d", "\"http://www.example.com\""},
    {"40", "\"\""},
    {"4401020304", "\"AQIDBA==\""},
    {"60", "\"\""},
    {"6161", "\"a\""},
    {"6449455446", "\"IETF\""},
    {"62225c", "\"\\\"\\\\\""},
    {"62c3bc", "\"\xc3\xbc\""},
    {"63e6b0b4", "\"\xe6\xb0\xb4\""},
    {"64f0908591", "\"\xf0\x90\x85\x91\""},
    {"80", "[]"},
    {"83010203", "[1,2,3]"},
    {"8301820203820405", "[1,[2,3],[4,5]]"},
    {"98190102030405060708090a0b0c0d0e0f101112131415161718181819",
     "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]"},
    {"a0", "{}"},
    {"a201020304", "{\"1\":2,\"3\":4}"},
    {"a26161016162820203", "{\"a\":1,\"b\":[2,3]}"},
    {"826161a161626163", "[\"a\",{\"b\":\"c\"}]"},
    {"a56161614161626142616361436164614461656145",
     "{\"a\":\"A\",\"b\":\"B\",\"c\":\"C\",\"d\":\"D\",\"e\":\"E\"}"},
    {"5f42010243030405ff", "\"AQIDBAU=\""},
    {"7f657374726561646d696e67ff", "\"streaming\""},
    {"9fff", "[]"},
    {"9f018202039f0405ffff", "[1,[2,3],[4,5]]"},
    {"9f01820203820405ff", "[1,[2,3],[4,5]]"},
    {"83018202039f0405ff", "[1,[2,3],[4,5]]"},
    {"83019f0203ff820405", "[1,[2,3],[4,5]]"},
    {"9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff",
     "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]"},
    {"bf61610161629f0203ffff", "{\"a\":1,\"b\":[2,3]}"},
    {"826161bf61626163ff", "[\"a\",{\"b\":\"c\"}]"},
    {"bf6346756ef563416d7421ff", "{\"Fun\":true,\"Amt\":-2}"},
};

static void test_appendix_a(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(appendix_a) / sizeof(appendix_a[0]); i++)
        check(appendix_a[i].hex, appendix_a[i].json);
}

/* Each of appendix A, and one byte less of it: a part of an item is none. */
static void test_cut_short(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(appendix_a) / sizeof(appendix_a[0]); i++)
        for (size_t size = strlen(appendix_a[i].hex) - 2; size > 0; size -= 2) {
            char hex[128];
            snprintf(hex, sizeof(hex), "%.*s", (int)size, appendix_a[i].hex);
            check(hex, NULL);
        }
    check("", NULL);
}

/* RFC 8949 appendix F, and text that is not UTF-8. */
static const char *const bad[] = {
    "18",
    "19",
    "1a",
    "1b",
    "1901",
    "1a0102",
    "1b01020304050607",
    "38",
    "58",
    "78",
    "98",
    "9a01ff00",
    "b8",
    "d8",
    "f8",
    "f900",
    "fa0000",
    "fb000000",
    "41",
    "61",
    "5affffffff00",
    "5bffffffffffffffff010203",
    "7affffffff00",
    "7b7fffffffffffffff010203",
    "81",
    "818181818181818181",
    "8200",
    "a1",
    "a20102",
    "a100",
    "a2000000",
    "c0",
    "5f4100",
    "7f6100",
    "9f",
    "9f0102",
    "bf",
    "bf01020102",
    "819f",
    "9f8000",
    "9f9f9f9f9fffffffff",
    "9f819f819f9fffffff",
    "1c",
    "1d",
    "1e",
    "3c",
    "5c",
    "7c",
    "9c",
    "bc",
    "dc",
    "fc",
    "fd",
    "fe",
    "f800",
    "f801",
    "f818",
    "f81f",
    "5f00ff",
    "5f21ff",
    "5f6100ff",
    "5f80ff",
    "5fa0ff",
    "5fc000ff",
    "5fe0ff",
    "7f4100ff",
    "5f5f4100ffff",
    "7f7f6100ffff",
    "ff",
    "81ff",
    "8200ff",
    "a1ff",
    "a1ff00",
    "a100ff",
    "a20000ff",
    "9f81ff",
    "9f829f81ff9f9fffffffff",
    "bf00ff",
    "bf000000ff",
    "1f",
    "3f",
    "df",
    "0000",
    "8000",
    "61ff",
    "62c328",
    "7f61c361bcff",
    "9bffffffffffffffff",
    "bbffffffffffffffff",
};

static void test_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        check(bad[i], NULL);
}

static void test_tags(void **state)
{
    (void)state;
    check("d9d9f7a0", "{}");                                 /* self-described */
    check("d543fbff00", "\"-_8A\"");                         /* 21: base64url */
    check("d643fbff00", "\"+/8A\"");                         /* 22: base64 */
    check("d741ab", "\"AB\"");                               /* 23: base16 */
    check("d5826161d741ab", "[\"a\",\"AB\"]");               /* the inner one counts */
    check("d78241aba1414141ff", "[\"AB\",{\"41\":\"FF\"}]"); /* all that is inside */
    check("d78241aba16161414c", "[\"AB\",{\"a\":\"4C\"}]");
    check("82d741ab41ab", "[\"AB\",\"qw==\"]"); /* and no more */
    check("c201", "1");                         /* a bignum of no bytes */
    check("c482211a0006b1ac", "[-2,438700]");   /* decimal fractions are arrays here */
    check("c0c1d81801", "1");
    check("dbffffffffffffffff01", "1");
}

static void test_keys(void **state)
{
    (void)state;
    check("a10102", "{\"1\":2}");
    check("a12102", "{\"-2\":2}");
    check("a1f93e0002", "{\"1.5\":2}");
    check("a1f502", "{\"true\":2}");
    check("a1f602", "{\"null\":2}");
    check("a1414102", "{\"QQ==\":2}");
    check("a162225c02", "{\"\\\"\\\\\":2}");
    check("a18201616102", "{\"[1,\\\"a\\\"]\":2}");
    check("a1a1616102f5", "{\"{\\\"a\\\":2}\":true}");
    check("a1818102f5", "{\"[[2]]\":true}");
    check("a1a1810102f5", NULL);                  /* a container as a key inside a key */
    check("a2616101616102", "{\"a\":1,\"a\":2}"); /* the last wins, later */
    check("a201016131f5", "{\"1\":1,\"1\":true}");
}

static enum err nested(uint8_t byte, size_t depth, size_t *ret_size)
{
    struct buf out;
    const char *why;
    uint8_t *bytes = malloc(depth + 1);
    assert_non_null(bytes);
    memset(bytes, byte, depth);
    bytes[depth] = 0;
    buf_init(&out, MIB);
    enum err err = content_to_json(CONTENT_CBOR, bytes_from(bytes, depth + 1), 0, &out, &why);
    *ret_size = out.size;
    if (err == ERR_TOO_DEEP)
        assert_non_null(strstr(why, "1000"));
    buf_fini(&out);
    free(bytes);
    return err;
}

static void test_depth(void **state)
{
    (void)state;
    size_t size;
    assert_int_equal(nested(0x81, 1000, &size), ERR_OK);
    assert_int_equal(size, 2001);
    assert_int_equal(nested(0x81, 1001, &size), ERR_TOO_DEEP);
    assert_int_equal(nested(0x81, 10000, &size), ERR_TOO_DEEP);
    assert_int_equal(nested(0xc1, 100000, &size), ERR_OK); /* tags are no depth */
    assert_int_equal(nested(0xa1, 10000, &size), ERR_TOO_DEEP);
}

/* What would grow beyond the caller's bound, and every allocation that may fail. */
static void test_limits(void **state)
{
    (void)state;
    static const uint8_t item[] = "\xa2\x7f\x61\x61\x61\x62\xff\x44"
                                  "abcd\x81\x61z\x81\x05";
    const struct bytes payload = {item, sizeof(item) - 1};
    struct buf out;
    const char *why;
    buf_init(&out, 8);
    assert_int_equal(cbor_to_json(payload, &out, &why), ERR_TOO_LARGE);
    buf_fini(&out);
    for (uint64_t k = 1;; k++) {
        buf_init(&out, KIB);
        mem_fail_at(k);
        enum err err = cbor_to_json(payload, &out, &why);
        mem_fail_at(0);
        if (err == ERR_OK)
            assert_string_equal(buf_cstr(&out), "{\"ab\":\"YWJjZA==\",\"[\\\"z\\\"]\":[5]}");
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
        cmocka_unit_test(test_appendix_a), cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_malformed),  cmocka_unit_test(test_tags),
        cmocka_unit_test(test_keys),       cmocka_unit_test(test_depth),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
