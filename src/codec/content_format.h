#pragma once
/*
 * The formats that payloads come in, and the way of those that are no JSON to the JSON text that
 * decodes to the same (contract/data.md "Payload to records"). Pure; any thread.
 */
#include "base/buf.h"

/* The numbers stand in the journal. */
enum content_format {
    CONTENT_AUTO = 0, /* JSON if it parses, else text, else base64 */
    CONTENT_JSON = 1,
    CONTENT_CBOR = 2,
    CONTENT_SENML_JSON = 3, /* a pack's first byte tells the two apart */
    CONTENT_SENML_CBOR = 4,
    CONTENT_TEXT = 5,
    CONTENT_CSV = 6,
    CONTENT_MSGPACK = 7,
    CONTENT_NDJSON = 8,
};

/* What a content type (with or without parameters) says of decoding. CONTENT_AUTO: nothing certain;
 * so do JSON and text types, for devices label text as JSON and the other way round. */
enum content_format content_format_of_type(struct bytes content_type);
/* CBOR, SenML, CSV and MessagePack: content_to_json reads them. */
bool content_format_converts(enum content_format format);

/* Appends one JSON value (device dialect): an object, an array of records, or what else the payload
 * is. now_us: what a relative time of SenML counts from. Failures other than ERR_NO_MEMORY are the
 * payload's, and *ret_why, a static text, says what is wrong with it. */
enum err content_to_json(enum content_format format, struct bytes payload, int64_t now_us,
                         struct buf *out, const char **ret_why) ERR_MUST_USE;
/* The dead letters' reason for such a payload: invalid_cbor, … */
const char *content_format_reason(enum content_format format);
