#pragma once
/*
 * Reads all of a Parquet file and checks it against itself: every page, level and value, that the
 * columns' levels fit together as rows, and in our own files (by created_by) also that null counts,
 * bounds and page indexes are what the writer makes of these very values, and that the footer's
 * pair "ingestor.rows" is true. Then the checksum of the whole file, where the footer has one. Pure
 * but for memory; one thread.
 *
 * ERR_CORRUPT with the offset in diag for what is wrong, ERR_UNSUPPORTED for another writer's
 * types.
 */
#include "base/bytes.h"
#include "base/err.h"

struct parquet_metadata;

enum err parquet_check(struct bytes file, size_t memory_max, struct diag *diag) ERR_MUST_USE;
/* What of it needs no page: the footer against itself, and the checksum of the whole file. */
enum err parquet_check_footer(struct bytes file, const struct parquet_metadata *metadata,
                              struct diag *diag) ERR_MUST_USE;
