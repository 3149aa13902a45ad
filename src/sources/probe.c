#include "sources/probe.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/random.h"
#include "pipeline/ingest_loop.h"
#include "sources/ingestion_id.h"
#include "sources/source.h"

#include <inttypes.h>
#include <stdio.h>

#define PROBE_BYTES_MAX  (64 * MIB)
#define SAMPLE_BYTES_MAX (4 * KIB)
#define HEALTH_STEPS     100
#define HEALTH_STEP_NS   NS_PER_MS

struct probe {
    struct mutex lock;
    struct condition changed;
    struct loop loop;
    struct ingest_loop *ingest;
    struct account_book *book;
    struct source *source;
    _Atomic uint64_t in_flight;
    uint64_t byte_count;
    struct probe_result *result;
};

/* --- the sink: blocks are kept, and called durable at once --- */

static enum err sink_submit(void *ctx, struct shipment *take_shipment, uint16_t flags,
                            uint64_t group)
{
    struct probe *probe = ctx;
    struct probe_result *result = probe->result;
    struct block *block = take_shipment->block;
    (void)flags;
    (void)group;
    mutex_lock(&probe->lock);
    if (result->block_count < PROBE_BLOCKS_MAX && probe->byte_count < PROBE_BYTES_MAX) {
        block->number = result->block_count + 1;
        result->blocks[result->block_count++] = block_ref(block);
        result->message_count += block->message_count;
        probe->byte_count += block->size_bytes;
        condition_signal(&probe->changed);
    }
    mutex_unlock(&probe->lock);
    loop_post(take_shipment->loop_thread, &take_shipment->letter);
    return ERR_OK;
}

static bool sink_idle(void *ctx)
{
    (void)ctx;
    return true;
}

/* --- listening --- */

/* Another name than the real one has, wherever a connector makes a session's name of it. */
static void replica_make(char text[40])
{
    uint64_t half = 0;
    if (random_fill(&half, sizeof(half)) != ERR_OK)
        half = (uint64_t)clock_monotonic_ns(&clock_system);
    snprintf(text, 40, "00000000-0000-4000-%04x-%012" PRIx64, (unsigned)(half >> 48),
             half & UINT64_C(0xffffffffffff));
}

static enum err source_make(struct probe *probe, const struct probe_options *options)
{
    char replica_id[40];
    struct buf id;
    buf_init(&id, 64 * KIB);
    replica_make(replica_id);
    json_t *config = json_deep_copy(options->config);
    enum err err =
        config ? ingestion_id_make(options->name, options->connector->name, &id) : ERR_NO_MEMORY;
    if (err == ERR_OK && options->connector->ops.trial)
        err = options->connector->ops.trial(config);
    if (err == ERR_OK && !buf_cstr(&id))
        err = ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = source_new(&(struct source_options){.connector = options->connector,
                                                  .name = options->name,
                                                  .ingestion_id = buf_cstr(&id),
                                                  .config = config,
                                                  .replica_id = replica_id,
                                                  .loop = &probe->loop,
                                                  .ingest = probe->ingest},
                         &probe->source);
    json_decref(config);
    buf_fini(&id);
    return err;
}

static enum err probe_begin(struct probe *probe, const struct probe_options *options)
{
    const struct ingest_sink sink = {.submit = sink_submit, .idle = sink_idle, .ctx = probe};
    const struct ingest_rule rule = {PARTITION_BY_EVENT, 24};
    enum err err = account_book_new(&probe->book);
    if (err == ERR_OK)
        err = loop_start(&probe->loop, "probe");
    if (err == ERR_OK)
        err = ingest_loop_new(&probe->loop, &sink, &rule, probe->book, &probe->in_flight,
                              &probe->ingest);
    if (err == ERR_OK)
        err = source_make(probe, options);
    if (err == ERR_OK)
        source_start(probe->source);
    return err;
}

/* A source that polls is asked once: whether the answer is there, or why there is none. What it
 * brought has been emitted before, but its block may still be on its way. */
static bool poll_is_over(struct probe *probe, const struct connector *connector)
{
    if (connector->display.real_time)
        return false;
    (void)source_health_ask(probe->source);
    json_t *health = source_health(probe->source);
    bool is_over =
        json_object_get(health, "last_successful_operation") || json_object_get(health, "error");
    json_decref(health);
    return is_over;
}

/* One that was active may have lost the other side since: "connected" in its health says so. */
static void check_answered(struct probe_result *result)
{
    const char *error = json_string_value(json_object_get(result->health, "error"));
    if (result->message_count > 0 || !json_is_false(json_object_get(result->health, "connected")))
        return;
    result->connected = false;
    if (error && !result->error[0])
        snprintf(result->error, sizeof(result->error), "%s", error);
}

static void probe_wait(struct probe *probe, const struct probe_options *options)
{
    struct probe_result *result = probe->result;
    int64_t until_ns = clock_monotonic_ns(&clock_system) + options->seconds_max * NS_PER_S;
    bool over = false;
    bool polled = false;
    while (!over && clock_monotonic_ns(&clock_system) < until_ns) {
        struct source_status status;
        mutex_lock(&probe->lock);
        if (result->message_count < options->messages_max)
            condition_wait_for(&probe->changed, &probe->lock, 50 * NS_PER_MS);
        over = result->message_count >= options->messages_max;
        mutex_unlock(&probe->lock);
        source_status_get(probe->source, &status);
        result->connected = result->connected || status.state == SOURCE_ACTIVE;
        snprintf(result->error, sizeof(result->error), "%s",
                 status.last_error[0] ? status.last_error : status.warning);
        over = over || polled || status.state == SOURCE_ERROR;
        polled = poll_is_over(probe, options->connector); /* and one more turn for its block */
    }
    for (int i = 0; i < HEALTH_STEPS && !source_health_ask(probe->source); i++) {
        mutex_lock(&probe->lock);
        condition_wait_for(&probe->changed, &probe->lock, HEALTH_STEP_NS);
        mutex_unlock(&probe->lock);
    }
    result->health = source_health(probe->source);
    check_answered(result);
}

static void probe_end(struct probe *probe)
{
    if (probe->source) {
        source_stop(probe->source);
        (void)source_wait_stopped(probe->source, clock_monotonic_ns(&clock_system) + 3 * NS_PER_S);
    }
    if (probe->ingest)
        ingest_loop_close(probe->ingest);
    loop_stop(&probe->loop);
    ingest_loop_free(probe->ingest);
    source_free(probe->source);
    account_book_free(probe->book);
}

enum err probe_run(const struct probe_options *options, struct probe_result *ret_result,
                   struct diag *diag)
{
    struct probe *probe = mem_zalloc(1, sizeof(*probe));
    if (!probe)
        return ERR_NO_MEMORY;
    *ret_result = (struct probe_result){0};
    probe->result = ret_result;
    mutex_init(&probe->lock);
    condition_init(&probe->changed);
    enum err err = probe_begin(probe, options);
    if (err == ERR_OK)
        probe_wait(probe, options);
    else
        (void)diag_set(diag, err, "the trial could not begin: %s", err_text(err));
    probe_end(probe);
    condition_fini(&probe->changed);
    mutex_fini(&probe->lock);
    mem_free(probe);
    return err;
}

void probe_result_fini(struct probe_result *result)
{
    for (uint32_t i = 0; i < result->block_count; i++)
        block_unref(result->blocks[i]);
    json_decref(result->health);
}

/* --- as JSON --- */

static json_t *text_json(struct bytes text)
{
    size_t size = text.size < SAMPLE_BYTES_MAX ? text.size : SAMPLE_BYTES_MAX;
    json_t *json = json_stringn((const char *)text.data, size);
    return json ? json : json_null(); /* not UTF-8 */
}

static json_t *sample_json(const struct probe_result *result)
{
    for (uint32_t i = 0; i < result->block_count; i++) {
        const struct block *block = result->blocks[i];
        if (block->message_count == 0)
            continue;
        struct message_view message;
        struct route_view route;
        block_message_get(block, 0, &message);
        block_route_get(block, message.route_index, &route);
        json_t *payload = json_loadb((const char *)message.payload.data, message.payload.size,
                                     JSON_DECODE_ANY, NULL);
        return json_pack("{s:o, s:o}", "topic", text_json(route.topic), "payload",
                         payload ? payload : text_json(message.payload));
    }
    return json_null();
}

/* One that listens is good when it is connected. One that polls connects to nothing before it asks:
 * it is good when its first poll was. (The health may be from before the message came.) */
static bool trial_is_good(const struct connector *connector, const struct probe_result *result)
{
    if (!result->connected || connector->display.real_time || result->message_count > 0)
        return result->connected;
    return json_object_get(result->health, "last_successful_operation") &&
           !json_object_get(result->health, "error");
}

static const char *failure_text(const struct probe_result *result)
{
    const char *error = json_string_value(json_object_get(result->health, "error"));
    if (error && result->connected)
        return error;
    if (result->error[0])
        return result->error;
    return result->connected ? "no whole answer within the time for a trial"
                             : "no connection within the time for a trial";
}

static const char *success_text(const struct probe_result *result)
{
    if (result->error[0])
        return result->error;
    return result->message_count > 0 ? "Connection successful"
                                     : "Connection successful; nothing was received meanwhile";
}

enum err probe_json(const struct connector *connector, const char *name, const json_t *config,
                    uint32_t seconds_max, json_t **ret_result)
{
    struct probe_result *result = mem_zalloc(1, sizeof(*result));
    if (!result)
        return ERR_NO_MEMORY;
    enum err err =
        probe_run(&(struct probe_options){connector, name, config, 1, seconds_max}, result, NULL);
    if (err == ERR_OK) {
        json_t *health = result->health ? json_incref(result->health) : json_null();
        bool good = trial_is_good(connector, result);
        *ret_result = json_pack("{s:b, s:s, s:o, s:o}", "success", good, "message",
                                good ? success_text(result) : failure_text(result), "sample",
                                sample_json(result), "health", health);
        err = *ret_result ? ERR_OK : ERR_NO_MEMORY;
    }
    probe_result_fini(result);
    mem_free(result);
    return err;
}
