#include "codec/python_json.h"

#include "base/limits.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define REPR_DIGITS_MAX 17 /* enough for any double */
#define REPR_BYTES      40

/* The fewest digits that read back as the same double, as "d.ddde+XX". */
static int shortest(char text[REPR_BYTES], double value)
{
    for (int digits = 1;; digits++) {
        int size = snprintf(text, REPR_BYTES, "%.*e", digits - 1, value);
        if (digits == REPR_DIGITS_MAX || strtod(text, NULL) == value)
            return size;
    }
}

/* repr(float): plain from 1e-4 up to below 1e16, else with an exponent of two digits or more. */
static void write_real(struct buf *out, double value)
{
    char text[REPR_BYTES];
    (void)shortest(text, value);
    char *e = strchr(text, 'e');
    long exponent = strtol(e + 1, NULL, 10);
    size_t digits = 0;
    char digit[REPR_BYTES];
    for (const char *at = text; at < e; at++)
        if (*at >= '0' && *at <= '9')
            digit[digits++] = *at;
    if (signbit(value))
        buf_byte(out, '-');
    if (exponent < -4 || exponent >= 16) {
        buf_append(out, text + (signbit(value) ? 1 : 0),
                   (size_t)(e - text) - (signbit(value) ? 1 : 0));
        buf_printf(out, "e%c%02ld", exponent < 0 ? '-' : '+', labs(exponent));
        return;
    }
    if (exponent < 0) {
        buf_text(out, "0.");
        for (long i = -1; i > exponent; i--)
            buf_byte(out, '0');
        buf_append(out, digit, digits);
        return;
    }
    size_t whole = (size_t)exponent + 1;
    for (size_t i = 0; i < whole; i++)
        buf_byte(out, (uint8_t)(i < digits ? digit[i] : '0'));
    buf_byte(out, '.');
    if (digits > whole)
        buf_append(out, digit + whole, digits - whole);
    else
        buf_byte(out, '0');
}

/* The code point at text, which jansson has checked to be UTF-8, and its length. */
static uint32_t code_point(const uint8_t *text, size_t *ret_length)
{
    uint8_t first = text[0];
    *ret_length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    uint32_t point = *ret_length == 1 ? first : first & (0x7fU >> *ret_length);
    for (size_t i = 1; i < *ret_length; i++)
        point = point << 6 | (text[i] & 0x3fU);
    return point;
}

static void write_point(struct buf *out, uint32_t point)
{
    static const char escapes[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; escapes[i]; i += 2) {
        if (point == (uint32_t)escapes[i]) {
            buf_byte(out, '\\');
            buf_byte(out, (uint8_t)escapes[i + 1]);
            return;
        }
    }
    if (point >= ' ' && point <= '~') {
        buf_byte(out, (uint8_t)point);
    } else if (point < 0x10000) {
        buf_printf(out, "\\u%04" PRIx32, point);
    } else {
        point -= 0x10000;
        buf_printf(out, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xd800 + (point >> 10),
                   0xdc00 + (point & 0x3ff));
    }
}

/* Bytes that stand for themselves. */
static size_t plain_length(const char *text, size_t size)
{
    size_t at = 0;
    while (at < size && text[at] >= ' ' && text[at] <= '~' && text[at] != '"' && text[at] != '\\')
        at++;
    return at;
}

static void write_string(struct buf *out, const char *text, size_t size)
{
    buf_byte(out, '"');
    for (size_t at = 0, length; at < size; at += length) {
        length = plain_length(text + at, size - at);
        if (length > 0)
            buf_append(out, text + at, length);
        else
            write_point(out, code_point((const uint8_t *)text + at, &length));
    }
    buf_byte(out, '"');
}

static enum err write_value(struct buf *out, const json_t *value, uint32_t depth);

static enum err write_object(struct buf *out, const json_t *object, uint32_t depth)
{
    /* jansson iterates over objects that may be changed; this one is not. */
    json_t *members = (json_t *)(uintptr_t)object;
    const char *before = "";
    enum err err = ERR_OK;
    buf_byte(out, '{');
    for (void *at = json_object_iter(members); at && !err;
         at = json_object_iter_next(members, at)) {
        buf_text(out, before);
        before = ", ";
        write_string(out, json_object_iter_key(at), json_object_iter_key_len(at));
        buf_text(out, ": ");
        err = write_value(out, json_object_iter_value(at), depth + 1);
    }
    buf_byte(out, '}');
    return err;
}

static enum err write_array(struct buf *out, const json_t *array, uint32_t depth)
{
    enum err err = ERR_OK;
    buf_byte(out, '[');
    for (size_t i = 0; i < json_array_size(array) && !err; i++) {
        buf_text(out, i ? ", " : "");
        err = write_value(out, json_array_get(array, i), depth + 1);
    }
    buf_byte(out, ']');
    return err;
}

static enum err write_value(struct buf *out, const json_t *value, uint32_t depth)
{
    if (depth > LIMIT_JSON_DEPTH)
        return ERR_TOO_DEEP;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return write_object(out, value, depth);
    case JSON_ARRAY:
        return write_array(out, value, depth);
    case JSON_STRING:
        write_string(out, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        write_real(out, json_real_value(value));
        break;
    case JSON_TRUE:
        buf_text(out, "true");
        break;
    case JSON_FALSE:
        buf_text(out, "false");
        break;
    case JSON_NULL:
    default:
        buf_text(out, "null");
        break;
    }
    return out->err;
}

enum err python_json_write(const json_t *value, struct buf *out)
{
    enum err err = write_value(out, value, 1);
    return err ? err : out->err;
}
