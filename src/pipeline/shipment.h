#pragma once
/*
 * A block on its way from an I/O loop through the journal to the workers and back to the loop as an
 * acknowledgement. Everything that way needs (queue links, the letter to the loop) is part of it,
 * so that nothing can fail once the journal has it.
 */
#include "journal/block.h"
#include "os/loop.h"

#include <stdatomic.h>

#define WORKERS_MAX 8

struct ingest_loop;
struct ingest_source;
struct pipeline;

/* The last sequence of a source in the block. */
struct shipment_ack {
    struct ingest_source *source; /* referenced */
    uint64_t sequence;
};

struct shipment {
    struct letter letter; /* to the I/O loop, when durable */
    struct block *block;
    struct ingest_loop *loop; /* NULL: recovered from the journal */
    struct loop *loop_thread; /* where the letter goes */
    struct pipeline *pipeline;
    struct shipment *next[WORKERS_MAX];
    _Atomic uint32_t references;
    bool recovered;
    bool failed;            /* the journal did not take it: nothing of it may be acknowledged */
    size_t in_flight_bytes; /* counted in *in_flight until the last reference goes */
    _Atomic uint64_t *in_flight;
    struct shipment_ack *acks;
    uint32_t ack_count;
    uint32_t ack_capacity;
};

/* block: a reference is taken over, on success. One reference is the caller's. */
enum err shipment_new(struct block *take_block, _Atomic uint64_t *in_flight,
                      struct shipment **ret_shipment) ERR_MUST_USE;
void shipment_ref(struct shipment *shipment);
void shipment_unref(struct shipment *shipment);
