#pragma once
/*
 * What api.c and answer.c share: the server, and one request on its way through it. An exchange is
 * made with the request line and freed when its answer is sent or given up; in between it belongs
 * to the libmicrohttpd thread of its connection, or, while the connection sleeps (`suspended`), to
 * a worker or to whoever took the request over. exchange_resume gives it back.
 */
#include "api/api.h"
#include "api/body_budget.h"
#include "api/connections.h"
#include "api/cors.h"
#include "api/dispatch.h"
#include "api/workers.h"
#include "os/thread.h"

#include <microhttpd.h>

/* How much longer than a request an answer may take. */
#define ANSWER_TIMEOUT_FACTOR 10

struct api {
    struct api_services services;
    const struct clock *clock;
    struct cors cors;
    struct MHD_Daemon *daemon;
    int listen_socket;
    uint16_t port;
    struct connections connections;
    struct workers workers;
    struct body_budget bodies;

    struct mutex lock; /* all below */
    struct condition changed;
    size_t request_count;       /* being served */
    size_t suspended_count;     /* whose connection sleeps, or is just being woken */
    struct exchange *suspended; /* requests in work, not streams that wait */
};

struct exchange {
    struct work work; /* first */
    struct api *api;
    struct MHD_Connection *handle;
    struct api_request request;
    struct api_response response;
    struct buf body;
    size_t body_taken_bytes; /* of the budget */
    char *method;
    char *target;
    int64_t begin_ns;
    size_t discarded_bytes;
    bool routed;
    bool too_large;
    bool crowded; /* no budget for its body */
    bool answered;
    bool no_memory;
    bool worked; /* the response is filled by a worker */
    /* Among api->suspended, under its lock. */
    struct exchange *next;
    struct exchange *previous;
    /* A streamed answer: what of it is not yet sent. */
    struct buf piece;
    size_t piece_sent;
    bool stream_done;
};

struct connection *exchange_connection(struct MHD_Connection *handle);
/* Lets the connection sleep; listed: it is a request in work. */
void exchange_suspend(struct exchange *exchange, bool listed);
/* Wakes it. The exchange may be gone when this returns. */
void exchange_resume(void *exchange);
