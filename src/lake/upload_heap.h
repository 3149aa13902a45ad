#pragma once
/*
 * Cuts by the time at which they are due, then by age. A zeroed one is empty. One thread at a time
 * (the upload's lock). Only upload_heap_reserve can fail, with ERR_NO_MEMORY.
 */
#include "lake/landed_cut.h"

struct upload_heap {
    struct landed_cut **cuts; /* cuts[0] is the first due */
    size_t count;
    size_t capacity;
};

void upload_heap_fini(struct upload_heap *heap);
/* Room for count in all. */
enum err upload_heap_reserve(struct upload_heap *heap, size_t count) ERR_MUST_USE;
/* Asserts that room was reserved. */
void upload_heap_push(struct upload_heap *heap, struct landed_cut *cut);
/* Of one that is not empty. */
struct landed_cut *upload_heap_pop(struct upload_heap *heap);
void upload_heap_all_due(struct upload_heap *heap, int64_t now_ns);
