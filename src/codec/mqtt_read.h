#pragma once
/*
 * Reading MQTT's data types (§1.5) from borrowed bytes; shared by mqtt.c and mqtt_properties.c
 * only. A reader never passes its end; the first failure sticks in err and later reads return zero,
 * so that a run of reads may be checked once.
 */
#include "base/bytes.h"
#include "base/err.h"
#include "codec/mqtt.h"
#include "codec/mqtt_text.h"

struct mqtt_reader {
    const uint8_t *at;
    const uint8_t *end;
    struct mqtt_fault *fault;
    enum err err;
    bool is_part; /* the end is not the packet's end */
};

static inline struct bytes mqtt_reader_rest(const struct mqtt_reader *reader)
{
    return bytes_from(reader->at, (size_t)(reader->end - reader->at));
}

static inline void mqtt_reader_fail(struct mqtt_reader *reader, enum mqtt_reason reason,
                                    const char *text)
{
    if (reader->err != ERR_OK)
        return;
    reader->err = ERR_PROTOCOL;
    *reader->fault = (struct mqtt_fault){.reason = (uint8_t)reason, .text = text};
}

/* Whether size more bytes are there. */
static inline bool mqtt_reader_has(struct mqtt_reader *reader, size_t size)
{
    if (reader->err != ERR_OK)
        return false;
    if (size <= (size_t)(reader->end - reader->at))
        return true;
    if (reader->is_part)
        reader->err = ERR_AGAIN;
    else
        mqtt_reader_fail(reader, MQTT_REASON_MALFORMED_PACKET,
                         "a field reaches beyond the packet's end (§2.1.4)");
    return false;
}

static inline uint8_t mqtt_read_u8(struct mqtt_reader *reader)
{
    return mqtt_reader_has(reader, 1) ? *reader->at++ : 0;
}

static inline uint16_t mqtt_read_u16(struct mqtt_reader *reader)
{
    if (!mqtt_reader_has(reader, 2))
        return 0;
    const uint8_t *at = reader->at;
    reader->at += 2;
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t mqtt_read_u32(struct mqtt_reader *reader)
{
    if (!mqtt_reader_has(reader, 4))
        return 0;
    const uint8_t *at = reader->at;
    reader->at += 4;
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline struct bytes mqtt_read_binary(struct mqtt_reader *reader)
{
    size_t size = mqtt_read_u16(reader);
    if (!mqtt_reader_has(reader, size))
        return (struct bytes){0};
    struct bytes value = bytes_from(reader->at, size);
    reader->at += size;
    return value;
}

static inline struct bytes mqtt_read_text(struct mqtt_reader *reader)
{
    struct bytes text = mqtt_read_binary(reader);
    if (reader->err == ERR_OK && !mqtt_text_valid(text))
        mqtt_reader_fail(reader, MQTT_REASON_MALFORMED_PACKET,
                         "a text is not UTF-8 or holds U+0000 (§1.5.4)");
    return text;
}

/* A variable byte integer: at most four bytes and no longer than needed (§1.5.5). */
static inline uint32_t mqtt_read_variable(struct mqtt_reader *reader)
{
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 28; shift += 7) {
        uint8_t byte = mqtt_read_u8(reader);
        value |= (uint32_t)(byte & 0x7f) << shift;
        if (byte & 0x80)
            continue;
        if (byte == 0 && shift > 0)
            break;
        return value;
    }
    mqtt_reader_fail(reader, MQTT_REASON_MALFORMED_PACKET,
                     "a variable byte integer is too long (§1.5.5)");
    return 0;
}

/* The properties of a packet; packet is the bit 1 << type, bit 0 for those of a will. */
#define MQTT_IN_WILL 1u
void mqtt_read_properties(struct mqtt_reader *reader, uint32_t packet,
                          struct mqtt_properties *ret_properties);
/* Appends the properties with their length. */
enum err mqtt_properties_encode(struct buf *out, const struct mqtt_properties *properties);

/* Writing, for the encoder and its properties. */
static inline void mqtt_put_u8(struct buf *out, uint8_t value)
{
    buf_byte(out, value);
}

static inline void mqtt_put_u16(struct buf *out, uint16_t value)
{
    buf_u16(out, __builtin_bswap16(value));
}

static inline void mqtt_put_u32(struct buf *out, uint32_t value)
{
    buf_u32(out, __builtin_bswap32(value));
}

static inline size_t mqtt_variable_size(uint32_t value)
{
    return value < 0x80 ? 1u : value < 0x4000 ? 2u : value < 0x200000 ? 3u : 4u;
}

static inline size_t mqtt_store_variable(uint8_t to[4], uint32_t value)
{
    size_t size = 0;
    do {
        to[size] = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        value >>= 7;
        size++;
    } while (value > 0 && size < 4);
    return size;
}

static inline void mqtt_put_binary(struct buf *out, struct bytes value)
{
    if (value.size > MQTT_TEXT_BYTES_MAX && out->err == ERR_OK)
        out->err = ERR_TOO_LARGE;
    mqtt_put_u16(out, (uint16_t)value.size);
    buf_append(out, value.data, value.size);
}
