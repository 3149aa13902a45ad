#pragma once
/*
 * All resources of one server: their table, the queue of those that want to be asked, whose token
 * an answer has, and what /.well-known/core adds. The loop's thread.
 */
#include "base/map.h"
#include "connectors/coap/coap_node.h"

struct coap_queue {
    struct coap_node *first;
    struct coap_node **last;
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
    struct coap_node **table; /* by index; NULL: one that was dropped, its place is free */
    uint32_t count;           /* of places in use, or free between them */
    uint32_t capacity;
    uint32_t live;       /* of resources */
    uint32_t free_first; /* there is no free place before */
    uint32_t discovery;  /* number of the last one */
    struct map by_path;
    struct coap_queue queues[2]; /* by is_unanswered */
    uint32_t asked;
    uint32_t beside;
    size_t waiting_bytes; /* of bodies whose next block is not yet asked for */
    uint32_t failing;
    uint32_t observed;
    uint32_t open; /* timers */
    uint64_t random;
    int64_t heard_ns;      /* the last answer of the server */
    int64_t unanswered_ns; /* when a question was found to be late, and nothing else came either */
    int64_t stored_us;
    bool has_queries; /* resources may have one path; dead letters are known by path */
    bool is_running;
    bool is_closing;
    uint64_t stale; /* notifications older than the newest */
    uint64_t repeated;
    uint64_t errors;
    uint64_t gone;   /* resources that /.well-known/core no longer had */
    uint64_t strays; /* responses that nobody asked for */
};

/* Makes the resources of the configuration. ERR_NO_MEMORY: close it all the same. */
enum err coap_nodes_open(struct coap_nodes *nodes) ERR_MUST_USE;
/* Ends with on_closed; at once when nothing was opened. */
void coap_nodes_close(struct coap_nodes *nodes);
void coap_nodes_start(struct coap_nodes *nodes);
/* The server may have struck us off. */
void coap_nodes_register_again(struct coap_nodes *nodes);
/* Tells the server that nothing is observed any more. */
void coap_nodes_stop(struct coap_nodes *nodes);

/* The channel's calls. */
void coap_nodes_ready(struct coap_nodes *nodes);
void coap_nodes_lost(struct coap_nodes *nodes, const char *reason);
enum coap_verdict coap_nodes_response(struct coap_nodes *nodes, const coap_pdu_t *response);
void coap_nodes_heard(struct coap_nodes *nodes);
void coap_nodes_rejected(struct coap_nodes *nodes, const uint8_t token[COAP_TOKEN_BYTES]);
void coap_nodes_repeat(struct coap_nodes *nodes, const uint8_t token[COAP_TOKEN_BYTES]);
/* token: NULL, a probe's. true: the server is there, only that resource is silent. */
bool coap_nodes_unanswered(struct coap_nodes *nodes, const uint8_t *token);
/* A question waits for its answer, though it was sent again, and nothing else comes either. */
bool coap_nodes_silent(const struct coap_nodes *nodes);
/* Asks those that wait, as far as there is room. */
void coap_nodes_pump(struct coap_nodes *nodes);

/* A resource's calls. */
void coap_nodes_queue(struct coap_node *node, enum coap_want want);
void coap_nodes_token(struct coap_node *node, bool is_observation, uint8_t token[COAP_TOKEN_BYTES]);
/* is_whole: the text was not cut. */
void coap_nodes_discovered(struct coap_nodes *nodes, struct coap_node *node, struct bytes text,
                           bool is_whole);
