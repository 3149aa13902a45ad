#include "api/answer.h"

#include "api/envelope.h"
#include "base/limits.h"

#define INLINE_ANSWER_BYTES (1 * MIB) /* up to here an answer goes out with its length */
#define STREAM_PIECE_BYTES  (64 * KIB)

const char *answer_header(struct MHD_Connection *handle, const char *name)
{
    return MHD_lookup_connection_value(handle, MHD_HEADER_KIND, name);
}

/* Fills exchange->piece with the next of the stream. */
static enum err piece_next(struct exchange *exchange)
{
    buf_clear(&exchange->piece);
    exchange->piece_sent = 0;
    while (exchange->piece.size == 0 && !exchange->stream_done) {
        enum err err = exchange->response.next(exchange->response.stream, &exchange->piece,
                                               &exchange->stream_done);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

/* Sleeps until the stream has something. First the connection, then the promise to wake it: so the
 * waking never comes before the sleep. */
static ssize_t stream_wait(struct exchange *exchange)
{
    connections_deadline(&exchange->api->connections, exchange_connection(exchange->handle), 0);
    exchange_suspend(exchange, false);
    exchange->response.wait(exchange->response.stream, exchange_resume, exchange);
    return 0;
}

static ssize_t on_read(void *ctx, uint64_t position, char *out, size_t size_max)
{
    struct exchange *exchange = ctx;
    (void)position;
    if (exchange->piece_sent == exchange->piece.size) {
        if (exchange->stream_done)
            return MHD_CONTENT_READER_END_OF_STREAM;
        enum err err = piece_next(exchange);
        if (err == ERR_AGAIN && exchange->response.wait)
            return stream_wait(exchange);
        if (err != ERR_OK)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        if (exchange->piece.size == 0)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (exchange->response.wait)
            connections_deadline(&exchange->api->connections, exchange_connection(exchange->handle),
                                 ANSWER_TIMEOUT_FACTOR);
    }
    size_t size = exchange->piece.size - exchange->piece_sent;
    if (size > size_max)
        size = size_max;
    memcpy(out, exchange->piece.data + exchange->piece_sent, size);
    exchange->piece_sent += size;
    return (ssize_t)size;
}

/* Small answers go out whole, with their length; only large ones are chunked. */
static enum err stream_gather(struct exchange *exchange)
{
    struct api_response *response = &exchange->response;
    while (!response->wait && !exchange->stream_done && response->body.size < INLINE_ANSWER_BYTES) {
        enum err err = response->next(response->stream, &response->body, &exchange->stream_done);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static struct MHD_Response *response_make(struct exchange *exchange)
{
    struct api_response *response = &exchange->response;
    if (response->next && stream_gather(exchange) != ERR_OK &&
        api_fail(response, 503, "The service is out of memory: try again later") != ERR_OK) {
        api_response_reset(response);
        response->status = 503;
    }
    if (response->next && !exchange->stream_done) {
        /* What was gathered becomes the first piece. */
        struct buf gathered = response->body;
        response->body = exchange->piece;
        exchange->piece = gathered;
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_PIECE_BYTES, on_read,
                                                 exchange, NULL);
    }
    /* The body outlives the answer: it is freed in on_completed. */
    return MHD_create_response_from_buffer(response->body.size, response->body.data,
                                           MHD_RESPMEM_PERSISTENT);
}

static void add(struct MHD_Response *answer, const char *name, const char *value)
{
    /* Without memory a header is missing; the answer goes out. */
    enum MHD_Result result =
        value && value[0] ? MHD_add_response_header(answer, name, value) : MHD_YES;
    (void)result;
}

static void add_headers(const struct exchange *exchange, struct MHD_Connection *handle,
                        struct MHD_Response *answer)
{
    const struct api_response *response = &exchange->response;
    const char *origin = cors_allow_origin(&exchange->api->cors, answer_header(handle, "Origin"));
    add(answer, "X-Request-ID", exchange->request.id);
    add(answer, "X-Content-Type-Options", "nosniff");
    add(answer, "Content-Type", response->content_type);
    add(answer, "Allow", response->allow);
    add(answer, "Location", response->location);
    for (size_t i = 0; i < response->header_count; i++)
        add(answer, response->headers[i].name, response->headers[i].value);
    if (origin) {
        add(answer, "Access-Control-Allow-Origin", origin);
        add(answer, "Access-Control-Expose-Headers", "X-Request-ID");
    }
    if (!exchange->api->cors.any)
        add(answer, "Vary", "Origin");
}

enum MHD_Result answer_send(struct exchange *exchange, struct MHD_Connection *handle)
{
    struct MHD_Response *answer = response_make(exchange);
    if (!answer)
        return MHD_NO;
    add_headers(exchange, handle, answer);
    exchange->answered = true;
    connections_deadline(&exchange->api->connections, exchange_connection(handle),
                         ANSWER_TIMEOUT_FACTOR);
    enum MHD_Result result = MHD_queue_response(handle, exchange->response.status, answer);
    MHD_destroy_response(answer);
    return result;
}

bool answer_is_preflight(struct MHD_Connection *handle, const char *method)
{
    return strcmp(method, "OPTIONS") == 0 && answer_header(handle, "Origin") &&
           answer_header(handle, "Access-Control-Request-Method");
}

enum MHD_Result answer_preflight(struct exchange *exchange, struct MHD_Connection *handle)
{
    struct api_response *response = &exchange->response;
    const char *headers = answer_header(handle, "Access-Control-Request-Headers");
    enum err err = ERR_OK;
    if (!cors_allow_origin(&exchange->api->cors, answer_header(handle, "Origin")))
        err = api_fail(response, 400, "Disallowed CORS origin");
    else if (!cors_method_allowed(answer_header(handle, "Access-Control-Request-Method")))
        err = api_fail(response, 400, "Disallowed CORS method: allowed are " CORS_METHODS);
    else if (headers && !cors_headers_valid(headers))
        err = api_fail(response, 400, "Disallowed CORS headers");
    else
        response->content_type = NULL;
    if (err != ERR_OK)
        return MHD_NO;
    struct MHD_Response *answer = response_make(exchange);
    if (!answer)
        return MHD_NO;
    add_headers(exchange, handle, answer);
    if (response->status == 200) {
        add(answer, "Access-Control-Allow-Methods", CORS_METHODS);
        add(answer, "Access-Control-Allow-Headers", headers);
        add(answer, "Access-Control-Max-Age", "600");
    }
    exchange->answered = true;
    enum MHD_Result result = MHD_queue_response(handle, response->status, answer);
    MHD_destroy_response(answer);
    return result;
}
