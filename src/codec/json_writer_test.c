#include "codec/json_writer.h"

#include "codec/json_number.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants those four first */
#include <cmocka.h>

static void check_double(double number, const char *expected)
{
    struct buf out;
    double back;
    buf_init(&out, 64);
    assert_int_equal(json_double_append(&out, number), ERR_OK);
    if (expected)
        assert_string_equal(buf_cstr(&out), expected);
    const uint8_t *at = out.data;
    assert_int_equal(json_number_read(&at, out.data + out.size, &back), JSON_NUMBER_DOUBLE);
    assert_ptr_equal(at, out.data + out.size);
    assert_memory_equal(&back, &number, sizeof(back));
    buf_fini(&out);
}

static void test_doubles(void **state)
{
    (void)state;
    check_double(0, "0.0");
    check_double(-0.0, "-0.0");
    check_double(21.5, "21.5");
    check_double(-273.15, "-273.15");
    check_double(0.1, "0.1");
    check_double(0.1 + 0.2, "0.30000000000000004");
    check_double(1e15, "1e+15");
    check_double(9007199254740993.0, "9007199254740992.0");
    check_double(1e16, "1e+16");
    check_double(123456789.0, "123456789.0");
    check_double(5e-324, NULL);
    check_double(1.7976931348623157e308, NULL);
    check_double((double)21.3f, "21.299999237060547");
    check_double(60.07965, "60.07965");
}

/* Doubles of all sizes read back as they were; a fixed sequence. */
static void test_many_doubles(void **state)
{
    (void)state;
    uint64_t bits = 0x9e3779b97f4a7c15;
    for (int i = 0; i < 200000; i++) {
        double number;
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        memcpy(&number, &bits, sizeof(number));
        if ((bits >> 52 & 0x7ff) == 0x7ff)
            continue;
        check_double(number, NULL);
        check_double((double)(int64_t)(bits % 2000000000) / 1000 - 1e6, NULL);
    }
}

/* The fewest digits of 15 and more that read back, as printf finds them. */
static void check_shortest(double number)
{
    char expected[64];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(expected, sizeof(expected), "%.*g", digits, number);
        if (strtod(expected, NULL) == number) // NOLINT
            break;
    }
    if (!strpbrk(expected, ".e"))
        snprintf(expected + strlen(expected), 8, ".0");
    check_double(number, expected);
}

static void test_shortest(void **state)
{
    (void)state;
    uint32_t mixed = 1;
    for (int i = 0; i < 200000; i++) {
        mixed = mixed * 1664525u + 1013904223u;
        double single = (double)(float)(mixed / 4294967296.0 * pow(10, i % 11 - 3));
        check_shortest(i % 2 ? single : -single);
        check_shortest(single * 1.1);
        check_shortest(single + 1e-9);
    }
    for (int power = -20; power < 30; power++) {
        double two = ldexp(1, power);
        check_shortest(two);
        check_shortest(nextafter(two, 0));
        check_shortest(-nextafter(two, 1e300));
        check_shortest(nextafter(pow(10, power / 3), 0));
        check_shortest(nextafter(pow(10, power / 3), 1e300));
    }
}

static void test_keys(void **state)
{
    (void)state;
    struct buf out;
    struct json_writer writer;
    buf_init(&out, 1024);
    json_writer_init(&writer, &out);
    assert_int_equal(json_writer_begin(&writer, true), ERR_OK);
    json_writer_double(&writer, 1.5);
    json_writer_integer(&writer, true, UINT64_MAX);
    json_writer_integer(&writer, false, UINT64_MAX);
    json_writer_double(&writer, 0.1 + 0.2);
    assert_int_equal(json_writer_begin(&writer, false), ERR_OK);
    json_writer_text(&writer, BYTES_LITERAL("\"\n"));
    assert_int_equal(json_writer_begin(&writer, true), ERR_OK);
    assert_int_equal(json_writer_end(&writer), ERR_OK);
    assert_int_equal(json_writer_end(&writer), ERR_OK);
    assert_int_equal(json_writer_end(&writer), ERR_SYNTAX); /* a key without a value */
    json_writer_raw(&writer, BYTES_LITERAL("null"));
    json_writer_raw(&writer, BYTES_LITERAL("null"));
    json_writer_raw(&writer, BYTES_LITERAL("\"x\""));
    assert_int_equal(json_writer_end(&writer), ERR_OK);
    assert_string_equal(buf_cstr(&out), "{\"1.5\":-18446744073709551616,"
                                        "\"18446744073709551615\":0.30000000000000004,"
                                        "\"[\\\"\\\\\\\"\\\\n\\\",{}]\":null,\"null\":\"x\"}");
    assert_int_equal(json_writer_end(&writer), ERR_SYNTAX); /* nothing is open */
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_many_doubles),
        cmocka_unit_test(test_shortest),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
