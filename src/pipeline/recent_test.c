#include "base/alloc.h"
#include "base/limits.h"
#include "os/thread.h"
#include "pipeline/clump.h"
#include "pipeline/recent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* after the above, as cmocka wants */
#include <cmocka.h>

static int64_t now_ns;

static int64_t fake_monotonic(void *ctx)
{
    (void)ctx;
    return now_ns;
}

static int64_t fake_realtime(void *ctx)
{
    (void)ctx;
    return 0;
}

static const struct clock_ops fake_ops = {fake_monotonic, fake_realtime};
static const struct clock fake_clock = {&fake_ops, NULL};
static uint64_t last_number; /* of the blocks; the first is none of them */

static struct block *block_make(const char *dataset, const char *topic, int first, int count,
                                size_t padding)
{
    struct block *block;
    struct buf record;
    struct buf payload;
    uint32_t index;
    const struct route_view route = {
        .source_id = BYTES_LITERAL("src"),
        .dataset_id = bytes_from_text(dataset),
        .source_type = BYTES_LITERAL("mqtt"),
        .field_count = 1,
        .fields = {{.name = BYTES_LITERAL("topic"),
                    .type = FIELD_STRING,
                    .constant = bytes_from_text(topic)}},
    };
    buf_init(&record, MIB);
    buf_init(&payload, 32 * MIB);
    assert_int_equal(route_encode(&route, &record), ERR_OK);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    block->number = ++last_number;
    assert_int_equal(block_add_route(block, buf_bytes(&record), 0, &index), ERR_OK);
    for (int i = first; i < first + count; i++) {
        buf_clear(&payload);
        buf_printf(&payload, "{\"n\":%d,\"p\":\"", i);
        for (size_t p = 0; p < padding; p++)
            buf_byte(&payload, 'x');
        buf_text(&payload, "\"}");
        const struct message_view message = {.payload = buf_bytes(&payload), .route_index = index};
        assert_int_equal(block_add_message(block, &message), ERR_OK);
    }
    buf_fini(&record);
    buf_fini(&payload);
    return block;
}

static void add(struct recent *recent, const char *dataset, const char *topic, int first, int count)
{
    struct block *block = block_make(dataset, topic, first, count, 0);
    recent_add(recent, block, 0);
    block_unref(block);
}

static enum err on_row(void *ctx, struct bytes json)
{
    struct buf *out = ctx;
    size_t end = 0;
    while (end < json.size && json.data[end] != ',')
        end++;
    return buf_printf(out, "%.*s ", (int)end - 5, (const char *)json.data + 5);
}

static void expect_rows(struct recent *recent, const char *dataset, uint32_t limit,
                        const char *expected)
{
    struct buf out;
    buf_init(&out, MIB);
    assert_int_equal(recent_rows(recent, bytes_from_text(dataset), limit, NULL, on_row, &out),
                     ERR_OK);
    assert_string_equal(buf_cstr(&out), expected);
    buf_fini(&out);
}

static enum err on_dataset(void *ctx, struct bytes id)
{
    struct buf *out = ctx;
    return buf_printf(out, "%.*s ", (int)id.size, (const char *)id.data);
}

static void expect_list(struct recent *recent, const char *expected)
{
    struct buf out;
    buf_init(&out, MIB);
    assert_int_equal(recent_list(recent, on_dataset, &out), ERR_OK);
    assert_string_equal(buf_cstr(&out), expected);
    buf_fini(&out);
}

static void test_ring(void **state)
{
    (void)state;
    struct recent *recent;
    struct recent_stats stats;
    assert_int_equal(recent_new(4, 0, &fake_clock, &recent), ERR_OK);
    expect_list(recent, "");
    expect_rows(recent, "b", 0, "");
    add(recent, "b", "t", 0, 2);
    add(recent, "b", "u", 2, 3);
    add(recent, "a", "t", 10, 9);
    add(recent, "ab", "t", 20, 1);
    expect_list(recent, "a ab b ");
    expect_rows(recent, "b", 0, "1 2 3 4 ");
    expect_rows(recent, "b", 3, "2 3 4 ");
    expect_rows(recent, "b", 100, "1 2 3 4 ");
    expect_rows(recent, "a", 0, "15 16 17 18 ");
    recent_stats_get(recent, &stats);
    assert_int_equal(stats.datasets, 3);
    assert_int_equal(stats.rows, 9);
    assert_int_equal(stats.rows_max, 4);
    assert_true(stats.bytes > 0);
    recent_resize(recent, 2);
    expect_rows(recent, "b", 0, "3 4 ");
    recent_resize(recent, 0);
    expect_rows(recent, "b", 0, "4 ");
    recent_resize(recent, 100);
    add(recent, "b", "u", 5, 2);
    expect_rows(recent, "b", 0, "2 3 4 5 6 "); /* what a clump still held comes back */
    recent_free(recent);
    recent_free(NULL);
}

static void test_evict(void **state)
{
    (void)state;
    struct recent *recent;
    now_ns = 0;
    assert_int_equal(recent_new(4, 10, &fake_clock, &recent), ERR_OK);
    add(recent, "a", "t", 0, 1);
    now_ns = 5 * NS_PER_S;
    add(recent, "b", "t", 0, 1);
    add(recent, "c", "t", 0, 1);
    now_ns = 9 * NS_PER_S;
    add(recent, "b", "t", 1, 1);
    recent_evict(recent);
    expect_list(recent, "a b c ");
    now_ns = 10 * NS_PER_S;
    recent_evict(recent);
    expect_list(recent, "b c ");
    now_ns = 15 * NS_PER_S;
    recent_evict(recent);
    expect_list(recent, "b ");
    add(recent, "a", "t", 7, 1);
    expect_rows(recent, "a", 0, "7 ");
    recent_free(recent);
}

static void test_bytes_limit(void **state)
{
    (void)state;
    struct recent *recent;
    struct recent_stats stats;
    assert_int_equal(recent_new(1000, 0, &fake_clock, &recent), ERR_OK);
    for (int i = 0; i < 20; i++) {
        char id[16];
        snprintf(id, sizeof(id), "d%02d", i);
        struct block *block = block_make(id, "t", 0, 5, MIB);
        recent_add(recent, block, 0);
        block_unref(block);
        recent_stats_get(recent, &stats);
        assert_true(stats.bytes <= LIMIT_RECENT_BYTES);
    }
    assert_int_equal(stats.datasets, LIMIT_RECENT_BYTES / (5 * MIB + 4096));
    for (int i = 0; i < 20; i++) { /* one dataset alone keeps its newest */
        struct block *block = block_make("d19", "t", i, 5, MIB);
        recent_add(recent, block, 0);
        block_unref(block);
    }
    recent_stats_get(recent, &stats);
    assert_true(stats.bytes <= LIMIT_RECENT_BYTES);
    assert_int_equal(stats.datasets, 1);
    expect_rows(recent, "d19", 2, "22 23 ");
    recent_free(recent);
}

/* Routes of one block bring their messages in turns: neither order nor what is newest goes by
 * route. */
static void test_routes_in_turns(void **state)
{
    (void)state;
    struct recent *recent;
    struct block *block;
    struct buf record;
    uint32_t index[3];
    static const char *const topics[] = {"alarm", "x", "y"};
    assert_int_equal(recent_new(3, 0, &fake_clock, &recent), ERR_OK);
    add(recent, "d", "old", 0, 2);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    block->number = ++last_number;
    buf_init(&record, MIB);
    for (int i = 0; i < 3; i++) {
        buf_clear(&record);
        const struct route_view route = {.source_id = BYTES_LITERAL("src"),
                                         .dataset_id = bytes_from_text(i < 2 ? "d" : "e"),
                                         .source_type = BYTES_LITERAL("mqtt"),
                                         .topic = bytes_from_text(topics[i])};
        assert_int_equal(route_encode(&route, &record), ERR_OK);
        assert_int_equal(block_add_route(block, buf_bytes(&record), 0, &index[i]), ERR_OK);
    }
    for (int i = 10; i < 16; i++) { /* alarm 10, x 11 to 14, alarm 15 */
        char payload[32];
        snprintf(payload, sizeof(payload), "{\"n\":%d}", i);
        const struct message_view message = {.payload = bytes_from_text(payload),
                                             .route_index = index[i != 10 && i != 15]};
        assert_int_equal(block_add_message(block, &message), ERR_OK);
    }
    const struct message_view message = {.payload = BYTES_LITERAL("{\"n\":9}"),
                                         .route_index = index[2]};
    assert_int_equal(block_add_message(block, &message), ERR_OK);
    struct recent_gathering gathering = {0}; /* a worker's bucket may hold two datasets */
    recent_gather(recent, &gathering, block, index[0]);
    recent_gather(recent, &gathering, block, index[2]);
    recent_gather(recent, &gathering, block, index[1]);
    recent_place(recent, &gathering);
    expect_rows(recent, "d", 0, "13 14 15 ");
    expect_rows(recent, "d", 1, "15 ");
    struct recent_stats stats;
    recent_stats_get(recent, &stats);
    assert_int_equal(stats.rows, 4);
    add(recent, "d", "new", 20, 3);
    expect_rows(recent, "d", 0, "20 21 22 ");
    buf_fini(&record);
    block_unref(block);
    recent_free(recent);
}

static void test_dead_letters(void **state)
{
    (void)state;
    struct recent *recent;
    assert_int_equal(recent_new(4, 0, &fake_clock, &recent), ERR_OK);
    struct block *block = block_make("a", "t", 0, 2, 0);
    const struct message_view message = {.payload = BYTES_LITERAL("x"),
                                         .flags = MESSAGE_DEAD_LETTER};
    assert_int_equal(block_add_message(block, &message), ERR_OK);
    recent_add(recent, block, 0);
    block_unref(block);
    expect_rows(recent, "a", 0, "0 1 ");
    recent_free(recent);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct block *first = block_make("a", "t", 0, 3, 0);
    struct block *second = block_make("a", "u", 3, 3, 0);
    for (uint64_t k = 1;; k++) {
        struct recent *recent = NULL;
        struct buf out;
        buf_init(&out, MIB);
        mem_fail_at(k);
        enum err err = recent_new(4, 0, &fake_clock, &recent);
        if (err == ERR_OK) {
            recent_add(recent, first, 0);
            recent_add(recent, second, 0);
            err = recent_rows(recent, BYTES_LITERAL("a"), 0, NULL, on_row, &out);
        }
        if (err == ERR_OK)
            err = recent_list(recent, on_dataset, &out);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_true(err == ERR_OK || (failed && err == ERR_NO_MEMORY));
        if (!failed)
            assert_string_equal(buf_cstr(&out), "2 3 4 5 a ");
        recent_free(recent);
        buf_fini(&out);
        if (!failed)
            break;
    }
    block_unref(first);
    block_unref(second);
}

struct worker {
    struct recent *recent;
    struct block *block;
};

static void work(void *ctx)
{
    struct worker *worker = ctx;
    for (int i = 0; i < 300; i++) {
        recent_add(worker->recent, worker->block, 0);
        if (i % 50 == 0)
            recent_resize(worker->recent, i % 100 ? 3 : 7);
        recent_evict(worker->recent);
    }
}

static void test_threads(void **state)
{
    (void)state;
    struct recent *recent;
    struct thread threads[3];
    struct worker workers[3];
    static const char *const ids[] = {"a", "a", "b"};
    assert_int_equal(recent_new(5, 1, &clock_system, &recent), ERR_OK);
    for (int i = 0; i < 3; i++) {
        workers[i] = (struct worker){recent, block_make(ids[i], "t", 0, 3, 10)};
        assert_int_equal(thread_start(&threads[i], "worker", work, &workers[i]), ERR_OK);
    }
    for (int i = 0; i < 100; i++) {
        struct buf out;
        struct recent_stats stats;
        buf_init(&out, MIB);
        assert_int_equal(recent_rows(recent, BYTES_LITERAL("a"), 0, NULL, on_row, &out), ERR_OK);
        assert_int_equal(recent_list(recent, on_dataset, &out), ERR_OK);
        recent_stats_get(recent, &stats);
        buf_fini(&out);
    }
    for (int i = 0; i < 3; i++) {
        thread_join(&threads[i]);
        block_unref(workers[i].block);
    }
    recent_free(recent);
}

/* Of datasets with one short message each, most of what is held is not the message. */
static void test_many_datasets_are_counted(void **state)
{
    (void)state;
    struct recent *recent;
    struct recent_stats stats;
    assert_int_equal(recent_new(100, 0, &fake_clock, &recent), ERR_OK);
    recent_limit(recent, MIB);
    for (int i = 0; i < 3000; i++) {
        char id[16];
        snprintf(id, sizeof(id), "d%04d", i);
        add(recent, id, "t", i, 1);
        recent_stats_get(recent, &stats);
        assert_true(stats.bytes <= MIB);
    }
    size_t least = sizeof(struct clump) + sizeof(struct route_copy);
    assert_true(stats.datasets > 100 && stats.datasets < MIB / least);
    expect_rows(recent, "d2999", 0, "2999 ");
    recent_free(recent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring),
        cmocka_unit_test(test_routes_in_turns),
        cmocka_unit_test(test_evict),
        cmocka_unit_test(test_bytes_limit),
        cmocka_unit_test(test_many_datasets_are_counted),
        cmocka_unit_test(test_dead_letters),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
