/* GET /api/stream: rows as they arrive, as Server-Sent Events. */
#include "api/envelope.h"
#include "api/query.h"
#include "api/route.h"
#include "api/stream_hub.h"
#include "base/limits.h"

static enum err refused(struct api_response *response, enum err err)
{
    enum err failed =
        err == ERR_TOO_MANY
            ? api_fail(response, 503, "There are %d streams already: close one, or try again later",
                       LIMIT_API_STREAM_CLIENTS)
            : api_fail(response, 503, "The service streams nothing now: try again in a moment");
    api_response_header(response, "Retry-After", "5");
    return failed;
}

static enum err stream_get(const struct api_services *services, struct api_request *request,
                           struct api_response *response)
{
    bool present;
    struct bytes id = {0};
    enum err err = api_query_get(request, "ingestion_id", &present, &id);
    if (err == ERR_OK)
        err = stream_hub_open(services->stream, present ? id : (struct bytes){0}, response);
    if (err == ERR_TOO_MANY || err == ERR_STOPPED)
        return refused(response, err);
    if (err != ERR_OK)
        return err;
    response->content_type = "text/event-stream";
    api_response_header(response, "Cache-Control", "no-cache");
    api_response_header(response, "X-Accel-Buffering", "no");
    return ERR_OK;
}

static const struct api_parameter parameters[] = {
    {.name = "ingestion_id",
     .description = "Only the rows of this partition",
     .schema = "{\"type\":\"string\"}"},
    {0},
};

static const unsigned unavailable[] = {503, 0};

static const struct api_route routes[] = {
    {.method = "GET",
     .path = "/api/stream",
     .handle = stream_get,
     .tag = "data",
     .summary = "Rows as they arrive, as Server-Sent Events; an event named dropped tells a slow "
                "client how many rows it lost",
     .answer = API_ANSWER_EVENTS,
     .parameters = parameters,
     .error_statuses = unavailable},
};

const struct api_route_group stream_routes = {routes, sizeof(routes) / sizeof(routes[0])};
