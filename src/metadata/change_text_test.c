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

static void text_make(struct buf *text, size_t size)
{
    buf_init(text, 1 << 20);
    assert_int_equal(change_text_append(text, bytes_from(sample, size)), ERR_OK);
}

static void test_there_and_back(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 40, sizeof(sample)};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct buf text, encoded;
        text_make(&text, sizes[i]);
        buf_init(&encoded, sizeof(sample));
        assert_int_equal(change_text_read(buf_bytes(&text), &encoded), ERR_OK);
        assert_true(bytes_equal(buf_bytes(&encoded), bytes_from(sample, sizes[i])));
        if (sizes[i] == sizeof(sample))
            assert_true(text.size < sizeof(sample) / 2);
        buf_fini(&encoded);
        buf_fini(&text);
    }
}

/* Cut short, damaged, of another form, larger than the room: refused, whatever it is. */
static void test_no_such_text(void **state)
{
    (void)state;
    struct buf text, encoded;
    text_make(&text, sizeof(sample));
    buf_init(&encoded, sizeof(sample));
    text.data[0]++;
    assert_int_equal(change_text_read(buf_bytes(&text), &encoded), ERR_CORRUPT);
    text.data[0]--;
    buf_fini(&encoded);
    buf_init(&encoded, sizeof(sample) - 1);
    assert_int_equal(change_text_read(buf_bytes(&text), &encoded), ERR_CORRUPT);
    buf_fini(&encoded);
    for (size_t size = 0; size < text.size; size++) {
        buf_init(&encoded, sizeof(sample));
        assert_int_equal(change_text_read(bytes_from(text.data, size), &encoded), ERR_CORRUPT);
        buf_fini(&encoded);
    }
    for (size_t at = 0; at < text.size; at++) {
        buf_init(&encoded, sizeof(sample));
        text.data[at] ^= 0x11;
        (void)!change_text_read(buf_bytes(&text), &encoded);
        assert_true(encoded.size <= sizeof(sample));
        text.data[at] ^= 0x11;
        buf_fini(&encoded);
    }
    buf_fini(&text);
}

static void test_no_memory(void **state)
{
    (void)state;
    enum err err = ERR_NO_MEMORY;
    for (uint64_t k = 1; err == ERR_NO_MEMORY; k++) {
        struct buf text, encoded;
        buf_init(&text, 1 << 20);
        buf_init(&encoded, sizeof(sample));
        mem_fail_at(k);
        err = change_text_append(&text, bytes_from(sample, sizeof(sample)));
        if (err == ERR_OK)
            err = change_text_read(buf_bytes(&text), &encoded);
        mem_fail_at(0);
        assert_true(k < 100);
        buf_fini(&encoded);
        buf_fini(&text);
    }
    assert_int_equal(err, ERR_OK);
}

int main(void)
{
    for (size_t i = 0; i < sizeof(sample); i++)
        sample[i] = (char)(i * i % 31);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_no_such_text),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
