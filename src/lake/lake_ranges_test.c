#include "lake/lake_ranges.h"

#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define JOURNAL "0b9a5c1e-0000-4000-8000-000000000001"

static struct bytes text(const char *value)
{
    return bytes_from_text(value);
}

static const char *files_said = "";
static const char *follows_said; /* NULL: nothing */

/* A file in hour of a dataset, whose footer has the range first .. last, named by position. */
static enum err add(struct lake_ranges *ranges, const char *folder, uint64_t position,
                    uint64_t first, uint64_t last, struct diag *diag)
{
    char key[256];
    char from[32];
    char to[24];
    snprintf(key, sizeof(key), "bronze/%s/part-" JOURNAL "-%016llx-00000000.parquet", folder,
             (unsigned long long)position);
    snprintf(from, sizeof(from), "%016llx-%08x", (unsigned long long)first, 0U);
    snprintf(to, sizeof(to), "%016llx", (unsigned long long)last);
    struct parquet_metadata_pair pairs[] = {
        {text("ingestion_id"), text("a b")},
        {text("ingestor.journal"), text(JOURNAL)},
        {text("ingestor.first"), text(from)},
        {text("ingestor.block_last"), text(to)},
        {text("ingestor.files"), text(files_said)},
        {text("ingestor.follows"), text(follows_said ? follows_said : "")}};
    struct parquet_metadata metadata = {.pairs = pairs, .pair_count = follows_said ? 6 : 5};
    return lake_ranges_add(ranges, key, &metadata, diag);
}

static enum err on_fault(void *ctx, const char *key, const char *what)
{
    (void)key;
    assert_non_null(strstr(what, follows_said  ? "missing: the cut before it, through block 9 "
                                 : *files_said ? "missing: of the 3 files"
                                               : "doubled"));
    ++*(int *)ctx;
    return ERR_OK;
}

static int faults_in(struct lake_ranges *ranges, bool is_whole_lake)
{
    int count = 0;
    assert_int_equal(lake_ranges_check(ranges, is_whole_lake, on_fault, &count), ERR_OK);
    lake_ranges_fini(ranges);
    lake_ranges_init(ranges);
    return count;
}

static int faults(struct lake_ranges *ranges)
{
    return faults_in(ranges, true);
}

#define HOUR_1 "ingestion_id=a%20b/date=2026-01-01/hour=01"
#define HOUR_2 "ingestion_id=a%20b/date=2026-01-01/hour=02"

static void test_doubled(void **state)
{
    struct lake_ranges ranges;
    struct diag diag = {0};
    (void)state;
    lake_ranges_init(&ranges);
    /* one cut over two hours, then the next */
    assert_int_equal(add(&ranges, HOUR_1, 5, 5, 9, &diag), ERR_OK);
    assert_int_equal(add(&ranges, HOUR_2, 5, 5, 9, &diag), ERR_OK);
    assert_int_equal(add(&ranges, HOUR_2, 10, 10, 12, &diag), ERR_OK);
    assert_int_equal(faults(&ranges), 0);
    /* inside a wide one, behind others */
    assert_int_equal(add(&ranges, HOUR_1, 5, 5, 90, &diag), ERR_OK);
    assert_int_equal(add(&ranges, HOUR_2, 10, 10, 12, &diag), ERR_OK);
    assert_int_equal(add(&ranges, HOUR_2, 90, 90, 91, &diag), ERR_OK);
    assert_int_equal(faults(&ranges), 2);
    /* the same range twice in one partition */
    assert_int_equal(add(&ranges, HOUR_1, 5, 5, 9, &diag), ERR_OK);
    assert_int_equal(add(&ranges, HOUR_1, 6, 5, 9, &diag), ERR_OK);
    assert_int_equal(faults(&ranges), 1);
    lake_ranges_fini(&ranges);
}

static void add_cut(struct lake_ranges *ranges, bool whole)
{
    struct diag diag = {0};
    assert_int_equal(add(ranges, HOUR_1, 5, 5, 9, &diag), ERR_OK);
    assert_int_equal(add(ranges, HOUR_2, 5, 5, 9, &diag), ERR_OK);
    if (whole)
        assert_int_equal(add(ranges, "_dead_letters/date=2026-01-01/hour=01", 5, 5, 9, &diag),
                         ERR_OK);
}

static void test_missing(void **state)
{
    struct lake_ranges ranges;
    struct diag diag = {0};
    (void)state;
    files_said = "3";
    lake_ranges_init(&ranges);
    add_cut(&ranges, true);
    assert_int_equal(faults(&ranges), 0);
    add_cut(&ranges, false);
    assert_int_equal(faults(&ranges), 1);
    add_cut(&ranges, false); /* the rest may lie elsewhere */
    assert_int_equal(faults_in(&ranges, false), 0);
    files_said = "3x";
    assert_int_equal(add(&ranges, HOUR_1, 5, 5, 9, &diag), ERR_CORRUPT);
    files_said = "";
    lake_ranges_fini(&ranges);
}

static void test_missing_cut(void **state)
{
    struct lake_ranges ranges;
    struct diag diag = {0};
    (void)state;
    lake_ranges_init(&ranges);
    for (int gone = 0; gone < 2; gone++) {
        assert_int_equal(add(&ranges, HOUR_1, 2, 2, 4, &diag), ERR_OK);
        follows_said = "0000000000000004";
        if (!gone)
            assert_int_equal(add(&ranges, HOUR_1, 5, 5, 9, &diag), ERR_OK);
        follows_said =
            "0000000000000009"; /* blocks without messages of it, or a cut without files */
        assert_int_equal(add(&ranges, HOUR_1, 20, 20, 22, &diag), ERR_OK);
        assert_int_equal(add(&ranges, HOUR_2, 20, 20, 22, &diag), ERR_OK);
        assert_int_equal(faults_in(&ranges, true), gone);
        follows_said = NULL;
    }
    /* the oldest ones may be gone, a part of the lake says nothing */
    follows_said = "0000000000000009";
    assert_int_equal(add(&ranges, HOUR_1, 20, 20, 22, &diag), ERR_OK);
    int count = 0;
    assert_int_equal(lake_ranges_check(&ranges, true, on_fault, &count), ERR_OK);
    assert_int_equal(count, 0);
    assert_int_equal(ranges.later, 1); /* which is said */
    assert_int_equal(faults_in(&ranges, true), 0);
    assert_int_equal(add(&ranges, HOUR_1, 20, 20, 22, &diag), ERR_OK);
    follows_said = "0000000000000030";
    assert_int_equal(add(&ranges, HOUR_1, 64, 64, 70, &diag), ERR_OK);
    assert_int_equal(faults_in(&ranges, false), 0);
    follows_said = "000000000000004x";
    assert_int_equal(add(&ranges, HOUR_1, 80, 80, 90, &diag), ERR_CORRUPT);
    follows_said = "0000000000000050"; /* itself */
    assert_int_equal(add(&ranges, HOUR_1, 80, 80, 90, &diag), ERR_CORRUPT);
    follows_said = NULL;
    lake_ranges_fini(&ranges);
}

static void test_wrong_places(void **state)
{
    struct lake_ranges ranges;
    struct diag diag = {0};
    (void)state;
    lake_ranges_init(&ranges);
    assert_int_equal(add(&ranges, HOUR_1, 4, 5, 9, &diag), ERR_CORRUPT);
    assert_non_null(strstr(diag.text, "the name is not that of the range"));
    assert_int_equal(add(&ranges, HOUR_1, 10, 5, 9, &diag), ERR_CORRUPT);
    diag = (struct diag){0};
    assert_int_equal(add(&ranges, "ingestion_id=other/date=2026-01-01/hour=01", 5, 5, 9, &diag),
                     ERR_CORRUPT);
    assert_non_null(strstr(diag.text, "belongs to another dataset: a b"));
    assert_int_equal(add(&ranges, HOUR_1, 9, 9, 5, &diag), ERR_CORRUPT);
    assert_int_equal(add(&ranges, "_dead_letters/date=2026-01-01/hour=01", 5, 5, 9, &diag), ERR_OK);
    struct parquet_metadata foreign = {0};
    assert_int_equal(lake_ranges_add(&ranges, "bronze/x.parquet", &foreign, &diag), ERR_OK);
    assert_int_equal(ranges.without, 1);
    assert_int_equal(lake_ranges_add(&ranges,
                                     "bronze/part-01234567-89ab-4def-8123-456789abcdef-"
                                     "0000000000000005-00000000.parquet",
                                     &foreign, &diag),
                     ERR_CORRUPT); /* nobody else gives such names */
    lake_ranges_fini(&ranges);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doubled),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_missing_cut),
        cmocka_unit_test(test_wrong_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
