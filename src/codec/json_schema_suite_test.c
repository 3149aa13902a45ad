/* The JSON Schema project's own test suite (draft 2020-12), as far as its schemas use keywords that
 * are supported: a schema that the compiler refuses is counted, not tested, and only for keywords
 * that the header leaves out. */
#include "base/err.h"
#include "codec/json_schema.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct suite {
    size_t tests;
    size_t wrong;
    size_t schemas_left_out;
};

static bool is_left_out(const char *diag)
{
    static const char *const words[] = {"/$ref ",
                                        "/$defs ",
                                        "/prefixItems ",
                                        "/patternProperties ",
                                        "/dependentSchemas ",
                                        "/propertyNames ",
                                        "/unevaluatedProperties "};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strstr(diag, words[i]))
            return true;
    return false;
}

static void suite_test(struct suite *suite, const struct json_schema *schema, const char *file,
                       const json_t *group, const json_t *test)
{
    enum err err = json_schema_validate(schema, json_object_get(test, "data"), NULL, NULL);
    bool wanted = json_is_true(json_object_get(test, "valid"));
    suite->tests++;
    if ((err == ERR_OK) == wanted && (err == ERR_OK || err == ERR_INVALID))
        return;
    suite->wrong++;
    print_error("%s: %s: %s: %s\n", file, json_string_value(json_object_get(group, "description")),
                json_string_value(json_object_get(test, "description")), err_name(err));
}

static void suite_group(struct suite *suite, const char *file, const json_t *group)
{
    struct json_schema *schema;
    struct diag diag = {0};
    if (json_schema_compile(json_object_get(group, "schema"), &schema, &diag) != ERR_OK) {
        if (!is_left_out(diag.text))
            fail_msg("%s: %s: %s", file, json_string_value(json_object_get(group, "description")),
                     diag.text);
        suite->schemas_left_out++;
        return;
    }
    size_t index;
    json_t *test;
    json_array_foreach(json_object_get(group, "tests"), index, test)
    {
        suite_test(suite, schema, file, group, test);
    }
    json_schema_free(schema);
}

/* Returns false when there is no such folder. */
static bool suite_folder(struct suite *suite, const char *folder)
{
    DIR *files = opendir(folder);
    if (!files)
        return false;
    for (struct dirent *entry; (entry = readdir(files));) {
        char path[1024];
        size_t size = strlen(entry->d_name);
        if (size < 5 || strcmp(entry->d_name + size - 5, ".json") != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        json_t *groups = json_load_file(path, JSON_ALLOW_NUL, NULL);
        size_t index;
        json_t *group;
        assert_non_null(groups);
        json_array_foreach(groups, index, group)
        {
            suite_group(suite, entry->d_name, group);
        }
        json_decref(groups);
    }
    closedir(files);
    return true;
}

static void the_official_suite_passes(void **state)
{
    (void)state;
    const char *shared = getenv("INGESTOR_SHARED_DATA");
    char folder[512];
    struct suite suite = {0};
    snprintf(folder, sizeof(folder), "%s/json-schema-test-suite/draft2020-12",
             shared ? shared : ".");
    if (!suite_folder(&suite, folder)) {
        print_message("skipped: no JSON Schema test suite at %s\n", folder);
        skip();
    }
    snprintf(folder, sizeof(folder), "%s/json-schema-test-suite/draft2020-12/optional/format",
             shared);
    assert_true(suite_folder(&suite, folder));
    print_message("%zu tests, %zu schemas with other keywords left out\n", suite.tests,
                  suite.schemas_left_out);
    assert_true(suite.tests > 500);
    assert_int_equal(suite.wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_official_suite_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
