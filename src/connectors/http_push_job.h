#pragma once
/*
 * A push between its arrival and its answer. Lives on the loop's thread; what it points to is the
 * push's, until that is done.
 */
#include "base/buf.h"
#include "codec/content_format.h"
#include "codec/sha256.h"
#include "connectors/connector.h"
#include "connectors/http_push_body.h"

struct http_push_job {
    struct http_push_job *next;
    struct connector_push *push;
    enum content_format format;
    struct buf json; /* the body, converted: while it is the first of the waiting */
    bool converted;
    struct http_push_body body;
    struct http_push_body check; /* runs ahead of body, to the end, before anything is emitted */
    struct buf extras;
    uint8_t digest[SHA256_BYTES];
    bool keyed;
    bool checked;
    bool key_put;
    bool repeated;
    bool have_record; /* record is cut but not yet emitted */
    struct http_push_record record;
    uint64_t emitted;
    uint64_t sequence;
};

/* NULL: no memory. */
struct http_push_job *http_push_job_new(struct connector_push *push, enum http_push_shape shape,
                                        enum content_format format);
void http_push_job_free(struct http_push_job *job);

/* A body of another format (content_format_converts) is worked on as the JSON that it stands for;
 * the second time nothing is done. Failures as content_to_json's. */
enum err http_push_job_convert(struct http_push_job *job, const char **ret_why) ERR_MUST_USE;
bool http_push_job_is_senml(const struct http_push_job *job);
