#include "lake/origin.h"

#include "base/alloc.h"
#include "base/limits.h"

#define ARENA_MAX (1 * GIB)
#define NO_ORIGIN UINT32_MAX

void origins_init(struct origins *origins)
{
    *origins = (struct origins){.last = NO_ORIGIN};
    arena_init(&origins->arena, ARENA_MAX);
    map_init(&origins->by_route);
    map_init(&origins->by_origin);
    buf_init(&origins->key, LIMIT_MESSAGE_BYTES_MAX * 2);
}

void origins_fini(struct origins *origins)
{
    arena_fini(&origins->arena);
    mem_free(origins->routes);
    mem_free(origins->origins);
    map_fini(&origins->by_route);
    map_fini(&origins->by_origin);
    buf_fini(&origins->key);
}

void origins_clear(struct origins *origins)
{
    origins_fini(origins);
    origins_init(origins);
}

static bool bytes_keep(struct arena *arena, struct bytes *bytes)
{
    const char *copy = arena_dup(arena, bytes->data, bytes->size);
    *bytes = bytes_from(copy, bytes->size);
    return copy != NULL;
}

static bool route_keep(struct arena *arena, struct route_view *view)
{
    bool ok = bytes_keep(arena, &view->source_id) && bytes_keep(arena, &view->dataset_id) &&
              bytes_keep(arena, &view->source_type) && bytes_keep(arena, &view->topic) &&
              bytes_keep(arena, &view->content_type) && bytes_keep(arena, &view->timestamp_field) &&
              bytes_keep(arena, &view->sensor_id_field) && bytes_keep(arena, &view->columns) &&
              bytes_keep(arena, &view->dedupe_field);
    for (uint32_t i = 0; i < view->field_count && ok; i++)
        ok = bytes_keep(arena, &view->fields[i].name) &&
             bytes_keep(arena, &view->fields[i].constant);
    return ok;
}

static enum err routes_room(struct origins *origins)
{
    if (origins->route_count < origins->route_capacity)
        return ERR_OK;
    uint32_t capacity = origins->route_capacity ? origins->route_capacity * 2 : 1;
    struct origin_route *grown = mem_realloc(origins->routes, capacity * sizeof(*grown));
    if (!grown)
        return ERR_NO_MEMORY;
    origins->routes = grown;
    origins->route_capacity = capacity;
    return ERR_OK;
}

static void route_found(struct origins *origins, struct bytes record, uint64_t serial,
                        uint32_t route)
{
    origins->last_serial = serial;
    origins->last_record = map_key(&origins->by_route, record);
    origins->last_route = route;
}

enum err origins_route(struct origins *origins, const struct block *block, uint32_t route_index,
                       uint32_t *ret_route)
{
    uint64_t serial = block->routes[route_index].serial;
    *ret_route = origins->last_route;
    if (serial != 0 && serial == origins->last_serial)
        return ERR_OK;
    const uint8_t *record = block->image + block->routes[route_index].offset;
    struct bytes key = {record, load_u32(record)};
    if (bytes_equal(key, origins->last_record)) {
        origins->last_serial = serial;
        return ERR_OK; /* to compare is cheaper than to hash */
    }
    uintptr_t known = (uintptr_t)map_get(&origins->by_route, key);
    if (known > 0) {
        *ret_route = (uint32_t)(known - 1);
        route_found(origins, key, serial, *ret_route);
        return ERR_OK;
    }
    enum err err = routes_room(origins);
    if (err != ERR_OK)
        return err;
    struct origin_route *route = &origins->routes[origins->route_count];
    *route = (struct origin_route){0};
    block_route_get(block, route_index, &route->view);
    if (route->view.field_count > ROUTE_FIELDS_MAX || !route_keep(&origins->arena, &route->view))
        return ERR_NO_MEMORY;
    if (bytes_equal_text(route->view.timestamp_field, "timestamp"))
        route->view.timestamp_field = (struct bytes){0};
    *ret_route = origins->route_count;
    err = map_put(&origins->by_route, key, (void *)(uintptr_t)(origins->route_count + 1));
    origins->route_count += err == ERR_OK;
    if (err == ERR_OK)
        route_found(origins, key, serial, *ret_route);
    return err;
}

static enum err origins_room(struct origins *origins)
{
    if (origins->count < origins->capacity)
        return ERR_OK;
    uint32_t capacity = origins->capacity ? origins->capacity * 2 : 4;
    struct origin *grown = mem_realloc(origins->origins, capacity * sizeof(*grown));
    if (!grown)
        return ERR_NO_MEMORY;
    origins->origins = grown;
    origins->capacity = capacity;
    return ERR_OK;
}

enum err origins_get(struct origins *origins, uint32_t route, struct bytes extras,
                     uint32_t *ret_origin)
{
    if (origins->last != NO_ORIGIN) {
        const struct origin *last = &origins->origins[origins->last];
        if (last->route == route && bytes_equal(last->extras, extras)) {
            *ret_origin = origins->last;
            return ERR_OK;
        }
    }
    buf_clear(&origins->key);
    buf_u32(&origins->key, route);
    enum err err = buf_append(&origins->key, extras.data, extras.size);
    if (err != ERR_OK)
        return err;
    uintptr_t known = (uintptr_t)map_get(&origins->by_origin, buf_bytes(&origins->key));
    if (known == 0) {
        err = origins_room(origins);
        if (err != ERR_OK)
            return err;
        if (!bytes_keep(&origins->arena, &extras))
            return ERR_NO_MEMORY;
        origins->origins[origins->count] = (struct origin){route, extras};
        known = origins->count + 1u;
        err = map_put(&origins->by_origin, buf_bytes(&origins->key), (void *)known);
        if (err != ERR_OK)
            return err;
        origins->count++;
    }
    origins->last = *ret_origin = (uint32_t)(known - 1);
    return ERR_OK;
}

static void constant_read(const struct route_field *field, struct message_field *ret_field)
{
    *ret_field = (struct message_field){.type = field->type};
    if (field->type == FIELD_STRING)
        ret_field->text = field->constant;
    else if (field->type == FIELD_DOUBLE && field->constant.size >= sizeof(double))
        memcpy(&ret_field->number, field->constant.data, sizeof(double));
    else if (field->type == FIELD_BOOLEAN && field->constant.size >= 1)
        ret_field->number = field->constant.data[0] != 0;
}

bool origin_route_field(const struct route_view *route, struct bytes extras, uint32_t field_index,
                        struct message_field *ret_field)
{
    const struct route_field *field = &route->fields[field_index];
    if (!field->per_message) {
        constant_read(field, ret_field);
        return true;
    }
    size_t cursor = 0;
    while (message_field_next(extras, &cursor, ret_field))
        if (ret_field->index == field_index)
            return ret_field->type == field->type;
    return false;
}

bool origin_field(const struct origins *origins, uint32_t origin, uint32_t field_index,
                  struct message_field *ret_field)
{
    const struct origin *from = &origins->origins[origin];
    return origin_route_field(&origins->routes[from->route].view, from->extras, field_index,
                              ret_field);
}

struct bytes origin_extra_text(struct bytes extras, uint8_t index)
{
    size_t cursor = 0;
    struct message_field field;
    while (message_field_next(extras, &cursor, &field))
        if (field.index == index && field.type == FIELD_STRING)
            return field.text;
    return (struct bytes){0};
}
