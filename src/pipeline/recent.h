#pragma once
/*
 * Recent rows: for each dataset a ring of its newest messages, copied as raw bytes and rendered
 * when someone reads them. Workers add, API threads read, from any thread; one lock is held to link
 * what was copied before, or to take references, never while copying or rendering. Datasets that
 * got nothing for the TTL are evicted, and so are, before their time, those that got nothing for
 * longest when all together hold more than LIMIT_RECENT_BYTES.
 */
#include "base/buf.h"
#include "journal/block.h"
#include "os/clock.h"

struct recent;
struct clump;

/* ttl_seconds 0: nothing is evicted for its age. rows_max 0 counts as 1. */
enum err recent_new(uint32_t rows_max, uint32_t ttl_seconds, const struct clock *clock,
                    struct recent **ret_recent) ERR_MUST_USE;
void recent_free(struct recent *recent);
/* Less than LIMIT_RECENT_BYTES, from the next rows on. */
void recent_limit(struct recent *recent, uint64_t size_max_bytes);

/* Adds the newest of a block's messages of one route. A message of several records counts as one
 * entry here and as its rows when read; the newest rows_max rows are answered. Out of memory: the
 * rows are missing from view, nothing else happens. */
void recent_add(struct recent *recent, const struct block *block, uint32_t route_index);
/* The same for many, with one lock for all of them: what is gathered (by one thread) is there for
 * readers once it is placed; the blocks must stay until then. If there is a subscriber, what was
 * placed waits for recent_publish, which gives it in the order of the blocks. A gathering begins as
 * {0}, and is so again when placed and published. */
struct recent_gathering {
    struct clump *first;
    struct clump *last;
    struct clump *placed; /* referenced, youngest first */
};
void recent_gather(struct recent *recent, struct recent_gathering *gathering,
                   const struct block *block, uint32_t route_index);
void recent_place(struct recent *recent, struct recent_gathering *gathering);
void recent_publish(struct recent *recent, struct recent_gathering *gathering);

void recent_resize(struct recent *recent, uint32_t rows_max);
/* Drops datasets older than the TTL. Called every second or so. */
void recent_evict(struct recent *recent);

/* Sorted ids; each row is a JSON object text, oldest first within a dataset, the newest row_limit
 * of each (0 = all). An unknown id: nothing. ret_sensor_id_field, if it is not NULL: before the
 * first row the field is appended that has the sensor, as the source of the newest says; nothing:
 * it says none. */
enum err recent_list(struct recent *recent, enum err (*on_dataset)(void *ctx, struct bytes id),
                     void *ctx) ERR_MUST_USE;
enum err recent_rows(struct recent *recent, struct bytes dataset_id, uint32_t row_limit,
                     struct buf *ret_sensor_id_field,
                     enum err (*on_row)(void *ctx, struct bytes json), void *ctx) ERR_MUST_USE;

/* At most one subscriber: on_clumps (clump.h) is called by the threads that publish, with what one
 * block brought, and must not block; it refs what it keeps. NULL ends it: no call comes after the
 * return. */
void recent_subscribe(struct recent *recent,
                      void (*on_clumps)(void *ctx, struct clump *const *clumps, size_t count),
                      void *ctx);

struct recent_stats {
    uint64_t datasets;
    uint64_t rows; /* entries over all datasets */
    uint64_t bytes;
    uint32_t rows_max;
};
void recent_stats_get(struct recent *recent, struct recent_stats *ret_stats);
/* Per dataset: entries and bytes. Unsorted for the gauges, which may be of very many. */
enum err recent_sizes(struct recent *recent,
                      enum err (*on_dataset)(void *ctx, struct bytes id, uint64_t rows,
                                             uint64_t bytes),
                      void *ctx) ERR_MUST_USE;
enum err recent_sizes_unsorted(struct recent *recent,
                               enum err (*on_dataset)(void *ctx, struct bytes id, uint64_t rows,
                                                      uint64_t bytes),
                               void *ctx) ERR_MUST_USE;
