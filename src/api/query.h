#pragma once
/* Unescaping of paths and queries, and query parameters with their types, as FastAPI reads them.
 * Pure; what is made lives in the request's arena. */
#include "api/envelope.h"
#include "api/message.h"

/* %XX and, in a query, + as space; what is no valid escape stays as it is, what is no UTF-8
 * afterwards becomes U+FFFD. */
enum err api_unescape(struct arena *arena, struct bytes text, bool plus_is_space,
                      struct bytes *ret_text) ERR_MUST_USE;

/* The last value of that name, unescaped. *ret_present false when the query has none. */
enum err api_query_get(struct api_request *request, const char *name, bool *ret_present,
                       struct bytes *ret_value) ERR_MUST_USE;

/* An integer as pydantic reads it from text: "3", " +3 ", "1_000", "3.0". Beyond int64 it
 * saturates. False when it is none. */
bool api_integer_parse(struct bytes text, int64_t *ret_value);

/* An integer parameter of at least minimum; absent: *ret_value stays. What is wrong is added to
 * invalid. */
enum err api_query_integer(struct api_request *request, const char *name, int64_t minimum,
                           int64_t *ret_value, struct api_invalid *invalid) ERR_MUST_USE;

/* A boolean as pydantic reads it from text: true, on, yes, y, t, 1 and their opposites. */
bool api_boolean_parse(struct bytes text, bool *ret_value);
enum err api_query_boolean(struct api_request *request, const char *name, bool *ret_value,
                           struct api_invalid *invalid) ERR_MUST_USE;

/* A moment: ISO 8601 or a Unix time; absent: *ret_us stays. */
enum err api_query_moment(struct api_request *request, const char *name, int64_t *ret_us,
                          struct api_invalid *invalid) ERR_MUST_USE;

/* The path's parameter of that index, as an integer. name: as the path calls it. */
void api_path_integer(const struct api_request *request, size_t index, const char *name,
                      int64_t *ret_value, struct api_invalid *invalid);
