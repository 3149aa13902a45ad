/* Bodies cut into records. */
#include "connectors/http_push_body.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
/* cmocka wants those four first */
#include <cmocka.h>

/* The records with | between them and ! before those to be wrapped; the error's name at the end. */
static void expect(enum http_push_shape shape, struct bytes text, const char *expected)
{
    struct http_push_body body;
    struct http_push_record record;
    struct diag diag = {0};
    char found[512] = "";
    enum err err;
    http_push_body_init(&body, shape, text);
    while ((err = http_push_body_next(&body, &record, &diag)) == ERR_OK) {
        size_t used = strlen(found);
        snprintf(found + used, sizeof(found) - used, "%s%.*s|", record.wrap ? "!" : "",
                 (int)record.json.size, (const char *)record.json.data);
        assert_true(http_push_body_done(&body) <= text.size);
    }
    if (err != ERR_NOT_FOUND) {
        assert_true(diag.text[0]);
        snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s", err_name(err));
    } else {
        assert_int_equal(http_push_body_next(&body, &record, &diag), ERR_NOT_FOUND);
    }
    if (strcmp(found, expected) != 0)
        fail_msg("%.*s: %s, not %s", (int)text.size, (const char *)text.data, found, expected);
}

#define JSON(text, expected)  expect(HTTP_PUSH_JSON, BYTES_LITERAL(text), expected)
#define LINES(text, expected) expect(HTTP_PUSH_LINES, BYTES_LITERAL(text), expected)
#define WHOLE(text, expected) expect(HTTP_PUSH_WHOLE, BYTES_LITERAL(text), expected)

static void test_json(void **state)
{
    (void)state;
    JSON("{}", "{}|");
    JSON(" {\"a\":[1,2]} \n", "{\"a\":[1,2]}|");
    JSON("\xef\xbb\xbf{\"a\":NaN}", "{\"a\":NaN}|");
    JSON("[]", "");
    JSON(" [ ] ", "");
    JSON("[1]", "1|");
    JSON("[{\"a\":1} , 2,\"x\",[3,[4]],null]", "{\"a\":1}|2|\"x\"|![3,[4]]|null|");
    JSON("", "INVALID");
    JSON("3", "INVALID");
    JSON("\"x\"", "INVALID");
    JSON("{", "SYNTAX");
    JSON("{}{}", "SYNTAX");
    JSON("{}\n{}", "SYNTAX");
    JSON("[", "SYNTAX");
    JSON("[1", "SYNTAX");
    JSON("[,1]", "SYNTAX");
    JSON("[1,]", "1|SYNTAX");
    JSON("[1 2]", "SYNTAX");
    JSON("[1]]", "SYNTAX");
    JSON("[] []", "SYNTAX");
    JSON("[1,2", "1|SYNTAX");
    JSON("{\"a\":\"\xff\"}", "SYNTAX");
    JSON("{\"a\":\"\0\"}", "SYNTAX");
}

static void test_lines(void **state)
{
    (void)state;
    LINES("", "");
    LINES("\n \r\n\t\n", "");
    LINES("{\"a\":1}", "{\"a\":1}|");
    LINES("{\"a\":1}\n{\"a\":2}\r\n\n 3 \n[4]", "{\"a\":1}|{\"a\":2}|3|![4]|");
    LINES("{\"a\":\n1}", "SYNTAX");
    LINES("{}\n{} {}\n", "{}|SYNTAX");
    LINES("{}\nx\n", "{}|SYNTAX");
    struct http_push_body body;
    struct http_push_record record;
    struct diag diag = {0};
    http_push_body_init(&body, HTTP_PUSH_LINES, BYTES_LITERAL("\n{}\n\nx\n"));
    assert_int_equal(http_push_body_next(&body, &record, &diag), ERR_OK);
    assert_int_equal(http_push_body_next(&body, &record, &diag), ERR_SYNTAX);
    assert_non_null(strstr(diag.text, "line 4 "));
}

static void test_whole(void **state)
{
    (void)state;
    WHOLE("", "|");
    WHOLE("anything\n{", "anything\n{|");
}

static void test_depth(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 64 * KIB);
    for (int i = 0; i < LIMIT_JSON_DEPTH - 1; i++)
        buf_byte(&text, '[');
    for (int i = 0; i < LIMIT_JSON_DEPTH - 1; i++)
        buf_byte(&text, ']');
    struct http_push_body body;
    struct http_push_record record;
    http_push_body_init(&body, HTTP_PUSH_LINES, buf_bytes(&text));
    assert_int_equal(http_push_body_next(&body, &record, NULL), ERR_OK);
    assert_true(record.wrap);
    buf_clear(&text);
    for (int i = 0; i < LIMIT_JSON_DEPTH + 1; i++)
        buf_byte(&text, '[');
    http_push_body_init(&body, HTTP_PUSH_LINES, buf_bytes(&text));
    assert_int_equal(http_push_body_next(&body, &record, NULL), ERR_TOO_DEEP);
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
