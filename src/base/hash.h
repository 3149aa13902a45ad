#pragma once
/* One 64-bit hash for tables and for telling repeated messages (XXH3, from libxxhash). Its values
 * are stored in the journal, so the function may not change without a new journal version. */
#define XXH_INLINE_ALL
#include "base/bytes.h"

#include <xxhash.h>

static inline uint64_t hash_bytes(struct bytes bytes)
{
    return XXH3_64bits(bytes.data ? (const void *)bytes.data : "", bytes.size);
}

static inline uint64_t hash_bytes_seeded(struct bytes bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes.data ? (const void *)bytes.data : "", bytes.size, seed);
}
