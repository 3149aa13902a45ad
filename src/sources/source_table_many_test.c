/* What is written for many sources at a time, and how one's own insertion is told from others'. */
#include "sources/source_table.h"

#include "support/source_table_rig.h"

static void test_insert_all(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    prepare_ok();
    (void)insert_ok("a", "taken");
    uint64_t before = version();
    struct source_row rows[] = {new_row("b", "free", "{}"), new_row("c", "taken", "{}"),
                                new_row("d", "free too", "{}")};
    struct diag diag = {0};
    assert_int_equal(source_table_insert_all(database, rows, 3, &diag), ERR_CONFLICT);
    assert_string_equal(diag.text, "the ingestion id taken is taken");
    assert_int_equal(version(), before);
    assert_names("a");
    mem_free(rows[1].ingestion_id);
    rows[1].ingestion_id = mem_strdup("free again");
    diag = (struct diag){0};
    check(source_table_insert_all(database, rows, 3, &diag), &diag);
    assert_names("a b c d");
    assert_true(rows[0].id < rows[1].id && rows[1].id < rows[2].id);
    for (size_t i = 0; i < 3; i++)
        source_row_fini(&rows[i]);
}

static void test_version_of_an_insertion(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    prepare_ok();
    struct source_version before, after;
    assert_int_equal(source_table_version(database, &before, NULL), ERR_OK);
    struct source_row row = new_row("a", "x", "{}");
    assert_int_equal(source_table_insert(database, &row, NULL), ERR_OK);
    assert_int_equal(source_table_version(database, &after, NULL), ERR_OK);
    assert_true(source_version_is_next(&before, &after, &row));
    (void)insert_ok("b", "y"); /* somebody else */
    assert_int_equal(source_table_version(database, &after, NULL), ERR_OK);
    assert_false(source_version_is_next(&before, &after, &row));
    assert_int_equal(source_table_version(database, &before, NULL), ERR_OK);
    struct source_row other = new_row("c", "z", "{}");
    assert_int_equal(source_table_insert(database, &other, NULL), ERR_OK);
    exec_ok("UPDATE data_sources SET updated_at = '2999-01-01 00:00:00.000000' "
            "WHERE ingestion_id = 'x'"); /* a person */
    assert_int_equal(source_table_version(database, &after, NULL), ERR_OK);
    assert_false(source_version_is_next(&before, &after, &other));
    source_row_fini(&row);
    source_row_fini(&other);
}

static void test_report(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    prepare_ok();
    int64_t stopped = insert_ok("a", "x");
    int64_t running = insert_ok("b", "y");
    assert_int_equal(source_table_set_status(database, stopped, "stopped", 0, NULL, NULL), ERR_OK);
    const struct source_report reports[] = {{stopped, "active", EARLY_US, NULL},
                                            {running + 100, "active", EARLY_US, NULL},
                                            {running, "error", EARLY_US, "broken"}};
    struct diag diag = {0};
    check(source_table_report(database, reports, 3, &diag), &diag);
    struct source_row row = get_ok(stopped);
    assert_string_equal(row.status, "stopped");
    source_row_fini(&row);
    row = get_ok(running);
    assert_string_equal(row.status, "error");
    assert_string_equal(row.last_error, "broken");
    assert_int_equal(row.last_connection_us, EARLY_US);
    source_row_fini(&row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TABLE_TEST(test_insert_all),
        TABLE_TEST(test_version_of_an_insertion),
        TABLE_TEST(test_report),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + cmocka_run_group_tests(tests, start_postgres, stop_postgres);
}
