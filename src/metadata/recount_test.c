#include "metadata/recount.h"

#include "base/alloc.h"
#include "journal/record.h"
#include "lake/cut.h"
#include "lake/store_open.h"
#include "metadata/change_text.h"
#include "metadata/extract.h"
#include "support/batch_rig.h"
#include "support/temp_folder.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FOLDER "bronze/ingestion_id=" RIG_DATASET "/"
#define CUTS   6

/* What the cuts said, each for itself, and which they were. */
static struct {
    struct change changes[CUTS];
    uint64_t through[CUTS];
    size_t count;
    bool silent; /* nothing goes into the footers */
} said;

static enum err on_describe(void *ctx, const struct cut_input *cut, void **state, struct buf *text)
{
    struct told *told = *state;
    struct change *change = &said.changes[said.count];
    struct buf encoded;
    (void)ctx;
    change_init(change);
    assert_int_equal(extract_change(cut, &told, change), ERR_OK);
    *state = told;
    change->first_block = cut->stats.first.block;
    said.through[said.count++] = cut->stats.block_last;
    buf_init(&encoded, 1 << 20);
    change_encode(change, &encoded);
    enum err err = said.silent ? ERR_OK : change_text_append(text, buf_bytes(&encoded));
    buf_fini(&encoded);
    return err;
}

static enum err on_cut(void *ctx, const struct cut_input *cut, void **state)
{
    (void)ctx;
    (void)cut;
    (void)state;
    return ERR_OK;
}

static void on_forget(void *state)
{
    told_free(state);
}

static size_t on_bytes(const void *state)
{
    return told_memory_bytes(state);
}

static const struct batch_observer_ops observer = {
    .describe = on_describe, .cut = on_cut, .forget = on_forget, .memory_bytes = on_bytes};

/* --- a lake in a folder -------------------------------------------------------------------- */

static struct {
    char path[64];
    struct store *store;
    uint64_t after;
    uint64_t before;
    int turns_left; /* then an error */
    char last_key[400];
} lake;

static void file_write(const char *key, struct bytes content)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", lake.path, key);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(content.data, 1, content.size, file), content.size);
    assert_int_equal(fclose(file), 0);
    snprintf(lake.last_key, sizeof(lake.last_key), "%s", key);
}

static void cut_write(struct rig *rig)
{
    struct cut cut;
    assert_int_equal(batch_cut(rig->batch, &cut, NULL), ERR_OK);
    for (size_t i = 0; i < cut.file_count; i++)
        file_write(cut.files[i].key, buf_bytes(&cut.files[i].bytes));
    cut_fini(&cut);
}

/* Cuts of several blocks and hours, with a schema that evolves; a dead letter among them. */
static void lake_make(bool silent)
{
    struct rig rig;
    struct diag diag = {0};
    said.count = 0;
    said.silent = silent;
    temp_folder_make(lake.path, sizeof(lake.path));
    assert_int_equal(store_folder_new(&fs_posix, lake.path, &lake.store, &diag), ERR_OK);
    assert_int_equal(rig_init(&rig), ERR_OK);
    assert_int_equal(rig_batch_observed(&rig, &observer), ERR_OK);
    for (int i = 0; i < CUTS; i++) {
        for (int block = 0; block < 3; block++) {
            char one[200], other[200];
            const char *const payloads[] = {one, other};
            snprintf(one, sizeof(one), "{\"sensor_id\":\"s%d\",\"v\":%d,\"f%d\":true}",
                     i * 3 + block % 2, i, i);
            snprintf(other, sizeof(other),
                     "{\"sensor_id\":%s%d%s,\"v\":null,\"timestamp\":\"2026-03-04T0%d:00:00Z\"}",
                     silent ? "\"n" : "", i / 2, silent ? "\"" : "", block + 1);
            rig.arrival_us += US_PER_S;
            assert_int_equal(rig_send(&rig, payloads, 2), ERR_OK);
        }
        cut_write(&rig);
    }
    rig_fini(&rig);
    lake.after = 0;
    lake.before = UINT64_MAX;
    lake.turns_left = 1000;
}

static void lake_drop(void)
{
    for (size_t i = 0; i < said.count; i++)
        change_fini(&said.changes[i]);
    lake.store->ops->close(lake.store);
    temp_folder_remove(lake.path);
}

static enum err on_turn(void *ctx)
{
    (void)ctx;
    return --lake.turns_left < 0 ? ERR_STOPPED : ERR_OK;
}

static enum err on_bounds(void *ctx, struct bytes id, uint64_t *ret_after, uint64_t *ret_before)
{
    (void)ctx;
    assert_true(bytes_equal_text(id, RIG_DATASET));
    *ret_after = lake.after;
    *ret_before = lake.before;
    return ERR_OK;
}

static enum err count(struct recounted *recounted)
{
    const struct recount_options options = {
        .store = lake.store, .journal_uuid = RIG_UUID, .turn = on_turn, .bounds = on_bounds};
    struct diag diag = {0};
    recounted_init(recounted);
    return recount_dataset(&options, FOLDER, recounted, &diag);
}

/* All of the changes as one; *ret_count: how many they are. */
static void sum_of(const struct recounted *recounted, struct change *sum, size_t *ret_count)
{
    struct record_reader reader = record_reader_of(buf_bytes(&recounted->changes));
    change_init(sum);
    for (*ret_count = 0; reader.left > 0; ++*ret_count) {
        struct change one;
        change_init(&one);
        assert_int_equal(change_decode(&one, record_text32(&reader)), ERR_OK);
        assert_int_equal(change_merge(sum, &one), ERR_OK);
        change_fini(&one);
    }
}

static void check_same(const struct change *found, const struct change *expected)
{
    struct buf a, b;
    buf_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    change_encode(found, &a);
    change_encode(expected, &b);
    assert_true(bytes_equal(buf_bytes(&a), buf_bytes(&b)));
    buf_fini(&a);
    buf_fini(&b);
}

/* Cuts first to last, and nothing else, in so many changes. */
static void check_counted(size_t first, size_t last, size_t changes)
{
    struct recounted recounted;
    struct change found, expected;
    size_t found_count;
    assert_int_equal(count(&recounted), ERR_OK);
    assert_int_equal(recounted.unread_count, 0);
    assert_int_equal(recounted.through, said.through[last]);
    sum_of(&recounted, &found, &found_count);
    change_init(&expected);
    for (size_t i = first; i <= last; i++)
        assert_int_equal(change_merge(&expected, &said.changes[i]), ERR_OK);
    check_same(&found, &expected);
    assert_int_equal(found_count, changes);
    change_fini(&found);
    change_fini(&expected);
    recounted_fini(&recounted);
}

/* Each cut has a new field, and so a change of its own; its date is that of the evolution. */
static void test_what_the_cuts_said(void **state)
{
    (void)state;
    lake_make(false);
    check_counted(0, CUTS - 1, CUTS);
    lake.after = said.through[1];
    lake.before = said.changes[4].first_block;
    check_counted(2, 3, 2);
    lake_drop();
}

static void test_nothing_within_the_bounds(void **state)
{
    struct recounted recounted;
    (void)state;
    lake_make(false);
    lake.after = said.through[CUTS - 1];
    assert_int_equal(count(&recounted), ERR_OK);
    assert_int_equal(recounted.changes.size, 0);
    assert_int_equal(recounted.through, lake.after);
    recounted_fini(&recounted);
    lake_drop();
}

/* Others' files, and what is no file of a cut, count for nothing. */
static void test_files_of_others(void **state)
{
    static const char *const keys[] = {
        FOLDER "date=2026-03-04/hour=01/part-1f4b8a52-6d1c-4f3e-9b7a-2c5d8e1f0a3b-0000000000000001-"
               "00000000.parquet",
        FOLDER "date=2026-03-04/hour=01/part-" RIG_UUID "-0000000000000001-0000000A.parquet",
        FOLDER "date=2026-03-04/hour=25/part-" RIG_UUID "-0000000000000001-00000000.parquet",
        FOLDER "date=2026-03-04/data.parquet", FOLDER "other.parquet"};
    (void)state;
    lake_make(false);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        file_write(keys[i], BYTES_LITERAL("PAR1 is not what it is PAR1"));
    check_counted(0, CUTS - 1, CUTS);
    lake_drop();
}

static int on_path(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)walk;
    return type == FTW_F ? truncate(path, 20) : 0;
}

/* One that is damaged is told, and the rest counted: the others of its cut too, by what they hold.
 */
static void test_damaged_file(void **state)
{
    struct recounted recounted;
    struct change found;
    size_t changes;
    (void)state;
    lake_make(false);
    file_write(lake.last_key, BYTES_LITERAL("PAR1 is not what it is PAR1"));
    assert_int_equal(count(&recounted), ERR_OK);
    assert_int_equal(recounted.unread_count, 1);
    assert_non_null(strstr(recounted.unread, lake.last_key));
    sum_of(&recounted, &found, &changes);
    assert_true(found.records >= 6 * CUTS - 3 && found.records <= 6 * CUTS);
    change_fini(&found);
    recounted_fini(&recounted);
    lake_drop();
}

/* None of them can be read: that is told, too. */
static void test_all_damaged(void **state)
{
    struct recounted recounted;
    (void)state;
    lake_make(false);
    lake.before = 0;
    assert_int_equal(nftw(lake.path, on_path, 8, 0), 0);
    assert_int_equal(count(&recounted), ERR_OK);
    assert_int_equal(recounted.id.size, 0);
    assert_true(recounted.unread_count >= CUTS);
    recounted_fini(&recounted);
    lake_drop();
}

/* Files that say nothing: records, arrivals, types and sensors are those of the columns. */
static void test_columns(void **state)
{
    struct recounted recounted;
    struct change found, expected;
    size_t changes;
    (void)state;
    lake_make(true);
    assert_int_equal(count(&recounted), ERR_OK);
    assert_int_equal(recounted.through, said.through[CUTS - 1]);
    sum_of(&recounted, &found, &changes);
    change_init(&expected);
    for (size_t i = 0; i < CUTS; i++)
        assert_int_equal(change_merge(&expected, &said.changes[i]), ERR_OK);
    assert_int_equal(found.records, expected.records);
    assert_int_equal(found.first_us, expected.first_us);
    assert_int_equal(found.last_us, expected.last_us);
    assert_int_equal(found.payload_bytes, 0);
    assert_int_equal(found.sensor_count, expected.sensor_count);
    for (size_t i = 0; i < expected.sensor_count; i++)
        assert_true(distinct_has(&found.listed, distinct_hash(expected.sensors[i])));
    assert_int_equal(found.field_count, expected.field_count);
    for (size_t i = 0; i < expected.field_count; i++) {
        const struct change_field *field = change_field_find(&found, expected.fields[i].name);
        assert_non_null(field);
        assert_int_equal(field->types, expected.fields[i].types);
        assert_int_equal(field->nullable, expected.fields[i].nullable);
    }
    change_fini(&found);
    change_fini(&expected);
    recounted_fini(&recounted);
    lake_drop();
}

/* Stopped before any call of the store. */
static void test_stopped(void **state)
{
    (void)state;
    lake_make(false);
    for (int turns = 0;; turns++) {
        struct recounted recounted;
        lake.turns_left = turns;
        enum err err = count(&recounted);
        recounted_fini(&recounted);
        if (err == ERR_OK) {
            assert_true(turns > CUTS);
            break;
        }
        assert_int_equal(err, ERR_STOPPED);
    }
    lake_drop();
}

static void test_no_memory(void **state)
{
    (void)state;
    lake_make(false);
    for (uint64_t k = 1;; k++) {
        struct recounted recounted;
        mem_fail_at(k);
        enum err err = count(&recounted);
        bool failed = mem_failed();
        mem_fail_at(0);
        recounted_fini(&recounted);
        if (!failed)
            break;
        assert_int_equal(err, ERR_NO_MEMORY);
    }
    lake_drop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_cuts_said),
        cmocka_unit_test(test_nothing_within_the_bounds),
        cmocka_unit_test(test_files_of_others),
        cmocka_unit_test(test_damaged_file),
        cmocka_unit_test(test_all_damaged),
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
