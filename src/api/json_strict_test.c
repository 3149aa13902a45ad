#include "api/json_strict.h"
#include "base/limits.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* after the above, as cmocka wants */
#include <cmocka.h>

/* Offsets and texts as Python 3.11's json.loads gives them. */
static const struct {
    const char *text;
    size_t offset;
    const char *problem; /* NULL: good */
} cases[] = {
    {"", 0, "Expecting value"},
    {"  ", 2, "Expecting value"},
    {"{", 1, "Expecting property name enclosed in double quotes"},
    {"{ ", 2, "Expecting property name enclosed in double quotes"},
    {"{\"a", 1, "Unterminated string starting at"},
    {"{\"a\"", 4, "Expecting ':' delimiter"},
    {"{\"a\" 1}", 5, "Expecting ':' delimiter"},
    {"{\"a\":", 5, "Expecting value"},
    {"{\"a\":}", 5, "Expecting value"},
    {"{\"a\":1", 6, "Expecting ',' delimiter"},
    {"{\"a\":1,", 7, "Expecting property name enclosed in double quotes"},
    {"{\"a\":1,}", 7, "Expecting property name enclosed in double quotes"},
    {"{a:1}", 1, "Expecting property name enclosed in double quotes"},
    {"[", 1, "Expecting value"},
    {"[1,", 3, "Expecting value"},
    {"[1,]", 3, "Expecting value"},
    {"[1 2]", 3, "Expecting ',' delimiter"},
    {"]", 0, "Expecting value"},
    {"nul", 0, "Expecting value"},
    {"truex", 4, "Extra data"},
    {"1 2", 2, "Extra data"},
    {"01", 1, "Extra data"},
    {"-", 0, "Expecting value"},
    {"1.", 1, "Extra data"},
    {"1.e5", 1, "Extra data"},
    {"1e", 1, "Extra data"},
    {"1e+", 1, "Extra data"},
    {".5", 0, "Expecting value"},
    {"+1", 0, "Expecting value"},
    {"\"\\x\"", 1, "Invalid \\escape"},
    {"\"\\u12g4\"", 2, "Invalid \\uXXXX escape"},
    {"\"a\011b\"", 2, "Invalid control character at"},
    {"\"a\012b\"", 2, "Invalid control character at"},
    {"\"\303\251", 0, "Unterminated string starting at"},
    {"[\"\303\251\",x]", 5, "Expecting value"},
    {"{\"\303\251\":\303\251}", 5, "Expecting value"},
    {"[1]x", 3, "Extra data"},
    {"{\"a\":1 \"b\":2}", 7, "Expecting ',' delimiter"},
    {"\"\\", 0, "Unterminated string starting at"},
    {"{\"a\":[}", 6, "Expecting value"},
    {"[}", 1, "Expecting value"},
    {"{\"a\":1]", 6, "Expecting ',' delimiter"},
    {"\302\2401", 0, "Expecting value"},
    {"\0141", 0, "Expecting value"},
    {"{\"a\"::1}", 5, "Expecting value"},
    {"[,1]", 1, "Expecting value"},
    {"\"\\u00", 2, "Invalid \\uXXXX escape"},
    {"{}", 0, NULL},
    {"[]", 0, NULL},
    {" [ ] ", 0, NULL},
    {"{\"a\":{\"b\":[1,-0.5e+3,true,false,null,\"\\u00e9\\n\"]}}", 0, NULL},
    {"-0", 0, NULL},
    {"1.5", 0, NULL},
    {"1E5", 0, NULL},
    {"\"\303\251\360\237\230\200\"", 0, NULL},
    /* What Python takes and a strict parser does not. */
    {"NaN", 0, "Expecting value"},
    {"[Infinity]", 1, "Expecting value"},
    {"-Infinity", 0, "Expecting value"},
};

static void test_python(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct json_problem problem;
        enum err err = json_strict_check(bytes_from_text(cases[i].text), &problem);
        if (!cases[i].problem) {
            if (err != ERR_OK)
                fail_msg("%s: %s", cases[i].text, problem.text);
            continue;
        }
        if (err != ERR_SYNTAX || strcmp(problem.text, cases[i].problem) != 0 ||
            problem.offset != cases[i].offset)
            fail_msg("%s: %s, %s at %zu, not %s at %zu", cases[i].text, err_name(err),
                     problem.text ? problem.text : "-", problem.offset, cases[i].problem,
                     cases[i].offset);
    }
}

static void test_utf8_and_nul(void **state)
{
    (void)state;
    struct json_problem problem;
    assert_int_equal(json_strict_check(BYTES_LITERAL("\"\xff\""), &problem), ERR_INVALID);
    assert_int_equal(json_strict_check(BYTES_LITERAL("\"\xed\xa0\x80\""), &problem), ERR_INVALID);
    assert_int_equal(json_strict_check(BYTES_LITERAL("\"\xc0\x80\""), &problem), ERR_INVALID);
    assert_int_equal(json_strict_check(BYTES_LITERAL("\"\0\""), &problem), ERR_SYNTAX);
    assert_int_equal(json_strict_check(BYTES_LITERAL("1\0"), &problem), ERR_SYNTAX);
    assert_int_equal(problem.offset, 1);
    assert_int_equal(json_strict_check(BYTES_LITERAL("\"\\\0\""), &problem), ERR_SYNTAX);
    assert_int_equal(json_strict_check((struct bytes){0}, &problem), ERR_SYNTAX);
}

static void test_depth(void **state)
{
    (void)state;
    char text[2 * LIMIT_API_JSON_DEPTH + 4];
    struct json_problem problem;
    for (size_t depth = LIMIT_API_JSON_DEPTH; depth <= LIMIT_API_JSON_DEPTH + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        enum err err = json_strict_check(bytes_from(text, 2 * depth), &problem);
        assert_int_equal(err, depth > LIMIT_API_JSON_DEPTH ? ERR_TOO_DEEP : ERR_OK);
    }
}

/* ../shared/data/json-test-suite: accept y_, reject n_, do not crash on i_. */
static void test_suite(void **state)
{
    (void)state;
    const char *folder = getenv("INGESTOR_SHARED_DATA");
    char path[4096];
    snprintf(path, sizeof(path), "%s/json-test-suite/test_parsing", folder ? folder : "");
    DIR *files = opendir(path);
    if (!files)
        skip();
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(files));) {
        static uint8_t data[512 * 1024];
        char name[8192];
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        FILE *file = fopen(name, "rb");
        if (!file || entry->d_name[0] == '.') {
            if (file)
                fclose(file);
            continue;
        }
        size_t size = fread(data, 1, sizeof(data), file);
        fclose(file);
        struct json_problem problem;
        enum err err = json_strict_check(bytes_from(data, size), &problem);
        if ((entry->d_name[0] == 'y' && err != ERR_OK) ||
            (entry->d_name[0] == 'n' && err == ERR_OK))
            fail_msg("%s: %s", entry->d_name, err_name(err));
        count++;
    }
    closedir(files);
    assert_true(count > 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_python),
        cmocka_unit_test(test_utf8_and_nul),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_suite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
