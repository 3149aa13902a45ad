/* Defaults, masks and their way back. */
#include "codec/json_schema.h"
#include "support/json_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct json_schema *compile(const json_t *json)
{
    struct json_schema *schema;
    struct diag diag = {0};
    if (json_schema_compile(json, &schema, &diag) != ERR_OK)
        fail_msg("%s", diag.text);
    return schema;
}

static void defaults_fill_what_lacks(void **state)
{
    (void)state;
    json_t *json = json_text_parse("{'properties':{'port':{'default':1883},'list':{'default':[1]},"
                                   "'none':{'default':null},"
                                   "'tls':{'properties':{'verify':{'default':true}}},"
                                   "'made':{'default':{},'properties':{'a':{'default':1}}},"
                                   "'q':{'oneOf':[{'properties':{'x':{'default':1}}}]}},"
                                   "'allOf':[{'properties':{'all':{'default':2}}}],"
                                   "'anyOf':[{'properties':{'any':{'default':3}}}]}");
    json_t *value = json_text_parse("{'port':null,'tls':{},'q':{}}");
    struct json_schema *schema = compile(json);
    assert_int_equal(json_schema_defaults(schema, value), ERR_OK);
    json_text_expect(value, "{'port':null,'tls':{'verify':true},'q':{},'list':[1],'none':null,"
                            "'made':{'a':1},'all':2}");
    /* The default is a copy: the schema stays as it is. */
    json_array_append_new(json_object_get(value, "list"), json_null());
    json_decref(value);
    value = json_text_parse("{'tls':1}");
    assert_int_equal(json_schema_defaults(schema, value), ERR_OK);
    json_text_expect(value, "{'tls':1,'port':1883,'list':[1],'none':null,'made':{'a':1},'all':2}");
    json_decref(value);
    json_schema_free(schema);
    json_decref(json);
}

static const char secret_schema[] =
    "{'properties':{'user':{},'password':{'writeOnly':true,'type':['string','null']},"
    "'key':{'writeOnly':true},'empty':{'writeOnly':true},"
    "'oauth':{'properties':{'secret':{'writeOnly':true}}},"
    "'headers':{'additionalProperties':{'writeOnly':true}},"
    "'list':{'items':{'properties':{'token':{'writeOnly':true}}}},"
    "'tokens':{'items':{'writeOnly':true}}},"
    "'oneOf':[{'properties':{'auth':{'anyOf':[{'properties':{'pin':{'writeOnly':true}}}]}}}],"
    "'additionalProperties':{'properties':{'deep':{'writeOnly':true}}}}";

static const char secret_value[] =
    "{'user':'u','password':'p','key':{'a':1},'empty':'','oauth':{'secret':7,'id':'i'},"
    "'headers':{'A':'b','C':'${env:C}'},'list':[{'token':'t','n':1},{'token':null}],"
    "'tokens':['a','b'],'auth':{'pin':1234},'more':{'deep':true}}";

static const char masked_value[] =
    "{'user':'u','password':'********','key':'********','empty':'********',"
    "'oauth':{'secret':'********','id':'i'},'headers':{'A':'********','C':'${env:C}'},"
    "'list':[{'token':'********','n':1},{'token':null}],'tokens':['********','********'],"
    "'auth':{'pin':'********'},'more':{'deep':'********'}}";

static void masks_go_and_come_back(void **state)
{
    (void)state;
    json_t *json = json_text_parse(secret_schema);
    json_t *value = json_text_parse(secret_value);
    json_t *masked;
    json_t *back;
    struct json_schema *schema = compile(json);
    assert_int_equal(json_schema_mask(schema, value, &masked), ERR_OK);
    json_text_expect(masked, masked_value);
    json_text_expect(value, secret_value);
    assert_int_equal(json_schema_unmask(schema, masked, value, &back), ERR_OK);
    json_text_expect(back, secret_value);
    json_decref(back);
    json_t *other = json_text_parse("{'password':'old','list':[1],'oauth':'x','tokens':['z']}");
    assert_int_equal(json_schema_unmask(schema, masked, other, &back), ERR_OK);
    json_text_expect(back, "{'user':'u','password':'old','oauth':{'id':'i'},"
                           "'headers':{'C':'${env:C}'},'list':[{'n':1},{'token':null}],"
                           "'tokens':['z'],'auth':{},'more':{}}");
    json_decref(back);
    json_decref(other);
    json_decref(masked);
    json_decref(value);
    json_schema_free(schema);
    json_decref(json);
}

static void only_whole_references_stay(void **state)
{
    (void)state;
    static const char *const secret[] = {
        "'${env:}'",    "'${file:}'", "'a${env:B}'", "'${env:B}x'",        "'${env:B}${env:C}'",
        "'${other:B}'", "'$env:B}'",  "'${env:B'",   "'${env:A}\\u0000}'", "'${env:A}hunter2}'"};
    static const char *const stays[] = {"'${env:B}'", "'${file:/run/x}'", "null"};
    json_t *json = json_text_parse("{'properties':{'p':{'writeOnly':true}}}");
    struct json_schema *schema = compile(json);
    json_t *masked;
    for (size_t i = 0; i < 13; i++) {
        json_t *value =
            json_pack("{s:o}", "p", json_text_parse(i < 10 ? secret[i] : stays[i - 10]));
        assert_int_equal(json_schema_mask(schema, value, &masked), ERR_OK);
        assert_int_equal(json_equal(masked, value), i >= 10);
        json_decref(masked);
        json_decref(value);
    }
    json_schema_free(schema);
    json_decref(json);
}

static void a_mask_alone_is_no_secret(void **state)
{
    (void)state;
    static const char *const values[][2] = {
        {"{'user':'********','password':'p'}", NULL},
        {"{'password':'********'}", "password"},
        {"{'oauth':{'secret':'********'}}", "secret"},
        {"{'headers':{'A':'b','C':'********'}}", "C"},
        {"{'tokens':['a','********']}", "tokens"},
        {"{'auth':{'pin':'********'}}", "pin"},
    };
    json_t *json = json_text_parse(secret_schema);
    struct json_schema *schema = compile(json);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct diag diag = {0};
        json_t *value = json_text_parse(values[i][0]);
        const char *name = values[i][1];
        assert_int_equal(json_schema_refuse_mask(schema, value, &diag),
                         name ? ERR_INVALID : ERR_OK);
        if (name)
            assert_ptr_equal(strstr(diag.text, name), diag.text);
        json_text_expect(value, values[i][0]);
        json_decref(value);
    }
    json_schema_free(schema);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_fill_what_lacks),
        cmocka_unit_test(masks_go_and_come_back),
        cmocka_unit_test(only_whole_references_stay),
        cmocka_unit_test(a_mask_alone_is_no_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
