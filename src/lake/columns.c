#include "lake/columns.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <assert.h>

#define VALUES_MIN    4
#define DATA_MIN      64
#define DATA_SIZE_MAX ((size_t)UINT32_MAX)
#define LEVELS_MAX    ((size_t)1 << 40)

void leaf_init(struct leaf *leaf, enum parquet_kind kind, uint8_t definition_max,
               uint8_t repetition_max, size_t *memory_bytes)
{
    *leaf = (struct leaf){.kind = kind,
                          .definition_max = definition_max,
                          .repetition_max = repetition_max,
                          .memory_bytes = memory_bytes};
}

static bool is_text(const struct leaf *leaf)
{
    return leaf->kind == PARQUET_STRING || leaf->kind == PARQUET_BINARY;
}

static size_t value_bytes(const struct leaf *leaf)
{
    return leaf->kind == PARQUET_BOOLEAN ? 1 : is_text(leaf) ? sizeof(uint32_t) : 8;
}

static size_t held_bytes(const struct leaf *leaf)
{
    size_t level_bytes = leaf->definition_levels ? leaf->level_capacity : 0;
    return leaf->value_capacity * value_bytes(leaf) + leaf->data_capacity +
           (leaf->repetition_max > 0 ? 2 * level_bytes : level_bytes);
}

void leaf_clear(struct leaf *leaf)
{
    if (leaf->memory_bytes)
        *leaf->memory_bytes -= held_bytes(leaf);
    mem_free(leaf->values);
    mem_free(leaf->data);
    mem_free(leaf->definition_levels);
    mem_free(leaf->repetition_levels);
    leaf_init(leaf, leaf->kind, leaf->definition_max, leaf->repetition_max, leaf->memory_bytes);
}

static enum err values_grow(struct leaf *leaf)
{
    size_t capacity = leaf->value_capacity ? leaf->value_capacity * 2 : VALUES_MIN;
    size_t size = value_bytes(leaf);
    void *values = mem_realloc(leaf->values, capacity * size);
    if (!values)
        return ERR_NO_MEMORY;
    if (!leaf->values && is_text(leaf))
        *(uint32_t *)values = 0;
    leaf->values = values;
    *leaf->memory_bytes += (capacity - leaf->value_capacity) * size;
    leaf->value_capacity = capacity;
    return ERR_OK;
}

static inline enum err values_reserve(struct leaf *leaf)
{
    /* A text has one offset more than values. */
    return leaf->value_count + 1 < leaf->value_capacity ? ERR_OK : values_grow(leaf);
}

static enum err data_reserve(struct leaf *leaf, size_t size)
{
    if (leaf->data && size <= leaf->data_capacity - leaf->data_size)
        return ERR_OK;
    if (size > DATA_SIZE_MAX - leaf->data_size)
        return ERR_NO_MEMORY;
    size_t capacity = leaf->data_capacity ? leaf->data_capacity : DATA_MIN;
    while (capacity < leaf->data_size + size)
        capacity *= 2;
    uint8_t *data = mem_realloc(leaf->data, capacity);
    if (!data)
        return ERR_NO_MEMORY;
    leaf->data = data;
    *leaf->memory_bytes += capacity - leaf->data_capacity;
    leaf->data_capacity = capacity;
    return ERR_OK;
}

/* Room for count more entries. The first time, entries for the rows so far are made. */
static enum err levels_reserve(struct leaf *leaf, size_t count)
{
    size_t used = leaf->definition_levels ? leaf->level_count : leaf->rows;
    if (leaf->definition_levels && count <= leaf->level_capacity - used)
        return ERR_OK;
    if (count > LEVELS_MAX - used)
        return ERR_NO_MEMORY;
    bool repeated = leaf->repetition_max > 0;
    size_t held = leaf->definition_levels ? leaf->level_capacity : 0;
    size_t capacity = held ? held : VALUES_MIN;
    while (capacity < used + count)
        capacity *= 2;
    if (repeated) {
        uint8_t *repetitions = mem_realloc(leaf->repetition_levels, capacity);
        if (!repetitions)
            return ERR_NO_MEMORY;
        leaf->repetition_levels = repetitions;
    }
    uint8_t *definitions = mem_realloc(leaf->definition_levels, capacity);
    if (!definitions)
        return ERR_NO_MEMORY;
    if (!leaf->definition_levels) {
        memset(definitions, leaf->definition_max, used);
        leaf->level_count = used;
    }
    leaf->definition_levels = definitions;
    leaf->level_capacity = capacity;
    *leaf->memory_bytes += (capacity - held) * (repeated ? 2 : 1);
    return ERR_OK;
}

enum err leaf_finish(struct leaf *leaf, size_t rows)
{
    if (leaf->rows >= rows)
        return ERR_OK;
    size_t count = rows - leaf->rows;
    enum err err = levels_reserve(leaf, count);
    if (err != ERR_OK)
        return err;
    memset(leaf->definition_levels + leaf->level_count, 0, count);
    if (leaf->repetition_max > 0)
        memset(leaf->repetition_levels + leaf->level_count, 0, count);
    leaf->level_count += count;
    leaf->rows = rows;
    return ERR_OK;
}

/* Makes room for one entry of this row. */
static enum err entry_reserve(struct leaf *leaf, size_t row, uint8_t repetition, bool null)
{
    if (repetition == 0 && leaf->rows < row) {
        enum err err = leaf_finish(leaf, row);
        if (err != ERR_OK)
            return err;
    }
    assert(leaf->rows == row + (repetition > 0));
    if (null || leaf->definition_levels || leaf->repetition_max > 0)
        return levels_reserve(leaf, 1);
    return ERR_OK;
}

static inline void entry_add(struct leaf *leaf, uint8_t repetition, uint8_t definition)
{
    leaf->rows += repetition == 0;
    if (!leaf->definition_levels)
        return;
    leaf->definition_levels[leaf->level_count] = definition;
    if (leaf->repetition_max > 0)
        leaf->repetition_levels[leaf->level_count] = repetition;
    leaf->level_count++;
}

enum err leaf_null(struct leaf *leaf, size_t row, uint8_t repetition, uint8_t definition)
{
    enum err err = entry_reserve(leaf, row, repetition, true);
    if (err == ERR_OK)
        entry_add(leaf, repetition, definition);
    return err;
}

static enum err value_reserve(struct leaf *leaf, size_t row, uint8_t repetition)
{
    enum err err = entry_reserve(leaf, row, repetition, false);
    return err == ERR_OK ? values_reserve(leaf) : err;
}

enum err leaf_double_slow(struct leaf *leaf, size_t row, uint8_t repetition, double value)
{
    enum err err = value_reserve(leaf, row, repetition);
    if (err != ERR_OK)
        return err;
    leaf->doubles[leaf->value_count++] = value;
    entry_add(leaf, repetition, leaf->definition_max);
    return ERR_OK;
}

enum err leaf_boolean(struct leaf *leaf, size_t row, uint8_t repetition, bool value)
{
    enum err err = value_reserve(leaf, row, repetition);
    if (err != ERR_OK)
        return err;
    leaf->booleans[leaf->value_count++] = value;
    entry_add(leaf, repetition, leaf->definition_max);
    return ERR_OK;
}

enum err leaf_instant(struct leaf *leaf, size_t row, uint8_t repetition, int64_t value)
{
    enum err err = value_reserve(leaf, row, repetition);
    if (err != ERR_OK)
        return err;
    leaf->instants[leaf->value_count++] = value;
    entry_add(leaf, repetition, leaf->definition_max);
    return ERR_OK;
}

enum err leaf_string_begin(struct leaf *leaf, size_t row, uint8_t repetition, size_t size_max,
                           uint8_t **ret_text)
{
    enum err err = value_reserve(leaf, row, repetition);
    if (err == ERR_OK)
        err = data_reserve(leaf, size_max);
    if (err != ERR_OK)
        return err;
    *ret_text = leaf->data + leaf->data_size;
    entry_add(leaf, repetition, leaf->definition_max);
    return ERR_OK;
}

void leaf_string_end(struct leaf *leaf, size_t size)
{
    leaf->data_size += size;
    leaf->offsets[++leaf->value_count] = (uint32_t)leaf->data_size;
}

enum err leaf_string_slow(struct leaf *leaf, size_t row, uint8_t repetition, struct bytes text)
{
    uint8_t *to;
    enum err err = leaf_string_begin(leaf, row, repetition, text.size, &to);
    if (err != ERR_OK)
        return err;
    if (text.size > 0)
        memcpy(to, text.data, text.size);
    leaf_string_end(leaf, text.size);
    return ERR_OK;
}

void leaf_note_json(struct leaf *leaf, size_t row, uint8_t first)
{
    enum leaf_json kind = first == '{'                   ? LEAF_JSON_STRUCT
                          : first == '['                 ? LEAF_JSON_LIST
                          : first == 't' || first == 'f' ? LEAF_JSON_BOOLEAN
                                                         : LEAF_JSON_NUMBER;
    if (leaf->json_rows[kind] == 0)
        leaf->json_rows[kind] = (uint32_t)row + 1;
    leaf->json_leading += leaf->json_leading + 1 == leaf->value_count;
}

static void json_truncate(struct leaf *leaf)
{
    for (size_t i = 0; i < LEAF_JSON_KINDS; i++)
        if (leaf->json_rows[i] > leaf->rows)
            leaf->json_rows[i] = 0;
    if (leaf->json_leading > leaf->value_count)
        leaf->json_leading = leaf->value_count;
}

void leaf_truncate(struct leaf *leaf, size_t rows)
{
    if (leaf->rows <= rows)
        return;
    if (!leaf->definition_levels) {
        leaf->value_count -= leaf->rows - rows;
        leaf->rows = rows;
    }
    while (leaf->rows > rows) {
        leaf->level_count--;
        leaf->value_count -= leaf->definition_levels[leaf->level_count] == leaf->definition_max;
        leaf->rows -= leaf->repetition_max == 0 || leaf->repetition_levels[leaf->level_count] == 0;
    }
    if (is_text(leaf) && leaf->offsets)
        leaf->data_size = leaf->offsets[leaf->value_count];
    json_truncate(leaf);
}

enum err leaf_fill_from_sibling(struct leaf *leaf, const struct leaf *sibling, uint8_t definition,
                                uint8_t repetition)
{
    assert(leaf->rows == 0 && !leaf->definition_levels);
    size_t count = sibling->definition_levels ? sibling->level_count : sibling->rows;
    enum err err = levels_reserve(leaf, count);
    if (err != ERR_OK)
        return err;
    for (size_t i = 0; i < count; i++) {
        uint8_t repeated = sibling->repetition_max > 0 ? sibling->repetition_levels[i] : 0;
        uint8_t defined =
            sibling->definition_levels ? sibling->definition_levels[i] : sibling->definition_max;
        if (repeated <= repetition)
            entry_add(leaf, repeated, defined < definition ? defined : definition);
    }
    return ERR_OK;
}

/* Entries of one row from level on, and how many of them are values. */
static inline size_t row_levels(const struct leaf *leaf, size_t level, size_t *ret_values)
{
    size_t next = level;
    size_t values = 0;
    do {
        values += leaf->definition_levels[next] == leaf->definition_max;
        next++;
    } while (leaf->repetition_max > 0 && next < leaf->level_count &&
             leaf->repetition_levels[next] > 0);
    *ret_values = values;
    return next - level;
}

static void slice_values(const struct leaf *leaf, size_t value, struct parquet_leaf *ret_slice)
{
    if (is_text(leaf)) {
        static const uint32_t no_offsets[1];
        ret_slice->offsets = leaf->offsets ? leaf->offsets + value : no_offsets;
        ret_slice->data = leaf->data;
    } else if (leaf->values) {
        ret_slice->values = (const uint8_t *)leaf->values + value * value_bytes(leaf);
    } else {
        ret_slice->values = "";
    }
}

enum err leaf_slice(const struct leaf *leaf, struct leaf_cursor *cursor, size_t row_count,
                    struct parquet_leaf *ret_slice)
{
    if (row_count > leaf->rows - cursor->row)
        return ERR_BUG;
    *ret_slice = (struct parquet_leaf){.level_count = row_count, .value_count = row_count};
    slice_values(leaf, cursor->value, ret_slice);
    size_t level = cursor->level;
    size_t value = cursor->value;
    if (leaf->definition_levels) {
        for (size_t i = 0; i < row_count; i++) {
            size_t values;
            level += row_levels(leaf, level, &values);
            value += values;
        }
        ret_slice->definition_levels = leaf->definition_levels + cursor->level;
        if (leaf->repetition_max > 0)
            ret_slice->repetition_levels = leaf->repetition_levels + cursor->level;
        ret_slice->level_count = level - cursor->level;
        ret_slice->value_count = value - cursor->value;
    } else {
        level += row_count;
        value += row_count;
    }
    *cursor = (struct leaf_cursor){cursor->row + row_count, level, value};
    return ERR_OK;
}

static enum err value_copy(const struct leaf *leaf, size_t value, struct leaf *to, size_t row,
                           uint8_t repetition)
{
    switch (leaf->kind) {
    case PARQUET_BOOLEAN:
        return leaf_boolean(to, row, repetition, leaf->booleans[value]);
    case PARQUET_DOUBLE:
        return leaf_double(to, row, repetition, leaf->doubles[value]);
    case PARQUET_TIMESTAMP_US:
        return leaf_instant(to, row, repetition, leaf->instants[value]);
    default:
        return leaf_string_slow(to, row, repetition,
                                bytes_from(leaf->data + leaf->offsets[value],
                                           leaf->offsets[value + 1] - leaf->offsets[value]));
    }
}

enum err leaf_copy_row(const struct leaf *leaf, struct leaf_cursor *cursor, struct leaf *to,
                       size_t row)
{
    if (cursor->row >= leaf->rows)
        return ERR_BUG;
    size_t values = 1;
    size_t levels = leaf->definition_levels ? row_levels(leaf, cursor->level, &values) : 1;
    for (size_t i = cursor->level; i < cursor->level + levels; i++) {
        uint8_t repetition = leaf->repetition_max > 0 ? leaf->repetition_levels[i] : 0;
        uint8_t definition =
            leaf->definition_levels ? leaf->definition_levels[i] : leaf->definition_max;
        enum err err = definition == leaf->definition_max
                           ? value_copy(leaf, cursor->value, to, row, repetition)
                           : leaf_null(to, row, repetition, definition);
        if (err != ERR_OK)
            return err;
        cursor->value += definition == leaf->definition_max;
    }
    cursor->level += levels;
    cursor->row++;
    return ERR_OK;
}
