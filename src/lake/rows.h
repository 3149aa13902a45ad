#pragma once
/*
 * What a batch keeps for each row beside the payload's columns: times, origin, partition, and what
 * was rescued. One thread; lives with its batch.
 *
 * A partition is an hour of event time (or arrival); rows of all partitions stand together in order
 * of arrival, and are told apart at the cut, since nearly every cut has but one.
 */
#include "journal/position.h"
#include "lake/columns.h"

/* A clock gone mad cannot open more partitions than this; further rows go by arrival. */
#define ROWS_PARTITIONS_MAX 256

struct partition {
    int64_t hour;          /* since 1970 */
    struct position first; /* of its first message */
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
    uint32_t partition_last; /* found last */
    struct leaf rescued;     /* top-level, optional text */
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
/* Takes out rows and partitions from these counts on. */
void rows_truncate(struct rows *rows, size_t count, uint32_t partition_count);
