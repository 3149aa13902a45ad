#pragma once
/*
 * The envelopes of contract/http-api.md. Appends go to response->body and stick there on failure,
 * so a route returns response->body.err once at its end; it becomes a 503. Errors are answers too:
 * api_fail and api_invalid_answer throw away what was written and return ERR_OK or the failure.
 *
 *   api_data_begin; write the data; api_data_end              ApiResponse
 *   api_data_begin; write "[…]"; api_list_end                 ApiListResponse
 */
#include "api/message.h"

void api_data_begin(struct buf *out);
/* message NULL: null. */
void api_data_end(struct buf *out, const char *message);
void api_list_end(struct buf *out, const char *message, const char *error, uint64_t total);

/* {"status", "message"}, all of the answer. */
void api_message(struct buf *out, const char *message);
/* The end of {"status", "data", "message"}, begun by api_data_begin. */
void api_named_end(struct buf *out, const char *message);

/* A jansson value as compact JSON. */
enum err api_append_json(struct buf *out, const json_t *json) ERR_MUST_USE;

/* The sentence says what to do; it stands under error and detail. */
enum err api_fail(struct api_response *response, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* 422: a list of what is wrong. where is "query", "path" or "body"; field NULL: the whole of it. */
struct api_invalid {
    struct buf detail;
    struct buf sentence;
    size_t count;
};
void api_invalid_init(struct api_invalid *invalid);
/* input: JSON text shown as "input", or size 0 to leave it out (bodies may hold secrets). */
void api_invalid_add(struct api_invalid *invalid, const char *where, struct bytes field,
                     const char *message, const char *type, struct bytes input);
/* Makes the 422 and frees invalid. */
enum err api_invalid_answer(struct api_invalid *invalid, struct api_response *response);
/* Nothing came of it: frees invalid. */
void api_invalid_fini(struct api_invalid *invalid);
/* The one-problem case, for a body's field. */
enum err api_invalid_body(struct api_response *response, const char *field, const char *message,
                          const char *type);
/* loc ["body", offset]. */
enum err api_invalid_json(struct api_response *response, size_t offset, const char *problem);
/* The same with a sentence of one's own. */
enum err api_invalid_json_text(struct api_response *response, size_t offset, const char *sentence);
