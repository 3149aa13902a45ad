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

/* One row under way. */
struct row {
    const struct render *render;
    struct buf text;
    int64_t event_us;
    uint32_t placed; /* which of ours stand already: a bit each */
};

/* Ours that every row has; the route's metadata fields follow. */
enum { OWN_ID, OWN_TIMESTAMP, OWN_SOURCE_TYPE, OWN_ARRIVAL, OWN_COUNT };
static const char *const own_names[OWN_COUNT] = {"ingestion_id", "timestamp", "source_type",
                                                 "ingestion_timestamp"};
_Static_assert(OWN_COUNT + ROUTE_FIELDS_MAX <= 32, "a bit of row.placed for each");

/* Which of ours has the name; -1: none. */
static int own_find(const struct route_view *route, struct bytes name)
{
    for (int i = 0; i < OWN_COUNT; i++)
        if (bytes_equal_text(name, own_names[i]))
            return i;
    for (uint32_t i = 0; i < route->field_count; i++)
        if (bytes_equal(name, route->fields[i].name))
            return OWN_COUNT + (int)i;
    return -1;
}

/* Columns of the lake alone: a device's fields of these names are in _rescued_data there. */
static bool is_hidden(struct bytes name)
{
    return bytes_equal_text(name, "_rescued_data") || bytes_equal_text(name, "_event_time") ||
           bytes_equal_text(name, "_ingested_at");
}

static void time_append(struct buf *out, int64_t instant_us)
{
    char text[TIMESTAMP_TEXT_BYTES];
    timestamp_format(instant_us, text);
    buf_printf(out, "\"%s\"", text);
}

/* False: the message has no value there. */
static bool own_value(struct row *row, int own)
{
    const struct render *render = row->render;
    switch (own) {
    case OWN_ID:
        buf_json_string(&row->text, render->route->dataset_id);
        return true;
    case OWN_TIMESTAMP:
        time_append(&row->text, row->event_us);
        return true;
    case OWN_SOURCE_TYPE:
        buf_json_string(&row->text, render->route->source_type);
        return true;
    case OWN_ARRIVAL:
        time_append(&row->text, render->message->arrival_us);
        return true;
    default:
        return records_metadata_value(&row->text, render->route, render->message->extras,
                                      (uint32_t)(own - OWN_COUNT));
    }
}

static void name_append(struct buf *out, struct bytes name)
{
    if (out->size > 1)
        buf_byte(out, ',');
    buf_json_string(out, name);
    buf_byte(out, ':');
}

/* Appends one of ours unless it stands already. False: the message has none. */
static bool own_append(struct row *row, int own)
{
    if (row->placed & (1u << own))
        return true;
    size_t before = row->text.size;
    name_append(&row->text, own < OWN_COUNT ? bytes_from_text(own_names[own])
                                            : row->render->route->fields[own - OWN_COUNT].name);
    if (!own_value(row, own)) {
        row->text.size = before;
        return false;
    }
    row->placed |= 1u << own;
    return true;
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

typedef enum err (*field_fn)(struct row *row, struct bytes name, struct bytes value);

static enum err field_time(struct row *row, struct bytes name, struct bytes value)
{
    struct bytes time_field = row->render->route->timestamp_field;
    bool is_time = time_field.size > 0 ? bytes_equal(name, time_field)
                                       : bytes_equal_text(name, own_names[OWN_TIMESTAMP]);
    int64_t time_us;
    if (is_time && time_parse(value, &time_us))
        row->event_us = time_us;
    return ERR_OK;
}

/* A field that both have keeps the device's place and has our value. */
static enum err field_append(struct row *row, struct bytes name, struct bytes value)
{
    int own = own_find(row->render->route, name);
    if (is_hidden(name) || (own >= 0 && own_append(row, own)))
        return row->text.err;
    name_append(&row->text, name);
    return json_compact(&row->text, value, JSON_NAN_NULL);
}

static enum err field_call(struct row *row, const struct json_string *key, struct bytes value,
                           field_fn on_field)
{
    if (!key->escaped)
        return on_field(row, key->raw, value);
    struct buf name;
    buf_init(&name, LIMIT_MESSAGE_BYTES_MAX);
    enum err err = buf_reserve(&name, key->raw.size + 1);
    if (err == ERR_OK) {
        name.size = json_unescape(key->raw, name.data);
        err = on_field(row, buf_bytes(&name), value);
    }
    buf_fini(&name);
    return err;
}

static enum err fields_each(struct row *row, struct bytes record, field_fn on_field)
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
            err = field_call(row, &key, value, on_field);
        if (err != ERR_OK)
            return err;
        json_space(&cursor);
        json_take(&cursor, ',');
        json_space(&cursor);
    }
    return ERR_OK;
}

static enum err row_text(struct row *row, struct bytes record)
{
    enum err err = fields_each(row, record, field_time);
    buf_byte(&row->text, '{');
    if (err == ERR_OK)
        err = fields_each(row, record, field_append);
    int own_count = OWN_COUNT + (int)row->render->route->field_count;
    for (int own = 0; own < own_count && err == ERR_OK; own++) {
        own_append(row, own);
        err = row->text.err;
    }
    return err == ERR_OK ? buf_byte(&row->text, '}') : err;
}

static enum err record_render(void *ctx, struct bytes record, uint32_t depth_max)
{
    (void)depth_max;
    const struct render *render = ctx;
    struct row row = {.render = render, .event_us = render->message->arrival_us};
    struct buf unique;
    bool repeated;
    buf_init(&unique, ROW_BYTES_MAX);
    buf_init(&row.text, ROW_BYTES_MAX);
    enum err err = json_unique(&unique, record, LIMIT_COLUMN_DEPTH + 1, &repeated);
    if (err == ERR_OK)
        err = row_text(&row, buf_bytes(&unique));
    if (err == ERR_OK)
        err = render->on_row(render->ctx, buf_bytes(&row.text));
    buf_fini(&row.text);
    buf_fini(&unique);
    return err;
}

enum err row_render(const struct route_view *route, const struct message_view *message,
                    enum err (*on_row)(void *ctx, struct bytes json), void *ctx)
{
    if (message->flags & MESSAGE_DEAD_LETTER)
        return ERR_OK;
    struct render render = {route, message, on_row, ctx};
    const struct records_input input = {route, message->payload, message->arrival_us};
    const char *why = NULL;
    enum err err = records_each(&input, record_render, &render, &why);
    /* What the lake keeps as a dead letter is no row. */
    return err == ERR_UNSUPPORTED || err == ERR_TOO_MANY ? ERR_OK : err;
}
