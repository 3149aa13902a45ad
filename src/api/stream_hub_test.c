#include "api/stream_hub.h"

#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* after the above, as cmocka wants */
#include <cmocka.h>

struct fixture {
    struct recent *recent;
    struct stream_hub *hub;
    struct block *block;
    uint32_t routes[4];
    struct recent_gathering gathering;
};

static void set_up(struct fixture *fixture)
{
    *fixture = (struct fixture){0};
    assert_int_equal(recent_new(100, 0, &clock_system, &fixture->recent), ERR_OK);
    assert_int_equal(stream_hub_new(fixture->recent, &clock_system, &fixture->hub), ERR_OK);
}

static void tear_down(struct fixture *fixture)
{
    stream_hub_free(fixture->hub);
    recent_free(fixture->recent);
}

/* A block of messages seq first to first + count, to the topics in turns, each in the dataset of
 * that place. */
static void block_begin(struct fixture *fixture, uint64_t number, const char *const *datasets,
                        size_t topic_count, int first, int count)
{
    struct buf record;
    buf_init(&record, MIB);
    assert_int_equal(block_new(4096, &fixture->block), ERR_OK);
    fixture->block->number = number;
    for (size_t i = 0; i < topic_count; i++) {
        char topic[32];
        snprintf(topic, sizeof(topic), "t/%zu", i);
        const struct route_view route = {.source_id = BYTES_LITERAL("src"),
                                         .dataset_id = bytes_from_text(datasets[i]),
                                         .source_type = BYTES_LITERAL("mqtt"),
                                         .topic = bytes_from_text(topic)};
        buf_clear(&record);
        assert_int_equal(route_encode(&route, &record), ERR_OK);
        assert_int_equal(
            block_add_route(fixture->block, buf_bytes(&record), 0, &fixture->routes[i]), ERR_OK);
    }
    for (int i = first; i < first + count; i++) {
        char payload[32];
        snprintf(payload, sizeof(payload), "{\"seq\":%d}", i);
        const struct message_view message = {.payload = bytes_from_text(payload),
                                             .route_index =
                                                 fixture->routes[(size_t)i % topic_count]};
        assert_int_equal(block_add_message(fixture->block, &message), ERR_OK);
    }
    buf_fini(&record);
}

/* As a worker does: dataset after dataset. */
static void bring(struct fixture *fixture, uint64_t number, const char *const *datasets,
                  size_t topic_count, int first, int count)
{
    block_begin(fixture, number, datasets, topic_count, first, count);
    for (size_t i = 0; i < topic_count; i++) {
        recent_gather(fixture->recent, &fixture->gathering, fixture->block, fixture->routes[i]);
        if (i + 1 == topic_count || strcmp(datasets[i], datasets[i + 1]) != 0)
            recent_place(fixture->recent, &fixture->gathering);
    }
    block_unref(fixture->block);
}

static void open_stream(struct fixture *fixture, const char *dataset, struct api_response *stream)
{
    *stream = (struct api_response){0};
    assert_int_equal(stream_hub_open(fixture->hub, bytes_from_text(dataset), stream), ERR_OK);
}

/* All that waits must be the rows first, first + step, … and nothing is told as dropped. */
static void expect_seqs(struct api_response *stream, int first, int step, int count)
{
    struct buf out;
    bool done = false;
    buf_init(&out, 16 * MIB);
    for (size_t before = 1; before != out.size;) {
        before = out.size;
        enum err err = stream->next(stream->stream, &out, &done);
        assert_true(err == ERR_OK || err == ERR_AGAIN);
    }
    const char *at = buf_cstr(&out);
    assert_non_null(at);
    assert_null(strstr(at, "dropped"));
    for (int i = 0; i < count; i++) {
        at = strstr(at, "\"seq\":");
        assert_non_null(at);
        at += 6;
        assert_int_equal(strtol(at, NULL, 10), first + i * step);
    }
    assert_null(strstr(at, "\"seq\":"));
    buf_fini(&out);
}

static void test_topics_in_turns_share_a_dataset(void **state)
{
    (void)state;
    struct fixture fixture;
    struct api_response stream;
    const char *const datasets[] = {"d", "d", "d"};
    set_up(&fixture);
    open_stream(&fixture, "d", &stream);
    bring(&fixture, 7, datasets, 3, 0, 100);
    recent_publish(fixture.recent, &fixture.gathering);
    bring(&fixture, 8, datasets, 3, 100, 5);
    recent_publish(fixture.recent, &fixture.gathering);
    expect_seqs(&stream, 0, 1, 105);
    stream.stream_free(stream.stream);
    tear_down(&fixture);
}

/* Several blocks at once come dataset after dataset, each with its blocks. */
static void test_topics_in_turns_of_several_datasets(void **state)
{
    (void)state;
    struct fixture fixture;
    struct api_response all, one;
    const char *const datasets[] = {"a", "b", "c", "c"};
    set_up(&fixture);
    open_stream(&fixture, "", &all);
    open_stream(&fixture, "b", &one);
    bring(&fixture, 2, datasets, 4, 40, 40);
    bring(&fixture, 1, datasets, 4, 0, 40);
    recent_publish(fixture.recent, &fixture.gathering);
    expect_seqs(&all, 0, 1, 80);
    expect_seqs(&one, 1, 4, 20);
    all.stream_free(all.stream);
    one.stream_free(one.stream);
    tear_down(&fixture);
}

/* A run larger than what is written at once, and a client that leaves in the middle of one. */
static void test_a_long_run(void **state)
{
    (void)state;
    struct fixture fixture;
    struct api_response stays, leaves;
    struct buf out;
    bool done = false;
    const char *const datasets[] = {"a", "a", "b", "c"};
    buf_init(&out, MIB);
    set_up(&fixture);
    open_stream(&fixture, "", &stays);
    open_stream(&fixture, "", &leaves);
    for (int i = 0; i < 10; i++)
        bring(&fixture, 1, datasets, 4, i * 400, 400);
    recent_publish(fixture.recent, &fixture.gathering);
    assert_int_equal(leaves.next(leaves.stream, &out, &done), ERR_OK);
    assert_true(out.size < MIB / 2);
    leaves.stream_free(leaves.stream);
    buf_clear(&out);
    size_t size = 0;
    for (size_t before = 1; before != size; buf_clear(&out)) {
        before = size;
        enum err err = stays.next(stays.stream, &out, &done);
        assert_true(err == ERR_OK || err == ERR_AGAIN);
        for (const char *at = buf_cstr(&out); at && (at = strstr(at, "\"seq\":")); at++)
            size++;
    }
    assert_int_equal(size, 4000);
    stays.stream_free(stays.stream);
    buf_fini(&out);
    tear_down(&fixture);
}

/* Nobody listens: nothing is kept for anyone. */
static void test_nobody_listens(void **state)
{
    (void)state;
    struct fixture fixture;
    const char *const datasets[] = {"a", "b"};
    set_up(&fixture);
    bring(&fixture, 1, datasets, 2, 0, 10);
    assert_null(fixture.gathering.placed);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topics_in_turns_share_a_dataset),
        cmocka_unit_test(test_topics_in_turns_of_several_datasets),
        cmocka_unit_test(test_a_long_run),
        cmocka_unit_test(test_nobody_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
