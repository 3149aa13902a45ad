/* What a batch says it holds is what it holds: the memory limit is kept by these figures. */
#include "lake/batch.h"

#include "support/batch_rig.h"
#include "support/fake_parquet.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define BATCHES 400

static size_t used_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* All pin the same columns in one catalog, which has them before. */
static void append_all(struct rig *rig, struct batch **batches, int times)
{
    static const char *const payload[] = {"{\"seq\":1,\"sensor_id\":\"s1\",\"value\":0.25,\"unit\":"
                                          "\"celsius\",\"pad\":\"xxxxxxxxxxxx\"}"};
    for (int k = 0; k < times; k++) {
        for (int i = 0; i < BATCHES; i++) {
            rig->batch = batches[i];
            assert_int_equal(rig_send(rig, payload, 1), ERR_OK);
        }
    }
}

static void cut_all(struct batch **batches)
{
    for (int i = 0; i < BATCHES; i++) {
        struct cut cut;
        assert_int_equal(batch_cut(batches[i], &cut, NULL), ERR_OK);
        cut_fini(&cut);
    }
}

static void check(struct batch **batches, size_t before)
{
    size_t told = 0;
    size_t real = used_bytes() - before;
    for (int i = 0; i < BATCHES; i++) {
        struct batch_stats stats;
        batch_stats_get(batches[i], &stats);
        told += stats.memory_bytes;
    }
    print_message("a batch: told %zu, real %zu\n", told / BATCHES, real / BATCHES);
    assert_true(told >= real / 10 * 8);
    assert_true(told <= real / 10 * 12);
}

static void check_batches(const bool *lean, size_t small_max_bytes)
{
    static struct batch *batches[BATCHES];
    struct rig rig;
    struct batch_stats stats;
    if (used_bytes() == 0)
        skip(); /* a sanitizer's allocator does not say; before anything is made, for it leaves */
    assert_int_equal(rig_init(&rig), ERR_OK);
    assert_int_equal(rig_batch(&rig), ERR_OK);
    struct batch *first = rig.batch;
    for (int i = 0; i < BATCHES; i++)
        batches[i] = first;
    append_all(&rig, batches, 1);
    cut_all(batches); /* the columns are pinned */
    struct batch_options options = {
        .catalog = &rig.catalog.catalog, .journal_uuid = RIG_UUID, .lean = lean};
    size_t before = used_bytes();
    for (int i = 0; i < BATCHES; i++)
        assert_int_equal(batch_new(&options, bytes_from_text(RIG_DATASET), &batches[i]), ERR_OK);
    check(batches, before);
    append_all(&rig, batches, 1);
    check(batches, before);
    batch_stats_get(batches[0], &stats);
    assert_in_range(stats.memory_bytes, 1, small_max_bytes);
    append_all(&rig, batches, 40);
    check(batches, before);
    cut_all(batches);
    check(batches, before);
    batch_stats_get(batches[0], &stats);
    assert_in_range(stats.memory_bytes, 1, small_max_bytes);
    for (int i = 0; i < BATCHES; i++)
        batch_free(batches[i]);
    rig.batch = first;
    rig_fini(&rig);
}

static void test_a_batch_tells_what_it_holds(void **state)
{
    (void)state;
    check_batches(NULL, 24000);
}

static void test_a_lean_batch_holds_little(void **state)
{
    static const bool lean = true;
    (void)state;
    check_batches(&lean, 5500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_batch_tells_what_it_holds),
                                       cmocka_unit_test(test_a_lean_batch_holds_little)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
