#include "app/try_url.h"

#include "base/alloc.h"
#include "base/bytes.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static char *part_get(CURLU *handle, CURLUPart part, unsigned flags)
{
    char *text = NULL;
    return curl_url_get(handle, part, &text, flags) == CURLUE_OK ? text : NULL;
}

/* The topic filter is what follows host and port as it stands: '#' is no fragment in MQTT. */
static char *topic_of(const char *url)
{
    const char *host = strstr(url, "://");
    const char *slash = host ? strchr(host + 3, '/') : NULL;
    return mem_strdup(slash && slash[1] ? slash + 1 : "#");
}

static enum err mqtt_config(const char *url, CURLU *handle, json_t **ret_config)
{
    char *host = part_get(handle, CURLUPART_HOST, 0);
    char *port = part_get(handle, CURLUPART_PORT, 0);
    char *user = part_get(handle, CURLUPART_USER, CURLU_URLDECODE);
    char *password = part_get(handle, CURLUPART_PASSWORD, CURLU_URLDECODE);
    char *topic = topic_of(url);
    json_t *config = topic && host ? json_pack("{s:s, s:s, s:i, s:b, s:b, s:i}", "broker", host,
                                               "topics", topic, "qos", 0, "use_shared_subscription",
                                               0, "clean_start", 1, "session_expiry_seconds", 0)
                                   : NULL;
    if (config && port)
        json_object_set_new(config, "port", json_integer(strtol(port, NULL, 10)));
    if (config && user)
        json_object_set_new(config, "username", json_string(user));
    if (config && password)
        json_object_set_new(config, "password", json_string(password));
    curl_free(host);
    curl_free(port);
    curl_free(user);
    curl_free(password);
    mem_free(topic);
    *ret_config = config;
    return config ? ERR_OK : ERR_NO_MEMORY;
}

static enum err mqtt_target(const char *url, struct try_target *target, struct diag *diag)
{
    /* without what follows '#', which curl would take for a fragment, and may refuse */
    char head[2048];
    size_t size = strcspn(url, "#");
    if (size >= sizeof(head))
        return diag_set(diag, ERR_INVALID, "the URL is too long");
    memcpy(head, url, size);
    head[size] = '\0';
    CURLU *handle = curl_url();
    if (!handle)
        return ERR_NO_MEMORY;
    enum err err;
    if (curl_url_set(handle, CURLUPART_URL, head, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
        err = diag_set(diag, ERR_INVALID,
                       "'%.100s' is not a URL: mqtt://[user:password@]host[:port]/topic", url);
    else
        err = mqtt_config(url, handle, &target->config);
    curl_url_cleanup(handle);
    target->type_name = "mqtt";
    return err;
}

/* The connector reads the address, credentials in it included. */
static enum err http_target(const char *url, const char *data_path, struct try_target *target)
{
    target->config = json_pack("{s:s, s:s*}", "url", url, "data_path", data_path);
    target->type_name = "rest_api";
    return target->config ? ERR_OK : ERR_NO_MEMORY;
}

/* Without a path: all that the server offers. User and password are identity and key of DTLS. */
static enum err coap_config(const char *url, CURLU *handle, json_t **ret_config)
{
    char *scheme = part_get(handle, CURLUPART_SCHEME, 0);
    char *host = part_get(handle, CURLUPART_HOST, 0);
    char *port = part_get(handle, CURLUPART_PORT, 0);
    char *user = part_get(handle, CURLUPART_USER, CURLU_URLDECODE);
    char *password = part_get(handle, CURLUPART_PASSWORD, CURLU_URLDECODE);
    const char *path = strchr(strstr(url, "://") + 3, '/');
    bool has_path = path && path[1];
    json_t *config = scheme && host ? json_pack("{s:s, s:s, s:s, s:b}", "host", host, "resources",
                                                has_path ? path : "*", "scheme", scheme, "discover",
                                                !has_path || strchr(path, '*') != NULL)
                                    : NULL;
    if (config && port)
        json_object_set_new(config, "port", json_integer(strtol(port, NULL, 10)));
    if (config && user)
        json_object_set_new(config, "psk_identity", json_string(user));
    if (config && password)
        json_object_set_new(config, "psk_key", json_string(password));
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(user);
    curl_free(password);
    *ret_config = config;
    return config ? ERR_OK : ERR_NO_MEMORY;
}

static enum err coap_target(const char *url, struct try_target *target, struct diag *diag)
{
    CURLU *handle = curl_url();
    if (!handle)
        return ERR_NO_MEMORY;
    enum err err;
    if (curl_url_set(handle, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
        err = diag_set(diag, ERR_INVALID,
                       "'%.100s' is not a URL: coap://host[:port]/path, or coaps://identity:key@…",
                       url);
    else
        err = coap_config(url, handle, &target->config);
    curl_url_cleanup(handle);
    target->type_name = "coap";
    return err;
}

static bool has_scheme(const char *url, const char *scheme)
{
    return strncasecmp(url, scheme, strlen(scheme)) == 0;
}

enum err try_url_parse(const char *url, const char *data_path, struct try_target *ret_target,
                       struct diag *diag)
{
    enum err err;
    *ret_target = (struct try_target){0};
    if (has_scheme(url, "mqtt://"))
        err = mqtt_target(url, ret_target, diag);
    else if (has_scheme(url, "http://") || has_scheme(url, "https://"))
        err = http_target(url, data_path, ret_target);
    else if (has_scheme(url, "coap://") || has_scheme(url, "coaps://") ||
             has_scheme(url, "coap+tcp://"))
        err = coap_target(url, ret_target, diag);
    else
        err = diag_set(diag, ERR_INVALID,
                       "'%.100s' is not a URL that can be tried: mqtt://host[:port]/topic, "
                       "http[s]://host[:port]/path or coap://host[:port]/path",
                       url);
    if (err == ERR_OK && !(ret_target->name = mem_strdup("try")))
        err = ERR_NO_MEMORY;
    return err;
}

void try_target_fini(struct try_target *target)
{
    json_decref(target->config);
    mem_free(target->name);
    *target = (struct try_target){0};
}
