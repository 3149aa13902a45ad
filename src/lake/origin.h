#pragma once
/*
 * Where rows come from: the routes and per-message metadata of a batch, each kept once, so that a
 * row needs one number for all of it. One thread; lives until the batch is cut. An origin is a
 * route and the encoded extras of a message.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "journal/block.h"

struct origin_route {
    struct route_view view;            /* copied */
    bool ready;                        /* system is filled in, for the schema that there is */
    bool pinned;                       /* its columns are */
    uint16_t system[ROUTE_FIELDS_MAX]; /* place of each field's column in schema.system */
};

struct origin {
    uint32_t route;
    struct bytes extras;
};

struct origins {
    struct arena arena;
    struct origin_route *routes;
    uint32_t route_count;
    uint32_t route_capacity;
    struct origin *origins;
    uint32_t count;
    uint32_t capacity;
    struct map by_route;  /* encoded ROUTE record -> index + 1 */
    struct map by_origin; /* route index and extras -> index + 1 */
    struct buf key;
    uint32_t last;            /* the origin looked up last */
    struct bytes last_record; /* the ROUTE record looked up last, borrowed from by_route */
    uint64_t last_serial;     /* its block_route's */
    uint32_t last_route;
};

void origins_init(struct origins *origins);
void origins_fini(struct origins *origins);
/* Forgets everything. */
void origins_clear(struct origins *origins);
/* Unless the route is ready, the caller fills in where its fields' columns are. */
enum err origins_route(struct origins *origins, const struct block *block, uint32_t route_index,
                       uint32_t *ret_route) ERR_MUST_USE;
enum err origins_get(struct origins *origins, uint32_t route, struct bytes extras,
                     uint32_t *ret_origin) ERR_MUST_USE;
/* A metadata field's value in an origin: *ret_field.text for STRING, number for the others. False:
 * it lacks. */
bool origin_field(const struct origins *origins, uint32_t origin, uint32_t field_index,
                  struct message_field *ret_field);
/* The same of a route and a message that are in no batch. */
bool origin_route_field(const struct route_view *route, struct bytes extras, uint32_t field_index,
                        struct message_field *ret_field);
/* The text of FIELD_INDEX_REASON or FIELD_INDEX_DETAIL; empty when it lacks. */
struct bytes origin_extra_text(struct bytes extras, uint8_t index);
/* The window rule: a time far from the arrival decides no partition. */
static inline int64_t origin_partition_us(const struct route_view *route, int64_t event_us,
                                          int64_t arrival_us)
{
    int64_t window_us = route->partition_window_hours * 3600 * US_PER_S;
    bool by_arrival = route->partition_by == PARTITION_BY_ARRIVAL ||
                      event_us > arrival_us + window_us || event_us < arrival_us - window_us;
    return by_arrival ? arrival_us : event_us;
}
static inline size_t origins_memory_bytes(const struct origins *origins)
{
    return origins->arena.held_bytes + origins->capacity * sizeof(struct origin) +
           origins->route_capacity * sizeof(struct origin_route) +
           map_memory_bytes(&origins->by_route) + map_memory_bytes(&origins->by_origin) +
           origins->key.capacity;
}
