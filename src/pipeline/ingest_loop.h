#pragma once
/*
 * The pipeline's side of ingest.h: one open block for each I/O loop, and when it closes.
 *
 * A block closes at 256 KiB; when somebody waits for its durability, as soon as the journal is
 * idle; else 20 ms after its first message. So the disk's own latency decides how many messages
 * share a sync, and a busy disk makes larger blocks, not a longer queue.
 *
 * Made and freed by any thread while the loop runs; everything else is on the loop's thread.
 */
#include "os/clock.h"
#include "os/loop.h"
#include "pipeline/account.h"
#include "pipeline/service_metrics.h"
#include "pipeline/shipment.h"

#include <stdbool.h>

/* What the loop hands its blocks to, and asks how things are. Any of these is called on the loop's
 * thread and must not block. */
struct ingest_sink {
    /* Takes the shipment. When its block is durable, the sink posts shipment->letter to the loop
     * (the loop's reference goes with it). flags and group as in journal_submit. */
    enum err (*submit)(void *ctx, struct shipment *take_shipment, uint16_t flags, uint64_t group);
    bool (*idle)(void *ctx);
    /* Whether this source must stop reading now. NULL: never. */
    bool (*must_pause)(void *ctx, const struct account *account);
    /* False: no source must, so that none has to be asked after. NULL: ask each. */
    bool (*any_must_pause)(void *ctx);
    /* What the journal kept of a source. NULL, both: nothing. */
    enum err (*state_get)(void *ctx, struct bytes source_id, struct bytes key,
                          struct buf *ret_value);
    void (*identities)(void *ctx, struct bytes source_id,
                       void (*on_identity)(void *ctx, uint16_t packet_identifier, uint64_t hash,
                                           uint64_t block, bool qos_2),
                       void *identity_ctx);
    void *ctx;
};

/* The partition rule that the loop's messages are journalled with. */
struct ingest_rule {
    enum partition_by partition_by;
    uint16_t partition_window_hours;
};

enum err ingest_loop_new(struct loop *loop, const struct ingest_sink *sink,
                         const struct ingest_rule *rule, struct account_book *book,
                         _Atomic uint64_t *in_flight, struct ingest_loop **ret_loop) ERR_MUST_USE;
/* Where repetitions are counted besides the account, under their dataset; before sources open. */
void ingest_loop_metrics(struct ingest_loop *loop, struct service_metrics *metrics);
/* From where on ingest_routes_full is true; before sources open. Not called: never. */
void ingest_loop_limit_routes(struct ingest_loop *loop, size_t size_max_bytes);
/* Submits what is open; sources should be closed by now. Acknowledgements still on their way keep
 * the loop's memory until they came. */
void ingest_loop_close(struct ingest_loop *loop);
/* After every shipment has come back (the journal has stopped). */
void ingest_loop_free(struct ingest_loop *loop);
