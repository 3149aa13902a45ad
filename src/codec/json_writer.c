#include "codec/json_writer.h"

#include <float.h>
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

/* digits / 10^decimals; at least one decimal. Returns the length. */
static size_t decimal_text(uint64_t digits, int decimals, bool negative, char text[NUMBER_BYTES])
{
    char *end = text + NUMBER_BYTES;
    char *at = end;
    for (int i = 0; i < decimals; i++, digits /= 10)
        *--at = (char)('0' + digits % 10);
    *--at = '.';
    do {
        *--at = (char)('0' + digits % 10);
    } while ((digits /= 10) > 0);
    if (negative)
        *--at = '-';
    memmove(text, at, (size_t)(end - at));
    return (size_t)(end - at);
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
        if ((double)mantissa / powers[i] >= magnitude && (double)mantissa / powers[i] <= magnitude)
            return decimal_text(mantissa, (int)i + 1, signbit(number), text);
    }
    return 0;
}

/*
 * The decimal with the given decimals that is nearest to mantissa * 2^-shift, or 0 when it does not
 * read back as that: the reader takes what is within half a unit of the last bit of mantissa.
 */
static uint64_t nearest_decimal(uint64_t mantissa, int shift, unsigned __int128 power)
{
    unsigned __int128 scaled = mantissa * power; /* below 2^53 * 10^21, which is below 2^123 */
    unsigned __int128 rest = scaled & (((unsigned __int128)1 << shift) - 1);
    uint64_t decimal = (uint64_t)(scaled >> shift);
    unsigned __int128 half = (unsigned __int128)1 << (shift - 1);
    bool goes_up = rest > half || (rest == half && decimal % 2 == 1);
    unsigned __int128 distance = goes_up ? 2 * half - rest : rest;
    return 2 * distance < power ? decimal + goes_up : 0;
}

/*
 * What has more decimals, single precision for one: of 15 to 17 digits the least that read back,
 * exactly, in integers. Returns the length, or 0 for what is too small or too large for them.
 */
static size_t many_decimals(double number, char text[NUMBER_BYTES])
{
    static const double limits[] = {1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6};
    int exponent, decimals = 18; /* 15 digits of what is below the first */
    double magnitude = fabs(number);
    if (magnitude < 1e-4 || magnitude >= 1e7)
        return 0;
    uint64_t mantissa = (uint64_t)ldexp(frexp(magnitude, &exponent), DBL_MANT_DIG);
    int shift = DBL_MANT_DIG - exponent;
    if (mantissa == 1ULL << (DBL_MANT_DIG - 1))
        return 0; /* a power of two, whose neighbour below is nearer */
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        decimals -= magnitude >= limits[i];
    unsigned __int128 power = 1;
    for (int i = 0; i < decimals; i++)
        power *= 10;
    uint64_t decimal = 0;
    for (int digits = 15; digits <= 17 && decimal == 0; digits++, decimals++, power *= 10)
        decimal = nearest_decimal(mantissa, shift, power);
    decimals--;
    for (; decimal > 0 && decimal % 10 == 0 && decimals > 1; decimal /= 10)
        decimals--;
    return decimal > 0 ? decimal_text(decimal, decimals, signbit(number), text) : 0;
}

enum err json_double_append(struct buf *out, double number)
{
    char text[NUMBER_BYTES];
    size_t size = few_decimals(number, text);
    if (size == 0)
        size = many_decimals(number, text);
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
