#pragma once
/*
 * What a dataset has kept lately, by the digest of its dedupe_key's value: entries in the order in
 * which they were added, and an index from a digest to its youngest entry, each of which knows the
 * one before it. Adding is at the end, taking back from the end, forgetting from the beginning.
 *
 * One thread. Digests are of a cryptographic hash, so their first bytes spread well whoever chose
 * the values. Fails with ERR_NO_MEMORY, and ERR_TOO_MANY beyond DEDUPE_ENTRIES_HARD.
 */
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEDUPE_DIGEST_BYTES 16
#define DEDUPE_ENTRIES_MAX  ((size_t)250000)         /* between blocks */
#define DEDUPE_ENTRIES_HARD (2 * DEDUPE_ENTRIES_MAX) /* within one */

/* The place of a record in the order in which records are looked at: a block's routes one after
 * the other, a route's messages in order, a message's records in order. */
struct dedupe_place {
    uint64_t block;
    uint32_t route;
    uint32_t message;
    uint32_t record;
};

struct dedupe_entry {
    uint8_t digest[DEDUPE_DIGEST_BYTES];
    int64_t arrival_us;
    uint64_t block;
    uint32_t route;
    uint32_t message;
    uint32_t record;
    uint32_t older; /* index + 1 of the entry before it with this digest; 0: none */
};

struct dedupe_table {
    struct dedupe_entry *entries;
    size_t count;
    size_t capacity;
    uint32_t *slots; /* index + 1; 0: free */
    size_t slot_count;
};

void dedupe_table_fini(struct dedupe_table *table); /* a zeroed one is empty */

/* The youngest with this digest, and the one before an entry; NULL: there is none. */
const struct dedupe_entry *dedupe_table_find(const struct dedupe_table *table,
                                             const uint8_t digest[DEDUPE_DIGEST_BYTES]);
const struct dedupe_entry *dedupe_table_older(const struct dedupe_table *table,
                                              const struct dedupe_entry *entry);
/* older is filled in. */
enum err dedupe_table_add(struct dedupe_table *table,
                          const struct dedupe_entry *entry) ERR_MUST_USE;
void dedupe_table_truncate(struct dedupe_table *table, size_t count);
void dedupe_table_forget(struct dedupe_table *table, size_t oldest_count);
size_t dedupe_table_bytes(const struct dedupe_table *table);

/* Negative, 0, positive: the entry stands before the place, at it, behind it. */
int dedupe_place_compare(const struct dedupe_entry *entry, const struct dedupe_place *place);
