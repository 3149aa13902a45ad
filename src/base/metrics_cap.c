#include "base/alloc.h"
#include "base/map.h"
#include "base/metrics.h"

#include <pthread.h>

#define CAP_VALUE_BYTES_MAX 1024

struct metrics_cap {
    pthread_mutex_t lock;
    struct map values; /* value -> its own copy */
    size_t value_max;
};

enum err metrics_cap_new(size_t value_max, struct metrics_cap **ret_cap)
{
    struct metrics_cap *cap = mem_zalloc(1, sizeof(*cap));
    if (!cap)
        return ERR_NO_MEMORY;
    pthread_mutex_init(&cap->lock, NULL);
    cap->value_max = value_max;
    *ret_cap = cap;
    return ERR_OK;
}

void metrics_cap_free(struct metrics_cap *cap)
{
    if (!cap)
        return;
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&cap->values, &cursor));)
        mem_free(entry->value);
    map_fini(&cap->values);
    pthread_mutex_destroy(&cap->lock);
    mem_free(cap);
}

/* A NUL inside would end the label early and make two values one. */
static char *value_add(struct metrics_cap *cap, struct bytes value)
{
    if (cap->values.live_count >= cap->value_max || value.size > CAP_VALUE_BYTES_MAX ||
        (value.size > 0 && memchr(value.data, 0, value.size)))
        return NULL;
    char *copy = mem_zalloc(1, value.size + 1);
    if (!copy)
        return NULL;
    if (value.size > 0)
        memcpy(copy, value.data, value.size);
    if (map_put(&cap->values, value, copy) != ERR_OK) {
        mem_free(copy);
        return NULL;
    }
    return copy;
}

const char *metrics_cap_value(struct metrics_cap *cap, struct bytes value)
{
    pthread_mutex_lock(&cap->lock);
    char *known = map_get(&cap->values, value);
    if (!known)
        known = value_add(cap, value);
    pthread_mutex_unlock(&cap->lock);
    return known ? known : METRICS_CAP_OTHER;
}
