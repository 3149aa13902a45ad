#pragma once
/*
 * One signed request to an S3-compatible store, and what its answer means. Any thread, several at
 * once: connections come from a small pool. Nothing is retried here.
 *
 * Errors of s3_perform: the transport's (net/http.h), all but ERR_REFUSED of class RETRY. An answer
 * of any status is ERR_OK; s3_error turns one that is no success into an error and a sentence with
 * the store's own code and message. Secrets and signatures are in neither.
 */
#include "lake/store_open.h"
#include "net/http.h"

#define S3_CALL_HEADERS_MAX 8
#define S3_CODE_SIZE        64
#define S3_CLIENTS_MAX      16 /* idle connections kept */

struct s3;

struct s3_call {
    const char *method;
    const char *key;                                 /* NULL: the bucket */
    const char *query;                               /* encoded; NULL: none */
    struct http_header headers[S3_CALL_HEADERS_MAX]; /* ours, signed; besides host, date and hash */
    size_t header_count;
    const char *payload_sha256; /* NULL: of no bytes */
    /* as in struct http_request */
    struct bytes body;
    enum err (*read_body)(void *ctx, uint64_t offset, void *buffer, size_t size);
    uint64_t body_size_bytes;
    bool has_body;
    enum err (*on_body)(void *ctx, struct bytes bytes);
    void *ctx;
};

/* Copies the texts. */
enum err s3_new(const struct store_s3_options *options, struct s3 **ret_s3) ERR_MUST_USE;
void s3_free(struct s3 *s3); /* NULL is fine */
void s3_cancel(struct s3 *s3);

void s3_call_header(struct s3_call *call, const char *name, const char *value);
enum err s3_perform(struct s3 *s3, const struct s3_call *call, struct http_response *response,
                    struct diag *diag) ERR_MUST_USE;

/* ERR_OK for 2xx. */
enum err s3_error(const struct s3 *s3, const struct s3_call *call,
                  const struct http_response *response, struct diag *diag) ERR_MUST_USE;
/* The error code of an answer's XML, "" where there is none. */
void s3_error_code(const struct http_response *response, char ret_code[S3_CODE_SIZE]);
