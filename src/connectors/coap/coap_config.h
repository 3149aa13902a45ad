#pragma once
/*
 * A CoAP source's configuration (contract/connectors.md "CoAP"), read once at connect from the JSON
 * that the host has validated. Pure; one thread at a time. Texts live in the configuration's own
 * arena until coap_config_fini. Unknown members are ignored, except inside tls. Errors are
 * ERR_INVALID or ERR_UNSUPPORTED with a sentence that names the member; never a secret's value.
 */
#include "connectors/common_options.h"

#define COAP_CONFIG_BYTES_MAX  (16 * MIB)
#define COAP_RESOURCES_MAX     10000
#define COAP_PATH_BYTES_MAX    1000
#define COAP_SEGMENT_BYTES_MAX 255 /* of a path or query (RFC 7252 §5.10), escaped */
#define COAP_PSK_BYTES_MAX     64  /* libcoap's bound of key and identity */
#define COAP_INTERVAL_SECONDS  60
#define COAP_SEGMENTS_MAX      64

enum coap_scheme {
    COAP_SCHEME_UDP,  /* coap */
    COAP_SCHEME_DTLS, /* coaps */
    COAP_SCHEME_TCP,  /* coap+tcp */
};

struct coap_config {
    struct arena arena;
    struct common_options common;
    const char *host; /* without brackets */
    const char *base; /* "coap://host:port/" */
    uint16_t port;
    enum coap_scheme scheme;
    bool is_poll;
    bool discover;
    bool confirmable;
    uint32_t interval_seconds;
    uint32_t refresh_seconds;     /* 0: by Max-Age alone */
    const char *const *resources; /* path?query without the first slash, or patterns */
    size_t resource_count;
    const char *psk_identity; /* NULL: certificates */
    struct bytes psk_key;
    const char *ca_file; /* NULL: the machine's own authorities */
    const char *cert_file;
    const char *key_file;
    const char *server_name; /* that the certificate is for */
    bool verify;
};

enum err coap_config_init(struct coap_config *config, const json_t *json,
                          struct diag *diag) ERR_MUST_USE;
/* Safe on zeroed and half-made ones. */
void coap_config_fini(struct coap_config *config);
/* Whether the files of tls can be used, at this moment: not of the configuration's check, for they
 * may yet be to come. ERR_INVALID: diag names the member and the file. */
enum err coap_config_check_files(const struct coap_config *config, struct diag *diag) ERR_MUST_USE;
enum err coap_config_check(const json_t *json, struct diag *diag) ERR_MUST_USE;

/* JSON Schema 2020-12 of the connector's own members. */
extern const char coap_config_schema[];
