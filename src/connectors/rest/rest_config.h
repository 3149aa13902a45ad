#pragma once
/*
 * The configuration of a REST source (contract/connectors.md "REST"): JSON to a structure, checked
 * again although the host has validated it. Pure; one thread at a time. Texts live in the
 * configuration's own arena until rest_config_fini. Unknown members are ignored (a source of an old
 * database runs as well as it can), except inside tls, where ignoring one could make a connection
 * less safe than it looks. Errors are ERR_INVALID or ERR_UNSUPPORTED with a sentence that names the
 * member; never a secret's value.
 */
#include "connectors/common_options.h"
#include "connectors/rest/rest_path.h"

#define REST_CONFIG_BYTES_MAX     (4 * MIB)
#define REST_INTERVAL_SECONDS     60
#define REST_INTERVAL_SECONDS_MAX 86400
#define REST_TIMEOUT_SECONDS      30
#define REST_RESPONSE_BYTES_MAX   (64 * MIB)
#define REST_HEADERS_MAX          100
#define REST_PARAMS_MAX           100
#define REST_PAGES_DEFAULT        100
#define REST_PAGES_MAX            100000
#define REST_HEADER_BYTES_MAX     8192

enum rest_auth {
    REST_AUTH_NONE,
    REST_AUTH_BEARER,
    REST_AUTH_API_KEY,
    REST_AUTH_BASIC,
    REST_AUTH_OAUTH2,
};

enum rest_paging {
    REST_PAGING_NONE,
    REST_PAGING_LINK,
    REST_PAGING_PAGE,
    REST_PAGING_OFFSET,
    REST_PAGING_CURSOR
};

struct rest_oauth2 {
    const char *token_url;
    const char *client_id;
    const char *client_secret;
    const char *scope; /* NULL: none */
    bool in_body;      /* the client's credentials go in the form, not in Authorization */
};

struct rest_pagination {
    enum rest_paging kind;
    const char *param;      /* page, offset or cursor parameter; NULL: the cursor is an address */
    uint64_t start;         /* first page (1) or offset (0) */
    const char *size_param; /* NULL: none is sent */
    uint64_t size;          /* records on a full page; 0: not known */
    struct rest_path next;  /* where a response has the next cursor */
    uint32_t pages_max;
};

struct rest_header {
    const char *line;  /* "Name: value" */
    bool is_sensitive; /* may tell a secret: not for another host */
};

struct rest_config {
    struct arena arena;
    struct common_options common;
    const char *url;    /* without user information and fragment, with params */
    const char *source; /* the same without params: source_url */
    const char *shown;  /* without query: error texts */
    const char *topic;  /* the path: dataset templates */
    bool is_post;
    uint32_t interval_seconds;
    const struct rest_header *headers;
    size_t header_count;
    struct bytes body; /* of a POST */
    bool has_body;
    struct rest_path data_path;
    const char *data_path_text;
    enum rest_auth auth;
    const char *auth_header; /* the whole line, of bearer, api_key and basic */
    struct rest_oauth2 oauth2;
    uint32_t timeout_ms;
    struct rest_pagination pagination;
    bool has_cursor;
    struct rest_path cursor_field;
    const char *cursor_field_text;
    const char *cursor_param;
    struct bytes cursor_initial; /* JSON scalar; empty: none */
    const char *ca_file;
    const char *cert_file;
    const char *key_file;
    bool verify;
    const char *proxy; /* NULL: as the environment says */
    size_t response_max_bytes;
};

enum err rest_config_init(struct rest_config *config, const json_t *json,
                          struct diag *diag) ERR_MUST_USE;
/* Safe on zeroed and half-made ones. */
void rest_config_fini(struct rest_config *config);

/* JSON Schema 2020-12 of the connector's own members. */
extern const char rest_config_schema[];
