#pragma once
/*
 * Simulated sensors of a city: temperature, air quality, traffic, smart bins. Values drift as real
 * ones do; now and then a device is at fault. The same seed gives the same readings. One thread;
 * all memory is the caller's.
 */
#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum sensor_kind { SENSOR_TEMPERATURE, SENSOR_AIR_QUALITY, SENSOR_TRAFFIC, SENSOR_BIN };
#define SENSOR_KIND_COUNT  4
#define SENSOR_VALUES      4
#define SENSOR_ID_MAX      32
#define SENSOR_TOPIC_MAX   200
#define SENSOR_HEAD_MAX    200
#define SENSOR_READING_MAX 640 /* the longest reading, with room */

/* One value of a kind: it is drawn to `usual`, moves by up to `step`, stays within its bounds. */
struct quantity {
    const char *name;
    const char *unit; /* SenML's (RFC 8428 §12.1, RFC 8798) */
    double usual;
    double step;
    double least;
    double most;
    int decimals;
};

struct sensor {
    enum sensor_kind kind;
    char id[SENSOR_ID_MAX];
    double latitude, longitude;
    const char *district;
    double values[SENSOR_VALUES]; /* what they are is the kind's */
    double battery;
    char topic[SENSOR_TOPIC_MAX];
    char head[SENSOR_HEAD_MAX]; /* the members that never change, as JSON text */
    size_t head_size;
};

/* What went into a reading besides its values. */
enum sensor_fault {
    SENSOR_FAULT_NONE,
    SENSOR_FAULT_TEXT,    /* "N/A" for a number */
    SENSOR_FAULT_NULL,    /* null for a number */
    SENSOR_FAULT_MISSING, /* the first value is not there */
    SENSOR_FAULT_NAN,     /* a bare NaN, as Python devices send it */
    SENSOR_FAULT_OUTLIER, /* a number far out of range */
    SENSOR_FAULT_CUT,     /* JSON that ends too early */
    SENSOR_FAULT_COUNT
};

/* What a sensor says of its values at a moment. */
struct sensor_reading {
    uint64_t seq;
    int64_t time_us; /* Unix time */
    enum sensor_fault fault;
    uint64_t cut; /* SENSOR_FAULT_CUT: where, any number */
};

/* number counts sensors from 0; kinds take turns. ERR_TOO_LARGE: the topic prefix is too long. */
enum err sensor_init(struct sensor *sensor, uint32_t number, const char *topic_prefix,
                     uint64_t *random) ERR_MUST_USE;
/* Moves the values one step. fault_ratio, 0 to 1: how likely the device is at fault now. */
struct sensor_reading sensor_step(struct sensor *sensor, uint64_t seq, int64_t time_us,
                                  double fault_ratio, uint64_t *random);
/* Appends the reading as JSON. timestamp: the text of its time, made once for many. */
void sensor_write_json(const struct sensor *sensor, const struct sensor_reading *reading,
                       const char *timestamp, struct buf *payload);

/* For other formats (simulate_format.h): SENSOR_VALUES of them, and the kind's name. */
const struct quantity *sensor_quantities(const struct sensor *sensor);
const char *sensor_type(const struct sensor *sensor);
/* The value as it is told: rounded to the quantity's decimals, or far out when that is the fault.
 */
double sensor_told(const struct sensor *sensor, int value, enum sensor_fault fault);
/* A payload that began at start ends too early, when that is the reading's fault. */
void sensor_cut(const struct sensor_reading *reading, size_t start, struct buf *payload);
