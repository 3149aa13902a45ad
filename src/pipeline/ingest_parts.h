#pragma once
/* The inside of an I/O loop's intake, shared by ingest.c (blocks, routes, emission) and
 * ingest_state.c (state, sessions). */
#include "base/buf.h"
#include "base/map.h"
#include "pipeline/ingest.h"
#include "pipeline/ingest_loop.h"

struct ingest_source {
    struct ingest_source *next;
    struct ingest_source **linked_from;
    struct ingest_loop *loop;
    const struct ingest_source_ops *ops;
    void *ctx;
    struct account *account;
    uint8_t *id;
    size_t id_size;
    char *type;
    uint64_t sequence;
    /* Received, and not yet in the account: an atomic addition for each message would wait each
     * time until its bytes are written into the block. */
    uint64_t uncounted;
    uint64_t uncounted_bytes;
    uint64_t open_serial; /* of the block that has an ack entry of this source */
    uint32_t ack_index;
    uint32_t references; /* one for the connector, one for each ack entry */
    bool paused;
    bool closed;
    uint8_t session;
    struct map states; /* key -> struct buf: what was put since start */
};

struct ingest_route {
    struct ingest_source *source;
    struct ingest_loop *loop;
    size_t held_bytes; /* as the loop counts it */
    struct buf encoded;
    struct buf dataset_id;
    uint64_t dataset_hash;
    uint64_t serial;                /* block_route's */
    uint64_t open_serial;           /* of the block that has this route */
    uint32_t index;                 /* in that block */
    struct service_dataset metrics; /* from the first repetition on */
};

struct ingest_loop {
    struct loop *loop;
    struct ingest_sink sink;
    struct ingest_rule rule;
    struct account_book *book;
    struct service_metrics *metrics; /* may be NULL */
    _Atomic uint64_t *in_flight;
    struct shipment *open; /* NULL: no block is open */
    uint64_t open_serial;  /* grows with each block opened; 0 is no block's */
    uint64_t shipments_out;
    bool ack_waiting; /* somebody waits for the open block */
    /* A group: blocks go out with BLOCK_MORE while grouping > 0 (how many sources are in one), and
     * group_id (not 0 once the first is out) is theirs until the last, without it, went too. */
    uint32_t grouping;
    uint64_t group_id;
    uint64_t group_next;
    bool linger_running;
    bool pressure_running;
    uint32_t paused_count; /* of the sources */
    bool closing;
    uint32_t handles_open;
    uv_timer_t linger;
    uv_timer_t pressure;
    struct ingest_source *sources;
    size_t routes_bytes; /* about, with what their owners keep of each */
    size_t routes_max_bytes;
};

static inline struct bytes source_id(const struct ingest_source *source)
{
    return bytes_from(source->id, source->id_size);
}

/* Opens a block unless one is open. */
enum err ingest_block_ready(struct ingest_loop *loop) ERR_MUST_USE;
/* Hands the open block to the sink. A failure leaves it open and is tried again. */
void ingest_block_submit(struct ingest_loop *loop);
/* Notes that the source waits for the open block. */
enum err ingest_ack_entry(struct ingest_source *source) ERR_MUST_USE;
