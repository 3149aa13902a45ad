#include "connectors/coap/coap_acks.h"

#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static struct coap_acks acks;

static void takes_what_is_durable_in_order(void **state)
{
    uint16_t id = 0;
    (void)state;
    coap_acks_clear(&acks);
    coap_acks_add(&acks, 500, 1, 3, 0);
    coap_acks_add(&acks, 65535, 1, 5, 0);
    assert_false(coap_acks_take(&acks, 2, &id));
    assert_int_equal(coap_acks_find(&acks, 500, 1, 0), COAP_ACK_WAITS);
    assert_true(coap_acks_take(&acks, 4, &id));
    assert_int_equal(id, 500);
    assert_false(coap_acks_take(&acks, 4, &id));
    assert_int_equal(coap_acks_find(&acks, 500, 1, 0), COAP_ACK_DONE);
    assert_int_equal(coap_acks_find(&acks, 65535, 1, 0), COAP_ACK_WAITS);
    assert_int_equal(coap_acks_find(&acks, 1, 1, 0), COAP_ACK_UNKNOWN);
    assert_true(coap_acks_take(&acks, 5, &id));
    assert_false(coap_acks_take(&acks, UINT64_MAX, &id));
}

static void an_id_means_another_message_after_its_life(void **state)
{
    uint16_t id;
    (void)state;
    coap_acks_clear(&acks);
    coap_acks_add(&acks, 7, 1, 1, 0);
    int64_t end = COAP_ACK_LIFE_SECONDS * NS_PER_S;
    assert_int_equal(coap_acks_find(&acks, 7, 1, 2 * end), COAP_ACK_WAITS);
    assert_true(coap_acks_take(&acks, 1, &id));
    assert_int_equal(coap_acks_find(&acks, 7, 1, end - 1), COAP_ACK_DONE);
    assert_int_equal(coap_acks_find(&acks, 7, 1, end), COAP_ACK_UNKNOWN);
}

static void is_bounded_and_goes_round(void **state)
{
    uint16_t id;
    (void)state;
    coap_acks_clear(&acks);
    for (uint16_t i = 0; i < COAP_ACKS_MAX; i++) {
        assert_false(coap_acks_full(&acks));
        coap_acks_add(&acks, i, 1, i, 0);
    }
    assert_true(coap_acks_full(&acks));
    for (uint16_t i = 0; i < 10; i++)
        assert_true(coap_acks_take(&acks, 100, &id));
    assert_false(coap_acks_full(&acks));
    for (uint16_t i = 0; i < 10; i++)
        coap_acks_add(&acks, 2000 + i, 1, COAP_ACKS_MAX + i, 0);
    assert_int_equal(coap_acks_find(&acks, 9, 1, 0), COAP_ACK_UNKNOWN);
    assert_int_equal(coap_acks_find(&acks, 10, 1, 0), COAP_ACK_WAITS);
    assert_int_equal(coap_acks_find(&acks, 2009, 1, 0), COAP_ACK_WAITS);
    coap_acks_clear(&acks);
    assert_int_equal(coap_acks_find(&acks, 2009, 1, 0), COAP_ACK_UNKNOWN);
}

static void an_old_id_with_another_content_is_another_message(void **state)
{
    uint16_t id;
    (void)state;
    coap_acks_clear(&acks);
    coap_acks_add(&acks, 7, 1, 1, 0);
    assert_true(coap_acks_take(&acks, 1, &id));
    assert_int_equal(coap_acks_find(&acks, 7, 1, 0), COAP_ACK_DONE);
    assert_int_equal(coap_acks_find(&acks, 7, 2, 0), COAP_ACK_UNKNOWN);
    coap_acks_add(&acks, 7, 2, 2, 0);
    assert_int_equal(coap_acks_find(&acks, 7, 2, 0), COAP_ACK_WAITS);
    assert_true(coap_acks_take(&acks, 2, &id));
    assert_int_equal(coap_acks_find(&acks, 7, 2, 0), COAP_ACK_DONE);
}

/* The acknowledgement of the first would be taken for the second's, which is not durable. */
static void of_two_with_one_id_only_the_second_is_acknowledged(void **state)
{
    uint16_t id;
    (void)state;
    coap_acks_clear(&acks);
    coap_acks_add(&acks, 7, 1, 1, 0);
    coap_acks_add(&acks, 7, 2, 2, 0);
    assert_false(coap_acks_take(&acks, 1, &id));
    assert_int_equal(coap_acks_find(&acks, 7, 1, 0), COAP_ACK_WAITS);
    assert_true(coap_acks_take(&acks, 2, &id));
    assert_int_equal(id, 7);
    assert_false(coap_acks_take(&acks, 2, &id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_is_durable_in_order),
        cmocka_unit_test(an_id_means_another_message_after_its_life),
        cmocka_unit_test(is_bounded_and_goes_round),
        cmocka_unit_test(an_old_id_with_another_content_is_another_message),
        cmocka_unit_test(of_two_with_one_id_only_the_second_is_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
