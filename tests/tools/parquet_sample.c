/*
 * parquet_sample FILE.parquet ROWS.ndjson SCENARIO CODEC ROWS ROW_GROUP_ROWS PAGE_ROWS SEED
 *
 * Writes a Parquet file with the product's writer, and the rows it should hold as JSON lines, for
 * tests/integration/test_parquet_readers.py.
 */
#include "support/parquet_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum err to_file(void *ctx, struct bytes bytes)
{
    return fwrite(bytes.data, 1, bytes.size, ctx) == bytes.size ? ERR_OK : ERR_IO;
}

static bool codec_from_text(const char *text, enum parquet_codec *ret_codec)
{
    static const char *const names[] = {"none", "snappy", "zstd", "lz4_raw"};
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret_codec = (enum parquet_codec)i;
            return true;
        }
    }
    return false;
}

static enum err write_rows(struct parquet_rows *rows, const struct parquet_options *options,
                           FILE *file, FILE *lines, size_t row_count, size_t group_rows)
{
    static const struct parquet_key_value pairs[] = {{"ingestor.journal", "a-b-c"},
                                                     {"ingestor.range", "1:0-9:5"}};
    struct parquet_writer *writer = NULL;
    enum err err =
        parquet_writer_new(options, rows->nodes, rows->node_count, to_file, file, &writer);
    while (!err && row_count > 0) {
        size_t count = row_count < group_rows ? row_count : group_rows;
        if (rows->json)
            buf_clear(rows->json);
        parquet_rows_fill(rows, count);
        if (rows->json)
            err = to_file(lines, buf_bytes(rows->json));
        if (!err)
            err = parquet_writer_row_group(writer, count, rows->views);
        row_count -= count;
    }
    if (!err)
        err = parquet_writer_finish(writer, pairs, 2);
    parquet_writer_free(writer);
    return err;
}

int main(int argc, char **argv)
{
    struct parquet_options options = {.zstd_level = 3,
                                      .page_bytes = 1 << 20,
                                      .created_by = "ingestor version 0.1.0 (build test)",
                                      .has_checksums = true};
    enum parquet_rows_scenario scenario;
    if (argc != 9 || !parquet_rows_scenario(argv[3], &scenario) ||
        !codec_from_text(argv[4], &options.codec)) {
        (void)fprintf(stderr, "usage: parquet_sample FILE ROWS.ndjson SCENARIO CODEC ROWS "
                              "ROW_GROUP_ROWS PAGE_ROWS SEED\n");
        return 2;
    }
    options.page_rows = (uint32_t)strtoul(argv[7], NULL, 10);
    FILE *file = fopen(argv[1], "wb");
    FILE *lines = fopen(argv[2], "wb");
    if (!file || !lines)
        return 1;
    struct buf json;
    struct parquet_rows rows;
    buf_init(&json, (size_t)1 << 31);
    parquet_rows_init(&rows, scenario, strtoull(argv[8], NULL, 10), &json);
    enum err err = write_rows(&rows, &options, file, lines, strtoull(argv[5], NULL, 10),
                              strtoull(argv[6], NULL, 10));
    parquet_rows_fini(&rows);
    buf_fini(&json);
    if (fclose(file) || fclose(lines) || err) {
        (void)fprintf(stderr, "parquet_sample: %s\n", err_text(err));
        return 1;
    }
    return 0;
}
