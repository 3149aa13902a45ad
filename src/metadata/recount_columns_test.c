/* Sensors that a footer's text left to its file's column (extract_column.c) come back as they were.
 */
#include "metadata/recount_columns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* wants cmocka before */
#include "support/recount_lake.h"

/* Records with what format makes of from, from + 1, … (a name of 36 characters each); an hour of
 * event time later each, hours long. */
static void sensors_send(struct rig *rig, const char *format, int from, int count, int hours)
{
    struct buf payload;
    buf_init(&payload, 8 << 20);
    for (int i = 0; i < count; i++) {
        uint64_t random = hash_bytes(bytes_from(&(int){from + i}, sizeof(int)));
        char name[37];
        snprintf(name, sizeof(name), "%08x-0000-4000-8000-%012x", (unsigned)(random >> 32),
                 (unsigned)random);
        buf_printf(&payload, "%s{\"timestamp\":\"2026-03-04T%02d:00:00Z\",", i == 0 ? "[" : ",",
                   hours ? i % hours : 1);
        for (const char *at = format; *at; at++) /* % is the name */
            *at == '%' ? buf_text(&payload, name) : buf_byte(&payload, (uint8_t)*at);
        buf_text(&payload, "}");
    }
    buf_text(&payload, "]");
    const char *const payloads[] = {buf_cstr(&payload)};
    assert_int_equal(rig_send(rig, payloads, 1), ERR_OK);
    buf_fini(&payload);
}

/* Two cuts of two blocks, a hundred sensors in each; the second has half of the first's again. */
static void check_left(const char *field, const char *format, const char *other, int hours,
                       bool expected)
{
    struct rig rig;
    lake_open(&rig, false);
    rig.route.sensor_id_field = field ? bytes_from_text(field) : (struct bytes){0};
    for (int cut = 0; cut < 2; cut++) {
        sensors_send(&rig, format, cut * 50, 50, hours);
        sensors_send(&rig, other, cut * 50 + 50, 50, hours);
        cut_write(&rig);
        assert_int_equal(said.left[cut], expected);
    }
    if (strcmp(format, other) == 0)
        assert_int_equal(said.changes[1].sensor_count * 2, said.changes[0].sensor_count);
    rig_fini(&rig);
    check_counted(0, 1, 1);
    lake_drop();
}

#define NAMED "\"sensor_id\":\"%\""
#define LONG_TEXT                                                                                  \
    "--------------------------------------------------------------------------------------------" \
    "--------------------------------------------------------------------------------------------" \
    "--------------------------------------------------------------------------------------------"

static void test_sensors_left(void **state)
{
    (void)state;
    check_left(NULL, NAMED, NAMED, 0, true);
    check_left(NULL, NAMED, "\"other\":1", 0, true);
    check_left(NULL, NAMED, "\"sensor_id\":null", 0, true);
    check_left(NULL, NAMED, "\"sensorId\":null,\"sensor_id\":\"%\"", 0, true);
    check_left(NULL, "\"sensorId\":\"%\"", "\"sensorId\":\"%\"", 0, true);
    check_left("device", "\"device\":\"%\"", "\"device\":\"%\",\"sensor_id\":\"no%\"", 0, true);
    check_left("Sensor_ID", "\"sensor_id\":1,\"Sensor_ID\":\"%\"", NAMED, 0, true);
    check_left("a/~b.", "\"a/~b.\":\"%\"", "\"a/~b.\":\"\\u00e9\\u0000%\"", 0, true);
    check_left(NULL, "\"sensor_id\":\"%" LONG_TEXT "\"", "\"sensor_id\":\"" LONG_TEXT "%\"", 0,
               true);
    check_left(NULL, NAMED, "\"sensor_id\":123456789012345678901234567890", 0, true);
}

/* What the one column of the one file does not tell exactly stands in the text. */
static void test_sensors_kept(void **state)
{
    (void)state;
    check_left(NULL, NAMED, NAMED, 2, false); /* two files */
    check_left(NULL, NAMED, "\"sensor_id\":5.0", 0, false);
    check_left(NULL, NAMED, "\"sensor_id\":{\"a\":1}", 0, false);
    check_left(NULL, NAMED, "\"sensor_id\":[\"%\"]", 0, false);
    check_left(NULL, NAMED, "\"sensor_id\":true", 0, false);
    check_left(NULL, NAMED, "\"sensorId\":\"%\"", 0, false); /* two columns */
    check_left(NULL, "\"sensor_id\":1", NAMED, 0, false);    /* rescued */
    check_left("device", NAMED ",\"device\":7", NAMED ",\"device\":\"%\"", 0, false);
    check_left(NULL, "\"sensor_id\":\"s\"", "\"sensor_id\":\"t\"", 0, false); /* few */
}

/* In a column of texts since the cut before. */
static void check_among_texts(const char *other, bool expected, size_t changes)
{
    struct rig rig;
    lake_open(&rig, false);
    sensors_send(&rig, NAMED, 0, 50, 0);
    cut_write(&rig);
    sensors_send(&rig, NAMED, 50, 50, 0);
    sensors_send(&rig, other, 100, 50, 0);
    cut_write(&rig);
    assert_true(said.left[0]);
    assert_int_equal(said.left[1], expected);
    rig_fini(&rig);
    check_counted(0, 1, changes);
    lake_drop();
}

static void test_sensors_among_texts(void **state)
{
    (void)state;
    check_among_texts("\"sensor_id\":7", true, 1);
    check_among_texts("\"sensor_id\":5.0", false, 1); /* the sensor 5 */
    check_among_texts("\"sensor_id\":{\"a\":1}", false, 2);
    check_among_texts("\"sensor_id\":[\"%\"]", false, 2);
    check_among_texts("\"sensor_id\":true", false, 1);
    check_among_texts("\"sensorId\":\"%\"", false, 2);
}

/* Of routes that mean different fields no column tells them all. */
static void test_sensors_of_routes(void **state)
{
    struct rig rig;
    (void)state;
    lake_open(&rig, false);
    sensors_send(&rig, NAMED ",\"device\":\"d%\"", 0, 50, 0);
    rig.route.sensor_id_field = BYTES_LITERAL("device");
    sensors_send(&rig, NAMED ",\"device\":\"d%\"", 50, 50, 0);
    cut_write(&rig);
    assert_false(said.left[0]);
    assert_int_equal(said.changes[0].sensor_count, 100);
    rig_fini(&rig);
    check_counted(0, 0, 1);
    lake_drop();
}

/* More than are listed: which ones are, and how many there are. */
static void check_many(int count, bool exact)
{
    struct rig rig;
    struct recounted recounted;
    struct change found;
    size_t changes;
    lake_open(&rig, false);
    for (int from = 0; from < count; from += 500)
        sensors_send(&rig, NAMED, from, 500, 0);
    sensors_send(&rig, NAMED, 100, 500, 0);
    cut_write(&rig);
    assert_true(said.left[0]);
    if (exact)
        check_counted(0, 0, 1);
    assert_int_equal(count_of(&recounted), ERR_OK);
    sum_of(&recounted, &found, &changes);
    assert_int_equal(found.sensor_count, LIMIT_SENSORS_LISTED);
    assert_int_equal(distinct_count(&found.listed), LIMIT_SENSORS_LISTED);
    assert_int_equal(distinct_merge(&found.beyond, &found.listed), ERR_OK);
    uint64_t distinct = distinct_count(&found.beyond);
    uint64_t error = exact ? 0 : (uint64_t)count / 50;
    assert_true(distinct + error >= (uint64_t)count && distinct <= (uint64_t)count + error);
    sensors_send(&rig, NAMED, count, 500, 0); /* none that is listed: not this file's column's */
    sensors_send(&rig, NAMED, 0, 500, 0);
    cut_write(&rig);
    assert_false(said.left[1]);
    change_fini(&found);
    recounted_fini(&recounted);
    rig_fini(&rig);
    if (exact)
        check_counted(0, 1, 1);
    lake_drop();
}

static void test_sensors_beyond_the_list(void **state)
{
    (void)state;
    check_many(1000, true);
    check_many(1500, true);
    check_many(4000, true);
    check_many(4500, false);
    check_many(6000, false);
}

/* The list is full of the column's, and what is beyond it is another's. */
static void test_sensors_beyond_the_column(void **state)
{
    struct rig rig;
    (void)state;
    lake_open(&rig, false);
    sensors_send(&rig, NAMED, 0, 1000, 0);
    sensors_send(&rig, "\"sensorId\":\"%\"", 1000, 10, 0);
    cut_write(&rig);
    assert_false(said.left[0]);
    assert_int_equal(said.changes[0].sensor_count, LIMIT_SENSORS_LISTED);
    assert_int_equal(distinct_count(&said.changes[0].beyond), 10);
    rig_fini(&rig);
    check_counted(0, 0, 1);
    lake_drop();
}

static void sensors_lake_make(void)
{
    struct rig rig;
    lake_open(&rig, false);
    sensors_send(&rig, NAMED, 0, 100, 0);
    cut_write(&rig);
    assert_true(said.left[0]);
    rig_fini(&rig);
}

/* A column that cannot be read: the rest of the text counts, and the file is told. */
static void test_sensors_column_damaged(void **state)
{
    struct recounted recounted;
    struct change found;
    size_t changes;
    char path[512];
    (void)state;
    sensors_lake_make();
    snprintf(path, sizeof(path), "%s/%s", lake.path, lake.last_key);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 4, SEEK_SET), 0);
    for (int i = 0; i < 600; i++)
        assert_int_equal(fputc(0xee, file), 0xee);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(count_of(&recounted), ERR_OK);
    assert_int_equal(recounted.unread_count, 1);
    assert_non_null(strstr(recounted.unread, lake.last_key));
    sum_of(&recounted, &found, &changes);
    assert_int_equal(found.records, 100);
    assert_int_equal(found.payload_bytes, said.changes[0].payload_bytes);
    assert_true(found.sensor_count < 100);
    change_fini(&found);
    recounted_fini(&recounted);
    lake_drop();
}

static void test_no_memory(void **state)
{
    (void)state;
    sensors_lake_make();
    check_no_memory();
    lake_drop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sensors_left),
        cmocka_unit_test(test_sensors_kept),
        cmocka_unit_test(test_sensors_among_texts),
        cmocka_unit_test(test_sensors_of_routes),
        cmocka_unit_test(test_sensors_beyond_the_list),
        cmocka_unit_test(test_sensors_beyond_the_column),
        cmocka_unit_test(test_sensors_column_damaged),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
