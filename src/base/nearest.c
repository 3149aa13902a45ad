#include "base/nearest.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

static char folded(char c)
{
    return c == '-' ? '_' : (char)tolower((unsigned char)c);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t nearest_distance(const char *a, const char *b)
{
    size_t a_size = strlen(a);
    size_t b_size = strlen(b);
    if (a_size > NEAREST_BYTES_MAX || b_size > NEAREST_BYTES_MAX)
        return SIZE_MAX;
    size_t row[NEAREST_BYTES_MAX + 1];
    for (size_t j = 0; j <= b_size; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t change = diagonal + (folded(a[i - 1]) != folded(b[j - 1]));
            diagonal = row[j];
            row[j] = smaller(change, smaller(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_size];
}

void nearest_offer(struct nearest *nearest, const char *unknown, const char *known)
{
    size_t distance = nearest_distance(unknown, known);
    /* A third of the word may differ; more is another word. */
    if (distance > 1 + strlen(unknown) / 3)
        return;
    if (!nearest->word || distance < nearest->distance)
        *nearest = (struct nearest){known, distance};
}
