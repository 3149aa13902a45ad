#pragma once
/*
 * A sensor's reading in the formats that CoAP devices use, by their content format (IANA "CoAP
 * Content-Formats"): JSON, the same as CBOR (RFC 8949), or SenML (RFC 8428). Pure.
 */
#include "app/simulate_sensor.h"

enum sensor_format {
    SENSOR_FORMAT_JSON = 50,
    SENSOR_FORMAT_CBOR = 60,
    SENSOR_FORMAT_SENML = 110,
};

/* Which one sensor number `number` speaks: half of each kind JSON, a quarter each CBOR and SenML.
 */
enum sensor_format sensor_format_of(uint32_t number);
/* Appends the reading; at most SENSOR_READING_MAX bytes. A failure is in payload->err. */
void sensor_write(const struct sensor *sensor, const struct sensor_reading *reading,
                  enum sensor_format format, struct buf *payload);
