#pragma once
/*
 * What a batch keeps for each row beside the payload's columns: times, origin, partition, and what
 * was rescued. One thread; lives with its batch.
 *
 * A partition is an hour of event time (or arrival); rows of all partitions stand together, and are
 * told apart at the cut, since nearly every cut has but one. They stand in the order of their
 * arrival but for those that waited (rows_arrival_order).
 */
#include "base/map.h"
#include "journal/position.h"
#include "lake/columns.h"

/* A clock gone mad cannot make more files than this (and those of the arrivals): the rows of
 * further hours go by arrival. Which hours those are is decided at the cut, by the rows alone and
 * not by the order in which they came in: a cut that is made again after a crash must place each
 * row where the first one did, whatever had to wait for its columns then. */
#define ROWS_PARTITIONS_MAX 256

struct partition {
    int64_t hour;          /* since 1970 */
    struct position first; /* of its first message */
};

/* A row whose record had to wait for its columns, and stands behind some that came after it. */
struct rows_moved {
    uint32_t row;
    uint32_t before; /* the row that came next */
};

struct rows {
    int64_t *event_us;
    int64_t *arrival_us;
    uint32_t *origin;
    uint32_t *partition; /* into partitions */
    size_t count;
    size_t capacity;
    struct partition *partitions;
    uint32_t partition_count;
    uint32_t partition_capacity;
    uint32_t partition_last;  /* found last */
    struct map by_hour;       /* hour -> index + 1 */
    struct leaf rescued;      /* top-level, optional text */
    struct rows_moved *moved; /* by row */
    size_t moved_count;
    size_t moved_capacity;
    size_t *memory_bytes;
};

struct row_time {
    int64_t event_us;
    int64_t arrival_us;
    int64_t partition_us; /* whichever of the two decides */
};

void rows_init(struct rows *rows, size_t *memory_bytes);
/* Frees all; empty and usable again. */
void rows_clear(struct rows *rows);
/* rescued: an object text, or empty. On failure the rows are as before. */
enum err rows_add(struct rows *rows, const struct row_time *time, uint32_t origin,
                  struct position position, struct bytes rescued) ERR_MUST_USE;
/* The next row that is added came before this one. */
enum err rows_note_moved(struct rows *rows, uint32_t before) ERR_MUST_USE;
/* Rows sorted by this stand in the order in which their records came. */
uint64_t rows_arrival_order(const struct rows *rows, size_t row);
/* Takes out rows and partitions from these counts on. */
void rows_truncate(struct rows *rows, size_t count, uint32_t partition_count);

/* The rows as the cut places them: shares all but the partitions with rows, which stay as they are.
 * rows_settled_fini frees what is not shared; fine after a failure. */
enum err rows_settle(const struct rows *rows, struct rows *ret_settled) ERR_MUST_USE;
void rows_settled_fini(const struct rows *rows, struct rows *settled);
