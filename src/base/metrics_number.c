#include "base/metrics_number.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The shortest decimal text that reads back as the same double: "d.ddde±xx". */
static void shortest_scientific(double value, char text[40])
{
    /* 15 digits always survive a double, save where it has fewer bits. */
    for (int digits = fabs(value) < DBL_MIN ? 0 : 14; digits <= 16; digits++) {
        snprintf(text, 40, "%.*e", digits, value);
        if (strtod(text, NULL) == value)
            return;
    }
}

static char *put(char *at, const char *text, size_t size)
{
    memcpy(at, text, size);
    return at + size;
}

static char *put_text(char *at, const char *text)
{
    return put(at, text, strlen(text));
}

/* Nearly all values are whole and below 2^53, where the exact digits are also the shortest. */
static char *put_whole(char *at, uint64_t value)
{
    char digits[20];
    size_t first = sizeof(digits);
    size_t end = sizeof(digits);
    do {
        digits[--first] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    size_t exponent = end - first - 1;
    if (exponent < 6)
        return put_text(put(at, digits + first, end - first), ".0");
    while (end > first + 1 && digits[end - 1] == '0')
        end--;
    *at++ = digits[first];
    if (end - first > 1)
        *at++ = '.';
    at = put(at, digits + first + 1, end - first - 1);
    at = put_text(at, "e+");
    *at++ = (char)('0' + exponent / 10);
    *at++ = (char)('0' + exponent % 10);
    return at;
}

/* d.ddd with the exponent worked in, or d.ddde±xx. */
static char *put_decimal(char *at, double value)
{
    char text[40];
    shortest_scientific(value, text);
    bool negative = text[0] == '-';
    char *mantissa = text + negative;
    char *mark = strchr(mantissa, 'e');
    int exponent = (int)strtol(mark + 1, NULL, 10);
    char digits[24];
    size_t digit_count = 0;
    for (char *c = mantissa; c < mark; c++)
        if (*c != '.')
            digits[digit_count++] = *c;
    assert(digit_count > 0);
    while (digit_count > 1 && digits[digit_count - 1] == '0')
        digit_count--;

    if (negative)
        *at++ = '-';
    if (exponent < -4 || exponent >= (negative ? 16 : 6)) {
        *at++ = digits[0];
        if (digit_count > 1)
            *at++ = '.';
        at = put(at, digits + 1, digit_count - 1);
        return at + snprintf(at, 8, "e%+03d", exponent);
    }
    if (exponent < 0) {
        at = put_text(at, "0.");
        for (int i = -1; i > exponent; i--)
            *at++ = '0';
        return put(at, digits, digit_count);
    }
    size_t whole = (size_t)exponent + 1;
    for (size_t i = 0; i < whole; i++)
        *at++ = i < digit_count ? digits[i] : '0';
    *at++ = '.';
    return digit_count > whole ? put(at, digits + whole, digit_count - whole) : put_text(at, "0");
}

static char *put_number(char *at, double value)
{
    if (isnan(value))
        return put_text(at, "NaN");
    if (isinf(value))
        return put_text(at, value > 0 ? "+Inf" : "-Inf");
    if (value >= 0 && value < 0x1p53 && value == (double)(uint64_t)value && !signbit(value))
        return put_whole(at, (uint64_t)value);
    if (value > -1e6 && value <= 0 && value == (double)(int64_t)value) {
        *at++ = '-';
        return put_whole(at, (uint64_t)-value);
    }
    return put_decimal(at, value);
}

size_t metrics_number(char text[METRICS_NUMBER_BYTES], double value)
{
    return (size_t)(put_number(text, value) - text);
}
