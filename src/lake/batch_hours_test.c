/* A cut of very many hours: where each row goes is decided by the rows alone. */
#include "lake/batch.h"

#include "base/alloc.h"
#include "support/batch_rig.h"
#include "support/fake_parquet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HOURS 300

/* One message an hour; every third brings a field of its own, which must be learned first. */
static enum err send(struct rig *rig)
{
    enum err err = rig_block(rig);
    for (int i = 0; i < HOURS && err == ERR_OK; i++) {
        char text[128];
        long long time_s = RIG_ARRIVAL_US / 1000000 - (long long)i * 3600;
        snprintf(text, sizeof(text),
                 i % 3 == 0 ? "{\"timestamp\":%lld,\"n\":%d,\"late\":true}"
                            : "{\"timestamp\":%lld,\"n\":%d}",
                 time_s, i);
        err = rig_message(rig, bytes_from_text(text), 0);
    }
    return err == ERR_OK ? rig_append(rig) : err;
}

/* "key: n n n" of each file; the order of rows in a file may differ. */
static char *placement(const struct cut *cut)
{
    struct buf text;
    buf_init(&text, 1 << 22);
    size_t rows = 0;
    for (size_t i = 0; i < cut->file_count; i++) {
        assert_false(cut->files[i].dead_letters);
        const char *at = (const char *)cut->files[i].bytes.data;
        const char *end = at + cut->files[i].bytes.size;
        bool seen[HOURS] = {false};
        while ((at = memmem(at, (size_t)(end - at), "\"n\":", 4))) {
            at += 4;
            long n = strtol(at, NULL, 10);
            assert_true(n >= 0 && n < HOURS);
            seen[n] = true;
            rows++;
        }
        buf_printf(&text, "%s:", cut->files[i].key);
        for (int n = 0; n < HOURS; n++)
            if (seen[n])
                buf_printf(&text, " %d", n);
        buf_text(&text, "\n");
    }
    assert_int_equal(rows, HOURS);
    char *copy = strdup(buf_cstr(&text));
    buf_fini(&text);
    return copy;
}

static int by_line(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Files may come in any order; what is in each may not differ. */
static void same_placement(const struct cut *first, const struct cut *second)
{
    char *texts[2] = {placement(first), placement(second)};
    char *lines[2][2 * HOURS];
    size_t counts[2] = {0};
    for (int i = 0; i < 2; i++) {
        char *rest;
        for (char *line = strtok_r(texts[i], "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
            lines[i][counts[i]++] = line;
        qsort(lines[i], counts[i], sizeof(char *), by_line);
    }
    assert_int_equal(counts[0], counts[1]);
    for (size_t i = 0; i < counts[0]; i++)
        assert_string_equal(lines[0][i], lines[1][i]);
    free(texts[0]);
    free(texts[1]);
}

/* The first cut has to learn its columns; after a crash the same range is cut again, with columns
 * that are pinned by now: no row may lie under another key, or it could be there twice. */
static void test_redo_places_rows_alike(void **state)
{
    struct rig rig;
    struct cut first;
    struct cut second;
    (void)state;
    assert_int_equal(rig_init(&rig), ERR_OK);
    rig.route.partition_window_hours = 20000;
    fake_catalog_put(&rig.catalog, RIG_DATASET, "/n", "n", "DOUBLE", 1);
    assert_int_equal(rig_batch(&rig), ERR_OK);
    assert_int_equal(send(&rig), ERR_OK);
    assert_int_equal(batch_cut(rig.batch, &first, NULL), ERR_OK);
    assert_int_equal(first.file_count, 256);

    batch_free(rig.batch);
    rig.block_number = 0;
    assert_int_equal(rig_batch(&rig), ERR_OK);
    assert_int_equal(send(&rig), ERR_OK);
    assert_int_equal(batch_cut(rig.batch, &second, NULL), ERR_OK);
    same_placement(&first, &second);
    cut_fini(&first);
    cut_fini(&second);
    rig_fini(&rig);
}

#define MIXED       120
#define MIXED_HOURS 7

static void mixed_payload(int n, char *text, size_t size)
{
    long long time_s = RIG_ARRIVAL_US / 1000000 - (long long)(n % MIXED_HOURS) * 3600;
    int used = snprintf(text, size, "{\"timestamp\":%lld,\"n\":%d,\"s\":\"s%d\"", time_s, n, n);
    if (n % 3 == 0)
        used += snprintf(text + used, size - (size_t)used, ",\"list\":[%d,%d]", n, n + 1);
    if (n % 4 == 0)
        used += snprintf(text + used, size - (size_t)used, ",\"o\":{\"b\":%s}",
                         n % 8 ? "true" : "false");
    snprintf(text + used, size - (size_t)used, "}");
}

static void mixed_check(const json_t *row, int *ret_n)
{
    char text[16];
    int n = (int)json_number_value(json_object_get(row, "n"));
    snprintf(text, sizeof(text), "s%d", n);
    assert_string_equal(json_string_value(json_object_get(row, "s")), text);
    const json_t *list = json_object_get(row, "list");
    assert_int_equal(json_array_size(list), n % 3 == 0 ? 2 : 0);
    if (n % 3 == 0)
        assert_int_equal(json_number_value(json_array_get(list, 1)), n + 1);
    const json_t *b = json_object_get(json_object_get(row, "o"), "b");
    assert_true(n % 4 == 0 ? json_is_boolean(b) : !b || json_is_null(b));
    assert_true(n % 4 != 0 || json_is_true(b) == (n % 8 != 0));
    *ret_n = n;
}

/* Hours that take turns, with columns of each shape: every file has its own rows, in the order in
 * which they came, and no other's values. */
static void test_hours_that_take_turns(void **state)
{
    struct rig rig;
    struct cut cut;
    (void)state;
    assert_int_equal(rig_init(&rig), ERR_OK);
    assert_int_equal(rig_batch(&rig), ERR_OK);
    assert_int_equal(rig_block(&rig), ERR_OK);
    for (int n = 0; n < MIXED; n++) {
        char text[160];
        mixed_payload(n, text, sizeof(text));
        assert_int_equal(rig_message(&rig, bytes_from_text(text), 0), ERR_OK);
    }
    assert_int_equal(rig_append(&rig), ERR_OK);
    assert_int_equal(batch_cut(rig.batch, &cut, NULL), ERR_OK);
    assert_int_equal(cut.file_count, MIXED_HOURS);
    int seen = 0;
    for (size_t i = 0; i < cut.file_count; i++) {
        json_t *rows = rig_rows(&(struct cut){.files = &cut.files[i], .file_count = 1}, false);
        assert_int_equal(json_array_size(rows), cut.files[i].rows);
        int before = -1;
        for (size_t k = 0; k < json_array_size(rows); k++) {
            int n;
            mixed_check(json_array_get(rows, k), &n);
            assert_true(before < 0 || n == before + MIXED_HOURS);
            before = n;
            seen++;
        }
        json_decref(rows);
    }
    assert_int_equal(seen, MIXED);
    cut_fini(&cut);
    rig_fini(&rig);
}

static void test_no_memory(void **state)
{
    struct rig rig;
    struct cut cut;
    (void)state;
    assert_int_equal(rig_init(&rig), ERR_OK);
    rig.route.partition_window_hours = 20000;
    assert_int_equal(rig_batch(&rig), ERR_OK);
    assert_int_equal(send(&rig), ERR_OK);
    bool failed = true;
    for (uint64_t k = 1; failed; k += k < 100 ? 1 : 97) {
        mem_fail_at(k);
        failed = batch_cut(rig.batch, &cut, NULL) != ERR_OK;
        mem_fail_at(0);
    }
    free(placement(&cut));
    cut_fini(&cut);
    struct batch_stats stats;
    batch_stats_get(rig.batch, &stats);
    assert_int_equal(stats.rows, 0);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_redo_places_rows_alike),
        cmocka_unit_test(test_hours_that_take_turns),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
