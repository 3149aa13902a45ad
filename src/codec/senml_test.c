/* Every example of RFC 8428 that is JSON or CBOR, and what §4 asks for beyond them. */
#include "codec/senml.h"

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

#define NOW_US 1772600767250000 /* 2026-03-04T05:06:07.25Z */
#define NOW    "1772600767.250000"
#define OW     "urn:dev:ow:10e2073a01080063"

static void check_bytes(struct bytes payload, const char *expected)
{
    struct buf out;
    const char *why = NULL;
    buf_init(&out, MIB);
    enum err err = senml_to_json(payload, NOW_US, &out, &why);
    if (!expected) {
        if (err == ERR_OK)
            fail_msg("taken as %s", buf_cstr(&out));
        assert_int_equal(err, ERR_SYNTAX);
        assert_non_null(why);
    } else if (err != ERR_OK || strcmp(buf_cstr(&out), expected) != 0) {
        fail_msg("%s (%s), expected %s", buf_cstr(&out), why ? why : "", expected);
    }
    buf_fini(&out);
}

/* Expected NULL: an error. */
static void check(const char *pack, const char *expected)
{
    check_bytes(bytes_from_text(pack), expected);
}

static void test_points(void **state)
{
    (void)state;
    /* 5.1.1 */
    check("[{\"n\":\"" OW "\",\"u\":\"Cel\",\"v\":23.1}]",
          "[{\"n\":\"" OW "\",\"u\":\"Cel\",\"v\":23.1,\"t\":" NOW "}]");
    /* 5.1.2 */
    check("[{\"bn\":\"" OW ":\",\"n\":\"voltage\",\"u\":\"V\",\"v\":120.1},\n"
          " {\"n\":\"current\",\"u\":\"A\",\"v\":1.2}]",
          "[{\"n\":\"" OW ":voltage\",\"u\":\"V\",\"v\":120.1,\"t\":" NOW "},"
          "{\"n\":\"" OW ":current\",\"u\":\"A\",\"v\":1.2,\"t\":" NOW "}]");
    check("[{\"bn\":\"" OW "\",\"bt\":1.320067464e+09,\"bu\":\"%RH\",\"v\":21.2},"
          "{\"t\":10,\"v\":21.3},{\"t\":20,\"v\":21.4}]",
          "[{\"n\":\"" OW "\",\"u\":\"%RH\",\"v\":21.2,\"t\":1320067464},"
          "{\"n\":\"" OW "\",\"u\":\"%RH\",\"v\":21.3,\"t\":1320067474},"
          "{\"n\":\"" OW "\",\"u\":\"%RH\",\"v\":21.4,\"t\":1320067484}]");
}

#define CURRENT(v, t)                                                                              \
    ",{\"n\":\"urn:dev:ow:10e2073a0108006:current\",\"u\":\"A\",\"v\":" v ",\"t\":" t "}"
static const char previous_seconds[] =
    "[{\"n\":\"urn:dev:ow:10e2073a0108006:voltage\",\"u\":\"V\",\"v\":120.1,"
    "\"t\":1276020076.001000}" CURRENT("1.2", "1276020071.001000")
        CURRENT("1.3", "1276020072.001000") CURRENT("1.4", "1276020073.001000")
            CURRENT("1.5", "1276020074.001000") CURRENT("1.6", "1276020075.001000")
                CURRENT("1.7", "1276020076.001000") "]";

/* 5.1.2's third, and the same in CBOR: section 6. */
static void test_previous_seconds(void **state)
{
    (void)state;
    static const uint8_t cbor[] =
        "\x87\xa7\x21\x78\x1b\x75\x72\x6e\x3a\x64\x65\x76\x3a\x6f\x77\x3a\x31\x30\x65\x32\x30\x37"
        "\x33\x61\x30\x31\x30\x38\x30\x30\x36\x3a\x22\xfb\x41\xd3\x03\xa1\x5b\x00\x10\x62\x23\x61"
        "\x41\x20\x05\x00\x67\x76\x6f\x6c\x74\x61\x67\x65\x01\x61\x56\x02\xfb\x40\x5e\x06\x66\x66"
        "\x66\x66\x66\xa3\x00\x67\x63\x75\x72\x72\x65\x6e\x74\x06\x24\x02\xfb\x3f\xf3\x33\x33\x33"
        "\x33\x33\x33\xa3\x00\x67\x63\x75\x72\x72\x65\x6e\x74\x06\x23\x02\xfb\x3f\xf4\xcc\xcc\xcc"
        "\xcc\xcc\xcd\xa3\x00\x67\x63\x75\x72\x72\x65\x6e\x74\x06\x22\x02\xfb\x3f\xf6\x66\x66\x66"
        "\x66\x66\x66\xa3\x00\x67\x63\x75\x72\x72\x65\x6e\x74\x06\x21\x02\xf9\x3e\x00\xa3\x00\x67"
        "\x63\x75\x72\x72\x65\x6e\x74\x06\x20\x02\xfb\x3f\xf9\x99\x99\x99\x99\x99\x9a\xa3\x00\x67"
        "\x63\x75\x72\x72\x65\x6e\x74\x06\x00\x02\xfb\x3f\xfb\x33\x33\x33\x33\x33\x33";
    check("[{\"bn\":\"urn:dev:ow:10e2073a0108006:\",\"bt\":1.276020076001e+09,\"bu\":\"A\","
          "\"bver\":5,\"n\":\"voltage\",\"u\":\"V\",\"v\":120.1},"
          "{\"n\":\"current\",\"t\":-5,\"v\":1.2},{\"n\":\"current\",\"t\":-4,\"v\":1.3},"
          "{\"n\":\"current\",\"t\":-3,\"v\":1.4},{\"n\":\"current\",\"t\":-2,\"v\":1.5},"
          "{\"n\":\"current\",\"t\":-1,\"v\":1.6},{\"n\":\"current\",\"v\":1.7}]",
          previous_seconds);
    check_bytes(BYTES_LITERAL(cbor), previous_seconds);
    for (size_t size = 0; size < sizeof(cbor) - 1; size++)
        check_bytes(bytes_from(cbor, size), NULL);
}

/* 5.1.3, and what 5.1.4 says it resolves to. */
static void test_resolved(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"%RH", "20", "1320067464"},       {"lon", "24.30621", "1320067464"},
        {"lat", "60.07965", "1320067464"}, {"%RH", "20.3", "1320067524"},
        {"lon", "24.30622", "1320067524"}, {"lat", "60.07965", "1320067524"},
        {"%RH", "20.7", "1320067584"},     {"lon", "24.30623", "1320067584"},
        {"lat", "60.07966", "1320067584"}, {"%EL", "98", "1320067614"},
        {"%RH", "21.2", "1320067644"},     {"lon", "24.30628", "1320067644"},
        {"lat", "60.07967", "1320067644"},
    };
    struct buf expected;
    buf_init(&expected, MIB);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        buf_printf(&expected, "%c{\"n\":\"" OW "\",\"u\":\"%s\",\"v\":%s,\"t\":%s}",
                   i == 0 ? '[' : ',', rows[i][0], rows[i][1], rows[i][2]);
    buf_byte(&expected, ']');
    check("[{\"bn\":\"" OW "\",\"bt\":1.320067464e+09,\"bu\":\"%RH\",\"v\":20},"
          "{\"u\":\"lon\",\"v\":24.30621},{\"u\":\"lat\",\"v\":60.07965},{\"t\":60,\"v\":20.3},"
          "{\"u\":\"lon\",\"t\":60,\"v\":24.30622},{\"u\":\"lat\",\"t\":60,\"v\":60.07965},"
          "{\"t\":120,\"v\":20.7},{\"u\":\"lon\",\"t\":120,\"v\":24.30623},"
          "{\"u\":\"lat\",\"t\":120,\"v\":60.07966},{\"u\":\"%EL\",\"t\":150,\"v\":98},"
          "{\"t\":180,\"v\":21.2},{\"u\":\"lon\",\"t\":180,\"v\":24.30628},"
          "{\"u\":\"lat\",\"t\":180,\"v\":60.07967}]",
          buf_cstr(&expected));
    buf_fini(&expected);
}

static void test_kinds(void **state)
{
    (void)state;
    /* 5.1.5 */
    static const char resolved[] =
        "[{\"n\":\"" OW ":temp\",\"u\":\"Cel\",\"v\":23.1,\"t\":" NOW "},"
        "{\"n\":\"" OW ":label\",\"vs\":\"Machine Room\",\"t\":" NOW "},"
        "{\"n\":\"" OW ":open\",\"vb\":false,\"t\":" NOW "},"
        "{\"n\":\"" OW ":nfv-reader\",\"vd\":\"aGkgCg\",\"t\":" NOW "}]";
    check("[{\"bn\":\"" OW ":\",\"n\":\"temp\",\"u\":\"Cel\",\"v\":23.1},"
          "{\"n\":\"label\",\"vs\":\"Machine Room\"},{\"n\":\"open\",\"vb\":false},"
          "{\"n\":\"nfv-reader\",\"vd\":\"aGkgCg\"}]",
          resolved);
    /* The same in CBOR, in an array of indefinite length. */
    check_bytes(
        BYTES_LITERAL(
            "\x9f\xa4\x21\x78\x1c" OW ":\x00\x64temp\x01\x63"
            "Cel\x02\xfb\x40\x37\x19\x99\x99\x99\x99\x9a\xa2\x00\x65label\x03\x6c"
            "Machine Room\xa2\x00\x64open\x04\xf4\xa2\x00\x6anfv-reader\x08\x44hi \x0a\xff"),
        resolved);
    /* Decimal fractions (tag 4). */
    check_bytes(
        BYTES_LITERAL(
            "\x81\xa3\x00\x61x\x02\xc4\x82\x20\x18\xe7\x22\xc4\x82\x02\x1a\x01\x03\x66\x40"),
        "[{\"n\":\"x\",\"v\":231e-1,\"t\":1700000000}]");
    check_bytes(BYTES_LITERAL("\x81\xa3\x00\x61x\x02\xc4\x82\x20\x38\xe6\x22\x1a\x65\x53\xf1\x00"),
                "[{\"n\":\"x\",\"v\":-231e-1,\"t\":1700000000}]");
    /* 5.1.6 */
    check("[{\"bn\":\"2001:db8::2/\",\"bt\":1.320078429e+09,\"n\":\"temperature\",\"u\":\"Cel\","
          "\"v\":25.2},{\"n\":\"humidity\",\"u\":\"%RH\",\"v\":30},"
          "{\"bn\":\"2001:db8::1/\",\"n\":\"temperature\",\"u\":\"Cel\",\"v\":12.3},"
          "{\"n\":\"humidity\",\"u\":\"%RH\",\"v\":67}]",
          "[{\"n\":\"2001:db8::2/temperature\",\"u\":\"Cel\",\"v\":25.2,\"t\":1320078429},"
          "{\"n\":\"2001:db8::2/humidity\",\"u\":\"%RH\",\"v\":30,\"t\":1320078429},"
          "{\"n\":\"2001:db8::1/temperature\",\"u\":\"Cel\",\"v\":12.3,\"t\":1320078429},"
          "{\"n\":\"2001:db8::1/humidity\",\"u\":\"%RH\",\"v\":67,\"t\":1320078429}]");
}

/* 5.1.7 */
static void test_actuators(void **state)
{
    (void)state;
    check("[{\"bn\":\"" OW ":\"},{\"n\":\"temp\",\"u\":\"Cel\",\"v\":23.1},"
          "{\"n\":\"heat\",\"u\":\"/\",\"v\":1},{\"n\":\"fan\",\"u\":\"/\",\"v\":0}]",
          "[{\"n\":\"" OW ":temp\",\"u\":\"Cel\",\"v\":23.1,\"t\":" NOW "},"
          "{\"n\":\"" OW ":heat\",\"u\":\"/\",\"v\":1,\"t\":" NOW "},"
          "{\"n\":\"" OW ":fan\",\"u\":\"/\",\"v\":0,\"t\":" NOW "}]");
    check("[{\"bt\":1.320078429e+09,\"bu\":\"/\",\"n\":\"2001:db8::3\",\"v\":1},"
          "{\"n\":\"2001:db8::4\",\"v\":1}]",
          "[{\"n\":\"2001:db8::3\",\"u\":\"/\",\"v\":1,\"t\":1320078429},"
          "{\"n\":\"2001:db8::4\",\"u\":\"/\",\"v\":1,\"t\":1320078429}]");
    check("[{\"bt\":1.320078429e+09,\"bu\":\"/\",\"n\":\"2001:db8::3\",\"v\":0.5},"
          "{\"n\":\"2001:db8::4\",\"v\":0.5},{\"n\":\"2001:db8::3\",\"t\":0.1,\"v\":0},"
          "{\"n\":\"2001:db8::4\",\"t\":0.1,\"v\":0}]",
          "[{\"n\":\"2001:db8::3\",\"u\":\"/\",\"v\":0.5,\"t\":1320078429},"
          "{\"n\":\"2001:db8::4\",\"u\":\"/\",\"v\":0.5,\"t\":1320078429},"
          "{\"n\":\"2001:db8::3\",\"u\":\"/\",\"v\":0,\"t\":1320078429.100000},"
          "{\"n\":\"2001:db8::4\",\"u\":\"/\",\"v\":0,\"t\":1320078429.100000}]");
}

static void test_times(void **state)
{
    (void)state;
    check("[{\"n\":\"a\",\"v\":1,\"t\":-0.25},{\"n\":\"a\",\"v\":1,\"t\":268435455},"
          "{\"n\":\"a\",\"v\":1,\"t\":268435456},{\"n\":\"a\",\"v\":1,\"t\":1e300},"
          "{\"n\":\"a\",\"v\":1,\"t\":NaN}]",
          "[{\"n\":\"a\",\"v\":1,\"t\":1772600767},"
          "{\"n\":\"a\",\"v\":1,\"t\":2041036222.250000},"
          "{\"n\":\"a\",\"v\":1,\"t\":268435456},{\"n\":\"a\",\"v\":1,\"t\":1e+300},"
          "{\"n\":\"a\",\"v\":1,\"t\":NaN}]");
    check("[{\"n\":\"a\",\"v\":1,\"bt\":1700000000,\"t\":0.000001,\"ut\":60}]",
          "[{\"n\":\"a\",\"v\":1,\"t\":1700000000.000001,\"ut\":60}]");
}

static void test_sums(void **state)
{
    (void)state;
    check("[{\"bn\":\"a\",\"bt\":1700000000,\"bv\":10,\"bs\":100,\"v\":2.5,\"s\":1},"
          "{\"v\":9007199254740993},{\"s\":5},{\"t\":1},{\"vs\":\"x\"},{\"bv\":0,\"v\":3}]",
          "[{\"n\":\"a\",\"v\":12.5,\"s\":101.0,\"t\":1700000000},"
          "{\"n\":\"a\",\"v\":9007199254741002.0,\"s\":100.0,\"t\":1700000000},"
          "{\"n\":\"a\",\"s\":105.0,\"t\":1700000000},"
          "{\"n\":\"a\",\"v\":10.0,\"s\":100.0,\"t\":1700000001},"
          "{\"n\":\"a\",\"vs\":\"x\",\"s\":100.0,\"t\":1700000000},"
          "{\"n\":\"a\",\"v\":3.0,\"s\":100.0,\"t\":1700000000}]");
    /* Without a base the number's text stays: an integer beyond 2^53 too. */
    check("[{\"n\":\"a\",\"bt\":1700000000,\"v\":9007199254740993,\"s\":1.50}]",
          "[{\"n\":\"a\",\"v\":9007199254740993,\"s\":1.50,\"t\":1700000000}]");
}

static void test_fields(void **state)
{
    (void)state;
    check("[]", "[]");
    check(" [ { } , {\"bn\":\"x\"} ] ", "[]");
    check("[{\"n\":\"a\",\"v\":null,\"bt\":1700000000,\"loc\":[1,{\"k\":null}],\"bx\":\"y\"}]",
          "[{\"n\":\"a\",\"t\":1700000000,\"loc\":[1,{\"k\":null}],\"bx\":\"y\"}]");
    check("[{\"n\":\"-a\\u0041\\/:._\",\"bn\":\"\\u007a\",\"bt\":1700000000,\"v\":1,\"v\":2}]",
          "[{\"n\":\"\\u007a-a\\u0041\\/:._\",\"v\":2,\"t\":1700000000}]");
    check("[{\"n\":\"a\",\"v\":null,\"bt\":1700000000},{\"n\":\"a\",\"v\":1,\"vs\":null},"
          "{\"n\":\"a\",\"s\":2,\"vb\":true}]",
          "[{\"n\":\"a\",\"t\":1700000000},{\"n\":\"a\",\"v\":1,\"t\":1700000000},"
          "{\"n\":\"a\",\"vb\":true,\"s\":2,\"t\":1700000000}]");
    check("[{\"n\":\"a\",\"bver\":10,\"v\":1,\"bt\":1700000000}]",
          "[{\"n\":\"a\",\"v\":1,\"t\":1700000000}]");
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{}",
        "{\"n\":\"a\",\"v\":1}",
        "[1]",
        "[[]]",
        "[{\"n\":\"a\",\"v\":1}",
        "[{\"n\":\"a\",\"v\":1}]]",
        "[{\"n\":\"a\",\"v\":1},]",
        "[{\"n\":\"a\" \"v\":1}]",
        "[{\"n\":\"a\",\"v\"}]",
        "[{\"n\":\"a\",\"v\":01}]",
        "[{\"v\":1}]",
        "[{\"bn\":\"\",\"n\":\"\",\"v\":1}]",
        "[{\"n\":1,\"v\":1}]",
        "[{\"n\":\"a b\",\"v\":1}]",
        "[{\"n\":\"_a\",\"v\":1}]",
        "[{\"bn\":\"/\",\"n\":\"a\",\"v\":1}]",
        "[{\"n\":\"a\\n\",\"v\":1}]",
        "[{\"n\":\"a\\u0020\",\"v\":1}]",
        "[{\"n\":\"a\\u0141\",\"v\":1}]",
        "[{\"n\":\"\xc3\xbc\",\"v\":1}]",
        "[{\"bn\":\"\xc3\xbc\",\"v\":1}]",
        "[{\"n\":\"a\",\"v\":1,\"vs\":\"x\"}]",
        "[{\"n\":\"a\",\"vb\":true,\"vd\":\"eA\"}]",
        "[{\"n\":\"a\",\"v\":1},{\"n\":\"b\",\"u\":\"Cel\"}]",
        "[{\"n\":\"a\"}]",
        "[{\"n\":\"a\",\"v\":\"1\"}]",
        "[{\"n\":\"a\",\"vb\":1}]",
        "[{\"n\":\"a\",\"vs\":true}]",
        "[{\"n\":\"a\",\"vd\":{}}]",
        "[{\"n\":\"a\",\"v\":1,\"bver\":11}]",
        "[{\"n\":\"a\",\"v\":1,\"bver\":NaN}]",
        "[{\"n\":\"a\",\"v\":1,\"must_\":1}]",
        "[{n:1}]",
        "not SenML",
        "\xa0",
        "\x81\x01",
        "\x81\xa1\x00\x01",
        "\x81\xa1\x02\xc4\x81\x01",
        "\x81\xa1\x02\xc4\x82\x61x\x01",
        "\x81\xa1\x02\xc4\x82\x19\xff\xff\x01",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        check(bad[i], NULL);
}

/* A long base name before many records cannot grow beyond the bound; any allocation may fail. */
static void test_limits(void **state)
{
    (void)state;
    struct buf out;
    const char *why;
    static const char pack[] = "[{\"bn\":\"0123456789\",\"v\":1},{\"v\":2},{\"v\":3,\"x\":1}]";
    buf_init(&out, 60);
    assert_int_equal(senml_to_json(bytes_from_text(pack), 0, &out, &why), ERR_TOO_LARGE);
    buf_fini(&out);
    for (uint64_t k = 1;; k++) {
        buf_init(&out, KIB);
        mem_fail_at(k);
        enum err err =
            senml_to_json(BYTES_LITERAL("\x81\xa3\x00\x61x\x02\x01\x61y\x43zzz"), 0, &out, &why);
        mem_fail_at(0);
        if (err == ERR_OK)
            assert_string_equal(buf_cstr(&out), "[{\"n\":\"x\",\"v\":1,\"t\":0,\"y\":\"enp6\"}]");
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
        cmocka_unit_test(test_points),    cmocka_unit_test(test_previous_seconds),
        cmocka_unit_test(test_resolved),  cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_actuators), cmocka_unit_test(test_times),
        cmocka_unit_test(test_sums),      cmocka_unit_test(test_fields),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
