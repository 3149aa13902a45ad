/* The other threads' side of a source: they leave wishes, and read what the loop left for them. */
#include "sources/source_parts.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/limits.h"
#include "os/clock.h"

#include <stdio.h>

#define SOURCE_BACKOFF_MIN_MS 1000
#define SOURCE_BACKOFF_MAX_MS 60000
#define SOURCE_HEALTH_NS      NS_PER_S /* a copy younger than that is good enough */

enum err source_new(const struct source_options *options, struct source **ret_source)
{
    struct source *source = mem_zalloc(1, sizeof(*source));
    if (!source)
        return ERR_NO_MEMORY;
    mutex_init(&source->lock);
    condition_init(&source->stopped_condition);
    source->connector = options->connector;
    source->loop = options->loop;
    source->ingest = options->ingest;
    source->finished = true;
    source->letter.run = source_on_letter;
    source->name = mem_strdup(options->name);
    source->ingestion_id = mem_strdup(options->ingestion_id);
    source->replica_id = mem_strdup(options->replica_id);
    source->config = json_deep_copy(options->config);
    source->health = json_object();
    backoff_init(&source->backoff, SOURCE_BACKOFF_MIN_MS, SOURCE_BACKOFF_MAX_MS,
                 hash_bytes(bytes_from_text(options->ingestion_id)));
    if (!source->name || !source->ingestion_id || !source->replica_id || !source->config ||
        !source->health) {
        source_free(source);
        return ERR_NO_MEMORY;
    }
    *ret_source = source;
    return ERR_OK;
}

void source_free(struct source *source)
{
    if (!source)
        return;
    json_decref(source->config);
    json_decref(source->health);
    mem_free(source->name);
    mem_free(source->ingestion_id);
    mem_free(source->replica_id);
    condition_fini(&source->stopped_condition);
    mutex_fini(&source->lock);
    mem_free(source);
}

/* However often, from however many threads: one letter is on its way, and the last wish counts. */
static void wish_set(struct source *source, bool wish)
{
    mutex_lock(&source->lock);
    source->wish = wish;
    if (wish)
        source->finished = false;
    bool post = !source->posted && !source->finished;
    source->posted = source->posted || post;
    mutex_unlock(&source->lock);
    if (post)
        loop_post(source->loop, &source->letter);
}

void source_start(struct source *source)
{
    wish_set(source, true);
}

void source_stop(struct source *source)
{
    wish_set(source, false);
}

void source_forget(struct source *source)
{
    mutex_lock(&source->lock);
    source->forget = true;
    if (source->connector->ops.forget)
        source->finished = false;
    mutex_unlock(&source->lock);
    source_stop(source);
}

bool source_finished(struct source *source)
{
    mutex_lock(&source->lock);
    bool finished = source->finished;
    mutex_unlock(&source->lock);
    return finished;
}

bool source_wait_stopped(struct source *source, int64_t deadline_ns)
{
    mutex_lock(&source->lock);
    int64_t left_ns;
    while (!source->finished && (left_ns = deadline_ns - clock_monotonic_ns(&clock_system)) > 0)
        condition_wait_for(&source->stopped_condition, &source->lock, left_ns);
    bool finished = source->finished;
    mutex_unlock(&source->lock);
    return finished;
}

void source_start_late(struct source *source, const char *reason)
{
    mutex_lock(&source->lock);
    struct source_status *status = &source->status;
    if (status->state == SOURCE_INACTIVE || status->state == SOURCE_CONNECTING) {
        status->state = SOURCE_ERROR;
        if (!status->last_error[0])
            snprintf(status->last_error, sizeof(status->last_error), "%s", reason);
        atomic_fetch_add_explicit(&source->status_changes, 1, memory_order_release);
    }
    mutex_unlock(&source->lock);
}

void source_status_get(struct source *source, struct source_status *ret_status)
{
    mutex_lock(&source->lock);
    *ret_status = source->status;
    mutex_unlock(&source->lock);
}

uint64_t source_status_changes(const struct source *source)
{
    return atomic_load_explicit(&source->status_changes, memory_order_acquire);
}

const char *source_name(const struct source *source)
{
    return source->name;
}

const char *source_ingestion_id(const struct source *source)
{
    return source->ingestion_id;
}

const struct connector *source_connector(const struct source *source)
{
    return source->connector;
}

bool source_health_ask(struct source *source)
{
    mutex_lock(&source->lock);
    bool fresh = source->finished ||
                 (source->health_ns != 0 &&
                  clock_monotonic_ns(&clock_system) - source->health_ns < SOURCE_HEALTH_NS);
    source->health_wish = source->health_wish || !fresh;
    bool post = !fresh && !source->posted;
    source->posted = source->posted || post;
    mutex_unlock(&source->lock);
    if (post)
        loop_post(source->loop, &source->letter);
    return fresh;
}

json_t *source_health(struct source *source)
{
    mutex_lock(&source->lock);
    json_t *copy = json_deep_copy(source->health);
    mutex_unlock(&source->lock);
    return copy;
}
