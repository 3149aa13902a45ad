#pragma once
/*
 * From a cut's columns to a change: what its records say of their dataset. On the worker's thread,
 * between the files and the end of the batch; costs some nanoseconds a record (sensors, late ones)
 * and a bounded time a cut for the rest, whatever the number of records.
 *
 * What was told before is not told again within a day: a memory of it, some hundred bytes, lives
 * with the batch. After a day it is, so that the files of any day (CUT_METADATA_KEY) say all of
 * what came since, and older ones may be deleted.
 */
#include "lake/cut.h"
#include "metadata/change.h"

struct told;

/* Makes the change; *told: NULL at first, kept from cut to cut. After a failure (ERR_NO_MEMORY)
 * told may say too much: forget it. */
enum err extract_change(const struct cut_input *cut, struct told **told,
                        struct change *change) ERR_MUST_USE;
/* The top-level column whose texts are the sensors of the change just made, exactly, in the cut's
 * only file, and would weigh in its footer: empty if there is none. */
enum err extract_sensors_column(const struct cut_input *cut, const struct told *told,
                                const struct change *change, struct bytes *ret_column) ERR_MUST_USE;
/* The sensor that a text of such a column is. */
enum err extract_sensor_add(struct change *change, struct bytes text) ERR_MUST_USE;
void told_free(struct told *told);
/* What it holds, about. */
size_t told_memory_bytes(const struct told *told);

/* Sums of data quality that look at each of some thousand records (extract_quality.c). */
enum err extract_quality(const struct cut_input *cut, struct change_quality *quality) ERR_MUST_USE;
