#include "lake/deferred.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "codec/json.h"

#define TEXT_MAX (4 * GIB)

void deferred_init(struct deferred *deferred)
{
    *deferred = (struct deferred){0};
    buf_init(&deferred->text, TEXT_MAX);
}

void deferred_fini(struct deferred *deferred)
{
    mem_free(deferred->records);
    buf_fini(&deferred->text);
}

void deferred_clear(struct deferred *deferred)
{
    deferred_fini(deferred);
    deferred_init(deferred);
}

enum err deferred_add(struct deferred *deferred, const struct deferred_record *record,
                      struct bytes text)
{
    if (deferred->count == deferred->capacity) {
        size_t capacity = deferred->capacity ? deferred->capacity * 2 : 1;
        struct deferred_record *grown = mem_realloc(deferred->records, capacity * sizeof(*grown));
        if (!grown)
            return ERR_NO_MEMORY;
        deferred->records = grown;
        deferred->capacity = capacity;
    }
    size_t offset = deferred->text.size;
    bool repeated;
    /* A record's columns go no deeper, so repeated keys below are a text's own affair. */
    enum err err = json_unique(&deferred->text, text, LIMIT_COLUMN_DEPTH + 1, &repeated);
    if (err != ERR_OK) {
        deferred->text.size = offset;
        deferred->text.err = ERR_OK;
        return ERR_NO_MEMORY;
    }
    struct deferred_record *added = &deferred->records[deferred->count++];
    *added = *record;
    added->offset = offset;
    added->size = deferred->text.size - offset;
    return ERR_OK;
}

void deferred_truncate(struct deferred *deferred, size_t count)
{
    if (deferred->count <= count)
        return;
    deferred->text.size = deferred->records[count].offset;
    deferred->count = count;
}
