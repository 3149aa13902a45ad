#include "lake/batch.h"

#include "base/alloc.h"
#include "lake/schema.h"
#include "support/fake_parquet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* wants cmocka before */
#include "support/batch_check.h"

static void test_columns(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    SEND(&rig, "{\"t\":21.5,\"ok\":true,\"id\":\"a\",\"timestamp\":\"2026-03-04T05:00:00Z\"}",
         "{\"t\":22,\"id\":\"b\",\"loc\":{\"lat\":1,\"name\":\"x\"},\"tags\":[\"p\",null,\"q\"]}");
    SEND(&rig, "{\"id\":\"c\\n\\u20ac\",\"t\":null,\"tags\":[],\"loc\":{\"lat\":2}}");
    json_t *rows = cut_rows(&rig);
    assert_int_equal(json_array_size(rows), 3);
    check_value(rows, 0, "t", "21.5");
    check_value(rows, 0, "ok", "true");
    check_value(rows, 0, "timestamp", "\"2026-03-04T05:00:00+00:00\"");
    check_value(rows, 0, "_event_time", "1772600400000000");
    check_value(rows, 0, "loc", "null");
    check_value(rows, 1, "t", "22.0");
    check_value(rows, 1, "loc", "{\"lat\":1.0,\"name\":\"x\"}");
    check_value(rows, 1, "tags", "[\"p\",null,\"q\"]");
    check_value(rows, 1, "timestamp", "\"2026-03-04T05:06:07+00:00\"");
    check_value(rows, 1, "topic", "\"line/1\"");
    check_value(rows, 1, "qos", "1.0");
    check_value(rows, 1, "retain", "true");
    check_value(rows, 1, "source_type", "\"mqtt\"");
    check_value(rows, 2, "t", "null");
    check_value(rows, 2, "id", "\"c\\n\xe2\x82\xac\"");
    check_value(rows, 2, "tags", "[]");
    check_value(rows, 2, "loc", "{\"lat\":2.0,\"name\":null}");
    check_value(rows, 2, "_rescued_data", "null");
    json_decref(rows);
    assert_string_equal(fake_catalog_type(&rig.catalog, "/loc/lat"), "DOUBLE");
    assert_string_equal(fake_catalog_name(&rig.catalog, "/loc/lat"), "loc.lat");
    assert_string_equal(fake_catalog_type(&rig.catalog, "/tags/-"), "STRING");
    /* Typed at once now, and all columns stay. */
    SEND(&rig, "{\"t\":1}", "{\"t\":2,\"loc\":{\"lon\":7}}", "{\"loc\":{\"lon\":8,\"lat\":9}}",
         "{}", "{\"loc\":{},\"tags\":null}");
    rows = cut_rows(&rig);
    /* Records that had to wait for a column come after those that had not. */
    check_value(rows, 0, "t", "1.0");
    check_value(rows, 0, "id", "null");
    check_value(rows, 1, "loc", "null");
    check_value(rows, 2, "loc", "{\"lat\":null,\"lon\":null,\"name\":null}");
    check_value(rows, 2, "_rescued_data", "null");
    check_value(rows, 3, "loc", "{\"lat\":null,\"lon\":7.0,\"name\":null}");
    check_value(rows, 4, "loc", "{\"lat\":9.0,\"lon\":8.0,\"name\":null}");
    json_decref(rows);
    rig_fini(&rig);
}

/* A new leaf in a struct and in a list of structs that already have rows in the batch. */
static void test_late_leaf(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    SEND(&rig, "{\"s\":{\"a\":1},\"l\":[{\"x\":1}]}");
    json_decref(cut_rows(&rig));
    SEND(&rig, "{\"s\":{\"a\":2},\"l\":[{\"x\":1},{\"x\":2},null]}", "{\"l\":[]}",
         "{\"s\":{\"a\":3,\"b\":{\"c\":\"new\"}},\"l\":[{\"y\":5},{}]}");
    json_t *rows = cut_rows(&rig);
    check_value(rows, 0, "s", "{\"a\":2.0,\"b\":null}");
    check_value(rows, 0, "l", "[{\"x\":1.0,\"y\":null},{\"x\":2.0,\"y\":null},null]");
    check_value(rows, 1, "s", "null");
    check_value(rows, 1, "l", "[]");
    check_value(rows, 2, "s", "{\"a\":3.0,\"b\":{\"c\":\"new\"}}");
    check_value(rows, 2, "l", "[{\"x\":null,\"y\":5.0},{\"x\":null,\"y\":null}]");
    json_decref(rows);
    rig_fini(&rig);
}

static void test_rescue(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    SEND(&rig, "{\"n\":1,\"s\":\"x\",\"b\":true,\"o\":{\"k\":1},\"l\":[1]}");
    json_decref(cut_rows(&rig));
    SEND(&rig, "{\"n\":\"N/A\",\"s\":1.50,\"b\":0,\"o\":3,\"l\":{}}",
         "{\"s\":{\"a\" : [1, null]},\"o\":{\"k\":\"bad\"},\"l\":[1,\"two\",3]}",
         "{\"n\":1e400,\"s\":NaN,\"o\":[],\"topic\":\"mine\"}",
         "{\"n\":9007199254740993,\"e\":{},\"f\":[null,{}],\"g\":null,\"timestamp\":\"soon\"}",
         "{\"n\":NaN,\"l\":[Infinity],\"_rescued_data\":1,\"ingestion_id\":\"z\"}");
    struct batch_stats stats;
    batch_stats_get(rig.batch, &stats);
    assert_int_equal(stats.rows, 5);
    assert_int_equal(stats.rescued, 15);
    json_t *rows = cut_rows(&rig);
    check_value(rows, 0, "n", "null");
    check_value(rows, 0, "s", "\"1.50\"");
    check_value(rows, 0, "_rescued_data",
                "\"{\\\"n\\\":\\\"N/A\\\",\\\"b\\\":0,\\\"o\\\":3,\\\"l\\\":{}}\"");
    check_value(rows, 1, "s", "\"{\\\"a\\\":[1,null]}\"");
    check_value(rows, 1, "l", "[1.0,null,3.0]");
    check_value(rows, 1, "o", "{\"k\":null}");
    check_value(rows, 1, "_rescued_data",
                "\"{\\\"o.k\\\":\\\"bad\\\",\\\"l\\\":[1,\\\"two\\\",3]}\"");
    check_value(rows, 2, "s", "\"NaN\"");
    check_value(rows, 2, "topic", "\"line/1\"");
    check_value(rows, 2, "_rescued_data",
                "\"{\\\"n\\\":1e400,\\\"o\\\":[],\\\"topic\\\":\\\"mine\\\"}\"");
    check_value(rows, 3, "_rescued_data",
                "\"{\\\"n\\\":9007199254740993,\\\"e\\\":{},\\\"f\\\":[null,{}],"
                "\\\"timestamp\\\":\\\"soon\\\"}\"");
    check_value(rows, 4, "n", "\"NaN\"");
    check_value(rows, 4, "l", "[\"Infinity\"]");
    check_value(rows, 4, "_rescued_data",
                "\"{\\\"_rescued_data\\\":1,\\\"ingestion_id\\\":\\\"z\\\"}\"");
    json_decref(rows);
    rig_fini(&rig);
}

static void test_majority(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    SEND(&rig, "{\"v\":\"N/A\",\"w\":\"a\",\"big\":1,\"tie\":\"x\",\"u\":null}",
         "{\"v\":1,\"w\":\"b\",\"big\":9007199254740993,\"tie\":1,\"u\":[]}",
         "{\"v\":2,\"w\":3,\"big\":7,\"u\":{\"a\":[null]}}");
    json_t *rows = cut_rows(&rig);
    check_value(rows, 0, "v", "null");
    check_value(rows, 0, "_rescued_data", "\"{\\\"v\\\":\\\"N/A\\\",\\\"tie\\\":\\\"x\\\"}\"");
    check_value(rows, 1, "v", "1.0");
    check_value(rows, 2, "w", "\"3\"");
    check_value(rows, 1, "big", "\"9007199254740993\"");
    check_value(rows, 2, "big", "\"7\"");
    check_value(rows, 1, "tie", "1.0");
    check_value(rows, 1, "_rescued_data", "\"{\\\"u\\\":[]}\"");
    assert_null(fake_catalog_type(&rig.catalog, "/u"));
    json_decref(rows);
    rig_fini(&rig);
}

static void test_payloads(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    SEND(&rig, "[{\"value\":1}, 2 , \"x\"]", " 3.5 ", "[]", "hello \"there\"", "", "{\"a\":1",
         "{\"a\":1}}", "\xff\x00", "null");
    json_t *rows = cut_rows(&rig);
    assert_int_equal(json_array_size(rows), 10);
    check_value(rows, 1, "value", "1.0");
    check_value(rows, 2, "value", "2.0");
    check_value(rows, 3, "_rescued_data", "\"{\\\"value\\\":\\\"x\\\"}\"");
    check_value(rows, 4, "value", "3.5");
    check_value(rows, 5, "content", "\"hello \\\"there\\\"\"");
    check_value(rows, 5, "raw", "true");
    check_value(rows, 6, "content", "\"\"");
    check_value(rows, 7, "content", "\"{\\\"a\\\":1\"");
    check_value(rows, 8, "content", "\"{\\\"a\\\":1}}\"");
    check_value(rows, 9, "content", "\"/w==\"");
    check_value(rows, 9, "encoding", "\"base64\"");
    check_value(rows, 0, "value", "null");
    json_decref(rows);
    rig_fini(&rig);
}

static void test_formats(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    rig.route.format = CONTENT_TEXT;
    SEND(&rig, "{\"a\":1}");
    rig.route.format = CONTENT_NDJSON;
    SEND(&rig, "{\"a\":1}\r\n\n[2]\n3", "{\"a\":1}\nx");
    rig.route.format = CONTENT_CBOR;
    SEND(&rig, "\xa1");
    rig.route.format = CONTENT_AUTO;
    rig.route.source_type = bytes_from_text("rest_api");
    rig.route.content_type = bytes_from_text("text/html");
    SEND(&rig, "<html>");
    struct cut cut;
    assert_int_equal(batch_cut(rig.batch, &cut, NULL), ERR_OK);
    json_t *rows = rig_rows(&cut, false);
    assert_int_equal(json_array_size(rows), 6);
    check_value(rows, 0, "content", "\"{\\\"a\\\":1}\"");
    check_value(rows, 1, "a", "1.0");
    check_value(rows, 2, "_rescued_data", "\"{\\\"value\\\":[2]}\"");
    check_value(rows, 3, "value", "3.0");
    check_value(rows, 4, "content", "\"{\\\"a\\\":1}\\nx\"");
    check_value(rows, 5, "content_type", "\"text/html\"");
    check_value(rows, 5, "raw", "null");
    json_t *dead = rig_rows(&cut, true);
    assert_int_equal(json_array_size(dead), 1);
    check_value(dead, 0, "reason", "\"invalid_cbor\"");
    json_decref(rows);
    json_decref(dead);
    cut_fini(&cut);
    rig_fini(&rig);
}

/* Names that any engine takes for one get a suffix, and keep it. */
static void test_names_that_differ_by_case(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    SEND(&rig,
         "{\"\u00c4\":1,\"\u00e4\":2,\"s\":{\"\u0416\":3,\"\u0436\":4},\"\u03a3\":5,\"\u03c2\":6}");
    json_t *rows = cut_rows(&rig);
    check_value(rows, 0, "\xc3\x84", "1.0");
    check_value(rows, 0, "\xc3\xa4_2", "2.0");
    check_value(rows, 0, "s", "{\"\xd0\x96\":3.0,\"\xd0\xb6_2\":4.0}");
    check_value(rows, 0, "\xce\xa3", "5.0");
    check_value(rows, 0, "\xcf\x82_2", "6.0");
    json_decref(rows);
    batch_free(rig.batch);
    unsigned pins = rig.catalog.pin_calls;
    assert_int_equal(rig_batch(&rig), ERR_OK);
    SEND(&rig, "{\"\u00e4\":7}");
    rows = cut_rows(&rig);
    check_value(rows, 0, "\xc3\xa4_2", "7.0");
    assert_int_equal(rig.catalog.pin_calls, pins);
    json_decref(rows);
    rig_fini(&rig);
}

static void test_names(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    SEND(&rig,
         "{\"a b\":1,\"a_b\":2,\"A_B\":3,\"date\":\"d\",\"Hour\":\"h\",\"Topic\":\"t\",\"\":0,"
         "\"x/y~z\":{\"-\":1,\"p q\":2},\"x\\u0000\":5,\"x_\":6,\"~2\":7}");
    json_t *rows = cut_rows(&rig);
    check_value(rows, 0, "a_b", "1.0");
    check_value(rows, 0, "a_b_2", "2.0");
    check_value(rows, 0, "A_B_3", "3.0");
    check_value(rows, 0, "date_", "\"d\"");
    check_value(rows, 0, "Hour_", "\"h\"");
    check_value(rows, 0, "Topic_2", "\"t\"");
    check_value(rows, 0, "_", "0.0");
    check_value(rows, 0, "x/y~z", "{\"-\":1.0,\"p_q\":2.0}");
    check_value(rows, 0, "x_", "5.0");
    check_value(rows, 0, "x__2", "6.0");
    check_value(rows, 0, "~2", "7.0");
    check_value(rows, 0, "_rescued_data", "null");
    assert_string_equal(fake_catalog_type(&rig.catalog, "/x~2"), "DOUBLE");
    assert_string_equal(fake_catalog_type(&rig.catalog, "/x~1y~0z/-"), "DOUBLE");
    json_decref(rows);
    /* A new batch reads all of it back. */
    batch_free(rig.batch);
    unsigned pins = rig.catalog.pin_calls;
    assert_int_equal(rig_batch(&rig), ERR_OK);
    SEND(&rig, "{\"a_b\":4,\"x/y~z\":{\"-\":9},\"x\\u0000\":8,\"~2\":9}");
    rows = cut_rows(&rig);
    check_value(rows, 0, "a_b_2", "4.0");
    check_value(rows, 0, "x/y~z", "{\"-\":9.0,\"p_q\":null}");
    check_value(rows, 0, "x_", "8.0");
    check_value(rows, 0, "~2", "9.0");
    check_value(rows, 0, "topic", "\"line/1\"");
    json_decref(rows);
    assert_int_equal(rig.catalog.pin_calls, pins);
    rig_fini(&rig);
}

static void test_duplicates(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    SEND(&rig, "{\"a\":1,\"a\":\"two\",\"o\":{\"k\":1,\"k\":2}}");
    json_t *rows = cut_rows(&rig);
    check_value(rows, 0, "a", "\"two\"");
    check_value(rows, 0, "o", "{\"k\":2.0}");
    json_decref(rows);
    SEND(&rig, "{\"a\":\"x\",\"o\":{\"k\":\"bad\",\"k\":5},\"\\u0061\":\"y\"}",
         "{\"e\":[],\"e\":null,\"a\":1,\"timestamp\":1,\"timestamp\":1772600400}");
    rows = cut_rows(&rig);
    check_value(rows, 0, "a", "\"y\"");
    check_value(rows, 0, "o", "{\"k\":5.0}");
    check_value(rows, 0, "_rescued_data", "null");
    check_value(rows, 1, "_rescued_data", "null");
    check_value(rows, 1, "timestamp", "\"2026-03-04T05:00:00+00:00\"");
    json_decref(rows);
    rig_fini(&rig);
}

static void test_partitions(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    SEND(&rig, "{\"i\":1,\"s\":\"a\",\"l\":[1,2],\"timestamp\":\"2026-03-04T04:59:59Z\"}");
    json_decref(cut_rows(&rig));
    SEND(&rig, "{\"i\":1,\"s\":\"a\",\"timestamp\":\"2026-03-04T05:00:00Z\"}",
         "{\"i\":2,\"l\":[1,2],\"timestamp\":\"2026-03-04T04:59:59Z\"}",
         "{\"i\":3,\"timestamp\":\"2020-01-01T00:00:00Z\"}",
         "{\"i\":4,\"s\":\"b\",\"l\":[],\"timestamp\":\"2026-03-04T04:00:00Z\"}",
         "{\"i\":\"bad\"}");
    struct cut cut;
    assert_int_equal(batch_cut(rig.batch, &cut, NULL), ERR_OK);
    assert_int_equal(cut.file_count, 2);
    assert_int_equal(cut.files[0].rows, 3);
    assert_string_equal(cut.files[0].key,
                        "bronze/ingestion_id=plant_line1/date=2026-03-04/hour=05/part-" RIG_UUID
                        "-0000000000000002-00000000.parquet");
    assert_string_equal(cut.files[1].key,
                        "bronze/ingestion_id=plant_line1/date=2026-03-04/hour=04/part-" RIG_UUID
                        "-0000000000000002-00000001.parquet");
    json_t *rows = rig_rows(&cut, false);
    check_value(rows, 0, "i", "1.0");
    check_value(rows, 1, "i", "3.0");
    check_value(rows, 1, "timestamp", "\"2020-01-01T00:00:00+00:00\"");
    check_value(rows, 2, "_rescued_data", "\"{\\\"i\\\":\\\"bad\\\"}\"");
    check_value(rows, 3, "i", "2.0");
    check_value(rows, 3, "l", "[1.0,2.0]");
    check_value(rows, 4, "s", "\"b\"");
    check_value(rows, 4, "l", "[]");
    json_decref(rows);
    cut_fini(&cut);
    rig.route.partition_by = PARTITION_BY_ARRIVAL;
    SEND(&rig, "{\"i\":1,\"timestamp\":\"2026-03-04T04:00:00Z\"}", "{\"i\":1}");
    assert_int_equal(batch_cut(rig.batch, &cut, NULL), ERR_OK);
    assert_int_equal(cut.file_count, 1);
    cut_fini(&cut);
    rig_fini(&rig);
}

static void test_time_field(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    rig.route.timestamp_field = bytes_from_text("ts");
    SEND(&rig, "{\"ts\":1772600400,\"timestamp\":\"2020-01-01\"}", "{\"ts\":null}");
    struct batch_stats stats;
    json_t *rows = cut_rows(&rig);
    check_value(rows, 1, "ts", "1772600400.0");
    check_value(rows, 1, "timestamp", "\"2026-03-04T05:00:00+00:00\"");
    check_value(rows, 1, "_rescued_data", "\"{\\\"timestamp\\\":\\\"2020-01-01\\\"}\"");
    json_decref(rows);
    SEND(&rig, "{\"ts\":null}", "{\"ts\":1772600400000}");
    batch_stats_get(rig.batch, &stats);
    assert_int_equal(stats.bad_timestamp, 1);
    rig_fini(&rig);
}

static void test_dead_letters(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    assert_int_equal(rig_block(&rig), ERR_OK);
    assert_int_equal(rig_message(&rig, bytes_from("\xff\x00z", 3), MESSAGE_DEAD_LETTER), ERR_OK);
    rig.arrival_us += 3600000000;
    assert_int_equal(rig_message(&rig, bytes_from_text("late"), MESSAGE_DEAD_LETTER), ERR_OK);
    assert_int_equal(rig_append(&rig), ERR_OK);
    struct cut cut;
    assert_int_equal(batch_cut(rig.batch, &cut, NULL), ERR_OK);
    assert_int_equal(cut.file_count, 2);
    assert_int_equal(cut.stats.rejected, 2);
    assert_string_equal(cut.files[0].key,
                        "bronze/_dead_letters/date=2026-03-04/hour=05/part-" RIG_UUID
                        "-0000000000000001-00000000.parquet");
    json_t *rows = rig_rows(&cut, true);
    check_value(rows, 0, "reason", "\"oversize\"");
    check_value(rows, 0, "detail", "\"17 MiB\"");
    check_value(rows, 0, "topic", "\"line/1\"");
    check_value(rows, 0, "ingestion_id", "\"plant_line1\"");
    check_value(rows, 0, "payload", "{\"#binary bytes\":3}");
    check_value(rows, 1, "payload", "\"late\"");
    check_value(rows, 0, "metadata",
                "\"{\\\"ingestion_timestamp\\\":\\\"2026-03-04T05:06:07+00:00\\\","
                "\\\"topic\\\":\\\"line/1\\\",\\\"qos\\\":1,\\\"retain\\\":true}\"");
    json_decref(rows);
    cut_fini(&cut);
    rig_fini(&rig);
}

/* Many new records are decided without a cut; row groups are split. */
static void test_many(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    assert_int_equal(rig_block(&rig), ERR_OK);
    for (int i = 0; i < 1500; i++) {
        char payload[64];
        snprintf(payload, sizeof(payload), "{\"i\":%d,\"l\":[%d,%d]}", i, i, i + 1);
        assert_int_equal(rig_message(&rig, bytes_from_text(payload), 0), ERR_OK);
    }
    assert_int_equal(rig_append(&rig), ERR_OK);
    assert_int_equal(rig.catalog.pin_calls, 1);
    json_t *rows = cut_rows(&rig);
    assert_int_equal(json_array_size(rows), 1500);
    check_value(rows, 1499, "i", "1499.0");
    check_value(rows, 1499, "l", "[1499.0,1500.0]");
    json_decref(rows);
    rig_fini(&rig);
}

static void test_limits(void **state)
{
    (void)state;
    struct rig rig;
    rig_setup(&rig);
    struct buf record;
    buf_init(&record, 1 << 20);
    for (int round = 0; round < 3; round++) {
        buf_clear(&record);
        for (int i = 0; i < 1200; i++)
            buf_printf(&record, "%c\"r%df%d\":%d", i ? ',' : '{', round, i, i);
        buf_byte(&record, '}');
        assert_int_equal(rig_block(&rig), ERR_OK);
        assert_int_equal(rig_message(&rig, buf_bytes(&record), 0), ERR_OK);
        assert_int_equal(rig_append(&rig), ERR_OK);
    }
    json_t *rows = cut_rows(&rig);
    assert_non_null(fake_catalog_type(&rig.catalog, "/r1f999"));
    assert_null(fake_catalog_type(&rig.catalog, "/r1f1000"));
    assert_null(fake_catalog_type(&rig.catalog, "/r2f0"));
    const char *text = json_string_value(json_object_get(json_array_get(rows, 0), "_rescued_data"));
    json_t *rescued = json_loads(text, 0, NULL);
    assert_int_equal(json_object_size(rescued), 200);
    json_decref(rescued);
    json_decref(rows);
    /* Deeper than columns go. */
    buf_clear(&record);
    for (int i = 0; i < 20; i++)
        buf_text(&record, "{\"d\":");
    buf_byte(&record, '1');
    for (int i = 0; i < 20; i++)
        buf_byte(&record, '}');
    assert_int_equal(rig_block(&rig), ERR_OK);
    assert_int_equal(rig_message(&rig, buf_bytes(&record), 0), ERR_OK);
    assert_int_equal(rig_append(&rig), ERR_OK);
    rows = cut_rows(&rig);
    text = json_string_value(json_object_get(json_array_get(rows, 0), "_rescued_data"));
    assert_memory_equal(text, "{\"d\":{\"d\":", 10);
    json_decref(rows);
    buf_fini(&record);
    rig_fini(&rig);
}

/* Without a turn a batch puts its pin off, but not for long: each message that waits is looked at
 * twice and lies in memory whole. */
static void test_pin_is_put_off_a_little(void **state)
{
    (void)state;
    static const char *payloads[50];
    uint32_t pins_left = 0;
    for (size_t i = 0; i < 50; i++)
        payloads[i] = "{\"v\":1}";
    struct rig rig;
    rig_setup(&rig);
    batch_free(rig.batch);
    rig.pins_left = &pins_left;
    assert_int_equal(rig_batch(&rig), ERR_OK);
    for (size_t sent = 50; sent < 1250; sent += 50)
        assert_int_equal(rig_send(&rig, payloads, 50), ERR_OK);
    assert_null(fake_catalog_type(&rig.catalog, "/v"));
    assert_int_equal(rig_send(&rig, payloads, 50), ERR_OK);
    assert_non_null(fake_catalog_type(&rig.catalog, "/v"));
    assert_int_equal(pins_left, 0);
    rig_fini(&rig);
}

static void test_prepin(void **state)
{
    (void)state;
    struct rig rig;
    struct buf columns;
    rig_setup(&rig);
    buf_init(&columns, 1024);
    assert_int_equal(route_column_append(&columns, bytes_from_text("id"), FIELD_STRING), ERR_OK);
    assert_int_equal(route_column_append(&columns, bytes_from_text("t"), FIELD_DOUBLE), ERR_OK);
    assert_int_equal(route_column_append(&columns, bytes_from_text("on"), FIELD_BOOLEAN), ERR_OK);
    assert_int_equal(route_column_append(&columns, bytes_from_text("timestamp"), FIELD_DOUBLE),
                     ERR_OK); /* the service's own stay what they are */
    rig.route.columns = buf_bytes(&columns);
    SEND(&rig, "{\"id\":7,\"t\":\"N/A\"}", "{\"id\":8,\"t\":\"N/A\",\"new\":1}");
    json_t *rows = cut_rows(&rig);
    check_value(rows, 0, "id", "\"7\"");
    check_value(rows, 1, "t", "null");
    check_value(rows, 1, "new", "1.0");
    assert_string_equal(fake_catalog_type(&rig.catalog, "/on"), "BOOLEAN");
    json_decref(rows);
    /* What is pinned stays so, whatever a source says later. */
    buf_clear(&columns);
    assert_int_equal(route_column_append(&columns, bytes_from_text("new"), FIELD_STRING), ERR_OK);
    assert_int_equal(route_column_append(&columns, bytes_from_text("newer"), FIELD_STRING), ERR_OK);
    rig.route.columns = buf_bytes(&columns);
    SEND(&rig, "{\"new\":2,\"newer\":3}");
    rows = cut_rows(&rig);
    check_value(rows, 0, "new", "2.0");
    check_value(rows, 0, "newer", "\"3\"");
    json_decref(rows);
    buf_fini(&columns);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_late_leaf),
        cmocka_unit_test(test_rescue),
        cmocka_unit_test(test_majority),
        cmocka_unit_test(test_payloads),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_names_that_differ_by_case),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_partitions),
        cmocka_unit_test(test_time_field),
        cmocka_unit_test(test_dead_letters),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_pin_is_put_off_a_little),
        cmocka_unit_test(test_prepin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
