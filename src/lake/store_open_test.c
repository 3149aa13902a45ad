#include "lake/store_open.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct store_options base_options(void)
{
    return (struct store_options){
        .access_key = "minio", .secret_key = "minio123", .fs = &fs_posix, .clock = &clock_system};
}

static void opens(const struct store_options *options, const char *description)
{
    struct store *store = NULL;
    struct diag diag = {0};
    assert_int_equal(store_open(options, &store, &diag), ERR_OK);
    assert_string_equal(store->description, description);
    assert_null(strstr(store->description, "minio123"));
    store->ops->close(store);
}

static void refuses(const struct store_options *options, const char *word)
{
    struct store *store = NULL;
    struct diag diag = {0};
    assert_int_equal(store_open(options, &store, &diag), ERR_INVALID);
    if (!strstr(diag.text, word))
        fail_msg("'%s' does not say '%s'", diag.text, word);
    assert_null(strstr(diag.text, "hunter2"));
}

static void test_urls(void **state)
{
    (void)state;
    struct store_options options = base_options();
    opens(&options, "folder ./data/lake");
    options.url = "file://./data/lake/";
    opens(&options, "folder ./data/lake");
    options.url = "file:///var/lake";
    opens(&options, "folder /var/lake");
    options.url = "";
    options.endpoint = "minio:9000";
    opens(&options, "s3://lake at http://minio:9000");
    options.bucket = "other";
    opens(&options, "s3://other at http://minio:9000");
    options.endpoint = "HTTPS://store.example/";
    opens(&options, "s3://other at https://store.example");
    options.url = "s3://bucket-1";
    options.endpoint = "http://[::1]:9000";
    opens(&options, "s3://bucket-1 at http://[::1]:9000");
    options.endpoint = NULL;
    options.region = "eu-central-1";
    opens(&options, "s3://bucket-1 at https://s3.eu-central-1.amazonaws.com");
}

static void test_refuses(void **state)
{
    (void)state;
    static const char *const urls[] = {"ftp://x", "s3://",    "s3://a/b", "s3://UP?",
                                       "file://", "s3://..a", "lake"};
    static const char *const endpoints[] = {"ftp://h", "http://u:hunter2@h", "http://", "h/path",
                                            "h:1?x=1"};
    struct store_options options = base_options();
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        options.url = urls[i];
        refuses(&options, "");
    }
    options.url = NULL;
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
        options.endpoint = endpoints[i];
        refuses(&options, "endpoint");
    }
    options.endpoint = "h";
    options.region = "eu west/1";
    refuses(&options, "AWS_REGION");
    options.region = NULL;
    options.secret_key = NULL;
    refuses(&options, "secret key");
}

static void test_no_memory(void **state)
{
    (void)state;
    struct store_options options = base_options();
    options.endpoint = "h:9000";
    options.ca_file = "/etc/ca.pem";
    for (uint64_t k = 1;; k++) {
        struct store *store = NULL;
        mem_fail_at(k);
        enum err err = store_open(&options, &store, NULL);
        int failed = mem_failed();
        mem_fail_at(0);
        if (store)
            store->ops->close(store);
        if (!failed) {
            assert_int_equal(err, ERR_OK);
            return;
        }
        assert_int_equal(err, ERR_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
