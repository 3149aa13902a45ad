#include "sources/secrets.h"

#include "connectors/registry.h"
#include "support/temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

static int set_up(void **state)
{
    static char folder[256];
    temp_folder_make(folder, sizeof(folder));
    *state = folder;
    return registry_init(NULL) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    registry_fini();
    temp_folder_remove(*state);
    return 0;
}

/* A reference to a new file with this text. */
static json_t *file_with(const char *folder, const char *text)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/value", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return json_sprintf("${file:%s}", path);
}

static bool schema_takes(const char *type, const json_t *config)
{
    const struct connector *connector = registry_find(type);
    return json_schema_validate(registry_validator(connector), config, NULL, NULL) == ERR_OK;
}

static enum err check(const char *type, const json_t *config, struct diag *diag)
{
    *diag = (struct diag){0};
    return secrets_check(registry_find(type), config, diag);
}

static enum err resolve(const char *type, const json_t *config, struct diag *diag)
{
    json_t *resolved = NULL;
    *diag = (struct diag){0};
    enum err err = secrets_resolve(registry_find(type), config, &resolved, diag);
    json_decref(resolved);
    return err;
}

static void a_reference_need_not_look_like_its_value(void **state)
{
    struct diag diag;
    json_t *rest = json_pack("{s:o}", "url", file_with(*state, "https://example.org/a\n"));
    assert_true(schema_takes("rest_api", rest));
    assert_int_equal(check("rest_api", rest, &diag), ERR_OK);
    assert_int_equal(resolve("rest_api", rest, &diag), ERR_OK);
    json_decref(rest);
    json_t *mqtt = json_pack("{s:s, s:s, s:o, s:s}", "broker", "b", "topics", "t", "shared_group",
                             file_with(*state, "group"), "websocket", "${env:SECRETS_TEST_PATH}");
    setenv("SECRETS_TEST_PATH", "/mqtt", 1);
    assert_true(schema_takes("mqtt", mqtt));
    assert_int_equal(check("mqtt", mqtt, &diag), ERR_OK);
    setenv("SECRETS_TEST_PATH", "mqtt", 1);
    assert_int_equal(check("mqtt", mqtt, &diag), ERR_INVALID);
    assert_non_null(strstr(diag.text, "websocket"));
    unsetenv("SECRETS_TEST_PATH");
    json_decref(mqtt);
}

/* The service's machine may have what this one has not. */
static void what_cannot_be_read_here_is_no_error_before_the_start(void **state)
{
    (void)state;
    struct diag diag;
    json_t *config = json_pack("{s:s}", "url", "${env:SECRETS_TEST_NOT_SET}");
    assert_true(schema_takes("rest_api", config));
    assert_int_equal(check("rest_api", config, &diag), ERR_OK);
    assert_int_equal(resolve("rest_api", config, &diag), ERR_NOT_FOUND);
    assert_non_null(strstr(diag.text, "url"));
    assert_non_null(strstr(diag.text, "SECRETS_TEST_NOT_SET"));
    json_decref(config);
}

static void the_value_is_held_to_the_schema(void **state)
{
    struct diag diag;
    json_t *config = json_pack("{s:o}", "url", file_with(*state, "ftp://example.org"));
    assert_int_equal(resolve("rest_api", config, &diag), ERR_INVALID);
    assert_non_null(strstr(diag.text, "url"));
    assert_int_equal(check("rest_api", config, &diag), ERR_INVALID);
    json_decref(config);
}

/* Neither what the schema nor what the connector says of it: the rule is told, the value is not. */
static void what_came_by_reference_is_never_quoted(void **state)
{
    struct diag diag;
    json_t *config = json_pack("{s:o}", "url", file_with(*state, "filesecretvalue"));
    assert_int_equal(check("rest_api", config, &diag), ERR_INVALID);
    assert_non_null(strstr(diag.text, "url, by its reference: url must be a URI"));
    assert_null(strstr(diag.text, "filesecret"));
    assert_int_equal(resolve("rest_api", config, &diag), ERR_INVALID);
    assert_null(strstr(diag.text, "filesecret"));
    json_decref(config);
    static const char *const brokers[] = {"ssh://hidden", "\"://\""};
    static const char *const parts[] = {"ssh", "\"://"};
    for (size_t i = 0; i < sizeof(brokers) / sizeof(brokers[0]); i++) {
        config = json_pack("{s:o, s:s}", "broker", file_with(*state, brokers[i]), "topics", "t");
        assert_int_equal(check("mqtt", config, &diag), ERR_INVALID);
        assert_non_null(strstr(diag.text, "broker must be a host name"));
        assert_null(strstr(diag.text, parts[i]));
        json_decref(config);
    }
}

/* Of a short value only the quotation goes. */
static void a_sentence_is_cut_at_the_value(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"hunter2", "p must be 1, not \"hunter2\"", "p must be 1, not …"},
        {"hunter2 and more", "p: hunter2 a…", "p: …"},
        {"a", "a must be b, not \"a\"", "a must be b, not …"},
        {"", "as it was", "as it was"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct diag diag = {0};
        json_t *config = json_pack("{s:[{s:s}]}", "list", "p", "${env:P}");
        json_t *resolved = json_pack("{s:[{s:s}]}", "list", "p", cases[i][0]);
        (void)diag_set(&diag, ERR_INVALID, "%s", cases[i][1]);
        secrets_hide(config, resolved, &diag);
        assert_string_equal(diag.text, cases[i][2]);
        json_decref(config);
        json_decref(resolved);
    }
}

static void what_only_looks_like_one_is_a_text(void **state)
{
    (void)state;
    static const char *const texts[] = {"${env:}",   "${file:/a}b}", "x${env:A}",
                                        "${env:A} ", "${other:A}",   "${ENV:A}"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct diag diag;
        json_t *config = json_pack("{s:s}", "url", texts[i]);
        assert_false(schema_takes("rest_api", config));
        assert_int_equal(resolve("rest_api", config, &diag), ERR_OK); /* as it is */
        assert_int_not_equal(check("rest_api", config, &diag), ERR_OK);
        json_decref(config);
    }
}

/* A reference stands for a text, where a text may stand. */
static void types_stay(void **state)
{
    (void)state;
    json_t *config = json_pack("{s:s, s:s, s:s}", "broker", "b", "topics", "t", "port", "${env:P}");
    assert_false(schema_takes("mqtt", config));
    json_decref(config);
}

static void a_pipe_keeps_nobody_waiting(void **state)
{
    const char *folder = *state;
    char path[300];
    struct diag diag;
    snprintf(path, sizeof(path), "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    json_t *config = json_pack("{s:o}", "url", json_sprintf("${file:%s}", path));
    assert_int_equal(resolve("rest_api", config, &diag), ERR_NOT_FOUND);
    json_decref(config);
    config = json_pack("{s:s}", "url", "${file:/dev/zero}");
    assert_int_equal(resolve("rest_api", config, &diag), ERR_NOT_FOUND);
    json_decref(config);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_reference_need_not_look_like_its_value),
        TEST(what_cannot_be_read_here_is_no_error_before_the_start),
        TEST(the_value_is_held_to_the_schema),
        TEST(what_came_by_reference_is_never_quoted),
        TEST(a_sentence_is_cut_at_the_value),
        TEST(what_only_looks_like_one_is_a_text),
        TEST(types_stay),
        TEST(a_pipe_keeps_nobody_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
