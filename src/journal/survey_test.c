#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "journal/survey.h"
#include "support/journal_rig.h"

#include <stdio.h>

/* The last block of what was landed; the next block calls that durable. */
static uint64_t land(struct journal *journal, const char *dataset, uint32_t files, bool uploaded)
{
    const struct landed_file file = {.key = BYTES_LITERAL("k"), .size_bytes = 1, .rows = 1};
    struct landed landed = {.files = &file, .file_count = files};
    land_all(journal, dataset, &landed, uploaded);
    return landed.through;
}

static const struct journal_survey_dataset *find(const struct journal_survey *survey,
                                                 const char *dataset)
{
    for (size_t i = 0; i < survey->count; i++)
        if (strcmp(survey->datasets[i].id, dataset) == 0)
            return &survey->datasets[i];
    return NULL;
}

static void check(const char *uuid, uint64_t a, uint64_t b)
{
    struct journal_survey survey;
    struct diag diag = {0};
    if (journal_survey_read(&fs_posix, folder, &survey, &diag) != ERR_OK)
        fail_msg("%s", diag.text);
    assert_string_equal(survey.uuid, uuid);
    assert_int_equal(survey.count, 2);
    assert_non_null(find(&survey, "a"));
    assert_int_equal(find(&survey, "a")->filed_through, a);
    assert_false(find(&survey, "a")->is_on_its_way);
    assert_non_null(find(&survey, "b"));
    assert_int_equal(find(&survey, "b")->filed_through, b);
    assert_true(find(&survey, "b")->is_on_its_way);
    journal_survey_fini(&survey);
}

/* Beside the process that has it, over several segments, and when it has gone; a cut without files
 * moves nothing. */
static void test_survey(void **state)
{
    (void)state;
    char uuid[JOURNAL_SURVEY_UUID_BYTES];
    struct journal *journal = open_journal();
    snprintf(uuid, sizeof(uuid), "%s", journal_uuid(journal));
    (void)land(journal, "a", 1, true);
    uint64_t a = land(journal, "a", 1, true);
    uint64_t b = land(journal, "b", 1, false);
    (void)land(journal, "a", 0, true);
    (void)land(journal, "c", 0, true);
    submit(journal, "d");
    check(uuid, a, b);
    for (int i = 0; i < 300; i++)
        (void)land(journal, "c", 0, true);
    a = land(journal, "a", 1, true);
    submit(journal, "d");
    check(uuid, a, b);
    journal_close(journal);
    check(uuid, a, b);
}

static void test_nothing_there(void **state)
{
    struct journal_survey survey;
    struct diag diag = {0};
    char none[300];
    (void)state;
    assert_int_equal(journal_survey_read(&fs_posix, folder, &survey, &diag), ERR_NOT_FOUND);
    snprintf(none, sizeof(none), "%s/none", folder);
    assert_int_equal(journal_survey_read(&fs_posix, none, &survey, &diag), ERR_NOT_FOUND);
    assert_int_equal(access(none, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_survey, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_there, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
