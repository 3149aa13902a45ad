#pragma once
/*
 * Reads a file of the lake from its store: its footer alone, or all of it. Blocks; one thread.
 * ERR_TOO_LARGE beyond LAKE_FILE_BYTES_MAX and LAKE_FOOTER_BYTES_MAX (lake_columns.h).
 */
#include "base/arena.h"
#include "base/buf.h"
#include "lake/lake_walk.h"
#include "lake/parquet_metadata.h"

#define LAKE_FILE_BYTES_MAX ((size_t)2 * 1024 * 1024 * 1024)

/* metadata lives in arena and tail, both initialised by the caller. */
enum err lake_read_footer(struct store *store, const struct lake_file *file, struct arena *arena,
                          struct buf *tail, struct parquet_metadata *ret_metadata,
                          struct diag *diag) ERR_MUST_USE;
/* Replaces bytes' content. */
enum err lake_read_file(struct store *store, const struct lake_file *file, struct buf *bytes,
                        struct diag *diag) ERR_MUST_USE;
