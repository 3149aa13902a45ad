#pragma once
/* The one log line of a request: method, path, status, duration, request id. Any thread. */
#include "api/message.h"

/* status 0: the library refused it, or it was given up before an answer. sent false: the client
 * went away before it had the whole answer. */
void request_log(const struct api_request *request, unsigned status, int64_t duration_ns,
                 bool sent);
