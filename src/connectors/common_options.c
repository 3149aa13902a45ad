#include "connectors/common_options.h"

#include "base/hash.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "pipeline/ingest.h"

#include <string.h>

#define DEDUPE_WINDOW_MAX_S 86400

/* --- reading ---------------------------------------------------------------------------------- */

static const char *const column_words[] = {"STRING", "DOUBLE", "BOOLEAN", NULL};
static const enum field_type column_types[] = {FIELD_STRING, FIELD_DOUBLE, FIELD_BOOLEAN};

/* A refusal names the column: within is "columns.". */
static void read_columns_inside(struct config_reader *columns, struct buf *list)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)columns->json, name, value)
    {
        if (json_is_null(value))
            config_refuse_member(columns, name, "STRING, DOUBLE or BOOLEAN");
        enum field_type type = column_types[config_word(columns, name, column_words, 0)];
        enum err err = route_column_append(list, bytes_from_text(name), type);
        if (err == ERR_TOO_LARGE)
            config_refuse(columns, ERR_INVALID,
                          "columns: all names together take at most 64 KiB, name fewer");
        else if (err != ERR_OK)
            config_refuse(columns, err, "out of memory while reading the configuration");
    }
}

static struct bytes read_columns(struct config_reader *reader)
{
    struct config_reader columns;
    struct bytes kept = {0};
    struct buf list;
    buf_init(&list, ROUTE_COLUMNS_BYTES_MAX);
    if (config_reader_inside(reader, "columns", "columns.", &columns))
        read_columns_inside(&columns, &list);
    if (list.size > 0)
        kept = bytes_from(config_keep(reader, (const char *)list.data, list.size), list.size);
    buf_fini(&list);
    return kept;
}

static void read_dedupe_key(struct common_options *options, struct config_reader *reader)
{
    struct config_reader key;
    if (!config_reader_inside(reader, "dedupe_key", "dedupe_key.", &key))
        return;
    options->dedupe_field = config_text(&key, "field", 255);
    options->dedupe_window_seconds =
        (uint32_t)config_number(&key, "window_seconds", 1, DEDUPE_WINDOW_MAX_S, 0);
    if (!config_member(&key, "field") || !config_member(&key, "window_seconds"))
        config_refuse(reader, ERR_INVALID, "dedupe_key needs a field and window_seconds");
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)key.json, name,
                        value) if (strcmp(name, "field") != 0 &&
                                   strcmp(name, "window_seconds") != 0)
        config_refuse(reader, ERR_INVALID, "dedupe_key has only field and window_seconds");
}

/* Whether a brace of a dataset's pattern opens one of {source}, {topic}, {topic[0]} … {topic[999]}.
 */
static bool placeholder_known(const char *at)
{
    if (strncmp(at, "{source}", 8) == 0 || strncmp(at, "{topic}", 7) == 0)
        return true;
    if (strncmp(at, "{topic[", 7) != 0)
        return false;
    size_t digits = strspn(at + 7, "0123456789");
    return digits >= 1 && digits <= 3 && strncmp(at + 7 + digits, "]}", 2) == 0;
}

static void check_dataset(const struct common_options *options, struct config_reader *reader)
{
    if (options->dataset && options->dataset_levels)
        config_refuse(reader, ERR_INVALID,
                      "dataset and dataset_levels exclude each other: give one");
    for (const char *at = options->dataset; at && (at = strchr(at, '{')); at++)
        if (!placeholder_known(at))
            config_refuse(reader, ERR_INVALID,
                          "dataset: only {source}, {topic} and {topic[n]} may stand in braces");
}

void common_options_read(struct common_options *options, struct config_reader *reader)
{
    static const char *const words[] = {"auto", "json", "cbor",    "senml",
                                        "text", "csv",  "msgpack", NULL};
    static const enum content_format formats[] = {CONTENT_AUTO,       CONTENT_JSON, CONTENT_CBOR,
                                                  CONTENT_SENML_JSON, CONTENT_TEXT, CONTENT_CSV,
                                                  CONTENT_MSGPACK};
    *options = (struct common_options){
        .format = formats[config_word(reader, "format", words, 0)],
        .timestamp_field = config_text(reader, "timestamp_field", 255),
        .sensor_id_field = config_text(reader, "sensor_id_field", 255),
        .dataset = config_text(reader, "dataset", 1000),
        .dataset_levels = (uint32_t)config_number(reader, "dataset_levels", 1, 1000, 0),
        .message_max_bytes = (size_t)config_number(
            reader, "max_message_bytes", 1, LIMIT_MESSAGE_BYTES_MAX, LIMIT_MESSAGE_BYTES_DEFAULT),
    };
    options->columns = read_columns(reader);
    read_dedupe_key(options, reader);
    check_dataset(options, reader);
}

/* --- routes ----------------------------------------------------------------------------------- */

static struct bytes text_or_empty(const char *text)
{
    return text ? bytes_from_text(text) : (struct bytes){0};
}

void common_options_route(const struct common_options *options, struct route_view *route)
{
    route->timestamp_field = text_or_empty(options->timestamp_field);
    route->sensor_id_field = text_or_empty(options->sensor_id_field);
    route->columns = options->columns;
    route->dedupe_field = text_or_empty(options->dedupe_field);
    route->dedupe_window_seconds = options->dedupe_window_seconds;
    common_options_format(route, common_options_format_of(options, route->content_type));
}

enum content_format common_options_format_of(const struct common_options *options,
                                             struct bytes content_type)
{
    return options->format == CONTENT_AUTO ? content_format_of_type(content_type) : options->format;
}

void common_options_format(struct route_view *route, enum content_format format)
{
    bool senml = format == CONTENT_SENML_JSON || format == CONTENT_SENML_CBOR;
    route->format = format;
    /* Its records have their time and their sensor in fields of their own. */
    if (senml && route->timestamp_field.size == 0)
        route->timestamp_field = BYTES_LITERAL("t");
    if (senml && route->sensor_id_field.size == 0)
        route->sensor_id_field = BYTES_LITERAL("n");
}

/* --- dataset ids ------------------------------------------------------------------------------ */

static void append_topic(struct buf *out, struct bytes topic)
{
    for (size_t i = 0; i < topic.size; i++) {
        if (topic.data[i] == '#')
            buf_text(out, "wildcard");
        else if (topic.data[i] == '+')
            buf_text(out, "plus");
        else
            buf_byte(out, topic.data[i] == '/' ? '_' : topic.data[i]);
    }
}

/* Level n, from 0; empty when the topic is shorter. */
static struct bytes topic_level(struct bytes topic, unsigned n)
{
    size_t start = 0;
    for (size_t i = 0; i <= topic.size; i++) {
        if (i < topic.size && topic.data[i] != '/')
            continue;
        if (n-- == 0)
            return bytes_from(topic.data + start, i - start);
        start = i + 1;
    }
    return (struct bytes){0};
}

/* Placeholders were checked when the configuration was read. */
static const char *append_placeholder(struct buf *out, const char *at, const char *source_id,
                                      struct bytes topic)
{
    if (strncmp(at, "{source}", 8) == 0) {
        buf_text(out, source_id);
        return at + 8;
    }
    if (strncmp(at, "{topic}", 7) == 0) {
        append_topic(out, topic);
        return at + 7;
    }
    unsigned level = 0;
    for (at += 7; *at >= '0' && *at <= '9'; at++)
        level = level * 10 + (unsigned)(*at - '0');
    append_topic(out, topic_level(topic, level));
    return at + 2;
}

/* As ingest_dataset_id does: cut, and ended by a hash of the whole. */
static enum err cut_long_id(struct buf *out, size_t start)
{
    if (out->err != ERR_OK || out->size - start <= LIMIT_DATASET_ID_BYTES)
        return out->err;
    struct bytes whole = {out->data + start, out->size - start};
    uint64_t hash = hash_bytes(whole);
    out->size = start + utf8_cut(whole, LIMIT_DATASET_ID_BYTES - 17);
    return buf_printf(out, "_%016llx", (unsigned long long)hash);
}

enum err common_options_dataset_id(const struct common_options *options, const char *source_id,
                                   struct bytes topic, struct buf *out)
{
    if (!options->dataset && topic.size == 0)
        return buf_text(out, source_id);
    if (!options->dataset)
        return ingest_dataset_id(bytes_from_text(source_id), topic, options->dataset_levels, out);
    size_t start = out->size;
    for (const char *at = options->dataset; *at;) {
        if (*at == '{')
            at = append_placeholder(out, at, source_id, topic);
        else
            buf_byte(out, (uint8_t)*at++);
    }
    if (out->size == start)
        buf_text(out, source_id);
    return cut_long_id(out, start);
}
