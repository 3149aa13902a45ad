#pragma once
/*
 * Transfers on an I/O loop: one curl multi handle for all sources on it, driven by libuv. Nothing
 * blocks; names are looked up by curl's own resolver thread, for the time of the look-up.
 *
 * The loop's thread only. An engine lives as long as anybody holds it (rest_engine_get, …_put). A
 * transfer belongs to its caller and lies still from start until done was called or it was
 * cancelled; done is called once, never from within start, and may start it again.
 *
 * Limits: bodies in memory on one loop REST_ENGINE_BODY_BYTES_MAX; beyond, transfers wait (one may
 * always go on, so that the memory comes back); a response's headers REST_RESPONSE_HEADERS_MAX;
 * connections to one host REST_HOST_CONNECTIONS_MAX.
 */
#include "base/buf.h"
#include "base/err.h"
#include "connectors/rest/rest_schedule.h"

#include <curl/curl.h>
#include <uv.h>

#define REST_ENGINE_BODY_BYTES_MAX (256 * MIB)
#define REST_RESPONSE_HEADERS_MAX  (256 * KIB)
#define REST_HOST_CONNECTIONS_MAX  128
#define REST_FIELD_BYTES_MAX       8192
#define REST_REASON_BYTES          (CURL_ERROR_SIZE + 64)

struct rest_engine;

enum err rest_engine_get(uv_loop_t *loop, struct rest_engine **ret_engine) ERR_MUST_USE;
void rest_engine_put(struct rest_engine *engine); /* NULL is fine */
/* Whether a source that starts now may poll at once. */
bool rest_engine_start_at_once(struct rest_engine *engine, int64_t now_ns);

/* All borrowed until done. */
struct rest_request {
    const char *url;
    struct curl_slist *headers;
    bool is_post;
    struct bytes body;
    uint32_t timeout_ms;
    size_t response_max_bytes;
    const char *ca_file;
    const char *cert_file; /* NULL: none, also when the address is another host's */
    const char *key_file;
    bool verify;
    const char *proxy;
};

enum rest_failure {
    REST_FAILURE_NONE,  /* there is a status */
    REST_FAILURE_RETRY, /* network, time-out: may pass */
    REST_FAILURE_FINAL, /* certificate, address, size: will not pass by itself */
};

struct rest_transfer {
    struct rest_engine *engine;
    const struct rest_request *request;
    void (*done)(void *ctx);
    void *ctx;

    /* the answer, good in done and until the next start */
    enum rest_failure failure;
    char reason[REST_REASON_BYTES]; /* of a failure */
    long status;
    struct buf body; /* taken by rest_transfer_take_body, else emptied at the next start */
    struct buf content_type;
    struct buf etag;
    struct buf last_modified;
    struct buf link;
    struct buf retry_after;
    struct buf location; /* absolute, of a redirect */

    /* the engine's */
    CURL *easy;
    size_t header_bytes;
    size_t counted_bytes; /* of the body, against the engine's limit */
    bool paused;
    bool too_large;
    bool no_memory;
    struct rest_transfer *next; /* among the paused */
    char error[CURL_ERROR_SIZE];
};

void rest_transfer_init(struct rest_transfer *transfer, struct rest_engine *engine,
                        void (*done)(void *ctx), void *ctx);
/* Cancels; done is not called. */
void rest_transfer_fini(struct rest_transfer *transfer);
enum err rest_transfer_start(struct rest_transfer *transfer,
                             const struct rest_request *request) ERR_MUST_USE;
void rest_transfer_cancel(struct rest_transfer *transfer);
/* The body goes to the caller, who gives its count back with rest_engine_release. */
void rest_transfer_take_body(struct rest_transfer *transfer, struct buf *ret_body);
void rest_engine_release(struct rest_engine *engine, size_t bytes);
