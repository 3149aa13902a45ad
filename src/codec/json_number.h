#pragma once
/*
 * JSON numbers to doubles, correctly rounded. Pure; any thread.
 *
 * Three steps, each exact where it answers: Clinger's fast path (mantissa and power of ten both
 * exact doubles); the same with the x87's 64-bit mantissa, unless the result lies too near to the
 * middle between two doubles; strtod in the C locale.
 */
#include "base/bytes.h"

#include <stdbool.h>

enum json_number_kind {
    JSON_NUMBER_DOUBLE,      /* value is the nearest double */
    JSON_NUMBER_BIG_INTEGER, /* a literal without fraction and exponent, beyond 2^53 */
    JSON_NUMBER_OVERFLOW,    /* beyond what a double holds; value is an infinity */
    JSON_NUMBER_INVALID,     /* not a number by RFC 8259 §6 */
};

/* Reads the number that *at begins with and moves *at behind it (unless INVALID). */
enum json_number_kind json_number_read(const uint8_t **at, const uint8_t *end, double *ret_value);
