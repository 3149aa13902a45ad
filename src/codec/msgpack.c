#include "codec/msgpack.h"

#include "codec/base64.h"
#include "codec/json_writer.h"
#include "codec/timestamp.h"
#include "codec/utf8.h"

#define EXTENSION_TIMESTAMP (-1)

struct msgpack {
    const uint8_t *at;
    const uint8_t *end;
    const char *why;
    uint32_t depth;
    struct buf text;
    struct json_writer writer;
    uint64_t left[LIMIT_JSON_DEPTH]; /* items of open containers: a map has two for each pair */
};

static const char too_short[] = "the MessagePack ends before it is complete";

static enum err malformed(struct msgpack *msgpack, const char *why)
{
    msgpack->why = why;
    return ERR_SYNTAX;
}

static enum err bytes_take(struct msgpack *msgpack, uint64_t size, struct bytes *ret_bytes)
{
    if (size > (size_t)(msgpack->end - msgpack->at))
        return malformed(msgpack, too_short);
    *ret_bytes = bytes_from(msgpack->at, (size_t)size);
    msgpack->at += size;
    return ERR_OK;
}

static uint64_t big_endian(struct bytes bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.size; i++)
        value = value << 8 | bytes.data[i];
    return value;
}

static enum err unsigned_take(struct msgpack *msgpack, size_t size, uint64_t *ret_value)
{
    struct bytes bytes;
    enum err err = bytes_take(msgpack, size, &bytes);
    *ret_value = err == ERR_OK ? big_endian(bytes) : 0;
    return err;
}

/* --- scalars ------------------------------------------------------------------------------- */

static enum err signed_write(struct msgpack *msgpack, int64_t value)
{
    return value < 0 ? json_writer_integer(&msgpack->writer, true, (uint64_t)(-1 - value))
                     : json_writer_integer(&msgpack->writer, false, (uint64_t)value);
}

static enum err integer_write(struct msgpack *msgpack, size_t size, bool is_signed)
{
    uint64_t bits;
    enum err err = unsigned_take(msgpack, size, &bits);
    if (err != ERR_OK)
        return err;
    if (!is_signed)
        return json_writer_integer(&msgpack->writer, false, bits);
    unsigned shift = 64 - 8 * (unsigned)size;
    return signed_write(msgpack, (int64_t)(bits << shift) >> shift);
}

static enum err float_write(struct msgpack *msgpack, size_t size)
{
    uint64_t bits;
    double number;
    enum err err = unsigned_take(msgpack, size, &bits);
    if (err != ERR_OK)
        return err;
    if (size == 4) {
        uint32_t half = (uint32_t)bits;
        float single;
        memcpy(&single, &half, sizeof(single));
        number = (double)single;
    } else {
        memcpy(&number, &bits, sizeof(number));
    }
    return json_writer_double(&msgpack->writer, number);
}

static enum err base64_write(struct msgpack *msgpack, struct bytes bytes)
{
    buf_clear(&msgpack->text);
    buf_byte(&msgpack->text, '"');
    base64_append(&msgpack->text, bytes);
    enum err err = buf_byte(&msgpack->text, '"');
    return err == ERR_OK ? json_writer_raw(&msgpack->writer, buf_bytes(&msgpack->text)) : err;
}

static enum err string_write(struct msgpack *msgpack, uint64_t size, bool binary)
{
    struct bytes bytes;
    enum err err = bytes_take(msgpack, size, &bytes);
    if (err != ERR_OK)
        return err;
    return !binary && utf8_valid(bytes) ? json_writer_text(&msgpack->writer, bytes)
                                        : base64_write(msgpack, bytes);
}

/* --- extensions ---------------------------------------------------------------------------- */

/* The three forms of a timestamp; false: it is none, or beyond what a timestamp can be. */
static bool timestamp_read(struct bytes data, int64_t *ret_us)
{
    uint64_t ns = 0;
    int64_t seconds;
    uint64_t bits = data.size <= 8 ? big_endian(data) : 0;
    if (data.size == 4) {
        seconds = (int64_t)bits;
    } else if (data.size == 8) {
        ns = bits >> 34;
        seconds = (int64_t)(bits & ((UINT64_C(1) << 34) - 1));
    } else if (data.size == 12) {
        ns = big_endian(bytes_from(data.data, 4));
        seconds = (int64_t)big_endian(bytes_from(data.data + 4, 8));
    } else {
        return false;
    }
    /* Years 1 to 9999. */
    if (ns >= NS_PER_S || seconds < -62135596800 || seconds > 253402300799)
        return false;
    *ret_us = seconds * US_PER_S + (int64_t)ns / NS_PER_US;
    return true;
}

static enum err extension_write(struct msgpack *msgpack, uint64_t size)
{
    struct json_writer *writer = &msgpack->writer;
    uint64_t type_bits;
    struct bytes data;
    int64_t us;
    enum err err = unsigned_take(msgpack, 1, &type_bits);
    if (err == ERR_OK)
        err = bytes_take(msgpack, size, &data);
    if (err != ERR_OK)
        return err;
    int8_t type = (int8_t)type_bits;
    if (type == EXTENSION_TIMESTAMP && timestamp_read(data, &us)) {
        char text[TIMESTAMP_TEXT_BYTES];
        return json_writer_text(writer, bytes_from(text, timestamp_format(us, text)));
    }
    err = json_writer_begin(writer, true);
    if (err == ERR_OK)
        err = json_writer_text(writer, BYTES_LITERAL("type"));
    if (err == ERR_OK)
        err = signed_write(msgpack, type);
    if (err == ERR_OK)
        err = json_writer_text(writer, BYTES_LITERAL("data"));
    if (err == ERR_OK)
        err = base64_write(msgpack, data);
    return err == ERR_OK ? json_writer_end(writer) : err;
}

/* --- objects ------------------------------------------------------------------------------- */

static enum err container_open(struct msgpack *msgpack, uint64_t count, bool map)
{
    uint64_t items = map ? count * 2 : count;
    if (items > (size_t)(msgpack->end - msgpack->at))
        return malformed(msgpack, too_short);
    enum err err = json_writer_begin(&msgpack->writer, map);
    if (err == ERR_OK)
        msgpack->left[msgpack->depth++] = items;
    return err;
}

enum kind {
    KIND_NEVER,
    KIND_NULL,
    KIND_FALSE,
    KIND_TRUE,
    KIND_BINARY,
    KIND_EXTENSION,
    KIND_FIXED_EXTENSION,
    KIND_FLOAT,
    KIND_UNSIGNED,
    KIND_SIGNED,
    KIND_TEXT,
    KIND_ARRAY,
    KIND_MAP,
};

/* First bytes 0xc0 to 0xdf. size: of the number or of the count that follows. */
static const struct {
    uint8_t kind;
    uint8_t size;
} table[32] = {
    {KIND_NULL, 0},
    {KIND_NEVER, 0},
    {KIND_FALSE, 0},
    {KIND_TRUE, 0},
    {KIND_BINARY, 1},
    {KIND_BINARY, 2},
    {KIND_BINARY, 4},
    {KIND_EXTENSION, 1},
    {KIND_EXTENSION, 2},
    {KIND_EXTENSION, 4},
    {KIND_FLOAT, 4},
    {KIND_FLOAT, 8},
    {KIND_UNSIGNED, 1},
    {KIND_UNSIGNED, 2},
    {KIND_UNSIGNED, 4},
    {KIND_UNSIGNED, 8},
    {KIND_SIGNED, 1},
    {KIND_SIGNED, 2},
    {KIND_SIGNED, 4},
    {KIND_SIGNED, 8},
    {KIND_FIXED_EXTENSION, 1},
    {KIND_FIXED_EXTENSION, 2},
    {KIND_FIXED_EXTENSION, 4},
    {KIND_FIXED_EXTENSION, 8},
    {KIND_FIXED_EXTENSION, 16},
    {KIND_TEXT, 1},
    {KIND_TEXT, 2},
    {KIND_TEXT, 4},
    {KIND_ARRAY, 2},
    {KIND_ARRAY, 4},
    {KIND_MAP, 2},
    {KIND_MAP, 4},
};

/* What is told by a count after the first byte. */
static enum err counted_write(struct msgpack *msgpack, uint8_t kind, size_t size)
{
    uint64_t count;
    enum err err = unsigned_take(msgpack, size, &count);
    if (err != ERR_OK)
        return err;
    switch (kind) {
    case KIND_BINARY:
    case KIND_TEXT:
        return string_write(msgpack, count, kind == KIND_BINARY);
    case KIND_EXTENSION:
        return extension_write(msgpack, count);
    default:
        return container_open(msgpack, count, kind == KIND_MAP);
    }
}

static enum err tabled_write(struct msgpack *msgpack, uint8_t first)
{
    struct json_writer *writer = &msgpack->writer;
    uint8_t kind = table[first & 31].kind;
    size_t size = table[first & 31].size;
    switch (kind) {
    case KIND_NEVER:
        return malformed(msgpack, "the MessagePack has the byte that is never used");
    case KIND_NULL:
        return json_writer_raw(writer, BYTES_LITERAL("null"));
    case KIND_FALSE:
        return json_writer_raw(writer, BYTES_LITERAL("false"));
    case KIND_TRUE:
        return json_writer_raw(writer, BYTES_LITERAL("true"));
    case KIND_FLOAT:
        return float_write(msgpack, size);
    case KIND_UNSIGNED:
    case KIND_SIGNED:
        return integer_write(msgpack, size, kind == KIND_SIGNED);
    case KIND_FIXED_EXTENSION:
        return extension_write(msgpack, size);
    default:
        return counted_write(msgpack, kind, size);
    }
}

static enum err object_read(struct msgpack *msgpack)
{
    struct bytes first;
    enum err err = bytes_take(msgpack, 1, &first);
    if (err != ERR_OK)
        return err;
    uint8_t byte = first.data[0];
    if (byte < 0x80 || byte >= 0xe0)
        return signed_write(msgpack, (int8_t)byte);
    if (byte < 0xa0)
        return container_open(msgpack, byte & 15, byte < 0x90);
    if (byte < 0xc0)
        return string_write(msgpack, byte & 31, false);
    return tabled_write(msgpack, byte);
}

static enum err payload_write(struct msgpack *msgpack)
{
    enum err err = object_read(msgpack);
    while (err == ERR_OK && msgpack->depth > 0) {
        uint64_t *left = &msgpack->left[msgpack->depth - 1];
        if (*left == 0) {
            msgpack->depth--;
            err = json_writer_end(&msgpack->writer);
        } else {
            --*left;
            err = object_read(msgpack);
        }
    }
    if (err == ERR_OK && msgpack->at < msgpack->end)
        err = malformed(msgpack, "something follows the MessagePack object");
    return err == ERR_OK ? msgpack->writer.out->err : err;
}

enum err msgpack_to_json(struct bytes payload, struct buf *out, const char **ret_why)
{
    struct msgpack msgpack; /* large: what is in use is set */
    msgpack.at = payload.data;
    msgpack.end = payload.size > 0 ? payload.data + payload.size : payload.data;
    msgpack.why = NULL;
    msgpack.depth = 0;
    buf_init(&msgpack.text, out->size_max);
    json_writer_init(&msgpack.writer, out);
    enum err err = payload_write(&msgpack);
    buf_fini(&msgpack.text);
    if (err == ERR_SYNTAX && msgpack.why)
        *ret_why = msgpack.why;
    return err;
}
