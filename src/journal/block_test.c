#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "journal/block.h"

static struct route_view sample_route(void)
{
    static const uint8_t qos[8] = {0, 0, 0, 0, 0, 0, 0xf0, 0x3f}; /* 1.0 */
    return (struct route_view){
        .source_id = BYTES_LITERAL("s1"),
        .dataset_id = BYTES_LITERAL("s1_a_b"),
        .source_type = BYTES_LITERAL("mqtt"),
        .topic = BYTES_LITERAL("a/b"),
        .content_type = BYTES_LITERAL("application/json"),
        .columns = BYTES_LITERAL("\x01\x02\x00id\x02\x01\x00t"),
        .dedupe_field = BYTES_LITERAL("id"),
        .dedupe_window_seconds = 60,
        .format = CONTENT_JSON,
        .partition_by = PARTITION_BY_ARRIVAL,
        .partition_window_hours = 24,
        .field_count = 3,
        .fields = {{BYTES_LITERAL("topic"), FIELD_STRING, false, BYTES_LITERAL("a/b")},
                   {BYTES_LITERAL("qos"), FIELD_DOUBLE, false, {qos, 8}},
                   {BYTES_LITERAL("retain"), FIELD_BOOLEAN, true, {NULL, 0}}},
    };
}

static enum err fill(struct block *block, uint32_t message_count)
{
    struct route_view route = sample_route();
    struct buf encoded;
    buf_init(&encoded, 4096);
    enum err err = route_encode(&route, &encoded);
    uint32_t index[2] = {0, 0};
    for (int i = 0; i < 2 && err == ERR_OK; i++)
        err = block_add_route(block, buf_bytes(&encoded), hash_bytes(route.dataset_id), &index[i]);
    buf_fini(&encoded);
    for (uint32_t i = 0; i < message_count && err == ERR_OK; i++) {
        struct message_view message = {
            .payload = bytes_from_text("{\"value\": 1.5}"),
            .arrival_us = (int64_t)i - 5,
            .route_index = index[i % 2],
            .flags = i % 3 == 0 ? MESSAGE_IDENTITY : 0,
            .packet_identifier = (uint16_t)i,
            .identity_hash = i * 7919u,
        };
        err = block_add_message(block, &message);
    }
    if (err == ERR_OK)
        err = block_add_record(block, RECORD_STATE, BYTES_LITERAL("state"));
    return err;
}

static struct block *sealed_block(uint32_t message_count)
{
    struct block *block = NULL;
    assert_int_equal(block_new(1000, &block), ERR_OK);
    assert_int_equal(fill(block, message_count), ERR_OK);
    block_seal(block, BLOCK_DATA, BLOCK_MORE, 77, 12, 3, 11);
    return block;
}

static struct bytes padded(const struct block *block)
{
    return bytes_from(block->image, block_padded_bytes(block));
}

static void test_round_trip(void **state)
{
    (void)state;
    struct block *block = sealed_block(5000);
    struct block *again = NULL;
    struct diag diag = {0};
    assert_int_equal(block_parse(padded(block), &again, &diag), ERR_OK);
    assert_int_equal(again->number, 12);
    assert_int_equal(again->message_count, 5000);
    assert_int_equal(again->record_count, 5003);
    assert_int_equal(again->route_count, 2);
    assert_int_equal((uintptr_t)again->image % 4096, 0);
    assert_memory_equal(again->image, block->image, block_padded_bytes(block));
    for (uint32_t r = 0; r < 2; r++) {
        uint32_t count = 0;
        for (uint32_t m = again->routes[r].message_first; m != BLOCK_END;
             m = again->messages[m].next, count++) {
            struct message_view view;
            block_message_get(again, m, &view);
            assert_int_equal(view.route_index, r);
            assert_int_equal(view.arrival_us, (int64_t)m - 5);
            assert_int_equal(view.identity_hash, m % 3 == 0 ? m * 7919u : 0);
            assert_true(bytes_equal_text(view.payload, "{\"value\": 1.5}"));
        }
        assert_int_equal(count, 2500);
        assert_int_equal(again->routes[r].message_count, 2500);
        assert_int_equal(again->routes[r].payload_bytes, 2500 * 14);
        assert_int_equal(again->routes[r].dataset_hash, hash_bytes(BYTES_LITERAL("s1_a_b")));
    }
    struct block_header header;
    block_header_read(again->image, &header);
    assert_int_equal(header.group, 77);
    assert_int_equal(header.epoch, 3);
    assert_int_equal(header.durable_number, 11);
    assert_int_equal(header.flags, BLOCK_MORE);
    block_unref(block);
    block_unref(again);
}

static void test_route_view(void **state)
{
    (void)state;
    struct block *block = sealed_block(1);
    struct route_view want = sample_route(), route;
    struct bytes source_id;
    struct bytes dataset_id;
    block_route_ids(block, 1, &source_id, &dataset_id);
    assert_true(bytes_equal(source_id, want.source_id));
    assert_true(bytes_equal(dataset_id, want.dataset_id));
    block_route_get(block, 1, &route);
    assert_true(bytes_equal(route.source_id, want.source_id));
    assert_true(bytes_equal(route.dataset_id, want.dataset_id));
    assert_true(bytes_equal(route.content_type, want.content_type));
    assert_int_equal(route.timestamp_field.size, 0);
    assert_true(bytes_equal(route.columns, want.columns));
    assert_true(bytes_equal(route.dedupe_field, want.dedupe_field));
    assert_int_equal(route.dedupe_window_seconds, 60);
    assert_int_equal(route.format, CONTENT_JSON);
    assert_int_equal(route.partition_by, PARTITION_BY_ARRIVAL);
    assert_int_equal(route.partition_window_hours, 24);
    assert_int_equal(route.field_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(bytes_equal(route.fields[i].name, want.fields[i].name));
        assert_int_equal(route.fields[i].per_message, want.fields[i].per_message);
        assert_true(bytes_equal(route.fields[i].constant, want.fields[i].constant));
    }
    size_t cursor = 0, count = 0;
    struct record_view record;
    while (block_record_next(block, &cursor, &record))
        count++;
    assert_int_equal(count, 4);
    assert_int_equal(record.kind, RECORD_STATE);
    assert_true(bytes_equal_text(record.body, "state"));
    block_unref(block);
}

static void test_route_columns(void **state)
{
    (void)state;
    struct buf list;
    struct bytes name;
    enum field_type type;
    size_t cursor = 0;
    buf_init(&list, ROUTE_COLUMNS_BYTES_MAX);
    assert_int_equal(route_column_append(&list, BYTES_LITERAL("id"), FIELD_STRING), ERR_OK);
    assert_int_equal(route_column_append(&list, BYTES_LITERAL("t"), FIELD_DOUBLE), ERR_OK);
    struct bytes want = sample_route().columns;
    assert_true(bytes_equal(buf_bytes(&list), want));
    assert_true(route_column_next(want, &cursor, &name, &type));
    assert_true(bytes_equal_text(name, "id"));
    assert_true(route_column_next(want, &cursor, &name, &type));
    assert_int_equal(type, FIELD_DOUBLE);
    assert_false(route_column_next(want, &cursor, &name, &type));
    cursor = 0;
    assert_false(route_column_next(BYTES_LITERAL("\x04\x00\x00"), &cursor, &name, &type));
    assert_false(route_column_next(BYTES_LITERAL("\x01\x05\x00id"), &cursor, &name, &type));
    buf_fini(&list);
}

/* A route without either option is as it was before they came. */
static void test_route_without_options(void **state)
{
    (void)state;
    struct block *block = NULL;
    struct buf encoded;
    uint32_t index;
    struct route_view route = sample_route();
    buf_init(&encoded, 4096);
    route.columns = route.dedupe_field = (struct bytes){0};
    assert_int_equal(route_encode(&route, &encoded), ERR_OK);
    assert_int_equal(encoded.size, 6 + 5 + 4 + 8 + 6 + 5 + 18 + 2 + 2 + 15 + 18 + 9);
    assert_int_equal(block_new(1000, &block), ERR_OK);
    assert_int_equal(block_add_route(block, buf_bytes(&encoded), 1, &index), ERR_OK);
    route = sample_route();
    block_route_get(block, index, &route);
    assert_int_equal(route.columns.size + route.dedupe_field.size, 0);
    assert_int_equal(route.dedupe_window_seconds, 0);
    buf_fini(&encoded);
    block_unref(block);
}

/* Every bit of the image counts: no flipped bit passes, and nothing reads out of bounds. */
static void test_bit_flips(void **state)
{
    (void)state;
    struct block *block = sealed_block(3);
    for (size_t bit = 0; bit < block->size_bytes * 8; bit++) {
        struct block *again = NULL;
        block->image[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(block_parse(padded(block), &again, NULL), ERR_CORRUPT);
        block->image[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    block_unref(block);
}

/* With a checksum that is right, hostile bytes are either refused or readable. */
static void test_bit_flips_resealed(void **state)
{
    (void)state;
    struct block *block = sealed_block(3);
    size_t accepted = 0;
    for (size_t bit = 64; bit < block->size_bytes * 8; bit++) {
        struct block *again = NULL;
        struct diag diag = {0};
        block->image[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        uint32_t size = load_u32(block->image + 32);
        if (size >= 64 && size <= block_padded_bytes(block))
            store_u32(block->image + 4, crc32c(0, block->image + 8, size - 8));
        if (block_parse(padded(block), &again, &diag) == ERR_OK) {
            struct message_view message;
            struct route_view route;
            accepted++;
            for (uint32_t m = 0; m < again->message_count; m++)
                block_message_get(again, m, &message);
            for (uint32_t r = 0; r < again->route_count; r++)
                block_route_get(again, r, &route);
        } else {
            assert_true(diag.text[0] != '\0');
        }
        block_unref(again);
        block->image[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_true(accepted > 0);
    block_unref(block);
}

static void test_truncated(void **state)
{
    (void)state;
    struct block *block = sealed_block(3);
    for (size_t size = 0; size < block->size_bytes; size++) {
        struct block *again = NULL;
        assert_int_equal(block_parse(bytes_from(block->image, size), &again, NULL), ERR_CORRUPT);
    }
    block_unref(block);
}

static void test_seal_again(void **state)
{
    (void)state;
    struct block *block = sealed_block(3);
    struct block *again = NULL;
    block_seal(block, BLOCK_DATA, 0, 0, 12, 9, 10);
    assert_int_equal(block_parse(padded(block), &again, NULL), ERR_OK);
    struct block_header header;
    block_header_read(again->image, &header);
    assert_int_equal(header.epoch, 9);
    assert_int_equal(header.flags, 0);
    block_unref(block);
    block_unref(again);
}

static void test_large(void **state)
{
    (void)state;
    struct block *block = NULL, *again = NULL;
    assert_int_equal(block_new(LIMIT_BLOCK_BYTES + 1, &block), ERR_TOO_LARGE);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    assert_int_equal(fill(block, 1), ERR_OK);
    uint8_t *payload = mem_zalloc(1, LIMIT_BLOCK_BYTES);
    struct message_view message = {.payload = {payload, LIMIT_BLOCK_BYTES}};
    size_t before = block->size_bytes;
    assert_int_equal(block_add_message(block, &message), ERR_TOO_LARGE);
    assert_int_equal(block->size_bytes, before);
    message.payload.size = LIMIT_MESSAGE_BYTES_MAX;
    assert_int_equal(block_add_message(block, &message), ERR_OK);
    assert_int_equal(block_add_message(block, &message), ERR_TOO_LARGE);
    block_seal(block, BLOCK_DATA, 0, 0, 1, 1, 0);
    assert_int_equal(block_parse(padded(block), &again, NULL), ERR_OK);
    assert_int_equal(again->message_count, 2);
    mem_free(payload);
    block_unref(block);
    block_unref(again);
}

static void test_route_limits(void **state)
{
    (void)state;
    static uint8_t big[70000];
    struct buf out;
    buf_init(&out, 1 << 20);
    struct route_view route = sample_route();
    route.topic = bytes_from(big, LIMIT_TOPIC_BYTES);
    assert_int_equal(route_encode(&route, &out), ERR_OK);
    route.topic.size = LIMIT_TOPIC_BYTES + 1;
    buf_clear(&out);
    assert_int_equal(route_encode(&route, &out), ERR_TOO_LARGE);
    assert_int_equal(out.size, 0);
    buf_clear(&out);
    route = sample_route();
    route.dataset_id = bytes_from(big, LIMIT_DATASET_ID_BYTES + 1);
    assert_int_equal(route_encode(&route, &out), ERR_TOO_LARGE);
    route = sample_route();
    route.field_count = ROUTE_FIELDS_MAX + 1;
    assert_int_equal(route_encode(&route, &out), ERR_TOO_MANY);
    route = sample_route();
    route.fields[1].constant.size = 7;
    assert_int_equal(route_encode(&route, &out), ERR_INVALID);
    buf_fini(&out);
}

static void test_extras(void **state)
{
    (void)state;
    struct buf extras;
    buf_init(&extras, 1000);
    struct message_field fields[3] = {
        {.index = 2, .type = FIELD_BOOLEAN, .number = 1},
        {.index = 1, .type = FIELD_DOUBLE, .number = -2.5},
        {.index = FIELD_INDEX_REASON, .type = FIELD_STRING, .text = BYTES_LITERAL("oversize")}};
    for (int i = 0; i < 3; i++)
        assert_int_equal(message_field_append(&extras, &fields[i]), ERR_OK);
    size_t cursor = 0;
    struct message_field field;
    for (int i = 0; i < 3; i++) {
        assert_true(message_field_next(buf_bytes(&extras), &cursor, &field));
        assert_int_equal(field.index, fields[i].index);
        assert_int_equal(field.type, fields[i].type);
        assert_true(field.number == fields[i].number);
        assert_true(bytes_equal(field.text, fields[i].text));
    }
    assert_false(message_field_next(buf_bytes(&extras), &cursor, &field));
    for (size_t size = 0; size < extras.size; size++) { /* cut anywhere: it ends, in bounds */
        int count = 0;
        for (cursor = 0; message_field_next(bytes_from(extras.data, size), &cursor, &field);)
            count++;
        assert_true(count < 3);
    }
    buf_fini(&extras);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct block *block = NULL, *again = NULL;
        mem_fail_at(k);
        enum err err = block_new(1000, &block);
        if (err == ERR_OK)
            err = fill(block, 300);
        if (err == ERR_OK) {
            block_seal(block, BLOCK_DATA, 0, 0, 1, 1, 0);
            err = block_parse(padded(block), &again, NULL);
        }
        int failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        if (failed && block && !again) { /* what stands in it is still whole */
            block_seal(block, BLOCK_DATA, 0, 0, 1, 1, 0);
            assert_int_equal(block_parse(padded(block), &again, NULL), ERR_OK);
        }
        block_unref(block);
        block_unref(again);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_route_view),
        cmocka_unit_test(test_route_columns), cmocka_unit_test(test_route_without_options),
        cmocka_unit_test(test_bit_flips),     cmocka_unit_test(test_bit_flips_resealed),
        cmocka_unit_test(test_truncated),     cmocka_unit_test(test_seal_again),
        cmocka_unit_test(test_large),         cmocka_unit_test(test_route_limits),
        cmocka_unit_test(test_extras),        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
