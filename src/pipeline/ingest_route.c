/* The routes of a loop's sources: made, counted, freed. */
#include "base/alloc.h"
#include "base/hash.h"
#include "base/limits.h"
#include "pipeline/ingest_loop.h"
#include "pipeline/ingest_parts.h"

#define INGEST_ROUTE_BYTES_MAX (1 * MIB)
/* What its owner finds it by, and the allocator. */
#define INGEST_ROUTE_OWNER_BYTES 192

/* Not a byte more than needed: a source may have a hundred thousand of them. */
static enum err route_bytes_make(struct ingest_route *route, const struct route_view *view)
{
    struct buf encoded;
    buf_init(&encoded, INGEST_ROUTE_BYTES_MAX);
    enum err err = route_encode(view, &encoded);
    buf_init(&route->encoded, encoded.size);
    buf_init(&route->dataset_id, view->dataset_id.size);
    if (err == ERR_OK)
        err = buf_append(&route->encoded, encoded.data, encoded.size);
    if (err == ERR_OK)
        err = buf_append(&route->dataset_id, view->dataset_id.data, view->dataset_id.size);
    buf_fini(&encoded);
    return err;
}

enum err ingest_route_new(struct ingest_source *source, const struct route_view *view,
                          struct ingest_route **ret_route)
{
    struct route_view whole = *view;
    whole.source_id = source_id(source);
    whole.source_type = bytes_from_text(source->type);
    whole.partition_by = source->loop->rule.partition_by;
    whole.partition_window_hours = source->loop->rule.partition_window_hours;
    if (whole.dataset_id.size == 0 || whole.dataset_id.size > LIMIT_DATASET_ID_BYTES)
        return ERR_INVALID;
    struct ingest_route *route = mem_zalloc(1, sizeof(*route));
    if (!route)
        return ERR_NO_MEMORY;
    static _Atomic uint64_t serial_last; /* of all loops */
    route->source = source;
    route->serial = atomic_fetch_add_explicit(&serial_last, 1, memory_order_relaxed) + 1;
    route->dataset_hash = hash_bytes(whole.dataset_id);
    enum err err = route_bytes_make(route, &whole);
    if (err != ERR_OK) {
        ingest_route_free(route);
        return err;
    }
    route->loop = source->loop;
    route->held_bytes = sizeof(*route) + route->encoded.capacity + route->dataset_id.capacity +
                        whole.topic.size + INGEST_ROUTE_OWNER_BYTES;
    route->loop->routes_bytes += route->held_bytes;
    *ret_route = route;
    return ERR_OK;
}

bool ingest_routes_full(const struct ingest_source *source)
{
    return source->loop->routes_bytes > source->loop->routes_max_bytes;
}

void ingest_loop_limit_routes(struct ingest_loop *loop, size_t size_max_bytes)
{
    loop->routes_max_bytes = size_max_bytes;
}

void ingest_route_free(struct ingest_route *route)
{
    if (!route)
        return;
    if (route->loop)
        route->loop->routes_bytes -= route->held_bytes;
    buf_fini(&route->encoded);
    buf_fini(&route->dataset_id);
    mem_free(route);
}
