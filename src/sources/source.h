#pragma once
/*
 * One data source as it runs: a connector's instance, its state, its restarts and its health. The
 * connector lives on an I/O loop; this side is for any thread and never waits for a connector,
 * except where it says so.
 *
 *   inactive -> connecting -> active -> error (waits for its next try) | stopped
 *
 * A source that fails is stopped, disconnected and connected again, with exponential back-off and
 * jitter (1 s to 60 s, reset after 60 s of health), for ever.
 */
#include "connectors/connector.h"
#include "os/loop.h"

#include <jansson.h>

enum source_state {
    SOURCE_INACTIVE,
    SOURCE_CONNECTING,
    SOURCE_ACTIVE,
    SOURCE_ERROR,
    SOURCE_STOPPED,
};

/* "inactive", "connecting", … */
const char *source_state_text(enum source_state state);

struct source_options {
    const struct connector *connector;
    const char *name;
    const char *ingestion_id;
    const json_t *config; /* copied; with its references to secrets */
    const char *replica_id;
    struct loop *loop;
    struct ingest_loop *ingest;
};

struct source;

enum err source_new(const struct source_options *options, struct source **ret_source) ERR_MUST_USE;
/* Stopped, or never started. */
void source_free(struct source *source);

/* Both from any thread, as often as you like: the last wish counts. */
void source_start(struct source *source);
/* Begins to stop; source_wait_stopped returns when it is over (false: the deadline came first). */
void source_stop(struct source *source);
/* The same, but the other side is told to forget the source as well (an MQTT session), for which
 * one that is not connected, or was never started, connects once more: some seconds at most;
 * failing is told in the log. */
void source_forget(struct source *source);
/* Whether nothing of it is left on the loop: source_free may come. */
bool source_finished(struct source *source);
bool source_wait_stopped(struct source *source, int64_t deadline_ns);

struct source_status {
    enum source_state state;
    bool is_running;            /* its connector is started; if not active, it tries by itself */
    int64_t last_connection_us; /* 0: never */
    uint64_t restarts;
    char last_error[512]; /* empty: none */
    char warning[512];
};
void source_status_get(struct source *source, struct source_status *ret_status);
const char *source_name(const struct source *source);
const char *source_ingestion_id(const struct source *source);
const struct connector *source_connector(const struct source *source);
/* Grows with each change of what source_status_get tells: who has seen this number has seen all. */
uint64_t source_status_changes(const struct source *source);
/* The connector's health members, as last copied from its loop. A new reference; NULL without
 * memory. Nobody copies them unless asked: 10,000 sources would spend their time on it. */
json_t *source_health(struct source *source);
/* Whether that copy is at most a second old (or the last there will be). If not, a new one is on
 * its way: ask again in a moment. */
bool source_health_ask(struct source *source);
/* It was to be connected by now: its status says so until it is, or another reason is known. */
void source_start_late(struct source *source, const char *reason);
/* Hands a push over to the connector (which must have the operation), as soon as it is connected if
 * it is just being connected. push->done comes, whatever happens. Not after source_stop was called.
 */
void source_push(struct source *source, struct connector_push *push);
