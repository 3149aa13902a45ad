#pragma once
/*
 * Whether a file's rows lie in the folder of their hour (contract/data.md "Bronze layer"): that of
 * each row's own event time, or that of its arrival, by which a row may go whose clock is wrong, or
 * all of them (PARTITION_BY=arrival); dead letters by when they were received. Pure but for memory;
 * one thread.
 *
 * A file without these columns, or outside date=…/hour=… folders, is another writer's: ERR_OK.
 * ERR_CORRUPT with a sentence for a row that lies elsewhere.
 */
#include "base/bytes.h"
#include "base/err.h"

#include <stddef.h>

enum err lake_hours_check(const char *key, struct bytes file, size_t memory_max,
                          struct diag *diag) ERR_MUST_USE;
