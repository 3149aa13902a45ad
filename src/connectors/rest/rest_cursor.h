#pragma once
/*
 * The cursor of incremental reads: the greatest value of a field among all records so far. Values
 * are JSON scalars, kept as they stood: numbers are compared as numbers (whole ones of any length
 * exactly), texts as instants when both are timestamps, as numbers when both are digits, else byte
 * by byte. What is neither number nor text, or longer than REST_CURSOR_BYTES_MAX, is passed over.
 * One thread.
 */
#include "base/buf.h"

#define REST_CURSOR_BYTES_MAX 256

struct rest_cursor {
    size_t size; /* 0: none yet */
    uint8_t json[REST_CURSOR_BYTES_MAX];
};

/* Takes the value when it is greater than what is there. */
void rest_cursor_offer(struct rest_cursor *cursor, struct bytes json);
/* Below 0, 0 or above. */
int rest_cursor_compare(struct bytes a, struct bytes b);
/* Appends the value as a query parameter has it: a text without quotes and escapes. */
enum err rest_cursor_text(struct bytes json, struct buf *out) ERR_MUST_USE;
