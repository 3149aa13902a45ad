/* Every first byte of the specification, its bounds, and what is no MessagePack. */
#include "codec/msgpack.h"

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

static enum err convert(const char *hex, struct buf *out, const char **ret_why)
{
    size_t size = strlen(hex) / 2;
    uint8_t *bytes = malloc(size ? size : 1); /* exact, for the sanitizers */
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        bytes[i] = (uint8_t)byte;
    }
    enum err err = msgpack_to_json(bytes_from(bytes, size), out, ret_why);
    free(bytes);
    return err;
}

/* Expected NULL: an error; so is the payload less its last byte. */
static void check(const char *hex, const char *expected)
{
    struct buf out;
    const char *why = NULL;
    char cut[600];
    buf_init(&out, MIB);
    enum err err = convert(hex, &out, &why);
    if (!expected && err == ERR_OK)
        fail_msg("%s is taken as %s", hex, buf_cstr(&out));
    if (expected && (err != ERR_OK || strcmp(buf_cstr(&out), expected) != 0))
        fail_msg("%s: %s (%s), expected %s", hex, buf_cstr(&out), why ? why : "", expected);
    if (expected) {
        snprintf(cut, sizeof(cut), "%.*s", (int)strlen(hex) - 2, hex);
        assert_int_equal(convert(cut, &out, &why), ERR_SYNTAX);
        assert_non_null(why);
    }
    buf_fini(&out);
}

static void test_scalars(void **state)
{
    (void)state;
    check("00", "0");
    check("7f", "127");
    check("e0", "-32");
    check("ff", "-1");
    check("c0", "null");
    check("c2", "false");
    check("c3", "true");
    check("ccff", "255");
    check("cdffff", "65535");
    check("ceffffffff", "4294967295");
    check("cfffffffffffffffff", "18446744073709551615");
    check("d080", "-128");
    check("d07f", "127");
    check("d18000", "-32768");
    check("d280000000", "-2147483648");
    check("d38000000000000000", "-9223372036854775808");
    check("d37fffffffffffffff", "9223372036854775807");
    check("ca3fc00000", "1.5");
    check("cb3ff199999999999a", "1.1");
    check("cb7ff8000000000000", "NaN");
    check("caff800000", "-Infinity");
}

static void test_strings(void **state)
{
    (void)state;
    check("a0", "\"\"");
    check("a3c3bc22", "\"\xc3\xbc\\\"\"");
    check("d90161", "\"a\"");
    check("da000161", "\"a\"");
    check("db0000000161", "\"a\"");
    check("a2c328", "\"wyg=\""); /* an old encoder's raw bytes */
    check("c402ff00", "\"/wA=\"");
    check("c50001ff", "\"/w==\"");
    check("c600000001ff", "\"/w==\"");
}

static void test_containers(void **state)
{
    (void)state;
    check("90", "[]");
    check("9301a161c0", "[1,\"a\",null]");
    check("dc000201a162", "[1,\"b\"]");
    check("dd0000000101", "[1]");
    check("80", "{}");
    check("82a7636f6d70616374c3a6736368656d6100", "{\"compact\":true,\"schema\":0}");
    check("de0001a16193019002", "{\"a\":[1,[],2]}");
    check("df00000001ff81c2a178", "{\"-1\":{\"false\":\"x\"}}");
    check("8191a1610a", "{\"[\\\"a\\\"]\":10}");
    check("8181810203ff04", NULL);
}

static void test_extensions(void **state)
{
    (void)state;
    check("d6ff514b67b0", "\"2013-03-21T20:04:00+00:00\"");
    check("d7ff77359400514b67b0", "\"2013-03-21T20:04:00.500000+00:00\"");
    check("c70cff00000001ffffffffffffffff", "\"1969-12-31T23:59:59+00:00\"");
    check("d4017f", "{\"type\":1,\"data\":\"fw==\"}");
    check("d505aabb", "{\"type\":5,\"data\":\"qrs=\"}");
    check("d8ff000102030405060708090a0b0c0d0e0f",
          "{\"type\":-1,\"data\":\"AAECAwQFBgcICQoLDA0ODw==\"}");
    check("c70007", "{\"type\":7,\"data\":\"\"}");
    check("c8000180aa", "{\"type\":-128,\"data\":\"qg==\"}");
    check("c90000000102aa", "{\"type\":2,\"data\":\"qg==\"}");
    /* Beyond year 9999, and a second's worth of nanoseconds: no time. */
    check("c70cff000000007fffffffffffffff", "{\"type\":-1,\"data\":\"AAAAAH//////////\"}");
    check("d7ffee6b280000000000", "{\"type\":-1,\"data\":\"7msoAAAAAAA=\"}");
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const bad[] = {"",           "c1",           "0000",         "9101c1",
                                      "a1",         "81",           "8101",         "ddffffffff",
                                      "dfffffffff", "dbffffffff61", "c6ffffffff00", "c9ffffffff01"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        check(bad[i], NULL);
}

static void test_limits(void **state)
{
    (void)state;
    static uint8_t deep[10000];
    struct buf out;
    const char *why;
    memset(deep, 0x91, sizeof(deep));
    buf_init(&out, MIB);
    assert_int_equal(msgpack_to_json(bytes_from(deep, sizeof(deep)), &out, &why), ERR_TOO_DEEP);
    deep[1000] = 0;
    buf_clear(&out);
    assert_int_equal(msgpack_to_json(bytes_from(deep, 1001), &out, &why), ERR_OK);
    buf_fini(&out);
    for (uint64_t k = 1;; k++) {
        buf_init(&out, 64);
        mem_fail_at(k);
        enum err err = convert("82a16191c401ff81a16201a163", &out, &why);
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
        cmocka_unit_test(test_scalars),    cmocka_unit_test(test_strings),
        cmocka_unit_test(test_containers), cmocka_unit_test(test_extensions),
        cmocka_unit_test(test_malformed),  cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
