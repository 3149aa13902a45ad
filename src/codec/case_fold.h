#pragma once
/*
 * Names that are equal but for case, as engines see it: Unicode's simple case folding, one
 * character for one. Where engines disagree, more is folded rather than less: dotted and dotless i
 * are i. Pure, any thread.
 */
#include "base/buf.h"

uint32_t case_fold_character(uint32_t character);
/* Appends the text folded; bytes that are no UTF-8 as they are. */
enum err case_fold(struct buf *out, struct bytes text) ERR_MUST_USE;
