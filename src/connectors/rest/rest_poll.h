#pragma once
/*
 * One poll: a token when one is needed, the pages one after the other, each with its redirects and
 * up to three tries. What was read is kept until the owner has emitted it and lets it go; nothing
 * is emitted here.
 *
 * The loop's thread. done is called once for each begin or go_on, never from within it; the owner
 * may begin the next poll from there. Pages in memory are bounded: past REST_POLL_KEPT_BYTES the
 * poll stops in between (has_more), the owner puts down what is there, and goes on.
 */
#include "connectors/rest/rest_body.h"
#include "connectors/rest/rest_engine.h"
#include "connectors/rest/rest_oauth.h"
#include "connectors/rest/rest_state.h"

#define REST_POLL_KEPT_BYTES (16 * MIB)
#define REST_POLL_KEPT_PAGES 4096
#define REST_REDIRECTS_MAX   10
#define REST_SENTENCE_BYTES  600

enum rest_poll_result {
    REST_POLL_READ,      /* pages are there; has_more: not all yet */
    REST_POLL_UNCHANGED, /* 304 */
    REST_POLL_FAILED,    /* sentence says why */
};

struct rest_page {
    struct buf body;
    struct rest_body records;
    struct buf content_type;
    long status;
    int64_t arrived_us;
    enum content_format format; /* by the source's option or the content type */
    bool converted;             /* body is the JSON that it stood for */
};

struct rest_poll {
    const struct rest_config *config;
    struct rest_state *state;
    struct rest_engine *engine;
    void (*done)(void *ctx);
    void *ctx;
    uint64_t seed; /* of the jitter */

    /* what came of it, good from done on */
    enum rest_poll_result result;
    bool has_more;
    bool refused; /* FAILED by a 4xx: where it was to go on may be gone */
    char sentence[REST_SENTENCE_BYTES];
    char warning[REST_SENTENCE_BYTES]; /* "" or what a user should know */
    long status;                       /* last one seen, 0: none */
    int64_t retry_after_s;             /* of the last answer, -1: none */
    struct rest_page *pages;
    uint32_t kept_count;
    size_t kept_bytes;
    struct buf position;       /* of the page that comes next; empty: none, or the first */
    struct rest_cursor cursor; /* greatest value so far */
    uint64_t requests;         /* since the source began */

    /* the walk */
    bool active;
    bool token_phase;
    uint32_t kept_capacity;
    uint32_t page_count;
    uint32_t redirects;
    bool conditional;
    bool is_post; /* of the request being made: a redirect may make a GET of it */
    struct buf url;
    struct buf form;
    struct buf client;
    struct buf next;
    struct rest_token token;
    struct rest_request request;
    struct curl_slist *headers;
    struct rest_transfer transfer;
    struct rest_retry retry;
    uv_timer_t timer;
    char etag[REST_VALIDATOR_BYTES_MAX]; /* of the first page */
    char last_modified[REST_VALIDATOR_BYTES_MAX];
    uint64_t request_hash;
};

void rest_poll_init(struct rest_poll *poll, const struct rest_config *config,
                    struct rest_state *state, struct rest_engine *engine, uv_loop_t *loop,
                    uint64_t seed, void (*done)(void *ctx), void *ctx);
/* After rest_poll_cancel, and after the timer has been closed (poll->timer is the owner's to close:
 * its data is the poll's until then). */
void rest_poll_fini(struct rest_poll *poll);
/* A new poll, from state->resume if there is one. */
void rest_poll_begin(struct rest_poll *poll);
/* The next pages of a poll that has more. */
void rest_poll_go_on(struct rest_poll *poll);
/* Lets the kept pages go. */
void rest_poll_drop_pages(struct rest_poll *poll);
/* Nothing is called after this. */
void rest_poll_cancel(struct rest_poll *poll);
/* The validators to remember: of a poll of one page; else empty. */
void rest_poll_validators(const struct rest_poll *poll, struct rest_state *state);
