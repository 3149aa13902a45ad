#include "lake/row.h"

#include "base/alloc.h"
#include "lake/object_key.h"
#include "support/batch_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static enum err on_row(void *ctx, struct bytes json)
{
    buf_append(ctx, json.data, json.size);
    return buf_byte(ctx, '\n');
}

static enum err render(struct buf *out, const char *payload)
{
    struct rig rig;
    rig_init(&rig);
    struct buf extras;
    buf_init(&extras, 4096);
    struct message_field retain = {.index = 2, .type = FIELD_BOOLEAN, .number = 1};
    enum err err = message_field_append(&extras, &retain);
    struct message_view message = {.payload = bytes_from_text(payload),
                                   .extras = buf_bytes(&extras),
                                   .arrival_us = RIG_ARRIVAL_US};
    if (err == ERR_OK)
        err = row_render(&rig.route, &message, on_row, out);
    buf_fini(&extras);
    fake_catalog_fini(&rig.catalog);
    return err;
}

#define OURS(time)                                                                                 \
    "\"ingestion_id\":\"plant_line1\",\"timestamp\":\"" time "\",\"source_type\":\"mqtt\","        \
    "\"ingestion_timestamp\":\"2026-03-04T05:06:07+00:00\",\"topic\":\"line/1\",\"qos\":1,"        \
    "\"retain\":true}\n"

static void check_rows(const char *payload, const char *expected)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    assert_int_equal(render(&out, payload), ERR_OK);
    assert_string_equal(buf_cstr(&out), expected);
    buf_fini(&out);
}

static void test_rows(void **state)
{
    (void)state;
    check_rows("{ \"b\": NaN, \"a\": [1, -Infinity], \"b\": 2}",
               "{\"a\":[1,null],\"b\":2," OURS("2026-03-04T05:06:07+00:00"));
    check_rows("[1,{}]", "{\"value\":1," OURS("2026-03-04T05:06:07+00:00") "{" OURS(
                             "2026-03-04T05:06:07+00:00"));
    check_rows("no json",
               "{\"content\":\"no json\",\"raw\":true," OURS("2026-03-04T05:06:07+00:00"));
    check_rows("[]", "");
}

static void test_names_of_both(void **state)
{
    (void)state;
    check_rows("{\"t\\u006fpic\":1,\"_event_time\":2,\"v\":3,"
               "\"timestamp\":\"2026-03-04T05:00:00Z\",\"ingestion_id\":null}",
               "{\"topic\":\"line/1\",\"v\":3,\"timestamp\":\"2026-03-04T05:00:00+00:00\","
               "\"ingestion_id\":\"plant_line1\",\"source_type\":\"mqtt\","
               "\"ingestion_timestamp\":\"2026-03-04T05:06:07+00:00\",\"qos\":1,"
               "\"retain\":true}\n");
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct buf out;
        buf_init(&out, 1 << 16);
        mem_fail_at(k);
        enum err err = render(&out, "[{\"a\":1,\"a\":{\"b\":2}},{\"\\u0071os\":3}]");
        bool failed = mem_failed();
        mem_fail_at(0);
        buf_fini(&out);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        if (!failed)
            break;
    }
}

static void check_id(struct bytes id, const char *expected)
{
    struct buf out;
    buf_init(&out, 1024);
    assert_int_equal(object_key_encode_id(&out, id), ERR_OK);
    assert_string_equal(buf_cstr(&out), expected);
    buf_fini(&out);
}

static void test_ids(void **state)
{
    (void)state;
    check_id(bytes_from_text("plant_A.1-x"), "plant_A.1-x");
    check_id(bytes_from_text("a=b/c d%"), "a%3Db%2Fc%20d%25");
    check_id(bytes_from_text("."), "%2E");
    check_id(bytes_from_text(".."), "%2E%2E");
    check_id(bytes_from_text("..."), "...");
    check_id(bytes_from("\xc3\xa9\x00", 3), "%C3%A9%00");
    uint8_t id[200];
    memset(id, '/', sizeof(id));
    struct buf a;
    struct buf b;
    buf_init(&a, 1024);
    buf_init(&b, 1024);
    assert_int_equal(object_key_encode_id(&a, bytes_from(id, 200)), ERR_OK);
    assert_int_equal(object_key_encode_id(&b, bytes_from(id, 199)), ERR_OK);
    assert_true(a.size <= OBJECT_KEY_ID_BYTES && b.size <= OBJECT_KEY_ID_BYTES);
    assert_false(bytes_equal(buf_bytes(&a), buf_bytes(&b)));
    buf_fini(&a);
    buf_fini(&b);
}

/* What engines decode from the path must be text, wherever the cut falls. */
static void test_long_ids_are_cut_between_characters(void **state)
{
    (void)state;
    static const char *const letters[] = {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\x8d"};
    for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++) {
        for (size_t shift = 0; shift < 12; shift++) {
            struct buf id;
            struct buf key;
            buf_init(&id, 1024);
            buf_init(&key, 1024);
            buf_append(&id, "aaaaaaaaaaaa", shift);
            while (id.size < 180)
                buf_text(&id, letters[i]);
            assert_int_equal(object_key_encode_id(&key, buf_bytes(&id)), ERR_OK);
            size_t cut = key.size - 17;
            assert_in_range(key.size, OBJECT_KEY_ID_BYTES - 11, OBJECT_KEY_ID_BYTES);
            assert_int_equal(key.data[cut], '-');
            assert_int_equal((cut - shift) % (3 * strlen(letters[i])), 0);
            buf_fini(&id);
            buf_fini(&key);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows),
                                       cmocka_unit_test(test_names_of_both),
                                       cmocka_unit_test(test_no_memory), cmocka_unit_test(test_ids),
                                       cmocka_unit_test(test_long_ids_are_cut_between_characters)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
