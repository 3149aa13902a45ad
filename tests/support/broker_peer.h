#pragma once
/*
 * The connections of the scripted broker (broker_script.h), and its state, which both files share.
 * One libuv loop, one thread. A peer lives from its connection until its handle is closed; steps
 * look it up by number each time and never keep it.
 */
#include "base/buf.h"
#include "base/map.h"
#include "codec/mqtt.h"
#include "support/broker_script.h"

#include <jansson.h>
#include <uv.h>

#define BROKER_PEERS_MAX     256
#define BROKER_OUT_BYTES_MAX ((size_t)256 << 20)
#define WAIT_OPEN            16 /* counts beside those of the 15 packet types */
#define WAIT_CLOSE           17
#define WAIT_COUNT           18

struct peer {
    uv_tcp_t tcp; /* first: a handle is its peer */
    struct broker *broker;
    int number;
    struct buf in;
    enum mqtt_version version;
    bool is_closing;
    bool close_after_writes;
    size_t writes_pending;
    uint64_t puback_count;
    uint16_t subscribe_identifier;
};

struct broker {
    const struct broker_options *options;
    uv_loop_t loop;
    uv_tcp_t listener;
    bool is_listening;
    uint16_t port;
    uv_pipe_t input;
    uv_timer_t timer;
    uv_signal_t signals[2];
    struct buf lines;
    bool has_pipe;
    bool input_ended;
    json_t *steps; /* array; [0] is the one at work */
    json_t *automatic;
    struct map sessions; /* client id -> itself */
    struct peer *peers[BROKER_PEERS_MAX];
    int peer_count;
    uint64_t seen[WAIT_COUNT];
    uint64_t start_ns;
    int exit_code;
    bool is_stopping;
    /* progress of the step at work */
    bool has_begun;
    bool timer_is_over;
    uint64_t sent_count;
    uint64_t puback_base;
};

/* Writes an event; takes the reference. peer may be NULL. */
void broker_emit(struct broker *broker, const struct peer *peer, json_t *event);
void broker_emit_plain(struct broker *broker, const struct peer *peer, const char *name);

/* For uv_listen; listener->data is the broker. */
void peer_accept(uv_stream_t *listener, int status);
void peer_close(struct peer *peer, const char *event);
/* RST instead of FIN. */
void peer_reset(struct peer *peer);
void peer_start_reading(struct peer *peer);
/* Sends count packets as the step says, with indexes from first on. */
void peer_send_step(struct peer *peer, const json_t *step, uint64_t first, uint64_t count);
/* One packet; takes the reference. */
void peer_send_new(struct peer *peer, json_t *step);

/* In broker_script.c: goes on with the script after something happened; ends it for a bad step. */
void broker_advance(struct broker *broker);
void broker_fail_step(struct broker *broker, const char *text);
