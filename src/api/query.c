#include "api/query.h"

#include "base/utf8.h"
#include "codec/timestamp.h"

#include <stdio.h>
#include <strings.h>

#define INT_PARSING "Input should be a valid integer, unable to parse string as an integer"

static int hex_value(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static size_t unescape(struct bytes text, bool plus_is_space, uint8_t *out)
{
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte == '%' && i + 2 < text.size && hex_value(text.data[i + 1]) >= 0 &&
            hex_value(text.data[i + 2]) >= 0) {
            byte = (uint8_t)(hex_value(text.data[i + 1]) * 16 + hex_value(text.data[i + 2]));
            i += 2;
        } else if (byte == '+' && plus_is_space) {
            byte = ' ';
        }
        out[size++] = byte;
    }
    return size;
}

static struct bytes replace_bad_utf8(struct arena *arena, struct bytes text)
{
    uint8_t *out = arena_alloc(arena, text.size * 3);
    size_t size = 0;
    for (size_t i = 0; out && i < text.size;) {
        size_t length = utf8_sequence(text.data + i, text.size - i);
        memcpy(out + size, length > 0 ? text.data + i : (const uint8_t *)"\xef\xbf\xbd",
               length > 0 ? length : 3);
        size += length > 0 ? length : 3;
        i += length > 0 ? length : 1;
    }
    return bytes_from(out, size);
}

enum err api_unescape(struct arena *arena, struct bytes text, bool plus_is_space,
                      struct bytes *ret_text)
{
    uint8_t *out = arena_alloc(arena, text.size + 1);
    if (!out)
        return ERR_NO_MEMORY;
    *ret_text = bytes_from(out, unescape(text, plus_is_space, out));
    if (!utf8_valid(*ret_text))
        *ret_text = replace_bad_utf8(arena, *ret_text);
    return ret_text->data ? ERR_OK : ERR_NO_MEMORY;
}

enum err api_query_get(struct api_request *request, const char *name, bool *ret_present,
                       struct bytes *ret_value)
{
    const struct bytes query = request->query;
    *ret_present = false;
    for (size_t begin = 0; begin < query.size;) {
        size_t end = begin;
        while (end < query.size && query.data[end] != '&')
            end++;
        size_t equals = begin;
        while (equals < end && query.data[equals] != '=')
            equals++;
        struct bytes key;
        enum err err = api_unescape(&request->arena, bytes_from(query.data + begin, equals - begin),
                                    true, &key);
        size_t value = equals < end ? equals + 1 : end;
        if (err == ERR_OK && bytes_equal_text(key, name)) {
            *ret_present = true;
            err = api_unescape(&request->arena, bytes_from(query.data + value, end - value), true,
                               ret_value);
        }
        if (err != ERR_OK)
            return err;
        begin = end + 1;
    }
    return ERR_OK;
}

static bool is_space(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* ".0", ".000": a whole number after all. */
static bool is_zero_fraction(struct bytes text)
{
    if (text.size == 0)
        return true;
    if (text.size < 2 || text.data[0] != '.')
        return false;
    for (size_t i = 1; i < text.size; i++)
        if (text.data[i] != '0')
            return false;
    return true;
}

bool api_integer_parse(struct bytes text, int64_t *ret_value)
{
    while (text.size > 0 && is_space(text.data[text.size - 1]))
        text.size--;
    while (text.size > 0 && is_space(text.data[0]))
        text = bytes_from(text.data + 1, text.size - 1);
    bool negative = text.size > 0 && text.data[0] == '-';
    size_t i = text.size > 0 && (text.data[0] == '-' || text.data[0] == '+') ? 1 : 0;
    if (i == text.size || !is_digit(text.data[i]))
        return false;
    int64_t value = 0; /* counted downwards: INT64_MIN has no positive */
    for (; i < text.size && (is_digit(text.data[i]) || text.data[i] == '_'); i++) {
        if (text.data[i] == '_') {
            if (i + 1 == text.size || !is_digit(text.data[i + 1]))
                return false;
            continue;
        }
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, text.data[i] - '0', &value))
            value = INT64_MIN;
    }
    if (!is_zero_fraction(bytes_from(text.data + i, text.size - i)))
        return false;
    *ret_value = negative ? value : value == INT64_MIN ? INT64_MAX : -value;
    return true;
}

static void invalid_add(struct api_invalid *invalid, const char *where, const char *name,
                        struct bytes text, const char *message, const char *type)
{
    struct buf input;
    buf_init(&input, 64 * 1024);
    buf_json_string(&input, text);
    api_invalid_add(invalid, where, bytes_from_text(name), message, type, buf_bytes(&input));
    buf_fini(&input);
}

enum err api_query_integer(struct api_request *request, const char *name, int64_t minimum,
                           int64_t *ret_value, struct api_invalid *invalid)
{
    bool present;
    struct bytes text;
    enum err err = api_query_get(request, name, &present, &text);
    if (err != ERR_OK || !present)
        return err;
    int64_t value;
    char message[80] = INT_PARSING;
    const char *type = "int_parsing";
    if (api_integer_parse(text, &value)) {
        if (value >= minimum) {
            *ret_value = value;
            return ERR_OK;
        }
        snprintf(message, sizeof(message), "Input should be greater than or equal to %lld",
                 (long long)minimum);
        type = "greater_than_equal";
    }
    invalid_add(invalid, "query", name, text, message, type);
    return ERR_OK;
}

bool api_boolean_parse(struct bytes text, bool *ret_value)
{
    static const char *const words[2][6] = {{"0", "off", "f", "false", "n", "no"},
                                            {"1", "on", "t", "true", "y", "yes"}};
    for (int value = 0; value < 2; value++) {
        for (size_t i = 0; i < 6; i++) {
            if (text.size != strlen(words[value][i]) ||
                strncasecmp((const char *)text.data, words[value][i], text.size) != 0)
                continue;
            *ret_value = value == 1;
            return true;
        }
    }
    return false;
}

enum err api_query_boolean(struct api_request *request, const char *name, bool *ret_value,
                           struct api_invalid *invalid)
{
    bool present;
    struct bytes text;
    enum err err = api_query_get(request, name, &present, &text);
    if (err == ERR_OK && present && !api_boolean_parse(text, ret_value))
        invalid_add(invalid, "query", name, text,
                    "Input should be a valid boolean, unable to interpret input", "bool_parsing");
    return err;
}

enum err api_query_moment(struct api_request *request, const char *name, int64_t *ret_us,
                          struct api_invalid *invalid)
{
    bool present;
    struct bytes text;
    enum err err = api_query_get(request, name, &present, &text);
    if (err == ERR_OK && present && !timestamp_parse(text, ret_us))
        invalid_add(invalid, "query", name, text,
                    "Input should be a valid datetime: ISO 8601, such as 2026-01-31T12:00:00Z, or "
                    "a Unix time",
                    "datetime_parsing");
    return err;
}

void api_path_integer(const struct api_request *request, size_t index, const char *name,
                      int64_t *ret_value, struct api_invalid *invalid)
{
    *ret_value = 0;
    if (!api_integer_parse(request->parameters[index], ret_value))
        invalid_add(invalid, "path", name, request->parameters[index], INT_PARSING, "int_parsing");
}
