#include "codec/content_format.h"

#include "codec/cbor.h"
#include "codec/csv.h"
#include "codec/msgpack.h"
#include "codec/senml.h"

#include <strings.h>

static const struct {
    const char *type;
    enum content_format format;
} types[] = {
    {"application/cbor", CONTENT_CBOR},
    {"application/senml+json", CONTENT_SENML_JSON},
    {"application/sensml+json", CONTENT_SENML_JSON},
    {"application/senml+cbor", CONTENT_SENML_CBOR},
    {"application/sensml+cbor", CONTENT_SENML_CBOR},
    {"application/msgpack", CONTENT_MSGPACK},
    {"application/x-msgpack", CONTENT_MSGPACK},
    {"application/vnd.msgpack", CONTENT_MSGPACK},
    {"application/x-ndjson", CONTENT_NDJSON},
    {"application/ndjson", CONTENT_NDJSON},
    {"application/jsonl", CONTENT_NDJSON},
    {"application/x-jsonlines", CONTENT_NDJSON},
    {"application/jsonlines", CONTENT_NDJSON},
};

enum content_format content_format_of_type(struct bytes content_type)
{
    size_t size = 0;
    while (size < content_type.size && content_type.data[size] != ';')
        size++;
    while (size > 0 && (content_type.data[size - 1] == ' ' || content_type.data[size - 1] == '\t'))
        size--;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (size == strlen(types[i].type) &&
            strncasecmp((const char *)content_type.data, types[i].type, size) == 0)
            return types[i].format;
    return CONTENT_AUTO;
}

bool content_format_converts(enum content_format format)
{
    return content_format_reason(format) != NULL;
}

const char *content_format_reason(enum content_format format)
{
    switch (format) {
    case CONTENT_CBOR:
        return "invalid_cbor";
    case CONTENT_SENML_JSON:
    case CONTENT_SENML_CBOR:
        return "invalid_senml";
    case CONTENT_CSV:
        return "invalid_csv";
    case CONTENT_MSGPACK:
        return "invalid_msgpack";
    case CONTENT_AUTO:
    case CONTENT_JSON:
    case CONTENT_TEXT:
    case CONTENT_NDJSON:
        break;
    }
    return NULL;
}

enum err content_to_json(enum content_format format, struct bytes payload, int64_t now_us,
                         struct buf *out, const char **ret_why)
{
    enum err err = ERR_BUG;
    *ret_why = "the payload is not of its format";
    if (format == CONTENT_CBOR)
        err = cbor_to_json(payload, out, ret_why);
    else if (format == CONTENT_SENML_JSON || format == CONTENT_SENML_CBOR)
        err = senml_to_json(payload, now_us, out, ret_why);
    else if (format == CONTENT_CSV)
        err = csv_to_json(payload, out, ret_why);
    else if (format == CONTENT_MSGPACK)
        err = msgpack_to_json(payload, out, ret_why);
    if (err == ERR_TOO_LARGE)
        *ret_why = "as JSON the payload is larger than can be decoded";
    if (err == ERR_TOO_DEEP)
        *ret_why = "the payload is nested deeper than 1000 levels, or a key inside a key is";
    return err;
}
