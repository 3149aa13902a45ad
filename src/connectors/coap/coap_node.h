#pragma once
/*
 * The resources of one server: each is observed or polled, its body put together, stored, and its
 * health known. One that answers with an error, or with rubbish, or not at all, is tried again and
 * disturbs no other. /.well-known/core is one more, that makes others.
 *
 * A resource is at rest, waits in the queue, or is asked; at most COAP_ASKED_MAX are at once, which
 * also bounds the bodies that are being put together. Its timer is the end of whatever it is in.
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

#define COAP_ASKED_MAX      4
#define COAP_ERROR_BYTES    200
#define COAP_SLOW_MS        10000 /* health says that an answer is late */
#define COAP_PATIENCE_MS    90000 /* more, then it is given up; EXCHANGE's end for libcoap */
#define COAP_BODY_SECONDS   600
#define COAP_RESTARTS_MAX   3
#define COAP_DISCOVER_MS    300000
#define COAP_DISCOVER_BYTES (1 * MIB)

enum coap_step { COAP_AT_REST, COAP_QUEUED, COAP_ASKED };
enum coap_want {
    COAP_WANT_REGISTER, /* GET with Observe */
    COAP_WANT_GET,
    COAP_WANT_BLOCK, /* the next one of its body */
};

struct coap_node {
    struct coap_nodes *nodes;
    struct coap_node *next; /* in the queue */
    uint32_t index;
    enum coap_step step;
    enum coap_want want;
    bool is_discovery;
    bool is_observed;
    bool is_late;       /* health has been told */
    bool holds;         /* a confirmable notification whose body is not complete */
    bool has_last_hash; /* of the last value stored */
    uint16_t held_message_id;
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
    int64_t slot_ns; /* of a poll */
    uint64_t last_hash;
    struct coap_emit_route route;
    struct backoff backoff;
    uv_timer_t timer;
    char error[COAP_ERROR_BYTES]; /* "": well */
    char path[];
};

struct coap_nodes {
    uv_loop_t *loop;
    const struct coap_config *config;
    struct coap_channel *channel;
    struct coap_emit *emit;
    struct coap_acks *acks;
    void (*on_changed)(void *ctx); /* somebody's health */
    void (*on_closed)(void *ctx);
    void *ctx;
    struct coap_node **table;
    uint32_t count;
    uint32_t capacity;
    struct coap_node *queue_first;
    struct coap_node **queue_last;
    uint32_t asked;
    uint32_t failing;
    uint32_t observed;
    uint32_t open; /* timers */
    uint64_t random;
    int64_t heard_ns; /* the last answer of the server */
    int64_t stored_us;
    bool is_running;
    bool is_closing;
    uint64_t stale; /* notifications older than the newest */
    uint64_t repeated;
    uint64_t errors;
    uint64_t strays; /* responses that nobody asked for */
};

/* Makes the resources of the configuration. ERR_NO_MEMORY: close it all the same. */
enum err coap_nodes_open(struct coap_nodes *nodes) ERR_MUST_USE;
/* Ends with on_closed; at once when nothing was opened. */
void coap_nodes_close(struct coap_nodes *nodes);
void coap_nodes_start(struct coap_nodes *nodes);
/* Tells the server that nothing is observed any more. */
void coap_nodes_stop(struct coap_nodes *nodes);

/* The channel's calls. */
void coap_nodes_ready(struct coap_nodes *nodes);
void coap_nodes_lost(struct coap_nodes *nodes, const char *reason);
enum coap_verdict coap_nodes_response(struct coap_nodes *nodes, const coap_pdu_t *response);
void coap_nodes_rejected(struct coap_nodes *nodes, const uint8_t token[COAP_TOKEN_BYTES]);
void coap_nodes_repeat(struct coap_nodes *nodes, const uint8_t token[COAP_TOKEN_BYTES]);
/* Asks those that wait, as far as there is room. */
void coap_nodes_pump(struct coap_nodes *nodes);
/* Adds one; false: it is there, it cannot be one, or there are too many. */
bool coap_nodes_add(struct coap_nodes *nodes, struct bytes path, bool is_discovery);

/* A resource's part, for coap_nodes.c. */
void coap_node_begin(struct coap_node *node);
void coap_node_ask(struct coap_node *node);
void coap_node_lost(struct coap_node *node, const char *reason);
void coap_node_fail(struct coap_node *node, const char *reason);
void coap_node_well(struct coap_node *node);
void coap_node_rest(struct coap_node *node, int64_t wait_ms);
enum coap_verdict coap_node_answer(struct coap_node *node, const struct coap_answer *answer,
                                   bool is_observation);
/* coap_nodes.c's, for coap_node.c. */
void coap_nodes_queue(struct coap_node *node, enum coap_want want);
void coap_nodes_token(struct coap_node *node, bool is_observation, uint8_t token[COAP_TOKEN_BYTES]);
void coap_nodes_discovered(struct coap_nodes *nodes, struct coap_node *node, struct bytes text);
