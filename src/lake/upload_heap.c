#include "lake/upload_heap.h"

#include "base/alloc.h"

#include <assert.h>

static bool is_before(const struct landed_cut *a, const struct landed_cut *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->sequence < b->sequence;
}

static void sift_down(struct upload_heap *heap, size_t at)
{
    struct landed_cut *cut = heap->cuts[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < heap->count && is_before(heap->cuts[child + 1], heap->cuts[child]))
            child++;
        if (child >= heap->count || !is_before(heap->cuts[child], cut))
            break;
        heap->cuts[at] = heap->cuts[child];
        at = child;
    }
    heap->cuts[at] = cut;
}

void upload_heap_push(struct upload_heap *heap, struct landed_cut *cut)
{
    assert(heap->count < heap->capacity);
    size_t at = heap->count++;
    while (at > 0 && is_before(cut, heap->cuts[(at - 1) / 2])) {
        heap->cuts[at] = heap->cuts[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->cuts[at] = cut;
}

struct landed_cut *upload_heap_pop(struct upload_heap *heap)
{
    struct landed_cut *cut = heap->cuts[0];
    heap->count--;
    if (heap->count > 0) {
        heap->cuts[0] = heap->cuts[heap->count];
        sift_down(heap, 0);
    }
    return cut;
}

enum err upload_heap_reserve(struct upload_heap *heap, size_t count)
{
    if (count <= heap->capacity)
        return ERR_OK;
    size_t capacity = heap->capacity ? heap->capacity * 2 : 64;
    struct landed_cut **grown = mem_realloc(heap->cuts, capacity * sizeof(struct landed_cut *));
    if (!grown)
        return ERR_NO_MEMORY;
    heap->cuts = grown;
    heap->capacity = capacity;
    return ERR_OK;
}

void upload_heap_all_due(struct upload_heap *heap, int64_t now_ns)
{
    for (size_t i = 0; i < heap->count; i++)
        heap->cuts[i]->due_ns = now_ns;
    for (size_t i = heap->count / 2; i-- > 0;)
        sift_down(heap, i);
}

void upload_heap_fini(struct upload_heap *heap)
{
    mem_free(heap->cuts);
    *heap = (struct upload_heap){0};
}
