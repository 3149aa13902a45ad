#include "app/config_yaml.h"
#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static json_t *parse(const char *text, char *ret_error)
{
    json_t *root;
    json_t *lines;
    struct diag diag = {0};
    enum err err = config_yaml_parse(bytes_from_text(text), &root, &lines, &diag);
    json_decref(lines);
    assert_true((err == ERR_OK) == (root != NULL));
    assert_true((err == ERR_OK) == (diag.text[0] == '\0'));
    memcpy(ret_error, diag.text, sizeof(diag.text));
    return root;
}

static void expect(const char *yaml, const char *json)
{
    char error[512];
    json_t *root = parse(yaml, error);
    if (!root)
        fail_msg("%s: %s", yaml, error);
    char *text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_string_equal(text, json);
    free(text);
    json_decref(root);
}

static void refuse(const char *yaml, const char *part)
{
    char error[512];
    json_t *root = parse(yaml, error);
    assert_null(root);
    if (!strstr(error, part))
        fail_msg("%s: \"%s\" lacks \"%s\"", yaml, error, part);
}

static void test_values(void **state)
{
    (void)state;
    expect("", "{}");
    expect("# nothing\n", "{}");
    expect("a: 1\nb: x y\n", "{\"a\":1,\"b\":\"x y\"}");
    expect("a: -5\nb: 1.5\nc: 1e3\nd: .5\n", "{\"a\":-5,\"b\":1.5,\"c\":1000.0,\"d\":0.5}");
    expect("a: true\nb: False\nc: null\nd: ~\ne:\n",
           "{\"a\":true,\"b\":false,\"c\":null,\"d\":null,\"e\":null}");
    expect("a: '1'\nb: \"true\"\nc: ''\n", "{\"a\":\"1\",\"b\":\"true\",\"c\":\"\"}");
    expect("a: 010\nb: 64MiB\nc: yes\nd: 1.2.3\ne: 0x10\nf: -x\n",
           "{\"a\":\"010\",\"b\":\"64MiB\",\"c\":\"yes\",\"d\":\"1.2.3\",\"e\":\"0x10\",\"f\":\"-"
           "x\"}");
    expect("a: [1, {b: c}]\n", "{\"a\":[1,{\"b\":\"c\"}]}");
    expect("a: !!str 5\n", "{\"a\":\"5\"}");
    expect("- 1\n- 2\n", "[1,2]");
    expect("a: caf\xc3\xa9\n", "{\"a\":\"caf\xc3\xa9\"}");
}

static void test_aliases(void **state)
{
    (void)state;
    expect("a: &x [1]\nb: *x\n", "{\"a\":[1],\"b\":[1]}");
    expect("a: &x 1\nb: &x 2\nc: *x\n", "{\"a\":1,\"b\":2,\"c\":2}");
    refuse("a: *x\n", "line 1");
    refuse("a: &x [*x]\n", "anchored");
    /* Ten levels of ten: the laughs are counted as what they stand for. */
    char text[2048] = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n";
    for (int i = 1; i < 10; i++) {
        char line[200];
        snprintf(line, sizeof(line),
                 "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1,
                 i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
        strncat(text, line, sizeof(text) - strlen(text) - 1);
    }
    refuse(text, "more than");
}

static void test_refused(void **state)
{
    (void)state;
    refuse("a: 1\nb: 2\na: 3\n", "line 3: the key \"a\" is there twice");
    refuse("a: {b: 1, b: 2}\n", "twice");
    refuse("a: &x {b: 1}\nc:\n  <<: *x\n", "merge keys");
    refuse("a: !!binary aGk=\n", "tag");
    refuse("a: !mine {}\n", "tag");
    refuse("a: 1\n---\nb: 2\n", "second document");
    refuse("[a]: 1\n", "line 1: a key must be text");
    refuse("a: \"x\\0y\"\n", "NUL");
    refuse("a: [1\n", "line");
    refuse("a: b: c\n", "line 1");
    refuse("\ta: 1\n", "line 1");
    refuse("a: \xff\n", "line");
    refuse("a: 99999999999999999999\n", "too large");
    refuse("a: 1e999\n", "too large");
}

static void test_bounds(void **state)
{
    (void)state;
    char deep[CONFIG_YAML_DEPTH_MAX + 8] = "";
    memset(deep, '[', CONFIG_YAML_DEPTH_MAX + 1);
    refuse(deep, "deeper");
    json_t *root;
    json_t *lines;
    struct diag diag = {0};
    size_t size = CONFIG_YAML_BYTES_MAX + 1;
    char *large = calloc(1, size);
    memset(large, '#', size);
    assert_int_equal(config_yaml_parse(bytes_from(large, size), &root, &lines, &diag),
                     ERR_TOO_LARGE);
    free(large);
}

static void test_lines(void **state)
{
    (void)state;
    json_t *root;
    json_t *lines;
    assert_int_equal(config_yaml_parse(BYTES_LITERAL("a: 1\n\nb: {c: 1}\n"), &root, &lines, NULL),
                     ERR_OK);
    assert_int_equal(json_object_size(lines), 2);
    assert_int_equal(json_integer_value(json_object_get(lines, "b")), 3);
    json_decref(root);
    json_decref(lines);
}

/* jansson allocates through base/alloc.h here, so that its failures are met too. */
static void test_no_memory(void **state)
{
    (void)state;
    json_set_alloc_funcs(mem_alloc, mem_free);
    for (uint64_t k = 1;; k++) {
        json_t *root;
        json_t *lines;
        mem_fail_at(k);
        enum err err = config_yaml_parse(
            BYTES_LITERAL("a: &x [1, {b: c, d: 1.5}]\ne: *x\nf: &x 'text'\n"), &root, &lines, NULL);
        int failed = mem_failed();
        mem_fail_at(0);
        json_decref(root);
        json_decref(lines);
        if (!failed) {
            assert_int_equal(err, ERR_OK);
            break;
        }
        assert_int_equal(err, ERR_NO_MEMORY);
    }
    json_set_alloc_funcs(malloc, free);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),  cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_lines),   cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
