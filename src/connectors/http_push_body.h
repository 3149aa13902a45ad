#pragma once
/*
 * A pushed body cut into its records, one by one, so that 16 MiB can be worked on in slices. Checks
 * syntax as it goes (the device dialect: NaN is a number), builds nothing. Pure; the body is
 * borrowed.
 */
#include "base/bytes.h"
#include "base/err.h"
#include "codec/json.h"

enum http_push_shape {
    HTTP_PUSH_JSON,  /* one object, or an array of anything */
    HTTP_PUSH_LINES, /* NDJSON: one value a line, blank lines between them */
    HTTP_PUSH_WHOLE, /* the body as it is, one record */
};

struct http_push_body {
    enum http_push_shape shape;
    struct json_cursor cursor;
    const uint8_t *begin;
    uint64_t count; /* records given so far */
    uint64_t line;
    bool array;
    bool over;
};

struct http_push_record {
    struct bytes json;
    bool wrap; /* an array: it stands for {"value": …}, for alone it would be several records */
};

void http_push_body_init(struct http_push_body *body, enum http_push_shape shape,
                         struct bytes text);
/* ERR_NOT_FOUND: there are no more. ERR_SYNTAX, ERR_TOO_DEEP, ERR_INVALID (neither object nor
 * array): diag says where; the body is no good as a whole. */
enum err http_push_body_next(struct http_push_body *body, struct http_push_record *ret_record,
                             struct diag *diag) ERR_MUST_USE;
/* How much of the text has been worked on. */
size_t http_push_body_done(const struct http_push_body *body);
/* The same in characters. */
size_t http_push_body_characters(const struct http_push_body *body);
