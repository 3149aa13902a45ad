#pragma once
/*
 * The way to one server: libcoap (one context, one session) on an I/O loop. Looks the name up,
 * opens the session, makes DTLS's handshake or TCP's exchange of settings, sends questions, and
 * begins again after a while when the server is lost, for ever.
 *
 * The loop's thread only; nothing blocks. The channel belongs to its owner from coap_channel_open
 * until on_closed. Callbacks come from the loop, never from within a call of these functions.
 *
 * Limits: a message of UDP or DTLS is a datagram of at most COAP_UDP_MESSAGE_BYTES_MAX; one of TCP
 * at most COAP_TCP_MESSAGE_BYTES_MAX. What is longer, or no message, is dropped and counted.
 * Blocks, tokens, time-outs of answers and what is asked when are the caller's (coap_node.h).
 *
 * docs/decisions/0003-coap-on-libcoap.md says what of libcoap is used, and why an acknowledgement
 * can be put off.
 */
#include "connectors/coap/coap_config.h"
#include "connectors/coap/coap_socket.h"
#include "net/backoff.h"

#include <coap3/coap.h>
#include <uv.h>

#define COAP_TCP_MESSAGE_BYTES_MAX (1 * MIB)
/* libcoap reads 1472, and does not see what was cut off. */
#define COAP_UDP_MESSAGE_BYTES_MAX 1471
#define COAP_TOKEN_BYTES           8
#define COAP_ASKED_MAX             4 /* questions that are answered, at once */
#define COAP_BESIDE_MAX            8 /* … and beside them those that nobody answers */
#define COAP_ADDRESSES_MAX         8
#define COAP_REASON_BYTES          600
#define COAP_SAID_BYTES            160

enum coap_verdict {
    COAP_ACCEPT, /* acknowledged, if it wants to be */
    COAP_DEFER,  /* not acknowledged: coap_channel_acknowledge does, or nothing */
    COAP_REJECT, /* answered with a reset */
};

struct coap_channel_ops {
    void (*on_ready)(void *ctx);
    /* All that was asked will not be answered. reason: a sentence. */
    void (*on_lost)(void *ctx, const char *reason);
    enum coap_verdict (*on_response)(void *ctx, const coap_pdu_t *response);
    /* The question with that token was rejected (a reset), or has to be asked again. */
    void (*on_rejected)(void *ctx, const uint8_t token[COAP_TOKEN_BYTES]);
    void (*on_repeat)(void *ctx, const uint8_t token[COAP_TOKEN_BYTES]);
    /* That question (NULL: a probe) was sent five times, in vain. true: the server is there all the
     * same, and the session goes on. */
    bool (*on_unanswered)(void *ctx, const uint8_t *token);
    /* The server lives: it has answered a probe. */
    void (*on_heard)(void *ctx);
    /* What the socket had has been read. */
    void (*on_read_end)(void *ctx);
    void (*on_closed)(void *ctx);
};

struct coap_link; /* one session */
struct coap_lookup;

struct coap_channel {
    uv_loop_t *loop;
    const struct coap_config *config;
    const struct coap_channel_ops *ops;
    void *ctx;
    struct coap_link *link; /* NULL: none */
    struct coap_lookup *lookup;
    uv_timer_t timer; /* the next try, or the end of patience with a handshake */
    struct backoff backoff;
    struct sockaddr_storage addresses[COAP_ADDRESSES_MAX];
    uint32_t address_count;
    uint32_t address_next;
    bool is_ready; /* can be asked; of UDP that says nothing of the server */
    bool is_heard; /* the server of this session has answered, if only a handshake */
    bool is_paused;
    bool is_closing;
    bool became_ready; /* told when libcoap has returned */
    bool was_lost;
    uint64_t events;  /* calls of libcoap's back */
    uint64_t dropped; /* by sockets that are closed */
    uint32_t sessions;
    uint64_t discarded;         /* datagrams that are no messages */
    uint64_t discarded_before;  /* … of earlier sessions */
    int last_acknowledged;      /* message id, -1: none */
    struct coap_datagram now;   /* of UDP: the one that libcoap is given */
    struct coap_datagram last;  /* … the last confirmable one that it has answered for */
    char said[COAP_SAID_BYTES]; /* libcoap, of this session: its first complaint */
    char reason[COAP_REASON_BYTES];
};

/* Where to ask what. */
struct coap_question {
    const uint8_t *token; /* COAP_TOKEN_BYTES */
    const char *path;     /* path?query, escaped */
    int observe;          /* -1: without; 0 registers, 1 deregisters */
    bool confirmable;
    bool has_block;
    uint32_t block; /* the value of Block2 */
};

/* Does not fail: what goes wrong comes as on_lost, and is tried again. The config is borrowed. */
void coap_channel_open(struct coap_channel *channel, uv_loop_t *loop,
                       const struct coap_config *config, uint64_t seed,
                       const struct coap_channel_ops *ops, void *ctx);
/* Ends with on_closed. */
void coap_channel_close(struct coap_channel *channel);
/* While it is ready. An error: nothing was sent, and perhaps on_lost comes. */
enum err coap_channel_ask(struct coap_channel *channel,
                          const struct coap_question *question) ERR_MUST_USE;
/* A deferred message of this session. */
void coap_channel_acknowledge(struct coap_channel *channel, uint16_t message_id);
/* Datagrams that the socket had no room for while we were busy: what was in them is lost. */
uint64_t coap_channel_dropped(const struct coap_channel *channel);
/* Asks the server for a sign of life, beside the question that waits (RFC 7252 §4.3). */
void coap_channel_probe(struct coap_channel *channel);
/* What to look at while nobody answers; NULL: nothing in particular. */
const char *coap_channel_hint(const struct coap_channel *channel);
/* The server seems to be gone. */
void coap_channel_give_up(struct coap_channel *channel, const char *reason);
/* While paused nothing is read, and nothing sent again. */
void coap_channel_pause(struct coap_channel *channel, bool is_paused);
static inline bool coap_channel_reliable(const struct coap_channel *channel)
{
    return channel->config->scheme == COAP_SCHEME_TCP;
}
