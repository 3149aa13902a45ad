#include "connectors/common_options.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "support/json_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

struct fixture {
    struct arena arena;
    struct common_options options;
    struct diag diag;
};

static enum err read_json(struct fixture *f, const json_t *json)
{
    enum err err = ERR_OK;
    f->diag = (struct diag){0};
    arena_init(&f->arena, 256 * KIB);
    struct config_reader reader = {
        .arena = &f->arena, .json = json, .diag = &f->diag, .err = &err, .within = ""};
    common_options_read(&f->options, &reader);
    return err;
}

static enum err read_text(struct fixture *f, const char *text)
{
    json_t *json = json_text_parse(text);
    enum err err = read_json(f, json);
    json_decref(json);
    return err;
}

static void columns_and_dedupe_key_go_with_the_route(void **state)
{
    (void)state;
    struct fixture f;
    struct route_view route = {0};
    size_t cursor = 0;
    struct bytes name;
    enum field_type type;
    assert_int_equal(read_text(&f, "{'columns':{'a':'STRING','b':'DOUBLE','c':'BOOLEAN'},"
                                   "'dedupe_key':{'field':'id','window_seconds':86400}}"),
                     ERR_OK);
    common_options_route(&f.options, &route);
    assert_true(route_column_next(route.columns, &cursor, &name, &type));
    assert_true(bytes_equal_text(name, "a") && type == FIELD_STRING);
    assert_true(route_column_next(route.columns, &cursor, &name, &type));
    assert_true(bytes_equal_text(name, "b") && type == FIELD_DOUBLE);
    assert_true(route_column_next(route.columns, &cursor, &name, &type));
    assert_true(bytes_equal_text(name, "c") && type == FIELD_BOOLEAN);
    assert_false(route_column_next(route.columns, &cursor, &name, &type));
    assert_true(bytes_equal_text(route.dedupe_field, "id"));
    assert_int_equal(route.dedupe_window_seconds, 86400);
    arena_fini(&f.arena);
}

static void without_them_a_route_has_neither(void **state)
{
    (void)state;
    static const char *const texts[] = {"{}", "{'columns':null,'dedupe_key':null}",
                                        "{'columns':{}}"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct fixture f;
        struct route_view route = {0};
        assert_int_equal(read_text(&f, texts[i]), ERR_OK);
        common_options_route(&f.options, &route);
        assert_int_equal(route.columns.size + route.dedupe_field.size, 0);
        arena_fini(&f.arena);
    }
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *word;
    } wrong[] = {
        {"{'columns':'STRING'}", "columns must be an object"},
        {"{'columns':{'a':'string'}}", "columns.a must be"},
        {"{'dedupe_key':7}", "dedupe_key must be an object"},
        {"{'dedupe_key':{'field':'','window_seconds':1}}", "dedupe_key.field"},
        {"{'dedupe_key':{'field':'a','window_seconds':0}}", "dedupe_key.window_seconds"},
        {"{'dedupe_key':{'window_seconds':1}}", "dedupe_key needs a field"},
        {"{'dedupe_key':{'field':'a','window_seconds':1,'b':1}}", "only field and window_seconds"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct fixture f;
        assert_int_equal(read_text(&f, wrong[i].text), ERR_INVALID);
        if (!strstr(f.diag.text, wrong[i].word))
            fail_msg("%s: \"%s\"", wrong[i].text, f.diag.text);
        arena_fini(&f.arena);
    }
}

/* What a route cannot hold is refused when it is read, not when it is used. */
static void too_many_columns_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    json_t *columns = json_object();
    char name[256];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "%0250d", i);
        json_object_set_new(columns, name, json_string("STRING"));
    }
    json_t *config = json_pack("{s:o}", "columns", columns);
    assert_int_equal(read_json(&f, config), ERR_INVALID);
    assert_non_null(strstr(f.diag.text, "64 KiB"));
    arena_fini(&f.arena);
    json_decref(config);
}

static void memory_may_end_anywhere(void **state)
{
    (void)state;
    bool ended = false;
    json_t *config = json_text_parse("{'columns':{'a':'STRING'},'timestamp_field':'t',"
                                     "'dedupe_key':{'field':'id','window_seconds':1}}");
    for (uint64_t k = 1; !ended; k++) {
        struct fixture f;
        mem_fail_at(k);
        enum err err = read_json(&f, config);
        ended = !mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, ended ? ERR_OK : ERR_NO_MEMORY);
        arena_fini(&f.arena);
    }
    json_decref(config);
}

static void a_source_without_topics_is_a_dataset_itself(void **state)
{
    (void)state;
    struct fixture f;
    struct buf id;
    buf_init(&id, 1024);
    assert_int_equal(read_text(&f, "{}"), ERR_OK);
    assert_int_equal(common_options_dataset_id(&f.options, "s1", (struct bytes){0}, &id), ERR_OK);
    assert_true(bytes_equal_text(buf_bytes(&id), "s1"));
    buf_clear(&id);
    assert_int_equal(common_options_dataset_id(&f.options, "s1", BYTES_LITERAL("a/b"), &id),
                     ERR_OK);
    assert_true(bytes_equal_text(buf_bytes(&id), "s1_a_b"));
    arena_fini(&f.arena);
    buf_clear(&id);
    assert_int_equal(read_text(&f, "{'dataset':'{source}_x'}"), ERR_OK);
    assert_int_equal(common_options_dataset_id(&f.options, "s1", (struct bytes){0}, &id), ERR_OK);
    assert_true(bytes_equal_text(buf_bytes(&id), "s1_x"));
    arena_fini(&f.arena);
    buf_fini(&id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_and_dedupe_key_go_with_the_route),
        cmocka_unit_test(without_them_a_route_has_neither),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(too_many_columns_are_refused),
        cmocka_unit_test(memory_may_end_anywhere),
        cmocka_unit_test(a_source_without_topics_is_a_dataset_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
