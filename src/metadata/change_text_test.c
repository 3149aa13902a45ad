/* A change as a footer's text. */
#include "metadata/change_text.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>

static char sample[5000];

static void text_make(struct buf *text, size_t size, struct bytes column)
{
    buf_init(text, 1 << 20);
    assert_int_equal(change_text_append(text, bytes_from(sample, size), column), ERR_OK);
}

static void check_there_and_back(struct bytes column, char form)
{
    const size_t sizes[] = {0, 1, 40, sizeof(sample)};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct change_text said;
        struct buf text, unpacked;
        text_make(&text, sizes[i], column);
        assert_int_equal(text.data[0], form);
        buf_init(&unpacked, sizeof(sample) + 300);
        assert_int_equal(change_text_read(buf_bytes(&text), &unpacked, &said), ERR_OK);
        assert_true(bytes_equal(said.encoded, bytes_from(sample, sizes[i])));
        assert_true(bytes_equal(said.column, column));
        if (sizes[i] == sizeof(sample))
            assert_true(text.size < sizeof(sample) / 2);
        buf_fini(&unpacked);
        buf_fini(&text);
    }
}

static void test_there_and_back(void **state)
{
    (void)state;
    check_there_and_back((struct bytes){0}, '1');
    check_there_and_back(BYTES_LITERAL("sensor_id"), '2');
    check_there_and_back(bytes_from(sample, 256), '2');
}

/* What builds before this one wrote. */
static void test_older(void **state)
{
    (void)state;
    struct change_text said;
    struct buf unpacked;
    buf_init(&unpacked, 100);
    assert_int_equal(change_text_read(BYTES_LITERAL("1ICPNAABoIGFuZCB3aGF0IHdhcwMAMAUoJIg+KkQQ"),
                                      &unpacked, &said),
                     ERR_OK);
    assert_true(bytes_equal_text(said.encoded, "sensor_id and location and what was"));
    assert_int_equal(said.column.size, 0);
    buf_fini(&unpacked);
}

static enum err read_into(struct bytes text, size_t room)
{
    struct change_text said;
    struct buf unpacked;
    buf_init(&unpacked, room);
    enum err err = change_text_read(text, &unpacked, &said);
    assert_true(unpacked.size <= room);
    assert_true(err != ERR_OK || said.encoded.size + said.column.size <= unpacked.size);
    buf_fini(&unpacked);
    return err;
}

/* Cut short, damaged, of another form, larger than the room: refused, whatever it is. */
static void check_no_such_text(struct bytes column, size_t room)
{
    struct buf text;
    text_make(&text, sizeof(sample), column);
    text.data[0] += 2;
    assert_int_equal(read_into(buf_bytes(&text), room), ERR_CORRUPT);
    text.data[0] -= 2;
    assert_int_equal(read_into(buf_bytes(&text), room), ERR_OK);
    assert_int_equal(read_into(buf_bytes(&text), room - 1), ERR_CORRUPT);
    for (size_t size = 0; size < text.size; size++)
        assert_int_equal(read_into(bytes_from(text.data, size), room), ERR_CORRUPT);
    for (size_t at = 0; at < text.size; at++) {
        text.data[at] ^= 0x11;
        (void)!read_into(buf_bytes(&text), room);
        text.data[at] ^= 0x11;
    }
    buf_fini(&text);
}

static void test_no_such_text(void **state)
{
    (void)state;
    check_no_such_text((struct bytes){0}, sizeof(sample));
    check_no_such_text(BYTES_LITERAL("sensor_id"), sizeof(sample) + 2 + 9);
}

/* A form with a column that says none, or one longer than all. */
static void test_no_column(void **state)
{
    (void)state;
    const struct bytes bodies[] = {BYTES_LITERAL(""), BYTES_LITERAL("\x01"),
                                   BYTES_LITERAL("\0\0change"), BYTES_LITERAL("\x09\0change")};
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct buf text;
        buf_init(&text, 1000);
        assert_int_equal(change_text_append(&text, bodies[i], (struct bytes){0}), ERR_OK);
        text.data[0] = '2';
        assert_int_equal(read_into(buf_bytes(&text), 1000), ERR_CORRUPT);
        buf_fini(&text);
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    enum err err = ERR_NO_MEMORY;
    for (uint64_t k = 1; err == ERR_NO_MEMORY; k++) {
        struct buf text, unpacked;
        struct change_text said;
        buf_init(&text, 1 << 20);
        buf_init(&unpacked, 2 * sizeof(sample));
        mem_fail_at(k);
        err = change_text_append(&text, bytes_from(sample, sizeof(sample)),
                                 BYTES_LITERAL("sensor_id"));
        if (err == ERR_OK)
            err = change_text_read(buf_bytes(&text), &unpacked, &said);
        mem_fail_at(0);
        assert_true(k < 100);
        buf_fini(&unpacked);
        buf_fini(&text);
    }
    assert_int_equal(err, ERR_OK);
}

int main(void)
{
    for (size_t i = 0; i < sizeof(sample); i++)
        sample[i] = (char)(i * i % 31);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_older),
        cmocka_unit_test(test_no_such_text),   cmocka_unit_test(test_no_column),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
