/*
 * A request from a hostile client, without the socket: the first line of the input is "METHOD
 * target content-type", the rest the body. Whatever it is, the answer is below 500 and, if it is
 * JSON, parses.
 */
#include "api/dispatch.h"
#include "api/stream_hub.h"
#include "base/limits.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_health(void *ctx, struct api_health *health)
{
    (void)ctx, (void)health;
}

static void on_ready(void *ctx, struct api_ready *ret_ready)
{
    (void)ctx;
    ret_ready->ready = true;
}

static bool on_live(void *ctx)
{
    (void)ctx;
    return true;
}

static struct api_services services = {
    .version = "fuzz", .health = on_health, .ready = on_ready, .live = on_live};

static void must(bool good)
{
    if (!good)
        abort();
}

static void check(const struct api_response *response)
{
    must(response->body.err == ERR_OK && response->status >= 200 &&
         (response->status < 500 || response->status == 503)); /* there is no manager */
    if (!response->content_type || strcmp(response->content_type, "application/json") != 0)
        return;
    json_t *json = json_loadb((const char *)response->body.data, response->body.size,
                              JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    must(json != NULL);
    json_decref(json);
}

static void call(const char *method, const char *target, const char *type, struct bytes body)
{
    struct api_request request;
    struct api_response response;
    bool done = false;
    api_request_init(&request, method, target);
    api_response_init(&response);
    request.content_type = type;
    request.accept = type;
    request.body = body;
    must(api_request_route(&request) == ERR_OK);
    api_dispatch(&services, &request, &response);
    while (response.next && !done) {
        enum err err = response.next(response.stream, &response.body, &done);
        must(err == ERR_OK || (err == ERR_AGAIN && response.wait));
        done = done || err == ERR_AGAIN;
    }
    check(&response);
    api_response_fini(&response);
    api_request_fini(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char line[4096];
    if (!services.recent) {
        must(recent_new(100, 0, &clock_system, &services.recent) == ERR_OK);
        must(metrics_new(&services.metrics) == ERR_OK);
        must(stream_hub_new(services.recent, &clock_system, &services.stream) == ERR_OK);
    }
    size_t length = 0;
    while (length < size && length < sizeof(line) - 1 && data[length] != '\n' && data[length] != 0)
        length++;
    memcpy(line, data, length);
    line[length] = '\0';
    char *rest = line;
    char *method = strsep(&rest, " ");
    char *target = rest ? strsep(&rest, " ") : method + strlen(method);
    call(method, target, rest, bytes_from(data + length, size - length));
    call("POST", "/api/buffer/size", rest, bytes_from(data + length, size - length));
    return 0;
}
