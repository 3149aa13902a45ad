#include "connectors/rest/rest_oauth.h"

#include "base/limits.h"
#include "codec/base64.h"
#include "connectors/rest/rest_url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

void rest_token_init(struct rest_token *token)
{
    *token = (struct rest_token){0};
    buf_init(&token->header, REST_TOKEN_BYTES_MAX + 64);
}

void rest_token_fini(struct rest_token *token)
{
    buf_fini(&token->header);
}

bool rest_token_good(const struct rest_token *token, int64_t now_ns)
{
    return token->header.size > 0 && now_ns < token->expires_ns;
}

void rest_token_drop(struct rest_token *token)
{
    buf_clear(&token->header);
    token->fresh = false;
}

static void form_member(struct buf *out, const char *name, const char *value)
{
    if (out->size > 0)
        buf_byte(out, '&');
    buf_printf(out, "%s=", name);
    enum err err = rest_url_encode(out, bytes_from_text(value));
    (void)err; /* sticks in out */
}

enum err rest_token_form(const struct rest_oauth2 *oauth2, struct buf *out)
{
    buf_clear(out);
    form_member(out, "grant_type", "client_credentials");
    if (oauth2->scope)
        form_member(out, "scope", oauth2->scope);
    if (oauth2->in_body) {
        form_member(out, "client_id", oauth2->client_id);
        form_member(out, "client_secret", oauth2->client_secret);
    }
    return out->err;
}

/* Both parts are form-encoded first (RFC 6749 §2.3.1). */
enum err rest_token_client(const struct rest_oauth2 *oauth2, struct buf *out)
{
    struct buf pair;
    buf_init(&pair, 4 * REST_CONFIG_BYTES_MAX);
    enum err err = rest_url_encode(&pair, bytes_from_text(oauth2->client_id));
    if (err == ERR_OK)
        err = buf_byte(&pair, ':');
    if (err == ERR_OK)
        err = rest_url_encode(&pair, bytes_from_text(oauth2->client_secret));
    buf_clear(out);
    buf_text(out, "Authorization: Basic ");
    if (err == ERR_OK)
        err = base64_append(out, buf_bytes(&pair));
    buf_fini(&pair);
    return err;
}

/* Seconds as a number or, as some servers have it, its digits. */
static int64_t expires_in(const json_t *object)
{
    const json_t *value = json_object_get(object, "expires_in");
    double seconds = REST_TOKEN_DEFAULT_S;
    if (json_is_number(value))
        seconds = json_number_value(value);
    else if (json_is_string(value))
        seconds = strtod(json_string_value(value), NULL);
    if (!(seconds >= 1))
        seconds = 1;
    return seconds < 365.0 * 86400 ? (int64_t)seconds : 365LL * 86400;
}

static bool is_token(const json_t *value)
{
    const char *text = json_string_value(value);
    size_t size = json_string_length(value);
    if (!text || size == 0 || size > REST_TOKEN_BYTES_MAX)
        return false;
    for (size_t i = 0; i < size; i++)
        if (text[i] <= ' ' || text[i] == 0x7f)
            return false;
    return true;
}

enum err rest_token_take(struct rest_token *token, struct bytes body, int64_t now_ns,
                         struct diag *diag)
{
    json_t *object = json_loadb((const char *)body.data, body.size, 0, NULL);
    const json_t *value = json_object_get(object, "access_token");
    const char *type = json_string_value(json_object_get(object, "token_type"));
    enum err err = ERR_OK;
    if (!is_token(value))
        err = diag_set(diag, ERR_PROTOCOL, "oauth2: the answer of token_url has no access_token");
    else if (type && strcasecmp(type, "bearer") != 0)
        err = diag_set(diag, ERR_UNSUPPORTED, "oauth2: the token is no bearer token");
    rest_token_drop(token);
    if (err == ERR_OK)
        err = buf_printf(&token->header, "Authorization: Bearer %s", json_string_value(value));
    int64_t seconds = expires_in(object);
    int64_t margin = seconds > 2 * REST_TOKEN_MARGIN_S ? REST_TOKEN_MARGIN_S : seconds / 4;
    token->expires_ns = now_ns + (seconds - margin) * NS_PER_S;
    token->fresh = true;
    json_decref(object);
    return err;
}

void rest_token_error(struct bytes body, char ret_word[64])
{
    json_t *object = json_loadb((const char *)body.data, body.size, 0, NULL);
    const char *word = json_string_value(json_object_get(object, "error"));
    size_t size = word ? strspn(word, "abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQRSTUVWXYZ") : 0;
    ret_word[0] = '\0';
    if (size > 0 && size < 64 && word[size] == '\0')
        snprintf(ret_word, 64, "%s", word);
    json_decref(object);
}
