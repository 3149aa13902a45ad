#pragma once
/* Scenario rows (parquet_rows.h) written as a file, for tests of the writer and the reader. */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "lake/parquet_writer.h"
#include "support/parquet_rows.h"

static const struct parquet_options options_default = {
    .codec = PARQUET_ZSTD,
    .zstd_level = 3,
    .page_bytes = 1 << 20,
    .page_rows = 100,
    .created_by = "ingestor version 0.1.0 (build test)",
};

static inline enum err to_buf(void *ctx, struct bytes bytes)
{
    return buf_append(ctx, bytes.data, bytes.size);
}

static inline enum err write_groups(struct parquet_rows *rows,
                                    const struct parquet_options *options, size_t group_rows,
                                    size_t groups, struct buf *file)
{
    static const struct parquet_key_value pairs[] = {{"journal", "uuid"}, {"range", "1-2"}};
    struct parquet_writer *writer = NULL;
    enum err err =
        parquet_writer_new(options, rows->nodes, rows->node_count, to_buf, file, &writer);
    for (size_t i = 0; i < groups && !err; i++) {
        if (groups > 1)
            parquet_rows_fill(rows, group_rows);
        err = parquet_writer_row_group(writer, group_rows, rows->views);
    }
    if (!err)
        err = parquet_writer_finish(writer, pairs, 2);
    parquet_writer_free(writer);
    return err;
}
