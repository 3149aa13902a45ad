#include "pipeline/recent.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/map.h"
#include "os/thread.h"
#include "pipeline/clump.h"

#include <stdlib.h>

/*
 * What one block brought to a dataset by one route is a clump: a single allocation with copies of
 * its messages' records. A worker makes it without any lock, then links it at the young end of the
 * dataset's list; readers take references and render in peace. Clumps of the same block stay
 * together, because their messages may have arrived in turns: they leave when the younger ones
 * alone hold rows_max messages, so a dataset keeps between rows_max and rows_max plus a block's.
 *
 *   dataset   oldest -> clump -> clump -> youngest        (datasets: a list by time of last clump)
 *                         |        |
 *                         +--------+--> route             (shared as long as it stays the same)
 */

/* In the map, and what the allocator adds. */
#define DATASET_PLACE_BYTES (2 * sizeof(struct map_entry) + 64)

struct dataset {
    struct dataset *colder; /* got its last clump before */
    struct dataset *warmer;
    struct clump *oldest;
    struct clump *youngest;
    uint64_t count;
    uint64_t size_bytes;
    uint64_t fixed_bytes; /* beside the clumps, with the youngest's route */
    int64_t touched_ns;
    size_t id_size;
    uint8_t id[];
};

struct recent {
    struct mutex lock;
    const struct clock *clock;
    struct map datasets;
    struct dataset *coldest;
    struct dataset *warmest;
    uint64_t rows;       /* the sum of rows_shown */
    uint64_t size_bytes; /* all that is held, about */
    uint64_t size_max_bytes;
    int64_t ttl_ns;
    _Atomic uint32_t rows_max;

    _Atomic bool subscribed; /* a hint, so that nobody locks when nobody listens */
    struct mutex subscriber_lock;
    void (*on_clumps)(void *ctx, struct clump *const *clumps, size_t count);
    void *on_clumps_ctx;
};

enum err recent_new(uint32_t rows_max, uint32_t ttl_seconds, const struct clock *clock,
                    struct recent **ret_recent)
{
    struct recent *recent = mem_zalloc(1, sizeof(*recent));
    if (!recent)
        return ERR_NO_MEMORY;
    mutex_init(&recent->lock);
    mutex_init(&recent->subscriber_lock);
    recent->clock = clock;
    recent->size_max_bytes = LIMIT_RECENT_BYTES;
    recent->rows_max = rows_max ? rows_max : 1;
    recent->ttl_ns = (int64_t)ttl_seconds * NS_PER_S;
    *ret_recent = recent;
    return ERR_OK;
}

static void clumps_unref(struct clump *clump)
{
    while (clump) {
        struct clump *younger = clump->younger;
        clump_unref(clump);
        clump = younger;
    }
}

void recent_free(struct recent *recent)
{
    if (!recent)
        return;
    for (struct dataset *dataset = recent->coldest; dataset;) {
        struct dataset *warmer = dataset->warmer;
        clumps_unref(dataset->oldest);
        mem_free(dataset);
        dataset = warmer;
    }
    map_fini(&recent->datasets);
    mutex_fini(&recent->subscriber_lock);
    mutex_fini(&recent->lock);
    mem_free(recent);
}

/* The functions down to recent_add are called with the lock. */

static void list_unlink(struct recent *recent, struct dataset *dataset)
{
    *(dataset->colder ? &dataset->colder->warmer : &recent->coldest) = dataset->warmer;
    *(dataset->warmer ? &dataset->warmer->colder : &recent->warmest) = dataset->colder;
}

static void list_link_warmest(struct recent *recent, struct dataset *dataset)
{
    dataset->warmer = NULL;
    dataset->colder = recent->warmest;
    *(recent->warmest ? &recent->warmest->warmer : &recent->coldest) = dataset;
    recent->warmest = dataset;
}

static struct dataset *dataset_get(struct recent *recent, struct bytes id)
{
    struct dataset *dataset = map_get(&recent->datasets, id);
    if (dataset) {
        list_unlink(recent, dataset);
    } else {
        dataset = mem_zalloc(1, sizeof(*dataset) + id.size);
        if (!dataset)
            return NULL;
        dataset->id_size = id.size;
        if (id.size > 0)
            memcpy(dataset->id, id.data, id.size);
        if (map_put(&recent->datasets, id, dataset) != ERR_OK) {
            mem_free(dataset);
            return NULL;
        }
    }
    list_link_warmest(recent, dataset);
    dataset->touched_ns = clock_monotonic_ns(recent->clock);
    return dataset;
}

static uint64_t rows_shown(const struct recent *recent, const struct dataset *dataset)
{
    return dataset->count < recent->rows_max ? dataset->count : recent->rows_max;
}

/* Moves the oldest clump to the list of what is freed after the lock. */
static void clump_drop(struct recent *recent, struct dataset *dataset, struct clump **dropped)
{
    struct clump *clump = dataset->oldest;
    dataset->oldest = clump->younger;
    if (!dataset->oldest)
        dataset->youngest = NULL;
    recent->rows -= rows_shown(recent, dataset);
    dataset->count -= clump->count;
    recent->rows += rows_shown(recent, dataset);
    dataset->size_bytes -= clump->size_bytes;
    recent->size_bytes -= clump->size_bytes;
    clump->younger = *dropped;
    *dropped = clump;
}

/* The first clump that did not come together with the oldest; NULL: all did. *ret_count: the
 * messages before it. */
static struct clump *clumps_after_oldest(const struct dataset *dataset, uint64_t *ret_count)
{
    struct clump *clump = dataset->oldest;
    uint64_t block = clump ? clump->block_number : 0;
    for (*ret_count = 0; clump && clump->block_number == block; clump = clump->younger)
        *ret_count += clump->count;
    return clump;
}

/* What came together goes together: which of it is newest shows only when it is rendered. */
static void dataset_trim(struct recent *recent, struct dataset *dataset, struct clump **dropped)
{
    uint64_t count;
    const struct clump *younger;
    while ((younger = clumps_after_oldest(dataset, &count)) &&
           dataset->count - count >= recent->rows_max)
        while (dataset->oldest != younger)
            clump_drop(recent, dataset, dropped);
}

static void dataset_evict(struct recent *recent, struct dataset *dataset, struct clump **dropped)
{
    while (dataset->oldest)
        clump_drop(recent, dataset, dropped);
    list_unlink(recent, dataset);
    map_remove(&recent->datasets, bytes_from(dataset->id, dataset->id_size));
    recent->size_bytes -= dataset->fixed_bytes;
    mem_free(dataset);
}

/* Of a dataset with one message this is more than the message. Its clumps have mostly one route. */
static void fixed_settle(struct recent *recent, struct dataset *dataset)
{
    const struct route_copy *route = dataset->youngest->route;
    uint64_t fixed_bytes = sizeof(*dataset) + 2 * dataset->id_size + DATASET_PLACE_BYTES +
                           sizeof(*route) + route->size;
    recent->size_bytes += fixed_bytes - dataset->fixed_bytes;
    dataset->fixed_bytes = fixed_bytes;
}

static void bytes_limit(struct recent *recent, struct clump **dropped)
{
    while (recent->size_bytes > recent->size_max_bytes && recent->coldest != recent->warmest)
        dataset_evict(recent, recent->coldest, dropped);
    struct dataset *last = recent->warmest;
    while (recent->size_bytes > recent->size_max_bytes && last && last->oldest != last->youngest)
        clump_drop(recent, last, dropped);
}

static void clump_link(struct recent *recent, struct dataset *dataset, struct clump *clump,
                       struct clump **dropped)
{
    *(dataset->youngest ? &dataset->youngest->younger : &dataset->oldest) = clump;
    dataset->youngest = clump;
    recent->rows -= rows_shown(recent, dataset);
    dataset->count += clump->count;
    recent->rows += rows_shown(recent, dataset);
    dataset->size_bytes += clump->size_bytes;
    recent->size_bytes += clump->size_bytes;
    fixed_settle(recent, dataset);
    bytes_limit(recent, dropped);
}

static void publish(struct recent *recent, struct clump *const *clumps, size_t count)
{
    mutex_lock(&recent->subscriber_lock);
    if (recent->on_clumps)
        recent->on_clumps(recent->on_clumps_ctx, clumps, count);
    mutex_unlock(&recent->subscriber_lock);
}

void recent_subscribe(struct recent *recent,
                      void (*on_clumps)(void *ctx, struct clump *const *clumps, size_t count),
                      void *ctx)
{
    mutex_lock(&recent->subscriber_lock);
    recent->on_clumps = on_clumps;
    recent->on_clumps_ctx = ctx;
    atomic_store(&recent->subscribed, on_clumps != NULL);
    mutex_unlock(&recent->subscriber_lock);
}

static int block_compare(const void *left, const void *right)
{
    uint64_t a = (*(struct clump *const *)left)->block_number;
    uint64_t b = (*(struct clump *const *)right)->block_number;
    return (a > b) - (a < b);
}

/* Block after block: a subscriber puts the messages of each in their order. */
static void publish_blocks(struct recent *recent, struct clump **clumps, size_t count)
{
    qsort(clumps, count, sizeof(struct clump *), block_compare);
    for (size_t begin = 0, end; begin < count; begin = end) {
        for (end = begin + 1; end < count; end++)
            if (clumps[end]->block_number != clumps[begin]->block_number)
                break;
        publish(recent, clumps + begin, end - begin);
    }
}

void recent_publish(struct recent *recent, struct recent_gathering *gathering)
{
    struct clump *placed = gathering->placed;
    size_t count = 0;
    if (!placed)
        return;
    gathering->placed = NULL;
    for (struct clump *clump = placed; clump; clump = clump->gathered)
        count++;
    struct clump **clumps = mem_alloc(count * sizeof(struct clump *));
    size_t i = 0;
    for (struct clump *clump = placed; clump; clump = clump->gathered) {
        if (clumps)
            clumps[i++] = clump;
        else
            publish(recent, &clump, 1); /* rather in a wrong order than not at all */
    }
    if (clumps)
        publish_blocks(recent, clumps, count);
    mem_free(clumps);
    for (struct clump *next; placed; placed = next) {
        next = placed->gathered;
        clump_unref(placed);
    }
}

/* The route of the dataset's youngest clump if it says the same, referenced; else NULL. */
static struct route_copy *route_reuse(const struct dataset *dataset, const struct clump *clump)
{
    const struct block_route *entry = &clump->block->routes[clump->route_index];
    struct route_copy *route = dataset->youngest ? dataset->youngest->route : NULL;
    if (!route)
        return NULL;
    if (entry->serial == 0 || entry->serial != route->serial) {
        const uint8_t *record = clump->block->image + entry->offset;
        if (!bytes_equal(bytes_from(route->record, route->size),
                         bytes_from(record, load_u32(record))))
            return NULL;
    }
    atomic_fetch_add_explicit(&route->references, 1, memory_order_relaxed);
    return route;
}

/* Gives the clump its route and its place; without memory it joins the dropped ones. */
static void clump_place(struct recent *recent, struct dataset *dataset, struct clump *clump,
                        struct clump **dropped)
{
    if (dataset)
        clump->route = route_reuse(dataset, clump);
    if (dataset && !clump->route) /* rare: routes repeat */
        clump->route = route_copy_new(clump->block, clump->route_index);
    clump->block = NULL;
    if (dataset && clump->route) {
        clump_link(recent, dataset, clump, dropped);
    } else {
        clump->younger = *dropped;
        *dropped = clump;
    }
}

void recent_gather(struct recent *recent, struct recent_gathering *gathering,
                   const struct block *block, uint32_t route_index)
{
    struct clump *clump = clump_new(block, route_index, recent->rows_max);
    if (!clump)
        return;
    *(gathering->last ? &gathering->last->gathered : &gathering->first) = clump;
    gathering->last = clump;
}

static void gathering_place(struct recent *recent, struct clump *first, struct clump **dropped)
{
    struct dataset *dataset = NULL;
    const struct block *block = NULL; /* of the clump before */
    uint64_t serial = 0;              /* of the route that dataset is of */
    for (struct clump *clump = first, *next; clump; clump = next) {
        const struct block_route *entry = &clump->block->routes[clump->route_index];
        next = clump->gathered;
        struct dataset *before = dataset;
        if (serial == 0 || entry->serial != serial) {
            struct bytes source_id;
            struct bytes id;
            block_route_ids(clump->block, clump->route_index, &source_id, &id);
            dataset = dataset_get(recent, id);
            serial = dataset ? entry->serial : 0;
        }
        bool begins = clump->block != block || dataset != before;
        if (begins && before)
            dataset_trim(recent, before, dropped);
        block = clump->block;
        clump_place(recent, dataset, clump, dropped);
    }
    if (dataset)
        dataset_trim(recent, dataset, dropped);
}

void recent_place(struct recent *recent, struct recent_gathering *gathering)
{
    struct clump *first = gathering->first;
    struct clump *dropped = NULL;
    gathering->first = gathering->last = NULL;
    if (!first)
        return;
    bool publishing = atomic_load_explicit(&recent->subscribed, memory_order_relaxed);
    for (struct clump *clump = first; clump && publishing; clump = clump->gathered)
        clump_ref(clump);
    mutex_lock(&recent->lock);
    gathering_place(recent, first, &dropped);
    mutex_unlock(&recent->lock);
    for (struct clump *clump = publishing ? first : NULL, *next; clump; clump = next) {
        next = clump->gathered;
        if (clump->route) {
            clump->gathered = gathering->placed;
            gathering->placed = clump;
        } else {
            clump_unref(clump);
        }
    }
    clumps_unref(dropped);
}

void recent_add(struct recent *recent, const struct block *block, uint32_t route_index)
{
    struct recent_gathering gathering = {0};
    recent_gather(recent, &gathering, block, route_index);
    recent_place(recent, &gathering);
    recent_publish(recent, &gathering);
}

void recent_limit(struct recent *recent, uint64_t size_max_bytes)
{
    mutex_lock(&recent->lock);
    recent->size_max_bytes = size_max_bytes;
    mutex_unlock(&recent->lock);
}

void recent_resize(struct recent *recent, uint32_t rows_max)
{
    struct clump *dropped = NULL;
    mutex_lock(&recent->lock);
    recent->rows_max = rows_max ? rows_max : 1;
    recent->rows = 0;
    for (const struct dataset *dataset = recent->coldest; dataset; dataset = dataset->warmer)
        recent->rows += rows_shown(recent, dataset);
    for (struct dataset *dataset = recent->coldest; dataset; dataset = dataset->warmer)
        dataset_trim(recent, dataset, &dropped);
    mutex_unlock(&recent->lock);
    clumps_unref(dropped);
}

void recent_evict(struct recent *recent)
{
    if (recent->ttl_ns == 0)
        return;
    struct clump *dropped = NULL;
    mutex_lock(&recent->lock);
    int64_t oldest_ns = clock_monotonic_ns(recent->clock) - recent->ttl_ns;
    while (recent->coldest && recent->coldest->touched_ns <= oldest_ns)
        dataset_evict(recent, recent->coldest, &dropped);
    mutex_unlock(&recent->lock);
    clumps_unref(dropped);
}

void recent_stats_get(struct recent *recent, struct recent_stats *ret_stats)
{
    mutex_lock(&recent->lock);
    *ret_stats = (struct recent_stats){.datasets = recent->datasets.live_count,
                                       .rows = recent->rows,
                                       .bytes = recent->size_bytes,
                                       .rows_max = recent->rows_max};
    mutex_unlock(&recent->lock);
}

/* A copy of what is there, so that callbacks run without the lock. */
struct listing {
    struct listed {
        uint8_t *id;
        size_t id_size;
        uint64_t rows;
        uint64_t bytes;
    } * items;
    size_t count;
    uint8_t *ids;
};

static void listing_fini(struct listing *listing)
{
    mem_free(listing->items);
    mem_free(listing->ids);
}

static int listed_compare(const void *left, const void *right)
{
    const struct listed *a = left;
    const struct listed *b = right;
    size_t size = a->id_size < b->id_size ? a->id_size : b->id_size;
    int order = size > 0 ? memcmp(a->id, b->id, size) : 0;
    return order != 0 ? order : (a->id_size > b->id_size) - (a->id_size < b->id_size);
}

static void listing_fill(const struct recent *recent, struct listing *listing)
{
    uint8_t *at = listing->ids;
    for (const struct dataset *dataset = recent->coldest; dataset; dataset = dataset->warmer) {
        memcpy(at, dataset->id, dataset->id_size);
        listing->items[listing->count++] =
            (struct listed){at, dataset->id_size, rows_shown(recent, dataset), dataset->size_bytes};
        at += dataset->id_size;
    }
}

static enum err listing_take(struct recent *recent, struct listing *ret_listing)
{
    *ret_listing = (struct listing){0};
    size_t id_bytes = 0;
    mutex_lock(&recent->lock);
    for (const struct dataset *dataset = recent->coldest; dataset; dataset = dataset->warmer)
        id_bytes += dataset->id_size;
    ret_listing->items = mem_zalloc(recent->datasets.live_count, sizeof(struct listed));
    ret_listing->ids = mem_alloc(id_bytes);
    bool made = ret_listing->items && ret_listing->ids;
    if (made)
        listing_fill(recent, ret_listing);
    mutex_unlock(&recent->lock);
    if (!made) {
        listing_fini(ret_listing);
        return ERR_NO_MEMORY;
    }
    return ERR_OK;
}

static void listing_sort(struct listing *listing)
{
    if (listing->count > 1)
        qsort(listing->items, listing->count, sizeof(struct listed), listed_compare);
}

enum err recent_list(struct recent *recent, enum err (*on_dataset)(void *ctx, struct bytes id),
                     void *ctx)
{
    struct listing listing;
    enum err err = listing_take(recent, &listing);
    if (err != ERR_OK)
        return err;
    listing_sort(&listing);
    for (size_t i = 0; i < listing.count && err == ERR_OK; i++)
        err = on_dataset(ctx, bytes_from(listing.items[i].id, listing.items[i].id_size));
    listing_fini(&listing);
    return err;
}

static enum err sizes_walk(struct recent *recent, bool sorted,
                           enum err (*on_dataset)(void *ctx, struct bytes id, uint64_t rows,
                                                  uint64_t bytes),
                           void *ctx)
{
    struct listing listing;
    enum err err = listing_take(recent, &listing);
    if (err != ERR_OK)
        return err;
    if (sorted)
        listing_sort(&listing);
    for (size_t i = 0; i < listing.count && err == ERR_OK; i++) {
        const struct listed *item = &listing.items[i];
        err = on_dataset(ctx, bytes_from(item->id, item->id_size), item->rows, item->bytes);
    }
    listing_fini(&listing);
    return err;
}

enum err recent_sizes(struct recent *recent,
                      enum err (*on_dataset)(void *ctx, struct bytes id, uint64_t rows,
                                             uint64_t bytes),
                      void *ctx)
{
    return sizes_walk(recent, true, on_dataset, ctx);
}

enum err recent_sizes_unsorted(struct recent *recent,
                               enum err (*on_dataset)(void *ctx, struct bytes id, uint64_t rows,
                                                      uint64_t bytes),
                               void *ctx)
{
    return sizes_walk(recent, false, on_dataset, ctx);
}

/* References to a dataset's clumps, oldest first. */
static enum err clumps_take(struct recent *recent, struct bytes id, struct clump ***ret_clumps,
                            size_t *ret_count)
{
    enum err err = ERR_OK;
    size_t count = 0;
    *ret_clumps = NULL;
    mutex_lock(&recent->lock);
    const struct dataset *dataset = map_get(&recent->datasets, id);
    for (const struct clump *clump = dataset ? dataset->oldest : NULL; clump;
         clump = clump->younger)
        count++;
    if (count > 0) {
        *ret_clumps = mem_zalloc(count, sizeof(struct clump *));
        err = *ret_clumps ? ERR_OK : ERR_NO_MEMORY;
    }
    if (*ret_clumps) {
        size_t i = 0;
        for (struct clump *clump = dataset->oldest; clump; clump = clump->younger) {
            clump_ref(clump);
            (*ret_clumps)[i++] = clump;
        }
    }
    mutex_unlock(&recent->lock);
    *ret_count = count;
    return err;
}

enum err recent_rows(struct recent *recent, struct bytes dataset_id, uint32_t row_limit,
                     struct buf *ret_sensor_id_field,
                     enum err (*on_row)(void *ctx, struct bytes json), void *ctx)
{
    struct clump **clumps;
    size_t count;
    enum err err = clumps_take(recent, dataset_id, &clumps, &count);
    if (err != ERR_OK || count == 0)
        return err;
    uint32_t rows_max = recent->rows_max;
    size_t limit = row_limit > 0 && row_limit < rows_max ? row_limit : rows_max;
    struct bytes field = clumps[count - 1]->route->view.sensor_id_field;
    if (ret_sensor_id_field)
        err = buf_append(ret_sensor_id_field, field.data, field.size);
    if (err == ERR_OK)
        err = clumps_render(clumps, count, limit, on_row, ctx);
    for (size_t i = 0; i < count; i++)
        clump_unref(clumps[i]);
    mem_free(clumps);
    return err;
}
