#include "connectors/rest/rest_config.h"

#include "base/limits.h"
#include "codec/base64.h"
#include "connectors/rest/rest_url.h"
#include "version.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define SECRET_BYTES_MAX 65535
#define FILE_NAME_MAX    4096
#define BODY_BYTES_MAX   (1 * MIB)

struct reader {
    struct rest_config *config;
    struct config_reader members;
};

static void refuse(struct reader *reader, const char *sentence)
{
    config_refuse(&reader->members, ERR_INVALID, sentence);
}

static void no_memory(struct reader *reader)
{
    config_refuse(&reader->members, ERR_NO_MEMORY, "out of memory while reading the configuration");
}

static bool failed(const struct reader *reader)
{
    return *reader->members.err != ERR_OK;
}

static void note(struct reader *reader, enum err err)
{
    if (err != ERR_OK && !failed(reader))
        *reader->members.err = diag_set(reader->members.diag, err, "%s", err_text(err));
}

static const char *keep_buf(struct reader *reader, const struct buf *buf)
{
    if (buf->err != ERR_OK) {
        note(reader, buf->err);
        return NULL;
    }
    return config_keep(&reader->members, (const char *)buf->data, buf->size);
}

/* --- headers ---------------------------------------------------------------------------------- */

static bool is_header_name(const char *name)
{
    size_t size = strlen(name);
    return size > 0 && size <= 255 &&
           strspn(name, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == size;
}

static bool is_header_value(const char *value)
{
    for (; *value; value++)
        if (((unsigned char)*value < 0x20 && *value != '\t') || *value == 0x7f)
            return false;
    return true;
}

/* What another host may see of the configured headers. */
static bool is_harmless(const char *name)
{
    static const char *const names[] = {"Accept",     "Accept-Language", "Accept-Encoding",
                                        "User-Agent", "Content-Type",    "Cache-Control"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return false;
}

static const char *header_line(struct reader *reader, const char *name, const char *value)
{
    struct buf line;
    buf_init(&line, REST_CONFIG_BYTES_MAX);
    /* curl takes "Name:" for "leave it out" and "Name;" for an empty value */
    if (value[0])
        buf_printf(&line, "%s: %s", name, value);
    else
        buf_printf(&line, "%s;", name);
    const char *kept = keep_buf(reader, &line);
    buf_fini(&line);
    return kept;
}

/* Texts, and numbers and booleans as their texts. */
static bool scalar_text(const json_t *value, char room[64], const char **ret_text)
{
    *ret_text = room;
    if (json_is_string(value))
        *ret_text = json_string_value(value);
    else if (json_is_integer(value))
        snprintf(room, 64, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(room, 64, "%.17g", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(room, 64, "%s", json_is_true(value) ? "true" : "false");
    else
        return false;
    return !json_is_string(value) || strlen(*ret_text) == json_string_length(value);
}

/* The object, or NULL: absent, or refused. */
static json_t *pairs(struct reader *reader, const char *name, size_t count_max)
{
    json_t *object = config_member(&reader->members, name);
    if (!object)
        return NULL;
    if (json_is_object(object) && json_object_size(object) <= count_max)
        return object;
    char sentence[80];
    snprintf(sentence, sizeof(sentence), "%s must be an object of at most %zu members", name,
             count_max);
    refuse(reader, sentence);
    return NULL;
}

static void read_headers(struct reader *reader)
{
    struct rest_config *config = reader->config;
    json_t *object = pairs(reader, "headers", REST_HEADERS_MAX);
    size_t count = json_object_size(object);
    struct rest_header *headers = arena_zalloc(&config->arena, (count + 1) * sizeof(*headers));
    const char *name;
    json_t *value;
    if (!headers) {
        no_memory(reader);
        return;
    }
    config->headers = headers;
    json_object_foreach(object, name, value)
    {
        char room[64], sentence[160];
        const char *text;
        bool good = is_header_name(name) && scalar_text(value, room, &text) &&
                    strlen(text) <= REST_HEADER_BYTES_MAX && is_header_value(text);
        snprintf(sentence, sizeof(sentence),
                 "headers: \"%.60s\" must be a header's name with a text without line breaks",
                 name);
        if (!good) {
            refuse(reader, sentence);
            return;
        }
        headers[config->header_count++] =
            (struct rest_header){header_line(reader, name, text), !is_harmless(name)};
    }
}

/* --- url and params --------------------------------------------------------------------------- */

static void param_add(struct reader *reader, struct buf *query, const char *name,
                      const json_t *value)
{
    char room[64], sentence[160];
    const char *text;
    if (json_is_null(value))
        return;
    if (!scalar_text(value, room, &text)) {
        snprintf(sentence, sizeof(sentence),
                 "params: \"%.60s\" must be a text, a number, a boolean or an array of them", name);
        refuse(reader, sentence);
        return;
    }
    if (query->size > 0)
        buf_byte(query, '&');
    note(reader, rest_url_encode(query, bytes_from_text(name)));
    buf_byte(query, '=');
    note(reader, rest_url_encode(query, bytes_from_text(text)));
}

static void read_params(struct reader *reader, struct buf *query)
{
    json_t *object = pairs(reader, "params", REST_PARAMS_MAX);
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        if (!json_is_array(value))
            param_add(reader, query, name, value);
        for (size_t i = 0; i < json_array_size(value); i++)
            param_add(reader, query, name, json_array_get(value, i));
    }
}

static void make_urls(struct reader *reader, const struct rest_url *url)
{
    struct rest_config *config = reader->config;
    struct buf query, text;
    buf_init(&query, REST_CONFIG_BYTES_MAX);
    buf_init(&text, REST_CONFIG_BYTES_MAX);
    config->source = keep_buf(reader, &url->text);
    read_params(reader, &query);
    buf_append(&text, url->text.data, url->text.size);
    if (query.size > 0 && config->source)
        buf_byte(&text, strchr(config->source, '?') ? '&' : '?');
    buf_append(&text, query.data, query.size);
    config->url = keep_buf(reader, &text);
    buf_clear(&text);
    if (config->source)
        note(reader, rest_url_shown(config->source, &text));
    config->shown = keep_buf(reader, &text);
    buf_clear(&text);
    if (config->source)
        note(reader, rest_url_path(config->source, &text));
    config->topic = keep_buf(reader, &text);
    buf_fini(&query);
    buf_fini(&text);
}

/* --- credentials ------------------------------------------------------------------------------ */

static void basic_header(struct reader *reader, struct bytes user, struct bytes password)
{
    struct buf pair, line;
    buf_init(&pair, 3 * SECRET_BYTES_MAX);
    buf_init(&line, 6 * SECRET_BYTES_MAX);
    buf_append(&pair, user.data, user.size);
    buf_byte(&pair, ':');
    note(reader, buf_append(&pair, password.data, password.size));
    buf_text(&line, "Authorization: Basic ");
    note(reader, base64_append(&line, buf_bytes(&pair)));
    reader->config->auth_header = keep_buf(reader, &line);
    buf_fini(&pair);
    buf_fini(&line);
}

static struct bytes text_bytes(const char *text)
{
    return text ? bytes_from_text(text) : BYTES_LITERAL("");
}

/* username and password, or, as the seed has it, auth_token: "user:password" or its base64. */
static void read_basic(struct reader *reader, const char *token, const char *user,
                       const char *password)
{
    const char *colon = token ? strchr(token, ':') : NULL;
    if (user) {
        if (strchr(user, ':'))
            refuse(reader, "username must not have a colon: Basic authentication cannot send it");
        basic_header(reader, bytes_from_text(user), text_bytes(password));
    } else if (colon) {
        basic_header(reader, bytes_from(token, (size_t)(colon - token)),
                     bytes_from_text(colon + 1));
    } else if (token) {
        struct buf line;
        buf_init(&line, 2 * SECRET_BYTES_MAX);
        buf_printf(&line, "Authorization: Basic %s", token);
        reader->config->auth_header = keep_buf(reader, &line);
        buf_fini(&line);
    } else {
        refuse(reader, "auth_type basic needs username and password");
    }
}

static void read_oauth2(struct reader *reader)
{
    static const char *const methods[] = {"basic", "body", NULL};
    struct rest_oauth2 *oauth2 = &reader->config->oauth2;
    struct config_reader inside;
    struct rest_url url;
    if (!config_reader_inside(&reader->members, "oauth2", "oauth2.", &inside)) {
        refuse(reader, "auth_type oauth2_client_credentials needs oauth2 with token_url, client_id "
                       "and client_secret");
        return;
    }
    *oauth2 = (struct rest_oauth2){
        .token_url = config_text(&inside, "token_url", REST_URL_BYTES_MAX),
        .client_id = config_text(&inside, "client_id", 1000),
        .client_secret = config_secret(&inside, "client_secret", SECRET_BYTES_MAX),
        .scope = config_text(&inside, "scope", 1000),
        .in_body = config_word(&inside, "client_auth", methods, 0) == 1,
    };
    if (!oauth2->token_url || !oauth2->client_id || !oauth2->client_secret) {
        refuse(reader, "oauth2 needs token_url, client_id and client_secret");
        return;
    }
    struct diag diag = {0};
    enum err err = rest_url_read(&url, oauth2->token_url, &diag);
    if (err != ERR_OK) {
        config_refuse(&reader->members, err, "oauth2.token_url must be an http or https address");
        return;
    }
    oauth2->token_url = keep_buf(reader, &url.text);
    rest_url_fini(&url);
}

static void read_token_header(struct reader *reader, const char *name, const char *prefix,
                              const char *token)
{
    char value[SECRET_BYTES_MAX + 16];
    if (!token) {
        refuse(reader, "auth_token is missing: auth_type bearer and api_key need it");
        return;
    }
    snprintf(value, sizeof(value), "%s%s", prefix, token);
    reader->config->auth_header = header_line(reader, name, value);
}

static void read_auth(struct reader *reader, const struct rest_url *url)
{
    static const char *const words[] = {
        "none", "bearer", "api_key", "basic", "oauth2_client_credentials", NULL};
    struct rest_config *config = reader->config;
    config->auth = (enum rest_auth)config_word(&reader->members, "auth_type", words, 0);
    const char *token = config_secret(&reader->members, "auth_token", SECRET_BYTES_MAX);
    const char *user = config_text(&reader->members, "username", 1000);
    const char *password = config_secret(&reader->members, "password", SECRET_BYTES_MAX);
    const char *header = config_text(&reader->members, "api_key_header", 255);
    if (token && !is_header_value(token))
        refuse(reader, "auth_token must not have control characters");
    if (header && !is_header_name(header))
        refuse(reader, "api_key_header must be a header's name");
    if (failed(reader))
        return;
    if (config->auth == REST_AUTH_NONE && url->user.size > 0) {
        config->auth = REST_AUTH_BASIC; /* http://user:password@host/ */
        basic_header(reader, buf_bytes(&url->user), buf_bytes(&url->password));
    } else if (config->auth == REST_AUTH_BASIC) {
        read_basic(reader, token, user, password);
    } else if (config->auth == REST_AUTH_BEARER) {
        read_token_header(reader, "Authorization", "Bearer ", token);
    } else if (config->auth == REST_AUTH_API_KEY) {
        read_token_header(reader, header ? header : "X-API-Key", "", token);
    } else if (config->auth == REST_AUTH_OAUTH2) {
        read_oauth2(reader);
    }
}

/* --- the request ------------------------------------------------------------------------------ */

static bool has_header(const struct rest_config *config, const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 0; i < config->header_count; i++)
        if (config->headers[i].line && strncasecmp(config->headers[i].line, name, size) == 0 &&
            strchr(":;", config->headers[i].line[size]))
            return true;
    return false;
}

/* A text goes as it is, anything else as JSON. */
static void read_body(struct reader *reader)
{
    struct rest_config *config = reader->config;
    const json_t *value = config_member(&reader->members, "body");
    if (!value)
        return;
    bool is_nothing = json_is_object(value)
                          ? json_object_size(value) == 0
                          : json_is_string(value) && json_string_length(value) == 0;
    if (!config->is_post && is_nothing)
        return;
    if (!config->is_post) {
        refuse(reader, "body is only sent with method POST");
        return;
    }
    char *dumped = json_is_string(value) ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    const char *text = json_is_string(value) ? json_string_value(value) : dumped;
    size_t size = json_is_string(value) ? json_string_length(value) : dumped ? strlen(dumped) : 0;
    if (!text)
        no_memory(reader);
    else if (size > BODY_BYTES_MAX)
        refuse(reader, "body must be at most 1 MiB");
    else
        config->body = bytes_from(config_keep(&reader->members, text, size), size);
    free(dumped); /* jansson's own */
    config->has_body = config->body.data != NULL;
}

/* Said once here, so that no request has to think about it. */
static void add_default_headers(struct reader *reader)
{
    static const struct {
        const char *name;
        const char *value;
    } defaults[] = {
        {"Accept", "application/json, */*;q=0.5"},
        {"User-Agent", "ingestor/" INGESTOR_VERSION},
        {"Content-Type", "application/json"},
    };
    struct rest_config *config = reader->config;
    struct rest_header *headers =
        arena_zalloc(&config->arena, (config->header_count + 3) * sizeof(*headers));
    if (!headers) {
        no_memory(reader);
        return;
    }
    if (config->header_count > 0)
        memcpy(headers, config->headers, config->header_count * sizeof(*headers));
    for (size_t i = 0; i < 3; i++) {
        if (has_header(config, defaults[i].name) || (i == 2 && !config->has_body))
            continue;
        headers[config->header_count].line =
            header_line(reader, defaults[i].name, defaults[i].value);
        config->headers = headers;
        config->header_count++;
    }
    config->headers = headers;
}

static void read_path(struct reader *reader, const char *name, const char *text,
                      struct rest_path *path)
{
    struct diag diag = {0};
    enum err err = rest_path_parse(path, text, &reader->config->arena, &diag);
    if (err == ERR_OK)
        return;
    char sentence[600];
    snprintf(sentence, sizeof(sentence), "%s: %s", name, diag.text);
    config_refuse(&reader->members, err, sentence);
}

static void read_request(struct reader *reader)
{
    static const char *const methods[] = {"GET", "POST", "get", "post", NULL};
    struct rest_config *config = reader->config;
    struct config_reader *members = &reader->members;
    config->is_post = config_word(members, "method", methods, 0) % 2 == 1;
    config->interval_seconds =
        (uint32_t)config_number(members, "poll_interval", 1, 86400, REST_INTERVAL_SECONDS);
    config->timeout_ms =
        (uint32_t)config_number(members, "timeout_seconds", 1, 3600, REST_TIMEOUT_SECONDS) * 1000;
    config->response_max_bytes = (size_t)config_number(
        members, "max_response_bytes", 1, REST_RESPONSE_BYTES_MAX, REST_RESPONSE_BYTES_MAX);
    config->proxy = config_secret(members, "proxy", REST_URL_BYTES_MAX);
    const json_t *path = config_member(members, "data_path");
    if (!json_is_string(path) || json_string_length(path) > 0) /* "" is none */
        config->data_path_text = config_text(members, "data_path", 1000);
    read_path(reader, "data_path", config->data_path_text, &config->data_path);
    read_body(reader);
    add_default_headers(reader);
}

static void read_tls(struct reader *reader)
{
    static const char *const known[] = {"enabled", "ca_file", "cert_file", "key_file", "verify"};
    struct rest_config *config = reader->config;
    struct config_reader inside;
    const char *name;
    json_t *value;
    config->verify = true;
    if (!config_reader_inside(&reader->members, "tls", "tls.", &inside))
        return;
    json_object_foreach(config_member(&reader->members, "tls"), name, value)
    {
        bool is_known = false;
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            is_known = is_known || strcmp(known[i], name) == 0;
        if (!is_known)
            config_refuse(&inside, ERR_UNSUPPORTED,
                          "tls: only ca_file, cert_file, key_file and verify are known");
    }
    config->ca_file = config_text(&inside, "ca_file", FILE_NAME_MAX);
    config->cert_file = config_text(&inside, "cert_file", FILE_NAME_MAX);
    config->key_file = config_text(&inside, "key_file", FILE_NAME_MAX);
    config->verify = config_flag(&inside, "verify", true);
    if (config->key_file && !config->cert_file)
        config_refuse(&inside, ERR_INVALID, "tls.key_file needs tls.cert_file");
}

/* --- paging and cursor ------------------------------------------------------------------------ */

static void read_page_size(struct config_reader *inside, struct rest_pagination *pagination)
{
    bool is_offset = pagination->kind == REST_PAGING_OFFSET;
    const char *size_param = config_text(inside, "size_param", 255);
    const char *limit_param = config_text(inside, "limit_param", 255);
    pagination->size = config_number(inside, "size", 1, 1000000, 0);
    if (pagination->size == 0)
        pagination->size = config_number(inside, "limit", 1, 1000000, is_offset ? 100 : 0);
    pagination->size_param = size_param ? size_param : limit_param;
    if (is_offset && !pagination->size_param)
        pagination->size_param = "limit";
    if (pagination->size_param && pagination->size == 0)
        config_refuse(inside, ERR_INVALID, "pagination.size_param needs pagination.size");
}

static void read_pagination(struct reader *reader)
{
    static const char *const kinds[] = {"none", "link_header", "page", "offset", "cursor", NULL};
    static const char *const params[] = {NULL, NULL, "page", "offset", NULL};
    struct rest_pagination *pagination = &reader->config->pagination;
    struct config_reader inside;
    if (!config_reader_inside(&reader->members, "pagination", "pagination.", &inside))
        return;
    if (!config_member(&inside, "kind"))
        config_refuse(&inside, ERR_INVALID,
                      "pagination.kind is missing: link_header, page, offset or cursor");
    pagination->kind = (enum rest_paging)config_word(&inside, "kind", kinds, 0);
    pagination->pages_max =
        (uint32_t)config_number(&inside, "max_pages", 1, REST_PAGES_MAX, REST_PAGES_DEFAULT);
    pagination->param = config_text(&inside, "param", 255);
    if (!pagination->param)
        pagination->param = params[pagination->kind];
    pagination->start = config_number(&inside, "start", 0, 1000000000000ULL,
                                      pagination->kind == REST_PAGING_PAGE ? 1 : 0);
    read_page_size(&inside, pagination);
    const char *field = config_text(&inside, "field", 1000);
    read_path(reader, "pagination.field", field, &pagination->next);
    if (pagination->kind == REST_PAGING_CURSOR && !field)
        config_refuse(&inside, ERR_INVALID,
                      "pagination.field is missing: where a response has the next cursor");
}

/* A text or number that stands for "nothing read yet". */
static void read_initial(struct reader *reader, const struct config_reader *inside)
{
    const json_t *value = config_member(inside, "initial");
    if (!value)
        return;
    char *dumped = json_is_string(value) || json_is_number(value)
                       ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT)
                       : NULL;
    size_t size = dumped ? strlen(dumped) : 0;
    if (size == 0 || size > 256)
        refuse(reader, "cursor.initial must be a number or a text of at most 250 bytes");
    else
        reader->config->cursor_initial =
            bytes_from(config_keep(&reader->members, dumped, size), size);
    free(dumped); /* jansson's own */
}

static void read_cursor(struct reader *reader)
{
    struct rest_config *config = reader->config;
    struct config_reader inside;
    if (!config_reader_inside(&reader->members, "cursor", "cursor.", &inside))
        return;
    config->has_cursor = true;
    config->cursor_field_text = config_text(&inside, "field", 1000);
    config->cursor_param = config_text(&inside, "param", 255);
    if (!config->cursor_field_text || !config->cursor_param)
        config_refuse(&inside, ERR_INVALID,
                      "cursor needs field (of a record) and param (of the request)");
    read_path(reader, "cursor.field", config->cursor_field_text, &config->cursor_field);
    read_initial(reader, &inside);
}

/* --- all -------------------------------------------------------------------------------------- */

static void read_all(struct reader *reader)
{
    struct rest_url url;
    const char *text = config_secret(&reader->members, "url", REST_URL_BYTES_MAX);
    if (!config_member(&reader->members, "url"))
        refuse(reader, "url is missing: the address to poll, http or https");
    if (!text || failed(reader))
        return;
    enum err err = rest_url_read(&url, text, reader->members.diag);
    if (err != ERR_OK) {
        *reader->members.err = err;
        return;
    }
    read_headers(reader);
    make_urls(reader, &url);
    read_auth(reader, &url);
    rest_url_fini(&url);
    read_request(reader);
    read_tls(reader);
    read_pagination(reader);
    read_cursor(reader);
    common_options_read(&reader->config->common, &reader->members);
}

enum err rest_config_init(struct rest_config *config, const json_t *json, struct diag *diag)
{
    *config = (struct rest_config){0};
    arena_init(&config->arena, REST_CONFIG_BYTES_MAX);
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

void rest_config_fini(struct rest_config *config)
{
    arena_fini(&config->arena);
    *config = (struct rest_config){0};
}
