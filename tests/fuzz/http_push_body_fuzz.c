/*
 * A pushed body. Whatever it is: each record is valid JSON by itself, wrapped ones stay so; a JSON
 * body is taken whole exactly when it is a valid object or array; lines never reach over newlines.
 */
#include "base/buf.h"
#include "base/limits.h"
#include "connectors/http_push_body.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

static void wrapped_check(struct bytes json)
{
    struct buf text;
    buf_init(&text, 64 * MIB);
    buf_text(&text, "{\"value\":");
    buf_append(&text, json.data, json.size);
    must(buf_byte(&text, '}') == ERR_OK && json_validate(buf_bytes(&text), false) == ERR_OK);
    buf_fini(&text);
}

static enum err walk(enum http_push_shape shape, struct bytes text)
{
    struct http_push_body body;
    struct http_push_record record;
    struct diag diag = {0};
    uint64_t count = 0;
    enum err err;
    http_push_body_init(&body, shape, text);
    while ((err = http_push_body_next(&body, &record, &diag)) == ERR_OK) {
        must(++count == body.count && http_push_body_done(&body) <= text.size);
        if (shape == HTTP_PUSH_WHOLE)
            continue;
        must(json_validate(record.json, false) == ERR_OK);
        must(record.wrap == (record.json.data[0] == '['));
        must(shape != HTTP_PUSH_LINES || !memchr(record.json.data, '\n', record.json.size));
        wrapped_check(record.json);
    }
    must(err == ERR_NOT_FOUND || diag.text[0]);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes text = bytes_from(data, size);
    walk(HTTP_PUSH_LINES, text);
    must(walk(HTTP_PUSH_WHOLE, text) == ERR_NOT_FOUND);
    bool taken = walk(HTTP_PUSH_JSON, text) == ERR_NOT_FOUND;
    if (size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0)
        text = bytes_from(data + 3, size - 3);
    struct json_cursor cursor = {text.data, text.data + text.size, false};
    json_space(&cursor);
    bool container = json_peek(&cursor) == '{' || json_peek(&cursor) == '[';
    bool valid = container && json_validate(text, false) == ERR_OK;
    must(!taken || container);
    if (size < LIMIT_JSON_DEPTH / 2) /* the one limit in which they differ */
        must(taken == valid);
    return 0;
}
