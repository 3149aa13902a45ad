#pragma once
/*
 * Counts distinct things by their 64-bit hashes: exactly up to DISTINCT_EXACT_MAX of them, then as
 * a HyperLogLog of 2^16 registers (standard error 0.41 %). Adding and merging are idempotent and
 * commute. One thread at a time; fails with ERR_NO_MEMORY, and then is as it was.
 *
 * Encoded: u8 kind | kind 1: u32 count, count x u64, ascending | kind 2: 65536 registers
 */
#include "base/buf.h"

#include <stdbool.h>

#define DISTINCT_EXACT_MAX 4096
#define DISTINCT_REGISTERS 65536

struct distinct {
    uint64_t *hashes; /* open addressing; 0: free */
    uint32_t count;
    uint32_t capacity;
    uint8_t *registers; /* instead of hashes, beyond DISTINCT_EXACT_MAX */
};

void distinct_init(struct distinct *distinct);
void distinct_fini(struct distinct *distinct);
/* Empties it. */
void distinct_clear(struct distinct *distinct);
/* *ret_new: it may not have been there (false: nothing changed). */
enum err distinct_add(struct distinct *distinct, uint64_t hash, bool *ret_new) ERR_MUST_USE;
/* False: it is not there, or only the registers could tell. */
bool distinct_has(const struct distinct *distinct, uint64_t hash);
enum err distinct_merge(struct distinct *into, const struct distinct *from) ERR_MUST_USE;
/* Whether both say the same: of the same things, and as exactly. */
bool distinct_equal(const struct distinct *a, const struct distinct *b);
bool distinct_is_empty(const struct distinct *distinct);
uint64_t distinct_count(const struct distinct *distinct);
/* The hash that things are counted by. */
uint64_t distinct_hash(struct bytes thing);

void distinct_encode(const struct distinct *distinct, struct buf *out);
/* Into an empty one. ERR_CORRUPT. */
enum err distinct_decode(struct distinct *distinct, struct bytes encoded) ERR_MUST_USE;
