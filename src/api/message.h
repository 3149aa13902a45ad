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

/* Of a request that was given away. */
struct api_deferral {
    /* The service stops: fills the response and returns true, and then resume is not called; false:
     * it is being filled, resume is called. */
    bool (*cancel)(void *ctx);
    void (*release)(void *ctx); /* the request ends */
    void *ctx;
};

#define API_HEADERS_MAX 4

struct api_header {
    const char *name; /* both static, or in the request's arena */
    const char *value;
};

struct api_request {
    const char *method;       /* as sent */
    const char *target;       /* as sent: path, ? and query, still escaped */
    const char *content_type; /* this and those below may be NULL */
    const char *accept;
    const char *content_encoding;
    const char *authorization;
    const char *signature; /* of X-Hub-Signature-256 or X-Signature-256 */
    const char *idempotency_key;
    char remote[48]; /* the peer's address; empty: not known */
    struct bytes body;
    struct buf *body_owner; /* what holds body, if a route may take it over; else NULL */
    char id[API_REQUEST_ID_BYTES];

    /* Set by api_request_route. */
    const struct api_route *route; /* NULL: none has that path and method */
    struct arena arena;
    struct bytes path; /* unescaped, always UTF-8 */
    struct bytes query;
    struct bytes parameters[API_PATH_PARAMETERS_MAX]; /* in the order of the route's path */

    /* Set for a route that takes a JSON body; NULL: the body is empty. */
    json_t *json;

    /* A slow route may give its request away: it sets deferral, arranges for resume to be called
     * once the response is filled, and returns ERR_AGAIN without touching either again. */
    void (*resume)(void *ctx); /* once, any thread */
    void *resume_ctx;
    struct api_deferral deferral;
};

struct api_response {
    unsigned status;
    const char *content_type; /* static; NULL: no body */
    struct buf body;
    char allow[64];       /* "": no such header */
    const char *location; /* NULL: no such header; lives in the request's arena */
    struct api_header headers[API_HEADERS_MAX]; /* more of them; see api_response_header */
    size_t header_count;
    /* More of the body, after what stands in body; appends to out, *ret_done with the last piece.
     * NULL: that is all. An error ends the answer where it is. */
    enum err (*next)(void *stream, struct buf *out, bool *ret_done);
    /* A stream that may have nothing yet has this: its next then returns ERR_AGAIN, and wake is
     * called once when there is something, from any thread, or from wait itself. Not after
     * stream_free has returned. */
    void (*wait)(void *stream, void (*wake)(void *ctx), void *ctx);
    void (*stream_free)(void *stream);
    void *stream;
};

void api_request_init(struct api_request *request, const char *method, const char *target);
void api_request_fini(struct api_request *request);
void api_response_init(struct api_response *response);
void api_response_fini(struct api_response *response);
/* Forgets what was written, for another answer. */
void api_response_reset(struct api_response *response);

/* Call it after api_fail, which forgets headers. What is beyond API_HEADERS_MAX is our mistake. */
void api_response_header(struct api_response *response, const char *name, const char *value);

/* Request-ID rule: 1-128 printable ASCII characters, else a fresh UUIDv4. given may be NULL. */
void api_request_set_id(struct api_request *request, const char *given);
