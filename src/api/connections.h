#pragma once
/*
 * The connections that are open, each with the moment by which it must have made progress, and the
 * sweeper, a thread that shuts down the sockets of those that have not. libmicrohttpd's own timeout
 * is about silence; this one catches who trickles a byte now and then.
 *
 * Any thread. A connection leaves the list before its socket is closed, so the sweeper never shuts
 * down another's socket. on_tick runs on the sweeper's thread, about four times a second while
 * there are connections, without the lock.
 */
#include "base/err.h"
#include "os/clock.h"
#include "os/thread.h"

struct connection {
    struct connection *next;
    struct connection *previous;
    int socket;
    int64_t deadline_ns;
};

struct connections {
    const struct clock *clock;
    int64_t timeout_ns;
    void (*on_tick)(void *ctx);
    void *ctx;
    struct mutex lock; /* all below */
    struct condition changed;
    struct connection *first;
    size_t count;
    bool stopping;
    struct thread sweeper;
};

void connections_init(struct connections *connections, const struct clock *clock,
                      int64_t timeout_ns, void (*on_tick)(void *ctx), void *ctx);
void connections_fini(struct connections *connections);
enum err connections_start(struct connections *connections) ERR_MUST_USE;
void connections_stop(struct connections *connections);

/* NULL without memory: the connection is served all the same, without a deadline. */
struct connection *connections_open(struct connections *connections, int socket);
void connections_close(struct connections *connections, struct connection *connection);
/* Now and factor times the timeout; 0: none, its request is in work here. connection may be NULL.
 */
void connections_deadline(struct connections *connections, struct connection *connection,
                          int64_t factor);
