#pragma once
/*
 * The connector contract. A connector brings data from one protocol; adding one means adding one
 * file, src/connectors/<name>_connector.c, that defines `const struct connector <name>_connector`.
 * The build finds it; nothing else changes.
 *
 * Threads: every operation and every callback of an instance runs on the I/O loop it was given, one
 * at a time. None may block. The host zeroes state_size bytes for each instance before connect and
 * keeps them until disconnect has returned.
 *
 * Life: connect -> start -> (emitting) -> stop -> disconnect. The host owns the states (inactive,
 * connecting, active, error, stopped) and all retrying: a connector that loses its session calls
 * host->on_failed once, is stopped and disconnected by the host, and connected again after the
 * back-off. stop lets what was received be acknowledged: it ends with host->on_stopped (at most
 * `stop_timeout_ms` later, else the host disconnects). disconnect may be called at any time after
 * connect and must leave nothing behind; it calls host->on_closed when its handles are gone.
 *
 * Configuration: the host has validated it against config_schema, resolved secret references, and
 * keeps it (a jansson object, borrowed, read-only) until on_closed.
 */
#include "base/bytes.h"
#include "base/err.h"
#include "os/loop.h"
#include "pipeline/ingest.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define INGESTOR_CONNECTOR_ABI 1

/* How it stands with a session that the connector makes by itself, and again, for ever. */
enum connector_reach {
    CONNECTOR_REACHED,  /* the other side has answered, or cannot be asked under pressure */
    CONNECTOR_REACHING, /* nobody has answered yet */
    CONNECTOR_AWAY,     /* nobody answers, or with an error: it is tried again */
};

struct connector_host {
    uv_loop_t *loop;
    struct ingest_loop *ingest;
    const json_t *config;
    const char *source_id;   /* the source's ingestion id */
    const char *source_name; /* as people wrote it */
    const char *replica_id;  /* the journal's uuid: stable, differs between replicas */
    void *ctx;               /* the host's; first argument of the calls below */

    /* connect has succeeded: the session is open (MQTT: CONNACK and SUBACK are good). */
    void (*on_connected)(void *ctx);
    /* The session is lost or could not be made. err's class says whether a retry can help. reason
     * is a sentence a user can act on; copied. Once per connect. */
    void (*on_failed)(void *ctx, enum err err, const char *reason);
    /* Something a user should know, and health shows, though the session goes on. NULL clears it.
     */
    void (*on_warning)(void *ctx, const char *text);
    /* For connectors that never call on_failed once they are connected, since they try again by
     * themselves. The source's state is active, connecting or error (reason: as of on_failed; else
     * NULL); it runs all the while. Not called: REACHED. */
    void (*on_reach)(void *ctx, enum connector_reach reach, const char *reason);
    void (*on_stopped)(void *ctx);
    void (*on_closed)(void *ctx);
};

struct connector_display {
    const char *name;
    const char *description;
    const char *icon;
    const char *category;
    const char *const *formats; /* NULL-terminated */
    bool real_time;
};

/* What somebody hands to a source over HTTP. The API makes it and keeps it, with all that it points
 * to, until done was called. */
struct connector_push {
    struct bytes body;         /* compression undone */
    const char *content_type;  /* these may be NULL */
    const char *authorization; /* "Bearer …" */
    const char *signature;     /* "sha256=<hex>", an HMAC-SHA-256 of the body */
    const char *idempotency_key;
    const char *remote; /* the sender's address */
    int64_t arrival_us;

    /* The answer, filled in before done. */
    unsigned status; /* of HTTP: 202 only when everything is durable */
    uint64_t count;  /* records */
    char message[256];
    const char *error_type; /* of a 422, in FastAPI's words; NULL: value_error */
    size_t error_offset;    /* of json_invalid: the character that it stands at */
    void (*done)(struct connector_push *push); /* on the I/O loop; may free it */
    void *ctx;

    struct connector_push *next; /* the connector's, and before it has it the host's */
    void *host;                  /* these two are the host's */
    struct letter letter;
};

struct connector_ops {
    /* Begins to open the session; the answer is on_connected or on_failed. An error return is the
     * same as on_failed with diag's text. */
    enum err (*connect)(void *state, const struct connector_host *host, struct diag *diag);
    enum err (*start)(void *state, struct diag *diag);
    void (*stop)(void *state);
    void (*disconnect)(void *state);
    /* Optional: appends the connector's own health members to the object (broker, port, topics, …).
     */
    void (*health)(void *state, json_t *object);
    /* Optional: whether connect could take this configuration. Any thread; needs no instance. */
    enum err (*check)(const json_t *config, struct diag *diag);
    /* Optional: takes a push, while it is started. Calls push->done once, at the latest from
     * disconnect. */
    void (*push)(void *state, struct connector_push *push);
    /* Optional: the source is being deleted: stop and then end what the other side keeps for it (an
     * MQTT session). Called instead of stop, or right after connect for a source that does not run;
     * ends with on_stopped all the same. on_warning tells when it could not be done. */
    void (*forget)(void *state);
    /* Optional: changes a configuration so that a trial of it takes no message from anybody. */
    enum err (*trial)(json_t *config);
};

struct connector {
    int abi;
    const char *name;       /* "mqtt" */
    const char *class_name; /* what the overview answers, "MQTTConnector"; NULL: the name */
    const char *class_path; /* data_source_types.connector_class; NULL: the name */
    struct connector_display display;
    const char *config_schema; /* JSON Schema 2020-12 text */
    bool single;               /* it polls or observes: on one replica at a time */
    size_t state_size;
    struct connector_ops ops;
};
