#include "connectors/http_push_check.h"

#include "base/alloc.h"

#include <stdio.h>
#include <strings.h>

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
    "\"format\":{\"type\":\"string\",\"enum\":[\"auto\",\"json\",\"ndjson\",\"text\"],"
    "\"default\":\"auto\",\"title\":\"Format\",\"description\":\"auto: by the content type\"},"
    "\"timestamp_field\":{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":255,"
    "\"title\":\"Timestamp field\"},"
    "\"sensor_id_field\":{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":255,"
    "\"title\":\"Sensor id field\"}"
    "}}";

static const char *text_of(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text ? text : "";
}

static enum err format_of(const json_t *json, enum http_push_format *ret_format, struct diag *diag)
{
    static const char *const names[] = {"auto", "json", "ndjson", "text"};
    const char *name = text_of(json, "format");
    *ret_format = HTTP_PUSH_FORMAT_AUTO;
    if (!name[0])
        return ERR_OK;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret_format = (enum http_push_format)i;
            return ERR_OK;
        }
    }
    return diag_set(diag, ERR_INVALID, "format must be auto, json, ndjson or text, not '%.40s'",
                    name);
}

enum err http_push_config_init(struct http_push_config *config, const json_t *json,
                               struct diag *diag)
{
    *config = (struct http_push_config){.body_bytes_max = HTTP_PUSH_BODY_BYTES_MAX,
                                        .timestamp_field = text_of(json, "timestamp_field"),
                                        .sensor_id_field = text_of(json, "sensor_id_field")};
    const json_t *bytes_max = json_object_get(json, "max_body_bytes");
    if (bytes_max && (json_integer_value(bytes_max) < 1 ||
                      json_integer_value(bytes_max) > (json_int_t)HTTP_PUSH_BODY_BYTES_MAX))
        return diag_set(diag, ERR_INVALID, "max_body_bytes must be between 1 and %zu",
                        HTTP_PUSH_BODY_BYTES_MAX);
    if (bytes_max)
        config->body_bytes_max = (size_t)json_integer_value(bytes_max);
    enum err err = format_of(json, &config->format, diag);
    const char *token = text_of(json, "token");
    if (err != ERR_OK || !token[0])
        return err;
    config->token = mem_strdup(token);
    if (!config->token)
        return ERR_NO_MEMORY;
    return sha256_of(bytes_from_text(token), config->token_digest);
}

void http_push_config_fini(struct http_push_config *config)
{
    mem_free(config->token);
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
            401, "This data source asks for a token: send Authorization: Bearer <token>, or the "
                 "body's HMAC-SHA-256 in X-Hub-Signature-256"};
        return;
    }
    if (push->authorization)
        err = bearer_check(config, push->authorization, &good);
    if (err == ERR_OK && !good && push->signature)
        err = signature_check(config, push, &good);
    if (err != ERR_OK)
        *verdict = (struct http_push_verdict){503, "The service is out of memory: try again later"};
    else if (!good)
        *verdict =
            (struct http_push_verdict){403, "The token or signature is not this data source's"};
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
                     enum http_push_shape *ret_shape, struct http_push_verdict *verdict)
{
    bool form = content_type && type_is_form(content_type);
    *ret_shape = HTTP_PUSH_JSON;
    if (config->format == HTTP_PUSH_FORMAT_NDJSON && !form) {
        *ret_shape = HTTP_PUSH_LINES;
    } else if (config->format == HTTP_PUSH_FORMAT_TEXT && !form) {
        *ret_shape = HTTP_PUSH_WHOLE;
    } else if (config->format == HTTP_PUSH_FORMAT_JSON && !form) {
        *ret_shape = HTTP_PUSH_JSON;
    } else if (content_type && type_is_lines(content_type)) {
        *ret_shape = HTTP_PUSH_LINES;
    } else if (content_type && content_type[strspn(content_type, " \t")] &&
               !type_is_json(content_type)) {
        *verdict = (struct http_push_verdict){
            422, "This content type is not taken: send application/json or application/x-ndjson"};
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
                     enum http_push_shape *ret_shape, struct http_push_verdict *ret_verdict)
{
    *ret_verdict = (struct http_push_verdict){0};
    *ret_shape = HTTP_PUSH_JSON;
    sender_check(config, push, ret_verdict);
    if (ret_verdict->status == 0 && push->body.size > config->body_bytes_max)
        *ret_verdict = (struct http_push_verdict){
            413, "The body is larger than this data source takes (max_body_bytes)"};
    if (ret_verdict->status == 0 && push->idempotency_key &&
        !key_well_formed(push->idempotency_key))
        *ret_verdict = (struct http_push_verdict){
            400, "Idempotency-Key must be 1 to 255 printable ASCII characters"};
    if (ret_verdict->status == 0)
        shape_of(config, push->content_type, ret_shape, ret_verdict);
    if (ret_verdict->status == 0 && push->body.size == 0 && *ret_shape == HTTP_PUSH_JSON)
        *ret_verdict = (struct http_push_verdict){
            422, "The body is empty: send a JSON object, an array, or NDJSON"};
}

void http_push_plain_text(const char *text, char *ret_text, size_t size)
{
    snprintf(ret_text, size, "%s", text);
    for (char *c = ret_text; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
}
