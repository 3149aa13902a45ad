#include "lake/rows.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <stdlib.h>

#define ROW_BYTES (2 * sizeof(int64_t) + 2 * sizeof(uint32_t))
#define HOUR_US   (3600 * US_PER_S)

/* With its entry in the map, about. */
#define PARTITION_BYTES (sizeof(struct partition) + sizeof(struct map_entry) + 24)

void rows_init(struct rows *rows, size_t *memory_bytes)
{
    *rows = (struct rows){.memory_bytes = memory_bytes};
    map_init(&rows->by_hour);
    leaf_init(&rows->rescued, PARQUET_STRING, 1, 0, memory_bytes);
}

void rows_clear(struct rows *rows)
{
    leaf_clear(&rows->rescued);
    mem_free(rows->event_us);
    mem_free(rows->arrival_us);
    mem_free(rows->origin);
    mem_free(rows->partition);
    mem_free(rows->partitions);
    mem_free(rows->moved);
    map_fini(&rows->by_hour);
    if (rows->memory_bytes)
        *rows->memory_bytes -= rows->capacity * ROW_BYTES +
                               rows->partition_count * PARTITION_BYTES +
                               rows->moved_capacity * sizeof(*rows->moved);
    rows_init(rows, rows->memory_bytes);
}

/* Each array may grow alone and stay grown: capacity is that of the smallest. */
static enum err rows_grow(struct rows *rows)
{
    size_t capacity = rows->capacity ? rows->capacity * 2 : 16;
    void *grown = mem_realloc(rows->event_us, capacity * sizeof(int64_t));
    if (!grown)
        return ERR_NO_MEMORY;
    rows->event_us = grown;
    grown = mem_realloc(rows->arrival_us, capacity * sizeof(int64_t));
    if (!grown)
        return ERR_NO_MEMORY;
    rows->arrival_us = grown;
    grown = mem_realloc(rows->origin, capacity * sizeof(uint32_t));
    if (!grown)
        return ERR_NO_MEMORY;
    rows->origin = grown;
    grown = mem_realloc(rows->partition, capacity * sizeof(uint32_t));
    if (!grown)
        return ERR_NO_MEMORY;
    rows->partition = grown;
    *rows->memory_bytes += (capacity - rows->capacity) * ROW_BYTES;
    rows->capacity = capacity;
    return ERR_OK;
}

static int64_t hour_of(int64_t us)
{
    int64_t hour = us / HOUR_US;
    return us % HOUR_US < 0 ? hour - 1 : hour;
}

static struct bytes hour_key(const int64_t *hour)
{
    return bytes_from((const uint8_t *)hour, sizeof(*hour));
}

static bool partition_find(struct rows *rows, int64_t hour, uint32_t *ret_index)
{
    if (rows->partition_last < rows->partition_count &&
        rows->partitions[rows->partition_last].hour == hour) {
        *ret_index = rows->partition_last;
        return true;
    }
    uintptr_t found = (uintptr_t)map_get(&rows->by_hour, hour_key(&hour));
    if (found == 0)
        return false;
    *ret_index = rows->partition_last = (uint32_t)found - 1;
    return true;
}

static enum err partition_add(struct rows *rows, int64_t hour, struct position position,
                              uint32_t *ret_index)
{
    if (rows->partition_count == rows->partition_capacity) {
        uint32_t capacity = rows->partition_capacity ? rows->partition_capacity * 2 : 2;
        struct partition *grown = mem_realloc(rows->partitions, capacity * sizeof(*grown));
        if (!grown)
            return ERR_NO_MEMORY;
        rows->partitions = grown;
        rows->partition_capacity = capacity;
    }
    enum err err =
        map_put(&rows->by_hour, hour_key(&hour), (void *)((uintptr_t)rows->partition_count + 1));
    if (err != ERR_OK)
        return err;
    *rows->memory_bytes += PARTITION_BYTES;
    *ret_index = rows->partition_last = rows->partition_count++;
    rows->partitions[*ret_index] = (struct partition){hour, position};
    return ERR_OK;
}

static bool is_before(struct position a, struct position b)
{
    return a.block < b.block || (a.block == b.block && a.index < b.index);
}

static enum err partition_get(struct rows *rows, const struct row_time *time,
                              struct position position, uint32_t *ret_index)
{
    int64_t hour = hour_of(time->partition_us);
    if (!partition_find(rows, hour, ret_index))
        return partition_add(rows, hour, position, ret_index);
    if (is_before(position, rows->partitions[*ret_index].first))
        rows->partitions[*ret_index].first = position;
    return ERR_OK;
}

enum err rows_add(struct rows *rows, const struct row_time *time, uint32_t origin,
                  struct position position, struct bytes rescued)
{
    if (rows->count == rows->capacity) {
        enum err err = rows_grow(rows);
        if (err != ERR_OK)
            return err;
    }
    if (rescued.size > 0) {
        enum err err = leaf_string(&rows->rescued, rows->count, 0, rescued);
        if (err != ERR_OK)
            return err;
    }
    uint32_t partition;
    enum err err = partition_get(rows, time, position, &partition);
    if (err != ERR_OK) {
        leaf_truncate(&rows->rescued, rows->count);
        return err;
    }
    rows->event_us[rows->count] = time->event_us;
    rows->arrival_us[rows->count] = time->arrival_us;
    rows->origin[rows->count] = origin;
    rows->partition[rows->count++] = partition;
    return ERR_OK;
}

enum err rows_note_moved(struct rows *rows, uint32_t before)
{
    if (rows->moved_count == rows->moved_capacity) {
        size_t capacity = rows->moved_capacity ? rows->moved_capacity * 2 : 16;
        struct rows_moved *grown = mem_realloc(rows->moved, capacity * sizeof(*grown));
        if (!grown)
            return ERR_NO_MEMORY;
        *rows->memory_bytes += (capacity - rows->moved_capacity) * sizeof(*grown);
        rows->moved = grown;
        rows->moved_capacity = capacity;
    }
    rows->moved[rows->moved_count++] = (struct rows_moved){(uint32_t)rows->count, before};
    return ERR_OK;
}

uint64_t rows_arrival_order(const struct rows *rows, size_t row)
{
    size_t low = 0;
    size_t high = rows->moved_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (rows->moved[middle].row < row)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < rows->moved_count && rows->moved[low].row == row)
        return (uint64_t)rows->moved[low].before << 32 | low;
    return (uint64_t)row << 32 | UINT32_MAX;
}

void rows_truncate(struct rows *rows, size_t count, uint32_t partition_count)
{
    if (rows->count > count)
        rows->count = count;
    while (rows->partition_count > partition_count) {
        map_remove(&rows->by_hour, hour_key(&rows->partitions[--rows->partition_count].hour));
        *rows->memory_bytes -= PARTITION_BYTES;
    }
    while (rows->moved_count > 0 && rows->moved[rows->moved_count - 1].row >= count)
        rows->moved_count--;
    leaf_truncate(&rows->rescued, count);
}

/* --- at the cut ---------------------------------------------------------------------------- */

static int by_first(const void *a, const void *b)
{
    const struct partition *left = *(const struct partition *const *)a;
    const struct partition *right = *(const struct partition *const *)b;
    if (is_before(left->first, right->first))
        return -1;
    if (is_before(right->first, left->first))
        return 1;
    return (left->hour > right->hour) - (left->hour < right->hour); /* of one message */
}

/* Moves the row into its arrival's hour, which it makes if need be. */
static enum err row_by_arrival(const struct rows *rows, struct rows *settled, size_t row)
{
    int64_t hour = hour_of(rows->arrival_us[row]);
    struct position first = rows->partitions[rows->partition[row]].first;
    uint32_t index;
    if (!partition_find(settled, hour, &index)) {
        enum err err = partition_add(settled, hour, first, &index);
        if (err != ERR_OK)
            return err;
    }
    if (is_before(first, settled->partitions[index].first))
        settled->partitions[index].first = first;
    settled->partition[row] = index;
    return ERR_OK;
}

/* kept: by the old index, the new one + 1; 0: by arrival. */
static enum err partitions_keep(const struct rows *rows, struct rows *settled, uint32_t *kept,
                                const struct partition **order)
{
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < rows->partition_count; i++)
        order[i] = &rows->partitions[i];
    qsort(order, rows->partition_count, sizeof(const struct partition *), by_first);
    for (uint32_t i = 0; i < ROWS_PARTITIONS_MAX && err == ERR_OK; i++) {
        uint32_t index;
        err = partition_add(settled, order[i]->hour, order[i]->first, &index);
        kept[order[i] - rows->partitions] = index + 1;
    }
    for (size_t i = 0; i < rows->count && err == ERR_OK; i++) {
        uint32_t index = kept[rows->partition[i]];
        if (index > 0)
            settled->partition[i] = index - 1;
        else
            err = row_by_arrival(rows, settled, i);
    }
    return err;
}

enum err rows_settle(const struct rows *rows, struct rows *ret_settled)
{
    *ret_settled = *rows;
    if (rows->partition_count <= ROWS_PARTITIONS_MAX)
        return ERR_OK;
    ret_settled->partitions = NULL;
    ret_settled->partition_count = ret_settled->partition_capacity = 0;
    map_init(&ret_settled->by_hour);
    ret_settled->partition = mem_alloc(rows->count * sizeof(uint32_t));
    uint32_t *kept = mem_zalloc(rows->partition_count, sizeof(*kept));
    const struct partition **order =
        mem_zalloc(rows->partition_count, sizeof(const struct partition *));
    enum err err = ret_settled->partition && kept && order
                       ? partitions_keep(rows, ret_settled, kept, order)
                       : ERR_NO_MEMORY;
    mem_free(order);
    mem_free(kept);
    return err;
}

void rows_settled_fini(const struct rows *rows, struct rows *settled)
{
    if (settled->partitions == rows->partitions)
        return;
    *settled->memory_bytes -= settled->partition_count * PARTITION_BYTES;
    mem_free(settled->partitions);
    mem_free(settled->partition);
    map_fini(&settled->by_hour);
}
