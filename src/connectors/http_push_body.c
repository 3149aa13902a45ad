#include "connectors/http_push_body.h"

#include "base/limits.h"

/* {"value": …} around an array must not become too deep. */
#define RECORD_DEPTH_MAX (LIMIT_JSON_DEPTH - 1)

void http_push_body_init(struct http_push_body *body, enum http_push_shape shape, struct bytes text)
{
    if (shape != HTTP_PUSH_WHOLE && text.size >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
        text = bytes_from(text.data + 3, text.size - 3);
    *body = (struct http_push_body){
        .shape = shape,
        .cursor = {text.data, text.size > 0 ? text.data + text.size : text.data, false},
        .begin = text.data,
    };
}

size_t http_push_body_done(const struct http_push_body *body)
{
    return body->cursor.at == body->begin ? 0 : (size_t)(body->cursor.at - body->begin);
}

size_t http_push_body_characters(const struct http_push_body *body)
{
    size_t count = 0;
    for (const uint8_t *at = body->begin; at < body->cursor.at; at++)
        count += (*at & 0xC0) != 0x80;
    return count;
}

static enum err bad(const struct http_push_body *body, enum err err, struct diag *diag)
{
    const char *why = err == ERR_TOO_DEEP ? "is nested too deeply" : "is not valid JSON";
    if (body->shape == HTTP_PUSH_LINES)
        return diag_set(diag, err, "line %llu of the body %s: nothing was stored",
                        (unsigned long long)body->line, why);
    return diag_set(diag, err, "record %llu of the body %s (byte %zu): nothing was stored",
                    (unsigned long long)body->count + 1, why, http_push_body_done(body));
}

static enum err record_take(struct http_push_body *body, struct http_push_record *ret_record)
{
    json_space(&body->cursor);
    *ret_record = (struct http_push_record){.wrap = json_peek(&body->cursor) == '['};
    return json_skip(&body->cursor, RECORD_DEPTH_MAX, &ret_record->json);
}

/* The first byte decides: '{' or '['. */
static enum err json_begin(struct http_push_body *body, struct diag *diag)
{
    json_space(&body->cursor);
    body->array = json_take(&body->cursor, '[');
    if (body->array) {
        json_space(&body->cursor);
        if (!json_take(&body->cursor, ']'))
            return ERR_OK;
        body->over = true;
    } else if (json_peek(&body->cursor) != '{') {
        return diag_set(diag, ERR_INVALID,
                        "send a JSON object, an array of them, or lines of JSON as "
                        "application/x-ndjson");
    }
    return ERR_OK;
}

/* After the end of an object or array nothing may stand. */
static enum err json_end(struct http_push_body *body, struct diag *diag)
{
    body->over = true;
    json_space(&body->cursor);
    if (body->cursor.at == body->cursor.end)
        return ERR_OK;
    return diag_set(diag, ERR_SYNTAX,
                    "something follows the JSON %s at byte %zu: nothing was stored; send several "
                    "as an array, or as application/x-ndjson",
                    body->array ? "array" : "object", http_push_body_done(body));
}

static enum err json_next(struct http_push_body *body, struct http_push_record *ret_record,
                          struct diag *diag)
{
    enum err err = ERR_OK;
    if (body->count == 0) {
        err = json_begin(body, diag);
        if (err == ERR_OK && body->over)
            err = json_end(body, diag);
        if (err != ERR_OK || body->over)
            return err != ERR_OK ? err : ERR_NOT_FOUND;
    }
    err = record_take(body, ret_record);
    if (err != ERR_OK)
        return bad(body, err, diag);
    body->count++;
    json_space(&body->cursor);
    if (body->array && json_take(&body->cursor, ','))
        return ERR_OK;
    if (body->array && !json_take(&body->cursor, ']'))
        return bad(body, ERR_SYNTAX, diag);
    return json_end(body, diag);
}

/* To the first byte that is not blank; false: there is none. */
static bool line_begin(struct http_push_body *body)
{
    struct json_cursor *cursor = &body->cursor;
    for (; cursor->at < cursor->end; cursor->at++) {
        if (*cursor->at == '\n')
            body->line++;
        else if (*cursor->at != ' ' && *cursor->at != '\t' && *cursor->at != '\r')
            return true;
    }
    return false;
}

static enum err lines_next(struct http_push_body *body, struct http_push_record *ret_record,
                           struct diag *diag)
{
    if (body->count == 0)
        body->line = 1;
    if (!line_begin(body)) {
        body->over = true;
        return ERR_NOT_FOUND;
    }
    const uint8_t *end = body->cursor.end;
    const uint8_t *newline = memchr(body->cursor.at, '\n', (size_t)(end - body->cursor.at));
    body->cursor.end = newline ? newline : end;
    enum err err = record_take(body, ret_record);
    json_space(&body->cursor);
    if (err == ERR_OK && body->cursor.at != body->cursor.end)
        err = ERR_SYNTAX;
    body->cursor.end = end;
    if (err != ERR_OK)
        return bad(body, err, diag);
    body->count++;
    return ERR_OK;
}

enum err http_push_body_next(struct http_push_body *body, struct http_push_record *ret_record,
                             struct diag *diag)
{
    if (body->over)
        return ERR_NOT_FOUND;
    switch (body->shape) {
    case HTTP_PUSH_JSON:
        return json_next(body, ret_record, diag);
    case HTTP_PUSH_LINES:
        return lines_next(body, ret_record, diag);
    case HTTP_PUSH_WHOLE:
        break;
    }
    ret_record->json = bytes_from(body->begin, (size_t)(body->cursor.end - body->cursor.at));
    ret_record->wrap = false;
    body->cursor.at = body->cursor.end;
    body->over = true;
    body->count = 1;
    return ERR_OK;
}
