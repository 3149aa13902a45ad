#include "lake/row.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "codec/json.h"
#include "codec/timestamp.h"
#include "lake/records.h"

#define ROW_BYTES_MAX (8 * LIMIT_MESSAGE_BYTES_MAX)

struct render {
    const struct route_view *route;
    const struct message_view *message;
    enum err (*on_row)(void *ctx, struct bytes json);
    void *ctx;
};

/* Whether a field's name is one of ours. */
static bool is_ours(const struct route_view *route, struct bytes name)
{
    static const char *const ours[] = {"ingestion_id",        "timestamp",     "source_type",
                                       "ingestion_timestamp", "_rescued_data", "_event_time",
                                       "_ingested_at"};
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (bytes_equal_text(name, ours[i]))
            return true;
    for (uint32_t i = 0; i < route->field_count; i++)
        if (bytes_equal(name, route->fields[i].name))
            return true;
    return false;
}

static bool time_parse(struct bytes value, int64_t *ret_us)
{
    if (value.data[0] == '"') {
        uint8_t text[128];
        struct bytes raw = {value.data + 1, value.size - 2};
        return raw.size <= sizeof(text) &&
               timestamp_parse(bytes_from(text, json_unescape(raw, text)), ret_us);
    }
    const uint8_t *at = value.data;
    double number;
    enum json_number_kind kind = json_number_read(&at, value.data + value.size, &number);
    if (kind == JSON_NUMBER_BIG_INTEGER)
        return timestamp_parse(value, ret_us);
    return kind == JSON_NUMBER_DOUBLE && timestamp_from_number(number, ret_us);
}

/* Appends a field unless its name is ours; finds the record's time. */
static enum err field_render(const struct render *render, struct buf *row,
                             const struct json_string *key, struct bytes value, int64_t *event_us)
{
    struct buf name;
    buf_init(&name, LIMIT_MESSAGE_BYTES_MAX);
    enum err err = buf_reserve(&name, key->raw.size + 1);
    if (err == ERR_OK) {
        name.size = json_unescape(key->raw, name.data);
        struct bytes time_field = render->route->timestamp_field;
        bool is_time = time_field.size > 0 ? bytes_equal(buf_bytes(&name), time_field)
                                           : bytes_equal_text(buf_bytes(&name), "timestamp");
        int64_t time_us;
        if (is_time && time_parse(value, &time_us))
            *event_us = time_us;
        if (!is_ours(render->route, buf_bytes(&name))) {
            if (row->size > 1)
                buf_byte(row, ',');
            buf_json_string(row, buf_bytes(&name));
            buf_byte(row, ':');
            json_compact(row, value, JSON_NAN_NULL);
        }
        err = row->err;
    }
    buf_fini(&name);
    return err;
}

static enum err fields_render(const struct render *render, struct buf *row, struct bytes record,
                              int64_t *event_us)
{
    struct json_cursor cursor = {record.data, record.data + record.size, false};
    json_space(&cursor);
    json_take(&cursor, '{');
    json_space(&cursor);
    while (json_peek(&cursor) == '"') {
        struct json_string key;
        struct bytes value;
        enum err err = json_string_scan(&cursor, &key);
        if (err != ERR_OK)
            return err;
        json_space(&cursor);
        json_take(&cursor, ':');
        err = json_skip(&cursor, LIMIT_JSON_DEPTH, &value);
        if (err == ERR_OK)
            err = field_render(render, row, &key, value, event_us);
        if (err != ERR_OK)
            return err;
        json_space(&cursor);
        json_take(&cursor, ',');
        json_space(&cursor);
    }
    return ERR_OK;
}

static enum err ours_render(const struct render *render, struct buf *row, int64_t event_us)
{
    char event[TIMESTAMP_TEXT_BYTES];
    char arrival[TIMESTAMP_TEXT_BYTES];
    timestamp_format(event_us, event);
    timestamp_format(render->message->arrival_us, arrival);
    buf_text(row, row->size > 1 ? ",\"ingestion_id\":" : "\"ingestion_id\":");
    buf_json_string(row, render->route->dataset_id);
    buf_printf(row, ",\"timestamp\":\"%s\",\"source_type\":", event);
    buf_json_string(row, render->route->source_type);
    buf_printf(row, ",\"ingestion_timestamp\":\"%s\"", arrival);
    records_metadata(row, render->route, render->message->extras);
    return buf_byte(row, '}');
}

static enum err record_render(void *ctx, struct bytes record, uint32_t depth_max)
{
    (void)depth_max;
    const struct render *render = ctx;
    struct buf text;
    struct buf row;
    bool repeated;
    buf_init(&text, ROW_BYTES_MAX);
    buf_init(&row, ROW_BYTES_MAX);
    int64_t event_us = render->message->arrival_us;
    enum err err = json_unique(&text, record, LIMIT_COLUMN_DEPTH + 1, &repeated);
    buf_byte(&row, '{');
    if (err == ERR_OK)
        err = fields_render(render, &row, buf_bytes(&text), &event_us);
    if (err == ERR_OK)
        err = ours_render(render, &row, event_us);
    if (err == ERR_OK)
        err = render->on_row(render->ctx, buf_bytes(&row));
    buf_fini(&row);
    buf_fini(&text);
    return err;
}

enum err row_render(const struct route_view *route, const struct message_view *message,
                    enum err (*on_row)(void *ctx, struct bytes json), void *ctx)
{
    if (message->flags & MESSAGE_DEAD_LETTER)
        return ERR_OK;
    struct render render = {route, message, on_row, ctx};
    enum err err = records_each(route, message->payload, record_render, &render);
    /* What the lake keeps as a dead letter is no row. */
    return err == ERR_UNSUPPORTED || err == ERR_TOO_MANY ? ERR_OK : err;
}
