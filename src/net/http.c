#include "net/http.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <assert.h>
#include <ctype.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>

#define LINE_MAX_BYTES (16 * KIB)

struct http_client {
    CURL *curl;
    struct http_client_options options;
    /* of the running request */
    const struct http_request *request;
    struct http_response *response;
    uint64_t sent;
    enum err err; /* of a callback: what really went wrong when curl says "callback failed" */
    char reason[CURL_ERROR_SIZE];
};

static void global_init(void)
{
    CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
    assert(code == CURLE_OK);
}

static size_t on_read(char *buffer, size_t size, size_t count, void *ctx)
{
    struct http_client *client = ctx;
    const struct http_request *request = client->request;
    uint64_t total = request->read_body ? request->body_size_bytes : request->body.size;
    uint64_t left = total - client->sent;
    size_t want = size * count < left ? size * count : (size_t)left;
    if (want == 0)
        return 0;
    if (request->read_body)
        client->err = request->read_body(request->ctx, client->sent, buffer, want);
    else
        memcpy(buffer, request->body.data + client->sent, want);
    if (client->err != ERR_OK)
        return CURL_READFUNC_ABORT;
    client->sent += want;
    return want;
}

/* curl starts the body over when a kept connection turned out dead. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
    struct http_client *client = ctx;
    if (origin != SEEK_SET || offset < 0)
        return CURL_SEEKFUNC_CANTSEEK;
    client->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static size_t on_write(char *data, size_t size, size_t count, void *ctx)
{
    struct http_client *client = ctx;
    long status = 0;
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (client->request->on_body && status / 100 == 2)
        client->err =
            client->request->on_body(client->request->ctx, bytes_from(data, size * count));
    else
        client->err = buf_append(&client->response->body, data, size * count);
    return client->err == ERR_OK ? size * count : 0;
}

static enum err keep_header(struct buf *headers, const char *line, size_t size)
{
    const char *colon = memchr(line, ':', size);
    size_t name_size = (size_t)(colon - line);
    const char *value = colon + 1;
    size_t value_size = size - name_size - 1;
    while (value_size > 0 && isspace((unsigned char)*value)) {
        value++;
        value_size--;
    }
    while (value_size > 0 && isspace((unsigned char)value[value_size - 1]))
        value_size--;
    for (size_t i = 0; i < name_size; i++)
        buf_byte(headers, (uint8_t)tolower((unsigned char)line[i]));
    buf_byte(headers, 0);
    buf_append(headers, value, value_size);
    return buf_byte(headers, 0);
}

static size_t on_header(char *data, size_t size, size_t count, void *ctx)
{
    struct http_client *client = ctx;
    size_t length = size * count;
    if (length >= 5 && memcmp(data, "HTTP/", 5) == 0) { /* after "100 Continue" comes another */
        buf_clear(&client->response->headers);
        return length;
    }
    if (!memchr(data, ':', length) || memchr(data, '\0', length))
        return length;
    if (length > LINE_MAX_BYTES)
        client->err = ERR_TOO_LARGE;
    else
        client->err = keep_header(&client->response->headers, data, length);
    return client->err == ERR_OK ? length : 0;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct http_client *client = ctx;
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return client->options.cancel && atomic_load(client->options.cancel);
}

enum err http_client_new(const struct http_client_options *options, struct http_client **ret_client)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, global_init);
    struct http_client *client = mem_zalloc(1, sizeof(*client));
    if (!client)
        return ERR_NO_MEMORY;
    client->options = *options;
    if (client->options.connect_timeout_ms == 0)
        client->options.connect_timeout_ms = 10000;
    if (client->options.idle_timeout_ms == 0)
        client->options.idle_timeout_ms = 30000;
    client->curl = curl_easy_init();
    if (!client->curl) {
        mem_free(client);
        return ERR_NO_MEMORY;
    }
    *ret_client = client;
    return ERR_OK;
}

void http_client_free(struct http_client *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->curl);
    mem_free(client);
}

void http_response_init(struct http_response *response)
{
    response->status = 0;
    buf_init(&response->body, HTTP_RESPONSE_BODY_MAX_BYTES);
    buf_init(&response->headers, HTTP_RESPONSE_HEADERS_MAX_BYTES);
}

void http_response_fini(struct http_response *response)
{
    buf_fini(&response->body);
    buf_fini(&response->headers);
}

static enum err make_headers(const struct http_request *request, struct curl_slist **ret_list)
{
    struct buf line;
    enum err err = ERR_OK;
    buf_init(&line, LINE_MAX_BYTES);
    for (size_t i = 0; i < request->header_count + 1 && err == ERR_OK; i++) {
        /* The last: curl would wait a second for "100 Continue" from stores that send none. */
        struct http_header header = {"Expect", ""};
        if (i < request->header_count)
            header = request->headers[i];
        buf_clear(&line);
        err = buf_printf(&line, "%s:%s%s", header.name, *header.value ? " " : "", header.value);
        const char *text = err == ERR_OK ? buf_cstr(&line) : NULL;
        struct curl_slist *longer = text ? curl_slist_append(*ret_list, text) : NULL;
        if (longer)
            *ret_list = longer;
        else if (err == ERR_OK)
            err = ERR_NO_MEMORY;
    }
    buf_fini(&line);
    return err;
}

static void set_limits(const struct http_client *client)
{
    CURL *curl = client->curl;
    long idle_s = (long)((client->options.idle_timeout_ms + 999) / 1000);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)client->options.connect_timeout_ms);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, idle_s);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, (long)(256 * KIB));
    curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, (long)(256 * KIB));
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    if (client->options.ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, client->options.ca_file);
    if (client->options.user_agent)
        curl_easy_setopt(curl, CURLOPT_USERAGENT, client->options.user_agent);
}

static void set_callbacks(struct http_client *client)
{
    CURL *curl = client->curl;
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->reason);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, client);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, client);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, client);
}

static void set_request(struct http_client *client, struct curl_slist *headers)
{
    CURL *curl = client->curl;
    const struct http_request *request = client->request;
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (request->has_body) {
        uint64_t size = request->read_body ? request->body_size_bytes : request->body.size;
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)size);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(curl, CURLOPT_READDATA, client);
        curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(curl, CURLOPT_SEEKDATA, client);
    } else if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
}

static enum err translate(const struct http_client *client, CURLcode code)
{
    if (client->err != ERR_OK)
        return client->err;
    switch (code) {
    case CURLE_OK:
        return ERR_OK;
    case CURLE_OUT_OF_MEMORY:
        return ERR_NO_MEMORY;
    case CURLE_ABORTED_BY_CALLBACK:
        return ERR_STOPPED;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        return ERR_CLOSED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        return ERR_REFUSED;
    default:
        return ERR_NETWORK;
    }
}

/* What a person needs of the address: no query, which might hold a signature. */
static int host_length(const char *url)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    return (int)(host - url) + (int)strcspn(host, "/?#");
}

enum err http_perform(struct http_client *client, const struct http_request *request,
                      struct http_response *response, struct diag *diag)
{
    struct curl_slist *headers = NULL;
    client->request = request;
    client->response = response;
    client->sent = 0;
    client->err = ERR_OK;
    client->reason[0] = '\0';
    response->status = 0;
    buf_clear(&response->body);
    buf_clear(&response->headers);
    enum err err = make_headers(request, &headers);
    CURLcode code = CURLE_OUT_OF_MEMORY;
    if (err == ERR_OK) {
        curl_easy_reset(client->curl); /* options only: the connection stays */
        set_limits(client);
        set_callbacks(client);
        set_request(client, headers);
        code = curl_easy_perform(client->curl);
        err = translate(client, code);
        curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &response->status);
    }
    curl_slist_free_all(headers);
    client->request = NULL;
    client->response = NULL;
    if (err == ERR_OK)
        return ERR_OK;
    const char *reason = client->err != ERR_OK ? err_text(client->err)
                         : client->reason[0]   ? client->reason
                                               : curl_easy_strerror(code);
    return diag_set(diag, err, "%s to %.*s: %s", request->method, host_length(request->url),
                    request->url, reason);
}

const char *http_response_header(const struct http_response *response, const char *name)
{
    const char *at = (const char *)response->headers.data;
    const char *end = at + response->headers.size;
    if (response->headers.size == 0)
        return NULL;
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        if (strcmp(at, name) == 0)
            return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

int64_t http_date(const char *text)
{
    return curl_getdate(text, NULL);
}
