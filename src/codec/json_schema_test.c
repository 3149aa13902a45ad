#include "codec/json_schema.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "support/json_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct json_schema *compile(const json_t *json)
{
    struct json_schema *schema;
    struct diag diag = {0};
    if (json_schema_compile(json, &schema, &diag) != ERR_OK)
        fail_msg("%s", diag.text);
    return schema;
}

struct errors {
    size_t count;
    struct buf text; /* "path keyword: message\n" of each */
};

static void on_error(void *ctx, const char *path, const char *keyword, const char *message)
{
    struct errors *errors = ctx;
    errors->count++;
    assert_int_equal(buf_printf(&errors->text, "%s %s: %s\n", path, keyword, message), ERR_OK);
}

static void expect_errors(const char *schema_text, const char *value_text, const char *expected)
{
    json_t *json = json_text_parse(schema_text);
    json_t *value = json_text_parse(value_text);
    struct json_schema *schema = compile(json);
    struct errors errors = {0};
    buf_init(&errors.text, 1 * MIB);
    enum err err = json_schema_validate(schema, value, on_error, &errors);
    assert_int_equal(buf_byte(&errors.text, 0), ERR_OK);
    assert_string_equal((const char *)errors.text.data, expected);
    assert_int_equal(err, expected[0] ? ERR_INVALID : ERR_OK);
    assert_int_equal(json_schema_validate(schema, value, NULL, NULL), err);
    buf_fini(&errors.text);
    json_schema_free(schema);
    json_decref(value);
    json_decref(json);
}

struct sentence {
    const char *schema;
    const char *value;
    const char *errors;
};

static void errors_are_sentences(void **state)
{
    (void)state;
    static const struct sentence table[] = {
        {"{'properties':{'port':{'type':'integer'}}}", "{'port':'80'}",
         "/port type: port must be an integer, not \"80\"\n"},
        {"{'properties':{'port':{'type':['integer','null']}}}", "{'port':1.5}",
         "/port type: port must be an integer or null, not 1.5\n"},
        {"{'type':'object'}", "[1]", " type: the value must be an object, not an array\n"},
        {"{'properties':{'port':{'minimum':1,'maximum':65535}}}", "{'port':99999}",
         "/port maximum: port must be at most 65535, not 99999\n"},
        {"{'properties':{'f':{'enum':['auto','json','text']}}}", "{'f':'jsno'}",
         "/f enum: f must be \"auto\", \"json\" or \"text\", not \"jsno\"; did you mean "
         "\"json\"?\n"},
        {"{'required':['broker']}", "{}", "/broker required: broker is required, and missing\n"},
        {"{'properties':{'broker':true},'additionalProperties':false}", "{'brokr':1}",
         "/brokr additionalProperties: brokr is not a known property; did you mean "
         "\"broker\"?\n"},
        {"{'properties':{'broker':true},'additionalProperties':false}", "{'a/b~c':1}",
         "/a~1b~0c additionalProperties: a/b~c is not a known property\n"},
        {"{'properties':{'tls':{'properties':{'ca':{'minLength':1}}}}}", "{'tls':{'ca':''}}",
         "/tls/ca minLength: tls.ca must not be empty\n"},
        {"{'properties':{'t':{'items':{'maxLength':2}}}}", "{'t':['ab','abc']}",
         "/t/1 maxLength: t[1] must have at most 2 characters, not 3\n"},
        {"{'properties':{'t':{'oneOf':[{'type':'string'},"
         "{'type':'array','items':{'type':'string'}}]}}}",
         "{'t':['a',3]}",
         "/t oneOf: t must be a string or an array, each item a string: t[1] must be a string, "
         "not 3\n"},
        {"{'properties':{'t':{'anyOf':[{'type':'string'},{'type':'null'}]}}}", "{'t':3}",
         "/t anyOf: t must be a string or null, not 3\n"},
        {"{'oneOf':["
         "{'properties':{'kind':{'const':'page'},'size':{'type':'integer'}},'required':['kind']},"
         "{'properties':{'kind':{'const':'cursor'}},'required':['kind','field']}]}",
         "{'kind':'cursor'}",
         " oneOf: the value must be an object with kind \"page\" or an object with kind "
         "\"cursor\" and field: field is required, and missing\n"},
        {"{'oneOf':[{'required':['a']},{'required':['b']}]}", "{'a':1,'b':2}",
         " oneOf: the value must be exactly one of these, and is several: an object with a or an "
         "object with b\n"},
        {"{'not':{'required':['dataset','dataset_levels']}}", "{'dataset':1,'dataset_levels':2}",
         " not: the value must not be an object with dataset and dataset_levels\n"},
        {"{'properties':{'g':{'pattern':'^[^/+#]+$'}}}", "{'g':'a/b'}",
         "/g pattern: g must match the pattern ^[^/+#]+$, not \"a/b\"\n"},
        {"{'properties':{'u':{'format':'uri'}}}", "{'u':'abc'}",
         "/u format: u must be a URI such as https://example.org/path, not \"abc\"\n"},
        {"{'properties':{'a':false}}", "{'a':1}", "/a false: a is not allowed\n"},
        {"{'dependentRequired':{'password':['username']}}", "{'password':1}",
         "/username dependentRequired: username is required with password, and missing\n"},
        {"{'uniqueItems':true}", "[[1],{'a':2},{'a':2.0}]",
         " uniqueItems: the value must not have equal items: [1] and [2] are\n"},
        {"{'minItems':1}", "[]", " minItems: the value must not be empty\n"},
        {"{'maxItems':1}", "[1,2]", " maxItems: the value must have at most 1 items, not 2\n"},
        {"{'minProperties':2}", "{'a':1}",
         " minProperties: the value must have at least 2 properties, not 1\n"},
        {"{'multipleOf':0.5}", "0.7",
         " multipleOf: the value must be a multiple of 0.5, not 0.7\n"},
        {"{'exclusiveMinimum':0}", "0", " exclusiveMinimum: the value must be above 0, not 0\n"},
        {"{'const':{'a':1}}", "2", " const: the value must be an object, not 2\n"},
        {"{'allOf':[{'minimum':2},{'multipleOf':2}]}", "1",
         " minimum: the value must be at least 2, not 1\n"
         " multipleOf: the value must be a multiple of 2, not 1\n"},
        {"{'properties':{'a':{'type':'string'},'b':{'type':'null'}},'required':['c']}",
         "{'b':1,'a':2}",
         "/a type: a must be a string, not 2\n/b type: b must be null, not 1\n"
         "/c required: c is required, and missing\n"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        expect_errors(table[i].schema, table[i].value, table[i].errors);
}

static void numbers_are_exact(void **state)
{
    (void)state;
    expect_errors("{'type':'integer'}", "1.0", "");
    expect_errors("{'type':'integer'}", "1e300", "");
    expect_errors("{'enum':[1]}", "1.0", "");
    expect_errors("{'const':[1.0,{'a':2}]}", "[1,{'a':2.0}]", "");
    expect_errors("{'minimum':9007199254740993}", "9007199254740993", "");
    expect_errors("{'maximum':9007199254740992.0}", "9007199254740993",
                  " maximum: the value must be at most 9.00719925474099e+15, not "
                  "9007199254740993\n");
    expect_errors("{'maximum':9223372036854775807}", "9223372036854775808.0",
                  " maximum: the value must be at most 9223372036854775807, not "
                  "9.22337203685478e+18\n");
    expect_errors("{'minimum':-1.5}", "-2", " minimum: the value must be at least -1.5, not -2\n");
    expect_errors("{'minimum':-1.5}", "-1", "");
    expect_errors("{'exclusiveMaximum':2}", "1.5", "");
    expect_errors("{'multipleOf':0.0001}", "0.0075", "");
    expect_errors("{'multipleOf':0.5}", "1e308", "");
    expect_errors("{'minItems':2.0}", "[1,2]", "");
    expect_errors("{'minItems':1e300}", "[1,2]",
                  " minItems: the value must have at least 18446744073709551615 items, not 2\n");
}

/* What is no address may yet have what an address hides. */
static void an_address_is_told_without_its_secrets(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{'u':'http://u:S@X@ho st/a?key=S'}", "http://…@ho st/a?…"},
        {"{'u':'http://ho st/a?key=S'}", "http://ho st/a?…"},
        {"{'u':'http://ho st/a'}", "http://ho st/a"},
        {"{'u':'a@b c?d'}", "a@b c?d"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char expected[200];
        snprintf(expected, sizeof(expected),
                 "/u format: u must be a URI such as https://example.org/path, not \"%s\"\n",
                 cases[i][1]);
        expect_errors("{'properties':{'u':{'format':'uri'}}}", cases[i][0], expected);
    }
}

static void secrets_are_never_told(void **state)
{
    (void)state;
    static const char *const schemas[] = {
        "{'properties':{'password':{'type':'integer','writeOnly':true}}}",
        "{'properties':{'password':{'enum':['a'],'writeOnly':true}}}",
        "{'properties':{'password':{'const':1,'writeOnly':true}}}",
        "{'properties':{'password':{'maxLength':1,'writeOnly':true}}}",
        "{'properties':{'password':{'minLength':100,'writeOnly':true}}}",
        "{'properties':{'password':{'pattern':'^a$','writeOnly':true}}}",
        "{'properties':{'password':{'format':'uri','writeOnly':true}}}",
        "{'properties':{'password':{'anyOf':[{'type':'null'},{'pattern':'^a'}],"
        "'writeOnly':true}}}",
        "{'properties':{'password':{'oneOf':[{'type':'null'},"
        "{'type':'integer','writeOnly':true}]}}}",
        "{'properties':{'password':{'pattern':'^a$'}},"
        "'anyOf':[{'properties':{'password':{'writeOnly':true}}}]}",
        "{'additionalProperties':{'type':'null','writeOnly':true}}",
        "{'properties':{'other':true},'additionalProperties':false}",
        "{'anyOf':[{'properties':{'password':{'type':'null','writeOnly':true}}}]}",
    };
    for (size_t i = 0; i < sizeof(schemas) / sizeof(schemas[0]); i++) {
        json_t *json = json_text_parse(schemas[i]);
        json_t *value = json_text_parse("{'password':'hunter2'}");
        struct json_schema *schema = compile(json);
        struct errors errors = {0};
        buf_init(&errors.text, 1 * MIB);
        assert_int_equal(json_schema_validate(schema, value, on_error, &errors), ERR_INVALID);
        assert_true(errors.count == 1);
        assert_null(strstr(buf_cstr(&errors.text), "hunter2"));
        buf_fini(&errors.text);
        json_schema_free(schema);
        json_decref(value);
        json_decref(json);
    }
}

static void secrets_inside_secrets_are_not_told(void **state)
{
    (void)state;
    expect_errors("{'properties':{'keys':{'writeOnly':true,'items':{'type':'string'}}}}",
                  "{'keys':[31337]}", "/keys/0 type: keys[0] must be a string\n");
}

static void lengths_are_code_points(void **state)
{
    (void)state;
    expect_errors("{'maxLength':2}", "'\xf0\x9f\x92\xa9\xf0\x9f\x92\xa9'", "");
    expect_errors("{'minLength':3}", "'\xf0\x9f\x92\xa9\xc3\xa9'",
                  " minLength: the value must have at least 3 characters, not 2\n");
    expect_errors("{'minLength':3}", "'a\\u0000b'", "");
}

static void patterns_are_as_ecma_says(void **state)
{
    (void)state;
    expect_errors("{'pattern':'^\\\\p{Letter}+$'}", "'\xcf\x80'", "");
    expect_errors("{'pattern':'^\\\\p{L}{2}$'}", "'\xcf\x80\xcf\x80'", "");
    expect_errors("{'pattern':'^\\\\u00e9$'}", "'\xc3\xa9'", "");
    expect_errors("{'pattern':'^a$'}", "'a\\n'",
                  " pattern: the value must match the pattern ^a$, not \"a\\n\"\n");
    expect_errors("{'pattern':'^\\\\d$'}", "'\xd9\xa3'",
                  " pattern: the value must match the pattern ^\\d$, not \"\xd9\xa3\"\n");
    expect_errors("{'pattern':'^[^]$'}", "'x'", "");
    expect_errors("{'pattern':'b'}", "'a\\u0000b'", "");
}

/* A pattern that gives up may not become a pass under "not", nor a match under anyOf. */
static void costly_patterns_end_it(void **state)
{
    (void)state;
    static const char *const schemas[] = {
        "{'pattern':'^(a+)+$'}",
        "{'not':{'pattern':'^(a+)+$'}}",
        "{'anyOf':[{'pattern':'^(a+)+$'},true]}",
        "{'oneOf':[true,{'not':{'pattern':'^(a+)+$'}}]}",
    };
    for (size_t i = 0; i < sizeof(schemas) / sizeof(schemas[0]); i++)
        expect_errors(schemas[i], "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'",
                      " pattern: the value cannot be checked: the pattern ^(a+)+$ is too costly "
                      "for this text\n");
}

static void long_texts_are_bounded(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE + 1);
    memset(text, 'a', SIZE);
    text[SIZE] = 0;
    json_t *value = json_object();
    assert_int_equal(json_object_set_new(value, text, json_string(text)), 0);
    json_t *json =
        json_text_parse("{'additionalProperties':{'type':'string','pattern':'^(?:a|b|ab)*c$',"
                        "'maxLength':3}}");
    struct json_schema *schema = compile(json);
    struct errors errors = {0};
    buf_init(&errors.text, 4096);
    assert_int_equal(json_schema_validate(schema, value, on_error, &errors), ERR_INVALID);
    assert_int_equal(errors.count, 1);
    json_schema_free(schema);
    json_decref(json);
    json = json_text_parse("{'additionalProperties':{'pattern':'^(?:a|b|ab)*c$'}}");
    schema = compile(json);
    assert_int_equal(json_schema_validate(schema, value, on_error, &errors), ERR_INVALID);
    buf_fini(&errors.text);
    json_schema_free(schema);
    json_decref(json);
    json_decref(value);
    free(text);
}

static void at_most_twenty_errors(void **state)
{
    (void)state;
    json_t *json = json_text_parse("{'items':{'type':'string'},'minItems':2000}");
    json_t *value = json_array();
    struct json_schema *schema = compile(json);
    struct errors errors = {0};
    buf_init(&errors.text, 1 * MIB);
    for (int i = 0; i < 1000; i++)
        json_array_append_new(value, json_integer(i));
    assert_int_equal(json_schema_validate(schema, value, on_error, &errors), ERR_INVALID);
    assert_int_equal(errors.count, LIMIT_SCHEMA_ERRORS);
    buf_fini(&errors.text);
    json_schema_free(schema);
    json_decref(value);
    json_decref(json);
}

static json_t *nested(size_t levels)
{
    json_t *value = json_array();
    for (size_t i = 1; i < levels; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, value);
        value = outer;
    }
    return value;
}

static void deep_values_are_refused(void **state)
{
    (void)state;
    json_t *json = json_text_parse("{'uniqueItems':true,'const':[]}");
    json_t *deep = nested(LIMIT_JSON_DEPTH + 1);
    json_t *copy;
    struct json_schema *schema = compile(json);
    struct diag diag = {0};
    struct json_schema *none;
    assert_int_equal(json_schema_validate(schema, deep, NULL, NULL), ERR_INVALID);
    assert_int_equal(json_schema_mask(schema, deep, &copy), ERR_TOO_DEEP);
    assert_null(copy);
    assert_int_equal(json_schema_compile(deep, &none, &diag), ERR_INVALID);
    assert_non_null(strstr(diag.text, "too deeply"));
    json_schema_free(schema);
    json_decref(deep);
    json_decref(json);
}

static void deep_schemas_are_refused(void **state)
{
    (void)state;
    json_t *json = json_object();
    struct diag diag = {0};
    struct json_schema *schema;
    for (int i = 1; i < LIMIT_SCHEMA_DEPTH; i++)
        json = json_pack("{s:o}", "items", json);
    assert_int_equal(json_schema_compile(json, &schema, &diag), ERR_OK);
    json_schema_free(schema);
    json = json_pack("{s:o}", "not", json);
    assert_int_equal(json_schema_compile(json, &schema, &diag), ERR_INVALID);
    assert_non_null(strstr(diag.text, "too deeply"));
    assert_null(schema);
    json_decref(json);
}

struct refusal {
    const char *schema;
    const char *diag;
};

static void bad_schemas_are_refused(void **state)
{
    (void)state;
    static const struct refusal table[] = {
        {"{'$ref':'#/a'}", "schema: /$ref is a keyword that is not supported here"},
        {"{'properties':{'a':{'if':true}}}",
         "schema: /properties/a/if is a keyword that is not supported here (an annotation's name "
         "begins with x-)"},
        {"{'minimun':1}",
         "schema: /minimun is a keyword that is not supported here; did you mean minimum?"},
        {"{'patternProperties':{}}",
         "schema: /patternProperties is a keyword that is not supported here; did you mean "
         "minProperties?"},
        {"{'type':'strin'}", "schema: /type must be null, boolean, object, array, number, string "
                             "or integer, or an array of these"},
        {"{'type':[]}", "schema: /type must name a type"},
        {"{'type':[1]}", "schema: /type must be null, boolean, object, array, number, string or "
                         "integer, or an array of these"},
        {"{'enum':1}", "schema: /enum must be an array"},
        {"{'minLength':-1}", "schema: /minLength must be a whole number from 0"},
        {"{'minLength':1.5}", "schema: /minLength must be a whole number from 0"},
        {"{'minimum':'1'}", "schema: /minimum must be a number"},
        {"{'multipleOf':0}", "schema: /multipleOf must be a number above 0"},
        {"{'required':'a'}", "schema: /required must be an array of property names"},
        {"{'required':[1]}", "schema: /required must be an array of property names"},
        {"{'dependentRequired':{'a':1}}",
         "schema: /dependentRequired must be an object of arrays of property names"},
        {"{'properties':[]}", "schema: /properties must be an object of schemas"},
        {"{'properties':{'a':1}}",
         "schema: /properties/a must be a schema: an object, true or false"},
        {"{'items':[true]}", "schema: /items must be a schema: an object, true or false"},
        {"{'oneOf':[]}", "schema: /oneOf must be an array of at least one schema"},
        {"{'oneOf':[true,{'type':1}]}",
         "schema: /oneOf/1/type must be null, boolean, object, array, number, string or integer, "
         "or an array of these"},
        {"{'pattern':'('}",
         "schema: /pattern is no regular expression: missing closing parenthesis (at byte 1)"},
        {"{'pattern':1}", "schema: /pattern must be a string"},
        {"{'format':'email'}",
         "schema: /format must be uri, hostname, ipv4 or ipv6: others are not checked"},
        {"{'writeOnly':1}", "schema: /writeOnly must be true or false"},
        {"1", "schema: the root must be a schema: an object, true or false"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        json_t *json = json_text_parse(table[i].schema);
        struct json_schema *schema;
        struct diag diag = {0};
        assert_int_equal(json_schema_compile(json, &schema, &diag), ERR_INVALID);
        assert_null(schema);
        assert_string_equal(diag.text, table[i].diag);
        json_decref(json);
    }
    json_schema_free(NULL);
}

static void run_all(const json_t *json, const json_t *wrong, const json_t *secret,
                    const json_t *defaults, enum err *ret_err)
{
    struct json_schema *schema = NULL;
    struct errors errors = {0};
    json_t *masked = NULL;
    json_t *back = NULL;
    json_t *filled = NULL;
    buf_init(&errors.text, 1 * MIB);
    *ret_err = json_schema_compile(json, &schema, NULL);
    if (*ret_err == ERR_OK) {
        *ret_err = json_schema_validate(schema, wrong, NULL, NULL);
        assert_true(*ret_err == ERR_INVALID || *ret_err == ERR_NO_MEMORY);
    }
    if (*ret_err == ERR_INVALID)
        *ret_err = json_schema_mask(schema, secret, &masked);
    if (*ret_err == ERR_OK)
        *ret_err = json_schema_unmask(schema, masked, secret, &back);
    if (*ret_err == ERR_OK)
        *ret_err = (filled = json_object()) ? json_schema_defaults(schema, filled) : ERR_NO_MEMORY;
    if (*ret_err == ERR_OK) {
        assert_true(json_equal(back, secret));
        assert_true(json_equal(filled, defaults));
    }
    json_decref(filled);
    json_decref(back);
    json_decref(masked);
    json_schema_free(schema);
    buf_fini(&errors.text);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    json_set_alloc_funcs(mem_alloc, mem_free);
    json_t *json =
        json_text_parse("{'properties':{'a':{'writeOnly':true,'pattern':'^h\\\\p{Letter}'},"
                        "'b':{'default':{'c':[1,2]},'oneOf':[{'type':'object'},"
                        "{'type':'array','uniqueItems':true}]}},'additionalProperties':false}");
    json_t *wrong = json_text_parse("{'a':'xx','b':[1,2,3,1.0],'u':1}");
    json_t *secret = json_text_parse("{'a':'hunter2'}");
    json_t *defaults = json_text_parse("{'b':{'c':[1,2]}}");
    for (uint64_t k = 1;; k++) {
        enum err err;
        mem_fail_at(k);
        run_all(json, wrong, secret, defaults, &err);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        if (!failed)
            break;
    }
    json_decref(defaults);
    json_decref(secret);
    json_decref(wrong);
    json_decref(json);
    json_set_alloc_funcs(malloc, free);
}

static void telling_may_run_out_of_memory(void **state)
{
    (void)state;
    json_t *json =
        json_text_parse("{'properties':{'a':{'pattern':'^h'},'b':{'oneOf':[{'type':'object'},"
                        "{'type':'array','items':{'type':'string'}}]}},"
                        "'additionalProperties':false}");
    json_t *wrong = json_text_parse("{'a':'xx','b':[1,2,3,1.0],'u':1}");
    struct json_schema *schema = compile(json);
    struct errors errors = {0};
    buf_init(&errors.text, 1 * MIB);
    assert_int_equal(buf_reserve(&errors.text, 100000), ERR_OK);
    for (uint64_t k = 1;; k++) {
        mem_fail_at(k);
        enum err err = json_schema_validate(schema, wrong, on_error, &errors);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_INVALID);
        if (!failed)
            break;
    }
    buf_fini(&errors.text);
    json_schema_free(schema);
    json_decref(wrong);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_sentences),
        cmocka_unit_test(numbers_are_exact),
        cmocka_unit_test(an_address_is_told_without_its_secrets),
        cmocka_unit_test(secrets_are_never_told),
        cmocka_unit_test(secrets_inside_secrets_are_not_told),
        cmocka_unit_test(lengths_are_code_points),
        cmocka_unit_test(patterns_are_as_ecma_says),
        cmocka_unit_test(costly_patterns_end_it),
        cmocka_unit_test(long_texts_are_bounded),
        cmocka_unit_test(at_most_twenty_errors),
        cmocka_unit_test(deep_values_are_refused),
        cmocka_unit_test(deep_schemas_are_refused),
        cmocka_unit_test(bad_schemas_are_refused),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(telling_may_run_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
