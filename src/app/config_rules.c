#include "app/config_rules.h"

#include "app/config_table.h"
#include "base/alloc.h"
#include "database/database.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#define SYNC_INTERVAL_MS_MAX 60000
#define HOST_BYTES_MAX       253

#define LETTERS_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static bool consists_of(const char *text, const char *characters)
{
    return *text && text[strspn(text, characters)] == '\0';
}

enum err config_rules_host(const char *text, struct diag *diag)
{
    /* A name, an IPv4 address, or an IPv6 one (with its zone). */
    if (strlen(text) > HOST_BYTES_MAX || !consists_of(text, LETTERS_DIGITS "._-:%"))
        return diag_set(diag, ERR_INVALID, "is not a host name or IP address");
    return ERR_OK;
}

/* MQTT 5 §4.7: # stands alone and last, + alone in its level. */
enum err config_rules_topic(const char *text, struct diag *diag)
{
    for (const char *level = text;; level++) {
        size_t size = strcspn(level, "/");
        bool is_last = level[size] == '\0';
        if (memchr(level, '#', size) && !(size == 1 && is_last))
            return diag_set(diag, ERR_INVALID,
                            "is not a topic filter: # must be the whole last level");
        if (memchr(level, '+', size) && size != 1)
            return diag_set(diag, ERR_INVALID, "is not a topic filter: + must be a whole level");
        if (is_last)
            return ERR_OK;
        level += size;
    }
}

enum err config_rules_group(const char *text, struct diag *diag)
{
    if (*text == '\0' || strpbrk(text, "/+#"))
        return diag_set(diag, ERR_INVALID, "is not a group name: no /, + or #, not empty");
    return ERR_OK;
}

/* The length of the scheme and "://", 0 for a bare host. */
static size_t scheme_size(const char *text)
{
    if (strncasecmp(text, "http://", 7) == 0)
        return 7;
    return strncasecmp(text, "https://", 8) == 0 ? 8 : 0;
}

/* "" or ":port", then perhaps one slash, then the end. */
static bool is_port_or_end(const char *text)
{
    if (*text == ':') {
        size_t digits = strspn(text + 1, "0123456789");
        long port = digits > 0 && digits <= 5 ? strtol(text + 1, NULL, 10) : 0;
        if (port < 1 || port > 65535)
            return false;
        text += 1 + digits;
    }
    return *text == '\0' || strcmp(text, "/") == 0;
}

enum err config_rules_endpoint(const char *text, struct diag *diag)
{
    if (*text == '\0')
        return ERR_OK;
    const char *host = text + scheme_size(text);
    size_t size = *host == '[' ? strspn(host + 1, "0123456789abcdefABCDEF:.") + 2
                               : strspn(host, LETTERS_DIGITS "._-");
    if (size == 0 || strlen(host) < size || (*host == '[' && host[size - 1] != ']') ||
        !is_port_or_end(host + size))
        return diag_set(diag, ERR_INVALID,
                        "is not http://host:port, https://host:port or host:port (port 1 to "
                        "65535), without a path or user");
    return ERR_OK;
}

enum err config_rules_bucket(const char *text, struct diag *diag)
{
    size_t size = strlen(text);
    if (size < 3 || size > 63 || !consists_of(text, LETTERS_DIGITS ".-_") ||
        !isalnum((unsigned char)text[0]) || !isalnum((unsigned char)text[size - 1]) ||
        strstr(text, ".."))
        return diag_set(diag, ERR_INVALID,
                        "is not a bucket name: 3 to 63 letters, digits, dots and hyphens");
    return ERR_OK;
}

enum err config_rules_label(const char *text, struct diag *diag)
{
    if (strlen(text) > 64 || !consists_of(text, LETTERS_DIGITS "-_"))
        return diag_set(diag, ERR_INVALID,
                        "is not a region's name: 1 to 64 letters, digits and hyphens");
    return ERR_OK;
}

enum err config_rules_path(const char *text, struct diag *diag)
{
    return *text ? ERR_OK : diag_set(diag, ERR_INVALID, "is not a path");
}

static bool parse_sync(const char *text, enum journal_sync *ret_sync, uint32_t *ret_interval_ms)
{
    static const char prefix[] = "interval:";
    *ret_interval_ms = 0;
    if (strcasecmp(text, "always") == 0 || strcasecmp(text, "off") == 0) {
        *ret_sync = strcasecmp(text, "off") == 0 ? JOURNAL_SYNC_OFF : JOURNAL_SYNC_ALWAYS;
        return true;
    }
    const char *digits = text + strlen(prefix);
    if (strncasecmp(text, prefix, strlen(prefix)) != 0 || !consists_of(digits, "0123456789") ||
        strlen(digits) > 5)
        return false;
    *ret_sync = JOURNAL_SYNC_INTERVAL;
    *ret_interval_ms = (uint32_t)strtoul(digits, NULL, 10);
    return *ret_interval_ms >= 1 && *ret_interval_ms <= SYNC_INTERVAL_MS_MAX;
}

enum err config_rules_sync(const char *text, struct diag *diag)
{
    enum journal_sync sync;
    uint32_t interval_ms;
    if (parse_sync(text, &sync, &interval_ms))
        return ERR_OK;
    return diag_set(diag, ERR_INVALID, "is not always, interval:<1 to %d ms> or off",
                    SYNC_INTERVAL_MS_MAX);
}

static bool was_set(const struct config *config, const char *name)
{
    return config->origins[config_table_find(name)] != CONFIG_FROM_DEFAULT;
}

static enum err keep(char **member, struct buf *take_text)
{
    const char *text = buf_cstr(take_text);
    *member = text && take_text->err == ERR_OK ? mem_strdup(text) : NULL;
    buf_fini(take_text);
    return *member ? ERR_OK : ERR_NO_MEMORY;
}

static enum err keep_text(char **member, const char *text)
{
    *member = mem_strdup(text);
    return *member ? ERR_OK : ERR_NO_MEMORY;
}

static enum err derive_folder(struct config *config, const char *folder, struct buf *problems)
{
    if (*folder == '\0' || strpbrk(folder, "?#")) {
        buf_printf(problems,
                   "OBJECT_STORE_URL: \"%s\" names no folder: write file://./data/lake or "
                   "file:///srv/lake, without ? and #\n",
                   config->object_store_url);
        return ERR_OK;
    }
    config->store_kind = CONFIG_STORE_FOLDER;
    return keep_text(&config->store_folder, folder);
}

/* With a scheme, without a slash at the end. Without MINIO_ENDPOINT: Amazon's own. */
static enum err derive_endpoint(struct config *config)
{
    struct buf text;
    buf_init(&text, CONFIG_VALUE_BYTES_MAX * 2);
    const char *endpoint = config->minio_endpoint;
    if (*endpoint == '\0')
        buf_printf(&text, "https://s3.%s.amazonaws.com", config->aws_region);
    else
        buf_printf(&text, "%s%s", scheme_size(endpoint) ? "" : "http://", endpoint);
    if (text.size > 0 && text.data[text.size - 1] == '/')
        text.size--;
    return keep(&config->store_endpoint, &text);
}

static enum err derive_s3(struct config *config, const char *bucket, struct buf *problems)
{
    struct diag diag = {0};
    if (config_rules_bucket(bucket, &diag) != ERR_OK) {
        buf_printf(problems,
                   "OBJECT_STORE_URL: \"%s\": \"%s\" %s (a path after it is not supported)\n",
                   config->object_store_url, bucket, diag.text);
        return ERR_OK;
    }
    if (was_set(config, "MINIO_BUCKET") && strcmp(bucket, config->minio_bucket) != 0)
        buf_printf(
            problems,
            "OBJECT_STORE_URL: \"%s\" and MINIO_BUCKET \"%s\" name different buckets: set one\n",
            config->object_store_url, config->minio_bucket);
    if (*config->minio_endpoint == '\0' &&
        !(was_set(config, "MINIO_ACCESS_KEY") && was_set(config, "MINIO_SECRET_KEY")))
        buf_printf(problems,
                   "OBJECT_STORE_URL: \"%s\" without MINIO_ENDPOINT is Amazon S3: set "
                   "MINIO_ACCESS_KEY and MINIO_SECRET_KEY, or the endpoint\n",
                   config->object_store_url);
    config->store_kind = CONFIG_STORE_S3;
    enum err err = keep_text(&config->store_bucket, bucket);
    return err ? err : derive_endpoint(config);
}

static enum err derive_store(struct config *config, struct buf *problems)
{
    const char *url = config->object_store_url;
    struct buf text;
    if (*url == '\0' && *config->minio_endpoint == '\0')
        url = "file://./data/lake";
    buf_init(&text, CONFIG_VALUE_BYTES_MAX * 2);
    if (*url == '\0')
        buf_printf(&text, "s3://%s", config->minio_bucket);
    else
        buf_text(&text, url);
    enum err err = keep(&config->store_url, &text);
    if (err)
        return err;
    url = config->store_url;
    if (strncmp(url, "file://", 7) == 0)
        return derive_folder(config, url + 7, problems);
    if (strncmp(url, "s3://", 5) == 0) {
        /* s3://bucket/ is s3://bucket. */
        if (url[strlen(url) - 1] == '/' && strlen(url) > 5)
            config->store_url[strlen(url) - 1] = '\0';
        return derive_s3(config, url + 5, problems);
    }
    buf_printf(problems, "OBJECT_STORE_URL: \"%s\" is neither s3://bucket nor file://dir\n", url);
    return ERR_OK;
}

static enum err derive_database(struct config *config, struct buf *problems)
{
    static const char sqlite[] = "sqlite:///";
    const char *url = config->database_url;
    struct diag diag = {0};
    enum err err = database_url_check(url, &diag);
    if (strncmp(url, sqlite, strlen(sqlite)) == 0) {
        const char *path = url + strlen(sqlite);
        if (*path && !strpbrk(path, "?#") && strcmp(path, ":memory:") != 0)
            return keep_text(&config->database_path, path);
        (void)diag_set(&diag, ERR_INVALID,
                       "it is not sqlite:///relative/path or sqlite:////absolute/path");
        err = ERR_INVALID;
    }
    if (err == ERR_OK) /* PostgreSQL */
        return keep_text(&config->database_path, "");
    buf_printf(problems, "INGESTOR_DATABASE_URL: %s\n", diag.text);
    return ERR_OK;
}

enum err config_rules_derive(struct config *config, struct buf *problems)
{
    parse_sync(config->journal_sync_text, &config->journal_sync, &config->journal_sync_interval_ms);
    config->pod = *config->pod_name ? config->pod_name : config->hostname;
    enum err err = derive_store(config, problems);
    return err ? err : derive_database(config, problems);
}

void config_rules_free(struct config *config)
{
    char **members[] = {&config->store_url, &config->store_folder, &config->store_bucket,
                        &config->store_endpoint, &config->database_path};
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        mem_free(*members[i]);
        *members[i] = NULL;
    }
}
