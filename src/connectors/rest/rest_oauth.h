#pragma once
/*
 * OAuth 2 client credentials (RFC 6749 §4.4): the form that asks for a token, and the token that
 * came. Pure but for the clock that the caller reads; one thread. The token is a secret: it is in
 * no log and no error text.
 */
#include "connectors/rest/rest_config.h"

#define REST_TOKEN_BYTES_MAX    65536
#define REST_TOKEN_MARGIN_S     30
#define REST_TOKEN_DEFAULT_S    3600
#define REST_TOKEN_ANSWER_BYTES (1 * MIB)

struct rest_token {
    struct buf header; /* "Authorization: Bearer …"; empty: none */
    int64_t expires_ns;
    bool fresh; /* not yet used: a 401 with it is final */
};

void rest_token_init(struct rest_token *token);
void rest_token_fini(struct rest_token *token);
bool rest_token_good(const struct rest_token *token, int64_t now_ns);
void rest_token_drop(struct rest_token *token);

/* Replaces out. */
enum err rest_token_form(const struct rest_oauth2 *oauth2, struct buf *out) ERR_MUST_USE;
/* "Authorization: Basic …" of the client; replaces out. */
enum err rest_token_client(const struct rest_oauth2 *oauth2, struct buf *out) ERR_MUST_USE;
/* Takes the answer's body. ERR_PROTOCOL with a sentence when there is no token in it. */
enum err rest_token_take(struct rest_token *token, struct bytes body, int64_t now_ns,
                         struct diag *diag) ERR_MUST_USE;
/* What a refusing body names as its error ("invalid_client"), or "". */
void rest_token_error(struct bytes body, char ret_word[64]);
