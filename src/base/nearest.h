#pragma once
/*
 * "Did you mean …?": the known word nearest to one that is not known, by edit distance, case and
 * the difference between - and _ ignored. Pure; any thread. Words over 64 bytes have no neighbour.
 */
#include <stddef.h>

#define NEAREST_BYTES_MAX 64

/* The distance of two words; SIZE_MAX when one is too long. */
size_t nearest_distance(const char *a, const char *b);

struct nearest {
    const char *word; /* NULL: nothing is near enough to be worth saying */
    size_t distance;
};

/* Offers one known word; the best so far stays. Begin with a zeroed struct. */
void nearest_offer(struct nearest *nearest, const char *unknown, const char *known);
