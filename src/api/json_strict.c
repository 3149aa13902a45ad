#include "api/json_strict.h"

#include "base/limits.h"
#include "base/utf8.h"

struct scan {
    struct bytes text;
    size_t at;
    size_t depth;
    uint8_t closers[LIMIT_API_JSON_DEPTH]; /* '}' or ']' of each open level */
    const char *problem;
    size_t problem_at;
};

static bool problem(struct scan *scan, const char *text, size_t at)
{
    scan->problem = text;
    scan->problem_at = at;
    return false;
}

static int peek(const struct scan *scan)
{
    return scan->at < scan->text.size ? scan->text.data[scan->at] : -1;
}

static bool is_digit(int byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_hex(int byte)
{
    return is_digit(byte) || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

static void skip_space(struct scan *scan)
{
    for (int c = peek(scan); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(scan))
        scan->at++;
}

static bool scan_escape(struct scan *scan, size_t string_begin)
{
    size_t begin = scan->at++;
    int c = peek(scan);
    if (c < 0)
        return problem(scan, "Unterminated string starting at", string_begin);
    scan->at++;
    if (c != 'u')
        return c != 0 && strchr("\"\\/bfnrt", c) ? true : problem(scan, "Invalid \\escape", begin);
    for (int i = 0; i < 4; i++, scan->at++)
        if (!is_hex(peek(scan)))
            return problem(scan, "Invalid \\uXXXX escape", begin + 1);
    return true;
}

static bool scan_string(struct scan *scan)
{
    size_t begin = scan->at++;
    for (;;) {
        int c = peek(scan);
        if (c < 0)
            return problem(scan, "Unterminated string starting at", begin);
        if (c < 0x20)
            return problem(scan, "Invalid control character at", scan->at);
        if (c == '\\') {
            if (!scan_escape(scan, begin))
                return false;
            continue;
        }
        scan->at++;
        if (c == '"')
            return true;
    }
}

static void skip_digits(struct scan *scan)
{
    while (is_digit(peek(scan)))
        scan->at++;
}

/* Takes the longest number, as Python does: of "1." it is the 1. */
static bool scan_number(struct scan *scan)
{
    size_t begin = scan->at;
    if (peek(scan) == '-')
        scan->at++;
    if (!is_digit(peek(scan)))
        return problem(scan, "Expecting value", begin);
    if (peek(scan) == '0')
        scan->at++;
    else
        skip_digits(scan);
    size_t whole = scan->at;
    if (peek(scan) == '.') {
        scan->at++;
        if (!is_digit(peek(scan)))
            scan->at = whole;
        else
            skip_digits(scan);
    }
    size_t end = scan->at;
    if (end == whole && peek(scan) == '.')
        return true;
    if (peek(scan) == 'e' || peek(scan) == 'E') {
        scan->at++;
        if (peek(scan) == '+' || peek(scan) == '-')
            scan->at++;
        if (!is_digit(peek(scan)))
            scan->at = end;
        else
            skip_digits(scan);
    }
    return true;
}

static bool scan_word(struct scan *scan, const char *word)
{
    size_t length = strlen(word);
    if (scan->text.size - scan->at < length ||
        memcmp(scan->text.data + scan->at, word, length) != 0)
        return problem(scan, "Expecting value", scan->at);
    scan->at += length;
    return true;
}

static bool scan_scalar(struct scan *scan)
{
    switch (peek(scan)) {
    case '"':
        return scan_string(scan);
    case 't':
        return scan_word(scan, "true");
    case 'f':
        return scan_word(scan, "false");
    case 'n':
        return scan_word(scan, "null");
    default:
        return scan_number(scan);
    }
}

static bool scan_key(struct scan *scan)
{
    skip_space(scan);
    if (peek(scan) != '"')
        return problem(scan, "Expecting property name enclosed in double quotes", scan->at);
    if (!scan_string(scan))
        return false;
    skip_space(scan);
    if (peek(scan) != ':')
        return problem(scan, "Expecting ':' delimiter", scan->at);
    scan->at++;
    return true;
}

/* After a value: closes levels and takes a comma. True with *ret_more when another value follows,
 * true without when the text is complete. */
static bool scan_after_value(struct scan *scan, bool *ret_more)
{
    while (scan->depth > 0) {
        skip_space(scan);
        int c = peek(scan);
        uint8_t closer = scan->closers[scan->depth - 1];
        if (c == ',') {
            scan->at++;
            *ret_more = true;
            return closer == '}' ? scan_key(scan) : true;
        }
        if (c != closer)
            return problem(scan, "Expecting ',' delimiter", scan->at);
        scan->at++;
        scan->depth--;
    }
    *ret_more = false;
    return true;
}

/* Opens levels until a scalar or an empty level is passed. */
static enum err scan_value(struct scan *scan)
{
    for (;;) {
        skip_space(scan);
        int c = peek(scan);
        if (c != '{' && c != '[')
            return scan_scalar(scan) ? ERR_OK : ERR_SYNTAX;
        if (scan->depth == LIMIT_API_JSON_DEPTH)
            return ERR_TOO_DEEP;
        uint8_t closer = c == '{' ? '}' : ']';
        scan->at++;
        skip_space(scan);
        if (peek(scan) == closer) {
            scan->at++;
            return ERR_OK;
        }
        scan->closers[scan->depth++] = closer;
        if (c == '{' && !scan_key(scan))
            return ERR_SYNTAX;
    }
}

static enum err scan_all(struct scan *scan)
{
    bool more = true;
    while (more) {
        enum err err = scan_value(scan);
        if (err != ERR_OK)
            return err;
        if (!scan_after_value(scan, &more))
            return ERR_SYNTAX;
    }
    skip_space(scan);
    if (scan->at < scan->text.size) {
        problem(scan, "Extra data", scan->at);
        return ERR_SYNTAX;
    }
    return ERR_OK;
}

static size_t characters_before(struct bytes text, size_t at)
{
    size_t count = 0;
    for (size_t i = 0; i < at; i++)
        count += (text.data[i] & 0xc0) != 0x80;
    return count;
}

enum err json_strict_check(struct bytes text, struct json_problem *ret_problem)
{
    *ret_problem = (struct json_problem){0};
    if (!utf8_valid(text))
        return ERR_INVALID;
    struct scan scan = {.text = text};
    enum err err = scan_all(&scan);
    if (err == ERR_SYNTAX)
        *ret_problem =
            (struct json_problem){characters_before(text, scan.problem_at), scan.problem};
    return err;
}
