#include "connectors/rest/rest_page.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "connectors/rest/rest_cursor.h"
#include "connectors/rest/rest_state.h"
#include "connectors/rest/rest_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void accept(const char *text, struct rest_config *config)
{
    struct diag diag = {0};
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    if (rest_config_init(config, json, &diag) != ERR_OK)
        fail_msg("%s", diag.text);
    json_decref(json);
}

static void expect_link(const char *header, const char *expected)
{
    struct buf out;
    buf_init(&out, KIB);
    assert_int_equal(rest_link_next(header, &out), ERR_OK);
    assert_string_equal(out.size ? buf_cstr(&out) : "", expected);
    buf_fini(&out);
}

static void link_headers(void **state)
{
    (void)state;
    expect_link("", "");
    expect_link("<http://a/?p=2>; rel=\"next\"", "http://a/?p=2");
    expect_link("</1>; rel=\"prev\", </3>; rel=\"next\", </9>; rel=last", "/3");
    expect_link("</3>; title=\"a, <b>; rel=next\"; rel=\"prev\"", "");
    expect_link("</3>;rel=next", "/3");
    expect_link("</3> ; REL = \"first Next\" ; x", "/3");
    expect_link("</3>; rel=\"nextish\"", "");
    expect_link("</3>; rel", "");
    expect_link("</3", "");
    expect_link("</3>; rel=\"next", "/3");
    expect_link("</a,b>; rel=next", "/a,b");
    expect_link("</3>; title=\"\\\"\"; rel=next", "/3");
}

static void expect_url(const struct rest_config *config, const char *position, const char *cursor,
                       const char *expected)
{
    struct buf out;
    buf_init(&out, MIB);
    assert_int_equal(
        rest_page_url(config, bytes_from_text(position), bytes_from_text(cursor), &out), ERR_OK);
    assert_string_equal(buf_cstr(&out), expected);
    buf_fini(&out);
}

static void addresses_of_pages(void **state)
{
    (void)state;
    struct rest_config config;
    accept("{\"url\":\"http://h/x?page=9&a=1\",\"pagination\":{\"kind\":\"page\",\"size\":5,"
           "\"size_param\":\"per\"},\"cursor\":{\"field\":\"t\",\"param\":\"since\"}}",
           &config);
    expect_url(&config, "", "", "http://h/x?a=1&per=5&page=1");
    expect_url(&config, "7", "\"a \\u00fc\"", "http://h/x?a=1&since=a%20%C3%BC&per=5&page=7");
    expect_url(&config, "7", "12.50", "http://h/x?a=1&since=12.50&per=5&page=7");
    rest_config_fini(&config);
    accept("{\"url\":\"http://h/x\",\"pagination\":{\"kind\":\"link_header\"}}", &config);
    expect_url(&config, "", "", "http://h/x");
    expect_url(&config, "http://o/y", "", "http://o/y");
    rest_config_fini(&config);
}

static void expect_next(const struct rest_config *config, const char *position, const char *text,
                        uint64_t records, const char *link, const char *expected, bool warned)
{
    struct buf next;
    const char *warning;
    struct rest_page_seen seen = {
        .url = "http://h/x?p=1", .text = bytes_from_text(text), .records = records, .link = link};
    buf_init(&next, REST_POSITION_BYTES_MAX);
    assert_int_equal(rest_page_next(config, bytes_from_text(position), &seen, &next, &warning),
                     ERR_OK);
    assert_string_equal(next.size ? buf_cstr(&next) : "", expected);
    assert_int_equal(warning != NULL, warned);
    buf_fini(&next);
}

static void what_follows_a_page(void **state)
{
    (void)state;
    struct rest_config config;
    accept("{\"url\":\"http://h/\",\"pagination\":{\"kind\":\"page\",\"size\":5}}", &config);
    expect_next(&config, "", "[]", 5, "", "2", false);
    expect_next(&config, "2", "[]", 5, "", "3", false);
    expect_next(&config, "2", "[]", 4, "", "", false);
    rest_config_fini(&config);
    accept("{\"url\":\"http://h/\",\"pagination\":{\"kind\":\"offset\"}}", &config);
    expect_next(&config, "", "[]", 100, "", "100", false);
    expect_next(&config, "100", "[]", 99, "", "", false);
    rest_config_fini(&config);
    accept("{\"url\":\"http://h/\",\"pagination\":{\"kind\":\"cursor\",\"field\":\"n\","
           "\"param\":\"c\"}}",
           &config);
    expect_next(&config, "", "{\"n\":\"ab\\u0063\"}", 1, "", "abc", false);
    expect_next(&config, "", "{\"n\":17}", 1, "", "17", false);
    expect_next(&config, "", "{\"n\":null}", 1, "", "", false);
    expect_next(&config, "", "{\"n\":\"\"}", 1, "", "", false);
    expect_next(&config, "", "{}", 1, "", "", false);
    expect_next(&config, "", "", 1, "", "", false);
    expect_next(&config, "abc", "{\"n\":\"abc\"}", 1, "", "", true);
    rest_config_fini(&config);
    accept("{\"url\":\"http://h/\",\"pagination\":{\"kind\":\"cursor\",\"field\":\"n\"}}", &config);
    expect_next(&config, "", "{\"n\":\"?p=2\"}", 1, "", "http://h/x?p=2", false);
    rest_config_fini(&config);
    accept("{\"url\":\"http://h/\",\"pagination\":{\"kind\":\"link_header\"}}", &config);
    expect_next(&config, "", "", 1, "<?p=2>; rel=next", "http://h/x?p=2", false);
    expect_next(&config, "", "", 1, "<//u:p@o/y#f>; rel=next", "http://o/y", false);
    expect_next(&config, "", "", 1, "<file:///etc/passwd>; rel=next", "", true);
    expect_next(&config, "", "", 1, "<?p=1>; rel=next", "", true);
    rest_config_fini(&config);
}

static int compare(const char *a, const char *b)
{
    int order = rest_cursor_compare(bytes_from_text(a), bytes_from_text(b));
    return (order > 0) - (order < 0);
}

static void cursors_compare(void **state)
{
    (void)state;
    assert_int_equal(compare("10", "9"), 1);
    assert_int_equal(compare("9007199254740993", "9007199254740992"), 1);
    assert_int_equal(compare("-5", "3"), -1);
    assert_int_equal(compare("1e3", "999"), 1);
    assert_int_equal(compare("\"10\"", "\"9\""), 1);
    assert_int_equal(compare("\"b\"", "\"a\""), 1);
    assert_int_equal(compare("\"2024-01-01T00:30:00+01:00\"", "\"2024-01-01T00:00:00Z\""), -1);
    assert_int_equal(compare("\"same\"", "\"same\""), 0);
    struct rest_cursor cursor = {0};
    rest_cursor_offer(&cursor, BYTES_LITERAL("null"), BYTES_LITERAL("r"));
    rest_cursor_offer(&cursor, BYTES_LITERAL("{\"a\":1}"), BYTES_LITERAL("r"));
    rest_cursor_offer(&cursor, BYTES_LITERAL("\"\""), BYTES_LITERAL("r"));
    assert_int_equal(cursor.size, 0);
    rest_cursor_offer(&cursor, BYTES_LITERAL("5"), BYTES_LITERAL("r"));
    rest_cursor_offer(&cursor, BYTES_LITERAL("4"), BYTES_LITERAL("r"));
    assert_true(bytes_equal_text(bytes_from(cursor.json, cursor.size), "5"));
}

#define STATE_CONFIG                                                                               \
    "\"cursor\":{\"field\":\"t\",\"param\":\"since\"},\"pagination\":{\"kind\":\"page\"}}"

static void state_survives_and_belongs(void **state)
{
    (void)state;
    struct rest_config config, other;
    struct rest_state kept, found;
    struct buf text;
    accept("{\"url\":\"http://h/\"," STATE_CONFIG, &config);
    accept("{\"url\":\"http://other/\"," STATE_CONFIG, &other);
    buf_init(&text, REST_STATE_BYTES_MAX);
    rest_state_init(&kept);
    rest_cursor_offer(&kept.cursor, BYTES_LITERAL("\"a\\\"b\""), BYTES_LITERAL("r"));
    rest_cursor_offer(&kept.resume_cursor, BYTES_LITERAL("1.0"), BYTES_LITERAL("r"));
    snprintf(kept.etag, sizeof(kept.etag), "W/\"x\"");
    kept.validators_of = rest_state_request(&config, BYTES_LITERAL("http://h/?page=1"));
    buf_text(&kept.resume, "17");
    assert_int_equal(rest_state_write(&kept, &config, &text), ERR_OK);

    rest_state_init(&found);
    assert_int_equal(rest_state_read(&found, &config, buf_bytes(&text)), ERR_OK);
    assert_true(bytes_equal_text(bytes_from(found.cursor.json, found.cursor.size), "\"a\\\"b\""));
    assert_true(bytes_equal_text(bytes_from(found.resume_cursor.json, 3), "1.0"));
    assert_true(rest_cursor_knows(&found.cursor, BYTES_LITERAL("\"a\\\"b\""), BYTES_LITERAL("r")));
    assert_false(rest_cursor_knows(&found.cursor, BYTES_LITERAL("\"a\\\"b\""), BYTES_LITERAL("q")));
    assert_false(rest_cursor_knows(&found.cursor, BYTES_LITERAL("\"a\""), BYTES_LITERAL("r")));
    assert_true(bytes_equal_text(buf_bytes(&found.resume), "17"));
    assert_string_equal(found.etag, "W/\"x\"");
    assert_int_equal(found.validators_of, kept.validators_of);
    rest_state_fini(&found);

    rest_state_init(&found); /* another resource's: neither cursor nor place */
    assert_int_equal(rest_state_read(&found, &other, buf_bytes(&text)), ERR_OK);
    assert_int_equal(found.cursor.size, 0);
    assert_int_equal(found.resume.size, 0);
    assert_int_not_equal(found.validators_of,
                         rest_state_request(&other, BYTES_LITERAL("http://h/?page=1")) + 1);
    rest_state_fini(&found);

    rest_state_init(&found);
    assert_int_equal(rest_state_read(&found, &config, BYTES_LITERAL("rubbish")), ERR_OK);
    assert_int_equal(found.cursor.size, 0);
    rest_state_fini(&found);
    rest_state_fini(&kept);
    buf_fini(&text);
    rest_config_fini(&config);
    rest_config_fini(&other);
}

static void origins(void **state)
{
    (void)state;
    assert_true(rest_url_same_origin("http://h/a", "http://H:80/b"));
    assert_true(rest_url_same_origin("https://h/a", "https://h:443/b?c"));
    assert_false(rest_url_same_origin("http://h/", "https://h/"));
    assert_false(rest_url_same_origin("http://h/", "http://h:81/"));
    assert_false(rest_url_same_origin("http://h/", "http://h.evil/"));
    assert_false(rest_url_same_origin("http://h/", "nonsense"));
    assert_false(rest_url_same_origin("http://h/", "http://h@evil/"));
}

static void memory_may_end_anywhere(void **state)
{
    (void)state;
    struct rest_config config;
    accept("{\"url\":\"http://h/\",\"pagination\":{\"kind\":\"cursor\",\"field\":\"n\"},"
           "\"cursor\":{\"field\":\"t\",\"param\":\"since\"}}",
           &config);
    struct rest_page_seen seen = {
        .url = "http://h/x", .text = BYTES_LITERAL("{\"n\":\"/2\"}"), .link = ""};
    for (uint64_t k = 1;; k++) {
        struct buf url, next;
        const char *warning;
        buf_init(&url, MIB);
        buf_init(&next, REST_POSITION_BYTES_MAX);
        mem_fail_at(k);
        enum err err = rest_page_url(&config, BYTES_LITERAL(""), BYTES_LITERAL("5"), &url);
        if (err == ERR_OK)
            err = rest_page_next(&config, BYTES_LITERAL(""), &seen, &next, &warning);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        buf_fini(&url);
        buf_fini(&next);
        if (!failed)
            break;
    }
    rest_config_fini(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(link_headers),
        cmocka_unit_test(addresses_of_pages),
        cmocka_unit_test(what_follows_a_page),
        cmocka_unit_test(cursors_compare),
        cmocka_unit_test(state_survives_and_belongs),
        cmocka_unit_test(origins),
        cmocka_unit_test(memory_may_end_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
