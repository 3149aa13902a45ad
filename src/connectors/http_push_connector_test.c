/*
 * The connector as a host and the API see it, over the pipeline of support/push_pipeline.h.
 */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "connectors/connector.h"
#include "connectors/http_push_check.h"
#include "connectors/http_push_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants those four first */
#include <cmocka.h>

#include "support/push_pipeline.h"

/* ---- the host ---- */

extern const struct connector http_push_connector;
static const struct connector *const connector = &http_push_connector;
static void *instance;
static json_t *config;
static uv_loop_t loop;
static int connected, stopped, closed;

static void on_connected(void *ctx)
{
    (void)ctx;
    connected++;
}

static void on_failed(void *ctx, enum err err, const char *reason)
{
    (void)ctx, (void)err;
    fail_msg("%s", reason);
}

static void on_warning(void *ctx, const char *text)
{
    (void)ctx, (void)text;
}

static void on_stopped(void *ctx)
{
    (void)ctx;
    stopped++;
}

static void on_closed(void *ctx)
{
    (void)ctx;
    closed++;
}

static enum err host_open(struct diag *diag)
{
    const struct connector_host host = {
        .loop = &loop,
        .config = config,
        .source_id = "a1_push_http_push",
        .source_name = "push",
        .replica_id = "r",
        .on_connected = on_connected,
        .on_failed = on_failed,
        .on_warning = on_warning,
        .on_stopped = on_stopped,
        .on_closed = on_closed,
    };
    return connector->ops.connect(instance, &host, diag);
}

static void begin(const char *config_text)
{
    struct diag diag = {0};
    config = json_loads(config_text, 0, NULL);
    assert_non_null(config);
    connected = stopped = closed = 0;
    instance = calloc(1, connector->state_size);
    assert_non_null(instance);
    if (host_open(&diag) != ERR_OK)
        fail_msg("%s", diag.text);
    assert_int_equal(connected, 1);
    assert_int_equal(connector->ops.start(instance, &diag), ERR_OK);
}

static void end(void)
{
    connector->ops.disconnect(instance);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(closed, 1);
    free(instance);
    json_decref(config);
    instance = NULL;
    config = NULL;
}

static int setup(void **state)
{
    (void)state;
    memset(&pipeline, 0, sizeof(pipeline));
    pipeline.refuse_after = UINT64_MAX;
    buf_init(&pipeline.payloads, 64 * MIB);
    map_init(&pipeline.states);
    map_init(&pipeline.unsynced);
    return uv_loop_init(&loop);
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&pipeline.payloads);
    states_clear(&pipeline.states);
    states_clear(&pipeline.unsynced);
    return uv_loop_close(&loop);
}

/* ---- pushes ---- */

static void on_done(struct connector_push *push)
{
    assert_null(push->ctx);
    push->ctx = push; /* once */
}

static void push_send(struct connector_push *push, const char *body)
{
    push->body = bytes_from_text(body);
    push->arrival_us = push->arrival_us ? push->arrival_us : 1000;
    push->done = on_done;
    push->ctx = NULL;
    push->status = 0;
    connector->ops.push(instance, push);
}

static void expect_answer(const struct connector_push *push, unsigned status, uint64_t count)
{
    assert_non_null(push->ctx);
    if (push->status != status || push->count != count)
        fail_msg("%u, %llu: %s", push->status, (unsigned long long)push->count, push->message);
}

static void expect_invalid(const struct connector_push *push, const char *type, size_t offset)
{
    expect_answer(push, 422, 0);
    assert_string_equal(push->error_type, type);
    if (strcmp(type, "json_invalid") == 0)
        assert_int_equal(push->error_offset, offset);
}

static void expect_payloads(const char *expected)
{
    assert_non_null(buf_cstr(&pipeline.payloads));
    assert_string_equal((const char *)pipeline.payloads.data, expected);
    buf_clear(&pipeline.payloads);
}

static void test_durable(void **state)
{
    (void)state;
    struct connector_push push = {.remote = "10.0.0.1", .content_type = "application/json"};
    begin("{}");
    push_send(&push, "[{\"a\":1},[2],3]");
    expect_payloads("{\"a\":1}|{\"value\":[2]}|3|");
    assert_string_equal(pipeline.remote, "10.0.0.1");
    assert_string_equal(pipeline.type, "application/json");
    assert_string_equal(pipeline.dataset, "a1_push_http_push");
    assert_null(push.ctx);
    assert_int_equal(pipeline.groups, 1);
    sync_all();
    expect_answer(&push, 202, 3);
    push_send(&push, "[]");
    expect_answer(&push, 202, 0);
    push.content_type = "application/x-ndjson; charset=utf-8";
    push_send(&push, "{}\n\n[1]\n");
    expect_payloads("{}|{\"value\":[1]}|");
    sync_all();
    expect_answer(&push, 202, 2);
    end();
}

static void test_refused(void **state)
{
    (void)state;
    static const char long_key[300] = {[0 ... 298] = 'k'};
    struct connector_push push = {.content_type = "text/csv"};
    begin("{\"max_body_bytes\":20}");
    push_send(&push, "{}");
    expect_invalid(&push, "dict_type", 0);
    push.content_type = "application/x-www-form-urlencoded";
    push_send(&push, "{}");
    expect_invalid(&push, "dict_type", 0);
    push.content_type = NULL;
    push_send(&push, "[{},{]");
    expect_invalid(&push, "json_invalid", 5);
    push_send(&push, "[\"\xc3\xbc\xe2\x98\x83\",]");
    expect_invalid(&push, "json_invalid", 6); /* characters */
    push_send(&push, "");
    expect_invalid(&push, "missing", 0);
    push_send(&push, "7");
    expect_invalid(&push, "dict_type", 0);
    push.content_type = "application/x-ndjson";
    push_send(&push, "{}\n{\"a\":\n");
    expect_invalid(&push, "json_invalid", 8);
    push.content_type = NULL;
    push_send(&push, "{\"a\":\"1234567890123\"}");
    expect_answer(&push, 413, 0);
    push.idempotency_key = "";
    push_send(&push, "{}");
    expect_answer(&push, 400, 0);
    push.idempotency_key = long_key;
    push_send(&push, "{}");
    expect_answer(&push, 400, 0);
    expect_payloads("");
    assert_int_equal(pipeline.groups, 0);
    end();
}

static void test_token(void **state)
{
    (void)state;
    char signature[80] = "sha256=";
    uint8_t digest[SHA256_BYTES];
    struct connector_push push = {0};
    begin("{\"token\":\"secret\"}");
    push_send(&push, "{}");
    expect_answer(&push, 401, 0);
    push.authorization = "Bearer wrong";
    push_send(&push, "{}");
    expect_answer(&push, 403, 0);
    push.authorization = "Basic c2VjcmV0";
    push_send(&push, "{}");
    expect_answer(&push, 403, 0);
    push.authorization = "bearer  secret";
    push_send(&push, "{}");
    sync_all();
    expect_answer(&push, 202, 1);
    push.authorization = NULL;
    assert_int_equal(sha256_hmac(BYTES_LITERAL("secret"), BYTES_LITERAL("{}"), digest), ERR_OK);
    hex_encode(digest, sizeof(digest), signature + 7);
    push.signature = signature;
    push_send(&push, "{}");
    sync_all();
    expect_answer(&push, 202, 1);
    push_send(&push, "{ }");
    expect_answer(&push, 403, 0);
    push.signature = "sha256=12";
    push_send(&push, "{}");
    expect_answer(&push, 403, 0);
    end();
}

static void test_keys(void **state)
{
    (void)state;
    struct connector_push first = {.idempotency_key = "k"};
    struct connector_push again = {.idempotency_key = "k"};
    struct connector_push other = {.idempotency_key = "l"};
    begin("{}");
    push_send(&first, "[1,2]");
    push_send(&again, "[1,2]");
    expect_payloads("1|2|");
    assert_null(first.ctx);
    assert_null(again.ctx); /* waits for the first */
    sync_all();
    expect_answer(&first, 202, 2);
    expect_answer(&again, 202, 2);
    push_send(&again, "[1,2]");
    expect_answer(&again, 202, 2);
    assert_int_equal(pipeline.repeated, 2);
    push_send(&other, "[3]");
    expect_payloads("3|");
    sync_all();
    /* The next day it is a new one. */
    again.arrival_us = 1000 + HTTP_PUSH_KEY_LIFE_US;
    push_send(&again, "[4]");
    expect_payloads("4|");
    sync_all();
    expect_answer(&again, 202, 1);
    end();
    /* Known after a restart. */
    begin("{}");
    push_send(&again, "[4]");
    expect_answer(&again, 202, 1);
    push_send(&other, "[3]");
    expect_answer(&other, 202, 1);
    expect_payloads("");
    end();
}

static void test_many_keys(void **state)
{
    (void)state;
    struct connector_push push = {0};
    char key[32];
    begin("{}");
    for (int i = 0; i < HTTP_PUSH_KEYS_MAX + 100; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        push.idempotency_key = key;
        push_send(&push, "{}");
        sync_all();
        expect_answer(&push, 202, 1);
        if (i % 1000 == 0)
            states_clear(&pipeline.unsynced);
    }
    end();
    states_clear(&pipeline.unsynced);
    begin("{}");
    buf_clear(&pipeline.payloads);
    snprintf(key, sizeof(key), "key %d", 100);
    push_send(&push, "{}");
    expect_payloads(""); /* among the last ones */
    snprintf(key, sizeof(key), "key %d", 99);
    push_send(&push, "{}");
    expect_payloads("{}|"); /* forgotten */
    sync_all();
    snprintf(key, sizeof(key), "key %d", HTTP_PUSH_KEYS_MAX + 99);
    push_send(&push, "{}");
    expect_payloads("");
    end();
}

static void test_memory_comes_back(void **state)
{
    (void)state;
    struct connector_push push = {.idempotency_key = "k"};
    begin("{}");
    pipeline.refuse_after = 1;
    push_send(&push, "[1,2,3]");
    assert_null(push.ctx);
    assert_int_equal(pipeline.groups, 0);
    pipeline.refuse_after = UINT64_MAX;
    while (pipeline.groups == 0)
        uv_run(&loop, UV_RUN_ONCE);
    expect_payloads("1|2|3|");
    sync_all();
    expect_answer(&push, 202, 3);
    end();
}

static void test_stop(void **state)
{
    (void)state;
    struct connector_push push = {0};
    struct connector_push late = {0};
    begin("{}");
    push_send(&push, "{}");
    connector->ops.stop(instance);
    assert_int_equal(stopped, 0);
    push_send(&late, "{}");
    expect_answer(&late, 503, 0);
    sync_all();
    expect_answer(&push, 202, 1);
    assert_int_equal(stopped, 1);
    end();
    begin("{}");
    push_send(&push, "{}");
    end();
    expect_answer(&push, 503, 0); /* nobody knows whether it is stored */
}

static void test_pause(void **state)
{
    (void)state;
    struct connector_push push = {0};
    begin("{}");
    pipeline.source->ops->on_pause(pipeline.source->ctx);
    buf_clear(&pipeline.payloads);
    push_send(&push, "{}");
    expect_payloads("");
    pipeline.source->ops->on_resume(pipeline.source->ctx);
    uv_run(&loop, UV_RUN_DEFAULT);
    expect_payloads("{}|");
    sync_all();
    expect_answer(&push, 202, 1);
    end();
}

static void test_large(void **state)
{
    (void)state;
    struct connector_push push = {.content_type = "application/x-ndjson"};
    struct buf text;
    buf_init(&text, 16 * MIB);
    for (int i = 0; i < HTTP_PUSH_RECORDS_MAX; i++)
        buf_text(&text, "{\"a\":1}\n");
    begin("{}");
    push_send(&push, buf_cstr(&text));
    uv_run(&loop, UV_RUN_DEFAULT); /* slices */
    sync_all();
    expect_answer(&push, 202, HTTP_PUSH_RECORDS_MAX);
    assert_int_equal(pipeline.groups, 1);
    buf_text(&text, "{}");
    push_send(&push, buf_cstr(&text));
    uv_run(&loop, UV_RUN_DEFAULT);
    expect_answer(&push, 413, 0);
    assert_int_equal(pipeline.groups, 1);
    end();
    buf_fini(&text);
}

static void test_options(void **state)
{
    (void)state;
    struct diag diag = {0};
    struct connector_push push = {.content_type = "text/plain"};
    begin("{\"format\":\"text\",\"dataset\":\"{source}_x\",\"max_message_bytes\":4}");
    assert_string_equal(pipeline.dataset, "a1_push_http_push_x");
    assert_int_equal(pipeline.format, CONTENT_TEXT);
    push_send(&push, "abc");
    expect_payloads("abc|");
    sync_all();
    expect_answer(&push, 202, 1);
    push_send(&push, "abcde");
    assert_int_equal(pipeline.rejected, 1);
    sync_all();
    expect_answer(&push, 202, 1);
    json_t *health = json_object();
    connector->ops.health(instance, health);
    assert_string_equal(json_string_value(json_object_get(health, "path")),
                        "/api/ingest/a1_push_http_push");
    json_decref(health);
    end();
    json_t *bad = json_pack("{s:i}", "max_body_bytes", 1 << 30);
    assert_int_equal(connector->ops.check(bad, &diag), ERR_INVALID);
    json_decref(bad);
}

/* What is stored is the JSON that a body stands for, record by record. */
static void test_converted(void **state)
{
    (void)state;
    struct connector_push push = {.content_type = " Application/CBOR; x=y"};
    begin("{}");
    push_send(&push, "\x82\xa1\x61\x61\x01\x81\x02");
    expect_payloads("{\"a\":1}|{\"value\":[2]}|");
    sync_all();
    expect_answer(&push, 202, 2);
    push.content_type = "application/senml+json";
    push_send(&push, "[{\"bn\":\"x\",\"bt\":1700000000,\"v\":1},{\"t\":1,\"v\":2}]");
    expect_payloads("{\"n\":\"x\",\"v\":1,\"t\":1700000000}|"
                    "{\"n\":\"x\",\"v\":2,\"t\":1700000001}|");
    sync_all();
    expect_answer(&push, 202, 2);
    push_send(&push, "[{\"v\":1}]");
    expect_answer(&push, 422, 0);
    assert_non_null(strstr(push.message, "name"));
    push.content_type = "application/msgpack";
    push_send(&push, "\x81\xa1\x61\xc3");
    expect_payloads("{\"a\":true}|");
    sync_all();
    push_send(&push, "\x81");
    expect_answer(&push, 422, 0);
    push_send(&push, "\x01");
    expect_answer(&push, 422, 0);
    push.content_type = "text/csv";
    push_send(&push, "a\n1");
    expect_answer(&push, 422, 0);
    end();
    begin("{\"format\":\"csv\"}");
    assert_int_equal(pipeline.format, CONTENT_JSON);
    push_send(&push, "a\n1\n2");
    expect_payloads("{\"a\":1}|{\"a\":2}|");
    sync_all();
    expect_answer(&push, 202, 2);
    push.content_type = "application/x-www-form-urlencoded";
    push_send(&push, "a\n1");
    expect_answer(&push, 422, 0);
    end();
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct diag diag = {0};
        struct connector_push push = {.idempotency_key = "k", .content_type = "application/json"};
        states_clear(&pipeline.unsynced);
        buf_clear(&pipeline.payloads);
        config = json_pack("{s:s}", "token", "t");
        push.authorization = "Bearer t";
        closed = 0;
        instance = calloc(1, connector->state_size);
        assert_non_null(instance);
        mem_fail_at(k);
        enum err err = host_open(&diag);
        if (err == ERR_OK) {
            assert_int_equal(connector->ops.start(instance, &diag), ERR_OK);
            push_send(&push, "[[1],2]");
            while (!push.ctx && pipeline.groups == 0)
                uv_run(&loop, UV_RUN_ONCE);
        }
        bool failed = mem_failed();
        mem_fail_at(0);
        if (err == ERR_OK && !push.ctx) {
            sync_all();
            expect_answer(&push, 202, 2);
        }
        assert_true(err == ERR_OK ? push.ctx != NULL : failed);
        connector->ops.disconnect(instance);
        uv_run(&loop, UV_RUN_DEFAULT);
        assert_int_equal(closed, 1);
        free(instance);
        json_decref(config);
        config = NULL;
        pipeline.groups = 0;
        if (!failed)
            break;
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_durable), TEST(test_refused),   TEST(test_token),
        TEST(test_keys),    TEST(test_many_keys), TEST(test_memory_comes_back),
        TEST(test_stop),    TEST(test_pause),     TEST(test_large),
        TEST(test_options), TEST(test_converted), TEST(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
