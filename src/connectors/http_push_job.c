#include "connectors/http_push_job.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "connectors/http_push_check.h"

#define EXTRAS_BYTES_MAX (4 * KIB)

struct http_push_job *http_push_job_new(struct connector_push *push, enum http_push_shape shape,
                                        enum content_format format)
{
    struct http_push_job *job = mem_zalloc(1, sizeof(*job));
    if (!job)
        return NULL;
    enum err err = ERR_OK;
    job->push = push;
    job->format = format;
    http_push_body_init(&job->body, shape, push->body);
    job->check = job->body;
    buf_init(&job->json, LIMIT_CONVERTED_BYTES);
    buf_init(&job->extras, EXTRAS_BYTES_MAX);
    job->keyed = push->idempotency_key != NULL;
    if (job->keyed)
        err = sha256_of(bytes_from_text(push->idempotency_key), job->digest);
    if (err == ERR_OK)
        err = http_push_extras(push, &job->extras);
    if (err == ERR_OK)
        return job;
    http_push_job_free(job);
    return NULL;
}

void http_push_job_free(struct http_push_job *job)
{
    if (!job)
        return;
    buf_fini(&job->extras);
    buf_fini(&job->json);
    mem_free(job);
}

enum err http_push_job_convert(struct http_push_job *job, const char **ret_why)
{
    if (job->converted || !content_format_converts(job->format))
        return ERR_OK;
    enum err err =
        content_to_json(job->format, job->push->body, job->push->arrival_us, &job->json, ret_why);
    if (err != ERR_OK)
        return err;
    http_push_body_init(&job->body, HTTP_PUSH_JSON, buf_bytes(&job->json));
    job->check = job->body;
    job->converted = true;
    return ERR_OK;
}

bool http_push_job_is_senml(const struct http_push_job *job)
{
    return job->format == CONTENT_SENML_JSON || job->format == CONTENT_SENML_CBOR;
}
