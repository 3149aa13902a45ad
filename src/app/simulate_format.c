#include "app/simulate_format.h"

#include "codec/timestamp.h"

#include <inttypes.h>
#include <string.h>

enum sensor_format sensor_format_of(uint32_t number)
{
    static const enum sensor_format formats[] = {SENSOR_FORMAT_JSON, SENSOR_FORMAT_JSON,
                                                 SENSOR_FORMAT_CBOR, SENSOR_FORMAT_SENML};
    return formats[number / SENSOR_KIND_COUNT % 4];
}

/* --- CBOR --- */

#define CBOR_UNSIGNED 0u /* major types of RFC 8949 §3.1 */
#define CBOR_TEXT     3u
#define CBOR_MAP      5u
#define CBOR_NULL     0xf6
#define CBOR_DOUBLE   0xfb

static void cbor_head(struct buf *out, unsigned major, uint64_t value)
{
    unsigned low = (unsigned)value, size = 0;
    if (value >= 24) {
        low = value <= UINT8_MAX ? 24 : value <= UINT16_MAX ? 25 : value <= UINT32_MAX ? 26 : 27;
        size = 1u << (low - 24);
    }
    buf_byte(out, (uint8_t)(major << 5 | low));
    for (unsigned i = size; i-- > 0;)
        buf_byte(out, (uint8_t)(value >> (8 * i)));
}

static void cbor_text(struct buf *out, const char *text)
{
    cbor_head(out, CBOR_TEXT, strlen(text));
    buf_text(out, text);
}

static void cbor_double(struct buf *out, const char *name, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    cbor_text(out, name);
    buf_byte(out, CBOR_DOUBLE);
    for (unsigned i = 8; i-- > 0;)
        buf_byte(out, (uint8_t)(bits >> (8 * i)));
}

static void cbor_faulty(struct buf *out, const char *name, double value, enum sensor_fault fault)
{
    if (fault == SENSOR_FAULT_NAN) {
        cbor_double(out, name, __builtin_nan(""));
    } else if (fault == SENSOR_FAULT_TEXT) {
        cbor_text(out, name);
        cbor_text(out, "N/A");
    } else if (fault == SENSOR_FAULT_NULL) {
        cbor_text(out, name);
        buf_byte(out, CBOR_NULL);
    } else if (fault != SENSOR_FAULT_MISSING) {
        cbor_double(out, name, value);
    }
}

static void write_cbor(const struct sensor *sensor, const struct sensor_reading *reading,
                       const char *timestamp, struct buf *out)
{
    const struct quantity *quantities = sensor_quantities(sensor);
    size_t start = out->size;
    cbor_head(out, CBOR_MAP, 6 + SENSOR_VALUES - (reading->fault == SENSOR_FAULT_MISSING));
    cbor_text(out, "sensor_id");
    cbor_text(out, sensor->id);
    cbor_text(out, "type");
    cbor_text(out, sensor_type(sensor));
    cbor_text(out, "location");
    cbor_head(out, CBOR_MAP, 3);
    cbor_double(out, "lat", sensor->latitude);
    cbor_double(out, "lon", sensor->longitude);
    cbor_text(out, "district");
    cbor_text(out, sensor->district);
    cbor_text(out, "seq");
    cbor_head(out, CBOR_UNSIGNED, reading->seq);
    cbor_text(out, "timestamp");
    cbor_text(out, timestamp);
    for (int i = 0; i < SENSOR_VALUES; i++)
        cbor_faulty(out, quantities[i].name, sensor_told(sensor, i, reading->fault),
                    i == 0 ? reading->fault : SENSOR_FAULT_NONE);
    cbor_double(out, "battery", sensor->battery);
    sensor_cut(reading, start, out);
}

/* --- SenML --- */

static void senml_faulty(struct buf *out, const struct quantity *quantity, double value,
                         enum sensor_fault fault)
{
    if (fault == SENSOR_FAULT_MISSING)
        return;
    buf_printf(out, ",{\"n\":\"%s\",\"u\":\"%s\",", quantity->name, quantity->unit);
    if (fault == SENSOR_FAULT_TEXT)
        buf_text(out, "\"vs\":\"N/A\"}");
    else if (fault == SENSOR_FAULT_NULL)
        buf_text(out, "\"v\":null}");
    else if (fault == SENSOR_FAULT_NAN)
        buf_text(out, "\"v\":NaN}");
    else
        buf_printf(out, "\"v\":%.*f}", quantity->decimals, value);
}

/* One pack: its first record has the base name and time, and the number of the reading. */
static void write_senml(const struct sensor *sensor, const struct sensor_reading *reading,
                        struct buf *out)
{
    const struct quantity *quantities = sensor_quantities(sensor);
    size_t start = out->size;
    buf_printf(
        out, "[{\"bn\":\"%s/\",\"bt\":%" PRId64 ".%03" PRId64 ",\"n\":\"seq\",\"v\":%" PRIu64 "}",
        sensor->id, reading->time_us / 1000000, reading->time_us / 1000 % 1000, reading->seq);
    for (int i = 0; i < SENSOR_VALUES; i++)
        senml_faulty(out, &quantities[i], sensor_told(sensor, i, reading->fault),
                     i == 0 ? reading->fault : SENSOR_FAULT_NONE);
    buf_printf(out, ",{\"n\":\"battery\",\"u\":\"%%EL\",\"v\":%.1f}]", sensor->battery);
    sensor_cut(reading, start, out);
}

void sensor_write(const struct sensor *sensor, const struct sensor_reading *reading,
                  enum sensor_format format, struct buf *payload)
{
    char timestamp[TIMESTAMP_TEXT_BYTES];
    (void)timestamp_format(reading->time_us, timestamp);
    if (format == SENSOR_FORMAT_CBOR)
        write_cbor(sensor, reading, timestamp, payload);
    else if (format == SENSOR_FORMAT_SENML)
        write_senml(sensor, reading, payload);
    else
        sensor_write_json(sensor, reading, timestamp, payload);
}
