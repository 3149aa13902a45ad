#include "connectors/rest/rest_url.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

static bool is_http(CURLU *handle)
{
    char *scheme = NULL;
    bool good = curl_url_get(handle, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0);
    curl_free(scheme);
    return good;
}

static enum err part_keep(CURLU *handle, CURLUPart part, unsigned flags, struct buf *out)
{
    char *text = NULL;
    CURLUcode code = curl_url_get(handle, part, &text, flags);
    enum err err = code == CURLUE_OUT_OF_MEMORY ? ERR_NO_MEMORY : ERR_OK;
    if (code == CURLUE_OK)
        err = buf_append(out, text, strlen(text));
    curl_free(text);
    return err;
}

static bool has_host(CURLU *handle)
{
    char *host = NULL;
    bool good = curl_url_get(handle, CURLUPART_HOST, &host, 0) == CURLUE_OK && host[0];
    curl_free(host);
    return good;
}

/* Without what must not be shown or sent on. */
static enum err whole_keep(CURLU *handle, struct buf *out)
{
    if (curl_url_set(handle, CURLUPART_USER, NULL, 0) != CURLUE_OK ||
        curl_url_set(handle, CURLUPART_PASSWORD, NULL, 0) != CURLUE_OK ||
        curl_url_set(handle, CURLUPART_FRAGMENT, NULL, 0) != CURLUE_OK)
        return ERR_NO_MEMORY;
    return part_keep(handle, CURLUPART_URL, 0, out);
}

static enum err url_read(struct rest_url *url, CURLU *handle, const char *text, struct diag *diag)
{
    CURLUcode code = curl_url_set(handle, CURLUPART_URL, text, CURLU_URLENCODE);
    if (code == CURLUE_OUT_OF_MEMORY)
        return ERR_NO_MEMORY;
    if (code != CURLUE_OK)
        return diag_set(diag, ERR_INVALID, "url is no address: %s; write http://host/path",
                        curl_url_strerror(code));
    if (!is_http(handle) || !has_host(handle))
        return diag_set(diag, ERR_INVALID, "url must begin with http:// or https:// and a host");
    enum err err = part_keep(handle, CURLUPART_USER, CURLU_URLDECODE, &url->user);
    if (err == ERR_OK)
        err = part_keep(handle, CURLUPART_PASSWORD, CURLU_URLDECODE, &url->password);
    return err == ERR_OK ? whole_keep(handle, &url->text) : err;
}

enum err rest_url_read(struct rest_url *url, const char *text, struct diag *diag)
{
    buf_init(&url->text, 2 * REST_URL_BYTES_MAX);
    buf_init(&url->user, REST_URL_BYTES_MAX);
    buf_init(&url->password, REST_URL_BYTES_MAX);
    if (strlen(text) > REST_URL_BYTES_MAX)
        return diag_set(diag, ERR_INVALID, "url is longer than %d bytes", REST_URL_BYTES_MAX);
    CURLU *handle = curl_url();
    enum err err = handle ? url_read(url, handle, text, diag) : ERR_NO_MEMORY;
    curl_url_cleanup(handle);
    if (err == ERR_OK)
        return ERR_OK;
    rest_url_fini(url);
    return diag_set(diag, err, "%s", err_text(err));
}

void rest_url_fini(struct rest_url *url)
{
    buf_fini(&url->text);
    buf_fini(&url->user);
    buf_fini(&url->password);
}

enum err rest_url_resolve(const char *base, const char *reference, struct buf *out)
{
    CURLU *handle = curl_url();
    if (!handle)
        return ERR_NO_MEMORY;
    enum err err = ERR_OK;
    if (strlen(reference) > REST_URL_BYTES_MAX ||
        curl_url_set(handle, CURLUPART_URL, base, 0) != CURLUE_OK ||
        curl_url_set(handle, CURLUPART_URL, reference, CURLU_URLENCODE) != CURLUE_OK ||
        !is_http(handle) || !has_host(handle))
        err = ERR_INVALID;
    if (err == ERR_OK)
        err = whole_keep(handle, out);
    curl_url_cleanup(handle);
    return err;
}

/* scheme, host, port, each ended by a newline */
static bool origin_keep(const char *text, struct buf *out)
{
    CURLU *handle = curl_url();
    bool good = handle && curl_url_set(handle, CURLUPART_URL, text, 0) == CURLUE_OK;
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    for (size_t i = 0; good && i < sizeof(parts) / sizeof(parts[0]); i++) {
        size_t before = out->size;
        good = part_keep(handle, parts[i], CURLU_DEFAULT_PORT, out) == ERR_OK &&
               out->size > before && buf_byte(out, '\n') == ERR_OK;
    }
    curl_url_cleanup(handle);
    return good;
}

bool rest_url_same_origin(const char *a, const char *b)
{
    struct buf x, y;
    buf_init(&x, REST_URL_BYTES_MAX);
    buf_init(&y, REST_URL_BYTES_MAX);
    bool same = origin_keep(a, &x) && origin_keep(b, &y) && x.size == y.size &&
                strncasecmp((const char *)x.data, (const char *)y.data, x.size) == 0;
    buf_fini(&x);
    buf_fini(&y);
    return same;
}

enum err rest_url_shown(const char *url, struct buf *out)
{
    return buf_append(out, url, strcspn(url, "?#"));
}

enum err rest_url_path(const char *url, struct buf *out)
{
    const char *at = strstr(url, "://");
    at = strchr(at ? at + 3 : url, '/');
    if (!at)
        return ERR_OK;
    at += strspn(at, "/");
    return buf_append(out, at, strcspn(at, "?#"));
}

enum err rest_url_encode(struct buf *out, struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        bool plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                     (byte >= 'A' && byte <= 'Z') || byte == '-' || byte == '.' || byte == '_' ||
                     byte == '~';
        if (plain)
            buf_byte(out, byte);
        else
            buf_printf(out, "%%%02X", byte);
    }
    return out->err;
}

/* The query without the pairs of this (encoded) name. */
static void query_without(const char *query, struct bytes name, struct buf *out)
{
    bool any = false;
    while (*query) {
        size_t size = strcspn(query, "&");
        size_t name_size = strcspn(query, "=&");
        bool is_it = name_size == name.size && memcmp(query, name.data, name_size) == 0;
        if (size > 0 && !is_it) {
            if (any)
                buf_byte(out, '&');
            buf_append(out, query, size);
            any = true;
        }
        query += size + (query[size] == '&');
    }
    if (any)
        buf_byte(out, '&');
}

enum err rest_url_set(struct buf *url, const char *name, struct bytes value)
{
    struct buf encoded, out;
    buf_init(&encoded, 3 * REST_URL_BYTES_MAX);
    buf_init(&out, url->size_max);
    const char *text = buf_cstr(url);
    enum err err = text ? rest_url_encode(&encoded, bytes_from_text(name)) : ERR_NO_MEMORY;
    if (err == ERR_OK) {
        const char *query = strchr(text, '?');
        buf_append(&out, text, query ? (size_t)(query - text) : url->size);
        buf_byte(&out, '?');
        query_without(query ? query + 1 : "", buf_bytes(&encoded), &out);
        buf_append(&out, encoded.data, encoded.size);
        buf_byte(&out, '=');
        err = rest_url_encode(&out, value);
    }
    buf_fini(&encoded);
    if (err != ERR_OK) {
        buf_fini(&out);
        return err;
    }
    buf_fini(url);
    *url = out;
    return ERR_OK;
}
