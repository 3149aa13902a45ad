/* Files of ours with one bit turned, anywhere: the check tells each. All bits, one after the other:
 * INGESTOR_CHECK_BITS=1000000. */
#include "lake/parquet_check.h"

#include "lake/parquet_metadata.h"
#include "support/parquet_groups.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void file_make(struct buf *file, size_t row_count)
{
    struct parquet_rows rows;
    buf_init(file, 16 * MIB);
    parquet_rows_init(&rows, PARQUET_ROWS_MIXED, 11, NULL);
    parquet_rows_fill(&rows, row_count);
    assert_int_equal(write_groups(&rows, &options_default, row_count, 1, file), ERR_OK);
    parquet_rows_fini(&rows);
}

static enum err check(struct bytes file, struct diag *diag)
{
    *diag = (struct diag){0};
    return parquet_check(file, 64 * MIB, diag);
}

static void test_each_bit(void **state)
{
    const char *more = getenv("INGESTOR_CHECK_BITS");
    size_t count = more ? strtoul(more, NULL, 10) : 6000, missed = 0;
    struct buf file;
    struct diag diag;
    uint64_t random = 3;
    (void)state;
    file_make(&file, 40);
    assert_int_equal(check(buf_bytes(&file), &diag), ERR_OK);
    for (size_t i = 0; i < count; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        size_t bit = more && count >= file.size * 8 ? i : (random >> 20) % (file.size * 8);
        if (bit >= file.size * 8)
            break;
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        enum err err = check(buf_bytes(&file), &diag);
        if (err == ERR_OK)
            print_message("bit %zu of byte %zu of %zu is missed\n", bit % 8, bit / 8, file.size);
        missed += err == ERR_OK;
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(missed, 0);
    buf_fini(&file);
}

/* Another writer's file has no checksum; a column's name still stands there twice. */
static void test_names(void **state)
{
    struct buf file;
    struct diag diag;
    (void)state;
    file_make(&file, 3);
    uint8_t *key = memmem(file.data, file.size, "ingestor.crc32c", 15);
    assert_non_null(key);
    key[0]++;
    key[1]++;
    assert_int_equal(check(buf_bytes(&file), &diag), ERR_OK);
    struct arena arena;
    struct parquet_metadata metadata;
    arena_init(&arena, MIB);
    assert_int_equal(parquet_metadata_read(&metadata, &arena, buf_bytes(&file), &diag), ERR_OK);
    for (size_t i = 1; i < metadata.element_count; i++) {
        struct bytes name = metadata.elements[i].name;
        file.data[(size_t)(name.data - file.data)] ^= 1;
        assert_int_equal(check(buf_bytes(&file), &diag), ERR_CORRUPT);
        assert_non_null(strstr(diag.text, "another name"));
        file.data[(size_t)(name.data - file.data)] ^= 1;
    }
    arena_fini(&arena);
    buf_fini(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_bit),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
