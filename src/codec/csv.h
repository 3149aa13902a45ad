#pragma once
/*
 * CSV (RFC 4180) to JSON text: an array with one object for each line. Pure; any thread; time and
 * memory are bounded by the payload's size and out's maximum.
 *
 * The separator is the first of , ; tab that stands outside quotes in the first line. The first of
 * several lines is the header if it has texts and no numbers; a column without a name is column_1,
 * column_2, … A value without quotes that is a JSON number, true or false is that,
 * an empty one null; quotes make a text of anything. Blank lines count for nothing; a short line's
 * missing values are missing; a line with more values than columns is an error.
 */
#include "base/buf.h"

#define CSV_COLUMNS_MAX 2000

/* ERR_SYNTAX: quotes that are not closed or followed by something, not UTF-8, too many values
 * (*ret_why, a static text); ERR_TOO_LARGE: out's maximum; ERR_NO_MEMORY. */
enum err csv_to_json(struct bytes payload, struct buf *out, const char **ret_why) ERR_MUST_USE;
