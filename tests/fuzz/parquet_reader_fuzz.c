/* Any bytes as a Parquet file: errors, never crashes, and memory within its bound. */
#include "base/limits.h"
#include "lake/parquet_check.h"
#include "lake/parquet_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct parquet_reader *reader;
    struct parquet_column_data column;
    struct diag diag = {0};
    if (parquet_reader_new(bytes_from(data, size), 4 * MIB, &reader, &diag))
        return 0;
    parquet_column_data_init(&column, 4 * MIB);
    const struct parquet_metadata *metadata = parquet_reader_metadata(reader);
    for (size_t group = 0; group < metadata->row_group_count && group < 4; group++) {
        for (size_t i = 0; i < metadata->column_count && i < 64; i++) {
            struct parquet_page_index index;
            (void)!parquet_reader_read(reader, group, i, &column, &diag);
            (void)!parquet_reader_page_index(reader, group, i, &index, &diag);
            (void)parquet_reader_path(reader, i);
        }
    }
    parquet_column_data_fini(&column);
    parquet_reader_free(reader);
    (void)!parquet_check(bytes_from(data, size), 4 * MIB, &diag); /* rows, too */
    return 0;
}
