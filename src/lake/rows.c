#include "lake/rows.h"

#include "base/alloc.h"
#include "base/limits.h"

#define ROW_BYTES (2 * sizeof(int64_t) + 2 * sizeof(uint32_t))
#define HOUR_US   (3600 * US_PER_S)

void rows_init(struct rows *rows, size_t *memory_bytes)
{
    *rows = (struct rows){.memory_bytes = memory_bytes};
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
    if (rows->memory_bytes)
        *rows->memory_bytes -= rows->capacity * ROW_BYTES;
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

static bool partition_find(struct rows *rows, int64_t hour, uint32_t *ret_index)
{
    if (rows->partition_last < rows->partition_count &&
        rows->partitions[rows->partition_last].hour == hour) {
        *ret_index = rows->partition_last;
        return true;
    }
    for (uint32_t i = 0; i < rows->partition_count; i++) {
        if (rows->partitions[i].hour == hour) {
            *ret_index = rows->partition_last = i;
            return true;
        }
    }
    return false;
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
    bool found = partition_find(rows, hour, ret_index);
    if (!found && rows->partition_count >= ROWS_PARTITIONS_MAX) {
        hour = hour_of(time->arrival_us);
        found = partition_find(rows, hour, ret_index);
    }
    if (!found)
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

void rows_truncate(struct rows *rows, size_t count, uint32_t partition_count)
{
    if (rows->count > count)
        rows->count = count;
    if (rows->partition_count > partition_count)
        rows->partition_count = partition_count;
    leaf_truncate(&rows->rescued, count);
}
