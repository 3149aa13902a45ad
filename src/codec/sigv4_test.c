/* Vectors: "Signature Version 4 test suite" (service "service") and the worked examples of the S3
 * API reference, "Authenticating Requests: Using the Authorization Header". */
#include "codec/sigv4.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "codec/sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SUITE_HOST                                                                                 \
    {"host", "example.amazonaws.com"},                                                             \
    {                                                                                              \
        "x-amz-date", "20150830T123600Z"                                                           \
    }
#define S3_HOST                                                                                    \
    {"host", "examplebucket.s3.amazonaws.com"},                                                    \
    {                                                                                              \
        "x-amz-date", "20130524T000000Z"                                                           \
    }

static const struct sigv4_credentials suite = {
    "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "service"};
static const struct sigv4_credentials s3 = {
    "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1", "s3"};

struct vector {
    const char *name;
    const struct sigv4_credentials *credentials;
    const char *date;
    struct sigv4_header headers[6];
    size_t header_count;
    const char *method;
    const char *path;
    const char *query;
    const char *payload_sha256;
    const char *signed_headers;
    const char *signature;
};

static const struct vector vectors[] = {
    {"get-vanilla",
     &suite,
     "20150830T123600Z",
     {SUITE_HOST},
     2,
     "GET",
     "/",
     "",
     SIGV4_EMPTY_SHA256,
     "host;x-amz-date",
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"get-vanilla-query-order-key-case",
     &suite,
     "20150830T123600Z",
     {SUITE_HOST},
     2,
     "GET",
     "/",
     "Param2=value2&Param1=value1",
     SIGV4_EMPTY_SHA256,
     "host;x-amz-date",
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
    {"get-unreserved",
     &suite,
     "20150830T123600Z",
     {SUITE_HOST},
     2,
     "GET",
     "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
     NULL,
     SIGV4_EMPTY_SHA256,
     "host;x-amz-date",
     "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
    {"post-vanilla",
     &suite,
     "20150830T123600Z",
     {SUITE_HOST},
     2,
     "POST",
     "/",
     NULL,
     SIGV4_EMPTY_SHA256,
     "host;x-amz-date",
     "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
    {"get-header-value-trim",
     &suite,
     "20150830T123600Z",
     {SUITE_HOST, {"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\" "}},
     4,
     "GET",
     "/",
     NULL,
     SIGV4_EMPTY_SHA256,
     "host;my-header1;my-header2;x-amz-date",
     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
    {"s3-get-object",
     &s3,
     "20130524T000000Z",
     {S3_HOST, {"Range", "bytes=0-9"}, {"x-amz-content-sha256", SIGV4_EMPTY_SHA256}},
     4,
     "GET",
     "/test.txt",
     NULL,
     SIGV4_EMPTY_SHA256,
     "host;range;x-amz-content-sha256;x-amz-date",
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"s3-put-object",
     &s3,
     "20130524T000000Z",
     {S3_HOST,
      {"Date", "Fri, 24 May 2013 00:00:00 GMT"},
      {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
      {"x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"}},
     5,
     "PUT",
     "/test%24file.text",
     NULL,
     "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
     "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"s3-get-lifecycle",
     &s3,
     "20130524T000000Z",
     {S3_HOST, {"x-amz-content-sha256", SIGV4_EMPTY_SHA256}},
     3,
     "GET",
     "/",
     "lifecycle",
     SIGV4_EMPTY_SHA256,
     "host;x-amz-content-sha256;x-amz-date",
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"s3-list-objects",
     &s3,
     "20130524T000000Z",
     {S3_HOST, {"x-amz-content-sha256", SIGV4_EMPTY_SHA256}},
     3,
     "GET",
     "/",
     "prefix=J&max-keys=2",
     SIGV4_EMPTY_SHA256,
     "host;x-amz-content-sha256;x-amz-date",
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

static enum err sign_vector(const struct vector *vector, struct buf *ret_authorization)
{
    struct sigv4_request request = {vector->method,  vector->path,         vector->query,
                                    vector->headers, vector->header_count, vector->payload_sha256};
    return sigv4_authorization(vector->credentials, &request, vector->date, ret_authorization);
}

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const struct vector *vector = &vectors[i];
        struct buf authorization;
        char expected[1024];
        buf_init(&authorization, KIB);
        assert_int_equal(sign_vector(vector, &authorization), ERR_OK);
        snprintf(expected, sizeof(expected),
                 "AWS4-HMAC-SHA256 Credential=%s/%.8s/us-east-1/%s/aws4_request, "
                 "SignedHeaders=%s, Signature=%s",
                 vector->credentials->access_key, vector->date, vector->credentials->service,
                 vector->signed_headers, vector->signature);
        print_message("%s\n", vector->name);
        assert_string_equal(buf_cstr(&authorization), expected);
        buf_fini(&authorization);
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct buf authorization;
        buf_init(&authorization, KIB);
        mem_fail_at(k);
        enum err err = sign_vector(&vectors[6], &authorization);
        int failed = mem_failed();
        mem_fail_at(0);
        buf_fini(&authorization);
        if (!failed) {
            assert_int_equal(err, ERR_OK);
            break;
        }
        assert_int_equal(err, ERR_NO_MEMORY);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    struct sigv4_header headers[SIGV4_HEADERS_MAX + 1];
    for (size_t i = 0; i <= SIGV4_HEADERS_MAX; i++)
        headers[i] = (struct sigv4_header){"x-amz-meta-a", "b"};
    struct sigv4_request request = {"GET", "/", NULL, headers, SIGV4_HEADERS_MAX + 1, "x"};
    struct buf out;
    buf_init(&out, 4 * KIB);
    assert_int_equal(sigv4_authorization(&s3, &request, "20130524T000000Z", &out), ERR_TOO_LARGE);
    request.header_count = 1;
    headers[0].value = "a\r\nx-evil: 1";
    assert_int_equal(sigv4_authorization(&s3, &request, "20130524T000000Z", &out), ERR_INVALID);
    headers[0].value = "a";
    assert_int_equal(sigv4_authorization(&s3, &request, "20130524", &out), ERR_INVALID);
    buf_fini(&out);
}

static void check_encoded(const char *key, const char *expected)
{
    struct buf encoded;
    buf_init(&encoded, KIB);
    assert_int_equal(sigv4_encode_path(bytes_from_text(key), &encoded), ERR_OK);
    assert_string_equal(buf_cstr(&encoded), expected);
    buf_fini(&encoded);
}

static void test_encode(void **state)
{
    (void)state;
    check_encoded("bronze/ingestion_id=a%20b/date=2026-01-02/hour=03/part-x.parquet",
                  "bronze/ingestion_id%3Da%2520b/date%3D2026-01-02/hour%3D03/part-x.parquet");
    check_encoded("a b+c&d?e#f~_", "a%20b%2Bc%26d%3Fe%23f~_");
    check_encoded("\xc3\xa9", "%C3%A9");
    struct buf encoded;
    buf_init(&encoded, KIB);
    assert_int_equal(sigv4_encode_query(BYTES_LITERAL("a/b=c"), &encoded), ERR_OK);
    assert_string_equal(buf_cstr(&encoded), "a%2Fb%3Dc");
    buf_fini(&encoded);
}

static void test_date(void **state)
{
    (void)state;
    char date[SIGV4_DATE_SIZE];
    sigv4_date(1369353600, date);
    assert_string_equal(date, "20130524T000000Z");
    sigv4_date(-1, date);
    assert_string_equal(date, "19700101T000000Z");
    sigv4_date(INT64_MAX, date);
    assert_string_equal(date, "19700101T000000Z");
}

static void test_sha256(void **state)
{
    (void)state;
    uint8_t digest[SHA256_BYTES];
    uint8_t back[SHA256_BYTES];
    char hex[SHA256_HEX_SIZE];
    struct sha256 sha;
    assert_int_equal(sha256_init(&sha), ERR_OK);
    sha256_update(&sha, "Welcome to ", 11);
    sha256_update(&sha, "Amazon S3.", 10);
    assert_int_equal(sha256_final(&sha, digest), ERR_OK);
    sha256_fini(&sha);
    hex_encode(digest, sizeof(digest), hex);
    assert_string_equal(hex, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
    assert_true(hex_decode(hex, back, sizeof(back)));
    assert_memory_equal(back, digest, sizeof(back));
    assert_false(hex_decode("abc", back, 2));
    assert_false(hex_decode("zz", back, 1));
    assert_false(hex_decode("aabb", back, 1));
    assert_int_equal(sha256_of((struct bytes){0}, digest), ERR_OK);
    hex_encode(digest, sizeof(digest), hex);
    assert_string_equal(hex, SIGV4_EMPTY_SHA256);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_refuses), cmocka_unit_test(test_encode),
        cmocka_unit_test(test_date),    cmocka_unit_test(test_sha256),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
