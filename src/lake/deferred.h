#pragma once
/*
 * Records that wait, as text, until the types of their new fields are decided. One thread; lives
 * with its batch. A deferred record's keys are unique (json_unique).
 */
#include "base/buf.h"
#include "journal/position.h"

struct deferred_record {
    size_t offset;
    size_t size;
    int64_t arrival_us;
    struct position position;
    uint32_t origin;
    uint32_t before; /* the row that came next */
};

struct deferred {
    struct deferred_record *records;
    size_t count;
    size_t capacity;
    struct buf text;
};

void deferred_init(struct deferred *deferred);
void deferred_fini(struct deferred *deferred);
/* text is a checked object; offset and size are filled in. ERR_NO_MEMORY leaves all as before. */
enum err deferred_add(struct deferred *deferred, const struct deferred_record *record,
                      struct bytes text) ERR_MUST_USE;
void deferred_truncate(struct deferred *deferred, size_t count);
/* Empties it and frees its memory. */
void deferred_clear(struct deferred *deferred);

static inline struct bytes deferred_text(const struct deferred *deferred, size_t index)
{
    const struct deferred_record *record = &deferred->records[index];
    return bytes_from(deferred->text.data + record->offset, record->size);
}
