#include "api/dispatch.h"

#include "api/envelope.h"
#include "api/json_strict.h"
#include "api/query.h"
#include "base/limits.h"

#include <stdio.h>
#include <strings.h>

static bool method_serves(const char *route_method, const char *method)
{
    return strcmp(route_method, method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(route_method, "GET") == 0);
}

/* "http://host:port/path" (RFC 9112 §3.2.2) counts as its path. */
static struct bytes target_path(const char *target)
{
    if (target[0] != '/') {
        const char *authority = strstr(target, "://");
        const char *path = authority ? strchr(authority + 3, '/') : NULL;
        if (path)
            target = path;
    }
    return bytes_from_text(target);
}

/* Whether a route has exactly this path: then routes with parameters are not meant, even when the
 * method is not its own ("types" is no id). */
static bool path_is_fixed(struct bytes path)
{
    size_t cursor = 0;
    for (const struct api_route *route; (route = api_route_next(&cursor));)
        if (bytes_equal_text(path, route->path))
            return true;
    return false;
}

enum err api_request_route(struct api_request *request)
{
    struct bytes raw = target_path(request->target);
    const uint8_t *mark = memchr(raw.data, '#', raw.size);
    if (mark)
        raw.size = (size_t)(mark - raw.data);
    mark = raw.size > 0 ? memchr(raw.data, '?', raw.size) : NULL;
    if (mark) {
        request->query = bytes_from(mark + 1, raw.size - (size_t)(mark - raw.data) - 1);
        raw.size = (size_t)(mark - raw.data);
    }
    enum err err = api_unescape(&request->arena, raw, false, &request->path);
    if (err != ERR_OK)
        return err;
    size_t cursor = 0;
    for (const struct api_route *route; (route = api_route_next(&cursor));) {
        if (method_serves(route->method, request->method) &&
            api_route_matches(route, request->path, request->parameters)) {
            bool other = strchr(route->path, '{') && path_is_fixed(request->path);
            request->route = other ? NULL : route;
            return ERR_OK;
        }
    }
    return ERR_OK;
}

size_t api_request_body_max(const struct api_request *request)
{
    return request->route && request->route->body_bytes_max > 0 ? request->route->body_bytes_max
                                                                : LIMIT_API_BODY_BYTES;
}

static void allow_add(struct api_response *response, const char *method)
{
    size_t used = strlen(response->allow);
    if (strstr(response->allow, method))
        return;
    snprintf(response->allow + used, sizeof(response->allow) - used, "%s%s", used > 0 ? ", " : "",
             method);
}

static bool path_known(struct bytes path, struct api_response *response)
{
    size_t cursor = 0;
    bool known = false;
    bool fixed = path_is_fixed(path);
    for (const struct api_route *route; (route = api_route_next(&cursor));) {
        if (!api_route_matches(route, path, NULL) || (fixed && strchr(route->path, '{')))
            continue;
        known = true;
        allow_add(response, route->method);
        if (strcmp(route->method, "GET") == 0)
            allow_add(response, "HEAD");
    }
    return known;
}

static enum err append_escaped(struct buf *out, struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        bool plain = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
                     (byte >= 'a' && byte <= 'z') ||
                     (byte != 0 && strchr("-._~/:@!$&'()*+,;=", byte));
        if (plain)
            buf_byte(out, byte);
        else
            buf_printf(out, "%%%02X", byte);
    }
    return out->err;
}

static enum err redirect(struct api_request *request, struct bytes path,
                         struct api_response *response)
{
    struct buf location;
    buf_init(&location, LIMIT_API_REQUEST_BYTES);
    append_escaped(&location, path);
    if (request->query.size > 0) {
        buf_byte(&location, '?');
        buf_append(&location, request->query.data, request->query.size);
    }
    enum err err = location.err;
    if (err == ERR_OK) {
        api_response_reset(response);
        response->status = 307;
        response->content_type = NULL;
        response->location = arena_dup(&request->arena, location.data, location.size);
        err = response->location ? ERR_OK : ERR_NO_MEMORY;
    }
    buf_fini(&location);
    return err;
}

static enum err no_route(struct api_request *request, struct api_response *response)
{
    if (path_known(request->path, response))
        return api_fail(response, 405, "Method Not Allowed");
    struct bytes path = request->path;
    while (path.size > 1 && path.data[path.size - 1] == '/')
        path.size--;
    if (path.size > 1 && path.size < request->path.size && path_known(path, response))
        return redirect(request, path, response);
    return api_fail(response, 404, "Not Found");
}

/* application/json and application/x+json, with whatever parameters; a missing type counts. */
static bool content_is_json(const char *content_type)
{
    if (!content_type)
        return true;
    while (*content_type == ' ')
        content_type++;
    size_t size = strcspn(content_type, "; ");
    if (size == 0)
        return true;
    return strncasecmp(content_type, "application/", 12) == 0 &&
           ((size == 16 && strncasecmp(content_type + 12, "json", 4) == 0) ||
            (size > 17 && strncasecmp(content_type + size - 5, "+json", 5) == 0));
}

static enum err body_is_no_object(const struct api_request *request, struct api_response *response)
{
    if (request->route->body == API_BODY_MODEL)
        return api_invalid_body(response, NULL,
                                "Input should be a valid dictionary or object to extract fields "
                                "from",
                                "model_attributes_type");
    return api_invalid_body(response, NULL, "Input should be a valid dictionary", "dict_type");
}

static enum err body_unparsable(enum err err, const struct json_problem *problem,
                                struct api_response *response)
{
    if (err == ERR_SYNTAX)
        return api_invalid_json(response, problem->offset, problem->text);
    if (err == ERR_TOO_DEEP)
        return api_fail(response, 400,
                        "There was an error parsing the body: it is nested deeper than %d levels",
                        LIMIT_API_JSON_DEPTH);
    return api_fail(response, 400, "There was an error parsing the body: it is not UTF-8");
}

/* Sets request->json, or answers. *ret_good false: answered. */
static enum err body_parse(struct api_request *request, struct api_response *response,
                           bool *ret_good)
{
    struct bytes body = request->body;
    *ret_good = false;
    if (body.size == 0)
        return api_invalid_body(response, NULL, "Field required", "missing");
    if (!content_is_json(request->content_type))
        return body_is_no_object(request, response);
    if (body.size >= 3 && memcmp(body.data, "\xef\xbb\xbf", 3) == 0)
        body = bytes_from(body.data + 3, body.size - 3);
    struct json_problem problem;
    enum err err = json_strict_check(body, &problem);
    if (err != ERR_OK)
        return body_unparsable(err, &problem, response);
    json_error_t error;
    request->json =
        json_loadb((const char *)body.data, body.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!request->json && json_error_code(&error) == json_error_out_of_memory)
        return ERR_NO_MEMORY;
    if (!request->json) /* a number beyond a double, a lone surrogate, a NUL in a key */
        return api_invalid_json(response, error.position > 0 ? (size_t)error.position : 0,
                                error.text);
    if (!json_is_object(request->json))
        return body_is_no_object(request, response);
    *ret_good = true;
    return ERR_OK;
}

static enum err answer(const struct api_services *services, struct api_request *request,
                       struct api_response *response)
{
    if (!request->route)
        return no_route(request, response);
    if (request->route->body == API_BODY_DICT || request->route->body == API_BODY_MODEL) {
        bool good;
        enum err err = body_parse(request, response, &good);
        if (err != ERR_OK || !good)
            return err;
    }
    return request->route->handle(services, request, response);
}

/* What the handler could not say itself. */
static void answer_failure(enum err err, struct api_response *response)
{
    enum err failed;
    response->allow[0] = '\0';
    if (err == ERR_NO_MEMORY)
        failed = api_fail(response, 503, "The service is out of memory: try again later");
    else if (err == ERR_TOO_LARGE)
        failed = api_fail(response, 503, "The answer is too large: ask for less, with a limit");
    else
        failed = api_fail(response, 500, "Internal error: %s", err_text(err));
    if (failed != ERR_OK) {
        api_response_reset(response);
        response->status = 503;
    }
}

bool api_dispatch(const struct api_services *services, struct api_request *request,
                  struct api_response *response)
{
    bool slow = request->route && request->route->slow;
    enum err err = answer(services, request, response);
    if (err == ERR_AGAIN && slow)
        return false;
    if (err == ERR_OK)
        err = response->body.err;
    if (err != ERR_OK)
        answer_failure(err, response);
    return true;
}

void api_dispatch_busy(struct api_response *response, const char *sentence)
{
    if (api_fail(response, 503, "%s", sentence) != ERR_OK)
        answer_failure(ERR_NO_MEMORY, response);
    api_response_header(response, "Retry-After", "1");
}

void api_dispatch_no_memory(struct api_response *response)
{
    answer_failure(ERR_NO_MEMORY, response);
}

void api_dispatch_too_large(const struct api_request *request, struct api_response *response)
{
    if (api_fail(response, 413, "The body is too large: send at most %zu bytes",
                 api_request_body_max(request)) != ERR_OK)
        answer_failure(ERR_NO_MEMORY, response);
}
