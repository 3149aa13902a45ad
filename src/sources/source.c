/*
 * The host of a connector. All transitions happen on the I/O loop's thread:
 *
 *   begin ──► connect ──on_connected──► start ──► ACTIVE
 *               │on_failed                          │on_failed / source_stop
 *               ▼                                   ▼
 *             disconnect ◄──on_stopped / timeout── stop
 *               │on_closed
 *               ▼
 *             STOPPED (was asked to), else ERROR: the retry timer begins again
 *
 * A connector may call back from inside connect, start or stop. So callbacks only note what
 * happened
 * (`event` bits) and the step after the call, or a timer of 0 ms, acts on it: never does a
 * connector find itself disconnected while one of its functions is still running.
 */
#include "sources/source_parts.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "os/clock.h"
#include "sources/config_mend.h"
#include "sources/secrets.h"

#include <stdio.h>
#include <string.h>

#define SOURCE_HEALTHY_NS      (60 * NS_PER_S)
#define SOURCE_STOP_TIMEOUT_MS 5000

const char *source_state_text(enum source_state state)
{
    static const char *const texts[] = {"inactive", "connecting", "active", "error", "stopped"};
    return texts[state];
}

static void status_changed(struct source *source)
{
    atomic_fetch_add_explicit(&source->status_changes, 1, memory_order_release);
}

static void state_set(struct source *source, enum source_state state)
{
    mutex_lock(&source->lock);
    source->status.state = state;
    status_changed(source);
    mutex_unlock(&source->lock);
}

static void running_set(struct source *source, bool is_running)
{
    mutex_lock(&source->lock);
    source->status.is_running = is_running;
    status_changed(source);
    mutex_unlock(&source->lock);
}

static void error_set(struct source *source, const char *reason)
{
    mutex_lock(&source->lock);
    snprintf(source->status.last_error, sizeof(source->status.last_error), "%s", reason);
    status_changed(source);
    mutex_unlock(&source->lock);
}

static void health_refresh(struct source *source)
{
    json_t *health = json_object();
    if (!health)
        return;
    if (source->state && source->connector->ops.health)
        source->connector->ops.health(source->state, health);
    mutex_lock(&source->lock);
    json_t *old = source->health;
    source->health = health;
    source->health_ns = clock_monotonic_ns(&clock_system);
    mutex_unlock(&source->lock);
    json_decref(old);
}

static void act(struct source *source);

static void on_soon(uv_timer_t *timer)
{
    act(timer->data);
}

static void act_soon(struct source *source)
{
    uv_timer_start(&source->soon, on_soon, 0, 0);
}

/* --- what the connector calls --- */

static void host_connected(void *ctx)
{
    struct source *source = ctx;
    source->events |= EVENT_CONNECTED;
    act_soon(source);
}

static void host_failed(void *ctx, enum err err, const char *reason)
{
    struct source *source = ctx;
    if (source->events & EVENT_FAILED)
        return;
    error_set(source, reason && reason[0] ? reason : err_text(err));
    source->events |= EVENT_FAILED;
    act_soon(source);
}

static void host_warning(void *ctx, const char *text)
{
    struct source *source = ctx;
    mutex_lock(&source->lock);
    bool changed = strcmp(source->status.warning, text ? text : "") != 0;
    if (changed) {
        snprintf(source->status.warning, sizeof(source->status.warning), "%s", text ? text : "");
        status_changed(source);
    }
    mutex_unlock(&source->lock);
    if (text && changed)
        log_warning("source", "%s: %s", source->name, text);
}

static enum source_state reached_state(const struct source *source)
{
    static const enum source_state states[] = {[CONNECTOR_REACHED] = SOURCE_ACTIVE,
                                               [CONNECTOR_REACHING] = SOURCE_CONNECTING,
                                               [CONNECTOR_AWAY] = SOURCE_ERROR};
    return states[source->reach];
}

/* With the lock. */
static void reached(struct source *source)
{
    source->status.last_error[0] = '\0';
    source->status.last_connection_us = clock_realtime_us(&clock_system);
}

static void host_reach(void *ctx, enum connector_reach reach, const char *reason)
{
    struct source *source = ctx;
    if (source->step != STEP_CONNECTING && source->step != STEP_RUNNING)
        return;
    enum connector_reach before = source->reach;
    source->reach = reach;
    mutex_lock(&source->lock);
    bool is_news = reach != before ||
                   (reach == CONNECTOR_AWAY && strcmp(source->status.last_error, reason) != 0);
    if (reach == CONNECTOR_AWAY)
        snprintf(source->status.last_error, sizeof(source->status.last_error), "%s", reason);
    else if (reach == CONNECTOR_REACHED && is_news)
        reached(source);
    source->status.restarts += reach == CONNECTOR_AWAY && before == CONNECTOR_REACHED;
    if (source->step == STEP_RUNNING)
        source->status.state = reached_state(source);
    if (is_news)
        status_changed(source);
    mutex_unlock(&source->lock);
    if (is_news && reach == CONNECTOR_AWAY)
        log_warning("source", "%s: %s", source->name, reason);
    else if (is_news && reach == CONNECTOR_REACHED)
        log_info("source", "%s: connected", source->name);
}

static void host_stopped(void *ctx)
{
    struct source *source = ctx;
    source->events |= EVENT_STOPPED;
    act_soon(source);
}

static void host_closed(void *ctx)
{
    struct source *source = ctx;
    source->events |= EVENT_CLOSED;
    act_soon(source);
}

/* --- steps --- */

static void begin(struct source *source);

static bool must_forget(const struct source *source)
{
    return source->forgetting && !source->forgotten && source->connector->ops.forget;
}

static void forget_failed(const struct source *source, const char *reason)
{
    log_warning("source", "%s: is deleted, but what the other side keeps for it stays: %s",
                source->name, reason);
}

static void on_retry(uv_timer_t *timer)
{
    struct source *source = timer->data;
    if (source->step == STEP_IDLE && source->wanted) {
        begin(source);
    } else if (source->step == STEP_STOPPING) { /* it took too long */
        if (source->forgotten)
            forget_failed(source, "no end of it within the time");
        host_stopped(source);
    }
}

static void retry_later(struct source *source)
{
    uint32_t wait_ms = backoff_next_ms(&source->backoff);
    char reason[512];
    mutex_lock(&source->lock);
    snprintf(reason, sizeof(reason), "%s", source->status.last_error);
    source->status.restarts++;
    status_changed(source);
    mutex_unlock(&source->lock);
    log_warning("source", "%s: %s (next try in %u.%u s)", source->name, reason, wait_ms / 1000,
                wait_ms % 1000 / 100);
    state_set(source, SOURCE_ERROR);
    uv_timer_start(&source->retry, on_retry, wait_ms, 0);
}

static void connection_free(struct source *source)
{
    source_pushes_refuse(source);
    health_refresh(source);
    mem_free(source->state);
    source->state = NULL;
    json_decref(source->resolved);
    source->resolved = NULL;
    source->step = STEP_IDLE;
    source->events = 0;
}

/* Unless a letter is on its way, which then says it, or begins again. */
static void finished_set(struct source *source)
{
    mutex_lock(&source->lock);
    source->finished = !source->wish && !source->posted;
    condition_broadcast(&source->stopped_condition);
    mutex_unlock(&source->lock);
}

static void timers_open(struct source *source);
static void forget_begin(struct source *source);

static void on_timer_closed(uv_handle_t *handle)
{
    struct source *source = handle->data;
    if (--source->timers_closing > 0)
        return;
    source->timers_open = false;
    if (!source->wanted && !must_forget(source)) {
        finished_set(source);
        return;
    }
    timers_open(source);
    if (source->wanted)
        begin(source);
    else
        forget_begin(source);
}

static void finish(struct source *source)
{
    state_set(source, SOURCE_STOPPED);
    source->timers_closing = 2;
    uv_close((uv_handle_t *)&source->soon, on_timer_closed);
    uv_close((uv_handle_t *)&source->retry, on_timer_closed);
}

static void close_connection(struct source *source)
{
    source->step = STEP_CLOSING;
    running_set(source, false);
    uv_timer_stop(&source->retry);
    source->connector->ops.disconnect(source->state);
}

static void stop_connection(struct source *source)
{
    source->step = STEP_STOPPING;
    running_set(source, false);
    uv_timer_start(&source->retry, on_retry, SOURCE_STOP_TIMEOUT_MS, 0);
    if (must_forget(source)) {
        source->forgotten = true;
        source->connector->ops.forget(source->state);
    } else {
        source->connector->ops.stop(source->state);
    }
}

static void begin_failed(struct source *source, enum err err, const struct diag *diag)
{
    const char *reason = diag->text[0] ? diag->text : err_text(err);
    error_set(source, reason);
    connection_free(source);
    if (source->wanted) {
        retry_later(source);
    } else {
        forget_failed(source, reason);
        finish(source);
    }
}

static void begin(struct source *source)
{
    struct diag diag = {0};
    source->events = 0;
    enum err err = secrets_resolve(source->connector, source->config, &source->resolved, &diag);
    if (err == ERR_OK) {
        config_mend(source->connector, source->resolved);
        source->state = mem_zalloc(1, source->connector->state_size);
        err = source->state ? ERR_OK : ERR_NO_MEMORY;
    }
    if (err != ERR_OK) {
        begin_failed(source, err, &diag);
        return;
    }
    source->host = (struct connector_host){
        .loop = &source->loop->uv,
        .ingest = source->ingest,
        .config = source->resolved,
        .source_id = source->ingestion_id,
        .source_name = source->name,
        .replica_id = source->replica_id,
        .ctx = source,
        .on_connected = host_connected,
        .on_failed = host_failed,
        .on_warning = host_warning,
        .on_reach = host_reach,
        .on_stopped = host_stopped,
        .on_closed = host_closed,
    };
    source->step = STEP_CONNECTING;
    source->reach = CONNECTOR_REACHED;
    state_set(source, SOURCE_CONNECTING);
    err = source->connector->ops.connect(source->state, &source->host, &diag);
    if (err == ERR_INVALID)
        secrets_hide(source->config, source->resolved, &diag);
    if (err != ERR_OK)
        host_failed(source, err, diag.text);
}

/* Nothing is connected: once more, only to be forgotten. */
static void forget_begin(struct source *source)
{
    begin(source);
    if (source->step != STEP_CONNECTING)
        return;
    if (source->events & EVENT_FAILED)
        source->forgotten = true; /* it was tried */
    else
        stop_connection(source);
}

static void connected(struct source *source)
{
    struct diag diag = {0};
    source->events &= ~EVENT_CONNECTED;
    source->step = STEP_RUNNING;
    enum err err = source->connector->ops.start(source->state, &diag);
    if (err != ERR_OK) {
        host_failed(source, err, diag.text);
        return;
    }
    source->active_since_ns = clock_monotonic_ns(&clock_system);
    mutex_lock(&source->lock);
    source->status.state = reached_state(source);
    source->status.is_running = true;
    if (source->reach == CONNECTOR_REACHED)
        reached(source);
    status_changed(source);
    mutex_unlock(&source->lock);
    health_refresh(source);
    source_pushes_deliver(source);
    if (source->reach == CONNECTOR_REACHED)
        log_info("source", "%s: connected", source->name);
}

static void closed(struct source *source)
{
    bool was_healthy =
        source->active_since_ns != 0 &&
        clock_monotonic_ns(&clock_system) - source->active_since_ns > SOURCE_HEALTHY_NS;
    source->active_since_ns = 0;
    connection_free(source);
    if (must_forget(source)) {
        forget_begin(source);
        return;
    }
    if (!source->wanted) {
        finish(source);
        return;
    }
    if (source->restart) {
        source->restart = false;
        begin(source);
        return;
    }
    if (was_healthy)
        backoff_reset(&source->backoff);
    retry_later(source);
}

/* One step on, whatever has happened since the last. */
static void act(struct source *source)
{
    int events = source->events;
    switch (source->step) {
    case STEP_CONNECTING:
        if (events & EVENT_FAILED && source->forgotten)
            forget_failed(source, source->status.last_error);
        if (!(events & EVENT_FAILED) && must_forget(source))
            stop_connection(source);
        else if (events & EVENT_FAILED || !source->wanted)
            close_connection(source);
        else if (events & EVENT_CONNECTED)
            connected(source);
        break;
    case STEP_RUNNING:
        if (events & EVENT_FAILED)
            close_connection(source);
        else if (!source->wanted)
            stop_connection(source);
        break;
    case STEP_STOPPING:
        if (events & (EVENT_STOPPED | EVENT_FAILED))
            close_connection(source);
        break;
    case STEP_CLOSING:
        if (events & EVENT_CLOSED)
            closed(source);
        break;
    case STEP_IDLE:
        if (source->wanted || !source->timers_open || source->timers_closing > 0)
            break;
        if (must_forget(source))
            forget_begin(source);
        else
            finish(source);
        break;
    }
}

static void timers_open(struct source *source)
{
    uv_timer_init(&source->loop->uv, &source->soon);
    uv_timer_init(&source->loop->uv, &source->retry);
    source->soon.data = source->retry.data = source;
    source->timers_open = true;
}

static void start_wanted(struct source *source)
{
    source->wanted = true;
    source->restart = source->step != STEP_IDLE;
    if (source->restart || source->timers_closing > 0)
        return; /* closed, or the last timer's end, goes on */
    if (!source->timers_open)
        timers_open(source);
    begin(source);
}

static void stop_wanted(struct source *source)
{
    source->wanted = source->restart = false;
    if (!source->timers_open && must_forget(source))
        timers_open(source);
    if (source->timers_open)
        act(source);
    else
        finished_set(source);
}

void source_on_letter(struct letter *letter)
{
    struct source *source = (struct source *)((char *)letter - offsetof(struct source, letter));
    mutex_lock(&source->lock);
    source->posted = false;
    bool wish = source->wish;
    source->forgetting = source->forget;
    bool health_wish = source->health_wish;
    source->health_wish = false;
    mutex_unlock(&source->lock);
    if (health_wish)
        health_refresh(source);
    if (wish && !source->wanted)
        start_wanted(source);
    else if (!wish)
        stop_wanted(source);
}
