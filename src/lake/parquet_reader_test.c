/* The writer and the reader against each other, and both against hostile and failing worlds. What
 * other readers make of the files is tests/integration/test_parquet_readers.py. */
#include "lake/parquet_writer.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "lake/parquet_reader.h"
#include "support/parquet_groups.h"
#include "support/parquet_rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Reads all there is; any error will do. */
static enum err read_all(struct bytes file)
{
    struct parquet_reader *reader;
    struct parquet_column_data data;
    struct diag diag = {0};
    enum err err = parquet_reader_new(file, 16 * MIB, &reader, &diag);
    if (err)
        return err;
    parquet_column_data_init(&data, 16 * MIB);
    const struct parquet_metadata *metadata = parquet_reader_metadata(reader);
    for (size_t group = 0; group < metadata->row_group_count && !err; group++) {
        for (size_t i = 0; i < metadata->column_count && !err; i++) {
            struct parquet_page_index index;
            err = parquet_reader_read(reader, group, i, &data, &diag);
            if (!err)
                err = parquet_reader_page_index(reader, group, i, &index, &diag);
        }
    }
    parquet_column_data_fini(&data);
    parquet_reader_free(reader);
    if (err == ERR_CORRUPT)
        assert_non_null(strstr(diag.text, "damaged at byte"));
    return err;
}

static void test_damaged_files(void **state)
{
    (void)state;
    struct parquet_options options = options_default;
    for (int codec = PARQUET_NONE; codec <= PARQUET_LZ4_RAW; codec++) {
        struct parquet_rows rows;
        struct buf file;
        uint32_t random = 7;
        options.codec = (enum parquet_codec)codec;
        buf_init(&file, MIB);
        parquet_rows_init(&rows, PARQUET_ROWS_MIXED, 5, NULL);
        parquet_rows_fill(&rows, 60);
        assert_int_equal(write_groups(&rows, &options, 60, 1, &file), ERR_OK);
        assert_int_equal(read_all(buf_bytes(&file)), ERR_OK);
        for (size_t size = 0; size < file.size; size += 1 + size / 50) {
            uint8_t *cut = mem_dup(file.data, size + (size == 0));
            assert_int_equal(read_all(bytes_from(cut, size)), ERR_CORRUPT);
            mem_free(cut);
        }
        size_t noticed = 0;
        assert_true(file.size > 0);
        for (int i = 0; i < 4000; i++) {
            random = random * 1664525 + 1013904223;
            size_t at = (random >> 8) % file.size;
            uint8_t before = file.data[at];
            file.data[at] = (uint8_t)(random >> 5 | 1) ^ before;
            noticed += read_all(buf_bytes(&file)) != ERR_OK;
            file.data[at] = before;
        }
        assert_true(noticed > 400);
        parquet_rows_fini(&rows);
        buf_fini(&file);
    }
}

static void test_reader_out_of_memory(void **state)
{
    (void)state;
    struct parquet_rows rows;
    struct buf file;
    buf_init(&file, MIB);
    parquet_rows_init(&rows, PARQUET_ROWS_MIXED, 5, NULL);
    parquet_rows_fill(&rows, 300);
    assert_int_equal(write_groups(&rows, &options_default, 300, 1, &file), ERR_OK);
    for (uint64_t k = 1;; k++) {
        mem_fail_at(k);
        enum err err = read_all(buf_bytes(&file));
        int failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        if (!failed)
            break;
    }
    parquet_rows_fini(&rows);
    buf_fini(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_reader_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
