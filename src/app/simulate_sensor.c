#include "app/simulate_sensor.h"

#include <math.h>
#include <stdio.h>

#define OUTLIER   (-9999)
#define CUT_LEAST 10

static const struct kind {
    const char *type;
    const char *prefix; /* of sensor_id */
    struct quantity quantities[SENSOR_VALUES];
} kinds[SENSOR_KIND_COUNT] = {
    [SENSOR_TEMPERATURE] = {"temperature",
                            "temp",
                            {{"temperature", "Cel", 14.5, 0.12, -25, 45, 2},
                             {"humidity", "%RH", 62, 0.4, 5, 100, 1},
                             {"pressure_hpa", "hPa", 1013, 0.2, 950, 1060, 1},
                             {"dew_point", "Cel", 7.5, 0.1, -30, 30, 2}}},
    [SENSOR_AIR_QUALITY] = {"air_quality",
                            "air",
                            {{"pm2_5", "ug/m3", 12, 0.5, 0, 500, 1},
                             {"pm10", "ug/m3", 21, 0.8, 0, 600, 1},
                             {"no2", "ug/m3", 28, 0.7, 0, 400, 1},
                             {"co2_ppm", "ppm", 430, 3, 380, 5000, 0}}},
    [SENSOR_TRAFFIC] = {"traffic",
                        "traffic",
                        {{"vehicle_count", "count", 34, 4, 0, 400, 0},
                         {"average_speed_kmh", "km/h", 41, 1.5, 0, 130, 1},
                         {"occupancy", "/", 0.22, 0.02, 0, 1, 3},
                         {"truck_share", "/", 0.08, 0.005, 0, 1, 3}}},
    [SENSOR_BIN] = {"smart_bin",
                    "bin",
                    {{"fill_level", "%", 45, 0.6, 0, 100, 1},
                     {"weight_kg", "kg", 18, 0.4, 0, 120, 2},
                     {"temperature", "Cel", 16, 0.1, -25, 80, 1},
                     {"tilt_degrees", "deg", 1, 0.1, 0, 90, 1}}},
};

static const char *const districts[] = {"Altstadt", "Neustadt",  "Plauen", "Cotta",
                                        "Pieschen", "Klotzsche", "Löbtau", "Blasewitz"};

static const double scales[] = {1, 10, 100, 1000}; /* by decimals */

/* splitmix64: small, and good enough for weather. */
static uint64_t random_next(uint64_t *random)
{
    *random += 0x9e3779b97f4a7c15ULL;
    uint64_t x = *random;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

/* 0 to 1, 1 not reached. */
static double random_unit(uint64_t *random)
{
    return (double)(random_next(random) >> 11) * 0x1p-53;
}

enum err sensor_init(struct sensor *sensor, uint32_t number, const char *topic_prefix,
                     uint64_t *random)
{
    *sensor = (struct sensor){.kind = (enum sensor_kind)(number % SENSOR_KIND_COUNT)};
    const struct kind *kind = &kinds[sensor->kind];
    snprintf(sensor->id, sizeof(sensor->id), "%s-%04u", kind->prefix, number);
    sensor->latitude = 51.0 + random_unit(random) * 0.1;
    sensor->longitude = 13.65 + random_unit(random) * 0.2;
    sensor->district = districts[random_next(random) % 8];
    int topic_size = snprintf(sensor->topic, sizeof(sensor->topic), "%s/%s/%s", topic_prefix,
                              kind->type, sensor->id);
    int head_size =
        snprintf(sensor->head, sizeof(sensor->head),
                 "{\"sensor_id\":\"%s\",\"type\":\"%s\",\"location\":{\"lat\":%.5f,\"lon\":%.5f,"
                 "\"district\":\"%s\"},\"seq\":",
                 sensor->id, kind->type, sensor->latitude, sensor->longitude, sensor->district);
    if (topic_size < 0 || topic_size >= SENSOR_TOPIC_MAX || head_size < 0 ||
        head_size >= SENSOR_HEAD_MAX)
        return ERR_TOO_LARGE;
    sensor->head_size = (size_t)head_size;
    for (int i = 0; i < SENSOR_VALUES; i++) {
        const struct quantity *quantity = &kind->quantities[i];
        double usual = quantity->usual + (random_unit(random) - 0.5) * 20 * quantity->step;
        sensor->values[i] = fmin(fmax(usual, quantity->least), quantity->most);
    }
    sensor->battery = 60 + random_unit(random) * 40;
    return ERR_OK;
}

static void drift(struct sensor *sensor, uint64_t *random)
{
    const struct kind *kind = &kinds[sensor->kind];
    for (int i = 0; i < SENSOR_VALUES; i++) {
        const struct quantity *quantity = &kind->quantities[i];
        double value = sensor->values[i];
        value += (quantity->usual - value) * 0.002;
        value += (random_unit(random) - 0.5) * 2 * quantity->step;
        sensor->values[i] = fmin(fmax(value, quantity->least), quantity->most);
    }
    sensor->battery -= 0.0001;
    if (sensor->battery < 5)
        sensor->battery = 100; /* somebody came by */
    if (sensor->kind == SENSOR_BIN && sensor->values[0] > 95)
        sensor->values[0] = sensor->values[1] = 0; /* emptied */
}

/* printf's %.*f costs half a microsecond; this is a tenth. |value| stays below a million. */
static void put_number(struct buf *out, double value, int decimals)
{
    char text[32];
    char *at = text + sizeof(text);
    int64_t scaled = llround(value * scales[decimals]);
    uint64_t rest = (uint64_t)(scaled < 0 ? -scaled : scaled);
    int digits = 0;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
        if (++digits == decimals)
            *--at = '.';
    } while (rest > 0 || digits <= decimals);
    if (scaled < 0)
        *--at = '-';
    buf_append(out, at, (size_t)(text + sizeof(text) - at));
}

static void put_seq(struct buf *out, uint64_t seq)
{
    char text[20];
    char *at = text + sizeof(text);
    do {
        *--at = (char)('0' + seq % 10);
        seq /= 10;
    } while (seq > 0);
    buf_append(out, at, (size_t)(text + sizeof(text) - at));
}

static void put_name(struct buf *out, const char *name)
{
    buf_append(out, ",\"", 2);
    buf_text(out, name);
    buf_append(out, "\":", 2);
}

static void put_faulty(struct buf *out, const struct quantity *quantity, double value,
                       enum sensor_fault fault)
{
    if (fault == SENSOR_FAULT_MISSING)
        return;
    put_name(out, quantity->name);
    if (fault == SENSOR_FAULT_TEXT)
        buf_text(out, "\"N/A\"");
    else if (fault == SENSOR_FAULT_NULL)
        buf_text(out, "null");
    else if (fault == SENSOR_FAULT_NAN)
        buf_text(out, "NaN");
    else
        put_number(out, fault == SENSOR_FAULT_OUTLIER ? OUTLIER : value, quantity->decimals);
}

static enum sensor_fault draw_fault(double fault_ratio, uint64_t *random)
{
    if (fault_ratio <= 0 || random_unit(random) >= fault_ratio)
        return SENSOR_FAULT_NONE;
    return (enum sensor_fault)(1 + random_next(random) % (SENSOR_FAULT_COUNT - 1));
}

struct sensor_reading sensor_step(struct sensor *sensor, uint64_t seq, int64_t time_us,
                                  double fault_ratio, uint64_t *random)
{
    struct sensor_reading reading = {.seq = seq, .time_us = time_us};
    reading.fault = draw_fault(fault_ratio, random);
    drift(sensor, random);
    if (reading.fault == SENSOR_FAULT_CUT)
        reading.cut = random_next(random);
    return reading;
}

const struct quantity *sensor_quantities(const struct sensor *sensor)
{
    return kinds[sensor->kind].quantities;
}

const char *sensor_type(const struct sensor *sensor)
{
    return kinds[sensor->kind].type;
}

double sensor_told(const struct sensor *sensor, int value, enum sensor_fault fault)
{
    double scale = scales[kinds[sensor->kind].quantities[value].decimals];
    if (value == 0 && fault == SENSOR_FAULT_OUTLIER)
        return OUTLIER;
    return (double)llround(sensor->values[value] * scale) / scale;
}

void sensor_cut(const struct sensor_reading *reading, size_t start, struct buf *payload)
{
    if (reading->fault == SENSOR_FAULT_CUT && payload->err == ERR_OK)
        payload->size = start + CUT_LEAST + reading->cut % (payload->size - start - CUT_LEAST);
}

void sensor_write_json(const struct sensor *sensor, const struct sensor_reading *reading,
                       const char *timestamp, struct buf *payload)
{
    const struct kind *kind = &kinds[sensor->kind];
    size_t start = payload->size;
    buf_append(payload, sensor->head, sensor->head_size);
    put_seq(payload, reading->seq);
    buf_text(payload, ",\"timestamp\":\"");
    buf_text(payload, timestamp);
    buf_byte(payload, '"');
    for (int i = 0; i < SENSOR_VALUES; i++)
        put_faulty(payload, &kind->quantities[i], sensor->values[i],
                   i == 0 ? reading->fault : SENSOR_FAULT_NONE);
    put_name(payload, "battery");
    put_number(payload, sensor->battery, 1);
    buf_byte(payload, '}');
    sensor_cut(reading, start, payload);
}
