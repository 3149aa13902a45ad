#include "api/message.h"

#include "base/limits.h"

#include <assert.h>
#include <stdio.h>
#include <sys/random.h>

void api_request_init(struct api_request *request, const char *method, const char *target)
{
    *request = (struct api_request){.method = method, .target = target};
    arena_init(&request->arena, LIMIT_API_REQUEST_BYTES);
}

void api_request_fini(struct api_request *request)
{
    json_decref(request->json);
    request->json = NULL;
    if (request->deferral.release)
        request->deferral.release(request->deferral.ctx);
    request->deferral = (struct api_deferral){0};
    arena_fini(&request->arena);
}

void api_response_init(struct api_response *response)
{
    *response = (struct api_response){.status = 200, .content_type = "application/json"};
    buf_init(&response->body, LIMIT_API_ANSWER_BYTES);
}

void api_response_fini(struct api_response *response)
{
    if (response->stream_free)
        response->stream_free(response->stream);
    response->stream_free = NULL;
    response->next = NULL;
    response->wait = NULL;
    buf_fini(&response->body);
}

void api_response_reset(struct api_response *response)
{
    api_response_fini(response);
    api_response_init(response);
}

void api_response_header(struct api_response *response, const char *name, const char *value)
{
    assert(response->header_count < API_HEADERS_MAX);
    response->headers[response->header_count++] = (struct api_header){name, value};
}

static bool id_well_formed(const char *id)
{
    size_t length = strnlen(id, API_REQUEST_ID_BYTES);
    if (length == 0 || length >= API_REQUEST_ID_BYTES)
        return false;
    for (const char *c = id; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            return false;
    return true;
}

void api_request_set_id(struct api_request *request, const char *given)
{
    if (given && id_well_formed(given)) {
        snprintf(request->id, sizeof(request->id), "%s", given);
        return;
    }
    uint8_t r[16] = {0};
    /* 16 bytes after boot neither fail nor are cut (getrandom(2)). */
    ssize_t got = getrandom(r, sizeof(r), 0);
    (void)got;
    r[6] = (uint8_t)((r[6] & 0x0f) | 0x40);
    r[8] = (uint8_t)((r[8] & 0x3f) | 0x80);
    snprintf(request->id, sizeof(request->id),
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0], r[1],
             r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14],
             r[15]);
}
