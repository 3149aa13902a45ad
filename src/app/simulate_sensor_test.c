#include "app/simulate_sensor.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define TIMESTAMP "2026-11-24T12:00:00+00:00"
#define TIME_US   1795521600000000
#define READINGS  4000

static json_t *read_one(struct sensor *sensor, uint64_t seq, double fault_ratio, uint64_t *random,
                        struct buf *payload, enum sensor_fault *ret_fault)
{
    json_error_t error;
    buf_clear(payload);
    struct sensor_reading reading = sensor_step(sensor, seq, TIME_US, fault_ratio, random);
    sensor_write_json(sensor, &reading, TIMESTAMP, payload);
    *ret_fault = reading.fault;
    assert_int_equal(payload->err, ERR_OK);
    return json_loadb((const char *)payload->data, payload->size, JSON_REJECT_DUPLICATES, &error);
}

static void test_readings_are_json(void **state)
{
    (void)state;
    uint64_t random = 1;
    struct buf payload;
    buf_init(&payload, SENSOR_READING_MAX);
    for (uint32_t number = 0; number < 8; number++) {
        struct sensor sensor;
        assert_int_equal(sensor_init(&sensor, number, "a/b", &random), ERR_OK);
        assert_memory_equal(sensor.topic, "a/b/", 4);
        for (uint64_t seq = 0; seq < READINGS; seq++) {
            enum sensor_fault fault;
            json_t *reading = read_one(&sensor, seq, 0, &random, &payload, &fault);
            assert_non_null(reading);
            assert_int_equal(fault, SENSOR_FAULT_NONE);
            assert_int_equal(json_integer_value(json_object_get(reading, "seq")), seq);
            assert_string_equal(json_string_value(json_object_get(reading, "timestamp")),
                                TIMESTAMP);
            assert_true(json_is_string(json_object_get(reading, "sensor_id")));
            assert_true(
                json_is_number(json_object_get(json_object_get(reading, "location"), "lat")));
            double battery = json_number_value(json_object_get(reading, "battery"));
            assert_true(battery >= 4.9 && battery <= 100);
            json_decref(reading);
        }
    }
    buf_fini(&payload);
}

static void test_same_seed_same_readings(void **state)
{
    (void)state;
    struct buf first;
    struct buf second;
    uint64_t seeds[2] = {42, 42};
    struct buf *payloads[2] = {&first, &second};
    for (int run = 0; run < 2; run++) {
        struct sensor sensor;
        buf_init(payloads[run], SENSOR_READING_MAX * 50);
        assert_int_equal(sensor_init(&sensor, 3, "p", &seeds[run]), ERR_OK);
        for (uint64_t seq = 0; seq < 50; seq++) {
            struct sensor_reading reading = sensor_step(&sensor, seq, TIME_US, 0.2, &seeds[run]);
            sensor_write_json(&sensor, &reading, TIMESTAMP, payloads[run]);
        }
    }
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    buf_fini(&first);
    buf_fini(&second);
}

static void test_faults_are_what_they_say(void **state)
{
    (void)state;
    uint64_t random = 7;
    uint64_t counts[SENSOR_FAULT_COUNT] = {0};
    struct sensor sensor;
    struct buf payload;
    buf_init(&payload, SENSOR_READING_MAX);
    assert_int_equal(sensor_init(&sensor, 0, "p", &random), ERR_OK);
    for (uint64_t seq = 0; seq < READINGS; seq++) {
        enum sensor_fault fault;
        json_t *reading = read_one(&sensor, seq, 0.5, &random, &payload, &fault);
        const json_t *value = json_object_get(reading, "temperature");
        counts[fault]++;
        /* What is broken on purpose does not parse; all else does. */
        assert_int_equal(reading == NULL, fault == SENSOR_FAULT_CUT || fault == SENSOR_FAULT_NAN);
        if (fault == SENSOR_FAULT_TEXT)
            assert_string_equal(json_string_value(value), "N/A");
        if (fault == SENSOR_FAULT_NULL)
            assert_true(json_is_null(value));
        if (fault == SENSOR_FAULT_MISSING)
            assert_null(value);
        if (fault == SENSOR_FAULT_OUTLIER)
            assert_true(fabs(json_number_value(value) + 9999) < 0.001);
        json_decref(reading);
    }
    for (int fault = 0; fault < SENSOR_FAULT_COUNT; fault++)
        assert_true(counts[fault] > 100);
    buf_fini(&payload);
}

static void test_long_prefix(void **state)
{
    (void)state;
    uint64_t random = 1;
    struct sensor sensor;
    char prefix[SENSOR_TOPIC_MAX + 1];
    memset(prefix, 'p', SENSOR_TOPIC_MAX);
    prefix[SENSOR_TOPIC_MAX] = '\0';
    assert_int_equal(sensor_init(&sensor, 0, prefix, &random), ERR_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readings_are_json),
        cmocka_unit_test(test_same_seed_same_readings),
        cmocka_unit_test(test_faults_are_what_they_say),
        cmocka_unit_test(test_long_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
