#pragma once
/*
 * The functions of pipeline/ingest.h for the test of the HTTP push connector: groups are durable
 * when the test says so (sync_all), states are kept as the journal keeps them.
 */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "pipeline/ingest.h"

struct ingest_source {
    const struct ingest_source_ops *ops;
    void *ctx;
    uint64_t sequence;
    bool in_group;
};

struct ingest_route {
    struct ingest_source *source;
};

static struct {
    struct ingest_source *source;
    struct buf payloads; /* each with a | behind it */
    char remote[64];
    char type[64];
    char dataset[LIMIT_DATASET_ID_BYTES + 1];
    enum content_format format;
    uint64_t repeated;
    uint64_t rejected;
    uint64_t groups;
    struct map states, unsynced; /* durable; put, not yet durable */
    uint64_t refuse_after;       /* emissions that fail from now on; UINT64_MAX: none */
} pipeline;

enum err ingest_source_open(struct ingest_loop *loop, struct bytes source_id,
                            struct bytes source_type, const struct ingest_source_ops *ops,
                            void *ctx, struct ingest_source **ret_source)
{
    (void)loop;
    assert_true(bytes_equal_text(source_id, "a1_push_http_push"));
    assert_true(bytes_equal_text(source_type, "http_push"));
    struct ingest_source *source = mem_zalloc(1, sizeof(*source));
    if (!source)
        return ERR_NO_MEMORY;
    *source = (struct ingest_source){.ops = ops, .ctx = ctx};
    pipeline.source = *ret_source = source;
    return ERR_OK;
}

void ingest_source_close(struct ingest_source *source)
{
    pipeline.source = NULL;
    mem_free(source);
}

enum err ingest_route_new(struct ingest_source *source, const struct route_view *view,
                          struct ingest_route **ret_route)
{
    struct ingest_route *route = mem_zalloc(1, sizeof(*route));
    if (!route)
        return ERR_NO_MEMORY;
    assert_true(bytes_equal_text(view->fields[0].name, "remote"));
    assert_true(bytes_equal_text(view->fields[1].name, "content_type"));
    snprintf(pipeline.dataset, sizeof(pipeline.dataset), "%.*s", (int)view->dataset_id.size,
             (const char *)view->dataset_id.data);
    pipeline.format = view->format;
    route->source = source;
    *ret_route = route;
    return ERR_OK;
}

void ingest_route_free(struct ingest_route *route)
{
    mem_free(route);
}

enum err ingest_dataset_id(struct bytes source_id, struct bytes topic, uint32_t levels,
                           struct buf *out)
{
    (void)topic, (void)levels;
    return buf_append(out, source_id.data, source_id.size);
}

static void fields_keep(struct bytes extras)
{
    size_t cursor = 0;
    struct message_field field;
    pipeline.remote[0] = pipeline.type[0] = '\0';
    while (message_field_next(extras, &cursor, &field))
        snprintf(field.index == 0 ? pipeline.remote : pipeline.type, 64, "%.*s",
                 (int)field.text.size, (const char *)field.text.data);
}

enum err ingest_emit(struct ingest_route *route, const struct ingest_message *message,
                     uint64_t *ret_sequence)
{
    if (pipeline.refuse_after == 0)
        return ERR_NO_MEMORY;
    if (pipeline.refuse_after != UINT64_MAX)
        pipeline.refuse_after--;
    assert_true(route->source->in_group);
    assert_true(message->wants_acknowledgement);
    assert_true(message->arrival_us > 0);
    enum err err = buf_append(&pipeline.payloads, message->payload.data, message->payload.size);
    if (err != ERR_OK || buf_byte(&pipeline.payloads, '|') != ERR_OK) {
        pipeline.payloads.err = ERR_OK;
        return ERR_NO_MEMORY;
    }
    fields_keep(message->extras);
    *ret_sequence = ++route->source->sequence;
    return ERR_OK;
}

enum err ingest_reject(struct ingest_route *route, const struct ingest_message *message,
                       const char *reason, const char *detail, uint64_t *ret_sequence)
{
    (void)message, (void)detail;
    assert_string_equal(reason, "oversize");
    pipeline.rejected++;
    *ret_sequence = ++route->source->sequence;
    return ERR_OK;
}

void ingest_count_repeated(struct ingest_route *route, uint64_t bytes)
{
    (void)route, (void)bytes;
    pipeline.repeated++;
}

void ingest_group_begin(struct ingest_source *source)
{
    assert_false(source->in_group);
    source->in_group = true;
}

void ingest_group_end(struct ingest_source *source)
{
    assert_true(source->in_group);
    source->in_group = false;
    pipeline.groups++;
}

static enum err state_store(struct map *states, struct bytes key, struct bytes value)
{
    struct buf *copy = mem_zalloc(1, sizeof(*copy));
    if (!copy)
        return ERR_NO_MEMORY;
    buf_init(copy, KIB);
    enum err err = buf_append(copy, value.data, value.size);
    struct buf *old = map_get(states, key);
    if (err == ERR_OK)
        err = map_put(states, key, copy);
    struct buf *gone = err == ERR_OK ? old : copy;
    if (gone) {
        buf_fini(gone);
        mem_free(gone);
    }
    return err;
}

enum err ingest_state_put(struct ingest_source *source, struct bytes key, struct bytes value)
{
    assert_true(source->in_group);
    return state_store(&pipeline.unsynced, key, value);
}

enum err ingest_state_get(struct ingest_source *source, struct bytes key, struct buf *ret_value)
{
    (void)source;
    const struct buf *kept = map_get(&pipeline.unsynced, key);
    if (!kept)
        kept = map_get(&pipeline.states, key);
    return kept ? buf_append(ret_value, kept->data, kept->size) : ERR_NOT_FOUND;
}

static void states_clear(struct map *states)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(states, &cursor));) {
        buf_fini(entry->value);
        mem_free(entry->value);
    }
    map_fini(states);
    map_init(states);
}

/* All that was emitted, and put. */
static void sync_all(void)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&pipeline.unsynced, &cursor));) {
        const struct buf *value = entry->value;
        assert_int_equal(state_store(&pipeline.states, bytes_from(entry->key, entry->key_size),
                                     buf_bytes(value)),
                         ERR_OK);
    }
    pipeline.source->ops->on_durable(pipeline.source->ctx, pipeline.source->sequence, 1);
}
