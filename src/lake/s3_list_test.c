#include "lake/s3_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static enum err on_entry(void *ctx, const struct store_entry *entry)
{
    return buf_printf(ctx, "%.*s%s %llu %lld;", (int)entry->name.size,
                      (const char *)entry->name.data, entry->is_folder ? "/" : "",
                      (unsigned long long)entry->size_bytes, (long long)entry->modified_us);
}

static enum err page(const char *xml, const char *prefix, const char *expected,
                     const char *expected_token)
{
    struct buf text;
    struct buf token;
    size_t count = 0;
    buf_init(&text, 4096);
    buf_init(&token, 4096);
    enum err err = s3_list_page(bytes_from_text(xml), prefix, on_entry, &text, &count, &token);
    if (err == ERR_OK) {
        assert_string_equal(buf_cstr(&text), expected);
        assert_string_equal(buf_cstr(&token), expected_token);
    }
    buf_fini(&text);
    buf_fini(&token);
    return err;
}

static void test_entries(void **state)
{
    (void)state;
    assert_int_equal(
        page("<ListBucketResult><Prefix>p/</Prefix><IsTruncated>false</IsTruncated>"
             "<Contents><Key>p/</Key><Size>0</Size></Contents>"
             "<Contents><Key>p/a&amp;b.parquet</Key><LastModified>1970-01-01T00:00:01.000Z"
             "</LastModified><Size>77</Size></Contents>"
             "<CommonPrefixes><Prefix>p/date=2026-01-01/</Prefix></CommonPrefixes>"
             "</ListBucketResult>",
             "p/", "a&b.parquet 77 1000000;date=2026-01-01/ 0 0;", ""),
        ERR_OK);
}

static void test_url_encoding(void **state)
{
    (void)state;
    assert_int_equal(page("<ListBucketResult><EncodingType>url</EncodingType>"
                          "<Contents><Key>p%2520/a+%C3%A9%</Key><Size>1</Size></Contents>"
                          "<IsTruncated>true</IsTruncated>"
                          "<NextContinuationToken>1/x==</NextContinuationToken>"
                          "</ListBucketResult>",
                          "p%20/", "a \xc3\xa9% 1 0;", "1/x=="),
                     ERR_OK);
}

static void test_nonsense(void **state)
{
    (void)state;
    assert_int_equal(page("", "p/", "", ""), ERR_PROTOCOL);
    assert_int_equal(page("<html>", "p/", "", ""), ERR_PROTOCOL);
    assert_int_equal(page("<ListBucketResult><Contents></Contents>", "p/", "", ""), ERR_PROTOCOL);
    assert_int_equal(page("<ListBucketResult><Contents><Key>q/a</Key></Contents>", "p/", "", ""),
                     ERR_PROTOCOL);
    assert_int_equal(page("<ListBucketResult><IsTruncated>true</IsTruncated>", "p/", "", ""),
                     ERR_PROTOCOL);
    assert_int_equal(page("<ListBucketResult><Contents><Key>p/a", "p/", "", ""), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_url_encoding),
        cmocka_unit_test(test_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
