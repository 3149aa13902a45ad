#pragma once
/*
 * JSON (RFC 8259) on bytes: a cursor that scans, checks and skips, and never builds a tree. Pure;
 * any thread; reads nothing outside [at, end). Nothing here recurses; depth and time are bounded by
 * the input's size and a depth limit.
 *
 * Two dialects. Strict: RFC 8259, and UTF-8 throughout. Device: that and NaN, Infinity, -Infinity
 * where a number may stand. Both accept escaped lone surrogates, which unescape to U+FFFD.
 *
 * ERR_SYNTAX (also: ends too early, bytes that are not UTF-8) and ERR_TOO_DEEP say that a text is
 * no JSON; where the cursor stands after an error is no promise.
 */
#include "base/buf.h"
#include "base/limits.h"
#include "codec/json_number.h"

#include <stdbool.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

struct json_cursor {
    const uint8_t *at;
    const uint8_t *end;
    bool strict;
};

/* A string as it stands between its quotes. */
struct json_string {
    struct bytes raw;
    bool escaped; /* has backslashes: json_unescape */
};

/* The whole text is one value with white space around it. */
enum err json_validate(struct bytes text, bool strict) ERR_MUST_USE;
/* Skips the value that the cursor stands at (white space before it too). depth_max counts this
 * value's own containers. ret_slice may be NULL. */
enum err json_skip(struct json_cursor *cursor, uint32_t depth_max,
                   struct bytes *ret_slice) ERR_MUST_USE;
/* The rest of json_string_scan, from an escape, a byte >= 0x80 or an error onwards. */
enum err json_string_rest(struct json_cursor *cursor, struct json_string *ret_string) ERR_MUST_USE;
/* Reads a number; in the device dialect also NaN and the infinities. */
enum err json_number_scan(struct json_cursor *cursor, enum json_number_kind *ret_kind,
                          double *ret_value) ERR_MUST_USE;

/* Writes the text of a checked raw string; at most raw.size bytes. Returns their number. */
size_t json_unescape(struct bytes raw, uint8_t *ret_text);

/* What becomes of NaN and the infinities in a text that must be strict JSON. */
enum json_nan {
    JSON_NAN_TEXT, /* "NaN", a string */
    JSON_NAN_NULL,
};
/* Appends a checked value without white space; escaped lone surrogates become \ufffd. */
enum err json_compact(struct buf *out, struct bytes value, enum json_nan nan);
/* Appends an object's compact text in which each key stands once, with its last value, down to a
 * depth of levels objects and arrays (what is deeper is only compacted). Returns whether there were
 * repeated keys. NaN and the infinities stay as they are. */
enum err json_unique(struct buf *out, struct bytes value, uint32_t levels,
                     bool *ret_repeated) ERR_MUST_USE;

static inline void json_space(struct json_cursor *cursor)
{
    const uint8_t *at = cursor->at;
    while (at < cursor->end && *at <= ' ' &&
           (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
    cursor->at = at;
}

/* The next byte, or 0 at the end. */
static inline uint8_t json_peek(const struct json_cursor *cursor)
{
    return cursor->at < cursor->end ? *cursor->at : 0;
}

static inline bool json_take(struct json_cursor *cursor, uint8_t byte)
{
    if (cursor->at >= cursor->end || *cursor->at != byte)
        return false;
    cursor->at++;
    return true;
}

/* The cursor stands at a quote. */
static inline enum err json_string_scan(struct json_cursor *cursor, struct json_string *ret_string)
{
    const uint8_t *start = cursor->at + 1;
    const uint8_t *at = start;
    const uint8_t *end = cursor->end;
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i backslash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(' ');
    while (end - at >= 16) {
        __m128i chunk = _mm_loadu_si128((const __m128i *)(const void *)at);
        /* Signed: bytes >= 0x80 are below the space too. */
        __m128i special = _mm_or_si128(
            _mm_or_si128(_mm_cmpeq_epi8(chunk, quote), _mm_cmpeq_epi8(chunk, backslash)),
            _mm_cmplt_epi8(chunk, space));
        unsigned mask = (unsigned)_mm_movemask_epi8(special);
        if (mask != 0) {
            at += __builtin_ctz(mask);
            break;
        }
        at += 16;
    }
#endif
    while (at < end && *at != '"' && *at != '\\' && *at >= 0x20 && *at < 0x80)
        at++;
    if (at < end && *at == '"') {
        *ret_string = (struct json_string){{start, (size_t)(at - start)}, false};
        cursor->at = at + 1;
        return ERR_OK;
    }
    ret_string->raw.data = start;
    cursor->at = at;
    return json_string_rest(cursor, ret_string);
}
