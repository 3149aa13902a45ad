#include "pipeline/clump.h"

#include "base/alloc.h"
#include "lake/row.h"

void clump_ref(struct clump *clump)
{
    atomic_fetch_add(&clump->references, 1);
}

static void route_unref(struct route_copy *route)
{
    if (route && atomic_fetch_sub(&route->references, 1) == 1)
        mem_free(route);
}

void clump_unref(struct clump *clump)
{
    if (!clump || atomic_fetch_sub(&clump->references, 1) != 1)
        return;
    route_unref(clump->route);
    mem_free(clump);
}

static void rebase(struct bytes *bytes, const uint8_t *from, size_t size, const uint8_t *to)
{
    if (bytes->data >= from && bytes->data <= from + size)
        bytes->data = to + (bytes->data - from);
}

struct route_copy *route_copy_new(const struct block *block, uint32_t route_index)
{
    const uint8_t *record = block->image + block->routes[route_index].offset;
    size_t size = load_u32(record);
    struct route_copy *route = mem_alloc(sizeof(*route) + size);
    if (!route)
        return NULL;
    route->references = 1;
    route->serial = block->routes[route_index].serial;
    route->size = size;
    memcpy(route->record, record, size);
    block_route_get(block, route_index, &route->view);
    struct bytes *all[] = {&route->view.source_id,       &route->view.dataset_id,
                           &route->view.source_type,     &route->view.topic,
                           &route->view.content_type,    &route->view.timestamp_field,
                           &route->view.sensor_id_field, NULL};
    for (struct bytes **bytes = all; *bytes; bytes++)
        rebase(*bytes, record, size, route->record);
    for (uint32_t i = 0; i < route->view.field_count; i++) {
        rebase(&route->view.fields[i].name, record, size, route->record);
        rebase(&route->view.fields[i].constant, record, size, route->record);
    }
    return route;
}

/* Copies the records of the chain from index on, or only tells how many bytes they take. */
static size_t records_copy(const struct block *block, uint32_t index, uint8_t *to,
                           uint32_t *ret_count)
{
    size_t size = 0;
    *ret_count = 0;
    for (uint32_t i = index; i != BLOCK_END; i = block->messages[i].next) {
        struct bytes record = block_message_record(block, i);
        if (message_record_flags(record.data) & MESSAGE_DEAD_LETTER)
            continue;
        if (to)
            memcpy(to + size, record.data, record.size);
        size += record.size;
        ++*ret_count;
    }
    return size;
}

struct clump *clump_new(const struct block *block, uint32_t route_index, uint32_t rows_max)
{
    const struct block_route *route = &block->routes[route_index];
    uint32_t index = route->message_first;
    for (uint32_t i = rows_max; i < route->message_count; i++)
        index = block->messages[index].next;
    uint32_t count;
    size_t size = sizeof(struct clump) + records_copy(block, index, NULL, &count);
    struct clump *clump = count > 0 ? mem_alloc(size) : NULL;
    if (!clump)
        return NULL;
    *clump = (struct clump){
        .references = 1, .block = block, .route_index = route_index, .size_bytes = size};
    if (route->message_count > rows_max)
        clump->skipped = route->message_count - rows_max;
    records_copy(block, index, clump->records, &clump->count);
    return clump;
}

enum err clump_rows(const struct clump *clump, enum err (*on_row)(void *ctx, struct bytes json),
                    void *ctx)
{
    enum err err = ERR_OK;
    const uint8_t *record = clump->records;
    for (uint32_t i = 0; i < clump->count && err == ERR_OK; i++) {
        struct message_view message;
        message_record_get(record, &message);
        err = row_render(&clump->route->view, &message, on_row, ctx);
        record = clump_record_after(record);
    }
    return err;
}
