#include "base/alloc.h"
#include "connectors/connector.h"
#include "connectors/http_push_body.h"
#include "connectors/http_push_check.h"
#include "connectors/http_push_job.h"
#include "connectors/http_push_keys.h"
#include "os/clock.h"

#include <stdio.h>

/*
 * The HTTP push connector: what devices and webhooks post to /api/ingest/{ingestion_id}. It opens
 * nothing; the API brings it pushes, and each is answered when its records are durable.
 *
 *   push ──► waiting: cut and checked as a whole, then emitted ──► emitted: until durable ──► done
 *
 * Checking is done SLICE_BYTES at a time, so that a large body holds up nobody else on the loop;
 * emission in one go, as one atomic group: the records and, just before the last of them, the
 * Idempotency-Key. When memory fails in the middle the group stays open and goes on later; nothing
 * is answered before all of it is durable. Since pushes are taken up in order, a repetition finds
 * its first in the keys, and waits for the same sequence.
 */

#define SLICE_BYTES   (128 * KIB)
#define SLICE_RECORDS 2048
#define JOBS_MAX      1000
#define RETRY_MS      100
#define PAUSE_PATIENCE_MS                                                                          \
    5000 /* so long pushes wait for a paused pipeline before they are refused */
#define WRAPPED_BYTES_MAX (LIMIT_MESSAGE_BYTES_MAX)
#define DATASET_BYTES_MAX (64 * KIB)

struct http_push {
    struct connector_host host;
    struct http_push_config config;
    struct ingest_source *source;
    struct ingest_route *route;
    struct ingest_route *senml_route; /* NULL: all are, or none is */
    struct http_push_keys keys;
    struct http_push_job *waiting; /* the first is in work */
    struct http_push_job **waiting_last;
    struct http_push_job *emitted;
    size_t job_count;
    struct buf wrapped;
    uv_timer_t timer;
    uint64_t durable_sequence;
    uint64_t paused_since_ms;
    bool paused;
    bool grouping; /* the first of the waiting has begun, its group is open */
    bool started;
    bool stopping;
    bool closing;
    uint64_t pushes;
    uint64_t records;
    uint64_t repeated;
    uint64_t refused;
};

static void work_soon(struct http_push *state, uint64_t delay_ms);

/* ---- answers ---- */

static void answer(struct http_push *state, struct connector_push *push, unsigned status,
                   uint64_t count, const char *message)
{
    if (status != 202)
        state->refused++;
    push->status = status;
    push->count = count;
    snprintf(push->message, sizeof(push->message), "%s", message);
    push->done(push);
}

static void job_end(struct http_push *state, struct http_push_job *take_job, unsigned status,
                    uint64_t count, const char *message)
{
    struct connector_push *push = take_job->push;
    http_push_job_free(take_job);
    state->job_count--;
    answer(state, push, status, count, message);
}

static void job_stored(struct http_push *state, struct http_push_job *take_job)
{
    char message[128];
    if (take_job->repeated)
        snprintf(message, sizeof(message),
                 "This Idempotency-Key was taken before, with %llu records: nothing was stored",
                 (unsigned long long)take_job->emitted);
    else
        snprintf(message, sizeof(message), "Stored %llu records",
                 (unsigned long long)take_job->emitted);
    job_end(state, take_job, 202, take_job->emitted, message);
}

/* ---- from waiting to emitted ---- */

static struct http_push_job *waiting_pop(struct http_push *state)
{
    struct http_push_job *job = state->waiting;
    state->waiting = job->next;
    if (!state->waiting)
        state->waiting_last = &state->waiting;
    job->next = NULL;
    return job;
}

static void job_refuse(struct http_push *state, unsigned status, const char *message)
{
    job_end(state, waiting_pop(state), status, 0, message);
}

/* All that is to be durable for it has been emitted. */
static void job_emitted(struct http_push *state)
{
    struct http_push_job *job = waiting_pop(state);
    if (job->sequence <= state->durable_sequence) {
        job_stored(state, job);
        return;
    }
    job->next = state->emitted;
    state->emitted = job;
}

static bool job_is_repeated(struct http_push *state, struct http_push_job *job)
{
    const struct http_push_key *known =
        job->keyed ? http_push_keys_find(&state->keys, job->digest, job->push->arrival_us) : NULL;
    if (!known)
        return false;
    job->repeated = true;
    job->emitted = known->count;
    job->sequence = known->sequence;
    state->repeated++;
    ingest_count_repeated(state->route, job->push->body.size);
    job_emitted(state);
    return true;
}

/* A slice's worth of work that is left. */
struct slice {
    size_t bytes;
    size_t records;
};

static bool slice_take(struct slice *slice, size_t bytes)
{
    slice->bytes -= bytes < slice->bytes ? bytes : slice->bytes;
    slice->records--;
    return slice->bytes > 0 && slice->records > 0;
}

/* All records are small change to the journal: a group of them must fit into what it takes. */
static bool job_is_too_long(struct http_push *state, const struct http_push_job *job)
{
    char message[96];
    if (job->check.count <= HTTP_PUSH_RECORDS_MAX)
        return false;
    snprintf(message, sizeof(message), "The body has too many records: send at most %d at a time",
             HTTP_PUSH_RECORDS_MAX);
    job_refuse(state, 413, message);
    return true;
}

/* False: it is answered. */
static bool job_convert(struct http_push *state, struct http_push_job *job)
{
    const char *why;
    enum err err = http_push_job_convert(job, &why);
    if (err == ERR_NO_MEMORY)
        job_refuse(state, 503, "The service is out of memory: try again later");
    else if (err != ERR_OK)
        job_refuse(state, 422, why);
    return err == ERR_OK;
}

/* No JSON, or (ERR_INVALID) JSON of another kind. */
static void job_is_bad(struct http_push *state, struct http_push_job *job, enum err err,
                       const char *why)
{
    job->push->error_type = err == ERR_INVALID ? "dict_type" : "json_invalid";
    job->push->error_offset = http_push_body_characters(&job->check);
    job_refuse(state, 422, why);
}

/* True when the slice is used up and the job not yet checked; a job that is no good is answered. */
static bool job_check(struct http_push *state, struct http_push_job *job, struct slice *slice)
{
    struct http_push_record record;
    struct diag diag = {0};
    if (!job_convert(state, job))
        return false;
    size_t before = http_push_body_done(&job->check);
    enum err err;
    while ((err = http_push_body_next(&job->check, &record, &diag)) == ERR_OK) {
        size_t now = http_push_body_done(&job->check);
        if (job_is_too_long(state, job))
            return false;
        if (!slice_take(slice, now - before))
            return true;
        before = now;
    }
    job->checked = true;
    if (err != ERR_NOT_FOUND)
        job_is_bad(state, job, err, diag.text);
    else if (job->check.count == 0)
        job_emitted(state); /* nothing to store */
    return false;
}

static enum err payload_of(struct http_push *state, const struct http_push_job *job,
                           struct bytes *ret_payload)
{
    *ret_payload = job->record.json;
    if (!job->record.wrap)
        return ERR_OK;
    buf_clear(&state->wrapped);
    buf_text(&state->wrapped, "{\"value\":");
    buf_append(&state->wrapped, job->record.json.data, job->record.json.size);
    buf_byte(&state->wrapped, '}');
    *ret_payload = buf_bytes(&state->wrapped);
    return state->wrapped.err;
}

/* The key goes in right before the last record: so both are in one block, whatever follows. */
static enum err key_put(struct http_push *state, struct http_push_job *job)
{
    if (!job->keyed || job->key_put || job->emitted + 1 < job->check.count)
        return ERR_OK;
    struct http_push_key key = {.count = job->check.count, .time_us = job->push->arrival_us};
    memcpy(key.digest, job->digest, SHA256_BYTES);
    enum err err = http_push_keys_put(&state->keys, &key);
    job->key_put = err == ERR_OK;
    return err;
}

/* Larger than the source takes: a dead letter. */
static enum err message_emit(struct http_push *state, struct http_push_job *job,
                             struct bytes payload)
{
    const struct ingest_message message = {.payload = payload,
                                           .extras = buf_bytes(&job->extras),
                                           .arrival_us = job->push->arrival_us,
                                           .wants_acknowledgement = true};
    bool senml = state->senml_route && http_push_job_is_senml(job);
    struct ingest_route *route = senml ? state->senml_route : state->route;
    if (payload.size <= state->config.common.message_max_bytes)
        return ingest_emit(route, &message, &job->sequence);
    return ingest_reject(route, &message, "oversize",
                         "the record is larger than the source takes (max_message_bytes)",
                         &job->sequence);
}

static enum err record_emit(struct http_push *state, struct http_push_job *job)
{
    struct bytes payload;
    enum err err = payload_of(state, job, &payload);
    if (err == ERR_OK)
        err = key_put(state, job);
    if (err == ERR_OK)
        err = message_emit(state, job, payload);
    if (err != ERR_OK)
        return err;
    job->emitted++;
    job->have_record = false;
    return ERR_OK;
}

static void job_all_emitted(struct http_push *state, struct http_push_job *job)
{
    state->pushes++;
    state->records += job->emitted;
    buf_fini(&job->json);
    if (job->keyed)
        http_push_keys_sequence(&state->keys, job->digest, job->sequence);
    job_emitted(state);
    state->grouping = false;
    ingest_group_end(state->source);
}

/* All of it in one go: what others on the loop emit waits for the end of the group. False: not now;
 * when it has begun, it goes on in a moment. */
static bool job_emit(struct http_push *state, struct http_push_job *job)
{
    if (state->paused && !state->grouping)
        return false;
    if (!state->grouping)
        ingest_group_begin(state->source);
    state->grouping = true;
    while (job->emitted < job->check.count) {
        if (!job->have_record && http_push_body_next(&job->body, &job->record, NULL) != ERR_OK)
            break; /* it has been checked: cannot be */
        job->have_record = true;
        if (record_emit(state, job) != ERR_OK)
            return false;
    }
    job_all_emitted(state, job);
    return true;
}

/* Those that have not begun are refused when the pipeline takes nothing for long. */
static void waiting_expire(struct http_push *state)
{
    if (!state->paused || uv_now(state->host.loop) - state->paused_since_ms < PAUSE_PATIENCE_MS)
        return;
    struct http_push_job *begun = state->grouping ? waiting_pop(state) : NULL;
    while (state->waiting)
        job_refuse(state, 503, HTTP_PUSH_PAUSED);
    if (!begun)
        return;
    state->waiting = begun;
    state->waiting_last = &begun->next;
}

static void stopped_tell(struct http_push *state)
{
    if (!state->stopping || state->closing || state->job_count > 0)
        return;
    state->stopping = false;
    state->host.on_stopped(state->host.ctx);
}

static void work(struct http_push *state)
{
    struct slice slice = {SLICE_BYTES, SLICE_RECORDS};
    waiting_expire(state);
    while (state->waiting) {
        struct http_push_job *job = state->waiting;
        if (!job->checked) {
            if (job->check.count == 0 && job_is_repeated(state, job))
                continue;
            if (job_check(state, job, &slice)) {
                work_soon(state, 0);
                return;
            }
            if (state->waiting != job)
                continue;
        }
        if (!job_emit(state, job)) {
            work_soon(state, state->grouping ? RETRY_MS : PAUSE_PATIENCE_MS);
            break;
        }
    }
    stopped_tell(state);
}

static void on_timer(uv_timer_t *timer)
{
    work(timer->data);
}

static void work_soon(struct http_push *state, uint64_t delay_ms)
{
    uv_timer_start(&state->timer, on_timer, delay_ms, 0);
}

/* ---- the pipeline ---- */

static void on_durable(void *ctx, uint64_t sequence, uint64_t block_number)
{
    struct http_push *state = ctx;
    struct http_push_job *durable = NULL;
    (void)block_number;
    state->durable_sequence = sequence;
    for (struct http_push_job **at = &state->emitted; *at;) {
        struct http_push_job *job = *at;
        if (job->sequence > sequence) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        job->next = durable;
        durable = job;
    }
    while (durable) {
        struct http_push_job *job = durable;
        durable = job->next;
        job_stored(state, job);
    }
    stopped_tell(state);
}

static void on_pause(void *ctx)
{
    struct http_push *state = ctx;
    state->paused = true;
    state->paused_since_ms = uv_now(state->host.loop);
    if (state->waiting)
        work_soon(state, PAUSE_PATIENCE_MS);
}

static void on_resume(void *ctx)
{
    struct http_push *state = ctx;
    state->paused = false;
    work_soon(state, 0);
}

static const struct ingest_source_ops source_ops = {on_durable, on_pause, on_resume};

/* ---- taking a push ---- */

static void http_push_push(void *ctx, struct connector_push *push)
{
    struct http_push *state = ctx;
    struct http_push_verdict verdict;
    enum http_push_shape shape;
    enum content_format format;
    http_push_check(&state->config, push, &shape, &format, &verdict);
    if (verdict.status == 0 && (!state->started || state->closing))
        verdict = (struct http_push_verdict){
            .status = 503, .message = "The data source is stopping: try again later"};
    else if (verdict.status == 0 && state->paused &&
             uv_now(state->host.loop) - state->paused_since_ms >= PAUSE_PATIENCE_MS)
        verdict = (struct http_push_verdict){.status = 503, .message = HTTP_PUSH_PAUSED};
    else if (verdict.status == 0 && state->job_count >= JOBS_MAX)
        verdict = (struct http_push_verdict){
            .status = 429,
            .message = "Too many pushes to this data source wait: try again in a moment"};
    struct http_push_job *job = verdict.status == 0 ? http_push_job_new(push, shape, format) : NULL;
    if (verdict.status == 0 && !job)
        verdict = (struct http_push_verdict){
            .status = 503, .message = "The service is out of memory: try again later"};
    if (!job) {
        push->error_type = verdict.error_type;
        answer(state, push, verdict.status, 0, verdict.message);
        return;
    }
    state->job_count++;
    *state->waiting_last = job;
    state->waiting_last = &job->next;
    if (state->waiting == job)
        work(state);
}

/* ---- life ---- */

/* What is converted is stored as JSON. */
static enum err route_make(struct http_push *state, bool senml, struct ingest_route **ret_route)
{
    struct buf id;
    buf_init(&id, DATASET_BYTES_MAX);
    enum err err = common_options_dataset_id(&state->config.common, state->host.source_id,
                                             (struct bytes){0}, &id);
    struct route_view view = {
        .dataset_id = buf_bytes(&id),
        .field_count = 2,
        .fields = {
            {.name = BYTES_LITERAL("remote"), .type = FIELD_STRING, .per_message = true},
            {.name = BYTES_LITERAL("content_type"), .type = FIELD_STRING, .per_message = true}}};
    common_options_route(&state->config.common, &view);
    if (senml)
        common_options_format(&view, CONTENT_SENML_JSON);
    if (content_format_converts(view.format))
        view.format = CONTENT_JSON;
    if (err == ERR_OK)
        err = ingest_route_new(state->source, &view, ret_route);
    buf_fini(&id);
    return err;
}

static enum err http_push_connect(void *ctx, const struct connector_host *host, struct diag *diag)
{
    struct http_push *state = ctx;
    *state = (struct http_push){.host = *host};
    state->waiting_last = &state->waiting;
    buf_init(&state->wrapped, WRAPPED_BYTES_MAX);
    uv_timer_init(host->loop, &state->timer);
    state->timer.data = state;
    enum err err = http_push_config_init(&state->config, host->config, diag);
    if (err == ERR_OK)
        err = ingest_source_open(host->ingest, bytes_from_text(host->source_id),
                                 BYTES_LITERAL("http_push"), &source_ops, state, &state->source);
    if (err == ERR_OK && state->config.common.format == CONTENT_AUTO)
        err = route_make(state, true, &state->senml_route);
    if (err == ERR_OK)
        err = route_make(state, false, &state->route);
    if (err == ERR_OK)
        err = http_push_keys_init(&state->keys, state->source);
    if (err != ERR_OK)
        return diag_set(diag, err, "HTTP push does not start: %s", err_text(err));
    host->on_connected(host->ctx);
    return ERR_OK;
}

static enum err http_push_start(void *ctx, struct diag *diag)
{
    struct http_push *state = ctx;
    (void)diag;
    state->started = true;
    return ERR_OK;
}

static void http_push_stop(void *ctx)
{
    struct http_push *state = ctx;
    state->started = false;
    state->stopping = true;
    stopped_tell(state);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct http_push *state = handle->data;
    struct connector_host host = state->host;
    host.on_closed(host.ctx); /* the state may be gone after this */
}

static void http_push_disconnect(void *ctx)
{
    struct http_push *state = ctx;
    if (state->closing)
        return;
    state->closing = true;
    while (state->waiting)
        job_refuse(state, 503, "The data source has stopped: post again later");
    for (struct http_push_job *job; (job = state->emitted);) {
        state->emitted = job->next;
        job_end(state, job, 503, 0,
                "The data source has stopped before it was known whether the records are stored: "
                "post again later, with the same Idempotency-Key");
    }
    if (state->grouping) /* out of memory to the last: what of it is there becomes durable */
        ingest_group_end(state->source);
    ingest_route_free(state->route);
    ingest_route_free(state->senml_route);
    ingest_source_close(state->source);
    http_push_keys_fini(&state->keys);
    buf_fini(&state->wrapped);
    http_push_config_fini(&state->config);
    uv_close((uv_handle_t *)&state->timer, on_timer_closed);
}

static void health_set(json_t *object, const char *name, json_t *value)
{
    json_object_set_new(object, name, value ? value : json_null());
}

static void http_push_health(void *ctx, json_t *object)
{
    const struct http_push *state = ctx;
    health_set(object, "path", json_sprintf("/api/ingest/%s", state->host.source_id));
    health_set(object, "pushes", json_integer((json_int_t)state->pushes));
    health_set(object, "records", json_integer((json_int_t)state->records));
    health_set(object, "repeated", json_integer((json_int_t)state->repeated));
    health_set(object, "refused", json_integer((json_int_t)state->refused));
    health_set(object, "waiting", json_integer((json_int_t)state->job_count));
    health_set(object, "paused", json_boolean(state->paused));
}

static enum err http_push_config_check(const json_t *json, struct diag *diag)
{
    struct http_push_config config = {0};
    enum err err = http_push_config_init(&config, json, diag);
    http_push_config_fini(&config);
    return err;
}

static const char *const formats[] = {"JSON", "NDJSON",      "CBOR",       "SenML",
                                      "CSV",  "MessagePack", "Plain Text", NULL};

const struct connector http_push_connector = {
    .abi = INGESTOR_CONNECTOR_ABI,
    .name = "http_push",
    .class_name = "HttpPushConnector",
    .class_path = "src.connectors.http_push_connector.HttpPushConnector",
    .display = {.name = "HTTP Push",
                .description = "Take what devices and webhooks post to /api/ingest/{ingestion_id}",
                .icon = "📥",
                .category = "Web Services",
                .formats = formats,
                .real_time = true},
    .config_schema = http_push_config_schema,
    .state_size = sizeof(struct http_push),
    .ops = {.connect = http_push_connect,
            .start = http_push_start,
            .stop = http_push_stop,
            .disconnect = http_push_disconnect,
            .health = http_push_health,
            .check = http_push_config_check,
            .push = http_push_push},
};
