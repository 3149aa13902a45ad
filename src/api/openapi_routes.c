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
    buf_text(out, "{\"type\":\"object\",\"required\":[\"status\",\"data\",\"message\",\"error\"");
    if (route->answer == API_ANSWER_LIST)
        buf_text(out, ",\"total\",\"page\",\"page_size\"");
    buf_text(out, "],\"properties\":{\"status\":{\"const\":\"success\"},\"data\":");
    if (route->answer == API_ANSWER_LIST)
        buf_printf(out, "{\"type\":\"array\",\"items\":%s}", schema);
    else
        buf_text(out, schema);
    buf_text(out, ",\"message\":{\"type\":[\"string\",\"null\"]},"
                  "\"error\":{\"type\":[\"string\",\"null\"]}");
    if (route->answer == API_ANSWER_LIST)
        buf_text(out, ",\"total\":{\"type\":\"integer\"},"
                      "\"page\":{\"type\":[\"integer\",\"null\"]},"
                      "\"page_size\":{\"type\":[\"integer\",\"null\"]}");
    buf_text(out, "}}");
}

static void write_answer(const struct api_route *route, struct buf *out)
{
    if (route->answer == API_ANSWER_TEXT) {
        buf_text(out, "{\"text/plain\":{\"schema\":{\"type\":\"string\"}}}");
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
        write_error(out, text, status == 400 ? "Invalid value" : "Refused", "Error");
    }
}

static void write_responses(const struct api_route *route, struct buf *out)
{
    buf_text(out, "\"responses\":{\"200\":{\"description\":\"Success\",\"content\":");
    write_answer(route, out);
    buf_byte(out, '}');
    for (const unsigned *status = route->error_statuses; status && *status; status++)
        write_status(route, *status, out);
    if (route->body != API_BODY_NONE)
        write_error(out, "413", "The body is too large", "Error");
    if (route->body != API_BODY_NONE || route->parameters)
        write_error(out, "422", "Malformed, missing or ill-typed", "ValidationError");
    buf_byte(out, '}');
}

static void write_parameters(const struct api_route *route, struct buf *out)
{
    const char *comma = "";
    buf_text(out, "\"parameters\":[");
    for (const char *open = strchr(route->path, '{'); open; open = strchr(open + 1, '{')) {
        buf_printf(out,
                   "%s{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,"
                   "\"schema\":{\"type\":\"string\"}}",
                   comma, (int)strcspn(open + 1, "}"), open + 1);
        comma = ",";
    }
    for (const struct api_parameter *p = route->parameters; p && p->name; p++) {
        buf_printf(out,
                   "%s{\"name\":\"%s\",\"in\":\"query\",\"required\":false,\"description\":\"%s\","
                   "\"schema\":{\"type\":\"integer\",\"minimum\":%lld}}",
                   comma, p->name, p->description, (long long)p->minimum);
        comma = ",";
    }
    buf_text(out, "],");
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
    if (route->body != API_BODY_NONE)
        buf_printf(out,
                   "\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{"
                   "\"schema\":%s}}},",
                   route->body_schema ? route->body_schema : "{\"type\":\"object\"}");
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
