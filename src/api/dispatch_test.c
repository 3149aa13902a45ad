#include "api/cors.h"
#include "api/dispatch.h"
#include "base/alloc.h"
#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* after the above, as cmocka wants */
#include <cmocka.h>

static struct recent *recent;
static struct metrics *metrics;
static struct api_services services;
static enum api_status status;

static void on_health(void *ctx, struct api_health *health)
{
    (void)ctx;
    health->status = status;
    snprintf(health->object_store, sizeof(health->object_store), "unhealthy: \"why\"");
    health->accounting = json_pack("{s:i}", "s1", 3);
}

static void on_ready(void *ctx, struct api_ready *ret_ready)
{
    (void)ctx;
    ret_ready->ready = status != API_UNHEALTHY;
    ret_ready->checks[ret_ready->check_count++] = (struct api_check){"minio", false};
}

static bool on_live(void *ctx)
{
    (void)ctx;
    return status != API_UNHEALTHY;
}

static uint64_t last_number; /* of the blocks */

static void add_messages(const char *dataset, const char *topic, const char *const *payloads)
{
    struct block *block;
    struct buf record;
    uint32_t index;
    const struct route_view route = {
        .source_id = BYTES_LITERAL("src"),
        .dataset_id = bytes_from_text(dataset),
        .source_type = BYTES_LITERAL("mqtt"),
        .sensor_id_field = bytes_from_text(strcmp(dataset, "a") == 0 ? "v" : ""),
        .field_count = 1,
        .fields = {{.name = BYTES_LITERAL("topic"),
                    .type = FIELD_STRING,
                    .constant = bytes_from_text(topic)}},
    };
    buf_init(&record, MIB);
    assert_int_equal(route_encode(&route, &record), ERR_OK);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    block->number = ++last_number;
    assert_int_equal(block_add_route(block, buf_bytes(&record), 0, &index), ERR_OK);
    for (; *payloads; payloads++) {
        const struct message_view message = {.payload = bytes_from_text(*payloads),
                                             .route_index = index};
        assert_int_equal(block_add_message(block, &message), ERR_OK);
    }
    recent_add(recent, block, index);
    block_unref(block);
    buf_fini(&record);
}

static int setup(void **state)
{
    (void)state;
    static const char *const b[] = {"{\"sensor_id\":1,\"v\":1}", "{\"sensorId\":\"x\",\"v\":2}",
                                    "[{\"v\":3},{\"v\":4}]", NULL};
    static const char *const a[] = {"{\"v\":9}", NULL};
    static const char *const none[] = {"[]", NULL};
    assert_int_equal(recent_new(100, 0, &clock_system, &recent), ERR_OK);
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    struct gauge *gauge;
    assert_int_equal(metrics_gauge(metrics, "g", "G", METRIC_NO_LABELS, &gauge), ERR_OK);
    add_messages("b", "t/b", b);
    add_messages("a", "t/a", a);
    add_messages("c", "t/c", none);
    services = (struct api_services){.version = "1.0",
                                     .recent = recent,
                                     .metrics = metrics,
                                     .health = on_health,
                                     .ready = on_ready,
                                     .live = on_live};
    status = API_HEALTHY;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    recent_free(recent);
    metrics_free(metrics);
    return 0;
}

struct answer {
    unsigned status;
    char text[131072];
    char allow[64];
    char location[256];
};

static struct answer answer;

/* The whole of it, streamed pieces too. False: memory ran out in the middle. */
static bool call_request(struct api_request *request)
{
    struct api_response response;
    bool whole = true;
    bool done = false;
    api_response_init(&response);
    if (api_request_route(request) == ERR_OK)
        api_dispatch(&services, request, &response);
    else
        api_dispatch_no_memory(&response);
    while (response.next && !done && whole)
        whole = response.next(response.stream, &response.body, &done) == ERR_OK;
    answer.status = response.status;
    assert_true(response.body.size < sizeof(answer.text));
    memcpy(answer.text, response.body.size > 0 ? (const char *)response.body.data : "",
           response.body.size);
    answer.text[response.body.size] = '\0';
    snprintf(answer.allow, sizeof(answer.allow), "%s", response.allow);
    snprintf(answer.location, sizeof(answer.location), "%s",
             response.location ? response.location : "");
    api_response_fini(&response);
    return whole;
}

static bool call(const char *method, const char *target, const char *type, struct bytes body)
{
    struct api_request request;
    api_request_init(&request, method, target);
    request.content_type = type;
    request.body = body;
    bool whole = call_request(&request);
    api_request_fini(&request);
    return whole;
}

static void expect_get(const char *target, unsigned expected_status, const char *part)
{
    assert_true(call("GET", target, NULL, (struct bytes){0}));
    if (answer.status != expected_status || !strstr(answer.text, part))
        fail_msg("%s: %u %s", target, answer.status, answer.text);
}

static void expect_post(const char *type, struct bytes body, unsigned expected_status,
                        const char *part)
{
    assert_true(call("POST", "/api/buffer/size", type, body));
    if (answer.status != expected_status || !strstr(answer.text, part))
        fail_msg("%.*s: %u %s", (int)body.size, (const char *)body.data, answer.status,
                 answer.text);
}

static void test_routes(void **state)
{
    (void)state;
    expect_get("/", 200, "\"endpoints\":{");
    assert_non_null(strstr(answer.text, "\"data_sources\":\"/api/data-sources\""));
    expect_get("/api/health", 200,
               "{\"status\":\"healthy\",\"components\":{\"data_sources\":"
               "\"healthy\",\"minio\":\"unhealthy: \\\"why\\\"\"");
    expect_get("/api/health", 200, "\"buffered_messages\":5,");
    expect_get("/api/health", 200, "\"accounting\":{\"s1\":3}}}");
    expect_get("/api/ready", 200, "{\"ready\":true,\"checks\":{\"minio\":false}}");
    expect_get("/api/live", 200, "{\"live\":true}");
    expect_get("/api/metrics", 200, "g 0.0\n");
    expect_get("/metrics", 200, "g 0.0\n");
    expect_get("/openapi.json", 200, "\"/api/data/{ingestion_id}\"");
    json_t *document = json_loads(answer.text, 0, NULL);
    assert_non_null(document);
    json_decref(document);
    status = API_DEGRADED;
    expect_get("/api/health", 200, "\"degraded\"");
    status = API_UNHEALTHY;
    expect_get("/api/health", 503, "\"unhealthy\"");
    expect_get("/api/ready", 503, "\"ready\":false");
    expect_get("/api/live", 503, "\"live\":false");
}

static void test_data(void **state)
{
    (void)state;
    expect_get("/api/partitions", 200,
               "{\"status\":\"success\",\"data\":[\"a\",\"b\",\"c\"],\"message\":\"Retrieved 3 "
               "partitions\",\"error\":null,\"total\":3,\"page\":null,\"page_size\":null}");
    expect_get("/api/data", 200, "\"total\":5,");
    expect_get("/api/data?limit_per_partition=1", 200, "\"total\":2,");
    expect_get("/api/data/b", 200, "\"total\":4,");
    expect_get("/api/data/b?limit=3", 200, "\"data\":[{\"sensorId\":\"x\",");
    assert_non_null(strstr(answer.text, "\"total\":3,"));
    /* The newest message has two rows: only its second is among the newest one. */
    expect_get("/api/data/b?limit=1", 200, "\"data\":[{\"v\":4");
    expect_get("/api/data/nobody", 200, "\"data\":[],");
    expect_get("/api/data/%00%ff", 200, "\"data\":[],");
    expect_get("/api/partitions", 200, "\"total\":3,"); /* nothing was created */
    expect_get("/api/diagnostics/topic-analysis", 200,
               "\"data\":{\"total_partitions\":3,\"partitions\":{\"a\":{\"message_count\":1,"
               "\"topics_seen\":[\"t/a\"],\"sensor_ids_seen\":[9],");
    assert_non_null(strstr(answer.text, "\"sensor_ids_seen\":[1,\"x\"]"));
    assert_non_null(strstr(answer.text, "\"c\":{\"message_count\":0,\"topics_seen\":[],"
                                        "\"sensor_ids_seen\":[],\"sample_recent_messages\":[],"
                                        "\"status\":\"empty_buffer\"}"));
    assert_non_null(strstr(answer.text, "\"topic_to_ingestion_id_mapping\":{\"t/a\":[\"a\"],"
                                        "\"t/b\":[\"b\"]}"));
    assert_non_null(strstr(answer.text, "\"sensor_types_by_partition\":{}"));
    json_t *document = json_loads(answer.text, 0, NULL);
    assert_non_null(document);
    json_decref(document);
}

static void test_limits(void **state)
{
    (void)state;
    expect_get("/api/data?limit_per_partition=x", 422,
               "\"detail\":[{\"type\":\"int_parsing\",\"loc\":[\"query\",\"limit_per_partition\"],"
               "\"msg\":\"Input should be a valid integer, unable to parse string as an integer\","
               "\"input\":\"x\"}]}");
    expect_get("/api/data/b?limit=", 422, "int_parsing");
    expect_get("/api/data/b?limit=-1", 422, "greater_than_equal");
    expect_get("/api/data/b?limit=99999999999999999999", 200, "\"total\":4,");
    expect_get("/api/data/b?limit=0&unknown=1", 200, "\"total\":4,");
}

static void test_paths(void **state)
{
    (void)state;
    expect_get("/nope", 404,
               "{\"status\":\"error\",\"data\":null,\"message\":null,\"error\":\"Not Found\","
               "\"detail\":\"Not Found\"}");
    expect_get("/api/data/a/b", 404, "Not Found");
    expect_get("/api/data/a%2Fb", 404, "Not Found");
    expect_get("//api/health", 404, "Not Found");
    expect_get("/api/../api/health", 404, "Not Found");
    expect_get("", 404, "Not Found");
    expect_get("*", 404, "Not Found");
    expect_get("/api/data//", 307, "");
    assert_string_equal(answer.location, "/api/data");
    expect_get("/api/data/b/?limit=1%20", 307, "");
    assert_string_equal(answer.location, "/api/data/b?limit=1%20");
    expect_get("/api/data/%C3%A9%0d%0a/", 307, "");
    assert_string_equal(answer.location, "/api/data/%C3%A9%0D%0A");
    expect_get("/nope/", 404, "Not Found");
    expect_get("/%61pi/health", 200, "healthy");
    expect_get("http://host:1/api/live", 200, "live");
    expect_get("/api/live#x", 200, "live");
    assert_true(call("DELETE", "/api/data", NULL, (struct bytes){0}));
    assert_int_equal(answer.status, 405);
    assert_string_equal(answer.allow, "GET, HEAD");
    assert_non_null(strstr(answer.text, "\"error\":\"Method Not Allowed\""));
    assert_true(call("GET", "/api/buffer/size", NULL, (struct bytes){0}));
    assert_string_equal(answer.allow, "POST");
    assert_true(call("HEAD", "/api/live", NULL, (struct bytes){0}));
    assert_int_equal(answer.status, 200);
}

static void test_buffer_size(void **state)
{
    (void)state;
    static const char json[] = "application/json";
    expect_post(json, BYTES_LITERAL("{\"max_rows\":7}"), 200,
                "{\"status\":\"success\",\"data\":{\"max_rows\":7},\"message\":null,"
                "\"error\":null}");
    expect_post(NULL, BYTES_LITERAL("{}"), 200, "{\"max_rows\":100}");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":0}"), 200, "{\"max_rows\":1}");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":-5}"), 200, "{\"max_rows\":1}");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":-1e300}"), 200, "{\"max_rows\":1}");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":2.9}"), 200, "{\"max_rows\":2}");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":\" 12 \"}"), 200, "{\"max_rows\":12}");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":1,\"max_rows\":2}"), 200, "{\"max_rows\":2}");
    expect_post("Application/JSON ; charset=utf-8", BYTES_LITERAL("{\"max_rows\":3}"), 200, ":3}");
    expect_post("application/vnd.x+json", BYTES_LITERAL("\xef\xbb\xbf{\"max_rows\":3}"), 200,
                ":3}");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":\"1.0\"}"), 400, "max_rows must be");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":\"x\"}"), 400, "max_rows must be");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":\"\"}"), 400, "max_rows must be");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":true}"), 400, "max_rows must be");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":null}"), 400, "max_rows must be");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":[1]}"), 400, "max_rows must be");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":1e300}"), 400, "at most");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":4294967296}"), 400, "at most");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":\"99999999999999999999\"}"), 400, "at most");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":99999999999999999999}"), 422, "json_invalid");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":1e999}"), 422, "json_invalid");
}

static void test_bodies(void **state)
{
    (void)state;
    static const char json[] = "application/json";
    static const char dict[] = "\"detail\":[{\"type\":\"dict_type\",\"loc\":[\"body\"],"
                               "\"msg\":\"Input should be a valid dictionary\"}]";
    expect_post(
        json, BYTES_LITERAL(""), 422,
        "\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\"],\"msg\":\"Field required\"}]");
    expect_post(json, BYTES_LITERAL("null"), 422, dict);
    expect_post(json, BYTES_LITERAL("[]"), 422, dict);
    expect_post(json, BYTES_LITERAL("3"), 422, dict);
    expect_post("text/plain", BYTES_LITERAL("{}"), 422, dict);
    expect_post("application/x-www-form-urlencoded", BYTES_LITERAL("{}"), 422, dict);
    expect_post("application/jsonx", BYTES_LITERAL("{}"), 422, dict);
    expect_post("application/+json", BYTES_LITERAL("{}"), 422, dict);
    expect_post(json, BYTES_LITERAL("{\"max_rows\": 5"), 422,
                "\"detail\":[{\"type\":\"json_invalid\",\"loc\":[\"body\",14],"
                "\"msg\":\"JSON decode error\"}]");
    expect_post(json, BYTES_LITERAL("{\"max_rows\":NaN}"), 422, "json_invalid");
    expect_post(json, BYTES_LITERAL("{\"a\":\"\xff\"}"), 400,
                "There was an error parsing the body");
    expect_post(json, BYTES_LITERAL("{\"a\":\"\0\"}"), 422, "json_invalid");
    expect_post(json, BYTES_LITERAL("{\"a\":\"\\u0000\"}"), 200, ":100}");
    expect_post(json, BYTES_LITERAL("{\"\\u0000\":1}"), 422, "json_invalid");
    expect_post(json, BYTES_LITERAL("{\"a\":\"\\ud800\"}"), 422, "json_invalid");
    char deep[4000];
    memset(deep, '[', sizeof(deep));
    expect_post(json, bytes_from(deep, sizeof(deep)), 400, "nested deeper than");
}

static void test_request_id(void **state)
{
    (void)state;
    struct api_request request;
    char longest[130];
    api_request_init(&request, "GET", "/");
    api_request_set_id(&request, "a b~!");
    assert_string_equal(request.id, "a b~!");
    memset(longest, 'x', sizeof(longest));
    longest[128] = '\0';
    api_request_set_id(&request, longest);
    assert_string_equal(request.id, longest);
    static const char *const bad[] = {NULL, "", "a\tb", "\xc3\xa9", "a\x7f"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        api_request_set_id(&request, bad[i]);
        assert_int_equal(strlen(request.id), 36);
        assert_int_equal(request.id[14], '4');
        assert_non_null(strchr("89ab", request.id[19]));
    }
    longest[128] = 'x';
    longest[129] = '\0';
    api_request_set_id(&request, longest);
    assert_int_equal(strlen(request.id), 36);
    api_request_fini(&request);
}

static void test_cors(void **state)
{
    (void)state;
    struct cors cors;
    assert_int_equal(cors_init(&cors, "https://a.example, http://b:3000"), ERR_OK);
    assert_string_equal(cors_allow_origin(&cors, "http://b:3000"), "http://b:3000");
    assert_string_equal(cors_allow_origin(&cors, "https://a.example"), "https://a.example");
    assert_null(cors_allow_origin(&cors, "https://a.exampl"));
    assert_null(cors_allow_origin(&cors, "https://a.example.evil"));
    assert_null(cors_allow_origin(&cors, ""));
    assert_null(cors_allow_origin(&cors, NULL));
    assert_null(cors_allow_origin(&cors, "*"));
    cors_fini(&cors);
    assert_int_equal(cors_init(&cors, "*"), ERR_OK);
    assert_string_equal(cors_allow_origin(&cors, "x"), "*");
    cors_fini(&cors);
    assert_int_equal(cors_init(&cors, ""), ERR_OK);
    assert_null(cors_allow_origin(&cors, "x"));
    cors_fini(&cors);
    assert_true(cors_headers_valid("X-A, content-type"));
    assert_false(cors_headers_valid("a:b"));
}

/* Whatever allocation fails: an answer that is whole JSON or none, a status that says so. */
static void test_no_memory(void **state)
{
    (void)state;
    static const char *const targets[] = {"/",
                                          "/api/health",
                                          "/api/metrics",
                                          "/openapi.json",
                                          "/api/partitions",
                                          "/api/data",
                                          "/api/data/b?limit=2",
                                          "/api/data?limit_per_partition=x",
                                          "/api/data/",
                                          "/nope",
                                          "/api/diagnostics/topic-analysis",
                                          "POST"};
    json_set_alloc_funcs(mem_alloc, mem_free);
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        bool post = strcmp(targets[i], "POST") == 0;
        for (uint64_t k = 1;; k++) {
            mem_fail_at(k);
            bool whole = post ? call("POST", "/api/buffer/size", NULL,
                                     BYTES_LITERAL("{\"max_rows\":\"8\",\"b\":[1,{}]}"))
                              : call("GET", targets[i], NULL, (struct bytes){0});
            bool failed = mem_failed();
            mem_fail_at(0);
            assert_true(answer.status < 500 || (failed && answer.status == 503));
            if (whole && answer.text[0] == '{') {
                json_t *json = json_loads(answer.text, 0, NULL);
                if (!json)
                    fail_msg("%s, %llu: %s", targets[i], (unsigned long long)k,
                             answer.text +
                                 (strlen(answer.text) > 700 ? strlen(answer.text) - 700 : 0));
                json_decref(json);
            }
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
        TEST(test_routes),     TEST(test_data),        TEST(test_limits),
        TEST(test_paths),      TEST(test_buffer_size), TEST(test_bodies),
        TEST(test_request_id), TEST(test_cors),        TEST(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
