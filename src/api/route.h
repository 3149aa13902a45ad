#pragma once
/*
 * The route table. A resource is one file that exports a struct api_route_group, plus its line in
 * API_ROUTE_GROUPS; method, path, parameters and body are declared here once and used for routing,
 * for validation and for /openapi.json.
 *
 * handle runs on an API thread and may not block, unless the route is slow: then it runs on one of
 * the API's workers while its connection sleeps. It returns ERR_OK when the response is filled, an
 * error answer included; any other error becomes a 503 (no memory) or 500. A slow one may return
 * ERR_AGAIN when it has given the request away (message.h).
 */
#include "api/api.h"
#include "api/message.h"

enum api_answer {
    API_ANSWER_DATA, /* ApiResponse; answer_schema is that of data */
    API_ANSWER_LIST, /* ApiListResponse; answer_schema is that of an element */
    API_ANSWER_BARE, /* JSON as answer_schema says */
    API_ANSWER_TEXT, /* plain text */
    API_ANSWER_HTML,
    API_ANSWER_EVENTS,  /* text/event-stream */
    API_ANSWER_MESSAGE, /* {"status", "message"}; answer_schema NULL */
    API_ANSWER_NAMED,   /* {"status", "data", "message"}; answer_schema is that of data */
};

/* A parameter in the query or, documented only, a header. Zero-terminated list by name. */
struct api_parameter {
    const char *name;
    const char *description;
    int64_t minimum;
    const char *schema; /* JSON Schema text; NULL: an integer of at least minimum */
    bool header;        /* it is a header, not in the query */
};

enum api_body {
    API_BODY_NONE,  /* what comes is read and ignored */
    API_BODY_DICT,  /* any JSON object: pydantic's dict */
    API_BODY_MODEL, /* an object of known fields: pydantic's model */
    API_BODY_RAW,   /* bytes, whatever the content type: the route's own matter */
};

struct api_route {
    const char *method;
    const char *path; /* "/api/data/{ingestion_id}" */
    enum err (*handle)(const struct api_services *services, struct api_request *request,
                       struct api_response *response);
    bool slow; /* handle may block for some seconds */
    enum api_body body;
    size_t body_bytes_max; /* 0: LIMIT_API_BODY_BYTES */

    const char *tag;
    const char *summary;
    enum api_answer answer;
    unsigned success_status;                /* 0: 200 */
    const char *answer_schema;              /* JSON Schema text; NULL: anything */
    const char *body_schema;                /* with a body; of a raw one: its whole "content" */
    const struct api_parameter *parameters; /* in the query; NULL: none */
    const unsigned *error_statuses;         /* besides 404, 405, 422; zero-terminated; or NULL */
};

struct api_route_group {
    const struct api_route *routes;
    size_t count;
};

/* X(group) in the order in which they are matched and documented. */
#define API_ROUTE_GROUPS(X)                                                                        \
    X(service_routes)                                                                              \
    X(recent_routes)                                                                               \
    X(stream_routes)                                                                               \
    X(data_source_routes)                                                                          \
    X(data_source_action_routes)                                                                   \
    X(metadata_routes)                                                                             \
    X(dead_letter_routes)                                                                          \
    X(ingest_routes)                                                                               \
    X(openapi_routes)                                                                              \
    X(docs_routes)

#define X(group) extern const struct api_route_group group;
API_ROUTE_GROUPS(X)
#undef X

/* *cursor starts at 0. NULL at the end. */
const struct api_route *api_route_next(size_t *cursor);
/* Whether some route has exactly this path (as in the table). */
bool api_route_exists(const char *path);
/* Whether path matches; parameters (room for API_PATH_PARAMETERS_MAX, or NULL) get what the {names}
 * stand for. */
bool api_route_matches(const struct api_route *route, struct bytes path, struct bytes *parameters);
