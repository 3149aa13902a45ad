/* The routes of data sources and pushes over a registry in memory (tests/support/fake_registry.h):
 * shapes, statuses, 422s, and every allocation failing in turn. */
#include "api/dispatch.h"
#include "api/gunzip.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "os/thread.h"
#include "support/fake_registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>
/* after the above, as cmocka wants */
#include <cmocka.h>

static struct api_services services;

static int setup(void **state)
{
    (void)state;
    services = (struct api_services){.version = "1.0"};
    return fake_registry_new(&services.manager) == ERR_OK ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    fake_registry_free(services.manager);
    return 0;
}

struct waiter {
    struct mutex lock;
    struct condition changed;
    bool resumed;
};

static void on_resume(void *ctx)
{
    struct waiter *waiter = ctx;
    mutex_lock(&waiter->lock);
    waiter->resumed = true;
    condition_broadcast(&waiter->changed);
    mutex_unlock(&waiter->lock);
}

static struct {
    unsigned status;
    char text[16384];
    char headers[256];
} answer;

static void answer_keep(const struct api_response *response)
{
    answer.status = response->status;
    assert_true(response->body.size < sizeof(answer.text));
    memcpy(answer.text, response->body.size > 0 ? (const char *)response->body.data : "",
           response->body.size);
    answer.text[response->body.size] = '\0';
    answer.headers[0] = '\0';
    for (size_t i = 0; i < response->header_count; i++)
        snprintf(answer.headers + strlen(answer.headers),
                 sizeof(answer.headers) - strlen(answer.headers), "%s: %s\n",
                 response->headers[i].name, response->headers[i].value);
}

static void call_request(struct api_request *request)
{
    struct waiter waiter = {0};
    struct api_response response;
    mutex_init(&waiter.lock);
    condition_init(&waiter.changed);
    api_response_init(&response);
    request->resume = on_resume;
    request->resume_ctx = &waiter;
    if (api_request_route(request) != ERR_OK) {
        api_dispatch_no_memory(&response);
    } else if (!api_dispatch(&services, request, &response)) {
        mutex_lock(&waiter.lock);
        while (!waiter.resumed)
            condition_wait(&waiter.changed, &waiter.lock);
        mutex_unlock(&waiter.lock);
    }
    answer_keep(&response);
    api_response_fini(&response);
    condition_fini(&waiter.changed);
    mutex_fini(&waiter.lock);
}

static void call(const char *method, const char *target, const char *body)
{
    struct api_request request;
    api_request_init(&request, method, target);
    request.body = bytes_from_text(body ? body : "");
    call_request(&request);
    api_request_fini(&request);
}

static void expect(const char *method, const char *target, const char *body, unsigned status,
                   const char *part)
{
    call(method, target, body);
    if (answer.status != status || !strstr(answer.text, part))
        fail_msg("%s %s %s: %u %s", method, target, body ? body : "", answer.status, answer.text);
    if (answer.text[0]) {
        json_t *json = json_loads(answer.text, 0, NULL);
        assert_non_null(json);
        json_decref(json);
    }
}

#define BROKER_B           "{\"broker\":\"b\"}"
#define WISH(name, config) "{\"name\":\"" name "\",\"type_name\":\"mqtt\",\"config\":" config "}"

static void test_life(void **state)
{
    (void)state;
    expect("GET", "/api/data-sources", NULL, 200,
           "{\"status\":\"success\",\"data\":[],\"message\":\"Retrieved 0 data "
           "sources\",\"error\":null,\"total\":0,\"page\":null,\"page_size\":null}");
    expect("POST", "/api/data-sources", WISH("a", BROKER_B), 200, "\"id\":1,\"name\":\"a\"");
    assert_non_null(strstr(answer.text, "\"created_by\":\"api\""));
    assert_non_null(strstr(answer.text, "\"message\":\"Data source created\",\"error\":null}"));
    expect("POST", "/api/data-sources", WISH("a", BROKER_B), 200, "nothing was created");
    expect("POST", "/api/data-sources", WISH("a", "{\"broker\":\"c\"}"), 409,
           "is there with another config");
    expect("POST", "/api/data-sources",
           "{\"name\":\"d\",\"type_name\":\"mqtt\",\"config\":" BROKER_B ",\"enabled\":\"off\"}",
           200, "\"enabled\":false");
    expect("GET", "/api/data-sources", NULL, 200, "\"total\":1,");
    expect("GET", "/api/data-sources?enabled_only=False", NULL, 200, "\"total\":2,");
    expect("GET", "/api/data-sources/2", NULL, 200, "\"name\":\"d\"");
    expect("PUT", "/api/data-sources/2", "{\"name\":\"e\",\"enabled\":1,\"config\":null}", 200,
           "\"name\":\"e\"");
    expect("PUT", "/api/data-sources/2", "{}", 200, "\"enabled\":true");
    expect("POST", "/api/data-sources/2/stop", NULL, 200,
           "{\"status\":\"success\",\"message\":\"Data source 2 stopped\"}");
    expect("POST", "/api/data-sources/2/start", NULL, 200, "Data source 2 started");
    expect("POST", "/api/data-sources/2/restart", NULL, 200, "Data source 2 restarted");
    expect("GET", "/api/data-sources/2/health", NULL, 200,
           "{\"status\":\"success\",\"data\":{\"status\":\"active\",\"healthy\":true");
    assert_null(strstr(answer.text, "\"error\""));
    expect("DELETE", "/api/data-sources/2", NULL, 200,
           "{\"status\":\"success\",\"message\":\"Data source 2 deleted\"}");
    expect("GET", "/api/data-sources/2", NULL, 404,
           "{\"status\":\"error\",\"data\":null,\"message\":null,\"error\":\"Data source 2 not "
           "found\",\"detail\":\"Data source 2 not found\"}");
    expect("GET", "/api/data-sources/status/overview", NULL, 200,
           "\"data\":{\"active_connectors\":1,\"connectors\":{\"a_b_mqtt\":");
    expect("GET", "/api/data-sources/types", NULL, 200, "\"name\":\"mqtt\"");
    expect("GET", "/api/data-sources/1/metrics", NULL, 200, "\"total\":1,");
    expect("GET", "/api/data-sources/1/metrics?since=2026-01-31T12:00:00Z", NULL, 200,
           "\"total\":0,");
}

static void test_not_found(void **state)
{
    (void)state;
    static const char *const actions[][2] = {
        {"GET", ""},          {"DELETE", ""},     {"POST", "/start"},  {"POST", "/stop"},
        {"POST", "/restart"}, {"GET", "/health"}, {"GET", "/metrics"},
    };
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        char target[64];
        snprintf(target, sizeof(target), "/api/data-sources/77%s", actions[i][1]);
        expect(actions[i][0], target, NULL, 404, "Data source 77 not found");
        snprintf(target, sizeof(target), "/api/data-sources/x7%s", actions[i][1]);
        expect(actions[i][0], target, NULL, 422,
               "\"detail\":[{\"type\":\"int_parsing\",\"loc\":[\"path\",\"id\"],\"msg\":\"Input "
               "should be a valid integer, unable to parse string as an integer\",\"input\":"
               "\"x7\"}]");
    }
    expect("PUT", "/api/data-sources/types", "{}", 405, "Method Not Allowed");
    expect("GET", "/api/data-sources/validate", NULL, 405, "Method Not Allowed");
    expect("PUT", "/api/data-sources/77", "{}", 404, "Data source 77 not found");
    expect("PUT", "/api/data-sources/abc", "{}", 422, "int_parsing");
    expect("GET", "/api/data-sources/-5", NULL, 404, "Data source -5 not found");
    expect("GET", "/api/data-sources/99999999999999999999999", NULL, 404,
           "\"detail\":\"Data source 99999999999999999999999 not found\"");
    expect("PUT", "/api/data-sources/-99999999999999999999999", "{}", 404,
           "\"Data source -99999999999999999999999 not found\"");
    expect("POST", "/api/data-sources/9223372036854775808/start", NULL, 404,
           "\"Data source 9223372036854775808 not found\"");
    char long_target[400] = "/api/data-sources/";
    memset(long_target + strlen(long_target), '7', 200);
    expect("DELETE", long_target, NULL, 404, "7777… not found\"");
    expect("GET", "/api/data-sources/1/metrics?since=yesterday", NULL, 422, "datetime_parsing");
    expect("GET", "/api/data-sources?enabled_only=perhaps", NULL, 422,
           "\"loc\":[\"query\",\"enabled_only\"],\"msg\":\"Input should be a valid boolean, unable "
           "to interpret input\",\"input\":\"perhaps\"");
}

static void test_bodies(void **state)
{
    (void)state;
    static const char *const targets[] = {"/api/data-sources", "/api/data-sources/validate",
                                          "/api/data-sources/test"};
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        const char *target = targets[i];
        expect("POST", target, "{}", 422,
               "\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\",\"name\"],\"msg\":\"Field "
               "required\"},{\"type\":\"missing\",\"loc\":[\"body\",\"type_name\"],\"msg\":\"Field "
               "required\"},{\"type\":\"missing\",\"loc\":[\"body\",\"config\"],\"msg\":\"Field "
               "required\"}]");
        expect("POST", target, "[]", 422, "model_attributes_type");
        expect("POST", target, "{\"a\":", 422, "json_invalid");
        expect("POST", target, NULL, 422, "\"missing\",\"loc\":[\"body\"]");
        expect("POST", target, "{\"name\":3,\"type_name\":null,\"config\":[],\"enabled\":5}", 422,
               "{\"type\":\"bool_parsing\",\"loc\":[\"body\",\"enabled\"]");
        assert_non_null(strstr(answer.text, "\"string_type\",\"loc\":[\"body\",\"name\"]"));
        assert_non_null(strstr(answer.text, "\"string_type\",\"loc\":[\"body\",\"type_name\"]"));
        assert_non_null(strstr(answer.text, "\"dict_type\",\"loc\":[\"body\",\"config\"]"));
        expect("POST", target,
               "{\"name\":\"a\\u0000b\",\"type_name\":\"mqtt\",\"config\":{},\"enabled\":null}",
               422, "bool_type");
    }
    expect("POST", "/api/data-sources", WISH("a", "{}"), 400, "config.broker: required");
    expect(
        "POST", "/api/data-sources/validate", WISH("a", "{}"), 200,
        "\"data\":{\"valid\":false,\"errors\":[{\"path\":\"config\",\"message\":\"config.broker");
    expect("POST", "/api/data-sources/validate", WISH("a", BROKER_B), 200,
           "{\"valid\":true,\"errors\":[]}");
    expect("POST", "/api/data-sources/test", WISH("a", BROKER_B), 200, "\"success\":true");
    expect("POST", "/api/data-sources/test", WISH("a", "{\"broker\":\"away\"}"), 200,
           "\"success\":false");
    expect("PUT", "/api/data-sources/1", "{\"name\":[],\"enabled\":\"maybe\"}", 422, "string_type");
}

static void test_failures(void **state)
{
    (void)state;
    expect("POST", "/api/data-sources", WISH("a", "{\"broker\":\"away\"}"), 200, "\"id\":1");
    expect("POST", "/api/data-sources/1/start", NULL, 500, "away:1883 refuses the connection");
    fake_registry_fail(services.manager, ERR_BUSY, "the database is locked");
    static const char *const calls[][2] = {
        {"GET", "/api/data-sources"},
        {"GET", "/api/data-sources/types"},
        {"GET", "/api/data-sources/1"},
        {"DELETE", "/api/data-sources/1"},
        {"POST", "/api/data-sources/1/start"},
        {"GET", "/api/data-sources/1/metrics"},
        {"GET", "/api/data-sources/status/overview"},
    };
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        expect(calls[i][0], calls[i][1], NULL, 503, "the database is locked");
        assert_non_null(strstr(answer.headers, "Retry-After: "));
    }
    expect("POST", "/api/data-sources", WISH("b", BROKER_B), 503, "the database is locked");
    struct manager *manager = services.manager;
    services.manager = NULL;
    expect("GET", "/api/data-sources/1", NULL, 503, "starting");
    expect("GET", "/api/data-sources", NULL, 503, "starting");
    expect("POST", "/api/data-sources", WISH("b", BROKER_B), 503, "starting");
    expect("POST", "/api/ingest/push", "{}", 503, "starting");
    services.manager = manager;
}

static void test_push(void **state)
{
    (void)state;
    expect("POST", "/api/ingest/push", "{}\n{}\n", 202,
           "{\"status\":\"success\",\"data\":{\"ingestion_id\":\"push\",\"count\":2},\"message\":"
           "\"Answered from , no key\",\"error\":null}");
    expect("POST", "/api/ingest/nobody", "{}", 404, "No data source of type http_push");
    expect("POST", "/api/ingest/push-off", "{}", 503, "not running");
    expect("POST", "/api/ingest/push-401", "{}", 401, "Answered");
    assert_string_equal(answer.headers, "WWW-Authenticate: Bearer\n");
    expect("POST", "/api/ingest/push-403", "{}", 403, "Answered");
    expect("POST", "/api/ingest/push-413", "{}", 413, "Answered");
    expect("POST", "/api/ingest/push-422", "{}", 422,
           "\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\"],\"msg\":\"Answered");
    expect("POST", "/api/ingest/push-422", "{} {}", 422,
           "\"detail\":[{\"type\":\"json_invalid\",\"loc\":[\"body\",7],\"msg\":\"Answered");
    expect("POST", "/api/ingest/push-429", "{}", 429, "Answered");
    assert_string_equal(answer.headers, "Retry-After: 1\n");
    expect("GET", "/api/ingest/push", NULL, 405, "Method Not Allowed");
}

static size_t gzip_of(struct bytes text, uint8_t *out, size_t size)
{
    z_stream stream = {.next_in = (uint8_t *)(uintptr_t)text.data,
                       .avail_in = (unsigned)text.size,
                       .next_out = out,
                       .avail_out = (unsigned)size};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY),
                     Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    deflateEnd(&stream);
    return size - stream.avail_out;
}

static void post_encoded(const char *encoding, struct bytes body)
{
    struct api_request request;
    struct buf owner;
    buf_init(&owner, 64 * MIB);
    assert_int_equal(buf_append(&owner, body.data, body.size), ERR_OK);
    api_request_init(&request, "POST", "/api/ingest/push");
    request.content_encoding = encoding;
    request.idempotency_key = "k1";
    snprintf(request.remote, sizeof(request.remote), "10.1.2.3");
    request.body = buf_bytes(&owner);
    request.body_owner = &owner;
    call_request(&request);
    api_request_fini(&request);
    buf_fini(&owner);
}

static void test_gzip(void **state)
{
    (void)state;
    uint8_t packed[64 * 1024];
    size_t size = gzip_of(BYTES_LITERAL("{}\n{}\n{}\n"), packed, sizeof(packed));
    post_encoded("gzip", bytes_from(packed, size));
    assert_int_equal(answer.status, 202);
    assert_non_null(strstr(answer.text, "\"count\":3}"));
    assert_non_null(strstr(answer.text, "Answered from 10.1.2.3, k1"));
    size += gzip_of(BYTES_LITERAL("{}\n"), packed + size, sizeof(packed) - size);
    post_encoded("GZIP", bytes_from(packed, size));
    assert_non_null(strstr(answer.text, "\"count\":4}"));
    for (size_t cut = 0; cut < size; cut++) {
        post_encoded("gzip", bytes_from(packed, cut));
        assert_true(answer.status == 422 || strstr(answer.text, "\"count\":3}"));
    }
    packed[size] = 'x';
    post_encoded("gzip", bytes_from(packed, size + 1));
    assert_int_equal(answer.status, 422);
    post_encoded("identity", BYTES_LITERAL("{}\n"));
    assert_int_equal(answer.status, 202);
    post_encoded("br", BYTES_LITERAL("{}\n"));
    assert_int_equal(answer.status, 422);
}

static void test_gzip_bomb(void **state)
{
    (void)state;
    size_t size = LIMIT_API_PUSH_BYTES + 1;
    uint8_t *zeros = mem_zalloc(1, size);
    uint8_t packed[64 * 1024];
    assert_non_null(zeros);
    memset(zeros, '\n', size);
    post_encoded("gzip",
                 bytes_from(packed, gzip_of(bytes_from(zeros, size), packed, sizeof(packed))));
    assert_int_equal(answer.status, 413);
    post_encoded("gzip",
                 bytes_from(packed, gzip_of(bytes_from(zeros, size - 1), packed, sizeof(packed))));
    assert_int_equal(answer.status, 202);
    mem_free(zeros);
}

/* A push that is not answered before the service stops. */
static void test_cancel(void **state)
{
    (void)state;
    struct waiter waiter = {0};
    struct api_request request;
    struct api_response response;
    mutex_init(&waiter.lock);
    condition_init(&waiter.changed);
    api_request_init(&request, "POST", "/api/ingest/push-never");
    api_response_init(&response);
    request.body = BYTES_LITERAL("{}");
    request.resume = on_resume;
    request.resume_ctx = &waiter;
    assert_int_equal(api_request_route(&request), ERR_OK);
    assert_false(api_dispatch(&services, &request, &response));
    assert_true(request.deferral.cancel(request.deferral.ctx));
    assert_false(request.deferral.cancel(request.deferral.ctx));
    answer_keep(&response);
    assert_int_equal(answer.status, 503);
    assert_non_null(strstr(answer.text, "same Idempotency-Key"));
    api_response_fini(&response);
    api_request_fini(&request); /* the push outlives it: answered in teardown */
    assert_false(waiter.resumed);
    condition_fini(&waiter.changed);
    mutex_fini(&waiter.lock);
}

static void test_no_memory(void **state)
{
    (void)state;
    static const char *const calls[][3] = {
        {"GET", "/api/data-sources", NULL},
        {"GET", "/api/data-sources/types", NULL},
        {"POST", "/api/data-sources", WISH("a", BROKER_B)},
        {"POST", "/api/data-sources", "{\"name\":3}"},
        {"PUT", "/api/data-sources/1", "{\"name\":\"b\"}"},
        {"GET", "/api/data-sources/1/health", NULL},
        {"GET", "/api/data-sources/status/overview", NULL},
        {"POST", "/api/data-sources/validate", WISH("a", "{}")},
        {"POST", "/api/data-sources/1/start", NULL},
        {"GET", "/api/data-sources/1/metrics?since=7", NULL},
        {"POST", "/api/ingest/push", "{}"},
        {"DELETE", "/api/data-sources/1", NULL},
    };
    call("POST", "/api/data-sources", WISH("a", BROKER_B));
    json_set_alloc_funcs(mem_alloc, mem_free);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        for (uint64_t k = 1;; k++) {
            struct api_request request;
            api_request_init(&request, calls[i][0], calls[i][1]);
            request.body = bytes_from_text(calls[i][2] ? calls[i][2] : "");
            mem_fail_at(k);
            call_request(&request);
            bool failed = mem_failed();
            mem_fail_at(0);
            api_request_fini(&request);
            assert_true(answer.status < 500 || (failed && answer.status == 503));
            if (!failed)
                break;
        }
    }
    json_set_alloc_funcs(malloc, free);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_life),      TEST(test_not_found), TEST(test_bodies),
        TEST(test_failures),  TEST(test_push),      TEST(test_gzip),
        TEST(test_gzip_bomb), TEST(test_cancel),    TEST(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
