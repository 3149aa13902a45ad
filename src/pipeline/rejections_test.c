#include "pipeline/rejections.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* cmocka wants those four first */
#include <cmocka.h>

static void test_counts_by_topic_and_shows_the_last(void **state)
{
    struct rejections *rejections;
    struct ingest_rejection found;
    (void)state;
    assert_int_equal(rejections_new(&rejections), ERR_OK);
    assert_false(rejections_get(rejections, BYTES_LITERAL("t"), &found));
    rejections_add(rejections, BYTES_LITERAL("t"),
                   &(struct ingest_rejection){2, 10, "invalid_json", "a"});
    rejections_add(rejections, BYTES_LITERAL("u"),
                   &(struct ingest_rejection){1, 11, "invalid_csv", "b"});
    rejections_add(rejections, BYTES_LITERAL("t"),
                   &(struct ingest_rejection){3, 12, "invalid_cbor", "c"});
    assert_true(rejections_get(rejections, BYTES_LITERAL("t"), &found));
    assert_int_equal(found.messages, 5);
    assert_int_equal(found.arrival_us, 12);
    assert_string_equal(found.reason, "invalid_cbor");
    assert_string_equal(found.detail, "c");
    assert_true(rejections_get(rejections, BYTES_LITERAL("u"), &found));
    assert_int_equal(found.messages, 1);
    rejections_free(rejections);
    rejections_free(NULL);
}

static void test_topics_are_bounded_and_the_known_go_on(void **state)
{
    struct rejections *rejections;
    struct ingest_rejection found;
    char topic[16];
    (void)state;
    assert_int_equal(rejections_new(&rejections), ERR_OK);
    for (int i = 0; i <= REJECTIONS_TOPICS_MAX; i++) {
        snprintf(topic, sizeof(topic), "%d", i);
        rejections_add(rejections, bytes_from_text(topic),
                       &(struct ingest_rejection){1, i, "r", "d"});
    }
    assert_false(rejections_get(rejections, bytes_from_text(topic), &found));
    rejections_add(rejections, BYTES_LITERAL("0"), &(struct ingest_rejection){1, 1, "r", "d"});
    assert_true(rejections_get(rejections, BYTES_LITERAL("0"), &found));
    assert_int_equal(found.messages, 2);
    rejections_free(rejections);
}

static void test_without_memory_nothing_is_kept(void **state)
{
    struct rejections *rejections = NULL;
    struct ingest_rejection found;
    (void)state;
    mem_fail_at(1);
    assert_int_equal(rejections_new(&rejections), ERR_NO_MEMORY);
    assert_int_equal(rejections_new(&rejections), ERR_OK);
    for (uint64_t k = 1; k <= 2; k++) {
        mem_fail_at(k);
        rejections_add(rejections, BYTES_LITERAL("t"), &(struct ingest_rejection){1, 1, "r", "d"});
        assert_true(mem_failed());
        assert_false(rejections_get(rejections, BYTES_LITERAL("t"), &found));
    }
    rejections_free(rejections);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_by_topic_and_shows_the_last),
        cmocka_unit_test(test_topics_are_bounded_and_the_known_go_on),
        cmocka_unit_test(test_without_memory_nothing_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
