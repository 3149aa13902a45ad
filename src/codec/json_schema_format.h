#pragma once
/* The formats of JSON Schema that connectors may use. Pure; any thread. */
#include "base/bytes.h"
#include "base/err.h"

enum json_schema_format {
    JSON_SCHEMA_FORMAT_NONE,
    JSON_SCHEMA_FORMAT_URI,      /* RFC 3986, absolute or with fragment; not a reference */
    JSON_SCHEMA_FORMAT_HOSTNAME, /* RFC 1123 §2.1, xn-- labels by RFC 5891 (codec/idna.h) */
    JSON_SCHEMA_FORMAT_IPV4,
    JSON_SCHEMA_FORMAT_IPV6,
    JSON_SCHEMA_FORMAT_COUNT
};

/* NONE when it is not one of them. */
enum json_schema_format json_schema_format_find(const char *name);
/* "a URI such as https://example.org/path" */
const char *json_schema_format_wish(enum json_schema_format format);
/* ERR_OK, ERR_INVALID, ERR_NO_MEMORY (an xn-- label). */
enum err json_schema_format_check(enum json_schema_format format, struct bytes text) ERR_MUST_USE;
