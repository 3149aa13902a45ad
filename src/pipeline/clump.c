#include "pipeline/clump.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "lake/row.h"

#include <stdlib.h>

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
        if (to) {
            store_u32(to + size, i);
            memcpy(to + size + CLUMP_INDEX_BYTES, record.data, record.size);
        }
        size += CLUMP_INDEX_BYTES + record.size;
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
    *clump = (struct clump){.references = 1,
                            .block = block,
                            .route_index = route_index,
                            .size_bytes = size,
                            .block_number = block->number};
    if (route->message_count > rows_max)
        clump->skipped = route->message_count - rows_max;
    records_copy(block, index, clump->records, &clump->count);
    return clump;
}

enum err clump_places_add(const struct clump *clump, struct buf *places)
{
    struct clump_place place = {clump_record_first(clump), clump};
    for (uint32_t i = 0; i < clump->count; i++) {
        buf_append(places, &place, sizeof(place));
        place.record = clump_record_after(place.record);
    }
    return places->err;
}

static int place_compare(const void *left, const void *right)
{
    uint32_t a = clump_record_index(((const struct clump_place *)left)->record);
    uint32_t b = clump_record_index(((const struct clump_place *)right)->record);
    return (a > b) - (a < b);
}

void clump_places_order(struct buf *places)
{
    size_t count = places->size / sizeof(struct clump_place);
    if (count > 1 && places->err == ERR_OK)
        qsort(places->data, count, sizeof(struct clump_place), place_compare);
}

enum err clump_place_rows(const struct clump_place *place,
                          enum err (*on_row)(void *ctx, struct bytes json), void *ctx)
{
    struct message_view message;
    message_record_get(place->record, &message);
    return row_render(&place->clump->route->view, &message, on_row, ctx);
}

/* Rows rendered from the newest message backwards, so that no more are rendered than are asked for;
 * within a message they stand in order. */
struct rendering {
    struct buf text;
    struct buf rows;    /* struct row_place each */
    struct buf records; /* of the clumps at hand: struct clump_place each */
    size_t row_count;
    size_t message_count;
};

struct row_place {
    size_t offset;
    size_t size;
    size_t message; /* 0 is the newest */
};

static enum err rendering_row(void *ctx, struct bytes json)
{
    struct rendering *rendering = ctx;
    const struct row_place place = {rendering->text.size, json.size, rendering->message_count};
    enum err err = buf_append(&rendering->text, json.data, json.size);
    if (err == ERR_OK)
        err = buf_append(&rendering->rows, &place, sizeof(place));
    if (err == ERR_OK)
        rendering->row_count++;
    return err;
}

/* The messages of clumps that came together, in the order of the block. */
static enum err places_find(struct rendering *rendering, struct clump *const *clumps, size_t count)
{
    enum err err = ERR_OK;
    buf_clear(&rendering->records);
    for (size_t c = 0; c < count && err == ERR_OK; c++)
        err = clump_places_add(clumps[c], &rendering->records);
    if (count > 1)
        clump_places_order(&rendering->records);
    return err;
}

/* *ret_full: no older rows are wanted, or fit. */
static enum err rendering_clumps(struct rendering *rendering, struct clump *const *clumps,
                                 size_t count, size_t row_limit, bool *ret_full)
{
    enum err err = places_find(rendering, clumps, count);
    const struct clump_place *places = (const void *)rendering->records.data;
    *ret_full = false;
    for (size_t m = rendering->records.size / sizeof(*places);
         m-- > 0 && err == ERR_OK && !*ret_full;) {
        if (rendering->row_count >= row_limit) {
            *ret_full = true;
            break;
        }
        err = clump_place_rows(&places[m], rendering_row, rendering);
        if (err == ERR_TOO_LARGE && rendering->row_count > 0) {
            *ret_full = true; /* the older ones are missing from view */
            err = ERR_OK;
        }
        rendering->message_count += err == ERR_OK && !*ret_full;
    }
    return err;
}

static enum err rendering_fill(struct rendering *rendering, struct clump **clumps, size_t count,
                               size_t row_limit)
{
    bool full = false;
    enum err err = ERR_OK;
    for (size_t end = count, begin; end > 0 && err == ERR_OK && !full; end = begin) {
        begin = end - 1;
        while (begin > 0 && clumps[begin - 1]->block_number == clumps[end - 1]->block_number)
            begin--;
        err = rendering_clumps(rendering, clumps + begin, end - begin, row_limit, &full);
    }
    return err;
}

/* Messages from the oldest, each one's rows in order, without the surplus of the oldest. */
static enum err rendering_emit(const struct rendering *rendering, size_t row_limit,
                               enum err (*on_row)(void *ctx, struct bytes json), void *ctx)
{
    const struct row_place *places = (const void *)rendering->rows.data;
    size_t surplus = rendering->row_count > row_limit ? rendering->row_count - row_limit : 0;
    enum err err = ERR_OK;
    for (size_t end = rendering->row_count; end > 0 && err == ERR_OK;) {
        size_t begin = end - 1;
        while (begin > 0 && places[begin - 1].message == places[end - 1].message)
            begin--;
        for (size_t i = begin + surplus; i < end && err == ERR_OK; i++)
            err = on_row(ctx, bytes_from(rendering->text.data + places[i].offset, places[i].size));
        surplus = surplus > end - begin ? surplus - (end - begin) : 0;
        end = begin;
    }
    return err;
}

enum err clumps_render(struct clump **clumps, size_t count, size_t row_limit,
                       enum err (*on_row)(void *ctx, struct bytes json), void *ctx)
{
    struct rendering rendering = {0};
    buf_init(&rendering.text, LIMIT_RECENT_ANSWER_BYTES);
    buf_init(&rendering.rows, LIMIT_RECENT_ANSWER_BYTES);
    buf_init(&rendering.records, LIMIT_RECENT_ANSWER_BYTES);
    enum err err = rendering_fill(&rendering, clumps, count, row_limit);
    if (err == ERR_OK)
        err = rendering_emit(&rendering, row_limit, on_row, ctx);
    buf_fini(&rendering.text);
    buf_fini(&rendering.rows);
    buf_fini(&rendering.records);
    return err;
}
