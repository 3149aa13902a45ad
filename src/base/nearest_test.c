#include "base/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_distance(void **state)
{
    (void)state;
    assert_int_equal(nearest_distance("", ""), 0);
    assert_int_equal(nearest_distance("", "abc"), 3);
    assert_int_equal(nearest_distance("kitten", "sitting"), 3);
    assert_int_equal(nearest_distance("mqtt-port", "MQTT_PORT"), 0);
    char word[NEAREST_BYTES_MAX + 2];
    memset(word, 'a', sizeof(word));
    word[NEAREST_BYTES_MAX] = '\0';
    assert_int_equal(nearest_distance(word, word), 0);
    word[NEAREST_BYTES_MAX] = 'a';
    word[NEAREST_BYTES_MAX + 1] = '\0';
    assert_true(nearest_distance(word, word) == SIZE_MAX);
}

static void test_offer(void **state)
{
    (void)state;
    struct nearest nearest = {0};
    nearest_offer(&nearest, "serv", "check");
    assert_null(nearest.word);
    nearest_offer(&nearest, "serv", "serves");
    nearest_offer(&nearest, "serv", "serve");
    nearest_offer(&nearest, "serv", "server");
    assert_string_equal(nearest.word, "serve");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_offer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
