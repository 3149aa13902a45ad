#pragma once
/*
 * All allocation goes through here, so that a test can make the k-th one fail. Any thread.
 * Every function that returns memory returns NULL when there is none; callers turn that into
 * ERR_NO_MEMORY. mem_free(NULL) is fine.
 */
#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t size_bytes) __attribute__((malloc, alloc_size(1), warn_unused_result));
/* Zeroed; the product may not overflow (NULL if it does). */
void *mem_zalloc(size_t count, size_t size_bytes)
    __attribute__((malloc, alloc_size(1, 2), warn_unused_result));
/* On failure the old block stays valid. */
void *mem_realloc(void *block, size_t size_bytes)
    __attribute__((alloc_size(2), warn_unused_result));
void *mem_aligned(size_t alignment, size_t size_bytes)
    __attribute__((malloc, alloc_size(2), warn_unused_result));
void mem_free(void *block);
char *mem_strdup(const char *text) __attribute__((malloc, warn_unused_result));
void *mem_dup(const void *data, size_t size_bytes) __attribute__((warn_unused_result));

/* Once, first thing in main. Journal blocks (256 KiB) are made and freed thousands of times a
 * second; left to itself glibc gives each back to the kernel and takes 75 page faults for the next,
 * which costs more than all else that happens to the messages in it (measured: 177 ns a message, 17
 * with this). Up to 32 MiB stay with the process. */
void mem_tune(void);
/* The same for a process that is to stay within so many bytes: with few of them, the allocator
 * keeps less for each thread. Before there are threads. */
void mem_tune_limit(uint64_t limit_bytes);

/* Gives what is free and can be given back to the kernel. Takes milliseconds, and other threads
 * wait for some of them. */
void mem_trim(void);

/* Tests: make the k-th allocation from now (1 is the next) fail, once; 0 turns it off. */
void mem_fail_at(uint64_t k);
/* Tests: whether the failure asked for has happened. */
int mem_failed(void);
