#pragma once
/*
 * The cursor of incremental reads: the greatest value of a field among all records so far. Values
 * are JSON scalars, kept as they stood: numbers are compared as numbers (whole ones of any length
 * exactly), texts as instants when both are timestamps, as numbers when both are digits, else byte
 * by byte. What is neither number nor text, or longer than REST_CURSOR_BYTES_MAX, is passed over.
 *
 * Many servers answer with what is greater than or equal to the value they were sent. So the
 * records at the edge, those with the greatest value, are remembered by their hash, up to
 * REST_CURSOR_EDGE_MAX, and known when they come again. One thread.
 */
#include "base/buf.h"

#define REST_CURSOR_BYTES_MAX 256
#define REST_CURSOR_EDGE_MAX  64

struct rest_cursor {
    size_t size; /* 0: none yet */
    uint8_t json[REST_CURSOR_BYTES_MAX];
    uint32_t edge_count;
    uint64_t edge[REST_CURSOR_EDGE_MAX];
};

/* Takes the record's value when it is greater than what is there; notes the record at the edge. */
void rest_cursor_offer(struct rest_cursor *cursor, struct bytes json, struct bytes record);
/* Whether the record, with this value, stood at the edge already. */
bool rest_cursor_knows(const struct rest_cursor *cursor, struct bytes json, struct bytes record);
/* Below 0, 0 or above. */
int rest_cursor_compare(struct bytes a, struct bytes b);
/* Appends the value as a query parameter has it: a text without quotes and escapes. */
enum err rest_cursor_text(struct bytes json, struct buf *out) ERR_MUST_USE;
