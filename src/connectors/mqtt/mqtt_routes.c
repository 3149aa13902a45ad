#include "connectors/mqtt/mqtt_routes.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"

#define ROUTES_SLOTS_FIRST 256
#define ROUTE_COST_BYTES   768 /* the pipeline's side of a route, roughly */

void mqtt_routes_init(struct mqtt_routes *routes, struct ingest_source *source,
                      const struct mqtt_config *config, const char *source_id)
{
    *routes = (struct mqtt_routes){.source = source, .config = config, .source_id = source_id};
}

static void routes_flush(struct mqtt_routes *routes)
{
    for (size_t i = 0; i < routes->slot_count; i++) {
        if (!routes->slots[i])
            continue;
        ingest_route_free(routes->slots[i]->ingest);
        mem_free(routes->slots[i]);
        routes->slots[i] = NULL;
    }
    routes->count = 0;
    routes->size_bytes = 0;
    routes->last = NULL;
}

void mqtt_routes_fini(struct mqtt_routes *routes)
{
    routes_flush(routes);
    mem_free(routes->slots);
    *routes = (struct mqtt_routes){0};
}

/* --- making a route ----------------------------------------------------------------------------
 */

static struct route_field text_field(const char *name, struct bytes text)
{
    return (struct route_field){
        .name = bytes_from_text(name), .type = FIELD_STRING, .constant = text};
}

static enum err ingest_route_make(struct mqtt_routes *routes, struct mqtt_route *route)
{
    const struct mqtt_config *config = routes->config;
    struct bytes topic = bytes_from(route->bytes, route->topic_size);
    struct bytes content_type =
        bytes_from(route->bytes + route->topic_size, route->content_type_size);
    double qos = route->variant >> 1;
    uint8_t retain = route->variant & 1;
    struct buf id;
    buf_init(&id, 4 * (size_t)LIMIT_TOPIC_BYTES + 64 * KIB);
    enum err err = common_options_dataset_id(&config->common, routes->source_id, topic, &id);
    struct route_view view = {
        .dataset_id = buf_bytes(&id),
        .topic = topic,
        .content_type = content_type,
        .field_count =
            content_type.size > 0 ? MQTT_FIELD_CONTENT_TYPE + 1 : MQTT_FIELD_USER_PROPERTIES + 1,
        .fields =
            {
                text_field("topic", topic),
                {.name = BYTES_LITERAL("qos"),
                 .type = FIELD_DOUBLE,
                 .constant = bytes_from(&qos, sizeof(qos))},
                {.name = BYTES_LITERAL("retain"),
                 .type = FIELD_BOOLEAN,
                 .constant = bytes_from(&retain, 1)},
                text_field("broker", bytes_from_text(config->broker)),
                text_field("original_source_id", bytes_from_text(routes->source_id)),
                {.name = BYTES_LITERAL("user_properties"),
                 .type = FIELD_STRING,
                 .per_message = true},
                text_field("content_type", content_type),
            },
    };
    common_options_route(&config->common, &view);
    if (err == ERR_OK)
        err = ingest_route_new(routes->source, &view, &route->ingest);
    buf_fini(&id);
    return err;
}

static enum err slots_grow(struct mqtt_routes *routes)
{
    size_t count = routes->slot_count ? routes->slot_count * 2 : ROUTES_SLOTS_FIRST;
    struct mqtt_route **slots = mem_zalloc(count, sizeof(struct mqtt_route *));
    if (!slots)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < routes->slot_count; i++) {
        if (!routes->slots[i])
            continue;
        size_t slot = routes->slots[i]->hash & (count - 1);
        while (slots[slot])
            slot = (slot + 1) & (count - 1);
        slots[slot] = routes->slots[i];
    }
    mem_free(routes->slots);
    routes->slots = slots;
    routes->slot_count = count;
    return ERR_OK;
}

static void slot_fill(struct mqtt_routes *routes, struct mqtt_route *route)
{
    size_t slot = route->hash & (routes->slot_count - 1);
    while (routes->slots[slot])
        slot = (slot + 1) & (routes->slot_count - 1);
    routes->slots[slot] = route;
    routes->count++;
}

static enum err route_add(struct mqtt_routes *routes, const struct mqtt_route *key,
                          struct bytes topic, struct bytes content_type,
                          struct mqtt_route **ret_route)
{
    size_t size = sizeof(struct mqtt_route) + topic.size + content_type.size;
    if (routes->count >= MQTT_ROUTES_MAX ||
        routes->size_bytes + size + topic.size + ROUTE_COST_BYTES > MQTT_ROUTES_BYTES_MAX ||
        ingest_routes_full(routes->source))
        routes_flush(routes);
    if (routes->count * 2 >= routes->slot_count) {
        enum err err = slots_grow(routes);
        if (err != ERR_OK)
            return err;
    }
    struct mqtt_route *route = mem_alloc(size);
    if (!route)
        return ERR_NO_MEMORY;
    *route = *key;
    memcpy(route->bytes, topic.data, topic.size);
    if (content_type.size > 0)
        memcpy(route->bytes + topic.size, content_type.data, content_type.size);
    enum err err = ingest_route_make(routes, route);
    if (err != ERR_OK) {
        mem_free(route);
        return err;
    }
    slot_fill(routes, route);
    routes->size_bytes += size + topic.size + ROUTE_COST_BYTES;
    *ret_route = route;
    return ERR_OK;
}

/* --- finding -----------------------------------------------------------------------------------
 */

static inline bool route_is(const struct mqtt_route *route, struct bytes topic, uint8_t variant,
                            struct bytes content_type)
{
    return route->topic_size == topic.size && route->variant == variant &&
           route->content_type_size == content_type.size &&
           memcmp(route->bytes, topic.data, topic.size) == 0 &&
           (content_type.size == 0 ||
            memcmp(route->bytes + topic.size, content_type.data, content_type.size) == 0);
}

static struct mqtt_route *route_find(const struct mqtt_routes *routes, uint64_t hash,
                                     struct bytes topic, uint8_t variant, struct bytes content_type)
{
    if (routes->slot_count == 0)
        return NULL;
    size_t mask = routes->slot_count - 1;
    for (size_t slot = hash & mask; routes->slots[slot]; slot = (slot + 1) & mask) {
        struct mqtt_route *route = routes->slots[slot];
        if (route->hash == hash && route_is(route, topic, variant, content_type))
            return route;
    }
    return NULL;
}

static enum err routes_get_slowly(struct mqtt_routes *routes, struct bytes topic, uint8_t variant,
                                  struct bytes content_type, struct mqtt_route **ret_route)
{
    struct mqtt_route key = {.topic_hash = hash_bytes(topic),
                             .topic_size = (uint32_t)topic.size,
                             .content_type_size = (uint16_t)content_type.size,
                             .variant = variant};
    key.hash = hash_bytes_seeded(content_type, key.topic_hash + variant);
    struct mqtt_route *route = route_find(routes, key.hash, topic, variant, content_type);
    if (!route) {
        enum err err = route_add(routes, &key, topic, content_type, &route);
        if (err != ERR_OK)
            return err;
    }
    if (routes->last)
        routes->last->next_guess = route;
    routes->last = route;
    *ret_route = route;
    return ERR_OK;
}

enum err mqtt_routes_get(struct mqtt_routes *routes, struct bytes topic, uint8_t qos, bool retain,
                         struct bytes content_type, struct mqtt_route **ret_route)
{
    uint8_t variant = (uint8_t)(qos << 1 | (retain ? 1 : 0));
    struct mqtt_route *last = routes->last;
    struct mqtt_route *guess = last ? last->next_guess : NULL;
    if (!guess || !route_is(guess, topic, variant, content_type))
        return routes_get_slowly(routes, topic, variant, content_type, ret_route);
    routes->last = guess;
    *ret_route = guess;
    return ERR_OK;
}
