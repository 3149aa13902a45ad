#include "lake/parquet_page.h"

#include "codec/rle.h"

#include <zlib.h>

static bool is_text(enum parquet_kind kind)
{
    return kind == PARQUET_STRING || kind == PARQUET_BINARY;
}

static size_t count_equal(const uint8_t *levels, size_t count, uint8_t level)
{
    size_t equal = 0;
    for (size_t i = 0; i < count; i++)
        equal += levels[i] == level;
    return equal;
}

static uint8_t greatest(const uint8_t *levels, size_t count)
{
    uint8_t max = 0;
    for (size_t i = 0; i < count; i++)
        max = levels[i] > max ? levels[i] : max;
    return max;
}

static bool levels_fit(const struct parquet_column *column, const struct parquet_leaf *leaf,
                       uint64_t row_count)
{
    size_t values = leaf->level_count;
    uint64_t rows = leaf->level_count;
    if (leaf->definition_levels) {
        values =
            count_equal(leaf->definition_levels, leaf->level_count, column->definition_level_max);
        if (greatest(leaf->definition_levels, leaf->level_count) > column->definition_level_max)
            return false;
    }
    if (leaf->repetition_levels) {
        rows = count_equal(leaf->repetition_levels, leaf->level_count, 0);
        if (leaf->level_count == 0 || leaf->repetition_levels[0] != 0 ||
            greatest(leaf->repetition_levels, leaf->level_count) > column->repetition_level_max)
            return false;
    }
    return values == leaf->value_count && rows == row_count;
}

enum err parquet_leaf_check(const struct parquet_column *column, const struct parquet_leaf *leaf,
                            uint64_t row_count)
{
    if (leaf->level_count > INT32_MAX || leaf->dictionary_count > UINT32_MAX - 1 ||
        !levels_fit(column, leaf, row_count))
        return ERR_INVALID;
    if (leaf->value_count == 0)
        return ERR_OK;
    bool has_values = is_text(column->kind) ? leaf->offsets != NULL : leaf->values != NULL;
    return has_values ? ERR_OK : ERR_INVALID;
}

/* Where rows more rows end. */
static size_t level_after(const struct parquet_leaf *leaf, size_t begin, uint32_t rows_max,
                          uint64_t *ret_rows)
{
    if (!leaf->repetition_levels) {
        size_t left = leaf->level_count - begin;
        *ret_rows = left < rows_max ? left : rows_max;
        return begin + (size_t)*ret_rows;
    }
    uint64_t rows = 0;
    size_t i = begin;
    for (; i < leaf->level_count; i++) {
        if (leaf->repetition_levels[i] == 0 && rows++ == rows_max) {
            rows--;
            break;
        }
    }
    *ret_rows = rows;
    return i;
}

static size_t plain_bytes(enum parquet_kind kind, const struct parquet_leaf *leaf, size_t begin,
                          size_t end)
{
    if (!is_text(kind))
        return kind == PARQUET_BOOLEAN ? (end - begin) / 8 : (end - begin) * 8;
    size_t bytes = (end - begin) * 4;
    if (!leaf->indices)
        return begin < end ? bytes + leaf->offsets[end] - leaf->offsets[begin] : 0;
    for (size_t i = begin; i < end; i++)
        bytes += leaf->offsets[leaf->indices[i] + 1] - leaf->offsets[leaf->indices[i]];
    return bytes;
}

void parquet_span_next(const struct parquet_column *column, const struct parquet_leaf *leaf,
                       const struct parquet_span *previous, uint32_t rows_max, size_t bytes_max,
                       struct parquet_span *ret_span)
{
    struct parquet_span span = {.level_begin = previous->level_end,
                                .value_begin = previous->value_end};
    for (;; rows_max = (uint32_t)(span.rows / 2)) {
        span.level_end = level_after(leaf, span.level_begin, rows_max, &span.rows);
        size_t levels = span.level_end - span.level_begin;
        span.value_end =
            span.value_begin + (leaf->definition_levels
                                    ? count_equal(leaf->definition_levels + span.level_begin,
                                                  levels, column->definition_level_max)
                                    : levels);
        if (span.rows <= 1 ||
            plain_bytes(column->kind, leaf, span.value_begin, span.value_end) <= bytes_max)
            break;
    }
    *ret_span = span;
}

static enum err put_levels(struct buf *out, const uint8_t *levels, size_t count, uint8_t level_max,
                           uint8_t level_if_none)
{
    unsigned width = rle_width(level_max);
    if (level_max == 0)
        return ERR_OK;
    enum err err = buf_reserve(out, 4 + rle_bytes_max(count, width));
    if (err)
        return err;
    uint8_t *begin = out->data + out->size + 4;
    uint8_t *end = levels ? rle_encode_levels(begin, levels, count, width)
                          : rle_encode_run(begin, level_if_none, count, width);
    store_u32(begin - 4, (uint32_t)(end - begin));
    out->size = (size_t)(end - out->data);
    return ERR_OK;
}

enum err parquet_put_levels(struct buf *out, const struct parquet_column *column,
                            const struct parquet_leaf *leaf, const struct parquet_span *span)
{
    size_t count = span->level_end - span->level_begin;
    const uint8_t *repetition =
        leaf->repetition_levels ? leaf->repetition_levels + span->level_begin : NULL;
    const uint8_t *definition =
        leaf->definition_levels ? leaf->definition_levels + span->level_begin : NULL;
    enum err err = put_levels(out, repetition, count, column->repetition_level_max, 0);
    if (err)
        return err;
    return put_levels(out, definition, count, column->definition_level_max,
                      column->definition_level_max);
}

/* Short texts are copied as whole 16 bytes where source and buffer reach that far. */
static enum err put_texts(struct buf *out, const struct parquet_leaf *leaf, const uint32_t *ids,
                          size_t begin, size_t end)
{
    size_t bytes = 16;
    for (size_t i = begin; i < end && ids; i++)
        bytes += 4 + (size_t)(leaf->offsets[ids[i] + 1] - leaf->offsets[ids[i]]);
    if (!ids && begin < end)
        bytes += 4 * (end - begin) + leaf->offsets[end] - leaf->offsets[begin];
    enum err err = buf_reserve(out, bytes);
    if (err)
        return err;
    size_t last = leaf->indices ? leaf->dictionary_count : leaf->value_count;
    const uint8_t *source_end = leaf->data + leaf->offsets[last];
    uint8_t *to = out->data + out->size;
    for (size_t i = begin; i < end; i++) {
        size_t id = ids ? ids[i] : i;
        size_t size = leaf->offsets[id + 1] - leaf->offsets[id];
        const uint8_t *from = leaf->data + leaf->offsets[id];
        store_u32(to, (uint32_t)size);
        if (size <= 16 && source_end - from >= 16)
            memcpy(to + 4, from, 16);
        else if (size > 0)
            memcpy(to + 4, from, size);
        to += 4 + size;
    }
    out->size = (size_t)(to - out->data);
    return ERR_OK;
}

static enum err put_words(struct buf *out, const struct parquet_leaf *leaf, const uint32_t *ids,
                          size_t begin, size_t end)
{
    const uint8_t *values = leaf->values;
    if (!ids)
        return buf_append(out, values + begin * 8, (end - begin) * 8);
    enum err err = buf_reserve(out, (end - begin) * 8);
    if (err)
        return err;
    uint8_t *to = out->data + out->size;
    for (size_t i = begin; i < end; i++, to += 8)
        memcpy(to, values + (size_t)ids[i] * 8, 8);
    out->size = (size_t)(to - out->data);
    return ERR_OK;
}

static enum err put_booleans(struct buf *out, const struct parquet_leaf *leaf, const uint32_t *ids,
                             size_t begin, size_t end)
{
    const uint8_t *values = leaf->values;
    enum err err = buf_reserve(out, (end - begin) / 8 + 16);
    if (err)
        return err;
    uint8_t *to = out->data + out->size;
    if (!ids) {
        to = rle_pack_booleans(to, values + begin, end - begin);
    } else {
        for (size_t i = begin; i < end; i += 8) {
            uint8_t window[8] = {0};
            for (size_t k = 0; k < 8 && i + k < end; k++)
                window[k] = values[ids[i + k]];
            to = rle_pack_booleans(to, window, 8);
        }
    }
    out->size = (size_t)(to - out->data);
    return ERR_OK;
}

enum err parquet_put_plain(struct buf *out, enum parquet_kind kind, const struct parquet_leaf *leaf,
                           const uint32_t *ids, size_t begin, size_t end)
{
    if (begin == end)
        return ERR_OK;
    if (is_text(kind))
        return put_texts(out, leaf, ids, begin, end);
    if (kind == PARQUET_BOOLEAN)
        return put_booleans(out, leaf, ids, begin, end);
    return put_words(out, leaf, ids, begin, end);
}

uint32_t parquet_page_crc(struct bytes body)
{
    return (uint32_t)crc32_z(0, body.data, body.size);
}

enum err parquet_put_indices(struct buf *out, const uint32_t *indices, size_t count, unsigned width)
{
    enum err err = buf_reserve(out, 1 + rle_bytes_max(count, width));
    if (err)
        return err;
    uint8_t *to = out->data + out->size;
    *to++ = (uint8_t)width;
    out->size = (size_t)(rle_encode_indices(to, indices, count, width) - out->data);
    return ERR_OK;
}
