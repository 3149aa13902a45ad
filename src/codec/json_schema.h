#pragma once
/*
 * JSON Schema 2020-12 on jansson values, the vocabulary that connectors may use: type, enum, const,
 * properties, required, dependentRequired, additionalProperties, minProperties, maxProperties,
 * items, minItems, maxItems, uniqueItems, allOf, anyOf, oneOf, not, minimum, maximum,
 * exclusiveMinimum, exclusiveMaximum, multipleOf, minLength, maxLength, pattern, format (uri,
 * hostname, ipv4, ipv6), default, writeOnly; title, description and other annotations, and whatever
 * begins with x-, are ignored. Boolean schemas are schemas. A schema that uses another keyword
 * ($ref, if, …) is refused at compile time: better no schema than one that checks less than it
 * says.
 *
 * A compiled schema is immutable; any thread. Lengths count Unicode code points (RFC 8259 strings);
 * pattern is ECMA-262 as far as PCRE2 agrees, unanchored, with a limit of steps and memory beyond
 * which the value is refused ("too costly"). Time is bounded by the schema's nodes times the
 * value's; a value deeper than LIMIT_JSON_DEPTH is invalid (mask, unmask: ERR_TOO_DEEP).
 */
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

struct json_schema;

/* schema is borrowed and must outlive the result (patterns are compiled once). ERR_INVALID: diag
 * names the keyword and where it stands. ERR_NO_MEMORY. */
enum err json_schema_compile(const json_t *schema, struct json_schema **ret_schema,
                             struct diag *diag) ERR_MUST_USE;
void json_schema_free(struct json_schema *schema); /* NULL is fine */

/* One thing that is wrong. path: JSON Pointer of the offending value ("" the whole; for a missing
 * or an unknown property the pointer of that property). keyword: "required", "type", "maximum", …
 * message: a sentence with the rule, what was found, and for an unknown property or enum value the
 * nearest known one; never the value of a writeOnly property. Names over 100 bytes are cut, in path
 * too, and end in "…". Live for the call. */
typedef void (*json_schema_on_error)(void *ctx, const char *path, const char *keyword,
                                     const char *message);

/* ERR_OK: valid. ERR_INVALID: not, on_error (may be NULL) was called for each error, at most 20.
 * Under oneOf/anyOf one error tells what the alternatives want. ERR_NO_MEMORY. */
enum err json_schema_validate(const struct json_schema *schema, const json_t *value,
                              json_schema_on_error on_error, void *ctx) ERR_MUST_USE;
/* The same, and no message shows what was found, wherever it stands. */
enum err json_schema_validate_secret(const struct json_schema *schema, const json_t *value,
                                     json_schema_on_error on_error, void *ctx) ERR_MUST_USE;

/* Puts the schema's defaults where properties lack (recursively through properties; not through
 * oneOf/anyOf). value is an object, changed in place. */
enum err json_schema_defaults(const struct json_schema *schema, json_t *value) ERR_MUST_USE;

/* "${env:NAME}" or "${file:/path}" and nothing else: a text that stands for another. Validation
 * asks nothing of it but its type: pattern, format and lengths are for the text it stands for. */
bool json_schema_is_reference(const json_t *value);

/* A deep copy of value in which every non-null value of a property marked "writeOnly": true is
 * replaced by "********" (wherever the schema can reach it: properties, items,
 * additionalProperties, oneOf, anyOf). A reference ("${env:NAME}", "${file:…}") is no secret and
 * stays. */
enum err json_schema_mask(const struct json_schema *schema, const json_t *value,
                          json_t **ret_masked) ERR_MUST_USE;
/* The way back: a copy of value in which a writeOnly property that holds the mask gets what stands
 * at the same place in stored (nothing there: the property is left out). */
enum err json_schema_unmask(const struct json_schema *schema, const json_t *value,
                            const json_t *stored, json_t **ret_value) ERR_MUST_USE;
/* For a value that has nothing stored behind it: ERR_INVALID when a writeOnly property holds the
 * mask (diag names it), ERR_TOO_DEEP. */
enum err json_schema_refuse_mask(const struct json_schema *schema, const json_t *value,
                                 struct diag *diag) ERR_MUST_USE;
