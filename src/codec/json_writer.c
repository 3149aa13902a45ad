#include "codec/json_writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NUMBER_BYTES 40

void json_writer_init(struct json_writer *writer, struct buf *out)
{
    writer->out = out;
    writer->depth = 0;
    writer->in_key = false;
}

static struct json_writer_frame *top(struct json_writer *writer)
{
    return writer->depth > 0 ? &writer->frames[writer->depth - 1] : NULL;
}

/* What must stand before the next value or key. Returns whether it is a key. */
static bool prefix(struct json_writer *writer)
{
    struct json_writer_frame *frame = top(writer);
    if (!frame)
        return false;
    bool is_key = frame->object && !frame->is_value;
    if (frame->object && frame->is_value)
        buf_byte(writer->out, ':');
    else if (frame->started)
        buf_byte(writer->out, ',');
    frame->started = true;
    frame->is_value = is_key;
    return is_key;
}

enum err json_writer_begin(struct json_writer *writer, bool object)
{
    bool is_key = prefix(writer);
    if (writer->depth == LIMIT_JSON_DEPTH || (is_key && writer->in_key))
        return ERR_TOO_DEEP;
    writer->in_key |= is_key;
    writer->frames[writer->depth++] = (struct json_writer_frame){
        .object = object, .is_key = is_key, .key_begin = writer->out->size};
    return buf_byte(writer->out, object ? '{' : '[');
}

/* The container that was a key becomes a string. */
static enum err key_quote(struct json_writer *writer, size_t begin)
{
    struct buf text;
    struct buf *out = writer->out;
    buf_init(&text, out->size_max);
    if (out->err == ERR_OK)
        buf_append(&text, out->data + begin, out->size - begin);
    enum err err = text.err == ERR_OK ? out->err : text.err;
    if (err == ERR_OK) {
        out->size = begin;
        err = buf_json_string(out, buf_bytes(&text));
    }
    buf_fini(&text);
    return err;
}

enum err json_writer_end(struct json_writer *writer)
{
    const struct json_writer_frame *frame = top(writer);
    if (!frame || frame->is_value)
        return ERR_SYNTAX;
    writer->depth--;
    enum err err = buf_byte(writer->out, frame->object ? '}' : ']');
    if (!frame->is_key || err != ERR_OK)
        return err;
    writer->in_key = false;
    return key_quote(writer, frame->key_begin);
}

enum err json_writer_text(struct json_writer *writer, struct bytes text)
{
    prefix(writer);
    return buf_json_string(writer->out, text);
}

enum err json_writer_raw(struct json_writer *writer, struct bytes json)
{
    bool quotes = prefix(writer) && json.data[0] != '"';
    if (quotes)
        buf_byte(writer->out, '"');
    enum err err = buf_append(writer->out, json.data, json.size);
    return quotes ? buf_byte(writer->out, '"') : err;
}

enum err json_writer_integer(struct json_writer *writer, bool negative, uint64_t magnitude)
{
    char text[NUMBER_BYTES];
    char *end = text + sizeof(text);
    char *at = end;
    bool carry = negative && magnitude == UINT64_MAX; /* -2^64 */
    if (carry)
        at -= snprintf(text, sizeof(text), "18446744073709551616");
    uint64_t left = negative ? magnitude + 1 : magnitude;
    if (carry) {
        memmove(at, text, (size_t)(end - at));
    } else {
        do {
            *--at = (char)('0' + left % 10);
        } while ((left /= 10) > 0);
    }
    if (negative)
        *--at = '-';
    return json_writer_raw(writer, bytes_from(at, (size_t)(end - at)));
}

enum err json_writer_double(struct json_writer *writer, double number)
{
    if (isnan(number))
        return json_writer_raw(writer, BYTES_LITERAL("NaN"));
    if (isinf(number))
        return json_writer_raw(writer,
                               number > 0 ? BYTES_LITERAL("Infinity") : BYTES_LITERAL("-Infinity"));
    bool quotes = prefix(writer);
    if (quotes)
        buf_byte(writer->out, '"');
    enum err err = json_double_append(writer->out, number);
    return quotes ? buf_byte(writer->out, '"') : err;
}

/* Readings have few decimals: mantissa and power of ten are exact, and so is their quotient's
 * rounding, which is how the reader takes the text. Returns the length, or 0. */
static size_t few_decimals(double number, char text[NUMBER_BYTES])
{
    static const double powers[] = {1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8};
    double magnitude = fabs(number);
    if (magnitude >= 1e7)
        return 0;
    for (size_t i = 0; i < sizeof(powers) / sizeof(powers[0]); i++) {
        double scaled = magnitude * powers[i];
        uint64_t mantissa = (uint64_t)(scaled + 0.5);
        if ((double)mantissa / powers[i] < magnitude || (double)mantissa / powers[i] > magnitude)
            continue;
        char *end = text + NUMBER_BYTES;
        char *at = end;
        for (size_t k = 0; k <= i; k++, mantissa /= 10)
            *--at = (char)('0' + mantissa % 10);
        *--at = '.';
        do {
            *--at = (char)('0' + mantissa % 10);
        } while ((mantissa /= 10) > 0);
        if (signbit(number))
            *--at = '-';
        memmove(text, at, (size_t)(end - at));
        return (size_t)(end - at);
    }
    return 0;
}

enum err json_double_append(struct buf *out, double number)
{
    char text[NUMBER_BYTES];
    size_t size = few_decimals(number, text);
    if (size > 0)
        return buf_append(out, text, size);
    for (int digits = 15; digits <= 17; digits++) {
        size = (size_t)snprintf(text, sizeof(text), "%.*g", digits, number);
        double back = strtod(text, NULL);
        if (digits == 17 || (back <= number && back >= number))
            break;
    }
    enum err err = buf_append(out, text, size);
    return strpbrk(text, ".e") ? err : buf_text(out, ".0");
}
