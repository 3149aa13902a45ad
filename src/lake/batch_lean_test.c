/* A batch that keeps few records as text becomes the same files as one that does not. */
#include "lake/batch.h"

#include "base/alloc.h"
#include "support/batch_rig.h"
#include "support/fake_parquet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const bool lean = true;

/* Two services in the same state, the second short of memory. */
struct pair {
    struct rig rigs[2];
};

static void pair_init(struct pair *pair)
{
    for (int i = 0; i < 2; i++) {
        assert_int_equal(rig_init(&pair->rigs[i]), ERR_OK);
        pair->rigs[i].lean = i == 1 ? &lean : NULL;
        assert_int_equal(rig_batch(&pair->rigs[i]), ERR_OK);
    }
}

static void pair_fini(struct pair *pair)
{
    for (int i = 0; i < 2; i++)
        rig_fini(&pair->rigs[i]);
}

static void pair_send(struct pair *pair, const char *const *payloads, size_t count)
{
    for (int i = 0; i < 2; i++)
        assert_int_equal(rig_send(&pair->rigs[i], payloads, count), ERR_OK);
}

static void check_stats(const struct batch_stats *a, const struct batch_stats *b)
{
    assert_int_equal(a->messages, b->messages);
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->rejected, b->rejected);
    assert_int_equal(a->rescued, b->rescued);
    assert_int_equal(a->bad_timestamp, b->bad_timestamp);
    assert_int_equal(a->payload_bytes, b->payload_bytes);
    assert_int_equal(a->block_last, b->block_last);
    assert_int_equal(a->first_us, b->first_us);
    assert_int_equal(a->last_us, b->last_us);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Records that wait for their columns come behind those that do not: the order may differ. */
static void lines_sort(char *text, size_t size)
{
    char *lines[512];
    char *rest;
    size_t count = 0;
    char *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy, text, size);
    copy[size] = '\0';
    for (char *at = strtok_r(copy, "\n", &rest); at; at = strtok_r(NULL, "\n", &rest)) {
        assert_true(count < 512);
        lines[count++] = at;
    }
    qsort(lines, count, sizeof(lines[0]), by_text);
    for (size_t i = 0, offset = 0; i < count; i++) {
        size_t length = strlen(lines[i]);
        memcpy(text + offset, lines[i], length);
        text[offset + length] = '\n';
        offset += length + 1;
    }
    free(copy);
}

/* And so may that of the files. */
static const struct cut_file *file_find(const struct cut *cut, const char *key)
{
    for (size_t i = 0; i < cut->file_count; i++)
        if (strcmp(cut->files[i].key, key) == 0)
            return &cut->files[i];
    return NULL;
}

static void check_file(const struct cut_file *a, const struct cut_file *b)
{
    assert_non_null(b);
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->dead_letters, b->dead_letters);
    assert_int_equal(a->bytes.size, b->bytes.size);
    lines_sort((char *)a->bytes.data, a->bytes.size);
    lines_sort((char *)b->bytes.data, b->bytes.size);
    assert_memory_equal(a->bytes.data, b->bytes.data, a->bytes.size);
}

/* Cuts both; returns the number of files. */
static size_t check_cuts(struct pair *pair)
{
    struct cut cuts[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(batch_cut(pair->rigs[i].batch, &cuts[i], NULL), ERR_OK);
    check_stats(&cuts[0].stats, &cuts[1].stats);
    size_t count = cuts[0].file_count;
    assert_int_equal(count, cuts[1].file_count);
    assert_int_equal(cuts[0].schema_version, cuts[1].schema_version);
    for (size_t i = 0; i < count; i++)
        check_file(&cuts[0].files[i], file_find(&cuts[1], cuts[0].files[i].key));
    for (int i = 0; i < 2; i++)
        cut_fini(&cuts[i]);
    return count;
}

static const char *const plain[] = {
    "{\"timestamp\":\"2026-03-04T10:00:00Z\",\"sensor_id\":\"a\",\"value\":1.5}",
    "{\"timestamp\":\"2026-03-04T11:00:00Z\",\"sensor_id\":\"b\",\"value\":\"much\"}",
    "{\"sensor_id\":\"c\",\"value\":2,\"value\":3,\"where\":{\"x\":1,\"y\":[1,null]}}",
    "{\"timestamp\":7,\"sensor_id\":null,\"value\":{},\"list\":[{\"k\":true}]}",
    "no JSON",
    "[{\"sensor_id\":\"d\"},{\"sensor_id\":\"e\",\"value\":-1}]",
};
#define PLAIN (sizeof(plain) / sizeof(plain[0]))

static void test_the_same_files(void **state)
{
    struct pair pair;
    (void)state;
    pair_init(&pair);
    pair_send(&pair, plain, PLAIN); /* unknown columns */
    assert_in_range(check_cuts(&pair), 3, 9);
    assert_int_equal(pair.rigs[0].catalog.count, pair.rigs[1].catalog.count);
    for (size_t k = 0; k < 3; k++) { /* known ones, from the catalog */
        for (size_t i = 0; i < PLAIN; i++)
            pair_send(&pair, &plain[(i + k) % PLAIN], 1);
        assert_in_range(check_cuts(&pair), 3, 9);
    }
    const char *more[] = {"{\"sensor_id\":\"f\",\"new\":1}", plain[0], plain[1]};
    pair_send(&pair, more, 3); /* one more column */
    assert_in_range(check_cuts(&pair), 1, 9);
    assert_int_equal(pair.rigs[0].catalog.count, pair.rigs[1].catalog.count);
    pair_send(&pair, &plain[4], 1); /* dead letters only */
    assert_int_equal(check_cuts(&pair), 1);
    pair_fini(&pair);
}

/* Text turns into columns in the middle of a batch, and in the middle of a block's messages. */
static void test_from_few_to_many(void **state)
{
    struct pair pair;
    const char *many[100];
    (void)state;
    pair_init(&pair);
    pair_send(&pair, plain, PLAIN);
    check_cuts(&pair);
    for (size_t i = 0; i < 100; i++)
        many[i] = plain[i % 3];
    for (size_t i = 0; i < 200; i++)
        pair_send(&pair, &plain[i % PLAIN], 1);
    check_cuts(&pair);
    pair_send(&pair, many, 40);
    pair_send(&pair, many, 100);
    pair_send(&pair, many, 1);
    check_cuts(&pair);
    pair_fini(&pair);
}

static void test_foreseen_is_what_is_pinned(void **state)
{
    struct pair pair;
    (void)state;
    pair_init(&pair);
    pair_send(&pair, plain, PLAIN);
    for (int i = 0; i < 2; i++) {
        struct rig *rig = &pair.rigs[i];
        struct catalog *catalog = &rig->catalog.catalog;
        struct catalog_pin pin;
        struct arena arena;
        arena_init(&arena, 1 << 20);
        assert_true(batch_waits_for_columns(rig->batch));
        assert_int_equal(batch_foresee(rig->batch, &arena, &pin), ERR_OK);
        assert_int_equal(catalog->ops->pin_many(catalog, &pin, 1, NULL), ERR_OK);
        arena_fini(&arena);
    }
    size_t pinned = pair.rigs[1].catalog.count;
    assert_in_range(pinned, 5, 50);
    check_cuts(&pair);
    assert_int_equal(pair.rigs[0].catalog.count, pinned);
    assert_int_equal(pair.rigs[1].catalog.count, pinned);
    pair_fini(&pair);
}

static void test_database_away(void **state)
{
    struct pair pair;
    struct cut cut;
    (void)state;
    pair_init(&pair);
    pair_send(&pair, plain, PLAIN);
    check_cuts(&pair);
    pair.rigs[1].catalog.away = true;
    pair_send(&pair, plain, PLAIN);
    assert_int_equal(batch_cut(pair.rigs[1].batch, &cut, NULL), ERR_BUSY);
    pair_send(&pair, plain, PLAIN);
    pair.rigs[1].catalog.away = false;
    check_cuts(&pair);
    pair_fini(&pair);
}

/* As inherit.h: of an unknown dataset the lake is asked, and what it said is told once. */
struct asking_catalog {
    struct catalog catalog;
    struct fake_catalog *behind;
    bool is_new; /* found out, not told yet */
};

static enum err asking_load(struct catalog *base, struct bytes dataset_id,
                            enum err (*on_column)(void *ctx, const struct catalog_column *column),
                            void *ctx, struct diag *diag)
{
    struct asking_catalog *asking = (struct asking_catalog *)base;
    struct catalog *behind = &asking->behind->catalog;
    if (asking->behind->count == 0 && !asking->is_new)
        return ERR_BUSY;
    asking->is_new = false;
    return behind->ops->load(behind, dataset_id, on_column, ctx, diag);
}

static enum err asking_pin(struct catalog *base, struct bytes dataset_id,
                           const struct catalog_column *columns, size_t count, struct diag *diag)
{
    struct catalog *behind = &((struct asking_catalog *)base)->behind->catalog;
    return behind->ops->pin(behind, dataset_id, columns, count, diag);
}

static void test_that_it_is_new_is_told_once(void **state)
{
    static const struct catalog_ops ops = {.load = asking_load, .pin = asking_pin};
    struct rig rig;
    struct cut cut;
    struct catalog_pin pin;
    struct arena arena;
    (void)state;
    assert_int_equal(rig_init(&rig), ERR_OK);
    struct asking_catalog asking = {.catalog = {&ops}, .behind = &rig.catalog};
    const struct batch_options options = {.catalog = &asking.catalog,
                                          .journal_uuid = RIG_UUID,
                                          .row_group_rows = 1000,
                                          .row_group_bytes = 1 << 20,
                                          .lean = &lean};
    assert_int_equal(batch_new(&options, bytes_from_text(RIG_DATASET), &rig.batch), ERR_OK);
    assert_int_equal(rig_send(&rig, plain, PLAIN), ERR_OK);
    assert_int_equal(batch_cut(rig.batch, &cut, NULL), ERR_BUSY);
    asking.is_new = true;
    arena_init(&arena, 1 << 20);
    assert_int_equal(batch_foresee(rig.batch, &arena, &pin), ERR_OK); /* and nobody pins it */
    arena_fini(&arena);
    assert_int_equal(batch_cut(rig.batch, &cut, NULL), ERR_OK);
    cut_fini(&cut);
    rig_fini(&rig);
}

/* Wherever memory ends, the batch holds what it held, and what comes of it is the same. */
static void test_memory(void **state)
{
    bool ended = false;
    (void)state;
    for (uint64_t k = 1; !ended; k++) {
        struct pair pair;
        struct cut cut;
        pair_init(&pair);
        pair_send(&pair, plain, PLAIN);
        check_cuts(&pair);
        assert_int_equal(rig_send(&pair.rigs[0], plain, PLAIN), ERR_OK);
        mem_fail_at(k);
        enum err err = rig_send(&pair.rigs[1], plain, PLAIN);
        bool sent = err == ERR_OK;
        if (sent)
            err = batch_cut(pair.rigs[1].batch, &cut, NULL);
        ended = !mem_failed();
        mem_fail_at(0);
        assert_true(err == ERR_OK || err == ERR_NO_MEMORY);
        if (err == ERR_OK) {
            cut_fini(&cut);
        } else {
            pair.rigs[1].block_number = pair.rigs[0].block_number - !sent;
            if (!sent)
                assert_int_equal(rig_send(&pair.rigs[1], plain, PLAIN), ERR_OK);
            check_cuts(&pair);
        }
        pair_fini(&pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_files),
        cmocka_unit_test(test_from_few_to_many),
        cmocka_unit_test(test_foreseen_is_what_is_pinned),
        cmocka_unit_test(test_database_away),
        cmocka_unit_test(test_that_it_is_new_is_told_once),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
