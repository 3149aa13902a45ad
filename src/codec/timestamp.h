#pragma once
/*
 * Timestamps of devices: contract/data.md "Timestamps". Pure; any thread. Instants are Unix
 * microseconds, UTC. Years 0001 to 9999; what lies outside is unusable.
 */
#include "base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

/* "YYYY-MM-DDTHH:MM:SS.ffffff+00:00" and a NUL */
#define TIMESTAMP_TEXT_BYTES 33

/* ISO 8601 in all its usual forms, or digits of a Unix time (s, ms, µs, ns by magnitude). False
 * when unusable. */
bool timestamp_parse(struct bytes text, int64_t *ret_us);
/* A Unix time as a number, unit by magnitude. False when unusable (NaN, out of range). */
bool timestamp_from_number(double number, int64_t *ret_us);
/* Python's isoformat(): exactly six fraction digits if there is a fraction, none otherwise; always
 * +00:00. Returns the length. */
size_t timestamp_format(int64_t us, char ret_text[TIMESTAMP_TEXT_BYTES]);
/* Floor to calendar parts, for partitions: date "YYYY-MM-DD" (11 bytes with NUL) and hour 0-23. */
void timestamp_date_hour(int64_t us, char ret_date[11], int *ret_hour);
