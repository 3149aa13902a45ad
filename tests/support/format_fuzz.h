#pragma once
/* What every reader of codec/content_format.h keeps for any bytes: what it takes is JSON, no deeper
 * than JSON may be, the same each time and in a buffer that is just large enough; what it refuses
 * it has a sentence for. */
#include "codec/content_format.h"
#include "codec/json.h"

#include <stdlib.h>

#define FORMAT_FUZZ_BYTES_MAX (8 * MIB)
#define FORMAT_FUZZ_NOW_US    1772600767250000

static inline void format_check(int condition)
{
    if (!condition)
        abort();
}

static inline void format_fuzz(enum content_format format, struct bytes payload)
{
    struct buf out;
    struct buf again;
    const char *why = NULL;
    buf_init(&out, FORMAT_FUZZ_BYTES_MAX);
    enum err err = content_to_json(format, payload, FORMAT_FUZZ_NOW_US, &out, &why);
    if (err != ERR_OK) {
        format_check(err == ERR_SYNTAX || err == ERR_TOO_DEEP || err == ERR_TOO_LARGE);
        format_check(why && *why);
        buf_fini(&out);
        return;
    }
    struct json_cursor cursor = {out.data, out.data + out.size, false};
    format_check(json_skip(&cursor, LIMIT_JSON_DEPTH, NULL) == ERR_OK && cursor.at == cursor.end);
    buf_init(&again, out.size);
    err = content_to_json(format, payload, FORMAT_FUZZ_NOW_US, &again, &why);
    /* A buffer on the way (SenML's text from CBOR) may need more than the end. */
    format_check(err == ERR_TOO_LARGE ||
                 (err == ERR_OK && bytes_equal(buf_bytes(&out), buf_bytes(&again))));
    buf_fini(&out);
    buf_fini(&again);
}
