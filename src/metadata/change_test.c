#include "metadata/change.h"

#include "base/alloc.h"
#include "metadata/metadata_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void field_add(struct change *change, const char *name, enum dataset_type type,
                      const char *sample)
{
    struct change_field *field;
    assert_int_equal(change_field_get(change, bytes_from_text(name), &field), ERR_OK);
    field->types |= (uint8_t)(1u << type);
    assert_int_equal(change_sample_add(change, field, bytes_from_text(sample)), ERR_OK);
}

static void sensors_add(struct change *change, int from, int to)
{
    char text[32];
    for (int i = from; i < to; i++) {
        snprintf(text, sizeof(text), "s%d", i);
        assert_int_equal(change_sensor_add(change, bytes_from_text(text)), ERR_OK);
    }
}

static void sample_make(struct change *change, uint64_t records)
{
    change_init(change);
    change->records = records;
    change->payload_bytes = 100 * records;
    change->first_us = 1000;
    change->last_us = 2000;
    change->quality = (struct change_quality){1, 2, 3, 4, 5, 6, 7};
    assert_int_equal(change_topic_set(change, BYTES_LITERAL("a/b")), ERR_OK);
    field_add(change, "v", DATASET_DOUBLE, "1");
    field_add(change, "v", DATASET_DOUBLE, "2");
    field_add(change, "v", DATASET_STRING, "2");
    sensors_add(change, 0, 5);
}

static void encode(const struct change *change, struct buf *out)
{
    buf_init(out, LIMIT_METADATA_CHANGES_BYTES);
    change_encode(change, out);
    assert_int_equal(out->err, ERR_OK);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct change change, again;
    struct buf first, second;
    sample_make(&change, 3);
    sensors_add(&change, 5, 1500);
    assert_int_equal(change.sensor_count, LIMIT_SENSORS_LISTED);
    encode(&change, &first);
    change_init(&again);
    assert_int_equal(change_decode(&again, buf_bytes(&first)), ERR_OK);
    encode(&again, &second);
    assert_true(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    assert_int_equal(distinct_count(&again.beyond), 500);
    const struct change_field *field = change_field_find(&again, BYTES_LITERAL("v"));
    assert_int_equal(field->types, 1u << DATASET_DOUBLE | 1u << DATASET_STRING);
    assert_int_equal(field->sample_count, 2);
    buf_fini(&first);
    buf_fini(&second);
    change_fini(&change);
    change_fini(&again);
}

/* Cut short anywhere, or with any byte changed, it is refused or read as something whole. */
static void test_hostile_text(void **state)
{
    (void)state;
    struct change change;
    struct buf encoded;
    sample_make(&change, 3);
    encode(&change, &encoded);
    for (size_t size = 0; size < encoded.size; size++) {
        struct change again;
        change_init(&again);
        assert_int_equal(change_decode(&again, bytes_from(encoded.data, size)), ERR_CORRUPT);
        change_fini(&again);
    }
    for (size_t i = 0; i < encoded.size * 255; i++) {
        struct change again;
        uint8_t *at = &encoded.data[i / 255];
        uint8_t before = *at;
        change_init(&again);
        *at = (uint8_t)(*at + 1 + i % 255);
        enum err err = change_decode(&again, buf_bytes(&encoded));
        *at = before;
        assert_true(err == ERR_OK || err == ERR_CORRUPT);
        assert_true(again.field_count <= CHANGE_FIELDS_MAX);
        change_fini(&again);
    }
    buf_fini(&encoded);
    change_fini(&change);
}

static enum err count_evolution(void *ctx, const struct metadata_evolution *evolution)
{
    (void)evolution;
    ++*(int *)ctx;
    return ERR_OK;
}

static void row_init(struct metadata_row *row)
{
    *row = (struct metadata_row){.sensors = json_array(), .fields = json_array()};
}

/* Merged first or one by one: the row is the same. */
static void test_merge_is_the_same(void **state)
{
    (void)state;
    struct change a, b;
    struct metadata_row apart, together;
    int evolutions = 0;
    sample_make(&a, 3);
    sample_make(&b, 4);
    field_add(&b, "late", DATASET_UUID, "u");
    field_add(&b, "late", DATASET_STRING, "w"); /* of the same rank: uuid was not first */
    field_add(&b, "v", DATASET_OBJECT, "{}");
    sensors_add(&b, 3, 1200);
    b.last_us = 5000;
    row_init(&apart);
    row_init(&together);
    assert_int_equal(metadata_row_merge(&apart, &a, count_evolution, &evolutions), ERR_OK);
    assert_int_equal(evolutions, 2);
    assert_int_equal(metadata_row_merge(&apart, &b, count_evolution, &evolutions), ERR_OK);
    assert_int_equal(evolutions, 4);
    assert_int_equal(change_merge(&a, &b), ERR_OK);
    assert_int_equal(metadata_row_merge(&together, &a, count_evolution, &evolutions), ERR_OK);
    assert_true(json_equal(apart.fields, together.fields));
    assert_true(json_equal(apart.sensors, together.sensors));
    assert_int_equal(apart.sensor_count, 1200);
    assert_int_equal(together.sensor_count, 1200);
    assert_int_equal(together.record_count, 7);
    assert_int_equal(together.payload_bytes, 700);
    assert_int_equal(together.last_us, 5000);
    assert_int_equal(a.quality.duplicates, 14);
    const json_t *late = json_array_get(apart.fields, 1);
    assert_true(json_is_true(json_object_get(late, "nullable"))); /* three records lacked it */
    metadata_row_fini(&apart);
    metadata_row_fini(&together);
    change_fini(&a);
    change_fini(&b);
}

static void test_types(void **state)
{
    (void)state;
    for (int i = 0; i < DATASET_TYPES; i++)
        assert_int_equal(dataset_type_of(bytes_from_text(dataset_type_name((enum dataset_type)i))),
                         i);
    assert_int_equal(dataset_type_of(BYTES_LITERAL("integer")), DATASET_TYPES);
    assert_true(dataset_type_rises(DATASET_DOUBLE, DATASET_UUID));
    assert_false(dataset_type_rises(DATASET_STRING, DATASET_UUID));
    assert_false(dataset_type_rises(DATASET_UUID, DATASET_STRING));
    assert_true(dataset_type_rises(DATASET_ARRAY, DATASET_OBJECT));
}

static void test_text_is_cut_between_characters(void **state)
{
    (void)state;
    assert_int_equal(change_text_cut(BYTES_LITERAL("a\xc3\xbc"), 2).size, 1);
    assert_int_equal(change_text_cut(BYTES_LITERAL("a\xc3\xbc"), 3).size, 3);
    assert_int_equal(change_text_cut(BYTES_LITERAL("abc"), 2).size, 2);
    assert_int_equal(change_text_cut(BYTES_LITERAL(""), 2).size, 0);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct change a;
    struct buf encoded;
    sample_make(&a, 3);
    encode(&a, &encoded);
    for (uint64_t k = 1;; k++) {
        struct change sum, one;
        change_init(&sum);
        change_init(&one);
        mem_fail_at(k);
        enum err err = change_decode(&one, buf_bytes(&encoded));
        if (err == ERR_OK)
            err = change_merge(&sum, &one);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        assert_int_equal(sum.records, failed ? 0 : 3);
        change_fini(&sum);
        change_fini(&one);
        if (!failed)
            break;
    }
    buf_fini(&encoded);
    change_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_hostile_text),
        cmocka_unit_test(test_merge_is_the_same),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_text_is_cut_between_characters),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
