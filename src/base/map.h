#pragma once
/*
 * A hash map from bytes to a pointer. Keys are copied. One thread at a time. Order of iteration
 * is that of insertion as long as nothing was removed.
 */
#include "base/bytes.h"
#include "base/err.h"

struct map_entry {
    uint64_t hash;
    uint8_t *key; /* NUL after it, not counted */
    size_t key_size;
    void *value; /* NULL marks a removed entry */
};

struct map {
    struct map_entry *entries;
    size_t entry_count; /* removed ones included */
    size_t live_count;
    size_t entry_capacity;
    uint32_t *slots; /* index + 1 into entries, 0 free */
    size_t slot_count;
};

void map_init(struct map *map);
void map_fini(struct map *map);
/* NULL when absent. */
void *map_get(const struct map *map, struct bytes key);
/* The map's own copy of a key, which lives until the key is removed; empty when absent. */
struct bytes map_key(const struct map *map, struct bytes key);
/* Adds or replaces; value must not be NULL. */
enum err map_put(struct map *map, struct bytes key, void *value) ERR_MUST_USE;
/* Returns what stood there, or NULL. */
void *map_remove(struct map *map, struct bytes key);
/* What it holds, about: keys are short. */
static inline size_t map_memory_bytes(const struct map *map)
{
    return map->entry_capacity * sizeof(*map->entries) + map->slot_count * sizeof(*map->slots) +
           map->live_count * 48;
}
/* *cursor starts at 0. NULL at the end. Removing the entry just returned is allowed. */
struct map_entry *map_next(const struct map *map, size_t *cursor);
