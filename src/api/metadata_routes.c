/* Metadata of the datasets: what they hold, their schema and its history, data quality. */
#include "api/envelope.h"
#include "api/query.h"
#include "api/route.h"
#include "base/limits.h"
#include "metadata/metadata.h"

#include <stdio.h>

#define MESSAGE_BYTES          512
#define METRIC_NAME_CHARACTERS 200
#define CLEANUP_DAYS_DEFAULT   30

/* --- answers ------------------------------------------------------------------------------- */

static enum err no_metadata(struct api_response *response)
{
    return api_fail(response, 503, "this service keeps no metadata");
}

/* The database's reasons are the operator's to mend: nothing of it is the caller's fault. */
static enum err refused(struct api_response *response, enum err err, struct bytes id,
                        const struct diag *diag)
{
    if (err == ERR_NO_MEMORY || err == ERR_BUG)
        return err;
    if (err == ERR_NOT_FOUND)
        return api_fail(response, 404, "Dataset '%.*s' not found",
                        id.size > 256 ? 256 : (int)id.size, (const char *)id.data);
    enum err failed = api_fail(response, 503, "%s", diag->text[0] ? diag->text : err_text(err));
    api_response_header(response, "Retry-After", "5");
    return failed;
}

static enum err finished(struct api_response *response, enum err err, struct bytes id,
                         const struct diag *diag, const char *message)
{
    if (err != ERR_OK)
        return refused(response, err, id, diag);
    api_data_end(&response->body, message);
    return response->body.err;
}

/* --- lists --------------------------------------------------------------------------------- */

typedef enum err (*list_call)(struct metadata *metadata, struct buf *out, uint64_t *ret_count,
                              struct diag *diag);
typedef enum err (*of_one_call)(struct metadata *metadata, struct bytes id, struct buf *out,
                                uint64_t *ret_count, struct diag *diag);

static enum err list_answer(const struct api_services *services, struct api_response *response,
                            list_call call, const char *what)
{
    uint64_t count = 0;
    struct diag diag = {0};
    char message[MESSAGE_BYTES];
    if (!services->metadata)
        return no_metadata(response);
    api_data_begin(&response->body);
    enum err err = call(services->metadata, &response->body, &count, &diag);
    snprintf(message, sizeof(message), "Retrieved %llu %s", (unsigned long long)count, what);
    return finished(response, err, (struct bytes){0}, &diag, message);
}

static enum err of_one_answer(const struct api_services *services, struct api_request *request,
                              struct api_response *response, of_one_call call, const char *what)
{
    uint64_t count = 0;
    struct diag diag = {0};
    char message[MESSAGE_BYTES];
    struct bytes id = request->parameters[0];
    if (!services->metadata)
        return no_metadata(response);
    api_data_begin(&response->body);
    enum err err = call(services->metadata, id, &response->body, &count, &diag);
    snprintf(message, sizeof(message), "Retrieved %llu %s of dataset %.*s",
             (unsigned long long)count, what, id.size > 256 ? 256 : (int)id.size,
             (const char *)id.data);
    return finished(response, err, id, &diag, message);
}

static enum err datasets_get(const struct api_services *services, struct api_request *request,
                             struct api_response *response)
{
    (void)request;
    return list_answer(services, response, metadata_datasets, "datasets");
}

static enum err topics_get(const struct api_services *services, struct api_request *request,
                           struct api_response *response)
{
    (void)request;
    return list_answer(services, response, metadata_topics, "topics");
}

static enum err recent_each(void *ctx, struct bytes id, uint32_t row_limit,
                            enum err (*on_row)(void *ctx, struct bytes json), void *row_ctx)
{
    return recent_rows(ctx, id, row_limit, NULL, on_row, row_ctx);
}

static enum err current_get(const struct api_services *services, struct api_request *request,
                            struct api_response *response)
{
    uint64_t count = 0;
    struct diag diag = {0};
    char message[MESSAGE_BYTES];
    const struct metadata_rows rows = {recent_each, services->recent};
    (void)request;
    if (!services->metadata)
        return no_metadata(response);
    api_data_begin(&response->body);
    enum err err = metadata_current(services->metadata, &rows, &response->body, &count, &diag);
    snprintf(message, sizeof(message), "Retrieved %llu datasets", (unsigned long long)count);
    return finished(response, err, (struct bytes){0}, &diag, message);
}

static enum err stats_get(const struct api_services *services, struct api_request *request,
                          struct api_response *response)
{
    struct diag diag = {0};
    (void)request;
    if (!services->metadata)
        return no_metadata(response);
    api_data_begin(&response->body);
    enum err err = metadata_stats(services->metadata, &response->body, &diag);
    return finished(response, err, (struct bytes){0}, &diag, "Metadata statistics retrieved");
}

static enum err dataset_get(const struct api_services *services, struct api_request *request,
                            struct api_response *response)
{
    struct diag diag = {0};
    if (!services->metadata)
        return no_metadata(response);
    api_data_begin(&response->body);
    enum err err =
        metadata_dataset(services->metadata, request->parameters[0], &response->body, &diag);
    return finished(response, err, request->parameters[0], &diag, "Dataset retrieved");
}

static enum err schema_get(const struct api_services *services, struct api_request *request,
                           struct api_response *response)
{
    return of_one_answer(services, request, response, metadata_schema, "fields");
}

static enum err evolution_get(const struct api_services *services, struct api_request *request,
                              struct api_response *response)
{
    return of_one_answer(services, request, response, metadata_evolution, "schema changes");
}

static enum err quality_get(const struct api_services *services, struct api_request *request,
                            struct api_response *response)
{
    return of_one_answer(services, request, response, metadata_quality, "measurements");
}

/* --- data quality from outside ------------------------------------------------------------- */

static bool has_nul(struct bytes text)
{
    return text.size > 0 && memchr(text.data, 0, text.size);
}

static size_t characters(struct bytes text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.size; i++)
        count += (text.data[i] & 0xc0) != 0x80;
    return count;
}

/* NULL, or what is wrong with the body. */
static const char *quality_fault(const json_t *body, struct bytes id, struct bytes *ret_name,
                                 double *ret_value)
{
    const json_t *name = json_object_get(body, "metric_name");
    const json_t *value = json_object_get(body, "metric_value");
    if (!name || json_is_null(name) || !value || json_is_null(value) ||
        (json_is_string(name) && json_string_length(name) == 0))
        return "Both 'metric_name' and 'metric_value' are required";
    if (!json_is_string(name))
        return "metric_name must be a text, such as \"completeness\"";
    *ret_name = bytes_from(json_string_value(name), json_string_length(name));
    if (characters(*ret_name) > METRIC_NAME_CHARACTERS || has_nul(*ret_name))
        return "metric_name must have at most 200 characters, and no NUL";
    if (!json_is_number(value))
        return "metric_value must be a number, such as 0.98";
    if (id.size == 0 || id.size > LIMIT_DATASET_ID_BYTES || has_nul(id))
        return "the ingestion id must have 1 to 200 bytes, and no NUL";
    *ret_value = json_number_value(value);
    return NULL;
}

static enum err quality_post(const struct api_services *services, struct api_request *request,
                             struct api_response *response)
{
    double value = 0;
    struct bytes name = {0};
    struct bytes id = request->parameters[0];
    struct diag diag = {0};
    const char *fault = quality_fault(request->json, id, &name, &value);
    if (fault)
        return api_fail(response, 400, "%s", fault);
    if (!services->metadata)
        return no_metadata(response);
    enum err err = metadata_quality_post(services->metadata, id, name, value, &diag);
    if (err != ERR_OK)
        return refused(response, err, id, &diag);
    json_t *data =
        json_pack("{s:s%, s:s%, s:O}", "ingestion_id", id.data, id.size, "metric_name", name.data,
                  name.size, "metric_value", json_object_get(request->json, "metric_value"));
    if (!data)
        return ERR_NO_MEMORY;
    api_data_begin(&response->body);
    err = api_append_json(&response->body, data);
    json_decref(data);
    return err != ERR_OK ? err : finished(response, err, id, &diag, "Measurement stored");
}

static enum err cleanup_post(const struct api_services *services, struct api_request *request,
                             struct api_response *response)
{
    int64_t days = CLEANUP_DAYS_DEFAULT;
    int64_t deleted = 0;
    struct diag diag = {0};
    struct api_invalid invalid;
    char message[MESSAGE_BYTES];
    api_invalid_init(&invalid);
    enum err err = api_query_integer(request, "days_to_keep", 0, &days, &invalid);
    if (err == ERR_OK && invalid.count > 0)
        return api_invalid_answer(&invalid, response);
    api_invalid_fini(&invalid);
    if (err != ERR_OK)
        return err;
    if (!services->metadata)
        return no_metadata(response);
    err = metadata_cleanup(services->metadata, days, &deleted, &diag);
    if (err != ERR_OK)
        return refused(response, err, (struct bytes){0}, &diag);
    api_data_begin(&response->body);
    buf_printf(&response->body, "{\"deleted_count\":%lld,\"days_to_keep\":%lld}",
               (long long)deleted, (long long)days);
    snprintf(message, sizeof(message), "Deleted %lld measurements older than %lld days",
             (long long)deleted, (long long)days);
    return finished(response, err, (struct bytes){0}, &diag, message);
}

/* --- the table ----------------------------------------------------------------------------- */

#define TEXT_SCHEMA    "{\"type\":\"string\"}"
#define COUNT_SCHEMA   "{\"type\":\"integer\"}"
#define MAYBE_SCHEMA   "{\"type\":[\"string\",\"null\"]}"
#define SAMPLES_SCHEMA "{\"type\":\"array\",\"maxItems\":5,\"items\":" TEXT_SCHEMA "}"
#define TYPE_ENUM      "[\"null\",\"boolean\",\"double\",\"string\",\"uuid\",\"array\",\"object\"]"
#define FIELDS_SCHEMA                                                                              \
    "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"name\",\"type\","          \
    "\"nullable\",\"sample_values\"],\"properties\":{\"name\":" TEXT_SCHEMA                        \
    ",\"type\":{\"enum\":" TYPE_ENUM "},\"nullable\":{\"type\":\"boolean\"},\"sample_values\":"    \
    "" SAMPLES_SCHEMA "}}}"
#define DATASET_PROPERTIES                                                                         \
    "\"properties\":{\"ingestion_id\":" TEXT_SCHEMA ",\"topic\":" TEXT_SCHEMA                      \
    ",\"record_count\":" COUNT_SCHEMA ",\"first_seen\":" TEXT_SCHEMA ",\"last_seen\":" TEXT_SCHEMA \
    ",\"unique_sensor_count\":" COUNT_SCHEMA ",\"unique_sensor_ids\":{\"type\":\"array\","         \
    "\"maxItems\":1000,\"items\":" TEXT_SCHEMA "},\"data_size_bytes\":" COUNT_SCHEMA               \
    ",\"schema_fields\":" FIELDS_SCHEMA ",\"created_at\":" MAYBE_SCHEMA                            \
    ",\"updated_at\":" TEXT_SCHEMA "}}"
#define DATASET_REQUIRED                                                                           \
    "\"ingestion_id\",\"topic\",\"record_count\",\"first_seen\",\"last_seen\","                    \
    "\"unique_sensor_count\",\"unique_sensor_ids\",\"data_size_bytes\",\"schema_fields\","         \
    "\"updated_at\""
#define DATASET_SCHEMA                                                                             \
    "{\"type\":\"object\",\"required\":[" DATASET_REQUIRED ",\"created_at\"]," DATASET_PROPERTIES
#define CURRENT_DATASET_SCHEMA                                                                     \
    "{\"type\":\"object\",\"required\":[" DATASET_REQUIRED "]," DATASET_PROPERTIES
#define DATASETS_SCHEMA                                                                            \
    "{\"type\":\"object\",\"required\":[\"datasets\",\"total\"],\"properties\":{\"datasets\":"     \
    "{\"type\":\"array\",\"items\":" DATASET_SCHEMA "},\"total\":" COUNT_SCHEMA "}}"
#define ONE_DATASET_SCHEMA                                                                         \
    "{\"type\":\"object\",\"required\":[\"dataset\"],\"properties\":{\"dataset\":" DATASET_SCHEMA  \
    "}}"
#define SCHEMA_SCHEMA                                                                              \
    "{\"type\":\"object\",\"required\":[\"ingestion_id\",\"schema_fields\",\"field_count\"],"      \
    "\"properties\":{\"ingestion_id\":" TEXT_SCHEMA ",\"schema_fields\":" FIELDS_SCHEMA            \
    ",\"field_count\":" COUNT_SCHEMA "}}"
#define EVOLUTION_SCHEMA                                                                           \
    "{\"type\":\"object\",\"required\":[\"ingestion_id\",\"evolution\",\"change_count\"],"         \
    "\"properties\":{\"ingestion_id\":" TEXT_SCHEMA ",\"evolution\":{\"type\":\"array\","          \
    "\"items\":{\"type\":\"object\",\"required\":[\"id\",\"ingestion_id\",\"field_name\","         \
    "\"field_type\",\"first_seen\",\"sample_values\"],\"properties\":{\"id\":" COUNT_SCHEMA        \
    ",\"ingestion_id\":" TEXT_SCHEMA ",\"field_name\":" MAYBE_SCHEMA                               \
    ",\"field_type\":" MAYBE_SCHEMA ",\"first_seen\":" MAYBE_SCHEMA                                \
    ",\"sample_values\":" SAMPLES_SCHEMA "}}},\"change_count\":" COUNT_SCHEMA "}}"
#define QUALITY_SCHEMA                                                                             \
    "{\"type\":\"object\",\"required\":[\"ingestion_id\",\"metrics\",\"metric_count\"],"           \
    "\"properties\":{\"ingestion_id\":" TEXT_SCHEMA ",\"metrics\":{\"type\":\"array\","            \
    "\"items\":{\"type\":\"object\",\"required\":[\"metric_name\",\"metric_value\","               \
    "\"measurement_time\"],\"properties\":{\"metric_name\":" MAYBE_SCHEMA                          \
    ",\"metric_value\":{\"type\":\"number\"},\"measurement_time\":" MAYBE_SCHEMA                   \
    "}}},\"metric_count\":" COUNT_SCHEMA "}}"
#define POSTED_SCHEMA                                                                              \
    "{\"type\":\"object\",\"required\":[\"ingestion_id\",\"metric_name\",\"metric_value\"],"       \
    "\"properties\":{\"ingestion_id\":" TEXT_SCHEMA ",\"metric_name\":" TEXT_SCHEMA                \
    ",\"metric_value\":{\"type\":\"number\"}}}"
#define POST_SCHEMA                                                                                \
    "{\"type\":\"object\",\"required\":[\"metric_name\",\"metric_value\"],\"properties\":{"        \
    "\"metric_name\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":200,"                      \
    "\"pattern\":\"^[^\\\\u0000]+$\"},"                                                            \
    "\"metric_value\":{\"type\":\"number\"}}}"
#define TOPICS_SCHEMA                                                                              \
    "{\"type\":\"object\",\"required\":[\"topics\",\"total\"],\"properties\":{\"topics\":"         \
    "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"topic\","                  \
    "\"dataset_count\",\"total_records\",\"total_size_bytes\",\"total_unique_sensors\","           \
    "\"earliest_data\",\"latest_data\"],\"properties\":{\"topic\":" TEXT_SCHEMA                    \
    ",\"dataset_count\":" COUNT_SCHEMA ",\"total_records\":" COUNT_SCHEMA                          \
    ",\"total_size_bytes\":" COUNT_SCHEMA ",\"total_unique_sensors\":" COUNT_SCHEMA                \
    ",\"earliest_data\":" TEXT_SCHEMA ",\"latest_data\":" TEXT_SCHEMA                              \
    "}}},\"total\":" COUNT_SCHEMA "}}"
#define CURRENT_SCHEMA                                                                             \
    "{\"type\":\"object\",\"required\":[\"current_metadata\",\"dataset_count\"],\"properties\":{"  \
    "\"current_metadata\":{\"type\":\"object\",\"additionalProperties\":" CURRENT_DATASET_SCHEMA   \
    "},\"dataset_count\":" COUNT_SCHEMA "}}"
#define STATS_SCHEMA                                                                               \
    "{\"type\":\"object\",\"required\":[\"stats\"],\"properties\":{\"stats\":{\"type\":"           \
    "\"object\",\"required\":[\"dataset_count\",\"topic_count\",\"active_datasets\","              \
    "\"total_records\",\"total_size_bytes\",\"total_unique_sensors\",\"size_mb\"],"                \
    "\"properties\":{\"dataset_count\":" COUNT_SCHEMA ",\"topic_count\":" COUNT_SCHEMA             \
    ",\"active_datasets\":{\"type\":\"integer\",\"description\":\"Those that got records in the "  \
    "last hour\"},\"total_records\":" COUNT_SCHEMA ",\"total_size_bytes\":" COUNT_SCHEMA           \
    ",\"total_unique_sensors\":" COUNT_SCHEMA ",\"size_mb\":{\"type\":\"number\"}}}}}"
#define CLEANUP_SCHEMA                                                                             \
    "{\"type\":\"object\",\"required\":[\"deleted_count\",\"days_to_keep\"],\"properties\":{"      \
    "\"deleted_count\":" COUNT_SCHEMA ",\"days_to_keep\":" COUNT_SCHEMA "}}"

static const struct api_parameter cleanup_parameters[] = {
    {.name = "days_to_keep",
     .description = "measurements that are older are deleted",
     .schema = "{\"type\":\"integer\",\"minimum\":0,\"default\":30}"},
    {0},
};

static const unsigned unavailable[] = {503, 0};
static const unsigned one_errors[] = {404, 503, 0};
static const unsigned post_errors[] = {400, 503, 0};

/* All of them read or write the database. */
#define ROUTE(method_, path_, handle_)                                                             \
    .method = (method_), .path = "/api/metadata/" path_, .handle = (handle_), .slow = true,        \
    .tag = "metadata", .answer = API_ANSWER_DATA

static const struct api_route routes[] = {
    {ROUTE("GET", "datasets", datasets_get), .summary = "All datasets, the last seen first",
     .answer_schema = DATASETS_SCHEMA, .error_statuses = unavailable},
    {ROUTE("GET", "datasets/{ingestion_id}", dataset_get),
     .summary = "One dataset: counts, sensors, schema", .answer_schema = ONE_DATASET_SCHEMA,
     .error_statuses = one_errors},
    {ROUTE("GET", "datasets/{ingestion_id}/schema", schema_get),
     .summary = "The fields of a dataset", .answer_schema = SCHEMA_SCHEMA,
     .error_statuses = one_errors},
    {ROUTE("GET", "datasets/{ingestion_id}/evolution", evolution_get),
     .summary = "When fields and types were seen first, oldest first",
     .answer_schema = EVOLUTION_SCHEMA, .error_statuses = unavailable},
    {ROUTE("GET", "datasets/{ingestion_id}/quality", quality_get),
     .summary = "Data quality as measured and posted, newest first",
     .answer_schema = QUALITY_SCHEMA, .error_statuses = unavailable},
    {ROUTE("POST", "datasets/{ingestion_id}/quality", quality_post), .body = API_BODY_DICT,
     .summary = "Stores a measurement of data quality that was made elsewhere",
     .answer_schema = POSTED_SCHEMA, .body_schema = POST_SCHEMA, .error_statuses = post_errors},
    {ROUTE("GET", "topics", topics_get),
     .summary = "Datasets summed up by topic, most records first", .answer_schema = TOPICS_SCHEMA,
     .error_statuses = unavailable},
    {ROUTE("GET", "current", current_get),
     .summary = "All datasets with what is not in the metadata database yet, open batches too",
     .answer_schema = CURRENT_SCHEMA, .error_statuses = unavailable},
    {ROUTE("GET", "stats", stats_get), .summary = "Sums over all datasets",
     .answer_schema = STATS_SCHEMA, .error_statuses = unavailable},
    {ROUTE("POST", "cleanup", cleanup_post), .summary = "Deletes old measurements of data quality",
     .answer_schema = CLEANUP_SCHEMA, .parameters = cleanup_parameters,
     .error_statuses = unavailable},
};

const struct api_route_group metadata_routes = {routes, sizeof(routes) / sizeof(routes[0])};
