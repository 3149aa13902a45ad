#pragma once
/*
 * The configuration of HTTP push, and what is asked of a push before its body is looked at: the
 * token or signature, the size, the content type, the key. Pure. Secrets are compared in constant
 * time.
 */
#include "base/limits.h"
#include "codec/sha256.h"
#include "connectors/common_options.h"
#include "connectors/connector.h"
#include "connectors/http_push_body.h"

#define HTTP_PUSH_PAUSED                                                                           \
    "The service takes nothing now (its journal is full, or it cannot keep up): post again later"
#define HTTP_PUSH_BODY_BYTES_MAX LIMIT_API_PUSH_BYTES
#define HTTP_PUSH_RECORDS_MAX    100000
#define HTTP_PUSH_KEY_BYTES_MAX  255

extern const char http_push_config_schema[];

struct http_push_config {
    struct arena arena;
    struct common_options common; /* format text: the body is one text; others: whatever its type */
    const char *token;            /* NULL: none is asked for */
    uint8_t token_digest[SHA256_BYTES];
    size_t body_bytes_max;
};

/* On failure fini all the same. */
enum err http_push_config_init(struct http_push_config *config, const json_t *json,
                               struct diag *diag) ERR_MUST_USE;
void http_push_config_fini(struct http_push_config *config);

struct http_push_verdict {
    unsigned status; /* 0: good */
    const char *message;
    const char *error_type; /* connector_push.error_type */
};

/* *ret_format: what the body must be converted from first (content_format_converts); others mean
 * nothing. */
void http_push_check(const struct http_push_config *config, const struct connector_push *push,
                     enum http_push_shape *ret_shape, enum content_format *ret_format,
                     struct http_push_verdict *ret_verdict);

/* The metadata fields of its records: remote (0) and content_type (1). */
enum err http_push_extras(const struct connector_push *push, struct buf *out) ERR_MUST_USE;
