#pragma once
/*
 * A request and its answer, apart from any HTTP library: the server fills the one and sends the
 * other, the routes stand in between, and tests and the fuzzer call them without a socket. Both
 * belong to the one API thread that serves the connection, and live until the answer is sent.
 *
 * Answers are built in memory up to LIMIT_API_ANSWER_BYTES; what may be larger (rows of all
 * partitions) is streamed piece by piece with response->next.
 */
#include "base/arena.h"
#include "base/buf.h"

#include <jansson.h>
#include <stdint.h>

#define API_PATH_PARAMETERS_MAX 4
#define API_REQUEST_ID_BYTES    129

struct api_route;

struct api_request {
    const char *method;       /* as sent */
    const char *target;       /* as sent: path, ? and query, still escaped */
    const char *content_type; /* this and those below may be NULL */
    const char *accept;
    struct bytes body;
    char id[API_REQUEST_ID_BYTES];

    /* Set by api_request_route. */
    const struct api_route *route; /* NULL: none has that path and method */
    struct arena arena;
    struct bytes path; /* unescaped, always UTF-8 */
    struct bytes query;
    struct bytes parameters[API_PATH_PARAMETERS_MAX]; /* in the order of the route's path */

    /* Set for a route that takes a JSON body; NULL: the body is empty. */
    json_t *json;
};

struct api_response {
    unsigned status;
    const char *content_type; /* static; NULL: no body */
    struct buf body;
    char allow[64];       /* "": no such header */
    const char *location; /* NULL: no such header; lives in the request's arena */
    /* More of the body, after what stands in body; appends to out, *ret_done with the last piece.
     * NULL: that is all. An error ends the answer where it is. */
    enum err (*next)(void *stream, struct buf *out, bool *ret_done);
    void (*stream_free)(void *stream);
    void *stream;
};

void api_request_init(struct api_request *request, const char *method, const char *target);
void api_request_fini(struct api_request *request);
void api_response_init(struct api_response *response);
void api_response_fini(struct api_response *response);
/* Forgets what was written, for another answer. */
void api_response_reset(struct api_response *response);

/* Request-ID rule: 1-128 printable ASCII characters, else a fresh UUIDv4. given may be NULL. */
void api_request_set_id(struct api_request *request, const char *given);
