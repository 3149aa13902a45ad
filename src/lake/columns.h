#pragma once
/*
 * Column builders: one leaf's Dremel levels (Parquet spec "Nested Encoding") and plain values, that
 * grow row by row. One thread at a time.
 *
 * Everything is lazy: a leaf that gets nothing in a row gets no entry, and its nulls are filled in
 * when it is next written or finished; definition levels exist from the first null on. So a field
 * that is always there costs its value and nothing else. A leaf knows its own number of rows, which
 * is what makes it possible to take rows out again at any moment (leaf_truncate), also in the
 * middle of a record.
 *
 * Appends fail with ERR_NO_MEMORY only (a leaf of more than 4 GiB of text counts as such) and then
 * leave the leaf as it was but for nulls filled in.
 */
#include "base/bytes.h"
#include "base/err.h"
#include "lake/parquet_writer.h"

/* What a text's value was when it was no string. */
enum leaf_json {
    LEAF_JSON_NUMBER,
    LEAF_JSON_BOOLEAN,
    LEAF_JSON_LIST,
    LEAF_JSON_STRUCT,
    LEAF_JSON_KINDS,
};

struct leaf {
    /* one cache line: all that a value of the usual kind touches */
    union {
        void *values;
        double *doubles;
        uint8_t *booleans;
        int64_t *instants;
        uint32_t *offsets; /* value_count + 1 */
    };
    size_t value_count;
    size_t value_capacity;
    size_t rows;   /* that have entries */
    uint8_t *data; /* of strings */
    size_t data_size;
    size_t data_capacity;
    /* NULL: all entries at definition_max, and as many as rows. */
    uint8_t *definition_levels;

    uint8_t *repetition_levels; /* only when repetition_max > 0 */
    size_t level_count;         /* only when there are definition_levels */
    size_t level_capacity;
    enum parquet_kind kind; /* BOOLEAN, DOUBLE, TIMESTAMP_US, STRING, BINARY */
    uint8_t definition_max;
    uint8_t repetition_max;
    size_t *memory_bytes; /* a sum that all leaves of a batch keep together */

    /* A text takes any value as its JSON text, and does not show later that it was no string. */
    size_t json_leading;                 /* so many of the first values were none */
    uint32_t json_rows[LEAF_JSON_KINDS]; /* row + 1 of the first of each kind; 0: none */
};

void leaf_init(struct leaf *leaf, enum parquet_kind kind, uint8_t definition_max,
               uint8_t repetition_max, size_t *memory_bytes);
/* Frees the memory; the leaf is empty and may be used again. */
void leaf_clear(struct leaf *leaf);

/* row: the record's number; repetition 0 begins it, and fills in nulls for the rows before. */
enum err leaf_null(struct leaf *leaf, size_t row, uint8_t repetition,
                   uint8_t definition) ERR_MUST_USE;
enum err leaf_double_slow(struct leaf *leaf, size_t row, uint8_t repetition,
                          double value) ERR_MUST_USE;
enum err leaf_boolean(struct leaf *leaf, size_t row, uint8_t repetition, bool value) ERR_MUST_USE;
enum err leaf_instant(struct leaf *leaf, size_t row, uint8_t repetition,
                      int64_t value) ERR_MUST_USE;
enum err leaf_string_slow(struct leaf *leaf, size_t row, uint8_t repetition,
                          struct bytes text) ERR_MUST_USE;
/* Room for a string of at most size_max bytes, written in place at *ret_text; leaf_string_end says
 * how long it became. */
enum err leaf_string_begin(struct leaf *leaf, size_t row, uint8_t repetition, size_t size_max,
                           uint8_t **ret_text) ERR_MUST_USE;
void leaf_string_end(struct leaf *leaf, size_t size);

/* The value just appended was no string; first is its JSON text's first byte. */
void leaf_note_json(struct leaf *leaf, size_t row, uint8_t first);

/* Nulls for the rows up to this one. */
enum err leaf_finish(struct leaf *leaf, size_t rows) ERR_MUST_USE;
/* Takes out what rows from this one on brought. */
void leaf_truncate(struct leaf *leaf, size_t rows);
/* A new leaf beside one that already has rows, under a group of the given levels: the group's nulls
 * and repetitions are the sibling's. The leaf must be empty. */
enum err leaf_fill_from_sibling(struct leaf *leaf, const struct leaf *sibling, uint8_t definition,
                                uint8_t repetition) ERR_MUST_USE;

/* Where a walk over a leaf's rows stands. */
struct leaf_cursor {
    size_t row;
    size_t level;
    size_t value;
};
/* The next row_count rows as the writer wants them (fewer are there: ERR_BUG). Borrowed. */
enum err leaf_slice(const struct leaf *leaf, struct leaf_cursor *cursor, size_t row_count,
                    struct parquet_leaf *ret_slice) ERR_MUST_USE;
/* Copies the row at the cursor behind the last of to, as its row number row. */
enum err leaf_copy_row(const struct leaf *leaf, struct leaf_cursor *cursor, struct leaf *to,
                       size_t row) ERR_MUST_USE;

static inline enum err leaf_double(struct leaf *leaf, size_t row, uint8_t repetition, double value)
{
    if (leaf->rows == row && !leaf->definition_levels && leaf->value_count < leaf->value_capacity) {
        leaf->doubles[leaf->value_count++] = value;
        leaf->rows = row + 1;
        return ERR_OK;
    }
    return leaf_double_slow(leaf, row, repetition, value);
}

/* source_end: how far the bytes behind the text may be read; short texts are copied with what
 * stands behind them, which is faster than to look at their size. */
static inline void leaf_text_copy(uint8_t *to, size_t room, struct bytes text,
                                  const uint8_t *source_end)
{
    if (text.size <= 16 && room >= 16 && source_end - text.data >= 16)
        memcpy(to, text.data, 16);
    else
        memcpy(to, text.data, text.size);
}

static inline enum err leaf_string_within(struct leaf *leaf, size_t row, uint8_t repetition,
                                          struct bytes text, const uint8_t *source_end)
{
    if (leaf->rows == row && !leaf->definition_levels &&
        leaf->value_count + 1 < leaf->value_capacity && text.size > 0 &&
        text.size <= leaf->data_capacity - leaf->data_size) {
        leaf_text_copy(leaf->data + leaf->data_size, leaf->data_capacity - leaf->data_size, text,
                       source_end);
        leaf->data_size += text.size;
        leaf->offsets[++leaf->value_count] = (uint32_t)leaf->data_size;
        leaf->rows = row + 1;
        return ERR_OK;
    }
    return leaf_string_slow(leaf, row, repetition, text);
}

static inline enum err leaf_string(struct leaf *leaf, size_t row, uint8_t repetition,
                                   struct bytes text)
{
    const uint8_t *end = text.size > 0 ? text.data + text.size : text.data;
    return leaf_string_within(leaf, row, repetition, text, end);
}
