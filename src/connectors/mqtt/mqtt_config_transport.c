#include "connectors/mqtt/mqtt_config.h"

/* The members `tls` and `websocket`: what lies between MQTT and TCP. */

#define PATH_BYTES_MAX           4096
#define WEBSOCKET_PATH_BYTES_MAX 1000

enum err mqtt_config_check_tls(const json_t *tls, struct diag *diag)
{
    static const char *const known[] = {"enabled",  "ca_file", "cert_file",
                                        "key_file", "verify",  "server_name"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)tls, key, value)
    {
        size_t i = 0;
        while (i < sizeof(known) / sizeof(known[0]) && strcmp(key, known[i]) != 0)
            i++;
        if (i == sizeof(known) / sizeof(known[0]))
            return diag_set(diag, ERR_INVALID,
                            "tls: unknown key \"%.60s\"; it may have enabled, ca_file, cert_file, "
                            "key_file, verify and server_name",
                            key);
    }
    return ERR_OK;
}

static void read_tls(struct mqtt_config *config, struct config_reader *outer)
{
    struct config_reader reader;
    const json_t *tls = config_member(outer, "tls");
    config->tls.verify = true;
    config->tls_enabled = tls && !json_is_false(tls);
    if (!tls || json_is_boolean(tls))
        return;
    if (!config_reader_inside(outer, "tls", "tls.", &reader))
        return;
    config->tls_enabled = config_flag(&reader, "enabled", true);
    config->tls.verify = config_flag(&reader, "verify", true);
    config->tls.ca_file = config_text(&reader, "ca_file", PATH_BYTES_MAX);
    config->tls.cert_file = config_text(&reader, "cert_file", PATH_BYTES_MAX);
    config->tls.key_file = config_text(&reader, "key_file", PATH_BYTES_MAX);
    config->tls.server_name = config_text(&reader, "server_name", TLS_NAME_BYTES_MAX);
    if (config->tls.key_file && !config->tls.cert_file)
        config_refuse(&reader, ERR_INVALID, "tls.key_file needs tls.cert_file");
}

/* What a request line may have as it is; all else has to be percent-encoded. */
static bool is_request_target(const char *text)
{
    for (const char *at = text; *at; at++)
        if (*at <= ' ' || *at > '~' || *at == '#')
            return false;
    return text[0] == '/';
}

void mqtt_config_read_transport(struct mqtt_config *config, struct config_reader *reader)
{
    read_tls(config, reader);
    config->websocket = config_text(reader, "websocket", WEBSOCKET_PATH_BYTES_MAX);
    if (config->websocket && !is_request_target(config->websocket))
        config_refuse_member(reader, "websocket",
                             "a path such as /mqtt: ASCII without spaces, beginning with a slash");
}
