#include "app/simulate_format.h"

#include "codec/content_format.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define TIME_US  1795521600123000
#define READINGS 2000

static enum content_format decoder_of(enum sensor_format format)
{
    return format == SENSOR_FORMAT_CBOR ? CONTENT_CBOR : CONTENT_SENML_JSON;
}

/* The reading as the service sees it; NULL: it is none. */
static json_t *decoded(struct bytes payload, enum sensor_format format)
{
    struct buf text;
    const char *why = NULL;
    json_error_t error;
    json_t *value = NULL;
    buf_init(&text, 8 * SENSOR_READING_MAX);
    if (format == SENSOR_FORMAT_JSON)
        value = json_loadb((const char *)payload.data, payload.size, 0, &error);
    else if (content_to_json(decoder_of(format), payload, TIME_US, &text, &why) == ERR_OK)
        value = json_loadb((const char *)text.data, text.size, 0, &error);
    buf_fini(&text);
    return value;
}

static json_t *written(const struct sensor *sensor, const struct sensor_reading *reading,
                       enum sensor_format format)
{
    struct buf payload;
    buf_init(&payload, SENSOR_READING_MAX);
    sensor_write(sensor, reading, format, &payload);
    assert_int_equal(payload.err, ERR_OK);
    json_t *value = decoded(buf_bytes(&payload), format);
    buf_fini(&payload);
    return value;
}

/* The record of a pack with that name after the sensor's. */
static const json_t *record_of(const json_t *pack, const char *id, const char *name)
{
    char wanted[80];
    size_t i;
    const json_t *record;
    snprintf(wanted, sizeof(wanted), "%s/%s", id, name);
    json_array_foreach(pack, i, record) if (strcmp(json_string_value(json_object_get(record, "n")),
                                                   wanted) == 0) return record;
    return NULL;
}

static void test_cbor_says_what_json_says(void **state)
{
    (void)state;
    uint64_t random = 5;
    for (uint32_t number = 0; number < SENSOR_KIND_COUNT; number++) {
        struct sensor sensor;
        assert_int_equal(sensor_init(&sensor, number, "p", &random), ERR_OK);
        for (uint64_t seq = 20; seq < 400; seq++) {
            struct sensor_reading reading = sensor_step(&sensor, seq, TIME_US, 0, &random);
            json_t *json = written(&sensor, &reading, SENSOR_FORMAT_JSON);
            json_t *cbor = written(&sensor, &reading, SENSOR_FORMAT_CBOR);
            const char *name = sensor_quantities(&sensor)[0].name;
            assert_int_equal(json_object_size(json), json_object_size(cbor));
            assert_int_equal(json_integer_value(json_object_get(cbor, "seq")), seq);
            assert_true(fabs(json_number_value(json_object_get(json, name)) -
                             json_number_value(json_object_get(cbor, name))) < 1e-9);
            assert_true(
                json_equal(json_object_get(json, "sensor_id"), json_object_get(cbor, "sensor_id")));
            assert_true(
                json_equal(json_object_get(json, "timestamp"), json_object_get(cbor, "timestamp")));
            json_decref(json);
            json_decref(cbor);
        }
    }
}

static void test_senml_is_a_pack_with_units(void **state)
{
    (void)state;
    uint64_t random = 6;
    struct sensor sensor;
    assert_int_equal(sensor_init(&sensor, 12, "p", &random), ERR_OK);
    struct sensor_reading reading = sensor_step(&sensor, 7, TIME_US, 0, &random);
    json_t *pack = written(&sensor, &reading, SENSOR_FORMAT_SENML);
    assert_int_equal(json_array_size(pack), SENSOR_VALUES + 2);
    const json_t *seq = record_of(pack, sensor.id, "seq");
    const json_t *warmth = record_of(pack, sensor.id, "temperature");
    assert_int_equal(json_number_value(json_object_get(seq, "v")), 7);
    assert_string_equal(json_string_value(json_object_get(warmth, "u")), "Cel");
    assert_true(fabs(json_number_value(json_object_get(warmth, "v")) -
                     sensor_told(&sensor, 0, SENSOR_FAULT_NONE)) < 1e-9);
    assert_true(fabs(json_number_value(json_object_get(warmth, "t")) - TIME_US / 1e6) < 0.001);
    json_decref(pack);
}

static void check_fault(const struct sensor *sensor, const struct sensor_reading *reading,
                        enum sensor_format format)
{
    json_t *value = written(sensor, reading, format);
    bool is_senml = format == SENSOR_FORMAT_SENML;
    const char *name = sensor_quantities(sensor)[0].name;
    const json_t *first =
        is_senml ? record_of(value, sensor->id, name) : json_object_get(value, name);
    const json_t *number = is_senml ? json_object_get(first, "v") : first;
    if (reading->fault == SENSOR_FAULT_CUT) {
        assert_null(value);
        return;
    }
    if (reading->fault == SENSOR_FAULT_NONE)
        assert_true(json_is_number(number));
    if (reading->fault == SENSOR_FAULT_OUTLIER)
        assert_true(fabs(json_number_value(number) + 9999) < 0.001);
    if (reading->fault == SENSOR_FAULT_MISSING)
        assert_null(first);
    if (reading->fault == SENSOR_FAULT_TEXT)
        assert_string_equal(json_string_value(is_senml ? json_object_get(first, "vs") : first),
                            "N/A");
    json_decref(value);
}

static void test_faults_in_each_format(void **state)
{
    (void)state;
    static const enum sensor_format formats[] = {SENSOR_FORMAT_CBOR, SENSOR_FORMAT_SENML};
    uint64_t random = 8;
    uint64_t counts[SENSOR_FAULT_COUNT] = {0};
    for (uint64_t seq = 0; seq < READINGS; seq++) {
        struct sensor sensor;
        assert_int_equal(sensor_init(&sensor, (uint32_t)seq, "p", &random), ERR_OK);
        struct sensor_reading reading = sensor_step(&sensor, seq, TIME_US, 0.6, &random);
        counts[reading.fault]++;
        check_fault(&sensor, &reading, formats[seq / SENSOR_KIND_COUNT % 2]);
    }
    for (int fault = 0; fault < SENSOR_FAULT_COUNT; fault++)
        assert_true(counts[fault] > 50);
}

static void test_every_kind_speaks_every_format(void **state)
{
    (void)state;
    unsigned seen[SENSOR_KIND_COUNT] = {0};
    for (uint32_t number = 0; number < 4 * SENSOR_KIND_COUNT; number++) {
        enum sensor_format format = sensor_format_of(number);
        seen[number % SENSOR_KIND_COUNT] |= format == SENSOR_FORMAT_JSON   ? 1
                                            : format == SENSOR_FORMAT_CBOR ? 2
                                                                           : 4;
    }
    for (int kind = 0; kind < SENSOR_KIND_COUNT; kind++)
        assert_int_equal(seen[kind], 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cbor_says_what_json_says),
        cmocka_unit_test(test_senml_is_a_pack_with_units),
        cmocka_unit_test(test_faults_in_each_format),
        cmocka_unit_test(test_every_kind_speaks_every_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
