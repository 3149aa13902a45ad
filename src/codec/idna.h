#pragma once
/*
 * Whether the ASCII form of an international label ("xn--" and Punycode) stands for a label that
 * IDNA2008 allows: RFC 3492 decoding, no label that could have been plain ASCII, the code points of
 * RFC 5892 with its contextual rules. As far as PCRE2's Unicode properties tell: the derived
 * property is taken from categories and blocks, ZERO WIDTH NON-JOINER between letters from their
 * scripts; the rules of right-to-left labels (RFC 5893) are not checked. Pure; any thread.
 */
#include "base/bytes.h"
#include "base/err.h"

/* punycode: what follows "xn--". ERR_OK, ERR_INVALID, ERR_NO_MEMORY. */
enum err idna_label_check(struct bytes punycode) ERR_MUST_USE;
