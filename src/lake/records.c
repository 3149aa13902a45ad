#include "lake/records.h"

#include "codec/base64.h"
#include "codec/content_format.h"
#include "codec/json.h"
#include "codec/utf8.h"
#include "lake/origin.h"

#include <math.h>

/* Escaping makes six bytes of one. */
#define RECORD_BYTES_MAX (7 * LIMIT_MESSAGE_BYTES_MAX)

enum err records_text(const struct route_view *route, struct bytes payload, records_fn on_record,
                      void *ctx)
{
    struct buf record;
    buf_init(&record, RECORD_BYTES_MAX);
    buf_text(&record, "{\"content\":");
    if (!utf8_valid(payload)) {
        buf_byte(&record, '"');
        base64_append(&record, payload);
        buf_text(&record, "\",\"encoding\":\"base64\",\"raw\":true}");
    } else {
        buf_json_string(&record, payload);
        if (bytes_equal_text(route->source_type, "rest_api")) {
            buf_text(&record, ",\"content_type\":");
            buf_json_string(&record, route->content_type);
            buf_byte(&record, '}');
        } else {
            buf_text(&record, ",\"raw\":true}");
        }
    }
    enum err err = record.err == ERR_TOO_LARGE ? ERR_NO_MEMORY : record.err;
    if (err == ERR_OK)
        err = on_record(ctx, buf_bytes(&record), LIMIT_JSON_DEPTH);
    buf_fini(&record);
    return err;
}

/* {"value": …} around what is no object. */
static enum err value_record(struct bytes value, records_fn on_record, void *ctx)
{
    struct buf record;
    buf_init(&record, RECORD_BYTES_MAX);
    buf_text(&record, "{\"value\":");
    buf_append(&record, value.data, value.size);
    enum err err = buf_byte(&record, '}');
    if (err == ERR_OK)
        err = on_record(ctx, buf_bytes(&record), LIMIT_JSON_DEPTH + 1);
    buf_fini(&record);
    return err;
}

static enum err value_each(struct bytes value, records_fn on_record, void *ctx)
{
    if (value.data[0] == '{')
        return on_record(ctx, value, LIMIT_JSON_DEPTH);
    return value_record(value, on_record, ctx);
}

/* Elements of a checked array; on_record NULL only counts them. */
static enum err elements_each(struct bytes array, records_fn on_record, void *ctx,
                              uint32_t *ret_count)
{
    struct json_cursor cursor = {array.data + 1, array.data + array.size, false};
    *ret_count = 0;
    json_space(&cursor);
    if (json_take(&cursor, ']'))
        return ERR_OK;
    do {
        struct bytes element;
        enum err err = json_skip(&cursor, LIMIT_JSON_DEPTH, &element);
        if (err == ERR_OK && ++*ret_count > RECORDS_PER_MESSAGE_MAX)
            err = ERR_TOO_MANY;
        if (err == ERR_OK && on_record)
            err = value_each(element, on_record, ctx);
        if (err != ERR_OK)
            return err;
        json_space(&cursor);
    } while (json_take(&cursor, ','));
    return ERR_OK;
}

static enum err json_each(struct bytes payload, records_fn on_record, void *ctx)
{
    struct json_cursor cursor = {payload.data, payload.data + payload.size, false};
    struct bytes value;
    enum err err = json_skip(&cursor, LIMIT_JSON_DEPTH, &value);
    if (err != ERR_OK)
        return err;
    if (value.data[0] != '[')
        return value_each(value, on_record, ctx);
    uint32_t count;
    if (value.size / 2 > RECORDS_PER_MESSAGE_MAX) {
        err = elements_each(value, NULL, NULL, &count);
        if (err != ERR_OK)
            return err;
    }
    return elements_each(value, on_record, ctx, &count);
}

/* The next line that is not blank. */
static bool line_next(struct bytes *rest, struct bytes *ret_line)
{
    while (rest->size > 0) {
        const uint8_t *end = memchr(rest->data, '\n', rest->size);
        size_t size = end ? (size_t)(end - rest->data) : rest->size;
        *ret_line = bytes_from(rest->data, size);
        size_t taken = end ? size + 1 : size;
        *rest = bytes_from(rest->data + taken, rest->size - taken);
        for (size_t i = 0; i < size; i++)
            if (ret_line->data[i] != ' ' && ret_line->data[i] != '\t' && ret_line->data[i] != '\r')
                return true;
    }
    return false;
}

static enum err lines_check(struct bytes payload, uint32_t *ret_count)
{
    struct bytes line;
    *ret_count = 0;
    while (line_next(&payload, &line)) {
        enum err err = json_validate(line, false);
        if (err != ERR_OK)
            return err;
        if (++*ret_count > RECORDS_PER_MESSAGE_MAX)
            return ERR_TOO_MANY;
    }
    return ERR_OK;
}

/* One record a line, whatever value it is. */
static enum err lines_each(struct bytes payload, records_fn on_record, void *ctx)
{
    struct bytes line;
    while (line_next(&payload, &line)) {
        struct json_cursor cursor = {line.data, line.data + line.size, false};
        struct bytes value;
        enum err err = json_skip(&cursor, LIMIT_JSON_DEPTH, &value);
        if (err == ERR_OK)
            err = value_each(value, on_record, ctx);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

/* By way of JSON text, whole: a payload is decoded altogether or not at all. */
static enum err converted_each(const struct records_input *input, records_fn on_record, void *ctx,
                               const char **ret_why)
{
    struct buf json;
    buf_init(&json, LIMIT_CONVERTED_BYTES);
    enum err err =
        content_to_json(input->route->format, input->payload, input->arrival_us, &json, ret_why);
    if (err == ERR_OK)
        err = json.data[0] == '{' ? on_record(ctx, buf_bytes(&json), LIMIT_JSON_DEPTH)
                                  : json_each(buf_bytes(&json), on_record, ctx);
    else if (err != ERR_NO_MEMORY)
        err = ERR_UNSUPPORTED;
    buf_fini(&json);
    return err;
}

enum err records_each(const struct records_input *input, records_fn on_record, void *ctx,
                      const char **ret_why)
{
    const struct route_view *route = input->route;
    struct bytes payload = input->payload;
    enum err err;
    uint32_t count;
    switch (route->format) {
    case CONTENT_AUTO:
    case CONTENT_JSON:
        err = json_validate(payload, false);
        if (err == ERR_OK)
            return json_each(payload, on_record, ctx);
        return records_text(route, payload, on_record, ctx);
    case CONTENT_NDJSON:
        err = lines_check(payload, &count);
        if (err == ERR_TOO_MANY)
            return err;
        if (err == ERR_OK && count > 0)
            return lines_each(payload, on_record, ctx);
        return records_text(route, payload, on_record, ctx);
    case CONTENT_TEXT:
        return records_text(route, payload, on_record, ctx);
    case CONTENT_CBOR:
    case CONTENT_SENML_JSON:
    case CONTENT_SENML_CBOR:
    case CONTENT_CSV:
    case CONTENT_MSGPACK:
        if (payload.size == 0)
            return records_text(route, payload, on_record, ctx);
        return converted_each(input, on_record, ctx, ret_why);
    }
    *ret_why = "this content format has no decoder in this version";
    return ERR_UNSUPPORTED;
}

static enum err number_append(struct buf *out, double number)
{
    if (!isfinite(number))
        return buf_text(out, "null");
    bool whole = number == floor(number) && fabs(number) < 1e15;
    return buf_printf(out, whole ? "%.0f" : "%.17g", number);
}

bool records_metadata_value(struct buf *out, const struct route_view *route, struct bytes extras,
                            uint32_t field_index)
{
    struct message_field field;
    if (!origin_route_field(route, extras, field_index, &field))
        return false;
    if (field.type == FIELD_STRING)
        buf_json_string(out, field.text);
    else if (field.type == FIELD_BOOLEAN)
        buf_text(out, field.number != 0 ? "true" : "false");
    else
        number_append(out, field.number);
    return true;
}

enum err records_metadata(struct buf *out, const struct route_view *route, struct bytes extras)
{
    for (uint32_t i = 0; i < route->field_count; i++) {
        size_t before = out->size;
        buf_byte(out, ',');
        buf_json_string(out, route->fields[i].name);
        buf_byte(out, ':');
        if (!records_metadata_value(out, route, extras, i))
            out->size = before;
    }
    return out->err;
}
