/*
 * parquet_bench [ROWS [ROUNDS]]: CPU time to write one file of realistic sensor rows, by codec and,
 * for zstd, by column. The rows are made beforehand; the sink only counts.
 */
#include "base/limits.h"
#include "support/parquet_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static enum err to_count(void *ctx, struct bytes bytes)
{
    *(uint64_t *)ctx += bytes.size;
    return ERR_OK;
}

static double cpu_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static uint64_t write_file(const struct parquet_options *options, const struct parquet_node *nodes,
                           size_t node_count, const struct parquet_leaf *leaves, size_t row_count)
{
    struct parquet_writer *writer;
    uint64_t bytes = 0;
    enum err err = parquet_writer_new(options, nodes, node_count, to_count, &bytes, &writer);
    if (!err) {
        err = parquet_writer_row_group(writer, row_count, leaves);
        if (!err)
            err = parquet_writer_finish(writer, NULL, 0);
        parquet_writer_free(writer);
    }
    if (err) {
        (void)fprintf(stderr, "parquet_bench: %s\n", err_text(err));
        exit(1);
    }
    return bytes;
}

static void measure(const char *name, const struct parquet_options *options,
                    const struct parquet_node *nodes, size_t node_count,
                    const struct parquet_leaf *leaves, size_t row_count, int rounds)
{
    double best = 1e300;
    uint64_t bytes = 0;
    for (int i = 0; i < rounds; i++) {
        double begin = cpu_ns();
        bytes = write_file(options, nodes, node_count, leaves, row_count);
        double took = cpu_ns() - begin;
        best = took < best ? took : best;
    }
    (void)printf("%-20s %8.1f ns/row  %8.2f bytes/row  %8.1f MB/s of 200-byte messages\n", name,
                 best / (double)row_count, (double)bytes / (double)row_count,
                 (double)row_count * 200 / best * 1e3);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"none", "snappy", "zstd", "lz4_raw"};
    size_t row_count = argc > 1 ? strtoull(argv[1], NULL, 10) : 300000;
    int rounds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 5;
    struct parquet_rows rows;
    struct parquet_options options = {.zstd_level = 3,
                                      .page_bytes = MIB,
                                      .page_rows = 20000,
                                      .created_by = "parquet_bench",
                                      .has_checksums = true};
    parquet_rows_init(&rows, PARQUET_ROWS_SENSORS, 1, NULL);
    parquet_rows_fill(&rows, row_count);
    (void)printf("%zu rows of %zu columns\n", row_count, rows.leaf_count);
    for (int codec = PARQUET_NONE; codec <= PARQUET_LZ4_RAW; codec++) {
        options.codec = (enum parquet_codec)codec;
        measure(names[codec], &options, rows.nodes, rows.node_count, rows.views, row_count, rounds);
    }
    for (size_t i = 0, leaf = 0; i < rows.node_count; i++) {
        char name[64];
        if (rows.nodes[i].child_count > 0)
            continue;
        struct parquet_leaf view = rows.views[leaf++];
        if (strcmp(rows.nodes[i].name, "lat") == 0 || strcmp(rows.nodes[i].name, "lon") == 0)
            continue; /* their levels count the struct around them */
        for (int codec = PARQUET_NONE; codec <= PARQUET_ZSTD; codec += PARQUET_ZSTD) {
            options.codec = (enum parquet_codec)codec;
            (void)snprintf(name, sizeof(name), "%.40s %s", rows.nodes[i].name, names[codec]);
            measure(name, &options, &rows.nodes[i], 1, &view, row_count, rounds);
        }
    }
    parquet_rows_fini(&rows);
    return 0;
}
