#include "api/connections.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <sys/socket.h>

#define SWEEP_NS (NS_PER_S / 4)

void connections_init(struct connections *connections, const struct clock *clock,
                      int64_t timeout_ns, void (*on_tick)(void *ctx), void *ctx)
{
    *connections = (struct connections){
        .clock = clock, .timeout_ns = timeout_ns, .on_tick = on_tick, .ctx = ctx};
    mutex_init(&connections->lock);
    condition_init(&connections->changed);
}

void connections_fini(struct connections *connections)
{
    condition_fini(&connections->changed);
    mutex_fini(&connections->lock);
}

static void sweep(struct connections *connections, int64_t now_ns)
{
    /* When nearly full, the slow have less time. */
    int64_t hurry_ns =
        connections->count > LIMIT_API_CONNECTIONS * 3 / 4 ? connections->timeout_ns * 3 / 4 : 0;
    for (struct connection *connection = connections->first; connection;
         connection = connection->next)
        if (connection->socket >= 0 && connection->deadline_ns != INT64_MAX &&
            connection->deadline_ns - hurry_ns <= now_ns)
            shutdown(connection->socket, SHUT_RDWR);
}

static void sweeper_run(void *ctx)
{
    struct connections *connections = ctx;
    mutex_lock(&connections->lock);
    while (!connections->stopping) {
        condition_wait_for(&connections->changed, &connections->lock,
                           connections->count == 0 ? NS_PER_S : SWEEP_NS);
        sweep(connections, clock_monotonic_ns(connections->clock));
        mutex_unlock(&connections->lock);
        connections->on_tick(connections->ctx);
        mutex_lock(&connections->lock);
    }
    mutex_unlock(&connections->lock);
}

enum err connections_start(struct connections *connections)
{
    return thread_start(&connections->sweeper, "api-sweeper", sweeper_run, connections);
}

void connections_stop(struct connections *connections)
{
    mutex_lock(&connections->lock);
    connections->stopping = true;
    condition_broadcast(&connections->changed);
    mutex_unlock(&connections->lock);
    thread_join(&connections->sweeper);
}

struct connection *connections_open(struct connections *connections, int socket)
{
    struct connection *connection = mem_zalloc(1, sizeof(*connection));
    if (!connection)
        return NULL;
    connection->socket = socket;
    mutex_lock(&connections->lock);
    connection->deadline_ns = clock_monotonic_ns(connections->clock) + connections->timeout_ns;
    connection->next = connections->first;
    if (connections->first)
        connections->first->previous = connection;
    connections->first = connection;
    connections->count++;
    mutex_unlock(&connections->lock);
    return connection;
}

void connections_close(struct connections *connections, struct connection *connection)
{
    if (!connection)
        return;
    mutex_lock(&connections->lock);
    *(connection->previous ? &connection->previous->next : &connections->first) = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    connections->count--;
    mutex_unlock(&connections->lock);
    mem_free(connection);
}

void connections_deadline(struct connections *connections, struct connection *connection,
                          int64_t factor)
{
    if (!connection)
        return;
    mutex_lock(&connections->lock);
    connection->deadline_ns =
        factor == 0 ? INT64_MAX
                    : clock_monotonic_ns(connections->clock) + connections->timeout_ns * factor;
    mutex_unlock(&connections->lock);
}
