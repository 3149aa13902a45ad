/*
 * The index is an open table with linear probing. Entries leave it in two ways only: the youngest
 * first (truncate), which leaves the table as it was before they came, so no gap can cut a chain of
 * probes; or the oldest in bulk (forget), which builds it anew.
 */
#include "lake/dedupe_table.h"

#include "base/alloc.h"
#include "base/bytes.h"

#include <assert.h>
#include <string.h>

#define ENTRIES_FIRST 64

void dedupe_table_fini(struct dedupe_table *table)
{
    mem_free(table->entries);
    mem_free(table->slots);
    *table = (struct dedupe_table){0};
}

/* The slot that holds the digest's youngest entry, or the free one where it would stand. */
static uint32_t *slot_of(const struct dedupe_table *table, const uint8_t *digest)
{
    size_t mask = table->slot_count - 1;
    for (size_t i = (size_t)load_u64(digest) & mask;; i = (i + 1) & mask) {
        uint32_t *slot = &table->slots[i];
        if (*slot == 0 ||
            memcmp(table->entries[*slot - 1].digest, digest, DEDUPE_DIGEST_BYTES) == 0)
            return slot;
    }
}

static void index_entry(struct dedupe_table *table, size_t i)
{
    uint32_t *slot = slot_of(table, table->entries[i].digest);
    table->entries[i].older = *slot;
    *slot = (uint32_t)(i + 1);
}

static void index_all(struct dedupe_table *table)
{
    memset(table->slots, 0, table->slot_count * sizeof(*table->slots));
    for (size_t i = 0; i < table->count; i++)
        index_entry(table, i);
}

static enum err grow(struct dedupe_table *table)
{
    size_t capacity = table->capacity ? table->capacity * 2 : ENTRIES_FIRST;
    uint32_t *slots = mem_zalloc(capacity * 2, sizeof(*slots));
    struct dedupe_entry *entries =
        slots ? mem_realloc(table->entries, capacity * sizeof(*entries)) : NULL;
    if (!entries) {
        mem_free(slots);
        return ERR_NO_MEMORY;
    }
    mem_free(table->slots);
    table->entries = entries;
    table->capacity = capacity;
    table->slots = slots;
    table->slot_count = capacity * 2;
    index_all(table);
    return ERR_OK;
}

const struct dedupe_entry *dedupe_table_find(const struct dedupe_table *table,
                                             const uint8_t digest[DEDUPE_DIGEST_BYTES])
{
    uint32_t at = table->count > 0 ? *slot_of(table, digest) : 0;
    return at > 0 ? &table->entries[at - 1] : NULL;
}

const struct dedupe_entry *dedupe_table_older(const struct dedupe_table *table,
                                              const struct dedupe_entry *entry)
{
    return entry->older > 0 ? &table->entries[entry->older - 1] : NULL;
}

enum err dedupe_table_add(struct dedupe_table *table, const struct dedupe_entry *entry)
{
    if (table->count >= DEDUPE_ENTRIES_HARD)
        return ERR_TOO_MANY;
    if (table->count == table->capacity) {
        enum err err = grow(table);
        if (err != ERR_OK)
            return err;
    }
    table->entries[table->count] = *entry;
    index_entry(table, table->count++);
    return ERR_OK;
}

void dedupe_table_truncate(struct dedupe_table *table, size_t count)
{
    while (table->count > count) {
        const struct dedupe_entry *last = &table->entries[table->count - 1];
        uint32_t *slot = slot_of(table, last->digest);
        assert(*slot == table->count);
        *slot = last->older;
        table->count--;
    }
}

void dedupe_table_forget(struct dedupe_table *table, size_t oldest_count)
{
    if (oldest_count > table->count)
        oldest_count = table->count;
    if (oldest_count == 0)
        return;
    table->count -= oldest_count;
    memmove(table->entries, table->entries + oldest_count, table->count * sizeof(*table->entries));
    index_all(table);
}

size_t dedupe_table_bytes(const struct dedupe_table *table)
{
    return table->capacity * sizeof(*table->entries) + table->slot_count * sizeof(*table->slots);
}

static int order(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

int dedupe_place_compare(const struct dedupe_entry *entry, const struct dedupe_place *place)
{
    int compared = order(entry->block, place->block);
    if (compared == 0)
        compared = order(entry->route, place->route);
    if (compared == 0)
        compared = order(entry->message, place->message);
    return compared ? compared : order(entry->record, place->record);
}
