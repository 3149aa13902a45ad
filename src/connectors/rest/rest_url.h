#pragma once
/*
 * Addresses: checking what is configured, parameters, where a redirect or a link leads. On
 * libcurl's parser, so that what is checked here is what is asked there. Pure; any thread. Texts
 * that come from outside are at most REST_URL_BYTES_MAX long.
 */
#include "base/buf.h"

#define REST_URL_BYTES_MAX 16384

struct rest_url {
    struct buf text;     /* absolute, http or https, without user information and fragment */
    struct buf user;     /* decoded; empty when there was none */
    struct buf password; /* decoded */
};

/* ERR_INVALID: diag says what is wrong, without the address. */
enum err rest_url_read(struct rest_url *url, const char *text, struct diag *diag) ERR_MUST_USE;
void rest_url_fini(struct rest_url *url);

/* Where reference (absolute or relative) leads from base: appended to out, without user information
 * and fragment. ERR_INVALID when that is not http or https. */
enum err rest_url_resolve(const char *base, const char *reference, struct buf *out) ERR_MUST_USE;

/* Scheme, host and port are the same: credentials may go there. */
bool rest_url_same_origin(const char *a, const char *b);

/* The address without its query, for people's eyes: appended to out. */
enum err rest_url_shown(const char *url, struct buf *out) ERR_MUST_USE;
/* Its path without the leading slashes: what dataset templates call the topic. */
enum err rest_url_path(const char *url, struct buf *out) ERR_MUST_USE;

/* Sets a parameter of the query of the address in url (a whole one): replaced where it stands, else
 * added. Name and value are encoded here. */
enum err rest_url_set(struct buf *url, const char *name, struct bytes value) ERR_MUST_USE;
/* Appends name=value, encoded (application/x-www-form-urlencoded, with %20). */
enum err rest_url_encode(struct buf *out, struct bytes text) ERR_MUST_USE;
