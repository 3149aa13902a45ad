#pragma once
/*
 * The journal ranges of a lake's files, as their footers tell them (contract/data.md "Bronze
 * layer"), held against each other. Files of one cut share dataset, journal and range, and lie in
 * different partitions. Pure but for memory; one thread.
 *
 *   doubled   ranges of one dataset and journal that overlap without being the same, or two files
 *             of one range in one partition
 *   missing   a range with fewer files than each of them says; a whole cut that a later one says
 *             it follows, while older ones are there (the oldest ones may be gone: retention)
 *   wrong     a file whose name, folder or dataset is not what its footer says
 *
 * Files without a range (other writers') are counted and otherwise left alone.
 */
#include "base/arena.h"
#include "journal/position.h"
#include "lake/parquet_metadata.h"

#define LAKE_RANGES_MAX 10000000

struct lake_range {
    const char *key;
    const char *dataset; /* its id, as the footer has it */
    const char *journal;
    struct position first;
    uint64_t block_last;
    uint64_t file_count; /* of its cut; 0: the footer does not say */
    uint64_t follows;    /* block_last of the cut before; 0: the footer does not say */
};

/* The range in a file's footer; false: none, or it makes no sense. Sets all but key, dataset and
 * journal. */
bool lake_range_read(const struct parquet_metadata *metadata, struct lake_range *range);
/* The text of a pair in a footer; empty: there is none. */
struct bytes lake_footer_text(const struct parquet_metadata *metadata, const char *key);

struct lake_ranges {
    struct arena arena;
    struct lake_range *ranges;
    size_t count;
    size_t capacity;
    uint64_t without; /* files */
    uint64_t later;   /* lanes whose oldest cut follows one that is not there: deleted, or lost */
};

void lake_ranges_init(struct lake_ranges *ranges);
void lake_ranges_fini(struct lake_ranges *ranges);
/* ERR_CORRUPT with a sentence when the footer is not that of a file at this key. */
enum err lake_ranges_add(struct lake_ranges *ranges, const char *key,
                         const struct parquet_metadata *metadata, struct diag *diag) ERR_MUST_USE;
/* Where the newest cut of a dataset's lane that is there ends; 0: none is. After the check. */
uint64_t lake_ranges_end(const struct lake_ranges *ranges, const char *dataset,
                         const char *journal);
/* Calls on_fault for each file that is doubled, and, when all files of the lake were added, for one
 * file of each range that misses others, or the cut before it. Sorts. */
enum err lake_ranges_check(struct lake_ranges *ranges, bool is_whole_lake,
                           enum err (*on_fault)(void *ctx, const char *key, const char *what),
                           void *ctx) ERR_MUST_USE;
