/*
 * Open addressing with linear probing. The table begins small for each column and grows with the
 * entries, so that a column of three values never leaves the first cache lines. A value equal to
 * the one before it (a run, a constant) is not even hashed.
 */
#include "lake/parquet_dictionary.h"

#include "base/alloc.h"
#include "base/hash.h"

#define SLOTS_FIRST 1024

void parquet_dictionary_fini(struct parquet_dictionary *dictionary)
{
    mem_free(dictionary->slots);
    mem_free(dictionary->entries);
    mem_free(dictionary->words);
    mem_free(dictionary->indices);
    mem_free(dictionary->remap);
    *dictionary = (struct parquet_dictionary){0};
}

static bool is_text(enum parquet_kind kind)
{
    return kind == PARQUET_STRING || kind == PARQUET_BINARY;
}

/* Room for count elements; the content is lost. */
static enum err reserve_u32(uint32_t **array, size_t *capacity, size_t count)
{
    if (count <= *capacity)
        return ERR_OK;
    if (count > SIZE_MAX / 8)
        return ERR_TOO_LARGE;
    mem_free(*array);
    *capacity = 0;
    *array = mem_alloc(count * sizeof(uint32_t));
    if (!*array)
        return ERR_NO_MEMORY;
    *capacity = count;
    return ERR_OK;
}

static enum err slots_prepare(struct parquet_dictionary *dictionary, size_t slot_count)
{
    if (slot_count > dictionary->slot_capacity) {
        uint64_t *slots = mem_alloc(slot_count * sizeof(uint64_t));
        if (!slots)
            return ERR_NO_MEMORY;
        if (dictionary->slots)
            memcpy(slots, dictionary->slots, dictionary->slot_count * sizeof(uint64_t));
        mem_free(dictionary->slots);
        dictionary->slots = slots;
        dictionary->slot_capacity = slot_count;
    }
    return ERR_OK;
}

static enum err entries_grow(struct parquet_dictionary *dictionary)
{
    size_t capacity = dictionary->entry_capacity ? dictionary->entry_capacity * 2 : 512;
    uint32_t *entries = mem_realloc(dictionary->entries, capacity * sizeof(uint32_t));
    if (!entries)
        return ERR_NO_MEMORY;
    dictionary->entries = entries;
    uint64_t *words = mem_realloc(dictionary->words, capacity * sizeof(uint64_t));
    if (!words)
        return ERR_NO_MEMORY;
    dictionary->words = words;
    dictionary->entry_capacity = capacity;
    return ERR_OK;
}

/* Folded first: the low halves of whole numbers are all zeros, and a product's high half is made of
 * all that is below it. */
static inline uint64_t hash_word(uint64_t word)
{
    return (word ^ word >> 32) * 0x9e3779b97f4a7c15ULL;
}

static inline __attribute__((always_inline)) uint64_t
value_hash(enum parquet_kind kind, const struct parquet_leaf *leaf, size_t value)
{
    if (!is_text(kind))
        return hash_word(((const uint64_t *)leaf->values)[value]);
    const uint8_t *data = leaf->data + leaf->offsets[value];
    size_t size = leaf->offsets[value + 1] - leaf->offsets[value];
    if (size >= 8 && size <= 16) /* overlapping halves hold all of it */
        return hash_word(load_u64(data) ^ hash_word(load_u64(data + size - 8) + size));
    return hash_bytes((struct bytes){size ? data : NULL, size});
}

/* Bitwise, so that NaNs and both zeros come back as they went in. */
static inline __attribute__((always_inline)) bool
value_equal(enum parquet_kind kind, const struct parquet_leaf *leaf, size_t a, size_t b)
{
    if (!is_text(kind))
        return ((const uint64_t *)leaf->values)[a] == ((const uint64_t *)leaf->values)[b];
    size_t size = leaf->offsets[a + 1] - leaf->offsets[a];
    if (size != leaf->offsets[b + 1] - leaf->offsets[b])
        return false;
    const uint8_t *x = leaf->data + leaf->offsets[a];
    const uint8_t *y = leaf->data + leaf->offsets[b];
    if (size >= 8 && size <= 16)
        return load_u64(x) == load_u64(y) && load_u64(x + size - 8) == load_u64(y + size - 8);
    return size == 0 || memcmp(x, y, size) == 0;
}

static size_t value_bytes(enum parquet_kind kind, const struct parquet_leaf *leaf, size_t value)
{
    return is_text(kind) ? 4 + (size_t)(leaf->offsets[value + 1] - leaf->offsets[value]) : 8;
}

/* Four times as many slots, the entries put in again by the hashes stored with them. */
static enum err slots_grow(struct parquet_dictionary *dictionary)
{
    size_t old_count = dictionary->slot_count;
    size_t new_count = old_count * 4;
    enum err err = slots_prepare(dictionary, new_count + old_count);
    if (err)
        return err;
    uint64_t *slots = dictionary->slots;
    uint64_t *old = slots + new_count; /* the copy stands behind */
    memcpy(old, slots, old_count * sizeof(uint64_t));
    memset(slots, 0, new_count * sizeof(uint64_t));
    for (size_t i = 0; i < old_count; i++) {
        if (!old[i])
            continue;
        size_t at = (size_t)(old[i] >> 32) & (new_count - 1);
        while (slots[at])
            at = (at + 1) & (new_count - 1);
        slots[at] = old[i];
    }
    dictionary->slot_count = new_count;
    return ERR_OK;
}

static enum err entry_add(struct parquet_dictionary *dictionary, enum parquet_kind kind,
                          const struct parquet_leaf *leaf, size_t value, size_t at, uint64_t tag)
{
    enum err err = ERR_OK;
    if (dictionary->entry_count == dictionary->entry_capacity)
        err = entries_grow(dictionary);
    if (err)
        return err;
    if (!is_text(kind))
        dictionary->words[dictionary->entry_count] = ((const uint64_t *)leaf->values)[value];
    dictionary->entries[dictionary->entry_count++] = (uint32_t)value;
    dictionary->entries_bytes += value_bytes(kind, leaf, value);
    dictionary->slots[at] = tag << 32 | dictionary->entry_count;
    if (dictionary->entry_count * 2 > dictionary->slot_count)
        err = slots_grow(dictionary);
    return err;
}

/* Words are compared with the copies that stand together, texts where they lie. */
static inline __attribute__((always_inline)) bool
entry_equal(const struct parquet_dictionary *dictionary, enum parquet_kind kind,
            const struct parquet_leaf *leaf, uint32_t entry, size_t value)
{
    if (!is_text(kind))
        return dictionary->words[entry] == ((const uint64_t *)leaf->values)[value];
    return value_equal(kind, leaf, dictionary->entries[entry], value);
}

static inline __attribute__((always_inline)) enum err
find_or_add(struct parquet_dictionary *dictionary, enum parquet_kind kind,
            const struct parquet_leaf *leaf, size_t value, uint32_t *ret_entry)
{
    const uint64_t tag = value_hash(kind, leaf, value) >> 32;
    const size_t mask = dictionary->slot_count - 1;
    size_t at = (size_t)tag & mask;
    for (; dictionary->slots[at]; at = (at + 1) & mask) {
        uint64_t slot = dictionary->slots[at];
        uint32_t entry = (uint32_t)slot - 1;
        if (slot >> 32 == tag && entry_equal(dictionary, kind, leaf, entry, value)) {
            *ret_entry = entry;
            return ERR_OK;
        }
    }
    *ret_entry = (uint32_t)dictionary->entry_count;
    return entry_add(dictionary, kind, leaf, value, at, tag);
}

/* Hardly any repetition in the first 16 Ki, hardly a half in the first 64 Ki: no dictionary. */
static bool is_hopeless(const struct parquet_dictionary *dictionary, size_t seen)
{
    if (dictionary->entry_count > PARQUET_DICTIONARY_ENTRIES_MAX ||
        dictionary->entries_bytes > PARQUET_DICTIONARY_BYTES_MAX)
        return true;
    return (seen == 16384 && dictionary->entry_count > seen / 10 * 9) ||
           (seen == 65536 && dictionary->entry_count > seen / 4 * 3);
}

static inline __attribute__((always_inline)) enum err
index_values(struct parquet_dictionary *dictionary, enum parquet_kind kind,
             const struct parquet_leaf *leaf, bool *ret_found)
{
    uint32_t entry = 0;
    for (size_t i = 0; i < leaf->value_count; i++) {
        if (i == 0 || !value_equal(kind, leaf, i, i - 1)) {
            enum err err = find_or_add(dictionary, kind, leaf, i, &entry);
            if (err)
                return err;
        }
        dictionary->indices[i] = entry;
        if ((i + 1) % 1024 == 0 && is_hopeless(dictionary, i + 1))
            return ERR_OK;
    }
    *ret_found = !is_hopeless(dictionary, 0);
    return ERR_OK;
}

/* The caller's dictionary: its used entries, each once, in the order of their first use. */
static enum err index_remapped(struct parquet_dictionary *dictionary, enum parquet_kind kind,
                               const struct parquet_leaf *leaf, bool *ret_found)
{
    enum err err =
        reserve_u32(&dictionary->remap, &dictionary->remap_capacity, leaf->dictionary_count);
    if (err)
        return err;
    memset(dictionary->remap, 0, leaf->dictionary_count * sizeof(uint32_t));
    dictionary->plain_bytes = 0;
    for (size_t i = 0; i < leaf->value_count; i++) {
        uint32_t from = leaf->indices[i];
        if (from >= leaf->dictionary_count)
            return ERR_INVALID;
        if (dictionary->remap[from] == 0) {
            uint32_t entry;
            err = find_or_add(dictionary, kind, leaf, from, &entry);
            if (err)
                return err;
            dictionary->remap[from] = entry + 1;
        }
        dictionary->indices[i] = dictionary->remap[from] - 1;
        dictionary->plain_bytes += value_bytes(kind, leaf, from);
    }
    *ret_found = !is_hopeless(dictionary, 0);
    return ERR_OK;
}

static enum err dictionary_reset(struct parquet_dictionary *dictionary, size_t value_count)
{
    enum err err = slots_prepare(dictionary, SLOTS_FIRST);
    if (!err)
        err = reserve_u32(&dictionary->indices, &dictionary->index_capacity, value_count + 1);
    if (err)
        return err;
    dictionary->slot_count = SLOTS_FIRST;
    memset(dictionary->slots, 0, SLOTS_FIRST * sizeof(uint64_t));
    dictionary->entry_count = 0;
    dictionary->entries_bytes = 0;
    return ERR_OK;
}

enum err parquet_dictionary_build(struct parquet_dictionary *dictionary, enum parquet_kind kind,
                                  const struct parquet_leaf *leaf, bool *ret_found)
{
    *ret_found = false;
    enum err err = dictionary_reset(dictionary, leaf->value_count);
    if (err)
        return err;
    if (leaf->indices)
        return index_remapped(dictionary, kind, leaf, ret_found);
    if (is_text(kind)) {
        dictionary->plain_bytes =
            4 * leaf->value_count + leaf->offsets[leaf->value_count] - leaf->offsets[0];
        return index_values(dictionary, PARQUET_STRING, leaf, ret_found);
    }
    dictionary->plain_bytes = 8 * leaf->value_count;
    return index_values(dictionary, PARQUET_DOUBLE, leaf, ret_found);
}
