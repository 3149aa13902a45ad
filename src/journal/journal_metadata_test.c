#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/journal_rig.h"

#include <stdio.h>

static void land(struct journal *journal, const char *dataset, const char *changes)
{
    struct landed landed = {.metadata_changes = bytes_from_text(changes)};
    land_all(journal, dataset, &landed, true);
}

static enum err on_kept(void *ctx, struct bytes dataset_id, struct bytes changes)
{
    return buf_printf(ctx, "%.*s=%.*s;", (int)dataset_id.size, (const char *)dataset_id.data,
                      (int)changes.size, (const char *)changes.data);
}

/* Those of "a" and "b" and no more, in any order. */
static void check_kept(struct journal *journal, const char *a, const char *b)
{
    struct buf kept;
    buf_init(&kept, MIB);
    assert_int_equal(journal_metadata_each(journal, on_kept, &kept), ERR_OK);
    const char *text = buf_cstr(&kept);
    assert_non_null(text);
    assert_int_equal(strlen(text), strlen(a) + strlen(b));
    assert_non_null(strstr(text, a));
    assert_non_null(strstr(text, b));
    buf_fini(&kept);
}

/* They outlive the upload, restarts and checkpoints; the latest stands for all before it. */
static void test_kept_until_done(void **state)
{
    (void)state;
    struct journal *journal = open_journal();
    check_kept(journal, "", "");
    land(journal, "a", "one");
    land(journal, "b", "two");
    land(journal, "a", "three");
    land(journal, "a", ""); /* nothing new is said */
    check_kept(journal, "a=three;", "b=two;");
    journal_close(journal);

    journal = open_journal();
    check_kept(journal, "a=three;", "b=two;");
    for (int i = 0; i < 300; i++) /* over several segments */
        land(journal, "c", "");
    journal_close(journal);

    journal = open_journal();
    check_kept(journal, "a=three;", "b=two;");
    const struct bytes done[] = {BYTES_LITERAL("a"), BYTES_LITERAL("unknown")};
    assert_int_equal(journal_metadata_done(journal, done, 2, 7), ERR_OK);
    land(journal, "c", ""); /* after it */
    check_kept(journal, "", "b=two;");
    assert_int_equal(journal_metadata_done(journal, done, 1000, 8), ERR_TOO_MANY);
    assert_int_equal(journal_metadata_done(journal, NULL, 0, 0), ERR_OK);
    journal_close(journal);

    journal = open_journal();
    check_kept(journal, "", "b=two;");
    journal_close(journal);
}

/* It outlives restarts and checkpoints, with datasets or alone, and is among no dataset's changes.
 */
static void test_mark(void **state)
{
    (void)state;
    const struct bytes done[] = {BYTES_LITERAL("a")};
    struct journal *journal = open_journal();
    assert_int_equal(journal_metadata_mark(journal), 0);
    land(journal, "a", "one");
    assert_int_equal(journal_metadata_done(journal, done, 1, 7), ERR_OK);
    assert_int_equal(journal_metadata_done(journal, NULL, 0, UINT64_MAX - 1), ERR_OK);
    land(journal, "b", "two");
    assert_true(journal_metadata_mark(journal) == UINT64_MAX - 1);
    for (int i = 0; i < 300; i++) /* over several segments */
        land(journal, "c", "");
    journal_close(journal);

    journal = open_journal();
    assert_true(journal_metadata_mark(journal) == UINT64_MAX - 1);
    check_kept(journal, "", "b=two;");
    journal_close(journal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kept_until_done, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mark, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
