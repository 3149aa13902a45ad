#include "lake/parquet_range.h"

#include <math.h>

static bool any_nan(const double *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (isnan(values[i]))
            return true;
    return false;
}

/* Four chains, so that the comparisons do not wait for each other. NaN compares false and is passed
 * over. */
static void add_numbers(struct parquet_range *range, const double *values, size_t count)
{
    double min[4] = {HUGE_VAL, HUGE_VAL, HUGE_VAL, HUGE_VAL};
    double max[4] = {-HUGE_VAL, -HUGE_VAL, -HUGE_VAL, -HUGE_VAL};
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        for (int k = 0; k < 4; k++) {
            min[k] = values[i + (size_t)k] < min[k] ? values[i + (size_t)k] : min[k];
            max[k] = values[i + (size_t)k] > max[k] ? values[i + (size_t)k] : max[k];
        }
    }
    for (; i < count; i++) {
        min[0] = values[i] < min[0] ? values[i] : min[0];
        max[0] = values[i] > max[0] ? values[i] : max[0];
    }
    for (int k = 1; k < 4; k++) {
        min[0] = min[k] < min[0] ? min[k] : min[0];
        max[0] = max[k] > max[0] ? max[k] : max[0];
    }
    if (min[0] >= max[0]) /* NaN can hide */
        range->has_nan = range->has_nan || any_nan(values, count);
    if (min[0] > max[0]) /* all are NaN */
        return;
    if (!range->has_values || min[0] < range->u.numbers[0])
        range->u.numbers[0] = min[0];
    if (!range->has_values || max[0] > range->u.numbers[1])
        range->u.numbers[1] = max[0];
    range->has_values = true;
}

static void add_instants(struct parquet_range *range, const int64_t *values, size_t count)
{
    int64_t min = range->has_values ? range->u.instants[0] : values[0];
    int64_t max = range->has_values ? range->u.instants[1] : values[0];
    for (size_t i = 0; i < count; i++) {
        min = values[i] < min ? values[i] : min;
        max = values[i] > max ? values[i] : max;
    }
    range->u.instants[0] = min;
    range->u.instants[1] = max;
    range->has_values = true;
}

static void add_booleans(struct parquet_range *range, const uint8_t *values, size_t count)
{
    bool has_false = memchr(values, 0, count) != NULL;
    bool has_true = memchr(values, 1, count) != NULL;
    if (range->has_values) {
        has_false = has_false || range->u.booleans[0] == 0;
        has_true = has_true || range->u.booleans[1] == 1;
    }
    range->u.booleans[0] = !has_false;
    range->u.booleans[1] = has_true;
    range->has_values = true;
}

static int compare_texts(struct bytes a, struct bytes b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size ? memcmp(a.data, b.data, size) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* The first eight bytes as a number that sorts like the text. */
static uint64_t text_prefix(const uint8_t *data, size_t size)
{
    uint64_t prefix = 0;
    memcpy(&prefix, data, size < 8 ? size : 8);
    return __builtin_bswap64(prefix);
}

static void add_texts(struct parquet_range *range, const struct parquet_leaf *leaf, size_t begin,
                      size_t end)
{
    struct bytes min, max;
    if (range->has_values) {
        min = range->u.texts[0];
        max = range->u.texts[1];
    } else {
        size_t size = leaf->offsets[begin + 1] - leaf->offsets[begin];
        min = max = bytes_from(size ? leaf->data + leaf->offsets[begin] : NULL, size);
    }
    uint64_t min_prefix = min.size ? text_prefix(min.data, min.size) : 0;
    uint64_t max_prefix = max.size ? text_prefix(max.data, max.size) : 0;
    for (size_t i = begin; i < end; i++) {
        size_t size = leaf->offsets[i + 1] - leaf->offsets[i];
        const uint8_t *data = size ? leaf->data + leaf->offsets[i] : (const uint8_t *)"";
        uint64_t prefix = size >= 8 ? __builtin_bswap64(load_u64(data)) : text_prefix(data, size);
        if (prefix <= min_prefix && compare_texts(bytes_from(data, size), min) < 0) {
            min = bytes_from(data, size);
            min_prefix = prefix;
        }
        if (prefix >= max_prefix && compare_texts(bytes_from(data, size), max) > 0) {
            max = bytes_from(data, size);
            max_prefix = prefix;
        }
    }
    range->u.texts[0] = min;
    range->u.texts[1] = max;
    range->has_values = true;
}

void parquet_range_add(struct parquet_range *range, enum parquet_kind kind,
                       const struct parquet_leaf *leaf, size_t begin, size_t end)
{
    if (begin == end)
        return;
    switch (kind) {
    case PARQUET_DOUBLE:
        add_numbers(range, (const double *)leaf->values + begin, end - begin);
        break;
    case PARQUET_TIMESTAMP_US:
        add_instants(range, (const int64_t *)leaf->values + begin, end - begin);
        break;
    case PARQUET_BOOLEAN:
        add_booleans(range, (const uint8_t *)leaf->values + begin, end - begin);
        break;
    case PARQUET_STRING:
    case PARQUET_BINARY:
        add_texts(range, leaf, begin, end);
        break;
    case PARQUET_STRUCT:
    case PARQUET_LIST:
    default:
        break;
    }
}

static void range_widen(struct parquet_range *range, enum parquet_kind kind,
                        const struct parquet_range *other)
{
    switch (kind) {
    case PARQUET_DOUBLE:
        add_numbers(range, other->u.numbers, 2);
        break;
    case PARQUET_TIMESTAMP_US:
        add_instants(range, other->u.instants, 2);
        break;
    case PARQUET_BOOLEAN:
        add_booleans(range, other->u.booleans, 2);
        break;
    case PARQUET_STRING:
    case PARQUET_BINARY:
        if (compare_texts(other->u.texts[0], range->u.texts[0]) < 0)
            range->u.texts[0] = other->u.texts[0];
        if (compare_texts(other->u.texts[1], range->u.texts[1]) > 0)
            range->u.texts[1] = other->u.texts[1];
        break;
    case PARQUET_STRUCT:
    case PARQUET_LIST:
    default:
        break;
    }
}

void parquet_range_merge(struct parquet_range *range, enum parquet_kind kind,
                         const struct parquet_range *other)
{
    bool has_nan = range->has_nan || other->has_nan;
    if (other->has_values && !range->has_values)
        *range = *other;
    else if (other->has_values)
        range_widen(range, kind, other);
    range->has_nan = has_nan;
}

static void bound_set(struct parquet_bound *bound, const void *data, size_t size)
{
    if (size)
        memcpy(bound->data, data, size);
    bound->size = (uint8_t)size;
}

/* The longest prefix that fits and, for UTF-8, ends with a whole character. */
static size_t cut_size(struct bytes text, bool is_utf8)
{
    size_t size = PARQUET_BOUND_BYTES;
    if (!is_utf8)
        return size;
    while (size > PARQUET_BOUND_BYTES - 4 && (text.data[size] & 0xc0) == 0x80)
        size--;
    return size;
}

static bool raise_bytes(struct parquet_bound *bound)
{
    while (bound->size > 0 && bound->data[bound->size - 1] == 0xff)
        bound->size--;
    if (bound->size == 0)
        return false;
    bound->data[bound->size - 1]++;
    return true;
}

/* Size of the character that begins with this byte; 0 when none does. */
static size_t utf8_size(uint8_t byte)
{
    return byte < 0x80                    ? 1
           : byte >= 0xc2 && byte <= 0xdf ? 2
           : byte >= 0xe0 && byte <= 0xef ? 3
           : byte >= 0xf0 && byte <= 0xf4 ? 4
                                          : 0;
}

/* The next code point of the same length, in place; surrogates are stepped over. */
static bool raise_character(uint8_t *character, size_t size)
{
    static const uint32_t first_mask[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    static const uint32_t last_point[5] = {0, 0x7f, 0x7ff, 0xffff, 0x10ffff};
    uint32_t point = character[0] & first_mask[size];
    for (size_t i = 1; i < size; i++)
        point = point << 6 | (character[i] & 0x3f);
    if (++point > last_point[size])
        return false;
    if (point == 0xd800)
        point = 0xe000;
    for (size_t i = size - 1; i > 0; i--) {
        character[i] = (uint8_t)(0x80 | (point & 0x3f));
        point >>= 6;
    }
    character[0] = (uint8_t)((character[0] & ~first_mask[size]) | point);
    return true;
}

/* Raises the last character that can be raised and drops those after it. */
static bool raise_utf8(struct parquet_bound *bound)
{
    size_t end = bound->size;
    while (end > 0) {
        size_t begin = end - 1;
        while (begin > 0 && (bound->data[begin] & 0xc0) == 0x80)
            begin--;
        if (utf8_size(bound->data[begin]) != end - begin)
            return raise_bytes(bound); /* no UTF-8 after all */
        if (raise_character(bound->data + begin, end - begin)) {
            bound->size = (uint8_t)end;
            return true;
        }
        end = begin;
    }
    return false;
}

static void bound_text(struct parquet_bound *bound, bool is_utf8, struct bytes text, bool is_max)
{
    if (text.size <= PARQUET_BOUND_BYTES) {
        bound_set(bound, text.data, text.size);
        return;
    }
    bound_set(bound, text.data, cut_size(text, is_utf8));
    bound->is_exact = false;
    if (is_max)
        bound->is_usable = is_utf8 ? raise_utf8(bound) : raise_bytes(bound);
}

static void bound_make(struct parquet_bound *bound, enum parquet_kind kind,
                       const struct parquet_range *range, int which)
{
    *bound = (struct parquet_bound){.is_exact = true, .is_usable = range->has_values};
    if (!range->has_values)
        return;
    switch (kind) {
    case PARQUET_DOUBLE: {
        double number = range->u.numbers[which];
        if (!(number < 0) && !(number > 0))
            number = which == 0 ? -0.0 : 0.0;
        bound_set(bound, &number, sizeof(number));
        break;
    }
    case PARQUET_TIMESTAMP_US:
        bound_set(bound, &range->u.instants[which], sizeof(range->u.instants[which]));
        break;
    case PARQUET_BOOLEAN:
        bound_set(bound, &range->u.booleans[which], 1);
        break;
    case PARQUET_STRING:
    case PARQUET_BINARY:
        bound_text(bound, kind == PARQUET_STRING, range->u.texts[which], which == 1);
        break;
    case PARQUET_STRUCT:
    case PARQUET_LIST:
    default:
        bound->is_usable = false;
        break;
    }
}

void parquet_bound_min(struct parquet_bound *bound, enum parquet_kind kind,
                       const struct parquet_range *range)
{
    bound_make(bound, kind, range, 0);
}

void parquet_bound_max(struct parquet_bound *bound, enum parquet_kind kind,
                       const struct parquet_range *range)
{
    bound_make(bound, kind, range, 1);
}

void parquet_bounds_of_chunk(struct parquet_bound *min, struct parquet_bound *max,
                             enum parquet_kind kind, const struct parquet_range *range)
{
    parquet_bound_min(min, kind, range);
    parquet_bound_max(max, kind, range);
    if (kind == PARQUET_DOUBLE && range->has_nan && !(range->u.numbers[0] < range->u.numbers[1]))
        min->is_usable = max->is_usable = false;
}

int parquet_bound_compare(enum parquet_kind kind, const struct parquet_bound *a,
                          const struct parquet_bound *b)
{
    if (kind == PARQUET_DOUBLE) {
        double x, y;
        memcpy(&x, a->data, sizeof(x));
        memcpy(&y, b->data, sizeof(y));
        return (x > y) - (x < y);
    }
    if (kind == PARQUET_TIMESTAMP_US) {
        int64_t x = (int64_t)load_u64(a->data);
        int64_t y = (int64_t)load_u64(b->data);
        return (x > y) - (x < y);
    }
    return compare_texts(bytes_from(a->data, a->size), bytes_from(b->data, b->size));
}
