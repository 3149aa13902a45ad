#include "connectors/coap/coap_config.h"

#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static enum err read_config(const char *text, struct coap_config *config, struct diag *diag)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    *diag = (struct diag){0};
    enum err err = coap_config_init(config, json, diag);
    json_decref(json);
    return err;
}

static void accept(const char *text, struct coap_config *config)
{
    struct diag diag;
    if (read_config(text, config, &diag) != ERR_OK)
        fail_msg("%s", diag.text);
}

static void refused(const char *text, const char *word)
{
    struct coap_config config;
    struct diag diag;
    assert_int_not_equal(read_config(text, &config, &diag), ERR_OK);
    if (!strstr(diag.text, word))
        fail_msg("\"%s\" lacks \"%s\"", diag.text, word);
    if (strstr(diag.text, "s3cret"))
        fail_msg("\"%s\" tells a secret", diag.text);
    coap_config_fini(&config);
}

static void defaults_are_those_of_the_contract(void **state)
{
    struct coap_config config;
    (void)state;
    accept("{\"host\":\"h\",\"resources\":\"/a/b?x=1\",\"from_the_seed\":1}", &config);
    assert_string_equal(config.base, "coap://h:5683/");
    assert_int_equal(config.resource_count, 1);
    assert_string_equal(config.resources[0], "a/b?x=1");
    assert_false(config.is_poll);
    assert_false(config.discover);
    assert_true(config.confirmable);
    assert_int_equal(config.interval_seconds, 60);
    assert_int_equal(config.refresh_seconds, 0);
    assert_int_equal(config.common.message_max_bytes, 16 * MIB);
    assert_null(config.psk_identity);
    coap_config_fini(&config);
}

static void addresses_and_schemes(void **state)
{
    struct coap_config config;
    (void)state;
    accept("{\"host\":\"[2001:db8::7]\",\"resources\":[\"a\",\"b\"],\"scheme\":\"coaps\"}",
           &config);
    assert_string_equal(config.base, "coaps://[2001:db8::7]:5684/");
    assert_string_equal(config.server_name, "2001:db8::7");
    assert_true(config.verify);
    coap_config_fini(&config);
    accept("{\"host\":\"10.0.0.1\",\"resources\":\"a\",\"scheme\":\"coap+tcp\",\"port\":7}",
           &config);
    assert_string_equal(config.base, "coap+tcp://10.0.0.1:7/");
    coap_config_fini(&config);
    refused("{\"host\":\"224.0.1.187\",\"resources\":\"a\"}", "multicast");
    refused("{\"host\":\"255.255.255.255\",\"resources\":\"a\"}", "multicast");
    refused("{\"host\":\"ff02::fd\",\"resources\":\"a\"}", "multicast");
    refused("{\"host\":\"coap://h\",\"resources\":\"a\"}", "host must be");
    refused("{\"host\":\"h:5683\",\"resources\":\"a\"}", "host must be");
    refused("{\"host\":\"[]\",\"resources\":\"a\"}", "host must be");
    refused("{\"resources\":\"a\"}", "host is missing");
}

static void resources_are_paths(void **state)
{
    struct coap_config config;
    (void)state;
    refused("{\"host\":\"h\"}", "resources is missing");
    refused("{\"host\":\"h\",\"resources\":[]}", "resources is missing");
    refused("{\"host\":\"h\",\"resources\":[\"a\",7]}", "resources must be");
    refused("{\"host\":\"h\",\"resources\":\"/\"}", "resources must be");
    refused("{\"host\":\"h\",\"resources\":\"a#b\"}", "fragment");
    refused("{\"host\":\"h\",\"resources\":\"a%2\"}", "paths");
    refused("{\"host\":\"h\",\"resources\":\"a%00\"}", "paths");
    refused("{\"host\":\"h\",\"resources\":\"coap://h/a\"}", "without host");
    refused("{\"host\":\"h\",\"resources\":[\"/a\",\"a\"]}", "twice");
    refused("{\"host\":\"h\",\"resources\":\"a/*\"}", "discover");
    accept("{\"host\":\"h\",\"resources\":\"a/*\",\"discover\":true}", &config);
    coap_config_fini(&config);
    char text[600];
    snprintf(text, sizeof(text), "{\"host\":\"h\",\"resources\":\"a/%0256d\"}", 0);
    refused(text, "255 bytes");
    snprintf(text, sizeof(text), "{\"host\":\"h\",\"resources\":\"a/%0255d\"}", 0);
    accept(text, &config);
    coap_config_fini(&config);
}

static void keys(void **state)
{
    struct coap_config config;
    (void)state;
    accept("{\"host\":\"h\",\"resources\":\"a\",\"scheme\":\"coaps\",\"psk_identity\":\"me\","
           "\"psk_key\":\"hex:00fFa1\"}",
           &config);
    assert_int_equal(config.psk_key.size, 3);
    assert_memory_equal(config.psk_key.data, "\x00\xff\xa1", 3);
    coap_config_fini(&config);
    refused("{\"host\":\"h\",\"resources\":\"a\",\"scheme\":\"coaps\",\"psk_key\":\"s3cret\"}",
            "need each other");
    refused("{\"host\":\"h\",\"resources\":\"a\",\"psk_identity\":\"m\",\"psk_key\":\"s3cret\"}",
            "scheme coaps");
    refused("{\"host\":\"h\",\"resources\":\"a\",\"scheme\":\"coaps\",\"psk_identity\":\"m\","
            "\"psk_key\":\"hex:s3cret\"}",
            "hexadecimal");
    refused("{\"host\":\"h\",\"resources\":\"a\",\"scheme\":\"coaps\",\"psk_identity\":\"m\","
            "\"psk_key\":\"s3cret\",\"tls\":{\"ca_file\":\"/x\"}}",
            "not both");
    refused("{\"host\":\"h\",\"resources\":\"a\",\"tls\":{\"ca_file\":\"/x\"}}", "scheme coaps");
    refused("{\"host\":\"h\",\"resources\":\"a\",\"scheme\":\"coaps\",\"tls\":{\"veryfy\":false}}",
            "tls: only");
    refused("{\"host\":\"h\",\"resources\":\"a\",\"scheme\":\"coaps\","
            "\"tls\":{\"cert_file\":\"/x\"}}",
            "need each other");
    refused("{\"host\":\"h\",\"resources\":\"a\",\"scheme\":\"coaps\","
            "\"tls\":{\"enabled\":false}}",
            "contradicts");
}

static void files_are_looked_at(void **state)
{
    static const char *const members[] = {"\"ca_file\":\"/nowhere/x\"",
                                          "\"verify\":false,\"cert_file\":\"/nowhere/x\","
                                          "\"key_file\":\"/nowhere/y\""};
    struct coap_config config;
    char text[200];
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct diag diag = {0};
        snprintf(text, sizeof(text),
                 "{\"host\":\"h\",\"resources\":\"a\",\"scheme\":\"coaps\",\"tls\":{%s}}",
                 members[i]);
        accept(text, &config); /* they may yet be to come */
        assert_int_equal(coap_config_check_files(&config, &diag), ERR_INVALID);
        assert_non_null(strstr(diag.text, i == 0 ? "tls.ca_file: cannot use /nowhere/x"
                                                 : "tls.cert_file: cannot use /nowhere/x"));
        coap_config_fini(&config);
    }
    accept("{\"host\":\"h\",\"resources\":\"a\"}", &config);
    assert_int_equal(coap_config_check_files(&config, NULL), ERR_OK);
    coap_config_fini(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(addresses_and_schemes),
        cmocka_unit_test(resources_are_paths),
        cmocka_unit_test(keys),
        cmocka_unit_test(files_are_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
