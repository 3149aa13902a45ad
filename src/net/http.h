#pragma once
/*
 * A small blocking HTTP client over libcurl, for transfers that have a thread of their own (the S3
 * store). Any thread; one client is used by one thread at a time and keeps its connection between
 * requests. TLS certificates are always verified. Nothing is followed, retried or signed here: the
 * path goes out as it came.
 *
 * Errors: ERR_NETWORK, ERR_CLOSED and ERR_TIMEOUT (class RETRY), ERR_REFUSED (the TLS certificate,
 * or an address that makes no sense), ERR_TOO_LARGE (the answer is beyond its bounds), ERR_STOPPED
 * (cancelled), and what the body's source or sink returned. Any HTTP status is ERR_OK here.
 */
#include "base/buf.h"

#include <stdatomic.h>

#define HTTP_RESPONSE_HEADERS_MAX_BYTES ((size_t)64 * 1024)
#define HTTP_RESPONSE_BODY_MAX_BYTES    ((size_t)256 * 1024) /* of one without on_body */

struct http_client_options {
    uint32_t connect_timeout_ms; /* 0: 10 s */
    uint32_t idle_timeout_ms;    /* no byte either way for so long; 0: 30 s; whole seconds */
    const char *ca_file;         /* NULL: the system's */
    const char *user_agent;
    const _Atomic bool *cancel; /* looked at a few times a second while waiting; may be NULL */
};

struct http_header {
    const char *name;
    const char *value;
};

struct http_request {
    const char *method;
    const char *url;
    const struct http_header *headers;
    size_t header_count;
    /* A body from memory, or, with read_body, from a source of body_size_bytes: reads at offset, at
     * most size bytes; fewer than asked for before the end is an error of the source's. */
    struct bytes body;
    enum err (*read_body)(void *ctx, uint64_t offset, void *buffer, size_t size);
    uint64_t body_size_bytes;
    bool has_body; /* of zero bytes even; PUT and POST */
    /* The answer's body, if its status is 2xx, goes here instead of into response->body. */
    enum err (*on_body)(void *ctx, struct bytes bytes);
    void *ctx;
};

struct http_response {
    long status;
    struct buf body;    /* at most HTTP_RESPONSE_BODY_MAX_BYTES */
    struct buf headers; /* name NUL value NUL …; names in lower case */
};

struct http_client;

enum err http_client_new(const struct http_client_options *options,
                         struct http_client **ret_client) ERR_MUST_USE;
void http_client_free(struct http_client *client); /* NULL is fine */

void http_response_init(struct http_response *response);
void http_response_fini(struct http_response *response);

/* Empties and fills the response. diag names method, host and cause. */
enum err http_perform(struct http_client *client, const struct http_request *request,
                      struct http_response *response, struct diag *diag) ERR_MUST_USE;

/* NULL when absent; name in lower case. The first of several. */
const char *http_response_header(const struct http_response *response, const char *name);

/* Unix time of a Date header (RFC 9110 §5.6.7), or -1. */
int64_t http_date(const char *text);
