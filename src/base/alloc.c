#include "base/alloc.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_LIMIT_BYTES (512ULL * 1024 * 1024)

static _Atomic uint64_t fail_countdown;
static _Atomic int fail_happened;

static int must_fail(void)
{
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) == 0)
        return 0;
    if (atomic_fetch_sub(&fail_countdown, 1) != 1)
        return 0;
    atomic_store(&fail_happened, 1);
    return 1;
}

void mem_tune(void)
{
    mallopt(M_MMAP_THRESHOLD, 4 * 1024 * 1024);
    mallopt(M_TRIM_THRESHOLD, 32 * 1024 * 1024);
}

void mem_tune_limit(uint64_t limit_bytes)
{
    if (limit_bytes > SMALL_LIMIT_BYTES)
        return;
    mallopt(M_ARENA_MAX, 4);
    mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
    mallopt(M_TOP_PAD, 64 * 1024);
}

void mem_fail_at(uint64_t k)
{
    atomic_store(&fail_happened, 0);
    atomic_store(&fail_countdown, k);
}

int mem_failed(void)
{
    return atomic_load(&fail_happened);
}

void *mem_alloc(size_t size_bytes)
{
    return must_fail() ? NULL : malloc(size_bytes ? size_bytes : 1);
}

void *mem_zalloc(size_t count, size_t size_bytes)
{
    return must_fail() ? NULL : calloc(count ? count : 1, size_bytes ? size_bytes : 1);
}

void *mem_realloc(void *block, size_t size_bytes)
{
    return must_fail() ? NULL : realloc(block, size_bytes ? size_bytes : 1);
}

void *mem_aligned(size_t alignment, size_t size_bytes)
{
    void *block = NULL;
    if (must_fail() || posix_memalign(&block, alignment, size_bytes) != 0)
        return NULL;
    return block;
}

void mem_free(void *block)
{
    free(block);
}

void *mem_dup(const void *data, size_t size_bytes)
{
    void *copy = mem_alloc(size_bytes);
    if (copy && size_bytes > 0)
        memcpy(copy, data, size_bytes);
    return copy;
}

char *mem_strdup(const char *text)
{
    return mem_dup(text, strlen(text) + 1);
}

void mem_trim(void)
{
    malloc_trim(0);
}
