/* Data sources: start, stop, restart, health, overview, validate, test, metrics. */
#include "api/data_source.h"
#include "api/query.h"

#include <stdio.h>

#define MESSAGE_BYTES 128

/* One of registry_api_start, _stop, _restart; done: "started". */
static enum err act(const struct api_services *services, struct api_request *request,
                    struct api_response *response,
                    enum err (*action)(struct manager *manager, int64_t id, struct diag *diag),
                    const char *done)
{
    int64_t id;
    bool good;
    char message[MESSAGE_BYTES];
    struct diag diag = {0};
    enum err err = data_source_id(services, request, &id, response, &good);
    if (err != ERR_OK || !good)
        return err;
    err = action(services->manager, id, &diag);
    if (err != ERR_OK)
        return data_source_failed(response, err, &diag, id);
    snprintf(message, sizeof(message), "Data source %lld %s", (long long)id, done);
    api_message(&response->body, message);
    return ERR_OK;
}

static enum err start_post(const struct api_services *services, struct api_request *request,
                           struct api_response *response)
{
    return act(services, request, response, registry_api_start, "started");
}

static enum err stop_post(const struct api_services *services, struct api_request *request,
                          struct api_response *response)
{
    return act(services, request, response, registry_api_stop, "stopped");
}

static enum err restart_post(const struct api_services *services, struct api_request *request,
                             struct api_response *response)
{
    return act(services, request, response, registry_api_restart, "restarted");
}

/* Drops the reference. */
static enum err answer_named(struct api_response *response, json_t *take_data, const char *message)
{
    api_data_begin(&response->body);
    enum err err = api_append_json(&response->body, take_data);
    json_decref(take_data);
    api_named_end(&response->body, message);
    return err;
}

static enum err health_get(const struct api_services *services, struct api_request *request,
                           struct api_response *response)
{
    int64_t id;
    bool good;
    json_t *health = NULL;
    struct diag diag = {0};
    enum err err = data_source_id(services, request, &id, response, &good);
    if (err != ERR_OK || !good)
        return err;
    err = registry_api_health(services->manager, id, &health, &diag);
    if (err != ERR_OK)
        return data_source_refused(response, err, &diag, id);
    return answer_named(response, health, "Health of the data source retrieved");
}

static enum err overview_get(const struct api_services *services, struct api_request *request,
                             struct api_response *response)
{
    (void)request;
    json_t *overview = NULL;
    struct diag diag = {0};
    if (!services->manager)
        return data_source_no_manager(response);
    enum err err = registry_api_overview(services->manager, &overview, &diag);
    if (err != ERR_OK)
        return data_source_refused(response, err, &diag, DATA_SOURCE_NO_ID);
    return answer_named(response, overview, "Status of the data sources retrieved");
}

static enum err validate_post(const struct api_services *services, struct api_request *request,
                              struct api_response *response)
{
    struct registry_wish wish;
    bool good;
    json_t *errors = NULL;
    struct diag diag = {0};
    enum err err = data_source_wish(services, request, &wish, response, &good);
    if (err != ERR_OK || !good)
        return err;
    err = registry_api_validate(services->manager, &wish, &errors, &diag);
    if (err != ERR_OK)
        return data_source_refused(response, err, &diag, DATA_SOURCE_NO_ID);
    size_t count = json_array_size(errors);
    struct buf *out = &response->body;
    api_data_begin(out);
    buf_printf(out, "{\"valid\":%s,\"errors\":", count == 0 ? "true" : "false");
    err = api_append_json(out, errors);
    json_decref(errors);
    buf_byte(out, '}');
    api_data_end(out, count == 0 ? "The data source could be created" : "The data source is wrong");
    return err;
}

static enum err test_post(const struct api_services *services, struct api_request *request,
                          struct api_response *response)
{
    struct registry_wish wish;
    bool good;
    json_t *result = NULL;
    struct diag diag = {0};
    enum err err = data_source_wish(services, request, &wish, response, &good);
    if (err != ERR_OK || !good)
        return err;
    err = registry_api_test(services->manager, &wish, &result, &diag);
    if (err != ERR_OK)
        return data_source_refused(response, err, &diag, DATA_SOURCE_NO_ID);
    bool success = json_is_true(json_object_get(result, "success"));
    api_data_begin(&response->body);
    err = api_append_json(&response->body, result);
    json_decref(result);
    api_data_end(&response->body, success ? "The connection works; nothing was stored"
                                          : "The connection does not work; nothing was stored");
    return err;
}

static enum err metrics_get(const struct api_services *services, struct api_request *request,
                            struct api_response *response)
{
    int64_t id;
    int64_t since_us = 0;
    bool good;
    json_t *rows = NULL;
    struct diag diag = {0};
    struct api_invalid invalid;
    enum err err = data_source_id(services, request, &id, response, &good);
    if (err != ERR_OK || !good)
        return err;
    api_invalid_init(&invalid);
    err = api_query_moment(request, "since", &since_us, &invalid);
    if (err == ERR_OK && invalid.count > 0)
        return api_invalid_answer(&invalid, response);
    api_invalid_fini(&invalid);
    if (err != ERR_OK)
        return err;
    err = registry_api_metrics(services->manager, id, since_us, &rows, &diag);
    if (err != ERR_OK)
        return data_source_refused(response, err, &diag, id);
    char message[MESSAGE_BYTES];
    size_t count = json_array_size(rows);
    api_data_begin(&response->body);
    err = api_append_json(&response->body, rows);
    json_decref(rows);
    snprintf(message, sizeof(message), "Retrieved %zu metric rows", count);
    api_list_end(&response->body, message, NULL, count);
    return err;
}

#define HEALTH_SCHEMA                                                                              \
    "{\"type\":\"object\",\"required\":[\"status\",\"healthy\"],\"properties\":{"                  \
    "\"status\":{\"type\":\"string\"},\"healthy\":{\"type\":\"boolean\"},"                         \
    "\"running\":{\"type\":\"boolean\"}}}"
#define OVERVIEW_SCHEMA                                                                            \
    "{\"type\":\"object\",\"required\":[\"active_connectors\",\"connectors\"],\"properties\":{"    \
    "\"active_connectors\":{\"type\":\"integer\"},\"connectors\":{\"type\":\"object\","            \
    "\"additionalProperties\":{\"type\":\"object\",\"required\":[\"status\",\"type\","             \
    "\"running\"],\"properties\":{\"status\":{\"type\":\"string\"},\"type\":{\"type\":"            \
    "\"string\"},\"running\":{\"type\":\"boolean\"}}}}}}"
#define VALID_SCHEMA                                                                               \
    "{\"type\":\"object\",\"required\":[\"valid\",\"errors\"],\"properties\":{"                    \
    "\"valid\":{\"type\":\"boolean\"},\"errors\":{\"type\":\"array\",\"items\":{"                  \
    "\"type\":\"object\",\"required\":[\"path\",\"message\"],\"properties\":{"                     \
    "\"path\":{\"type\":\"string\"},\"message\":{\"type\":\"string\"}}}}}}"
#define TEST_SCHEMA                                                                                \
    "{\"type\":\"object\",\"required\":[\"success\",\"message\"],\"properties\":{"                 \
    "\"success\":{\"type\":\"boolean\"},\"message\":{\"type\":[\"string\",\"null\"]},"             \
    "\"sample\":{\"type\":[\"object\",\"null\"]},\"health\":{\"type\":[\"object\",\"null\"]}}}"
#define METRICS_SCHEMA                                                                             \
    "{\"type\":\"object\",\"required\":[\"messages_received\",\"messages_processed\","             \
    "\"error_count\",\"recorded_at\"],\"properties\":{\"id\":{\"type\":\"integer\"},"              \
    "\"data_source_id\":{\"type\":\"integer\"},\"messages_received\":{\"type\":\"integer\"},"      \
    "\"messages_processed\":{\"type\":\"integer\"},\"last_processed\":{\"type\":[\"string\","      \
    "\"null\"]},\"processing_latency_ms\":{\"type\":[\"number\",\"null\"]},"                       \
    "\"error_count\":{\"type\":\"integer\"},\"recorded_at\":{\"type\":\"string\"}}}"

static const struct api_parameter metrics_parameters[] = {
    {.name = "since",
     .description = "Only rows from this moment on: ISO 8601, or a Unix time",
     .schema =
         "{\"anyOf\":[{\"type\":\"string\",\"format\":\"date-time\"},{\"type\":\"number\"}]}"},
    {0},
};

static const unsigned unavailable[] = {503, 0};
static const unsigned id_errors[] = {404, 503, 0};
static const unsigned start_errors[] = {400, 404, 409, 500, 503, 0};
static const unsigned wish_errors[] = {400, 503, 0};

static const struct api_route routes[] = {
    {.method = "GET",
     .path = "/api/data-sources/status/overview",
     .handle = overview_get,
     .slow = true,
     .tag = "data sources",
     .summary = "Which data sources run",
     .answer = API_ANSWER_NAMED,
     .answer_schema = OVERVIEW_SCHEMA,
     .error_statuses = unavailable},
    {.method = "POST",
     .path = "/api/data-sources/validate",
     .handle = validate_post,
     .slow = true,
     .body = API_BODY_MODEL,
     .tag = "data sources",
     .summary = "Says what is wrong with a data source; nothing is stored",
     .answer = API_ANSWER_DATA,
     .answer_schema = VALID_SCHEMA,
     .body_schema = DATA_SOURCE_WISH_SCHEMA,
     .error_statuses = wish_errors},
    {.method = "POST",
     .path = "/api/data-sources/test",
     .handle = test_post,
     .slow = true,
     .body = API_BODY_MODEL,
     .tag = "data sources",
     .summary = "Tries the connection for up to 10 s and says what came; nothing is stored",
     .answer = API_ANSWER_DATA,
     .answer_schema = TEST_SCHEMA,
     .body_schema = DATA_SOURCE_WISH_SCHEMA,
     .error_statuses = wish_errors},
    {.method = "POST",
     .path = "/api/data-sources/{id}/start",
     .handle = start_post,
     .slow = true,
     .tag = "data sources",
     .summary = "Starts a data source and waits up to 10 s for its connection",
     .answer = API_ANSWER_MESSAGE,
     .error_statuses = start_errors},
    {.method = "POST",
     .path = "/api/data-sources/{id}/stop",
     .handle = stop_post,
     .slow = true,
     .tag = "data sources",
     .summary = "Stops a data source; it stays stopped after a restart of the service",
     .answer = API_ANSWER_MESSAGE,
     .error_statuses = start_errors},
    {.method = "POST",
     .path = "/api/data-sources/{id}/restart",
     .handle = restart_post,
     .slow = true,
     .tag = "data sources",
     .summary = "Stops a data source and starts it again",
     .answer = API_ANSWER_MESSAGE,
     .error_statuses = start_errors},
    {.method = "GET",
     .path = "/api/data-sources/{id}/health",
     .handle = health_get,
     .slow = true,
     .tag = "data sources",
     .summary = "How a data source is, with the details of its connection",
     .answer = API_ANSWER_NAMED,
     .answer_schema = HEALTH_SCHEMA,
     .error_statuses = id_errors},
    {.method = "GET",
     .path = "/api/data-sources/{id}/metrics",
     .handle = metrics_get,
     .slow = true,
     .tag = "data sources",
     .summary = "What a data source received, minute by minute, newest first",
     .answer = API_ANSWER_LIST,
     .answer_schema = METRICS_SCHEMA,
     .parameters = metrics_parameters,
     .error_statuses = id_errors},
};

const struct api_route_group data_source_action_routes = {routes,
                                                          sizeof(routes) / sizeof(routes[0])};
