#include "connectors/common_schema.h"

#include "base/alloc.h"
#include "support/json_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const char own_schema[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"url\"],\"properties\":{"
    "\"url\":{\"type\":\"string\"},\"format\":{\"enum\":[\"auto\",\"csv\"]},"
    "\"dedupe_key\":false}}";

static enum err answer_to(const struct json_schema *validator, const char *text)
{
    json_t *config = json_text_parse(text);
    enum err err = json_schema_validate(validator, config, NULL, NULL);
    json_decref(config);
    return err;
}

static void the_connectors_own_wins(void **state)
{
    (void)state;
    const struct connector connector = {.name = "chirp", .config_schema = own_schema};
    json_t *schema;
    struct json_schema *validator;
    assert_int_equal(common_schema_make(&connector, &schema, &validator, NULL), ERR_OK);
    assert_int_equal(answer_to(validator, "{'url':'u'}"), ERR_OK);
    assert_int_equal(answer_to(validator, "{'url':'u','format':'csv'}"), ERR_OK);
    assert_int_equal(answer_to(validator, "{'url':'u','format':'json'}"), ERR_INVALID);
    assert_int_equal(answer_to(validator, "{'url':'u','dedupe_key':{}}"), ERR_INVALID);
    assert_int_equal(answer_to(validator, "{'url':'u','unknown':1}"), ERR_INVALID);
    assert_int_equal(answer_to(validator, "{'url':'u','max_message_bytes':1}"), ERR_OK);
    assert_int_equal(answer_to(validator, "{'url':'u','max_message_bytes':0}"), ERR_INVALID);
    assert_int_equal(answer_to(validator, "{'format':'csv'}"), ERR_INVALID);
    const char *name =
        json_object_iter_key(json_object_iter(json_object_get(schema, "properties")));
    assert_string_equal(name, "url"); /* the connector's own come first: so forms are drawn */
    json_schema_free(validator);
    json_decref(schema);
}

static void every_source_has_the_options(void **state)
{
    (void)state;
    const struct connector connector = {.name = "bare",
                                        .config_schema = "{\"additionalProperties\":false}"};
    json_t *schema;
    struct json_schema *validator;
    assert_int_equal(common_schema_make(&connector, &schema, &validator, NULL), ERR_OK);
    assert_int_equal(answer_to(validator, "{'format':'senml','timestamp_field':'t',"
                                          "'sensor_id_field':'s','dataset':'{source}',"
                                          "'dataset_levels':2,'columns':{'a':'STRING'},"
                                          "'dedupe_key':{'field':'id','window_seconds':60},"
                                          "'max_message_bytes':50331648}"),
                     ERR_OK);
    assert_int_equal(answer_to(validator, "{'format':null,'timestamp_field':null,"
                                          "'sensor_id_field':null,'dataset':null,"
                                          "'dataset_levels':null,'columns':null,"
                                          "'dedupe_key':null,'max_message_bytes':null}"),
                     ERR_OK);
    static const char *const wrong[] = {"{'format':'xml'}",
                                        "{'timestamp_field':''}",
                                        "{'sensor_id_field':1}",
                                        "{'dataset_levels':0}",
                                        "{'columns':{'a':'INT'}}",
                                        "{'dedupe_key':{'field':'id'}}",
                                        "{'max_message_bytes':50331649}"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(answer_to(validator, wrong[i]), ERR_INVALID);
    json_schema_free(validator);
    json_decref(schema);
}

struct bad_schema {
    const char *schema;
    const char *diag;
};

static void bad_schemas_are_named(void **state)
{
    (void)state;
    static const struct bad_schema table[] = {
        {"{\"type\":", "connector chirp: its config_schema is no JSON object: "},
        {"[]", "connector chirp: its config_schema is no JSON object: it is another value"},
        {"{\"type\":\"object\",\"type\":\"object\"}",
         "connector chirp: its config_schema is no JSON object: "},
        {"{\"properties\":1}", "connector chirp: schema: /properties must be an object of schemas"},
        {"{\"properties\":{\"a\":{\"$ref\":\"#\"}}}",
         "connector chirp: schema: /properties/a/$ref is a keyword that is not supported here"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct connector connector = {.name = "chirp", .config_schema = table[i].schema};
        json_t *schema;
        struct json_schema *validator;
        struct diag diag = {0};
        assert_int_equal(common_schema_make(&connector, &schema, &validator, &diag), ERR_INVALID);
        assert_memory_equal(diag.text, table[i].diag, strlen(table[i].diag));
        assert_null(schema);
        assert_null(validator);
    }
}

static void memory_may_run_out(void **state)
{
    (void)state;
    const struct connector connector = {.name = "chirp", .config_schema = own_schema};
    /* jansson keeps its own malloc here: its lexer asserts that it gets memory (load.c). */
    for (uint64_t k = 1;; k++) {
        json_t *schema;
        struct json_schema *validator;
        mem_fail_at(k);
        enum err err = common_schema_make(&connector, &schema, &validator, NULL);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        assert_int_equal(schema != NULL, err == ERR_OK);
        assert_int_equal(validator != NULL, err == ERR_OK);
        json_schema_free(validator);
        json_decref(schema);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_connectors_own_wins),
        cmocka_unit_test(every_source_has_the_options),
        cmocka_unit_test(bad_schemas_are_named),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
