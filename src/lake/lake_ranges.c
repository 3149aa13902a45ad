#include "lake/lake_ranges.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "lake/object_key.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_MAX (4 * GIB)

void lake_ranges_init(struct lake_ranges *ranges)
{
    *ranges = (struct lake_ranges){0};
    arena_init(&ranges->arena, ARENA_MAX);
}

void lake_ranges_fini(struct lake_ranges *ranges)
{
    arena_fini(&ranges->arena);
    mem_free(ranges->ranges);
    ranges->ranges = NULL;
}

struct bytes lake_footer_text(const struct parquet_metadata *metadata, const char *key)
{
    for (size_t i = 0; i < metadata->pair_count; i++) {
        if (bytes_equal_text(metadata->pairs[i].key, key))
            return metadata->pairs[i].value;
    }
    return (struct bytes){0};
}

/* Exactly size hex digits from at on. */
static bool hex_get(struct bytes text, size_t at, size_t size, uint64_t *ret_value)
{
    *ret_value = 0;
    for (size_t i = at; i < at + size; i++) {
        uint8_t byte = i < text.size ? text.data[i] : 0;
        bool is_digit = byte >= '0' && byte <= '9';
        if (!is_digit && (byte < 'a' || byte > 'f'))
            return false;
        *ret_value = *ret_value << 4 | (uint64_t)(is_digit ? byte - '0' : byte - 'a' + 10);
    }
    return true;
}

bool lake_range_read(const struct parquet_metadata *metadata, struct lake_range *range)
{
    struct bytes first = lake_footer_text(metadata, "ingestor.first");
    struct bytes last = lake_footer_text(metadata, "ingestor.block_last");
    uint64_t index;
    bool ok = first.size == 25 && last.size == 16 && first.data[16] == '-' &&
              hex_get(first, 0, 16, &range->first.block) && hex_get(first, 17, 8, &index) &&
              hex_get(last, 0, 16, &range->block_last);
    struct bytes files = lake_footer_text(metadata, "ingestor.files");
    struct bytes follows = lake_footer_text(metadata, "ingestor.follows");
    if (follows.size > 0)
        ok = ok && follows.size == 16 && hex_get(follows, 0, 16, &range->follows) &&
             range->follows < range->first.block;
    range->first.index = ok ? (uint32_t)index : 0;
    for (size_t i = 0; ok && i < files.size; i++) {
        ok = files.size < 10 && files.data[i] >= '0' && files.data[i] <= '9';
        range->file_count = range->file_count * 10 + (uint64_t)(files.data[i] - '0');
    }
    return ok && range->first.block <= range->block_last;
}

/* The key's name: part-<journal>-<position in the range>.parquet */
static bool name_fits(const char *key, const struct lake_range *range)
{
    const char *slash = strrchr(key, '/');
    const char *name = slash ? slash + 1 : key;
    size_t journal = strlen(range->journal);
    struct bytes rest;
    uint64_t block;
    uint64_t index;
    if (strncmp(name, "part-", 5) != 0 || strncmp(name + 5, range->journal, journal) != 0)
        return false;
    rest = bytes_from_text(name + 5 + journal);
    return rest.size == 34 && rest.data[0] == '-' && rest.data[17] == '-' &&
           hex_get(rest, 1, 16, &block) && hex_get(rest, 18, 8, &index) &&
           memcmp(rest.data + 26, ".parquet", 8) == 0 && block <= range->block_last &&
           (block > range->first.block ||
            (block == range->first.block && index >= range->first.index));
}

/* part-<uuid>-<16 hex digits>-<8 hex digits>.parquet: nobody else gives such names. */
static bool name_is_ours(const char *key)
{
    const char *slash = strrchr(key, '/');
    struct bytes name = bytes_from_text(slash ? slash + 1 : key);
    uint64_t number;
    return name.size == 5 + 36 + 34 && memcmp(name.data, "part-", 5) == 0 && name.data[13] == '-' &&
           name.data[18] == '-' && name.data[23] == '-' && name.data[28] == '-' &&
           name.data[41] == '-' && hex_get(name, 42, 16, &number) && name.data[58] == '-' &&
           hex_get(name, 59, 8, &number) && memcmp(name.data + 67, ".parquet", 8) == 0;
}

/* Whether the key lies in the dataset's folder. Dead letters have one of their own. */
static enum err folder_fits(const char *key, const char *dataset, bool *ret_fits)
{
    static const char letters[] = "bronze/_dead_letters/";
    struct buf prefix;
    buf_init(&prefix, 4 * KIB);
    buf_text(&prefix, "bronze/ingestion_id=");
    (void)!object_key_encode_id(&prefix, bytes_from_text(dataset));
    buf_byte(&prefix, '/');
    const char *text = buf_cstr(&prefix);
    enum err err = text ? ERR_OK : ERR_NO_MEMORY;
    *ret_fits = text && (strncmp(key, text, prefix.size) == 0 ||
                         strncmp(key, letters, sizeof(letters) - 1) == 0);
    buf_fini(&prefix);
    return err;
}

static enum err room(struct lake_ranges *ranges)
{
    if (ranges->count < ranges->capacity)
        return ERR_OK;
    if (ranges->count >= LAKE_RANGES_MAX)
        return ERR_TOO_MANY;
    size_t capacity = ranges->capacity ? ranges->capacity * 2 : 64;
    struct lake_range *grown = mem_realloc(ranges->ranges, capacity * sizeof(*grown));
    if (!grown)
        return ERR_NO_MEMORY;
    ranges->ranges = grown;
    ranges->capacity = capacity;
    return ERR_OK;
}

static enum err keep(struct lake_ranges *ranges, const char *key,
                     const struct parquet_metadata *metadata, struct lake_range *range)
{
    struct bytes dataset = lake_footer_text(metadata, "ingestion_id");
    struct bytes journal = lake_footer_text(metadata, "ingestor.journal");
    range->key = arena_dup(&ranges->arena, key, strlen(key));
    range->dataset = arena_dup(&ranges->arena, dataset.data, dataset.size);
    range->journal = arena_dup(&ranges->arena, journal.data, journal.size);
    if (!range->key || !range->dataset || !range->journal)
        return ERR_NO_MEMORY;
    return room(ranges);
}

enum err lake_ranges_add(struct lake_ranges *ranges, const char *key,
                         const struct parquet_metadata *metadata, struct diag *diag)
{
    struct lake_range range = {0};
    bool fits;
    if (lake_footer_text(metadata, "ingestor.journal").size == 0) {
        if (name_is_ours(key))
            return parquet_damage(diag, metadata->footer_offset, "its journal range is gone");
        ranges->without++;
        return ERR_OK;
    }
    enum err err = keep(ranges, key, metadata, &range);
    if (err != ERR_OK)
        return err;
    if (!lake_range_read(metadata, &range))
        return parquet_damage(diag, metadata->footer_offset, "its journal range is malformed");
    if (!name_fits(key, &range))
        return diag_set(diag, ERR_CORRUPT, "the name is not that of the range in its footer");
    err = folder_fits(key, range.dataset, &fits);
    if (err == ERR_OK && !fits)
        err = diag_set(diag, ERR_CORRUPT, "it belongs to another dataset: %.200s", range.dataset);
    if (err == ERR_OK)
        ranges->ranges[ranges->count++] = range;
    return err;
}

/* --- doubled ------------------------------------------------------------------------------- */

static int compare_numbers(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int by_range(const void *a, const void *b)
{
    const struct lake_range *left = a;
    const struct lake_range *right = b;
    int order = strcmp(left->dataset, right->dataset);
    if (order == 0)
        order = strcmp(left->journal, right->journal);
    if (order == 0)
        order = compare_numbers(left->first.block, right->first.block);
    if (order == 0)
        order = compare_numbers(left->first.index, right->first.index);
    if (order == 0)
        order = compare_numbers(left->block_last, right->block_last);
    return order ? order : strcmp(left->key, right->key);
}

static bool same_lane(const struct lake_range *a, const struct lake_range *b)
{
    return strcmp(a->dataset, b->dataset) == 0 && strcmp(a->journal, b->journal) == 0;
}

static bool same_range(const struct lake_range *a, const struct lake_range *b)
{
    return a->first.block == b->first.block && a->first.index == b->first.index &&
           a->block_last == b->block_last;
}

static bool same_folder(const char *a, const char *b)
{
    size_t left = (size_t)(strrchr(a, '/') - a);
    size_t right = (size_t)(strrchr(b, '/') - b);
    return left == right && memcmp(a, b, left) == 0;
}

/* The ranges are sorted: those of one cut follow each other. */
static enum err check_missing(const struct lake_ranges *ranges,
                              enum err (*on_fault)(void *ctx, const char *key, const char *what),
                              void *ctx)
{
    enum err err = ERR_OK;
    for (size_t i = 0, next; i < ranges->count && err == ERR_OK; i = next) {
        const struct lake_range *range = &ranges->ranges[i];
        char what[160];
        for (next = i + 1; next < ranges->count && same_lane(range, &ranges->ranges[next]) &&
                           same_range(range, &ranges->ranges[next]);)
            next++;
        snprintf(what, sizeof(what),
                 "missing: of the %" PRIu64 " files of its cut only %zu are there",
                 range->file_count, next - i);
        if (next - i < range->file_count)
            err = on_fault(ctx, range->key, what);
    }
    return err;
}

/* Sorted too; the ranges of a lane follow each other without overlap, or that was told. */
static enum err check_chain(struct lake_ranges *ranges,
                            enum err (*on_fault)(void *ctx, const char *key, const char *what),
                            void *ctx)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < ranges->count && err == ERR_OK; i++) {
        const struct lake_range *range = &ranges->ranges[i];
        const struct lake_range *before = i > 0 ? range - 1 : NULL;
        char what[160];
        if (!before || !same_lane(before, range)) {
            ranges->later += range->follows > 0;
            continue;
        }
        if (same_range(before, range) || range->follows <= before->block_last)
            continue;
        snprintf(what, sizeof(what),
                 "missing: the cut before it, through block %" PRIu64
                 " of the journal, has no file left; the last one there ends at %" PRIu64,
                 range->follows, before->block_last);
        err = on_fault(ctx, range->key, what);
    }
    return err;
}

enum err lake_ranges_check(struct lake_ranges *ranges, bool is_whole_lake,
                           enum err (*on_fault)(void *ctx, const char *key, const char *what),
                           void *ctx)
{
    const struct lake_range *widest = NULL; /* whose range ends last */
    enum err err = ERR_OK;
    if (ranges->count > 1)
        qsort(ranges->ranges, ranges->count, sizeof(*ranges->ranges), by_range);
    for (size_t i = 0; i < ranges->count && err == ERR_OK; i++) {
        const struct lake_range *range = &ranges->ranges[i];
        const struct lake_range *before = i > 0 ? range - 1 : NULL;
        char what[1400];
        if (!widest || !same_lane(widest, range)) {
            widest = range;
            continue;
        }
        bool same = same_range(widest, range);
        bool overlaps = !same && range->first.block <= widest->block_last;
        bool twice = same && before && same_folder(before->key, range->key);
        snprintf(what, sizeof(what), "doubled: its range of the journal overlaps that of %.1200s",
                 twice ? before->key : widest->key);
        if (overlaps || twice)
            err = on_fault(ctx, range->key, what);
        if (range->block_last >= widest->block_last)
            widest = range;
    }
    if (err == ERR_OK && is_whole_lake)
        err = check_missing(ranges, on_fault, ctx);
    if (err == ERR_OK && is_whole_lake)
        err = check_chain(ranges, on_fault, ctx);
    return err;
}

uint64_t lake_ranges_end(const struct lake_ranges *ranges, const char *dataset, const char *journal)
{
    const struct lake_range lane = {.dataset = dataset, .journal = journal, .key = ""};
    uint64_t end = 0;
    size_t low = 0, high = ranges->count;
    while (low < high) { /* the first that is not before the lane */
        size_t middle = low + (high - low) / 2;
        if (by_range(&ranges->ranges[middle], &lane) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < ranges->count && same_lane(&ranges->ranges[low], &lane); low++)
        if (ranges->ranges[low].block_last > end)
            end = ranges->ranges[low].block_last;
    return end;
}
