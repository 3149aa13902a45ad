#include "base/map.h"

#include "base/alloc.h"
#include "base/hash.h"

#define MAP_ENTRIES_MIN 2 /* there are very many maps of one entry */
#define MAP_ENTRIES_MAX ((size_t)1 << 30)

void map_init(struct map *map)
{
    *map = (struct map){0};
}

void map_fini(struct map *map)
{
    for (size_t i = 0; i < map->entry_count; i++)
        mem_free(map->entries[i].key);
    mem_free(map->entries);
    mem_free(map->slots);
    *map = (struct map){0};
}

static struct map_entry *entry_find(const struct map *map, struct bytes key, uint64_t hash)
{
    if (map->slot_count == 0)
        return NULL;
    size_t mask = map->slot_count - 1;
    for (size_t slot = hash & mask; map->slots[slot] != 0; slot = (slot + 1) & mask) {
        struct map_entry *entry = &map->entries[map->slots[slot] - 1];
        if (entry->hash == hash && entry->value &&
            bytes_equal(bytes_from(entry->key, entry->key_size), key))
            return entry;
    }
    return NULL;
}

void *map_get(const struct map *map, struct bytes key)
{
    struct map_entry *entry = entry_find(map, key, hash_bytes(key));
    return entry ? entry->value : NULL;
}

struct bytes map_key(const struct map *map, struct bytes key)
{
    const struct map_entry *entry = entry_find(map, key, hash_bytes(key));
    return entry ? bytes_from(entry->key, entry->key_size) : (struct bytes){0};
}

static void slot_fill(uint32_t *slots, size_t slot_count, uint64_t hash, size_t index)
{
    size_t mask = slot_count - 1;
    size_t slot = hash & mask;
    while (slots[slot] != 0)
        slot = (slot + 1) & mask;
    slots[slot] = (uint32_t)(index + 1);
}

/* Drops removed entries and makes room for twice the live ones. */
static enum err map_rebuild(struct map *map)
{
    size_t capacity = map->live_count < 1 ? MAP_ENTRIES_MIN : map->live_count * 2;
    if (capacity > MAP_ENTRIES_MAX)
        return ERR_TOO_MANY;
    size_t slot_count = 2 * MAP_ENTRIES_MIN;
    while (slot_count < capacity * 2)
        slot_count *= 2;
    struct map_entry *entries = mem_zalloc(capacity, sizeof(*entries));
    uint32_t *slots = mem_zalloc(slot_count, sizeof(*slots));
    if (!entries || !slots) {
        mem_free(entries);
        mem_free(slots);
        return ERR_NO_MEMORY;
    }
    size_t count = 0;
    for (size_t i = 0; i < map->entry_count; i++) {
        if (!map->entries[i].value) {
            mem_free(map->entries[i].key);
            continue;
        }
        entries[count] = map->entries[i];
        slot_fill(slots, slot_count, entries[count].hash, count);
        count++;
    }
    mem_free(map->entries);
    mem_free(map->slots);
    *map = (struct map){entries, count, count, capacity, slots, slot_count};
    return ERR_OK;
}

enum err map_put(struct map *map, struct bytes key, void *value)
{
    uint64_t hash = hash_bytes(key);
    struct map_entry *found = entry_find(map, key, hash);
    if (found) {
        found->value = value;
        return ERR_OK;
    }
    if (map->entry_count == map->entry_capacity) {
        enum err err = map_rebuild(map);
        if (err != ERR_OK)
            return err;
    }
    uint8_t *copy = mem_alloc(key.size + 1);
    if (!copy)
        return ERR_NO_MEMORY;
    if (key.size > 0)
        memcpy(copy, key.data, key.size);
    copy[key.size] = 0;
    map->entries[map->entry_count] = (struct map_entry){hash, copy, key.size, value};
    slot_fill(map->slots, map->slot_count, hash, map->entry_count);
    map->entry_count++;
    map->live_count++;
    return ERR_OK;
}

void *map_remove(struct map *map, struct bytes key)
{
    struct map_entry *entry = entry_find(map, key, hash_bytes(key));
    if (!entry)
        return NULL;
    void *value = entry->value;
    entry->value = NULL;
    map->live_count--;
    return value;
}

struct map_entry *map_next(const struct map *map, size_t *cursor)
{
    while (*cursor < map->entry_count) {
        struct map_entry *entry = &map->entries[(*cursor)++];
        if (entry->value)
            return entry;
    }
    return NULL;
}
