#include "connectors/rest/rest_engine.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "os/thread.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define IDLE_CONNECTIONS_MAX 256
#define SPARE_HANDLES_MAX    32
#define REDIRECT_FIRST       300
#define REDIRECT_LAST        399

struct rest_engine {
    struct rest_engine *next;
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;
    uint32_t holders;
    struct rest_starts starts;
    size_t body_bytes;               /* in memory, of transfers and of polls that took them */
    struct rest_transfer *paused;    /* waiting for memory */
    struct rest_transfer *favourite; /* goes on beyond the limit */
    CURL *spare[SPARE_HANDLES_MAX];
    uint32_t spare_count;
};

/* Which loop has which engine; engines themselves are their loop's. */
static struct rest_engine *engines;
static pthread_mutex_t engines_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_set_up(void)
{
    CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
    assert(code == CURLE_OK);
    (void)code;
}

/* --- curl's sockets and timer on libuv -------------------------------------------------------- */

struct socket_watch {
    uv_poll_t poll;
    struct rest_engine *engine;
    curl_socket_t socket;
};

static void finished_collect(struct rest_engine *engine);

static void act(struct rest_engine *engine, curl_socket_t socket, int events)
{
    int running;
    curl_multi_socket_action(engine->multi, socket, events, &running);
    finished_collect(engine);
}

static void on_watch_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

static void on_socket_event(uv_poll_t *poll, int status, int events)
{
    struct socket_watch *watch = poll->data;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    flags |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
    flags |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
    act(watch->engine, watch->socket, flags);
}

static struct socket_watch *watch_new(struct rest_engine *engine, curl_socket_t socket)
{
    struct socket_watch *watch = mem_zalloc(1, sizeof(*watch));
    if (!watch)
        return NULL;
    watch->engine = engine;
    watch->socket = socket;
    if (uv_poll_init_socket(engine->loop, &watch->poll, socket) != 0) {
        mem_free(watch);
        return NULL;
    }
    watch->poll.data = watch;
    curl_multi_assign(engine->multi, socket, watch);
    return watch;
}

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *ctx, void *socket_ctx)
{
    struct rest_engine *engine = ctx;
    struct socket_watch *watch = socket_ctx;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (watch) {
            uv_poll_stop(&watch->poll);
            uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
            curl_multi_assign(engine->multi, socket, NULL);
        }
        return 0;
    }
    if (!watch)
        watch = watch_new(engine, socket);
    if (!watch)
        return -1;
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&watch->poll, events, on_socket_event) == 0 ? 0 : -1;
}

static void on_timeout(uv_timer_t *timer)
{
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    struct rest_engine *engine = ctx;
    (void)multi;
    if (timeout_ms < 0)
        uv_timer_stop(&engine->timer);
    else
        uv_timer_start(&engine->timer, on_timeout, (uint64_t)timeout_ms, 0);
    return 0;
}

/* --- life ------------------------------------------------------------------------------------- */

static enum err engine_new(uv_loop_t *loop, struct rest_engine **ret_engine)
{
    pthread_once(&curl_once, curl_set_up);
    struct rest_engine *engine = mem_zalloc(1, sizeof(*engine));
    if (!engine)
        return ERR_NO_MEMORY;
    engine->loop = loop;
    engine->multi = curl_multi_init();
    if (!engine->multi) {
        mem_free(engine);
        return ERR_NO_MEMORY;
    }
    uv_timer_init(loop, &engine->timer);
    engine->timer.data = engine;
    curl_multi_setopt(engine->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(engine->multi, CURLMOPT_SOCKETDATA, engine);
    curl_multi_setopt(engine->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(engine->multi, CURLMOPT_TIMERDATA, engine);
    curl_multi_setopt(engine->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS_MAX);
    curl_multi_setopt(engine->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                      (long)REST_HOST_CONNECTIONS_MAX);
    *ret_engine = engine;
    return ERR_OK;
}

enum err rest_engine_get(uv_loop_t *loop, struct rest_engine **ret_engine)
{
    pthread_mutex_lock(&engines_lock);
    struct rest_engine *engine = engines;
    while (engine && engine->loop != loop)
        engine = engine->next;
    enum err err = engine ? ERR_OK : engine_new(loop, &engine);
    if (err == ERR_OK && engine->holders++ == 0) {
        engine->next = engines;
        engines = engine;
    }
    pthread_mutex_unlock(&engines_lock);
    *ret_engine = engine;
    return err;
}

static void on_engine_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

void rest_engine_put(struct rest_engine *engine)
{
    if (!engine)
        return;
    pthread_mutex_lock(&engines_lock);
    bool last = --engine->holders == 0;
    if (last) {
        struct rest_engine **at = &engines;
        while (*at != engine)
            at = &(*at)->next;
        *at = engine->next;
    }
    pthread_mutex_unlock(&engines_lock);
    if (!last)
        return;
    while (engine->spare_count > 0)
        curl_easy_cleanup(engine->spare[--engine->spare_count]);
    curl_multi_cleanup(engine->multi);
    uv_close((uv_handle_t *)&engine->timer, on_engine_closed);
}

bool rest_engine_start_at_once(struct rest_engine *engine, int64_t now_ns)
{
    return rest_starts_take(&engine->starts, now_ns);
}

/* --- memory ----------------------------------------------------------------------------------- */

static void paused_remove(struct rest_engine *engine, struct rest_transfer *transfer)
{
    struct rest_transfer **at = &engine->paused;
    while (*at && *at != transfer)
        at = &(*at)->next;
    if (*at)
        *at = transfer->next;
    transfer->paused = false;
}

void rest_engine_release(struct rest_engine *engine, size_t bytes)
{
    engine->body_bytes -= bytes;
    while (engine->paused && engine->body_bytes < REST_ENGINE_BODY_BYTES_MAX) {
        struct rest_transfer *transfer = engine->paused;
        paused_remove(engine, transfer);
        curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
        if (transfer->paused)
            break; /* it filled the memory again */
    }
}

static void body_drop(struct rest_transfer *transfer)
{
    size_t counted = transfer->counted_bytes;
    transfer->counted_bytes = 0;
    if (transfer->engine->favourite == transfer)
        transfer->engine->favourite = NULL;
    buf_fini(&transfer->body);
    buf_init(&transfer->body, 0);
    rest_engine_release(transfer->engine, counted);
}

void rest_transfer_take_body(struct rest_transfer *transfer, struct buf *ret_body)
{
    if (transfer->engine->favourite == transfer)
        transfer->engine->favourite = NULL;
    *ret_body = transfer->body;
    buf_init(&transfer->body, 0);
    transfer->counted_bytes = 0; /* the caller's now */
}

/* --- what comes ------------------------------------------------------------------------------- */

static bool must_wait(struct rest_transfer *transfer, size_t bytes)
{
    struct rest_engine *engine = transfer->engine;
    if (engine->body_bytes + bytes <= REST_ENGINE_BODY_BYTES_MAX || engine->favourite == transfer)
        return false;
    if (!engine->favourite) {
        engine->favourite = transfer;
        return false;
    }
    transfer->paused = true;
    transfer->next = engine->paused;
    engine->paused = transfer;
    return true;
}

static size_t on_body(char *data, size_t one, size_t size, void *ctx)
{
    struct rest_transfer *transfer = ctx;
    (void)one;
    if (transfer->body.size + size > transfer->request->response_max_bytes) {
        transfer->too_large = true;
        return 0;
    }
    if (must_wait(transfer, size))
        return CURL_WRITEFUNC_PAUSE;
    if (buf_append(&transfer->body, data, size) != ERR_OK) {
        transfer->no_memory = true;
        return 0;
    }
    transfer->counted_bytes += size;
    transfer->engine->body_bytes += size;
    return size;
}

static void field_clear(struct rest_transfer *transfer)
{
    buf_clear(&transfer->content_type);
    buf_clear(&transfer->etag);
    buf_clear(&transfer->last_modified);
    buf_clear(&transfer->link);
    buf_clear(&transfer->retry_after);
}

/* Several of one name are joined by commas (Link). A field too long is as if it were not there. */
static void field_keep(struct buf *field, const char *value, size_t size)
{
    while (size > 0 && strchr(" \t\r\n", value[size - 1]))
        size--;
    while (size > 0 && (*value == ' ' || *value == '\t')) {
        value++;
        size--;
    }
    if (field->size > 0)
        buf_text(field, ", ");
    if (buf_append(field, value, size) != ERR_OK)
        field->size = 0;
}

static size_t on_header(char *line, size_t one, size_t size, void *ctx)
{
    struct rest_transfer *transfer = ctx;
    const struct {
        const char *name;
        struct buf *field;
    } fields[] = {
        {"content-type:", &transfer->content_type},   {"etag:", &transfer->etag},
        {"last-modified:", &transfer->last_modified}, {"link:", &transfer->link},
        {"retry-after:", &transfer->retry_after},
    };
    (void)one;
    transfer->header_bytes += size;
    if (transfer->header_bytes > REST_RESPONSE_HEADERS_MAX) {
        transfer->too_large = true;
        return 0;
    }
    if (size > 5 && strncasecmp(line, "HTTP/", 5) == 0)
        field_clear(transfer); /* another answer: after "100 Continue", or a proxy's */
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        size_t name_size = strlen(fields[i].name);
        if (size > name_size && strncasecmp(line, fields[i].name, name_size) == 0)
            field_keep(fields[i].field, line + name_size, size - name_size);
    }
    return size;
}

/* --- the end of a transfer -------------------------------------------------------------------- */

static bool is_final(CURLcode code)
{
    static const CURLcode finals[] = {
        CURLE_UNSUPPORTED_PROTOCOL, CURLE_URL_MALFORMAT,   CURLE_PEER_FAILED_VERIFICATION,
        CURLE_SSL_CACERT_BADFILE,   CURLE_SSL_CERTPROBLEM, CURLE_SSL_ISSUER_ERROR,
        CURLE_FILESIZE_EXCEEDED,    CURLE_SSL_CRL_BADFILE, CURLE_BAD_CONTENT_ENCODING,
        CURLE_SSL_CIPHER,           CURLE_NOT_BUILT_IN,    CURLE_BAD_FUNCTION_ARGUMENT,
    };
    for (size_t i = 0; i < sizeof(finals) / sizeof(finals[0]); i++)
        if (code == finals[i])
            return true;
    return false;
}

static void failure_set(struct rest_transfer *transfer, CURLcode code)
{
    transfer->failure = REST_FAILURE_RETRY;
    if (transfer->too_large || code == CURLE_FILESIZE_EXCEEDED) {
        transfer->failure = REST_FAILURE_FINAL;
        snprintf(transfer->reason, sizeof(transfer->reason),
                 "the response is larger than %zu bytes (max_response_bytes)",
                 transfer->request->response_max_bytes);
    } else if (transfer->no_memory) {
        snprintf(transfer->reason, sizeof(transfer->reason), "out of memory for the response");
    } else if (code == CURLE_OPERATION_TIMEDOUT) {
        snprintf(transfer->reason, sizeof(transfer->reason),
                 "no complete response within the time-out (timeout_seconds)");
    } else {
        if (is_final(code))
            transfer->failure = REST_FAILURE_FINAL;
        const char *text = transfer->error[0] ? transfer->error : curl_easy_strerror(code);
        snprintf(transfer->reason, sizeof(transfer->reason), "%s", text);
    }
}

static void answer_read(struct rest_transfer *transfer)
{
    char *location = NULL;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &transfer->status);
    buf_clear(&transfer->location);
    if (transfer->status < REDIRECT_FIRST || transfer->status > REDIRECT_LAST)
        return;
    curl_easy_getinfo(transfer->easy, CURLINFO_REDIRECT_URL, &location);
    if (location)
        buf_text(&transfer->location, location);
}

static void easy_return(struct rest_transfer *transfer)
{
    struct rest_engine *engine = transfer->engine;
    if (!transfer->easy)
        return;
    if (transfer->paused)
        paused_remove(engine, transfer);
    curl_multi_remove_handle(engine->multi, transfer->easy);
    curl_easy_reset(transfer->easy);
    if (engine->spare_count < SPARE_HANDLES_MAX)
        engine->spare[engine->spare_count++] = transfer->easy;
    else
        curl_easy_cleanup(transfer->easy);
    transfer->easy = NULL;
}

/* A done that ends the last source takes the engine along: it is held meanwhile. */
static void finished_collect(struct rest_engine *engine)
{
    int left;
    engine->holders++;
    for (CURLMsg *message; (message = curl_multi_info_read(engine->multi, &left));) {
        struct rest_transfer *transfer = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        answer_read(transfer);
        if (code != CURLE_OK)
            failure_set(transfer, code);
        easy_return(transfer);
        transfer->done(transfer->ctx);
    }
    rest_engine_put(engine);
}

/* --- starting --------------------------------------------------------------------------------- */

void rest_transfer_init(struct rest_transfer *transfer, struct rest_engine *engine,
                        void (*done)(void *ctx), void *ctx)
{
    *transfer = (struct rest_transfer){.engine = engine, .done = done, .ctx = ctx};
    buf_init(&transfer->body, 0);
    buf_init(&transfer->content_type, REST_FIELD_BYTES_MAX);
    buf_init(&transfer->etag, REST_FIELD_BYTES_MAX);
    buf_init(&transfer->last_modified, REST_FIELD_BYTES_MAX);
    buf_init(&transfer->link, REST_RESPONSE_HEADERS_MAX);
    buf_init(&transfer->retry_after, REST_FIELD_BYTES_MAX);
    buf_init(&transfer->location, REST_RESPONSE_HEADERS_MAX);
}

void rest_transfer_cancel(struct rest_transfer *transfer)
{
    easy_return(transfer);
    body_drop(transfer);
}

void rest_transfer_fini(struct rest_transfer *transfer)
{
    if (!transfer->engine)
        return;
    rest_transfer_cancel(transfer);
    buf_fini(&transfer->content_type);
    buf_fini(&transfer->etag);
    buf_fini(&transfer->last_modified);
    buf_fini(&transfer->link);
    buf_fini(&transfer->retry_after);
    buf_fini(&transfer->location);
    transfer->engine = NULL;
}

static void set_tls(CURL *easy, const struct rest_request *request)
{
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, request->verify ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, request->verify ? 2L : 0L);
    if (request->ca_file)
        curl_easy_setopt(easy, CURLOPT_CAINFO, request->ca_file);
    if (request->cert_file)
        curl_easy_setopt(easy, CURLOPT_SSLCERT, request->cert_file);
    if (request->key_file)
        curl_easy_setopt(easy, CURLOPT_SSLKEY, request->key_file);
}

static void set_request(CURL *easy, const struct rest_request *request)
{
    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)request->response_max_bytes);
    if (request->is_post) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.size);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
                         request->body.data ? (const char *)request->body.data : "");
    }
    if (request->proxy)
        curl_easy_setopt(easy, CURLOPT_PROXY, request->proxy);
}

/* Redirects are followed by who asks: curl would send header lines along to another host. */
static void set_manners(struct rest_transfer *transfer)
{
    CURL *easy = transfer->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, ""); /* all that curl can undo */
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
}

static void answer_clear(struct rest_transfer *transfer)
{
    body_drop(transfer);
    buf_init(&transfer->body, transfer->request->response_max_bytes);
    field_clear(transfer);
    buf_clear(&transfer->location);
    transfer->failure = REST_FAILURE_NONE;
    transfer->reason[0] = transfer->error[0] = '\0';
    transfer->status = 0;
    transfer->header_bytes = 0;
    transfer->too_large = transfer->no_memory = false;
}

enum err rest_transfer_start(struct rest_transfer *transfer, const struct rest_request *request)
{
    struct rest_engine *engine = transfer->engine;
    assert(!transfer->easy);
    transfer->request = request;
    answer_clear(transfer);
    transfer->easy =
        engine->spare_count > 0 ? engine->spare[--engine->spare_count] : curl_easy_init();
    if (!transfer->easy)
        return ERR_NO_MEMORY;
    set_manners(transfer);
    set_request(transfer->easy, request);
    set_tls(transfer->easy, request);
    if (curl_multi_add_handle(engine->multi, transfer->easy) == CURLM_OK)
        return ERR_OK;
    curl_easy_cleanup(transfer->easy);
    transfer->easy = NULL;
    return ERR_NO_MEMORY;
}
