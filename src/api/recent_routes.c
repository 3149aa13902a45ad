/* Recent data: partitions, rows, buffer size, topic analysis. */
#include "api/envelope.h"
#include "api/partition_stream.h"
#include "api/query.h"
#include "api/route.h"
#include "base/limits.h"

#include <math.h>
#include <stdio.h>

#define ANALYSIS_ROWS          10
#define ANALYSIS_SAMPLE_ROWS   3
#define SENSOR_FIELD_BYTES_MAX UINT16_MAX /* what a route can hold */
#define BUFFER_ROWS_DEFAULT    100
#define MESSAGE_BYTES          512

struct row_writer {
    struct buf *out;
    uint64_t count;
    bool comma; /* before the next one */
};

static enum err write_row(void *ctx, struct bytes json)
{
    struct row_writer *writer = ctx;
    if (writer->comma)
        buf_byte(writer->out, ',');
    writer->comma = true;
    writer->count++;
    return buf_append(writer->out, json.data, json.size);
}

static enum err write_id(void *ctx, struct bytes id)
{
    struct row_writer *writer = ctx;
    if (writer->comma)
        buf_byte(writer->out, ',');
    writer->comma = true;
    writer->count++;
    return buf_json_string(writer->out, id);
}

static enum err partitions_get(const struct api_services *services, struct api_request *request,
                               struct api_response *response)
{
    (void)request;
    struct row_writer writer = {.out = &response->body};
    char message[MESSAGE_BYTES];
    api_data_begin(&response->body);
    buf_byte(&response->body, '[');
    enum err err = recent_list(services->recent, write_id, &writer);
    buf_byte(&response->body, ']');
    snprintf(message, sizeof(message), "Retrieved %llu partitions",
             (unsigned long long)writer.count);
    api_list_end(&response->body, message, NULL, writer.count);
    return err;
}

/* *ret_good false: answered with a 422. */
static enum err limit_get(struct api_request *request, const char *name, uint32_t *ret_limit,
                          struct api_response *response, bool *ret_good)
{
    int64_t limit = 0;
    struct api_invalid invalid;
    api_invalid_init(&invalid);
    enum err err = api_query_integer(request, name, 0, &limit, &invalid);
    *ret_good = err == ERR_OK && invalid.count == 0;
    *ret_limit = limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit;
    if (err == ERR_OK && invalid.count > 0)
        return api_invalid_answer(&invalid, response);
    api_invalid_fini(&invalid);
    return err;
}

static enum err partition_get(const struct api_services *services, struct api_request *request,
                              struct api_response *response)
{
    uint32_t limit;
    bool good;
    enum err err = limit_get(request, "limit", &limit, response, &good);
    if (err != ERR_OK || !good)
        return err;
    struct bytes id = request->parameters[0];
    struct row_writer writer = {.out = &response->body};
    char message[MESSAGE_BYTES];
    api_data_begin(&response->body);
    buf_byte(&response->body, '[');
    err = recent_rows(services->recent, id, limit, NULL, write_row, &writer);
    buf_byte(&response->body, ']');
    snprintf(message, sizeof(message), "Retrieved %llu records from partition %.*s",
             (unsigned long long)writer.count, id.size > 256 ? 256 : (int)id.size,
             (const char *)id.data);
    api_list_end(&response->body, message, NULL, writer.count);
    return err;
}

static enum err data_begin(struct partition_stream *stream, size_t count, struct buf *out)
{
    (void)stream;
    (void)count;
    api_data_begin(out);
    return buf_byte(out, '[');
}

static enum err data_partition(struct partition_stream *stream, struct bytes id, uint64_t entries,
                               struct buf *out)
{
    (void)entries;
    struct row_writer writer = {out, 0, stream->row_count > 0};
    enum err err = recent_rows(stream->recent, id, stream->row_limit, NULL, write_row, &writer);
    stream->row_count += writer.count;
    return err;
}

static enum err data_end(struct partition_stream *stream, struct buf *out)
{
    char message[MESSAGE_BYTES];
    snprintf(message, sizeof(message), "Retrieved %llu sensor data records",
             (unsigned long long)stream->row_count);
    buf_byte(out, ']');
    api_list_end(out, message, stream->error, stream->row_count);
    return out->err;
}

static const struct partition_stream_ops data_ops = {data_begin, data_partition, data_end};

static enum err data_get(const struct api_services *services, struct api_request *request,
                         struct api_response *response)
{
    uint32_t limit;
    bool good;
    enum err err = limit_get(request, "limit_per_partition", &limit, response, &good);
    if (err != ERR_OK || !good)
        return err;
    return partition_stream_start(services->recent, &data_ops, limit, response);
}

/* What the contract takes for a number of rows; false: a 400. */
static bool rows_from_json(const json_t *value, int64_t *ret_rows)
{
    if (!value) {
        *ret_rows = BUFFER_ROWS_DEFAULT;
    } else if (json_is_integer(value)) {
        *ret_rows = json_integer_value(value);
    } else if (json_is_real(value)) {
        double number = trunc(json_real_value(value));
        *ret_rows = number > (double)UINT32_MAX ? (int64_t)UINT32_MAX + 1
                    : number < 0                ? 0
                                                : (int64_t)number;
    } else if (json_is_string(value)) {
        struct bytes text = bytes_from(json_string_value(value), json_string_length(value));
        return !(text.size > 0 && memchr(text.data, '.', text.size)) &&
               api_integer_parse(text, ret_rows);
    } else {
        return false;
    }
    return true;
}

static enum err buffer_size_post(const struct api_services *services, struct api_request *request,
                                 struct api_response *response)
{
    int64_t rows;
    if (!rows_from_json(json_object_get(request->json, "max_rows"), &rows))
        return api_fail(response, 400, "max_rows must be a whole number, such as 100");
    if (rows > UINT32_MAX)
        return api_fail(response, 400, "max_rows must be at most %u", UINT32_MAX);
    if (rows < 1)
        rows = 1;
    recent_resize(services->recent, (uint32_t)rows);
    api_data_begin(&response->body);
    buf_printf(&response->body, "{\"max_rows\":%lld}", (long long)rows);
    api_data_end(&response->body, NULL);
    return ERR_OK;
}

/* The last rows of one partition: their texts, and what they name. */
struct analysis {
    struct bytes samples[ANALYSIS_SAMPLE_ROWS];
    size_t row_count;
    struct buf text;
    size_t offsets[ANALYSIS_ROWS + 1];
    struct buf sensor_id_field; /* empty: the source has not said */
    json_t *topics;
    json_t *sensors;
};

static enum err array_add_distinct(json_t *array, json_t *value)
{
    size_t i;
    json_t *known;
    json_array_foreach(array, i, known)
    {
        if (json_equal(known, value))
            return ERR_OK;
    }
    return json_array_append(array, value) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

/* As the metadata counts them. */
static json_t *sensor_of(const json_t *row, struct bytes field)
{
    if (field.size > 0)
        return json_object_getn(row, (const char *)field.data, field.size);
    json_t *sensor = json_object_get(row, "sensor_id");
    return sensor ? sensor : json_object_get(row, "sensorId");
}

static enum err analysis_row(void *ctx, struct bytes json)
{
    struct analysis *analysis = ctx;
    if (analysis->row_count == ANALYSIS_ROWS)
        return ERR_OK;
    enum err err = buf_append(&analysis->text, json.data, json.size);
    if (err != ERR_OK)
        return err;
    analysis->offsets[++analysis->row_count] = analysis->text.size;
    json_t *row = json_loadb((const char *)json.data, json.size, JSON_ALLOW_NUL, NULL);
    if (!row) /* integers beyond 64 bits */
        row = json_loadb((const char *)json.data, json.size,
                         JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    json_t *topic = json_object_get(row, "topic");
    json_t *sensor = sensor_of(row, buf_bytes(&analysis->sensor_id_field));
    if (topic)
        err = array_add_distinct(analysis->topics, topic);
    if (sensor && err == ERR_OK)
        err = array_add_distinct(analysis->sensors, sensor);
    json_decref(row);
    return err;
}

static enum err analysis_write(const struct analysis *analysis, struct bytes id, uint64_t entries,
                               struct buf *out)
{
    bool empty = analysis->row_count == 0;
    buf_json_string(out, id);
    buf_printf(
        out, ":{\"message_count\":%llu,\"topics_seen\":", empty ? 0 : (unsigned long long)entries);
    enum err err = api_append_json(out, analysis->topics);
    buf_text(out, ",\"sensor_ids_seen\":");
    if (err == ERR_OK)
        err = api_append_json(out, analysis->sensors);
    buf_text(out, ",\"sample_recent_messages\":[");
    size_t first =
        analysis->row_count > ANALYSIS_SAMPLE_ROWS ? analysis->row_count - ANALYSIS_SAMPLE_ROWS : 0;
    for (size_t i = first; i < analysis->row_count; i++) {
        buf_text(out, i > first ? "," : "");
        buf_append(out, analysis->text.data + analysis->offsets[i],
                   analysis->offsets[i + 1] - analysis->offsets[i]);
    }
    buf_text(out, empty ? "],\"status\":\"empty_buffer\"}" : "]}");
    return err;
}

/* topic -> [ingestion ids], over all partitions. */
static enum err topics_map(json_t *map, const json_t *topics, struct bytes id)
{
    size_t i;
    const json_t *topic;
    json_array_foreach(topics, i, topic)
    {
        if (!json_is_string(topic))
            continue;
        json_t *ids = json_object_getn(map, json_string_value(topic), json_string_length(topic));
        if (!ids) {
            ids = json_array();
            if (json_object_setn_new(map, json_string_value(topic), json_string_length(topic),
                                     ids) != 0)
                return ERR_NO_MEMORY;
        }
        if (json_array_append_new(ids, json_stringn((const char *)id.data, id.size)) != 0)
            return ERR_NO_MEMORY;
    }
    return ERR_OK;
}

static enum err analysis_begin(struct partition_stream *stream, size_t count, struct buf *out)
{
    stream->topics = json_object();
    if (!stream->topics)
        return ERR_NO_MEMORY;
    api_data_begin(out);
    return buf_printf(out, "{\"total_partitions\":%zu,\"partitions\":{", count);
}

static enum err analysis_partition(struct partition_stream *stream, struct bytes id,
                                   uint64_t entries, struct buf *out)
{
    struct analysis analysis = {.topics = json_array(), .sensors = json_array()};
    buf_init(&analysis.text, LIMIT_RECENT_ANSWER_BYTES);
    enum err err = analysis.topics && analysis.sensors ? ERR_OK : ERR_NO_MEMORY;
    buf_init(&analysis.sensor_id_field, SENSOR_FIELD_BYTES_MAX);
    if (err == ERR_OK)
        err = recent_rows(stream->recent, id, ANALYSIS_ROWS, &analysis.sensor_id_field,
                          analysis_row, &analysis);
    if (err == ERR_OK && stream->partition_count > 0)
        buf_byte(out, ',');
    if (err == ERR_OK)
        err = analysis_write(&analysis, id, entries, out);
    if (err == ERR_OK)
        err = out->err;
    if (err == ERR_OK)
        err = topics_map(stream->topics, analysis.topics, id);
    if (err == ERR_OK) {
        stream->partition_count++;
        stream->row_count += analysis.row_count > 0 ? entries : 0;
    }
    json_decref(analysis.topics);
    json_decref(analysis.sensors);
    buf_fini(&analysis.text);
    buf_fini(&analysis.sensor_id_field);
    return err;
}

static enum err analysis_end(struct partition_stream *stream, struct buf *out)
{
    struct recent_stats stats;
    char message[MESSAGE_BYTES];
    recent_stats_get(stream->recent, &stats);
    buf_text(out, "},\"topic_to_ingestion_id_mapping\":");
    enum err err = api_append_json(out, stream->topics);
    buf_printf(out,
               ",\"sensor_types_by_partition\":{},\"buffer_status\":{"
               "\"max_rows_per_partition\":%u,\"total_messages_in_buffers\":%llu,\"note\":",
               stats.rows_max, (unsigned long long)stream->row_count);
    buf_json_string(
        out,
        bytes_from_text(stream->error
                            ? stream->error
                            : "Topics and sensors come from the last 10 rows of each partition"));
    buf_text(out, "}}");
    snprintf(message, sizeof(message),
             "Topic analysis completed - %zu partitions analyzed, %llu total messages in buffers",
             stream->partition_count, (unsigned long long)stream->row_count);
    api_data_end(out, message);
    return err != ERR_OK ? err : out->err;
}

static const struct partition_stream_ops analysis_ops = {analysis_begin, analysis_partition,
                                                         analysis_end};

static enum err topic_analysis_get(const struct api_services *services, struct api_request *request,
                                   struct api_response *response)
{
    (void)request;
    return partition_stream_start(services->recent, &analysis_ops, 0, response);
}

static const struct api_parameter data_parameters[] = {
    {.name = "limit_per_partition", .description = "The newest N rows of each partition; 0 = all"},
    {0},
};

static const struct api_parameter partition_parameters[] = {
    {.name = "limit", .description = "The newest N rows; 0 = all"},
    {0},
};

static const unsigned invalid_value[] = {400, 0};

#define ANALYSIS_SCHEMA                                                                            \
    "{\"type\":\"object\",\"properties\":{"                                                        \
    "\"total_partitions\":{\"type\":\"integer\"},"                                                 \
    "\"partitions\":{\"type\":\"object\"},"                                                        \
    "\"topic_to_ingestion_id_mapping\":{\"type\":\"object\"},"                                     \
    "\"sensor_types_by_partition\":{\"type\":\"object\"},"                                         \
    "\"buffer_status\":{\"type\":\"object\"}}}"

static const struct api_route routes[] = {
    {.method = "GET",
     .path = "/api/partitions",
     .handle = partitions_get,
     .tag = "data",
     .summary = "The ingestion ids that have recent rows, sorted",
     .answer = API_ANSWER_LIST,
     .answer_schema = "{\"type\":\"string\"}"},
    {.method = "GET",
     .path = "/api/data",
     .handle = data_get,
     .tag = "data",
     .summary = "Recent rows of all partitions, oldest first within one",
     .answer = API_ANSWER_LIST,
     .answer_schema = "{\"type\":\"object\"}",
     .parameters = data_parameters},
    {.method = "GET",
     .path = "/api/data/{ingestion_id}",
     .handle = partition_get,
     .tag = "data",
     .summary = "Recent rows of one partition, oldest first; an unknown id has none",
     .answer = API_ANSWER_LIST,
     .answer_schema = "{\"type\":\"object\"}",
     .parameters = partition_parameters},
    {.method = "POST",
     .path = "/api/buffer/size",
     .handle = buffer_size_post,
     .body = API_BODY_DICT,
     .tag = "data",
     .summary = "Resizes all partition buffers at once, keeping the newest rows",
     .answer = API_ANSWER_DATA,
     .answer_schema = "{\"type\":\"object\",\"required\":[\"max_rows\"],\"properties\":{"
                      "\"max_rows\":{\"type\":\"integer\",\"minimum\":1}}}",
     .body_schema = "{\"type\":\"object\",\"properties\":{\"max_rows\":{"
                    "\"type\":[\"integer\",\"number\",\"string\"],\"default\":100}}}",
     .error_statuses = invalid_value},
    {.method = "GET",
     .path = "/api/diagnostics/topic-analysis",
     .handle = topic_analysis_get,
     .tag = "data",
     .summary = "Which topics and sensors each partition has seen lately",
     .answer = API_ANSWER_DATA,
     .answer_schema = ANALYSIS_SCHEMA},
};

const struct api_route_group recent_routes = {routes, sizeof(routes) / sizeof(routes[0])};
