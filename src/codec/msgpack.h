#pragma once
/*
 * MessagePack (its specification of 2017) to JSON text. Pure; any thread; reads nothing outside the
 * payload; nothing recurses; time and memory are bounded by the payload's size and out's maximum.
 *
 * Binary, and a string that is not UTF-8 (old encoders know no other kind), become base64; a
 * timestamp (extension -1) ISO 8601; another extension {"type": number, "data": base64}; NaN and
 * the infinities stay numbers, as in JSON of devices; a key that is no text its text.
 */
#include "base/buf.h"

/* Appends one value. ERR_SYNTAX: not one well-formed object of MessagePack (*ret_why, a static
 * text, says why); ERR_TOO_DEEP; ERR_TOO_LARGE: out's maximum; ERR_NO_MEMORY. */
enum err msgpack_to_json(struct bytes payload, struct buf *out, const char **ret_why) ERR_MUST_USE;
