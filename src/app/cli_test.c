#include "app/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const char *json;
static const char *path;
static const struct cli_flag flags[] = {{"json", false, &json}, {"config", true, &path}, {0}};

static struct cli_arguments arguments;
static struct diag diag;

/* Up to four arguments, ended by NULL. */
static enum err parse(const char *a, const char *b, const char *c, const char *d)
{
    const char *const texts[] = {a, b, c, d};
    char copies[4][128];
    char *argv[4];
    int argc = 0;
    for (; argc < 4 && texts[argc]; argc++) {
        snprintf(copies[argc], sizeof(copies[argc]), "%s", texts[argc]);
        argv[argc] = copies[argc];
    }
    json = path = NULL;
    diag = (struct diag){0};
    arguments = (struct cli_arguments){.flags = flags, .takes_config = true, .operand_max = 1};
    return cli_parse(&arguments, argc, argv, &diag);
}

static void test_options(void **state)
{
    (void)state;
    assert_int_equal(parse("--json", "--config", "f", NULL), ERR_OK);
    assert_string_equal(json, "");
    assert_non_null(path);
    assert_int_equal(parse("--mqtt-port=5", "--host", "h", NULL), ERR_OK);
    assert_int_equal(arguments.option_count, 2);
    assert_string_equal(arguments.options[0].name, "MQTT_PORT");
    assert_string_equal(arguments.options[1].name, "HOST");
    assert_int_equal(parse("--pod-name=", NULL, NULL, NULL), ERR_OK);
    assert_int_equal(arguments.option_count, 1);
    assert_int_equal(parse("--", "--json", NULL, NULL), ERR_OK);
    assert_null(json);
    assert_int_equal(arguments.operand_count, 1);
    assert_int_equal(parse("-", NULL, NULL, NULL), ERR_OK);
    assert_int_equal(arguments.operand_count, 1);
    assert_int_equal(parse(NULL, NULL, NULL, NULL), ERR_OK);
}

static void refused(const char *a, const char *b, const char *sentence)
{
    assert_int_equal(parse(a, b, NULL, NULL), ERR_INVALID);
    if (!strstr(diag.text, sentence))
        fail_msg("\"%s\" lacks \"%s\"", diag.text, sentence);
}

static void test_refused(void **state)
{
    (void)state;
    refused("--mqtt-prot", "1", "did you mean --mqtt-port?");
    refused("--jsn", NULL, "did you mean --json?");
    refused("--zzzzzzzzzzzz", NULL, "unknown option --zzzzzzzzzzzz");
    refused("--json=1", NULL, "takes no value");
    refused("--config", NULL, "needs a value");
    refused("--mqtt_port=1", NULL, "did you mean --mqtt-port?");
    refused("--MQTT_PORT=1", NULL, "did you mean --mqtt-port?");
    refused("-x", NULL, "begin with --");
    refused("a", "b", "unexpected argument \"b\"");
    refused("--=", NULL, "unknown option");
    refused("--aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            NULL, "unknown option");
}

static void test_too_many(void **state)
{
    (void)state;
    char *argv[CLI_OPTIONS_MAX + 1];
    char option[] = "--port=1";
    for (int i = 0; i <= CLI_OPTIONS_MAX; i++)
        argv[i] = option;
    arguments = (struct cli_arguments){.flags = flags, .takes_config = true};
    assert_int_equal(cli_parse(&arguments, CLI_OPTIONS_MAX, argv, NULL), ERR_OK);
    arguments = (struct cli_arguments){.flags = flags, .takes_config = true};
    assert_int_equal(cli_parse(&arguments, CLI_OPTIONS_MAX + 1, argv, NULL), ERR_TOO_MANY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
