/* The OpenAPI 3.1 document, built from the route table at each request (a cold path). */
#include "api/route.h"

#include <ctype.h>
#include <stdio.h>

#define SCHEMAS                                                                                    \
    "{\"Error\":{\"type\":\"object\",\"required\":[\"status\",\"data\",\"message\",\"error\","     \
    "\"detail\"],\"properties\":{\"status\":{\"const\":\"error\"},\"data\":{\"type\":\"null\"},"   \
    "\"message\":{\"type\":\"null\"},\"error\":{\"type\":\"string\"},"                             \
    "\"detail\":{\"type\":\"string\"}}},"                                                          \
    "\"ValidationError\":{\"type\":\"object\",\"required\":[\"status\",\"data\",\"message\","      \
    "\"error\",\"detail\"],\"properties\":{\"status\":{\"const\":\"error\"},"                      \
    "\"data\":{\"type\":\"null\"},\"message\":{\"type\":\"null\"},\"error\":{\"type\":"            \
    "\"string\"},\"detail\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":["     \
    "\"loc\",\"msg\",\"type\"],\"properties\":{\"loc\":{\"type\":\"array\",\"items\":{\"type\":"   \
    "[\"string\",\"integer\"]}},\"msg\":{\"type\":\"string\"},\"type\":{\"type\":\"string\"},"     \
    "\"input\":true}}}}}}"

static void write_data_schema(const struct api_route *route, struct buf *out)
{
    const char *schema = route->answer_schema ? route->answer_schema : "true";
    bool list = route->answer == API_ANSWER_LIST;
    bool error = list || route->answer == API_ANSWER_DATA;
    buf_text(out, "{\"type\":\"object\",\"required\":[\"status\",\"message\"");
    if (route->answer != API_ANSWER_MESSAGE)
        buf_text(out, ",\"data\"");
    buf_text(out, error ? ",\"error\"" : "");
    buf_text(out, list ? ",\"total\",\"page\",\"page_size\"" : "");
    buf_text(out, "],\"properties\":{\"status\":{\"const\":\"success\"}");
    if (list)
        buf_printf(out, ",\"data\":{\"type\":\"array\",\"items\":%s}", schema);
    else if (route->answer != API_ANSWER_MESSAGE)
        buf_printf(out, ",\"data\":%s", schema);
    buf_text(out, ",\"message\":{\"type\":[\"string\",\"null\"]}");
    if (error)
        buf_text(out, ",\"error\":{\"type\":[\"string\",\"null\"]}");
    if (list)
        buf_text(out, ",\"total\":{\"type\":\"integer\"},"
                      "\"page\":{\"type\":[\"integer\",\"null\"]},"
                      "\"page_size\":{\"type\":[\"integer\",\"null\"]}");
    buf_text(out, "}}");
}

static void write_answer(const struct api_route *route, struct buf *out)
{
    static const char *const texts[] = {[API_ANSWER_TEXT] = "text/plain",
                                        [API_ANSWER_HTML] = "text/html",
                                        [API_ANSWER_EVENTS] = "text/event-stream"};
    const char *text =
        route->answer < sizeof(texts) / sizeof(texts[0]) ? texts[route->answer] : NULL;
    if (text) {
        buf_printf(out, "{\"%s\":{\"schema\":{\"type\":\"string\"}}}", text);
        return;
    }
    buf_text(out, "{\"application/json\":{\"schema\":");
    if (route->answer == API_ANSWER_BARE)
        buf_text(out, route->answer_schema ? route->answer_schema : "true");
    else
        write_data_schema(route, out);
    buf_text(out, "}}");
}

static void write_error(struct buf *out, const char *status, const char *description,
                        const char *schema)
{
    buf_printf(out,
               ",\"%s\":{\"description\":\"%s\",\"content\":{\"application/json\":{\"schema\":{"
               "\"$ref\":\"#/components/schemas/%s\"}}}}",
               status, description, schema);
}

static const char *status_description(unsigned status)
{
    switch (status) {
    case 400:
        return "Invalid value";
    case 401:
    case 403:
        return "Credentials are missing or wrong";
    case 404:
        return "Not found";
    case 409:
        return "In conflict with what exists";
    case 429:
    case 503:
        return "Not now: try again later";
    default:
        return "Failed";
    }
}

/* A bare answer's 503 has the body of its 200 (health, ready, live). */
static void write_status(const struct api_route *route, unsigned status, struct buf *out)
{
    char text[16];
    snprintf(text, sizeof(text), "%u", status);
    if (status == 503 && route->answer == API_ANSWER_BARE) {
        buf_text(out, ",\"503\":{\"description\":\"Not healthy\",\"content\":");
        write_answer(route, out);
        buf_byte(out, '}');
    } else {
        write_error(out, text, status_description(status), "Error");
    }
}

/* The parameters of the path that are numbers are called "id". */
static bool path_has_number(const struct api_route *route)
{
    return strstr(route->path, "{id}") != NULL;
}

static void write_responses(const struct api_route *route, struct buf *out)
{
    buf_printf(out, "\"responses\":{\"%u\":{\"description\":\"Success\",\"content\":",
               route->success_status ? route->success_status : 200);
    write_answer(route, out);
    buf_byte(out, '}');
    for (const unsigned *status = route->error_statuses; status && *status; status++)
        write_status(route, *status, out);
    if (route->body != API_BODY_NONE)
        write_error(out, "413", "The body is too large", "Error");
    if (route->body == API_BODY_MODEL || route->body == API_BODY_DICT) {
        bool named = false;
        for (const unsigned *status = route->error_statuses; status && *status; status++)
            named = named || *status == 400;
        if (!named) /* what is not UTF-8, or too deep */
            write_error(out, "400", status_description(400), "Error");
    }
    if (route->body != API_BODY_NONE || route->parameters || path_has_number(route))
        write_error(out, "422", "Malformed, missing or ill-typed", "ValidationError");
    buf_byte(out, '}');
}

static void write_parameters(const struct api_route *route, struct buf *out)
{
    const char *comma = "";
    buf_text(out, "\"parameters\":[");
    for (const char *open = strchr(route->path, '{'); open; open = strchr(open + 1, '{')) {
        int size = (int)strcspn(open + 1, "}");
        buf_printf(out,
                   "%s{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,"
                   "\"schema\":{\"type\":\"%s\"}}",
                   comma, size, open + 1,
                   size == 2 && strncmp(open + 1, "id", 2) == 0 ? "integer" : "string");
        comma = ",";
    }
    for (const struct api_parameter *p = route->parameters; p && p->name; p++) {
        buf_printf(out,
                   "%s{\"name\":\"%s\",\"in\":\"%s\",\"required\":false,\"description\":\"%s\",",
                   comma, p->name, p->header ? "header" : "query", p->description);
        if (p->schema)
            buf_printf(out, "\"schema\":%s}", p->schema);
        else
            buf_printf(out, "\"schema\":{\"type\":\"integer\",\"minimum\":%lld}}",
                       (long long)p->minimum);
        comma = ",";
    }
    buf_text(out, "],");
}

static void write_body(const struct api_route *route, struct buf *out)
{
    if (route->body == API_BODY_NONE)
        return;
    buf_text(out, "\"requestBody\":{\"required\":true,\"content\":");
    if (route->body == API_BODY_RAW)
        buf_text(out, route->body_schema);
    else
        buf_printf(out, "{\"application/json\":{\"schema\":%s}}",
                   route->body_schema ? route->body_schema : "{\"type\":\"object\"}");
    buf_text(out, "},");
}

static void write_operation(const struct api_route *route, struct buf *out)
{
    buf_byte(out, '"');
    for (const char *c = route->method; *c; c++)
        buf_byte(out, (uint8_t)tolower((unsigned char)*c));
    buf_text(out, "\":{\"operationId\":\"");
    for (const char *c = route->method; *c; c++)
        buf_byte(out, (uint8_t)tolower((unsigned char)*c));
    for (const char *c = route->path; *c; c++)
        if (*c != '{' && *c != '}')
            buf_byte(out, isalnum((unsigned char)*c) ? (uint8_t)*c : '_');
    buf_printf(out, "\",\"tags\":[\"%s\"],\"summary\":\"%s\",", route->tag, route->summary);
    write_parameters(route, out);
    write_body(route, out);
    write_responses(route, out);
    buf_byte(out, '}');
}

/* Whether an earlier route has this path, whose entry then holds this one too. */
static bool path_written(const struct api_route *route)
{
    size_t cursor = 0;
    for (const struct api_route *other; (other = api_route_next(&cursor)) != route;)
        if (strcmp(other->path, route->path) == 0)
            return true;
    return false;
}

static void write_path(const struct api_route *route, struct buf *out)
{
    size_t cursor = 0;
    const char *comma = "";
    buf_printf(out, "\"%s\":{", route->path);
    for (const struct api_route *other; (other = api_route_next(&cursor));) {
        if (strcmp(other->path, route->path) != 0)
            continue;
        buf_text(out, comma);
        write_operation(other, out);
        comma = ",";
    }
    buf_byte(out, '}');
}

static enum err openapi_get(const struct api_services *services, struct api_request *request,
                            struct api_response *response)
{
    (void)request;
    struct buf *out = &response->body;
    size_t cursor = 0;
    const char *comma = "";
    buf_text(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Ingestor\",\"version\":");
    buf_json_string(out, bytes_from_text(services->version));
    buf_text(out, "},\"paths\":{");
    for (const struct api_route *route; (route = api_route_next(&cursor));) {
        if (path_written(route))
            continue;
        buf_text(out, comma);
        write_path(route, out);
        comma = ",";
    }
    return buf_text(out, "},\"components\":{\"schemas\":" SCHEMAS "}}");
}

static const struct api_route routes[] = {
    {.method = "GET",
     .path = "/openapi.json",
     .handle = openapi_get,
     .tag = "service",
     .summary = "This document",
     .answer = API_ANSWER_BARE,
     .answer_schema = "{\"type\":\"object\"}"},
};

const struct api_route_group openapi_routes = {routes, sizeof(routes) / sizeof(routes[0])};
