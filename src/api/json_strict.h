#pragma once
/*
 * The strict check of a JSON request body, before jansson builds it: RFC 8259 and nothing beyond
 * (no NaN, no Infinity), well-formed UTF-8, bounded depth. Where it fails it says so as Python's
 * json module does, position in characters included, since that is what FastAPI answers. Pure; no
 * memory; time linear in the text.
 */
#include "base/bytes.h"
#include "base/err.h"

struct json_problem {
    size_t offset;    /* in characters, not bytes */
    const char *text; /* "Expecting value"; static */
};

/* ERR_SYNTAX with *ret_problem; ERR_INVALID: not UTF-8; ERR_TOO_DEEP: deeper than
 * LIMIT_API_JSON_DEPTH. */
enum err json_strict_check(struct bytes text, struct json_problem *ret_problem) ERR_MUST_USE;
