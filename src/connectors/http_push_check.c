#include "connectors/http_push_check.h"

#include <stdio.h>
#include <strings.h>

#define CONFIG_BYTES_MAX (256 * KIB)
#define TOKEN_BYTES_MAX  4096

/* Adjacent literals, one member each, so that a change is one line of diff. */
const char http_push_config_schema[] =
    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\","
    "\"title\":\"HTTP Push\",\"type\":\"object\",\"additionalProperties\":false,"
    "\"properties\":{"
    "\"token\":{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":4096,"
    "\"writeOnly\":true,\"title\":\"Token\",\"description\":\"Asked for as Authorization: Bearer, "
    "or as the key of an HMAC-SHA-256 of the body in X-Hub-Signature-256; none: everybody may "
    "post\"},"
    "\"max_body_bytes\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":16777216,"
    "\"default\":16777216,\"title\":\"Largest body\",\"description\":\"In bytes, inflated\"},"
    "\"format\":{\"type\":\"string\",\"enum\":[\"auto\",\"json\",\"cbor\",\"senml\",\"text\","
    "\"csv\",\"msgpack\"],\"default\":\"auto\",\"title\":\"Format\","
    "\"description\":\"auto: by the content type; text: a body is one text; others: whatever the "
    "content type\"}"
    "}}";

enum err http_push_config_init(struct http_push_config *config, const json_t *json,
                               struct diag *diag)
{
    *config = (struct http_push_config){0};
    arena_init(&config->arena, CONFIG_BYTES_MAX);
    enum err err = ERR_OK;
    struct config_reader reader = {
        .arena = &config->arena, .json = json, .diag = diag, .err = &err, .within = ""};
    if (!json_is_object(json))
        return diag_set(diag, ERR_INVALID, "the configuration must be a JSON object");
    config->token = config_secret(&reader, "token", TOKEN_BYTES_MAX);
    config->body_bytes_max = config_number(&reader, "max_body_bytes", 1, HTTP_PUSH_BODY_BYTES_MAX,
                                           HTTP_PUSH_BODY_BYTES_MAX);
    common_options_read(&config->common, &reader);
    if (err == ERR_OK && config->token)
        err = sha256_of(bytes_from_text(config->token), config->token_digest);
    return err;
}

void http_push_config_fini(struct http_push_config *config)
{
    arena_fini(&config->arena);
    *config = (struct http_push_config){0};
}

/* ---- who it is ---- */

static bool digests_equal(const uint8_t a[SHA256_BYTES], const uint8_t b[SHA256_BYTES])
{
    uint8_t difference = 0;
    for (size_t i = 0; i < SHA256_BYTES; i++)
        difference |= a[i] ^ b[i];
    return difference == 0;
}

/* Of digests, so that neither bytes nor length of the token show in the time it takes. */
static enum err bearer_check(const struct http_push_config *config, const char *authorization,
                             bool *ret_good)
{
    uint8_t digest[SHA256_BYTES];
    *ret_good = false;
    if (strncasecmp(authorization, "Bearer ", 7) != 0)
        return ERR_OK;
    const char *given = authorization + 7 + strspn(authorization + 7, " ");
    enum err err = sha256_of(bytes_from_text(given), digest);
    *ret_good = err == ERR_OK && digests_equal(digest, config->token_digest);
    return err;
}

static enum err signature_check(const struct http_push_config *config,
                                const struct connector_push *push, bool *ret_good)
{
    uint8_t given[SHA256_BYTES];
    uint8_t digest[SHA256_BYTES];
    *ret_good = false;
    if (strncasecmp(push->signature, "sha256=", 7) != 0 ||
        !hex_decode(push->signature + 7, given, SHA256_BYTES))
        return ERR_OK;
    enum err err = sha256_hmac(bytes_from_text(config->token), push->body, digest);
    *ret_good = err == ERR_OK && digests_equal(digest, given);
    return err;
}

static void sender_check(const struct http_push_config *config, const struct connector_push *push,
                         struct http_push_verdict *verdict)
{
    bool good = !config->token;
    enum err err = ERR_OK;
    if (good)
        return;
    if (!push->authorization && !push->signature) {
        *verdict = (struct http_push_verdict){
            .status = 401,
            .message =
                "This data source asks for a token: send Authorization: Bearer <token>, or the "
                "body's HMAC-SHA-256 in X-Hub-Signature-256"};
        return;
    }
    if (push->authorization)
        err = bearer_check(config, push->authorization, &good);
    if (err == ERR_OK && !good && push->signature)
        err = signature_check(config, push, &good);
    if (err != ERR_OK)
        *verdict = (struct http_push_verdict){
            .status = 503, .message = "The service is out of memory: try again later"};
    else if (!good)
        *verdict = (struct http_push_verdict){
            .status = 403, .message = "The token or signature is not this data source's"};
}

/* ---- what it brings ---- */

static bool type_is(const char *content_type, const char *name)
{
    size_t size = strcspn(content_type, "; \t");
    return size == strlen(name) && strncasecmp(content_type, name, size) == 0;
}

static bool type_is_json(const char *content_type)
{
    size_t size = strcspn(content_type, "; \t");
    return type_is(content_type, "application/json") || type_is(content_type, "text/json") ||
           (size > 17 && strncasecmp(content_type, "application/", 12) == 0 &&
            strncasecmp(content_type + size - 5, "+json", 5) == 0);
}

static bool type_is_lines(const char *content_type)
{
    return type_is(content_type, "application/x-ndjson") ||
           type_is(content_type, "application/ndjson") ||
           type_is(content_type, "application/jsonl") ||
           type_is(content_type, "application/x-jsonlines") ||
           type_is(content_type, "application/jsonlines");
}

/* Browsers send these from any page of any site, without asking. */
static bool type_is_form(const char *content_type)
{
    return type_is(content_type, "application/x-www-form-urlencoded") ||
           type_is(content_type, "multipart/form-data");
}

static void shape_of(const struct http_push_config *config, const char *content_type,
                     enum content_format format, enum http_push_shape *ret_shape,
                     struct http_push_verdict *verdict)
{
    bool form = content_type && type_is_form(content_type);
    *ret_shape = HTTP_PUSH_JSON;
    if (content_format_converts(format) && !form)
        return;
    if (config->common.format == CONTENT_TEXT && !form) {
        *ret_shape = HTTP_PUSH_WHOLE;
    } else if (content_type && type_is_lines(content_type)) {
        *ret_shape = HTTP_PUSH_LINES;
    } else if (content_type && content_type[strspn(content_type, " \t")] &&
               !type_is_json(content_type) && (form || config->common.format != CONTENT_JSON)) {
        *verdict = (struct http_push_verdict){
            .status = 422,
            .message =
                "This content type is not taken: send application/json, application/x-ndjson, "
                "application/cbor, application/senml+json, application/senml+cbor or "
                "application/msgpack",
            .error_type = "dict_type"};
    }
}

static bool key_well_formed(const char *key)
{
    size_t length = strnlen(key, HTTP_PUSH_KEY_BYTES_MAX + 1);
    if (length == 0 || length > HTTP_PUSH_KEY_BYTES_MAX)
        return false;
    for (const char *c = key; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            return false;
    return true;
}

void http_push_check(const struct http_push_config *config, const struct connector_push *push,
                     enum http_push_shape *ret_shape, enum content_format *ret_format,
                     struct http_push_verdict *ret_verdict)
{
    const char *type = push->content_type ? push->content_type : "";
    *ret_verdict = (struct http_push_verdict){0};
    *ret_shape = HTTP_PUSH_JSON;
    *ret_format =
        common_options_format_of(&config->common, bytes_from_text(type + strspn(type, " \t")));
    sender_check(config, push, ret_verdict);
    if (ret_verdict->status == 0 && push->body.size > config->body_bytes_max)
        *ret_verdict = (struct http_push_verdict){
            .status = 413,
            .message = "The body is larger than this data source takes (max_body_bytes)"};
    if (ret_verdict->status == 0 && push->idempotency_key &&
        !key_well_formed(push->idempotency_key))
        *ret_verdict = (struct http_push_verdict){
            .status = 400,
            .message = "Idempotency-Key must be 1 to 255 printable ASCII characters"};
    if (ret_verdict->status == 0)
        shape_of(config, push->content_type, *ret_format, ret_shape, ret_verdict);
    if (ret_verdict->status == 0 && push->body.size == 0 && *ret_shape == HTTP_PUSH_JSON)
        *ret_verdict = (struct http_push_verdict){
            .status = 422,
            .message = "The body is empty: send a JSON object, an array, or NDJSON",
            .error_type = "missing"};
}

/* Without what is not printable ASCII; cut to size. */
static void plain_text(const char *text, char *ret_text, size_t size)
{
    snprintf(ret_text, size, "%s", text);
    for (char *c = ret_text; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
}

enum err http_push_extras(const struct connector_push *push, struct buf *out)
{
    const char *const values[] = {push->remote, push->content_type};
    for (uint8_t i = 0; i < 2; i++) {
        char text[256];
        if (!values[i] || !values[i][0])
            continue;
        plain_text(values[i], text, sizeof(text));
        enum err err = message_field_append(
            out, &(struct message_field){
                     .index = i, .type = FIELD_STRING, .text = bytes_from_text(text)});
        if (err != ERR_OK)
            return err;
    }
    return out->err;
}
