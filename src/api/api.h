#pragma once
/*
 * The HTTP API (contract/http-api.md) on libmicrohttpd: two threads of its own, epoll; and eight
 * workers for requests that may block (a database, a connection to be tried).
 *
 * What the routes need from the service comes through one narrow table, struct api_services; app/
 * fills it. Its callbacks run on the API threads, any number at once, and must not block: health
 * and ready answer from the last known result, never by probing.
 *
 * api_start listens before it returns; api_stop stops listening, lets running requests end (at most
 * two seconds; a worker's handler as long as it takes, at most some ten), answers what waits with a
 * 503, then closes all connections. Limits: base/limits.h LIMIT_API_*; a connection must
 * bring a whole request within request_timeout_ms of its last one, however slowly it trickles.
 */
#include "base/err.h"
#include "base/metrics.h"
#include "os/clock.h"
#include "pipeline/recent.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define API_TEXT_BYTES 640
#define API_CHECKS_MAX 8

enum api_status { API_HEALTHY, API_DEGRADED, API_UNHEALTHY };

/* Component texts: "healthy", or "degraded: why", "unhealthy: why", "full". All are preset to
 * "healthy", the status to API_HEALTHY, buffered_messages from the recent rows, the rest to 0. */
struct api_health {
    enum api_status status; /* API_UNHEALTHY: nothing can be acknowledged; answered with 503 */
    char data_sources[API_TEXT_BYTES];
    char object_store[API_TEXT_BYTES]; /* shown as "minio", whichever it is */
    char data_buffer[API_TEXT_BYTES];  /* "healthy" or "full" */
    char journal[API_TEXT_BYTES];
    char database[API_TEXT_BYTES];
    char metadata[API_TEXT_BYTES];
    uint64_t buffered_messages;
    uint64_t active_data_sources;
    uint64_t messages_received;
    uint64_t messages_processed;
    /* The accounting over all sources: received = stored + rejected + repeated + pending. */
    uint64_t messages_stored;
    uint64_t messages_rejected;
    uint64_t messages_repeated;
    uint64_t messages_pending;
    /* An object {ingestion id of the source: {…}} shown as metrics.accounting; may stay NULL. The
     * API drops the reference. */
    json_t *accounting;
};

struct api_check {
    const char *name; /* "minio", "data_sources", "journal", …; static */
    bool good;
};

struct api_ready {
    bool ready;
    size_t check_count;
    struct api_check checks[API_CHECKS_MAX];
};

struct manager;
struct metadata;
struct letters;
struct stream_hub;
struct body_budget;

struct api_services {
    const char *version;
    struct recent *recent;
    struct metrics *metrics;
    void (*health)(void *ctx, struct api_health *health);
    void (*ready)(void *ctx, struct api_ready *ret_ready);
    bool (*live)(void *ctx); /* false: a loop is stuck */
    void *ctx;
    struct manager *manager;   /* NULL: the data-source routes answer 503 */
    struct metadata *metadata; /* NULL: the metadata routes do */
    struct letters *letters;   /* NULL: those of the dead letters */
    /* Set by api_start. */
    struct stream_hub *stream;
    struct body_budget *bodies;
};

struct api_options {
    const char *host;            /* address or name to listen on */
    uint16_t port;               /* 0: any free one, see api_port */
    const char *cors_origins;    /* "*", or origins separated by commas; "" or NULL: none */
    uint32_t request_timeout_ms; /* 0: 60,000 */
    const struct clock *clock;   /* NULL: clock_system */
};

struct api;

/* services is copied; what it points to must live until api_stop. */
enum err api_start(const struct api_options *options, const struct api_services *services,
                   struct api **ret_api, struct diag *diag) ERR_MUST_USE;
void api_stop(struct api *api); /* NULL is fine */
uint16_t api_port(const struct api *api);
