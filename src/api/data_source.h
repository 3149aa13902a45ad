#pragma once
/*
 * What the routes of data sources share: the manager's errors as answers, and the schemas of
 * /openapi.json. On an API worker: the calls behind these routes may block.
 */
#include "api/envelope.h"
#include "api/route.h"
#include "sources/registry_api.h"

#define DATA_SOURCE_NO_ID INT64_MIN

/* Answers what the registry could not do. What is neither the caller's fault nor known to be the
 * database's is the database's (503) in refused, the connector's (500, "start") in failed. id:
 * DATA_SOURCE_NO_ID when none is meant. */
enum err data_source_refused(struct api_response *response, enum err err, const struct diag *diag,
                             int64_t id);
enum err data_source_failed(struct api_response *response, enum err err, const struct diag *diag,
                            int64_t id);

/* 503: the service is starting. */
enum err data_source_no_manager(struct api_response *response);

/* The path's {id}. *ret_good false: answered, also when there is no manager. */
enum err data_source_id(const struct api_services *services, struct api_request *request,
                        int64_t *ret_id, struct api_response *response, bool *ret_good);

/* {name, type_name, config, enabled=true, created_by="api"}; *ret_good false: answered. */
enum err data_source_wish(const struct api_services *services, struct api_request *request,
                          struct registry_wish *ret_wish, struct api_response *response,
                          bool *ret_good);

#define DATA_SOURCE_SCHEMA                                                                         \
    "{\"type\":\"object\",\"required\":[\"id\",\"name\",\"type_name\",\"type_display_name\","      \
    "\"config\",\"ingestion_id\",\"enabled\",\"status\",\"created_by\",\"last_connection\","       \
    "\"last_error\",\"created_at\",\"updated_at\"],\"properties\":{"                               \
    "\"id\":{\"type\":\"integer\"},\"name\":{\"type\":\"string\"},"                                \
    "\"type_name\":{\"type\":\"string\"},\"type_display_name\":{\"type\":\"string\"},"             \
    "\"config\":{\"type\":\"object\"},\"ingestion_id\":{\"type\":\"string\"},"                     \
    "\"enabled\":{\"type\":\"boolean\"},\"status\":{\"type\":\"string\",\"enum\":[\"inactive\","   \
    "\"connecting\",\"active\",\"error\",\"stopped\"]},"                                           \
    "\"created_by\":{\"type\":[\"string\",\"null\"]},"                                             \
    "\"last_connection\":{\"type\":[\"string\",\"null\"]},"                                        \
    "\"last_error\":{\"type\":[\"string\",\"null\"]},"                                             \
    "\"created_at\":{\"type\":[\"string\",\"null\"]},"                                             \
    "\"updated_at\":{\"type\":[\"string\",\"null\"]}}}"

/* What pydantic takes for a boolean. */
#define DATA_SOURCE_ENABLED_SCHEMA                                                                 \
    "{\"default\":true,\"anyOf\":[{\"type\":\"boolean\"},{\"enum\":[0,1]},{\"type\":\"string\","   \
    "\"pattern\":\"^([01]|[TtYy]|[FfNn]|[Oo][Nn]|[Oo][Ff][Ff]|[Yy][Ee][Ss]|[Nn][Oo]|"              \
    "[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$\"}]}"

#define DATA_SOURCE_WISH_SCHEMA                                                                    \
    "{\"type\":\"object\",\"required\":[\"name\",\"type_name\",\"config\"],\"properties\":{"       \
    "\"name\":{\"type\":\"string\",\"examples\":[\"Factory broker\"]},"                            \
    "\"type_name\":{\"type\":\"string\",\"description\":\"A name of "                              \
    "/api/data-sources/types\",\"examples\":[\"mqtt\"]},"                                          \
    "\"config\":{\"type\":\"object\",\"description\":\"As the type's config_schema says\","        \
    "\"examples\":[{\"broker\":\"localhost\",\"topics\":[\"factory/#\"]}]},"                       \
    "\"enabled\":" DATA_SOURCE_ENABLED_SCHEMA                                                      \
    ",\"created_by\":{\"type\":\"string\",\"default\":\"api\"}}}"
