#pragma once
/*
 * From request to answer: path, route, body, handler, and every error as a value. Pure but for what
 * the services' callbacks do; what the server, the tests and the fuzzer call.
 */
#include "api/route.h"

/* Splits the target and finds the route, so that the server knows how much body to take. Call it
 * once, before the body is read. */
enum err api_request_route(struct api_request *request) ERR_MUST_USE;
size_t api_request_body_max(const struct api_request *request);

/* Fills the response, whatever happens. Without memory even for an error's text: status 503 and an
 * empty body. False: the request was given away (a slow route); touch neither, resume comes. */
bool api_dispatch(const struct api_services *services, struct api_request *request,
                  struct api_response *response);
void api_dispatch_no_memory(struct api_response *response);
/* A 503 that says so, with Retry-After. */
void api_dispatch_busy(struct api_response *response, const char *sentence);
/* The 413. */
void api_dispatch_too_large(const struct api_request *request, struct api_response *response);
