/* Names of datasets: what topics become, and where over-long ones are cut. */
#include "base/buf.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "pipeline/ingest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those before */
#include <cmocka.h>

static void test_dataset_ids(void **state)
{
    (void)state;
    static const struct {
        const char *topic;
        uint32_t levels;
        const char *id;
    } cases[] = {
        {"a/b/c", 0, "s_a_b_c"}, {"a/b/c", 2, "s_a_b"},      {"a/b/c", 9, "s_a_b_c"},
        {"#", 0, "s_wildcard"},  {"a/+/c", 0, "s_a_plus_c"}, {"/a", 1, "s_"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out;
        buf_init(&out, 1000);
        assert_int_equal(ingest_dataset_id(BYTES_LITERAL("s"), bytes_from_text(cases[i].topic),
                                           cases[i].levels, &out),
                         ERR_OK);
        assert_string_equal(buf_cstr(&out), cases[i].id);
        buf_fini(&out);
    }
}

static void test_long_dataset_ids_stay_distinct(void **state)
{
    (void)state;
    char topic[2][300];
    struct buf id[2];
    for (int i = 0; i < 2; i++) {
        memset(topic[i], 'x', 299);
        topic[i][298] = (char)('a' + i);
        topic[i][299] = '\0';
        buf_init(&id[i], 1000);
        assert_int_equal(
            ingest_dataset_id(BYTES_LITERAL("s"), bytes_from_text(topic[i]), 0, &id[i]), ERR_OK);
        assert_int_equal(id[i].size, LIMIT_DATASET_ID_BYTES);
    }
    assert_false(bytes_equal(buf_bytes(&id[0]), buf_bytes(&id[1])));
    buf_fini(&id[0]);
    buf_fini(&id[1]);
}

/* Both cuts, the id's and the object key's, between characters; ASCII where it always was. */
static void test_long_dataset_ids_are_cut_between_characters(void **state)
{
    (void)state;
    static const char *const letters[] = {"x", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\x8d"};
    for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++) {
        for (size_t shift = 0; shift < 4; shift++) {
            struct buf topic;
            struct buf id;
            buf_init(&topic, 1000);
            buf_init(&id, 1000);
            buf_append(&topic, "aaaa", shift);
            while (topic.size < 300)
                buf_text(&topic, letters[i]);
            enum err err = ingest_dataset_id(BYTES_LITERAL("s"), buf_bytes(&topic), 0, &id);
            assert_int_equal(err, ERR_OK);
            assert_true(utf8_valid(buf_bytes(&id)));
            assert_in_range(id.size, LIMIT_DATASET_ID_BYTES - 3, LIMIT_DATASET_ID_BYTES);
            assert_memory_equal(id.data + 2, topic.data, id.size - 19);
            if (i == 0 && shift == 0)
                assert_string_equal(buf_cstr(&id) + 181, "xx_d952c7a60ed84cc9");
            buf_fini(&topic);
            buf_fini(&id);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dataset_ids),
        cmocka_unit_test(test_long_dataset_ids_stay_distinct),
        cmocka_unit_test(test_long_dataset_ids_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
