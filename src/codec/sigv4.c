#include "codec/sigv4.h"

#include "base/limits.h"
#include "codec/sha256.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CANONICAL_MAX (64 * KIB)

void sigv4_date(int64_t unix_s, char ret_date[SIGV4_DATE_SIZE])
{
    const int64_t year_10000 = 253402300800;
    time_t seconds = unix_s >= 0 && unix_s < year_10000 ? (time_t)unix_s : 0;
    struct tm utc;
    gmtime_r(&seconds, &utc);
    if (strftime(ret_date, SIGV4_DATE_SIZE, "%Y%m%dT%H%M%SZ", &utc) == 0)
        memcpy(ret_date, "19700101T000000Z", SIGV4_DATE_SIZE);
}

static bool is_unreserved(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static enum err encode(struct bytes text, bool keep_slash, struct buf *encoded)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < text.size && err == ERR_OK; i++) {
        uint8_t c = text.data[i];
        if (is_unreserved(c) || (keep_slash && c == '/'))
            err = buf_byte(encoded, c);
        else
            err = buf_printf(encoded, "%%%02X", c);
    }
    return err;
}

enum err sigv4_encode_path(struct bytes text, struct buf *encoded)
{
    return encode(text, true, encoded);
}

enum err sigv4_encode_query(struct bytes text, struct buf *encoded)
{
    return encode(text, false, encoded);
}

/* Query parts are sorted by their bytes, names before values; a name alone gets its "=". */
static int compare_parts(const void *a, const void *b)
{
    const struct bytes *left = a;
    const struct bytes *right = b;
    size_t left_name = strcspn((const char *)left->data, "=&");
    size_t right_name = strcspn((const char *)right->data, "=&");
    size_t shorter = left_name < right_name ? left_name : right_name;
    int order = memcmp(left->data, right->data, shorter);
    if (order != 0 || left_name != right_name)
        return order != 0 ? order : left_name < right_name ? -1 : 1;
    shorter = left->size < right->size ? left->size : right->size;
    order = memcmp(left->data, right->data, shorter);
    return order != 0 ? order : (left->size > right->size) - (left->size < right->size);
}

static enum err append_query(const char *query, struct buf *canonical)
{
    struct bytes parts[SIGV4_QUERY_PARTS_MAX];
    size_t count = 0;
    while (query && *query) {
        size_t length = strcspn(query, "&");
        if (count == SIGV4_QUERY_PARTS_MAX)
            return ERR_TOO_LARGE;
        if (length > 0)
            parts[count++] = bytes_from(query, length);
        query += length + (query[length] == '&');
    }
    if (count > 1)
        qsort(parts, count, sizeof(parts[0]), compare_parts);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_byte(canonical, '&');
        buf_append(canonical, parts[i].data, parts[i].size);
        if (!memchr(parts[i].data, '=', parts[i].size))
            buf_byte(canonical, '=');
    }
    return canonical->err;
}

static int compare_headers(const void *a, const void *b)
{
    const struct sigv4_header *const *left = a;
    const struct sigv4_header *const *right = b;
    return strcasecmp((*left)->name, (*right)->name);
}

static void append_lower(struct buf *canonical, const char *name)
{
    for (; *name; name++)
        buf_byte(canonical, (uint8_t)tolower((unsigned char)*name));
}

/* Trimmed, with runs of spaces as one: what proxies may do to it on the way changes nothing. */
static enum err append_value(struct buf *canonical, const char *value)
{
    bool first = true;
    while (*value) {
        value += strspn(value, " \t");
        size_t length = strcspn(value, " \t");
        if (memchr(value, '\n', length) || memchr(value, '\r', length))
            return ERR_INVALID;
        if (length > 0 && !first)
            buf_byte(canonical, ' ');
        buf_append(canonical, value, length);
        first = first && length == 0;
        value += length;
    }
    return canonical->err;
}

static void append_signed_names(struct buf *text, const struct sigv4_header *const *sorted,
                                size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_byte(text, ';');
        append_lower(text, sorted[i]->name);
    }
}

static enum err canonical_request(const struct sigv4_request *request,
                                  const struct sigv4_header *const *sorted, struct buf *canonical)
{
    buf_printf(canonical, "%s\n%s\n", request->method, request->path);
    enum err err = append_query(request->query, canonical);
    buf_byte(canonical, '\n');
    for (size_t i = 0; i < request->header_count && err == ERR_OK; i++) {
        append_lower(canonical, sorted[i]->name);
        buf_byte(canonical, ':');
        err = append_value(canonical, sorted[i]->value);
        buf_byte(canonical, '\n');
    }
    buf_byte(canonical, '\n');
    append_signed_names(canonical, sorted, request->header_count);
    buf_printf(canonical, "\n%s", request->payload_sha256);
    return err != ERR_OK ? err : canonical->err;
}

/* date, region and service, each a step further from the secret. */
static enum err signing_key(const struct sigv4_credentials *credentials, const char *date,
                            uint8_t ret_key[SHA256_BYTES])
{
    char secret[512];
    int length = snprintf(secret, sizeof(secret), "AWS4%s", credentials->secret_key);
    if (length < 0 || (size_t)length >= sizeof(secret))
        return ERR_TOO_LARGE;
    enum err err = sha256_hmac(bytes_from(secret, (size_t)length), bytes_from(date, 8), ret_key);
    const char *steps[] = {credentials->region, credentials->service, "aws4_request"};
    for (size_t i = 0; i < 3 && err == ERR_OK; i++) {
        uint8_t key[SHA256_BYTES];
        memcpy(key, ret_key, sizeof(key));
        err = sha256_hmac(bytes_from(key, sizeof(key)), bytes_from_text(steps[i]), ret_key);
    }
    explicit_bzero(secret, sizeof(secret));
    return err;
}

static enum err sign(const struct sigv4_credentials *credentials, const char *date,
                     const char *scope, struct bytes canonical, char ret_hex[SHA256_HEX_SIZE])
{
    uint8_t digest[SHA256_BYTES];
    uint8_t key[SHA256_BYTES];
    char text[512];
    enum err err = sha256_of(canonical, digest);
    if (err == ERR_OK)
        err = signing_key(credentials, date, key);
    if (err != ERR_OK)
        return err;
    hex_encode(digest, sizeof(digest), ret_hex);
    int length = snprintf(text, sizeof(text), "AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, ret_hex);
    if (length < 0 || (size_t)length >= sizeof(text))
        return ERR_TOO_LARGE;
    err = sha256_hmac(bytes_from(key, sizeof(key)), bytes_from(text, (size_t)length), digest);
    explicit_bzero(key, sizeof(key));
    hex_encode(digest, sizeof(digest), ret_hex);
    return err;
}

enum err sigv4_authorization(const struct sigv4_credentials *credentials,
                             const struct sigv4_request *request, const char *date,
                             struct buf *authorization)
{
    const struct sigv4_header *sorted[SIGV4_HEADERS_MAX];
    char scope[256];
    char signature[SHA256_HEX_SIZE] = "";
    if (request->header_count > SIGV4_HEADERS_MAX || request->header_count == 0)
        return ERR_TOO_LARGE;
    if (strlen(date) != SIGV4_DATE_SIZE - 1)
        return ERR_INVALID;
    int length = snprintf(scope, sizeof(scope), "%.8s/%s/%s/aws4_request", date,
                          credentials->region, credentials->service);
    if (length < 0 || (size_t)length >= sizeof(scope))
        return ERR_TOO_LARGE;
    for (size_t i = 0; i < request->header_count; i++)
        sorted[i] = &request->headers[i];
    qsort(sorted, request->header_count, sizeof(const struct sigv4_header *), compare_headers);

    struct buf canonical;
    buf_init(&canonical, CANONICAL_MAX);
    enum err err = canonical_request(request, sorted, &canonical);
    if (err == ERR_OK)
        err = sign(credentials, date, scope, buf_bytes(&canonical), signature);
    buf_fini(&canonical);
    if (err != ERR_OK)
        return err;
    buf_printf(authorization,
               "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=", credentials->access_key, scope);
    append_signed_names(authorization, sorted, request->header_count);
    return buf_printf(authorization, ", Signature=%s", signature);
}
