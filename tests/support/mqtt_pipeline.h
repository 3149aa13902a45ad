#pragma once
/*
 * For the tests of the MQTT connector: the functions of ingest.h as a pipeline that only notes what
 * is emitted. A header, not part of the library of tests: it stands in for the pipeline's own
 * functions, which other tests need. The sessions, and what calls messages durable, are in
 * mqtt_pipeline_session.h. One thread.
 */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "connectors/mqtt/mqtt_connection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants those four first */
#include <cmocka.h>

#define MESSAGES_MAX 70000

struct emitted {
    char topic[64];
    char payload[64];
    size_t payload_size;
    char extras[200];
    struct ingest_message message;
    uint64_t sequence;
    char detail[320]; /* of what was rejected */
    bool rejected;
    bool retain;
    double qos;
};

struct ingest_source {
    const struct ingest_source_ops *ops;
    void *ctx;
    uint64_t sequence;
    uint8_t session;
};

struct ingest_route {
    char topic[64];
    char dataset[LIMIT_DATASET_ID_BYTES + 1];
    enum content_format format;
    double qos;
    bool retain;
    struct ingest_source *source;
};

struct released {
    uint64_t sequence;
    uint16_t packet_identifier;
};

static struct pipeline {
    struct ingest_source *sources[MQTT_CONNECTIONS_MAX];
    uint32_t source_count; /* open */
    struct emitted *emitted;
    uint32_t emitted_count;
    uint32_t emitted_first; /* of the source opened last */
    struct released released[100];
    uint32_t released_count;
    uint64_t block;
    struct ingest_identity identities[65536];
    bool known[65536];
    struct map states;
    uint32_t sessions_new;
    uint32_t repeated;
    uint64_t freed_block;
    bool refuse;
} pipeline;

enum err ingest_source_open(struct ingest_loop *loop, struct bytes source_id,
                            struct bytes source_type, const struct ingest_source_ops *ops,
                            void *ctx, struct ingest_source **ret_source)
{
    (void)loop;
    assert_true(bytes_equal_text(source_id, "source"));
    assert_true(bytes_equal_text(source_type, "mqtt"));
    struct ingest_source *source = mem_zalloc(1, sizeof(*source));
    if (!source)
        return ERR_NO_MEMORY;
    *source = (struct ingest_source){.ops = ops, .ctx = ctx};
    pipeline.sources[pipeline.source_count++] = source;
    if (pipeline.source_count == 1) {
        pipeline.emitted_first = pipeline.emitted_count;
        pipeline.released_count = 0;
    }
    *ret_source = source;
    return ERR_OK;
}

void ingest_source_session(struct ingest_source *source, uint8_t session)
{
    source->session = session;
}

void ingest_source_close(struct ingest_source *source)
{
    for (uint32_t i = 0; i < pipeline.source_count; i++)
        if (pipeline.sources[i] == source)
            pipeline.sources[i] = pipeline.sources[--pipeline.source_count];
    mem_free(source);
}

static inline void text_copy(char *to, size_t size, struct bytes text)
{
    snprintf(to, size, "%.*s", (int)text.size, (const char *)text.data);
}

enum err ingest_route_new(struct ingest_source *source, const struct route_view *view,
                          struct ingest_route **ret_route)
{
    struct ingest_route *route = mem_zalloc(1, sizeof(*route));
    if (!route)
        return ERR_NO_MEMORY;
    text_copy(route->topic, sizeof(route->topic), view->topic);
    text_copy(route->dataset, sizeof(route->dataset), view->dataset_id);
    static const char *const names[] = {
        "topic", "qos", "retain", "broker", "original_source_id", "user_properties"};
    assert_int_equal(view->field_count, 6);
    for (int i = 0; i < 6; i++)
        assert_true(bytes_equal_text(view->fields[i].name, names[i]));
    memcpy(&route->qos, view->fields[1].constant.data, sizeof(double));
    route->retain = view->fields[2].constant.data[0];
    assert_true(bytes_equal_text(view->fields[3].constant, "127.0.0.1"));
    assert_true(bytes_equal_text(view->fields[4].constant, "source"));
    route->format = view->format;
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
    (void)levels;
    buf_append(out, source_id.data, source_id.size);
    buf_byte(out, '_');
    return buf_append(out, topic.data, topic.size < 100 ? topic.size : 100);
}

static inline enum err take(struct ingest_route *route, const struct ingest_message *message,
                            bool rejected, uint64_t *ret_sequence)
{
    if (pipeline.refuse)
        return ERR_NO_MEMORY;
    assert_true(pipeline.emitted_count < MESSAGES_MAX);
    struct emitted *emitted = &pipeline.emitted[pipeline.emitted_count++];
    *emitted = (struct emitted){
        .message = *message, .rejected = rejected, .retain = route->retain, .qos = route->qos};
    snprintf(emitted->topic, sizeof(emitted->topic), "%s", route->topic);
    text_copy(emitted->payload, sizeof(emitted->payload), message->payload);
    emitted->payload_size = message->payload.size;
    size_t cursor = 0;
    struct message_field field;
    if (message_field_next(message->extras, &cursor, &field))
        text_copy(emitted->extras, sizeof(emitted->extras), field.text);
    *ret_sequence = emitted->sequence = ++route->source->sequence;
    return ERR_OK;
}

enum err ingest_emit(struct ingest_route *route, const struct ingest_message *message,
                     uint64_t *ret_sequence)
{
    return take(route, message, false, ret_sequence);
}

enum err ingest_reject(struct ingest_route *route, const struct ingest_message *message,
                       const char *reason, const char *detail, uint64_t *ret_sequence)
{
    assert_string_equal(reason, "oversize");
    enum err err = take(route, message, true, ret_sequence);
    if (err == ERR_OK) {
        struct emitted *emitted = &pipeline.emitted[pipeline.emitted_count - 1];
        snprintf(emitted->detail, sizeof(emitted->detail), "%s", detail);
    }
    return err;
}

void ingest_count_repeated(struct ingest_route *route, uint64_t bytes)
{
    assert_non_null(route);
    (void)bytes;
    pipeline.repeated++;
}

void ingest_end_of_read(struct ingest_source *source)
{
    (void)source;
}
