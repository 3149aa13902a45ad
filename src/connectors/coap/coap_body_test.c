#include "connectors/coap/coap_body.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static char text[4096];

static struct coap_block block(uint32_t number, uint8_t szx, bool has_more, size_t size)
{
    return (struct coap_block){
        .number = number, .szx = szx, .has_more = has_more, .payload = bytes_from(text, size)};
}

static enum coap_body_step add(struct coap_body *body, struct coap_block part)
{
    return coap_body_add(body, &part);
}

static void puts_blocks_together(void **state)
{
    struct coap_body body;
    (void)state;
    coap_body_init(&body, KIB);
    assert_int_equal(add(&body, block(0, 1, true, 32)), COAP_BODY_MORE);
    assert_int_equal(body.next, 1);
    assert_int_equal(add(&body, block(1, 1, true, 32)), COAP_BODY_MORE);
    assert_int_equal(add(&body, block(2, 1, false, 5)), COAP_BODY_DONE);
    assert_int_equal(body.bytes.size, 69);
    assert_int_equal(add(&body, block(0, 1, false, 0)), COAP_BODY_DONE); /* begins anew */
    assert_int_equal(body.bytes.size, 0);
    coap_body_fini(&body);
}

static void a_server_may_go_on_in_smaller_blocks(void **state)
{
    struct coap_body body;
    (void)state;
    coap_body_init(&body, KIB);
    assert_int_equal(add(&body, block(0, 2, true, 64)), COAP_BODY_MORE);
    assert_int_equal(add(&body, block(4, 0, true, 16)), COAP_BODY_MORE);
    assert_int_equal(body.next, 5);
    assert_int_equal(body.szx, 0);
    coap_body_fini(&body);
}

static void what_does_not_fit_is_broken(void **state)
{
    static const struct {
        uint32_t number;
        uint8_t szx;
        bool has_more;
        size_t size;
    } bad[] = {
        {2, 1, true, 32},  /* left one out */
        {1, 1, true, 31},  /* not full */
        {1, 1, true, 33},  /* more than full */
        {1, 1, false, 33}, /* the last one may be shorter, not longer */
        {1, 0, true, 16},  /* smaller, and not counted so */
        {1, 1, true, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct coap_body body;
        coap_body_init(&body, KIB);
        assert_int_equal(add(&body, block(0, 1, true, 32)), COAP_BODY_MORE);
        assert_int_equal(add(&body, block(bad[i].number, bad[i].szx, bad[i].has_more, bad[i].size)),
                         COAP_BODY_BROKEN);
        coap_body_fini(&body);
    }
}

static void another_etag_is_another_body(void **state)
{
    struct coap_body body;
    struct coap_block first = block(0, 0, true, 16), second = block(1, 0, false, 1);
    (void)state;
    coap_body_init(&body, KIB);
    first.etag[0] = 7;
    first.etag_size = 1;
    assert_int_equal(add(&body, first), COAP_BODY_MORE);
    assert_int_equal(add(&body, second), COAP_BODY_CHANGED);
    second.etag_size = 1;
    assert_int_equal(add(&body, second), COAP_BODY_CHANGED);
    second.etag[0] = 7;
    assert_int_equal(add(&body, second), COAP_BODY_DONE);
    coap_body_fini(&body);
}

static void ends_at_the_limit(void **state)
{
    struct coap_body body;
    uint32_t number = 0;
    (void)state;
    coap_body_init(&body, 100);
    while (add(&body, block(number, 0, true, 16)) == COAP_BODY_MORE)
        number++;
    assert_int_equal(number, 6);
    assert_int_equal(body.bytes.size, 100);
    coap_body_drop(&body);
    for (number = 0; number < 6; number++)
        assert_int_equal(add(&body, block(number, 0, true, 16)), COAP_BODY_MORE);
    assert_int_equal(add(&body, block(6, 0, false, 4)), COAP_BODY_DONE);
    coap_body_fini(&body);
}

static void several_at_once_over_tcp(void **state)
{
    struct coap_body body;
    (void)state;
    coap_body_init(&body, 16 * KIB);
    assert_int_equal(add(&body, block(0, COAP_SZX_BERT, true, 3 * KIB)), COAP_BODY_MORE);
    assert_int_equal(body.next, 3);
    assert_int_equal(add(&body, block(3, COAP_SZX_BERT, true, KIB + 1)), COAP_BODY_BROKEN);
    assert_int_equal(add(&body, block(3, COAP_SZX_BERT, false, 2 * KIB + 7)), COAP_BODY_DONE);
    coap_body_fini(&body);
}

static void no_memory_is_told(void **state)
{
    struct coap_body body;
    (void)state;
    coap_body_init(&body, KIB);
    mem_fail_at(1);
    assert_int_equal(add(&body, block(0, 0, true, 16)), COAP_BODY_NO_MEMORY);
    mem_fail_at(0);
    assert_int_equal(add(&body, block(0, 0, true, 16)), COAP_BODY_MORE);
    coap_body_fini(&body);
}

static void reads_the_option(void **state)
{
    struct coap_block read = {0};
    (void)state;
    assert_true(coap_block_read(bytes_from("", 0), &read));
    assert_true(read.number == 0 && read.szx == 0 && !read.has_more);
    assert_true(coap_block_read(bytes_from("\x12\x34\x5e", 3), &read));
    assert_true(read.number == 0x12345 && read.szx == 6 && read.has_more);
    assert_false(coap_block_read(bytes_from("\0\0\0\0", 4), &read));
    assert_int_equal(coap_block_value(0x12345, 6), 0x123456);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_blocks_together),
        cmocka_unit_test(a_server_may_go_on_in_smaller_blocks),
        cmocka_unit_test(what_does_not_fit_is_broken),
        cmocka_unit_test(another_etag_is_another_body),
        cmocka_unit_test(ends_at_the_limit),
        cmocka_unit_test(several_at_once_over_tcp),
        cmocka_unit_test(no_memory_is_told),
        cmocka_unit_test(reads_the_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
