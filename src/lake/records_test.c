/* Payloads of other formats, from their bytes to the columns' values and the dead letters. What the
 * formats mean is tested in codec/; here, that it arrives. */
#include "lake/records.h"

#include "base/alloc.h"
#include "support/fake_parquet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* wants cmocka before */
#include "support/batch_check.h"

static void send_bytes(struct rig *rig, enum content_format format, struct bytes payload)
{
    rig->route.format = format;
    assert_int_equal(rig_block(rig), ERR_OK);
    assert_int_equal(rig_message(rig, payload, 0), ERR_OK);
    assert_int_equal(rig_append(rig), ERR_OK);
}

#define SEND_BYTES(rig, format, literal) send_bytes(rig, format, BYTES_LITERAL(literal))

static void test_cbor(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    /* {"t": 21.5 (half), "n": 1.1 (double), "f": 0.1 (single), "id": "a", "ok": true,
     *  "bin": h'0102', "big": 2^64-1, "list": [1, null], "o": {1: "x"}, "timestamp": 1(1772600400)}
     */
    SEND_BYTES(&rig, CONTENT_CBOR,
               "\xaa\x61t\xf9\x4d\x60\x61n\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a\x61"
               "f\xfa\x3d\xcc\xcc\xcd\x62id\x61"
               "a\x62ok\xf5\x63"
               "bin\x42\x01\x02\x63"
               "big\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x64list\x82\x01\xf6\x61o\xa1\x01\x61x"
               "\x69timestamp\xc1\x1a\x69\xa7\xbc\x50");
    /* [{"t": 1}, 7, {"t": NaN}], of indefinite length; then two of a key */
    SEND_BYTES(&rig, CONTENT_CBOR, "\x9f\xa1\x61t\x01\x07\xa1\x61t\xf9\x7e\x00\xff");
    SEND_BYTES(&rig, CONTENT_CBOR, "\xa2\x61t\x02\x61t\x03");
    SEND_BYTES(&rig, CONTENT_CBOR, "\x80");
    SEND_BYTES(&rig, CONTENT_CBOR, "");
    json_t *rows = cut_rows(&rig);
    assert_int_equal(json_array_size(rows), 6);
    check_value(rows, 0, "t", "null"); /* waits for no column, so it comes first */
    check_value(rows, 1, "t", "21.5");
    check_value(rows, 1, "n", "1.1000000000000001");
    check_value(rows, 1, "f", "0.10000000149011612");
    check_value(rows, 1, "id", "\"a\"");
    check_value(rows, 1, "ok", "true");
    check_value(rows, 1, "bin", "\"AQI=\"");
    check_value(rows, 1, "big", "\"18446744073709551615\"");
    check_value(rows, 1, "list", "[1.0,null]");
    check_value(rows, 1, "o", "{\"1\":\"x\"}");
    check_value(rows, 1, "timestamp", "\"2026-03-04T05:00:00+00:00\"");
    check_value(rows, 1, "_event_time", "1772600400000000");
    check_value(rows, 2, "t", "1.0");
    check_value(rows, 3, "value", "7.0");
    check_value(rows, 4, "t", "3.0");
    check_value(rows, 5, "content", "\"\"");
    json_decref(rows);
    rig_fini(&rig);
}

static void test_senml(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    rig.route.timestamp_field = bytes_from_text("t"); /* as connectors say */
    SEND_BYTES(
        &rig, CONTENT_SENML_JSON,
        "[{\"bn\":\"urn:dev:x:\",\"bt\":1772600400.5,\"n\":\"temp\",\"u\":\"Cel\",\"v\":23.1},"
        "{\"n\":\"door\",\"vb\":true,\"t\":1}]");
    /* in CBOR, and "now" */
    SEND_BYTES(&rig, CONTENT_SENML_JSON, "\x81\xa3\x21\x61x\x03\x62hi\x06\x38\x3b");
    json_t *rows = cut_rows(&rig);
    assert_int_equal(json_array_size(rows), 3);
    check_value(rows, 0, "n", "\"urn:dev:x:temp\"");
    check_value(rows, 0, "u", "\"Cel\"");
    check_value(rows, 0, "v", "23.100000000000001");
    check_value(rows, 0, "timestamp", "\"2026-03-04T05:00:00.500000+00:00\"");
    check_value(rows, 0, "_event_time", "1772600400500000");
    check_value(rows, 0, "t", "1772600400.5");
    check_value(rows, 1, "vb", "true");
    check_value(rows, 1, "_event_time", "1772600401500000");
    check_value(rows, 2, "n", "\"x\"");
    check_value(rows, 2, "vs", "\"hi\"");
    check_value(rows, 2, "timestamp",
                "\"2026-03-04T05:05:07+00:00\""); /* a minute before arrival */
    json_decref(rows);
    rig_fini(&rig);
}

static void test_csv_and_msgpack(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    SEND_BYTES(&rig, CONTENT_CSV, "timestamp,t,name\n2026-03-04T05:00:00Z,1.5,a\n,,b\n");
    SEND_BYTES(&rig, CONTENT_MSGPACK,
               "\x83\xa1t\xcb\x40\x04\x00\x00\x00\x00\x00\x00\xa4name\xa1"
               "c\xa9timestamp\xd6\xff\x69\xa7\xbc\x50");
    SEND_BYTES(&rig, CONTENT_MSGPACK, "\x92\x81\xa1t\xca\x7f\x80\x00\x00\xc0");
    json_t *rows = cut_rows(&rig);
    assert_int_equal(json_array_size(rows), 5);
    check_value(rows, 0, "t", "null"); /* {"value":null} waits for no column */
    check_value(rows, 1, "t", "1.5");
    check_value(rows, 1, "name", "\"a\"");
    check_value(rows, 1, "_event_time", "1772600400000000");
    check_value(rows, 2, "t", "null");
    check_value(rows, 2, "name", "\"b\"");
    check_value(rows, 3, "t", "2.5");
    check_value(rows, 3, "_event_time", "1772600400000000");
    check_value(rows, 4, "t", "\"Infinity\""); /* fake_parquet.h's word for the double */
    json_decref(rows);
    rig_fini(&rig);
}

static void expect_dead(const json_t *dead, size_t row, const char *reason, const char *detail)
{
    char expected[160];
    snprintf(expected, sizeof(expected), "\"%s\"", reason);
    check_value(dead, row, "reason", expected);
    const char *text = json_string_value(json_object_get(json_array_get(dead, row), "detail"));
    if (!text || !strstr(text, detail))
        fail_msg("dead letter %zu: %s", row, text ? text : "");
}

/* A payload is decoded altogether or not at all, and what is wrong with it is said. */
static void test_dead_letters(void **state)
{
    (void)state;
    static uint8_t deep[10000];
    struct rig rig;
    memset(deep, 0x81, sizeof(deep));
    rig_setup(&rig);
    SEND_BYTES(&rig, CONTENT_CBOR, "\x82\xa1\x61t\x01\xa1");
    send_bytes(&rig, CONTENT_CBOR, bytes_from(deep, sizeof(deep)));
    SEND_BYTES(&rig, CONTENT_SENML_JSON, "[{\"n\":\"a\",\"v\":1},{\"v\":2,\"n\":7}]");
    SEND_BYTES(&rig, CONTENT_SENML_CBOR, "\xa0");
    SEND_BYTES(&rig, CONTENT_CSV, "a\n1\n1,2\n");
    SEND_BYTES(&rig, CONTENT_MSGPACK, "\xc1");
    SEND_BYTES(&rig, (enum content_format)200, "x"); /* of a later version */
    struct batch_stats stats;
    batch_stats_get(rig.batch, &stats);
    assert_int_equal(stats.rows, 0);
    assert_int_equal(stats.rejected, 7);
    struct cut cut;
    assert_int_equal(batch_cut(rig.batch, &cut, NULL), ERR_OK);
    json_t *dead = rig_rows(&cut, true);
    assert_int_equal(json_array_size(dead), 7);
    expect_dead(dead, 0, "invalid_cbor", "ends before");
    expect_dead(dead, 1, "invalid_cbor", "1000 levels");
    expect_dead(dead, 2, "invalid_senml", "wrong type");
    expect_dead(dead, 3, "invalid_senml", "array");
    expect_dead(dead, 4, "invalid_csv", "more values");
    expect_dead(dead, 5, "invalid_msgpack", "never used");
    expect_dead(dead, 6, "unsupported_format", "no decoder");
    json_decref(dead);
    cut_fini(&cut);
    rig_fini(&rig);
}

/* As JSON of the same depth: columns to sixteen levels, the rest as text. */
static void test_nested(void **state)
{
    (void)state;
    struct rig rig;
    uint8_t bytes[2 + 3 * 40];
    size_t size = 0;
    for (int i = 0; i < 40; i++) {
        bytes[size++] = 0xa1;
        bytes[size++] = 0x61;
        bytes[size++] = 'k';
    }
    bytes[size++] = 1;
    rig_setup(&rig);
    send_bytes(&rig, CONTENT_CBOR, bytes_from(bytes, size));
    json_t *rows = cut_rows(&rig);
    assert_int_equal(json_array_size(rows), 1);
    const char *rescued =
        json_string_value(json_object_get(json_array_get(rows, 0), "_rescued_data"));
    assert_non_null(rescued);
    assert_non_null(strstr(rescued, "{\"k\":{\"k\":1}}"));
    json_decref(rows);
    rig_fini(&rig);
}

/* Every allocation on the way may fail: the block is then taken out whole, and comes again. */
static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct rig rig;
        rig_setup(&rig);
        rig.route.format = CONTENT_CBOR;
        assert_int_equal(rig_block(&rig), ERR_OK);
        assert_int_equal(rig_message(&rig, BYTES_LITERAL("\x82\xa1\x61t\x01\xa1\x61s\x41\x09"), 0),
                         ERR_OK);
        mem_fail_at(k);
        enum err err = rig_append(&rig);
        bool failed = mem_failed();
        mem_fail_at(0);
        if (err != ERR_OK) {
            assert_int_equal(err, ERR_NO_MEMORY);
            SEND_BYTES(&rig, CONTENT_CBOR, "\x82\xa1\x61t\x01\xa1\x61s\x41\x09");
        }
        json_t *rows = cut_rows(&rig);
        assert_int_equal(json_array_size(rows), 2);
        check_value(rows, 1, "s", "\"CQ==\"");
        json_decref(rows);
        rig_fini(&rig);
        if (!failed)
            break;
        assert_true(k < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cbor),         cmocka_unit_test(test_senml),
        cmocka_unit_test(test_nested),       cmocka_unit_test(test_csv_and_msgpack),
        cmocka_unit_test(test_dead_letters), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
