#include "api/api.h"

#include "api/cors.h"
#include "api/dispatch.h"
#include "api/envelope.h"
#include "api/listener.h"
#include "api/request_log.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "os/thread.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * libmicrohttpd's two epoll threads call, for each connection: on_connection (opened), then for
 * each request on_target (the request line), on_access (headers; the body's pieces; its end),
 * on_completed (answer sent or given up), and at last on_connection (closed). One connection stays
 * on one thread.
 *
 * libmicrohttpd's own timeout is about silence. Who trickles a byte now and then is caught by the
 * sweeper: it shuts down the socket of a connection that has not brought a whole request within
 * request_timeout_ms of its last one. The lock makes that safe: a connection leaves the list before
 * its socket is closed.
 */

#define API_THREADS             2
#define CONNECTION_MEMORY_BYTES (64 * KIB)
#define DISCARD_BYTES_MAX       (64 * MIB) /* of a body nobody wants, before the connection is cut */
#define INLINE_ANSWER_BYTES     (1 * MIB)  /* up to here an answer goes out with its length */
#define STREAM_PIECE_BYTES      (64 * KIB)
#define ANSWER_TIMEOUT_FACTOR   10 /* how much longer than a request an answer may take */
#define STOP_WAIT_NS            (2 * NS_PER_S)
#define SWEEP_NS                (NS_PER_S / 4)
#define TIMEOUT_MS_DEFAULT      60000

struct connection {
    struct connection *next;
    struct connection *previous;
    int socket;
    int64_t deadline_ns;
};

struct api {
    struct api_services services;
    const struct clock *clock;
    struct cors cors;
    struct MHD_Daemon *daemon;
    int listen_socket;
    uint16_t port;
    int64_t timeout_ns;

    struct mutex lock; /* all below */
    struct condition changed;
    struct connection *connections;
    size_t connection_count;
    size_t request_count; /* being served */
    bool stopping;
    struct thread sweeper;
};

/* One request on its way; made by on_target, freed by on_completed. */
struct exchange {
    struct api *api;
    struct connection *connection;
    struct api_request request;
    struct api_response response;
    struct buf body;
    char *method;
    char *target;
    int64_t begin_ns;
    size_t discarded_bytes;
    bool routed;
    bool too_large;
    bool answered;
    bool no_memory;
    /* A streamed answer: what of it is not yet sent. */
    struct buf piece;
    size_t piece_sent;
    bool stream_done;
};

/* ---- connections and their deadlines ---- */

static struct connection *connection_of(struct MHD_Connection *handle)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void connection_deadline(struct api *api, struct connection *connection, int64_t factor)
{
    if (!connection)
        return;
    mutex_lock(&api->lock);
    connection->deadline_ns = clock_monotonic_ns(api->clock) + api->timeout_ns * factor;
    mutex_unlock(&api->lock);
}

static void connection_open(struct api *api, struct MHD_Connection *handle, void **socket_context)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct connection *connection = mem_zalloc(1, sizeof(*connection));
    if (!connection)
        return; /* served all the same, without a deadline */
    connection->socket = info ? info->connect_fd : -1;
    mutex_lock(&api->lock);
    connection->deadline_ns = clock_monotonic_ns(api->clock) + api->timeout_ns;
    connection->next = api->connections;
    if (api->connections)
        api->connections->previous = connection;
    api->connections = connection;
    api->connection_count++;
    mutex_unlock(&api->lock);
    *socket_context = connection;
}

static void connection_close(struct api *api, struct connection *connection)
{
    if (!connection)
        return;
    mutex_lock(&api->lock);
    *(connection->previous ? &connection->previous->next : &api->connections) = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    api->connection_count--;
    mutex_unlock(&api->lock);
    mem_free(connection);
}

static void on_connection(void *ctx, struct MHD_Connection *handle, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_open(ctx, handle, socket_context);
    } else {
        connection_close(ctx, *socket_context);
        *socket_context = NULL;
    }
}

static void sweep(struct api *api, int64_t now_ns)
{
    /* When nearly full, the slow have less time. */
    int64_t hurry_ns =
        api->connection_count > LIMIT_API_CONNECTIONS * 3 / 4 ? api->timeout_ns * 3 / 4 : 0;
    for (struct connection *connection = api->connections; connection;
         connection = connection->next)
        if (connection->socket >= 0 && connection->deadline_ns - hurry_ns <= now_ns)
            shutdown(connection->socket, SHUT_RDWR);
}

static void sweeper_run(void *ctx)
{
    struct api *api = ctx;
    mutex_lock(&api->lock);
    while (!api->stopping) {
        if (api->connection_count == 0)
            condition_wait_for(&api->changed, &api->lock, NS_PER_S);
        else
            condition_wait_for(&api->changed, &api->lock, SWEEP_NS);
        sweep(api, clock_monotonic_ns(api->clock));
    }
    mutex_unlock(&api->lock);
}

/* ---- one request ---- */

static void exchange_free(struct exchange *exchange)
{
    api_request_fini(&exchange->request);
    api_response_fini(&exchange->response);
    buf_fini(&exchange->body);
    buf_fini(&exchange->piece);
    mem_free(exchange->method);
    mem_free(exchange->target);
    mem_free(exchange);
}

static void *on_target(void *ctx, const char *target, struct MHD_Connection *handle)
{
    struct api *api = ctx;
    (void)handle;
    struct exchange *exchange = mem_zalloc(1, sizeof(*exchange));
    if (!exchange)
        return NULL;
    exchange->api = api;
    exchange->begin_ns = clock_monotonic_ns(api->clock);
    exchange->target = mem_strdup(target);
    buf_init(&exchange->body, LIMIT_API_BODY_BYTES);
    buf_init(&exchange->piece, LIMIT_API_ANSWER_BYTES);
    api_request_init(&exchange->request, "", exchange->target);
    api_response_init(&exchange->response);
    if (!exchange->target) {
        exchange_free(exchange);
        return NULL;
    }
    mutex_lock(&api->lock);
    api->request_count++;
    mutex_unlock(&api->lock);
    return exchange;
}

static void on_completed(void *ctx, struct MHD_Connection *handle, void **request_context,
                         enum MHD_RequestTerminationCode code)
{
    struct api *api = ctx;
    struct exchange *exchange = *request_context;
    *request_context = NULL;
    connection_deadline(api, connection_of(handle), 1);
    if (!exchange)
        return;
    request_log(&exchange->request, exchange->answered ? exchange->response.status : 0,
                clock_monotonic_ns(api->clock) - exchange->begin_ns,
                code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    exchange_free(exchange);
    mutex_lock(&api->lock);
    api->request_count--;
    condition_broadcast(&api->changed);
    mutex_unlock(&api->lock);
}

static const char *header(struct MHD_Connection *handle, const char *name)
{
    return MHD_lookup_connection_value(handle, MHD_HEADER_KIND, name);
}

/* ---- answers ---- */

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

static ssize_t on_read(void *ctx, uint64_t position, char *out, size_t size_max)
{
    struct exchange *exchange = ctx;
    (void)position;
    if (exchange->piece_sent == exchange->piece.size) {
        if (exchange->stream_done)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (piece_next(exchange) != ERR_OK)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        if (exchange->piece.size == 0)
            return MHD_CONTENT_READER_END_OF_STREAM;
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
    while (!exchange->stream_done && response->body.size < INLINE_ANSWER_BYTES) {
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
    const char *origin = cors_allow_origin(&exchange->api->cors, header(handle, "Origin"));
    add(answer, "X-Request-ID", exchange->request.id);
    add(answer, "X-Content-Type-Options", "nosniff");
    add(answer, "Content-Type", response->content_type);
    add(answer, "Allow", response->allow);
    add(answer, "Location", response->location);
    if (origin) {
        add(answer, "Access-Control-Allow-Origin", origin);
        add(answer, "Access-Control-Expose-Headers", "X-Request-ID");
    }
    if (!exchange->api->cors.any)
        add(answer, "Vary", "Origin");
}

static enum MHD_Result send_answer(struct exchange *exchange, struct MHD_Connection *handle)
{
    struct MHD_Response *answer = response_make(exchange);
    if (!answer)
        return MHD_NO;
    add_headers(exchange, handle, answer);
    exchange->answered = true;
    connection_deadline(exchange->api, connection_of(handle), ANSWER_TIMEOUT_FACTOR);
    enum MHD_Result result = MHD_queue_response(handle, exchange->response.status, answer);
    MHD_destroy_response(answer);
    return result;
}

static bool is_preflight(struct MHD_Connection *handle, const char *method)
{
    return strcmp(method, "OPTIONS") == 0 && header(handle, "Origin") &&
           header(handle, "Access-Control-Request-Method");
}

static enum MHD_Result send_preflight(struct exchange *exchange, struct MHD_Connection *handle)
{
    struct api_response *response = &exchange->response;
    const char *headers = header(handle, "Access-Control-Request-Headers");
    enum err err = ERR_OK;
    if (!cors_allow_origin(&exchange->api->cors, header(handle, "Origin")))
        err = api_fail(response, 400, "Disallowed CORS origin");
    else if (!cors_method_allowed(header(handle, "Access-Control-Request-Method")))
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

/* ---- requests ---- */

static void take_headers(struct exchange *exchange, struct MHD_Connection *handle,
                         const char *method)
{
    struct api_request *request = &exchange->request;
    exchange->routed = true;
    exchange->method = mem_strdup(method);
    exchange->no_memory = !exchange->method;
    request->method = exchange->method ? exchange->method : "";
    request->content_type = header(handle, "Content-Type");
    request->accept = header(handle, "Accept");
    api_request_set_id(request, header(handle, "X-Request-ID"));
    if (api_request_route(request) != ERR_OK)
        exchange->no_memory = true;
    exchange->body.size_max = api_request_body_max(request);
}

static enum MHD_Result begin(struct exchange *exchange, struct MHD_Connection *handle,
                             const char *method)
{
    take_headers(exchange, handle, method);
    const char *length = header(handle, "Content-Length");
    unsigned long long length_bytes = length ? strtoull(length, NULL, 10) : 0;
    if (length_bytes <= api_request_body_max(&exchange->request))
        return MHD_YES;
    exchange->too_large = true;
    /* Answered now when the client waits for a word before it sends, or would send without end;
     * else its body is read to the end, so that it sees the answer and not a broken pipe. */
    if (!header(handle, "Expect") && length_bytes <= DISCARD_BYTES_MAX)
        return MHD_YES;
    api_dispatch_too_large(&exchange->request, &exchange->response);
    return send_answer(exchange, handle);
}

static enum MHD_Result take_body(struct exchange *exchange, const char *data, size_t size)
{
    bool wanted = exchange->request.route && exchange->request.route->body != API_BODY_NONE;
    exchange->too_large |= size > exchange->body.size_max - exchange->body.size;
    if (wanted && !exchange->too_large) {
        exchange->no_memory |= buf_append(&exchange->body, data, size) != ERR_OK;
        return MHD_YES;
    }
    exchange->discarded_bytes += size;
    exchange->too_large |= exchange->discarded_bytes > exchange->body.size_max;
    return exchange->discarded_bytes > DISCARD_BYTES_MAX ? MHD_NO : MHD_YES;
}

static enum MHD_Result finish(struct exchange *exchange, struct MHD_Connection *handle)
{
    struct api_request *request = &exchange->request;
    struct api_response *response = &exchange->response;
    if (is_preflight(handle, request->method))
        return send_preflight(exchange, handle);
    request->body = buf_bytes(&exchange->body);
    if (exchange->too_large)
        api_dispatch_too_large(request, response);
    else if (exchange->no_memory)
        api_dispatch_no_memory(response);
    else
        api_dispatch(&exchange->api->services, request, response);
    return send_answer(exchange, handle);
}

static enum MHD_Result on_access(void *ctx, struct MHD_Connection *handle, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *data_size, void **request_context)
{
    struct exchange *exchange = *request_context;
    (void)ctx, (void)url, (void)version;
    if (!exchange)
        return MHD_NO; /* no memory when it began */
    if (!exchange->routed)
        return begin(exchange, handle, method);
    if (*data_size > 0) {
        enum MHD_Result result = take_body(exchange, data, *data_size);
        *data_size = 0;
        return result;
    }
    return exchange->answered ? MHD_YES : finish(exchange, handle);
}

static size_t on_unescape(void *ctx, struct MHD_Connection *handle, char *text)
{
    (void)ctx, (void)handle;
    return strlen(text); /* left as it came: query.c does it */
}

static void on_log(void *ctx, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
static void on_log(void *ctx, const char *format, va_list arguments)
{
    char text[512];
    (void)ctx;
    vsnprintf(text, sizeof(text), format, arguments);
    text[strcspn(text, "\r\n")] = '\0';
    log_debug("api", "%s", text);
}

/* ---- start and stop ---- */

static enum err daemon_start(struct api *api, struct diag *diag)
{
    unsigned timeout_s = (unsigned)(api->timeout_ns / NS_PER_S) + 1;
    api->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_access,
        api, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, api->listen_socket,
        MHD_OPTION_THREAD_POOL_SIZE, (unsigned)API_THREADS, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)LIMIT_API_CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, timeout_s,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, api, MHD_OPTION_UNESCAPE_CALLBACK, on_unescape,
        NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, api, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, api, MHD_OPTION_END);
    if (!api->daemon)
        return diag_set(diag, ERR_IO, "the API server does not start: %s", strerror(errno));
    return ERR_OK;
}

static void api_free(struct api *api)
{
    cors_fini(&api->cors);
    condition_fini(&api->changed);
    mutex_fini(&api->lock);
    mem_free(api);
}

static enum err start(struct api *api, const struct api_options *options, struct diag *diag)
{
    enum err err = cors_init(&api->cors, options->cors_origins);
    if (err == ERR_OK)
        err = listener_open(options->host, options->port, &api->listen_socket, &api->port, diag);
    if (err != ERR_OK)
        return err;
    err = thread_start(&api->sweeper, "api-sweeper", sweeper_run, api);
    if (err == ERR_OK)
        err = daemon_start(api, diag);
    return err;
}

static void sweeper_stop(struct api *api)
{
    mutex_lock(&api->lock);
    api->stopping = true;
    condition_broadcast(&api->changed);
    mutex_unlock(&api->lock);
    thread_join(&api->sweeper);
}

enum err api_start(const struct api_options *options, const struct api_services *services,
                   struct api **ret_api, struct diag *diag)
{
    struct api *api = mem_zalloc(1, sizeof(*api));
    if (!api)
        return diag_set(diag, ERR_NO_MEMORY, "the API server does not start: out of memory");
    uint32_t timeout_ms =
        options->request_timeout_ms ? options->request_timeout_ms : TIMEOUT_MS_DEFAULT;
    api->services = *services;
    api->clock = options->clock ? options->clock : &clock_system;
    api->timeout_ns = timeout_ms * NS_PER_MS;
    api->listen_socket = -1;
    mutex_init(&api->lock);
    condition_init(&api->changed);
    enum err err = start(api, options, diag);
    if (err != ERR_OK) {
        sweeper_stop(api);
        if (api->listen_socket >= 0)
            close(api->listen_socket);
        api_free(api);
        return diag_set(diag, err, "the API server does not start: %s", err_text(err));
    }
    log_info("api", "listening on http://%s%s%s:%u", strchr(options->host, ':') ? "[" : "",
             options->host, strchr(options->host, ':') ? "]" : "", api->port);
    *ret_api = api;
    return ERR_OK;
}

/* Gives the requests being served a moment to end. */
static void drain(struct api *api)
{
    int64_t until_ns = clock_monotonic_ns(&clock_system) + STOP_WAIT_NS;
    mutex_lock(&api->lock);
    while (api->request_count > 0) {
        int64_t left_ns = until_ns - clock_monotonic_ns(&clock_system);
        if (left_ns <= 0)
            break;
        condition_wait_for(&api->changed, &api->lock, left_ns);
    }
    mutex_unlock(&api->lock);
}

void api_stop(struct api *api)
{
    if (!api)
        return;
    MHD_socket listener = MHD_quiesce_daemon(api->daemon);
    if (listener != MHD_INVALID_SOCKET)
        close(listener);
    drain(api);
    sweeper_stop(api);
    MHD_stop_daemon(api->daemon);
    api_free(api);
}

uint16_t api_port(const struct api *api)
{
    return api->port;
}
