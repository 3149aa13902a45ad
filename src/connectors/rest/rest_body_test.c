#include "connectors/rest/rest_body.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static enum err record_append(void *ctx, struct bytes record, bool is_element)
{
    struct buf *out = ctx;
    (void)is_element;
    if (out->size > 0)
        buf_byte(out, '|');
    return buf_append(out, record.data, record.size);
}

/* Records, separated by |, from index first on. */
static void expect_from(const char *path_text, const char *text, uint64_t first, bool mismatched,
                        const char *expected)
{
    struct arena arena;
    struct rest_path path;
    struct rest_body body;
    struct diag diag = {0};
    struct buf out;
    arena_init(&arena, MIB);
    buf_init(&out, MIB);
    assert_int_equal(rest_path_parse(&path, path_text, &arena, &diag), ERR_OK);
    rest_body_open(&body, bytes_from_text(text), &path, false);
    assert_int_equal(body.mismatched, mismatched);
    assert_int_equal(rest_body_each(&body, first, record_append, &out), ERR_OK);
    assert_string_equal(out.size ? buf_cstr(&out) : "", expected);
    buf_fini(&out);
    arena_fini(&arena);
}

static void expect(const char *path, const char *text, const char *expected)
{
    expect_from(path, text, 0, false, expected);
}

static void the_whole_is_the_records(void **state)
{
    (void)state;
    expect("", "{\"a\":1}", "{\"a\":1}");
    expect(NULL, " [ {\"a\":1} , 2,\"x\", [3] ] ", "{\"a\":1}|2|\"x\"|[3]");
    expect("", "[]", "");
    expect("", "5", "5");
    expect("", "\xef\xbb\xbf[1]", "1");
    expect("$", "[1]", "1");
    expect_from("", "[1,2,3]", 2, false, "3");
    expect_from("", "[1,2,3]", 3, false, "");
}

static void paths_find(void **state)
{
    (void)state;
    static const char text[] =
        "{\"data\":{\"items\":[{\"id\":1,\"b\":[7,8]},{\"id\":2,\"b\":9}]},"
        "\"0\":{\"x.y\":\"z\"},\"a/b\":{\"~\":true},\"e\":{},\"q\":[[1],[2]]}";
    expect("data.items", text, "{\"id\":1,\"b\":[7,8]}|{\"id\":2,\"b\":9}");
    expect("$.data.items[0]", text, "{\"id\":1,\"b\":[7,8]}");
    expect("data.items.1.id", text, "2");
    expect("data.items[*].b", text, "7|8|9");
    expect("data.items.*.id", text, "1|2");
    expect("data.items[].id", text, "1|2");
    expect("data[*][*].id", text, "1|2");
    expect("0['x.y']", text, "\"z\"");
    expect("[\"a/b\"].~", text, "true");
    expect("/a~1b/~0", text, "true");
    expect("/data/items/1/id", text, "2");
    expect("e", text, "{}");
    expect("e[*].x", text, "");
    expect("q", text, "[1]|[2]");
    expect("a", "{\"a\":1,\"a\":2}", "2");
    expect("\xc3\xbc", "{\"\\u00fc\":1}", "1");
    expect("a", "{\"a\":NaN}", "NaN");
}

static void what_does_not_match_is_the_whole(void **state)
{
    (void)state;
    expect_from("data", "{\"a\":1}", 0, true, "{\"a\":1}");
    expect_from("data", "[1,2]", 0, true, "1|2");
    expect_from("2", "[1,2]", 0, true, "1|2");
    expect_from("a.b.c", "{\"a\":{\"b\":5}}", 0, true, "{\"a\":{\"b\":5}}");
    expect_from("a[*].b", "{\"a\":[{\"c\":1}]}", 0, true, "{\"a\":[{\"c\":1}]}");
    expect_from("a", "no JSON", 0, true, "no JSON");
    expect_from("", "{\"a\":", 0, false, "{\"a\":");
    expect_from("", "", 0, false, "");
}

static void counts_are_those_of_the_walk(void **state)
{
    (void)state;
    struct rest_path whole = {0};
    struct rest_body body;
    rest_body_open(&body, BYTES_LITERAL("[1,[2,3],\"four\"]"), &whole, false);
    assert_int_equal(body.record_count, 3);
    assert_int_equal(body.record_bytes, 1 + 7 + 6); /* [2,3] gets two brackets more */
    rest_body_open(&body, BYTES_LITERAL("[1,2]"), &whole, true);
    assert_int_equal(body.kind, REST_BODY_TEXT);
    assert_int_equal(body.record_count, 1);
}

static void another_format_is_converted(void **state)
{
    (void)state;
    struct buf body;
    bool converted;
    buf_init(&body, KIB);
    buf_text(&body, "\xa1\x61"
                    "a\x82\x01\xf9\x3e\x01");
    body.size--;
    assert_int_equal(rest_body_convert(&body, CONTENT_CBOR, 0, &converted), ERR_OK);
    assert_false(converted); /* it ends too early, and stays as it is */
    assert_int_equal(body.size, 7);
    body.size++;
    assert_int_equal(rest_body_convert(&body, CONTENT_JSON, 0, &converted), ERR_OK);
    assert_false(converted);
    mem_fail_at(1);
    assert_int_equal(rest_body_convert(&body, CONTENT_CBOR, 0, &converted), ERR_NO_MEMORY);
    mem_fail_at(0);
    assert_int_equal(rest_body_convert(&body, CONTENT_CBOR, 0, &converted), ERR_OK);
    assert_true(converted);
    assert_string_equal(buf_cstr(&body), "{\"a\":[1,1.5009765625]}");
    buf_fini(&body);
}

static void path_refused(const char *text, const char *word)
{
    struct arena arena;
    struct rest_path path;
    struct diag diag = {0};
    arena_init(&arena, MIB);
    assert_int_equal(rest_path_parse(&path, text, &arena, &diag), ERR_INVALID);
    if (!strstr(diag.text, word))
        fail_msg("\"%s\" lacks \"%s\"", diag.text, word);
    arena_fini(&arena);
}

static void bad_paths_are_refused(void **state)
{
    (void)state;
    char many[200] = "";
    for (int i = 0; i < 33; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "%s", i ? ".a" : "a");
    path_refused(many, "more than 32 steps");
    path_refused("a..b", "empty name");
    path_refused(".a", "empty name");
    path_refused("a.", "ends with a dot");
    path_refused("a[b]", "neither a number nor *");
    path_refused("a[0", "not closed");
    path_refused("a['b]", "not closed");
    path_refused("/a~2", "~");
}

static enum err fail_at_second(void *ctx, struct bytes record, bool is_element)
{
    int *count = ctx;
    (void)record;
    (void)is_element;
    return ++*count == 2 ? ERR_NO_MEMORY : ERR_OK;
}

static void an_error_ends_the_walk(void **state)
{
    (void)state;
    struct rest_path whole = {0};
    struct rest_body body;
    int count = 0;
    rest_body_open(&body, BYTES_LITERAL("[1,2,3]"), &whole, false);
    assert_int_equal(rest_body_each(&body, 0, fail_at_second, &count), ERR_NO_MEMORY);
    assert_int_equal(count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_is_the_records),
        cmocka_unit_test(paths_find),
        cmocka_unit_test(what_does_not_match_is_the_whole),
        cmocka_unit_test(counts_are_those_of_the_walk),
        cmocka_unit_test(another_format_is_converted),
        cmocka_unit_test(bad_paths_are_refused),
        cmocka_unit_test(an_error_ends_the_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
