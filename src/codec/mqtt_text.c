#include "codec/mqtt_text.h"

#include "base/utf8.h"

#define TEXT_BYTES_MAX 65535u

#define EACH_BYTE(byte) (0x0101010101010101ULL * (uint8_t)(byte))

/* Nonzero if a byte of word is 0. Only bytes above a true zero can be false hits, so that zero or
 * not is exact. */
static inline uint64_t zero_bytes(uint64_t word)
{
    return (word - EACH_BYTE(1)) & ~word & EACH_BYTE(0x80);
}

/* As utf8_sequence, but U+0000 is not allowed (§1.5.4). */
static size_t sequence_size(const uint8_t *text, size_t size)
{
    return text[0] == 0 ? 0 : utf8_sequence(text, size);
}

bool mqtt_text_valid(struct bytes text)
{
    if (text.size > TEXT_BYTES_MAX)
        return false;
    size_t i = 0;
    while (i < text.size) {
        if (text.size - i >= 8) {
            uint64_t word = load_u64(text.data + i);
            if (!((word & EACH_BYTE(0x80)) | zero_bytes(word))) {
                i += 8;
                continue;
            }
        }
        size_t length = sequence_size(text.data + i, text.size - i);
        if (length == 0)
            return false;
        i += length;
    }
    return true;
}

/* Whether eight bytes are ASCII without U+0000 and wildcards. */
static inline bool is_plain(const uint8_t *at)
{
    uint64_t word = load_u64(at);
    return !((word & EACH_BYTE(0x80)) | zero_bytes(word) | zero_bytes(word ^ EACH_BYTE('+')) |
             zero_bytes(word ^ EACH_BYTE('#')));
}

bool mqtt_topic_valid(struct bytes topic)
{
    if (topic.size == 0 || topic.size > TEXT_BYTES_MAX)
        return false;
    size_t i = 0;
    while (topic.size - i >= 8 && is_plain(topic.data + i))
        i += 8;
    /* The tail, by the last eight bytes: what they overlap with is known to be plain. */
    if (i > 0 && topic.size - i < 8 && is_plain(topic.data + topic.size - 8))
        return true;
    while (i < topic.size) {
        size_t length = sequence_size(topic.data + i, topic.size - i);
        if (length == 0 || topic.data[i] == '+' || topic.data[i] == '#')
            return false;
        i += length;
    }
    return true;
}

/* Takes the next level off *rest; false when there is none (a filter or topic has at least one). */
static bool level_next(struct bytes *rest, struct bytes *ret_level)
{
    if (!rest->data)
        return false;
    const uint8_t *slash = rest->size > 0 ? memchr(rest->data, '/', rest->size) : NULL;
    size_t size = slash ? (size_t)(slash - rest->data) : rest->size;
    *ret_level = bytes_from(rest->data, size);
    *rest = slash ? bytes_from(slash + 1, rest->size - size - 1) : (struct bytes){0};
    return true;
}

static bool is_level(struct bytes level, char wildcard)
{
    return level.size == 1 && level.data[0] == (uint8_t)wildcard;
}

/* §4.7.1: a wildcard fills its level, # is the last. */
static bool levels_valid(struct bytes filter)
{
    struct bytes level;
    while (level_next(&filter, &level)) {
        bool has_hash = level.size > 0 && memchr(level.data, '#', level.size);
        bool has_plus = level.size > 0 && memchr(level.data, '+', level.size);
        if ((has_hash || has_plus) && level.size != 1)
            return false;
        if (has_hash && filter.data)
            return false;
    }
    return true;
}

bool mqtt_filter_shared(struct bytes filter, struct bytes *ret_name, struct bytes *ret_filter)
{
    if (filter.size < 7 || memcmp(filter.data, "$share/", 7) != 0)
        return false;
    struct bytes rest = bytes_from(filter.data + 7, filter.size - 7);
    (void)level_next(&rest, ret_name);
    *ret_filter = rest;
    return true;
}

bool mqtt_filter_valid(struct bytes filter)
{
    if (filter.size == 0 || !mqtt_text_valid(filter))
        return false;
    struct bytes name;
    struct bytes shared;
    if (!mqtt_filter_shared(filter, &name, &shared))
        return levels_valid(filter);
    /* §4.8.2: a name without wildcards, then / and a filter. */
    return name.size > 0 && !memchr(name.data, '#', name.size) &&
           !memchr(name.data, '+', name.size) && shared.size > 0 && levels_valid(shared);
}

bool mqtt_filter_matches(struct bytes filter, struct bytes topic)
{
    struct bytes wanted;
    struct bytes level;
    if (topic.size > 0 && topic.data[0] == '$' && filter.size > 0 &&
        (filter.data[0] == '+' || filter.data[0] == '#'))
        return false;
    while (level_next(&filter, &wanted)) {
        if (is_level(wanted, '#'))
            return true;
        if (!level_next(&topic, &level))
            return false;
        if (!is_level(wanted, '+') && !bytes_equal(wanted, level))
            return false;
    }
    return !topic.data;
}

/* What is left of one filter when the other has ended: nothing, or "#", which takes the parent too.
 */
static bool is_tail(struct bytes rest)
{
    struct bytes level;
    return !level_next(&rest, &level) || is_level(level, '#');
}

bool mqtt_filters_overlap(struct bytes a, struct bytes b)
{
    if (a.size == 0 || b.size == 0)
        return false;
    /* No topic that begins with $ is taken by a leading wildcard. */
    bool a_wild = a.data[0] == '+' || a.data[0] == '#';
    bool b_wild = b.data[0] == '+' || b.data[0] == '#';
    if ((a_wild && b.data[0] == '$') || (b_wild && a.data[0] == '$'))
        return false;
    struct bytes level_a;
    struct bytes level_b;
    while (a.data && b.data) {
        (void)level_next(&a, &level_a);
        (void)level_next(&b, &level_b);
        if (is_level(level_a, '#') || is_level(level_b, '#'))
            return true;
        if (!is_level(level_a, '+') && !is_level(level_b, '+') && !bytes_equal(level_a, level_b))
            return false;
    }
    return is_tail(a) && is_tail(b);
}

bool mqtt_filter_covers(struct bytes wide, struct bytes narrow)
{
    struct bytes wanted;
    struct bytes level;
    if (wide.size == 0 || narrow.size == 0 ||
        (narrow.data[0] == '$' && (wide.data[0] == '+' || wide.data[0] == '#')))
        return false;
    while (level_next(&wide, &wanted)) {
        if (is_level(wanted, '#'))
            return true;
        if (!level_next(&narrow, &level) || is_level(level, '#'))
            return false;
        if (!is_level(wanted, '+') && !bytes_equal(wanted, level))
            return false;
    }
    return !narrow.data;
}
