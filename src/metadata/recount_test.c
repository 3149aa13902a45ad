#include "metadata/recount.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>
/* wants cmocka before */
#include "support/recount_lake.h"

/* Cuts of several blocks and hours, with a schema that evolves; a dead letter among them. */
static void lake_make(bool silent)
{
    struct rig rig;
    lake_open(&rig, silent);
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
    assert_int_equal(count_of(&recounted), ERR_OK);
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
    assert_int_equal(count_of(&recounted), ERR_OK);
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
    assert_int_equal(count_of(&recounted), ERR_OK);
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
    assert_int_equal(count_of(&recounted), ERR_OK);
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
        enum err err = count_of(&recounted);
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
    check_no_memory();
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
