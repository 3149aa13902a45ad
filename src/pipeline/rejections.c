#include "pipeline/rejections.h"

#include "base/alloc.h"
#include "base/map.h"
#include "os/thread.h"

struct rejections {
    struct mutex lock;
    struct map by_topic; /* -> struct ingest_rejection */
};

enum err rejections_new(struct rejections **ret_rejections)
{
    struct rejections *rejections = mem_zalloc(1, sizeof(*rejections));
    if (!rejections)
        return ERR_NO_MEMORY;
    mutex_init(&rejections->lock);
    map_init(&rejections->by_topic);
    *ret_rejections = rejections;
    return ERR_OK;
}

void rejections_free(struct rejections *rejections)
{
    if (!rejections)
        return;
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&rejections->by_topic, &cursor));)
        mem_free(entry->value);
    map_fini(&rejections->by_topic);
    mutex_fini(&rejections->lock);
    mem_free(rejections);
}

static struct ingest_rejection *topic_get(struct map *by_topic, struct bytes topic)
{
    struct ingest_rejection *found = map_get(by_topic, topic);
    if (found || by_topic->live_count == REJECTIONS_TOPICS_MAX)
        return found;
    found = mem_zalloc(1, sizeof(*found));
    if (found && map_put(by_topic, topic, found) != ERR_OK) {
        mem_free(found);
        found = NULL;
    }
    return found;
}

void rejections_add(struct rejections *rejections, struct bytes topic,
                    const struct ingest_rejection *rejection)
{
    mutex_lock(&rejections->lock);
    struct ingest_rejection *found = topic_get(&rejections->by_topic, topic);
    if (found) {
        uint64_t before = found->messages;
        *found = *rejection;
        found->messages += before;
    }
    mutex_unlock(&rejections->lock);
}

bool rejections_get(struct rejections *rejections, struct bytes topic,
                    struct ingest_rejection *ret_rejection)
{
    mutex_lock(&rejections->lock);
    const struct ingest_rejection *found = map_get(&rejections->by_topic, topic);
    if (found)
        *ret_rejection = *found;
    mutex_unlock(&rejections->lock);
    return found != NULL;
}
