/* GET /docs: an interactive page over /openapi.json, self-contained (docs.html, embedded by
 * cmake/Layers.cmake), so that it works without the internet. */
#include "api/route.h"
#include "docs_html.h"

static enum err docs_get(const struct api_services *services, struct api_request *request,
                         struct api_response *response)
{
    (void)services, (void)request;
    response->content_type = "text/html; charset=utf-8";
    api_response_header(response, "Cache-Control", "no-cache");
    api_response_header(response, "Content-Security-Policy",
                        "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; "
                        "script-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; "
                        "form-action 'none'");
    return buf_append(&response->body, docs_html, sizeof(docs_html));
}

static const struct api_route routes[] = {
    {.method = "GET",
     .path = "/docs",
     .handle = docs_get,
     .tag = "service",
     .summary = "This API as a page: read about the routes, try them",
     .answer = API_ANSWER_HTML},
};

const struct api_route_group docs_routes = {routes, sizeof(routes) / sizeof(routes[0])};
