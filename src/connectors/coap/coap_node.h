#pragma once
/*
 * The resources of one server: each is observed or polled, its body put together, stored, and its
 * health known. One that answers with an error, or with rubbish, or not at all, is tried again and
 * disturbs no other. /.well-known/core is one more, that makes others, and drops those of its own
 * that are no longer in it.
 *
 * A resource is at rest, waits in a queue, or is asked; at most COAP_ASKED_MAX are at once. One
 * whose answer is late gives its place to others, as long as there are fewer than COAP_BESIDE_MAX
 * of those; one that was not answered at all is asked beside the others from then on, and behind
 * them. That also bounds the bodies that are being put together; of those whose next block has to
 * wait no more than COAP_WAITING_BYTES_MAX are kept, and others read anew. Its timer is the end of
 * whatever it is in.
 *
 *            timer                 room, server there            answer
 *   at rest ───────► queued ─────────────────────────► asked ─────────► at rest
 *      ▲                                                 │ block: asked on
 *      └──────────────── no answer, error ◄──────────────┘
 *
 * The loop's thread. A notification is acknowledged when what it says is durable (coap_acks.h).
 */
#include "connectors/coap/coap_acks.h"
#include "connectors/coap/coap_answer.h"
#include "connectors/coap/coap_channel.h"
#include "connectors/coap/coap_emit.h"
#include "connectors/coap/coap_fresh.h"

#define COAP_ERROR_BYTES    200
#define COAP_SLOW_MS        10000 /* health says that an answer is late */
#define COAP_EARLY_MS       50    /* a timer's, at most */
#define COAP_PROBE_MS       10000 /* for a sign of life of a server that may have forgotten us */
#define COAP_PATIENCE_MS    90000 /* more, then it is given up; EXCHANGE's end for libcoap */
#define COAP_BODY_SECONDS   600
#define COAP_RESTARTS_MAX   3
#define COAP_DECODED_MS     2000 /* so long after it came, a value has been decoded */
#define COAP_WRONG_BYTES    400
#define COAP_DISCOVER_MS    300000
#define COAP_DISCOVER_BYTES (1 * MIB)
/* More than the first blocks in datagrams of all resources, which wait for an acknowledgement. */
#define COAP_WAITING_BYTES_MAX (16 * MIB)

enum coap_step { COAP_AT_REST, COAP_QUEUED, COAP_ASKED };
enum coap_want {
    COAP_WANT_REGISTER, /* GET with Observe */
    COAP_WANT_GET,
    COAP_WANT_BLOCK, /* the next one of its body */
};

struct coap_node {
    struct coap_nodes *nodes;
    struct coap_node *next; /* in the queue */
    uint32_t discovery;     /* number of the last one that had it */
    uint32_t index;
    enum coap_step step;
    enum coap_want want;
    bool is_discovery;
    bool is_observed;
    bool is_polled_instead; /* it answers, and cannot be observed */
    uint8_t lateness;       /* what has been done about it, see on_late */
    bool is_unanswered;     /* it was asked in vain */
    bool is_beside;         /* the place that it has, when it is asked */
    bool holds;             /* a confirmable notification whose body is not complete */
    bool is_overtaken;      /* … and what it told of has changed since: another body is read */
    bool has_last_hash;     /* of the last value stored */
    uint16_t held_message_id;
    uint64_t held_content;
    uint16_t restarts;
    uint32_t max_age_seconds;
    uint8_t observe_token[COAP_TOKEN_BYTES];
    uint8_t fetch_token[COAP_TOKEN_BYTES];
    bool has_observe_token;
    struct coap_fresh fresh;
    struct coap_body body;
    uint8_t body_code;
    int32_t body_format;
    int64_t body_until_ns;
    size_t waiting_bytes; /* of the body, while it is queued */
    int64_t asked_ns;
    int64_t slot_ns; /* of a poll */
    uint64_t last_hash;
    int64_t emitted_us; /* arrival of the last value given to the pipeline; 0: none */
    int64_t emitted_before_us;
    struct coap_emit_route route;
    struct backoff backoff;
    uv_timer_t timer;
    char error[COAP_ERROR_BYTES]; /* "": well */
    char path[];
};

/* At the beginning: a registration or a poll is queued. */
void coap_node_begin(struct coap_node *node);
/* Asks what it wants; takes one of the places of those asked, if it has none. */
void coap_node_ask(struct coap_node *node);
/* Tells the server that it is observed no more. */
void coap_node_cancel(struct coap_node *node);
/* It is over: nothing of it is counted or asked any more, and it is not queued. */
void coap_node_end(struct coap_node *node);
/* The server is lost: it begins again when it is there. */
void coap_node_lost(struct coap_node *node, const char *reason);
/* Something is wrong with this one: it is tried again after a while. */
void coap_node_fail(struct coap_node *node, const char *reason);
/* Its question was sent five times; false: nothing else of the server came since, either. */
bool coap_node_unanswered(struct coap_node *node);
/* What is wrong with it, a sentence; false: nothing. That its last value became a dead letter is
 * known a moment after it came. */
bool coap_node_wrong(const struct coap_node *node, char text[COAP_WRONG_BYTES]);
enum coap_verdict coap_node_answer(struct coap_node *node, const struct coap_answer *answer,
                                   bool is_observation);
