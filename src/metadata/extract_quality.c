/*
 * Late records are counted, all of them. Duplicates, records that are the same in their own time
 * and every field, are looked for among the first COMPARED_MAX records of a cut: a hash of each,
 * made column by column.
 */
#include "base/alloc.h"
#include "base/hash.h"
#include "metadata/extract.h"

#define COMPARED_MAX 4096
#define LATE_US      (3600 * US_PER_S)
#define MIX          0x9e3779b97f4a7c15ULL

static uint64_t late_count(const struct rows *rows)
{
    uint64_t late = 0;
    for (size_t i = 0; i < rows->count; i++) {
        int64_t delay_us;
        late += !__builtin_sub_overflow(rows->arrival_us[i], rows->event_us[i], &delay_us) &&
                delay_us > LATE_US;
    }
    return late;
}

static inline uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * MIX;
    return hash ^ (hash >> 29);
}

static uint64_t value_hash(const struct leaf *leaf, size_t value)
{
    switch (leaf->kind) {
    case PARQUET_DOUBLE:
        return load_u64(&leaf->doubles[value]);
    case PARQUET_BOOLEAN:
        return leaf->booleans[value];
    default:
        return hash_bytes(bytes_from(leaf->data + leaf->offsets[value],
                                     leaf->offsets[value + 1] - leaf->offsets[value]));
    }
}

/* Each entry counts with its levels, so that a null is not an absent list. */
static void leaf_mix(const struct leaf *leaf, uint64_t *hashes, size_t count)
{
    if (!leaf->definition_levels) {
        for (size_t row = 0; row < count; row++)
            hashes[row] = mix(hashes[row], value_hash(leaf, row) + 1);
        return;
    }
    size_t row = 0;
    size_t value = 0;
    for (size_t entry = 0; entry < leaf->level_count; entry++) {
        bool begins = !leaf->repetition_levels || leaf->repetition_levels[entry] == 0;
        if (entry > 0 && begins && ++row == count)
            return;
        hashes[row] = mix(hashes[row], leaf->definition_levels[entry]);
        if (leaf->definition_levels[entry] == leaf->definition_max)
            hashes[row] = mix(hashes[row], value_hash(leaf, value++));
    }
}

static uint64_t repeated_count(uint64_t *hashes, size_t count, uint64_t *slots, size_t slot_count)
{
    uint64_t repeated = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t hash = hashes[i] ? hashes[i] : 1;
        size_t at = hash & (slot_count - 1);
        while (slots[at] != 0 && slots[at] != hash)
            at = (at + 1) & (slot_count - 1);
        repeated += slots[at] == hash;
        slots[at] = hash;
    }
    return repeated;
}

static enum err duplicates_count(const struct cut_input *cut, struct change_quality *quality)
{
    const struct schema *schema = cut->schema;
    size_t count = cut->rows->count < COMPARED_MAX ? cut->rows->count : COMPARED_MAX;
    size_t slot_count = 4;
    while (slot_count < 2 * count)
        slot_count *= 2;
    if (count < 2) {
        quality->compared = count;
        return ERR_OK;
    }
    uint64_t *hashes = mem_zalloc(count + slot_count, sizeof(*hashes));
    if (!hashes)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        hashes[i] = (uint64_t)cut->rows->event_us[i];
    for (size_t i = 0; i < schema->column_count; i++)
        if (column_is_leaf(schema->columns[i]) && schema->columns[i]->leaf.value_count > 0)
            leaf_mix(&schema->columns[i]->leaf, hashes, count);
    if (cut->rows->rescued.value_count > 0)
        leaf_mix(&cut->rows->rescued, hashes, count);
    quality->compared = count;
    quality->duplicates = repeated_count(hashes, count, hashes + count, slot_count);
    mem_free(hashes);
    return ERR_OK;
}

enum err extract_quality(const struct cut_input *cut, struct change_quality *quality)
{
    quality->late = late_count(cut->rows);
    quality->missing_timestamp = cut->stats.bad_timestamp;
    quality->rescued = cut->rows->rescued.value_count;
    return duplicates_count(cut, quality);
}
