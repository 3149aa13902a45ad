#include "codec/thrift_compact.h"

#include <assert.h>

void thrift_writer_init(struct thrift_writer *writer, struct buf *out)
{
    *writer = (struct thrift_writer){.out = out, .depth = -1};
}

static void put_varint(struct buf *out, uint64_t value)
{
    uint8_t bytes[10];
    size_t size = 0;
    while (value >= 0x80) {
        bytes[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[size++] = (uint8_t)value;
    (void)buf_append(out, bytes, size);
}

static uint64_t zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

/* A small step in ids shares its byte with the type. */
static void put_field(struct thrift_writer *writer, int id, enum thrift_type type)
{
    assert(writer->depth >= 0);
    int step = id - writer->last_id[writer->depth];
    assert(step > 0);
    if (step <= 15) {
        (void)buf_byte(writer->out, (uint8_t)(step << 4 | (int)type));
    } else {
        (void)buf_byte(writer->out, (uint8_t)type);
        put_varint(writer->out, zigzag(id));
    }
    writer->last_id[writer->depth] = id;
}

void thrift_begin(struct thrift_writer *writer)
{
    assert(writer->depth + 1 < THRIFT_DEPTH_MAX);
    writer->last_id[++writer->depth] = 0;
}

void thrift_begin_field(struct thrift_writer *writer, int id)
{
    put_field(writer, id, THRIFT_STRUCT);
    thrift_begin(writer);
}

void thrift_end(struct thrift_writer *writer)
{
    assert(writer->depth >= 0);
    (void)buf_byte(writer->out, THRIFT_STOP);
    writer->depth--;
}

void thrift_put_int(struct thrift_writer *writer, int id, enum thrift_type type, int64_t value)
{
    put_field(writer, id, type);
    put_varint(writer->out, zigzag(value));
}

void thrift_put_bool(struct thrift_writer *writer, int id, bool value)
{
    put_field(writer, id, value ? THRIFT_TRUE : THRIFT_FALSE);
}

void thrift_put_binary(struct thrift_writer *writer, int id, struct bytes value)
{
    put_field(writer, id, THRIFT_BINARY);
    thrift_element_binary(writer, value);
}

void thrift_put_encoded(struct thrift_writer *writer, int id, struct bytes encoded_struct)
{
    put_field(writer, id, THRIFT_STRUCT);
    (void)buf_append(writer->out, encoded_struct.data, encoded_struct.size);
}

void thrift_put_list(struct thrift_writer *writer, int id, enum thrift_type type, size_t count)
{
    put_field(writer, id, THRIFT_LIST);
    if (count < 15) {
        (void)buf_byte(writer->out, (uint8_t)(count << 4 | (size_t)type));
    } else {
        (void)buf_byte(writer->out, (uint8_t)(0xf0 | (int)type));
        put_varint(writer->out, count);
    }
}

void thrift_element_int(struct thrift_writer *writer, int64_t value)
{
    put_varint(writer->out, zigzag(value));
}

void thrift_element_bool(struct thrift_writer *writer, bool value)
{
    (void)buf_byte(writer->out, value ? THRIFT_TRUE : THRIFT_FALSE);
}

void thrift_element_binary(struct thrift_writer *writer, struct bytes value)
{
    put_varint(writer->out, value.size);
    (void)buf_append(writer->out, value.data, value.size);
}

void thrift_reader_init(struct thrift_reader *reader, struct bytes input)
{
    *reader = (struct thrift_reader){.at = input.data, .end = input.data + input.size, .depth = -1};
}

void thrift_fail(struct thrift_reader *reader, enum err err)
{
    if (!reader->err)
        reader->err = err;
    reader->at = reader->end;
}

static uint8_t get_byte(struct thrift_reader *reader)
{
    if (reader->at == reader->end) {
        thrift_fail(reader, ERR_TRUNCATED);
        return 0;
    }
    return *reader->at++;
}

static uint64_t get_varint(struct thrift_reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte = get_byte(reader);
        if (shift == 63 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    thrift_fail(reader, ERR_CORRUPT);
    return 0;
}

static int64_t get_zigzag(struct thrift_reader *reader)
{
    uint64_t value = get_varint(reader);
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

void thrift_enter(struct thrift_reader *reader)
{
    if (reader->depth + 1 >= THRIFT_DEPTH_MAX)
        thrift_fail(reader, ERR_TOO_DEEP);
    else
        reader->last_id[++reader->depth] = 0;
}

bool thrift_next_field(struct thrift_reader *reader, int *ret_id, enum thrift_type *ret_type)
{
    uint8_t byte = get_byte(reader);
    if (reader->err)
        return false;
    if (byte == THRIFT_STOP) {
        reader->depth--;
        return false;
    }
    int64_t id = byte >> 4 ? reader->last_id[reader->depth] + (byte >> 4) : get_zigzag(reader);
    if ((byte & 15) > THRIFT_STRUCT || (byte & 15) == 0 || id < 0 || id > INT16_MAX)
        thrift_fail(reader, ERR_CORRUPT);
    if (reader->err)
        return false;
    reader->last_id[reader->depth] = (int)id;
    *ret_id = (int)id;
    *ret_type = (enum thrift_type)(byte & 15);
    return true;
}

int64_t thrift_get_int(struct thrift_reader *reader, enum thrift_type type)
{
    if (type != THRIFT_I16 && type != THRIFT_I32 && type != THRIFT_I64) {
        thrift_fail(reader, ERR_CORRUPT);
        return 0;
    }
    return get_zigzag(reader);
}

bool thrift_get_bool(struct thrift_reader *reader, enum thrift_type type)
{
    if (type != THRIFT_TRUE && type != THRIFT_FALSE)
        thrift_fail(reader, ERR_CORRUPT);
    return type == THRIFT_TRUE;
}

struct bytes thrift_get_binary(struct thrift_reader *reader, enum thrift_type type)
{
    uint64_t size = type == THRIFT_BINARY ? get_varint(reader) : UINT64_MAX;
    if (size > (uint64_t)(reader->end - reader->at)) {
        thrift_fail(reader, type == THRIFT_BINARY ? ERR_TRUNCATED : ERR_CORRUPT);
        return (struct bytes){reader->end, 0};
    }
    struct bytes bytes = {reader->at, (size_t)size};
    reader->at += size;
    return bytes;
}

/* Count and element type; every element takes at least one byte. */
static size_t get_list_header(struct thrift_reader *reader, enum thrift_type *ret_type)
{
    uint8_t byte = get_byte(reader);
    uint64_t count = byte >> 4 == 15 ? get_varint(reader) : byte >> 4;
    if (count > (uint64_t)(reader->end - reader->at))
        thrift_fail(reader, ERR_TRUNCATED);
    *ret_type = (enum thrift_type)(byte & 15);
    return reader->err ? 0 : (size_t)count;
}

size_t thrift_get_list(struct thrift_reader *reader, enum thrift_type type,
                       enum thrift_type element_type)
{
    enum thrift_type found = THRIFT_STOP;
    size_t count = type == THRIFT_LIST ? get_list_header(reader, &found) : 0;
    if (type != THRIFT_LIST || (count > 0 && found != element_type)) {
        thrift_fail(reader, ERR_CORRUPT);
        return 0;
    }
    return count;
}

bool thrift_element_get_bool(struct thrift_reader *reader)
{
    uint8_t byte = get_byte(reader);
    if (byte != THRIFT_TRUE && byte != THRIFT_FALSE && byte != 0)
        thrift_fail(reader, ERR_CORRUPT);
    return byte == THRIFT_TRUE;
}

static void skip_value(struct thrift_reader *reader, enum thrift_type type, int depth);

static void skip_elements(struct thrift_reader *reader, int depth)
{
    enum thrift_type element_type;
    size_t count = get_list_header(reader, &element_type);
    for (size_t i = 0; i < count && !reader->err; i++) {
        if (element_type == THRIFT_TRUE || element_type == THRIFT_FALSE)
            (void)get_byte(reader);
        else
            skip_value(reader, element_type, depth);
    }
}

static void skip_struct(struct thrift_reader *reader, int depth)
{
    int id;
    enum thrift_type type;
    thrift_enter(reader);
    while (thrift_next_field(reader, &id, &type))
        skip_value(reader, type, depth);
}

static void skip_value(struct thrift_reader *reader, enum thrift_type type, int depth)
{
    if (depth >= THRIFT_DEPTH_MAX) {
        thrift_fail(reader, ERR_TOO_DEEP);
        return;
    }
    switch (type) {
    case THRIFT_TRUE:
    case THRIFT_FALSE:
        break;
    case THRIFT_BYTE:
        (void)get_byte(reader);
        break;
    case THRIFT_I16:
    case THRIFT_I32:
    case THRIFT_I64:
        (void)get_varint(reader);
        break;
    case THRIFT_DOUBLE:
        if (reader->end - reader->at < 8)
            thrift_fail(reader, ERR_TRUNCATED);
        else
            reader->at += 8;
        break;
    case THRIFT_BINARY:
        (void)thrift_get_binary(reader, type);
        break;
    case THRIFT_LIST:
    case THRIFT_SET:
        skip_elements(reader, depth + 1);
        break;
    case THRIFT_STRUCT:
        skip_struct(reader, depth + 1);
        break;
    case THRIFT_MAP: /* no Parquet structure has one */
    case THRIFT_STOP:
    default:
        thrift_fail(reader, ERR_UNSUPPORTED);
        break;
    }
}

void thrift_skip(struct thrift_reader *reader, enum thrift_type type)
{
    skip_value(reader, type, 0);
}
