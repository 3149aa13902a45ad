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
#define SENSOR_TOPIC_MAX   200
#define SENSOR_HEAD_MAX    200
#define SENSOR_READING_MAX 640 /* the longest reading, with room */

struct sensor {
    enum sensor_kind kind;
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

/* number counts sensors from 0; kinds take turns. ERR_TOO_LARGE: the topic prefix is too long. */
enum err sensor_init(struct sensor *sensor, uint32_t number, const char *topic_prefix,
                     uint64_t *random) ERR_MUST_USE;
/* Moves the values one step and appends the reading. fault_ratio: 0 to 1. */
enum sensor_fault sensor_read(struct sensor *sensor, uint64_t seq, const char *timestamp,
                              double fault_ratio, uint64_t *random, struct buf *payload);
