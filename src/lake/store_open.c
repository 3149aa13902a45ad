#include "lake/store_open.h"

#include "base/limits.h"

#include <ctype.h>
#include <stdio.h>

#define FOLDER_DEFAULT "./data/lake"
#define BUCKET_DEFAULT "lake"
#define REGION_DEFAULT "us-east-1"

static bool starts_with(const char *text, const char *prefix)
{
    return strncasecmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_set(const char *text)
{
    return text && *text;
}

/* What S3 allows, and the capitals and underscores of older stores. */
static bool bucket_is_valid(const char *bucket)
{
    size_t length = strlen(bucket);
    if (length < 3 || length > 63 || bucket[0] == '.' || bucket[0] == '-')
        return false;
    for (const char *at = bucket; *at; at++) {
        if (!isalnum((unsigned char)*at) && !strchr("-._", *at))
            return false;
        if (at[0] == '.' && at[1] == '.')
            return false;
    }
    return true;
}

/* Names and ports only: what stands before an @ would be credentials, and a path has no meaning. */
static bool host_is_valid(const char *host)
{
    size_t length = strlen(host);
    if (length == 0 || length > 255)
        return false;
    for (const char *at = host; *at; at++) {
        if (!isalnum((unsigned char)*at) && !strchr("-._:[]", *at))
            return false;
    }
    return true;
}

static enum err split_endpoint(const char *endpoint, const char **ret_scheme, char host[256],
                               struct diag *diag)
{
    *ret_scheme = "http";
    if (starts_with(endpoint, "https://"))
        *ret_scheme = "https";
    const char *at = strstr(endpoint, "://");
    if (at && !starts_with(endpoint, "http://") && !starts_with(endpoint, "https://"))
        return diag_set(diag, ERR_INVALID,
                        "the object store's endpoint must be http://host:port, https://host or "
                        "host:port, not '%.*s://…'",
                        (int)(at - endpoint < 32 ? at - endpoint : 32), endpoint);
    at = at ? at + 3 : endpoint;
    size_t length = strlen(at);
    while (length > 0 && at[length - 1] == '/')
        length--;
    snprintf(host, 256, "%.*s", (int)(length < 255 ? length : 255), at);
    if (!host_is_valid(host) || length > 255)
        return diag_set(diag, ERR_INVALID,
                        "the object store's endpoint must name a host and perhaps a port, no path, "
                        "user or password");
    return ERR_OK;
}

static bool use_virtual_host(const struct store_options *options, const char *bucket,
                             const char *host)
{
    if (options->addressing != STORE_ADDRESS_AUTO)
        return options->addressing == STORE_ADDRESS_VIRTUAL_HOST;
    size_t length = strlen(host);
    const char *amazon = ".amazonaws.com";
    bool is_amazon = length > strlen(amazon) && strcmp(host + length - strlen(amazon), amazon) == 0;
    return is_amazon && !strchr(bucket, '.');
}

static enum err open_s3(const struct store_options *options, const char *bucket,
                        struct store **ret_store, struct diag *diag)
{
    char host[256];
    const char *scheme = "https";
    const char *region = is_set(options->region) ? options->region : REGION_DEFAULT;
    if (!bucket_is_valid(bucket))
        return diag_set(diag, ERR_INVALID,
                        "bucket name '%.80s' must have 3 to 63 letters, digits, dots and hyphens",
                        bucket);
    if (strlen(region) > 63 || strspn(region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789-_") != strlen(region))
        return diag_set(diag, ERR_INVALID, "AWS_REGION '%.80s' is no region's name", region);
    if (!is_set(options->access_key) || !is_set(options->secret_key))
        return diag_set(diag, ERR_INVALID, "an S3 store needs an access key and a secret key");
    enum err err = ERR_OK;
    if (is_set(options->endpoint))
        err = split_endpoint(options->endpoint, &scheme, host, diag);
    else
        snprintf(host, sizeof(host), "s3.%s.amazonaws.com", region);
    if (err != ERR_OK)
        return err;
    struct store_s3_options s3 = {
        .scheme = scheme,
        .host = host,
        .virtual_host = use_virtual_host(options, bucket, host),
        .access_key = options->access_key,
        .secret_key = options->secret_key,
        .bucket = bucket,
        .region = region,
        .ca_file = options->ca_file,
        .connect_timeout_ms = options->connect_timeout_ms,
        .idle_timeout_ms = options->idle_timeout_ms,
        .fs = options->fs,
        .clock = options->clock,
    };
    return store_s3_new(&s3, ret_store, diag);
}

static enum err open_s3_url(const struct store_options *options, const char *rest,
                            struct store **ret_store, struct diag *diag)
{
    char bucket[128];
    size_t length = strlen(rest);
    if (length > 0 && rest[length - 1] == '/')
        length--;
    if (length >= sizeof(bucket) || memchr(rest, '/', length))
        return diag_set(diag, ERR_INVALID, "OBJECT_STORE_URL must be s3://bucket, without a path");
    snprintf(bucket, sizeof(bucket), "%.*s", (int)length, rest);
    return open_s3(options, bucket, ret_store, diag);
}

enum err store_open(const struct store_options *options, struct store **ret_store,
                    struct diag *diag)
{
    const char *url = options->url;
    if (is_set(url) && starts_with(url, "s3://"))
        return open_s3_url(options, url + 5, ret_store, diag);
    if (is_set(url) && starts_with(url, "file://")) {
        if (url[7] == '\0')
            return diag_set(diag, ERR_INVALID, "OBJECT_STORE_URL file:// names no folder");
        return store_folder_new(options->fs, url + 7, ret_store, diag);
    }
    if (is_set(url))
        return diag_set(diag, ERR_INVALID,
                        "OBJECT_STORE_URL must begin with s3:// or file://, not '%.16s'", url);
    if (is_set(options->endpoint))
        return open_s3(options, is_set(options->bucket) ? options->bucket : BUCKET_DEFAULT,
                       ret_store, diag);
    return store_folder_new(options->fs, FOLDER_DEFAULT, ret_store, diag);
}
