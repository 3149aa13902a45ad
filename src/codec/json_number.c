#include "codec/json_number.h"

#include "base/alloc.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#if defined(__SSE4_1__)
#include <smmintrin.h>
#endif

/* More significant digits than any double's midpoint needs (767), and one that stands for the rest.
 */
#define DIGITS_MAX      800
#define EXPONENT_MAX    100000
#define INTEGER_MAX     9007199254740992u /* 2^53 */
#define MANTISSA_DIGITS 19

static const double double_powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                       1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                       1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

#if LDBL_MANT_DIG == 64
static const long double long_powers[] = {1e0L,  1e1L,  1e2L,  1e3L,  1e4L,  1e5L,  1e6L,
                                          1e7L,  1e8L,  1e9L,  1e10L, 1e11L, 1e12L, 1e13L,
                                          1e14L, 1e15L, 1e16L, 1e17L, 1e18L, 1e19L, 1e20L,
                                          1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L, 1e27L};
#endif

static locale_t c_locale;

static void locale_make(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* mantissa * 10^exponent, where it can be told exactly. */
static bool scale_exactly(uint64_t mantissa, int64_t exponent, double *ret_value)
{
    if (mantissa <= INTEGER_MAX && exponent >= -22 && exponent <= 22) {
        double value = (double)mantissa;
        *ret_value =
            exponent < 0 ? value / double_powers[-exponent] : value * double_powers[exponent];
        return true;
    }
#if LDBL_MANT_DIG == 64
    if (exponent < -27 || exponent > 27)
        return false;
    long double value = (long double)mantissa;
    value = exponent < 0 ? value / long_powers[-exponent] : value * long_powers[exponent];
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    /* Within one unit of the middle the first rounding may have decided the second. */
    if ((bits & 0x7ff) - 0x3ff <= 2)
        return false;
    *ret_value = (double)value;
    return true;
#else
    return false;
#endif
}

/* The literal's significant digits and exponent as a short text for strtod. */
static double scale_slowly(const uint8_t *from, const uint8_t *end, bool negative, int64_t exponent)
{
    char text[DIGITS_MAX + 32];
    size_t length = 0;
    bool point = false;
    bool rest = false;
    for (; from < end && (*from == '.' || (*from >= '0' && *from <= '9')); from++) {
        if (*from == '.') {
            point = true;
            continue;
        }
        if (point)
            exponent--;
        if (length == 0 && *from == '0')
            continue;
        if (length < DIGITS_MAX) {
            text[length++] = (char)*from;
            continue;
        }
        exponent++;
        rest = rest || *from != '0';
    }
    if (length == 0)
        return negative ? -0.0 : 0.0;
    if (rest) {
        text[length++] = '1';
        exponent--;
    }
    exponent = exponent > EXPONENT_MAX ? EXPONENT_MAX : exponent;
    exponent = exponent < -EXPONENT_MAX ? -EXPONENT_MAX : exponent;
    text[length++] = 'e';
    if (exponent < 0)
        text[length++] = '-';
    uint64_t left = (uint64_t)(exponent < 0 ? -exponent : exponent);
    for (uint64_t unit = EXPONENT_MAX; unit > 0; unit /= 10)
        text[length++] = (char)('0' + left / unit % 10);
    text[length] = '\0';
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, locale_make);
    double value = c_locale ? strtod_l(text, NULL, c_locale) : strtod(text, NULL);
    return negative ? -value : value;
}

static inline bool is_digit(const uint8_t *at, const uint8_t *end)
{
    return at < end && (uint8_t)(*at - '0') < 10;
}

/* The exponent after e or E; false when it has no digits. Far ones saturate. */
static bool exponent_read(const uint8_t **at, const uint8_t *end, int64_t *ret_exponent)
{
    const uint8_t *from = *at + 1;
    bool negative = from < end && *from == '-';
    if (from < end && (*from == '-' || *from == '+'))
        from++;
    if (!is_digit(from, end))
        return false;
    int64_t exponent = 0;
    for (; is_digit(from, end); from++)
        if (exponent < (int64_t)1 << 40)
            exponent = exponent * 10 + (*from - '0');
    *ret_exponent = negative ? -exponent : exponent;
    *at = from;
    return true;
}

/* Eight digits at once: pairs, then fours, then all (each step a multiplication and a shift). */
static inline bool eight_digits(const uint8_t *from, uint64_t *ret_value)
{
    uint64_t text = load_u64(from);
    uint64_t digits = text - 0x3030303030303030u;
    if (((text + 0x4646464646464646u) | digits) & 0x8080808080808080u)
        return false;
    digits = digits * 10 + (digits >> 8);
    *ret_value = ((digits & 0x000000ff000000ffu) * 0x000f424000000064u +
                  (digits >> 16 & 0x000000ff000000ffu) * 0x0000271000000001u) >>
                 32;
    return true;
}

/* Digits into the mantissa, which wraps when there are more than it holds; the caller counts. */
static inline const uint8_t *digits_read(const uint8_t *from, const uint8_t *end,
                                         uint64_t *mantissa)
{
    uint64_t value = *mantissa;
    uint64_t eight;
    while (end - from >= 8 && eight_digits(from, &eight)) {
        value = value * 100000000 + eight;
        from += 8;
    }
    for (; is_digit(from, end); from++)
        value = value * 10 + (uint64_t)(*from - '0');
    *mantissa = value;
    return from;
}

#if defined(__SSE4_1__)
/*
 * A literal of at most 15 characters, the usual one, without a branch on how many digits it has:
 * the digits are moved to the end of a register, over the point, and added up in pairs. Numbers of
 * varying length would else cost a mispredicted branch or two each. False: another way (an
 * exponent, longer, malformed).
 */
static inline bool short_read(const uint8_t *digits, uint64_t *ret_mantissa,
                              unsigned *ret_fraction_digits, unsigned *ret_size)
{
    const __m128i places = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m128i values =
        _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(const void *)digits), _mm_set1_epi8('0'));
    __m128i is_value = _mm_cmpeq_epi8(_mm_min_epu8(values, _mm_set1_epi8(9)), values);
    unsigned others = ~(unsigned)_mm_movemask_epi8(is_value);
    unsigned whole = (unsigned)__builtin_ctz(others);
    if (whole == 0 || whole > 15 || (digits[0] == '0' && whole > 1))
        return false;
    unsigned size = whole;
    unsigned fraction = 0;
    if (digits[whole] == '.') {
        size = (unsigned)__builtin_ctz(others & (others - 1));
        fraction = size - whole - 1;
        if (fraction == 0 || size > 15)
            return false;
    }
    if ((digits[size] | 0x20) == 'e')
        return false;
    __m128i from = _mm_add_epi8(places, _mm_set1_epi8((char)(whole + fraction - 16)));
    from = _mm_sub_epi8(from, _mm_cmpgt_epi8(from, _mm_set1_epi8((char)(whole - 1))));
    __m128i sum = _mm_shuffle_epi8(values, from);
    sum = _mm_maddubs_epi16(sum, _mm_set1_epi16(0x010a));
    sum = _mm_madd_epi16(sum, _mm_set1_epi32(0x00010064));
    sum = _mm_packus_epi32(sum, sum);
    sum = _mm_madd_epi16(sum, _mm_set1_epi32(0x00012710));
    uint64_t halves = (uint64_t)_mm_cvtsi128_si64(sum);
    *ret_mantissa = (halves & UINT32_MAX) * 100000000 + (halves >> 32);
    *ret_fraction_digits = fraction;
    *ret_size = size;
    return true;
}
#endif

/* Digits from the first that is not zero on. */
static size_t significant_digits(const uint8_t *from, const uint8_t *end)
{
    size_t count = 0;
    for (; from < end && *from != 'e' && *from != 'E'; from++)
        count += *from != '.' && (count > 0 || *from != '0');
    return count;
}

enum json_number_kind json_number_read(const uint8_t **at, const uint8_t *end, double *ret_value)
{
    const uint8_t *from = *at;
    bool negative = from < end && *from == '-';
    from += negative;
    const uint8_t *digits = from;
#if defined(__SSE4_1__)
    uint64_t short_mantissa;
    unsigned places;
    unsigned size;
    if (end - digits >= 16 && short_read(digits, &short_mantissa, &places, &size)) {
        double quotient = (double)short_mantissa / double_powers[places];
        *ret_value = negative ? -quotient : quotient;
        *at = digits + size;
        return JSON_NUMBER_DOUBLE; /* 15 digits are below 2^53 */
    }
#endif
    if (!is_digit(from, end))
        return JSON_NUMBER_INVALID;
    if (*from == '0' && is_digit(from + 1, end))
        return JSON_NUMBER_INVALID;
    uint64_t mantissa = 0;
    int64_t exponent = 0;
    for (; is_digit(from, end); from++)
        mantissa = mantissa * 10 + (uint64_t)(*from - '0');
    size_t digit_count = (size_t)(from - digits);
    bool integer = true;
    int64_t fraction_digits = 0;
    if (from < end && *from == '.') {
        integer = false;
        const uint8_t *fraction = from + 1;
        from = digits_read(fraction, end, &mantissa);
        if (from == fraction)
            return JSON_NUMBER_INVALID;
        fraction_digits = from - fraction;
        digit_count += (size_t)fraction_digits;
    }
    const uint8_t *digits_end = from;
    if (from < end && (*from | 0x20) == 'e') {
        integer = false;
        if (!exponent_read(&from, end, &exponent))
            return JSON_NUMBER_INVALID;
    }
    *at = from;
    bool fits =
        digit_count <= MANTISSA_DIGITS || significant_digits(digits, digits_end) <= MANTISSA_DIGITS;
    double value;
    if (fits && scale_exactly(mantissa, exponent - fraction_digits, &value))
        *ret_value = negative ? -value : value;
    else
        *ret_value = scale_slowly(digits, from, negative, exponent);
    if (integer && (!fits || mantissa > INTEGER_MAX))
        return JSON_NUMBER_BIG_INTEGER;
    return isinf(*ret_value) ? JSON_NUMBER_OVERFLOW : JSON_NUMBER_DOUBLE;
}
