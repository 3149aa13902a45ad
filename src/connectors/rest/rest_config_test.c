#include "connectors/rest/rest_config.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static enum err read_config(const char *text, struct rest_config *config, struct diag *diag)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    *diag = (struct diag){0};
    enum err err = rest_config_init(config, json, diag);
    json_decref(json);
    return err;
}

static void accept(const char *text, struct rest_config *config)
{
    struct diag diag;
    if (read_config(text, config, &diag) != ERR_OK)
        fail_msg("%s", diag.text);
}

static void refused(const char *text, const char *word)
{
    struct rest_config config;
    struct diag diag;
    assert_int_not_equal(read_config(text, &config, &diag), ERR_OK);
    if (!strstr(diag.text, word))
        fail_msg("\"%s\" lacks \"%s\"", diag.text, word);
    if (strstr(diag.text, "s3cret"))
        fail_msg("\"%s\" tells a secret", diag.text);
    rest_config_fini(&config);
}

static void defaults_are_those_of_the_contract(void **state)
{
    (void)state;
    struct rest_config config;
    accept("{\"url\":\"http://h/a/b?x=1#f\",\"from_the_seed\":1}", &config);
    assert_string_equal(config.url, "http://h/a/b?x=1");
    assert_string_equal(config.source, "http://h/a/b?x=1");
    assert_string_equal(config.shown, "http://h/a/b");
    assert_string_equal(config.topic, "a/b");
    assert_false(config.is_post);
    assert_int_equal(config.interval_seconds, 60);
    assert_int_equal(config.timeout_ms, 30000);
    assert_int_equal(config.response_max_bytes, 64 * MIB);
    assert_int_equal(config.auth, REST_AUTH_NONE);
    assert_null(config.auth_header);
    assert_true(config.verify);
    assert_int_equal(config.pagination.kind, REST_PAGING_NONE);
    assert_false(config.has_cursor);
    assert_int_equal(config.common.message_max_bytes, 16 * MIB);
    assert_int_equal(config.header_count, 2); /* Accept, User-Agent */
    rest_config_fini(&config);
}

static void all_members_are_read(void **state)
{
    (void)state;
    struct rest_config config;
    accept("{\"url\":\"https://us:p%40@h:8443/\",\"method\":\"POST\",\"poll_interval\":1,"
           "\"headers\":{\"Accept\":\"x/y\",\"X-N\":5,\"X-E\":\"\"},"
           "\"params\":{\"q\":\"a b\",\"n\":[1,2.5,true],\"z\":null},\"body\":\"raw\","
           "\"data_path\":\"a[*].b\",\"timeout_seconds\":5,"
           "\"pagination\":{\"kind\":\"offset\",\"limit\":7,\"param\":\"from\"},"
           "\"cursor\":{\"field\":\"t\",\"param\":\"since\",\"initial\":\"2024\"},"
           "\"tls\":{\"ca_file\":\"/ca\",\"verify\":false},\"proxy\":\"http://p\","
           "\"max_response_bytes\":100,\"format\":\"text\",\"dataset\":\"{source}_{topic[0]}\"}",
           &config);
    assert_string_equal(config.url, "https://h:8443/?q=a%20b&n=1&n=2.5&n=true");
    assert_string_equal(config.source, "https://h:8443/");
    assert_string_equal(config.auth_header, "Authorization: Basic dXM6cEA=");
    assert_true(config.is_post);
    assert_true(bytes_equal_text(config.body, "raw"));
    assert_int_equal(config.header_count, 5);
    assert_string_equal(config.headers[0].line, "Accept: x/y");
    assert_false(config.headers[0].is_sensitive);
    assert_string_equal(config.headers[1].line, "X-N: 5");
    assert_true(config.headers[1].is_sensitive);
    assert_string_equal(config.headers[2].line, "X-E;");
    assert_int_equal(config.pagination.size, 7);
    assert_string_equal(config.pagination.param, "from");
    assert_string_equal(config.pagination.size_param, "limit");
    assert_true(bytes_equal_text(config.cursor_initial, "\"2024\""));
    assert_false(config.verify);
    assert_string_equal(config.proxy, "http://p");
    assert_int_equal(config.common.format, CONTENT_TEXT);
    rest_config_fini(&config);
}

static void credentials_become_header_lines(void **state)
{
    (void)state;
    static const struct {
        const char *members;
        const char *line;
    } cases[] = {
        {"\"auth_type\":\"bearer\",\"auth_token\":\"t\"", "Authorization: Bearer t"},
        {"\"auth_type\":\"api_key\",\"auth_token\":\"k\"", "X-API-Key: k"},
        {"\"auth_type\":\"api_key\",\"auth_token\":\"k\",\"api_key_header\":\"K\"", "K: k"},
        {"\"auth_type\":\"basic\",\"username\":\"a\",\"password\":\"b\"",
         "Authorization: Basic YTpi"},
        {"\"auth_type\":\"basic\",\"auth_token\":\"a:b\"", "Authorization: Basic YTpi"},
        {"\"auth_type\":\"basic\",\"auth_token\":\"YTpi\"", "Authorization: Basic YTpi"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[300];
        struct rest_config config;
        snprintf(text, sizeof(text), "{\"url\":\"http://h/\",%s}", cases[i].members);
        accept(text, &config);
        assert_string_equal(config.auth_header, cases[i].line);
        rest_config_fini(&config);
    }
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
#define WITH(members) "{\"url\":\"http://h/\"," members "}"
    refused("[]", "JSON object");
    refused("{}", "url is missing");
    refused("{\"url\":\"ftp://h/\"}", "http:// or https://");
    refused("{\"url\":\"file:///etc/passwd\"}", "http:// or https://");
    refused("{\"url\":\"http://us:s3cret@:bad/\"}", "url");
    refused("{\"url\":5}", "url");
    refused(WITH("\"method\":\"PUT\""), "method must be GET");
    refused(WITH("\"poll_interval\":0"), "from 1 to 86400");
    refused(WITH("\"poll_interval\":86401"), "from 1 to 86400");
    refused(WITH("\"headers\":{\"a b\":\"x\"}"), "headers");
    refused(WITH("\"headers\":{\"A\":\"x\\r\\nEvil: s3cret\"}"), "headers: \"A\"");
    refused(WITH("\"headers\":[]"), "headers");
    refused(WITH("\"params\":{\"a\":{}}"), "params: \"a\"");
    refused(WITH("\"body\":\"x\""), "body is only sent with method POST");
    refused(WITH("\"data_path\":\"a..b\""), "data_path: the path \"a..b\" has an empty name");
    refused(WITH("\"auth_type\":\"digest\""), "auth_type must be");
    refused(WITH("\"auth_type\":\"bearer\""), "auth_token is missing");
    refused(WITH("\"auth_type\":\"bearer\",\"auth_token\":\"s3cret\\n\""), "control characters");
    refused(WITH("\"auth_type\":\"bearer\",\"auth_token\":[\"s3cret\"]"), "auth_token");
    refused(WITH("\"auth_type\":\"basic\",\"password\":\"s3cret\""), "needs username");
    refused(WITH("\"auth_type\":\"oauth2_client_credentials\""), "oauth2");
    refused(WITH("\"auth_type\":\"oauth2_client_credentials\",\"oauth2\":{\"token_url\":\"x:y\","
                 "\"client_id\":\"a\",\"client_secret\":\"s3cret\"}"),
            "oauth2.token_url");
    refused(WITH("\"tls\":{\"server_name\":\"x\"}"), "tls");
    refused(WITH("\"tls\":{\"key_file\":\"x\"}"), "tls.key_file needs");
    refused(WITH("\"pagination\":{}"), "pagination.kind is missing");
    refused(WITH("\"pagination\":{\"kind\":\"cursor\"}"), "pagination.field");
    refused(WITH("\"pagination\":{\"kind\":\"page\",\"size_param\":\"s\"}"),
            "needs pagination.size");
    refused(WITH("\"pagination\":{\"kind\":\"page\",\"max_pages\":0}"), "pagination.max_pages");
    refused(WITH("\"cursor\":{\"field\":\"a\"}"), "cursor needs");
    refused(WITH("\"cursor\":{\"field\":\"a\",\"param\":\"b\",\"initial\":[]}"), "cursor.initial");
    refused(WITH("\"max_response_bytes\":67108865"), "max_response_bytes");
    refused(WITH("\"format\":\"xml\""), "format");
    refused(WITH("\"columns\":{\"a\":\"INT64\"}"), "columns.a must be STRING, DOUBLE or BOOLEAN");
    refused(WITH("\"columns\":{\"a\":null}"), "columns.a");
    refused(WITH("\"columns\":[]"), "columns must be an object");
    refused(WITH("\"dedupe_key\":{}"), "dedupe_key needs");
    refused(WITH("\"dedupe_key\":{\"field\":\"a\"}"), "dedupe_key needs");
    refused(WITH("\"dedupe_key\":{\"field\":\"a\",\"window_seconds\":86401}"),
            "dedupe_key.window_seconds");
    refused(WITH("\"dedupe_key\":{\"field\":\"a\",\"window_seconds\":1,\"x\":1}"),
            "dedupe_key has only");
#undef WITH
}

static void memory_may_end_anywhere(void **state)
{
    (void)state;
    static const char text[] =
        "{\"url\":\"http://u:p@h/\",\"method\":\"POST\",\"headers\":{\"A\":\"b\"},\"params\":"
        "{\"q\":[1,2]},\"body\":{\"a\":1},\"data_path\":\"a.b\",\"auth_type\":"
        "\"oauth2_client_credentials\",\"oauth2\":{\"token_url\":\"http://t/\",\"client_id\":"
        "\"a\",\"client_secret\":\"b\"},\"pagination\":{\"kind\":\"cursor\",\"field\":\"n\"},"
        "\"cursor\":{\"field\":\"a\",\"param\":\"b\",\"initial\":1},\"dataset\":\"x\"}";
    for (uint64_t k = 1;; k++) {
        struct rest_config config;
        struct diag diag;
        json_t *json = json_loads(text, 0, NULL);
        assert_non_null(json);
        diag = (struct diag){0};
        mem_fail_at(k);
        enum err err = rest_config_init(&config, json, &diag);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        rest_config_fini(&config);
        json_decref(json);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(all_members_are_read),
        cmocka_unit_test(credentials_become_header_lines),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(memory_may_end_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
