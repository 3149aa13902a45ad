#include "base/arena.h"

#include "base/alloc.h"

#define ARENA_CHUNK_MIN  1024
#define ARENA_CHUNK_MAX  (1024 * 1024)
#define CACHE_LINE_BYTES 64

struct arena_chunk {
    struct arena_chunk *next;
    size_t size;
    size_t used;
    _Alignas(8) uint8_t data[];
};

void arena_init(struct arena *arena, size_t size_max)
{
    *arena = (struct arena){.size_max = size_max};
}

static void chunks_free(struct arena_chunk *chunk)
{
    while (chunk) {
        struct arena_chunk *next = chunk->next;
        mem_free(chunk);
        chunk = next;
    }
}

void arena_fini(struct arena *arena)
{
    chunks_free(arena->chunks);
    *arena = (struct arena){.size_max = arena->size_max};
}

void arena_reset(struct arena *arena)
{
    arena->used_bytes = 0;
    if (!arena->chunks)
        return;
    chunks_free(arena->chunks->next);
    arena->held_bytes = sizeof(*arena->chunks) + arena->chunks->size;
    arena->chunks->next = NULL;
    arena->chunks->used = 0;
}

static struct arena_chunk *chunk_add(struct arena *arena, size_t size_bytes)
{
    /* by half: a schema has an arena, and there may be very many of them */
    size_t size = arena->held_bytes / 2;
    if (size < ARENA_CHUNK_MIN)
        size = ARENA_CHUNK_MIN;
    if (size > ARENA_CHUNK_MAX)
        size = ARENA_CHUNK_MAX;
    if (size < size_bytes)
        size = size_bytes;
    struct arena_chunk *chunk = mem_alloc(sizeof(*chunk) + size);
    if (!chunk)
        return NULL;
    *chunk = (struct arena_chunk){.next = arena->chunks, .size = size};
    arena->chunks = chunk;
    arena->held_bytes += sizeof(*chunk) + size;
    return chunk;
}

void *arena_alloc(struct arena *arena, size_t size_bytes)
{
    if (size_bytes > SIZE_MAX - 8)
        return NULL;
    size_bytes = (size_bytes + 7) & ~(size_t)7;
    if (size_bytes > arena->size_max - arena->used_bytes)
        return NULL;
    struct arena_chunk *chunk = arena->chunks;
    if (!chunk || size_bytes > chunk->size - chunk->used) {
        chunk = chunk_add(arena, size_bytes);
        if (!chunk)
            return NULL;
    }
    void *block = chunk->data + chunk->used;
    chunk->used += size_bytes;
    arena->used_bytes += size_bytes;
    return block;
}

void *arena_zalloc(struct arena *arena, size_t size_bytes)
{
    void *block = arena_alloc(arena, size_bytes);
    if (block)
        memset(block, 0, size_bytes);
    return block;
}

void *arena_zalloc_line(struct arena *arena, size_t size_bytes)
{
    if (size_bytes > SIZE_MAX - CACHE_LINE_BYTES)
        return NULL;
    const struct arena_chunk *chunk = arena->chunks;
    size_t skip = chunk ? -(uintptr_t)(chunk->data + chunk->used) & (CACHE_LINE_BYTES - 1) : 0;
    if (!chunk || size_bytes + skip > chunk->size - chunk->used)
        skip = CACHE_LINE_BYTES; /* in a new chunk */
    uint8_t *block = arena_zalloc(arena, size_bytes + skip);
    return block ? block + (-(uintptr_t)block & (CACHE_LINE_BYTES - 1)) : NULL;
}

char *arena_dup(struct arena *arena, const void *data, size_t size_bytes)
{
    char *copy = arena_alloc(arena, size_bytes + 1);
    if (!copy)
        return NULL;
    if (size_bytes > 0)
        memcpy(copy, data, size_bytes);
    copy[size_bytes] = '\0';
    return copy;
}
