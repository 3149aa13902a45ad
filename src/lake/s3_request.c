#include "lake/s3_request.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "codec/sigv4.h"
#include "os/thread.h"
#include "version.h"

#include <stdio.h>
#include <stdlib.h>

#define URL_MAX_BYTES (8 * KIB)
#define MESSAGE_SIZE  200
#define CLOCK_SKEW_S  300

struct s3 {
    char *scheme;
    char *host; /* with the bucket before it, if it is to be */
    char *bucket;
    char *access_key;
    char *secret_key;
    char *region;
    char *ca_file;
    bool virtual_host;
    uint32_t connect_timeout_ms;
    uint32_t idle_timeout_ms;
    const struct clock *clock;
    _Atomic bool cancelled;
    struct mutex lock;
    struct http_client *idle[S3_CLIENTS_MAX]; /* under lock */
    size_t idle_count;
};

static char *virtual_host_of(const struct store_s3_options *options)
{
    struct buf host;
    buf_init(&host, KIB);
    if (options->virtual_host)
        buf_printf(&host, "%s.", options->bucket);
    buf_text(&host, options->host);
    const char *text = host.err == ERR_OK ? buf_cstr(&host) : NULL;
    char *copy = text ? mem_strdup(text) : NULL;
    buf_fini(&host);
    return copy;
}

enum err s3_new(const struct store_s3_options *options, struct s3 **ret_s3)
{
    struct s3 *s3 = mem_zalloc(1, sizeof(*s3));
    if (!s3)
        return ERR_NO_MEMORY;
    mutex_init(&s3->lock);
    s3->scheme = mem_strdup(options->scheme);
    s3->host = virtual_host_of(options);
    s3->bucket = mem_strdup(options->bucket);
    s3->access_key = mem_strdup(options->access_key);
    s3->secret_key = mem_strdup(options->secret_key);
    s3->region = mem_strdup(options->region);
    s3->ca_file = options->ca_file ? mem_strdup(options->ca_file) : NULL;
    s3->virtual_host = options->virtual_host;
    s3->connect_timeout_ms = options->connect_timeout_ms;
    s3->idle_timeout_ms = options->idle_timeout_ms;
    s3->clock = options->clock;
    if (!s3->scheme || !s3->host || !s3->bucket || !s3->access_key || !s3->secret_key ||
        !s3->region || (options->ca_file && !s3->ca_file)) {
        s3_free(s3);
        return ERR_NO_MEMORY;
    }
    *ret_s3 = s3;
    return ERR_OK;
}

void s3_free(struct s3 *s3)
{
    if (!s3)
        return;
    for (size_t i = 0; i < s3->idle_count; i++)
        http_client_free(s3->idle[i]);
    if (s3->secret_key)
        explicit_bzero(s3->secret_key, strlen(s3->secret_key));
    mem_free(s3->scheme);
    mem_free(s3->host);
    mem_free(s3->bucket);
    mem_free(s3->access_key);
    mem_free(s3->secret_key);
    mem_free(s3->region);
    mem_free(s3->ca_file);
    mutex_fini(&s3->lock);
    mem_free(s3);
}

void s3_cancel(struct s3 *s3)
{
    atomic_store(&s3->cancelled, true);
}

static enum err client_get(struct s3 *s3, struct http_client **ret_client)
{
    struct http_client_options options = {
        .connect_timeout_ms = s3->connect_timeout_ms,
        .idle_timeout_ms = s3->idle_timeout_ms,
        .ca_file = s3->ca_file,
        .user_agent = "ingestor/" INGESTOR_VERSION,
        .cancel = &s3->cancelled,
    };
    *ret_client = NULL;
    mutex_lock(&s3->lock);
    if (s3->idle_count > 0)
        *ret_client = s3->idle[--s3->idle_count];
    mutex_unlock(&s3->lock);
    return *ret_client ? ERR_OK : http_client_new(&options, ret_client);
}

static void client_put(struct s3 *s3, struct http_client *client)
{
    mutex_lock(&s3->lock);
    if (s3->idle_count < S3_CLIENTS_MAX) {
        s3->idle[s3->idle_count++] = client;
        client = NULL;
    }
    mutex_unlock(&s3->lock);
    http_client_free(client);
}

void s3_call_header(struct s3_call *call, const char *name, const char *value)
{
    if (call->header_count < S3_CALL_HEADERS_MAX)
        call->headers[call->header_count++] = (struct http_header){name, value};
}

/* The path as it goes over the wire and into the signature: encoded once. */
static enum err append_path(const struct s3 *s3, const struct s3_call *call, struct buf *path)
{
    buf_byte(path, '/');
    enum err err = ERR_OK;
    if (!s3->virtual_host) {
        err = sigv4_encode_path(bytes_from_text(s3->bucket), path);
        if (call->key)
            buf_byte(path, '/');
    }
    if (err == ERR_OK && call->key)
        err = sigv4_encode_path(bytes_from_text(call->key), path);
    return err != ERR_OK ? err : path->err;
}

struct prepared {
    struct buf path;
    struct buf url;
    struct buf authorization;
    char date[SIGV4_DATE_SIZE];
    struct sigv4_header headers[S3_CALL_HEADERS_MAX + 4];
    size_t header_count;
};

static enum err sign_call(const struct s3 *s3, const struct s3_call *call,
                          struct prepared *prepared)
{
    const char *hash = call->payload_sha256 ? call->payload_sha256 : SIGV4_EMPTY_SHA256;
    const struct sigv4_credentials credentials = {s3->access_key, s3->secret_key, s3->region, "s3"};
    sigv4_date(clock_realtime_us(s3->clock) / US_PER_S, prepared->date);
    prepared->headers[0] = (struct sigv4_header){"host", s3->host};
    prepared->headers[1] = (struct sigv4_header){"x-amz-date", prepared->date};
    prepared->headers[2] = (struct sigv4_header){"x-amz-content-sha256", hash};
    prepared->header_count = 3;
    for (size_t i = 0; i < call->header_count; i++)
        prepared->headers[prepared->header_count++] =
            (struct sigv4_header){call->headers[i].name, call->headers[i].value};
    const char *path = buf_cstr(&prepared->path);
    if (!path)
        return ERR_NO_MEMORY;
    struct sigv4_request request = {call->method,           path, call->query, prepared->headers,
                                    prepared->header_count, hash};
    return sigv4_authorization(&credentials, &request, prepared->date, &prepared->authorization);
}

static enum err prepare(const struct s3 *s3, const struct s3_call *call, struct prepared *prepared)
{
    enum err err = append_path(s3, call, &prepared->path);
    if (err == ERR_OK)
        err = sign_call(s3, call, prepared);
    if (err != ERR_OK)
        return err;
    buf_printf(&prepared->url, "%s://%s", s3->scheme, s3->host);
    buf_append(&prepared->url, prepared->path.data, prepared->path.size);
    if (call->query)
        buf_printf(&prepared->url, "?%s", call->query);
    if (prepared->url.err != ERR_OK)
        return prepared->url.err;
    return buf_cstr(&prepared->url) && buf_cstr(&prepared->authorization) ? ERR_OK : ERR_NO_MEMORY;
}

static enum err send_call(struct s3 *s3, const struct s3_call *call, struct prepared *prepared,
                          struct http_response *response, struct diag *diag)
{
    struct http_header headers[S3_CALL_HEADERS_MAX + 5];
    struct http_client *client;
    size_t count = prepared->header_count;
    for (size_t i = 0; i < count; i++)
        headers[i] = (struct http_header){prepared->headers[i].name, prepared->headers[i].value};
    headers[count++] = (struct http_header){"authorization", buf_cstr(&prepared->authorization)};
    struct http_request request = {
        .method = call->method,
        .url = buf_cstr(&prepared->url),
        .headers = headers,
        .header_count = count,
        .body = call->body,
        .read_body = call->read_body,
        .body_size_bytes = call->body_size_bytes,
        .has_body = call->has_body,
        .on_body = call->on_body,
        .ctx = call->ctx,
    };
    enum err err = client_get(s3, &client);
    if (err != ERR_OK)
        return err;
    err = http_perform(client, &request, response, diag);
    client_put(s3, client);
    return err;
}

enum err s3_perform(struct s3 *s3, const struct s3_call *call, struct http_response *response,
                    struct diag *diag)
{
    struct prepared prepared = {0};
    if (atomic_load(&s3->cancelled))
        return diag_set(diag, ERR_STOPPED, "the store is being closed");
    buf_init(&prepared.path, URL_MAX_BYTES);
    buf_init(&prepared.url, URL_MAX_BYTES);
    buf_init(&prepared.authorization, 4 * KIB);
    enum err err = prepare(s3, call, &prepared);
    if (err == ERR_OK)
        err = send_call(s3, call, &prepared, response, diag);
    buf_fini(&prepared.path);
    buf_fini(&prepared.url);
    buf_fini(&prepared.authorization);
    if (err != ERR_OK)
        diag_set(diag, err, "%s in bucket %s: %s", call->method, s3->bucket, err_text(err));
    return err;
}

/* The text of the first <name> element, on one line; "" where there is none. */
static void xml_text(const struct http_response *response, const char *name, char *ret_text,
                     size_t size)
{
    char open[32];
    size_t length = (size_t)snprintf(open, sizeof(open), "<%s>", name);
    const uint8_t *at =
        response->body.size ? memmem(response->body.data, response->body.size, open, length) : NULL;
    size_t count = 0;
    if (at) {
        const uint8_t *end = response->body.data + response->body.size;
        for (at += length; at < end && *at != '<' && count + 1 < size; at++)
            ret_text[count++] = *at < ' ' || *at == 0x7f ? ' ' : (char)*at;
    }
    ret_text[count] = '\0';
}

void s3_error_code(const struct http_response *response, char ret_code[S3_CODE_SIZE])
{
    xml_text(response, "Code", ret_code, S3_CODE_SIZE);
}

/* Within our own sentence: without the entities that XML needs, and without a full stop. */
static void tidy_message(char *message)
{
    static const char *const entities[][2] = {
        {"&#39;", "'"}, {"&apos;", "'"}, {"&quot;", "\""},
        {"&lt;", "<"},  {"&gt;", ">"},   {"&amp;", "&"},
    };
    for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++) {
        size_t length = strlen(entities[i][0]);
        for (char *at = message; (at = strstr(at, entities[i][0])); at++) {
            *at = entities[i][1][0];
            memmove(at + 1, at + length, strlen(at + length) + 1);
        }
    }
    size_t size = strlen(message);
    while (size > 0 && (message[size - 1] == '.' || message[size - 1] == ' '))
        message[--size] = '\0';
}

static enum err err_of_code(const char *code)
{
    static const struct {
        const char *code;
        enum err err;
    } table[] = {
        {"RequestTimeout", ERR_TIMEOUT},
        {"IncompleteBody", ERR_IO},
        {"BadDigest", ERR_IO},
        {"XAmzContentSHA256Mismatch", ERR_IO},
        {"XAmzContentChecksumMismatch", ERR_IO},
        {"SlowDown", ERR_BUSY},
        {"SlowDownWrite", ERR_BUSY},
        {"SlowDownRead", ERR_BUSY},
        {"XMinioStorageFull", ERR_NO_SPACE},
        {"InvalidAccessKeyId", ERR_AUTH},
        {"XAdminUserNotFound", ERR_AUTH},
        {"SignatureDoesNotMatch", ERR_AUTH},
        {"RequestTimeTooSkewed", ERR_AUTH},
        {"ExpiredToken", ERR_AUTH},
        {"AccessDenied", ERR_AUTH},
        {"BucketAlreadyExists", ERR_EXISTS},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].code, code) == 0)
            return table[i].err;
    }
    return ERR_OK;
}

static enum err err_of_status(long status)
{
    if (status / 100 == 5)
        return status == 507 ? ERR_NO_SPACE : ERR_AGAIN;
    switch (status) {
    case 401:
    case 403:
        return ERR_AUTH;
    case 404:
    case 410:
        return ERR_NOT_FOUND;
    case 408:
        return ERR_TIMEOUT;
    case 409:
    case 429:
        return ERR_BUSY;
    case 412:
        return ERR_CONFLICT;
    case 413:
        return ERR_TOO_LARGE;
    default:
        return status / 100 == 4 || status / 100 == 3 ? ERR_REFUSED : ERR_PROTOCOL;
    }
}

/* What a person should look at, after the store's own words. */
static void append_hint(const struct s3 *s3, const struct http_response *response, const char *code,
                        char *hint, size_t size)
{
    const char *region = http_response_header(response, "x-amz-bucket-region");
    const char *date = http_response_header(response, "date");
    int64_t there_s = date ? http_date(date) : -1;
    int64_t skew_s = clock_realtime_us(s3->clock) / US_PER_S - there_s;
    hint[0] = '\0';
    if (there_s >= 0 && (skew_s > CLOCK_SKEW_S || skew_s < -CLOCK_SKEW_S))
        snprintf(hint, size, "; the clock here is %lld s %s the store's: set it right",
                 (long long)(skew_s < 0 ? -skew_s : skew_s), skew_s < 0 ? "behind" : "ahead of");
    else if (strcmp(code, "RequestTimeTooSkewed") == 0)
        snprintf(hint, size, "; the clock here differs too much from the store's: set it right");
    else if (region && strcmp(region, s3->region) != 0)
        snprintf(hint, size, "; the bucket is in region %.40s, AWS_REGION says %.40s", region,
                 s3->region);
    else if (strcmp(code, "InvalidAccessKeyId") == 0 || strcmp(code, "XAdminUserNotFound") == 0)
        snprintf(hint, size, "; the store does not know the access key");
    else if (strcmp(code, "SignatureDoesNotMatch") == 0)
        snprintf(hint, size, "; the secret key is probably wrong");
}

enum err s3_error(const struct s3 *s3, const struct s3_call *call,
                  const struct http_response *response, struct diag *diag)
{
    char code[S3_CODE_SIZE];
    char message[MESSAGE_SIZE];
    char hint[128];
    if (response->status / 100 == 2)
        return ERR_OK;
    s3_error_code(response, code);
    xml_text(response, "Message", message, sizeof(message));
    tidy_message(message);
    enum err err = err_of_status(response->status);
    /* 5xx is always tried again, whatever it calls itself. */
    enum err by_code = err_of_code(code);
    if (by_code != ERR_OK && (response->status < 500 || err_class(by_code) == ERR_CLASS_RETRY))
        err = by_code;
    append_hint(s3, response, code, hint, sizeof(hint));
    return diag_set(diag, err, "the store answers %s %s%s%.80s: %ld %s%s%s%s", call->method,
                    s3->bucket, call->key ? "/" : "", call->key ? call->key : "", response->status,
                    code[0] ? code : "(no code)", message[0] ? ": " : "", message, hint);
}
