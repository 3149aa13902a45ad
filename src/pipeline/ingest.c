/*
 * Emission: from a connector into the open block of its I/O loop.
 *
 * Invariants
 *   - A message is in exactly one block; a source's messages are in blocks in the order of
 * emission, and blocks are submitted in the order they were filled. So "durable through sequence n"
 * is all that a source ever needs to be told, once per block.
 *   - A route is written into a block before the first message that names it (route->open_serial
 *     tells whether this block has it).
 *   - Nothing is acknowledged from here: on_durable is called only from the letter that the sink
 *     posts after the journal has synced the block.
 *   - A submission that fails leaves the block open: its messages are neither lost nor
 * acknowledged, and the sources are paused until it succeeds.
 */
#include "pipeline/ingest_parts.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/map.h"
#include "journal/record.h"
#include "pipeline/ingest_loop.h"

#include <assert.h>

#define INGEST_LINGER_MS       20
#define INGEST_PILED_LINGER_MS 500
#define INGEST_PRESSURE_MS     50
#define INGEST_ACKS_MAX        100000

static void source_unref(struct ingest_source *source)
{
    if (--source->references > 0)
        return;
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&source->states, &cursor));) {
        buf_fini(entry->value);
        mem_free(entry->value);
    }
    map_fini(&source->states);
    mem_free(source->id);
    mem_free(source->type);
    mem_free(source);
}

/* Before the block goes out, or more would be stored than was received. */
static void source_count(struct ingest_source *source)
{
    if (source->uncounted == 0)
        return;
    atomic_fetch_add_explicit(&source->account->received, source->uncounted, memory_order_relaxed);
    atomic_fetch_add_explicit(&source->account->received_bytes, source->uncounted_bytes,
                              memory_order_relaxed);
    source->uncounted = source->uncounted_bytes = 0;
}

/* --- pressure --- */

static bool must_pause(const struct ingest_source *source)
{
    const struct ingest_sink *sink = &source->loop->sink;
    return sink->must_pause && sink->must_pause(sink->ctx, source->account);
}

static void paused_set(struct ingest_source *source, bool paused)
{
    if (source->paused == paused)
        return;
    source->paused = paused;
    source->loop->paused_count += paused ? 1 : UINT32_MAX;
}

/* With 10,000 sources a walk over all for each block would take a third of a core. */
static bool nothing_presses(const struct ingest_loop *loop)
{
    const struct ingest_sink *sink = &loop->sink;
    return loop->paused_count == 0 && sink->any_must_pause && !sink->any_must_pause(sink->ctx);
}

static bool sources_pause(struct ingest_loop *loop)
{
    bool any_paused = false;
    /* A callback may close its own source: the next one is read before. */
    for (struct ingest_source *source = loop->sources, *next; source; source = next) {
        next = source->next;
        bool pause = must_pause(source);
        any_paused = any_paused || pause;
        if (pause == source->paused)
            continue;
        paused_set(source, pause);
        (pause ? source->ops->on_pause : source->ops->on_resume)(source->ctx);
    }
    return any_paused;
}

static void sources_check_pressure(struct ingest_loop *loop)
{
    bool any_paused = !nothing_presses(loop) && sources_pause(loop);
    if (any_paused && !loop->pressure_running && !loop->closing) {
        loop->pressure_running = true;
        uv_timer_again(&loop->pressure);
    } else if (!any_paused && loop->pressure_running && loop->group_id == 0) {
        loop->pressure_running = false;
        uv_timer_stop(&loop->pressure);
    }
}

void ingest_block_submit(struct ingest_loop *loop);

enum err ingest_block_ready(struct ingest_loop *loop);

/* The group's blocks that are out wait in the journal for the last one. */
static void group_close(struct ingest_loop *loop)
{
    if (loop->group_id == 0 || loop->grouping > 0)
        return;
    if (ingest_block_ready(loop) == ERR_OK)
        ingest_block_submit(loop);
    if (loop->group_id != 0 && !loop->pressure_running && !loop->closing) {
        loop->pressure_running = true; /* tries again */
        uv_timer_again(&loop->pressure);
    }
}

static void on_pressure_timer(uv_timer_t *timer)
{
    struct ingest_loop *loop = timer->data;
    group_close(loop);
    if (loop->open && loop->open->block->size_bytes >= LIMIT_BLOCK_CLOSE_BYTES)
        ingest_block_submit(loop); /* one that the sink did not take before */
    sources_check_pressure(loop);
}

/* --- the open block --- */

/* Nothing of ours is being synced: what waits should go now, be it behind somebody else's sync,
 * for no letter of ours would come to send it later. */
static bool disk_is_free(const struct ingest_loop *loop)
{
    return loop->shipments_out == 0 || loop->sink.idle(loop->sink.ctx);
}

static void on_linger_timer(uv_timer_t *timer)
{
    struct ingest_loop *loop = timer->data;
    loop->linger_running = false;
    if (loop->open && loop->grouping == 0)
        ingest_block_submit(loop);
}

static void linger_begin(struct ingest_loop *loop, uint64_t wait_ms)
{
    if (loop->linger_running)
        return;
    loop->linger_running = true;
    uv_timer_start(&loop->linger, on_linger_timer, wait_ms, 0);
}

/* So many blocks wait for the workers that intake has paused, whatever the limits, and sources only
 * read on to their own bounds: a block for each message would be most of what is held. */
static bool blocks_pile_up(const struct ingest_loop *loop)
{
    return atomic_load_explicit(loop->in_flight, memory_order_relaxed) >=
           LIMIT_BLOCKS_IN_FLIGHT_BYTES;
}

/* Somebody waits for the open block. */
static void block_send(struct ingest_loop *loop)
{
    if (blocks_pile_up(loop))
        linger_begin(loop, INGEST_PILED_LINGER_MS);
    else
        ingest_block_submit(loop);
}

static void on_shipment_durable(struct letter *letter)
{
    struct shipment *shipment = (struct shipment *)letter;
    struct ingest_loop *loop = shipment->loop;
    for (uint32_t i = 0; i < shipment->ack_count; i++) {
        struct ingest_source *source = shipment->acks[i].source;
        if (!source->closed && !shipment->failed)
            source->ops->on_durable(source->ctx, shipment->acks[i].sequence,
                                    shipment->block->number);
        source_unref(source);
    }
    shipment->ack_count = 0;
    shipment_unref(shipment);
    loop->shipments_out--;
    if (loop->open && loop->ack_waiting && loop->grouping == 0 && disk_is_free(loop))
        block_send(loop);
    if (loop->pressure_running)
        sources_check_pressure(loop);
}

static enum err block_open(struct ingest_loop *loop)
{
    struct block *block = NULL;
    enum err err = block_new(LIMIT_BLOCK_CLOSE_BYTES + 32 * KIB, &block);
    if (err != ERR_OK)
        return err;
    err = shipment_new(block, loop->in_flight, &loop->open);
    if (err != ERR_OK) {
        block_unref(block);
        return err;
    }
    loop->open->loop = loop;
    loop->open->loop_thread = loop->loop;
    loop->open->letter.run = on_shipment_durable;
    loop->open_serial++;
    loop->ack_waiting = false;
    return ERR_OK;
}

/* Other loops number their groups too: the address tells them apart. */
static uint64_t group_id_make(struct ingest_loop *loop)
{
    uint64_t parts[2] = {(uint64_t)(uintptr_t)loop, ++loop->group_next};
    uint64_t id = hash_bytes(bytes_from(parts, sizeof(parts)));
    return id ? id : 1;
}

void ingest_block_submit(struct ingest_loop *loop)
{
    struct shipment *shipment = loop->open;
    for (uint32_t i = 0; i < shipment->ack_count; i++)
        source_count(shipment->acks[i].source);
    shipment->in_flight_bytes = shipment->block->capacity_bytes;
    atomic_fetch_add(loop->in_flight, shipment->in_flight_bytes);
    bool more = loop->grouping > 0;
    if (more && loop->group_id == 0)
        loop->group_id = group_id_make(loop);
    enum err err =
        loop->sink.submit(loop->sink.ctx, shipment, more ? BLOCK_MORE : 0, loop->group_id);
    if (err == ERR_OK && !more)
        loop->group_id = 0;
    if (err != ERR_OK) {
        atomic_fetch_sub(loop->in_flight, shipment->in_flight_bytes);
        shipment->in_flight_bytes = 0;
        return; /* stays open: the pressure timer tries again */
    }
    loop->open = NULL;
    loop->ack_waiting = false;
    loop->shipments_out++;
    if (loop->linger_running) {
        loop->linger_running = false;
        uv_timer_stop(&loop->linger);
    }
    sources_check_pressure(loop);
}

/* The source's place among the open block's acknowledgements. */
enum err ingest_ack_entry(struct ingest_source *source)
{
    struct ingest_loop *loop = source->loop;
    struct shipment *open = loop->open;
    if (source->open_serial == loop->open_serial)
        return ERR_OK;
    if (open->ack_count == open->ack_capacity) {
        uint32_t capacity = open->ack_capacity ? open->ack_capacity * 2 : 8;
        if (capacity > INGEST_ACKS_MAX)
            return ERR_TOO_MANY;
        struct shipment_ack *acks = mem_realloc(open->acks, capacity * sizeof(*acks));
        if (!acks)
            return ERR_NO_MEMORY;
        open->acks = acks;
        open->ack_capacity = capacity;
    }
    source->ack_index = open->ack_count++;
    open->acks[source->ack_index] = (struct shipment_ack){source, source->sequence};
    source->open_serial = loop->open_serial;
    source->references++;
    return ERR_OK;
}

enum err ingest_block_ready(struct ingest_loop *loop)
{
    return loop->open ? ERR_OK : block_open(loop);
}

/* --- ingest.h --- */

enum err ingest_source_open(struct ingest_loop *loop, struct bytes id, struct bytes type,
                            const struct ingest_source_ops *ops, void *ctx,
                            struct ingest_source **ret_source)
{
    struct ingest_source *source = mem_zalloc(1, sizeof(*source));
    if (!source)
        return ERR_NO_MEMORY;
    *source = (struct ingest_source){.loop = loop, .ops = ops, .ctx = ctx, .references = 1};
    map_init(&source->states);
    source->id = mem_dup(id.data, id.size);
    source->id_size = id.size;
    char *type_text = mem_alloc(type.size + 1);
    source->type = type_text;
    enum err err = source->id && type_text ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK) {
        memcpy(type_text, type.data, type.size);
        type_text[type.size] = '\0';
        err = account_get(loop->book, id, &source->account);
    }
    if (err != ERR_OK) {
        source_unref(source);
        return err;
    }
    source->next = loop->sources;
    source->linked_from = &loop->sources;
    if (source->next)
        source->next->linked_from = &source->next;
    loop->sources = source;
    *ret_source = source;
    if (must_pause(source))
        sources_check_pressure(loop);
    return ERR_OK;
}

void ingest_source_close(struct ingest_source *source)
{
    if (!source)
        return;
    *source->linked_from = source->next;
    if (source->next)
        source->next->linked_from = source->linked_from;
    paused_set(source, false);
    source->closed = true;
    source_unref(source);
}

static enum err route_in_block(struct ingest_route *route)
{
    struct ingest_loop *loop = route->source->loop;
    if (route->open_serial == loop->open_serial)
        return ERR_OK;
    enum err err = block_add_route(loop->open->block, buf_bytes(&route->encoded),
                                   route->dataset_hash, &route->index);
    if (err != ERR_OK)
        return err;
    loop->open->block->routes[route->index].serial = route->serial;
    route->open_serial = loop->open_serial;
    return ERR_OK;
}

static enum err message_add(struct ingest_route *route, const struct ingest_message *message,
                            struct bytes payload, struct bytes extras, uint8_t flags)
{
    enum err err = ingest_block_ready(route->source->loop);
    if (err != ERR_OK)
        return err;
    err = route_in_block(route);
    if (err != ERR_OK)
        return err;
    err = ingest_ack_entry(route->source);
    if (err != ERR_OK)
        return err;
    if (message->has_identity)
        flags |= (uint8_t)(MESSAGE_IDENTITY | route->source->session << MESSAGE_SESSION_SHIFT);
    if (message->qos_2)
        flags |= MESSAGE_QOS_2;
    return block_add_message(route->source->loop->open->block,
                             &(struct message_view){
                                 .payload = payload,
                                 .extras = extras,
                                 .arrival_us = message->arrival_us,
                                 .identity_hash = message->identity_hash,
                                 .route_index = route->index,
                                 .packet_identifier = message->packet_identifier,
                                 .flags = flags,
                             });
}

static void message_added(struct ingest_source *source, const struct ingest_message *message,
                          uint64_t *ret_sequence)
{
    struct ingest_loop *loop = source->loop;
    source->uncounted++;
    source->uncounted_bytes += message->payload.size;
    atomic_store_explicit(&source->account->last_received_us, message->arrival_us,
                          memory_order_relaxed);
    *ret_sequence = ++source->sequence;
    loop->open->acks[source->ack_index].sequence = source->sequence;
    if (message->wants_acknowledgement)
        loop->ack_waiting = true;
    if (loop->open->block->size_bytes >= LIMIT_BLOCK_CLOSE_BYTES)
        ingest_block_submit(loop);
}

enum err ingest_emit(struct ingest_route *route, const struct ingest_message *message,
                     uint64_t *ret_sequence)
{
    if (message->payload.size > LIMIT_MESSAGE_BYTES_MAX)
        return ERR_TOO_LARGE;
    enum err err = message_add(route, message, message->payload, message->extras, 0);
    if (err == ERR_OK)
        message_added(route->source, message, ret_sequence);
    return err;
}

enum err ingest_reject(struct ingest_route *route, const struct ingest_message *message,
                       const char *reason, const char *detail, uint64_t *ret_sequence)
{
    struct buf extras;
    buf_init(&extras, LIMIT_MESSAGE_BYTES_MAX);
    buf_append(&extras, message->extras.data, message->extras.size);
    enum err err =
        message_field_append(&extras, &(struct message_field){.index = FIELD_INDEX_REASON,
                                                              .type = FIELD_STRING,
                                                              .text = bytes_from_text(reason)});
    if (err == ERR_OK)
        err =
            message_field_append(&extras, &(struct message_field){.index = FIELD_INDEX_DETAIL,
                                                                  .type = FIELD_STRING,
                                                                  .text = bytes_from_text(detail)});
    struct bytes payload = message->payload;
    if (payload.size > LIMIT_DEAD_LETTER_BYTES)
        payload.size = LIMIT_DEAD_LETTER_BYTES;
    if (err == ERR_OK)
        err = message_add(route, message, payload, buf_bytes(&extras), MESSAGE_DEAD_LETTER);
    if (err == ERR_OK)
        message_added(route->source, message, ret_sequence);
    buf_fini(&extras);
    return err;
}

/* Repetitions never reach a worker, so they are counted here. The series is looked up at a route's
 * first one. */
static bool route_metrics(struct ingest_route *route)
{
    struct service_metrics *metrics = route->source->loop->metrics;
    if (!metrics || route->metrics.received)
        return metrics != NULL;
    return service_metrics_dataset(metrics, bytes_from_text(route->source->type),
                                   buf_bytes(&route->dataset_id), &route->metrics) == ERR_OK;
}

void ingest_count_repeated(struct ingest_route *route, uint64_t bytes)
{
    struct account *account = route->source->account;
    atomic_fetch_add(&account->received, 1);
    atomic_fetch_add(&account->received_bytes, bytes);
    atomic_fetch_add(&account->repeated, 1);
    if (route_metrics(route))
        service_metrics_received(&route->metrics, 1, bytes);
}

void ingest_end_of_read(struct ingest_source *source)
{
    struct ingest_loop *loop = source->loop;
    source_count(source);
    if (!loop->open || loop->closing || loop->grouping > 0)
        return;
    if (loop->ack_waiting && disk_is_free(loop))
        block_send(loop);
    else if (!loop->ack_waiting)
        linger_begin(loop, INGEST_LINGER_MS);
}

/* --- groups --- */

void ingest_group_begin(struct ingest_source *source)
{
    source->loop->grouping++;
}

void ingest_group_end(struct ingest_source *source)
{
    struct ingest_loop *loop = source->loop;
    assert(loop->grouping > 0);
    loop->grouping--;
    group_close(loop);
    ingest_end_of_read(source);
}

/* --- the loop --- */

static void loop_set_up(void *ctx)
{
    struct ingest_loop *loop = ctx;
    uv_timer_init(&loop->loop->uv, &loop->linger);
    uv_timer_init(&loop->loop->uv, &loop->pressure);
    loop->linger.data = loop;
    loop->pressure.data = loop;
    uv_timer_start(&loop->pressure, on_pressure_timer, INGEST_PRESSURE_MS, INGEST_PRESSURE_MS);
    uv_timer_stop(&loop->pressure);
    loop->handles_open = 2;
}

enum err ingest_loop_new(struct loop *loop, const struct ingest_sink *sink,
                         const struct ingest_rule *rule, struct account_book *book,
                         _Atomic uint64_t *in_flight, struct ingest_loop **ret_loop)
{
    struct ingest_loop *ingest = mem_zalloc(1, sizeof(*ingest));
    if (!ingest)
        return ERR_NO_MEMORY;
    *ingest = (struct ingest_loop){.loop = loop,
                                   .sink = *sink,
                                   .rule = *rule,
                                   .book = book,
                                   .in_flight = in_flight,
                                   .routes_max_bytes = SIZE_MAX};
    loop_call(loop, loop_set_up, ingest);
    *ret_loop = ingest;
    return ERR_OK;
}

void ingest_loop_metrics(struct ingest_loop *loop, struct service_metrics *metrics)
{
    loop->metrics = metrics;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct ingest_loop *loop = handle->data;
    loop->handles_open--;
}

static void loop_tear_down(void *ctx)
{
    struct ingest_loop *loop = ctx;
    loop->closing = true;
    group_close(loop);
    if (loop->open && loop->open->block->record_count > 0)
        ingest_block_submit(loop);
    uv_close((uv_handle_t *)&loop->linger, on_handle_closed);
    uv_close((uv_handle_t *)&loop->pressure, on_handle_closed);
}

void ingest_loop_close(struct ingest_loop *loop)
{
    loop_call(loop->loop, loop_tear_down, loop);
}

void ingest_loop_free(struct ingest_loop *loop)
{
    if (!loop)
        return;
    assert(loop->handles_open == 0);
    if (loop->open) {
        for (uint32_t i = 0; i < loop->open->ack_count; i++)
            source_unref(loop->open->acks[i].source);
        shipment_unref(loop->open);
    }
    mem_free(loop);
}
