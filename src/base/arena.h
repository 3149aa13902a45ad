#pragma once
/*
 * An arena per batch or request: many small allocations, freed together. One thread at a time.
 * What it gives lives until arena_reset or arena_fini. NULL when there is no memory or the
 * maximum is reached.
 */
#include "base/bytes.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    size_t used_bytes;          /* given out, alignment included */
    size_t held_bytes;          /* taken from the allocator */
    size_t size_max;
};

void arena_init(struct arena *arena, size_t size_max);
void arena_fini(struct arena *arena);
/* Forgets all allocations, keeps the newest chunk. */
void arena_reset(struct arena *arena);
/* 8-byte aligned, not zeroed. */
void *arena_alloc(struct arena *arena, size_t size_bytes);
void *arena_zalloc(struct arena *arena, size_t size_bytes);
/* Zeroed, and at the beginning of a cache line: for what every message touches. */
void *arena_zalloc_line(struct arena *arena, size_t size_bytes);
/* A copy with a NUL after it. */
char *arena_dup(struct arena *arena, const void *data, size_t size_bytes);
