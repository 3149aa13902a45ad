#pragma once
/*
 * CBOR (RFC 8949) to its JSON equivalent (§6.1 there, contract/data.md "Payload to records"). Pure;
 * any thread; reads nothing outside the payload; nothing recurses; time and memory are bounded by
 * the payload's size and out's maximum.
 *
 * Byte strings become base64, or what an enclosing tag 21-23 asks for; bignums (tags 2, 3)
 * base64url, "~" before negative ones; NaN, the infinities, undefined and unknown simple values
 * null; any other tag its content; a key that is no text its text.
 */
#include "base/buf.h"

/* Appends one value. ERR_SYNTAX: not one well-formed and valid item (*ret_why, a static text, says
 * why); ERR_TOO_DEEP; ERR_TOO_LARGE: out's maximum; ERR_NO_MEMORY. */
enum err cbor_to_json(struct bytes payload, struct buf *out, const char **ret_why) ERR_MUST_USE;

/* As a SenML pack (RFC 8428 §6): integer labels of records become the text labels, byte strings
 * base64url, decimal fractions (tag 4) numbers. */
enum err cbor_senml_to_json(struct bytes payload, struct buf *out,
                            const char **ret_why) ERR_MUST_USE;
