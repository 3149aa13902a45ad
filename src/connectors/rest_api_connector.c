/*
 * The REST connector: the glue between the host, a schedule, a poll and its emission.
 *
 *   slot -> poll -> (emit -> go on)* -> next slot
 *
 * A slot waits while the service is under pressure and while the records of the poll before are
 * not durable. An error is the source's state and health and never its end: it polls on. So connect
 * succeeds when the configuration makes sense.
 */
#include "base/hash.h"
#include "base/limits.h"
#include "codec/timestamp.h"
#include "connectors/connector.h"
#include "connectors/rest/rest_emit.h"
#include "os/clock.h"

#define EMIT_AGAIN_MS 100

enum rest_step {
    REST_IDLE, /* waits for its slot */
    REST_DUE,  /* the slot has come, something is in the way */
    REST_POLLING,
    REST_HOLDING,  /* pages are there, under pressure */
    REST_EMITTING, /* an emission has failed and is tried again */
};

struct rest {
    struct connector_host host;
    struct rest_config config;
    struct rest_engine *engine;
    struct ingest_source *source;
    struct rest_state state;
    struct rest_schedule schedule;
    struct rest_poll poll;
    struct rest_emit emit;
    uv_timer_t timer;
    enum rest_step step;
    bool opened; /* poll, emit and state are there */
    bool running;
    bool paused;
    bool closing;
    uint32_t handles_open;
    uint64_t durable;
    /* health */
    uint64_t polls;
    uint64_t failed_polls;
    uint64_t unchanged_polls;
    uint64_t late_polls; /* begun more than a second after their slot */
    int64_t succeeded_us;
    char error[REST_SENTENCE_BYTES];
};

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&clock_system);
}

/* --- slots ------------------------------------------------------------------------------------ */

static void on_slot(uv_timer_t *timer);

static void slot_wait(struct rest *rest)
{
    int64_t wait_ns = rest->schedule.next_ns - now_ns();
    rest->step = REST_IDLE;
    uv_timer_start(&rest->timer, on_slot,
                   wait_ns > 0 ? (uint64_t)((wait_ns + NS_PER_MS - 1) / NS_PER_MS) : 0, 0);
}

static void slot_take(struct rest *rest)
{
    if (rest->paused || rest->durable < rest->emit.sequence) {
        rest->step = REST_DUE;
        return;
    }
    rest->step = REST_POLLING;
    rest->polls++;
    if (now_ns() - rest->schedule.next_ns > NS_PER_S)
        rest->late_polls++;
    rest_poll_begin(&rest->poll);
}

static void on_slot(uv_timer_t *timer)
{
    struct rest *rest = timer->data;
    if (!rest->running || rest->step != REST_IDLE)
        return;
    if (now_ns() < rest->schedule.next_ns)
        slot_wait(rest); /* the loop's clock was behind */
    else
        slot_take(rest);
}

static void poll_over(struct rest *rest)
{
    rest_schedule_next(&rest->schedule, now_ns());
    slot_wait(rest);
}

/* --- what a poll brought ---------------------------------------------------------------------- */

static void succeeded(struct rest *rest)
{
    rest->succeeded_us = clock_realtime_us(&clock_system);
    rest->error[0] = '\0';
    rest->host.on_reach(rest->host.ctx, CONNECTOR_REACHED, NULL);
}

static void emit_pages(struct rest *rest);

static void on_emit_again(uv_timer_t *timer)
{
    struct rest *rest = timer->data;
    if (rest->running && rest->step == REST_EMITTING)
        emit_pages(rest);
}

static void emit_pages(struct rest *rest)
{
    enum err err = rest_emit_run(&rest->emit, &rest->poll);
    if (err != ERR_OK) {
        rest->step = REST_EMITTING;
        rest->host.on_warning(rest->host.ctx, "out of memory: the records of a poll have to wait");
        uv_timer_start(&rest->timer, on_emit_again, EMIT_AGAIN_MS, 0);
        return;
    }
    rest_poll_drop_pages(&rest->poll);
    if (rest->poll.has_more) {
        rest->step = REST_POLLING;
        rest_poll_go_on(&rest->poll);
        return;
    }
    succeeded(rest);
    rest->host.on_warning(rest->host.ctx, rest->poll.warning[0] ? rest->poll.warning : NULL);
    poll_over(rest);
}

static void failed(struct rest *rest)
{
    struct rest_poll *poll = &rest->poll;
    rest->failed_polls++;
    memcpy(rest->error, poll->sentence, sizeof(rest->error));
    if (poll->retry_after_s > 0)
        rest_schedule_hold(&rest->schedule, now_ns(), (uint32_t)poll->retry_after_s);
    if (poll->refused)
        buf_clear(&rest->state.resume); /* where it was to go on is gone */
    rest->host.on_warning(rest->host.ctx, NULL);
    rest->host.on_reach(rest->host.ctx, CONNECTOR_AWAY, rest->error);
    poll_over(rest);
}

static void on_poll_done(void *ctx)
{
    struct rest *rest = ctx;
    if (!rest->running)
        return;
    if (rest->poll.result == REST_POLL_FAILED) {
        failed(rest);
    } else if (rest->poll.result == REST_POLL_UNCHANGED) {
        rest->unchanged_polls++;
        succeeded(rest);
        poll_over(rest);
    } else if (rest->paused) {
        rest->step = REST_HOLDING;
    } else {
        emit_pages(rest);
    }
}

/* --- the pipeline ----------------------------------------------------------------------------- */

static void go_on(struct rest *rest)
{
    if (!rest->running || rest->paused)
        return;
    if (rest->step == REST_DUE)
        slot_take(rest);
    else if (rest->step == REST_HOLDING)
        emit_pages(rest);
}

static void on_durable(void *ctx, uint64_t sequence, uint64_t block_number)
{
    struct rest *rest = ctx;
    (void)block_number;
    rest->durable = sequence;
    go_on(rest);
}

static void on_pause(void *ctx)
{
    struct rest *rest = ctx;
    rest->paused = true;
}

static void on_resume(void *ctx)
{
    struct rest *rest = ctx;
    rest->paused = false;
    go_on(rest);
}

static const struct ingest_source_ops source_ops = {on_durable, on_pause, on_resume};

/* --- the host's side -------------------------------------------------------------------------- */

static uint64_t source_hash(const struct rest *rest)
{
    return hash_bytes(bytes_from_text(rest->host.source_id));
}

static enum err source_open(struct rest *rest, struct diag *diag)
{
    const struct connector_host *host = &rest->host;
    enum err err = rest_engine_get(host->loop, &rest->engine);
    if (err == ERR_OK)
        err = ingest_source_open(host->ingest, bytes_from_text(host->source_id),
                                 BYTES_LITERAL("rest_api"), &source_ops, rest, &rest->source);
    if (err != ERR_OK)
        return diag_set(diag, err, "out of memory for the source");
    rest_state_init(&rest->state);
    rest_poll_init(&rest->poll, &rest->config, &rest->state, rest->engine, host->loop,
                   source_hash(rest), on_poll_done, rest);
    rest_emit_init(&rest->emit, &rest->config, host->source_id, rest->source, &rest->state);
    rest->handles_open++;
    rest->opened = true;
    err = rest_emit_recover(&rest->emit);
    if (err != ERR_OK)
        return diag_set(diag, err, "the source's state cannot be read: %s", err_text(err));
    return ERR_OK;
}

static enum err rest_connect(void *state, const struct connector_host *host, struct diag *diag)
{
    struct rest *rest = state;
    *rest = (struct rest){.host = *host};
    uv_timer_init(host->loop, &rest->timer);
    rest->timer.data = rest;
    rest->handles_open = 1;
    enum err err = rest_config_init(&rest->config, host->config, diag);
    if (err == ERR_OK)
        err = source_open(rest, diag);
    if (err == ERR_OK)
        host->on_connected(host->ctx);
    return err;
}

static enum err rest_start(void *state, struct diag *diag)
{
    struct rest *rest = state;
    if (!rest->opened)
        return diag_set(diag, ERR_CLOSED, "the source is not open");
    int64_t now = now_ns();
    rest->running = true;
    rest_schedule_begin(&rest->schedule, rest->config.interval_seconds, now,
                        rest_engine_start_at_once(rest->engine, now), source_hash(rest));
    slot_wait(rest);
    return ERR_OK;
}

static void quiet(struct rest *rest)
{
    rest->running = false;
    uv_timer_stop(&rest->timer);
    if (rest->opened)
        rest_poll_cancel(&rest->poll);
}

/* What was emitted is in the journal's hands; nobody upstream waits for it. */
static void rest_stop(void *state)
{
    struct rest *rest = state;
    quiet(rest);
    rest->host.on_stopped(rest->host.ctx);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct rest *rest = handle->data;
    if (--rest->handles_open > 0)
        return;
    struct connector_host host = rest->host;
    if (rest->opened) {
        rest_emit_fini(&rest->emit);
        rest_poll_fini(&rest->poll);
        rest_state_fini(&rest->state);
    }
    ingest_source_close(rest->source);
    rest_engine_put(rest->engine);
    rest_config_fini(&rest->config);
    host.on_closed(host.ctx); /* the state may be gone after this */
}

static void rest_disconnect(void *state)
{
    struct rest *rest = state;
    if (rest->closing)
        return;
    rest->closing = true;
    quiet(rest);
    if (rest->opened) {
        rest->poll.timer.data = rest;
        uv_close((uv_handle_t *)&rest->poll.timer, on_handle_closed);
    }
    uv_close((uv_handle_t *)&rest->timer, on_handle_closed);
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

static void rest_health(void *state, json_t *object)
{
    const struct rest *rest = state;
    const struct rest_config *config = &rest->config;
    char time[TIMESTAMP_TEXT_BYTES];
    if (!config->source)
        return;
    health_set(object, "endpoint", json_string(config->source));
    health_set(object, "method", json_string(config->is_post ? "POST" : "GET"));
    health_set(object, "poll_interval", json_integer(config->interval_seconds));
    if (!rest->opened)
        return;
    if (rest->succeeded_us) {
        timestamp_format(rest->succeeded_us, time);
        health_set(object, "last_successful_operation", json_string(time));
    }
    if (rest->error[0]) { /* of the last poll; the next may do */
        health_set(object, "healthy", json_false());
        health_set(object, "error", json_string(rest->error));
    }
    if (rest->poll.status)
        health_set(object, "last_http_status", json_integer(rest->poll.status));
    health_count(object, "polls", rest->polls);
    health_count(object, "failed_polls", rest->failed_polls);
    health_count(object, "unchanged_polls", rest->unchanged_polls);
    health_count(object, "late_polls", rest->late_polls);
    health_count(object, "skipped_polls", rest->schedule.skipped);
    health_count(object, "requests", rest->poll.requests);
    health_count(object, "records", rest->emit.records);
    health_count(object, "oversize_records", rest->emit.oversize);
    health_count(object, "repeated_records", rest->emit.repeated);
    health_set(object, "paused", json_boolean(rest->paused));
}

static enum err rest_check(const json_t *json, struct diag *diag)
{
    struct rest_config config = {0};
    enum err err = rest_config_init(&config, json, diag);
    rest_config_fini(&config);
    return err;
}

/* One page of one poll: a trial is for a sample. */
static enum err rest_trial(json_t *config)
{
    json_t *pagination = json_object_get(config, "pagination");
    bool failed =
        json_object_set_new(config, "poll_interval", json_integer(REST_INTERVAL_SECONDS_MAX)) != 0;
    if (json_is_object(pagination))
        failed |= json_object_set_new(pagination, "max_pages", json_integer(1)) != 0;
    return failed ? ERR_NO_MEMORY : ERR_OK;
}

static const char *const formats[] = {"JSON", "XML",         "CBOR",       "SenML",
                                      "CSV",  "MessagePack", "Plain Text", NULL};

const struct connector rest_api_connector = {
    .abi = INGESTOR_CONNECTOR_ABI,
    .name = "rest_api",
    .class_name = "RestApiConnector",
    .class_path = "src.connectors.rest_api_connector.RestApiConnector",
    .display = {.name = "REST API",
                .description = "Poll an HTTP address at fixed intervals",
                .icon = "🌐",
                .category = "Web Services",
                .formats = formats,
                .real_time = false},
    .config_schema = rest_config_schema,
    .single = true,
    .state_size = sizeof(struct rest),
    .ops = {.connect = rest_connect,
            .start = rest_start,
            .stop = rest_stop,
            .disconnect = rest_disconnect,
            .health = rest_health,
            .check = rest_check,
            .trial = rest_trial},
};
