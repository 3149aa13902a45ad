/*
 * The CoAP connector: the glue between the host, the channel to the server (coap/coap_channel.h)
 * and the resources there (coap/coap_nodes.h).
 *
 * A server that is away, a key that does not fit, a resource that answers with an error are told in
 * health, and tried again, for ever; they do not end the source. So connect succeeds when the
 * configuration makes sense, and what the host is told of the reach, as well as health's
 * "connected", tells whether the server has answered.
 */
#include "base/alloc.h"
#include "base/hash.h"
#include "base/limits.h"
#include "codec/timestamp.h"
#include "connectors/coap/coap_nodes.h"
#include "connectors/connector.h"
#include "os/clock.h"

#include <stdio.h>

#define TELL_MS        100 /* what happens within it is told at once */
#define SENTENCE_BYTES 700
#define EXPECTED_MS    3000  /* so long without an answer, and health says so */
#define UNREACHED_MS   8000  /* … and the source's state does: after the first repetitions */
#define FORGOTTEN_MS   10000 /* so long without acknowledgements, and servers may strike us off */

struct coap {
    struct connector_host host;
    struct coap_config config;
    struct ingest_source *source;
    struct coap_channel channel;
    struct coap_emit emit;
    struct coap_acks *acks;
    struct coap_nodes nodes;
    uv_timer_t teller;
    uint64_t durable;
    int64_t paused_ns;
    int64_t opened_ns;
    uint32_t open;  /* of teller, channel and nodes */
    bool is_opened; /* channel and nodes are there */
    bool is_stopping;
    bool is_stopped;
    bool is_closing;
    bool is_reached; /* as told */
    bool was_reached;
    char told[SENTENCE_BYTES];
};

/* --- health, told ----------------------------------------------------------------------------- */

static const struct coap_node *first_failing(const struct coap *coap)
{
    for (uint32_t i = 0; i < coap->nodes.count; i++)
        if (coap->nodes.table[i] && coap->nodes.table[i]->error[0])
            return coap->nodes.table[i];
    return NULL;
}

/* The server: it may have been heard, and have fallen silent. */
static bool is_answering(const struct coap *coap)
{
    return coap->channel.is_heard && !coap_nodes_silent(&coap->nodes);
}

static bool no_answer_yet(const struct coap *coap, int64_t after_ms, char sentence[SENTENCE_BYTES])
{
    const struct coap_channel *channel = &coap->channel;
    const char *hint = coap_channel_hint(channel);
    if (channel->is_heard || channel->is_paused ||
        clock_monotonic_ns(&clock_system) - coap->opened_ns < after_ms * NS_PER_MS)
        return false;
    snprintf(sentence, SENTENCE_BYTES, "no answer yet from %s%s%s", channel->config->base,
             hint ? ": " : "", hint ? hint : "");
    return true;
}

static void sentence_make(const struct coap *coap, char sentence[SENTENCE_BYTES])
{
    const struct coap_node *node = coap->nodes.failing > 0 ? first_failing(coap) : NULL;
    sentence[0] = '\0';
    if (!node)
        return;
    if (coap->channel.reason[0] && !coap->channel.is_heard)
        snprintf(sentence, SENTENCE_BYTES, "%s", coap->channel.reason);
    else if (coap->nodes.failing == 1)
        snprintf(sentence, SENTENCE_BYTES, "/%.200s: %s", node->path, node->error);
    else
        snprintf(sentence, SENTENCE_BYTES, "%u of %u resources do not work, first /%.200s: %s",
                 coap->nodes.failing, coap->nodes.live, node->path, node->error);
}

/* What keeps it from the server is its error; what is wrong with resources of a server that answers
 * is a warning. */
static void tell_reach(struct coap *coap)
{
    const struct coap_channel *channel = &coap->channel;
    const char *hint = coap_channel_hint(channel);
    char sentence[SENTENCE_BYTES];
    /* of a new source's several addresses each has its try first */
    bool has_more = !coap->was_reached && channel->address_next < channel->address_count;
    coap->is_reached = is_answering(coap);
    if (coap->is_reached) {
        coap->was_reached = true;
        coap->host.on_reach(coap->host.ctx, CONNECTOR_REACHED, NULL);
        return;
    }
    if (channel->is_heard)
        snprintf(sentence, sizeof(sentence), "no answer for 10 s from %s%s%s",
                 channel->config->base, hint ? ": " : "", hint ? hint : "");
    else if (channel->reason[0] && !has_more)
        snprintf(sentence, sizeof(sentence), "%s", channel->reason);
    else if (!no_answer_yet(coap, UNREACHED_MS, sentence))
        return;
    coap->host.on_reach(coap->host.ctx, CONNECTOR_AWAY, sentence);
}

static void on_tell(uv_timer_t *timer);

static void tell_after(struct coap *coap, uint64_t wait_ms)
{
    uv_timer_t *teller = &coap->teller;
    bool is_sooner = uv_is_active((uv_handle_t *)teller) && uv_timer_get_due_in(teller) <= wait_ms;
    if (!coap->is_closing && !is_sooner)
        uv_timer_start(teller, on_tell, wait_ms, 0);
}

static void on_tell(uv_timer_t *timer)
{
    struct coap *coap = timer->data;
    char sentence[SENTENCE_BYTES];
    bool was_reached = coap->is_reached;
    sentence_make(coap, sentence);
    tell_reach(coap);
    if (!coap->is_reached)
        tell_after(coap, UNREACHED_MS);
    if (strcmp(sentence, coap->told) == 0 && coap->is_reached == was_reached)
        return;
    memcpy(coap->told, sentence, sizeof(coap->told));
    coap->host.on_warning(coap->host.ctx, sentence[0] && coap->is_reached ? sentence : NULL);
}

static void on_changed(void *ctx)
{
    struct coap *coap = ctx;
    tell_after(coap, TELL_MS);
}

static void heard(struct coap *coap)
{
    if (!coap->is_reached)
        tell_after(coap, 0);
}

/* --- the channel ------------------------------------------------------------------------------ */

static void on_ready(void *ctx)
{
    struct coap *coap = ctx;
    heard(coap);
    coap_nodes_ready(&coap->nodes);
}

static void on_lost(void *ctx, const char *reason)
{
    struct coap *coap = ctx;
    coap_nodes_lost(&coap->nodes, reason);
    tell_after(coap, 0);
}

static enum coap_verdict on_response(void *ctx, const coap_pdu_t *response)
{
    struct coap *coap = ctx;
    heard(coap);
    return coap_nodes_response(&coap->nodes, response);
}

static void on_rejected(void *ctx, const uint8_t token[COAP_TOKEN_BYTES])
{
    struct coap *coap = ctx;
    heard(coap);
    coap_nodes_rejected(&coap->nodes, token);
}

static void on_repeat(void *ctx, const uint8_t token[COAP_TOKEN_BYTES])
{
    struct coap *coap = ctx;
    coap_nodes_repeat(&coap->nodes, token);
}

static bool on_unanswered(void *ctx, const uint8_t *token)
{
    struct coap *coap = ctx;
    return coap_nodes_unanswered(&coap->nodes, token);
}

static void on_heard(void *ctx)
{
    struct coap *coap = ctx;
    heard(coap);
    coap_nodes_heard(&coap->nodes);
}

static void on_read_end(void *ctx)
{
    struct coap *coap = ctx;
    ingest_end_of_read(coap->source);
    coap_nodes_pump(&coap->nodes);
}

static void release(struct coap *coap)
{
    struct connector_host host = coap->host;
    ingest_source_close(coap->source);
    mem_free(coap->acks);
    coap_config_fini(&coap->config);
    host.on_closed(host.ctx); /* the state may be gone after this */
}

static void on_part_closed(void *ctx)
{
    struct coap *coap = ctx;
    if (--coap->open == 0)
        release(coap);
}

static const struct coap_channel_ops channel_ops = {.on_ready = on_ready,
                                                    .on_lost = on_lost,
                                                    .on_response = on_response,
                                                    .on_rejected = on_rejected,
                                                    .on_repeat = on_repeat,
                                                    .on_unanswered = on_unanswered,
                                                    .on_heard = on_heard,
                                                    .on_read_end = on_read_end,
                                                    .on_closed = on_part_closed};

/* --- the pipeline ----------------------------------------------------------------------------- */

static void check_stopped(struct coap *coap)
{
    if (!coap->is_stopping || coap->is_stopped || coap->durable < coap->emit.sequence)
        return;
    coap->is_stopped = true;
    coap->host.on_stopped(coap->host.ctx);
}

static void on_durable(void *ctx, uint64_t sequence, uint64_t block_number)
{
    struct coap *coap = ctx;
    uint16_t message_id;
    (void)block_number;
    coap->durable = sequence;
    while (coap_acks_take(coap->acks, sequence, &message_id))
        coap_channel_acknowledge(&coap->channel, message_id);
    check_stopped(coap);
}

static void on_pause(void *ctx)
{
    struct coap *coap = ctx;
    coap->paused_ns = clock_monotonic_ns(&clock_system);
    coap_channel_pause(&coap->channel, true);
    if (!coap->is_reached && !coap->channel.reason[0])
        coap->host.on_reach(coap->host.ctx, CONNECTOR_REACHED, NULL);
}

static void on_resume(void *ctx)
{
    struct coap *coap = ctx;
    int64_t paused_ns = clock_monotonic_ns(&clock_system) - coap->paused_ns;
    coap_channel_pause(&coap->channel, false);
    tell_after(coap, UNREACHED_MS);
    if (paused_ns > FORGOTTEN_MS * NS_PER_MS)
        coap_nodes_register_again(&coap->nodes);
    coap_nodes_pump(&coap->nodes);
}

static const struct ingest_source_ops source_ops = {on_durable, on_pause, on_resume};

/* --- the host's side -------------------------------------------------------------------------- */

static uint64_t source_seed(const struct coap *coap)
{
    return hash_bytes_seeded(bytes_from_text(coap->host.source_id),
                             hash_bytes(bytes_from_text(coap->host.replica_id)));
}

static enum err source_open(struct coap *coap, struct diag *diag)
{
    const struct connector_host *host = &coap->host;
    coap->acks = mem_zalloc(1, sizeof(*coap->acks));
    enum err err = coap->acks
                       ? ingest_source_open(host->ingest, bytes_from_text(host->source_id),
                                            BYTES_LITERAL("coap"), &source_ops, coap, &coap->source)
                       : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = ingest_watch_rejections(coap->source);
    if (err != ERR_OK)
        return diag_set(diag, err, "out of memory for the source");
    coap->emit = (struct coap_emit){
        .config = &coap->config, .source_id = host->source_id, .source = coap->source};
    coap->nodes = (struct coap_nodes){.loop = host->loop,
                                      .config = &coap->config,
                                      .channel = &coap->channel,
                                      .emit = &coap->emit,
                                      .acks = coap->acks,
                                      .on_changed = on_changed,
                                      .on_closed = on_part_closed,
                                      .ctx = coap};
    bool is_paused = coap->channel.is_paused; /* from the beginning */
    coap_channel_open(&coap->channel, host->loop, &coap->config, source_seed(coap), &channel_ops,
                      coap);
    coap_channel_pause(&coap->channel, is_paused);
    coap->open += 2;
    coap->is_opened = true;
    coap->opened_ns = clock_monotonic_ns(&clock_system);
    if (coap_nodes_open(&coap->nodes) != ERR_OK)
        return diag_set(diag, ERR_NO_MEMORY, "out of memory for the source");
    return ERR_OK;
}

static enum err coap_connect(void *state, const struct connector_host *host, struct diag *diag)
{
    struct coap *coap = state;
    *coap = (struct coap){.host = *host};
    uv_timer_init(host->loop, &coap->teller);
    coap->teller.data = coap;
    coap->open = 1;
    enum err err = coap_config_init(&coap->config, host->config, diag);
    if (err == ERR_OK)
        err = coap_config_check_files(&coap->config, diag);
    if (err == ERR_OK)
        err = source_open(coap, diag);
    if (err == ERR_OK && !coap->channel.is_paused)
        host->on_reach(host->ctx, CONNECTOR_REACHING, NULL);
    if (err == ERR_OK)
        host->on_connected(host->ctx);
    return err;
}

static enum err coap_start(void *state, struct diag *diag)
{
    struct coap *coap = state;
    if (!coap->is_opened)
        return diag_set(diag, ERR_CLOSED, "the source is not open");
    coap_nodes_start(&coap->nodes);
    tell_after(coap, UNREACHED_MS);
    return ERR_OK;
}

static void coap_stop(void *state)
{
    struct coap *coap = state;
    coap->is_stopping = true;
    if (coap->is_opened)
        coap_nodes_stop(&coap->nodes);
    check_stopped(coap);
}

static void on_teller_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

static void coap_disconnect(void *state)
{
    struct coap *coap = state;
    if (coap->is_closing)
        return;
    coap->is_closing = true;
    uv_close((uv_handle_t *)&coap->teller, on_teller_closed);
    if (!coap->is_opened)
        return;
    coap_channel_close(&coap->channel);
    coap_nodes_close(&coap->nodes);
}

/* --- health ----------------------------------------------------------------------------------- */

static void health_set(json_t *object, const char *name, json_t *value)
{
    json_object_set_new(object, name, value ? value : json_null());
}

static void health_count(json_t *object, const char *name, uint64_t value)
{
    health_set(object, name, json_integer((json_int_t)value));
}

static void health_resources(const struct coap *coap, json_t *object,
                             char ret_sentence[SENTENCE_BYTES])
{
    json_t *resources = json_array(), *polled = json_array(), *failing = json_object();
    char uri[2048], wrong[COAP_WRONG_BYTES];
    memcpy(ret_sentence, coap->told, SENTENCE_BYTES);
    for (uint32_t i = 0; i < coap->nodes.count; i++) {
        const struct coap_node *node = coap->nodes.table[i];
        if (!node)
            continue;
        snprintf(uri, sizeof(uri), "%s%s", coap->config.base, node->path);
        if (!node->is_discovery)
            json_array_append_new(resources, json_string(uri));
        if (node->is_polled_instead)
            json_array_append_new(polled, json_string(uri));
        if (!coap_node_wrong(node, wrong))
            continue;
        json_object_set_new(failing, uri, json_string(wrong));
        if (!ret_sentence[0])
            snprintf(ret_sentence, SENTENCE_BYTES, "/%.200s: %s", node->path, wrong);
    }
    health_set(object, "resources", resources);
    if (!coap->config.is_poll)
        health_set(object, "polled_resources", polled);
    else
        json_decref(polled);
    health_count(object, "failing_resources", json_object_size(failing));
    health_set(object, "resource_errors", failing);
}

/* While nobody has answered the source is not healthy, though it is active: it tries for ever. */
static void health_error(const struct coap *coap, json_t *object, char sentence[SENTENCE_BYTES])
{
    if (!sentence[0])
        (void)no_answer_yet(coap, EXPECTED_MS, sentence);
    if (sentence[0])
        health_set(object, "error", json_string(sentence));
    if (sentence[0] && !is_answering(coap))
        health_set(object, "healthy", json_false());
    health_set(object, "connected", json_boolean(is_answering(coap)));
}

static void coap_health(void *state, json_t *object)
{
    const struct coap *coap = state;
    const struct coap_config *config = &coap->config;
    const struct coap_nodes *nodes = &coap->nodes;
    char time[TIMESTAMP_TEXT_BYTES], sentence[SENTENCE_BYTES];
    if (!config->host)
        return;
    health_set(object, "host", json_string(config->host));
    health_set(object, "port", json_integer(config->port));
    health_set(object, "mode", json_string(config->is_poll ? "poll" : "observe"));
    if (config->is_poll)
        health_set(object, "poll_interval", json_integer(config->interval_seconds));
    if (!coap->is_opened)
        return;
    health_resources(coap, object, sentence);
    health_count(object, "active_observations", nodes->observed);
    health_count(object, "messages_received", coap->emit.messages + coap->emit.oversize);
    if (nodes->stored_us) {
        timestamp_format(nodes->stored_us, time);
        health_set(object, "last_successful_operation", json_string(time));
    }
    health_error(coap, object, sentence);
    health_count(object, "sessions", coap->channel.sessions);
    health_count(object, "failed_requests", nodes->errors);
    health_count(object, "dropped_resources", nodes->gone);
    health_count(object, "stale_notifications", nodes->stale);
    health_count(object, "dropped_datagrams", coap_channel_dropped(&coap->channel));
    health_count(object, "repeated_values", nodes->repeated);
    health_count(object, "stray_responses", nodes->strays);
    health_count(object, "discarded_datagrams", coap->channel.discarded);
    health_count(object, "oversize_bodies", coap->emit.oversize);
    health_set(object, "paused", json_boolean(coap->channel.is_paused));
}

static const char *const formats[] = {"JSON", "CBOR", "Plain Text", NULL};

const struct connector coap_connector = {
    .abi = INGESTOR_CONNECTOR_ABI,
    .name = "coap",
    .class_name = "CoapConnector",
    .class_path = "src.connectors.coap_connector.CoapConnector",
    .display = {.name = "CoAP Server",
                .description = "Observe or poll the resources of a CoAP server",
                .icon = "📶",
                .category = "IoT",
                .formats = formats,
                .real_time = true},
    .config_schema = coap_config_schema,
    .single = true,
    .state_size = sizeof(struct coap),
    .ops = {.connect = coap_connect,
            .start = coap_start,
            .stop = coap_stop,
            .disconnect = coap_disconnect,
            .health = coap_health,
            .check = coap_config_check},
};
