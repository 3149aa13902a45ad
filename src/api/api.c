#include "api/api.h"

#include "api/answer.h"
#include "api/exchange.h"
#include "api/listener.h"
#include "api/request_log.h"
#include "api/stream_hub.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/*
 * libmicrohttpd's two epoll threads call, for each connection: on_connection (opened), then for
 * each request on_target (the request line), on_access (headers; the body's pieces; its end),
 * on_completed (answer sent or given up), and at last on_connection (closed). One connection stays
 * on one thread.
 *
 * A slow route's request is handed over at its body's end: the connection is suspended, a worker
 * runs the handler, and exchange_resume lets libmicrohttpd call on_access once more, which sends
 * what was filled. libmicrohttpd does not look at a suspended socket: a client that went away is
 * noticed when its answer is written. While it sleeps no deadline holds (the handler bounds
 * itself).
 */

#define API_THREADS             2
#define CONNECTION_MEMORY_BYTES (64 * KIB)
#define DISCARD_BYTES_MAX       (64 * MIB) /* of a body nobody wants, before the connection is cut */
#define STOP_WAIT_NS            (2 * NS_PER_S)
#define STOP_SEND_NS            NS_PER_S
#define TIMEOUT_MS_DEFAULT      60000

/* ---- connections ---- */

struct connection *exchange_connection(struct MHD_Connection *handle)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void on_connection(void *ctx, struct MHD_Connection *handle, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct api *api = ctx;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CONNECTION_FD);
        *socket_context = connections_open(&api->connections, info ? info->connect_fd : -1);
    } else {
        connections_close(&api->connections, *socket_context);
        *socket_context = NULL;
    }
}

static void on_tick(void *ctx)
{
    struct api *api = ctx;
    stream_hub_tick(api->services.stream);
}

/* ---- one request ---- */

static void exchange_free(struct exchange *exchange)
{
    body_budget_give(&exchange->api->bodies, exchange->body_taken_bytes);
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
    struct exchange *exchange = mem_zalloc(1, sizeof(*exchange));
    if (!exchange)
        return NULL;
    exchange->api = api;
    exchange->handle = handle;
    exchange->begin_ns = clock_monotonic_ns(api->clock);
    exchange->target = mem_strdup(target);
    buf_init(&exchange->body, LIMIT_API_BODY_BYTES);
    buf_init(&exchange->piece, LIMIT_API_ANSWER_BYTES);
    api_request_init(&exchange->request, "", exchange->target);
    exchange->request.body_owner = &exchange->body;
    exchange->request.resume = exchange_resume;
    exchange->request.resume_ctx = exchange;
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
    connections_deadline(&api->connections, exchange_connection(handle), 1);
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

/* ---- sleeping and waking ---- */

void exchange_suspend(struct exchange *exchange, bool listed)
{
    struct api *api = exchange->api;
    mutex_lock(&api->lock);
    api->suspended_count++;
    if (listed) {
        exchange->previous = NULL;
        exchange->next = api->suspended;
        if (api->suspended)
            api->suspended->previous = exchange;
        api->suspended = exchange;
    }
    mutex_unlock(&api->lock);
    MHD_suspend_connection(exchange->handle);
}

/* With the lock. */
static void unlist(struct exchange *exchange)
{
    struct api *api = exchange->api;
    if (exchange->previous)
        exchange->previous->next = exchange->next;
    else if (api->suspended == exchange)
        api->suspended = exchange->next;
    if (exchange->next)
        exchange->next->previous = exchange->previous;
    exchange->next = exchange->previous = NULL;
}

static void wake(struct api *api, struct MHD_Connection *handle)
{
    MHD_resume_connection(handle);
    mutex_lock(&api->lock);
    api->suspended_count--;
    condition_broadcast(&api->changed);
    mutex_unlock(&api->lock);
}

void exchange_resume(void *ctx)
{
    struct exchange *exchange = ctx;
    struct api *api = exchange->api;
    mutex_lock(&api->lock);
    unlist(exchange);
    mutex_unlock(&api->lock);
    connections_deadline(&api->connections, exchange_connection(exchange->handle),
                         ANSWER_TIMEOUT_FACTOR);
    wake(api, exchange->handle);
}

static void on_work(struct work *work)
{
    struct exchange *exchange = (struct exchange *)work;
    if (api_dispatch(&exchange->api->services, &exchange->request, &exchange->response))
        exchange_resume(exchange);
}

static void on_work_refused(struct work *work)
{
    struct exchange *exchange = (struct exchange *)work;
    api_dispatch_busy(&exchange->response, "The service is stopping: try again in a moment");
    exchange_resume(exchange);
}

static enum MHD_Result hand_over(struct exchange *exchange, struct MHD_Connection *handle)
{
    exchange->worked = true;
    connections_deadline(&exchange->api->connections, exchange_connection(handle), 0);
    exchange_suspend(exchange, true);
    enum err err = workers_add(&exchange->api->workers, &exchange->work);
    if (err == ERR_OK)
        return MHD_YES;
    api_dispatch_busy(&exchange->response,
                      err == ERR_STOPPED
                          ? "The service is stopping: try again in a moment"
                          : "Too many requests wait for their answer: try again in a moment");
    exchange_resume(exchange);
    return MHD_YES;
}

/* ---- from headers to the answer ---- */

static void take_remote(struct api_request *request, struct MHD_Connection *handle)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;
    const void *bytes = NULL;
    if (address && address->sa_family == AF_INET)
        bytes = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    else if (address && address->sa_family == AF_INET6)
        bytes = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    if (!bytes || !inet_ntop(address->sa_family, bytes, request->remote, sizeof(request->remote)))
        request->remote[0] = '\0';
}

static void take_headers(struct exchange *exchange, struct MHD_Connection *handle,
                         const char *method)
{
    struct api_request *request = &exchange->request;
    exchange->routed = true;
    exchange->method = mem_strdup(method);
    exchange->no_memory = !exchange->method;
    request->method = exchange->method ? exchange->method : "";
    request->content_type = answer_header(handle, "Content-Type");
    request->accept = answer_header(handle, "Accept");
    request->content_encoding = answer_header(handle, "Content-Encoding");
    request->authorization = answer_header(handle, "Authorization");
    request->signature = answer_header(handle, "X-Hub-Signature-256");
    if (!request->signature)
        request->signature = answer_header(handle, "X-Signature-256");
    request->idempotency_key = answer_header(handle, "Idempotency-Key");
    take_remote(request, handle);
    api_request_set_id(request, answer_header(handle, "X-Request-ID"));
    if (api_request_route(request) != ERR_OK)
        exchange->no_memory = true;
    exchange->body.size_max = api_request_body_max(request);
}

static enum MHD_Result begin(struct exchange *exchange, struct MHD_Connection *handle,
                             const char *method)
{
    take_headers(exchange, handle, method);
    const char *length = answer_header(handle, "Content-Length");
    unsigned long long length_bytes = length ? strtoull(length, NULL, 10) : 0;
    if (length_bytes <= api_request_body_max(&exchange->request))
        return MHD_YES;
    exchange->too_large = true;
    /* Answered now when the client waits for a word before it sends, or would send without end;
     * else its body is read to the end, so that it sees the answer and not a broken pipe. */
    if (!answer_header(handle, "Expect") && length_bytes <= DISCARD_BYTES_MAX)
        return MHD_YES;
    api_dispatch_too_large(&exchange->request, &exchange->response);
    return answer_send(exchange, handle);
}

/* False: too many bodies are in memory as it is. */
static bool body_may_grow(struct exchange *exchange, size_t size)
{
    if (exchange->crowded || !body_budget_take(&exchange->api->bodies, size)) {
        exchange->crowded = true;
        return false;
    }
    exchange->body_taken_bytes += size;
    return true;
}

static enum MHD_Result take_body(struct exchange *exchange, const char *data, size_t size)
{
    bool wanted = exchange->request.route && exchange->request.route->body != API_BODY_NONE;
    exchange->too_large |= size > exchange->body.size_max - exchange->body.size;
    if (wanted && !exchange->too_large && body_may_grow(exchange, size)) {
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
    if (answer_is_preflight(handle, request->method))
        return answer_preflight(exchange, handle);
    request->body = buf_bytes(&exchange->body);
    if (exchange->too_large)
        api_dispatch_too_large(request, response);
    else if (exchange->crowded)
        api_dispatch_busy(response, "Too many bodies are on their way in: try again in a moment");
    else if (exchange->no_memory)
        api_dispatch_no_memory(response);
    else if (request->route && request->route->slow)
        return hand_over(exchange, handle);
    else
        api_dispatch(&exchange->api->services, request, response);
    return answer_send(exchange, handle);
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
    if (exchange->answered)
        return MHD_YES;
    return exchange->worked ? answer_send(exchange, handle) : finish(exchange, handle);
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
    unsigned timeout_s = (unsigned)(api->connections.timeout_ns / NS_PER_S) + 1;
    api->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        on_access, api, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET,
        api->listen_socket, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)API_THREADS,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)LIMIT_API_CONNECTIONS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, timeout_s, MHD_OPTION_URI_LOG_CALLBACK, on_target, api,
        MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        api, MHD_OPTION_NOTIFY_CONNECTION, on_connection, api, MHD_OPTION_END);
    if (!api->daemon)
        return diag_set(diag, ERR_IO, "the API server does not start: %s", err_errno_text(errno));
    return ERR_OK;
}

static void api_free(struct api *api)
{
    stream_hub_free(api->services.stream);
    cors_fini(&api->cors);
    workers_fini(&api->workers);
    connections_fini(&api->connections);
    condition_fini(&api->changed);
    mutex_fini(&api->lock);
    mem_free(api);
}

static void api_init(struct api *api, const struct api_options *options,
                     const struct api_services *services)
{
    uint32_t timeout_ms =
        options->request_timeout_ms ? options->request_timeout_ms : TIMEOUT_MS_DEFAULT;
    api->services = *services;
    api->services.stream = NULL;
    api->services.bodies = &api->bodies;
    api->bodies.max_bytes = LIMIT_API_BODIES_BYTES;
    api->clock = options->clock ? options->clock : &clock_system;
    api->listen_socket = -1;
    connections_init(&api->connections, api->clock, timeout_ms * NS_PER_MS, on_tick, api);
    workers_init(&api->workers, on_work, on_work_refused);
    mutex_init(&api->lock);
    condition_init(&api->changed);
}

static enum err start(struct api *api, const struct api_options *options, struct diag *diag)
{
    enum err err = cors_init(&api->cors, options->cors_origins);
    if (err == ERR_OK)
        err = listener_open(options->host, options->port, &api->listen_socket, &api->port, diag);
    if (err == ERR_OK)
        err = stream_hub_new(api->services.recent, api->clock, &api->services.stream);
    if (err == ERR_OK)
        err = workers_start(&api->workers);
    if (err == ERR_OK)
        err = connections_start(&api->connections);
    if (err == ERR_OK)
        err = daemon_start(api, diag);
    return err;
}

enum err api_start(const struct api_options *options, const struct api_services *services,
                   struct api **ret_api, struct diag *diag)
{
    struct api *api = mem_zalloc(1, sizeof(*api));
    if (!api)
        return diag_set(diag, ERR_NO_MEMORY, "the API server does not start: out of memory");
    api_init(api, options, services);
    enum err err = start(api, options, diag);
    if (err != ERR_OK) {
        connections_stop(&api->connections);
        workers_stop(&api->workers);
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
static void drain(struct api *api, int64_t wait_ns)
{
    int64_t until_ns = clock_monotonic_ns(&clock_system) + wait_ns;
    mutex_lock(&api->lock);
    while (api->request_count > 0) {
        int64_t left_ns = until_ns - clock_monotonic_ns(&clock_system);
        if (left_ns <= 0)
            break;
        condition_wait_for(&api->changed, &api->lock, left_ns);
    }
    mutex_unlock(&api->lock);
}

/* Requests that were given away are answered by us, unless somebody is about to. The workers have
 * ended: none is in their hands. Returns when no connection sleeps any more. */
static void cancel_suspended(struct api *api)
{
    mutex_lock(&api->lock);
    for (struct exchange *exchange = api->suspended, *next; exchange; exchange = next) {
        next = exchange->next;
        const struct api_deferral *deferral = &exchange->request.deferral;
        if (!deferral->cancel || !deferral->cancel(deferral->ctx))
            continue;
        unlist(exchange);
        mutex_unlock(&api->lock);
        wake(api, exchange->handle);
        mutex_lock(&api->lock);
        next = api->suspended; /* from the beginning: it may have changed */
    }
    while (api->suspended_count > 0)
        condition_wait(&api->changed, &api->lock);
    mutex_unlock(&api->lock);
}

void api_stop(struct api *api)
{
    if (!api)
        return;
    MHD_socket listener = MHD_quiesce_daemon(api->daemon);
    if (listener != MHD_INVALID_SOCKET)
        close(listener);
    stream_hub_stop(api->services.stream);
    drain(api, STOP_WAIT_NS);
    workers_stop(&api->workers);
    cancel_suspended(api);
    drain(api, STOP_SEND_NS);
    connections_stop(&api->connections);
    MHD_stop_daemon(api->daemon);
    api_free(api);
}

uint16_t api_port(const struct api *api)
{
    return api->port;
}
