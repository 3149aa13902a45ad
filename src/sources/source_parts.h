#pragma once
/* The inside of a source, shared by source.c (all that happens on its loop) and source_outside.c
 * (the other threads' side). */
#include "net/backoff.h"
#include "os/thread.h"
#include "sources/source.h"

#include <stdatomic.h>

enum source_event {
    EVENT_CONNECTED = 1,
    EVENT_FAILED = 2,
    EVENT_STOPPED = 4,
    EVENT_CLOSED = 8,
};

enum source_step { STEP_IDLE, STEP_CONNECTING, STEP_RUNNING, STEP_STOPPING, STEP_CLOSING };

struct source {
    const struct connector *connector;
    char *name;
    char *ingestion_id;
    char *replica_id;
    json_t *config;   /* as stored */
    json_t *resolved; /* with secrets, while connected */
    struct loop *loop;
    struct ingest_loop *ingest;

    /* the loop's */
    struct connector_host host;
    void *state;
    enum source_step step;
    int events;
    enum connector_reach reach;
    bool wanted;     /* start was asked for, stop was not */
    bool restart;    /* started again before the stop was over */
    bool forgetting; /* stop for good: the other side is to forget it too */
    bool forgotten;  /* … and was told so, or could not be */
    bool timers_open;
    int timers_closing;
    int64_t active_since_ns;
    struct backoff backoff;
    struct connector_push *push_first; /* those that wait for the connection */
    struct connector_push *push_last;
    uv_timer_t soon;  /* acts on events after the stack has unwound */
    uv_timer_t retry; /* back-off, and the stop's time-out */

    /* shared */
    struct mutex lock;
    struct condition stopped_condition;
    struct source_status status;
    _Atomic uint64_t status_changes;
    json_t *health;
    int64_t health_ns;    /* when it was copied; 0: never */
    bool health_wish;     /* somebody waits for a newer copy */
    struct letter letter; /* carries the wishes to the loop; on its way while posted */
    bool posted;
    bool wish;     /* the last of source_start and source_stop */
    bool forget;   /* source_forget was called */
    bool finished; /* nothing is left on the loop */
};

/* On the loop: those that wait go to the connector, which has started, or are answered 503. */
void source_pushes_deliver(struct source *source);
void source_pushes_refuse(struct source *source);

/* Carries the wishes to the loop. */
void source_on_letter(struct letter *letter);
