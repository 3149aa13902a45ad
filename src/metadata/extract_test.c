#include "metadata/extract.h"

#include "base/alloc.h"
#include "support/fake_parquet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
/* wants cmocka before */
#include "support/batch_check.h"
#include "support/field_check.h"

/* What the last cut said. */
static struct change change;

static enum err observer_cut(void *ctx, const struct cut_input *cut, void **state)
{
    struct told *told = *state;
    (void)ctx;
    change_fini(&change);
    change_init(&change);
    enum err err = extract_change(cut, &told, &change);
    if (err != ERR_OK) {
        told_free(told);
        told = NULL;
    }
    *state = told;
    return err;
}

static void observer_forget(void *state)
{
    told_free(state);
}

static size_t observer_bytes(const void *state)
{
    return told_memory_bytes(state);
}

static const struct batch_observer_ops observer = {
    .cut = observer_cut, .forget = observer_forget, .memory_bytes = observer_bytes};

static void observed_setup(struct rig *rig)
{
    change_init(&change);
    assert_int_equal(rig_observed(rig, &observer), ERR_OK);
}

static void observed_fini(struct rig *rig)
{
    rig_fini(rig);
    change_fini(&change);
}

static const struct change_field *field_of(const char *name)
{
    return change_field_find(&change, bytes_from_text(name));
}

static void check_field(const char *name, unsigned types, bool nullable, const char *samples)
{
    field_check(field_of(name), name, types, nullable, samples);
}

static void test_fields(void **state)
{
    (void)state;
    struct rig rig;
    observed_setup(&rig);
    SEND(&rig,
         "{\"n\":1.5,\"s\":\"x\",\"b\":true,\"u\":\"123e4567-e89b-12d3-a456-426614174000\","
         "\"o\":{\"k\":1,\"l\":[{\"a\":\"q\\\"\"},null,{\"a\":null}]},\"l\":[[1],[],null,[2,3]]}",
         "{\"n\":2,\"s\":null,\"b\":false,\"u\":\"no\",\"o\":{},\"l\":[]}",
         "{\"n\":\"N/A\",\"b\":true,\"u\":\"x\",\"e\":{},\"topic\":\"mine\"}");
    json_decref(cut_rows(&rig));
    assert_int_equal(change.records, 3);
    check_field("n", BIT(DOUBLE) | BIT(STRING), false, "1.5|2");
    check_field("s", BIT(STRING), true, "x");
    check_field("b", BIT(BOOLEAN), false, "true|false");
    check_field("u", BIT(UUID), false, "123e4567-e89b-12d3-a456-426614174000|no|x");
    check_field("o", BIT(OBJECT), true,
                "{\"k\": 1, \"l\": [{\"a\": \"q\\\"\"}, null, {\"a\": null}]}|"
                "{\"k\": null, \"l\": null}");
    check_field("l", BIT(ARRAY), true, "[[1], [], null, [2, 3]]|[]");
    check_field("e", BIT(OBJECT), true, "{}"); /* no column, but samples */
    check_field("topic", BIT(STRING), false, "line/1");
    check_field("qos", BIT(DOUBLE), false, "1");
    check_field("retain", BIT(BOOLEAN), false, "true");
    check_field("ingestion_id", BIT(STRING), false, RIG_DATASET);
    check_field("timestamp", BIT(STRING), false, "2026-03-04T05:06:07+00:00");
    assert_true(bytes_equal_text(change.topic, "line/1"));
    assert_int_equal(change.first_us, RIG_ARRIVAL_US);
    /* Once told, never again; but what is new is. */
    SEND(&rig, "{\"n\":2,\"s\":\"x\",\"b\":true,\"u\":\"x\",\"o\":{\"k\":1},\"l\":[1]}");
    json_decref(cut_rows(&rig));
    assert_null(field_of("b"));
    assert_null(field_of("n"));
    assert_null(field_of("topic"));
    check_field("l", 0, false, "[null]");
    SEND(&rig, "{\"n\":7}");
    json_decref(cut_rows(&rig));
    check_field("b", 0, true, "");
    check_field("n", 0, false, "7");
    assert_int_equal(change.records, 1);
    observed_fini(&rig);
}

/* Nothing of a cut is news that the one before could have told. */
static void test_steady(void **state)
{
    (void)state;
    struct rig rig;
    observed_setup(&rig);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 12; i++) {
            rig.arrival_us = RIG_ARRIVAL_US + (12 * round + i) * US_PER_S;
            SEND(&rig,
                 i % 2 ? "{\"n\":1,\"s\":\"x\",\"b\":true}" : "{\"n\":1,\"s\":\"x\",\"b\":false}");
        }
        json_decref(cut_rows(&rig));
        assert_int_equal(change.records, 12);
        if (round > 0)
            break;
        assert_int_equal(field_of("timestamp")->sample_count, LIMIT_SAMPLES);
        assert_int_equal(field_of("ingestion_timestamp")->sample_count, LIMIT_SAMPLES);
        check_field("n", BIT(DOUBLE), false, "1");
        check_field("s", BIT(STRING), false, "x");
        check_field("b", BIT(BOOLEAN), false, "false|true");
    }
    assert_int_equal(change.field_count, 0);
    observed_fini(&rig);
}

/* A field that never had a value: its type is null, until it has one. */
static void test_only_null(void **state)
{
    (void)state;
    struct rig rig;
    observed_setup(&rig);
    SEND(&rig, "{\"a\":1,\"x\":null,\"y\\u00e9\":null,\"o\":{\"in\":null,\"k\":1}}",
         "{\"a\":1,\"z\":null} no JSON", "{\"a\":null,\"l\":[null]}");
    json_decref(cut_rows(&rig));
    check_field("a", BIT(DOUBLE), true, "1");
    check_field("x", BIT(NULL), true, "");
    check_field("y\xc3\xa9", BIT(NULL), true, "");
    assert_null(field_of("z"));
    assert_null(field_of("in"));
    assert_int_equal(change.quality.cells, 3 * 6); /* with content, raw, o, and l rescued */
    SEND(&rig, "{\"a\":1,\"x\":null}", "{\"a\":1,\"x\":true}");
    json_decref(cut_rows(&rig));
    check_field("x", BIT(BOOLEAN), false, "true"); /* that it has nulls was told */
    assert_null(field_of("y\xc3\xa9"));
    observed_fini(&rig);
}

/* What is known is told again, whole, after a day. */
static void test_told_each_day(void **state)
{
    (void)state;
    struct rig rig;
    observed_setup(&rig);
    for (int i = 0; i < 4; i++) {
        bool again = i % 2 == 0;
        SEND(&rig, "{\"a\":1,\"sensor_id\":\"s\"}");
        json_decref(cut_rows(&rig));
        assert_int_equal(change.records, 1);
        assert_int_equal(change.sensor_count, again);
        if (again)
            check_field("a", BIT(DOUBLE), false, "1");
        else
            assert_null(field_of("a"));
        rig.arrival_us += 12 * 3600 * US_PER_S + 1;
    }
    observed_fini(&rig);
}

/* What never had a value in it has no column; that a record lacks it is told all the same. */
static void test_only_empty(void **state)
{
    (void)state;
    struct rig rig;
    observed_setup(&rig);
    SEND(&rig, "{\"o\":{},\"l\":[],\"k\":{},\"a\":1}");
    json_decref(cut_rows(&rig));
    check_field("o", BIT(OBJECT), false, "{}");
    check_field("l", BIT(ARRAY), false, "[]");
    SEND(&rig, "{\"o\":{},\"l\":[],\"k\":{\"x\":1},\"a\":1}");
    json_decref(cut_rows(&rig));
    assert_null(field_of("o"));
    assert_null(field_of("l"));
    assert_false(field_of("k")->nullable); /* it has a column now, and every record has it */
    SEND(&rig, "{\"o\":{},\"a\":1,\"k\":{\"x\":1}}");
    json_decref(cut_rows(&rig));
    assert_null(field_of("o"));
    check_field("l", 0, true, "");
    SEND(&rig, "{\"o\":{},\"a\":1}", "{\"a\":1,\"l\":[]}");
    json_decref(cut_rows(&rig));
    check_field("o", 0, true, "");
    assert_null(field_of("l"));
    check_field("k", 0, true, "");
    observed_fini(&rig);
}

/* Types count as they come, in whichever column or none they end; a lower one is no news. */
static void test_types_in_order(void **state)
{
    (void)state;
    struct rig rig;
    observed_setup(&rig);
    SEND(&rig, "{\"up\":true,\"down\":[1],\"text\":7,\"id\":\"x\",\"l\":[1]}",
         "{\"up\":1,\"down\":{\"a\":1},\"text\":\"s\",\"l\":[\"s\"]}",
         "{\"up\":1,\"down\":true,\"text\":\"s\","
         "\"id\":\"123e4567-e89b-12d3-a456-426614174000\",\"l\":[1,{}]}",
         "{\"up\":\"s\",\"down\":\"s\",\"text\":{\"a\":1}}", "{\"text\":[1],\"l\":null}");
    json_decref(cut_rows(&rig));
    check_field("up", BIT(BOOLEAN) | BIT(DOUBLE) | BIT(STRING), true, "1");
    assert_int_equal(field_of("down")->types, BIT(ARRAY) | BIT(OBJECT));
    check_field("text", BIT(DOUBLE) | BIT(STRING) | BIT(OBJECT), false, "7|s|{\"a\":1}|[1]");
    assert_int_equal(field_of("id")->types, BIT(STRING));
    assert_true(field_of("l")->nullable); /* the rescued lists are in their column too */
    observed_fini(&rig);
}

/* A record that waits for its new field's column came before the one that does not. */
static void test_types_of_records_that_wait(void **state)
{
    (void)state;
    struct rig rig;
    observed_setup(&rig);
    SEND(&rig, "{\"a\":1}");
    json_decref(cut_rows(&rig));
    SEND(&rig, "{\"a\":[1],\"new\":1}", "{\"a\":\"s\"}");
    json_decref(cut_rows(&rig));
    assert_int_equal(field_of("a")->types, BIT(ARRAY));
    SEND(&rig, "{\"a\":true}", "{\"a\":{\"b\":1},\"newer\":1}");
    json_decref(cut_rows(&rig));
    assert_int_equal(field_of("a")->types, BIT(OBJECT));
    observed_fini(&rig);
}

/* However many names there are, a dataset has CHANGE_FIELDS_MAX fields at most. */
static void test_too_many_fields(void **state)
{
    (void)state;
    struct rig rig;
    char text[64];
    const char *const payload = text;
    observed_setup(&rig);
    for (int cut = 0; cut < 4; cut++) {
        for (int i = 0; i < 1000; i++) {
            snprintf(text, sizeof(text), "{\"name %d\":{},\"a\":1}", cut * 1000 + i);
            assert_int_equal(rig_send(&rig, &payload, 1), ERR_OK);
        }
        json_decref(cut_rows(&rig));
        assert_int_equal(change.records, 1000);
        assert_true(change.field_count < (cut < 3 ? 1100 : 1));
    }
    observed_fini(&rig);
}

static void sensors_send(struct rig *rig, int from, int to, const char *before, const char *after)
{
    char text[64];
    const char *const payload = text;
    for (int i = from; i < to; i++) {
        snprintf(text, sizeof(text), "%s%d%s", before, i, after);
        assert_int_equal(rig_send(rig, &payload, 1), ERR_OK);
    }
    json_decref(cut_rows(rig));
}

static void test_sensors(void **state)
{
    (void)state;
    struct rig rig;
    observed_setup(&rig);
    sensors_send(&rig, 0, 700, "{\"sensor_id\":\"s", "\"}");
    assert_int_equal(change.sensor_count, 700);
    sensors_send(&rig, 0, 800, "{\"sensor_id\":\"s", "\"}");
    assert_int_equal(change.sensor_count, 100);
    assert_true(bytes_equal_text(change.sensors[0], "s700"));
    sensors_send(&rig, 0, 900, "{\"sensorId\":", "}"); /* other names: a number is a text */
    assert_int_equal(change.sensor_count, 200);
    assert_true(bytes_equal_text(change.sensors[7], "7"));
    assert_int_equal(distinct_count(&change.beyond), 700);
    sensors_send(&rig, 0, 900, "{\"sensorId\":", "}");
    assert_int_equal(change.sensor_count, 0);
    assert_true(distinct_is_empty(&change.beyond));
    observed_fini(&rig);
}

static void test_odd_sensors(void **state)
{
    (void)state;
    struct rig rig;
    char texts[2][1100];
    observed_setup(&rig);
    SEND(&rig, "{\"sensor_id\":1}", "{\"sensor_id\":2}", "{\"sensor_id\":\"\\u00fc\"}",
         "{\"sensor_id\":{\"a\":1}}", "{\"sensor_id\":[1]}", "{\"sensor_id\":null}",
         "{\"sensor_id\":false}", "{\"sensor_id\":\"2\"}");
    json_decref(cut_rows(&rig));
    assert_int_equal(change.sensor_count, 3);
    assert_true(bytes_equal_text(change.sensors[0], "1") ||
                bytes_equal_text(change.sensors[0], "\u00fc"));
    for (int i = 0; i < 2; i++)
        snprintf(texts[i], sizeof(texts[i]), "{\"sensorId\":\"%01000d\"}", i);
    SEND(&rig, texts[0], texts[1], texts[0], "{\"sensorId\":{\"a\":1}}");
    json_decref(cut_rows(&rig));
    assert_int_equal(change.sensor_count, 2); /* they begin alike */
    assert_int_equal(change.sensors[0].size, LIMIT_SAMPLE_BYTES);
    SEND(&rig, "{\"sensorId\":true}", "{\"sensorId\":\"t1\"}", "{\"sensorId\":false}");
    json_decref(cut_rows(&rig));
    assert_int_equal(change.sensor_count, 1); /* in its text column a boolean is none, too */
    assert_true(bytes_equal_text(change.sensors[0], "t1"));
    SEND(&rig, "{\"sensorId\":\"true\"}");
    json_decref(cut_rows(&rig));
    assert_int_equal(change.sensor_count, 1);
    observed_fini(&rig);
}

static void check_sensors(const char *const *expected, size_t count)
{
    for (size_t i = 0; i < change.sensor_count; i++)
        if (i >= count || !bytes_equal_text(change.sensors[i], expected[i]))
            fail_msg("sensor %zu is %.*s", i, (int)change.sensors[i].size,
                     (const char *)change.sensors[i].data);
    assert_int_equal(change.sensor_count, count);
}
#define CHECK_SENSORS(...)                                                                         \
    check_sensors((const char *const[]){__VA_ARGS__},                                              \
                  sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* A record has one sensor, sensor_id's or else sensorId's, however its number is written. */
static void test_one_sensor_each(void **state)
{
    (void)state;
    struct rig rig;
    observed_setup(&rig);
    SEND(&rig, "{\"sensor_id\":\"a\",\"sensorId\":\"no\"}", "{\"sensorId\":\"c\"}",
         "{\"sensor_id\":null,\"sensorId\":\"d\"}", "{\"sensor_id\":{\"x\":1},\"sensorId\":\"e\"}",
         "{\"sensor_id\":\"b\",\"sensorId\":\"c\"}", "{\"sensorId\":\"f\",\"sensor_id\":\"a\"}");
    json_decref(cut_rows(&rig));
    CHECK_SENSORS("a", "b", "c", "d", "e");
    SEND(&rig, "{\"sensor_id\":5}", "{\"sensor_id\":5.0}", "{\"sensor_id\":\"5\"}",
         "{\"sensor_id\":50e-1}", "{\"sensor_id\":9007199254740993}",
         "{\"sensor_id\":9007199254740995}", "{\"sensor_id\":0}", "{\"sensor_id\":-0.0}");
    json_decref(cut_rows(&rig));
    CHECK_SENSORS("5", "9007199254740993", "9007199254740995", "0");
    SEND(&rig, "{\"sensor_id\":\"5.0\"}"); /* no number among them: another's name */
    json_decref(cut_rows(&rig));
    CHECK_SENSORS("5.0");
    observed_fini(&rig);
    observed_setup(&rig);
    SEND(&rig, "{\"sensor_id\":1,\"sensorId\":2}", "{\"sensor_id\":0,\"sensorId\":2}");
    json_decref(cut_rows(&rig));
    CHECK_SENSORS("1", "0");
    SEND(&rig, "{\"sensor_id\":\"x\",\"sensorId\":3}", "{\"sensor_id\":4,\"sensorId\":\"no\"}",
         "{\"sensorId\":\"z\"}", "{\"sensorId\":\"no\",\"sensor_id\":\"y\"}",
         "{\"sensor_id\":9007199254740993}", "{\"sensor_id\":-0.0}",
         "{\"sensor_id\":[1],\"sensorId\":6}");
    json_decref(cut_rows(&rig));
    CHECK_SENSORS("x", "y", "9007199254740993", "4", "6", "z");
    observed_fini(&rig);
}

/* Of a route that names a field of its own only that one counts, whatever other routes' records of
 * the same dataset have there. */
static void test_sensor_fields(void **state)
{
    (void)state;
    struct rig rig;
    observed_setup(&rig);
    rig.route.sensor_id_field = BYTES_LITERAL("device");
    SEND(&rig, "{\"device\":\"d1\",\"sensor_id\":\"no\"}", "{\"v\":1}", "{\"device\":\"d2\"}");
    json_decref(cut_rows(&rig));
    assert_int_equal(change.sensor_count, 2);
    assert_true(bytes_equal_text(change.sensors[0], "d1"));
    assert_true(bytes_equal_text(change.sensors[1], "d2"));
    SEND(&rig, "{\"device\":\"d3\",\"sensor_id\":\"no\"}");
    rig.route.sensor_id_field = BYTES_LITERAL("n");
    SEND(&rig, "{\"n\":7,\"device\":\"no\"}", "{\"n\":7}");
    rig.route.sensor_id_field = (struct bytes){0};
    SEND(&rig, "{\"n\":9,\"device\":\"no\",\"sensor_id\":\"s1\"}", "{\"sensorId\":\"s2\"}");
    rig.route.sensor_id_field = BYTES_LITERAL("sensor_id");
    SEND(&rig, "{\"sensorId\":\"no\",\"sensor_id\":\"s3\"}");
    rig.route.sensor_id_field = BYTES_LITERAL("n"); /* a text where numbers are: rescued */
    SEND(&rig, "{\"n\":\"seven\"}");
    rig.route.sensor_id_field = (struct bytes){0};
    SEND(&rig, "{\"n\":\"no\"}");
    json_decref(cut_rows(&rig));
    CHECK_SENSORS("seven", "d3", "7", "s1", "s3", "s2");
    observed_fini(&rig);
}

static void test_quality(void **state)
{
    (void)state;
    struct rig rig;
    observed_setup(&rig);
    SEND(&rig, "{\"a\":1,\"l\":[1,null]}", "{\"a\":1,\"l\":[1,null]}", "{\"a\":1,\"l\":[1]}",
         "{\"a\":1}", "{\"a\":1,\"l\":[]}", "{\"a\":\"bad\",\"l\":[1]}",
         "{\"timestamp\":\"2026-03-04T04:06:06Z\",\"a\":1}",
         "{\"timestamp\":\"2026-03-04T04:06:07Z\",\"a\":1}");
    json_decref(cut_rows(&rig));
    assert_int_equal(change.quality.cells, 16);
    assert_int_equal(change.quality.filled_cells, 12);
    assert_int_equal(change.quality.missing_timestamp, 6);
    assert_int_equal(change.quality.late, 1); /* the other is just an hour old */
    assert_int_equal(change.quality.rescued, 1);
    assert_int_equal(change.quality.compared, 8);
    assert_int_equal(change.quality.duplicates, 1);
    observed_fini(&rig);
}

/* A cut that fails is as if it had not been. */
static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct rig rig;
        struct cut cut;
        observed_setup(&rig);
        SEND(&rig, "{\"sensor_id\":\"s\",\"a\":1,\"o\":{\"l\":[1,2]},\"b\":[{}]}");
        mem_fail_at(k);
        enum err err = batch_cut(rig.batch, &cut, NULL);
        bool failed = mem_failed();
        mem_fail_at(0);
        if (failed && err == ERR_NO_MEMORY)
            assert_int_equal(batch_cut(rig.batch, &cut, NULL), ERR_OK);
        else
            assert_int_equal(err, ERR_OK);
        cut_fini(&cut);
        assert_int_equal(change.records, 1);
        assert_int_equal(change.sensor_count, 1);
        check_field("a", BIT(DOUBLE), false, "1");
        check_field("o", BIT(OBJECT), false, "{\"l\": [1, 2]}");
        observed_fini(&rig);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_steady),
        cmocka_unit_test(test_only_null),
        cmocka_unit_test(test_only_empty),
        cmocka_unit_test(test_told_each_day),
        cmocka_unit_test(test_types_in_order),
        cmocka_unit_test(test_types_of_records_that_wait),
        cmocka_unit_test(test_too_many_fields),
        cmocka_unit_test(test_sensors),
        cmocka_unit_test(test_odd_sensors),
        cmocka_unit_test(test_one_sensor_each),
        cmocka_unit_test(test_sensor_fields),
        cmocka_unit_test(test_quality),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
