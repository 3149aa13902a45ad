#pragma once
/* UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, nothing above U+10FFFF. Pure. */
#include "base/bytes.h"

/* The length of the well-formed sequence that text begins with, or 0. size >= 1. */
size_t utf8_sequence_bytes(const uint8_t *text, size_t size);
bool utf8_valid(struct bytes text);
/* Writes 1 to 4 bytes; code_point must be a scalar value. */
size_t utf8_encode(uint32_t code_point, uint8_t *ret_bytes);
