/* Data sources: their types, and list, create, read, change, delete. */
#include "api/data_source.h"
#include "api/model.h"
#include "api/query.h"

#include <stdio.h>

#define MESSAGE_BYTES 128

/* Drops the reference. */
static enum err answer_list(struct api_response *response, json_t *take_list, const char *what)
{
    char message[MESSAGE_BYTES];
    size_t count = json_array_size(take_list);
    api_data_begin(&response->body);
    enum err err = api_append_json(&response->body, take_list);
    json_decref(take_list);
    snprintf(message, sizeof(message), "Retrieved %zu %s", count, what);
    api_list_end(&response->body, message, NULL, count);
    return err;
}

static enum err answer_data(struct api_response *response, json_t *take_data, const char *message)
{
    api_data_begin(&response->body);
    enum err err = api_append_json(&response->body, take_data);
    json_decref(take_data);
    api_data_end(&response->body, message);
    return err;
}

static enum err types_get(const struct api_services *services, struct api_request *request,
                          struct api_response *response)
{
    (void)request;
    json_t *types = NULL;
    struct diag diag = {0};
    if (!services->manager)
        return data_source_no_manager(response);
    enum err err = registry_api_types(services->manager, &types, &diag);
    if (err != ERR_OK)
        return data_source_refused(response, err, &diag, DATA_SOURCE_NO_ID);
    return answer_list(response, types, "data source types");
}

/* *ret_good false: answered. */
static enum err enabled_only_get(struct api_request *request, bool *ret_value,
                                 struct api_response *response, bool *ret_good)
{
    struct api_invalid invalid;
    api_invalid_init(&invalid);
    *ret_value = true;
    enum err err = api_query_boolean(request, "enabled_only", ret_value, &invalid);
    *ret_good = err == ERR_OK && invalid.count == 0;
    if (err == ERR_OK && invalid.count > 0)
        return api_invalid_answer(&invalid, response);
    api_invalid_fini(&invalid);
    return err;
}

static enum err list_get(const struct api_services *services, struct api_request *request,
                         struct api_response *response)
{
    json_t *sources = NULL;
    struct diag diag = {0};
    bool enabled_only, good;
    enum err err = enabled_only_get(request, &enabled_only, response, &good);
    if (err != ERR_OK || !good)
        return err;
    if (!services->manager)
        return data_source_no_manager(response);
    err = registry_api_list(services->manager, enabled_only, &sources, &diag);
    if (err != ERR_OK)
        return data_source_refused(response, err, &diag, DATA_SOURCE_NO_ID);
    return answer_list(response, sources, "data sources");
}

static enum err create_post(const struct api_services *services, struct api_request *request,
                            struct api_response *response)
{
    struct registry_wish wish;
    json_t *source = NULL;
    bool created = false, good;
    struct diag diag = {0};
    enum err err = data_source_wish(services, request, &wish, response, &good);
    if (err != ERR_OK || !good)
        return err;
    err = registry_api_create(services->manager, &wish, &source, &created, &diag);
    if (err != ERR_OK)
        return data_source_refused(response, err, &diag, DATA_SOURCE_NO_ID);
    return answer_data(response, source,
                       created ? "Data source created"
                               : "The same data source is there already: nothing was created");
}

static enum err source_get(const struct api_services *services, struct api_request *request,
                           struct api_response *response)
{
    int64_t id;
    bool good;
    json_t *source = NULL;
    struct diag diag = {0};
    enum err err = data_source_id(services, request, &id, response, &good);
    if (err != ERR_OK || !good)
        return err;
    err = registry_api_get(services->manager, id, &source, &diag);
    if (err != ERR_OK)
        return data_source_refused(response, err, &diag, id);
    return answer_data(response, source, "Data source retrieved");
}

/* Fields that are null are as absent. *ret_good false: answered. */
static enum err change_get(const struct api_request *request, struct registry_change *ret_change,
                           bool *enabled, struct api_response *response, bool *ret_good)
{
    struct api_invalid invalid;
    api_invalid_init(&invalid);
    *ret_change = (struct registry_change){0};
    if (model_has(request->json, "name"))
        ret_change->name = model_text(request->json, "name", NULL, &invalid);
    if (model_has(request->json, "config"))
        ret_change->config = model_object(request->json, "config", &invalid);
    if (model_has(request->json, "enabled")) {
        *enabled = model_boolean(request->json, "enabled", false, &invalid);
        ret_change->enabled = enabled;
    }
    *ret_good = invalid.count == 0;
    if (invalid.count > 0)
        return api_invalid_answer(&invalid, response);
    api_invalid_fini(&invalid);
    return ERR_OK;
}

static enum err source_put(const struct api_services *services, struct api_request *request,
                           struct api_response *response)
{
    int64_t id;
    bool good, enabled = false;
    json_t *source = NULL;
    struct registry_change change;
    struct diag diag = {0};
    enum err err = data_source_id(services, request, &id, response, &good);
    if (err == ERR_OK && good)
        err = change_get(request, &change, &enabled, response, &good);
    if (err != ERR_OK || !good)
        return err;
    err = registry_api_update(services->manager, id, &change, &source, &diag);
    if (err != ERR_OK)
        return data_source_refused(response, err, &diag, id);
    return answer_data(response, source, "Data source updated");
}

static enum err source_delete(const struct api_services *services, struct api_request *request,
                              struct api_response *response)
{
    int64_t id;
    bool good;
    char message[MESSAGE_BYTES];
    struct diag diag = {0};
    enum err err = data_source_id(services, request, &id, response, &good);
    if (err != ERR_OK || !good)
        return err;
    err = registry_api_delete(services->manager, id, &diag);
    if (err != ERR_OK)
        return data_source_refused(response, err, &diag, id);
    snprintf(message, sizeof(message), "Data source %lld deleted", (long long)id);
    api_message(&response->body, message);
    return ERR_OK;
}

#define TYPE_SCHEMA                                                                                \
    "{\"type\":\"object\",\"required\":[\"id\",\"name\",\"display_name\",\"description\","         \
    "\"config_schema\",\"icon\",\"category\",\"supported_formats\",\"real_time\"],"                \
    "\"properties\":{\"id\":{\"type\":\"integer\"},\"name\":{\"type\":\"string\"},"                \
    "\"display_name\":{\"type\":\"string\"},\"description\":{\"type\":[\"string\",\"null\"]},"     \
    "\"config_schema\":{\"type\":\"object\"},\"icon\":{\"type\":\"string\"},"                      \
    "\"category\":{\"type\":\"string\"},\"supported_formats\":{\"type\":\"array\","                \
    "\"items\":{\"type\":\"string\"}},\"real_time\":{\"type\":\"boolean\"},"                       \
    "\"connector_class\":{\"type\":\"string\"},\"enabled\":{\"type\":\"boolean\"},"                \
    "\"created_at\":{\"type\":[\"string\",\"null\"]}}}"
#define CHANGE_SCHEMA                                                                              \
    "{\"type\":\"object\",\"properties\":{"                                                        \
    "\"name\":{\"type\":[\"string\",\"null\"]},"                                                   \
    "\"config\":{\"type\":[\"object\",\"null\"],\"description\":\"As the type's config_schema "    \
    "says; a secret answered as ******** may be sent back and stays\"},"                           \
    "\"enabled\":{\"anyOf\":[" DATA_SOURCE_ENABLED_SCHEMA ",{\"type\":\"null\"}]}}}"

static const struct api_parameter list_parameters[] = {
    {.name = "enabled_only",
     .description = "false: disabled ones too",
     .schema = "{\"type\":\"boolean\",\"default\":true}"},
    {0},
};

static const unsigned unavailable[] = {503, 0};
static const unsigned create_errors[] = {400, 409, 503, 0};
static const unsigned get_errors[] = {404, 503, 0};
static const unsigned change_errors[] = {400, 404, 409, 503, 0};

static const struct api_route routes[] = {
    {.method = "GET",
     .path = "/api/data-sources/types",
     .handle = types_get,
     .slow = true,
     .tag = "data sources",
     .summary = "The types of data sources, each with the JSON Schema of its configuration",
     .answer = API_ANSWER_LIST,
     .answer_schema = TYPE_SCHEMA,
     .error_statuses = unavailable},
    {.method = "GET",
     .path = "/api/data-sources",
     .handle = list_get,
     .slow = true,
     .tag = "data sources",
     .summary = "The data sources",
     .answer = API_ANSWER_LIST,
     .answer_schema = DATA_SOURCE_SCHEMA,
     .parameters = list_parameters,
     .error_statuses = unavailable},
    {.method = "POST",
     .path = "/api/data-sources",
     .handle = create_post,
     .slow = true,
     .body = API_BODY_MODEL,
     .tag = "data sources",
     .summary = "Adds a data source and, if it is enabled, starts it; the answer does not wait for "
                "its connection",
     .answer = API_ANSWER_DATA,
     .answer_schema = DATA_SOURCE_SCHEMA,
     .body_schema = DATA_SOURCE_WISH_SCHEMA,
     .error_statuses = create_errors},
    {.method = "GET",
     .path = "/api/data-sources/{id}",
     .handle = source_get,
     .slow = true,
     .tag = "data sources",
     .summary = "One data source",
     .answer = API_ANSWER_DATA,
     .answer_schema = DATA_SOURCE_SCHEMA,
     .error_statuses = get_errors},
    {.method = "PUT",
     .path = "/api/data-sources/{id}",
     .handle = source_put,
     .slow = true,
     .body = API_BODY_MODEL,
     .tag = "data sources",
     .summary = "Changes a data source; its ingestion id stays; a running one restarts when its "
                "configuration changed",
     .answer = API_ANSWER_DATA,
     .answer_schema = DATA_SOURCE_SCHEMA,
     .body_schema = CHANGE_SCHEMA,
     .error_statuses = change_errors},
    {.method = "DELETE",
     .path = "/api/data-sources/{id}",
     .handle = source_delete,
     .slow = true,
     .tag = "data sources",
     .summary = "Stops and deletes a data source with its metrics; data already ingested stays",
     .answer = API_ANSWER_MESSAGE,
     .error_statuses = get_errors},
};

const struct api_route_group data_source_routes = {routes, sizeof(routes) / sizeof(routes[0])};
