/*
 * POST /api/ingest/{ingestion_id}: hands the body to the data source and sleeps until it says that
 * the records are durable.
 *
 * An ingest_call holds all that the push points to, so that it may outlive its request: when the
 * service stops, the request is answered and the push ends whenever it ends. It has two owners, the
 * request (until api_request_fini) and the push (until done); who answers first is settled under
 * its lock.
 */
#include "api/body_budget.h"
#include "api/dispatch.h"
#include "api/envelope.h"
#include "api/gunzip.h"
#include "api/route.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/thread.h"
#include "sources/registry_api.h"

#include <strings.h>

struct ingest_call {
    struct connector_push push; /* first */
    _Atomic uint32_t references;
    struct buf body;
    struct body_budget *budget;
    size_t taken_bytes; /* of it, beyond what the request has */
    char *texts[6];
    size_t text_count;
    char *ingestion_id;

    struct mutex lock;
    struct api_response *response; /* NULL: it is answered, or being answered */
    void (*resume)(void *ctx);
    void *resume_ctx;
};

static void call_unref(struct ingest_call *call)
{
    if (atomic_fetch_sub(&call->references, 1) > 1)
        return;
    for (size_t i = 0; i < call->text_count; i++)
        mem_free(call->texts[i]);
    buf_fini(&call->body);
    mutex_fini(&call->lock);
    mem_free(call);
}

/* The response, for the one who asks first; then NULL. */
static struct api_response *call_claim(struct ingest_call *call)
{
    mutex_lock(&call->lock);
    struct api_response *response = call->response;
    call->response = NULL;
    mutex_unlock(&call->lock);
    return response;
}

static void budget_give(struct ingest_call *call)
{
    body_budget_give(call->budget, call->taken_bytes);
    call->taken_bytes = 0;
}

static enum err answer_stored(const struct ingest_call *call, struct api_response *response)
{
    struct buf *out = &response->body;
    response->status = 202;
    api_data_begin(out);
    buf_text(out, "{\"ingestion_id\":");
    buf_json_string(out, bytes_from_text(call->ingestion_id));
    buf_printf(out, ",\"count\":%llu}", (unsigned long long)call->push.count);
    api_data_end(out, call->push.message);
    return out->err;
}

static enum err answer_refused(unsigned status, const char *message, struct api_response *response)
{
    enum err err = api_fail(response, status, "%s", message);
    if (status == 401)
        api_response_header(response, "WWW-Authenticate", "Bearer");
    if (status == 429 || status == 503)
        api_response_header(response, "Retry-After", "1");
    return err;
}

static enum err answer_push(const struct ingest_call *call, struct api_response *response)
{
    const struct connector_push *push = &call->push;
    const char *type = push->error_type ? push->error_type : "value_error";
    if (push->status == 202)
        return answer_stored(call, response);
    if (push->status != 422)
        return answer_refused(push->status, push->message, response);
    if (strcmp(type, "json_invalid") == 0)
        return api_invalid_json_text(response, push->error_offset, push->message);
    return api_invalid_body(response, NULL, push->message, type);
}

/* On the I/O loop of the source. */
static void on_done(struct connector_push *push)
{
    struct ingest_call *call = (struct ingest_call *)push;
    struct api_response *response = call_claim(call);
    if (response) {
        if (answer_push(call, response) != ERR_OK)
            api_dispatch_no_memory(response);
        budget_give(call);
        call->resume(call->resume_ctx);
    }
    call_unref(call);
}

static bool on_cancel(void *ctx)
{
    struct ingest_call *call = ctx;
    struct api_response *response = call_claim(call);
    if (!response)
        return false;
    api_dispatch_busy(response,
                      "The service is stopping before it is known whether the records are "
                      "stored: post again later, with the same Idempotency-Key");
    budget_give(call);
    return true;
}

static void on_release(void *ctx)
{
    call_unref(ctx);
}

/* A copy that lives as long as the call; NULL stays NULL. */
static const char *text_keep(struct ingest_call *call, const char *text, enum err *err)
{
    char *copy = text ? mem_strdup(text) : NULL;
    if (text && !copy)
        *err = ERR_NO_MEMORY;
    if (copy)
        call->texts[call->text_count++] = copy;
    return copy;
}

static enum err call_new(const struct api_services *services, const struct api_request *request,
                         struct ingest_call **ret_call)
{
    struct ingest_call *call = mem_zalloc(1, sizeof(*call));
    if (!call)
        return ERR_NO_MEMORY;
    enum err err = ERR_OK;
    call->references = 1;
    call->budget = services->bodies;
    call->resume = request->resume;
    call->resume_ctx = request->resume_ctx;
    mutex_init(&call->lock);
    buf_init(&call->body, LIMIT_API_PUSH_BYTES);
    call->push.content_type = text_keep(call, request->content_type, &err);
    call->push.authorization = text_keep(call, request->authorization, &err);
    call->push.signature = text_keep(call, request->signature, &err);
    call->push.idempotency_key = text_keep(call, request->idempotency_key, &err);
    call->push.remote = text_keep(call, request->remote, &err);
    struct bytes id = request->parameters[0];
    call->ingestion_id = mem_alloc(id.size + 1);
    if (!call->ingestion_id)
        err = ERR_NO_MEMORY;
    if (call->ingestion_id) {
        memcpy(call->ingestion_id, id.data, id.size);
        call->ingestion_id[id.size] = '\0';
        call->texts[call->text_count++] = call->ingestion_id;
    }
    call->push.arrival_us = clock_realtime_us(&clock_system);
    call->push.done = on_done;
    if (err != ERR_OK) {
        call_unref(call);
        return err;
    }
    *ret_call = call;
    return ERR_OK;
}

/* ---- the body ---- */

static bool on_inflate(void *ctx, size_t bytes)
{
    struct ingest_call *call = ctx;
    if (!body_budget_take(call->budget, bytes))
        return false;
    call->taken_bytes += bytes;
    return true;
}

static enum err body_take(struct ingest_call *call, struct api_request *request)
{
    if (!request->body_owner)
        return buf_append(&call->body, request->body.data, request->body.size);
    call->body = *request->body_owner;
    buf_init(request->body_owner, 0);
    request->body = (struct bytes){0};
    return ERR_OK;
}

/* *ret_good false: answered. */
static enum err body_prepare(struct ingest_call *call, struct api_request *request,
                             struct api_response *response, bool *ret_good)
{
    const char *encoding = request->content_encoding;
    bool gzip =
        encoding && (strcasecmp(encoding, "gzip") == 0 || strcasecmp(encoding, "x-gzip") == 0);
    *ret_good = false;
    if (encoding && encoding[0] && !gzip && strcasecmp(encoding, "identity") != 0)
        return api_invalid_body(response, NULL,
                                "Content-Encoding is not taken: send gzip, or none at all",
                                "value_error");
    enum err err =
        gzip ? gunzip(request->body, &call->body, on_inflate, call) : body_take(call, request);
    if (err == ERR_TOO_LARGE)
        return api_fail(response, 413, "The body is too large: send at most %zu bytes, inflated",
                        LIMIT_API_PUSH_BYTES);
    if (err == ERR_BUSY)
        return answer_refused(503, "Too many bodies are on their way in: try again in a moment",
                              response);
    if (err == ERR_CORRUPT)
        return api_invalid_body(response, NULL, "The body is not whole gzip data", "value_error");
    *ret_good = err == ERR_OK;
    return err;
}

/* ---- the route ---- */

static enum err push_failed(struct ingest_call *call, enum err err, struct api_response *response)
{
    if (err == ERR_NOT_FOUND)
        return api_fail(response, 404,
                        "No data source of type http_push has the ingestion id '%.200s'",
                        call->ingestion_id);
    if (err == ERR_BUSY)
        return answer_refused(
            503, "The data sources have not been read from their database yet: try again later",
            response);
    if (err == ERR_STOPPED)
        return answer_refused(503, "The data source is not running: start it, or try again later",
                              response);
    if (err == ERR_TOO_MANY)
        return answer_refused(429, "Too many pushes wait: try again in a moment", response);
    if (err == ERR_NO_MEMORY)
        return err;
    return answer_refused(503, "The data source takes nothing now: try again later", response);
}

static enum err push(const struct api_services *services, struct ingest_call *call,
                     struct api_request *request, struct api_response *response)
{
    struct bytes id = request->parameters[0];
    call->push.body = buf_bytes(&call->body);
    call->response = response;
    atomic_fetch_add(&call->references, 1); /* the push's */
    request->deferral = (struct api_deferral){on_cancel, on_release, call};
    enum err err = registry_api_push(services->manager, id, &call->push);
    if (err == ERR_OK)
        return ERR_AGAIN; /* neither request nor response is ours any more */
    call->response = NULL;
    err = push_failed(call, err, response);
    budget_give(call);
    call_unref(call);
    return err;
}

static enum err ingest_post(const struct api_services *services, struct api_request *request,
                            struct api_response *response)
{
    struct ingest_call *call;
    bool good;
    if (!services->manager || !request->resume)
        return answer_refused(503, "Nothing can be pushed yet: the service is starting", response);
    enum err err = call_new(services, request, &call);
    if (err != ERR_OK)
        return err;
    err = body_prepare(call, request, response, &good);
    if (err == ERR_OK && good)
        return push(services, call, request, response);
    budget_give(call);
    call_unref(call);
    return err;
}

static const struct api_parameter headers[] = {
    {.name = "Idempotency-Key",
     .description = "A repeated post with the same key counts once",
     .schema = "{\"type\":\"string\",\"minLength\":1,\"maxLength\":255,"
               "\"pattern\":\"^[ -~]+$\"}",
     .header = true},
    {.name = "X-Hub-Signature-256",
     .description = "sha256= and the HMAC-SHA-256 of the body with the token, in hexadecimal, "
                    "instead of Authorization: Bearer",
     .schema = "{\"type\":\"string\"}",
     .header = true},
    {0},
};

static const unsigned errors[] = {400, 401, 403, 404, 429, 503, 0};

static const struct api_route routes[] = {
    {.method = "POST",
     .path = "/api/ingest/{ingestion_id}",
     .handle = ingest_post,
     .slow = true,
     .body = API_BODY_RAW,
     .body_bytes_max = LIMIT_API_PUSH_BYTES,
     .tag = "ingest",
     .summary = "Stores records: one JSON object, an array, NDJSON, CBOR, SenML or MessagePack, "
                "gzip or not; answers when they are durable",
     .answer = API_ANSWER_DATA,
     .success_status = 202,
     .answer_schema = "{\"type\":\"object\",\"required\":[\"ingestion_id\",\"count\"],"
                      "\"properties\":{\"ingestion_id\":{\"type\":\"string\"},"
                      "\"count\":{\"type\":\"integer\"}}}",
     .body_schema = "{\"application/json\":{\"schema\":{\"oneOf\":[{\"type\":\"object\"},"
                    "{\"type\":\"array\"}]}},"
                    "\"application/x-ndjson\":{\"schema\":{\"type\":\"string\"}},"
                    "\"application/senml+json\":{\"schema\":{\"type\":\"array\",\"items\":"
                    "{\"type\":\"object\"}}},"
                    "\"application/senml+cbor\":{},\"application/cbor\":{},"
                    "\"application/msgpack\":{}}",
     .parameters = headers,
     .error_statuses = errors},
};

const struct api_route_group ingest_routes = {routes, sizeof(routes) / sizeof(routes[0])};
