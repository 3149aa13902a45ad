#pragma once
/*
 * CORS as Starlette's middleware answers it, never with credentials. Pure; a struct cors is built
 * once and then only read.
 */
#include "base/buf.h"

struct cors {
    char *origins; /* "a,b,c", without blanks; NULL: none allowed */
    bool any;
};

/* text: "*", or origins separated by commas. Fails only without memory. */
enum err cors_init(struct cors *cors, const char *text) ERR_MUST_USE;
void cors_fini(struct cors *cors);

/* What Access-Control-Allow-Origin is to say for this request: NULL, "*", or the origin itself. */
const char *cors_allow_origin(const struct cors *cors, const char *origin);

#define CORS_METHODS "GET, POST, PUT, DELETE"
bool cors_method_allowed(const char *method);
/* Whether the list of header names may be sent back as it is. */
bool cors_headers_valid(const char *names);
