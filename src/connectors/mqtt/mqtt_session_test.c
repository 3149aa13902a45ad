#include "connectors/mqtt/mqtt_session.h"

#include "base/alloc.h"
#include "codec/mqtt_encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct fixture {
    struct mqtt_session session;
    struct buf out;
    uint64_t sequence;
};

static int setup(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){0};
    buf_init(&fixture.out, 1 << 20);
    *state = &fixture;
    return mqtt_session_init(&fixture.session) != ERR_OK;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    mqtt_session_fini(&fixture->session);
    buf_fini(&fixture->out);
    return 0;
}

/* A PUBLISH as the receive path takes it; true: stored. */
static bool publish(struct fixture *fixture, uint16_t identifier, bool dup, uint64_t hash)
{
    bool repeats = mqtt_session_judge(&fixture->session, 1, identifier, dup, hash) == MQTT_REPEATED;
    if (!repeats)
        mqtt_session_received(&fixture->session, 1, identifier, hash, ++fixture->sequence);
    assert_int_equal(mqtt_session_owe(&fixture->session, 1, identifier), ERR_OK);
    return !repeats;
}

static void assert_acks(struct fixture *fixture, size_t count, const uint16_t *identifiers)
{
    buf_clear(&fixture->out);
    assert_int_equal(mqtt_session_acknowledge(&fixture->session, &fixture->out), ERR_OK);
    assert_int_equal(fixture->out.size, count * 4);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *ack = fixture->out.data + i * 4;
        assert_int_equal(ack[0], 0x40);
        assert_int_equal(ack[1], 2);
        assert_int_equal(ack[2] << 8 | ack[3], identifiers[i]);
    }
}

#define ASSERT_ACKS(fixture, ...)                                                                  \
    assert_acks(fixture, sizeof((uint16_t[]){__VA_ARGS__}) / 2, (uint16_t[]){__VA_ARGS__})

/* The same with QoS 2. */
static enum mqtt_verdict publish_2(struct fixture *fixture, uint16_t identifier, bool dup,
                                   uint64_t hash)
{
    enum mqtt_verdict verdict = mqtt_session_judge(&fixture->session, 2, identifier, dup, hash);
    if (verdict != MQTT_REPEATED)
        mqtt_session_received(&fixture->session, 2, identifier, hash, ++fixture->sequence);
    assert_int_equal(mqtt_session_owe(&fixture->session, 2, identifier), ERR_OK);
    return verdict;
}

static void release(struct fixture *fixture, uint16_t identifier)
{
    assert_true(mqtt_session_holds(&fixture->session, identifier));
    assert_int_equal(mqtt_session_release(&fixture->session, identifier, ++fixture->sequence),
                     ERR_OK);
}

/* One acknowledgement that is due, and no other. */
static void assert_ack(struct fixture *fixture, enum mqtt_type type, uint16_t identifier)
{
    uint8_t expected[MQTT_SHORT_ACK_BYTES];
    mqtt_put_short_ack(expected, type, identifier);
    buf_clear(&fixture->out);
    assert_int_equal(mqtt_session_acknowledge(&fixture->session, &fixture->out), ERR_OK);
    assert_int_equal(fixture->out.size, MQTT_SHORT_ACK_BYTES);
    assert_memory_equal(fixture->out.data, expected, MQTT_SHORT_ACK_BYTES);
}

static void acknowledges_in_order_when_durable(void **state)
{
    struct fixture *f = *state;
    publish(f, 7, false, 1);
    publish(f, 3, false, 2);
    publish(f, 9, false, 3);
    assert_acks(f, 0, NULL);
    mqtt_session_durable(&f->session, 2, 10);
    ASSERT_ACKS(f, 7, 3);
    assert_acks(f, 0, NULL);
    mqtt_session_durable(&f->session, 3, 11);
    ASSERT_ACKS(f, 9);
    assert_int_equal(mqtt_session_unacknowledged(&f->session), 0);
}

static void a_repetition_waits_for_the_first_copy_and_its_turn(void **state)
{
    struct fixture *f = *state;
    assert_true(publish(f, 1, false, 11));
    assert_true(publish(f, 2, false, 22));
    assert_false(publish(f, 1, true, 11));
    assert_true(publish(f, 4, false, 44));
    assert_acks(f, 0, NULL);
    mqtt_session_durable(&f->session, 1, 5);
    ASSERT_ACKS(f, 1);
    mqtt_session_durable(&f->session, 2, 6);
    ASSERT_ACKS(f, 2, 1); /* its turn is after 2 */
    mqtt_session_durable(&f->session, 3, 7);
    ASSERT_ACKS(f, 4);
}

static void only_dup_with_an_equal_hash_repeats(void **state)
{
    struct fixture *f = *state;
    assert_true(publish(f, 1, true, 11));  /* DUP, but never seen */
    assert_true(publish(f, 1, false, 11)); /* equal, but no DUP: a new message */
    assert_true(publish(f, 1, true, 12));  /* DUP, but another message */
    assert_false(publish(f, 1, true, 12));
    assert_true(publish(f, 2, true, 12));
}

static void what_was_recovered_is_known_until_a_quiet_ping(void **state)
{
    struct fixture *f = *state;
    uint64_t block = 0;
    mqtt_session_recover(&f->session, 5, 55, 40, false);
    mqtt_session_recover(&f->session, 6, 66, 41, false);
    assert_true(mqtt_session_wants_ping(&f->session));
    mqtt_session_pinged(&f->session);
    assert_false(publish(f, 5, true, 55));
    ASSERT_ACKS(f, 5);                                      /* durable long ago */
    assert_false(mqtt_session_ponged(&f->session, &block)); /* redelivery was going on */
    mqtt_session_pinged(&f->session);
    assert_false(mqtt_session_ponged(&f->session, &block)); /* the quiet one */
    assert_false(publish(f, 6, true, 66));
    ASSERT_ACKS(f, 6);
    mqtt_session_pinged(&f->session);
    assert_true(mqtt_session_ponged(&f->session, &block));
    assert_int_equal(block, 41);
    assert_true(publish(f, 6, true, 66)); /* free: better a double than a loss */
}

static void a_ping_frees_what_was_acknowledged_before_it_only(void **state)
{
    struct fixture *f = *state;
    uint64_t block = 0;
    mqtt_session_forget(&f->session);
    publish(f, 1, false, 11);
    mqtt_session_durable(&f->session, 1, 20);
    ASSERT_ACKS(f, 1);
    mqtt_session_pinged(&f->session);
    publish(f, 2, false, 22);
    mqtt_session_durable(&f->session, 2, 21);
    ASSERT_ACKS(f, 2);
    assert_true(mqtt_session_ponged(&f->session, &block));
    assert_int_equal(block, 20);
    assert_false(publish(f, 2, true, 22));
    assert_true(publish(f, 1, true, 11));
    assert_false(mqtt_session_ponged(&f->session, &block)); /* nobody asked */
}

static void a_keep_alive_ping_before_does_not_answer_for_it(void **state)
{
    struct fixture *f = *state;
    uint64_t block = 0;
    mqtt_session_forget(&f->session);
    publish(f, 1, false, 11);
    mqtt_session_durable(&f->session, 1, 20);
    mqtt_session_pinged(&f->session); /* marked, frees nothing yet */
    mqtt_session_pinged(&f->session); /* keep-alive while reading was stopped */
    ASSERT_ACKS(f, 1);
    assert_false(mqtt_session_ponged(&f->session, &block));
    mqtt_session_pinged(&f->session);                       /* marked: 20 is acknowledged now */
    assert_false(mqtt_session_ponged(&f->session, &block)); /* the keep-alive's answer */
    assert_true(mqtt_session_ponged(&f->session, &block));
    assert_int_equal(block, 20);
}

static void a_late_repetition_keeps_its_block(void **state)
{
    struct fixture *f = *state;
    uint64_t block = 0;
    mqtt_session_forget(&f->session);
    publish(f, 1, false, 11);
    mqtt_session_durable(&f->session, 1, 20);
    ASSERT_ACKS(f, 1);
    publish(f, 2, false, 22);
    mqtt_session_durable(&f->session, 2, 21);
    ASSERT_ACKS(f, 2);
    publish(f, 3, false, 33); /* not durable: holds up what comes after it */
    assert_false(publish(f, 2, true, 22));
    mqtt_session_pinged(&f->session);
    assert_true(mqtt_session_ponged(&f->session, &block));
    assert_int_equal(block, 20);
}

static void a_lost_session_forgets(void **state)
{
    struct fixture *f = *state;
    mqtt_session_recover(&f->session, 5, 55, 40, false);
    mqtt_session_forget(&f->session);
    assert_false(mqtt_session_wants_ping(&f->session));
    assert_true(publish(f, 5, true, 55));
}

static void the_ring_is_bounded_and_goes_round(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 1; i < MQTT_OWED_MAX; i++)
            publish(f, (uint16_t)i, false, i);
        assert_int_equal(mqtt_session_owe(&f->session, 1, 1), ERR_TOO_MANY);
        mqtt_session_durable(&f->session, f->sequence, (uint64_t)round + 1);
        buf_clear(&f->out);
        assert_int_equal(mqtt_session_acknowledge(&f->session, &f->out), ERR_OK);
        assert_int_equal(f->out.size, (MQTT_OWED_MAX - 1) * 4);
    }
}

static void no_memory_takes_no_acknowledgement(void **state)
{
    struct fixture *f = *state;
    publish(f, 1, false, 11);
    mqtt_session_durable(&f->session, 1, 1);
    mem_fail_at(1);
    assert_int_equal(mqtt_session_acknowledge(&f->session, &f->out), ERR_NO_MEMORY);
    mem_fail_at(0);
    ASSERT_ACKS(f, 1);
    for (uint64_t k = 1; k <= 2; k++) {
        struct mqtt_session session;
        mem_fail_at(k);
        assert_int_equal(mqtt_session_init(&session), ERR_NO_MEMORY);
    }
    mem_fail_at(0);
}

static void qos_2_takes_two_steps(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(publish_2(f, 7, false, 1), MQTT_NEW);
    assert_acks(f, 0, NULL);
    mqtt_session_durable(&f->session, 1, 10);
    assert_ack(f, MQTT_PUBREC, 7);
    assert_int_equal(mqtt_session_owed(&f->session), 0);
    assert_int_equal(mqtt_session_unacknowledged(&f->session), 1); /* until PUBCOMP */
    release(f, 7);
    assert_false(mqtt_session_holds(&f->session, 7));
    assert_acks(f, 0, NULL);
    mqtt_session_durable(&f->session, 2, 11);
    assert_ack(f, MQTT_PUBCOMP, 7);
    assert_int_equal(mqtt_session_unacknowledged(&f->session), 0);
    assert_int_equal(publish_2(f, 7, false, 1), MQTT_NEW);
    assert_int_equal(publish_2(f, 7, true, 1), MQTT_REPEATED);
}

static void the_received_set_tells_repetitions(void **state)
{
    struct fixture *f = *state;
    mqtt_session_recover(&f->session, 5, 55, 3, true);
    assert_false(mqtt_session_wants_ping(&f->session)); /* a ping frees nothing of QoS 2 */
    assert_int_equal(publish_2(f, 5, true, 55), MQTT_REPEATED);
    assert_ack(f, MQTT_PUBREC, 5);
    assert_int_equal(publish_2(f, 5, true, 99), MQTT_REPEATED); /* whatever it carries */
    assert_ack(f, MQTT_PUBREC, 5);
    assert_int_equal(publish_2(f, 5, false, 55), MQTT_REPEATED);
    assert_ack(f, MQTT_PUBREC, 5);
    assert_int_equal(mqtt_session_unacknowledged(&f->session), 1);
    assert_int_equal(publish_2(f, 5, false, 56), MQTT_REUSED);
    mqtt_session_durable(&f->session, 1, 4);
    assert_ack(f, MQTT_PUBREC, 5);
    release(f, 5);
    mqtt_session_durable(&f->session, 2, 5);
    assert_ack(f, MQTT_PUBCOMP, 5);
    assert_false(mqtt_session_holds(&f->session, 6));
}

static void qos_1_and_2_do_not_meet(void **state)
{
    struct fixture *f = *state;
    assert_true(publish(f, 1, false, 11));
    mqtt_session_durable(&f->session, 1, 1);
    assert_ack(f, MQTT_PUBACK, 1);
    assert_int_equal(publish_2(f, 1, true, 11), MQTT_NEW);
    mqtt_session_durable(&f->session, 2, 2);
    assert_ack(f, MQTT_PUBREC, 1);
    assert_true(publish(f, 1, true, 11)); /* a broker's fault: better a double than a loss */
    assert_false(mqtt_session_holds(&f->session, 1));
    assert_int_equal(mqtt_session_unacknowledged(&f->session), 1);
}

static void a_recovered_message_is_not_in_the_window(void **state)
{
    struct fixture *f = *state;
    mqtt_session_recover(&f->session, 5, 55, 3, true);
    release(f, 5); /* the broker goes on with PUBREL, which §4.9 does not count */
    assert_int_equal(mqtt_session_unacknowledged(&f->session), 0);
    mqtt_session_durable(&f->session, 1, 4);
    assert_ack(f, MQTT_PUBCOMP, 5);
    assert_int_equal(mqtt_session_unacknowledged(&f->session), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(acknowledges_in_order_when_durable),
        TEST(a_repetition_waits_for_the_first_copy_and_its_turn),
        TEST(only_dup_with_an_equal_hash_repeats),
        TEST(what_was_recovered_is_known_until_a_quiet_ping),
        TEST(a_ping_frees_what_was_acknowledged_before_it_only),
        TEST(a_keep_alive_ping_before_does_not_answer_for_it),
        TEST(a_late_repetition_keeps_its_block),
        TEST(a_lost_session_forgets),
        TEST(the_ring_is_bounded_and_goes_round),
        TEST(no_memory_takes_no_acknowledgement),
        TEST(qos_2_takes_two_steps),
        TEST(the_received_set_tells_repetitions),
        TEST(qos_1_and_2_do_not_meet),
        TEST(a_recovered_message_is_not_in_the_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
