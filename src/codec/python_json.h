#pragma once
/*
 * JSON text byte by byte as Python's json.dumps writes it: ", " and ": " between things, everything
 * beyond ASCII escaped in lower case, floats as repr has them. For databases that the Python
 * service must be able to read again. Pure; any thread. What is nested deeper than
 * LIMIT_JSON_DEPTH: ERR_TOO_DEEP.
 */
#include "base/buf.h"

#include <jansson.h>

/* Appends the value. Object members stand in the order in which they were put in. */
enum err python_json_write(const json_t *value, struct buf *out) ERR_MUST_USE;
