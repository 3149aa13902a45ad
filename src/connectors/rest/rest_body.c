#include "connectors/rest/rest_body.h"

#include "base/limits.h"
#include "codec/json.h"

struct each {
    uint64_t skip;
    rest_record_fn on_record;
    void *ctx;
};

static enum err record_give(struct each *each, struct bytes record, bool is_element)
{
    if (each->skip > 0) {
        each->skip--;
        return ERR_OK;
    }
    return each->on_record(each->ctx, record, is_element);
}

/* The value is checked JSON. */
static enum err value_each(void *ctx, struct bytes value)
{
    struct each *each = ctx;
    struct json_cursor cursor = {value.data, value.data + value.size, false};
    struct bytes element;
    if (!json_take(&cursor, '['))
        return record_give(each, value, false);
    json_space(&cursor);
    if (json_take(&cursor, ']'))
        return ERR_OK;
    do {
        enum err err = json_skip(&cursor, LIMIT_JSON_DEPTH, &element);
        if (err == ERR_OK)
            err = record_give(each, element, true);
        if (err != ERR_OK)
            return err;
        json_space(&cursor);
    } while (json_take(&cursor, ','));
    return ERR_OK;
}

static const struct rest_path whole = {0};

enum err rest_body_each(const struct rest_body *body, uint64_t first, rest_record_fn on_record,
                        void *ctx)
{
    struct each each = {first, on_record, ctx};
    bool matched;
    if (body->kind == REST_BODY_TEXT)
        return record_give(&each, body->text, false);
    return rest_path_walk(body->mismatched ? &whole : body->path, body->text, value_each, &each,
                          &matched);
}

static enum err record_count(void *ctx, struct bytes record, bool is_element)
{
    struct rest_body *body = ctx;
    body->record_count++;
    body->record_bytes += record.size + (is_element && record.data[0] == '[' ? 2 : 0);
    return ERR_OK;
}

static enum err nothing(void *ctx, struct bytes value)
{
    (void)ctx;
    (void)value;
    return ERR_OK;
}

static bool path_fits(const struct rest_body *body)
{
    bool matched = false;
    return rest_path_walk(body->path, body->text, nothing, NULL, &matched) == ERR_OK && matched;
}

void rest_body_open(struct rest_body *body, struct bytes text, const struct rest_path *path,
                    bool as_text)
{
    if (text.size >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
        text = bytes_from(text.data + 3, text.size - 3);
    *body = (struct rest_body){.text = text, .path = path, .kind = REST_BODY_TEXT};
    if (!as_text && json_validate(text, false) == ERR_OK)
        body->kind = REST_BODY_JSON;
    body->mismatched =
        path->count > 0 && !as_text && (body->kind == REST_BODY_TEXT || !path_fits(body));
    enum err err = rest_body_each(body, 0, record_count, body);
    (void)err; /* checked JSON, and record_count never fails */
}

enum err rest_body_convert(struct buf *body, enum content_format format, int64_t arrived_us,
                           bool *ret_converted)
{
    struct buf json;
    const char *why;
    *ret_converted = false;
    if (!content_format_converts(format) || body->size == 0)
        return ERR_OK;
    buf_init(&json, body->size_max);
    enum err err = content_to_json(format, buf_bytes(body), arrived_us, &json, &why);
    if (err != ERR_OK) {
        buf_fini(&json);
        return err == ERR_NO_MEMORY ? err : ERR_OK;
    }
    buf_fini(body);
    *body = json;
    *ret_converted = true;
    return ERR_OK;
}
