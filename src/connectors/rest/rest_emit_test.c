/*
 * Putting a poll down, against a pipeline that the test plays and that takes nothing at any chosen
 * call: in the end each record was emitted once, in order, and the state after all of them, within
 * one group.
 */
#include "connectors/rest/rest_emit.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* --- the pipeline --- */

struct ingest_source {
    int nothing;
};
struct ingest_route {
    enum content_format format;
    char dataset_id[256];
    char content_type[64];
    double status;
};

static struct {
    struct buf emitted; /* payloads, | between them; then state=… */
    int fail_at;        /* this call from now fails */
    bool failed;
    int groups_open;
    int groups_ended;
    int rejected;
    int repeated; /* bytes */
    struct ingest_route last;
    struct buf state;
} pipeline;

static enum err taken(void)
{
    if (pipeline.fail_at == 0 || --pipeline.fail_at > 0)
        return ERR_OK;
    pipeline.failed = true;
    return ERR_NO_MEMORY;
}

enum err ingest_route_new(struct ingest_source *source, const struct route_view *view,
                          struct ingest_route **ret_route)
{
    (void)source;
    enum err err = taken();
    struct ingest_route *route = err == ERR_OK ? mem_zalloc(1, sizeof(*route)) : NULL;
    if (!route)
        return ERR_NO_MEMORY;
    route->format = view->format;
    snprintf(route->dataset_id, sizeof(route->dataset_id), "%.*s", (int)view->dataset_id.size,
             (const char *)view->dataset_id.data);
    snprintf(route->content_type, sizeof(route->content_type), "%.*s", (int)view->content_type.size,
             (const char *)view->content_type.data);
    memcpy(&route->status, view->fields[1].constant.data, sizeof(double));
    assert_int_equal(view->field_count, 5);
    assert_true(bytes_equal_text(view->fields[0].name, "source_url"));
    assert_true(bytes_equal_text(view->fields[4].constant, "GET"));
    assert_int_equal(view->fields[2].per_message, view->content_type.size == 0);
    *ret_route = route;
    return ERR_OK;
}

void ingest_route_free(struct ingest_route *route)
{
    mem_free(route);
}

enum err ingest_dataset_id(struct bytes id, struct bytes topic, uint32_t levels, struct buf *out)
{
    (void)levels;
    buf_append(out, id.data, id.size);
    return buf_append(out, topic.data, topic.size);
}

static enum err note(struct bytes payload)
{
    enum err err = taken();
    if (err != ERR_OK)
        return err;
    assert_int_equal(pipeline.groups_open, 1);
    buf_append(&pipeline.emitted, payload.data, payload.size);
    return buf_byte(&pipeline.emitted, '|');
}

enum err ingest_emit(struct ingest_route *route, const struct ingest_message *message,
                     uint64_t *ret_sequence)
{
    pipeline.last = *route;
    enum err err = note(message->payload);
    *ret_sequence += err == ERR_OK;
    return err;
}

enum err ingest_reject(struct ingest_route *route, const struct ingest_message *message,
                       const char *reason, const char *detail, uint64_t *ret_sequence)
{
    (void)route;
    (void)message;
    (void)detail;
    assert_string_equal(reason, "oversize");
    enum err err = note(BYTES_LITERAL("oversize"));
    *ret_sequence += err == ERR_OK;
    pipeline.rejected += err == ERR_OK;
    return err;
}

void ingest_count_repeated(struct ingest_route *route, uint64_t bytes)
{
    (void)route;
    pipeline.repeated += (int)bytes;
}

void ingest_group_begin(struct ingest_source *source)
{
    (void)source;
    pipeline.groups_open++;
}

void ingest_group_end(struct ingest_source *source)
{
    (void)source;
    pipeline.groups_open--;
    pipeline.groups_ended++;
}

enum err ingest_state_put(struct ingest_source *source, struct bytes key, struct bytes value)
{
    (void)source;
    assert_true(bytes_equal_text(key, "poll"));
    enum err err = note(BYTES_LITERAL("state"));
    buf_clear(&pipeline.state);
    return err == ERR_OK ? buf_append(&pipeline.state, value.data, value.size) : err;
}

enum err ingest_state_get(struct ingest_source *source, struct bytes key, struct buf *ret_value)
{
    (void)source;
    (void)key;
    return pipeline.state.size ? buf_append(ret_value, pipeline.state.data, pipeline.state.size)
                               : ERR_NOT_FOUND;
}

/* --- a poll --- */

struct fixture {
    struct rest_config config;
    struct rest_state state;
    struct rest_poll poll;
    struct rest_page pages[4];
    struct rest_emit emit;
    struct ingest_source source;
};

static void page_add(struct fixture *fixture, const char *body, const char *content_type)
{
    struct rest_page *page = &fixture->pages[fixture->poll.kept_count++];
    *page = (struct rest_page){.status = 200, .arrived_us = 1000000};
    buf_init(&page->body, MIB);
    buf_init(&page->content_type, KIB);
    assert_int_equal(buf_text(&page->body, body), ERR_OK);
    assert_int_equal(buf_text(&page->content_type, content_type), ERR_OK);
    rest_body_open(&page->records, buf_bytes(&page->body), &fixture->config.data_path, false);
}

static struct fixture *fixture_new(const char *config)
{
    struct fixture *fixture = mem_zalloc(1, sizeof(*fixture));
    struct diag diag = {0};
    json_t *json = json_loads(config, 0, NULL);
    assert_non_null(fixture);
    assert_non_null(json);
    assert_int_equal(rest_config_init(&fixture->config, json, &diag), ERR_OK);
    json_decref(json);
    memset(&pipeline, 0, sizeof(pipeline));
    buf_init(&pipeline.emitted, 4 * MIB);
    buf_init(&pipeline.state, MIB);
    rest_state_init(&fixture->state);
    rest_emit_init(&fixture->emit, &fixture->config, "src", &fixture->source, &fixture->state);
    fixture->poll = (struct rest_poll){
        .config = &fixture->config, .state = &fixture->state, .pages = fixture->pages};
    buf_init(&fixture->poll.position, KIB);
    return fixture;
}

static void fixture_free(struct fixture *fixture)
{
    for (uint32_t i = 0; i < fixture->poll.kept_count; i++) {
        buf_fini(&fixture->pages[i].body);
        buf_fini(&fixture->pages[i].content_type);
    }
    buf_fini(&fixture->poll.position);
    rest_emit_fini(&fixture->emit);
    rest_state_fini(&fixture->state);
    rest_config_fini(&fixture->config);
    buf_fini(&pipeline.emitted);
    buf_fini(&pipeline.state);
    mem_free(fixture);
}

static void expect_emitted(const char *expected)
{
    assert_string_equal(buf_cstr(&pipeline.emitted), expected);
    assert_int_equal(pipeline.groups_open, 0);
    assert_int_equal(pipeline.groups_ended, 1);
}

static const char with_cursor[] = "{\"url\":\"http://h/path\",\"max_message_bytes\":8,"
                                  "\"cursor\":{\"field\":\"t\",\"param\":\"s\"}}";

static void fill(struct fixture *fixture)
{
    page_add(fixture, "[1,[2,3],{\"v\":4},\"too long for it\"]", "application/json");
    page_add(fixture, "text", "");
    rest_cursor_offer(&fixture->poll.cursor, BYTES_LITERAL("17"), BYTES_LITERAL("r"));
}

static void records_then_state(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(with_cursor);
    fill(fixture);
    assert_int_equal(rest_emit_run(&fixture->emit, &fixture->poll), ERR_OK);
    expect_emitted("1|[[2,3]]|{\"v\":4}|oversize|text|state|");
    assert_int_equal(pipeline.last.format, CONTENT_TEXT);
    assert_string_equal(pipeline.last.dataset_id, "src");
    assert_int_equal(fixture->emit.sequence, 5);
    assert_int_equal(fixture->emit.records, 5);
    assert_int_equal(fixture->emit.oversize, 1);
    assert_non_null(strstr(buf_cstr(&pipeline.state), "\"cursor\":\"17\""));
    fixture_free(fixture);
}

/* Whatever call fails, nothing is emitted twice and nothing is left out. */
static void every_failure_is_made_good(void **state)
{
    (void)state;
    for (int k = 1;; k++) {
        struct fixture *fixture = fixture_new(with_cursor);
        fill(fixture);
        pipeline.fail_at = k;
        enum err err = rest_emit_run(&fixture->emit, &fixture->poll);
        assert_int_equal(err, pipeline.failed ? ERR_NO_MEMORY : ERR_OK);
        if (err != ERR_OK) {
            assert_int_equal(pipeline.groups_open, 1);
            err = rest_emit_run(&fixture->emit, &fixture->poll);
        }
        assert_int_equal(err, ERR_OK);
        expect_emitted("1|[[2,3]]|{\"v\":4}|oversize|text|state|");
        bool failed = pipeline.failed;
        fixture_free(fixture);
        if (!failed)
            break;
    }
}

static void memory_may_end_anywhere(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct fixture *fixture = fixture_new(with_cursor);
        fill(fixture);
        assert_int_equal(buf_reserve(&pipeline.emitted, KIB), ERR_OK); /* the test's own memory */
        assert_int_equal(buf_reserve(&pipeline.state, KIB), ERR_OK);
        mem_fail_at(k);
        enum err err = rest_emit_run(&fixture->emit, &fixture->poll);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        if (err != ERR_OK)
            err = rest_emit_run(&fixture->emit, &fixture->poll);
        assert_int_equal(err, ERR_OK);
        expect_emitted("1|[[2,3]]|{\"v\":4}|oversize|text|state|");
        fixture_free(fixture);
        if (!failed)
            break;
    }
}

static void pages_to_come_are_remembered(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(with_cursor);
    page_add(fixture, "[1]", "application/json");
    rest_cursor_offer(&fixture->poll.cursor, BYTES_LITERAL("5"), BYTES_LITERAL("r"));
    buf_text(&fixture->poll.position, "next");
    assert_int_equal(rest_emit_run(&fixture->emit, &fixture->poll), ERR_OK);
    expect_emitted("1|state|");
    assert_int_equal(fixture->state.cursor.size, 0); /* not before all pages are there */
    assert_true(bytes_equal_text(buf_bytes(&fixture->state.resume), "next"));
    assert_true(bytes_equal_text(bytes_from(fixture->state.resume_cursor.json, 1), "5"));
    fixture_free(fixture);
}

/* Servers that answer with what is greater or equal send the last records again. */
static void records_of_the_edge_are_known(void **state)
{
    (void)state;
    for (int packed = 0; packed < 2; packed++) {
        struct fixture *fixture = fixture_new("{\"url\":\"http://h/\",\"cursor\":{\"field\":"
                                              "\"t\",\"param\":\"s\"}}");
        struct rest_cursor *cursor = &fixture->state.cursor;
        rest_cursor_offer(cursor, BYTES_LITERAL("5"), BYTES_LITERAL("{\"t\":5}"));
        rest_cursor_offer(cursor, BYTES_LITERAL("5"), BYTES_LITERAL("{\"t\":5,\"v\":1}"));
        page_add(fixture, "[{\"t\":5,\"v\":1},{\"t\":4},{\"t\":5,\"v\":2},{\"t\":5},{\"t\":6}]",
                 "");
        if (packed)
            fixture->pages[0].records.record_bytes = INGEST_GROUP_BYTES_MAX; /* as if */
        fixture->poll.cursor = *cursor;
        rest_cursor_offer(&fixture->poll.cursor, BYTES_LITERAL("6"), BYTES_LITERAL("{\"t\":6}"));
        assert_int_equal(rest_emit_run(&fixture->emit, &fixture->poll), ERR_OK);
        expect_emitted(packed ? "[{\"t\":4},{\"t\":5,\"v\":2}]|[{\"t\":6}]|state|"
                              : "{\"t\":4}|{\"t\":5,\"v\":2}|{\"t\":6}|state|");
        assert_int_equal(fixture->emit.repeated, 2);
        assert_int_equal(pipeline.repeated, 7 + 13);
        fixture_free(fixture);
    }
}

static void nothing_new_puts_nothing(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(with_cursor);
    page_add(fixture, "[]", "application/json");
    assert_int_equal(rest_emit_run(&fixture->emit, &fixture->poll), ERR_OK);
    buf_clear(&pipeline.emitted);
    assert_int_equal(rest_emit_run(&fixture->emit, &fixture->poll), ERR_OK);
    assert_int_equal(pipeline.emitted.size, 0);
    fixture_free(fixture);
}

/* So many small records that a message each would be beyond a group. */
static void very_many_are_packed(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new("{\"url\":\"http://h/\"}");
    page_add(fixture, "[1,[2],3,\"four\"]", "application/json");
    fixture->pages[0].records.record_bytes = INGEST_GROUP_BYTES_MAX; /* as if */
    assert_int_equal(rest_emit_run(&fixture->emit, &fixture->poll), ERR_OK);
    assert_string_equal(buf_cstr(&pipeline.emitted), "[1,[2],3,\"four\"]|state|");
    assert_int_equal(fixture->emit.records, 4);
    assert_int_equal(fixture->emit.sequence, 1);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_then_state),       cmocka_unit_test(every_failure_is_made_good),
        cmocka_unit_test(memory_may_end_anywhere),  cmocka_unit_test(pages_to_come_are_remembered),
        cmocka_unit_test(nothing_new_puts_nothing), cmocka_unit_test(records_of_the_edge_are_known),
        cmocka_unit_test(very_many_are_packed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
