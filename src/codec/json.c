#include "codec/json.h"

#include "codec/utf8.h"

static int hex_digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Four hex digits, or -1. */
static int32_t hex_read(const uint8_t *at, const uint8_t *end)
{
    if (end - at < 4)
        return -1;
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

/* The length of the escape at at, or 0. */
static size_t escape_bytes(const uint8_t *at, const uint8_t *end)
{
    if (end - at < 2)
        return 0;
    switch (at[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return 2;
    case 'u':
        return hex_read(at + 2, end) >= 0 ? 6 : 0;
    default:
        return 0;
    }
}

enum err json_string_rest(struct json_cursor *cursor, struct json_string *ret_string)
{
    const uint8_t *at = cursor->at;
    const uint8_t *end = cursor->end;
    bool escaped = false;
    while (at < end && *at != '"') {
        size_t length;
        if (*at == '\\') {
            length = escape_bytes(at, end);
            escaped = true;
        } else {
            length = *at < 0x20 ? 0 : utf8_sequence_bytes(at, (size_t)(end - at));
        }
        if (length == 0)
            return ERR_SYNTAX;
        at += length;
    }
    if (at >= end)
        return ERR_SYNTAX;
    ret_string->raw.size = (size_t)(at - ret_string->raw.data);
    ret_string->escaped = escaped;
    cursor->at = at + 1;
    return ERR_OK;
}

static bool literal_take(struct json_cursor *cursor, const char *word, size_t size)
{
    if ((size_t)(cursor->end - cursor->at) < size || memcmp(cursor->at, word, size) != 0)
        return false;
    cursor->at += size;
    return true;
}

#define LITERAL(cursor, word) literal_take(cursor, word, sizeof(word) - 1)

enum err json_number_scan(struct json_cursor *cursor, enum json_number_kind *ret_kind,
                          double *ret_value)
{
    *ret_kind = json_number_read(&cursor->at, cursor->end, ret_value);
    if (*ret_kind != JSON_NUMBER_INVALID)
        return ERR_OK;
    if (cursor->strict)
        return ERR_SYNTAX;
    *ret_kind = JSON_NUMBER_DOUBLE;
    *ret_value = __builtin_nan("");
    if (LITERAL(cursor, "NaN"))
        return ERR_OK;
    *ret_value = __builtin_inf();
    if (LITERAL(cursor, "Infinity"))
        return ERR_OK;
    *ret_value = -__builtin_inf();
    return LITERAL(cursor, "-Infinity") ? ERR_OK : ERR_SYNTAX;
}

static enum err scalar_skip(struct json_cursor *cursor)
{
    struct json_string string;
    enum json_number_kind kind;
    double value;
    switch (json_peek(cursor)) {
    case '"':
        return json_string_scan(cursor, &string);
    case 't':
        return LITERAL(cursor, "true") ? ERR_OK : ERR_SYNTAX;
    case 'f':
        return LITERAL(cursor, "false") ? ERR_OK : ERR_SYNTAX;
    case 'n':
        return LITERAL(cursor, "null") ? ERR_OK : ERR_SYNTAX;
    default:
        return json_number_scan(cursor, &kind, &value);
    }
}

/* "key" : with white space around; the cursor stands behind the colon. */
static enum err key_skip(struct json_cursor *cursor)
{
    struct json_string key;
    json_space(cursor);
    if (json_peek(cursor) != '"')
        return ERR_SYNTAX;
    enum err err = json_string_scan(cursor, &key);
    if (err != ERR_OK)
        return err;
    json_space(cursor);
    return json_take(cursor, ':') ? ERR_OK : ERR_SYNTAX;
}

/* A record made around a value of the greatest depth is one deeper. */
#define NESTING_MAX ((LIMIT_JSON_DEPTH + 64) / 64 * 64)

/* The open containers, a bit each: set for an object. */
struct nesting {
    uint64_t bits[NESTING_MAX / 64];
    uint32_t depth;
    uint32_t depth_max;
};

static bool nesting_object(const struct nesting *nesting)
{
    uint32_t top = nesting->depth - 1;
    return nesting->bits[top / 64] >> (top % 64) & 1;
}

static enum err nesting_push(struct nesting *nesting, bool object)
{
    if (nesting->depth >= nesting->depth_max)
        return ERR_TOO_DEEP;
    uint32_t top = nesting->depth++;
    uint64_t bit = (uint64_t)1 << (top % 64);
    uint64_t *word = &nesting->bits[top / 64]; /* not set before its first bit is */
    *word = (top % 64 ? *word & ~bit : 0) | (object ? bit : 0);
    return ERR_OK;
}

/* One value's beginning: a scalar whole, or a container opened. *ret_closed: the value is complete.
 */
static enum err value_begin(struct json_cursor *cursor, struct nesting *nesting, bool *ret_closed)
{
    json_space(cursor);
    uint8_t byte = json_peek(cursor);
    *ret_closed = true;
    if (byte != '{' && byte != '[')
        return scalar_skip(cursor);
    bool object = byte == '{';
    enum err err = nesting_push(nesting, object);
    if (err != ERR_OK)
        return err;
    cursor->at++;
    json_space(cursor);
    if (json_take(cursor, object ? '}' : ']')) {
        nesting->depth--;
        return ERR_OK;
    }
    *ret_closed = false;
    return object ? key_skip(cursor) : ERR_OK;
}

/* After a complete value: closes what closes, until the next value begins or all is closed. */
static enum err value_end(struct json_cursor *cursor, struct nesting *nesting)
{
    while (nesting->depth > 0) {
        json_space(cursor);
        bool object = nesting_object(nesting);
        if (json_take(cursor, ','))
            return object ? key_skip(cursor) : ERR_OK;
        if (!json_take(cursor, object ? '}' : ']'))
            return ERR_SYNTAX;
        nesting->depth--;
    }
    return ERR_OK;
}

enum err json_skip(struct json_cursor *cursor, uint32_t depth_max, struct bytes *ret_slice)
{
    struct nesting nesting;
    nesting.depth = 0;
    nesting.depth_max = depth_max > NESTING_MAX ? NESTING_MAX : depth_max;
    json_space(cursor);
    const uint8_t *start = cursor->at;
    do {
        bool closed;
        enum err err = value_begin(cursor, &nesting, &closed);
        if (err == ERR_OK && closed)
            err = value_end(cursor, &nesting);
        if (err != ERR_OK)
            return err;
    } while (nesting.depth > 0);
    if (ret_slice)
        *ret_slice = bytes_from(start, (size_t)(cursor->at - start));
    return ERR_OK;
}

enum err json_validate(struct bytes text, bool strict)
{
    struct json_cursor cursor = {text.data, text.data + text.size, strict};
    enum err err = json_skip(&cursor, LIMIT_JSON_DEPTH, NULL);
    json_space(&cursor);
    return err == ERR_OK && cursor.at != cursor.end ? ERR_SYNTAX : err;
}

/* The code point of a \u escape (checked), and how many bytes it takes. Lone surrogates: U+FFFD. */
static size_t unicode_escape(const uint8_t *at, const uint8_t *end, uint32_t *ret_code_point)
{
    uint32_t unit = (uint32_t)hex_read(at + 2, end);
    *ret_code_point = unit;
    if (unit < 0xd800 || unit > 0xdfff)
        return 6;
    if (unit < 0xdc00 && end - at >= 12 && at[6] == '\\' && at[7] == 'u') {
        uint32_t low = (uint32_t)hex_read(at + 8, end);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *ret_code_point = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            return 12;
        }
    }
    *ret_code_point = 0xfffd;
    return 6;
}

static uint8_t short_escape(uint8_t letter)
{
    switch (letter) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return letter;
    }
}

size_t json_unescape(struct bytes raw, uint8_t *ret_text)
{
    const uint8_t *at = raw.data;
    const uint8_t *end = at + raw.size;
    uint8_t *to = ret_text;
    while (at < end) {
        if (*at != '\\') {
            *to++ = *at++;
        } else if (at[1] == 'u') {
            uint32_t code_point;
            at += unicode_escape(at, end, &code_point);
            to += utf8_encode(code_point, to);
        } else {
            *to++ = short_escape(at[1]);
            at += 2;
        }
    }
    return (size_t)(to - ret_text);
}
