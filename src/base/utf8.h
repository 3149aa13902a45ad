#pragma once
/* Well-formed UTF-8 (RFC 3629 §4): no overlong forms, no surrogates, nothing above U+10FFFF. Pure.
 */
#include "base/bytes.h"

/* The length of the well-formed sequence at text (size > 0), or 0. */
static inline size_t utf8_sequence(const uint8_t *text, size_t size)
{
    uint8_t lead = text[0];
    if (lead < 0x80)
        return 1;
    size_t length = lead >= 0xc2 && lead <= 0xdf   ? 2
                    : (lead & 0xf0) == 0xe0        ? 3
                    : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                   : 0;
    if (length == 0 || length > size)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    bool bad = (lead == 0xe0 && text[1] < 0xa0) || (lead == 0xed && text[1] > 0x9f) ||
               (lead == 0xf0 && text[1] < 0x90) || (lead == 0xf4 && text[1] > 0x8f);
    return bad ? 0 : length;
}

/* Where to cut text so that at most size bytes stay and no sequence is split. */
static inline size_t utf8_cut(struct bytes text, size_t size)
{
    if (size >= text.size)
        return text.size;
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        size_t at = size - back;
        size_t length = utf8_sequence(text.data + at, text.size - at);
        if (length > 0)
            return length > back ? at : size;
    }
    return size;
}

static inline bool utf8_valid(struct bytes text)
{
    for (size_t i = 0; i < text.size;) {
        size_t length = utf8_sequence(text.data + i, text.size - i);
        if (length == 0)
            return false;
        i += length;
    }
    return true;
}
