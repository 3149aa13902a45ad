#include "connectors/coap/coap_config.h"

#include "base/limits.h"
#include "net/tls.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME_MAX 4096
#define PORT_COAP     5683
#define PORT_COAPS    5684

struct reader {
    struct coap_config *config;
    struct config_reader members;
};

static void refuse(struct reader *reader, const char *sentence)
{
    config_refuse(&reader->members, ERR_INVALID, sentence);
}

static bool failed(const struct reader *reader)
{
    return *reader->members.err != ERR_OK;
}

/* --- the server ------------------------------------------------------------------------------- */

static bool is_multicast(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) & 0xf0000000u) == 0xe0000000u || v4.s_addr == UINT32_MAX;
    return inet_pton(AF_INET6, host, &v6) == 1 && v6.s6_addr[0] == 0xff;
}

static void read_host(struct reader *reader)
{
    struct coap_config *config = reader->config;
    const char *host = config_text(&reader->members, "host", 255);
    if (!host) {
        refuse(reader, "host is missing: the name or address of the CoAP server");
        return;
    }
    size_t size = strlen(host);
    if (host[0] == '[' && host[size - 1] == ']')
        host = config_keep(&reader->members, host + 1, size - 2);
    if (!host)
        return;
    if (host[0] == '\0' || strpbrk(host, "/?#[]@ ") ||
        (strchr(host, ':') && strchr(host, ':') == strrchr(host, ':')))
        refuse(reader, "host must be a name or an address, without scheme, port and path");
    if (is_multicast(host))
        refuse(reader, "host must not be a multicast address: give each server a source");
    config->host = host;
}

static void read_server(struct reader *reader)
{
    static const char *const schemes[] = {"coap", "coaps", "coap+tcp", NULL};
    struct coap_config *config = reader->config;
    char base[400];
    read_host(reader);
    config->scheme = (enum coap_scheme)config_word(&reader->members, "scheme", schemes, 0);
    uint16_t otherwise = config->scheme == COAP_SCHEME_DTLS ? PORT_COAPS : PORT_COAP;
    config->port = (uint16_t)config_number(&reader->members, "port", 1, UINT16_MAX, otherwise);
    if (failed(reader))
        return;
    bool is_v6 = strchr(config->host, ':') != NULL;
    int size = snprintf(base, sizeof(base), "%s://%s%s%s:%u/", schemes[config->scheme],
                        is_v6 ? "[" : "", config->host, is_v6 ? "]" : "", config->port);
    config->base = config_keep(&reader->members, base, (size_t)size);
}

/* --- keys ------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, c | 0x20) : NULL;
    return at && (c >= 'A' || c <= '9') ? (int)(at - digits) : -1;
}

static void read_hex_key(struct reader *reader, const char *digits)
{
    uint8_t key[COAP_PSK_BYTES_MAX];
    size_t size = strlen(digits) / 2;
    bool good = strlen(digits) % 2 == 0 && size >= 1 && size <= sizeof(key);
    for (size_t i = 0; good && i < size; i++) {
        int high = hex_digit(digits[2 * i]), low = hex_digit(digits[2 * i + 1]);
        good = high >= 0 && low >= 0;
        key[i] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
    }
    if (!good)
        refuse(reader, "psk_key: after hex: there must be 1 to 64 bytes in hexadecimal digits");
    else
        reader->config->psk_key =
            bytes_from(config_keep(&reader->members, (const char *)key, size), size);
}

static void read_psk(struct reader *reader)
{
    struct coap_config *config = reader->config;
    config->psk_identity = config_text(&reader->members, "psk_identity", COAP_PSK_BYTES_MAX);
    const char *key = config_secret(&reader->members, "psk_key", 2 * COAP_PSK_BYTES_MAX + 4);
    if (key && strncmp(key, "hex:", 4) == 0)
        read_hex_key(reader, key + 4);
    else if (key && strlen(key) > COAP_PSK_BYTES_MAX)
        refuse(reader, "psk_key must have at most 64 bytes");
    else if (key)
        config->psk_key = bytes_from_text(key);
    if (!config->psk_identity != !key)
        refuse(reader, "psk_identity and psk_key need each other");
    if (key && config->scheme != COAP_SCHEME_DTLS)
        refuse(reader, "psk_identity and psk_key need scheme coaps");
}

static void read_tls(struct reader *reader)
{
    static const char *const known[] = {"enabled",  "ca_file",     "cert_file",
                                        "key_file", "server_name", "verify"};
    struct coap_config *config = reader->config;
    struct config_reader inside;
    const char *name;
    json_t *value;
    config->verify = true;
    config->server_name = config->host;
    if (!config_reader_inside(&reader->members, "tls", "tls.", &inside))
        return;
    json_object_foreach(config_member(&reader->members, "tls"), name, value)
    {
        bool is_known = false;
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            is_known = is_known || strcmp(known[i], name) == 0;
        if (!is_known)
            config_refuse(&inside, ERR_UNSUPPORTED,
                          "tls: only ca_file, cert_file, key_file, server_name and verify are "
                          "known");
    }
    if (config_flag(&inside, "enabled", config->scheme == COAP_SCHEME_DTLS) !=
        (config->scheme == COAP_SCHEME_DTLS))
        refuse(reader, "tls.enabled contradicts scheme: coaps is the one with DTLS");
    config->ca_file = config_text(&inside, "ca_file", FILE_NAME_MAX);
    config->cert_file = config_text(&inside, "cert_file", FILE_NAME_MAX);
    config->key_file = config_text(&inside, "key_file", FILE_NAME_MAX);
    config->verify = config_flag(&inside, "verify", true);
    const char *server_name = config_text(&inside, "server_name", 255);
    if (server_name)
        config->server_name = server_name;
    if (!config->cert_file != !config->key_file)
        refuse(reader, "tls.cert_file and tls.key_file need each other");
    if (config->scheme != COAP_SCHEME_DTLS && (config->ca_file || config->cert_file))
        refuse(reader, "tls needs scheme coaps");
    if (config->psk_identity && (config->ca_file || config->cert_file))
        refuse(reader, "give psk_identity and psk_key or certificates, not both");
}

/* --- resources -------------------------------------------------------------------------------- */

/* Every part between the separators fits an option; there are not too many. */
static bool segments_fit(const char *path)
{
    size_t count = 0;
    for (const char *at = path; *at; count++) {
        size_t size = strcspn(at, "/?&");
        if (size > COAP_SEGMENT_BYTES_MAX)
            return false;
        at += size + (at[size] != '\0');
    }
    return count <= COAP_SEGMENTS_MAX;
}

static bool escapes_are_good(const char *path)
{
    for (const char *at = strchr(path, '%'); at; at = strchr(at + 1, '%'))
        if (hex_digit(at[1]) < 0 || hex_digit(at[2]) < 0 || strncmp(at, "%00", 3) == 0)
            return false;
    return true;
}

static const char *resource_keep(struct reader *reader, const json_t *value)
{
    const char *text = json_string_value(value);
    size_t size = json_is_string(value) ? json_string_length(value) : 0;
    while (size > 0 && text[0] == '/') {
        text++;
        size--;
    }
    if (size == 0 || size > COAP_PATH_BYTES_MAX || strlen(text) != size) {
        refuse(reader, "resources must be paths of 1 to 1000 bytes, such as /sensors/temperature");
        return NULL;
    }
    if (strpbrk(text, "# ") || strstr(text, "://") || !escapes_are_good(text))
        refuse(reader, "resources must be paths, without host and fragment; a space is %20");
    else if (!segments_fit(text))
        refuse(reader, "resources: each part of a path must have at most 255 bytes");
    else if (strchr(text, '*') && !reader->config->discover)
        refuse(reader, "resources: a pattern with * needs discover: true");
    return config_keep(&reader->members, text, size);
}

static int text_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void read_resources(struct reader *reader)
{
    struct coap_config *config = reader->config;
    const json_t *value = config_member(&reader->members, "resources");
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (!value || count == 0 || count > COAP_RESOURCES_MAX) {
        refuse(reader, "resources is missing: a path or a list of 1 to 10000");
        return;
    }
    const char **kept = arena_zalloc(&config->arena, count * sizeof(*kept));
    const char **sorted = arena_zalloc(&config->arena, count * sizeof(*sorted));
    if (!kept || !sorted) {
        config_refuse(&reader->members, ERR_NO_MEMORY, "out of memory for the configuration");
        return;
    }
    for (size_t i = 0; i < count && !failed(reader); i++)
        kept[i] = resource_keep(reader, json_is_array(value) ? json_array_get(value, i) : value);
    if (failed(reader))
        return;
    memcpy(sorted, kept, count * sizeof(*kept));
    qsort(sorted, count, sizeof(*sorted), text_order);
    for (size_t i = 1; i < count; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            refuse(reader, "resources: a path stands there twice");
    config->resources = kept;
    config->resource_count = count;
}

/* --- all -------------------------------------------------------------------------------------- */

static void read_all(struct reader *reader)
{
    static const char *const modes[] = {"observe", "poll", NULL};
    struct coap_config *config = reader->config;
    struct config_reader *members = &reader->members;
    read_server(reader);
    config->is_poll = config_word(members, "mode", modes, 0) == 1;
    config->interval_seconds =
        (uint32_t)config_number(members, "poll_interval", 5, 3600, COAP_INTERVAL_SECONDS);
    config->refresh_seconds =
        (uint32_t)config_number(members, "observe_refresh_seconds", 1, 86400, 0);
    config->confirmable = config_flag(members, "confirmable", true);
    config->discover = config_flag(members, "discover", false);
    read_psk(reader);
    read_tls(reader);
    read_resources(reader);
    common_options_read(&config->common, members);
}

enum err coap_config_init(struct coap_config *config, const json_t *json, struct diag *diag)
{
    *config = (struct coap_config){0};
    arena_init(&config->arena, COAP_CONFIG_BYTES_MAX);
    enum err err = ERR_OK;
    struct reader reader = {
        .config = config,
        .members = {.arena = &config->arena, .json = json, .diag = diag, .err = &err, .within = ""},
    };
    if (!json_is_object(json))
        return diag_set(diag, ERR_INVALID, "the configuration must be a JSON object");
    read_all(&reader);
    return err;
}

void coap_config_fini(struct coap_config *config)
{
    arena_fini(&config->arena);
    *config = (struct coap_config){0};
}

enum err coap_config_check_files(const struct coap_config *config, struct diag *diag)
{
    struct tls_context *context = NULL;
    const struct tls_options options = {.ca_file = config->ca_file,
                                        .cert_file = config->cert_file,
                                        .key_file = config->key_file,
                                        .verify = config->verify};
    if (config->scheme != COAP_SCHEME_DTLS || config->psk_identity)
        return ERR_OK;
    enum err err = tls_context_new(&options, &context, diag);
    tls_context_free(context);
    return err;
}

enum err coap_config_check(const json_t *json, struct diag *diag)
{
    struct coap_config config = {0};
    enum err err = coap_config_init(&config, json, diag);
    coap_config_fini(&config);
    return err;
}
