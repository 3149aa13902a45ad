#include "codec/idna.h"

#include "base/alloc.h"
#include "codec/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define LABEL_POINTS_MAX 63

/* RFC 3492 §5 */
#define BASE         36U
#define T_MIN        1U
#define T_MAX        26U
#define SKEW         38U
#define DAMP         700U
#define BIAS_FIRST   72U
#define NUMBER_FIRST 128U

struct label {
    uint32_t points[LABEL_POINTS_MAX];
    size_t count;
};

static uint32_t adapt(uint32_t delta, uint32_t count, bool first)
{
    uint32_t k = 0;
    delta = first ? delta / DAMP : delta / 2;
    delta += delta / count;
    for (; delta > (BASE - T_MIN) * T_MAX / 2; k += BASE)
        delta /= BASE - T_MIN;
    return k + (BASE - T_MIN + 1) * delta / (delta + SKEW);
}

/* BASE when c is no digit. */
static uint32_t digit_of(uint8_t c)
{
    if (c >= 'a' && c <= 'z')
        return (uint32_t)(c - 'a');
    if (c >= 'A' && c <= 'Z')
        return (uint32_t)(c - 'A');
    return c >= '0' && c <= '9' ? 26U + (uint32_t)(c - '0') : BASE;
}

/* Reads one variable-length integer and adds it to *sum. */
static bool read_delta(struct bytes text, size_t *at, uint32_t bias, uint32_t *sum)
{
    uint32_t weight = 1;
    for (uint32_t k = BASE;; k += BASE) {
        uint32_t digit = *at < text.size ? digit_of(text.data[(*at)++]) : BASE;
        uint32_t part;
        if (digit == BASE || __builtin_mul_overflow(digit, weight, &part) ||
            __builtin_add_overflow(*sum, part, sum))
            return false;
        uint32_t t = k <= bias ? T_MIN : k >= bias + T_MAX ? T_MAX : k - bias;
        if (digit < t)
            return true;
        if (__builtin_mul_overflow(weight, BASE - t, &weight))
            return false;
    }
}

static void insert(struct label *label, size_t index, uint32_t point)
{
    memmove(label->points + index + 1, label->points + index,
            (label->count - index) * sizeof(label->points[0]));
    label->points[index] = point;
    label->count++;
}

/* The plain characters before the last hyphen, in lower case; returns where the rest begins. */
static size_t take_plain(struct bytes text, struct label *label)
{
    size_t end = text.size;
    while (end > 0 && text.data[end - 1] != '-')
        end--;
    for (size_t i = 0; i + 1 < end; i++) {
        uint8_t c = text.data[i];
        label->points[label->count++] = c >= 'A' && c <= 'Z' ? c + 32U : c;
    }
    return end;
}

static bool decode(struct bytes text, struct label *label)
{
    uint32_t number = NUMBER_FIRST;
    uint32_t bias = BIAS_FIRST;
    uint32_t index = 0;
    if (text.size == 0 || text.size > LABEL_POINTS_MAX)
        return false;
    size_t at = take_plain(text, label);
    if (at == text.size)
        return false; /* nothing but ASCII */
    while (at < text.size) {
        uint32_t before = index;
        uint32_t count = (uint32_t)label->count + 1;
        if (count > LABEL_POINTS_MAX || !read_delta(text, &at, bias, &index))
            return false;
        bias = adapt(index - before, count, before == 0);
        if (__builtin_add_overflow(number, index / count, &number) || number > 0x10ffff ||
            (number >= 0xd800 && number <= 0xdfff))
            return false;
        index %= count;
        insert(label, index++, number);
    }
    return true;
}

/* RFC 5892: letters, digits and marks but those that case folding or compatibility would change
 * (§2.2, here by their blocks) or that are excepted (§2.6); then the contextual rules
 * (appendix A). Hyphens: RFC 5891 §4.2.3.1. */
static const char rule[] =
    "^(?!-)(?!..--)(?!.*-$)(?!\\p{M})"
    "(?!.*[\\x{660}-\\x{669}].*[\\x{6f0}-\\x{6f9}])(?!.*[\\x{6f0}-\\x{6f9}].*[\\x{660}-\\x{669}])"
    "(?!(?=.*\\x{30fb})(?!.*[\\p{sc:Hiragana}\\p{sc:Katakana}\\p{sc:Han}]))"
    "(?:"
    "(?![\\x{aa}\\x{ba}\\x{2b0}-\\x{2b8}\\x{2e0}-\\x{2e4}\\x{340}\\x{341}\\x{343}\\x{344}"
    "\\x{640}\\x{7fa}\\x{302e}\\x{302f}\\x{3031}-\\x{3035}\\x{303b}"
    "\\x{1100}-\\x{11ff}\\x{a960}-\\x{a97f}\\x{d7b0}-\\x{d7ff}"
    "\\x{1d2c}-\\x{1d6a}\\x{2071}-\\x{209c}\\x{3131}-\\x{318e}"
    "\\x{f900}-\\x{fa0d}\\x{fa10}\\x{fa12}\\x{fa15}-\\x{fa1e}\\x{fa20}\\x{fa22}\\x{fa25}\\x{fa26}"
    "\\x{fa2a}-\\x{fdff}\\x{fe00}-\\x{fe0f}\\x{fe70}-\\x{feff}\\x{ff00}-\\x{ffef}"
    "\\x{1d400}-\\x{1d7ff}\\x{2f800}-\\x{2fa1f}\\x{e0000}-\\x{e0fff}])"
    "[-\\p{Ll}\\p{Lo}\\p{Lm}\\p{Mn}\\p{Mc}\\p{Nd}\\x{6fd}\\x{6fe}\\x{f0b}\\x{3007}]"
    "|(?<=l)\\x{b7}(?=l)"
    "|\\x{375}(?=\\p{sc:Greek})"
    "|(?<=\\p{sc:Hebrew})[\\x{5f3}\\x{5f4}]"
    "|\\x{30fb}"
    "|(?<=[\\x{94d}\\x{9cd}\\x{a4d}\\x{acd}\\x{b4d}\\x{bcd}\\x{c4d}\\x{ccd}\\x{d4d}\\x{dca}"
    "\\x{e3a}\\x{f84}\\x{1039}\\x{103a}\\x{1714}\\x{1734}\\x{17d2}\\x{1a60}\\x{1b44}\\x{1baa}"
    "\\x{1bf2}\\x{a806}\\x{a8c4}\\x{a953}\\x{a9c0}\\x{abed}])[\\x{200c}\\x{200d}]"
    "|(?<=[\\p{sc:Arabic}\\p{sc:Syriac}\\p{sc:Nko}\\p{sc:Mongolian}\\p{sc:Mandaic}\\p{sc:PhagsPa}])"
    "\\x{200c}"
    "(?=\\p{Mn}*[\\p{sc:Arabic}\\p{sc:Syriac}\\p{sc:Nko}\\p{sc:Mongolian}\\p{sc:Mandaic}\\p{sc:"
    "PhagsPa}])"
    ")+$";

static void *rule_alloc(size_t size, void *ctx)
{
    (void)ctx;
    return mem_alloc(size);
}

static void rule_free(void *block, void *ctx)
{
    (void)ctx;
    mem_free(block);
}

static size_t label_text(const struct label *label, uint8_t *ret_text)
{
    size_t size = 0;
    for (size_t i = 0; i < label->count; i++)
        size += utf8_encode(label->points[i], ret_text + size);
    return size;
}

static enum err rule_match(pcre2_general_context *memory, const uint8_t *text, size_t size)
{
    int code;
    PCRE2_SIZE offset;
    pcre2_compile_context *context = pcre2_compile_context_create(memory);
    if (!context)
        return ERR_NO_MEMORY;
    pcre2_code *pattern = pcre2_compile((PCRE2_SPTR)rule, sizeof(rule) - 1,
                                        PCRE2_UTF | PCRE2_DOTALL, &code, &offset, context);
    pcre2_match_data *data = pcre2_match_data_create(1, memory);
    int answer = PCRE2_ERROR_NOMEMORY;
    if (pattern && data)
        answer = pcre2_match(pattern, text, size, 0, 0, data, NULL);
    pcre2_match_data_free(data);
    pcre2_code_free(pattern);
    pcre2_compile_context_free(context);
    if (answer >= 0)
        return ERR_OK;
    return answer == PCRE2_ERROR_NOMEMORY ? ERR_NO_MEMORY : ERR_INVALID;
}

enum err idna_label_check(struct bytes punycode)
{
    struct label label = {0};
    uint8_t text[4 * LABEL_POINTS_MAX];
    if (!decode(punycode, &label))
        return ERR_INVALID;
    pcre2_general_context *memory = pcre2_general_context_create(rule_alloc, rule_free, NULL);
    if (!memory)
        return ERR_NO_MEMORY;
    enum err err = rule_match(memory, text, label_text(&label, text));
    pcre2_general_context_free(memory);
    return err;
}
